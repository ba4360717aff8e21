"""An attempt in the ledger: its beginning, its checkpoints, its end. All of it is fenced."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Integer, and_, bindparam, delete, exists, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import aliased

from wabajobs.capability import Capability
from wabajobs.decisions import Pause
from wabajobs.errors import LeaseLost
from wabajobs.ledger import lanes
from wabajobs.ledger.conditions import LEASES, OPEN, held_by, named
from wabajobs.ledger.decisions import live_pauses
from wabajobs.ledger.history import tell
from wabajobs.ledger.rows import as_operation, select_operations
from wabajobs.ledger.tables import OperationRow, StagedPageRow, UtcDateTime
from wabajobs.operation import Operation, State, hold_of
from wabajobs.outcome import Done, Failed, Hold, NotBegun

_NO_HOLD: Final[dict[str, Any]] = {
    "hold_reason": None,
    "hold_by": None,
    "hold_until": None,
    "hold_notice": None,
}


@dataclass(frozen=True)
class Ending:
    """An attempt that is over: the operation as it was begun, and what came of it."""

    operation: Operation
    outcome: Done | Hold | Failed


def begin_all(
    connection: Connection,
    leases: Sequence[tuple[str, int]],
    *,
    worker: str,
    pauses: Collection[Pause] | None,
    now: datetime,
    lease: timedelta,
) -> list[Operation | NotBegun]:
    """Let the holders of leases (id, fence) start; without `pauses`, those that this transaction sees count."""
    if pauses is None:
        pauses = live_pauses(connection, now)
    answers: dict[tuple[str, int], Operation | NotBegun] = {}
    if pauses:
        for one in leases:
            if pause := _pause_over(connection, one[0], pauses):
                answers[one] = _give_back(connection, one, pause, worker=worker, now=now)
    to_begin = [one for one in leases if one not in answers]
    begun = connection.execute(_BEGIN, {"until": now + lease, "by": worker, **named(to_begin)}).mappings()
    answers |= {(row["id"], row["fence"]): as_operation(row) for row in begun}
    tell(
        connection,
        now,
        worker,
        "begun",
        [(id_, None, fence) for (id_, fence), one in answers.items() if isinstance(one, Operation)],
    )
    return [answers[one] if one in answers else _why_not(connection, *one) for one in leases]


def end_all(
    connection: Connection, endings: Sequence[Ending], *, worker: str, now: datetime
) -> list[LeaseLost | None]:
    """Write down how attempts ended, and end their leases; `LeaseLost` for those who no longer had theirs."""
    lanes.lock(connection, {one.operation.lane for one in endings if one.operation.lane})
    leases = [(one.operation.id, one.operation.fence) for one in endings]
    held = set(connection.scalars(RUNNING_AMONG, named(leases)))
    kept = [one for one in endings if one.operation.id in held]
    if kept:
        told = [(one, _ending(one.outcome, now)) for one in kept]
        connection.execute(_END, [{"whom": one.operation.id, **values} for one, (_, _, values) in told])
        for name in {name for _, (name, _, _) in told}:
            whom = [
                (one.operation.id, detail, one.operation.fence) for one, (its, detail, _) in told if its == name
            ]
            tell(connection, now, worker, name, whom)
        _clear_up(connection, kept)
    return [None if id_ in held else _lost(id_, fence) for id_, fence in leases]


def _clear_up(connection: Connection, kept: Sequence[Ending]) -> None:
    finished = [one for one in kept if not isinstance(one.outcome, Hold)]
    lanes.let_next_go(connection, {one.operation.lane for one in finished if one.operation.lane})
    for one in kept:
        if isinstance(one.outcome, Hold) and one.operation.lane:
            let_join_again(connection, one.operation.id)
    failed = [one.operation.id for one in finished if isinstance(one.outcome, Failed)]
    if failed:
        connection.execute(delete(StagedPageRow).where(StagedPageRow.operation_id.in_(failed)))


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
        raise _lost(operation_id, fence)


def require_lease(connection: Connection, operation: Operation) -> None:
    """Raise `LeaseLost` unless the operation still runs under this lease; it does until the transaction's end."""
    held = select(OperationRow.id).where(*held_by(operation.id, operation.fence)).with_for_update()
    if connection.scalar(held) is None:
        raise _lost(operation.id, operation.fence)


def _lost(operation_id: str, fence: int) -> LeaseLost:
    return LeaseLost(f"operation {operation_id}: lease {fence} has gone to somebody else")


def _give_back(
    connection: Connection, lease: tuple[str, int], pause: Pause, *, worker: str, now: datetime
) -> NotBegun:
    operation_id, fence = lease
    if connection.execute(_GIVE_BACK, named([lease])).rowcount:
        tell(connection, now, worker, "given back", [(operation_id, {"why": str(pause)}, fence)])
    return NotBegun(str(hold_of(pause)), settled=False)


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
        **_NO_HOLD,
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
            values |= {"state": State.HELD, "due": outcome.until or now}
            return "held", outcome.as_json(), values | holding(outcome)


def holding(hold: Hold) -> dict[str, Any]:
    """Return what a hold writes into the row of its operation."""
    return {
        "hold_reason": hold.reason,
        "hold_by": hold.by,
        "hold_until": hold.until,
        "hold_notice": hold.notice,
    }


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


_LEASED: Final = and_(LEASES, OperationRow.state.in_(OPEN), OperationRow.leased_until.is_not(None))


# Locked in the order of the ids: two transactions that lock some of the same rows do not wait for each other.
RUNNING_AMONG: Final = (
    select(OperationRow.id)
    .where(LEASES, OperationRow.state == State.RUNNING)
    .order_by(OperationRow.id)
    .with_for_update()
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
    .where(OperationRow.id == bindparam("whom"))
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
