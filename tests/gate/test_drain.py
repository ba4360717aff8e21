"""A drain is forecast as the gate then lets it happen."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.gate.conftest import APP, Door
from wabajobs.capability import ServiceClass
from wabajobs.gate import Permit
from wabajobs.seeing.budgets import room_of, takes

INTERACTIVE, STANDARD, BACKGROUND = ServiceClass


def forecast(door: Door, calls: dict[ServiceClass, float], *, scope: str = f"app:{APP}") -> timedelta:
    reading = door.gate.read(APP, wabas=[scope.rpartition(":")[2]])
    window = next(one for one in reading.windows if one.scope == scope)
    span = takes(calls, {one: room_of(window, one, gate=door.settings) for one in ServiceClass})
    assert span is not None
    return span


def drain(door: Door, calls: dict[ServiceClass, float], **call: str) -> timedelta:
    """Make so many calls as soon as the gate lets us, the higher classes first; return how long that took."""
    began = door.clock.now()
    for service_class, number in calls.items():
        for _ in range(round(number)):
            while not isinstance(answer := door.ask(service_class, **call), Permit):
                assert answer.delay is not None
                door.clock.advance(answer.delay)
    return door.clock.now() - began


@pytest.mark.parametrize(
    "calls",
    [
        {BACKGROUND: 40},
        {BACKGROUND: 500},
        {STANDARD: 130, BACKGROUND: 230},
        {INTERACTIVE: 60, BACKGROUND: 300},
        {INTERACTIVE: 150},
        {INTERACTIVE: 430},
    ],
    ids=str,
)
@pytest.mark.parametrize("spent", [0, 60], ids=["fresh", "partly spent"])
def test_it_takes_as_long_as_was_forecast(door_with: Callable[..., Door], calls: dict, spent: int) -> None:
    door = door_with(calls=100, pacing=True, pacing_burst_calls=1, interactive_reserve=0, standard_reserve=0)
    door.learn()
    for _ in range(spent):
        door.ask()
        door.later(door.settings.window_seconds / 100)

    said = forecast(door, calls)
    took = drain(door, calls)

    # How what is spent lies in the window is not read: so much of one window nobody can say.
    unknown = 0.35 if spent else 0.04
    assert abs(took - said) <= 0.12 * max(took, said) + unknown * timedelta(seconds=door.settings.window_seconds)


def test_a_waba_takes_as_long_as_its_own_budget_lets_it(door_with: Callable[..., Door]) -> None:
    door = door_with(calls=10_000, per_waba=50, pacing=True, pacing_burst_calls=1)
    door.learn()

    said = forecast(door, {BACKGROUND: 120}, scope=f"waba:{APP}:w1")
    took = drain(door, {BACKGROUND: 120}, waba="w1")

    assert abs(took - said) <= 0.12 * took


def test_what_others_use_is_not_there_for_us(door_with: Callable[..., Door]) -> None:
    door = door_with(calls=100, pacing=True)
    door.learn()
    before = forecast(door, {BACKGROUND: 300})

    door.call(app_percent=50)

    assert 1.8 * before < forecast(door, {BACKGROUND: 300}) < 2.3 * before
