"""`forecast`: what `admit` would answer, for many calls at once, without taking anything."""

from tests.gate.conftest import Door, a_call, contents, without_places
from wabajobs.capability import Capability, ServiceClass
from wabajobs.gate import Because, Outcome, Permit, Report
from wabajobs.gate.calls import Wait

_KINDS = (
    a_call(service_class=ServiceClass.INTERACTIVE),
    a_call(service_class=ServiceClass.BACKGROUND, waba="w1"),
    a_call(service_class=ServiceClass.INTERACTIVE, capability=Capability.UPLOADS),
)


def test_a_forecast_answers_as_admit_would_and_takes_nothing(door_with) -> None:
    door = door_with(calls=200)
    door.learn()
    door.take(service_class=ServiceClass.BACKGROUND)
    permit = door.pass_(capability=Capability.UPLOADS)
    door.gate.settle(permit, Report(outcome=Outcome.CAPABILITY_LIMIT, code=613))
    before = without_places(contents(door.client))

    foretold = door.gate.forecast(_KINDS)

    assert without_places(contents(door.client)) == before
    assert foretold[0] is None
    assert [wait.because for wait in foretold[1:] if wait] == [Because.BUDGET, Because.BREAKER]
    assert foretold[1:] == [door.gate.admit(call) for call in _KINDS[1:]]
    assert isinstance(door.gate.admit(_KINDS[0]), Permit)


def test_a_forecast_takes_no_probe(door: Door) -> None:
    door.call(Outcome.APP_LIMIT, code=4)
    door.later(door.settings.breaker_cap_seconds * 2)

    assert door.gate.forecast(_KINDS) == [None] * 3
    assert door.pass_().probes
    assert all(isinstance(wait, Wait) for wait in door.gate.forecast(_KINDS))


def test_a_forecast_of_a_gate_that_is_learning_waits_for_the_one_that_finds_out(door_with) -> None:
    door = door_with()
    door.tell()
    door.gate.settle(door.pass_(), Report(outcome=Outcome.FAILED))

    assert all(wait and wait.because is Because.GATE for wait in door.gate.forecast(_KINDS))


def test_nothing_asked_is_nothing_answered(door: Door) -> None:
    assert door.gate.forecast([]) == []
