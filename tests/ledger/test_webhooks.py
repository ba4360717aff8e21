"""Webhooks change the mirror without a call, in any order, and no sync that was under way undoes them."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.ledger.conftest import PARTNER, WABA, Book, a_sync, at_once
from tests.ledger.test_templates import a_template, swap, synced
from tests.support.hooks import a_webhook, account, category, of_template, quality, status
from wabajobs import webhooks
from wabajobs.ledger import Applied, Did, Kept, Ledger
from wabajobs.operation import Operation
from wabajobs.outcome import Done
from wabajobs.settings import PlannerSettings

SETTINGS = PlannerSettings()


def apply(book: Book, *bodies: bytes) -> list[Applied]:
    return [
        one
        for body in bodies
        for one in book.ledger.apply(webhooks.read(body), now=book.clock.now(), planner=SETTINGS).applied
    ]


def did(book: Book, *bodies: bytes) -> list[Did]:
    return [one.did for one in apply(book, *bodies)]


def mirrored(book: Book, waba: str = WABA) -> dict[str, dict[str, Any]]:
    return {template["id"]: template for template in book.ledger.templates.templates(waba)}


def kept(book: Book, waba: str = WABA) -> Kept:
    found = book.ledger.fleet.get(waba, settings=SETTINGS)
    assert found is not None
    return found


def a_mirror(book: Book, *templates: dict[str, Any]) -> None:
    """A list that was read a minute ago."""
    synced(book, *(templates or (a_template("1", status="PENDING"),)))
    book.pass_time(60)


def in_seconds(book: Book, seconds: float) -> datetime:
    return book.clock.now() + timedelta(seconds=seconds)


# ── one after the other ─────────────────────────────────────────────────────────────────────────────────────


def test_a_status_update_changes_the_mirror_and_is_in_its_history(book: Book) -> None:
    a_mirror(book, a_template("1", status="PENDING", rejected_reason="NONE"), a_template("2"))

    [told] = apply(book, status(WABA, "1", "REJECTED", at=book.clock.now(), reason="SCAM"))

    assert told.as_json() == {
        "waba": WABA,
        "topic": "message_template_status_update",
        "event": "REJECTED",
        "template_id": "1",
        "did": "changed",
    }
    assert mirrored(book)["1"] == a_template("1", status="REJECTED", rejected_reason="SCAM")
    *_, change = book.ledger.templates.changes(WABA)
    assert (change.change, change.before, change.after) == (
        "changed",
        {"status": "PENDING", "rejected_reason": "NONE"},
        {"status": "REJECTED", "rejected_reason": "SCAM"},
    )
    assert kept(book).heard_at == book.clock.now()


def test_quality_category_and_components_come_through(book: Book) -> None:
    score = {"score": "UNKNOWN", "date": 1, "reasons": []}
    body = [{"type": "HEADER", "format": "IMAGE"}, {"type": "BODY", "text": "old"}]
    a_mirror(book, a_template("1", quality_score=score, components=body))
    now = book.clock.now()
    value = of_template("1", message_template_element="new", message_template_title="no text here")

    results = did(
        book,
        quality(WABA, "1", "GREEN", at=now),
        category(WABA, "1", "MARKETING", at=now, previous_category="UTILITY"),
        a_webhook(WABA, "message_template_components_update", value, at=now),
    )

    assert results == [Did.CHANGED] * 3
    assert mirrored(book)["1"] == a_template(
        "1",
        quality_score={"score": "GREEN", "date": int(now.timestamp()), "reasons": []},
        category="MARKETING",
        previous_category="UTILITY",
        components=[{"type": "HEADER", "format": "IMAGE"}, {"type": "BODY", "text": "new"}],
    )
    assert "only a sync can make sure" in kept(book).due.why, "components are not told completely"


def test_a_change_of_category_that_is_only_announced_changes_nothing(book: Book) -> None:
    a_mirror(book)

    announced = category(WABA, "1", "UTILITY", at=book.clock.now(), correct_category="MARKETING")

    assert did(book, announced) == [Did.UNCHANGED]


def test_a_deleted_template_leaves_the_mirror(book: Book) -> None:
    a_mirror(book, a_template("1"), a_template("2"))

    results = did(
        book,
        status(WABA, "1", "DELETED", at=book.clock.now()),
        status(WABA, "1", "APPROVED", at=in_seconds(book, -1)),
    )

    assert results == [Did.CHANGED, Did.OLD]
    assert set(mirrored(book)) == {"2"}
    read = book.ledger.templates.read(WABA)
    assert read is not None
    assert read.templates == 1


@pytest.mark.parametrize("language", ["en_US", "en-US"])
def test_without_an_id_name_and_language_tell_the_template_in_either_spelling(book: Book, language: str) -> None:
    a_mirror(book, a_template("1", language="en_US"), a_template("2", name="t1", language="de"))
    value = {"event": "PAUSED", "message_template_name": "t1", "message_template_language": language}

    apply(book, a_webhook(WABA, "message_template_status_update", value, at=book.clock.now()))

    assert {id_: one["status"] for id_, one in mirrored(book).items()} == {"1": "PAUSED", "2": "APPROVED"}


def test_a_template_nobody_has_heard_of_asks_for_a_sync_soon(book: Book) -> None:
    a_mirror(book)

    assert did(book, status(WABA, "9", "APPROVED", at=book.clock.now())) == [Did.UNKNOWN]

    due = kept(book).due
    assert due.at is not None
    assert due.at <= in_seconds(book, 60)
    assert set(mirrored(book)) == {"1"}


def test_a_waba_nobody_has_heard_of_is_none_of_ours(book: Book) -> None:
    assert did(book, status("99999", "1", "APPROVED", at=book.clock.now())) == [Did.FOREIGN]
    assert book.ledger.fleet.get("99999", settings=SETTINGS) is None


# ── twice, late, and in the wrong order ─────────────────────────────────────────────────────────────────────


def test_a_repetition_changes_nothing_even_after_something_newer(book: Book) -> None:
    a_mirror(book)
    first = status(WABA, "1", "APPROVED", at=book.clock.now())
    second = status(WABA, "1", "PAUSED", at=book.clock.now())

    assert did(book, first, first) == [Did.CHANGED, Did.UNCHANGED]
    assert did(book, second, first, second) == [Did.CHANGED, Did.UNCHANGED, Did.UNCHANGED], "in the same second"
    assert mirrored(book)["1"]["status"] == "PAUSED"


def test_an_older_event_never_overwrites_a_newer_one(book: Book) -> None:
    a_mirror(book)

    results = did(
        book,
        status(WABA, "1", "PAUSED", at=in_seconds(book, -1)),
        status(WABA, "1", "APPROVED", at=in_seconds(book, -2)),
        quality(WABA, "1", "RED", at=in_seconds(book, -2)),
    )

    assert results == [Did.CHANGED, Did.OLD, Did.CHANGED], "each topic has its own order"
    assert (mirrored(book)["1"]["status"], mirrored(book)["1"]["quality_score"]["score"]) == ("PAUSED", "RED")


def test_an_event_older_than_the_list_changes_nothing(book: Book) -> None:
    a_mirror(book, a_template("1", status="PAUSED"))

    assert did(book, status(WABA, "1", "APPROVED", at=in_seconds(book, -70))) == [Did.OLD]
    assert mirrored(book)["1"]["status"] == "PAUSED"


def test_where_the_clocks_do_not_tell_the_order_a_sync_makes_sure(book: Book) -> None:
    a_mirror(book, a_template("1", status="PAUSED"))

    assert did(book, status(WABA, "1", "APPROVED", at=in_seconds(book, -58))) == [Did.CHANGED]
    assert "only a sync can make sure" in kept(book).due.why


def test_a_moment_to_come_does_not_outdo_what_comes_after_it(book: Book) -> None:
    a_mirror(book)
    apply(book, status(WABA, "1", "PAUSED", at=in_seconds(book, 10**8)))
    book.pass_time(2)

    assert did(book, status(WABA, "1", "APPROVED", at=book.clock.now())) == [Did.CHANGED]


def test_without_a_time_the_moment_of_its_arrival_counts(book: Book) -> None:
    a_mirror(book)

    assert did(book, status(WABA, "1", "PAUSED", at=None)) == [Did.CHANGED]
    book.pass_time(1)
    assert did(book, status(WABA, "1", "APPROVED", at=None)) == [Did.CHANGED]


# ── while a list is being read ──────────────────────────────────────────────────────────────────────────────


def reading(book: Book, *pages: Sequence[dict[str, Any]]) -> Operation:
    """A sync whose pages were asked for now, the cursor behind each."""
    running = book.running(a_sync())
    for number, page in enumerate(pages):
        book.stage(running, number, page, cursor=f"c{number}")
    return running


def ends(book: Book, running: Operation) -> None:
    swap(book, running)
    book.record(running, Done())


@pytest.mark.parametrize("first", [True, False], ids=["first sync", "later sync"])
def test_a_sync_under_way_does_not_undo_what_a_webhook_told(book: Book, first: bool) -> None:
    if not first:
        a_mirror(book)
    running = reading(book, [a_template("1", status="PENDING"), a_template("2")])
    book.pass_time(30)
    apply(
        book,
        status(WABA, "1", "APPROVED", at=book.clock.now()),
        status(WABA, "2", "DELETED", at=book.clock.now()),
    )
    book.pass_time(1)

    ends(book, running)

    assert {id_: one["status"] for id_, one in mirrored(book).items()} == {"1": "APPROVED"}
    assert "only a sync" not in kept(book).due.why, "thirty seconds leave no doubt"


def test_a_page_asked_for_after_the_webhook_came_is_the_newer(book: Book) -> None:
    a_mirror(book)
    apply(book, status(WABA, "1", "APPROVED", at=book.clock.now()))
    book.pass_time(0.5)
    running = reading(book, [a_template("1", status="PAUSED")])

    ends(book, running)

    assert mirrored(book)["1"]["status"] == "PAUSED"


def test_each_page_has_a_moment_of_its_own(book: Book) -> None:
    a_mirror(book, a_template("1", status="PENDING"), a_template("2", status="PENDING"))
    running = reading(book, [a_template("1", status="PENDING")])
    book.pass_time(30)
    apply(book, *(status(WABA, id_, "APPROVED", at=book.clock.now()) for id_ in "12"))
    book.pass_time(30)
    book.stage(running, 1, [a_template("2", status="PAUSED")])

    ends(book, running)

    assert {id_: one["status"] for id_, one in mirrored(book).items()} == {"1": "APPROVED", "2": "PAUSED"}


def test_a_webhook_that_comes_late_does_not_undo_a_page(book: Book) -> None:
    a_mirror(book)
    running = reading(book, [a_template("1", status="PAUSED")])
    book.pass_time(20)
    apply(book, status(WABA, "1", "APPROVED", at=in_seconds(book, -60)))

    ends(book, running)

    assert mirrored(book)["1"]["status"] == "PAUSED"


def test_news_of_a_template_that_no_page_has_keep_it_and_ask_for_a_sync(book: Book) -> None:
    a_mirror(book, a_template("1"), a_template("2"))
    running = reading(book, [a_template("1")])
    book.pass_time(20)
    apply(book, status(WABA, "2", "PAUSED", at=book.clock.now()))

    ends(book, running)

    assert mirrored(book)["2"]["status"] == "PAUSED"
    assert "only a sync can make sure" in kept(book).due.why


def test_a_webhook_and_a_swap_at_the_same_moment_lose_nothing(book: Book) -> None:
    for number in range(8):
        waba = f"5555{number}"
        synced(book, a_template("1", status="PENDING"), waba=waba)
        book.pass_time(60)
        running = book.running(a_sync(waba))
        book.stage(running, 0, [a_template("1", status="PENDING"), a_template("2")])
        book.pass_time(30)
        body = status(waba, "1", "APPROVED", at=book.clock.now())

        at_once(2, lambda n, running=running, body=body: swap(book, running) if n else apply(book, body))  # type: ignore[misc]

        assert {id_: one["status"] for id_, one in mirrored(book, waba).items()} == {
            "1": "APPROVED",
            "2": "APPROVED",
        }
        book.record(running, Done())


# ── what it does to the plan ────────────────────────────────────────────────────────────────────────────────


def test_a_pending_template_makes_the_list_due_more_often_until_it_is_decided(book: Book) -> None:
    a_mirror(book)
    before = kept(book).due

    apply(book, status(WABA, "1", "APPROVED", at=book.clock.now()))

    assert "a template is pending" in before.why
    assert before.every == timedelta(minutes=6)
    assert kept(book).due.every == timedelta(hours=1)


def test_webhooks_that_are_borne_out_are_trusted_and_one_that_is_missing_ends_that(book: Book) -> None:
    intervals = []
    for number in range(6):
        told = number < 4
        synced(
            book, a_template("1", quality_score={"score": f"{number}"}), a_template("2", status=f"S{number > 4}")
        )
        intervals.append(kept(book).due.every)
        book.pass_time(60)
        if told:
            apply(book, quality(WABA, "1", f"{number + 1}", at=book.clock.now()))
            book.pass_time(60)

    hour = timedelta(hours=1)
    assert intervals == [hour, hour, hour, 10 * hour, 10 * hour, hour / 4]
    for _ in range(3):
        synced(book, a_template("1", quality_score={"score": "6"}), a_template("2", status="STrue"))
        book.pass_time(60)
    assert kept(book).due.every == hour, "three syncs that find nothing, and it is forgotten"


def test_a_waba_that_is_taken_away_is_no_longer_planned_until_it_comes_back(book: Book) -> None:
    a_mirror(book)
    apply(book, account("7000000", "PARTNER_REMOVED", at=book.clock.now(), waba_info={"waba_id": WABA}))
    stopped = kept(book)
    book.pass_time(5)

    results = did(
        book,
        account("7000000", "PARTNER_ADDED", at=book.clock.now(), waba_info={"waba_id": WABA}),
        account("7000000", "PARTNER_REMOVED", at=in_seconds(book, -5), waba_info={"waba_id": WABA}),
    )

    assert (stopped.due.at, stopped.facts.stopped) == (None, "Meta has told of PARTNER_REMOVED")
    assert results == [Did.NOTED, Did.OLD]
    assert kept(book).due.at is not None


def test_another_partners_app_that_goes_does_not_concern_us(book: Book) -> None:
    a_mirror(book)
    info = {"waba_id": WABA, "partner_app_id": 777777}

    apply(book, account(WABA, "PARTNER_APP_UNINSTALLED", at=book.clock.now(), waba_info=info))

    assert kept(book).facts.stopped is None


def test_who_was_removed_by_a_person_stays_so(book: Book) -> None:
    a_mirror(book)
    book.ledger.fleet.forget([WABA], actor="anna", reason="left us", now=book.clock.now(), settings=SETTINGS)

    apply(book, account(WABA, "PARTNER_ADDED", at=book.clock.now()))
    synced(book, a_template("1"))

    assert kept(book).due.at is None
    assert "anna" in kept(book).due.why
    assert kept(book).partner == PARTNER


def test_what_is_long_past_is_forgotten_in_small_batches(book: Book) -> None:
    a_mirror(book, *(a_template(str(number)) for number in range(5)))
    for number in range(5):
        apply(book, status(WABA, str(number), "PAUSED", at=book.clock.now()))
        book.pass_time(2.5 * 86_400)

    forgotten = [book.ledger.templates.forget_news(now=book.clock.now(), at_most=1) for _ in range(3)]

    assert forgotten == [1, 1, 0], "eight days are remembered"


# ── whatever comes ──────────────────────────────────────────────────────────────────────────────────────────


STRANGE = [
    {},
    {"event": "APPROVED"},
    {"event": ["APPROVED"], **of_template("1")},
    {"event": "APPROVED", "message_template_id": {"id": 1}},
    {"event": "APPROVED", "message_template_id": 10**5000},
    {"event": "A" * 100_000, **of_template("1")},
    {"event": "FLAGGED", **of_template("1")},
    {"event": "SOMETHING_NEW", **of_template("1")},
    {"event": "REJECTED", "reason": "a\x00b\ud800", **of_template("1")},
    {"event": "APPROVED", "message_template_name": "\x00", "message_template_language": None},
    {"new_quality_score": {"score": "RED"}, **of_template("1")},
    {"new_category": "C" * 500, **of_template("1")},
    {"message_template_element": ["text"], **of_template("1")},
    {"waba_info": {"waba_id": [1]}, "event": "PARTNER_REMOVED"},
    {"waba_info": "none", "event": None},
]


@pytest.mark.parametrize("time", [1_767_225_700, "1767225700", 1_767_225_700_000, -5, "soon", None, 10**30, True])
def test_whatever_a_webhook_holds_nothing_breaks(ledger: Ledger, time: Any) -> None:
    book = Book(ledger)
    a_mirror(book, a_template("1", components=[None, {"type": "BODY", "text": "t"}], quality_score="GREEN"))
    topics = ("message_template_status_update", "message_template_quality_update", "account_update")
    topics += ("template_category_update", "message_template_components_update", "messages", "security")
    changes = [{"field": topic, "value": value} for topic in topics for value in STRANGE]
    entry = {"id": WABA, "time": time, "changes": [*changes, None, {}, {"field": None, "value": []}]}
    body = {
        "object": "whatsapp_business_account",
        "entry": [entry, None, {"id": "x"}, {"id": WABA, "changes": 5}],
    }

    ledger.apply(webhooks.read(body), now=book.clock.now(), planner=SETTINGS)

    assert set(mirrored(book)) == {"1"}
    running = book.running(a_sync())
    book.stage(running, 0, [a_template("1")])
    ends(book, running)


def test_one_webhook_may_tell_of_many_wabas_and_many_may_come_at_once(book: Book) -> None:
    wabas = ["55551", "55552", "55553"]
    for waba in wabas:
        synced(book, a_template("1", status="PENDING"), waba=waba)
    book.pass_time(60)
    at = int(book.clock.now().timestamp())
    change = {"field": "message_template_status_update", "value": {"event": "PAUSED", **of_template("1")}}

    def tell(number: int) -> list[Did]:
        entries = [{"id": waba, "time": at, "changes": [change]} for waba in wabas[:: 1 if number % 2 else -1]]
        body = {"object": "whatsapp_business_account", "entry": entries}
        told = book.ledger.apply(webhooks.read(body), now=book.clock.now(), planner=SETTINGS).applied
        assert [one.waba for one in told] == [entry["id"] for entry in entries]
        return [one.did for one in told]

    answers = [did for answer in at_once(6, tell) for did in answer]

    assert sorted(answers) == [Did.CHANGED] * 3 + [Did.UNCHANGED] * 15
