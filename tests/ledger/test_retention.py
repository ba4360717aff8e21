"""What is old is deleted in steps so small that nobody waits for them; what is not, stays."""

import itertools
import threading
from datetime import timedelta
from itertools import pairwise

import pytest
from sqlalchemy import func, insert, select, update

from tests.ledger.conftest import Book, a_request, a_sync, hold
from wabajobs.decisions import Scope
from wabajobs.dispatcher.retention import Pruner
from wabajobs.errors import NotFound
from wabajobs.ledger import Ages
from wabajobs.ledger.history import tell
from wabajobs.ledger.tables import (
    Base,
    EventRow,
    OperationRow,
    PauseRow,
    RequestRow,
    StagedPageRow,
    TemplateChangeRow,
)
from wabajobs.operation import State, new_id
from wabajobs.outcome import Done, Failed
from wabajobs.settings import RetentionSettings

DAY = timedelta(days=1)
AGES = Ages(
    finished=30 * DAY,
    failed=90 * DAY,
    pages=DAY,
    requests=60 * DAY,
    media=7 * DAY,
    changes=365 * DAY,
    events=3650 * DAY,
    seen=3650 * DAY,
    incidents=3650 * DAY,
)
_STEP = 500
"""No transaction may delete more rows than that."""


def prune(book: Book, ages: Ages = AGES) -> dict[str, int]:
    deleted: dict[str, int] = {}
    for what, rows in book.ledger.retention.prune(ages, now=book.clock.now()):
        deleted[what] = deleted.get(what, 0) + rows
    return deleted


def days(book: Book, number: float) -> None:
    book.pass_time(number * 86400)


def rows(book: Book, table: type[Base]) -> int:
    with book.ledger.database.read() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0


def test_finished_operations_go_with_their_stories_and_failed_ones_later(book: Book) -> None:
    done = book.record(book.running(), Done())
    failed = book.record(book.running(), Failed("no"))
    waiting = book.accept_one(a_request())
    held = book.record(book.running(a_request(partner="bolt")), hold(book, 3600))
    days(book, 29)
    assert prune(book) == {}

    days(book, 2)
    assert book.ledger.retention.count(AGES, now=book.clock.now())["operations"] == 1
    assert prune(book) == {"operations": 1}
    assert {one.id for one in book.all()} == {failed.id, waiting.id, held.id}
    assert book.story(done) == []

    days(book, 60)
    assert prune(book) == {"operations": 1}
    assert {one.id for one in book.all()} == {waiting.id, held.id}, "what is not finished stays, however old"


def test_what_goes_again_is_not_old_any_more(book: Book) -> None:
    failed = book.record(book.running(), Failed("no"))
    days(book, 91)
    book.ledger.operations.retry([failed.id], reason="again", actor="anna", now=book.clock.now())

    assert prune(book) == {}


def test_a_step_is_small_also_when_a_story_is_long(book: Book) -> None:
    operation = book.running()
    with book.ledger.database.write() as connection:
        for _ in range(3):
            tell(connection, book.clock.now(), "dispatcher", "due", [(operation.id, None, None)] * 400)
    book.record(operation, Done())
    days(book, 31)

    left = [rows(book, EventRow)]
    for _ in book.ledger.retention.prune(AGES, now=book.clock.now()):
        left.append(rows(book, EventRow))

    assert left[-1] == 0
    assert all(before - after <= _STEP for before, after in pairwise(left))
    assert book.all() == []


def test_pages_of_a_half_read_list_go_first_and_the_retry_begins_anew(book: Book) -> None:
    failed = book.running(a_sync())
    book.stage(failed, 0, [{"id": "1"}], cursor="c")
    book.record(failed, Failed("no"))
    open_ = book.running(a_sync("10002"))
    book.stage(open_, 0, [{"id": "1"}], cursor="c")
    days(book, 2)

    assert prune(book) == {"pages": 1}

    assert rows(book, StagedPageRow) == 1, "a list that is still read keeps its pages"
    assert (book.get(failed).checkpoint, book.get(open_).checkpoint) == (None, {"page": 0})


def test_a_key_outlives_its_operation_and_says_what_became_of_it(book: Book) -> None:
    operation = book.accept_one(a_request(key="k1"))
    book.record(book.run(operation.id), Done())
    days(book, 31)
    prune(book)

    with pytest.raises(NotFound, match=rf"key 'k1'.*operation {operation.id}.*no longer kept; use a new key"):
        book.accept_one(a_request(key="k1"))
    with book.ledger.database.write() as connection, pytest.raises(NotFound):
        book.ledger.operations.accept([a_request(key="k1")], now=book.clock.now(), connection=connection)
    assert book.all() == [], "nothing was written"

    days(book, 30)
    assert prune(book) == {"keys": 1}
    assert book.accept_one(a_request(key="k1")).id != operation.id


def test_the_key_of_what_is_still_to_be_done_stays(book: Book) -> None:
    operation = book.accept_one(a_request(key="k1"))
    days(book, 1000)

    assert prune(book) == {}
    assert book.accept_one(a_request(key="k1")).id == operation.id


def test_the_key_of_who_joined_what_waits_goes_at_its_age(book: Book) -> None:
    operation = book.accept_one(a_sync(key="first"))
    days(book, 1)
    assert book.accept_one(a_sync(key="second")).id == operation.id
    days(book, 1000)

    assert prune(book) == {"keys": 1}
    assert book.accept_one(a_sync(key="first")).id == operation.id
    assert book.accept_one(a_sync(key="second")).id == operation.id


def test_differences_of_templates_go_at_their_age_and_decisions_never(book: Book) -> None:
    book.ledger.decisions.pause(Scope.of("all"), reason="then", actor="anna", now=book.clock.now(), lasting=DAY)
    with book.ledger.database.write() as connection:
        for _ in range(2):
            change = {"waba": "1", "operation_id": new_id(), "at": book.clock.now(), "change": "added"}
            change |= {"template_id": "7", "name": "a", "language": "de"}
            connection.execute(insert(TemplateChangeRow).values(**change))
            days(book, 200)

    assert prune(book) == {"changes": 1}
    assert rows(book, PauseRow) == 1


def test_nobody_waits_for_the_deletion_of_twenty_thousand_rows(book: Book) -> None:
    _fill(book, 4_000, events=4)
    days(book, 31)
    happened: list[str] = []
    ready, halfway = threading.Event(), threading.Event()

    def delete() -> None:
        ready.wait(30)
        for number, _ in enumerate(book.ledger.retention.prune(AGES, now=book.clock.now())):
            happened.append("deleted")
            if number == 5:
                halfway.set()

    deleting = threading.Thread(target=delete)
    deleting.start()
    ready.set()
    halfway.wait(60)
    accepted = 0
    while deleting.is_alive():
        book.accept_one(a_request())
        happened.append("accepted")
        accepted += 1
    deleting.join(60)

    assert rows(book, OperationRow) == accepted
    assert rows(book, RequestRow) == 0
    steps = happened.count("deleted")
    assert steps >= 16_000 / _STEP, "many small steps"
    between = happened[happened.index("accepted") : len(happened) - happened[::-1].index("deleted")]
    assert between.count("accepted") > steps / 10, "others got through while it went on"


def test_what_was_begun_can_be_left_and_taken_up_again(book: Book) -> None:
    _fill(book, 200, events=1)
    days(book, 31)
    first = book.ledger.retention.prune(AGES, now=book.clock.now())
    next(first)
    first.close()
    assert 0 < len(book.all()) < 200

    prune(book)

    assert book.all() == []


def test_the_dispatcher_deletes_for_a_moment_each_time_not_one_small_step(
    book: Book,
) -> None:
    _fill(book, 200, events=1)
    days(book, 31)
    seconds = (number / 100 for number in itertools.count())  # a hundredth passes between two looks at the clock
    settings = RetentionSettings(busy_seconds=0.025)
    pruner = Pruner(book.ledger, settings, clock=book.clock, monotonic=lambda: next(seconds))

    left = []
    for _ in range(2):
        pruner.work()
        left.append(len(book.all()))

    assert left == [50, 0]


def _fill(book: Book, number: int, *, events: int) -> None:
    """Write so many operations that have just succeeded."""
    now = book.clock.now()
    for _ in range(number // 500 or 1):
        some = book.accept(*(a_request() for _ in range(min(500, number))))
        with book.ledger.database.write() as connection:
            ids = [one.id for one in some]
            done = {"state": State.SUCCEEDED, "finished_at": now}
            connection.execute(update(OperationRow).where(OperationRow.id.in_(ids)).values(done))
            for _ in range(events - 1):
                tell(connection, now, "w", "due", [(id_, None, None) for id_ in ids])
