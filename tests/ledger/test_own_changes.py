"""What our own operations change at Meta is in the mirror at once, and neither syncs nor old news undo it."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.ledger.conftest import WABA, Book, a_request, a_sync
from tests.ledger.test_templates import a_template, swap, synced
from tests.support.hooks import status
from wabajobs import webhooks
from wabajobs.errors import LeaseLost
from wabajobs.operation import Operation
from wabajobs.outcome import Done
from wabajobs.settings import PlannerSettings

SETTINGS = PlannerSettings()


def an_operation(book: Book) -> Operation:
    return book.running(a_request())


def note(
    book: Book,
    *written: dict[str, Any],
    deleted: Collection[str] = (),
    deleted_name: str | None = None,
    at: datetime | None = None,
    by: Operation | None = None,
    doubted: bool = False,
) -> Operation:
    operation = by or an_operation(book)
    book.ledger.templates.note(
        operation,
        written=written,
        deleted=deleted,
        deleted_name=deleted_name,
        at=at or book.clock.now(),
        now=book.clock.now(),
        planner=SETTINGS,
        doubted=doubted,
    )
    if by is None:
        book.record(operation, Done())
    return operation


def hear(book: Book, id_: str, event: str, *, at: datetime | None = None) -> None:
    told = webhooks.read(status(WABA, id_, event, at=at or book.clock.now()))
    book.ledger.templates.apply(told, now=book.clock.now(), planner=SETTINGS)


def mirrored(book: Book) -> dict[str, str]:
    return {one["id"]: one["status"] for one in book.ledger.templates.templates(WABA)}


def listed(book: Book) -> int:
    found = book.ledger.templates.read(WABA)
    assert found is not None
    return found.templates


def test_a_new_template_is_there_with_its_history(book: Book) -> None:
    synced(book, a_template("1"))
    new = a_template("2", status="PENDING", components=[{"type": "BODY", "text": "Hi"}])

    operation = note(book, new)

    assert book.ledger.templates.templates(WABA) == [a_template("1"), new]
    assert listed(book) == 2
    [change] = book.ledger.templates.changes(WABA, operation_id=operation.id)
    assert (change.change, change.template_id, change.after) == (
        "added",
        "2",
        {"status": "PENDING", "category": "UTILITY"},
    )


def test_told_twice_it_is_there_once(book: Book) -> None:
    synced(book)
    operation = an_operation(book)

    for _ in range(2):
        note(book, a_template("2"), by=operation)

    assert mirrored(book) == {"2": "APPROVED"}
    assert listed(book) == 1
    assert len(book.ledger.templates.changes(WABA)) == 1


def test_an_edit_changes_what_it_names(book: Book) -> None:
    synced(book, a_template("1", quality_score={"score": "GREEN"}))

    note(book, {"id": "1", "status": "PENDING", "category": "MARKETING"})

    assert book.ledger.templates.templates(WABA) == [
        a_template("1", status="PENDING", category="MARKETING", quality_score={"score": "GREEN"})
    ]


def test_a_deletion_by_id_or_by_name(book: Book) -> None:
    synced(book, a_template("1", name="a"), a_template("2", name="a", language="de"), a_template("3", name="b"))

    note(book, deleted_name="a")
    assert mirrored(book) == {"3": "APPROVED"}

    note(book, deleted=["3", "4"])
    assert mirrored(book) == {}
    assert listed(book) == 0


def test_a_waba_that_was_never_synced_learns_of_its_template(book: Book) -> None:
    note(book, a_template("1"))

    assert mirrored(book) == {"1": "APPROVED"}
    assert book.ledger.templates.read(WABA) is None


@pytest.mark.parametrize("what", ["created", "edited", "deleted"])
def test_a_sync_that_was_under_way_does_not_undo_it(book: Book, what: str) -> None:
    synced(book, a_template("1"))
    sync = book.running(a_sync())
    book.stage(sync, 0, [a_template("1")])
    book.pass_time(1)

    match what:
        case "created":
            note(book, a_template("2", status="PENDING"))
        case "edited":
            note(book, {"id": "1", "status": "PENDING"})
        case "deleted":
            note(book, deleted=["1"])
    expected = mirrored(book)
    swap(book, sync)

    assert mirrored(book) == expected


@pytest.mark.parametrize("earlier", [True, False])
def test_a_webhook_about_the_change_stands_in_whatever_order_they_come(book: Book, *, earlier: bool) -> None:
    synced(book, a_template("1"))
    called_at = book.clock.now() + timedelta(seconds=60.4)
    book.pass_time(60.9)

    # Meta has decided within the second of the call; it tells whole seconds.
    if earlier:
        hear(book, "2", "APPROVED", at=called_at.replace(microsecond=0))
    note(book, a_template("2", status="PENDING"), at=called_at)
    if not earlier:
        hear(book, "2", "APPROVED", at=called_at.replace(microsecond=0))

    assert mirrored(book)["2"] == "APPROVED"


def test_what_was_told_before_an_edit_does_not_stand_against_it(book: Book) -> None:
    synced(book, a_template("1", status="PENDING"))
    book.pass_time(60)
    hear(book, "1", "APPROVED")
    book.pass_time(60)

    note(book, {"id": "1", "status": "PENDING"})

    assert mirrored(book) == {"1": "PENDING"}


def test_an_old_change_of_ours_stands_against_no_later_list(book: Book) -> None:
    synced(book, a_template("1"))
    note(book, {"id": "1", "status": "PENDING"})
    book.pass_time(3600)

    synced(book, a_template("1"))

    assert mirrored(book) == {"1": "APPROVED"}


def test_a_pending_template_makes_the_list_due_sooner(book: Book) -> None:
    synced(book, a_template("1"))
    before = book.ledger.fleet.get(WABA, settings=SETTINGS)

    note(book, a_template("2", status="PENDING"))

    after = book.ledger.fleet.get(WABA, settings=SETTINGS)
    assert before is not None
    assert after is not None
    assert after.due.at is not None
    assert before.due.at is not None
    assert after.due.at < before.due.at
    assert "a template is pending" in after.due.why
    assert after.heard_at is None, "it is no webhook, and says nothing for webhooks"


@pytest.mark.parametrize("why", ["doubted", "unknown"])
def test_what_the_mirror_cannot_tell_is_looked_at_soon(book: Book, why: str) -> None:
    synced(book, a_template("1"))

    if why == "doubted":
        note(book, doubted=True)
    else:
        note(book, {"id": "9", "status": "PENDING"})

    kept = book.ledger.fleet.get(WABA, settings=SETTINGS)
    assert kept is not None
    assert kept.due.at is not None
    assert kept.due.at <= book.clock.now() + timedelta(seconds=SETTINGS.confirm_seconds)


def test_a_worker_that_lost_its_lease_tells_nothing(book: Book) -> None:
    operation = an_operation(book)
    book.record(operation, Done())

    with pytest.raises(LeaseLost):
        note(book, a_template("1"), by=operation)

    assert mirrored(book) == {}
