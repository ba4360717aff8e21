"""Expiring: what has not ended by its deadline is of no use any more."""

from collections.abc import Collection
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, and_, bindparam, select

from wabajobs.ledger import lanes
from wabajobs.ledger.conditions import LEASES, OPEN, named
from wabajobs.ledger.decisions import live_pauses
from wabajobs.ledger.ending import end
from wabajobs.ledger.rows import as_operation, select_operations
from wabajobs.ledger.tables import OperationRow
from wabajobs.operation import Operation, State
from wabajobs.outcome import Expired

# An attempt that is under way stops by itself; a message on its way is refused when it arrives.
_OVERDUE: Final = and_(
    OperationRow.deadline_at <= bindparam("now"),
    OperationRow.finished_at.is_(None),
    OperationRow.leased_until.is_(None),
)
_LOOK: Final = select(OperationRow.id, OperationRow.lane).where(_OVERDUE).order_by(OperationRow.deadline_at)


def any_overdue(connection: Connection, *, now: datetime) -> bool:
    """Whether there is something to expire."""
    return connection.execute(_LOOK.limit(1), {"now": now}).first() is not None


def expire(connection: Connection, *, now: datetime, at_most: int) -> list[Operation]:
    """End what waits or is held past its deadline, so many at most; return what has ended."""
    looked = connection.execute(_LOOK.limit(at_most), {"now": now}).all()
    if not looked:
        return []
    lanes.lock(connection, {row.lane for row in looked if row.lane})
    overdue = select_operations().where(OperationRow.id.in_([row.id for row in looked]), _OVERDUE)
    locked = overdue.order_by(OperationRow.id).with_for_update(skip_locked=True)
    rows = connection.execute(locked, {"now": now}).mappings().all()
    pauses = live_pauses(connection, now)  # a pause touches no rows, and is why they have waited all the same
    ended = [as_operation(row).under(pauses) for row in rows]
    return _expire(connection, ended, now=now, actor="dispatcher")


def expire_leased(
    connection: Connection, leases: Collection[tuple[str, int]], *, now: datetime, actor: str
) -> None:
    """End operations whose messages came too late, as far as they are still on their way."""
    of_these = and_(LEASES, OperationRow.state.in_(OPEN), OperationRow.leased_until.is_not(None))
    touched = connection.scalars(select(OperationRow.lane).where(of_these), named(leases))
    lanes.lock(connection, {lane for lane in touched if lane})
    locked = select_operations().where(of_these).order_by(OperationRow.id).with_for_update()
    rows = connection.execute(locked, named(leases)).mappings().all()
    _expire(connection, [as_operation(row) for row in rows], now=now, actor=actor)


def why(operation: Operation) -> str:
    """Say why an operation expires."""
    deadline = f"its deadline passed at {operation.deadline_at:%Y-%m-%d %H:%M:%S} UTC"
    match operation.state:
        case State.RUNNING:
            return f"{deadline} while it was under way"
        case State.HELD if operation.hold:
            return f"{deadline} while it was held: {operation.hold.reason}"
        case State.NEEDS_INPUT if operation.needs:
            return f"{deadline} while it waited for {' or '.join(one.name for one in operation.needs.asks)}"
        case _:
            return f"{deadline} before it could begin"


def _expire(
    connection: Connection, overdue: Collection[Operation], *, now: datetime, actor: str
) -> list[Operation]:
    end(connection, [(one, Expired(why(one))) for one in overdue], now=now, actor=actor)
    return list(overdue)
