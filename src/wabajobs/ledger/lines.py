"""Lines: where operations queue before they are released, one for each class, app, capability and partner.

A dispatcher that looks at lines never walks through the operations of a partner, an app or a capability that may
not go now, however many there are: it passes the whole line by. In a line, WABAs take turns.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from heapq import nsmallest
from typing import Any, Final, Self

from sqlalchemy import (
    CTE,
    Connection,
    Integer,
    RowMapping,
    ScalarSelect,
    Select,
    String,
    Text,
    bindparam,
    func,
    select,
    text,
    true,
)
from sqlalchemy.orm import aliased

from wabajobs.capability import Capability, ServiceClass
from wabajobs.ledger.database import table_of
from wabajobs.ledger.request import line_name
from wabajobs.ledger.rows import as_operation, select_operations
from wabajobs.ledger.tables import READY, OperationRow
from wabajobs.operation import Operation

_CLASSES: Final = tuple(ServiceClass)
_PASSED_BY: Final = 20
"""How many operations of WABAs that are left out are read over at a line's head. Mostly that is enough: each
comes once in a round, and who joins the line comes in its second."""


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
    def of(cls, operation: Operation) -> Self:
        """Return the line that an operation queues in."""
        return cls.named(operation.kind, line_name(operation))

    @classmethod
    def named(cls, kind: str, name: str) -> Self:
        """Return the line that the column `line` names."""
        rank, app, capability, partner = name.split(":", 3)
        return cls(kind, name, _CLASSES[int(rank)], app, Capability(capability), partner)

    @classmethod
    def at(cls, kind: str, rank: int, app: str, capability: str, partner: str) -> Self:
        """Return the line of such operations."""
        name = f"{rank}:{app}:{capability}:{partner}"
        return cls(kind, name, _CLASSES[rank], app, Capability(capability), partner)


def with_work(connection: Connection, kind: str) -> list[Line]:
    """Return the lines of a queue in which something is ready; costs one look into the index for each."""
    return [Line.named(kind, name) for name in connection.scalars(_WITH_WORK, {"kind": kind})]


def heads(
    connection: Connection, asked: Mapping[Line, int], *, but: Collection[str] = ()
) -> dict[Line, list[Operation]]:
    """Return the first so many of each line, in the order in which they go, but for those of some WABAs.

    In one statement, or a few: one for each line would cost more than what it asks.
    """
    more = _PASSED_BY if but else 0
    walked: dict[tuple[str, str], list[RowMapping]] = {(line.kind, line.name): [] for line in asked}
    for row in _walk(connection, {line: number + more for line, number in asked.items()}):
        walked[row["kind"], row["line"]].append(row)
    found = {}
    for line, number in asked.items():
        rows = walked[line.kind, line.name]
        going = {row["id"]: row for row in rows if row["waba"] not in but}
        if len(going) < number and len(rows) == number + more:
            going |= {row["id"]: row for row in _beside(connection, line, number, but)}
        found[line] = [as_operation(row) for row in sorted(going.values(), key=_order)[:number]]
    return found


def _walk(connection: Connection, asked: Mapping[Line, int]) -> Iterable[RowMapping]:
    """Read so many from the head of each line."""
    if connection.dialect.name == "postgresql":
        of_each = [{"of_kind": line.kind, "of_line": line.name, "number": n} for line, n in asked.items()]
        yield from connection.execute(_HEADS_LATERALLY, {"asked": json.dumps(of_each)}).mappings()
        return
    for number in set(asked.values()):  # SQLite takes a LIMIT from no other table
        those = [(line.kind, line.name) for line, its in asked.items() if its == number]
        given = {"asked": json.dumps(those), "number": number}
        yield from connection.execute(_HEADS_BY_ID, given).mappings()


def _beside(connection: Connection, line: Line, number: int, but: Collection[str]) -> Iterable[RowMapping]:
    """Read the first so many of a line that begins with too many of the WABAs that are left out.

    Costs a look or two into the index for each WABA of the line, however many operations these have. What is
    about no WABA has joined in the second round of its time, which was not after the one that is now.
    """
    its = {"kind": line.kind, "line": line.name, "number": number}
    firsts = connection.execute(_FIRST_TURNS, its).all()
    second = min((row.turn for row in firsts), default=0) + 1
    yield from connection.execute(_OF_NO_WABA, {**its, "last": second}).mappings()
    for _, waba in nsmallest(number, [(row.turn, row.waba) for row in firsts if row.waba not in but]):
        yield from connection.execute(_OF_WABA, {**its, "waba": waba}).mappings()


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


def _heads_laterally() -> Select[Any]:
    one = table_of("asked", {"of_kind": String(), "of_line": String(), "number": Integer()})
    first = _first(one.c.of_kind, one.c.of_line, one.c.number).lateral("first")
    return select(*first.c).select_from(one.join(first, true()))


def _heads_by_id() -> Select[Any]:
    one = func.json_each(bindparam("asked", type_=Text)).table_valued("value", name="one")
    kind, line = (func.json_extract(one.c.value, f"$[{part}]") for part in (0, 1))
    first = _first(kind, line, bindparam("number", type_=Integer))
    ids = first.with_only_columns(OperationRow.id).correlate(one)
    return select_operations().select_from(one.join(OperationRow, OperationRow.id.in_(ids)))


def _first(kind: Any, line: Any, number: Any) -> Select[Any]:
    query = select_operations().where(OperationRow.kind == kind, OperationRow.line == line, text(READY))
    return query.order_by(OperationRow.turn, OperationRow.place, OperationRow.id).limit(number)


def _values(name: str, *given: str) -> CTE:
    """The values of a column in what is ready, where others are as given; a look into the index for each."""

    def first(*behind: Any) -> ScalarSelect[str]:
        row = aliased(OperationRow)
        value = getattr(row, name)
        like = [getattr(row, each) == bindparam(each) for each in given]
        # Not min(): PostgreSQL may then read the whole index, as long as it has no statistics of it.
        query = select(value).where(*like, value.is_not(None), text(READY), *(value > one for one in behind))
        return query.order_by(value).limit(1).scalar_subquery()

    found = select(first().label("value")).cte("found", recursive=True)
    return found.union_all(select(first(found.c.value)).where(found.c.value.is_not(None)))


def _with_work() -> Select[str]:
    found = _values("line", "kind")
    return select(found.c.value).where(found.c.value.is_not(None))


def _first_turns() -> Select[str, int]:
    found = _values("waba", "kind", "line")
    row = aliased(OperationRow)
    of_it = (row.kind == bindparam("kind"), row.line == bindparam("line"), row.waba == found.c.value)
    turn = select(row.turn).where(*of_it, text(READY)).order_by(row.turn).limit(1).scalar_subquery()
    return select(found.c.value.label("waba"), turn.label("turn")).where(found.c.value.is_not(None))


def _of_waba() -> Select[Any]:
    first = _first(*_GIVEN).where(OperationRow.waba == bindparam("waba"))
    return first.order_by(None).order_by(OperationRow.turn)  # as it is in the index


def _of_no_waba() -> Select[Any]:
    return _first(*_GIVEN).where(OperationRow.waba.is_(None), OperationRow.turn <= bindparam("last"))


_GIVEN: Final[tuple[Any, ...]] = (bindparam("kind"), bindparam("line"), bindparam("number", type_=Integer))
_WITH_WORK: Final = _with_work()
_HEADS_LATERALLY: Final = _heads_laterally()
_HEADS_BY_ID: Final = _heads_by_id()
_FIRST_TURNS: Final = _first_turns()
_OF_WABA: Final = _of_waba()
_OF_NO_WABA: Final = _of_no_waba()
