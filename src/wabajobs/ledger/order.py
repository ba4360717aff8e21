"""The order of a line: in rounds, so that WABAs take turns; within a round by age, or as the kind says.

An operation's round is the one after that of the line's head, or after the last in which its WABA has a place: so
a WABA with thousands of operations comes once in each round. Nobody joins the round that is under way: so it
ends, though WABAs with one operation come, are served, and come again. Who was held or blocked queues anew.
Source: Goyal, Vin, Cheng: Start-time fair queueing, 1997; each WABA is a flow, each operation of length one.
"""

import json
from collections.abc import Collection, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final, Protocol

from sqlalchemy import Connection, Select, bindparam, func, select, text, update

from wabajobs.ledger.database import among, each_of
from wabajobs.ledger.request import NewOperation
from wabajobs.ledger.tables import READY, OperationRow, TemplateListRow
from wabajobs.operation import Order

_FLOW: Final = ("of_kind", "of_line", "of_waba")


class Queuing(Protocol):
    """What decides in which round an operation comes."""

    @property
    def id(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def line(self) -> str: ...
    @property
    def waba(self) -> str | None: ...
    @property
    def coalesces(self) -> bool: ...


def turns(connection: Connection, requests: Sequence[Queuing]) -> dict[str, int]:
    """Return the round of each request, by its id."""
    # Who coalesces has one pending operation per WABA at most: every round is the first.
    rounds = dict.fromkeys((one.id for one in requests), 0)
    flowing = [one for one in requests if not one.coalesces]
    dialect = connection.dialect.name
    heads = _rounds(connection, _heads(dialect), {(one.kind, one.line) for one in flowing})
    last = _rounds(connection, _lasts(dialect), {(one.kind, one.line, one.waba) for one in flowing if one.waba})
    for one in flowing:
        first = heads.get((one.kind, one.line), -1) + 1
        rounds[one.id] = max(first, last.get((one.kind, one.line, one.waba or ""), -1) + 1)
        if one.waba:
            last[one.kind, one.line, one.waba] = rounds[one.id]
    return rounds


def queue_again(connection: Connection, ids: Sequence[str]) -> None:
    """Give operations that are about to be ready again their rounds, in this order: they left the old ones."""
    columns = (OperationRow.kind, OperationRow.line, OperationRow.waba, OperationRow.coalesces, OperationRow.turn)
    query = select(OperationRow.id, *columns).where(OperationRow.id.in_(ids))
    found: dict[str, Any] = {row.id: row for row in connection.execute(query)}
    rounds = turns(connection, [found[id_] for id_ in ids])
    moved = [{"whom": id_, "to": turn} for id_, turn in rounds.items() if turn != found[id_].turn]
    if moved:
        connection.execute(_MOVE, moved)


def places(connection: Connection, requests: Sequence[NewOperation], now: datetime) -> dict[str, float]:
    """Return the place of each request within its round, by its id: the smallest goes first."""
    moment = now.timestamp()
    stalest = [one for one in requests if one.order is Order.STALEST]
    read_at = _read_at(connection, {one.waba for one in stalest if one.waba})
    fixed = {Order.OLDEST: moment, Order.NEWEST: -moment}
    return {one.id: fixed.get(one.order, read_at.get(one.waba or "", 0.0)) for one in requests}


def _rounds(
    connection: Connection, query: Select[Any], of: Collection[tuple[str, ...]]
) -> dict[tuple[str, ...], int]:
    """Return the round that is found for each line (kind, line), or flow (kind, line, WABA), that has one."""
    asked = [dict(zip(_FLOW, one, strict=False)) for one in sorted(of)]
    found = connection.execute(query, {"asked": json.dumps(asked)}) if asked else ()
    return {tuple(whose): turn for *whose, turn in found if turn is not None}


@cache
def _heads(dialect: str) -> Select[Any]:
    """The round that is under way in each line that is not empty."""
    line = each_of(dialect, "asked", *_FLOW[:2])
    head = select(func.min(OperationRow.turn)).where(*_ready_in(line)).scalar_subquery()
    return select(*line.c, head)


@cache
def _lasts(dialect: str) -> Select[Any]:
    """The last round in which each flow has a place."""
    flow = each_of(dialect, "asked", *_FLOW)
    of_it = (*_ready_in(flow), OperationRow.waba == flow.c.of_waba)
    return select(*flow.c, select(func.max(OperationRow.turn)).where(*of_it).scalar_subquery())


def _ready_in(line: Any) -> tuple[Any, ...]:
    return OperationRow.kind == line.c.of_kind, OperationRow.line == line.c.of_line, text(READY)


def _read_at(connection: Connection, wabas: set[str]) -> dict[str, float]:
    if not wabas:
        return {}
    those = among(connection, TemplateListRow.waba, "wabas")
    query = select(TemplateListRow.waba, TemplateListRow.last_success_at).where(those)
    found: Any = connection.execute(query, {"wabas": json.dumps(sorted(wabas))})
    return {name: moment.timestamp() for name, moment in found if moment is not None}


_MOVE: Final = update(OperationRow).where(OperationRow.id == bindparam("whom")).values(turn=bindparam("to"))
