"""Retrying: what has failed, expired or been cancelled goes again, from its checkpoint and under its own id."""

from collections.abc import Collection, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, cast

from sqlalchemy import Connection, RowMapping, bindparam, select, update

from wabajobs.ledger import lanes, order
from wabajobs.ledger.ending import NO_HOLD
from wabajobs.ledger.history import tell
from wabajobs.ledger.request import NewOperation
from wabajobs.ledger.rows import as_operation, select_operations
from wabajobs.ledger.tables import OperationRow
from wabajobs.operation import RETRIABLE, State


class Retrying(StrEnum):
    """What came of asking for a retry."""

    RETRIED = "retried"
    SUPERSEDED = "superseded"
    """Another operation waits already that asks for the same."""
    SUCCEEDED = "succeeded"
    UNFINISHED = "unfinished"


def retry(
    connection: Connection, ids: Collection[str], *, reason: str, actor: str, now: datetime
) -> dict[str, Retrying]:
    """Let operations go again; return what came of it for each that there is."""
    of_these = OperationRow.id.in_(list(ids))
    named = {lane for lane in connection.scalars(select(OperationRow.lane).where(of_these)) if lane}
    lanes.lock(connection, named)
    locked = select_operations().where(of_these).order_by(OperationRow.id).with_for_update()
    rows = connection.execute(locked).mappings().all()
    answers = {row["id"]: _answer(State(row["state"])) for row in rows}
    again = [row for row in rows if answers[row["id"]] is Retrying.RETRIED]
    for row in _superseded(connection, again):
        answers[row["id"]] = Retrying.SUPERSEDED
    again = [row for row in again if answers[row["id"]] is Retrying.RETRIED]
    if again:
        connection.execute(_AGAIN, _values(connection, again, now))
        whom: list[tuple[str, dict[str, Any] | None, int | None]] = [
            (row["id"], {"was": row["state"], "reason": reason}, None) for row in again
        ]
        tell(connection, now, actor, "retried", whom)
    return answers


def _answer(state: State) -> Retrying:
    if state in RETRIABLE:
        return Retrying.RETRIED
    return Retrying.SUCCEEDED if state is State.SUCCEEDED else Retrying.UNFINISHED


def _superseded(connection: Connection, rows: Sequence[RowMapping]) -> list[RowMapping]:
    """Return those in whose lane another one is pending that can be joined; of several, the newest goes."""
    coalescing = [row for row in rows if row["coalesces"] and row["lane"]]
    pending = select(OperationRow.coalesce_key).where(
        OperationRow.coalesce_key.in_([row["lane"] for row in coalescing])
    )
    taken = set(connection.scalars(pending)) if coalescing else set()
    superseded = []
    for row in sorted(coalescing, key=lambda one: str(one["id"]), reverse=True):
        if row["lane"] in taken:
            superseded.append(row)
        taken.add(row["lane"])
    return superseded


def _values(connection: Connection, rows: Sequence[RowMapping], now: datetime) -> list[dict[str, Any]]:
    """Return what `_AGAIN` writes: each goes to the end of its line, and of its lane if something goes there."""
    requests = [_as_request(row) for row in rows]
    numbers = lanes.numbers(connection, requests)
    turns = numbers | order.turns(connection, [one for one in requests if one.id not in numbers])
    places = order.places(connection, requests, now)
    values = []
    for row, request in zip(rows, requests, strict=True):
        deadline = _deadline(row)
        values.append(
            {
                "whom": row["id"],
                "its_turn": turns[request.id],
                "its_place": places[request.id],
                "is_blocked": request.id in numbers,
                "its_key": request.lane if request.coalesces else None,
                "its_deadline": deadline and now + (deadline - row["created_at"]),
                "now": now,
            }
        )
    return values


def _deadline(row: RowMapping) -> datetime | None:
    """Return the operation's own deadline: while it asked a person, another one held."""
    if row["needs"] is None:
        return cast("datetime | None", row["deadline_at"])
    own = row["needs"]["deadline"]
    return datetime.fromisoformat(own) if own else None


def _as_request(row: RowMapping) -> NewOperation:
    operation = as_operation(row)
    return NewOperation(
        id=operation.id,
        kind=operation.kind,
        partner=operation.partner,
        app=operation.app,
        waba=operation.waba,
        service_class=operation.service_class,
        capability=operation.capability,
        payload=operation.payload,
        lane=operation.lane,
        coalesces=row["coalesces"],
        routed_from=operation.routed_from,
    )


_AGAIN: Final = (
    update(OperationRow)
    .where(OperationRow.id == bindparam("whom"))
    .values(
        state=State.WAITING,
        attempts=0,
        turn=bindparam("its_turn"),
        place=bindparam("its_place"),
        blocked=bindparam("is_blocked"),
        coalesce_key=bindparam("its_key"),
        due_at=bindparam("now"),
        deadline_at=bindparam("its_deadline"),
        stop=None,
        needs=None,
        told=None,
        result=None,
        error=None,
        finished_at=None,
        **NO_HOLD,
    )
)
