"""What a forecast promises, whatever the numbers; and what the preview of a pause tells."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.gate.conftest import a_call
from tests.support.stage import Stage
from wabajobs.capability import ServiceClass
from wabajobs.decisions import Limit, PauseMode, Scope
from wabajobs.errors import GateUnavailable
from wabajobs.gate import Permit
from wabajobs.seeing.budgets import Room, ramped, takes
from wabajobs.seeing.preview import Preview
from wabajobs.settings import RampSettings

A_PROFILE = {"about": "We are here"}
Stages = Callable[..., AbstractContextManager[Stage]]
TURN = timedelta(hours=1)


@st.composite
def rooms(draw: st.DrawFn, *, least: float = 0) -> Room:
    used = draw(st.floats(0, 5000))
    return Room(
        usable=draw(st.floats(least, 5000)),
        used=used,
        recent=draw(st.floats(0, 1)) * used,
        turn=TURN,
        paced=draw(st.booleans()),
    )


calls = st.floats(0, 100_000)


def seconds(span: timedelta | None) -> float:
    return float("inf") if span is None else span.total_seconds()


@given(rooms(), calls, calls)
def test_more_calls_never_take_less_time(room: Room, some: float, more: float) -> None:
    assert seconds(room.takes(some)) <= seconds(room.takes(some + more)) + 1e-3


@given(rooms(least=1), calls)
def test_it_is_no_faster_than_the_budget_and_no_more_than_a_window_slower(room: Room, some: float) -> None:
    ideal = (some - room.usable) / room.usable * TURN.total_seconds()

    assert ideal - 1e-3 <= seconds(room.takes(some)) <= ideal + 2 * TURN.total_seconds() + 1e-3


@given(rooms(least=1), st.lists(calls, min_size=3, max_size=3))
def test_the_classes_together_take_as_long_as_all_their_calls(room: Room, numbers: list[float]) -> None:
    by_class = dict(zip(ServiceClass, numbers, strict=True))

    assert takes(by_class, dict.fromkeys(ServiceClass, room)) == room.takes(sum(numbers))


@given(calls)
def test_where_there_is_no_room_nothing_drains(some: float) -> None:
    none = Room(usable=0, used=0, recent=0, turn=TURN, paced=True)

    assert none.takes(some + 1) is None
    assert none.takes(0) == timedelta(0)


@given(st.floats(0, 10_000), st.lists(st.integers(1, 99), min_size=1, max_size=5))
def test_a_ramp_takes_longer_by_what_its_steps_leave_unused(minutes: float, steps: list[int]) -> None:
    ramp = RampSettings(steps=tuple(sorted(set(steps))), step_seconds=120)
    span = timedelta(minutes=minutes)
    unused = sum(1 - percent / 100 for percent in ramp.steps) * timedelta(minutes=2)

    assert span <= ramped(span, ramp) <= span + unused + timedelta(seconds=1e-3)


def preview(stage: Stage, scope: str, **more: Any) -> Preview:
    return stage.house.forecast.preview(Scope.of(scope), **more)


def test_a_preview_tells_whom_a_pause_would_touch_and_changes_nothing(stage: Stage) -> None:
    for partner in ("acme", "acme", "bolt"):
        stage.accept(
            "profile_update", partner=partner, waba=stage.waba, payload=A_PROFILE | {"number": stage.number}
        )
    stage.accept("template_sync", waba=stage.waba)
    stage.pass_time(3600)
    before = stage.house.ledger.decisions.revision()

    told = preview(stage, "queue:profile_update")

    assert str(told).startswith("affects 3 operations of 2 partners; at the present budget they drain in ")
    assert [one.queue for one in told.queues] == ["profile_update"]
    assert (told.operations, told.partners, told.wabas, told.free) == (3, 2, 1, 3)
    assert told.at - told.oldest == timedelta(hours=1)
    assert "no worker is alive for profile_update" in told.sentences
    assert preview(stage, "all").operations == 4
    assert preview(stage, f"number:{stage.number}").operations == 3
    assert preview(stage, "partner:acme/profile_update").operations == 2
    assert stage.house.ledger.decisions.revision() == before


def test_it_tells_what_other_layers_still_hold(stage: Stage) -> None:
    for partner in ("acme", "bolt", "cato"):
        stage.accept("template_sync", partner=partner, waba=stage.waba)
    for scope in ("queue:template_sync", "partner:acme", f"waba:{stage.waba}"):
        stage.pause(scope)
    stage.resume(f"waba:{stage.waba}")

    told = preview(stage, "queue:template_sync", mode=None)

    assert [(str(pause.scope), number) for pause, number in told.held_besides] == [("partner:acme", 1)]
    assert told.free == 2
    assert any(one.startswith("1 of them stay held: partner:acme is paused by ops") for one in told.sentences)
    stage.pause(f"waba:{stage.waba}")
    assert preview(stage, "queue:template_sync", mode=None).free == 0


def test_a_tenth_of_the_budget_takes_about_ten_times_as_long(stages: Stages) -> None:
    with stages(knobs={"wabas": 60, "app_limit": 100}) as stage:
        for waba in stage.simulator.world.waba_ids:
            stage.accept("template_sync", waba=waba)

        whole, tenth = (preview(stage, "all", mode=None, percent=one).drain for one in (None, 10))

    assert whole.at_best is not None and tenth.at_best is not None
    assert (whole.calls, tenth.calls) == (60, 60)
    assert tenth.at_best > timedelta(hours=5) > whole.at_best


def test_one_waba_with_very_much_takes_as_long_as_its_own_budget(stage: Stage) -> None:
    limit = Limit(f"waba:{stage.app}:{stage.waba}", 10, 3600, "ops", "a test")
    stage.house.controls.set_limit(limit)
    for nth in range(40):
        stage.accept("profile_update", waba=stage.waba, payload=A_PROFILE | {"number": str(10_000 + nth)})

    told = preview(stage, "queue:profile_update").drain

    assert told.bound_by == limit.scope
    assert told.at_best is not None and told.at_best >= timedelta(hours=3)


def test_what_the_rest_of_us_uses_is_a_band_and_not_a_promise(stages: Stages) -> None:
    with stages(knobs={"app_limit": 100}) as stage:
        for nth in range(90):
            stage.accept("profile_update", waba=stage.waba, payload=A_PROFILE | {"number": str(10_000 + nth)})
        for _ in range(60):
            permit = stage.house.gate.admit(
                a_call(app=stage.app, queue="template_create", service_class=ServiceClass.STANDARD)
            )
            assert isinstance(permit, Permit)

        told = preview(stage, "queue:profile_update").drain

    assert told.at_best is not None and told.at_present is not None
    assert told.at_present > 2 * told.at_best
    assert " to " in str(told)


def test_a_gate_that_is_away_is_told_and_the_rest_is_still_there(stage: Stage) -> None:
    stage.accept("template_sync", waba=stage.waba)
    stage.house.__dict__["gate"] = type("Away", (), {"read": _away, "spenders": _away, "forecast": _away})()

    told = preview(stage, "all", mode=PauseMode.DRAIN)

    assert told.operations == 1
    assert told.drain.at_best is None
    assert "nobody can say how long that takes: Redis is away" in told.sentences


def _away(*_: object, **__: object) -> None:
    raise GateUnavailable("Redis is away")
