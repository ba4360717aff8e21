"""What the attempts of one worker process work with."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from wabajobs import verdict
from wabajobs.capability import ServiceClass
from wabajobs.clock import Clock
from wabajobs.errors import (
    LeaseLost,
)
from wabajobs.gate import RetryBudget
from wabajobs.kinds import Catalogue
from wabajobs.leases import Leases
from wabajobs.ledger import Ending, Ledger
from wabajobs.operation import Operation
from wabajobs.outcome import End, Unbegun
from wabajobs.permits import Client, Gate
from wabajobs.settings import Settings
from wabajobs.sightings import Told
from wabajobs.together import Together
from wabajobs.vault import Vault


class Enqueue(Protocol):
    """Accepts an operation on behalf of another, about the same WABA."""

    def __call__(self, whose: Operation, kind: str, *, key: str, service_class: ServiceClass | None) -> str:
        """Return its id; once for each key."""
        ...


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What an attempt works with: the parts of the house, put together once per worker process."""

    ledger: Ledger
    gate: Gate
    client: Client
    kinds: Catalogue
    leases: Leases
    settings: Settings
    clock: Clock
    vault: Vault
    worker: str
    """The name under which the ledger knows this worker."""
    enqueue: Enqueue
    retry_budget: RetryBudget | None = None
    """Is told of retries that went well."""
    tell: Callable[[Iterable[Told]], object] = lambda _: None
    """Is told what was seen of Meta and the breakers, and never waits."""

    @cached_property
    def begin(self) -> Together[tuple[str, int], Operation | Unbegun]:
        """Begins attempts under leases `(id, fence)`; those of several threads in one transaction."""
        return Together(self._begin_all)

    @cached_property
    def record(self) -> Together[Ending, End]:
        """Records how attempts ended; those of several threads in one transaction. Raises `LeaseLost`."""
        return Together(self._record_all)

    def _begin_all(self, leases: Sequence[tuple[str, int]]) -> list[Operation | Unbegun]:
        now = self.clock.now()
        return self.ledger.operations.begin_all(leases, worker=self.worker, now=now, lease=self.leases.length)

    def _record_all(self, endings: Sequence[Ending]) -> list[End | LeaseLost]:
        return self.ledger.operations.record_all(endings, worker=self.worker, now=self.clock.now())

    def verdict(self, error: Exception, operation: Operation) -> End:
        """Return how an attempt at an operation ends that has come to this error."""
        settings = self.settings.dispatch
        return verdict.of(error, attempts=operation.attempts, now=self.clock.now(), settings=settings)
