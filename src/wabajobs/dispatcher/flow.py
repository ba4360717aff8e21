"""How many operations will have ended by the time that what is released now reaches a worker.

A message takes some hundredths of a second from the decision to the worker. Where operations take seconds that is
nothing; where they end in milliseconds, slots would stand empty meanwhile. So as many may be out beyond the slots
as end within that time: the rate times the time, by Little's law.
"""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Final

_REMEMBER_SECONDS: Final = 1.0
_LEAST_SECONDS: Final = 0.001
"""A rate over less time says nothing: who looks again so soon is answered as before."""


class Flow:
    """The rate at which operations of each queue end."""

    def __init__(self, travel_seconds: float) -> None:
        """Look so far ahead."""
        self._travel = travel_seconds
        self._rates: dict[str, float] = {}
        self._out: Counter[str] = Counter()
        self._looked_at: float | None = None

    def released(self, queue: str, number: int) -> None:
        """Note that more are out."""
        self._out[queue] += number

    def ending(self, out: Mapping[str, int], *, at: float) -> dict[str, int]:
        """Return how many of those that are `out` will have ended soon; `at` is a moment of a steady clock."""
        if self._looked_at is None:
            self._looked_at, self._out = at, Counter(out)
        elif at - self._looked_at >= _LEAST_SECONDS:
            self._measure(out, at - self._looked_at)
            self._looked_at, self._out = at, Counter(out)
        return {queue: int(rate * self._travel) for queue, rate in self._rates.items()}

    def _measure(self, out: Mapping[str, int], seconds: float) -> None:
        weight = 1 - math.exp(-seconds / _REMEMBER_SECONDS)
        for queue in self._out.keys() | self._rates.keys():
            ended = max(0, self._out[queue] - out.get(queue, 0))
            before = self._rates.get(queue, 0.0)
            self._rates[queue] = before + weight * (ended / seconds - before)
