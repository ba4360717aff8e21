"""Where an operation that is not finished stands among the others: in its lane, in its line, in whose hands."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Integer, and_, bindparam, func, or_, select, text, tuple_

from wabajobs.ledger.lines import Line
from wabajobs.ledger.tables import READY, OperationRow
from wabajobs.operation import State

MOST_COUNTED: Final = 100_000
"""Operations before one in its line that are counted."""


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """Another operation of the same lane, that goes first."""

    id: str
    kind: str
    state: State


@dataclass(frozen=True, kw_only=True)
class Position:
    """Where an operation stands."""

    line: Line
    is_ready: bool
    """It waits in its line, and a dispatcher may release it."""
    leased_until: datetime | None
    """It has been released, until then at first."""
    worker: str | None
    """Who has begun it, while it runs."""
    goes_first: Neighbour | None
    """Of its lane; None: nobody has to finish before it."""
    before_in_lane: int
    before_in_line: int
    """Never more than `MOST_COUNTED`."""


def position(connection: Connection, operation_id: str) -> Position | None:
    """Return where an operation stands; None when there is none of this id."""
    row = connection.execute(_ROW, {"whom": operation_id}).one_or_none()
    if row is None:
        return None
    is_ready = row.state == State.WAITING and row.leased_until is None and not row.blocked
    ahead = _lane(connection, row) if row.blocked else []
    return Position(
        line=Line.named(row.kind, row.line),
        is_ready=is_ready,
        leased_until=row.leased_until,
        worker=row.worker,
        goes_first=Neighbour(id=ahead[0].id, kind=ahead[0].kind, state=State(ahead[0].state)) if ahead else None,
        before_in_lane=len(ahead),
        before_in_line=_before(connection, row) if is_ready else 0,
    )


def ready_by_line(connection: Connection, kinds: Collection[str]) -> dict[Line, int]:
    """Return how many operations are ready in each line of these queues; read from an index of all of them."""
    query = (
        select(OperationRow.kind, OperationRow.line, func.count().label("number"))
        .where(OperationRow.kind.in_(sorted(kinds)), text(READY))
        .group_by(OperationRow.kind, OperationRow.line)
    )
    return {Line.named(row.kind, row.line): row.number for row in connection.execute(query)}


def _lane(connection: Connection, row: Any) -> list[Any]:
    """Return those of the lane that go before: who is not blocked, and then by number."""
    ahead = and_(
        OperationRow.lane == row.lane,
        OperationRow.finished_at.is_(None),
        OperationRow.id != row.id,
        or_(
            OperationRow.blocked.is_(False),
            tuple_(OperationRow.turn, OperationRow.id) < tuple_(bindparam("turn"), bindparam("id")),
        ),
    )
    query = (
        select(OperationRow.id, OperationRow.kind, OperationRow.state)
        .where(ahead)
        .order_by(OperationRow.blocked, OperationRow.turn, OperationRow.id)
    )
    return list(connection.execute(query, {"turn": row.turn, "id": row.id}))


def _before(connection: Connection, row: Any) -> int:
    place = tuple_(OperationRow.turn, OperationRow.place, OperationRow.id)
    mine = tuple_(bindparam("turn"), bindparam("place"), bindparam("id"))
    before = (
        select(OperationRow.id)
        .where(OperationRow.kind == row.kind, OperationRow.line == row.line, text(READY), place < mine)
        .limit(bindparam("most", type_=Integer))
    )
    query = select(func.count()).select_from(before.subquery())
    return (
        connection.scalar(query, {"turn": row.turn, "place": row.place, "id": row.id, "most": MOST_COUNTED}) or 0
    )


_ROW: Final = select(
    OperationRow.id,
    OperationRow.kind,
    OperationRow.line,
    OperationRow.lane,
    OperationRow.turn,
    OperationRow.place,
    OperationRow.state,
    OperationRow.blocked,
    OperationRow.leased_until,
    OperationRow.worker,
).where(OperationRow.id == bindparam("whom"))
