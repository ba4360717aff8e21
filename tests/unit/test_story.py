"""An operation's story reads like one: what happened, how long after, by whom, why, until when."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.ledger.conftest import a_request
from wabajobs.ledger import Story
from wabajobs.seeing.story import moves, sentence, shortened, summary

START = datetime(2026, 11, 23, 5, 0, tzinfo=UTC)
WORKER = "template_sync@host:1"


def event(
    name: str, after: float = 0, *, by: str = "dispatcher", attempt: int | None = None, **detail: object
) -> Story:
    return Story(START + timedelta(seconds=after), name, by, detail or None, attempt)


@pytest.mark.parametrize(
    ("one", "says"),
    [
        (event("accepted", by="partner:acme"), "accepted for acme"),
        (event("joined", by="partner:acme"), "one more request of acme shares it"),
        (event("released", attempt=2), "sent to the workers (lease 2)"),
        (event("begun", by=WORKER, attempt=2), f"begun by {WORKER}"),
        (event("unclaimed"), "no worker began it in time: it queues again"),
        (
            event("taken back", why="the broker"),
            "could not be sent (the broker): it queues again",
        ),
        (event("reclaimed", why="its worker w is gone"), "its worker w is gone"),
        (event("due"), "its time has come: it queues again"),
        (event("succeeded", templates=40, added=2), "succeeded: templates 40, added 2"),
        (event("failed", message="no", code=100, subcode=None), "failed: no"),
        (event("expired", message="its deadline passed", type="Expired"), "expired: its deadline passed"),
        (
            event("cancel asked", by="anna", reason="they left"),
            "anna wants it cancelled (they left): it stops before its next call",
        ),
        (event("cancelled", message="cancelled by anna: they left"), "cancelled by anna: they left"),
        (event("retried", by="anna", reason="new", was="failed"), "anna lets it go again (new); it was failed"),
        (event("danced", by="anna", steps=3), "danced, by anna: steps 3"),
    ],
)
def test_every_move_is_a_sentence(one: Story, says: str) -> None:
    assert sentence(one) == says


def test_a_hold_says_by_what_why_and_until_when() -> None:
    detail = {"by": "breaker", "reason": "code 4", "until": "2026-11-23T05:16:33+00:00", "notice": "later"}
    held = Story(START, "held", WORKER, detail)

    assert sentence(held) == (
        "held by the breaker: code 4; it goes on about 2026-11-23 05:16:33 UTC (customers are told: later)"
    )
    assert (
        sentence(Story(START, "held", WORKER, {"by": "retry", "reason": "code 2"})) == "to be tried again: code 2"
    )


def test_the_wait_between_two_moves_is_told() -> None:
    told = moves([event("accepted", by="partner:acme"), event("released", 8, attempt=1), event("begun", 9)])

    assert [one.after.total_seconds() for one in told] == [0, 8, 1]


def test_of_a_long_story_beginning_and_end_are_told() -> None:
    told = moves([event("due", number) for number in range(100)])

    short = shortened(told)

    assert short.count(None) == 1
    assert short[:6] == told[:6]
    assert short[-14:] == told[-14:]
    assert shortened(told[:21]) == told[:21]


def test_the_summary_counts_what_was_work() -> None:
    story = [
        event("accepted", by="partner:acme"),
        event("released", 2, attempt=1),
        event("begun", 2, by=WORKER, attempt=1),
        event("held", 5, by=WORKER, attempt=1, reason="budget"),
        event("due", 65),
        event("begun", 65, by=WORKER, attempt=2),
    ]
    operation = a_request().accepted(START)

    said = summary(operation, story, now=START + timedelta(seconds=75))

    assert said == "It has taken 75 s: begun 2 times, at work for 13 s."
    assert summary(operation, story[:1], now=START + timedelta(seconds=2)) == "It has taken 2.0 s."
