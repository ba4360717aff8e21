"""The order of a line: in rounds, so that WABAs take turns; within a round by age, or as the kind says.

An operation's round is that of the line's head, or the one after the last in which its WABA has a place: so a
WABA with thousands of operations comes once in each round, and one that comes with its first comes in this round.
Source: Goyal, Vin, Cheng: Start-time fair queueing, 1997; each WABA is a flow, each operation of length one.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, bindparam, func, select, text

from wabajobs.ledger.database import each
from wabajobs.ledger.request import NewOperation
from wabajobs.ledger.tables import READY, OperationRow, TemplateListRow
from wabajobs.operation import Order


def turns(connection: Connection, requests: Sequence[NewOperation]) -> dict[str, int]:
    """Return the round of each request, by its id."""
    rounds = dict.fromkeys((one.id for one in requests), 0)
    # Who coalesces has one pending operation per WABA at most: every round is the first.
    flows = [one for one in requests if not one.coalesces]
    for kind, partner in {(one.kind, one.partner) for one in flows}:
        theirs = [one for one in flows if (one.kind, one.partner) == (kind, partner)]
        last = _last_turns(connection, kind, partner, {one.waba for one in theirs if one.waba})
        heads = {line: _head_turn(connection, kind, line) for line in {one.line for one in theirs}}
        for one in theirs:
            after = last[one.waba] + 1 if one.waba in last else 0
            rounds[one.id] = max(heads[one.line], after)
            if one.waba:
                last[one.waba] = rounds[one.id]
    return rounds


def places(connection: Connection, requests: Sequence[NewOperation], now: datetime) -> dict[str, float]:
    """Return the place of each request within its round, by its id: the smallest goes first."""
    moment = now.timestamp()
    stalest = [one for one in requests if one.order is Order.STALEST]
    read_at = _read_at(connection, {one.waba for one in stalest if one.waba})
    fixed = {Order.OLDEST: moment, Order.NEWEST: -moment}
    return {one.id: fixed.get(one.order, read_at.get(one.waba or "", 0.0)) for one in requests}


def _head_turn(connection: Connection, kind: str, line: str) -> int:
    return connection.scalar(_HEAD_TURN, {"kind": kind, "line": line}) or 0


def _last_turns(connection: Connection, kind: str, partner: str, wabas: set[str]) -> dict[str, int]:
    if not wabas:
        return {}
    waba = each(connection, "wabas")
    last = (
        select(func.max(OperationRow.turn))
        .where(
            OperationRow.kind == bindparam("kind"),
            OperationRow.partner == bindparam("partner"),
            OperationRow.waba == waba.c.value,
            text(READY),
        )
        .scalar_subquery()
    )
    asked = {"kind": kind, "partner": partner, "wabas": json.dumps(sorted(wabas))}
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
