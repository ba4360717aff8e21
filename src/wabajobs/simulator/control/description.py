"""What the simulator says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wabajobs.simulator.control.actions import Action
from wabajobs.simulator.endpoints import ROUTES
from wabajobs.simulator.openapi import described

if TYPE_CHECKING:
    from wabajobs.simulator.server import Simulator


def describe(simulator: Simulator, _: dict[str, Any]) -> dict[str, Any]:
    """GET openapi.json"""
    return described(ROUTES, simulator.world, url=simulator.url)


ACTIONS: dict[tuple[str, str], Action] = {("GET", "openapi.json"): describe}
