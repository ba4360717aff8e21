"""The order of a line: in rounds, so that WABAs take turns; within a round by age, or as the kind says.

An operation's round is the one after that of the line's head, or after the last in which its WABA has a place: so
a WABA with thousands of operations comes once in each round. Nobody joins the round that is under way: so it
ends, though WABAs with one operation come, are served, and come again. Who was held or blocked queues anew.
Source: Goyal, Vin, Cheng: Start-time fair queueing, 1997; each WABA is a flow, each operation of length one.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Protocol

from sqlalchemy import Connection, bindparam, func, select, text, update

from wabajobs.ledger.database import each
from wabajobs.ledger.request import NewOperation
from wabajobs.ledger.tables import READY, OperationRow, TemplateListRow
from wabajobs.operation import Order


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
    rounds = dict.fromkeys((one.id for one in requests), 0)
    # Who coalesces has one pending operation per WABA at most: every round is the first.
    flows: dict[tuple[str, str], list[Queuing]] = {}
    for one in requests:
        if not one.coalesces:
            flows.setdefault((one.kind, one.line), []).append(one)
    for (kind, line), theirs in flows.items():
        last = _last_turns(connection, kind, line, {one.waba for one in theirs if one.waba})
        first = _first_turn(connection, kind, line)
        for one in theirs:
            rounds[one.id] = max(first, last.get(one.waba or "", -1) + 1)
            if one.waba:
                last[one.waba] = rounds[one.id]
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


def _first_turn(connection: Connection, kind: str, line: str) -> int:
    head = connection.scalar(_HEAD_TURN, {"kind": kind, "line": line})
    return 0 if head is None else head + 1


def _last_turns(connection: Connection, kind: str, line: str, wabas: set[str]) -> dict[str, int]:
    if not wabas:
        return {}
    waba = each(connection, "wabas")
    last = (
        select(func.max(OperationRow.turn))
        .where(
            OperationRow.kind == bindparam("kind"),
            OperationRow.line == bindparam("line"),
            OperationRow.waba == waba.c.value,
            text(READY),
        )
        .scalar_subquery()
    )
    asked = {"kind": kind, "line": line, "wabas": json.dumps(sorted(wabas))}
    found = connection.execute(select(waba.c.value, last), asked)
    return {name: turn for name, turn in found if turn is not None}


def _read_at(connection: Connection, wabas: set[str]) -> dict[str, float]:
    if not wabas:
        return {}
    waba = each(connection, "wabas")
    query = select(TemplateListRow.waba, TemplateListRow.last_success_at).where(
        TemplateListRow.waba.in_(select(waba.c.value))
    )
    found: Any = connection.execute(query, {"wabas": json.dumps(sorted(wabas))})
    return {name: moment.timestamp() for name, moment in found if moment is not None}


_HEAD_TURN: Final = select(func.min(OperationRow.turn)).where(
    OperationRow.kind == bindparam("kind"), OperationRow.line == bindparam("line"), text(READY)
)
_MOVE: Final = update(OperationRow).where(OperationRow.id == bindparam("whom")).values(turn=bindparam("to"))
