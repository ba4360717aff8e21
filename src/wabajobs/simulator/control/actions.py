"""What the actions of the control plane share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from wabajobs.simulator.world import Number, Waba, World

if TYPE_CHECKING:
    from wabajobs.simulator.server import Simulator

Action = Callable[["Simulator", dict[str, Any]], Any]
"""Gets the simulator and what was sent; returns what JSON can hold."""


class ControlError(Exception):
    """An input that the control plane cannot use; its text is the sentence for the caller."""

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class ControlInput(BaseModel):
    """What is sent to an action."""

    model_config = ConfigDict(extra="forbid")


def known_app(world: World, app_id: str) -> str:
    """The id of an app that exists."""
    if world.app_by_id(app_id) is None:
        raise ControlError(f"there is no app {app_id}")
    return app_id


def known_waba(world: World, waba_id: str) -> Waba:
    """A WABA that exists."""
    node = world.node(waba_id)
    if not isinstance(node, Waba):
        raise ControlError(f"there is no WABA {waba_id}")
    return node


def known_number(world: World, number_id: str) -> Number:
    """A phone number that exists."""
    node = world.node(number_id)
    if not isinstance(node, Number):
        raise ControlError(f"there is no phone number {number_id}")
    return node
