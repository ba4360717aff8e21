"""Lanes: operations that touch the same thing, one after the other in the order in which they were accepted.

Who is not first in its lane is `blocked`, and no dispatcher sees it. Who finishes lets the next one go, in the
same transaction.
"""

import json
from collections.abc import Collection
from typing import Final

from sqlalchemy import BindParameter, Connection, Update, and_, bindparam, exists, func, select, text, update
from sqlalchemy.orm import aliased

from wabajobs.ledger.database import each
from wabajobs.ledger.tables import OperationRow

_LOCKS: Final = text(
    "SELECT pg_advisory_xact_lock(hashtextextended(value, 7246227))"
    " FROM jsonb_array_elements_text(CAST(:lanes AS jsonb))"
)


def lock(connection: Connection, lanes: Collection[str]) -> None:
    """Let nobody else join or leave these lanes until the transaction's end. SQLite has one writer anyhow.

    To be called before any row of them is locked, so that two transactions cannot wait for each other.
    """
    if lanes and connection.dialect.name == "postgresql":
        connection.execute(_LOCKS, {"lanes": json.dumps(sorted(lanes))})


def taken(connection: Connection, lanes: Collection[str]) -> set[str]:
    """Return those lanes in which something is not finished."""
    if not lanes:
        return set()
    lane = each(connection, "lanes")
    # One look for each lane; of an EXISTS PostgreSQL makes a join, which may read all that is open.
    of_lane = and_(OperationRow.lane == lane.c.value, OperationRow.finished_at.is_(None))
    first = select(func.min(OperationRow.id)).where(of_lane).scalar_subquery()
    there = select(lane.c.value).where(first.is_not(None))
    return set(connection.scalars(there, {"lanes": json.dumps(sorted(lanes))}))


def let_next_go(connection: Connection, lanes: Collection[str]) -> None:
    """Unblock the first that waits in each lane in which nothing goes any more."""
    if lanes:
        connection.execute(_LET_GO, [{"of": lane} for lane in sorted(lanes)])


def _let_go() -> Update:
    lane: BindParameter[str] = bindparam("of")
    row = aliased(OperationRow)
    of_lane = and_(row.lane == lane, row.finished_at.is_(None))
    first = select(func.min(row.id)).where(of_lane, row.blocked.is_(True)).scalar_subquery()
    nobody_goes = ~exists().where(of_lane, row.blocked.is_(False))
    return update(OperationRow).where(OperationRow.id == first, nobody_goes).values(blocked=False)


_LET_GO: Final = _let_go()
