"""An operation's id, its states, and how a pause shows."""

import uuid
from datetime import timedelta
from typing import Any

import pytest

from wabajobs import operation as module
from wabajobs.capability import Capability, ServiceClass
from wabajobs.clock import HandClock
from wabajobs.decisions import Pause, Scope
from wabajobs.operation import Operation, State, new_id
from wabajobs.outcome import Hold

NOW = HandClock().now()


def an_operation(**changes: Any) -> Operation:
    facts: dict[str, Any] = {
        "id": new_id(),
        "kind": "template_sync",
        "state": State.WAITING,
        "partner": "acme",
        "app": "10001",
        "waba": "20001",
        "service_class": ServiceClass.STANDARD,
        "capability": Capability.TEMPLATE_READS,
        "payload": {},
        "attempts": 0,
        "fence": 0,
        "hold": None,
        "checkpoint": {"token": "of the kind's own"},
        "result": None,
        "error": None,
        "due_at": NOW,
        "created_at": NOW,
        "finished_at": None,
    }
    return Operation(**(facts | changes))


def a_pause(scope: str, **changes: Any) -> Pause:
    return Pause(id=1, scope=Scope.of(scope), reason="incident 7", actor="ops", created_at=NOW, **changes)


def test_ids_are_unique_and_of_version_7() -> None:
    ids = [uuid.UUID(new_id()) for _ in range(20_000)]

    assert len(set(ids)) == 20_000
    assert {(one.version, one.variant) for one in ids} == {(7, uuid.RFC_4122)}


def test_later_ids_sort_behind_earlier_ones_also_within_a_millisecond(monkeypatch: pytest.MonkeyPatch) -> None:
    start = 1_767_225_600_000_000_000
    moments = [start + step for step in (0, 300, 999_700, 1_000_000, 1_000_300, 86_400_000_000_000)]
    remaining = iter(moments)
    monkeypatch.setattr(module.time, "time_ns", lambda: next(remaining))

    ids = [new_id() for _ in moments]

    assert ids == sorted(ids)


def test_an_id_tells_its_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.time, "time_ns", lambda: 1_767_225_600_123_456_789)

    assert uuid.UUID(new_id()).int >> 80 == 1_767_225_600_123


def test_four_states_are_final() -> None:
    assert {state for state in State if state.finished} == {
        State.SUCCEEDED,
        State.FAILED,
        State.CANCELLED,
        State.EXPIRED,
    }


@pytest.mark.parametrize(
    ("scope", "covered"),
    [
        ("all", True),
        ("app:10001", True),
        ("app:10002", False),
        ("capability:template_reads", True),
        ("capability:uploads", False),
        ("queue:template_sync", True),
        ("queue:onboarding", False),
        ("partner:acme", True),
        ("partner:bolt", False),
        ("waba:20001", True),
        ("waba:20002", False),
    ],
)
def test_a_pause_covers_its_scope(scope: str, covered: bool) -> None:
    assert an_operation().is_covered_by(a_pause(scope)) is covered


def test_no_wabas_pause_covers_an_operation_without_a_waba() -> None:
    assert not an_operation(waba=None).is_covered_by(a_pause("waba:20001"))


def test_of_several_pauses_the_longest_is_shown() -> None:
    short = a_pause("all", ends_at=NOW + timedelta(hours=1))
    longer = a_pause("partner:acme", ends_at=NOW + timedelta(hours=2))
    open_ended = a_pause("queue:template_sync")

    assert an_operation().pause_among([short, longer]) == longer
    assert an_operation().pause_among([longer, open_ended, short]) == open_ended


def test_under_a_pause_a_held_operation_shows_the_pause() -> None:
    held = an_operation(state=State.HELD, hold=Hold(reason="the budget is spent", by="budget"))

    shown = held.under([a_pause("all", notice="soon")])

    assert shown.hold is not None
    assert (shown.state, shown.hold.by, shown.hold.notice) == (State.HELD, "pause", "soon")
    assert held.under([]) == held


@pytest.mark.parametrize("state", [State.RUNNING, State.NEEDS_INPUT, State.SUCCEEDED, State.FAILED])
def test_what_does_not_wait_is_shown_as_it_is(state: State) -> None:
    operation = an_operation(state=state)

    assert operation.under([a_pause("all")]) == operation


def test_the_public_form_has_what_others_rely_on_and_no_checkpoint() -> None:
    until = NOW + timedelta(minutes=1)
    hold = Hold(reason="the budget is spent", by="budget", until=until, notice="soon")

    told = an_operation(state=State.HELD, hold=hold, finished_at=None).as_json()

    assert told["state"] == "held"
    assert told["hold"] == {
        "reason": "the budget is spent",
        "by": "budget",
        "origin": "ours",
        "until": until.isoformat(),
        "notice": "soon",
    }
    assert {"id", "kind", "attempts", "result", "error", "created_at", "finished_at"} <= set(told)
    assert "token" not in str(told)
