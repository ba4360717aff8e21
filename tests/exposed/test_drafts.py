"""Words for the public: drafted from how things are, released by a person, and only then shown."""

from datetime import timedelta

import pytest

from tests.exposed.seen import NOW, a_pause, a_view, an_announcement, an_app, told_of
from wabajobs.clock import HandClock
from wabajobs.exposed import Draft, View, draft
from wabajobs.ledger import Ledger, Severity, Stage


def drafted(view: View, *, over: bool = False) -> Draft:
    return draft(3, told_of(view), over=over, update_within=timedelta(hours=4))


def test_a_first_draft_says_what_is_unwell_what_becomes_of_operations_and_when_more_is_told() -> None:
    words = drafted(a_view(an_app(open=["uploads"])))

    assert (words.stage, words.impact) == (Stage.INVESTIGATING, Severity.MAJOR)
    assert words.components == ("Templates", "Profiles")
    assert words.title == "Templates, Profiles: disruption"
    assert words.body == (
        "We are looking into it. Templates: partly unavailable; Profiles: partly unavailable."
        " What is accepted waits, and runs later by itself. Nothing is lost, and nothing need be sent again."
        " Next update by 2024-09-25 16:55 UTC."
    )


def test_a_notice_that_a_person_has_given_is_in_it() -> None:
    pause = a_pause("queue:template_sync", notice="Use Meta Business Manager meanwhile")

    assert " Use Meta Business Manager meanwhile. Next update" in drafted(a_view(pauses=(pause,))).body


@pytest.mark.parametrize(
    ("told", "open", "over", "stage"),
    [
        ([Stage.INVESTIGATING], ["uploads"], False, Stage.INVESTIGATING),
        ([Stage.IDENTIFIED], ["uploads"], False, Stage.IDENTIFIED),
        ([Stage.MONITORING], ["uploads"], False, Stage.IDENTIFIED),
        ([Stage.IDENTIFIED], [], False, Stage.MONITORING),
        ([Stage.MONITORING], [], True, Stage.RESOLVED),
    ],
)
def test_later_drafts_follow_what_was_told_and_how_it_is(
    told: list[Stage], open: list[str], over: bool, stage: Stage
) -> None:
    announcements = tuple(an_announcement(nth, stage=each) for nth, each in enumerate(told))

    words = drafted(a_view(an_app(open=open), announcements=announcements), over=over)

    assert words.stage is stage
    assert words.title == "Templates: disruption"
    assert ("Next update" in words.body) == (not over)
    assert words.components


def test_what_was_released_is_kept_as_it_was_told_with_who_told_it(ledger: Ledger) -> None:
    clock = HandClock()
    facts = {"title": "Uploads", "body": "We look.", "impact": Severity.MAJOR, "components": ["Templates"]}

    first = ledger.announcements.release(3, Stage.INVESTIGATING, **facts, actor="anna", now=clock.now())  # type: ignore[arg-type]
    clock.advance(timedelta(hours=1))
    ledger.announcements.release(4, Stage.RESOLVED, **facts, actor="ben", now=clock.now())  # type: ignore[arg-type]
    last = ledger.announcements.release(3, Stage.RESOLVED, **facts, actor="ben", now=clock.now())  # type: ignore[arg-type]

    told = ledger.announcements.newest()
    assert [(one.incident, one.stage, one.actor) for one in told] == [
        (3, "investigating", "anna"),
        (4, "resolved", "ben"),
        (3, "resolved", "ben"),
    ]
    assert (told[0], told[-1]) == (first, last)
    assert [one.incident for one in ledger.announcements.newest(incidents=1)] == [4]
    entries = ledger.audit.entries(scope="incident:3")
    assert [(one.action, one.actor, one.incident) for one in entries] == [
        ("announce", "anna", 3),
        ("announce", "ben", 3),
    ]
    assert told[0].at < NOW.replace(year=2100)
