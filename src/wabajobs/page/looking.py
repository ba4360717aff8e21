"""What the page shows, part by part: each asks the ledger or the gate, and fails for itself."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from wabajobs.decisions import Decisions
from wabajobs.errors import LedgerUnavailable
from wabajobs.gate import AppReading, BreakerReading, WindowReading
from wabajobs.page import incidents
from wabajobs.page.snapshot import Part
from wabajobs.seeing.status import pause_json
from wabajobs.seeing.top import Dimension
from wabajobs.wiring import House

_TOP = 15
_QUEUES = 3
_PAST = timedelta(hours=1)
_GRAIN = 30
"""Seconds between two points of a plot."""
_OWN = {"partner", "capability"}
"""Budgets of our own choice, by the first word of their scopes."""


def parts(house: House) -> list[Part]:
    """Return the parts of the look at a house."""
    looks: dict[str, tuple[Callable[[House], Any], float]] = {
        "queues": (_queues, 1.0),
        "decisions": (_decisions, 1.0),
        "gate": (_gate, 1.0),
        "incidents": (incidents.recent, 2.0),
        "history": (_history, 10.0),
        "top": (_top, 5.0),
    }
    return [Part(name, partial(ask, house), every) for name, (ask, every) in looks.items()]


def _queues(house: House) -> dict[str, Any]:
    """The queues, and what is amiss."""
    return house.lookout.look().as_json()


def _decisions(house: House) -> dict[str, Any]:
    """What people have decided."""
    decided = house.ledger.decisions.current(now=house.clock.now())
    return {"pauses": [pause_json(pause) for pause in decided.pauses]}


def _gate(house: House) -> list[dict[str, Any]]:
    """Budgets and breakers; also without the ledger, which knows no more than who has a budget of his own."""
    try:
        scopes = _limited(house.ledger.decisions.current(now=house.clock.now()))
    except LedgerUnavailable:
        scopes = []
    return [_app(house.gate.read(app, **_asked(app, scopes))) for app in house.settings.apps]


def _limited(decided: Decisions) -> list[str]:
    return [limit.scope for limit in decided.limits]


def _asked(app: str, scopes: Iterable[str]) -> dict[str, list[str]]:
    mine = f"waba:{app}:"
    return {
        "wabas": [scope.removeprefix(mine) for scope in scopes if scope.startswith(mine)],
        "budgets": [scope for scope in scopes if scope.partition(":")[0] in _OWN],
    }


def _app(reading: AppReading) -> dict[str, Any]:
    return {
        "app": reading.app,
        "told": reading.told,
        "learning": reading.learning,
        "in_flight": reading.in_flight,
        "windows": [_window(window) for window in reading.windows],
        "breakers": [_breaker(breaker) for breaker in reading.breakers if _is_awake(breaker)],
        "closed": sum(not _is_awake(breaker) for breaker in reading.breakers),
    }


def _window(window: WindowReading) -> dict[str, Any]:
    left = window.exhausted_in()
    return {
        "scope": window.scope,
        "limit": window.limit,
        "used": window.used,
        "others": window.others,
        "window_seconds": window.window.total_seconds(),
        "usable": {str(service_class): usable for service_class, usable in window.usable.items()},
        "ceiling": window.height,
        "exhausted_in_seconds": None if left is None else left.total_seconds(),
        "shadow": window.shadow,
        "would_refuse": window.would_refuse,
    }


def _is_awake(breaker: BreakerReading) -> bool:
    return breaker.state != "closed" or breaker.held is not None or breaker.trips > 0


def _breaker(breaker: BreakerReading) -> dict[str, Any]:
    return {
        "scope": breaker.scope,
        "state": breaker.state,
        "held": breaker.held,
        "trips": breaker.trips,
        "evidence": breaker.evidence,
        "retry_in_seconds": None if breaker.retry_in is None else breaker.retry_in.total_seconds(),
    }


def _history(house: House) -> dict[str, Any]:
    """The last hour: how full each budget was, in percent, and what lay in each queue."""
    since = house.clock.now() - _PAST
    budgets: dict[str, _Course] = {}
    for sample in house.ledger.samples.usage(since=since):
        budgets.setdefault(sample.scope, _Course()).add(sample.at, sample.percent)
    backlog: dict[str, _Course] = {}
    for one in house.ledger.samples.backlog(since=since):
        backlog.setdefault(one.queue, _Course()).add(one.at, one.waiting + one.held)
    return {
        "budgets": {scope: course.points for scope, course in budgets.items()},
        "backlog": {
            queue: course.points for queue, course in backlog.items() if any(n for _, n in course.points)
        },
    }


class _Course:
    """Points of a plot: of several that would lie on each other, the highest."""

    def __init__(self) -> None:
        self.points: list[list[float]] = []

    @property
    def is_any(self) -> bool:
        """Whether there is more to see than a line at nothing."""
        return any(value for _, value in self.points)

    def add(self, at: datetime, value: float) -> None:
        moment = int(at.timestamp() // _GRAIN * _GRAIN * 1000)
        if self.points and self.points[-1][0] == moment:
            self.points[-1][1] = max(self.points[-1][1], value)
        else:
            self.points.append([moment, round(value, 1)])


def _top(house: House) -> dict[str, Any]:
    """Who used the budgets in the window that counts now, the largest first, and whether anybody explains it."""
    top = house.spenders.top(Dimension.PARTNERS)
    queues: dict[str, Counter[str]] = defaultdict(Counter)
    for app in house.settings.apps:
        for one in house.gate.spenders(app):
            queues[one.partner][one.queue] += one.calls
    return {
        "sentence": str(top),
        "talkers": [
            {
                "partner": one.name,
                "calls": one.calls,
                "refused": one.refused,
                "share": one.share,
                "explains": one.name in top.explained_by,
                "queues": dict(queues[one.name].most_common(_QUEUES)),
            }
            for one in top.talkers[:_TOP]
            if one.name
        ],
    }
