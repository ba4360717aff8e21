"""Waking: held operations whose time has come queue again. Retries are woken by who keeps their budget."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Row, bindparam, func, select, text, update

from wabajobs.capability import Capability
from wabajobs.feed import EventKind
from wabajobs.ledger import order
from wabajobs.ledger.history import tell
from wabajobs.ledger.outbox import Told, gist, tell_operations
from wabajobs.ledger.tables import HELD, WAITS_FOR_BUDGET, OperationRow
from wabajobs.operation import State
from wabajobs.outcome import Hold

RETRY: Final = "retry"
"""What holds an operation that is to be tried again after a passing failure."""
RETRY_BUDGET: Final = "retry_budget"
"""What holds it when that time has come, and there are too many such operations."""
_AT_MOST: Final = 1000
_OF_EACH: Final = 200
"""Retries of one capability that one look lets go, at most."""


@dataclass(frozen=True)
class DueRetry:
    """An operation whose back-off is over."""

    id: str
    app: str
    capability: Capability
    held_by: str
    reason: str
    is_due: bool
    """Whether it has to be held on if it may not go; else it is still held by its budget."""


def next_wake(connection: Connection) -> datetime | None:
    """Return when the first of the held operations is due again."""
    return connection.scalar(_NEXT_WAKE)


def wake(connection: Connection, *, now: datetime) -> int:
    """Let those queue again whose time has come, the first thousand, but for retries; return how many."""
    return _let_queue(connection, connection.execute(_AWAKE, {"now": now}).all(), now=now)


def due_retries(connection: Connection, *, now: datetime) -> list[DueRetry]:
    """Return retries whose time has come, first those that wait for their budget: some of each capability."""
    pairs = connection.execute(_WAITING_PAIRS).all()
    waiting = [row for pair in pairs for row in connection.execute(_WAITING, {"of": pair[0], "part": pair[1]})]
    known = {row.id for row in waiting}
    rows = [*waiting, *(row for row in connection.execute(_DUE_RETRIES, {"now": now}) if row.id not in known)]
    return [
        DueRetry(
            row.id, row.app, Capability(row.capability), row.hold_by, row.hold_reason or "", row.due_at <= now
        )
        for row in rows
    ]


def let_retry(connection: Connection, ids: Collection[str], *, now: datetime) -> int:
    """Let these retries queue again, as far as they are still held; return how many."""
    return _let_queue(connection, connection.execute(_LET_RETRY, {"ids": list(ids)}).all(), now=now)


def _let_queue(connection: Connection, rows: Sequence[Row[str, bool]], *, now: datetime) -> int:
    order.queue_again(connection, [row.id for row in rows if not row.blocked])
    ids = [row.id for row in rows]
    connection.execute(_QUEUE, {"ids": ids})
    tell(connection, now, "dispatcher", "due", [(id_, None, None) for id_ in ids])
    return len(ids)


def postpone(connection: Connection, holds: Mapping[str, Hold], *, now: datetime) -> None:
    """Hold due retries on; the first time that this happens to one is a part of its story."""
    rows = connection.execute(_STILL_DUE, {"now": now, "ids": list(holds)}).all()
    if not rows:
        return
    connection.execute(
        _POSTPONE,
        [
            {
                "whom": row.id,
                "its_reason": hold.reason,
                "by": hold.by,
                "until": hold.until,
                "its_told": gist(hold),
            }
            for row in rows
            for hold in [holds[row.id]]
        ],
    )
    news = [row for row in rows if row.told != gist(holds[row.id])]
    tell_operations(
        connection, now, [Told(row, EventKind.HELD, {"hold": holds[row.id].as_json()}) for row in news]
    )
    first = [(row.id, holds[row.id].as_json(), None) for row in rows if row.hold_by == RETRY]
    tell(connection, now, "dispatcher", "held", first)


_NEXT_WAKE: Final = select(func.min(OperationRow.due_at)).where(text(HELD))
_DUE: Final = (text(HELD), OperationRow.due_at <= bindparam("now"))
_IS_RETRY: Final = func.coalesce(OperationRow.hold_by, "").in_([RETRY, RETRY_BUDGET])
_FACTS: Final = (
    OperationRow.id,
    OperationRow.app,
    OperationRow.capability,
    OperationRow.hold_by,
    OperationRow.hold_reason,
    OperationRow.due_at,
)
_DUE_RETRIES: Final = select(*_FACTS).where(*_DUE, _IS_RETRY).order_by(OperationRow.due_at).limit(_AT_MOST)
_WAITING_PAIRS: Final = select(OperationRow.app, OperationRow.capability).where(text(WAITS_FOR_BUDGET)).distinct()
_WAITING: Final = (
    select(*_FACTS)
    .where(
        OperationRow.app == bindparam("of"), OperationRow.capability == bindparam("part"), text(WAITS_FOR_BUDGET)
    )
    .order_by(OperationRow.due_at)
    .limit(_OF_EACH)
)
_THESE: Final = OperationRow.id.in_(bindparam("ids", expanding=True))
_QUEUEING: Final = select(OperationRow.id, OperationRow.blocked).with_for_update(skip_locked=True)
_AWAKE: Final = (
    _QUEUEING.where(*_DUE, ~_IS_RETRY)
    .order_by(OperationRow.due_at, OperationRow.turn, OperationRow.place, OperationRow.id)
    .limit(_AT_MOST)
)
_LET_RETRY: Final = _QUEUEING.where(text(HELD), _IS_RETRY, _THESE).order_by(
    OperationRow.due_at, OperationRow.turn, OperationRow.place, OperationRow.id
)
_QUEUE: Final = update(OperationRow).where(_THESE).values(state=State.WAITING)
_STILL_DUE: Final = (
    select(
        OperationRow.id,
        OperationRow.hold_by,
        OperationRow.told,
        OperationRow.kind,
        OperationRow.partner,
        OperationRow.app,
        OperationRow.waba,
    )
    .where(*_DUE, _THESE)
    .order_by(OperationRow.id)
    .with_for_update(skip_locked=True)
)
_POSTPONE: Final = (
    update(OperationRow)
    .where(OperationRow.id == bindparam("whom"))
    .values(
        due_at=bindparam("until"),
        hold_until=bindparam("until"),
        hold_by=bindparam("by"),
        hold_reason=bindparam("its_reason"),
        told=bindparam("its_told"),
    )
)
