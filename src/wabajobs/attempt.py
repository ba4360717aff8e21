"""One attempt at an operation, in order: begin, steps, verdict, record."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from itertools import zip_longest
from typing import Any

from wabajobs import events, verdict
from wabajobs.capability import Capability
from wabajobs.clock import Clock
from wabajobs.errors import (
    DeadlinePassed,
    GateUnavailable,
    Held,
    LeaseLost,
    LedgerUnavailable,
    StopAsked,
    WabajobsError,
)
from wabajobs.gate import RetryBudget
from wabajobs.kinds import Catalogue, Graph, Step, Templates
from wabajobs.leases import Leases
from wabajobs.ledger import Ending, Ledger, why_expired
from wabajobs.operation import Operation
from wabajobs.outcome import Done, End, Failed, NotBegun, Outcome, Unbegun
from wabajobs.permits import Client, Gate, PermittedGraph
from wabajobs.settings import Settings
from wabajobs.together import Together

_ASK_AGAIN_SECONDS = 0.5
"""Between two looks for a database that is away."""


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
    worker: str
    """The name under which the ledger knows this worker."""
    retry_budget: RetryBudget | None = None
    """Is told of retries that went well."""

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


def perform(operation_id: str, fence: int, *, bench: Bench) -> Outcome:
    """Make one attempt at an operation under the lease `fence`. Returns how it ended."""
    operation, since = _begun((operation_id, fence), bench)
    if not isinstance(operation, Operation):
        return operation
    with bench.leases.hold(operation_id, fence, since=since) as may_go_on:
        try:
            outcome = _record(operation, _outcome(operation, bench, may_go_on), bench, may_go_on)
        except (LeaseLost, LedgerUnavailable) as error:
            # Whatever we have done, somebody else decides from here on; we write nothing any more.
            events.tell("lease_lost", operation=operation_id, attempt=fence, why=error)
            return NotBegun(f"not finished: {error}", settled=isinstance(error, LeaseLost))
    events.tell("attempt_ended", operation=operation_id, kind=operation.kind, attempt=fence, outcome=outcome)
    if isinstance(outcome, Done) and operation.attempts > 1 and bench.retry_budget is not None:
        with suppress(GateUnavailable):  # others are tried again a little later, that is all
            bench.retry_budget.give_back(operation.app, operation.capability)
    return outcome


def _begun(lease: tuple[str, int], bench: Bench) -> tuple[Operation | Unbegun, float]:
    """Begin under a lease, and say when; while the database is away, for as long as it may be good."""
    end = time.monotonic() + bench.settings.dispatch.release_lease_seconds
    while True:
        since = time.monotonic()
        try:
            return bench.begin(lease), since
        except LedgerUnavailable as error:
            if since > end:
                return NotBegun(f"not begun: {error}", settled=False), since
        time.sleep(_ASK_AGAIN_SECONDS)


def _outcome(operation: Operation, bench: Bench, may_go_on: Callable[[], None]) -> End:
    desk = Desk(operation=operation, bench=bench, may_go_on=may_go_on)
    try:
        desk.work_off(bench.kinds[operation.kind].steps)
    except LeaseLost:
        raise
    except Exception as error:
        if not isinstance(error, WabajobsError):
            events.tell("attempt_crashed", operation=operation.id, kind=operation.kind)
        return _verdict(error, operation, bench)
    return Done(desk.results)


def _verdict(error: Exception, operation: Operation, bench: Bench) -> End:
    return verdict.of(
        error,
        attempts=operation.attempts,
        now=bench.clock.now(),
        settings=bench.settings.dispatch,
    )


def _record(operation: Operation, outcome: End, bench: Bench, may_go_on: Callable[[], None]) -> End:
    """Write the outcome down, and return it; while the database is away, for as long as the lease may be ours."""
    while True:
        try:
            return bench.record(Ending(operation, outcome))
        except LedgerUnavailable:
            with suppress(Held):  # that the worker is to stop is no reason to forget what has happened
                may_go_on()
            time.sleep(_ASK_AGAIN_SECONDS)
        except WabajobsError:
            raise
        except Exception as error:
            # The outcome cannot be written. That is then the outcome; if not even that can, Celery says so.
            if isinstance(outcome, Failed):
                raise
            events.tell("attempt_crashed", operation=operation.id, kind=operation.kind)
            outcome = _verdict(error, operation, bench)


@dataclass
class Desk:
    """What a step works with: the `Work` of the kinds."""

    operation: Operation
    bench: Bench
    may_go_on: Callable[[], None]
    _done: dict[str, dict[str, Any]] = field(init=False)
    _progress: dict[str, dict[str, Any]] = field(init=False)
    _step: Step = field(init=False)

    def __post_init__(self) -> None:
        """Take up what earlier attempts have kept."""
        kept = self.operation.checkpoint or {}
        self._done = dict(kept.get("done", {}))
        self._progress = dict(kept.get("progress", {}))

    def work_off(self, steps: Sequence[Step]) -> None:
        """Run the steps that no earlier attempt has done, remembering each that is followed by another."""
        for step, following in zip_longest(steps, steps[1:]):
            if step.name in self._done:
                continue
            self._step = step
            self._done[step.name] = step.run(self)
            self._progress.pop(step.name, None)
            if following is not None:  # the end of the last step is recorded with the outcome
                self._write(self._kept(), capability=following.capability)

    @property
    def settings(self) -> Settings:
        """The settings."""
        return self.bench.settings

    @property
    def templates(self) -> Templates:
        """The mirror of templates."""
        return self.bench.ledger.templates

    @property
    def results(self) -> dict[str, Any]:
        """What the steps before this one have returned, together."""
        return {name: value for facts in self._done.values() for name, value in facts.items()}

    @property
    def graph(self) -> Graph:
        """The Graph API, behind the gate."""
        if self._step.capability is None:
            raise RuntimeError(f"step {self._step.name!r} makes calls but declares no capability")
        return PermittedGraph(
            gate=self.bench.gate,
            client=self.bench.client,
            operation=self.operation,
            capability=self._step.capability,
            may_go_on=self._may_call,
            short_wait=timedelta(seconds=self.settings.dispatch.short_wait_seconds),
        )

    def now(self) -> datetime:
        """Return the present moment."""
        return self.bench.clock.now()

    def progress(self) -> dict[str, Any]:
        """Return what this step has kept."""
        return dict(self._progress.get(self._step.name, {}))

    def checkpoint(self, progress: dict[str, Any]) -> dict[str, Any]:
        """Return the whole checkpoint with this step's progress."""
        self._progress[self._step.name] = progress
        return self._kept()

    def keep(self, progress: dict[str, Any]) -> None:
        """Remember this step's progress, at once."""
        self._write(self.checkpoint(progress), capability=self._step.capability)

    def _may_call(self) -> None:
        """Raise when no further call may be made: the lease, the deadline or a person says so."""
        self.may_go_on()
        if self.operation.is_overdue(self.now()):
            raise DeadlinePassed(why_expired(self.operation))
        # A read by primary key, beside a call over the Internet. While the database is away, the lease decides.
        with suppress(LedgerUnavailable):
            if stop := self.bench.ledger.operations.stop_asked(self.operation.id):
                raise StopAsked(stop["reason"], stop["by"])

    def _kept(self) -> dict[str, Any]:
        return {"done": dict(self._done), "progress": dict(self._progress)}

    def _write(self, checkpoint: dict[str, Any], *, capability: Capability | None) -> None:
        self.bench.ledger.operations.record_checkpoint(
            self.operation.id,
            self.operation.fence,
            checkpoint,
            capability=capability or self.operation.capability,
        )
