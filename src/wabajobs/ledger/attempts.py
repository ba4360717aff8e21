"""An attempt in the ledger: its beginning, its checkpoints, its end. All of it is fenced."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Text,
    Update,
    and_,
    bindparam,
    case,
    exists,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import aliased
from sqlalchemy.types import TypeEngine

from wabajobs.capability import Capability
from wabajobs.decisions import Pause
from wabajobs.errors import LeaseLost, StopAsked
from wabajobs.feed import EventKind
from wabajobs.ledger import expiring, lanes
from wabajobs.ledger.conditions import LEASES, OPEN, held_by, locked, named
from wabajobs.ledger.database import one_of, table_of
from wabajobs.ledger.decisions import live_pauses
from wabajobs.ledger.ending import NO_HOLD, final, told_of_end
from wabajobs.ledger.history import tell
from wabajobs.ledger.outbox import Told, gist, tell_operations
from wabajobs.ledger.rows import as_operation, select_operations
from wabajobs.ledger.secrets import keep
from wabajobs.ledger.tables import Json, OperationRow, UtcDateTime
from wabajobs.operation import Operation, State, hold_of
from wabajobs.outcome import Cancelled, Done, End, Expired, Failed, Hold, NeedsInput, NotBegun, Unbegun


@dataclass(frozen=True)
class Ending:
    """An attempt that is over: the operation as it was begun, and what came of it."""

    operation: Operation
    outcome: End


def begin_all(
    connection: Connection,
    leases: Sequence[tuple[str, int]],
    *,
    worker: str,
    pauses: Collection[Pause] | None,
    now: datetime,
    lease: timedelta,
) -> list[Operation | Unbegun]:
    """Let the holders of leases (id, fence) start; without `pauses`, those that this transaction sees count."""
    if pauses is None:
        pauses = live_pauses(connection, now)
    answers: dict[tuple[str, int], Operation | Unbegun] = {}
    if pauses:
        for one in sorted(leases):
            if pause := _pause_over(connection, one[0], pauses):
                answers[one] = _give_back(connection, one, pause, worker=worker, now=now)
    to_begin = [one for one in dict.fromkeys(leases) if one not in answers]
    begin = {"until": now + lease, "by": worker, "now": now, **named(to_begin)}
    begun = connection.execute(_BEGIN, begin).mappings()
    answers |= {(row["id"], row["fence"]): as_operation(row) for row in begun}
    tell(
        connection,
        now,
        worker,
        "begun",
        [(id_, None, fence) for (id_, fence), one in answers.items() if isinstance(one, Operation)],
    )
    # A message that came twice begins once, also when both copies came together.
    return [answers.pop(one) if one in answers else _why_not(connection, *one, now) for one in leases]


def end_all(
    connection: Connection, endings: Sequence[Ending], *, worker: str, now: datetime
) -> list[End | LeaseLost]:
    """Write down how attempts ended, and end their leases; `LeaseLost` for those who no longer had theirs.

    Returns what was written: an attempt that ends in a hold while somebody wants to cancel it is cancelled.
    """
    lanes.lock(connection, {one.operation.lane for one in endings if one.operation.lane})
    leases = [(one.operation.id, one.operation.fence) for one in endings]
    rows = {(row.id, row.fence): row for row in connection.execute(_RUNNING_NOW, named(leases))}
    kept = [
        Ending(one.operation, _as_asked(one.outcome, rows[lease].stop))
        for one, lease in zip(endings, leases, strict=True)
        if lease in rows
    ]
    if kept:
        told = [
            (one, _ending(one.outcome, now, rows[one.operation.id, one.operation.fence].deadline_at))
            for one in kept
        ]
        _write(connection, [{"whom": one.operation.id, **values} for one, (_, _, values) in told])
        for name in {name for _, (name, _, _) in told}:
            whom = [
                (one.operation.id, detail, one.operation.fence) for one, (its, detail, _) in told if its == name
            ]
            tell(connection, now, worker, name, whom)
        known = {row.id: row.told for row in rows.values()}
        tell_operations(connection, now, [_told(one) for one in kept if _is_news(one, known[one.operation.id])])
        _clear_up(connection, kept)
    written = {(one.operation.id, one.operation.fence): one.outcome for one in kept}
    return [written.get(lease) or lost(*lease) for lease in leases]


def _as_asked(outcome: End, stop: dict[str, Any] | None) -> End:
    return Cancelled(stop["reason"], stop["by"]) if stop and isinstance(outcome, Hold | NeedsInput) else outcome


def _is_news(one: Ending, known: str | None) -> bool:
    """Whether the Hub is told: of every end, and of a hold unless it is the one that it was told of last."""
    return not isinstance(one.outcome, Hold) or gist(one.outcome) != known


def _told(one: Ending) -> Told:
    match outcome := one.outcome:
        case Done(result):
            return Told(one.operation, EventKind.SUCCEEDED, {"result": result})
        case Hold():
            return Told(one.operation, EventKind.HELD, {"hold": outcome.as_json()})
        case NeedsInput():
            return Told(one.operation, EventKind.NEEDS_INPUT, {"needs": outcome.as_json()})
        case _:
            return told_of_end(one.operation, outcome)


def _clear_up(connection: Connection, kept: Sequence[Ending]) -> None:
    finished = [one for one in kept if not isinstance(one.outcome, Hold | NeedsInput)]
    lanes.let_next_go(connection, {one.operation.lane for one in finished if one.operation.lane})
    for one in kept:
        if isinstance(one.outcome, Hold) and one.operation.lane:
            let_join_again(connection, one.operation.id)


def write_checkpoint(
    connection: Connection,
    operation_id: str,
    fence: int,
    checkpoint: dict[str, Any],
    *,
    capability: Capability,
    secrets: Mapping[str, str | None] = MappingProxyType({}),
    waba: str | None = None,
    deadline: datetime | None = None,
    unless_stopped: bool = False,
    now: datetime | None = None,
) -> None:
    """Write a checkpoint inside a transaction; the fence makes all of it void for a late worker.

    With it go `secrets`, sealed, by name; None deletes one. `waba` is that of the operation, once it is known.
    Past the point of no return no deadline holds, nor for who had only to begin in time; `deadline` is one that
    does again, as that point was not reached after all. Raises `StopAsked`, and writes nothing, where
    `unless_stopped` and somebody wants it cancelled.
    """
    lifted = not {"past_return", "in_time"}.isdisjoint(checkpoint)
    deadlines = {"deadline_at": None if "in_time" in checkpoint else deadline} if deadline or lifted else {}
    moved = connection.execute(
        update(OperationRow)
        .where(*held_by(operation_id, fence), *([OperationRow.stop.is_(None)] if unless_stopped else []))
        .values(
            checkpoint=checkpoint,
            capability=str(capability),
            **deadlines,
            **({"waba": waba} if waba else {}),
            # Rounds of one line mean nothing in another. What is under way goes on before what has not begun.
            turn=case((OperationRow.capability != str(capability), 0), else_=OperationRow.turn),
        )
    ).rowcount
    if not moved:
        stop = connection.scalar(select(OperationRow.stop).where(*held_by(operation_id, fence)))
        raise StopAsked(stop["reason"], stop["by"]) if stop else lost(operation_id, fence)
    if secrets:
        keep(connection, secrets, operation_id=operation_id, now=now)


def require_lease(connection: Connection, operation: Operation) -> None:
    """Raise `LeaseLost` unless the operation still runs under this lease; it does until the transaction's end."""
    held = select(OperationRow.id).where(*held_by(operation.id, operation.fence)).with_for_update()
    if connection.scalar(held) is None:
        raise lost(operation.id, operation.fence)


def lost(operation_id: str, fence: int) -> LeaseLost:
    """Return what is raised towards an attempt whose lease is over."""
    return LeaseLost(f"operation {operation_id}: lease {fence} has gone to somebody else")


def _give_back(
    connection: Connection, lease: tuple[str, int], pause: Pause, *, worker: str, now: datetime
) -> NotBegun:
    operation_id, fence = lease
    if connection.execute(_GIVE_BACK, named([lease])).rowcount:
        tell(connection, now, worker, "given back", [(operation_id, {"why": str(pause)}, fence)])
    return NotBegun(str(hold_of(pause)), settled=False)


def _pause_over(connection: Connection, operation_id: str, pauses: Collection[Pause]) -> Pause | None:
    row = connection.execute(_ONE, {"whom": operation_id}).mappings().one_or_none()
    return as_operation(row).pause_among(pauses) if row else None


def _why_not(connection: Connection, operation_id: str, fence: int, now: datetime) -> Unbegun:
    row = connection.execute(_ONE, {"whom": operation_id}).mappings().one_or_none()
    if row is None:
        return NotBegun("not begun: the ledger knows no such operation", settled=True)
    operation = as_operation(row)
    if operation.state.finished:
        return _ended(operation)
    if operation.state is State.RUNNING:
        return NotBegun("not begun: another worker has it", settled=True)
    if operation.fence == fence and row["leased_until"] and operation.is_overdue(now):
        return Expired(expiring.why(operation))
    return NotBegun(f"not begun: lease {fence} is over, the ledger releases it again", settled=False)


def _ended(operation: Operation) -> Unbegun:
    error = operation.error or {}
    match operation.state:
        case State.CANCELLED:
            return Cancelled(error["reason"], error["by"])
        case State.EXPIRED:
            return Expired(error["message"])
        case state:
            return NotBegun(f"not begun: already {state}", settled=True)


def _ending(
    outcome: End, now: datetime, deadline: datetime | None
) -> tuple[str, dict[str, Any] | None, dict[str, Any]]:
    """Return an outcome's event, the event's detail, and what `_END` writes into the row."""
    values: dict[str, Any] = {
        "state": State.WAITING,
        "due": None,
        "refund": 0,
        "result": None,
        "error": None,
        "finished": None,
        "needs": None,
        "deadline": None,
        "its_told": gist(outcome) if isinstance(outcome, Hold) else None,
        **NO_HOLD,
    }
    match outcome:
        case Done(result):
            return "succeeded", result, values | {"state": State.SUCCEEDED, "result": result, "finished": now}
        case Failed() | Cancelled() | Expired():
            state, error = final(outcome)
            return str(state), error, values | {"state": state, "error": error, "finished": now}
        case NeedsInput():
            values |= {
                "state": State.NEEDS_INPUT,
                "refund": 1,
                "needs": {"asked": outcome.as_json(), "deadline": deadline.isoformat() if deadline else None},
                "deadline": outcome.until and min(outcome.until, deadline or outcome.until),
            }
            return "needs input", outcome.as_json(), values
        case Hold():
            values["refund"] = 0 if outcome.spends_attempt else 1
            if outcome.by == "pause":
                # The pause itself says why it waits, while it lasts; the row needs no copy to go stale.
                return "paused", outcome.as_json(), values | {"due": now}
            values |= {"state": State.HELD, "due": outcome.until or now}
            return "held", outcome.as_json(), values | holding(outcome)


def holding(hold: Hold) -> dict[str, Any]:
    """Return what a hold writes into the row of its operation."""
    return {
        "hold_reason": hold.reason,
        "hold_by": hold.by,
        "hold_until": hold.until,
        "hold_notice": hold.notice,
    }


def let_join_again(connection: Connection, operation_id: str) -> None:
    """Make a held operation the pending one of its lane, unless a newer one is that already."""
    other = aliased(OperationRow)
    taken = exists().where(other.coalesce_key == OperationRow.lane)
    try:
        with connection.begin_nested():
            connection.execute(
                update(OperationRow)
                .where(OperationRow.id == operation_id, OperationRow.coalesces, ~taken)
                .values(coalesce_key=OperationRow.lane)
            )
    except IntegrityError:
        pass  # a newer request took the place in this very moment; it is the one to be joined


_ONE: Final = select_operations().where(OperationRow.id == bindparam("whom"))


_LEASED: Final = and_(LEASES, OperationRow.state.in_(OPEN), OperationRow.leased_until.is_not(None))


RUNNING_AMONG: Final = locked(LEASES, OperationRow.state == State.RUNNING)
_RUNNING_NOW: Final = RUNNING_AMONG.add_columns(
    OperationRow.fence, OperationRow.stop, OperationRow.deadline_at, OperationRow.told
)


_IN_TIME: Final = or_(OperationRow.deadline_at.is_(None), OperationRow.deadline_at > bindparam("now"))


_BEGIN: Final = (
    update(OperationRow)
    .where(OperationRow.id.in_(locked(_LEASED, _IN_TIME).scalar_subquery()))
    .values(
        state=State.RUNNING,
        attempts=OperationRow.attempts + 1,
        leased_until=bindparam("until"),
        worker=bindparam("by"),
        coalesce_key=None,  # from here on, a new request is a new operation
        **NO_HOLD,
    )
    .returning(*OperationRow.__table__.columns)
)


_GIVE_BACK: Final = update(OperationRow).where(_LEASED).values(leased_until=None, state=State.WAITING, **NO_HOLD)


_GIVEN: Final[dict[str, TypeEngine[Any]]] = {
    "whom": Text(),
    "state": Text(),
    "due": UtcDateTime(),
    "refund": Integer(),
    "result": Json,
    "error": Json,
    "finished": UtcDateTime(),
    "needs": Json,
    "its_told": Text(),
    "deadline": UtcDateTime(),
    "hold_reason": Text(),
    "hold_by": Text(),
    "hold_until": UtcDateTime(),
    "hold_notice": Text(),
}
"""What is written into the row of an attempt that has ended."""


def _ended_by(given: Callable[[str], ColumnElement[Any]]) -> Update:
    return (
        update(OperationRow)
        .where(OperationRow.id == given("whom"))
        .values(
            leased_until=None,
            state=given("state"),
            due_at=func.coalesce(given("due"), OperationRow.due_at),
            attempts=OperationRow.attempts - given("refund"),
            result=given("result"),
            error=given("error"),
            finished_at=given("finished"),
            needs=given("needs"),
            told=given("its_told"),
            deadline_at=func.coalesce(given("deadline"), OperationRow.deadline_at),
            hold_reason=given("hold_reason"),
            hold_by=given("hold_by"),
            hold_until=given("hold_until"),
            hold_notice=given("hold_notice"),
        )
    )


_END: Final = _ended_by(lambda name: bindparam(name, type_=_GIVEN[name]))
_ENDS: Final = table_of("ends", _GIVEN)
# The ids lead to the rows, whatever the planner thinks of the table.
_END_TOGETHER: Final = _ended_by(lambda name: _ENDS.c[name]).where(one_of(OperationRow.id, "ids"))


def _write(connection: Connection, ends: Sequence[dict[str, Any]]) -> None:
    """Write how attempts ended into their rows; on PostgreSQL with one statement."""
    if connection.dialect.name == "postgresql":
        given = {
            "ends": json.dumps(ends, default=datetime.isoformat),
            "ids": json.dumps([one["whom"] for one in ends]),
        }
        connection.execute(_END_TOGETHER, given)
    else:
        connection.execute(_END, ends)
