"""The order of a line: WABAs take turns, nobody is overtaken for ever, and syncs go as the settings say."""

from collections.abc import Sequence
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from sqlalchemy import Connection, update

from tests.ledger.conftest import KIND, Book, a_request, a_sync, hold
from tests.support.fakes import templates
from wabajobs.capability import Capability, ServiceClass
from wabajobs.ledger import NewOperation, lines
from wabajobs.ledger.tables import OperationRow
from wabajobs.operation import Operation, Order
from wabajobs.outcome import Done, Hold

FLOODED, OTHERS = "10000", [f"{20_000 + number}" for number in range(5)]


def flood(number: int = 50, *, waba: str = FLOODED, **changes: object) -> list[NewOperation]:
    return [a_request(waba=waba, **changes) for _ in range(number)]


def wabas(operations: Sequence[Operation]) -> list[str]:
    return [str(one.waba) for one in operations]


def work_off_one(book: Book) -> Operation:
    [released] = book.release(1)
    begun = book.begin(released.id, released.fence)
    assert isinstance(begun, Operation)
    return book.record(begun, Done())


def test_a_flood_on_one_waba_comes_once_in_each_round(book: Book) -> None:
    book.accept(*flood())
    book.accept(*(a_request(waba=waba) for waba in OTHERS for _ in range(3)))

    order = wabas(book.ready())

    assert order[0] == FLOODED
    for round_ in range(3):
        assert set(order[1 + round_ * 6 : 7 + round_ * 6]) == {FLOODED, *OTHERS}
    assert order[19:] == [FLOODED] * 46


def test_one_batch_takes_turns_too(book: Book) -> None:
    book.accept(*flood(3), *(a_request(waba=waba) for waba in OTHERS))

    assert wabas(book.ready()) == [FLOODED, *OTHERS, FLOODED, FLOODED]


def test_a_waba_keeps_the_order_of_its_own(book: Book) -> None:
    mine = book.accept(*flood(5))
    mine += [book.accept_one(a_request(waba=FLOODED)) for _ in range(5)]

    assert [one.id for one in book.ready()] == [one.id for one in mine]


def test_who_comes_back_again_and_again_does_not_keep_others_from_their_next_turn(book: Book) -> None:
    book.accept(*flood(10))
    book.accept(*(a_request(waba=waba) for waba in OTHERS))

    served = []
    for _ in range(30):
        done = work_off_one(book)
        served.append(str(done.waba))
        if done.waba != FLOODED:
            book.pass_time(1)
            book.accept_one(a_request(waba=done.waba))

    assert served.count(FLOODED) >= 4, "its part, among six"
    assert all(served.count(waba) >= 4 for waba in OTHERS)


def test_work_of_one_class_or_capability_puts_nobody_back_in_another(book: Book) -> None:
    book.accept(*flood(30, service_class=ServiceClass.BACKGROUND))
    book.accept(*flood(30, capability=Capability.UPLOADS))
    people = {"service_class": ServiceClass.INTERACTIVE}
    book.accept(*(a_request(waba=waba, **people) for waba in OTHERS))
    mine = book.accept_one(a_request(waba=FLOODED, **people))

    for _ in range(3):
        book.pass_time(1)
        book.accept(*(a_request(waba=waba, **people) for waba in OTHERS))

    assert mine.id in [one.id for one in book.ready()][:11]


def test_what_was_held_queues_again_and_goes_before_nobody_in_a_heap(book: Book) -> None:
    book.accept(*flood(20))
    [line] = book.ledger.operations.lines(["template_sync"])
    [first] = book.ledger.operations.heads({line: 1})[line]
    until = book.clock.now() + timedelta(minutes=1)
    held = Hold(reason="its budget is spent", by="budget", until=until)
    assert book.ledger.operations.hold_ready(first, held, now=book.clock.now()) == 20
    for _ in range(25):  # the others' rounds go on meanwhile
        book.accept(*(a_request(waba=waba) for waba in OTHERS))
    for _ in range(25):
        work_off_one(book)

    book.pass_time(61)
    order = wabas(book.ready(200))

    places = [place for place, waba in enumerate(order) if waba == FLOODED]
    assert len(places) == 20
    assert all(order[: place + 1].count(FLOODED) <= place // 6 + 2 for place in places), order


def test_what_its_lane_let_go_queues_as_if_it_came_now(book: Book) -> None:
    for request in flood(8, lane="template:welcome"):
        book.accept_one(request)
    book.accept(*(a_request(waba=waba) for waba in OTHERS for _ in range(10)))

    served = [str(work_off_one(book).waba) for _ in range(24)]

    assert served[6:].count(FLOODED) <= 4, "once in a round of six, not each time that its lanes let one go"


def test_what_went_on_to_another_capability_is_first_in_its_new_line(book: Book) -> None:
    book.accept(*flood(5, capability=Capability.UPLOADS))
    *_, last = book.release()
    begun = book.begin(last.id, last.fence)
    assert isinstance(begun, Operation)
    book.accept(*(a_request(waba=waba, capability=Capability.TEMPLATE_WRITES) for waba in OTHERS))
    book.ledger.operations.record_checkpoint(
        begun.id, begun.fence, {"uploaded": True}, capability=Capability.TEMPLATE_WRITES
    )

    book.record(begun, hold(book, by="pause"))

    assert book.ready()[0].id == begun.id


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (Order.OLDEST, ["30001", "30002", "30003"]),
        (Order.NEWEST, ["30003", "30002", "30001"]),
        (Order.STALEST, ["30003", "30001", "30002"]),
    ],
)
def test_syncs_go_in_the_order_that_was_asked_for(book: Book, order: Order, expected: list[str]) -> None:
    for waba in ("30001", "30002"):  # read one after the other; the third never was
        running = book.running(a_sync(waba))
        book.stage(running, 0, templates(1))
        book.ledger.templates.swap(running, checkpoint=lambda counted: {}, page_size=100, now=book.clock.now())
        book.record(running, Done())
        book.pass_time(60)

    for waba in ("30001", "30002", "30003"):
        book.accept_one(a_sync(waba, order=order))
        book.pass_time(1)

    assert wabas(book.ready()) == expected


@pytest.mark.parametrize(("order", "place"), [(Order.OLDEST, 0), (Order.NEWEST, 0), (Order.STALEST, 0)])
def test_who_is_joined_keeps_his_place_or_betters_it(book: Book, order: Order, place: int) -> None:
    first = book.accept_one(a_sync("30001", order=order))
    book.pass_time(1)
    book.accept_one(a_sync("30002", order=order))
    book.pass_time(1)

    joined = book.accept_one(a_sync("30001", order=order))

    assert joined.id == first.id
    assert book.ready()[place].id == first.id


def test_a_class_raised_while_it_is_out_counts_when_it_comes_back(book: Book) -> None:
    book.accept(*(a_sync(waba) for waba in OTHERS))
    released = book.release()
    raised = book.accept_one(a_sync(OTHERS[3], service_class=ServiceClass.INTERACTIVE))
    book.clock.advance(timedelta(seconds=16))
    book.reclaim()

    ready = book.ready()

    assert {one.id for one in ready} == {one.id for one in released}
    assert (ready[0].id, ready[0].service_class) == (raised.id, ServiceClass.INTERACTIVE)


def test_what_is_about_no_waba_goes_by_age_and_starves_nobody(book: Book) -> None:
    book.accept(*(a_request(waba=None) for _ in range(5)))
    book.accept(*flood(3))

    assert wabas(book.ready())[5:] == [FLOODED] * 3


# ── WABAs that are left out ─────────────────────────────────────────────────────────────────────────────────


def left_out(book: Book, number: int) -> list[Operation]:
    [line] = book.ledger.operations.lines([KIND])
    return book.ledger.operations.heads({line: number}, but={FLOODED})[line]


@pytest.mark.parametrize("number", [1, 3, 7, 100])
@pytest.mark.parametrize("flooded", [3, 40, 200])
def test_who_is_left_out_changes_nothing_for_the_others(book: Book, flooded: int, number: int) -> None:
    others = [a_request(waba=waba) for waba in OTHERS for _ in range(30)]
    book.accept(*flood(flooded), *others, a_request(waba=None))
    expected = [one for one in book.ready(1_000) if one.waba != FLOODED]
    first = left_out(book, number)

    found = left_out(book, number)

    assert found == first
    assert sorted(wabas(found)) == sorted(wabas(expected[:number]))
    for waba in {one.waba for one in found}:
        mine = [one for one in found if one.waba == waba]
        assert mine == [one for one in expected if one.waba == waba][: len(mine)]


def test_who_is_left_out_costs_no_more_however_much_it_has(book: Book) -> None:
    book.accept(*flood(100), *(a_request(waba=waba) for waba in OTHERS for _ in range(3)))
    with book.ledger.database.write() as connection:  # as if they had been served for long
        later = update(OperationRow).where(OperationRow.waba != FLOODED).values(turn=OperationRow.turn + 10_000)
        connection.execute(later)
    little = cost(book)

    book.accept(*flood(2_000))

    assert cost(book) <= 2 * little


def cost(book: Book) -> int:
    """Return what a look at the heads reads: rows on PostgreSQL, steps of its machine on SQLite."""
    [line] = book.ledger.operations.lines([KIND])
    with book.ledger.database.read() as connection:
        if book.ledger.database.is_sqlite:
            steps = count()
            sqlite: Any = connection.connection.dbapi_connection
            sqlite.set_progress_handler(lambda: next(steps) < 0, 1)
            found = lines.heads(connection, {line: 4}, but={FLOODED})[line]
            sqlite.set_progress_handler(None, 1)
            read = next(steps)
        else:
            before = _rows_read(connection)  # those of earlier transactions may still be among them
            found = lines.heads(connection, {line: 4}, but={FLOODED})[line]
            read = _rows_read(connection) - before
    assert len(found) == 4
    return read


def _rows_read(connection: Connection) -> int:
    asked = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'operations'"
    return int(connection.exec_driver_sql(asked).scalar_one())
