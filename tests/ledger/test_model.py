"""The ledger against a plain account of what it was told, through any order of moves."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import delete

from tests.ledger.conftest import LEASE, WORKER, Book, a_pause, a_request, a_sync
from wabajobs.capability import ServiceClass
from wabajobs.decisions import Pause
from wabajobs.errors import IdempotencyConflict, LeaseLost
from wabajobs.ledger import Cancelling, Ledger, NewOperation, Retrying
from wabajobs.ledger.tables import Base
from wabajobs.operation import RETRIABLE, Operation, State
from wabajobs.outcome import Cancelled, Done, Expired, Failed, Hold

PARTNERS, WABAS, KEYS = ("acme", "bolt"), ("10001", "10002", "10003"), (None, None, "k1", "k2")
SCOPES = ("partner:bolt", "waba:10001", "capability:uploads", "all")
MAX_ATTEMPTS = 3
RECENT = 5
"""Of what was handed out so many are played with: often the newest, now and then one long over."""
OPEN = (State.WAITING, State.HELD)
ENDINGS = ("held", "retry", "paused", "done", "failed")


@dataclass
class Account:
    """What must be true of one operation, kept the plain way."""

    id: str
    partner: str
    waba: str
    lane: str | None
    rank: int
    due: datetime
    placed: datetime
    turn: int
    deadline: datetime | None
    life: timedelta | None
    coalesces: bool
    joinable: bool
    state: State = State.WAITING
    attempts: int = 0
    fence: int = 0
    callers: int = 1
    checkpoint: dict[str, Any] | None = None
    leased_until: datetime | None = None
    blocked: bool = False
    retries: bool = False
    """What holds it, when something does, is the back-off after a failure."""
    stops: bool = False

    @property
    def line(self) -> tuple[int, str]:
        return self.rank, self.partner

    def covered(self, pause: Pause) -> bool:
        name = pause.scope.name
        return str(pause.scope) == "all" or name in (self.partner, self.waba)

    def order(self) -> tuple[object, ...]:
        """Where it stands among those that could be released."""
        return self.rank, self.partner, self.turn, self.placed, self.id

    def shown(self) -> tuple[object, ...]:
        return (
            self.state,
            self.attempts,
            self.fence,
            self.callers,
            self.checkpoint,
            self.rank,
            self.due,
            self.deadline,
        )


def as_shown(operation: Operation) -> tuple[object, ...]:
    return (
        operation.state,
        operation.attempts,
        operation.fence,
        operation.callers,
        operation.checkpoint,
        operation.service_class.rank,
        operation.due_at,
        operation.deadline_at,
    )


@dataclass
class Memory:
    """Everything that was ever handed out; any of it may come back, late or twice."""

    accounts: dict[str, Account] = field(default_factory=dict)
    keys: dict[tuple[str, str], tuple[str, object]] = field(default_factory=dict)
    messages: list[Operation] = field(default_factory=list)
    attempts: list[Operation] = field(default_factory=list)
    pauses: dict[str, Pause] = field(default_factory=dict)


def machine(ledger: Ledger) -> type[RuleBasedStateMachine]:
    """Return the machine for one database; each example starts with empty tables."""

    class Moves(RuleBasedStateMachine):
        @initialize()
        def start(self) -> None:
            with ledger.database.write() as connection:
                for table in reversed(Base.metadata.sorted_tables):
                    connection.execute(delete(table))
            self.book, self.memory = Book(ledger), Memory()
            for waba in WABAS:
                self._accept(a_sync(waba), same=(waba, True))
                self._accept(a_request(waba=waba, partner="bolt"), same=(waba, False))

        # ── in ───────────────────────────────────────────────────────────────────────────────────────

        @rule(
            partner=st.sampled_from(PARTNERS),
            waba=st.sampled_from(WABAS),
            sync=st.booleans(),
            key=st.sampled_from(KEYS),
            service_class=st.sampled_from(ServiceClass),
            life=st.sampled_from([None, None, None, 10, 40]),
            ordered=st.booleans(),
        )
        def accept(
            self,
            partner: str,
            waba: str,
            sync: bool,
            key: str | None,
            service_class: ServiceClass,
            life: int | None,
            ordered: bool,
        ) -> None:
            make = a_sync if sync else a_request
            more = {} if sync else {"lane": f"object:{waba}" if ordered else None}
            request = make(
                waba=waba,
                partner=partner,
                key=key,
                service_class=service_class,
                payload={"sync": sync},
                expires_after=timedelta(seconds=life) if life else None,
                **more,
            )
            self._accept(request, same=(waba, sync))

        def _accept(self, request: NewOperation, *, same: object) -> None:
            place = (request.partner, request.key or "")
            known = self.memory.keys.get(place) if request.key else None
            if known and known[1] != same:
                with pytest.raises(IdempotencyConflict):
                    self.book.accept_one(request)
                return
            accepted = self.book.accept_one(request)
            assert accepted.id == (known[0] if known else self._expected(request).id)
            if request.key:
                self.memory.keys[place] = (accepted.id, same)

        def _expected(self, request: NewOperation) -> Account:
            for account in self.memory.accounts.values():
                if account.joinable and account.lane == request.lane:
                    account.callers += 1
                    account.rank = min(account.rank, request.service_class.rank)
                    account.checkpoint = None
                    account.deadline = request.deadline(self.book.clock.now())
                    account.life = None
                    return account
            account = Account(
                id=request.id,
                partner=request.partner,
                waba=str(request.waba),
                lane=request.lane,
                rank=request.service_class.rank,
                due=self.book.clock.now(),
                placed=self.book.clock.now(),
                turn=0,
                deadline=request.deadline(self.book.clock.now()),
                life=request.expires_after,
                coalesces=request.coalesces,
                joinable=request.coalesces,
            )
            self._stand_in_line(account)
            self.memory.accounts[account.id] = account
            return account

        # ── out ──────────────────────────────────────────────────────────────────────────────────────

        @precondition(lambda self: any(one.leased_until is None for one in self._open()))
        @rule(at_most=st.integers(1, 4), begin=st.booleans())
        def release(self, at_most: int, begin: bool) -> None:
            messages = self._release(at_most)
            for message in messages if begin else ():
                self._begin(message)

        def _open(self) -> list[Account]:
            return [one for one in self.memory.accounts.values() if one.state in OPEN]

        def _release(self, at_most: int) -> list[Operation]:
            self._wake()
            expected = sorted(filter(self._ready, self.memory.accounts.values()), key=Account.order)[:at_most]

            released = self.book.release(at_most)

            assert [one.id for one in released] == [one.id for one in expected]
            for one in expected:
                one.fence += 1
                one.leased_until = self.book.clock.now() + LEASE
            self.memory.messages += released
            return released

        def _wake(self) -> None:
            held = [one for one in self.memory.accounts.values() if one.state is State.HELD]
            for retries in (False, True):  # these are let go by their budget, when the others queue already
                self._let_queue([one for one in held if one.retries is retries])

        def _let_queue(self, held: list[Account]) -> None:
            now = self.book.clock.now()
            awake = [one for one in held if not one.leased_until and one.due <= now]
            queueing = [one for one in awake if not one.blocked]
            ready = list(filter(self._ready, self.memory.accounts.values()))
            head = {one.line: self._head(one, ready) for one in queueing}
            for one in sorted(queueing, key=lambda one: (one.due, one.turn, one.placed, one.id)):
                if not one.coalesces:
                    one.turn = self._turn(one, ready, head[one.line])
                ready.append(one)
            for one in awake:
                one.state = State.WAITING

        def _ready(self, account: Account) -> bool:
            return account.state is State.WAITING and account.leased_until is None and not account.blocked

        def _of_lane(self, lane: str | None) -> list[Account]:
            """Return what is not finished of a lane."""
            theirs = (one for one in self.memory.accounts.values() if lane and one.lane == lane)
            return [one for one in theirs if not one.state.finished]

        def _stand_in_line(self, account: Account) -> None:
            """Queue at the end: of its lane if something is not finished there, else of its line."""
            others = [one for one in self._of_lane(account.lane) if one is not account]
            account.blocked = bool(others)
            if others:
                account.turn = max((one.turn for one in others if one.blocked), default=0) + 1
            else:
                self._queue_again(account)

        def _queue_again(self, account: Account) -> None:
            ready = [one for one in self.memory.accounts.values() if one is not account and self._ready(one)]
            account.turn = 0 if account.coalesces else self._turn(account, ready, self._head(account, ready))

        def _finish(self, account: Account, state: State) -> None:
            """End an operation; the first that waits in its lane goes, if nothing else of it does."""
            account.state, account.leased_until = state, None
            account.joinable = account.blocked = False
            left = self._of_lane(account.lane)
            if left and all(one.blocked for one in left):
                following = min(left, key=lambda one: (one.turn, one.id))
                self._queue_again(following)
                following.blocked = False

        def _head(self, account: Account, ready: list[Account]) -> int:
            return min((one.turn for one in ready if one.line == account.line), default=-1)

        def _turn(self, account: Account, ready: list[Account], head: int) -> int:
            mine = (one.turn for one in ready if (one.line, one.waba) == (account.line, account.waba))
            return max(head, *mine, -1) + 1

        @precondition(lambda self: self.memory.messages)
        @rule(data=st.data())
        def take_back(self, data: st.DataObject) -> None:
            message = data.draw(st.sampled_from(self.memory.messages[-RECENT:]))
            account = self.memory.accounts[message.id]
            self.book.ledger.operations.take_back([message], now=self.book.clock.now(), why="no broker")
            if account.fence == message.fence and account.state in OPEN:
                account.leased_until = None

        @precondition(lambda self: self.memory.messages)
        @rule(data=st.data())
        def begin(self, data: st.DataObject) -> None:
            self._begin(data.draw(st.sampled_from(self.memory.messages[-RECENT:])))

        def _begin(self, message: Operation) -> None:
            account = self.memory.accounts[message.id]
            ours = account.fence == message.fence and account.state in OPEN and account.leased_until is not None
            paused = any(account.covered(pause) for pause in self.memory.pauses.values())
            late = self._is_overdue(account)

            begun = self.book.begin(message.id, message.fence, pauses=list(self.memory.pauses.values()))

            assert isinstance(begun, Operation) == (ours and not paused and not late)
            assert isinstance(begun, Cancelled) == (account.state is State.CANCELLED and not (ours and paused))
            if ours and late and not paused:
                assert isinstance(begun, Expired)
                self._finish(account, State.EXPIRED)
            if ours and paused:
                account.state, account.leased_until = State.WAITING, None
            if isinstance(begun, Operation):
                account.state, account.joinable = State.RUNNING, False
                account.attempts += 1
                account.leased_until = self.book.clock.now() + LEASE
                self.memory.attempts.append(begun)

        # ── under way ────────────────────────────────────────────────────────────────────────────────

        def _holds(self, attempt: Operation) -> bool:
            account = self.memory.accounts[attempt.id]
            return account.state is State.RUNNING and account.fence == attempt.fence

        @precondition(lambda self: self.memory.attempts)
        @rule(data=st.data(), page=st.integers(0, 9))
        def checkpoint(self, data: st.DataObject, page: int) -> None:
            attempt = data.draw(st.sampled_from(self.memory.attempts[-RECENT:]))
            if not self._holds(attempt):
                with pytest.raises(LeaseLost):
                    self.book.checkpoint(attempt, {"late": page})
                return
            self.book.checkpoint(attempt, {"page": page})
            self.memory.accounts[attempt.id].checkpoint = {"page": page}

        @precondition(lambda self: self.memory.attempts)
        @rule(data=st.data(), ending=st.sampled_from(ENDINGS), seconds=st.sampled_from([0, 0, 5, 20]))
        def record(self, data: st.DataObject, ending: str, seconds: int) -> None:
            self._record(data.draw(st.sampled_from(self.memory.attempts[-RECENT:])), ending, seconds)

        @precondition(lambda self: any(one.leased_until is None for one in self._open()))
        @rule(ending=st.sampled_from(ENDINGS), seconds=st.sampled_from([0, 0, 5, 20]))
        def work_off(self, ending: str, seconds: int) -> None:
            began = len(self.memory.attempts)
            for message in self._release(2):
                self._begin(message)
            for attempt in self.memory.attempts[began:]:
                self._record(attempt, ending, seconds)

        def _record(self, attempt: Operation, ending: str, seconds: int) -> None:
            now = self.book.clock.now()
            later = now + timedelta(seconds=seconds)
            outcome = {
                "done": Done({"n": 1}),
                "failed": Failed("no"),
                "held": Hold(reason="budget", by="budget", until=later),
                "retry": Hold(reason="again", by="retry", until=later, spends_attempt=True),
                "paused": Hold(reason="paused", by="pause", until=None),
            }[ending]
            if not self._holds(attempt):
                with pytest.raises(LeaseLost):
                    self.book.record(attempt, outcome)
                return
            account = self.memory.accounts[attempt.id]
            asked = account.stops and ending in ("held", "retry", "paused")
            assert (self.book.record(attempt, outcome).state is State.CANCELLED) == asked
            if asked:
                self._finish(account, State.CANCELLED)
                return
            account.leased_until = None
            account.attempts -= ending in ("held", "paused")
            match ending:
                case "done":
                    self._finish(account, State.SUCCEEDED)
                case "failed":
                    self._finish(account, State.FAILED)
                case "paused":
                    account.state, account.due = State.WAITING, now
                    self._pending_again(account)
                case _:
                    account.state, account.due, account.retries = State.HELD, later, ending == "retry"
                    self._pending_again(account)

        def _pending_again(self, account: Account) -> None:
            account.joinable = account.coalesces and not any(
                one.joinable and one.lane == account.lane for one in self.memory.accounts.values()
            )

        @precondition(lambda self: self.memory.attempts)
        @rule(data=st.data())
        def renew(self, data: st.DataObject) -> None:
            attempts = data.draw(st.lists(st.sampled_from(self.memory.attempts[-RECENT:]), max_size=4))
            leases = [(one.id, one.fence) for one in attempts]
            held = {(one.id, one.fence) for one in attempts if self._holds(one)}

            lost = self.book.ledger.operations.renew(leases, now=self.book.clock.now(), lease=LEASE)

            assert lost == set(leases) - held
            for id_, _ in held:
                self.memory.accounts[id_].leased_until = self.book.clock.now() + LEASE

        # ── time, people and death ───────────────────────────────────────────────────────────────────

        @rule(seconds=st.sampled_from([1, 7, 16, 31]), look=st.booleans())
        def pass_time(self, seconds: int, look: bool) -> None:
            self.book.pass_time(seconds)
            if look:
                self._reclaim()

        @precondition(lambda self: any(one.leased_until for one in self.memory.accounts.values()))
        @rule()
        def die_and_go_on_elsewhere(self) -> None:
            self.book.pass_time(16)
            self._reclaim()
            for message in self._release(3):
                self._begin(message)

        def _reclaim(self) -> None:
            now = self.book.clock.now()
            gone = [
                one
                for one in self.memory.accounts.values()
                if one.leased_until is not None and one.leased_until < now
            ]
            assert len(self.book.reclaim(max_attempts=MAX_ATTEMPTS)) == len(gone)
            for one in sorted(gone, key=lambda one: one.leased_until or now):
                one.leased_until = None
                if one.state is State.RUNNING and one.stops:
                    self._finish(one, State.CANCELLED)
                elif one.state is State.RUNNING and one.attempts >= MAX_ATTEMPTS:
                    self._finish(one, State.FAILED)
                elif one.state is State.RUNNING:
                    one.state, one.due = State.WAITING, now
                    self._pending_again(one)

        def _is_overdue(self, account: Account) -> bool:
            return account.deadline is not None and account.deadline <= self.book.clock.now()

        @rule()
        def expire(self) -> None:
            overdue = [
                one
                for one in self.memory.accounts.values()
                if self._is_overdue(one) and one.state in OPEN and one.leased_until is None
            ]

            expired = self.book.ledger.operations.expire(now=self.book.clock.now())

            assert {one.id for one in expired} == {one.id for one in overdue}
            for one in overdue:
                self._finish(one, State.EXPIRED)

        @rule(data=st.data(), force=st.booleans())
        def cancel(self, data: st.DataObject, force: bool) -> None:
            account = data.draw(st.sampled_from(list(self.memory.accounts.values())))
            before, shared = account.state, account.callers > 1 and not account.stops

            answer = self.book.ledger.operations.cancel(
                [account.id], reason="a test", actor="anna", force=force, now=self.book.clock.now()
            )[account.id]

            if before.finished:
                assert answer == (Cancelling.CANCELLED if before is State.CANCELLED else Cancelling.FINISHED)
            elif shared and not force:
                assert answer is Cancelling.SHARED
            elif before is State.RUNNING:
                assert answer is Cancelling.STOPPING
                account.stops = True
            else:
                assert answer is Cancelling.CANCELLED
                self._finish(account, State.CANCELLED)

        @precondition(lambda self: any(one.state in RETRIABLE for one in self.memory.accounts.values()))
        @rule(data=st.data())
        def retry(self, data: st.DataObject) -> None:
            dead = [one for one in self.memory.accounts.values() if one.state in RETRIABLE]
            account = data.draw(st.sampled_from(dead))
            now = self.book.clock.now()
            pending = any(one.joinable and one.lane == account.lane for one in self.memory.accounts.values())

            answer = self.book.ledger.operations.retry([account.id], reason="a test", actor="anna", now=now)

            if account.coalesces and pending:
                assert answer == {account.id: Retrying.SUPERSEDED}
                return
            assert answer == {account.id: Retrying.RETRIED}
            self._stand_in_line(account)
            account.state, account.attempts, account.stops = State.WAITING, 0, False
            account.due = account.placed = now
            account.joinable = account.coalesces
            renewed = self.book.ledger.operations.get(account.id).deadline_at
            assert (renewed is None) == (account.deadline is None)
            assert renewed is None or renewed - now >= (account.life or timedelta(0))
            account.deadline = renewed

        @rule(scope=st.sampled_from(SCOPES))
        def pause(self, scope: str) -> None:
            self.memory.pauses = {**self.memory.pauses, scope: a_pause(scope)}

        @precondition(lambda self: self.memory.pauses)
        @rule()
        def resume_everything(self) -> None:
            self.memory.pauses = {}

        # ── what must hold ───────────────────────────────────────────────────────────────────────────

        @invariant()
        def nothing_accepted_is_lost_and_all_is_as_told(self) -> None:
            found = {one.id: as_shown(one) for one in self.book.all()}
            assert found == {id_: one.shown() for id_, one in self.memory.accounts.items()}

        @invariant()
        def at_most_one_of_a_lane_is_out(self) -> None:
            out = [one for one in self.memory.accounts.values() if one.leased_until is not None]
            assert sum(self.book.ledger.operations.out().values()) == len(out)
            lanes = Counter(one.lane for one in out if one.lane)
            assert set(lanes.values()) <= {1}

        @invariant()
        def at_most_one_of_a_lane_can_be_joined(self) -> None:
            lanes = Counter(one.lane for one in self.memory.accounts.values() if one.joinable)
            assert set(lanes.values()) <= {1}

        @invariant()
        def pauses_show_as_holds(self) -> None:
            pauses = list(self.memory.pauses.values())
            held = sum(
                one.state is State.HELD
                or (one.state is State.WAITING and any(one.covered(pause) for pause in pauses))
                for one in self.memory.accounts.values()
            )
            counted = self.book.ledger.operations.count_open(pauses=pauses)
            assert sum(number for _, state, number, _ in counted if state is State.HELD) == held

        def teardown(self) -> None:
            """Whatever has happened: let it all run, and everything accepted comes to its end."""
            if not hasattr(self, "memory"):
                return
            for _ in range(len(self.memory.accounts) * 2 + 2):
                self.book.pass_time(31)
                self.book.reclaim(max_attempts=MAX_ATTEMPTS)
                self.book.ledger.operations.expire(now=self.book.clock.now())
                for released in self.book.release():
                    begun = self.book.begin(released.id, released.fence, worker=WORKER)
                    assert isinstance(begun, Operation)
                    self.book.record(begun, Done())
            assert {one.id for one in self.book.all()} == set(self.memory.accounts)
            assert all(one.state.finished for one in self.book.all())

    return Moves


def test_any_order_of_moves_agrees_with_a_plain_account(ledger: Ledger) -> None:
    examples = 40 if ledger.database.is_sqlite else 12

    run_state_machine_as_test(
        machine(ledger),
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking takes minutes
            suppress_health_check=list(HealthCheck),
        ),
    )
