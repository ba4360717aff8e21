"""How a number goes: what is late or spent is worth an alarm or not by where it is going."""

from collections import deque
from datetime import datetime, timedelta
from itertools import combinations
from statistics import median_low
from typing import Final

_POINTS: Final = 30
"""Of a slope."""


class Course:
    """How a number has gone of late."""

    def __init__(self, span: timedelta) -> None:
        """Look back over `span`."""
        self._span = span
        self._points: deque[tuple[datetime, int]] = deque()

    def take(self, number: int, now: datetime) -> None:
        """Remember how much it is now."""
        if not self._points or now - self._points[-1][0] >= self._span / _POINTS:
            self._points.append((now, number))
        while len(self._points) > 1 and self._points[1][0] <= now - self._span:
            self._points.popleft()

    @property
    def is_known(self) -> bool:
        """Whether it has been looked at for long enough."""
        return len(self._points) > 1 and self._points[-1][0] - self._points[0][0] >= self._span / 2

    @property
    def rate(self) -> float:
        """What it grows by in a second: the middle of all slopes, which a single leap does not bend.

        A header of Meta's can make a budget leap. 0 when it has not been looked at for long enough.
        """
        if not self.is_known:
            return 0.0
        pairs = combinations(self._points, 2)
        slopes = ((after - before) / (end - since).total_seconds() for (since, before), (end, after) in pairs)
        return median_low(slopes)
