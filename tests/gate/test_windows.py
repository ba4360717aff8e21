"""Budgets: never too much in any window, charged together or not at all, and honest about the wait."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.gate.conftest import APP, Door, contents
from wabajobs.capability import ServiceClass
from wabajobs.decisions import Limit
from wabajobs.gate import Because, Outcome, Permit, Report, Wait

BACKGROUND, STANDARD = ServiceClass.BACKGROUND, ServiceClass.STANDARD


def test_as_many_calls_pass_as_the_limit_has_and_no_more(door: Door) -> None:
    assert door.take() == 100

    wait = door.hold()

    assert (wait.because, wait.scope) == (Because.BUDGET, f"app:{APP}")
    assert "of 100 that interactive calls may use, we have used 100" in str(wait)


def test_people_may_use_what_robots_may_not(door: Door) -> None:
    door.call_as(service_class=STANDARD)

    assert door.take(service_class=BACKGROUND) == 96
    assert door.take(service_class=STANDARD) == 2
    assert door.take() == 1


def test_nothing_is_kept_for_classes_that_have_been_idle_for_a_sixth_of_the_window(
    door_with: Callable[..., Door],
) -> None:
    door = door_with(calls=1000, margin=0.02)
    door.learn()

    assert door.take(service_class=BACKGROUND) == 980
    assert door.take(service_class=STANDARD) == 0


def test_people_who_have_been_idle_find_room_in_the_margin_and_then_a_reserve(
    door_with: Callable[..., Door],
) -> None:
    door = door_with(calls=1000, margin=0.02)
    door.learn()
    door.take(service_class=BACKGROUND)

    assert door.take() == 10
    assert door.gate.read(APP).windows[0].usable[BACKGROUND] == 965, "what they used, and half as much again"
    door.later(101)
    assert door.gate.read(APP).windows[0].usable[BACKGROUND] == 980, "they have gone"


@pytest.mark.parametrize("service_class", ServiceClass)
def test_at_least_half_of_the_margin_is_never_used(
    door_with: Callable[..., Door], service_class: ServiceClass
) -> None:
    door = door_with(calls=1000, margin=0.02)
    door.learn()

    assert door.take(service_class=service_class) <= 990


@pytest.mark.parametrize(("limit", "usable"), [(1, 1), (2, 1), (10, 9), (0, 0)])
def test_a_small_limit_keeps_at_least_one_call(door_with: Callable[..., Door], limit: int, usable: int) -> None:
    door = door_with(margin=0.02)
    door.learn()
    door.tell(limits=(Limit(f"app:{APP}", limit, 600),))

    assert door.take(service_class=BACKGROUND) == usable


def test_a_call_that_can_never_pass_waits_for_a_person(door: Door) -> None:
    wait = door.hold(cost=101)

    assert wait.delay is None
    assert "no more than 100, and this one costs 101" in str(wait)


def test_a_batch_costs_what_it_counts(door: Door) -> None:
    for _ in range(5):
        door.pass_(cost=20)

    assert isinstance(door.ask(), Wait)


def test_the_window_of_a_waba_is_charged_with_the_apps_or_not_at_all(door_with: Callable[..., Door]) -> None:
    door = door_with(calls=100, per_waba=5)
    door.learn()

    assert door.take(waba="w1") == 5
    before = door.gate.read(APP, wabas=["w1"])
    assert [door.hold(waba="w1").scope for _ in range(100)] == [f"waba:{APP}:w1"] * 100

    assert door.gate.read(APP, wabas=["w1"]) == before
    assert door.take(waba="w2") == 5
    assert door.take() == 90


def test_a_refusal_writes_nothing(door: Door) -> None:
    door.take(waba="w1")
    door.later(300)
    kept = contents(door.client)

    door.hold(waba="w1")

    assert contents(door.client) == kept


def test_a_told_limit_outranks_the_configured_one(door: Door) -> None:
    door.tell(limits=(Limit(f"app:{APP}", 7, 600), Limit("app:99999", 1, 600), Limit(f"waba:{APP}:w1", 3, 600)))

    assert door.take(waba="w1") == 3
    assert door.take() == 4


def test_a_window_whose_length_was_changed_keeps_what_it_counted(door: Door) -> None:
    door.take()

    door.tell(limits=(Limit(f"app:{APP}", 100, 60),))

    wait = door.hold()
    assert wait.delay is not None
    door.later(wait.delay.total_seconds())
    assert door.take() == 100


def test_a_wait_is_honest(door_with: Callable[..., Door]) -> None:
    door = door_with(window_buckets=20)
    door.learn()
    for calls in (30, 40, 30):
        door.pass_(cost=calls)
        door.later(100)

    for cost, left in ((30, 30), (70, 70), (100, 100)):
        wait = door.hold(cost=cost)
        assert wait.delay is not None
        door.later((wait.delay - timedelta(microseconds=1)).total_seconds())
        assert isinstance(door.ask(cost=cost), Wait)
        door.later(microseconds=1)
        door.gate.settle(door.pass_(cost=cost), Report(outcome=Outcome.UNUSED))
        assert door.gate.read(APP).windows[0].used == 100 - left


def test_the_longest_of_all_waits_is_told(door_with: Callable[..., Door]) -> None:
    door = door_with(calls=10, per_waba=5)
    door.learn()
    door.pass_(cost=5)
    door.later(300)
    door.pass_(cost=5, waba="w1")

    wait = door.hold(cost=5, waba="w1")

    assert wait.scope == f"waba:{APP}:w1"
    assert wait.delay is not None
    assert wait.delay > timedelta(seconds=600)
    door.clock.advance(wait.delay)
    door.pass_(cost=5, waba="w1")


@pytest.mark.parametrize("buckets", [10, 20, 60, 97, 120, 180])
@pytest.mark.parametrize("window", [1, 59.9, 600, 3600])
def test_the_ring_is_at_least_as_long_as_the_window_and_the_spread(
    door_with: Callable[..., Door], buckets: int, window: float
) -> None:
    door = door_with(window_seconds=window, window_buckets=buckets, spread_seconds=0.5)
    door.learn()

    door.take()
    door.later(window + 0.5)
    assert isinstance(door.ask(), Wait)

    door.later((window + 0.5) / buckets + 0.001)
    assert isinstance(door.ask(), Permit)


def test_time_that_steps_back_frees_nothing_and_blocks_nobody_for_ever(door: Door) -> None:
    door.pass_(cost=60)
    door.later(-5000)

    assert door.take() == 40

    door.later(5000 + 700)
    assert door.take() == 100


def test_a_window_left_alone_for_its_length_is_empty(door: Door) -> None:
    door.take()
    door.later(10 * 600)

    assert door.take() == 100


def test_an_unused_permit_gives_its_charge_back(door: Door) -> None:
    permits = [door.pass_(waba="w1") for _ in range(100)]
    door.later(200)

    for permit in permits[:10]:
        door.gate.settle(permit, Report(outcome=Outcome.UNUSED))
        door.gate.settle(permit, Report(outcome=Outcome.UNUSED))

    assert door.gate.read(APP, wabas=["w1"]).windows[1].used == 90
    assert door.take() == 10


def test_an_unused_permit_whose_bucket_has_left_gives_nothing_back(door: Door) -> None:
    permit = door.pass_(cost=50)
    door.later(800)
    door.pass_(cost=50)

    door.gate.settle(permit, Report(outcome=Outcome.UNUSED))

    assert door.take() == 50


def test_paced_calls_use_the_window_evenly_and_almost_all_of_it(door_with: Callable[..., Door]) -> None:
    door = door_with(calls=1000, window_seconds=600, spread_seconds=1, pacing=True)
    door.learn()
    began, admitted = door.clock.now(), []

    while (now := door.clock.now() - began) < timedelta(seconds=3000):
        answer = door.ask(service_class=BACKGROUND)
        if isinstance(answer, Permit):
            door.gate.settle(answer, Report(outcome=Outcome.OK))
            admitted.append(now.total_seconds())
        else:
            assert answer.delay is not None
            door.clock.advance(answer.delay)

    steady = [at for at in admitted if at >= 1200]
    assert len(steady) / 1800 >= 0.97 * 980 / 600
    assert max(sum(at <= other < at + 601 for other in admitted) for at in admitted[::50]) <= 990
    assert max(sum(at <= other < at + 10 for other in steady) for at in steady) <= 10 + 2 * 16


def test_a_short_operation_is_not_stretched_by_the_pace(door_with: Callable[..., Door]) -> None:
    door = door_with(calls=200, window_seconds=3600, pacing=True)
    door.learn()

    assert door.take(service_class=BACKGROUND) == 10
    wait = door.hold(service_class=BACKGROUND)
    assert "spread over the window" in str(wait)
    assert isinstance(door.ask(), Permit), "people are not paced"

    assert wait.delay is not None
    door.clock.advance(wait.delay)
    assert isinstance(door.ask(service_class=BACKGROUND), Permit)


def test_the_pace_does_not_stand_still_when_the_clock_steps_back(door_with: Callable[..., Door]) -> None:
    door = door_with(calls=200, window_seconds=3600, pacing=True)
    door.learn()
    door.take(service_class=BACKGROUND)

    door.later(-1800)

    assert isinstance(door.ask(service_class=BACKGROUND), Permit)
