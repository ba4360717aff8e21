"""The fleet sync planner: keeps the template lists of all WABAs fresh from the budget that is left over.

It plans just in time: a few syncs of the lists that are overdue the longest, through the same door as
everybody's, at the pace of its share of the budget. Where the gate would refuse them now, or no worker could
begin them, it plans nothing; so nothing heaps up behind a pause, a breaker or an empty budget.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Protocol

from wabajobs import events
from wabajobs.capability import ServiceClass
from wabajobs.clock import Clock
from wabajobs.decisions import ScopeType
from wabajobs.errors import NotReady
from wabajobs.freshness import Outlook, Survey
from wabajobs.gate import AppReading, Call, Wait
from wabajobs.kinds import Catalogue
from wabajobs.ledger import Ledger, NewOperation, Route, Stale
from wabajobs.operation import State
from wabajobs.routing import Router
from wabajobs.settings import Settings
from wabajobs.signals import Presence

QUEUE: Final = "template_sync"

_SAVED_SECONDS: Final = 5.0
"""How much of the pace may be saved up, over a rest or behind an obstacle: no burst afterwards."""
_HELD_TIMES: Final = 10
"""Planned syncs that their own WABA holds may be so many times as those that wait."""
_LOOKS: Final = 10
"""Looks for WABAs within a turn, each without the partners that the gate has refused in the one before."""
_POSTPONED: Final = timedelta(minutes=5)
"""For how long a WABA is left alone that is held for nobody knows how long."""
_REST_TIMES: Final = 20
"""A turn that took long is followed by so many times of rest: the dispatcher has other things to do."""
_FORGET_SECONDS: Final = 60.0


class Gate(Protocol):
    """What is asked of the gate."""

    def forecast(self, calls: Sequence[Call]) -> Sequence[Wait | None]:
        """Say of each call what it would have to wait for now; nothing is charged."""
        ...

    def read(self, app: str) -> AppReading:
        """Return what the gate knows of an app."""
        ...


@dataclass(frozen=True)
class Plan:
    """What one turn has come to."""

    planned: int = 0
    obstacles: Mapping[str, str] = field(default_factory=dict)
    """Why nothing more was planned for an app although lists are due, in a sentence."""


class Planner:
    """Plans the syncs of the fleet. Only the leading dispatcher's should plan; two at once do no harm."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        kinds: Catalogue,
        gate: Gate,
        presence: Presence,
        clock: Clock,
        settings: Settings,
        router: Router,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Plan for the apps of the settings."""
        self._router = router
        self._ledger = ledger
        self._kinds = kinds
        self._gate = gate
        self._presence = presence
        self._clock = clock
        self._settings = settings
        self._monotonic = monotonic
        self._pace: dict[str, _Pace] = {}
        self._rest_until = self._survey_due = self._forget_due = monotonic()
        self._survey: threading.Thread | None = None
        self._reachable: dict[str, bool] = {}

    def keep_up(self) -> None:
        """Do what is to be done now, as often as anybody likes; never raises for a part that is away."""
        now = self._monotonic()
        if not self._settings.planner.enabled or now < self._rest_until:
            return
        try:
            self.plan()
            if now >= self._forget_due:
                self._forget_due = now + _FORGET_SECONDS
                self._ledger.templates.forget_news(now=self._clock.now())
            if now >= self._survey_due and not (self._survey and self._survey.is_alive()):
                self._survey_due = now + self._settings.planner.survey_seconds
                # It reads every row, which takes a second with a million of them: not in the dispatcher's time.
                self._survey = threading.Thread(target=self._survey_quietly, name="survey", daemon=True)
                self._survey.start()
        except NotReady as error:
            events.tell("part_failed", part="planner", why=error)
        done = self._monotonic()
        self._rest_until = done + min(_REST_TIMES * (done - now), 60.0)

    # ── planning ────────────────────────────────────────────────────────────────────────────────────────

    def plan(self) -> Plan:
        """Plan what is due, can be afforded and can be begun now. Raises `NotReady`."""
        now = self._clock.now()
        waiting, held = self._under_way(now)
        routes = self._router.standing()
        planned, obstacles = 0, {}
        for app in self._settings.apps:
            self._pace.setdefault(app, _Pace(now))
            if not self._ledger.fleet.stalest(app, at_most=1, now=now):
                continue
            bound = self._settings.planner.waiting
            room = min(bound - waiting[app], _HELD_TIMES * bound - waiting[app] - held[app])
            if room <= 0:
                obstacles[app] = f"{waiting[app]} planned syncs wait already, and {held[app]} are held"
                continue
            number, obstacle = self._plan_app(app, room, now, routes)
            planned += number
            if obstacle:
                obstacles[app] = obstacle
        return Plan(planned, obstacles)

    def obstacle(self, app: str) -> str | None:
        """Say what keeps syncs of an app from being planned now, if anything does. Raises `NotReady`."""
        if not self._settings.planner.enabled:
            return "planning is switched off: [planner] enabled"
        if not self._presence.living([QUEUE])[QUEUE]:
            return f"no worker is alive for {QUEUE}"
        [wait] = self._forecast([self._call(app, partner="")])
        return str(wait) if wait else self._drained(app)

    def _drained(self, app: str) -> str | None:
        """Say which pause lets nothing new begin, where the gate lets go on what has begun."""
        asked = {"app": app, "capability": self._kinds[QUEUE].capability, "queue": QUEUE, "partner": ""}
        pauses = self._ledger.decisions.pauses(now=self._clock.now())
        return next((str(one) for one in pauses if one.begins_nothing and one.scope.covers(**asked)), None)

    def _under_way(self, now: datetime) -> tuple[Counter[str], Counter[str]]:
        """Take what has ended off the list; return how many planned syncs of each app wait, and are held."""
        planned = self._ledger.fleet.planned()
        if ended := [one for one in planned if one.ended]:
            self._ledger.fleet.settle(ended, now=now, settings=self._settings.planner)
        waiting = Counter(one.app for one in planned if one.state is State.WAITING)
        held = Counter(one.app for one in planned if one.state is State.HELD)
        return waiting, held

    def _plan_app(self, app: str, room: int, now: datetime, routes: Sequence[Route]) -> tuple[int, str | None]:
        goes_by = _target(routes, app)
        if obstacle := self.obstacle(goes_by):
            return 0, obstacle
        share = self._ledger.fleet.wishes(self._settings.planner).share(app)
        # Fleets that go by one app have its share together.
        sharing = sum(1 for other in self._settings.apps if _target(routes, other) == goes_by)
        pace = self._pace[app]
        calls = pace.calls(_rate(self._gate.read(goes_by), share) / sharing, now)
        if calls <= 0:
            return 0, None
        chosen, obstacle = self._affordable(app, min(room, int(calls) + 1), now, routes)
        taken = list(_within(chosen, calls))
        if taken:
            pace.spend(sum(one.calls for one in taken))
            requests = [self._router.routed(self._request(one), routes) for one in taken]
            return len(self._ledger.fleet.plan(requests, now=now)), obstacle
        return 0, obstacle

    def _affordable(
        self, app: str, at_most: int, now: datetime, routes: Sequence[Route]
    ) -> tuple[list[Stale], str | None]:
        """Return what is due and the gate would let pass, the stalest first; and what it says against the rest.

        Whom the gate refuses for his own sake is left out, so that the others get their turn.
        """
        paused = [pause.scope for pause in self._ledger.decisions.pauses(now=now) if pause.begins_nothing]
        partners = {scope.partner for scope in paused if scope.partner and scope.queue in (None, QUEUE)}
        wabas = {scope.name for scope in paused if scope.type is ScopeType.WABA}
        passed: list[Stale] = []
        for _ in range(_LOOKS):
            due = self._ledger.fleet.stalest(
                app, at_most=at_most, now=now, but_partners=partners, but_wabas=wabas
            )
            waits = self._forecast(
                [self._call(_target(routes, app, one), partner=one.partner, waba=one.waba) for one in due]
            )
            passed = [one for one, wait in zip(due, waits, strict=True) if wait is None]
            refused = [(one, wait) for one, wait in zip(due, waits, strict=True) if wait is not None]
            for one, wait in refused:
                if not _is_its_own(wait, one, _target(routes, app, one)):
                    return passed, str(wait)
                until = now + (wait.delay or _POSTPONED)
                self._ledger.fleet.postpone([one.waba], until=until, why=str(wait))
            shut = {one.partner for one, wait in refused if wait.scope == f"partner:{one.partner}"}
            partners |= shut
            if not refused:
                break
        return passed, None

    def _forecast(self, calls: Sequence[Call]) -> list[Wait | None]:
        """Ask the gate; a wait that the dispatcher leaves to the workers is none."""
        short = self._settings.dispatch.short_wait
        return [wait if wait and wait.is_long(short) else None for wait in self._gate.forecast(calls)]

    def _call(self, app: str, *, partner: str, waba: str | None = None) -> Call:
        return Call(
            app=app,
            queue=QUEUE,
            partner=partner,
            waba=waba,
            capability=self._kinds[QUEUE].capability,
            service_class=ServiceClass.BACKGROUND,
        )

    def _request(self, stale: Stale) -> NewOperation:
        kind = self._kinds[QUEUE]
        return NewOperation(
            kind=kind.name,
            partner=stale.partner,
            app=stale.app,
            waba=stale.waba,
            service_class=ServiceClass.BACKGROUND,
            capability=kind.capability,
            payload={},
            lane=kind.lane(partner=stale.partner, waba=stale.waba, payload={}),
            coalesces=kind.coalesces,
            order=kind.order(self._settings),
            expires_after=kind.expires_after,
        )

    # ── looking ahead ───────────────────────────────────────────────────────────────────────────────────

    def outlooks(self) -> list[Outlook]:
        """Count the fleet; say of each app whether its budget keeps it as fresh as wished. Raises `NotReady`."""
        wishes = self._ledger.fleet.wishes(self._settings.planner)
        surveys = self._ledger.fleet.surveys(now=self._clock.now())
        return [
            outlook(survey, self._gate.read(survey.app), wishes.share(survey.app))
            for survey in surveys
            if survey.app in self._settings.apps
        ]

    def survey(self) -> None:
        """Count the fleet, keep what has come of it for `status`, and tell when it turns. Raises `NotReady`."""
        for one in self.outlooks():
            app = one.survey.app
            self._ledger.fleet.tell_outlook(one)
            if one.reachable != self._reachable.get(app, True):
                events.tell("freshness_changed", app=app, reachable=one.reachable, outlook=one)
            self._reachable[app] = one.reachable

    def _survey_quietly(self) -> None:
        try:
            self.survey()
        except NotReady as error:
            events.tell("part_failed", part="survey", why=error)


class _Pace:
    """How many calls may be planned by now, at a rate. A list of many pages may overdraw it once."""

    def __init__(self, now: datetime) -> None:
        self._saved, self._at = 0.0, now

    def calls(self, rate: float, now: datetime) -> float:
        """Return how many may be planned, `rate` being calls a second."""
        passed = max(0.0, (now - self._at).total_seconds())
        self._saved = min(self._saved + rate * passed, max(1.0, rate * _SAVED_SECONDS))
        self._at = now
        return self._saved

    def spend(self, calls: float) -> None:
        self._saved -= calls


def _within(stale: Iterable[Stale], calls: float) -> Iterable[Stale]:
    """Return the first of them that so many calls are begun with."""
    for one in stale:
        if calls <= 0:
            return
        calls -= one.calls
        yield one


def _target(routes: Sequence[Route], app: str, stale: Stale | None = None) -> str:
    """Return the app by which syncs of an app go now, all of them or that of one WABA."""
    partner, waba = (stale.partner, stale.waba) if stale else ("", None)
    for route in routes:
        if route.takes(app=app, kind=QUEUE, partner=partner, waba=waba):
            return route.to_app
    return app


def _is_its_own(wait: Wait, stale: Stale, app: str) -> bool:
    """Whether the gate refuses this partner or WABA, and not the app or the queue."""
    own: Collection[str] = (
        f"partner:{stale.partner}",
        f"partner:{stale.partner}/{stale.waba}",
        f"waba:{stale.waba}",
        f"waba:{app}:{stale.waba}",
    )
    return wait.scope in own


def outlook(survey: Survey, reading: AppReading, share: float) -> Outlook:
    """Lay what the fleet takes beside what the budget leaves for it."""
    window = next((one for one in reading.windows if one.scope == f"app:{reading.app}"), None)
    return Outlook(
        survey=survey,
        limit=window.limit if window else 0,
        window=window.window if window else timedelta(hours=1),
        share=share,
        rate=_rate(reading, share),
    )


def _rate(reading: AppReading, share: float) -> float:
    """Return how many calls a second may be planned: our share, or what the others leave if that is less."""
    window = next((one for one in reading.windows if one.scope == f"app:{reading.app}"), None)
    if window is None:
        return 0.0
    left = window.usable.get(ServiceClass.BACKGROUND, window.limit) - window.others
    return max(0.0, min(share * window.limit, left)) / window.window.total_seconds()
