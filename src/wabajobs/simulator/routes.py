"""The routing table: which endpoint a method and a path mean.

A path is an object's id and an edge of it (`/{waba}/message_templates`), or words of its own
(`/debug_token`). What an id stands for only the world knows, so routes are found by the object's kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from wabajobs.simulator.calls import Call
from wabajobs.simulator.config import SimulatorConfig
from wabajobs.simulator.world import App, World


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a handler knows: the call, who makes it, and the world."""

    call: Call
    app: App
    world: World
    config: SimulatorConfig
    version: str
    """The version that serves the call."""
    base_url: str
    repeat_cursor: bool = False

    @property
    def object_id(self) -> str:
        """The id that the path begins with."""
        return self.call.segments[0]


Handler = Callable[[Context], bytes]
"""Answers with the body of a 200, or raises a GraphError."""


@dataclass(frozen=True, kw_only=True)
class Route:
    """One endpoint."""

    name: str
    method: str
    path: str
    """`/{kind}/edge` for an edge of an object, or plain words."""
    handler: Handler
    per_waba: bool = False
    """Whether it counts against the WABA's limit too."""


class Router:
    """Finds the route of a call."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes: dict[tuple[str, str], Route] = {}
        for route in routes:
            key = (route.method, route.path.strip("/"))
            if key in self._routes:
                raise ValueError(f"two routes for {route.method} {route.path}")
            self._routes[key] = route

    def find(self, call: Call, *, kind: str | None) -> Route | None:
        """The route of a call whose path begins with an object of this kind, or with no object."""
        segments = call.segments
        parts = (f"{{{kind}}}", *segments[1:]) if kind else segments
        return self._routes.get((call.method, "/".join(parts)))
