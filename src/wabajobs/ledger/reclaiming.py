"""Reclaiming: what was leased to somebody who is gone comes back."""

from datetime import datetime
from typing import Final

from sqlalchemy import Connection, delete, update

from wabajobs.ledger.attempts import let_join_again
from wabajobs.ledger.history import close_attempt, tell
from wabajobs.ledger.rows import as_operation, select_operations
from wabajobs.ledger.tables import OperationRow, StagedPageRow
from wabajobs.operation import Operation, State

_BATCH: Final = 500


def reclaim(connection: Connection, *, now: datetime, max_attempts: int) -> list[str]:
    """Take back what is leased to nobody any more; return a sentence for each."""
    expired = (
        select_operations()
        .where(OperationRow.leased_until < now)
        .order_by(OperationRow.leased_until)
        .limit(_BATCH)
        .with_for_update(skip_locked=True)
    )
    sentences = []
    for row in connection.execute(expired).mappings().all():
        operation = as_operation(row)
        sentences.append(
            _running(connection, operation, row["worker"], now, max_attempts)
            if operation.state is State.RUNNING
            else _unbegun(connection, operation, now)
        )
    return sentences


def _unbegun(connection: Connection, operation: Operation, now: datetime) -> str:
    connection.execute(
        update(OperationRow)
        .where(OperationRow.id == operation.id, OperationRow.fence == operation.fence)
        .values(leased_until=None)
    )
    tell(connection, now, "dispatcher", "unclaimed", [(operation.id, {"lease": operation.fence})])
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
    close_attempt(connection, operation.id, operation.fence, now=now, outcome="lost", detail=reason)
    if operation.attempts >= max_attempts:
        name = "failed"
        connection.execute(delete(StagedPageRow).where(StagedPageRow.operation_id == operation.id))
    else:
        name = "reclaimed"
        let_join_again(connection, operation.id)
    tell(connection, now, "dispatcher", name, [(operation.id, {"why": reason})])
    return f"{operation.kind} {operation.id}: {reason}"
