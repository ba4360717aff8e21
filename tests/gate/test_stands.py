"""How people hold breakers, who goes first at a probe, slow calls, and a ceiling that comes back."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.gate.conftest import APP, Door, a_call
from wabajobs.capability import Capability, ServiceClass
from wabajobs.decisions import Decisions, Override, Stand
from wabajobs.gate import Because, Outcome, Permit, Report, Wait

INTERACTIVE, STANDARD, BACKGROUND = ServiceClass


def hold_breaker(door: Door, stand: Stand, *, scope: str = f"app:{APP}", ends_in: float | None = None) -> None:
    now = door.clock.now()
    door.revision += 1
    ends = None if ends_in is None else now + timedelta(seconds=ends_in)
    override = Override(1, scope, stand, "Meta asked us to stop", "ann", now, ends)
    assert door.gate.tell(Decisions(door.revision, (), (), (override,)))


def outage(door: Door, **report: object) -> None:
    door.call(Outcome.APP_LIMIT, code=4, **report)


def test_a_breaker_that_is_held_open_lets_nothing_through_until_a_person_lifts_it(door: Door) -> None:
    hold_breaker(door, Stand.OPEN)

    wait = door.hold()
    assert (wait.because, wait.delay, wait.scope) == (Because.HELD_OPEN, None, f"app:{APP}")
    assert "ann" in str(wait) and "Meta asked us to stop" in str(wait)
    door.later(hours=100)
    assert isinstance(door.ask(), Wait)
    (shown, *_) = door.gate.read(APP).breakers
    assert shown.state == "open" and shown.held and "ann" in shown.held

    door.tell()
    assert isinstance(door.ask(), Permit)


def test_a_breaker_that_is_held_open_has_an_end(door: Door) -> None:
    hold_breaker(door, Stand.OPEN, ends_in=60)
    assert door.hold().delay == timedelta(seconds=60)

    door.later(60)

    assert isinstance(door.ask(), Permit)


def test_no_outcome_lifts_what_a_person_holds(door: Door) -> None:
    permit = door.pass_()
    hold_breaker(door, Stand.OPEN)

    door.gate.settle(permit, Report(outcome=Outcome.OK))

    assert isinstance(door.ask(), Wait)


def test_a_breaker_that_is_held_closed_lets_everything_through_whatever_meta_answers(door: Door) -> None:
    hold_breaker(door, Stand.CLOSED)

    for _ in range(5):
        outage(door)
    (shown, *_) = door.gate.read(APP).breakers
    assert shown.state == "closed" and shown.held

    door.tell()
    assert isinstance(door.ask(), Wait), "what Meta answered meanwhile is not forgotten"


def test_only_the_breaker_that_is_named_is_held(door: Door) -> None:
    hold_breaker(door, Stand.OPEN, scope=f"app:{APP}/uploads")

    door.hold(capability=Capability.UPLOADS)
    door.pass_(capability=Capability.PROFILE)


def test_the_probe_is_made_for_the_first_in_line(door: Door) -> None:
    outage(door)
    line = [a_call(service_class=each) for each in (BACKGROUND, INTERACTIVE, STANDARD)]
    (wait, *_) = door.gate.forecast(line)
    assert wait is not None and wait.delay is not None
    door.clock.advance(wait.delay - timedelta(seconds=0.5))
    door.gate.forecast(line)
    door.clock.advance(timedelta(seconds=0.6))

    answers = [door.ask(each) for each in (BACKGROUND, STANDARD, INTERACTIVE)]

    assert [isinstance(answer, Permit) for answer in answers] == [False, False, True]


def test_a_robot_gives_way_to_a_person_who_asked_a_moment_before(door: Door) -> None:
    outage(door)
    wait = door.hold(service_class=INTERACTIVE)
    assert wait.delay is not None
    door.clock.advance(wait.delay - timedelta(seconds=0.5))
    door.hold(service_class=INTERACTIVE)
    door.clock.advance(timedelta(seconds=0.6))

    behind = door.hold(service_class=BACKGROUND)
    first = door.pass_(service_class=INTERACTIVE)

    assert "goes first" in str(behind)
    assert first.probes == (f"app:{APP}",)


def test_a_write_gives_way_to_a_read_of_the_same_class(door: Door) -> None:
    outage(door)
    wait = door.hold(capability=Capability.TEMPLATE_READS)
    assert wait.delay is not None
    door.clock.advance(wait.delay - timedelta(seconds=0.5))
    door.hold(capability=Capability.TEMPLATE_READS)
    door.clock.advance(timedelta(seconds=0.6))

    door.hold(capability=Capability.TEMPLATE_WRITES)
    assert door.pass_(capability=Capability.TEMPLATE_READS).probes


def test_nobody_waits_long_for_one_who_does_not_come_back(door: Door) -> None:
    outage(door)
    wait = door.hold(service_class=INTERACTIVE)
    assert wait.delay is not None
    door.clock.advance(wait.delay + timedelta(seconds=2.5))

    assert door.pass_(service_class=BACKGROUND).probes == (f"app:{APP}",)


def test_slow_answers_trip_the_breaker_of_their_capability(door_with: Callable[..., Door]) -> None:
    door = door_with(slow_call_seconds=20)
    door.learn()

    for _ in range(19):
        assert door.call(seconds=25.0) == ()
    (change,) = door.call(seconds=25.0)

    assert change.scope == f"app:{APP}/template_reads"
    assert change.state == "open"


def test_after_a_refusal_that_nothing_had_foretold_the_ceiling_comes_back_by_itself(door_with) -> None:
    door = door_with(calls=1000, window_seconds=3600)
    door.learn()
    for _ in range(600):
        door.call()
    outage(door)

    def height() -> float:
        return door.gate.read(APP).windows[0].height

    assert height() == pytest.approx(0.48, abs=0.01)
    door.later(600)
    assert height() == pytest.approx(0.6, abs=0.01)
    door.later(300)
    assert 0.6 < height() < 0.8
    door.later(300)
    assert height() == 1


def test_a_refusal_that_the_header_explains_cuts_nothing(door_with: Callable[..., Door]) -> None:
    door = door_with(calls=1000, window_seconds=3600)
    door.learn()
    outage(door, app_percent=100)

    assert door.gate.read(APP).windows[0].height == 1


def test_a_header_that_agrees_with_our_count_restores_the_ceiling_at_once(door_with: Callable[..., Door]) -> None:
    door = door_with(calls=1000, window_seconds=3600)
    door.learn()
    for _ in range(400):
        door.call()
    outage(door)
    assert door.gate.read(APP).windows[0].height < 1
    door.later(60)

    door.call(app_percent=40)

    assert door.gate.read(APP).windows[0].height == 1


def test_a_gate_to_which_nobody_speaks_lets_nothing_through(door_with) -> None:
    door = door_with(silence_seconds=30)
    door.tell()
    door.call(app_percent=0)
    for _ in range(5):
        door.later(29)
        assert door.gate.told() == door.revision
        door.pass_()

    door.later(31)

    wait = door.hold()
    assert (wait.because, wait.delay) == (Because.GATE, timedelta(seconds=1))
    assert "no dispatcher" in str(wait)
    assert door.gate.told() is None, "it must be told again"
    door.tell()
    assert not door.gate.read(APP).learning, "this Redis has been there all the while"
    door.pass_()


def test_a_redis_that_comes_back_with_an_old_copy_learns_anew(door_with: Callable[..., Door]) -> None:
    door = door_with(silence_seconds=30)
    door.tell()
    door.call(app_percent=0)
    door.client.hset(f"wabajobs:{{{APP}}}:told", "home", "the run in which the copy was made")
    door.later(31)

    assert isinstance(door.ask(), Wait)
    door.tell()

    assert door.gate.read(APP).learning
