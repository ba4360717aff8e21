"""Retries after passing failures: they go again when their back-off is over and the retry budget has room."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Protocol

from wabajobs.capability import Capability
from wabajobs.ledger import RETRY_BUDGET, DueRetry, Ledger
from wabajobs.operation import Operation
from wabajobs.outcome import Hold
from wabajobs.settings import DispatchSettings


class Budget(Protocol):
    """What is asked of the retry budget."""

    @property
    def rule(self) -> str:
        """What it grants, in words."""
        ...

    def note(self, tries: Mapping[tuple[str, Capability], int]) -> None:
        """Count first tries."""
        ...

    def take(self, app: str, capability: Capability, wanted: int) -> int:
        """Return how many retries may go."""
        ...


class Retries:
    """Wakes operations that are to be tried again. Only the dispatcher that leads does it: there is one queue."""

    def __init__(self, ledger: Ledger, budget: Budget, settings: DispatchSettings) -> None:
        """Wake what `budget` grants."""
        self._ledger = ledger
        self._budget = budget
        self._settings = settings
        self._tries: Counter[tuple[str, Capability]] = Counter()

    def count(self, released: Iterable[Operation]) -> None:
        """Count what has been released for the first time: retries get a share of it."""
        self._tries.update((one.app, one.capability) for one in released if not one.attempts)

    def tell(self) -> None:
        """Tell the budget what has been counted. Raises `GateUnavailable`; then it is told later."""
        if self._tries:
            self._budget.note(self._tries)
            self._tries = Counter()

    def let_go(self, *, now: datetime) -> None:
        """Wake retries as far as the budget goes, and hold the others on. Raises `GateUnavailable`."""
        due = self._ledger.operations.due_retries(now=now)
        if not due:
            return
        self.tell()
        granted: list[str] = []
        refused: dict[str, Hold] = {}
        for app, capability in sorted({(one.app, one.capability) for one in due}):
            theirs = [one for one in due if (one.app, one.capability) == (app, capability)]
            number = self._budget.take(app, capability, len(theirs))
            granted += [one.id for one in theirs[:number]]
            refused |= {one.id: self._hold_on(one, now) for one in theirs[number:] if one.is_due}
        if granted:
            self._ledger.operations.let_retry(granted, now=now)
        if refused:
            self._ledger.operations.postpone(refused, now=now)

    def _hold_on(self, one: DueRetry, now: datetime) -> Hold:
        # Until then at the latest its row is looked at again. It goes as soon as there is room.
        until = now + timedelta(seconds=self._settings.retry_cap_seconds)
        return Hold(reason=self._why(one), by=RETRY_BUDGET, until=until)

    def _why(self, one: DueRetry) -> str:
        if one.held_by == RETRY_BUDGET:
            return one.reason
        return (
            f"the retries of {one.capability} in app {one.app} are used up"
            f" ({self._budget.rule}, for all operations together); it waits for room since: {one.reason}"
        )
