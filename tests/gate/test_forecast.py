"""`forecast`: what `admit` would answer, for many calls at once, without taking anything."""

from tests.gate.conftest import APP, Door, Limits, a_call, contents, gate_on, without_places
from wabajobs.capability import Capability, ServiceClass
from wabajobs.decisions import Decisions, Pause, Scope
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

    assert [door.gate.forecast([call]) for call in _KINDS] == [[None]] * 3
    assert door.pass_().probes
    assert all(isinstance(wait, Wait) for wait in door.gate.forecast(_KINDS))


def test_a_probe_is_foretold_to_one_of_those_that_ask_together(door: Door) -> None:
    door.call(Outcome.APP_LIMIT, code=4)
    door.later(door.settings.breaker_cap_seconds * 2)
    first, *others = door.gate.forecast([_KINDS[0], _KINDS[0], *_KINDS])

    assert first is None
    assert {wait.because for wait in others if wait} == {Because.BREAKER}
    assert all("one call is probing it now" in str(wait) for wait in others)


def test_a_forecast_of_a_gate_that_is_learning_waits_for_the_one_that_finds_out(door_with) -> None:
    door = door_with()
    door.tell()
    door.gate.settle(door.pass_(), Report(outcome=Outcome.FAILED))

    assert all(wait and wait.because is Because.GATE for wait in door.gate.forecast(_KINDS))


def test_nothing_asked_is_nothing_answered(door: Door) -> None:
    assert door.gate.forecast([]) == []


def test_hundreds_are_foretold_in_a_few_runs_of_a_function_each_as_if_it_were_alone(door: Door) -> None:
    door.gate.settle(door.pass_(waba="w7"), Report(outcome=Outcome.WABA_LIMIT, code=80008))
    calls = [a_call(waba=f"w{nth}", service_class=ServiceClass.INTERACTIVE) for nth in range(300)]
    door.client.config_resetstat()

    foretold = door.gate.forecast(calls)

    assert door.client.info("commandstats")["cmdstat_fcall"]["calls"] == 5
    assert [nth for nth, wait in enumerate(foretold) if wait] == [7]
    assert foretold[7] == door.hold(waba="w7")


def test_calls_of_several_apps_are_foretold_together(client, clock) -> None:
    gate = gate_on(client, clock=clock, limits={APP: Limits(), "20002": Limits()})
    gate.tell(Decisions(1, (Pause(1, Scope.of("app:20002"), "why", "who", clock.now()),), ()))

    foretold = gate.forecast([a_call(), a_call(app="20002"), a_call(waba="w1")])

    assert [wait and wait.because for wait in foretold] == [None, Because.PAUSE, None]


def test_an_app_that_is_not_configured_waits_for_that_and_is_in_no_other_apps_way(door: Door) -> None:
    stranger, ours = door.gate.forecast([a_call(app="77777"), a_call()])

    assert stranger is not None
    assert (stranger.because, stranger.delay, stranger.scope) == (Because.CONFIGURATION, None, "app:77777")
    assert "app '77777' is not configured" in str(stranger)
    assert ours is None
