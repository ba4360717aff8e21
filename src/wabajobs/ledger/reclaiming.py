"""Reclaiming: what was leased to somebody who is gone comes back."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, and_, bindparam, or_, select, update

from wabajobs.ledger import lanes
from wabajobs.ledger.attempts import let_join_again
from wabajobs.ledger.ending import end
from wabajobs.ledger.history import tell
from wabajobs.ledger.rows import as_operation, select_operations
from wabajobs.ledger.tables import OperationRow
from wabajobs.operation import Operation, State
from wabajobs.outcome import Cancelled, Failed

_AT_MOST: Final = 500
_EXPIRED: Final = (
    select(OperationRow.id, OperationRow.lane)
    .where(OperationRow.leased_until < bindparam("now"))
    .order_by(OperationRow.leased_until)
    .limit(_AT_MOST)
)
_LEFT: Final = or_(
    # A release forgets the worker of the attempt before.
    OperationRow.worker.in_(bindparam("gone", expanding=True)),
    and_(OperationRow.state != State.RUNNING, OperationRow.leased_until < bindparam("unbegun_until")),
)
_LEFT_BEHIND: Final = (
    select(OperationRow.id, OperationRow.lane)
    .where(OperationRow.leased_until.is_not(None), _LEFT)
    .order_by(OperationRow.leased_until)
    .limit(_AT_MOST)
)


@dataclass(frozen=True)
class Reclaimed:
    """An operation that was taken back."""

    id: str
    kind: str
    begun: bool
    """Whether a worker had begun it; if not, its message was lost, or nobody fetched it."""
    sentence: str

    def __str__(self) -> str:
        return self.sentence


def reclaim(
    connection: Connection,
    *,
    now: datetime,
    max_attempts: int,
    gone: Collection[str] = (),
    unbegun_until: datetime | None = None,
) -> list[Reclaimed]:
    """Take back what is leased to nobody any more, as `Operations.reclaim` says."""
    left = {"gone": sorted(gone), "unbegun_until": unbegun_until or now}
    looked = list(connection.execute(_EXPIRED, {"now": now}))
    if gone:
        looked += connection.execute(_LEFT_BEHIND, left)
    if not looked:
        return []
    lanes.lock(connection, {row.lane for row in looked if row.lane})
    expired = (
        select_operations()
        .where(
            OperationRow.id.in_([row.id for row in looked]),
            OperationRow.leased_until.is_not(None),
            or_(OperationRow.leased_until < now, _LEFT),
        )
        .order_by(OperationRow.id)
        .with_for_update(skip_locked=True)
    )
    reclaimed = []
    for row in connection.execute(expired, left).mappings().all():
        operation = as_operation(row)
        begun = operation.state is State.RUNNING
        sentence = (
            _running(connection, operation, row["worker"], now, max_attempts)
            if begun
            else _unbegun(connection, operation, now)
        )
        reclaimed.append(Reclaimed(operation.id, operation.kind, begun, sentence))
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
    if operation.stop:
        cancelled = Cancelled(operation.stop["reason"], operation.stop["by"])
        end(connection, [(operation, cancelled)], now=now, actor="dispatcher")
        return f"{operation.kind} {operation.id}: its worker {worker} is gone; {cancelled}"
    if operation.attempts >= max_attempts:
        reason = f"its worker died {operation.attempts} times; look at the logs, then retry it"
        failed = Failed(reason, {"type": "WorkerDied", "last_worker": worker})
        end(connection, [(operation, failed)], now=now, actor="dispatcher")
        return f"{operation.kind} {operation.id}: {reason}"
    reason = f"its worker {worker} is gone; it goes on from its checkpoint"
    connection.execute(
        update(OperationRow)
        .where(OperationRow.id == operation.id, OperationRow.fence == operation.fence)
        .values(leased_until=None, state=State.WAITING, due_at=now)
    )
    let_join_again(connection, operation.id)
    tell(connection, now, "dispatcher", "reclaimed", [(operation.id, {"why": reason}, operation.fence)])
    return f"{operation.kind} {operation.id}: {reason}"
