"""Single operations that lie in the ledger: waiting, held or finished, but with no worker."""

from collections.abc import Collection
from typing import Final

from sqlalchemy import ColumnElement, Connection, Integer, bindparam

from wabajobs.ledger.census import Part
from wabajobs.ledger.rows import as_operation, select_operations
from wabajobs.ledger.tables import OperationRow
from wabajobs.operation import Operation, State


def oldest(connection: Connection, part: Part, *, at_most: int) -> list[Operation]:
    """Return those of a part that came first, without those that are on their way to a worker."""
    line = part.line
    its = {
        "kind": line.kind,
        "state": part.state,
        "rank": line.service_class.rank,
        "app": line.app,
        "capability": line.capability,
        "partner": line.partner,
        "number": at_most,
    }
    by = OperationRow.hold_by
    if part.state is not State.HELD:
        ways: list[ColumnElement[bool]] = [
            by.is_(None),
            by.is_not(None),
        ]  # who was held and waits again still has that word
    else:
        ways = [by.is_(None) if part.held_by is None else by == part.held_by]
    rows = [row for way in ways for row in connection.execute(_OLDEST.where(way), its).mappings()]
    return [as_operation(row) for row in sorted(rows, key=lambda row: row["created_at"])[:at_most]]


def among(connection: Connection, ids: Collection[str]) -> list[Operation]:
    """Return those of these operations that no worker has now."""
    rows = connection.execute(_AMONG, {"ids": list(ids)}).mappings() if ids else ()
    return [as_operation(row) for row in rows]


_RESTING: Final = select_operations().where(OperationRow.leased_until.is_(None))
_AMONG: Final = _RESTING.where(OperationRow.id.in_(bindparam("ids", expanding=True)))
# By the columns of the index of what is open, and in its order: so it is read from where a part begins.
_OLDEST: Final = (
    _RESTING.where(
        OperationRow.finished_at.is_(None),
        OperationRow.kind == bindparam("kind"),
        OperationRow.state == bindparam("state"),
        OperationRow.class_rank == bindparam("rank"),
        OperationRow.app == bindparam("app"),
        OperationRow.capability == bindparam("capability"),
        OperationRow.partner == bindparam("partner"),
    )
    .order_by(OperationRow.hold_by, OperationRow.created_at)
    .limit(bindparam("number", type_=Integer))
)
