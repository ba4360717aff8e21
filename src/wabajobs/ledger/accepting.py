"""Accepting: a request becomes one row, once per idempotency key, one pending row per lane."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    Connection,
    Select,
    and_,
    delete,
    select,
    update,
)

from wabajobs.errors import IdempotencyConflict, LedgerUnavailable, NotFound
from wabajobs.ledger import lanes, media, order
from wabajobs.ledger.conditions import OPEN
from wabajobs.ledger.database import among, insert_new
from wabajobs.ledger.history import tell, tell_whose
from wabajobs.ledger.request import NewOperation
from wabajobs.ledger.rows import as_operation, select_operations
from wabajobs.ledger.secrets import keep
from wabajobs.ledger.tables import OperationRow, RequestRow, StagedPageRow
from wabajobs.operation import Operation, State

_LANE_TRIES: Final = 5
_JOINS_TOLD: Final = 20
"""Requests that join one operation and are a line of its story; the others are counted in `callers` only, so that
days of a pause, with a request each minute, do not fill the ledger."""


@dataclass(frozen=True)
class Accepted:
    """The operation that a request stands for. Not `created`: it was there already."""

    operation: Operation
    created: bool


def accept_all(connection: Connection, requests: Sequence[NewOperation], now: datetime) -> list[Accepted]:
    """Write requests down, most of them in three statements; what meets something that is there, one by one."""
    # Everybody locks keys, lanes and rows in one order each; else two batches could wait for each other.
    claimed = _claim_keys(connection, requests, now)
    fresh = [one for one in requests if one.key is None or one.id in claimed]
    lanes.lock(connection, {one.lane for one in fresh if one.lane})
    inserted = _insert(connection, fresh, now)
    accepted = {one.id: Accepted(one.accepted(now), created=True) for one in fresh if one.id in inserted}
    joining = [one for one in fresh if one.id not in inserted]
    _lock_pending(connection, {one.lane for one in joining if one.lane})
    for request in joining:
        accepted[request.id] = _join_or_insert(connection, request, now)
    # Last, those with a key that is known: it may stand for one of this very batch.
    for request in requests:
        if request.id not in accepted:
            accepted[request.id] = Accepted(_of_key(connection, request), created=False)
    return [accepted[request.id] for request in requests]


def _join_or_insert(connection: Connection, request: NewOperation, now: datetime) -> Accepted:
    for _ in range(_LANE_TRIES):
        if joined := _join(connection, request, now):
            return Accepted(joined, created=False)
        # It has begun meanwhile, so the place is free again.
        if _insert(connection, [request], now):
            return Accepted(request.accepted(now), created=True)
    raise LedgerUnavailable(f"lane {request.lane} changes hands too fast; try again")


def _claim_keys(connection: Connection, requests: Sequence[NewOperation], now: datetime) -> set[str]:
    """Take the idempotency keys that are free; return the ids of the requests that now hold theirs."""
    # ON CONFLICT, not an exception: inside the caller's own transaction on PostgreSQL a violated
    # constraint would have spoilt everything the caller has done so far.
    with_key = [one for one in requests if one.key is not None]
    rows = [
        {
            "partner": one.partner,
            "key": one.key,
            "operation_id": one.id,
            "fingerprint": one.fingerprint,
            "created_at": now,
        }
        for one in sorted(with_key, key=lambda one: (one.partner, one.key or ""))
    ]
    return insert_new(connection, RequestRow, rows, unique="partner key", returning="operation_id")


def refuse_conflicts(connection: Connection, requests: Sequence[NewOperation]) -> None:
    """Raise `IdempotencyConflict`, or `NotFound`, before anything is written."""
    used: dict[tuple[str, str], NewOperation] = {}
    for request in requests:
        if request.key is not None:
            first = used.setdefault((request.partner, request.key), request)
            _require_same(request, operation_id=first.id, fingerprint=first.fingerprint)
            if connection.execute(_request_of_key(request)).first():
                _of_key(connection, request)


def foresee(connection: Connection, request: NewOperation) -> tuple[str | None, str | None]:
    """Return the operation that a request's key stands for, and the one that it would join; write nothing.

    Raises `IdempotencyConflict`, or `NotFound`, as accepting it would.
    """
    if request.key is not None and connection.execute(_request_of_key(request)).first():
        return _of_key(connection, request).id, None
    if not request.coalesces:
        return None, None
    pending = and_(OperationRow.coalesce_key == request.lane, OperationRow.state.in_(OPEN))
    return None, connection.scalar(select(OperationRow.id).where(pending))


def _request_of_key(request: NewOperation) -> Select[str, str]:
    return select(RequestRow.operation_id, RequestRow.fingerprint).where(
        RequestRow.partner == request.partner, RequestRow.key == request.key
    )


def _require_same(request: NewOperation, *, operation_id: str, fingerprint: str) -> None:
    if fingerprint != request.fingerprint:
        raise IdempotencyConflict(
            f"idempotency key {request.key!r} of partner {request.partner!r} belongs to operation"
            f" {operation_id}, which is another request; use a new key for a new request"
        )


def _of_key(connection: Connection, request: NewOperation) -> Operation:
    known = connection.execute(_request_of_key(request)).one()
    _require_same(request, operation_id=known.operation_id, fingerprint=known.fingerprint)
    query = select_operations().where(OperationRow.id == known.operation_id)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise NotFound(
            f"idempotency key {request.key!r} of partner {request.partner!r} was used for operation"
            f" {known.operation_id}, which has finished and is no longer kept; use a new key to run it once more"
        )
    return as_operation(row)


def _lock_pending(connection: Connection, lanes_: Collection[str]) -> None:
    """Lock what is to be joined in the order of the ids, as all do who move several; SQLite locks no rows."""
    if len(lanes_) > 1 and connection.dialect.name == "postgresql":
        pending = select(OperationRow.id).where(among(connection, OperationRow.coalesce_key, "lanes"))
        in_order = pending.order_by(OperationRow.id).with_for_update()
        connection.execute(in_order, {"lanes": json.dumps(sorted(lanes_))}).all()


def _join(connection: Connection, request: NewOperation, now: datetime) -> Operation | None:
    """Join the pending operation of the lane: the newest request wins, so it starts from the beginning."""
    pending = and_(OperationRow.coalesce_key == request.lane, OperationRow.state.in_(OPEN))
    query = select_operations().where(pending).with_for_update()
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        return None
    joined = connection.execute(
        update(OperationRow)
        .where(pending, OperationRow.id == row["id"])
        .values(
            callers=OperationRow.callers + 1,
            payload=request.payload,
            app=request.app,
            routed_from=request.routed_from,
            class_rank=min(row["class_rank"], request.service_class.rank),
            checkpoint=None,
            capability=str(request.capability),
            place=min(row["place"], order.places(connection, [request], now)[request.id]),
            deadline_at=request.deadline(now),
        )
    ).rowcount
    if not joined:
        return None
    connection.execute(delete(StagedPageRow).where(StagedPageRow.operation_id == row["id"]))
    if request.key is not None:
        connection.execute(
            update(RequestRow)
            .where(RequestRow.partner == request.partner, RequestRow.key == request.key)
            .values(operation_id=row["id"])
        )
    if row["callers"] <= _JOINS_TOLD:
        tell(connection, now, f"partner:{request.partner}", "joined", [(row["id"], None, None)])
    return as_operation(
        connection.execute(select_operations().where(OperationRow.id == row["id"])).mappings().one()
    )


def _insert(connection: Connection, requests: Sequence[NewOperation], now: datetime) -> set[str]:
    """Write new operations; return the ids of those whose lane had no pending one."""
    rows = _rows_of(connection, requests, now)
    inserted = insert_new(connection, OperationRow, rows, unique="coalesce_key", returning="id")
    whose = [(one.id, f"partner:{one.partner}") for one in requests if one.id in inserted]
    tell_whose(connection, now, "accepted", whose)
    for one in requests:
        if one.secrets and one.id in inserted:
            keep(connection, one.secrets, operation_id=one.id, now=now)
        if one.media and one.id in inserted:
            media.keep(connection, one.media, operation_id=one.id, now=now)
    return inserted


def _rows_of(connection: Connection, requests: Sequence[NewOperation], now: datetime) -> list[dict[str, Any]]:
    numbers = lanes.numbers(connection, requests)
    turns = numbers | order.turns(connection, [one for one in requests if one.id not in numbers])
    places = order.places(connection, requests, now)
    return [
        _row_of(one, now) | {"turn": turns[one.id], "place": places[one.id], "blocked": one.id in numbers}
        for one in requests
    ]


def _row_of(request: NewOperation, now: datetime) -> dict[str, Any]:
    return {
        "id": request.id,
        "kind": request.kind,
        "state": State.WAITING,
        "partner": request.partner,
        "app": request.app,
        "routed_from": request.routed_from,
        "waba": request.waba,
        "class_rank": request.service_class.rank,
        "capability": str(request.capability),
        "payload": request.payload,
        "lane": request.lane,
        "coalesces": request.coalesces,
        "coalesce_key": request.lane if request.coalesces else None,
        "callers": 1,
        "due_at": now,
        "deadline_at": request.deadline(now),
        "fence": 0,
        "attempts": 0,
        "created_at": now,
    }
