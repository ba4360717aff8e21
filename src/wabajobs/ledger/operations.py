"""The ledger of operations: one method per move.

    accept ──> waiting ──release──> (leased) ──begin──> running ──record──> succeeded | failed
                  ^                    │                   ├──record──────> held ──(due)──> released again
                  └────── reclaim ─────┴───── reclaim ─────┘

Every move after `release` is fenced: it names the lease's number, and changes nothing when a newer lease has
been given (`LeaseLost`). Moments come in from the caller, so that a test can move time by hand.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final, Self

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Select,
    and_,
    bindparam,
    case,
    delete,
    exists,
    false,
    func,
    insert,
    literal,
    or_,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import aliased

from wabajobs.capability import Capability, ServiceClass
from wabajobs.decisions import Pause, Scope, ScopeType
from wabajobs.errors import IdempotencyConflict, LeaseLost, LedgerUnavailable, NotFound
from wabajobs.ledger.database import Database
from wabajobs.ledger.decisions import live_pauses
from wabajobs.ledger.rows import as_operation, select_operations
from wabajobs.ledger.tables import (
    AttemptRow,
    EventRow,
    OperationRow,
    RequestRow,
    StagedPageRow,
    UtcDateTime,
)
from wabajobs.operation import Operation, State, hold_of, new_id
from wabajobs.outcome import Done, Failed, Hold, NotBegun

OPEN: Final = (State.WAITING, State.HELD)
"""The states from which an operation can be released."""

_RECLAIM_BATCH: Final = 500
_LANE_TRIES: Final = 5


@dataclass(frozen=True, kw_only=True)
class NewOperation:
    """A request that has been checked: what `accept` writes down."""

    kind: str
    partner: str
    app: str
    waba: str | None
    service_class: ServiceClass
    capability: Capability
    payload: dict[str, Any]
    lane: str | None = None
    coalesces: bool = False
    key: str | None = None
    """The caller's idempotency key, unique per partner."""
    id: str = field(default_factory=new_id)

    @property
    def fingerprint(self) -> str:
        """What makes two requests the same: kind, app, WABA and payload."""
        same = [self.kind, self.app, self.waba, self.payload]
        return hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()

    def accepted(self, now: datetime) -> Operation:
        """Return the operation that it becomes."""
        return Operation(
            id=self.id,
            kind=self.kind,
            state=State.WAITING,
            partner=self.partner,
            app=self.app,
            waba=self.waba,
            service_class=self.service_class,
            capability=self.capability,
            payload=self.payload,
            attempts=0,
            fence=0,
            hold=None,
            checkpoint=None,
            result=None,
            error=None,
            due_at=now,
            created_at=now,
            finished_at=None,
        )


@dataclass(frozen=True)
class Accepted:
    """The operation that a request stands for. Not `created`: it was there already."""

    operation: Operation
    created: bool


@dataclass(frozen=True)
class Need:
    """What many operations' next calls have in common: if the gate refuses one, it refuses them all."""

    app: str
    capability: Capability
    service_class: ServiceClass

    @classmethod
    def of(cls, operation: Operation) -> Self:
        """Return what an operation's next call needs."""
        return cls(operation.app, operation.capability, operation.service_class)


@dataclass(frozen=True)
class Story:
    """An operation's events, oldest first."""

    at: datetime
    name: str
    actor: str
    detail: dict[str, Any] | None


class Operations:
    """The ledger of operations."""

    def __init__(self, database: Database) -> None:
        """Work on the tables of `database`."""
        self._database = database

    # ── in ──────────────────────────────────────────────────────────────────────────────────────────────

    def accept(
        self, requests: Sequence[NewOperation], *, now: datetime, connection: Connection | None = None
    ) -> list[Accepted]:
        """Write requests down, each once per idempotency key; the list answers in the same order.

        With a `connection` this happens inside the caller's own transaction, else in one of its own.
        Raises `IdempotencyConflict`, and then none of them is written.
        """
        if connection is not None:
            # What we wrote before a conflict could not be taken back here without the caller's own work.
            _refuse_conflicts(connection, requests)
            return _accept_all(connection, requests, now)
        with self._database.write() as own:
            return _accept_all(own, requests, now)

    # ── out ─────────────────────────────────────────────────────────────────────────────────────────────

    def next_due(
        self, kind: str, *, at_most: int, pauses: Collection[Pause], shut: Collection[Need] = (), now: datetime
    ) -> list[Operation]:
        """Return what would be released next: people before robots, nothing paused, nothing of a shut need.

        A lane gives at most one, and none while one of it is out.
        """
        if at_most <= 0 or any(pause.scope.type is ScopeType.ALL for pause in pauses):
            return []
        query = _due_query(frozenset(pause.scope for pause in pauses), frozenset(shut))
        asked = {"kind": kind, "now": now, "at_most": at_most}
        with self._database.read() as connection:
            rows = connection.execute(query, asked).mappings().all()
        first_of_lane: dict[str, Operation] = {}
        for row in rows:
            first_of_lane.setdefault(row["lane"] or row["id"], as_operation(row))
        return list(first_of_lane.values())

    def release(self, due: Collection[Operation], *, now: datetime, lease: timedelta) -> list[Operation]:
        """Lease those that have not moved meanwhile, each under a new fence; return them, to be published."""
        if not due:
            return []
        with self._database.write() as connection:
            if not self._database.is_sqlite:
                # Who releases must see what has been leased by then, or two of one lane could go out at once.
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7246226)")
            leased = connection.execute(
                update(OperationRow)
                .where(
                    *_are([(operation.id, operation.fence) for operation in due]),
                    OperationRow.leased_until.is_(None),
                    OperationRow.state.in_(OPEN),
                    _lane_is_free(),
                )
                .values(fence=OperationRow.fence + 1, leased_until=now + lease, worker=None)
                .returning(OperationRow.id, OperationRow.fence)
            )
            fences: dict[str, int] = {row.id: row.fence for row in leased}
            if fences:
                _tell(connection, now, "dispatcher", "released", [(id_, None) for id_ in fences])
        return [replace(one, fence=fences[one.id]) for one in due if one.id in fences]

    def take_back(self, released: Iterable[Operation], *, now: datetime, why: str) -> None:
        """Undo a release whose message could not be published. A message that went out after all is stale."""
        with self._database.write() as connection:
            for one in released:
                moved = connection.execute(
                    update(OperationRow)
                    .where(
                        OperationRow.id == one.id,
                        OperationRow.fence == one.fence,
                        OperationRow.state.in_(OPEN),
                    )
                    .values(leased_until=None)
                ).rowcount
                if moved:
                    _tell(connection, now, "dispatcher", "taken back", [(one.id, {"why": why})])

    def begin(
        self,
        operation_id: str,
        fence: int,
        *,
        worker: str,
        now: datetime,
        lease: timedelta,
        pauses: Collection[Pause] | None = None,
    ) -> Operation | NotBegun:
        """Let the holder of the lease start; anybody else, and a paused operation, is told why not.

        Without `pauses`, those of the ledger count, as they are in this very transaction.
        """
        with self._database.write() as connection:
            if pauses is None:
                pauses = live_pauses(connection, now)
            if pauses and (pause := _pause_over(connection, operation_id, pauses)):
                connection.execute(_GIVE_BACK, {"whom": operation_id, "under": fence})
                return NotBegun(str(hold_of(pause)), settled=False)
            begun = connection.execute(
                _BEGIN, {"whom": operation_id, "under": fence, "until": now + lease, "by": worker}
            )
            row = begun.mappings().one_or_none()
            if row is None:
                return _why_not(connection, operation_id, fence)
            attempt = {"operation_id": operation_id, "fence": fence, "worker": worker, "begun_at": now}
            connection.execute(_OPEN_ATTEMPT, attempt)
            _tell(connection, now, worker, "begun", [(operation_id, {"attempt": fence})])
        return as_operation(row)

    # ── under way ───────────────────────────────────────────────────────────────────────────────────────

    def renew(
        self, leases: Collection[tuple[str, int]], *, now: datetime, lease: timedelta
    ) -> set[tuple[str, int]]:
        """Prolong the leases `(id, fence)` that are still held; return those that are lost."""
        if not leases:
            return set()
        with self._database.write() as connection:
            # One statement: what has been recorded meanwhile must not be leased once more.
            held = connection.execute(
                update(OperationRow)
                .where(*_are(leases), OperationRow.state == State.RUNNING)
                .values(leased_until=now + lease)
                .returning(OperationRow.id, OperationRow.fence)
            )
            return set(leases) - {(row.id, row.fence) for row in held}

    def record_checkpoint(
        self, operation_id: str, fence: int, checkpoint: dict[str, Any], *, capability: Capability
    ) -> None:
        """Remember how far the attempt has come, and what its next call needs. Raises `LeaseLost`."""
        with self._database.write() as connection:
            write_checkpoint(connection, operation_id, fence, checkpoint, capability=capability)

    def record(
        self,
        operation_id: str,
        fence: int,
        outcome: Done | Hold | Failed,
        *,
        worker: str,
        now: datetime,
    ) -> None:
        """Write down how the attempt ended, and end its lease. Raises `LeaseLost`."""
        name, detail, values = _ending(outcome, now)
        with self._database.write() as connection:
            moved = connection.execute(_END, {"whom": operation_id, "under": fence, **values}).rowcount
            if not moved:
                raise LeaseLost(f"operation {operation_id}: lease {fence} has gone to somebody else")
            _close_attempt(connection, operation_id, fence, now=now, outcome=name, detail=str(outcome))
            _tell(connection, now, worker, name, [(operation_id, detail)])
            if isinstance(outcome, Hold):
                _let_join_again(connection, operation_id)
            elif isinstance(outcome, Failed):
                connection.execute(delete(StagedPageRow).where(StagedPageRow.operation_id == operation_id))

    # ── rescue ──────────────────────────────────────────────────────────────────────────────────────────

    def reclaim(self, *, now: datetime, max_attempts: int) -> list[str]:
        """Take back what was leased to somebody who is gone; return a sentence for each.

        A message that no worker has begun costs no attempt. A worker that died under way has spent one; who
        has killed `max_attempts` workers fails, for a person to look at.
        """
        expired = (
            select_operations()
            .where(OperationRow.leased_until < now)
            .order_by(OperationRow.leased_until)
            .limit(_RECLAIM_BATCH)
            .with_for_update(skip_locked=True)
        )
        sentences = []
        with self._database.write() as connection:
            for row in connection.execute(expired).mappings().all():
                operation = as_operation(row)
                sentences.append(
                    _reclaim_running(connection, operation, row["worker"], now, max_attempts)
                    if operation.state is State.RUNNING
                    else _reclaim_unbegun(connection, operation, now)
                )
        return sentences

    # ── looking ─────────────────────────────────────────────────────────────────────────────────────────

    def get(self, operation_id: str) -> Operation:
        """Return one operation. Raises `NotFound`."""
        with self._database.read() as connection:
            query = select_operations().where(OperationRow.id == operation_id)
            row = connection.execute(query).mappings().one_or_none()
        if row is None:
            raise NotFound(f"there is no operation {operation_id!r}; list them: wabajobs ops list")
        return as_operation(row)

    def find(
        self,
        *,
        kind: str | None = None,
        state: State | None = None,
        partner: str | None = None,
        waba: str | None = None,
        pauses: Collection[Pause] = (),
        at_most: int = 50,
    ) -> list[Operation]:
        """Return operations, newest first. What a pause covers counts as held."""
        query = select_operations().order_by(OperationRow.created_at.desc(), OperationRow.id.desc())
        equal = {"kind": kind, "partner": partner, "waba": waba}
        for name, value in equal.items():
            if value is not None:
                query = query.where(getattr(OperationRow, name) == value)
        if state is not None:
            query = query.where(_in_state(state, pauses))
        with self._database.read() as connection:
            rows = connection.execute(query.limit(at_most)).mappings().all()
        return [as_operation(row).under(pauses) for row in rows]

    def story(self, operation_id: str) -> list[Story]:
        """Return what has happened to an operation, oldest first."""
        query = select(EventRow).where(EventRow.operation_id == operation_id).order_by(EventRow.id)
        with self._database.read() as connection:
            return [Story(row.at, row.name, row.actor, row.detail) for row in connection.execute(query)]

    def out(self, kinds: Iterable[str]) -> dict[str, int]:
        """Return how many operations of each queue are with the workers, or on their way to them."""
        with self._database.read() as connection:
            counted: dict[str, int] = dict(connection.execute(_OUT).all())
        return {kind: counted.get(kind, 0) for kind in kinds}

    def count_open(self, *, pauses: Collection[Pause] = ()) -> list[tuple[str, State, int, datetime]]:
        """Return (kind, state, how many, created_at of the oldest) of what is not finished."""
        state = OperationRow.state
        covered = and_(state.in_(OPEN), _any_covers(pauses))
        shown = case((covered, literal(str(State.HELD))), else_=state).label("shown")
        query = (
            select(OperationRow.kind, shown, func.count(), func.min(OperationRow.created_at))
            .where(OperationRow.finished_at.is_(None))
            .group_by(OperationRow.kind, "shown")
        )
        with self._database.read() as connection:
            return [
                (kind, State(state), number, oldest) for kind, state, number, oldest in connection.execute(query)
            ]

    def count_finished(self, *, since: datetime) -> list[tuple[str, State, int]]:
        """Return (kind, state, how many) of what has finished since."""
        query = (
            select(OperationRow.kind, OperationRow.state, func.count())
            .where(OperationRow.finished_at >= since)
            .group_by(OperationRow.kind, OperationRow.state)
        )
        with self._database.read() as connection:
            return [(kind, State(state), n) for kind, state, n in connection.execute(query)]


_NO_HOLD: Final[dict[str, Any]] = {
    "hold_reason": None,
    "hold_by": None,
    "hold_until": None,
    "hold_notice": None,
}


def write_checkpoint(
    connection: Connection,
    operation_id: str,
    fence: int,
    checkpoint: dict[str, Any],
    *,
    capability: Capability,
) -> None:
    """Write a checkpoint inside a transaction; the fence makes all of it void for a late worker."""
    moved = connection.execute(
        update(OperationRow)
        .where(*_held_by(operation_id, fence))
        .values(checkpoint=checkpoint, capability=str(capability))
    ).rowcount
    if not moved:
        raise LeaseLost(f"operation {operation_id}: lease {fence} has gone to somebody else")


def require_lease(connection: Connection, operation: Operation) -> None:
    """Raise `LeaseLost` unless the operation still runs under this lease; it does until the transaction's end."""
    held = select(OperationRow.id).where(*_held_by(operation.id, operation.fence)).with_for_update()
    if connection.scalar(held) is None:
        raise LeaseLost(f"operation {operation.id}: lease {operation.fence} has gone to somebody else")


def _held_by(operation_id: str, fence: int) -> tuple[ColumnElement[bool], ...]:
    return (
        OperationRow.id == operation_id,
        OperationRow.fence == fence,
        OperationRow.state == State.RUNNING,
    )


def _are(leases: Collection[tuple[str, int]]) -> tuple[ColumnElement[bool], ...]:
    """Return the condition for these (id, fence); the ids alone let SQLite find them by its index."""
    ids = [operation_id for operation_id, _ in leases]
    return OperationRow.id.in_(ids), tuple_(OperationRow.id, OperationRow.fence).in_(leases)


def _lane_is_free() -> ColumnElement[bool]:
    other = aliased(OperationRow)
    return ~exists().where(other.lane == OperationRow.lane, other.leased_until.is_not(None))


def _accept_all(connection: Connection, requests: Sequence[NewOperation], now: datetime) -> list[Accepted]:
    """Write requests down, most of them in three statements; what meets something that is there, one by one."""
    # Everybody locks keys and lanes in the same order; else two batches could wait for each other.
    in_order = sorted(requests, key=lambda one: (one.lane or "", one.partner, one.key or ""))
    claimed = _claim_keys(connection, [one for one in in_order if one.key is not None], now)
    fresh = [one for one in in_order if one.key is None or one.id in claimed]
    inserted = _insert(connection, fresh, now)
    accepted: dict[str, Accepted] = {}
    for request in in_order:
        if request.id in inserted:
            accepted[request.id] = Accepted(request.accepted(now), created=True)
        elif request.key is None or request.id in claimed:
            accepted[request.id] = _join_or_insert(connection, request, now)
    # Last, those with a key that is known: it may stand for one of this very batch.
    for request in in_order:
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


def _upsert(connection: Connection) -> Any:
    return postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert


def _claim_keys(connection: Connection, requests: Sequence[NewOperation], now: datetime) -> set[str]:
    """Take the idempotency keys that are free; return the ids of the requests that now hold theirs."""
    # ON CONFLICT, not an exception: inside the caller's own transaction on PostgreSQL a violated
    # constraint would have spoilt everything the caller has done so far.
    if not requests:
        return set()
    statement = _upsert(connection)(RequestRow).on_conflict_do_nothing().returning(RequestRow.operation_id)
    rows = [
        {
            "partner": one.partner,
            "key": one.key,
            "operation_id": one.id,
            "fingerprint": one.fingerprint,
            "created_at": now,
        }
        for one in requests
    ]
    return set(connection.scalars(statement, rows))


def _refuse_conflicts(connection: Connection, requests: Sequence[NewOperation]) -> None:
    used: dict[tuple[str, str], NewOperation] = {}
    for request in requests:
        if request.key is not None:
            first = used.setdefault((request.partner, request.key), request)
            _require_same(request, operation_id=first.id, fingerprint=first.fingerprint)
            if known := connection.execute(_request_of_key(request)).first():
                _require_same(request, operation_id=known.operation_id, fingerprint=known.fingerprint)


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
    return as_operation(connection.execute(query).mappings().one())


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
            class_rank=min(row["class_rank"], request.service_class.rank),
            checkpoint=None,
            capability=str(request.capability),
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
    _tell(connection, now, f"partner:{request.partner}", "joined", [(row["id"], None)])
    return as_operation(
        connection.execute(select_operations().where(OperationRow.id == row["id"])).mappings().one()
    )


def _insert(connection: Connection, requests: Sequence[NewOperation], now: datetime) -> set[str]:
    """Write new operations; return the ids of those whose lane had no pending one."""
    if not requests:
        return set()
    statement = (
        _upsert(connection)(OperationRow)
        .on_conflict_do_nothing(index_elements=["coalesce_key"])
        .returning(OperationRow.id)
    )
    inserted = set(connection.scalars(statement, [_row_of(one, now) for one in requests]))
    for partner in {one.partner for one in requests if one.id in inserted}:
        theirs = [one.id for one in requests if one.partner == partner and one.id in inserted]
        _tell(connection, now, f"partner:{partner}", "accepted", [(id_, None) for id_ in theirs])
    return inserted


def _row_of(request: NewOperation, now: datetime) -> dict[str, Any]:
    return {
        "id": request.id,
        "kind": request.kind,
        "state": State.WAITING,
        "partner": request.partner,
        "app": request.app,
        "waba": request.waba,
        "class_rank": request.service_class.rank,
        "capability": str(request.capability),
        "payload": request.payload,
        "lane": request.lane,
        "coalesces": request.coalesces,
        "coalesce_key": request.lane if request.coalesces else None,
        "callers": 1,
        "due_at": now,
        "fence": 0,
        "attempts": 0,
        "created_at": now,
    }


@lru_cache(maxsize=256)
def _due_query(paused: frozenset[Scope], shut: frozenset[Need]) -> Select[Any]:
    """Put together what `next_due` asks; the same pauses and shut needs come again and again."""
    other = aliased(OperationRow)
    lane_is_free = ~exists().where(other.lane == OperationRow.lane, other.leased_until.is_not(None))
    return (
        select_operations()
        .where(
            OperationRow.kind == bindparam("kind"),
            OperationRow.leased_until.is_(None),
            OperationRow.state.in_(OPEN),
            OperationRow.due_at <= bindparam("now"),
            lane_is_free,
            *(~_covered(scope) for scope in paused),
            *(~_needs(need) for need in shut),
        )
        .order_by(OperationRow.class_rank, OperationRow.due_at, OperationRow.id)
        .limit(bindparam("at_most", type_=Integer))
    )


def _covered(scope: Scope) -> ColumnElement[bool]:
    """Return the SQL form of `Operation.is_covered_by`."""
    columns: dict[ScopeType, Any] = {
        ScopeType.APP: OperationRow.app,
        ScopeType.CAPABILITY: OperationRow.capability,
        ScopeType.QUEUE: OperationRow.kind,
        ScopeType.PARTNER: OperationRow.partner,
        # An operation without a WABA is in no WABA's pause; NULL = 'x' would be neither true nor false.
        ScopeType.WABA: func.coalesce(OperationRow.waba, ""),
    }
    if scope.type is ScopeType.ALL:
        return true()
    covered: ColumnElement[bool] = columns[scope.type] == scope.name
    return covered


def _needs(need: Need) -> ColumnElement[bool]:
    return and_(
        OperationRow.app == need.app,
        OperationRow.capability == str(need.capability),
        OperationRow.class_rank == need.service_class.rank,
    )


def _any_covers(pauses: Collection[Pause]) -> ColumnElement[bool]:
    return or_(false(), *(_covered(pause.scope) for pause in pauses))


def _in_state(state: State, pauses: Collection[Pause]) -> ColumnElement[bool]:
    covered = _any_covers(pauses)
    match state:
        case State.HELD:
            return or_(OperationRow.state == state, and_(OperationRow.state == State.WAITING, covered))
        case State.WAITING:
            return and_(OperationRow.state == state, ~covered)
        case _:
            return OperationRow.state == state


def _pause_over(connection: Connection, operation_id: str, pauses: Collection[Pause]) -> Pause | None:
    row = connection.execute(_ONE, {"whom": operation_id}).mappings().one_or_none()
    return as_operation(row).pause_among(pauses) if row else None


def _why_not(connection: Connection, operation_id: str, fence: int) -> NotBegun:
    row = connection.execute(_ONE, {"whom": operation_id}).mappings().one_or_none()
    if row is None:
        return NotBegun("not begun: the ledger knows no such operation", settled=True)
    operation = as_operation(row)
    if operation.state.finished:
        return NotBegun(f"not begun: already {operation.state}", settled=True)
    if operation.state is State.RUNNING:
        return NotBegun("not begun: another worker has it", settled=True)
    return NotBegun(f"not begun: lease {fence} is over, the ledger releases it again", settled=False)


def _ending(outcome: Done | Hold | Failed, now: datetime) -> tuple[str, dict[str, Any] | None, dict[str, Any]]:
    """Return an outcome's event, the event's detail, and what `_END` writes into the row."""
    values: dict[str, Any] = {
        "state": State.WAITING,
        "due": None,
        "refund": 0,
        "result": None,
        "error": None,
        "finished": None,
        "hold_reason": None,
        "hold_by": None,
        "hold_until": None,
        "hold_notice": None,
    }
    match outcome:
        case Done(result):
            return "succeeded", result, values | {"state": State.SUCCEEDED, "result": result, "finished": now}
        case Failed(reason, error):
            error = {"message": reason, **error}
            return "failed", error, values | {"state": State.FAILED, "error": error, "finished": now}
        case Hold():
            values["refund"] = 0 if outcome.spends_attempt else 1
            if outcome.by == "pause":
                # The pause itself says why it waits, while it lasts; the row needs no copy to go stale.
                return "paused", outcome.as_json(), values | {"due": now}
            hold = {
                "state": State.HELD,
                "due": outcome.until or now,
                "hold_reason": outcome.reason,
                "hold_by": outcome.by,
                "hold_until": outcome.until,
                "hold_notice": outcome.notice,
            }
            return "held", outcome.as_json(), values | hold


def _let_join_again(connection: Connection, operation_id: str) -> None:
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


def _reclaim_unbegun(connection: Connection, operation: Operation, now: datetime) -> str:
    connection.execute(
        update(OperationRow)
        .where(OperationRow.id == operation.id, OperationRow.fence == operation.fence)
        .values(leased_until=None)
    )
    _tell(connection, now, "dispatcher", "unclaimed", [(operation.id, {"attempt": operation.fence})])
    return f"{operation.kind} {operation.id}: no worker began lease {operation.fence}; released again"


def _reclaim_running(
    connection: Connection, operation: Operation, worker: str, now: datetime, max_attempts: int
) -> str:
    if operation.attempts >= max_attempts:
        reason = f"its worker died {operation.attempts} times; look at the logs, then retry it"
        values = {
            "state": State.FAILED,
            "error": {"message": reason, "last_worker": worker},
            "finished_at": now,
        }
    else:
        reason = f"its worker {worker} is gone; it goes on from its checkpoint"
        values = {"state": State.WAITING, "due_at": now}
    connection.execute(
        update(OperationRow)
        .where(OperationRow.id == operation.id, OperationRow.fence == operation.fence)
        .values(leased_until=None, **values)
    )
    _close_attempt(connection, operation.id, operation.fence, now=now, outcome="lost", detail=reason)
    if operation.attempts >= max_attempts:
        name = "failed"
        connection.execute(delete(StagedPageRow).where(StagedPageRow.operation_id == operation.id))
    else:
        name = "reclaimed"
        _let_join_again(connection, operation.id)
    _tell(connection, now, "dispatcher", name, [(operation.id, {"why": reason})])
    return f"{operation.kind} {operation.id}: {reason}"


def _close_attempt(
    connection: Connection, operation_id: str, fence: int, *, now: datetime, outcome: str, detail: str
) -> None:
    ended = {"whom": operation_id, "under": fence, "ended": now, "outcome": outcome, "detail": detail}
    connection.execute(_CLOSE_ATTEMPT, ended)


def _tell(
    connection: Connection,
    now: datetime,
    actor: str,
    name: str,
    whom: Sequence[tuple[str, dict[str, Any] | None]],
) -> None:
    connection.execute(
        _EVENT,
        [
            {"operation_id": operation_id, "at": now, "name": name, "actor": actor, "detail": detail}
            for operation_id, detail in whom
        ],
    )


# The moves that every operation makes are put together once: building a statement costs SQLAlchemy several
# times what running it costs the database.

_ONE: Final = select_operations().where(OperationRow.id == bindparam("whom"))

_OUT: Final = (
    select(OperationRow.kind, func.count())
    .where(OperationRow.leased_until.is_not(None))
    .group_by(OperationRow.kind)
)

_LEASED: Final = and_(
    OperationRow.id == bindparam("whom"),
    OperationRow.fence == bindparam("under"),
    OperationRow.state.in_(OPEN),
    OperationRow.leased_until.is_not(None),
)
_RUNNING: Final = and_(
    OperationRow.id == bindparam("whom"),
    OperationRow.fence == bindparam("under"),
    OperationRow.state == State.RUNNING,
)

_BEGIN: Final = (
    update(OperationRow)
    .where(_LEASED)
    .values(
        state=State.RUNNING,
        attempts=OperationRow.attempts + 1,
        leased_until=bindparam("until"),
        worker=bindparam("by"),
        coalesce_key=None,  # from here on, a new request is a new operation
        **_NO_HOLD,
    )
    .returning(*OperationRow.__table__.columns)
)

_GIVE_BACK: Final = update(OperationRow).where(_LEASED).values(leased_until=None, state=State.WAITING, **_NO_HOLD)

_END: Final = (
    update(OperationRow)
    .where(_RUNNING)
    .values(
        leased_until=None,
        state=bindparam("state"),
        due_at=func.coalesce(bindparam("due", type_=UtcDateTime), OperationRow.due_at),
        attempts=OperationRow.attempts - bindparam("refund", type_=Integer),
        result=bindparam("result"),
        error=bindparam("error"),
        finished_at=bindparam("finished"),
        hold_reason=bindparam("hold_reason"),
        hold_by=bindparam("hold_by"),
        hold_until=bindparam("hold_until"),
        hold_notice=bindparam("hold_notice"),
    )
)

_OPEN_ATTEMPT: Final = insert(AttemptRow)
_CLOSE_ATTEMPT: Final = (
    update(AttemptRow)
    .where(AttemptRow.operation_id == bindparam("whom"), AttemptRow.fence == bindparam("under"))
    .values(ended_at=bindparam("ended"), outcome=bindparam("outcome"), detail=bindparam("detail"))
)
_EVENT: Final = insert(EventRow)
