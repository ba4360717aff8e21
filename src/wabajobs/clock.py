"""The only place that reads the wall clock, so that a test can move time by hand."""

from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Tells the time; all of it aware, in UTC."""

    def now(self) -> datetime:
        """Return the present moment, aware, in UTC."""
        ...


class SystemClock:
    """The machine's clock. Hosts are expected to be synchronised to well under a lease's length."""

    def now(self) -> datetime:
        """Return the present moment, aware, in UTC."""
        return datetime.now(UTC)


class HandClock:
    """A clock that stands still until somebody moves it."""

    def __init__(self, start: datetime | None = None) -> None:
        """Start at `start`, or at an arbitrary fixed moment."""
        self._now = start or datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        """Return where the hands point."""
        return self._now

    def advance(self, by: timedelta) -> None:
        """Move the hands forward (or, with a negative step, back)."""
        self._now += by
