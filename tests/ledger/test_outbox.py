"""What the Hub is told: every end and every new reason for waiting, once, in order, and without a gap."""

import random
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text

from tests.ledger.conftest import WABA, WORKER, Book, a_request, a_sync, at_once, hold
from tests.ledger.test_templates import a_template, swap, synced
from tests.support.databases import PostgresServer
from tests.support.hooks import status
from wabajobs import webhooks
from wabajobs.clock import HandClock
from wabajobs.dispatcher.retention import ages
from wabajobs.errors import InvalidRequest
from wabajobs.feed import Event, EventKind
from wabajobs.ledger import Database, Ledger, outbox
from wabajobs.ledger.outbox import Told, tell_operations
from wabajobs.ledger.tables import OutboxRow
from wabajobs.operation import Operation
from wabajobs.outcome import Cancelled, Done, Expired, Failed, Hold, NeedsInput
from wabajobs.settings import PlannerSettings, RetentionSettings


def told(book: Book, after: int = 0, **more: Any) -> list[Event]:
    return book.ledger.outbox.read(after=after, at_most=1000, **more)


def names(book: Book, operation: Operation | None = None) -> list[str]:
    return [str(one.kind) for one in told(book) if operation is None or one.operation_id == operation.id]


# ── what is told ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("outcome", "event", "data"),
    [
        (Done({"templates": 3}), "operation.succeeded", {"result": {"templates": 3}}),
        (Failed("no", {"code": 100}), "operation.failed", {"error": {"message": "no", "code": 100}}),
        (
            Cancelled("gone", "hub"),
            "operation.cancelled",
            {
                "error": {
                    "message": "cancelled by hub: gone",
                    "type": "Cancelled",
                    "by": "hub",
                    "reason": "gone",
                }
            },
        ),
        (Expired("too late"), "operation.expired", {"error": {"message": "too late", "type": "Expired"}}),
    ],
)
def test_an_end_is_told_with_what_came_of_it(book: Book, outcome: Any, event: str, data: dict[str, Any]) -> None:
    running = book.running()
    assert told(book) == []

    book.record(running, outcome)

    [one] = told(book)
    assert one == Event(
        cursor=1,
        kind=EventKind(event),
        at=book.clock.now(),
        operation_id=running.id,
        operation_kind=running.kind,
        partner=running.partner,
        app=running.app,
        waba=running.waba,
        data=data,
    )
    assert Event.of_json(one.as_json()) == one


def test_what_is_needed_of_a_person_is_told(book: Book) -> None:
    running = book.running()
    needs = NeedsInput(reason="the code", asks=(), until=book.clock.now() + timedelta(hours=1))

    book.record(running, needs)  # type: ignore[arg-type]

    [one] = told(book)
    assert (one.kind, one.data) == (EventKind.NEEDS_INPUT, {"needs": needs.as_json()})


def test_a_hold_is_told_once_for_each_reason(book: Book) -> None:
    operation = book.accept_one(a_request())

    def held(reason: str, by: str = "retry") -> list[str]:
        running = book.run(operation.id)
        book.record(running, Hold(reason=reason, by=by, until=book.clock.now() + timedelta(seconds=1)))
        book.pass_time(2)
        return names(book)

    assert held("Meta is unwell (code 2) [fbtrace AbC1]") == ["operation.held"]
    assert held("Meta is unwell (code 2) [fbtrace XyZ2]") == ["operation.held"]
    assert held("the budget is spent until 12:10", by="budget") == ["operation.held"] * 2
    assert held("the budget is spent until 12:20", by="budget") == ["operation.held"] * 2

    book.record(book.run(operation.id), Done())
    assert names(book) == ["operation.held", "operation.held", "operation.succeeded"]


def test_what_is_let_go_again_is_told_from_the_beginning(book: Book) -> None:
    running = book.running()
    book.record(running, hold(book, 1))
    book.pass_time(2)
    book.record(book.run(running.id), Failed("no"))

    book.ledger.operations.retry([running.id], reason="mended", actor="ops", now=book.clock.now())
    book.record(book.run(running.id), hold(book, 1))

    assert names(book) == ["operation.held", "operation.failed", "operation.held"]


def test_the_others_of_a_waba_that_are_held_with_it_are_told_once(book: Book) -> None:
    first, second, other = book.accept(a_request(), a_request(), a_request(waba="99999"))

    for _ in range(2):
        book.ledger.operations.hold_ready(first, hold(book, 1), now=book.clock.now())
        book.pass_time(2)
        book.wake()

    assert [one.operation_id for one in told(book)] == [first.id, second.id]
    assert names(book, other) == []


def test_a_retry_that_waits_for_room_is_told_once(book: Book) -> None:
    operation = book.running()
    book.record(operation, hold(book, 1, by="retry"))
    for seconds in (2, 10):
        book.pass_time(seconds)
        room = Hold(reason="no room", by="retry_budget", until=book.clock.now() + timedelta(seconds=5))
        book.ledger.operations.postpone({operation.id: room}, now=book.clock.now())

    assert [one.data["hold"]["by"] for one in told(book)] == ["retry", "retry_budget"]


def test_what_ends_without_an_attempt_is_told(book: Book) -> None:
    late = book.accept_one(a_request(expires_after=timedelta(seconds=5)))
    unwanted, dead = book.accept(a_request(), a_request())
    book.ledger.operations.cancel([unwanted.id], reason="gone", actor="hub", now=book.clock.now())
    [leased] = book.lease([dead])
    book.begin(leased.id, leased.fence)
    book.pass_time(60)

    book.ledger.operations.expire(now=book.clock.now())
    book.reclaim(max_attempts=1)

    assert names(book, unwanted) == ["operation.cancelled"]
    assert names(book, late) == ["operation.expired"]
    assert names(book, dead) == ["operation.failed"]


def test_changes_of_templates_are_told_by_whom_they_were_found(book: Book) -> None:
    synced(book, a_template("1", status="PENDING"), a_template("2"))
    before = told(book)[-1].cursor
    book.pass_time(60)
    webhook = webhooks.read(status(WABA, "1", "APPROVED", at=book.clock.now()))
    book.ledger.apply(webhook, now=book.clock.now(), planner=PlannerSettings())
    book.pass_time(60)
    sync = synced(book, a_template("1"))

    by_webhook, *by_sync = told(book, before, kinds=[EventKind.TEMPLATE_CHANGED])

    assert (by_webhook.waba, by_webhook.operation_id) == (WABA, None)
    assert by_webhook.data["topic"] == "message_template_status_update"
    assert by_webhook.data["before"]["status"] == "PENDING"
    assert by_webhook.data["after"]["status"] == "APPROVED"
    assert {one.operation_id for one in by_sync} == {sync.id}
    assert {one.data["change"] for one in by_sync if one.data["template_id"] == "2"} == {"removed"}


def test_a_late_worker_tells_nothing(book: Book) -> None:
    running = book.running(a_sync())
    book.pass_time(60)
    book.reclaim()

    book.ledger.operations.record_all([], worker=WORKER, now=book.clock.now())
    with pytest.raises(Exception, match="has gone to somebody else"):
        book.record(running, Done())
    with pytest.raises(Exception, match="has gone to somebody else"):
        swap(book, running)

    assert told(book) == []


# ── how it is read ──────────────────────────────────────────────────────────────────────────────────────────


def ended(book: Book, number: int) -> list[Operation]:
    return [book.record(book.running(), Done()) for _ in range(number)]


def test_events_are_read_in_order_from_any_cursor(book: Book) -> None:
    operations = ended(book, 5)

    assert [one.cursor for one in told(book)] == [1, 2, 3, 4, 5]
    assert [one.operation_id for one in told(book, after=3)] == [one.id for one in operations[3:]]
    assert [one.cursor for one in book.ledger.outbox.read(after=1, at_most=2)] == [2, 3]
    assert [one.cursor for one in book.ledger.outbox.last(2)] == [4, 5]
    assert told(book, kinds=[EventKind.FAILED]) == []


def test_a_cursor_of_another_ledger_is_refused(book: Book) -> None:
    ended(book, 2)

    with pytest.raises(InvalidRequest, match="cursor 3 is none of this ledger's: its newest event is 2"):
        told(book, after=3)


def test_old_events_go_and_who_comes_too_late_is_told_so(book: Book) -> None:
    ended(book, 3)
    assert len(told(book)) == 3
    book.pass_time(31 * 86400)
    ended(book, 1)

    pruned = [
        what
        for what in book.ledger.retention.prune(ages(RetentionSettings()), now=book.clock.now())
        if what[0] == "outbox"
    ]

    assert pruned == [("outbox", 2)], "the newest number stays, until another is given"
    ended(book, 1)
    assert [one.cursor for one in told(book)] == [3, 4, 5]
    with pytest.raises(InvalidRequest, match=r"events 2 to 2 are no longer kept .* go on after 2"):
        told(book, after=1)


def test_numbers_go_on_where_everything_was_deleted(book: Book) -> None:
    ended(book, 2)
    assert len(told(book)) == 2
    book.pass_time(31 * 86400)
    list(book.ledger.retention.prune(ages(RetentionSettings()), now=book.clock.now()))

    ended(book, 1)

    assert [one.cursor for one in told(book, after=2)] == [3]


def test_what_is_rolled_back_was_never_told(book: Book) -> None:
    [operation] = book.accept(a_request())
    with pytest.raises(ZeroDivisionError), book.ledger.database.write() as connection:
        tell_operations(connection, book.clock.now(), [Told(operation, EventKind.FAILED, {})])
        _ = 1 / 0

    ended(book, 1)

    assert [(one.cursor, str(one.kind)) for one in told(book)] == [(1, "operation.succeeded")]


# ── with many at once, on PostgreSQL: SQLite has one writer ─────────────────────────────────────────────────


def test_a_transaction_that_ends_later_is_not_missed(postgres: PostgresServer) -> None:
    book = Book(Ledger(Database(postgres.fresh())))
    slow, quick = book.accept(a_request(), a_request())
    with book.ledger.database.write() as connection:
        tell_operations(connection, book.clock.now(), [Told(slow, EventKind.HELD, {})])
        with book.ledger.database.write() as other:
            tell_operations(other, book.clock.now(), [Told(quick, EventKind.HELD, {})])
        [first] = told(book)

    [second] = told(book, after=first.cursor)

    assert (first.operation_id, second.operation_id) == (quick.id, slow.id)
    book.ledger.database.close()


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), writers=st.integers(2, 5), readers=st.integers(1, 3))
def test_every_reader_sees_everything_once_and_in_order(
    postgres: PostgresServer, seed: int, writers: int, readers: int
) -> None:
    """Writers hold their transactions open for a while, in part roll them back; readers read all the time."""
    ledger = Ledger(Database(postgres.fresh()))
    clock = HandClock()
    shared = [one.operation for one in ledger.operations.accept([a_request(), a_request()], now=clock.now())]
    committed: list[list[tuple[int, int]]] = [[] for _ in range(writers)]
    over: list[int] = []
    lists: list[list[Event]] = [[] for _ in range(readers)]

    def write(number: int) -> None:
        dice = random.Random(f"{seed}:{number}")
        for turn in range(12):
            operation = dice.choice(shared)
            try:
                with ledger.database.write() as connection:
                    # As every move does: under the row's lock.
                    connection.execute(
                        text("SELECT id FROM operations WHERE id = :id FOR UPDATE"), {"id": operation.id}
                    )
                    number_of = connection.scalar(
                        text("UPDATE operations SET callers = callers + 1 WHERE id = :id RETURNING callers"),
                        {"id": operation.id},
                    )
                    data = {"by": number, "turn": turn, "move": number_of}
                    tell_operations(connection, clock.now(), [Told(operation, EventKind.HELD, data)])
                    connection.execute(text("SELECT pg_sleep(:s)"), {"s": dice.random() * 0.01})
                    if dice.random() < 0.2:
                        raise ZeroDivisionError
            except ZeroDivisionError:
                continue
            committed[number].append((number, turn))
        over.append(number)

    def read(number: int) -> None:
        dice, mine = random.Random(f"{seed}:r{number}"), lists[number]
        while True:
            all_written = len(over) == writers
            found = ledger.outbox.read(after=mine[-1].cursor if mine else 0, at_most=dice.randint(1, 20))
            mine += found
            if all_written and not found:
                return

    at_once(writers + readers, lambda place: write(place) if place < writers else read(place - writers))

    expected = sorted(pair for pairs in committed for pair in pairs)
    for seen in lists:
        assert [one.cursor for one in seen] == list(range(1, len(expected) + 1)), "no gap, none twice"
        assert sorted((one.data["by"], one.data["turn"]) for one in seen) == expected
        for operation in shared:
            moves = [one.data["move"] for one in seen if one.operation_id == operation.id]
            assert moves == sorted(moves), "moves of one operation are told in their order"
    ledger.database.close()


def test_whoever_reads_finds_the_numbers_by_their_index(ledger: Ledger) -> None:
    """However long the feed is, and also while nothing in it is new."""
    queries = {
        "newest": outbox.NEWEST,
        "oldest": outbox.OLDEST,
        "unnumbered": outbox._UNNUMBERED.limit(1),
        "behind": select(OutboxRow.data).where(OutboxRow.number > 5).order_by(OutboxRow.number).limit(10),
    }
    explain = "EXPLAIN QUERY PLAN " if ledger.database.is_sqlite else "EXPLAIN "
    for name, query in queries.items():
        with ledger.database.read() as connection:
            sql = str(query.compile(connection, compile_kwargs={"literal_binds": True}))
            plan = " ".join(str(row) for row in connection.execute(text(explain + sql)))
        assert "ix_outbox_" in plan, f"{name}: {plan}"
