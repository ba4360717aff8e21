"""How the components are, from what was seen: the same view always gives the same answer.

A component is its operations by each app. All of them run: operational. Some are held: a partial outage; all: a
major one. Slow, tried again or near the limit: degraded. Stopped by a person who has linked no incident: under
maintenance. What concerns single customers is no matter of the public.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Final

from wabajobs.decisions import Pause, ScopeType
from wabajobs.exposed.components import Component, Part
from wabajobs.exposed.view import View
from wabajobs.gate import AppReading, WindowReading

_OF_EVERYBODY: Final = frozenset({ScopeType.ALL, ScopeType.APP, ScopeType.CAPABILITY, ScopeType.QUEUE})
"""Scopes that concern everybody."""


class Status(StrEnum):
    """How a component is, in Statuspage's words."""

    OPERATIONAL = "operational"
    DEGRADED = "degraded_performance"
    PARTIAL = "partial_outage"
    MAJOR = "major_outage"
    MAINTENANCE = "under_maintenance"


class _Runs(IntEnum):
    """How the operations of one part by one app run; the worse, the higher."""

    FINE = 0
    SLOWLY = 1
    PAUSED = 2
    NOT = 3


@dataclass(frozen=True)
class Health:
    """How something is, and why, in words for the public."""

    status: Status
    because: str | None = None


_FINE: Final = (_Runs.FINE, None)
_STOPPED = "We cannot work on these operations at the moment. What is accepted waits, and runs later by itself."
_REFUSED = "Meta refuses these calls at the moment. What is accepted waits, and runs later by itself."
_TRIED = "These calls are tried again, one at a time."
_BUSY = "Close to Meta's limit: what nobody waits for runs later."
_PAUSED = "Paused. What is accepted waits, and runs later by itself."
_SLOW = "These operations go on slowly."


def health(parts: Collection[Part], view: View, *, busy_share: float) -> Health:
    """Return how these operations are."""
    cells = [_of(part, app, view, busy_share=busy_share) for part in parts for app in _apps(view)] or [_FINE]
    worst, because = max(cells, key=lambda cell: cell[0])
    runs = [how for how, _ in cells]
    match worst:
        case _Runs.FINE:
            return Health(Status.OPERATIONAL)
        case _Runs.SLOWLY:
            return Health(Status.DEGRADED, because)
        case _Runs.PAUSED:
            return Health(Status.MAINTENANCE, because)
        case _:
            return Health(Status.MAJOR if min(runs) >= _Runs.PAUSED else Status.PARTIAL, because)


def known_since(parts: Collection[Part], view: View) -> datetime | None:
    """Return since when something stands in the way of these operations, as far as it was written down."""
    began = [
        condition.began_at
        for incident in view.incidents
        for episode in incident.episodes
        for condition in episode.conditions
        if condition.here and any(_is_named(condition.scope, episode.app, part) for part in parts)
    ]
    paused = [
        one.created_at
        for one in view.pauses
        if one.scope.type in _OF_EVERYBODY and any(_covers(one, part, None) for part in parts)
    ]
    return min([*began, *paused], default=None)


def _is_named(scope: str, app: str, part: Part) -> bool:
    return scope in {f"app:{app}", f"queue:{part.kind}", *(f"app:{app}/{each}" for each in part.needs)}


def concerns(pause: Pause, component: Component) -> bool:
    """Whether a pause is a matter of everybody, and of this component."""
    return pause.scope.type in _OF_EVERYBODY and any(_covers(pause, part, None) for part in component.parts)


def is_planned(pause: Pause) -> bool:
    """Whether it is no answer to an incident."""
    return pause.incident is None


def _apps(view: View) -> Iterable[AppReading | None]:
    return view.apps or (None,)


def _of(part: Part, app: AppReading | None, view: View, *, busy_share: float) -> tuple[_Runs, str | None]:
    """Return how a part's operations run by one app; the first thing that stands in their way decides."""
    pauses = [one for one in view.pauses if one.scope.type in _OF_EVERYBODY and _covers(one, part, app)]
    states = {one.state for one in app.breakers if _is_about(one.scope, app, part)} if app else set()
    shut = [one for one in pauses if one.begins_nothing]
    unplanned = [one for one in shut if not is_planned(one)]
    found = (
        (view.ledger_error or view.redis_error or not view.leads, _Runs.NOT, _STOPPED),
        (app is not None and not app.told, _Runs.NOT, _STOPPED),
        ("open" in states, _Runs.NOT, _notice(unplanned) or _REFUSED),
        (unplanned, _Runs.NOT, _notice(unplanned) or _PAUSED),
        (_has_no_worker(part, view), _Runs.NOT, _STOPPED),
        (shut, _Runs.PAUSED, _notice(shut) or _PAUSED),
        (pauses, _Runs.SLOWLY, _notice(pauses) or _SLOW),
        ("half-open" in states, _Runs.SLOWLY, _TRIED),
        (app is not None and _is_busy(app, part, busy_share), _Runs.SLOWLY, _BUSY),
    )
    return next(((runs, because) for is_so, runs, because in found if is_so), _FINE)


def _notice(pauses: Iterable[Pause]) -> str | None:
    """Return what a person has said for the public."""
    return next((one.notice for one in pauses if one.notice), None)


def _covers(pause: Pause, part: Part, app: AppReading | None) -> bool:
    match pause.scope.type:
        case ScopeType.ALL:
            return True
        case ScopeType.APP:
            return app is None or pause.scope.name == app.app
        case ScopeType.CAPABILITY:
            return pause.scope.name in part.needs
        case _:
            return pause.scope.name == part.kind


def _is_about(breaker: str, app: AppReading, part: Part) -> bool:
    return breaker in {f"app:{app.app}", *(f"app:{app.app}/{each}" for each in part.needs)}


def _has_no_worker(part: Part, view: View) -> bool:
    alive = view.workers is None or view.workers.get(part.kind, (0, 0))[0] > 0
    return not alive and view.counted.waits(part.kind)


def _is_busy(app: AppReading, part: Part, share: float) -> bool:
    scopes = {f"app:{app.app}", *(f"capability:{each}" for each in part.needs)}
    return any(_fullness(one) >= share for one in app.windows if one.scope in scopes and not one.shadow)


def _fullness(window: WindowReading) -> float:
    return (window.used + window.others) / window.limit if window.limit else 0.0
