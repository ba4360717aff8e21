"""Reclaiming: what was leased to somebody who is gone comes back."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, bindparam, delete, select, update

from wabajobs.ledger import lanes
from wabajobs.ledger.attempts import let_join_again
from wabajobs.ledger.history import tell
from wabajobs.ledger.rows import as_operation, select_operations
from wabajobs.ledger.tables import OperationRow, StagedPageRow
from wabajobs.operation import Operation, State

_EXPIRED: Final = (
    select(OperationRow.id, OperationRow.lane)
    .where(OperationRow.leased_until < bindparam("now"))
    .order_by(OperationRow.leased_until)
    .limit(500)
)


@dataclass(frozen=True)
class Reclaimed:
    """An operation that was taken back."""

    kind: str
    begun: bool
    """Whether a worker had begun it; if not, its message was lost, or nobody fetched it."""
    sentence: str

    def __str__(self) -> str:
        return self.sentence


def reclaim(connection: Connection, *, now: datetime, max_attempts: int) -> list[Reclaimed]:
    """Take back what is leased to nobody any more."""
    looked = connection.execute(_EXPIRED, {"now": now}).all()
    if not looked:
        return []
    lanes.lock(connection, {row.lane for row in looked if row.lane})
    expired = (
        select_operations()
        .where(OperationRow.id.in_([row.id for row in looked]), OperationRow.leased_until < now)
        .order_by(OperationRow.id)
        .with_for_update(skip_locked=True)
    )
    reclaimed = []
    for row in connection.execute(expired).mappings().all():
        operation = as_operation(row)
        begun = operation.state is State.RUNNING
        sentence = (
            _running(connection, operation, row["worker"], now, max_attempts)
            if begun
            else _unbegun(connection, operation, now)
        )
        reclaimed.append(Reclaimed(operation.kind, begun, sentence))
    return reclaimed


def _unbegun(connection: Connection, operation: Operation, now: datetime) -> str:
    connection.execute(
        update(OperationRow)
        .where(OperationRow.id == operation.id, OperationRow.fence == operation.fence)
        .values(leased_until=None)
    )
    tell(connection, now, "dispatcher", "unclaimed", [(operation.id, None, operation.fence)])
    return f"{operation.kind} {operation.id}: no worker began lease {operation.fence}; released again"


def _running(connection: Connection, operation: Operation, worker: str, now: datetime, max_attempts: int) -> str:
    if operation.attempts >= max_attempts:
        reason = f"its worker died {operation.attempts} times; look at the logs, then retry it"
        values = {
            "state": State.FAILED,
            "error": {"message": reason, "last_worker": worker},
            "finished_at": now,
        }
    else:
        reason = f"its worker {worker} is gone; it goes on from its checkpoint"
        values = {"state": State.WAITING, "due_at": now}
    connection.execute(
        update(OperationRow)
        .where(OperationRow.id == operation.id, OperationRow.fence == operation.fence)
        .values(leased_until=None, **values)
    )
    if operation.attempts >= max_attempts:
        name = "failed"
        connection.execute(delete(StagedPageRow).where(StagedPageRow.operation_id == operation.id))
        lanes.let_next_go(connection, {operation.lane} if operation.lane else ())
    else:
        name = "reclaimed"
        let_join_again(connection, operation.id)
    tell(connection, now, "dispatcher", name, [(operation.id, {"why": reason}, operation.fence)])
    return f"{operation.kind} {operation.id}: {reason}"
