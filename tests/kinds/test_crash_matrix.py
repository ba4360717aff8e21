"""Whatever happens to an operation of any kind, it ends as the undisturbed one does, and nothing happens twice.

Each case runs undisturbed once. Then, in a world of its own each time, its worker is killed at every point of
every call, the answer of every call is lost, and every call finds the way shut: by a pause, a breaker, a spent
budget.
"""

import pkgutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from importlib import import_module
from typing import Any

import pytest

import tests.kinds
from tests.kinds.cases import CASES, Case
from tests.support.stage import Arrived, Crash, Point, Stage, differs
from wabajobs.kinds import catalogue
from wabajobs.operation import Operation, State
from wabajobs.outcome import Hold

for module in pkgutil.iter_modules(tests.kinds.__path__, "tests.kinds."):
    if module.name.startswith("tests.kinds.cases_"):
        import_module(module.name)

Stages = Callable[..., AbstractContextManager[Stage]]


@dataclass(frozen=True)
class Undisturbed:
    """How a case goes when nothing happens to it."""

    calls: list[Arrived]
    recordings: int
    ended: State
    state: Any
    once: list[tuple[str, str]]
    differs: str


_undisturbed: dict[str, Undisturbed] = {}


def set_up(case: Case, stages: Stages) -> AbstractContextManager[Stage]:
    return stages(knobs=case.knobs, settings=case.settings)


def once(case: Case, stage: Stage) -> list[tuple[str, str]]:
    return [one for one in stage.once_effects() if one[0] not in case.brought]


def undisturbed(case: Case, stages: Stages) -> Undisturbed:
    """Run a case, once for all tests."""
    if case.name not in _undisturbed:
        with set_up(case, stages) as stage:
            operation = stage.accept(case.kind, **case.prepare(stage))
            done = stage.work(operation, case.give)
            calls = stage.calls(operation)
            _undisturbed[case.name] = Undisturbed(
                calls=calls,
                recordings=stage.recordings(operation),
                ended=done.state,
                state=case.state(stage, done),
                once=once(case, stage),
                differs=differs(stage.house.kinds[case.kind].calls(operation.payload), calls, operation),
            )
            assert stage.duplicates() == []
    return _undisturbed[case.name]


def ends_the_same(
    case: Case, stages: Stages, disturb: Callable[[Stage, Operation], Operation], what: object
) -> list[Arrived]:
    """Disturb a case in a world of its own; return the calls that were made."""
    expected = undisturbed(case, stages)
    with set_up(case, stages) as stage:
        operation = stage.accept(case.kind, **case.prepare(stage))
        done = disturb(stage, operation)
        told = f"{case.name}, {what}; calls: {', '.join(map(str, stage.calls(operation)))}"
        assert stage.duplicates() == [], told
        assert done.state is expected.ended, f"{told}; {done.as_json()}"
        assert case.state(stage, done) == expected.state, told
        assert once(case, stage) == expected.once, told
        return stage.calls(operation)


each_case = pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))


def test_every_kind_has_a_case() -> None:
    assert {case.kind for case in CASES.values()} >= set(catalogue().names)


@each_case
def test_an_undisturbed_run_makes_exactly_the_planned_calls(case: Case, stages: Stages) -> None:
    run = undisturbed(case, stages)

    assert run.ended is State.SUCCEEDED
    assert run.calls
    assert not run.differs, run.differs


def killed(case: Case, crash: Crash, stages: Stages) -> None:
    ends_the_same(case, stages, lambda stage, one: stage.work(one, case.give, crash=crash), crash)


@each_case
@pytest.mark.parametrize("point", [Point.BEFORE, Point.UNHEARD, Point.ANSWERED], ids=lambda one: one.name.lower())
def test_a_worker_that_is_killed_at_any_call(case: Case, point: Point, stages: Stages) -> None:
    for number in range(1, len(undisturbed(case, stages).calls) + 1):
        killed(case, Crash(number, point), stages)


def test_a_call_that_may_still_be_on_its_way_is_not_looked_for(stages: Stages) -> None:
    case = CASES["template_create, a handle"]
    created = 1 + next(
        number for number, call in enumerate(undisturbed(case, stages).calls) if "message_templates" in call.path
    )
    with set_up(case, stages) as stage:
        operation = stage.accept(case.kind, **case.prepare(stage))
        stage.attempt(operation, Crash(created, Point.UNHEARD))
        left = stage.clock.now()
        before = len(stage.calls(operation))

        held = stage.attempt(operation)

        assert isinstance(held, Hold)
        assert (held.by, held.until) == ("in_flight", left + timedelta(seconds=40))
        assert len(stage.calls(operation)) == before, "nothing is asked meanwhile"
        done = stage.work(operation)
        assert (done.state, done.attempts) == (State.SUCCEEDED, 2), "to wait spends no attempt"
        assert stage.duplicates() == []


@each_case
def test_a_worker_that_is_killed_before_it_records_how_its_attempt_ended(case: Case, stages: Stages) -> None:
    for number in range(1, undisturbed(case, stages).recordings + 1):
        killed(case, Crash(number, Point.RECORDED), stages)


@each_case
def test_an_answer_that_is_lost(case: Case, stages: Stages) -> None:
    for number in range(1, len(undisturbed(case, stages).calls) + 1):
        lose = partial(lambda stage, one, number: stage.work(one, case.give, lose=number), number=number)
        ends_the_same(case, stages, lose, f"answer {number} is lost")


def _paused(stage: Stage, _operation: Operation) -> Callable[[], None]:
    stage.pause("all")
    return partial(stage.resume, "all")


def _broken(stage: Stage, operation: Operation) -> Callable[[], None]:
    capability = stage.get(operation).capability
    stage.break_(capability)
    return partial(stage.mend, capability)


def _spent(stage: Stage, _operation: Operation) -> Callable[[], None]:
    stage.spend()
    return stage.earn


@each_case
@pytest.mark.parametrize("shut", [_paused, _broken, _spent], ids=["paused", "broken", "spent"])
def test_who_finds_the_way_shut_waits_and_goes_on_where_it_was(
    case: Case, shut: Callable[[Stage, Operation], Callable[[], None]], stages: Stages
) -> None:
    expected = undisturbed(case, stages)

    def disturb(stage: Stage, operation: Operation, *, number: int) -> Operation:
        opened: list[Callable[[], None]] = []
        stage.before(number, lambda: opened.append(shut(stage, operation)))
        while not opened:
            if (now := stage.get(operation)).needs is not None:
                case.give(now, stage)
            stage.attempt(operation)
        held = stage.get(operation)
        assert held.state is State.HELD, held.as_json()
        assert held.hold is not None
        assert held.hold.by in ("pause", "held_open", "budget")
        assert len(stage.calls(operation)) == number - 1
        opened[0]()
        return stage.work(operation, case.give)

    for number in range(1, len(expected.calls) + 1):
        calls = ends_the_same(
            case, stages, partial(disturb, number=number), f"the way is shut before call {number}"
        )
        assert [(one.method, one.path) for one in calls] == [(one.method, one.path) for one in expected.calls]
