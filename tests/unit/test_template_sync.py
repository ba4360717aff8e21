"""The kind `template_sync`: what it reads, what it makes of odd answers, and what it leaves untouched."""

from datetime import timedelta
from typing import Any

import pytest

from tests.support.fakes import a_wait, answering, templates
from tests.unit.conftest import WABA, Bay, some_settings
from wabajobs.errors import AppLimitReached, HeavyPage, InvalidCall
from wabajobs.graph import GraphRequest
from wabajobs.operation import State
from wabajobs.outcome import Done, Failed, Hold


def synced(bay: Bay) -> Done:
    bay.accept()
    outcome = bay.perform()
    assert isinstance(outcome, Done), outcome
    return outcome


def test_it_asks_for_every_field_and_never_follows_metas_link(bay: Bay) -> None:
    bay.graph.lists[WABA] = templates(150)

    synced(bay)

    assert {request.path for request in bay.graph.requests} == {f"{WABA}/message_templates"}
    fields = str(bay.graph.requests[0].params["fields"]).split(",")
    assert {"id", "name", "language", "status", "category", "quality_score", "rejected_reason"} <= set(fields)


def test_an_empty_list_is_a_list(bay: Bay) -> None:
    bay.graph.lists[WABA] = templates(3)
    synced(bay)
    bay.graph.lists[WABA] = []

    outcome = synced(bay)

    assert (outcome.result["templates"], outcome.result["removed"]) == (0, 3)
    assert bay.mirrored() == []


def test_the_second_sync_finds_what_differs(bay: Bay) -> None:
    bay.graph.lists[WABA] = templates(5)
    synced(bay)
    bay.graph.lists[WABA] = [*templates(3), *templates(7, status="PAUSED")[4:]]

    outcome = synced(bay)

    counts = {name: outcome.result[name] for name in ("templates", "added", "changed", "removed")}
    assert counts == {"templates": 6, "added": 2, "changed": 1, "removed": 1}


def test_a_page_that_is_too_heavy_is_halved_and_the_size_remembered(bay: Bay) -> None:
    bay.graph.lists[WABA] = templates(60)
    bay.graph.heaviest_page = 30

    first = synced(bay)
    bay.graph.requests.clear()
    second = synced(bay)

    assert (first.result["page_size"], first.result["pages"], first.result["calls"]) == (25, 3, 5)
    assert [size for _, size in bay.graph.asked_for] == [50, 25, 25, 25], "it tries to climb again by doubling"
    assert second.result["templates"] == 60


def test_a_page_that_gets_heavy_half_way_goes_on_from_the_same_cursor(bay: Bay) -> None:
    bay.graph.lists[WABA] = templates(250)
    bay.graph.surprises.extend([None, HeavyPage("reduce the amount of data", code=1)])

    outcome = synced(bay)

    assert bay.graph.asked_for == [
        (None, 100),
        ("c100", 100),
        ("c100", 50),
        ("c150", 50),
        ("c200", 50),
    ]
    assert outcome.result["templates"] == 250


def test_a_single_template_that_is_too_heavy_is_tried_again_later_and_then_fails(bay: Bay) -> None:
    bay.settings = some_settings(template_sync={"page_size": 2}, dispatch={"max_attempts": 2})
    bay.graph.lists[WABA] = templates(3)
    bay.graph.heaviest_page = 0
    operation = bay.accept()

    first = bay.perform()
    bay.pass_time(600)
    last = bay.perform()

    assert isinstance(first, Hold)
    assert isinstance(last, Failed)
    assert bay.graph.asked_for == [(None, 2), (None, 1), (None, 1)], "the smaller size is remembered"
    assert bay.get(operation).state is State.FAILED


def test_a_list_with_more_pages_than_there_can_be_is_not_trusted(bay: Bay) -> None:
    bay.settings = some_settings(template_sync={"page_size": 10, "max_pages": 3})
    bay.graph.lists[WABA] = templates(31)
    bay.accept()

    outcome = bay.perform()

    assert isinstance(outcome, Failed)
    assert outcome.reason == (
        f"the template list of WABA {WABA} has more than 3 pages of 10: not read further"
        " ([template_sync] max_pages)"
    )
    assert bay.mirrored() == []


def test_a_list_of_just_as_many_pages_as_there_can_be_is_read(bay: Bay) -> None:
    bay.settings = some_settings(template_sync={"page_size": 10, "max_pages": 3})
    bay.graph.lists[WABA] = templates(30)

    assert synced(bay).result["pages"] == 3


@pytest.mark.parametrize("back_to", ["c100", "c200"])
def test_a_list_that_goes_in_circles_is_not_trusted(bay: Bay, back_to: str) -> None:
    bay.graph.lists[WABA] = templates(500)

    def circle(_request: GraphRequest) -> Any:
        return answering({"data": templates(1), "paging": {"next": "…", "cursors": {"after": back_to}}})

    bay.graph.surprises.extend([None, None, circle])
    bay.accept()

    outcome = bay.perform()

    assert isinstance(outcome, Failed)
    assert "goes in circles: page 3 leads back to a cursor that was there before" in outcome.reason
    assert len(bay.graph.requests) == 3
    assert bay.mirrored() == []


GOOD = templates(1)[0]


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ({}, "Meta's answer to a template list has no `data`"),
        ({"data": None}, "Meta's answer to a template list has no `data`"),
        ({"data": {"id": "1"}}, "Meta's answer to a template list has no `data`"),
        ({"data": ["template"]}, "an entry without one of id, name, language, status, category"),
        ({"data": [{**GOOD, "id": 7}]}, "an entry without one of id, name, language, status, category"),
        (
            {"data": [{name: GOOD[name] for name in ("id", "name", "language", "status")}]},
            "an entry without one of id, name, language, status, category",
        ),
        ({"data": [GOOD], "paging": {"next": "…"}}, "there is a next page, and gives no cursor for it"),
        (
            {"data": [GOOD], "paging": {"next": "…", "cursors": {"after": ""}}},
            "there is a next page, and gives no cursor for it",
        ),
        (
            {"data": [GOOD], "paging": {"next": "…", "cursors": ["c1"]}},
            "there is a next page, and gives no cursor for it",
        ),
    ],
)
def test_garbage_leaves_yesterdays_list_and_fails_with_a_sentence(
    bay: Bay, answer: dict[str, Any], sentence: str
) -> None:
    bay.graph.lists[WABA] = templates(3)
    synced(bay)
    success = bay.clock.now()
    bay.pass_time(60)
    bay.graph.surprises.append(answering(answer))
    operation = bay.accept()

    outcome = bay.perform()

    assert isinstance(outcome, Failed)
    assert sentence in outcome.reason
    assert bay.get(operation).state is State.FAILED
    assert bay.mirrored() == ["0", "1", "2"]
    freshness = bay.ledger.templates.read(WABA)
    assert freshness is not None
    assert (freshness.last_success_at, freshness.last_attempt_at) == (success, bay.clock.now())
    assert freshness.last_error == outcome.reason


@pytest.mark.parametrize("paging", [None, [], "next", {}, {"cursors": {"after": "c9"}}])
def test_a_list_ends_where_there_is_no_next_page(bay: Bay, paging: object) -> None:
    bay.graph.surprises.append(answering({"data": [GOOD], "paging": paging}))

    assert synced(bay).result["pages"] == 1


def test_a_limit_on_page_two_leaves_the_list_and_moves_one_clock(bay: Bay) -> None:
    bay.graph.lists[WABA] = templates(150)
    synced(bay)
    success = bay.clock.now()
    bay.pass_time(3600)
    bay.graph.lists[WABA] = templates(250, status="PAUSED")
    bay.graph.requests.clear()
    bay.graph.surprises.extend([None, AppLimitReached("(#4) too many calls", code=4)])
    bay.accept()

    outcome = bay.perform()
    freshness = bay.ledger.templates.read(WABA)
    before = len(bay.mirrored()), len(bay.ledger.templates.changes(WABA))
    bay.pass_time(5)
    done = bay.perform()

    assert isinstance(outcome, Hold)
    assert freshness is not None
    assert freshness.last_success_at == success
    assert freshness.last_attempt_at == success + timedelta(hours=1)
    assert freshness.last_error is not None
    assert "code 4" in freshness.last_error
    assert before == (150, 150)
    assert isinstance(done, Done)
    assert bay.graph.asked_for == [(None, 100), ("c100", 100), ("c100", 100), ("c200", 100)]
    assert len(bay.mirrored()) == 250
    cleared = bay.ledger.templates.read(WABA)
    assert cleared is not None
    assert cleared.last_error is None


def held_after_page_one(bay: Bay) -> None:
    bay.graph.lists[WABA] = templates(150)
    bay.accept()
    bay.gate.answers.extend([None, a_wait(60)])
    assert isinstance(bay.perform(), Hold)
    bay.pass_time(60)


def test_a_cursor_that_meta_has_forgotten_meanwhile_makes_it_begin_again(bay: Bay) -> None:
    held_after_page_one(bay)
    bay.graph.surprises.append(InvalidCall("Invalid cursor", code=100))

    outcome = bay.perform()

    assert isinstance(outcome, Done)
    assert bay.graph.asked_for == [(None, 100), ("c100", 100), (None, 100), ("c100", 100)]
    assert outcome.result["templates"] == 150


def test_a_cursor_that_was_given_a_moment_ago_is_not_forgotten_so_the_call_is_wrong(bay: Bay) -> None:
    bay.graph.lists[WABA] = templates(150)
    bay.graph.surprises.extend([None, InvalidCall("no such object", code=100, subcode=33)])
    bay.accept()

    assert isinstance(bay.perform(), Failed)
    assert len(bay.graph.requests) == 2


def test_what_was_half_read_long_ago_is_read_from_the_first_page(bay: Bay) -> None:
    held_after_page_one(bay)
    bay.pass_time(bay.settings.template_sync.take_up_within_seconds)

    outcome = bay.perform()

    assert isinstance(outcome, Done)
    assert bay.graph.asked_for == [(None, 100), (None, 100), ("c100", 100)]


def test_a_request_that_joins_a_held_sync_starts_it_from_the_first_page(bay: Bay) -> None:
    bay.graph.lists[WABA] = templates(150)
    operation = bay.accept()
    bay.gate.answers.extend([None, a_wait(60)])
    bay.perform()
    bay.graph.lists[WABA] = templates(120, status="PAUSED")

    joined = bay.accept()
    bay.pass_time(60)
    outcome = bay.perform()

    assert joined.id == operation.id
    assert isinstance(outcome, Done)
    assert bay.graph.asked_for == [(None, 100), (None, 100), ("c100", 100)]
    assert outcome.result["templates"] == 120
    assert {one["status"] for one in bay.ledger.templates.templates(WABA)} == {"PAUSED"}


def test_a_swap_that_has_happened_is_not_repeated_after_a_crash(bay: Bay) -> None:
    bay.graph.lists[WABA] = templates(3)
    operation = bay.accept()
    released = bay.release()
    real = bay.ledger.operations.record_all
    bay.ledger.operations.record_all = lambda *_args, **_more: bay.lose_lease() or real(*_args, **_more)  # type: ignore[method-assign,func-returns-value]

    bay.perform(released)
    bay.ledger.operations.record_all = real  # type: ignore[method-assign]
    outcome = bay.perform()

    assert isinstance(outcome, Done)
    assert outcome.result["added"] == 3
    assert len(bay.ledger.templates.changes(WABA)) == 3
    assert bay.get(operation).attempts == 2
