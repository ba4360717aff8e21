"""What came of a drill: each request with its end, each call as Meta saw it, and what follows from them."""

import bisect
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from wabajobs.drills.arrivals import Arrival
from wabajobs.drills.vendor import GraphCall

INTERACTIVE: Final = frozenset(
    {"profile_update", "channel_update", "flow_publish", "number_registration", "onboarding", "hosting_change"}
)
"""What somebody in the Hub waits for, in the ordinary day of a drill."""


@dataclass(frozen=True)
class Request:
    """One request and its end. Moments are hours since the drill's begin."""

    arrival: Arrival
    asked_at: float
    ended_at: float | None
    lost: bool = False
    """It ended without success, and nobody will try it again."""
    operation: str = ""

    @property
    def done(self) -> bool:
        """Whether it got what it asked for."""
        return self.ended_at is not None and not self.lost

    @property
    def waited(self) -> float:
        """Hours until it was done; endless, if it never was."""
        return self.ended_at - self.asked_at if self.ended_at is not None and not self.lost else math.inf


@dataclass(frozen=True)
class Call:
    """A call at Meta."""

    at: float
    good: bool
    refused: bool
    capability: str


@dataclass(frozen=True)
class Account:
    """One side of a drill."""

    name: str
    hours: float
    requests: tuple[Request, ...]
    calls: tuple[Call, ...]

    @cached_property
    def lost(self) -> int:
        """Requests that nobody will serve any more."""
        return sum(one.lost for one in self.requests)

    @cached_property
    def unfinished(self) -> int:
        """Requests that still wait."""
        return sum(one.ended_at is None for one in self.requests)

    @cached_property
    def refused(self) -> int:
        """Calls that Meta refused as too many."""
        return sum(call.refused for call in self.calls)

    def asked_between(self, since: float, until: float) -> int:
        """Requests that came in a time."""
        return sum(since <= one.asked_at < until for one in self.requests)

    def done_between(self, since: float, until: float) -> int:
        """Requests that were done in a time, whenever they had come."""
        return sum(one.done and since <= (one.ended_at or 0) < until for one in self.requests)

    def goodput(self, since: float, until: float) -> float:
        """Requests done in a time, as a share of those that came in it."""
        return self.done_between(since, until) / max(1, self.asked_between(since, until))

    def refused_between(self, since: float, until: float) -> int:
        """Refused calls in a time."""
        return sum(call.refused and since <= call.at < until for call in self.calls)

    def waits(self, since: float, until: float, *, of: Iterable[str] = INTERACTIVE) -> list[float]:
        """Hours that the requests of some kinds waited that came in a time; endless for those never done."""
        kinds = frozenset(of)
        return [
            one.waited for one in self.requests if one.arrival.what in kinds and since <= one.asked_at < until
        ]

    def bins(self, step: float) -> list[float]:
        """Return where each stretch of `step` hours begins."""
        return [number * step for number in range(math.ceil(self.hours / step))]

    def good_calls(self, step: float) -> list[float]:
        """Calls an hour that were answered well, in each stretch."""
        return self._rate((call.at for call in self.calls if call.good), step)

    def refused_calls(self, step: float) -> list[float]:
        """Calls an hour that were refused, in each stretch."""
        return self._rate((call.at for call in self.calls if call.refused), step)

    def done_an_hour(self, step: float) -> list[float]:
        """Requests done in an hour, in each stretch."""
        return self._rate((one.ended_at or 0 for one in self.requests if one.done), step)

    def asked_an_hour(self, step: float) -> list[float]:
        """Requests that came in an hour, in each stretch."""
        return self._rate((one.asked_at for one in self.requests), step)

    def lost_by(self, step: float) -> list[int]:
        """How many were lost up to the end of each stretch."""
        return self._up_to((one.ended_at or 0 for one in self.requests if one.lost), step)

    def backlog(self, step: float) -> list[int]:
        """How many waited at the end of each stretch."""
        came = self._up_to((one.asked_at for one in self.requests), step)
        went = self._up_to((one.ended_at for one in self.requests if one.ended_at is not None), step)
        return [before - after for before, after in zip(came, went, strict=True)]

    def waiting(self, step: float, share: float = 0.95) -> list[float]:
        """Hours that the given share of interactive requests waited at most, by when they came."""
        starts = self.bins(step)
        return [quantile(self.waits(since, since + step), share) for since in starts]

    def _rate(self, moments: Iterable[float], step: float) -> list[float]:
        counts = [0] * len(self.bins(step))
        for at in moments:
            if 0 <= at < self.hours:
                counts[min(int(at / step), len(counts) - 1)] += 1
        return [count / step for count in counts]

    def _up_to(self, moments: Iterable[float], step: float) -> list[int]:
        ordered = sorted(moments)
        return [bisect.bisect_right(ordered, since + step) for since in self.bins(step)]


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of the values do not exceed; NaN of none."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def seen_from(calls: Iterable[GraphCall], hour_of: Callable[[float], float]) -> tuple[Call, ...]:
    """Return Meta's calls by the drill's hours."""
    return tuple(Call(hour_of(one.at), one.good, one.refused, one.capability) for one in calls)
