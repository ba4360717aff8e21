"""How long calls take to pass a budget, from what it reads now. docs/seeing.md has the formula."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from itertools import accumulate
from typing import Final

from wabajobs.capability import ServiceClass
from wabajobs.gate import WindowReading
from wabajobs.settings import GateSettings, RampSettings

_RECENT: Final = 1 / 12
"""Part of a window over which `WindowReading.pace` is measured."""


@dataclass(frozen=True, kw_only=True)
class Room:
    """What one budget lets one class of calls use, as it stands now."""

    usable: float
    """Calls in a window, ours and of this class or a higher one; less what others and the rest of us use."""
    used: float
    """Of these, those that are in the window now."""
    recent: float
    """Of these, those of the last twelfth of the window."""
    turn: timedelta
    """After which a call has certainly left the window."""
    paced: bool
    """Whether calls are spread over the window."""

    def takes(self, calls: float) -> timedelta | None:
        """Return how long so many calls take, all of them one after the other; None: for ever."""
        if calls <= 0:
            return timedelta(0)
        if self.usable < 1:
            return None
        rounds = -(-calls // self.usable) - 1
        ring = rounds * self.turn + self._leave(calls - rounds * self.usable - (self.usable - self.used))
        return max(ring, calls / self.usable * self.turn) if self.paced else ring

    def _leave(self, need: float) -> timedelta:
        """Return when so many of the calls in the window have left it: the older ones evenly, then the recent."""
        older = max(0.0, self.used - self.recent)
        if need <= 0:
            return timedelta(0)
        if need <= older:
            return need / older * (1 - _RECENT) * self.turn
        return (1 - _RECENT + _RECENT * min(1.0, (need - older) / max(1.0, self.recent))) * self.turn


def room_of(
    window: WindowReading,
    service_class: ServiceClass,
    *,
    gate: GateSettings,
    rest: float = 0.0,
    percent: int | None = None,
) -> Room:
    """Return what a budget leaves a class; `rest` calls of a window are made by us for other things.

    With `percent`, no more than so many per cent of the limit.
    """
    usable = window.usable.get(service_class, window.limit) - window.others - rest
    if percent is not None:
        usable = min(usable, window.limit * percent / 100)
    reach = window.window + timedelta(seconds=gate.spread_seconds)
    return Room(
        usable=max(0.0, usable),
        used=max(0.0, window.used - rest),
        recent=max(0.0, (window.pace - rest) * _RECENT),
        turn=reach * (1 + 1 / gate.window_buckets),
        paced=gate.pacing and service_class is not ServiceClass.INTERACTIVE,
    )


def takes(calls: Mapping[ServiceClass, float], rooms: Mapping[ServiceClass, Room]) -> timedelta | None:
    """Return how long the calls of all classes take that share a budget; None: for ever.

    Higher classes go first, and all calls count in the same window: so a class is done when its own calls and
    those before it have found room beneath its ceiling. The last to be done counts.
    """
    together = accumulate(calls.get(one, 0.0) for one in ServiceClass)
    spans = [
        rooms[one].takes(before)
        for one, before in zip(ServiceClass, together, strict=True)
        if calls.get(one, 0.0) > 0
    ]
    return longest(spans)


def ramped(span: timedelta, ramp: RampSettings | None) -> timedelta:
    """Return how long something takes that goes on in steps and would take `span` with the whole budget.

    What would be done within the first step is not spread at all.
    """
    if ramp is None:
        return span
    step = timedelta(seconds=ramp.step_seconds)
    if span <= step * ramp.steps[0] / 100:
        return span
    left = span
    for nth, percent in enumerate(ramp.steps):
        share = percent / 100
        if left <= step * share:
            return nth * step + left / share
        left -= step * share
    return len(ramp.steps) * step + left


def longest(spans: Iterable[timedelta | None]) -> timedelta | None:
    """Return the longest span; None, which is for ever, is longer than all."""
    most = timedelta(0)
    for span in spans:
        if span is None:
            return None
        most = max(most, span)
    return most
