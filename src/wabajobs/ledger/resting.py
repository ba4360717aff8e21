"""Single operations that lie in the ledger: waiting, held or finished, but with no worker."""

from collections.abc import Collection
from typing import Final

from sqlalchemy import Connection, Integer, bindparam

from wabajobs.ledger.census import Part
from wabajobs.ledger.rows import as_operation, select_operations
from wabajobs.ledger.tables import OperationRow
from wabajobs.operation import Operation


def oldest(connection: Connection, part: Part, *, at_most: int) -> list[Operation]:
    """Return those of a part that came first, without those that are on their way to a worker."""
    line = part.line
    its = {"kind": line.kind, "line": line.name, "state": part.state, "number": at_most}
    by = OperationRow.hold_by.is_(None) if part.held_by is None else OperationRow.hold_by == part.held_by
    rows = connection.execute(_OLDEST.where(by) if part.state == "held" else _OLDEST, its).mappings()
    return [as_operation(row) for row in rows]


def among(connection: Connection, ids: Collection[str]) -> list[Operation]:
    """Return those of these operations that no worker has now."""
    rows = connection.execute(_AMONG, {"ids": list(ids)}).mappings() if ids else ()
    return [as_operation(row) for row in rows]


_RESTING: Final = select_operations().where(OperationRow.leased_until.is_(None))
_AMONG: Final = _RESTING.where(OperationRow.id.in_(bindparam("ids", expanding=True)))
_OLDEST: Final = (
    _RESTING.where(
        OperationRow.finished_at.is_(None),
        OperationRow.kind == bindparam("kind"),
        OperationRow.state == bindparam("state"),
        OperationRow.line == bindparam("line"),
    )
    .order_by(OperationRow.created_at)
    .limit(bindparam("number", type_=Integer))
)
