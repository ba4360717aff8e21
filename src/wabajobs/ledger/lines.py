"""Lines: where operations queue before they are released, one for each class, app, capability and partner.

A dispatcher that looks at lines never walks through the operations of a partner, an app or a capability that may
not go now, however many there are: it passes the whole line by. In a line, WABAs take turns.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Self

from sqlalchemy import (
    Connection,
    Integer,
    RowMapping,
    Select,
    String,
    Text,
    and_,
    bindparam,
    cast,
    column,
    func,
    select,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB
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


def heads(
    connection: Connection, asked: Mapping[Line, int], *, but: Collection[str] = ()
) -> dict[Line, list[Operation]]:
    """Return the first so many of each line, in the order in which they go, but for those of some WABAs.

    With PostgreSQL in one statement: a round trip for each line would cost more than what it asks.
    """
    if connection.dialect.name != "postgresql":
        return {line: _heads_of(connection, line, number, frozenset(but)) for line, number in asked.items()}
    of_each = [{"of_kind": line.kind, "of_line": line.name, "number": number} for line, number in asked.items()]
    rows = connection.execute(_heads_of_all(frozenset(but)), {"asked": json.dumps(of_each)}).mappings()
    found: dict[tuple[str, str], list[RowMapping]] = {}
    for row in rows:
        found.setdefault((row["kind"], row["line"]), []).append(row)
    return {
        line: [as_operation(row) for row in sorted(found.get((line.kind, line.name), ()), key=_order)]
        for line in asked
    }


def _heads_of(connection: Connection, line: Line, number: int, but: frozenset[str]) -> list[Operation]:
    asked = {"kind": line.kind, "line": line.name, "at_most": number}
    return [as_operation(row) for row in connection.execute(_heads(but), asked).mappings()]


def _order(row: RowMapping) -> tuple[int, float, str]:
    return row["turn"], row["place"], row["id"]


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
    return _first(bindparam("kind"), bindparam("line"), bindparam("at_most", type_=Integer), but)


@lru_cache(maxsize=256)
def _heads_of_all(but: frozenset[str]) -> Select[Any]:
    columns = (column("of_kind", String), column("of_line", String), column("number", Integer))
    given = cast(bindparam("asked", type_=Text), JSONB)
    one = func.jsonb_to_recordset(given).table_valued(*columns).render_derived(name="one", with_types=True)
    first = _first(one.c.of_kind, one.c.of_line, one.c.number, but).lateral("first")
    return select(*first.c).select_from(one.join(first, true()))


def _first(kind: Any, line: Any, number: Any, but: frozenset[str]) -> Select[Any]:
    query = select_operations().where(OperationRow.kind == kind, OperationRow.line == line, text(READY))
    if but:
        query = query.where(func.coalesce(OperationRow.waba, "").not_in(sorted(but)))
    return query.order_by(OperationRow.turn, OperationRow.place, OperationRow.id).limit(number)


def _with_work() -> Select[str]:
    of_kind = OperationRow.kind == bindparam("kind")
    # Not min(): PostgreSQL may then read the whole index, as long as it has no statistics of it.
    first = select(OperationRow.line).where(of_kind, text(READY)).order_by(OperationRow.line).limit(1)
    found = select(first.scalar_subquery().label("name")).cte("found", recursive=True)
    row = aliased(OperationRow)
    behind = and_(row.kind == bindparam("kind"), text(READY), row.line > found.c.name)
    following = select(row.line).where(behind).order_by(row.line).limit(1)
    found = found.union_all(select(following.scalar_subquery()).where(found.c.name.is_not(None)))
    return select(found.c.name).where(found.c.name.is_not(None))


_WITH_WORK: Final = _with_work()
