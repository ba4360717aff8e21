"""How long things are kept: what is old is deleted by the leading dispatcher, a little at a time."""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Final

from wabajobs import events
from wabajobs.clock import Clock
from wabajobs.ledger import Ages, Ledger
from wabajobs.settings import RetentionSettings

_LOOK_SECONDS: Final = 60.0
"""How long to rest when there was nothing left to delete."""


def ages(settings: RetentionSettings, *, operations: timedelta | None = None) -> Ages:
    """Return the ages of the settings; `operations` says otherwise for all finished ones."""
    return Ages(
        finished=operations or timedelta(days=settings.finished_days),
        failed=operations or timedelta(days=settings.failed_days),
        pages=timedelta(days=settings.pages_days),
        requests=timedelta(days=settings.key_days),
        changes=timedelta(days=settings.changes_days),
        media=timedelta(days=settings.media_days),
        events=timedelta(days=settings.event_days),
        seen=timedelta(days=settings.seen_days),
        incidents=timedelta(days=settings.incident_days),
    )


class Pruner:
    """Deletes what is old, one small transaction at a time."""

    def __init__(
        self,
        ledger: Ledger,
        settings: RetentionSettings,
        *,
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep things for as long as the settings say."""
        self._ledger = ledger
        self._settings = settings
        self._clock = clock
        self._monotonic = monotonic
        self._steps: Iterator[tuple[str, int]] | None = None
        self._rest_until = 0.0

    def work(self) -> None:
        """Delete a little, unless it is time to rest: in small transactions, one after the other for a moment.

        One at each call would be some fifty operations a second, and more than that may end.
        """
        now = self._monotonic()
        if now < self._rest_until:
            return
        if self._steps is None:
            self._steps = self._ledger.retention.prune(ages(self._settings), now=self._clock.now())
        for what, rows in self._steps:
            events.tell("rows_pruned", what=what, rows=rows)
            if self._monotonic() >= now + self._settings.busy_seconds:
                return
        self._steps = None
        self._rest_until = self._monotonic() + _LOOK_SECONDS
