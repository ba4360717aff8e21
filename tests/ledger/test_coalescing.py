"""Requests for the same thing become one operation, as long as it has not begun."""

import pytest

from tests.ledger.conftest import Book, a_pause, a_request, a_sync, at_once, hold
from wabajobs.capability import Capability, ServiceClass
from wabajobs.ledger import Accepted
from wabajobs.operation import Operation, State
from wabajobs.outcome import Done, NotBegun


def accept(book: Book, **changes: object) -> Accepted:
    return book.ledger.operations.accept([a_sync(**changes)], now=book.clock.now())[0]  # type: ignore[arg-type]


def test_a_request_joins_the_pending_operation(book: Book) -> None:
    first = book.accept_one(a_sync())

    joined = accept(book)

    assert joined.created is False
    assert joined.operation.id == first.id
    assert joined.operation.callers == 2
    assert joined.operation == book.get(first)
    assert book.story(first) == ["accepted", "joined"]


def test_days_of_requests_that_join_do_not_fill_its_story(book: Book) -> None:
    first = book.accept_one(a_sync())
    for _ in range(49):
        accept(book)

    assert book.get(first).callers == 50
    assert book.story(first) == ["accepted", *["joined"] * 20]


def test_other_wabas_are_not_joined(book: Book) -> None:
    first = book.accept_one(a_sync("10001"))

    other = accept(book, waba="10002")

    assert other.created
    assert other.operation.id != first.id


def test_what_does_not_coalesce_is_not_joined_though_it_shares_a_lane(book: Book) -> None:
    alone = [a_request(lane="onboarding:1:2") for _ in range(2)]

    operations = book.accept(*alone)

    assert len({one.id for one in operations}) == 2


def test_a_key_that_joined_means_the_joined_operation_for_ever(book: Book) -> None:
    first = book.accept_one(a_sync(key="a"))
    accept(book, key="b")
    book.record(book.run(first.id), Done({"templates": 1}))

    again = [accept(book, key=key).operation for key in ("a", "b")]

    assert [one.id for one in again] == [first.id, first.id]
    assert again[0].state is State.SUCCEEDED


def test_a_key_asked_again_does_not_join_twice(book: Book) -> None:
    first = book.accept_one(a_sync(key="a"))

    again = accept(book, key="a")

    assert again.operation == first
    assert again.operation.callers == 1


def test_a_held_operation_is_joined_and_starts_from_the_beginning(book: Book) -> None:
    running = book.running(a_sync(payload={"n": 1}))
    book.stage(running, 0, [{"id": "1"}], cursor="c1")
    held = book.record(running, hold(book))

    joined = accept(book, payload={"n": 2}).operation

    assert (joined.id, joined.state, joined.due_at) == (held.id, State.HELD, held.due_at)
    assert joined.payload == {"n": 2}
    assert joined.checkpoint is None
    book.pass_time(61)
    assert book.stage(book.run(held.id), 0, [{"id": "2"}], cursor="c1"), "its old pages are gone"


def test_who_starts_from_the_beginning_needs_the_first_calls_capability_again(book: Book) -> None:
    running = book.running(a_sync(capability=Capability.UPLOADS))
    book.ledger.operations.record_checkpoint(
        running.id, running.fence, {"uploaded": True}, capability=Capability.TEMPLATE_WRITES
    )
    held = book.record(running, hold(book))

    joined = accept(book, capability=Capability.UPLOADS).operation

    assert held.capability is Capability.TEMPLATE_WRITES
    assert joined.capability is Capability.UPLOADS


def test_a_released_operation_that_nobody_has_begun_is_joined(book: Book) -> None:
    first = book.accept_one(a_sync())
    [released] = book.release()

    joined = accept(book, payload={"n": 2}).operation
    begun = book.begin(released.id, released.fence)

    assert joined.id == first.id
    assert isinstance(begun, Operation)
    assert begun.payload == {"n": 2}


def test_a_running_operation_is_not_joined(book: Book) -> None:
    running = book.running(a_sync())

    other = accept(book)

    assert other.created
    assert other.operation.id != running.id
    assert book.get(running).callers == 1


@pytest.mark.parametrize("by", ["budget", "pause"])
def test_a_running_operation_that_is_held_again_can_be_joined_again(book: Book, by: str) -> None:
    running = book.running(a_sync())
    book.record(running, hold(book, by=by))

    joined = accept(book)

    assert (joined.operation.id, joined.created) == (running.id, False)


def test_a_reclaimed_operation_can_be_joined_again(book: Book) -> None:
    running = book.running(a_sync())
    book.pass_time(16)
    book.reclaim()

    joined = accept(book)

    assert (joined.operation.id, joined.created) == (running.id, False)


def test_who_is_given_back_under_a_pause_can_still_be_joined(book: Book) -> None:
    first = book.accept_one(a_sync())
    [released] = book.release()
    given_back = book.begin(released.id, released.fence, pauses=[a_pause("all")])

    joined = accept(book)

    assert isinstance(given_back, NotBegun)
    assert joined.operation.id == first.id


def test_who_is_held_again_gives_way_to_the_newer_pending_one(book: Book) -> None:
    running = book.running(a_sync())
    newer = book.accept_one(a_sync())
    book.record(running, hold(book))

    joined = accept(book)

    assert joined.operation.id == newer.id
    assert book.get(running).callers == 1


@pytest.mark.parametrize(
    ("first", "second", "shown"),
    [
        (ServiceClass.BACKGROUND, ServiceClass.INTERACTIVE, ServiceClass.INTERACTIVE),
        (ServiceClass.INTERACTIVE, ServiceClass.BACKGROUND, ServiceClass.INTERACTIVE),
    ],
)
def test_the_highest_class_of_all_callers_wins(
    book: Book, first: ServiceClass, second: ServiceClass, shown: ServiceClass
) -> None:
    book.accept_one(a_sync(service_class=first))

    joined = accept(book, service_class=second).operation

    assert joined.service_class is shown


def test_eight_threads_at_once_make_one_pending_operation_of_each_waba(book: Book) -> None:
    wabas = [f"{10_000 + number}" for number in range(5)]

    answers = at_once(8, lambda _thread: [book.accept_one(a_sync(waba)).id for waba in wabas])

    assert len({tuple(ids) for ids in answers}) == 1
    assert [one.callers for one in book.all()] == [8] * 5


def test_joining_while_it_begins_and_is_held_again_loses_no_caller(book: Book) -> None:
    book.accept_one(a_sync())

    def work(thread: int) -> list[str]:
        if thread:
            return [book.accept_one(a_sync()).id for _ in range(10)]
        for _ in range(20):
            for released in book.release(at_most=1):
                begun = book.begin(released.id, released.fence)
                assert isinstance(begun, Operation)
                book.record(begun, hold(book, 0))
        return []

    joined = [id_ for ids in at_once(5, work) for id_ in ids]

    assert sum(one.callers for one in book.all()) == 1 + len(joined)
    assert {*joined} <= {one.id for one in book.all()}


def test_four_hundred_syncs_of_forty_wabas_are_forty_operations(book: Book) -> None:
    wabas = [f"{10_000 + number}" for number in range(40)]

    for _ in range(10):
        book.accept(*map(a_sync, wabas))

    assert len(book.all()) == 40
    assert {one.callers for one in book.all()} == {10}
