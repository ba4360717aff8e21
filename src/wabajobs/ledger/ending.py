"""Ending operations that no attempt works at: final at once, and their lanes let the next ones go."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, bindparam, update

from wabajobs.feed import EventKind
from wabajobs.ledger import lanes
from wabajobs.ledger.history import tell
from wabajobs.ledger.outbox import Told, tell_operations
from wabajobs.ledger.tables import OperationRow
from wabajobs.operation import Operation, State
from wabajobs.outcome import Cancelled, Expired, Failed

NO_HOLD: Final[dict[str, Any]] = {
    "hold_reason": None,
    "hold_by": None,
    "hold_until": None,
    "hold_notice": None,
}


def end(
    connection: Connection,
    ends: Sequence[tuple[Operation, Cancelled | Expired | Failed]],
    *,
    now: datetime,
    actor: str,
) -> None:
    """End operations whose rows this transaction has locked, after their lanes."""
    if not ends:
        return
    finals = [(operation, *final(outcome)) for operation, outcome in ends]
    connection.execute(
        _END,
        [
            {"whom": operation.id, "its_state": state, "its_error": error, "now": now}
            for operation, state, error in finals
        ],
    )
    for name in {state for _, state, _ in finals}:
        whom = [
            (operation.id, error, operation.fence or None) for operation, state, error in finals if state is name
        ]
        tell(connection, now, actor, str(name), whom)
    tell_operations(connection, now, [told_of_end(operation, outcome) for operation, outcome in ends])
    lanes.let_next_go(connection, {operation.lane for operation, _ in ends if operation.lane})


def final(outcome: Cancelled | Expired | Failed) -> tuple[State, dict[str, Any]]:
    """Return the state that an outcome means, and the `error` that tells why."""
    match outcome:
        case Cancelled(reason, by):
            return State.CANCELLED, {"message": str(outcome), "type": "Cancelled", "by": by, "reason": reason}
        case Expired(reason):
            return State.EXPIRED, {"message": reason, "type": "Expired"}
        case Failed(reason, error):
            return State.FAILED, {"message": reason, **error}


def told_of_end(operation: Operation, outcome: Cancelled | Expired | Failed) -> Told:
    """Return what the Hub is told of it."""
    state, error = final(outcome)
    return Told(operation, EventKind(f"operation.{state}"), {"error": error})


_END: Final = (
    update(OperationRow)
    .where(OperationRow.id == bindparam("whom"))
    .values(
        state=bindparam("its_state"),
        error=bindparam("its_error"),
        finished_at=bindparam("now"),
        leased_until=None,
        coalesce_key=None,
        blocked=False,
        **NO_HOLD,
    )
)
