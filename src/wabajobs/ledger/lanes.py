"""Lanes: operations that touch the same thing, one after the other in the order in which they were accepted.

Who is not first in its lane is `blocked`, and no dispatcher sees it. Who finishes lets the next one go, in the
same transaction. They are numbered as they come: an id tells when a client made it, by a clock that may be wrong.
"""

import json
from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy import Connection, and_, func, select, text, update
from sqlalchemy.orm import aliased

from wabajobs.ledger import order
from wabajobs.ledger.database import each
from wabajobs.ledger.request import NewOperation
from wabajobs.ledger.tables import OperationRow

_MANY: Final = 500
_ALL: Final = text("SELECT pg_advisory_xact_lock(7246227)")
_SOME: Final = text(
    "WITH others AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared(7246227))"
    " SELECT pg_advisory_xact_lock(hashtextextended(value, 7246227))"
    " FROM others, jsonb_array_elements_text(CAST(:lanes AS jsonb))"
)


def lock(connection: Connection, lanes: Collection[str]) -> None:
    """Let nobody else join or leave these lanes until the transaction's end. SQLite has one writer anyhow.

    To be called before any row of them is locked, so that two transactions cannot wait for each other. PostgreSQL
    has room for some thousand locks in all: who wants very many locks all lanes at once, with one.
    """
    if not lanes or connection.dialect.name != "postgresql":
        return
    if len(lanes) > _MANY:
        connection.execute(_ALL)
    else:
        connection.execute(_SOME, {"lanes": json.dumps(sorted(lanes))})


def numbers(connection: Connection, requests: Sequence[NewOperation]) -> dict[str, int]:
    """Return the numbers in their lanes, by their ids, of those who have to wait there."""
    taken = _taken(connection, {one.lane for one in requests if one.lane})
    waiting: dict[str, int] = {}
    for request in requests:
        if request.lane in taken:
            waiting[request.id] = taken[request.lane]
        if request.lane:
            taken[request.lane] = taken.get(request.lane, 0) + 1
    return waiting


def _taken(connection: Connection, lanes: Collection[str]) -> dict[str, int]:
    """Return those lanes in which something is not finished, and the number of who comes next to each."""
    if not lanes:
        return {}
    lane = each(connection, "lanes")
    row = aliased(OperationRow)
    of_lane = and_(row.lane == lane.c.value, row.finished_at.is_(None))
    # One look for each lane: of an EXISTS PostgreSQL makes a join, which may read all that is open, and only the
    # order of a lane's own index leaves it no other.
    last_first = select(row.turn).where(of_lane).order_by(row.blocked.desc(), row.turn.desc(), row.id.desc())
    somebody = last_first.limit(1).scalar_subquery()
    last = last_first.where(row.blocked.is_(True)).limit(1).scalar_subquery()
    query = select(lane.c.value.label("lane"), (func.coalesce(last, 0) + 1).label("number")).where(
        somebody.is_not(None)
    )
    found = connection.execute(query, {"lanes": json.dumps(sorted(lanes))})
    return {row.lane: row.number for row in found}


def let_next_go(connection: Connection, lanes: Collection[str]) -> None:
    """Unblock the first that waits in each lane in which nothing goes any more; it queues as if it came now."""
    if not lanes:
        return
    lane = each(connection, "lanes")
    row = aliased(OperationRow)
    of_lane = and_(row.lane == lane.c.value, row.finished_at.is_(None))
    in_order = select(row.id).where(of_lane, row.blocked.is_(True)).order_by(row.turn, row.id)
    who_goes = select(row.id).where(of_lane, row.blocked.is_(False)).order_by(row.turn, row.id).limit(1)
    nobody_goes = who_goes.scalar_subquery().is_(None)
    query = select(in_order.limit(1).scalar_subquery()).select_from(lane).where(nobody_goes)
    found = connection.scalars(query, {"lanes": json.dumps(sorted(lanes))})
    if following := [id_ for id_ in found if id_ is not None]:
        order.queue_again(connection, following)
        connection.execute(update(OperationRow).where(OperationRow.id.in_(following)).values(blocked=False))
