"""Scenarios: what is played, what comes, and another one from now on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError

from wabajobs.simulator.config import SimulatorConfig, sentence
from wabajobs.simulator.control.actions import Action, ControlError, ControlInput
from wabajobs.simulator.faults import FaultRule
from wabajobs.simulator.scenario import Phase, Scenario

if TYPE_CHECKING:
    from wabajobs.simulator.server import Simulator


class ScenarioInput(ControlInput):
    """Body of POST scenario: the name of one that comes with the package, or what is to happen."""

    name: str | None = Field(default=None, pattern=r"^[a-z0-9-]+$")
    description: str | None = None
    knobs: dict[str, Any] = Field(default_factory=dict)
    faults: tuple[FaultRule, ...] = ()
    phases: tuple[Phase, ...] = ()


def show(simulator: Simulator, _: dict[str, Any]) -> dict[str, Any]:
    """GET scenario"""
    return simulator.player.told(simulator.clock.now())


def play(simulator: Simulator, body: dict[str, Any]) -> dict[str, Any]:
    """POST scenario"""
    try:
        asked = ScenarioInput.model_validate(body)
    except ValidationError as error:
        raise ControlError(sentence(error, body)) from error
    if asked.name is not None:
        scenario = SimulatorConfig.from_toml(asked.name).scenario()
    else:
        scenario = Scenario(
            description=asked.description, knobs=asked.knobs, faults=asked.faults, phases=asked.phases
        )
    if not scenario.all_phases():
        raise ControlError("a scenario needs a name, phases, faults or knobs")
    return {"id": simulator.play(scenario)} | show(simulator, {})


def stop(simulator: Simulator, _: dict[str, Any]) -> dict[str, Any]:
    """DELETE scenario"""
    simulator.player.stop(at=simulator.clock.now())
    return show(simulator, {})


ACTIONS: dict[tuple[str, str], Action] = {
    ("GET", "scenario"): show,
    ("POST", "scenario"): play,
    ("DELETE", "scenario"): stop,
}
