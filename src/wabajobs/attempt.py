"""One attempt at an operation, in order: begin, steps, verdict, record."""

import time
from collections.abc import Callable
from contextlib import suppress

from wabajobs import events
from wabajobs.bench import Bench
from wabajobs.desk import Desk
from wabajobs.errors import (
    GateUnavailable,
    Held,
    LeaseLost,
    LedgerUnavailable,
    WabajobsError,
)
from wabajobs.ledger import Ending
from wabajobs.operation import Operation
from wabajobs.outcome import Done, End, Failed, NotBegun, Outcome, Unbegun

_ASK_AGAIN_SECONDS = 0.5
"""Between two looks for a database that is away."""


def perform(operation_id: str, fence: int, *, bench: Bench) -> Outcome:
    """Make one attempt at an operation under the lease `fence`. Returns how it ended."""
    operation, since = _begun((operation_id, fence), bench)
    if not isinstance(operation, Operation):
        return operation
    events.about(
        operation=operation.id,
        kind=operation.kind,
        partner=operation.partner,
        waba=operation.waba,
        app=operation.app,
        capability=operation.capability,
        attempt=fence,
    )
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
        return desk.explained(bench.verdict(error, operation))
    return Done(desk.results)


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
            outcome = bench.verdict(error, operation)
