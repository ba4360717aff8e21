"""Who spent the budgets: copied from the gate, which forgets it with the window, into the ledger."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, Protocol

from wabajobs import events
from wabajobs.errors import GateUnavailable
from wabajobs.gate import AppReading, SpentPart
from wabajobs.ledger import Ledger, Used, Who

ALL_PARTS: Final = 12
"""Parts of a window that the gate counts in."""
_UNSETTLED_PARTS: Final = 3
"""The newest of them, in which calls may still be settled."""


class Gate(Protocol):
    """What is asked of the gate."""

    def spent_parts(self, app: str, *, newest: int) -> Sequence[SpentPart]:
        """Return who used the app's budget in the newest parts of the window."""
        ...


class Spending:
    """Copies the gate's counters of who spent what into the ledger."""

    def __init__(self, ledger: Ledger, gate: Gate, *, part_seconds: float) -> None:
        """Copy from a gate to a ledger, in parts of a window."""
        self._ledger = ledger
        self._gate = gate
        self._part_seconds = part_seconds
        self._kept: dict[str, dict[datetime, SpentPart]] = {}
        self._kept_at: dict[str, datetime] = {}

    def keep(self, readings: Iterable[AppReading], now: datetime) -> None:
        """Copy the parts of a window that may have changed since the last time, and all of them at first."""
        for reading in readings:
            kept = self._kept.get(reading.app, {})
            try:
                parts = self._gate.spent_parts(reading.app, newest=self._newest(reading.app, now))
            except GateUnavailable as error:
                events.tell("part_failed", part="watch", why=error)
                return
            for part in parts:
                if kept.get(part.since) != part:
                    self._keep(reading.app, part)
            self._kept[reading.app] = {part.since: part for part in parts}
            self._kept_at[reading.app] = now

    def _newest(self, app: str, now: datetime) -> int:
        if app not in self._kept_at:
            return ALL_PARTS
        passed = (now - self._kept_at[app]).total_seconds()
        # A call is settled up to some parts after it was admitted, and counted where it was admitted.
        return min(ALL_PARTS, int(passed / self._part_seconds) + _UNSETTLED_PARTS)

    def _keep(self, app: str, part: SpentPart) -> None:
        used = [
            Used(
                who=Who(queue=one.queue, partner=one.partner, capability=one.capability, waba=one.waba),
                calls=one.calls,
                refused=one.refused,
            )
            for one in part.spenders
        ]
        self._ledger.spending.put(app, part.since, used, lasting=part.lasting, generation=part.generation)
