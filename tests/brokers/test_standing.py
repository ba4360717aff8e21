"""Flower, told by the dispatcher beside the workers, shows what the ledger has, and what is held."""

import ast
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery
from celery.events import EventReceiver
from celery.events.state import State as WhatFlowerKnows
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.databases import SqliteFiles
from tests.support.fakes import FakeGate, FakePresence
from tests.support.servers import RunningRedis
from tests.support.waiting import until
from tests.unit.conftest import Bay
from tests.unit.yard import KIND, Yard
from wabajobs.broker import Sender, Standing, make_app
from wabajobs.broker.telling import Telling, searched, shown
from wabajobs.decisions import Scope
from wabajobs.ledger import Database, Ledger
from wabajobs.operation import Operation, State
from wabajobs.outcome import Done, Failed, Hold
from wabajobs.seeing.holdups import Holdups, Look
from wabajobs.settings import DispatchSettings, FlowerSettings, Settings
from wabajobs.signals import Told

RULES = FlowerSettings(look_seconds=2, repeat_seconds=10, operations=50, reasons=3)


class Flower:
    """What Flower makes of what it hears, from now on: Celery's own state of a cluster."""

    def __init__(self, app: Celery, redis: RunningRedis) -> None:
        self.knows = WhatFlowerKnows()
        self.open = ExitStack()
        self._app = app
        self._last: str | None = None
        connection = self.open.enter_context(app.connection_for_read())
        receiver = EventReceiver(connection, handlers={"*": self._hears}, app=app)
        self._line, *_ = self.open.enter_context(receiver.consumer_context(wakeup=False))
        until(lambda: self._listens(redis), what="it listens to events")

    def _listens(self, redis: RunningRedis) -> bool:
        with suppress(TimeoutError):
            self._line.drain_events(timeout=0.02)
        return bool(redis.client.pubsub_numpat())

    def _hears(self, event: dict[str, Any]) -> None:
        self._last = event.get("mark")
        self.knows.event(event)

    def catch_up(self) -> None:
        """Hear everything that has been told so far."""
        mark = str(id(object()))
        with self._app.producer_or_acquire() as producer:
            Telling(self._app, "mark@here")([("worker-heartbeat", {"mark": mark, "freq": 60})], producer)
        while self._last != mark:
            self._line.drain_events(timeout=5)
        self._last = None

    def state(self, id_: str) -> str | None:
        """The state in which it shows a task; None for one that it does not know."""
        self.catch_up()
        task = self.knows.tasks.get(id_)
        return task.state if task else None

    def held(self) -> dict[str, int]:
        """The standing entries, and their numbers."""
        self.catch_up()
        return {
            id_: ast.literal_eval(task.kwargs)["held"]
            for id_, task in self.knows.tasks.items()
            if id_.startswith("held:") and task.state == "RETRY"
        }


@dataclass
class Place:
    """A ledger, a dispatcher's sender and teller, workers who tell their events, and Flower."""

    yard: Yard
    app: Celery
    redis: RunningRedis
    told: Told
    running: ExitStack = field(default_factory=ExitStack)
    moment: float = 0.0
    before_telling: list[Callable[[], object]] = field(default_factory=list)
    """What somebody else does between the look and the telling, once."""

    def __post_init__(self) -> None:
        self.sender = Sender(self.app)
        self.worker = Telling(self.app, "celery@here")
        self.dispatcher = self.another()

    def another(self) -> Standing:
        """Another dispatcher's, which knows nothing but what is in Redis."""
        bay = self.yard.bay
        place = self

        class Interrupted(Holdups):
            def look(self) -> Look:
                look = super().look()
                while place.before_telling:
                    place.before_telling.pop()()
                return look

        holdups = Interrupted(
            ledger=bay.ledger,
            gate=self.yard.gate,
            presence=self.yard.presence,  # type: ignore[arg-type]
            kinds=self.yard.kinds,
            clock=bay.clock,
            settings=DispatchSettings(),
            monotonic=lambda: self.moment,
        )
        return Standing(
            self.app,
            holdups=holdups,
            ledger=bay.ledger,
            told=Told(self.redis.client),
            settings=RULES,
            monotonic=lambda: self.moment,
        )

    def flower(self) -> Flower:
        """Start one; the one before is gone."""
        self.running.close()
        until(lambda: not self.redis.client.pubsub_numpat(), what="nobody listens")
        flower = Flower(self.app, self.redis)
        self.running.push(flower.open)
        return flower

    def look(self, seconds: float = 2) -> None:
        """Let time pass, and the dispatcher look."""
        self.moment += seconds
        self.yard.bay.clock.advance(timedelta(seconds=seconds))
        self.dispatcher.keep_up()

    def pause(self, scope: str = f"queue:{KIND}") -> None:
        bay = self.yard.bay
        bay.ledger.decisions.pause(Scope.of(scope), reason="app limit", actor="anna", now=bay.clock.now())

    def resume(self, scope: str = f"queue:{KIND}") -> None:
        bay = self.yard.bay
        bay.ledger.decisions.resume(Scope.of(scope), reason="over", actor="anna", now=bay.clock.now())

    def send(self) -> list[Operation]:
        """Release what may go now."""
        released = self.yard.release()
        assert self.sender(released) == ()
        return released

    def begin(self, released: Operation) -> Operation:
        begun = self.yard.begin(released)
        named = {"uuid": begun.id, "name": begun.kind, "args": "()", "kwargs": shown(searched(begun))}
        self._worker_tells("task-received", **named)
        self._worker_tells("task-started", uuid=begun.id)
        return begun

    def end(self, begun: Operation, outcome: Done | Failed | Hold) -> None:
        bay = self.yard.bay
        bay.ledger.operations.record(begun, outcome, worker="w", now=bay.clock.now())
        match outcome:
            case Done():
                self._worker_tells("task-succeeded", uuid=begun.id, result=str(outcome), runtime=0.1)
            case Failed():
                self._worker_tells("task-failed", uuid=begun.id, exception=str(outcome))
            case Hold():
                self._worker_tells("task-retried", uuid=begun.id, exception=str(outcome))

    def cancel(self, one: Operation) -> None:
        bay = self.yard.bay
        bay.ledger.operations.cancel([one.id], reason="they have left", actor="anna", now=bay.clock.now())

    def _worker_tells(self, type_: str, **fields: Any) -> None:
        with self.app.producer_or_acquire() as producer:
            self.worker([(type_, fields)], producer)


@pytest.fixture(scope="module")
def app(redis_for_stages: RunningRedis) -> Iterator[Celery]:
    given_ = {"WABAJOBS_BROKER_URL": redis_for_stages.server.broker_url}
    with make_app(Settings.load(given_), queues=[KIND, "onboarding"]) as app:
        yield app
        app.pool.force_close_all()


@pytest.fixture
def make_place(
    app: Celery, redis_for_stages: RunningRedis, sqlite_files: SqliteFiles
) -> Iterator[Callable[[], Place]]:
    with ExitStack() as stack:

        def make() -> Place:
            redis_for_stages.client.flushall()
            database = Database(sqlite_files.fresh())
            stack.callback(database.close)
            yard = Yard(Bay(Ledger(database)), presence=FakePresence({KIND: [4]}), gate=FakeGate())
            place = Place(yard, app, redis_for_stages, Told(redis_for_stages.client))
            stack.push(place.running)
            return place

        yield make


@pytest.fixture
def place(make_place: Callable[[], Place]) -> Place:
    return make_place()


ENTRY = f"held:{KIND}:pause:queue:{KIND}"


def test_what_is_held_is_told_with_its_number_and_its_end(place: Place) -> None:
    flower = place.flower()
    place.yard.accept(3)
    place.pause()
    place.look()
    assert flower.held() == {ENTRY: 3}
    task = flower.knows.tasks[ENTRY]
    assert task.name == KIND
    assert task.exception == task.result
    assert task.exception.startswith("3 held, oldest 2 s. A person: queue:template_sync is paused by anna")

    place.resume()
    place.look()
    assert (flower.held(), flower.state(ENTRY)) == ({}, "RELEASED")

    place.pause()
    place.look()
    assert flower.held() == {ENTRY: 3}


def test_a_flower_that_is_started_later_knows_it_when_it_is_told_again(place: Place) -> None:
    place.yard.accept(3)
    place.pause()
    place.look()
    flower = place.flower()

    place.look()
    assert flower.held() == {}
    place.look(RULES.repeat_seconds)
    assert flower.held() == {ENTRY: 3}
    assert flower.knows.workers[f"dispatcher@{socket.gethostname()}"].alive


def test_another_dispatcher_tells_the_same_entries_and_the_end_of_those_before(place: Place) -> None:
    flower = place.flower()
    place.yard.accept(3)
    place.pause()
    place.pause("partner:bolt")
    place.yard.accept(1, kind="onboarding", partner="bolt")
    place.look()
    assert len(flower.held()) == 2

    place.resume("partner:bolt")
    place.dispatcher = place.another()
    place.yard.presence.slots["onboarding"] = [1]
    place.look()

    assert flower.held() == {ENTRY: 3}
    assert flower.state("held:onboarding:pause:partner:bolt") == "RELEASED"


def test_a_redis_that_was_emptied_makes_nobody_forget_what_is_over(place: Place) -> None:
    flower = place.flower()
    (one, *_) = place.yard.accept(3)
    place.pause()
    place.look()
    assert flower.state(one.id) == "RETRY"

    place.redis.client.flushall()
    place.resume()
    place.look()

    assert (flower.state(ENTRY), flower.state(one.id)) == ("RELEASED", "PENDING")


def test_nothing_is_left_in_redis_for_a_flower_that_does_not_run(place: Place) -> None:
    place.yard.accept(3)
    place.pause()
    place.look()
    known = {bytes(key) for key in place.redis.client.scan_iter()}
    size = place.redis.client.memory_usage("wabajobs:told")

    for _ in range(20):
        place.look(RULES.repeat_seconds)

    assert {bytes(key) for key in place.redis.client.scan_iter()} == known == {b"wabajobs:told"}
    assert place.redis.client.memory_usage("wabajobs:told") == size


def test_a_flood_is_told_in_a_few_entries(place: Place) -> None:
    flower = place.flower()
    for number in range(12):
        place.yard.accept(number + 20, partner=f"p{number}")
        place.pause(f"partner:p{number}")
    place.look()

    assert sorted(flower.held().values()) == [29, 30, 31]
    assert len(flower.knows.tasks) == RULES.reasons + RULES.operations


def test_an_operation_that_workers_has_seen_is_held_with_its_reason_and_ends_as_it_does(place: Place) -> None:
    flower = place.flower()
    unwanted, wanted = place.yard.accept(2)
    place.pause()
    place.look()
    assert flower.state(unwanted.id) == "RETRY"
    assert "queue:template_sync is paused by anna" in flower.knows.tasks[unwanted.id].exception

    place.cancel(unwanted)
    place.look()
    assert flower.state(unwanted.id) == "REVOKED"
    assert flower.knows.tasks[unwanted.id].exception == "cancelled by anna: they have left"

    place.resume()
    place.look()
    assert flower.state(wanted.id) == "PENDING"
    assert flower.knows.tasks[wanted.id].exception is None
    (sent,) = place.send()
    place.end(place.begin(sent), Done())
    assert flower.state(wanted.id) == "SUCCESS"


@pytest.mark.parametrize("outcome", [Done(), Failed("Nothing of the kind", {"message": "Nothing of the kind"})])
def test_one_that_ends_while_it_is_told_as_held_is_shown_as_ended(place: Place, outcome: Done | Failed) -> None:
    flower = place.flower()
    place.yard.accept(1)
    place.pause()

    def meanwhile() -> None:
        """Another dispatcher, which leads by now, has released it, and it has been worked off."""
        place.resume()
        (sent,) = place.send()
        place.end(place.begin(sent), outcome)

    place.before_telling.append(meanwhile)
    place.look()

    (one,) = place.yard.bay.ledger.operations.find()
    assert flower.state(one.id) == {"succeeded": "SUCCESS", "failed": "FAILURE"}[str(one.state)]


MOVES = st.lists(
    st.sampled_from(["pause", "resume", "accept", "send", "begin", "done", "failed", "hold", "wake", "cancel"]),
    max_size=30,
)


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(MOVES)
def test_whatever_happens_flower_shows_what_the_ledger_has(
    make_place: Callable[[], Place], moves: list[str]
) -> None:
    place = make_place()
    operations = place.yard.bay.ledger.operations
    flower = place.flower()
    sent: list[Operation] = []
    begun: list[Operation] = []
    with place.running:
        for move in ["accept", "pause", *moves]:
            match move:
                case "pause":
                    place.pause()
                case "resume":
                    place.resume()
                case "accept":
                    place.yard.accept(1, waba=None)
                case "send":
                    sent += place.send()
                case "begin" if sent and not place.yard.bay.ledger.decisions.pauses(
                    now=place.yard.bay.clock.now()
                ):
                    begun.append(place.begin(sent.pop()))
                case "done" if begun:
                    place.end(begun.pop(), Done())
                case "failed" if begun:
                    place.end(begun.pop(), Failed("no", {"message": "no"}))
                case "hold" if begun:
                    until = place.yard.bay.clock.now() + timedelta(hours=1)
                    place.end(begun.pop(), Hold(reason="in review", by="meta", until=until))
                case "wake":
                    operations.ask_again(held_by=["meta"], now=place.yard.bay.clock.now())
                    operations.wake(now=place.yard.bay.clock.now())
                case "cancel" if waiting := operations.find(state=State.WAITING):
                    resting = operations.resting([one.id for one in waiting])
                    for one in resting[:1]:
                        place.cancel(one)
            place.look(RULES.repeat_seconds)  # looked at, and the second time told
            place.look()

            pauses = place.yard.bay.ledger.decisions.pauses(now=place.yard.bay.clock.now())
            out = {one.id for one in sent}
            for one in operations.find(pauses=pauses):
                assert flower.state(one.id) in _shown_as(one, is_out=one.id in out), (move, one)


def _shown_as(one: Operation, *, is_out: bool) -> set[str | None]:
    match one.state:
        case State.SUCCEEDED:
            return {"SUCCESS"}
        case State.FAILED:
            return {"FAILURE"}
        case State.CANCELLED:
            return {"REVOKED", None}  # None: it has never been held nor sent
        case State.RUNNING:
            return {"STARTED"}
        case State.HELD if not is_out:
            return {"RETRY"}
        case _:
            return {"PENDING", None} if not is_out else {"PENDING", "RETRY"}
