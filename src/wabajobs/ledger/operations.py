"""The ledger of operations: one method per move.

    accept ──> waiting ──release──> (leased) ──begin──> running ──record──> succeeded | failed
                ^  ^                   │                   │  └───record──> held ──┐
                │  └───── reclaim ─────┴───── reclaim ─────┘                       │
                └───────────────────────────── wake ───────────────────────────────┘
    running ──record──> needs_input ──provide──> waiting
    waiting | held | needs_input ──cancel | expire──> cancelled | expired
    failed | cancelled | expired ──retry──> waiting

Every move after `release` is fenced: it names the lease's number, and changes nothing when a newer lease has
been given (`LeaseLost`). Moments come in from the caller, so that a test can move time by hand.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import Connection, and_, bindparam, func, select, text, update

from wabajobs.capability import Capability
from wabajobs.decisions import Pause, Scope
from wabajobs.errors import LeaseLost, NotFound
from wabajobs.feed import EventKind
from wabajobs.ledger import (
    attempts,
    cancelling,
    census,
    expiring,
    homes,
    lines,
    position,
    providing,
    reclaiming,
    resting,
    retrying,
    selection,
    waking,
)
from wabajobs.ledger.accepting import Accepted, accept_all, foresee, refuse_conflicts
from wabajobs.ledger.attempts import Ending, holding
from wabajobs.ledger.cancelling import Cancelling
from wabajobs.ledger.census import Part
from wabajobs.ledger.conditions import LEASES, OPEN, covered, in_state, locked, named
from wabajobs.ledger.database import Database
from wabajobs.ledger.dead import Dead, dead
from wabajobs.ledger.history import Story, tell
from wabajobs.ledger.lines import Line
from wabajobs.ledger.outbox import Told, gist, tell_operations
from wabajobs.ledger.position import Position
from wabajobs.ledger.reclaiming import Reclaimed
from wabajobs.ledger.request import NewOperation
from wabajobs.ledger.retrying import Retrying
from wabajobs.ledger.rows import as_operation, select_operations
from wabajobs.ledger.selection import Selection
from wabajobs.ledger.tables import BEGUN, READY, EventRow, OperationRow
from wabajobs.ledger.waking import DueRetry
from wabajobs.operation import FINISHED, Operation, State
from wabajobs.outcome import Done, End, Expired, Hold, Unbegun

_MOST_AT_HOME: Final = 200_000


class Operations:
    """The ledger of operations."""

    def __init__(self, database: Database) -> None:
        """Work on the tables of `database`."""
        self._database = database
        self._at_home: set[str] = set()
        """WABAs of which it is certain that their home app is known."""

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
            refuse_conflicts(connection, requests)
            return accept_all(connection, requests, now)
        with self._database.write() as own:
            return accept_all(own, requests, now)

    def foresee(self, request: NewOperation) -> tuple[str | None, str | None]:
        """Return the ids of the operation that its key stands for, and of the one that it would join.

        Nothing is written. Raises `IdempotencyConflict`, or `NotFound`, as accepting it would.
        """
        with self._database.read() as connection:
            return foresee(connection, request)

    # ── out ─────────────────────────────────────────────────────────────────────────────────────────────

    def lines(self, kinds: Iterable[str]) -> list[Line]:
        """Return where something of these kinds is ready to be released."""
        with self._database.read() as connection:
            return [line for kind in kinds for line in lines.with_work(connection, kind)]

    def heads(self, asked: Mapping[Line, int], *, but: Collection[str] = ()) -> dict[Line, list[Operation]]:
        """Return the first so many operations of each line, but for those of some WABAs."""
        with self._database.read() as connection:
            return lines.heads(connection, asked, but=but)

    def ready(self, ids: Collection[str]) -> list[Operation]:
        """Return those of these operations that could be released now, the oldest first."""
        query = select_operations().where(OperationRow.id.in_(sorted(ids)), _STILL_READY)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(OperationRow.id)).mappings().all()
        return [as_operation(row) for row in rows]

    def release(self, due: Collection[Operation], *, now: datetime, lease: timedelta) -> list[Operation]:
        """Lease those that have not moved meanwhile, each under a new fence; return them, to be published."""
        if not due:
            return []
        with self._database.write() as connection:
            asked = {"until": now + lease, **named([(one.id, one.fence) for one in due])}
            leased = connection.execute(_RELEASE, asked)
            fences: dict[str, int] = {row.id: row.fence for row in leased}
            tell(connection, now, "dispatcher", "released", [(id_, None, fence) for id_, fence in fences.items()])
        return [replace(one, fence=fences[one.id]) for one in due if one.id in fences]

    def hold_ready(
        self, operation: Operation, hold: Hold, *, now: datetime, alone: bool = False, at_most: int = 500
    ) -> int:
        """Hold what is ready in the operation's line and about its WABA; return how many that were.

        For a budget or breaker of one WABA: the others of the line go on, and nobody looks at these meanwhile.
        With `alone`, only the operation itself.
        """
        values = {"state": State.HELD, "due_at": hold.until or now, "told": gist(hold), **holding(hold)}
        theirs = lines.of_waba(operation).add_columns(OperationRow.told).limit(at_most)
        if alone:
            theirs = select(OperationRow.id, OperationRow.told).where(
                OperationRow.id == operation.id, text(READY)
            )
        with self._database.write() as connection:
            locked_ = connection.execute(theirs.with_for_update(skip_locked=True))
            known = {row.id: row.told for row in locked_}
            connection.execute(update(OperationRow).where(OperationRow.id.in_(list(known))).values(values))
            tell(connection, now, "dispatcher", "held", [(id_, hold.as_json(), None) for id_ in known])
            news = [replace(operation, id=id_) for id_, told in known.items() if told != gist(hold)]
            tell_operations(
                connection, now, [Told(one, EventKind.HELD, {"hold": hold.as_json()}) for one in news]
            )
        return len(known)

    def next_wake(self) -> datetime | None:
        """Return when the first of the held operations is due again."""
        with self._database.read() as connection:
            return waking.next_wake(connection)

    def wake(self, *, now: datetime) -> int:
        """Let held operations queue again whose time has come, but for retries; return how many."""
        with self._database.write() as connection:
            return waking.wake(connection, now=now)

    def due_retries(self, *, now: datetime) -> list[DueRetry]:
        """Return retries whose back-off is over, the first thousand."""
        with self._database.read() as connection:
            return waking.due_retries(connection, now=now)

    def let_retry(self, ids: Collection[str], *, now: datetime) -> int:
        """Let due retries queue again; return how many still could."""
        with self._database.write() as connection:
            return waking.let_retry(connection, ids, now=now)

    def postpone(self, holds: Mapping[str, Hold], *, now: datetime) -> None:
        """Hold due retries on, each for its reason."""
        with self._database.write() as connection:
            waking.postpone(connection, holds, now=now)

    def take_back(self, released: Iterable[Operation], *, now: datetime, why: str) -> None:
        """Undo a release whose message could not be published. A message that went out after all is stale."""
        with self._database.write() as connection:
            for one in sorted(released, key=lambda one: one.id):
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
                    tell(connection, now, "dispatcher", "taken back", [(one.id, {"why": why}, one.fence)])

    def ask_again(self, *, held_by: Collection[str], now: datetime) -> int:
        """Let operations that something holds ask again now, because it has changed; return how many."""
        with self._database.write() as connection:
            again = connection.execute(
                update(OperationRow)
                .where(
                    OperationRow.id.in_(
                        locked(
                            OperationRow.state == State.HELD,
                            OperationRow.hold_by.in_(held_by),
                            OperationRow.leased_until.is_(None),
                            OperationRow.due_at > now,
                        ).scalar_subquery()
                    )
                )
                .values(due_at=now)
            )
            return again.rowcount

    def begin(
        self,
        operation_id: str,
        fence: int,
        *,
        worker: str,
        now: datetime,
        lease: timedelta,
        pauses: Collection[Pause] | None = None,
    ) -> Operation | Unbegun:
        """Let the holder of the lease start; anybody else, and a paused operation, is told why not.

        Without `pauses`, those of the ledger count, as they are in this very transaction.
        """
        return self.begin_all([(operation_id, fence)], worker=worker, now=now, lease=lease, pauses=pauses)[0]

    def begin_all(
        self,
        leases: Sequence[tuple[str, int]],
        *,
        worker: str,
        now: datetime,
        lease: timedelta,
        pauses: Collection[Pause] | None = None,
    ) -> list[Operation | Unbegun]:
        """Do so for several leases `(id, fence)` of one worker, in one transaction."""
        with self._database.write() as connection:
            answers = attempts.begin_all(connection, leases, worker=worker, pauses=pauses, now=now, lease=lease)
        late = [lease for lease, answer in zip(leases, answers, strict=True) if isinstance(answer, Expired)]
        if late:  # in a transaction of its own: lanes are locked before rows
            with self._database.write() as connection:
                expiring.expire_leased(connection, late, now=now, actor=worker)
        return answers

    # ── under way ───────────────────────────────────────────────────────────────────────────────────────

    def renew(
        self, leases: Collection[tuple[str, int]], *, now: datetime, lease: timedelta
    ) -> set[tuple[str, int]]:
        """Prolong the leases `(id, fence)` that are still held; return those that are lost."""
        if not leases:
            return set()
        with self._database.write() as connection:
            # Those that are still running only: what has been recorded meanwhile must not be leased once more.
            held = connection.execute(_RENEW, {"until": now + lease, **named(leases)})
            return set(leases) - {(row.id, row.fence) for row in held}

    def record_checkpoint(
        self,
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
        """Remember how far the attempt has come, and what its next call needs. Raises `LeaseLost`.

        With it go `secrets`, sealed, by name; None deletes one. `waba` is what an operation without one is about.
        `deadline` is one that holds again. With `unless_stopped` it raises `StopAsked`, and writes nothing, when
        somebody wants it cancelled.
        """
        with self._database.write() as connection:
            attempts.write_checkpoint(
                connection,
                operation_id,
                fence,
                checkpoint,
                capability=capability,
                secrets=secrets,
                waba=waba,
                deadline=deadline,
                unless_stopped=unless_stopped,
                now=now,
            )

    def stop_asked(self, operation: Operation) -> dict[str, Any] | None:
        """Return who wants a running operation cancelled, and why; None when nobody does.

        Raises `LeaseLost` when it does not run under this lease any more: then nobody may call for it.
        """
        with self._database.read() as connection:
            row = connection.execute(_STOP, {"whom": operation.id, "fence": operation.fence}).one_or_none()
        if row is None:
            raise attempts.lost(operation.id, operation.fence)
        stop: dict[str, Any] | None = row.stop
        return stop

    def record(self, operation: Operation, outcome: End, *, worker: str, now: datetime) -> End:
        """Write down how the attempt ended, end its lease, and return what was written. Raises `LeaseLost`."""
        [written] = self.record_all([Ending(operation, outcome)], worker=worker, now=now)
        if isinstance(written, LeaseLost):
            raise written
        return written

    def record_all(self, endings: Sequence[Ending], *, worker: str, now: datetime) -> list[End | LeaseLost]:
        """Do so for several attempts of one worker, in one transaction; `LeaseLost` is an answer, too."""
        with self._database.write() as connection:
            written = attempts.end_all(connection, endings, worker=worker, now=now)
            done = [one.operation for one, end in zip(endings, written, strict=True) if isinstance(end, Done)]
            reached = {
                one.waba: one.app
                for one in done
                if one.waba and not one.routed_from and one.waba not in self._at_home
            }
            homes.learn(connection, reached, now=now)
        if len(self._at_home) > _MOST_AT_HOME:
            self._at_home.clear()
        self._at_home.update(reached)
        return written

    # ── rescue ──────────────────────────────────────────────────────────────────────────────────────────

    def reclaim(
        self,
        *,
        now: datetime,
        max_attempts: int,
        gone: Collection[str] = (),
        unbegun_until: datetime | None = None,
    ) -> list[Reclaimed]:
        """Take back what was leased to somebody who is gone: by its time, or because he is known to be `gone`.

        With him may have gone what he had fetched and not begun. So what nobody has begun is taken back where its
        lease ends before `unbegun_until`.

        A message that no worker has begun costs no attempt. A worker that died under way has spent one; who
        has killed `max_attempts` workers fails, for a person to look at.
        """
        with self._database.write() as connection:
            return reclaiming.reclaim(
                connection, now=now, max_attempts=max_attempts, gone=gone, unbegun_until=unbegun_until
            )

    def expire(self, *, now: datetime, at_most: int = 200) -> list[Operation]:
        """End what waits or is held past its deadline; return what has ended."""
        with self._database.read() as connection:  # mostly there is nothing, and then nobody need wait for us
            if not expiring.any_overdue(connection, now=now):
                return []
        with self._database.write() as connection:
            return expiring.expire(connection, now=now, at_most=at_most)

    # ── people ──────────────────────────────────────────────────────────────────────────────────────────

    def cancel(
        self, ids: Collection[str], *, reason: str, actor: str, now: datetime, force: bool = False
    ) -> dict[str, Cancelling]:
        """Cancel operations, those of several callers only by `force`; return what came of it for each."""
        with self._database.write() as connection:
            return cancelling.cancel(connection, ids, reason=reason, actor=actor, force=force, now=now)

    def provide(
        self, operation_id: str, secrets: Mapping[str, str], *, given: list[str], actor: str, now: datetime
    ) -> bool:
        """Let an operation that needs input go on with what was given, sealed; False when it needs none."""
        with self._database.write() as connection:
            return providing.provide(connection, operation_id, secrets, given=given, actor=actor, now=now)

    def retry(self, ids: Collection[str], *, reason: str, actor: str, now: datetime) -> dict[str, Retrying]:
        """Let what has failed, expired or been cancelled go again; return what came of it for each there is."""
        with self._database.write() as connection:
            return retrying.retry(connection, ids, reason=reason, actor=actor, now=now)

    def count(self, chosen: Selection) -> dict[tuple[str, str, State], int]:
        """Return how many of each (kind, partner, state) a selection holds."""
        with self._database.read() as connection:
            return selection.count(connection, chosen)

    def ids(self, chosen: Selection, *, before: str | None = None, at_most: int = 100) -> list[str]:
        """Return the ids of the newest of a selection, of those before the id `before`."""
        with self._database.read() as connection:
            return selection.ids(connection, chosen, before=before, at_most=at_most)

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
        query = select_operations().order_by(OperationRow.id.desc())
        equal = {"kind": kind, "partner": partner, "waba": waba}
        for name, value in equal.items():
            if value is not None:
                query = query.where(getattr(OperationRow, name) == value)
        if state is not None:
            query = query.where(in_state(state, pauses))
        with self._database.read() as connection:
            rows = connection.execute(query.limit(at_most)).mappings().all()
        return [as_operation(row).under(pauses) for row in rows]

    def asking(self, *, kinds: Collection[str], at_most: int = 20) -> list[Operation]:
        """Return operations of these kinds that need input, the oldest first."""
        if not kinds:
            return []
        waits = (
            OperationRow.finished_at.is_(None),
            OperationRow.kind.in_(kinds),
            OperationRow.state == State.NEEDS_INPUT,
        )
        query = select_operations().where(*waits).order_by(OperationRow.created_at).limit(at_most)
        with self._database.read() as connection:
            return [as_operation(row) for row in connection.execute(query).mappings().all()]

    def story(self, operation_id: str) -> list[Story]:
        """Return what has happened to an operation, oldest first."""
        query = select(EventRow).where(EventRow.operation_id == operation_id).order_by(EventRow.id)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return [Story(row.at, row.name, row.actor, row.detail, row.attempt) for row in rows]

    def out(self) -> dict[tuple[str, str], int]:
        """Return how many operations of each (kind, partner) are with the workers, or on their way to them."""
        with self._database.read() as connection:
            return Counter((kind, partner) for kind, partner in connection.execute(_OUT))

    def census(self, *scopes: Scope, kinds: Collection[str] | None = None) -> list[Part]:
        """Count what is not finished and covered by all of these scopes, part by part.

        `kinds` are those that there can be of it, if the caller knows: a number's operations are of few.
        """
        with self._database.read() as connection:
            return census.count(connection, *scopes, kinds=kinds)

    def census_begun(self, *scopes: Scope) -> list[Part]:
        """Count what lies still, has been under way before, and is covered by all of these scopes."""
        with self._database.read() as connection:
            return census.begun(connection, *scopes)

    def census_under(self, pauses: Collection[Pause]) -> list[Part]:
        """Count what is not finished, as it stands under these pauses."""
        with self._database.read() as connection:
            return census.under(connection, pauses)

    def census_among(self, parts: Iterable[Part], scopes: Collection[Scope], *, within: Scope) -> list[Part]:
        """Return what of the parts that are all of one scope's is covered by one of other scopes, too."""
        with self._database.read() as connection:
            return census.among(connection, parts, scopes, within=[within])

    def crowds(self, lines: Iterable[Line]) -> dict[str, list[Part]]:
        """Count what is not finished of those WABAs that may have very much in these lines."""
        with self._database.read() as connection:
            return census.of_wabas(connection, census.crowded(connection, lines))

    def wabas(self, scope: Scope, *, kinds: Collection[str], at_most: int = 100_000) -> tuple[int, bool]:
        """Return how many WABAs a scope's operations of these kinds are about, and whether there may be more.

        At most so many operations are looked at.
        """
        with self._database.read() as connection:
            return census.wabas(connection, scope, kinds=kinds, at_most=at_most)

    def sample(self, kind: str, *, at_most: int = 20) -> list[Operation]:
        """Return some operations of a kind that are not finished."""
        with self._database.read() as connection:
            return census.sample(connection, kind, at_most=at_most)

    def newest_results(self, *, at_most: int = 500) -> list[tuple[str, Mapping[str, Any]]]:
        """Return the kinds and results of the operations that succeeded last."""
        with self._database.read() as connection:
            return census.newest_results(connection, at_most=at_most)

    def position(self, operation_id: str) -> Position:
        """Return where an operation stands among the others. Raises `NotFound`."""
        with self._database.read() as connection:
            found = position.position(connection, operation_id)
        if found is None:
            raise NotFound(f"there is no operation {operation_id!r}; list them: wabajobs ops list")
        return found

    def ready_by_line(self, kinds: Collection[str]) -> dict[Line, int]:
        """Return how many operations are ready in each line of these queues."""
        with self._database.read() as connection:
            return position.ready_by_line(connection, kinds)

    def begun(self, kinds: Collection[str], *, at_most: int) -> list[Operation]:
        """Return what is ready and has been under way before, the oldest first."""
        query = select_operations().where(OperationRow.kind.in_(sorted(kinds)), text(BEGUN))
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(OperationRow.id).limit(at_most)).mappings().all()
        return [as_operation(row) for row in rows]

    def waiting_under(self, scope: Scope, *, at_most: int) -> int:
        """Return how many operations of a scope wait or are held, and `at_most` when there are more."""
        some = (
            select(OperationRow.id)
            .where(OperationRow.finished_at.is_(None), covered(scope))
            .where(OperationRow.state.in_(OPEN))
        )
        with self._database.read() as connection:
            return connection.scalar(select(func.count()).select_from(some.limit(at_most).subquery())) or 0

    def open_under(self, scope: Scope, *, kinds: Collection[str], at_most: int) -> list[str]:
        """Return ids of what waits or is held in a scope, of these kinds, and is in nobody's hands."""
        query = select(OperationRow.id).where(
            OperationRow.finished_at.is_(None),
            OperationRow.kind.in_(sorted(kinds)),
            OperationRow.state.in_(OPEN),
            OperationRow.leased_until.is_(None),
            covered(scope),
        )
        with self._database.read() as connection:
            return list(connection.scalars(query.limit(at_most)))

    def count_open(self, *, pauses: Collection[Pause] = ()) -> list[tuple[str, State, int, datetime]]:
        """Return (kind, state, how many, created_at of the oldest) of what is not finished."""
        found: dict[tuple[str, State], tuple[int, datetime]] = {}
        for part in self.census_under(pauses):
            number, oldest = found.get((part.line.kind, part.state), (0, part.oldest))
            found[part.line.kind, part.state] = number + part.operations, min(oldest, part.oldest)
        return [(kind, state, number, oldest) for (kind, state), (number, oldest) in found.items()]

    def oldest(self, part: Part, *, at_most: int) -> list[Operation]:
        """Return the operations of a part that came first."""
        with self._database.read() as connection:
            return resting.oldest(connection, part, at_most=at_most)

    def resting(self, ids: Collection[str]) -> list[Operation]:
        """Return those of these operations that no worker has now, finished or not."""
        with self._database.read() as connection:
            return resting.among(connection, ids)

    def count_finished(self, *, since: datetime) -> list[tuple[str, State, int]]:
        """Return (kind, state, how many) of what has finished since."""
        query = (
            select(OperationRow.kind, OperationRow.state, func.count())
            .where(OperationRow.state.in_(sorted(FINISHED)), OperationRow.finished_at >= since)
            .group_by(OperationRow.kind, OperationRow.state)
        )
        with self._database.read() as connection:
            return [(kind, State(state), n) for kind, state, n in connection.execute(query)]

    def dead(self, *, since: datetime) -> list[Dead]:
        """Return what has failed or expired since, by kind, error and partner, the most frequent first."""
        with self._database.read() as connection:
            return dead(connection, since=since)


# In the order of the index of what is out, and counted by us: in a database that was empty when it made its plan,
# one index is as good as another, unless it saves putting rows in order.
_OUT: Final = (
    select(OperationRow.kind, OperationRow.partner)
    .where(OperationRow.leased_until.is_not(None))
    .order_by(OperationRow.kind, OperationRow.leased_until)
)


# Said otherwise than in `READY`: here the ids lead to the rows, and not the index of all that is ready.
_STILL_READY: Final = and_(
    func.coalesce(OperationRow.state, "") == State.WAITING,
    OperationRow.leased_until.is_(None),
    OperationRow.blocked.is_(False),
)


_RELEASE: Final = (
    update(OperationRow)
    .where(OperationRow.id.in_(locked(LEASES, _STILL_READY).scalar_subquery()))
    .values(fence=OperationRow.fence + 1, leased_until=bindparam("until"), worker=None)
    .returning(OperationRow.id, OperationRow.fence)
)


_RENEW: Final = (
    update(OperationRow)
    .where(OperationRow.id.in_(attempts.RUNNING_AMONG.scalar_subquery()))
    .values(leased_until=bindparam("until"))
    .returning(OperationRow.id, OperationRow.fence)
)


_STOP: Final = select(OperationRow.stop).where(
    OperationRow.id == bindparam("whom"),
    OperationRow.fence == bindparam("fence"),
    OperationRow.state == State.RUNNING,
)
