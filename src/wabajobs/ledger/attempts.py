"""An attempt in the ledger: its beginning, its checkpoints, its end. All of it is fenced."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Integer, and_, bindparam, delete, exists, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import aliased

from wabajobs.capability import Capability
from wabajobs.decisions import Pause
from wabajobs.errors import LeaseLost
from wabajobs.ledger.conditions import OPEN, held_by
from wabajobs.ledger.decisions import live_pauses
from wabajobs.ledger.history import close_attempt, tell
from wabajobs.ledger.rows import as_operation, select_operations
from wabajobs.ledger.tables import AttemptRow, OperationRow, StagedPageRow, UtcDateTime
from wabajobs.operation import Operation, State, hold_of
from wabajobs.outcome import Done, Failed, Hold, NotBegun

_NO_HOLD: Final[dict[str, Any]] = {
    "hold_reason": None,
    "hold_by": None,
    "hold_until": None,
    "hold_notice": None,
}


def begin(
    connection: Connection,
    operation_id: str,
    fence: int,
    *,
    worker: str,
    pauses: Collection[Pause] | None,
    now: datetime,
    lease: timedelta,
) -> Operation | NotBegun:
    """Let the holder of the lease start; without `pauses`, those that this transaction sees count."""
    if pauses is None:
        pauses = live_pauses(connection, now)
    if pauses and (pause := _pause_over(connection, operation_id, pauses)):
        given_back = connection.execute(_GIVE_BACK, {"whom": operation_id, "under": fence}).rowcount
        if given_back:
            tell(connection, now, worker, "given back", [(operation_id, {"why": str(pause)})])
        return NotBegun(str(hold_of(pause)), settled=False)
    begun = connection.execute(_BEGIN, {"whom": operation_id, "under": fence, "until": now + lease, "by": worker})
    row = begun.mappings().one_or_none()
    if row is None:
        return _why_not(connection, operation_id, fence)
    attempt = {"operation_id": operation_id, "fence": fence, "worker": worker, "begun_at": now}
    connection.execute(_OPEN_ATTEMPT, attempt)
    tell(connection, now, worker, "begun", [(operation_id, {"lease": fence})])
    return as_operation(row)


def end(
    connection: Connection,
    operation_id: str,
    fence: int,
    outcome: Done | Hold | Failed,
    *,
    worker: str,
    now: datetime,
) -> None:
    """Write down how an attempt ended, and end its lease. Raises `LeaseLost`."""
    name, detail, values = _ending(outcome, now)
    moved = connection.execute(_END, {"whom": operation_id, "under": fence, **values}).rowcount
    if not moved:
        raise LeaseLost(f"operation {operation_id}: lease {fence} has gone to somebody else")
    close_attempt(connection, operation_id, fence, now=now, outcome=name, detail=str(outcome))
    tell(connection, now, worker, name, [(operation_id, detail)])
    if isinstance(outcome, Hold):
        let_join_again(connection, operation_id)
    elif isinstance(outcome, Failed):
        connection.execute(delete(StagedPageRow).where(StagedPageRow.operation_id == operation_id))


def write_checkpoint(
    connection: Connection,
    operation_id: str,
    fence: int,
    checkpoint: dict[str, Any],
    *,
    capability: Capability,
) -> None:
    """Write a checkpoint inside a transaction; the fence makes all of it void for a late worker."""
    moved = connection.execute(
        update(OperationRow)
        .where(*held_by(operation_id, fence))
        .values(checkpoint=checkpoint, capability=str(capability))
    ).rowcount
    if not moved:
        raise LeaseLost(f"operation {operation_id}: lease {fence} has gone to somebody else")


def require_lease(connection: Connection, operation: Operation) -> None:
    """Raise `LeaseLost` unless the operation still runs under this lease; it does until the transaction's end."""
    held = select(OperationRow.id).where(*held_by(operation.id, operation.fence)).with_for_update()
    if connection.scalar(held) is None:
        raise LeaseLost(f"operation {operation.id}: lease {operation.fence} has gone to somebody else")


def _pause_over(connection: Connection, operation_id: str, pauses: Collection[Pause]) -> Pause | None:
    row = connection.execute(_ONE, {"whom": operation_id}).mappings().one_or_none()
    return as_operation(row).pause_among(pauses) if row else None


def _why_not(connection: Connection, operation_id: str, fence: int) -> NotBegun:
    row = connection.execute(_ONE, {"whom": operation_id}).mappings().one_or_none()
    if row is None:
        return NotBegun("not begun: the ledger knows no such operation", settled=True)
    operation = as_operation(row)
    if operation.state.finished:
        return NotBegun(f"not begun: already {operation.state}", settled=True)
    if operation.state is State.RUNNING:
        return NotBegun("not begun: another worker has it", settled=True)
    return NotBegun(f"not begun: lease {fence} is over, the ledger releases it again", settled=False)


def _ending(outcome: Done | Hold | Failed, now: datetime) -> tuple[str, dict[str, Any] | None, dict[str, Any]]:
    """Return an outcome's event, the event's detail, and what `_END` writes into the row."""
    values: dict[str, Any] = {
        "state": State.WAITING,
        "due": None,
        "refund": 0,
        "result": None,
        "error": None,
        "finished": None,
        "hold_reason": None,
        "hold_by": None,
        "hold_until": None,
        "hold_notice": None,
    }
    match outcome:
        case Done(result):
            return "succeeded", result, values | {"state": State.SUCCEEDED, "result": result, "finished": now}
        case Failed(reason, error):
            error = {"message": reason, **error}
            return "failed", error, values | {"state": State.FAILED, "error": error, "finished": now}
        case Hold():
            values["refund"] = 0 if outcome.spends_attempt else 1
            if outcome.by == "pause":
                # The pause itself says why it waits, while it lasts; the row needs no copy to go stale.
                return "paused", outcome.as_json(), values | {"due": now}
            hold = {
                "state": State.HELD,
                "due": outcome.until or now,
                "hold_reason": outcome.reason,
                "hold_by": outcome.by,
                "hold_until": outcome.until,
                "hold_notice": outcome.notice,
            }
            return "held", outcome.as_json(), values | hold


def let_join_again(connection: Connection, operation_id: str) -> None:
    """Make a held operation the pending one of its lane, unless a newer one is that already."""
    other = aliased(OperationRow)
    taken = exists().where(other.coalesce_key == OperationRow.lane)
    try:
        with connection.begin_nested():
            connection.execute(
                update(OperationRow)
                .where(OperationRow.id == operation_id, OperationRow.coalesces, ~taken)
                .values(coalesce_key=OperationRow.lane)
            )
    except IntegrityError:
        pass  # a newer request took the place in this very moment; it is the one to be joined


_ONE: Final = select_operations().where(OperationRow.id == bindparam("whom"))


_LEASED: Final = and_(
    OperationRow.id == bindparam("whom"),
    OperationRow.fence == bindparam("under"),
    OperationRow.state.in_(OPEN),
    OperationRow.leased_until.is_not(None),
)


_RUNNING: Final = and_(
    OperationRow.id == bindparam("whom"),
    OperationRow.fence == bindparam("under"),
    OperationRow.state == State.RUNNING,
)


_BEGIN: Final = (
    update(OperationRow)
    .where(_LEASED)
    .values(
        state=State.RUNNING,
        attempts=OperationRow.attempts + 1,
        leased_until=bindparam("until"),
        worker=bindparam("by"),
        coalesce_key=None,  # from here on, a new request is a new operation
        **_NO_HOLD,
    )
    .returning(*OperationRow.__table__.columns)
)


_GIVE_BACK: Final = update(OperationRow).where(_LEASED).values(leased_until=None, state=State.WAITING, **_NO_HOLD)


_END: Final = (
    update(OperationRow)
    .where(_RUNNING)
    .values(
        leased_until=None,
        state=bindparam("state"),
        due_at=func.coalesce(bindparam("due", type_=UtcDateTime), OperationRow.due_at),
        attempts=OperationRow.attempts - bindparam("refund", type_=Integer),
        result=bindparam("result"),
        error=bindparam("error"),
        finished_at=bindparam("finished"),
        hold_reason=bindparam("hold_reason"),
        hold_by=bindparam("hold_by"),
        hold_until=bindparam("hold_until"),
        hold_notice=bindparam("hold_notice"),
    )
)


_OPEN_ATTEMPT: Final = insert(AttemptRow)
