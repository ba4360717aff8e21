"""Meta's usage headers outrank our count: others spend the same budget."""

from collections.abc import Callable

import pytest

from tests.gate.conftest import APP, Door
from wabajobs.gate import Because, Outcome, Permit, Report


def others(door: Door) -> int:
    return door.gate.read(APP).windows[0].others


@pytest.fixture
def door(door_with: Callable[..., Door]) -> Door:
    door = door_with(calls=1000)
    door.learn()
    return door


def test_what_others_spent_is_not_ours_to_spend(door: Door) -> None:
    door.call(app_percent=60)

    assert others(door) == 604
    assert door.take() == 1000 - 604 - 1
    assert "and others 604" in str(door.hold())


def test_our_own_calls_are_not_taken_for_those_of_others(door: Door) -> None:
    for sent in range(1, 1001):
        door.call(app_percent=sent // 10)
        assert others(door) == 0


def test_calls_that_were_admitted_later_do_not_hide_others(door: Door) -> None:
    early = door.pass_()
    for _ in range(200):
        door.pass_()

    door.gate.settle(early, Report(outcome=Outcome.OK, app_percent=30))

    assert others(door) == 304


def test_a_full_window_lets_nothing_pass(door: Door) -> None:
    for percent in (100, 250):
        door.call(app_percent=percent)
        assert door.hold().because is Because.BUDGET
        door.later(31)


def test_a_late_answer_does_not_overwrite_a_newer_one(door: Door) -> None:
    early, late = door.pass_(), door.pass_()
    door.gate.settle(late, Report(outcome=Outcome.OK, app_percent=70))

    door.gate.settle(early, Report(outcome=Outcome.OK, app_percent=5))
    assert others(door) == 703

    door.gate.settle(door.pass_(), Report(outcome=Outcome.OK, app_percent=70))
    assert others(door) == 703


def test_the_order_of_calls_is_told_apart_to_the_last_digit_of_the_time(door: Door) -> None:
    early, late = door.pass_(), door.pass_()
    door.gate.settle(early, Report(outcome=Outcome.OK, app_percent=70))
    door.gate.settle(late, Report(outcome=Outcome.OK, app_percent=90))
    door.gate.settle(door.pass_(), Report(outcome=Outcome.OK))

    assert others(door) == 903, "the later one's word, though they were admitted within a microsecond"


def test_others_rise_at_once_and_fall_slowly(door: Door) -> None:
    door.call(app_percent=50)
    assert others(door) == 504

    seen = []
    for _ in range(150):
        door.call(app_percent=15)
        seen.append(others(door))

    assert seen[0] == 504 - 18
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] <= 60


def test_without_a_header_the_model_stays(door: Door) -> None:
    door.call(app_percent=50)

    door.call(app_percent=None)

    assert others(door) == 504


def test_an_old_reading_is_held_for_one_window_and_given_back_over_the_next(door: Door) -> None:
    door.call(app_percent=50)

    door.later(599)
    assert others(door) == 504
    door.later(301)
    assert others(door) == pytest.approx(252, abs=1)
    door.later(300)
    assert others(door) == 0


def test_a_gate_blocked_by_an_old_header_alone_lets_one_call_refresh_it(door: Door) -> None:
    door.call(app_percent=100)
    wait = door.hold()
    assert wait.delay is not None
    assert wait.delay.total_seconds() == 30

    door.later(30)
    door.pass_()
    assert door.hold().delay == wait.delay, "one call, not all"
    door.later(30)

    door.gate.settle(door.pass_(), Report(outcome=Outcome.OK, app_percent=20))
    assert others(door) < 998


def test_a_gate_blocked_by_its_own_count_lets_none_through(door: Door) -> None:
    door.take()
    door.later(30)
    permit = door.hold()

    assert permit.because is Because.BUDGET
    assert others(door) == 0


def test_a_paced_call_slowed_by_others_refreshes_too(door_with: Callable[..., Door]) -> None:
    door = door_with(calls=1000, pacing=True, window_seconds=3600)
    door.learn()
    door.call(app_percent=94)
    door.take(service_class="background")

    wait = door.hold(service_class="background")

    assert wait.delay is not None
    assert wait.delay.total_seconds() <= 30
    door.clock.advance(wait.delay)
    assert isinstance(door.ask("background"), Permit)


def test_the_header_of_a_waba_corrects_its_window(door: Door) -> None:
    door.gate.settle(door.pass_(waba="w1"), Report(outcome=Outcome.OK, waba_percent=100))

    assert door.hold(waba="w1").scope == f"waba:{APP}:w1"
    assert isinstance(door.ask(waba="w2"), Permit)
    assert others(door) == 0
