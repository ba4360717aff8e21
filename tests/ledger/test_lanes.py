"""Lanes: what touches the same thing runs one after the other, in the order in which it was accepted."""

import random
import threading
from collections import Counter
from dataclasses import replace

import pytest
from sqlalchemy import select

from tests.ledger.conftest import KIND, LEASE, WORKER, Book, a_request, a_sync, at_once, hold
from wabajobs.ledger import Ledger
from wabajobs.ledger.attempts import Ending
from wabajobs.ledger.tables import OperationRow
from wabajobs.operation import Operation, State, new_id
from wabajobs.outcome import Done, Failed, NotBegun

EDIT, DELETE = KIND, "template_delete"
LANE = "10001:acme:102290129340398:template:welcome"


def ready(book: Book) -> list[str]:
    return [one.id for kind in (EDIT, DELETE) for one in book.ready(kind=kind)]


def begin(book: Book, operation: Operation | str) -> Operation:
    """Release what may go of the operation's queue, and begin this one of it."""
    whom = operation if isinstance(operation, str) else operation.id
    one = book.ledger.operations.get(whom)
    [released] = [released for released in book.release(kind=one.kind) if released.id == whom]
    begun = book.begin(released.id, released.fence)
    assert isinstance(begun, Operation), begun
    return begun


def work_off(book: Book) -> list[str]:
    """Do whatever may go until nothing is left; return the ids in the order of their beginning."""
    order = []
    while released := [one for kind in (EDIT, DELETE) for one in book.release(kind=kind)]:
        for one in released:
            begun = book.begin(one.id, one.fence)
            assert isinstance(begun, Operation)
            order.append(begun.id)
            book.record(begun, Done())
    return order


def blocked(ledger: Ledger) -> set[str]:
    with ledger.database.read() as connection:
        waits = OperationRow.blocked.is_(True), OperationRow.finished_at.is_(None)
        return set(connection.scalars(select(OperationRow.id).where(*waits)))


def test_a_lane_is_one_line_over_all_kinds(book: Book) -> None:
    edit, delete, again = book.accept(
        a_request(kind=EDIT, lane=LANE), a_request(kind=DELETE, lane=LANE), a_request(kind=EDIT, lane=LANE)
    )

    assert ready(book) == [edit.id]
    assert work_off(book) == [edit.id, delete.id, again.id]


def test_a_first_that_is_held_keeps_the_second_back(book: Book) -> None:
    first, second = book.accept(a_request(lane=LANE), a_request(lane=LANE))
    book.record(begin(book, first), hold(book, 60))

    assert ready(book) == []
    book.pass_time(60)
    assert ready(book) == [first.id]
    assert work_off(book) == [first.id, second.id]


@pytest.mark.parametrize("outcome", [Done(), Failed("no")])
def test_the_end_of_the_first_lets_the_second_go_and_no_other(book: Book, outcome: Done | Failed) -> None:
    first, second, third = book.accept(*(a_request(lane=LANE) for _ in range(3)))

    book.record(begin(book, first), outcome)

    assert ready(book) == [second.id]
    assert blocked(book.ledger) == {third.id}


def test_a_first_that_killed_too_many_workers_lets_the_second_go(book: Book) -> None:
    first, second = book.accept(a_request(lane=LANE), a_request(lane=LANE))
    begin(book, first)
    book.pass_time(16)
    book.reclaim(max_attempts=2)
    assert ready(book) == [first.id], "once more"

    begin(book, first)
    book.pass_time(16)
    book.reclaim(max_attempts=2)

    assert book.get(first).state is State.FAILED
    assert ready(book) == [second.id]


@pytest.mark.parametrize("begun", [False, True])
def test_a_first_that_is_taken_back_stays_the_first(book: Book, begun: bool) -> None:
    first, second = book.accept(a_request(lane=LANE), a_request(lane=LANE))
    [released] = book.release()
    if begun:
        book.begin(released.id, released.fence)
    book.pass_time(16)
    book.reclaim()

    assert work_off(book) == [first.id, second.id]


def test_a_client_whose_clock_is_wrong_does_not_change_the_order(book: Book) -> None:
    ids = sorted(new_id() for _ in range(5))
    order = [ids[n] for n in (2, 4, 0, 3, 1)]
    for id_ in order:
        book.accept_one(a_request(lane=LANE, id=id_))

    assert work_off(book) == order


@pytest.mark.parametrize("one_by_one", [True, False])
def test_a_batch_with_several_of_one_lane_keeps_the_callers_order(book: Book, one_by_one: bool) -> None:
    requests = [a_request(lane=LANE, key=key) for key in ("z", "a", "m", "b")]
    if one_by_one:
        for request in requests:
            book.accept_one(request)
    else:
        book.accept(*requests)

    assert work_off(book) == [one.id for one in requests]


def test_who_comes_to_an_empty_lane_goes_at_once(book: Book) -> None:
    book.accept(a_request(lane=LANE), a_request(lane=LANE))
    work_off(book)

    following = book.accept_one(a_request(lane=LANE))

    assert ready(book) == [following.id]


def test_a_sync_that_came_while_one_runs_waits_for_it_and_can_be_joined(book: Book) -> None:
    running = book.running(a_sync())
    [pending, joined] = [book.accept_one(a_sync()) for _ in range(2)]

    assert ready(book) == []
    assert joined.id == pending.id
    book.record(running, Done())
    assert work_off(book) == [pending.id]


def test_a_message_that_came_twice_begins_once_though_both_copies_came_together(book: Book) -> None:
    book.accept(a_request(lane=LANE), a_request())
    twice = [(one.id, one.fence) for one in book.release()] * 2

    begun = book.ledger.operations.begin_all(twice, worker=WORKER, now=book.clock.now(), lease=LEASE, pauses=())

    assert [isinstance(one, Operation) for one in begun] == [True, True, False, False]
    assert [one.settled for one in begun if isinstance(one, NotBegun)] == [True, True]
    assert [one.attempts for one in book.all()] == [1, 1]


@pytest.mark.parametrize("order", [1, -1])
def test_a_message_of_an_old_lease_does_not_hide_that_of_the_new_which_came_with_it(
    book: Book, order: int
) -> None:
    operation = book.accept_one(a_request())
    leases = [(operation.id, book.release()[0].fence)]
    book.pass_time(61)
    book.reclaim()
    leases.append((operation.id, book.release()[0].fence))

    answers = book.ledger.operations.begin_all(
        leases[::order], worker=WORKER, now=book.clock.now(), lease=LEASE, pauses=()
    )[::order]

    assert isinstance(answers[0], NotBegun)
    assert isinstance(answers[1], Operation)
    assert answers[1].fence == 2


def test_an_end_under_an_old_lease_writes_nothing_beside_one_under_the_new(book: Book) -> None:
    late = book.running(a_request(lane=LANE))
    book.pass_time(16)
    book.reclaim()
    current = begin(book, late.id)

    lost, written = book.ledger.operations.record_all(
        [Ending(late, Failed("too late")), Ending(current, Done())], worker=WORKER, now=book.clock.now()
    )

    assert "has gone to somebody else" in str(lost)
    assert written == Done()
    assert book.get(late).state is State.SUCCEEDED
    assert book.story(late).count("failed") == 0


# ── at the same moment ──────────────────────────────────────────────────────────────────────────────────────


def test_accepting_and_finishing_at_the_same_moment_leaves_no_lane_stuck(book: Book) -> None:
    lanes = [f"lane {number}" for number in range(3)]
    done, order, lock = threading.Event(), Counter(), threading.Lock()
    left = [3]

    def accept(thread: int) -> list[str]:
        mine = []
        for number in range(8):
            batch = [a_request(lane=lane) for lane in random.Random(thread * 100 + number).choices(lanes, k=3)]
            mine += [one.id for one in book.accept(*batch)]
        with lock:
            left[0] -= 1
            if not left[0]:
                done.set()
        return mine

    def work(thread: int) -> list[str]:
        while not done.is_set():
            for released in book.release(2):
                begun = book.begin(released.id, released.fence)
                if isinstance(begun, Operation):
                    with lock:
                        order[str(begun.lane)] += 1
                        assert order[str(begun.lane)] == 1, "two of one lane run at once"
                    with lock:
                        order[str(begun.lane)] -= 1
                    book.record(begun, Failed("no") if thread % 2 else Done())
        return []

    accepted = at_once(6, lambda thread: accept(thread) if thread < 3 else work(thread))
    work_off(book)

    assert sum(map(len, accepted)) == 72
    assert [one.state for one in book.all() if not one.state.finished] == []
    assert blocked(book.ledger) == set()


def test_joining_releasing_beginning_and_ending_many_at_once_never_wait_for_each_other(book: Book) -> None:
    wabas = [f"{30_000 + number}" for number in range(12)]

    def accept(thread: int) -> None:
        for number in range(12):
            some = random.Random(thread * 100 + number).sample(wabas, k=len(wabas))
            book.accept(*map(a_sync, some))

    def work(thread: int) -> None:
        operations = book.ledger.operations
        for _ in range(12):
            leases = [(one.id, one.fence) for one in book.release()]
            random.Random(thread).shuffle(leases)
            begun = operations.begin_all(leases, worker=WORKER, now=book.clock.now(), lease=LEASE, pauses=())
            endings = [Ending(one, hold(book, 0)) for one in begun if isinstance(one, Operation)]
            operations.record_all(endings, worker=WORKER, now=book.clock.now())

    at_once(6, lambda thread: accept(thread) if thread < 3 else work(thread))
    book.pass_time(1)
    work_off(book)

    assert [one.state for one in book.all() if not one.state.finished] == []


def test_twenty_thousand_lanes_in_one_batch(book: Book) -> None:
    requests = [a_sync(f"{100_000 + number}") for number in range(20_000)]

    accepted = book.ledger.operations.accept(requests, now=book.clock.now())
    again = book.ledger.operations.accept(
        [replace(one, id=new_id()) for one in requests[:50]], now=book.clock.now()
    )

    assert all(one.created for one in accepted)
    assert not any(one.created for one in again)


def test_a_very_large_batch_and_small_ones_at_the_same_moment_keep_each_lane_in_order(book: Book) -> None:
    lanes = [f"lane {number}" for number in range(600)]

    def accept(thread: int) -> None:
        if thread:
            for lane in lanes[thread::40]:
                book.accept_one(a_request(lane=lane))
        else:
            book.accept(*(a_request(lane=lane) for lane in lanes))

    at_once(4, accept)

    first = [one.lane for one in book.ready(1_000)]
    assert sorted(first, key=str) == sorted(lanes), "one of each lane goes"
    assert len(book.all()) == len(first) + len(blocked(book.ledger))
