"""Lines: where operations queue before they are released, one for each class, app, capability and partner.

A dispatcher that looks at lines never walks through the operations of a partner, an app or a capability that may
not go now, however many there are: it passes the whole line by. In a line, WABAs take turns.
"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Self

from sqlalchemy import Connection, Integer, Select, and_, bindparam, func, select, text
from sqlalchemy.orm import aliased

from wabajobs.capability import Capability, ServiceClass
from wabajobs.ledger.request import line_name
from wabajobs.ledger.rows import as_operation, select_operations
from wabajobs.ledger.tables import READY, OperationRow
from wabajobs.operation import Operation

_CLASSES: Final = tuple(ServiceClass)


@dataclass(frozen=True, slots=True)
class Line:
    """A line that has something to release."""

    kind: str
    name: str
    service_class: ServiceClass
    app: str
    capability: Capability
    partner: str

    @classmethod
    def named(cls, kind: str, name: str) -> Self:
        """Return the line that the column `line` names."""
        rank, app, capability, partner = name.split(":", 3)
        return cls(kind, name, _CLASSES[int(rank)], app, Capability(capability), partner)


def with_work(connection: Connection, kind: str) -> list[Line]:
    """Return the lines of a queue in which something is ready; costs one look into the index for each."""
    return [Line.named(kind, name) for name in connection.scalars(_WITH_WORK, {"kind": kind})]


def heads(connection: Connection, line: Line, at_most: int, *, but: Collection[str] = ()) -> list[Operation]:
    """Return the first operations of a line, in the order in which they go, but for those of some WABAs."""
    asked = {"kind": line.kind, "line": line.name, "at_most": at_most}
    rows = connection.execute(_heads(frozenset(but)), asked).mappings()
    return [as_operation(row) for row in rows]


def of_waba(operation: Operation) -> Select[str]:
    """Select the ids of what is ready in the operation's line, and about the same WABA."""
    return (
        select(OperationRow.id)
        .where(
            OperationRow.kind == operation.kind,
            OperationRow.line == line_name(operation),
            OperationRow.waba == operation.waba,
            text(READY),
        )
        .order_by(OperationRow.turn)
    )


@lru_cache(maxsize=256)
def _heads(but: frozenset[str]) -> Select[Any]:
    query = select_operations().where(
        OperationRow.kind == bindparam("kind"), OperationRow.line == bindparam("line"), text(READY)
    )
    if but:
        query = query.where(func.coalesce(OperationRow.waba, "").not_in(sorted(but)))
    in_order = query.order_by(OperationRow.turn, OperationRow.place, OperationRow.id)
    return in_order.limit(bindparam("at_most", type_=Integer))


def _with_work() -> Select[str]:
    of_kind = OperationRow.kind == bindparam("kind")
    first = select(func.min(OperationRow.line).label("name")).where(of_kind, text(READY))
    found = first.cte("found", recursive=True)
    row = aliased(OperationRow)
    behind = and_(row.kind == bindparam("kind"), text(READY), row.line > found.c.name)
    following = select(func.min(row.line)).where(behind)
    found = found.union_all(select(following.scalar_subquery()).where(found.c.name.is_not(None)))
    return select(found.c.name).where(found.c.name.is_not(None))


_WITH_WORK: Final = _with_work()
