"""Views by hand: everything well, changed as a test says."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from wabajobs.capability import Capability, ServiceClass
from wabajobs.decisions import Pause, Scope
from wabajobs.exposed import Bulletin, Editor, View
from wabajobs.exposed.view import Counted, Unfinished
from wabajobs.gate import AppReading, BreakerReading, WindowReading
from wabajobs.kinds import catalogue
from wabajobs.ledger import Announcement, Episode, Incident, Seen, Severity, Stage
from wabajobs.operation import State
from wabajobs.settings import StatusPageSettings

NOW = datetime(2024, 9, 25, 12, 55, tzinfo=UTC)
APP, OTHER = "1234567890", "2234567890"
KINDS = catalogue()


def a_breaker(scope: str, state: str = "open") -> BreakerReading:
    retry_in = None if state == "closed" else timedelta(seconds=30)
    return BreakerReading(scope=scope, state=state, retry_in=retry_in, trips=1, evidence="code 4, fbtrace Abc")


def a_window(scope: str = f"app:{APP}", *, used: int = 10, limit: int = 100, **more: Any) -> WindowReading:
    usable = dict.fromkeys(ServiceClass, limit)
    facts: dict[str, Any] = {"others": 0, "window": timedelta(hours=1), "usable": usable, **more}
    return WindowReading(scope=scope, limit=limit, used=used, **facts)


def an_app(app: str = APP, *, open: Iterable[str] = (), half_open: Iterable[str] = (), **more: Any) -> AppReading:
    """An app whose breakers are open for these capabilities; `app` for the whole of it."""
    states = {"open": open, "half-open": half_open}
    named = {name: state for state, names in states.items() for name in names}
    breakers = [
        a_breaker(f"app:{app}" if name == "app" else f"app:{app}/{name}", named.get(name, "closed"))
        for name in ("app", *Capability)
    ]
    facts: dict[str, Any] = {"told": True, "learning": False, "in_flight": 0, "revision": 1}
    windows = (a_window(f"app:{app}"),)
    return AppReading(**{"app": app, "windows": windows, "breakers": tuple(breakers), **facts, **more})


def a_view(*apps: AppReading, **more: Any) -> View:
    facts: dict[str, Any] = {
        "at": NOW,
        "counted": Counted(at=NOW, seconds=0.01),
        "revision": 1,
        "leads": True,
        "apps": apps or (an_app(),),
        "workers": dict.fromkeys(KINDS.names, (1, 8)),
    }
    return View(**(facts | more))


def a_pause(scope: str, **more: Any) -> Pause:
    return replace(
        Pause(id=7, scope=Scope.of(scope), reason="the fix of acme's WABAs", actor="anna@host", created_at=NOW),
        **more,
    )


def some(kind: str, number: int, **more: Any) -> Unfinished:
    facts: dict[str, Any] = {
        "state": State.WAITING,
        "by": "",
        "oldest": NOW,
        "service_class": ServiceClass.STANDARD,
    }
    return Unfinished(kind=kind, number=number, **(facts | more))


def some_held(kind: str, number: int, *, by: str = "breaker", age: timedelta = timedelta(hours=1)) -> Unfinished:
    return some(kind, number, state=State.HELD, by=by, oldest=NOW - age)


def an_incident_on(scope: str, began: timedelta, *, here: bool = True) -> Incident:
    """An open incident whose trouble began so long ago."""
    seen = Seen(
        cause="breaker", scope=scope, evidence="code 4 of acme", began_at=NOW - began, seen_at=NOW, here=here
    )
    episode = Episode(
        id=1, incident=3, app=APP, began_at=NOW - began, seen_at=NOW, ended_at=None, conditions=(seen,)
    )
    return Incident(
        id=3, app=APP, title="code 4 of acme", opened_at=NOW - began, opened_by="wabajobs", episodes=(episode,)
    )


def counted(*unfinished: Unfinished, **more: Any) -> Counted:
    return Counted(at=NOW, seconds=0.01, unfinished=unfinished, **more)


def an_announcement(id: int = 1, **more: Any) -> Announcement:
    facts: dict[str, Any] = {
        "incident": 3,
        "at": NOW,
        "stage": Stage.INVESTIGATING,
        "title": "Templates: disruption",
        "body": "We are looking into it.",
        "impact": Severity.MAJOR,
        "components": ("Templates",),
        "actor": "anna@host",
    }
    return Announcement(id=id, **(facts | more))


def an_editor(**settings: Any) -> Editor:
    return Editor(StatusPageSettings(**settings), KINDS, now=NOW)


def told_of(view: View, **settings: Any) -> Bulletin:
    return an_editor(**settings).bulletin(view)


def statuses(view: View, **settings: Any) -> dict[str, str]:
    """The components and how they are."""
    return {line.name: str(line.health.status) for line in told_of(view, **settings).lines}


def unwell(view: View, **settings: Any) -> dict[str, str]:
    """The components that are not operational."""
    return {name: status for name, status in statuses(view, **settings).items() if status != "operational"}
