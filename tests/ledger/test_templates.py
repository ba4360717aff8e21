"""The mirror of templates: pages are kept aside, and the whole list is swapped in at once with its difference."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest

from tests.ledger.conftest import WABA, Book, a_sync, at_once, hold
from wabajobs.errors import LeaseLost
from wabajobs.ledger import Change, TemplateList
from wabajobs.operation import Operation
from wabajobs.outcome import Done


def a_template(id_: str, **changes: Any) -> dict[str, Any]:
    facts = {"id": id_, "name": f"t{id_}", "language": "en", "status": "APPROVED", "category": "UTILITY"}
    return facts | changes


def swap(book: Book, operation: Operation, *, page_size: int = 100) -> dict[str, int]:
    return book.ledger.templates.swap(
        operation,
        checkpoint=lambda counted: {"swapped": counted},
        page_size=page_size,
        now=book.clock.now(),
    )


def synced(book: Book, *templates: dict[str, Any], waba: str = WABA, page_size: int = 100) -> Operation:
    """A whole sync with these templates."""
    running = book.running(a_sync(waba))
    book.stage(running, 0, templates)
    swap(book, running, page_size=page_size)
    return book.record(running, Done())


def state_of(book: Book) -> tuple[Sequence[dict[str, Any]], Sequence[Change], TemplateList | None]:
    mirror = book.ledger.templates
    return mirror.templates(WABA), mirror.changes(WABA), mirror.read(WABA)


def two_clocks(book: Book) -> tuple[datetime | None, datetime | None]:
    read = book.ledger.templates.read(WABA)
    return (read.last_attempt_at, read.last_success_at) if read else (None, None)


def test_a_waba_that_was_never_tried_has_no_list(book: Book) -> None:
    assert book.ledger.templates.read(WABA) is None
    assert book.ledger.templates.page_size(WABA) is None
    assert book.ledger.templates.templates(WABA) == []


def test_staged_pages_become_the_list_in_one_step(book: Book) -> None:
    running = book.running(a_sync())
    book.stage(running, 0, [a_template("2", name="b"), a_template("1", name="a", language="fr")], cursor="c1")
    book.stage(running, 1, [a_template("3", name="a", language="de")])
    before = state_of(book)

    counted = swap(book, running, page_size=50)

    assert before == ([], [], None)
    assert counted == {"templates": 3, "added": 3, "changed": 0, "removed": 0}
    assert [template["id"] for template in book.ledger.templates.templates(WABA)] == ["3", "1", "2"]
    assert book.get(running).checkpoint == {"swapped": counted}
    assert book.ledger.templates.read(WABA) == TemplateList(
        waba=WABA,
        partner="acme",
        last_attempt_at=book.clock.now(),
        last_success_at=book.clock.now(),
        last_error=None,
        templates=3,
        page_size=50,
    )


def test_the_difference_is_recorded_to_the_field(book: Book) -> None:
    synced(
        book,
        a_template("1"),
        a_template("2", status="PENDING", quality_score={"score": "UNKNOWN"}),
        a_template("3"),
    )
    running = book.running(a_sync())
    book.stage(
        running,
        0,
        [
            a_template("1"),
            a_template("2", status="REJECTED", rejected_reason="SCAM"),
            a_template("4", category="MARKETING"),
        ],
    )

    counted = swap(book, running)

    assert counted == {"templates": 3, "added": 1, "changed": 1, "removed": 1}
    assert {one.change: one for one in book.ledger.templates.changes(WABA, operation_id=running.id)} == {
        "added": Change(
            change="added",
            template_id="4",
            name="t4",
            language="en",
            before=None,
            after={"status": "APPROVED", "category": "MARKETING"},
        ),
        "changed": Change(
            change="changed",
            template_id="2",
            name="t2",
            language="en",
            before={"status": "PENDING", "quality_score": {"score": "UNKNOWN"}, "rejected_reason": None},
            after={"status": "REJECTED", "quality_score": None, "rejected_reason": "SCAM"},
        ),
        "removed": Change(
            change="removed",
            template_id="3",
            name="t3",
            language="en",
            before={"status": "APPROVED", "category": "UTILITY"},
            after=None,
        ),
    }


def test_the_same_list_again_is_no_change(book: Book) -> None:
    templates = [a_template("1", components=[{"type": "BODY", "text": "Ünïcode 😀", "n": 1.5}]), a_template("2")]
    synced(book, *templates)

    again = synced(book, *reversed(templates))

    assert book.ledger.templates.changes(WABA, operation_id=again.id) == []
    assert len(book.ledger.templates.changes(WABA)) == 2


def test_an_empty_list_removes_everything(book: Book) -> None:
    synced(book, a_template("1"), a_template("2"))

    synced(book)

    assert book.ledger.templates.templates(WABA) == []
    assert [one.change for one in book.ledger.templates.changes(WABA)] == ["added"] * 2 + ["removed"] * 2


def test_each_wabas_list_is_its_own(book: Book) -> None:
    synced(book, a_template("1"))

    synced(book, a_template("9"), waba="55555")

    assert [one["id"] for one in book.ledger.templates.templates(WABA)] == ["1"]
    assert [one["id"] for one in book.ledger.templates.templates("55555")] == ["9"]


def test_two_thousand_templates_are_swapped(book: Book) -> None:
    synced(book, *(a_template(str(number)) for number in range(2000)))

    running = book.running(a_sync())
    book.stage(running, 0, [a_template(str(number), status="PAUSED") for number in range(500, 2500)])

    assert swap(book, running) == {"templates": 2000, "added": 500, "changed": 1500, "removed": 500}


def test_a_template_that_moved_to_a_later_page_is_there_once(book: Book) -> None:
    running = book.running(a_sync())
    book.stage(running, 0, [a_template("1", status="PENDING")], cursor="c1")
    book.stage(running, 1, [a_template("1", status="APPROVED")])

    swap(book, running)

    assert book.ledger.templates.templates(WABA) == [a_template("1", status="APPROVED")]


def test_a_page_that_fails_leaves_the_list_and_moves_one_clock(book: Book) -> None:
    synced(book, a_template("1"), a_template("2"))
    list_before, changes_before, _ = state_of(book)
    success = book.clock.now()
    book.pass_time(3600)
    running = book.running(a_sync())
    book.stage(running, 0, [a_template("1", status="PAUSED")], cursor="c1")

    book.ledger.templates.mark_attempt(running, now=book.clock.now(), error="the limit is reached (code 4)")
    held = book.record(running, hold(book))

    assert state_of(book)[:2] == (list_before, changes_before)
    assert two_clocks(book) == (book.clock.now(), success)
    read = book.ledger.templates.read(WABA)
    assert read is not None
    assert (read.last_error, read.templates, read.page_size) == ("the limit is reached (code 4)", 2, 100)
    assert held.checkpoint == {"page": 0}


def test_a_success_clears_the_error_of_the_attempt_before(book: Book) -> None:
    running = book.running(a_sync())
    book.ledger.templates.mark_attempt(running, now=book.clock.now(), error="no")
    before = book.ledger.templates.read(WABA)
    book.stage(running, 0, [a_template("1")])

    swap(book, running)
    after = book.ledger.templates.read(WABA)

    assert before is not None
    assert after is not None
    assert (before.last_error, before.last_success_at, before.templates) == ("no", None, 0)
    assert (after.last_error, after.last_success_at, after.templates) == (None, book.clock.now(), 1)


def test_a_cursor_that_was_there_before_is_not_kept(book: Book) -> None:
    running = book.running(a_sync())
    kept = [
        book.stage(running, 0, [a_template("1")], cursor="c1"),
        book.stage(running, 1, [a_template("2")], cursor="c2"),
    ]

    repeated = book.stage(running, 2, [a_template("3")], cursor="c1")

    assert (kept, repeated) == ([True, True], False)
    assert book.get(running).checkpoint == {"page": 1}
    swap(book, running)
    assert [one["id"] for one in book.ledger.templates.templates(WABA)] == ["1", "2"]


def test_a_page_that_is_read_again_takes_the_place_of_what_was_behind_it(book: Book) -> None:
    running = book.running(a_sync())
    for page, id_ in enumerate("123"):
        book.stage(running, page, [a_template(id_)], cursor=f"c{page}")

    again = book.stage(running, 0, [a_template("9")], cursor="c0")

    assert again, "its own cursor from the time before is no circle"
    swap(book, running)
    assert [one["id"] for one in book.ledger.templates.templates(WABA)] == ["9"]


def test_a_late_worker_neither_stages_nor_swaps_nor_stamps(book: Book) -> None:
    synced(book, a_template("1"))
    late = book.running(a_sync())
    book.stage(late, 0, [a_template("2")], cursor="c0")
    book.pass_time(16)
    book.reclaim()
    book.stage(book.run(late.id), 1, [a_template("3")], cursor="c1")
    before = state_of(book)

    with pytest.raises(LeaseLost):
        book.stage(late, 1, [a_template("4")], cursor="c9")
    with pytest.raises(LeaseLost):
        book.stage(late, 1, [a_template("4")], cursor="c0")
    with pytest.raises(LeaseLost):
        swap(book, late)
    with pytest.raises(LeaseLost):
        book.ledger.templates.mark_attempt(late, now=book.clock.now(), error="late")

    assert state_of(book) == before


def test_the_pages_are_gone_when_the_operation_is_finished(book: Book) -> None:
    running = book.running(a_sync())
    book.stage(running, 0, [a_template("1")], cursor="c0")

    book.record(running, Done())

    with pytest.raises(LeaseLost):
        swap(book, running)
    assert book.ledger.templates.templates(WABA) == []


def test_who_reads_while_it_is_swapped_sees_a_whole_list(book: Book) -> None:
    lists = [[a_template(str(n), status=f"S{turn}") for n in range(40)] for turn in range(6)]
    synced(book, *lists[0])

    def work(thread: int) -> list[set[str]]:
        if not thread:
            for templates in lists[1:]:
                synced(book, *templates)
            return []
        read = [book.ledger.templates.templates(WABA) for _ in range(30)]
        assert {len(one) for one in read} == {40}
        return [{template["status"] for template in one} for one in read]

    for seen in at_once(3, work):
        assert all(len(statuses) == 1 for statuses in seen)
