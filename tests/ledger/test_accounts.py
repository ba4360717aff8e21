"""What Meta tells of accounts is kept, the newest of each thing, and a WABA that is shut for us stands still."""

import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.ledger.conftest import APP, WABA, Book, a_request
from tests.ledger.test_outbox import ended
from tests.ledger.test_webhooks import a_mirror, kept
from tests.support.databases import SqliteFiles
from tests.support.hooks import a_webhook, account
from wabajobs import webhooks
from wabajobs.decisions import Scope
from wabajobs.ledger import Account, Database, Did, Ledger, Standing, Taken
from wabajobs.operation import State
from wabajobs.outcome import NotBegun
from wabajobs.settings import PlannerSettings

SCOPE = Scope.of("waba", WABA)


def apply(book: Book, *bodies: bytes) -> Taken:
    told = [one for body in bodies for one in webhooks.read(body)]
    return book.ledger.apply(told, now=book.clock.now(), planner=PlannerSettings())


def did(book: Book, *bodies: bytes) -> list[Did]:
    return [one.did for one in apply(book, *bodies).applied]


def about(book: Book) -> Account:
    found = book.ledger.accounts.get(WABA)
    assert found is not None
    return found


def paused(book: Book) -> list[str]:
    return [str(one) for one in book.ledger.decisions.pauses(now=book.clock.now()) if one.scope == SCOPE]


def ban(book: Book, state: str, *, at: datetime | None = None) -> bytes:
    return account(WABA, "DISABLED_UPDATE", at=at or book.clock.now(), ban_info={"waba_ban_state": state})


def at(book: Book, seconds: float) -> datetime:
    return book.clock.now() + timedelta(seconds=seconds)


# ── the mirror ──────────────────────────────────────────────────────────────────────────────────────────────


def test_of_each_thing_the_newest_is_kept_with_all_that_was_told(book: Book) -> None:
    ended(book, 1)
    number = {"display_phone_number": "15550783881"}
    now = book.clock.now()

    answers = did(
        book,
        a_webhook(WABA, "account_review_update", {"decision": "APPROVED"}, at=now),
        a_webhook(WABA, "business_capability_update", {"max_phone_numbers_per_waba": 20}, at=now),
        a_webhook(WABA, "account_alerts", {"entity_id": 1, "alert_type": "OBA", "new": {"x": [1]}}, at=now),
        a_webhook(WABA, "account_alerts", {"entity_id": 2, "alert_type": "OBA"}, at=now),
        a_webhook(
            WABA, "partner_solutions", {"event": "SOLUTION_CREATED", "solution_id": "774485461512159"}, at=now
        ),
        account(WABA, "ACCOUNT_VIOLATION", at=now, violation_info={"violation_type": "SCAM"}),
        account(WABA, "SOMETHING_QUITE_NEW_THAT_HAS_A_LONG_NAME", at=now, unheard="of"),
        a_webhook(WABA, "phone_number_quality_update", {**number, "event": "FLAGGED"}, at=now),
        a_webhook(WABA, "phone_number_quality_update", {**number, "event": "UNFLAGGED"}, at=at(book, 5)),
        a_webhook(WABA, "phone_number_name_update", {**number, "decision": "APPROVED"}, at=now),
        a_webhook(WABA, "security", {**number, "event": "PIN_CHANGED", "requester": "1"}, at=now),
    )

    assert answers == [Did.NOTED] * 11
    told = about(book)
    assert (told.standing, told.why, told.app) == (Standing.GOOD, None, APP)
    assert [(one.topic, one.subject, one.event) for one in told.news] == [
        ("account_alerts", "1:OBA", ""),
        ("account_alerts", "2:OBA", ""),
        ("account_review_update", "", "APPROVED"),
        ("account_update", "account_violation", "ACCOUNT_VIOLATION"),
        (
            "account_update",
            "something_quite_new_that_has_a_long_name",
            "SOMETHING_QUITE_NEW_THAT_HAS_A_LONG_NAME",
        ),
        ("business_capability_update", "", ""),
        ("partner_solutions", "774485461512159", "SOLUTION_CREATED"),
    ]
    assert told.news[0].value == {"entity_id": 1, "alert_type": "OBA", "new": {"x": [1]}}
    [(display, of_number)] = told.numbers.items()
    assert display == "15550783881"
    assert [one.event for one in of_number] == ["APPROVED", "UNFLAGGED", "PIN_CHANGED"]
    assert told.as_json()["numbers"]["15550783881"][2]["value"]["requester"] == "1"


def test_what_comes_twice_or_late_changes_nothing(book: Book) -> None:
    ended(book, 1)
    now = book.clock.now()
    newer = a_webhook(WABA, "account_review_update", {"decision": "REJECTED"}, at=now)
    older = a_webhook(WABA, "account_review_update", {"decision": "APPROVED"}, at=at(book, -1))

    assert did(book, newer, newer, older) == [Did.NOTED, Did.UNCHANGED, Did.OLD]
    assert [one.event for one in about(book).news] == ["REJECTED"]


def test_two_matters_of_one_topic_do_not_outdo_each_other(book: Book) -> None:
    ended(book, 1)
    link = account(WABA, "AD_ACCOUNT_LINKED", at=book.clock.now())

    assert did(book, link, account(WABA, "ACCOUNT_DELETED", at=at(book, -10))) == [Did.NOTED, Did.NOTED]
    assert about(book).standing is Standing.DELETED


def test_a_waba_that_is_none_of_ours_is_told_apart_and_not_paused(book: Book) -> None:
    assert did(book, account(WABA, "ACCOUNT_DELETED", at=book.clock.now())) == [Did.FOREIGN]
    assert paused(book) == []
    assert book.ledger.accounts.get("99999") is None


# ── what follows ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("shut", "standing", "sentence", "opened"),
    [
        (
            lambda book: account(WABA, "ACCOUNT_DELETED", at=book.clock.now()),
            "deleted",
            "the WABA was deleted",
            None,
        ),
        (
            lambda book: ban(book, "DISABLE"),
            "disabled",
            "Meta has disabled the WABA",
            lambda book: ban(book, "REINSTATE"),
        ),
        (
            lambda book: account("7000000", "PARTNER_REMOVED", at=book.clock.now(), waba_info={"waba_id": WABA}),
            "lost",
            r"we may no longer look after the WABA \(PARTNER_REMOVED\)",
            lambda book: account(WABA, "PARTNER_ADDED", at=book.clock.now()),
        ),
        (
            lambda book: account(
                WABA, "PARTNER_APP_UNINSTALLED", at=book.clock.now(), waba_info={"partner_app_id": APP}
            ),
            "lost",
            r"we may no longer look after the WABA \(PARTNER_APP_UNINSTALLED\)",
            lambda book: account(
                WABA, "PARTNER_APP_INSTALLED", at=book.clock.now(), waba_info={"partner_app_id": APP}
            ),
        ),
    ],
    ids=["deleted", "disabled", "removed", "uninstalled"],
)
def test_a_waba_that_is_shut_for_us_stands_still_until_meta_opens_it(
    book: Book, shut: Any, standing: str, sentence: str, opened: Any
) -> None:
    a_mirror(book)
    waiting = book.accept_one(a_request())
    [released] = book.release()

    assert apply(book, shut(book)).decided

    assert about(book).standing == standing
    [pause] = book.ledger.decisions.pauses(now=book.clock.now())
    held = book.get(waiting).under([pause])
    assert held.state is State.HELD
    assert held.hold is not None
    assert held.hold.reason.startswith(f"waba:{WABA} is paused by Meta since ")

    assert re.search(sentence, held.hold.reason)
    assert isinstance(book.begin(released.id, released.fence, pauses=None), NotBegun)  # type: ignore[arg-type]
    book.pass_time(60)
    if standing != "disabled":
        assert kept(book).due.at is None, "its list is no longer synced"
    if opened is None:
        return

    assert apply(book, opened(book)).decided

    assert (about(book).standing, paused(book)) == (Standing.GOOD, [])
    assert kept(book).due.at is not None


def test_what_is_only_announced_or_restricted_holds_nothing(book: Book) -> None:
    ended(book, 1)

    taken = apply(
        book,
        ban(book, "SCHEDULE_FOR_DISABLE"),
        account(WABA, "ACCOUNT_VIOLATION", at=book.clock.now()),
        account(WABA, "ACCOUNT_RESTRICTION", at=book.clock.now()),
        account(WABA, "ACCOUNT_OFFBOARDED", at=book.clock.now()),
        a_webhook(WABA, "account_review_update", {"decision": "REJECTED"}, at=book.clock.now()),
    )

    assert not taken.decided
    assert (about(book).standing, paused(book)) == (Standing.GOOD, [])


def test_another_app_that_is_uninstalled_holds_nothing(book: Book) -> None:
    a_mirror(book)
    info = {"waba_id": WABA, "partner_app_id": "777777"}

    assert not apply(book, account(WABA, "PARTNER_APP_UNINSTALLED", at=book.clock.now(), waba_info=info)).decided
    assert paused(book) == []


def test_who_lifts_metas_pause_is_not_overruled_by_the_same_news(book: Book) -> None:
    a_mirror(book)
    apply(book, ban(book, "DISABLE"))
    book.ledger.decisions.resume(SCOPE, reason="we know better", actor="anna", now=book.clock.now())
    book.pass_time(60)

    apply(book, a_webhook(WABA, "account_review_update", {"decision": "APPROVED"}, at=book.clock.now()))
    assert paused(book) == []

    apply(book, ban(book, "REINSTATE"))
    book.pass_time(60)
    apply(book, ban(book, "DISABLE"))
    assert len(paused(book)) == 1


def test_a_pause_of_a_persons_is_not_lifted_by_meta(book: Book) -> None:
    a_mirror(book)
    book.ledger.decisions.pause(SCOPE, reason="our own", actor="anna", now=book.clock.now())
    apply(book, ban(book, "DISABLE"))
    book.pass_time(60)

    apply(book, ban(book, "REINSTATE"))

    [left] = paused(book)
    assert "anna" in left


def test_numbers_that_come_and_go_change_metas_limit(book: Book) -> None:
    ended(book, 1)

    def quality(number: str) -> bytes:
        value = {"display_phone_number": number, "event": "ONBOARDING", "current_limit": "TIER_NOT_SET"}
        return a_webhook(WABA, "phone_number_quality_update", value, at=book.clock.now())

    def offboarded() -> bytes:
        book.pass_time(1)
        return account(WABA, "ACCOUNT_OFFBOARDED", at=book.clock.now())

    assert apply(book, quality("1")).active == {WABA: True}
    assert apply(book, offboarded()).active == {WABA: False}
    book.pass_time(1)
    assert apply(book, account(WABA, "ACCOUNT_RECONNECTED", at=book.clock.now())).active == {WABA: True}
    apply(book, quality("2"))
    assert apply(book, offboarded()).active == {}, "which of two numbers is not told"


# ── in any order ────────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    events=st.lists(
        st.sampled_from(["PARTNER_ADDED", "PARTNER_REMOVED", "DISABLE", "REINSTATE", "INSTALLED", "UNINSTALLED"]),
        min_size=1,
        max_size=7,
    ),
    shuffled=st.randoms(use_true_random=False),
)
def test_the_order_of_arrival_decides_nothing(
    sqlite_files: SqliteFiles, events: list[str], shuffled: Any
) -> None:
    """Told in order, or in any other with repetitions: what stands in the end is the same."""

    def webhook(book: Book, place: int) -> bytes:
        event, moment = events[place], at(book, place - 100)
        if event in {"DISABLE", "REINSTATE"}:
            return ban(book, event, at=moment)
        if event in {"INSTALLED", "UNINSTALLED"}:
            return account(WABA, f"PARTNER_APP_{event}", at=moment, waba_info={"partner_app_id": APP})
        return account(WABA, event, at=moment)

    ends = []
    order = [*range(len(events)), *range(len(events))]
    shuffled.shuffle(order)
    for places in (range(len(events)), order):
        ledger = Ledger(Database(sqlite_files.fresh()))
        book = Book(ledger)
        a_mirror(book)
        for place in places:
            apply(book, webhook(book, place))
        told = about(book)
        ends.append((told.standing, [(one.subject, one.event) for one in told.news], len(paused(book))))
        assert (told.standing is not Standing.GOOD) == bool(paused(book))
        ledger.database.close()

    assert ends[0] == ends[1]
