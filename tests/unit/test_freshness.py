"""When a list is due and why; and the sentence that tells whether a budget is enough."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wabajobs.freshness import Facts, Outlook, Survey, next_due, spoken
from wabajobs.settings import PlannerSettings

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
EVEN = PlannerSettings(jitter=0)


def some_facts(**changes: Any) -> Facts:
    facts: dict[str, Any] = {"waba": "10001", "every": HOUR, "wished_by": "anna (a campaign)", "added_at": NOW}
    return Facts(**(facts | {"success_at": NOW} | changes))


@pytest.mark.parametrize(
    ("changes", "after", "why"),
    [
        ({}, HOUR, "every 1 h, as anna (a campaign) asks"),
        ({"success_at": None}, timedelta(0), "never synced yet"),
        ({"pending_since": NOW}, HOUR / 10, "a template is pending since 2026-01-01 12:00 UTC"),
        ({"pending_since": NOW - timedelta(days=2)}, HOUR, "every 1 h, as anna (a campaign) asks"),
        ({"credit": -1}, HOUR / 4, "found what no webhook had told"),
        ({"credit": 2}, HOUR, "every 1 h, as anna (a campaign) asks"),
        ({"credit": 3}, 10 * HOUR, "less often: webhooks tell the changes"),
        ({"credit": 3, "pending_since": NOW}, HOUR / 10, "a template is pending"),
        ({"doubted_at": NOW}, timedelta(minutes=1), "only a sync can make sure"),
        ({"failures": 1, "failed_at": NOW}, HOUR, "the last sync failed: tried again after 1 h"),
        ({"failures": 3, "failed_at": NOW}, 4 * HOUR, "the last 3 syncs failed: tried again after 4 h"),
        ({"failures": 99, "failed_at": NOW, "doubted_at": NOW}, 6 * HOUR, "the last 99 syncs failed"),
        ({"every": timedelta(minutes=5), "pending_since": NOW}, timedelta(minutes=1), "a template is pending"),
        ({"every": timedelta(seconds=20), "pending_since": NOW}, timedelta(seconds=20), "a template is pending"),
    ],
)
def test_a_list_is_due_for_a_reason(changes: dict[str, Any], after: timedelta, why: str) -> None:
    due = next_due(some_facts(**changes), EVEN)

    assert due.at == NOW + after
    assert why in due.why


def test_what_is_stopped_is_never_due() -> None:
    due = next_due(some_facts(stopped="anna (left us)", doubted_at=NOW, credit=-3), EVEN)

    assert (due.at, due.why) == (None, "not kept fresh: anna (left us)")


moments = st.none() | st.datetimes(datetime(2025, 1, 1), datetime(2026, 1, 1)).map(
    lambda at: at.replace(tzinfo=UTC)
)


@given(
    facts=st.builds(
        some_facts,
        every=st.timedeltas(timedelta(seconds=1), timedelta(days=30)),
        success_at=moments,
        failed_at=moments,
        failures=st.integers(0, 50),
        pending_since=moments,
        credit=st.integers(-3, 3),
        doubted_at=moments,
    ),
    jitter=st.floats(0, 0.9),
)
def test_no_list_is_ever_due_later_than_promised_nor_at_once_again(facts: Facts, jitter: float) -> None:
    due = next_due(facts, PlannerSettings(jitter=jitter))

    base = facts.failed_at if facts.failures and facts.failed_at else facts.success_at
    assert due.at is not None
    if base is None:
        assert due.at == facts.added_at
    else:
        assert due.at <= base + due.every
        if facts.doubted_at is None:
            assert due.at >= base + due.every * (1 - jitter) - timedelta(microseconds=1)
    assert due == next_due(facts, PlannerSettings(jitter=jitter)), "the same for the same facts"


def test_what_began_together_does_not_stay_together() -> None:
    due = [next_due(some_facts(waba=str(10_000 + number)), PlannerSettings()).at for number in range(6000)]

    per_minute = Counter(at.replace(second=0, microsecond=0) for at in due if at)
    assert len(per_minute) == 6, "a tenth of an hour"
    assert max(per_minute.values()) < 1200, "about a thousand a minute, nowhere a herd"


# ── the forecast ────────────────────────────────────────────────────────────────────────────────────────────


def an_outlook(**changes: Any) -> Outlook:
    wabas = 412_000
    survey = Survey(
        app="1", at=NOW, wabas=wabas, calls_per_round=1.3 * wabas, wished_per_second=1.3 * wabas / 3600
    )
    outlook = Outlook(survey=survey, limit=200_000, window=HOUR, share=0.6, rate=0.6 * 200_000 / 3600)
    return replace(outlook, **changes)


def test_the_operator_is_told_when_the_wish_is_out_of_reach() -> None:
    outlook = an_outlook()

    assert str(outlook) == (
        "412,000 WABAs x 1.3 pages at 60 % of 200,000 calls per hour:"
        " one round takes 4 h 28 min; you asked for 1 h"
    )
    assert not outlook.reachable


def test_what_others_take_is_told_too() -> None:
    assert "at 60 % of 200,000 calls per hour, of which the others leave 36,000: one round takes 14 h" in str(
        an_outlook(rate=10)
    )
    assert "nothing is left for a round" in str(an_outlook(rate=0))


def test_a_fleet_that_fits_is_reachable() -> None:
    assert an_outlook(rate=1000.0).reachable


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (99, "99 s"), (100, "2 min"), (3599, "1 h"), (16067, "4 h 28 min"), (200_000, "2 d 7 h")],
)
def test_spans_are_spoken(seconds: float, text: str) -> None:
    assert spoken(timedelta(seconds=seconds)) == text
