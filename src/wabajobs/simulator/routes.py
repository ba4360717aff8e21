"""The routing table: which endpoint a method and a path mean, and what its handler gets to know.

A path is an object's id and an edge of it (`/{waba}/message_templates`), or words of its own
(`/debug_token`). What an id stands for only the world knows, so routes are found by the object's kind.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from wabajobs.simulator.calls import Call, Parameters
from wabajobs.simulator.config import SimulatorConfig
from wabajobs.simulator.errors import no_such_object
from wabajobs.simulator.fields import Field
from wabajobs.simulator.inputs import Input, Nothing, checked
from wabajobs.simulator.webhooks import Webhooks
from wabajobs.simulator.world import App, Node, Token, World

T = TypeVar("T", bound=Node)


@dataclass(frozen=True, kw_only=True)
class Later:
    """An answer that needs something from outside first, such as a callback's challenge."""

    wait: Callable[[], Awaitable[Any]]
    """Awaited while other calls go on."""
    then: Callable[[Any], Body]
    """Called with what came of it, at one moment of simulated time again."""


Body = bytes | dict[str, Any]
"""The body of a 200: JSON that is written already, or an object."""
Answer = Body | Later


@dataclass(slots=True)
class Remarks:
    """What a handler has to say of a call besides its answer."""

    extra: float = 0.0
    """It took so many calls' worth of time and CPU time more."""
    idle: bool = False
    """It wanted something that was so already."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a handler knows: the call, who makes it, and the world."""

    call: Call
    parameters: Parameters
    app: App
    token: Token | None
    """Nothing where an endpoint needs none."""
    node: Node | None
    """The object that the path begins with, if it begins with one."""
    world: World
    config: SimulatorConfig
    """The knobs as they are at this moment."""
    version: str
    """The version that serves the call."""
    base_url: str
    effect: Callable[..., None]
    """`effect(kind, subject, **details)`: what the call has done, for the judge."""
    router: Router
    webhooks: Webhooks
    as_of: float | None = None
    """A stale read: the world as it was at this simulated second."""
    repeat_cursor: bool = False
    remarks: Remarks = field(default_factory=Remarks)

    def the(self, kind: type[T]) -> T:
        """The object that the path begins with, as it is now; for an endpoint of that kind of object."""
        if not isinstance(self.node, kind):
            raise no_such_object(self.call.method, self.call.segments[0])
        return self.node

    def seen(self, kind: type[T]) -> T:
        """The same for reading: as it was, if reads are stale."""
        return self.world.seen(self.the(kind), self.as_of)

    def at(self, node: Node) -> Context:
        """The same for another object: one of a list."""
        path = f"/{self.version}/{node.id}"
        return replace(self, node=node, call=replace(self.call, path=path, query=""))

    def expand(self, asked: Field) -> Any:
        """An edge of the node, for field expansion; KeyError when there is none. An empty list is nothing."""
        kind = self.node.kind if self.node else ""
        route = self.router.table[("GET", f"{{{kind}}}/{asked.name}")]
        self.remarks.extra += 1
        parameters = Parameters.of({**dict(asked.modifiers), "fields": asked.below_text or None})
        within = replace(
            self,
            parameters=parameters,
            call=replace(self.call, path=f"/{self.version}/{self.call.segments[0]}/{asked.name}", query=""),
        )
        answer = route.handler(within, checked(route.input, parameters))
        parsed = json.loads(answer) if isinstance(answer, bytes) else answer
        return None if isinstance(parsed, dict) and parsed.get("data") == [] else parsed


Handler = Callable[[Context, Any], Answer]
"""Answers a call with the checked parameters, or raises a GraphError."""


@dataclass(frozen=True, kw_only=True)
class Route:
    """One endpoint."""

    name: str
    method: str
    path: str
    """`/{kind}/edge` for an edge of an object, or plain words."""
    handler: Handler
    input: type[Input] = Nothing
    """Its parameters."""
    capability: str
    """The part of the API that it belongs to, for the judge."""
    charges: Literal["app", "waba", "credit"] = "app"
    """The narrowest limit that it counts against, besides the app's."""
    scopes: tuple[str, ...] = ("whatsapp_business_management",)
    """The token needs one of these."""
    client: bool = False
    """Whether the app is named by `client_id`, and no token is needed."""
    admin: bool = False
    """Whether a system user may call it for a WABA to which it is not assigned yet."""
    app_token: bool = False
    """Whether the token must be the app's own, and no user's."""
    tagged: bool = False
    """Whether answers have an ETag."""
    header_only: bool = False
    """Whether the token must come in the Authorization header."""
    sends: Literal["form", "multipart", "binary"] = "form"
    """What its body is, for the description in OpenAPI."""

    @property
    def kind(self) -> str | None:
        """The kind of object that its path begins with, if it begins with one."""
        first = self.path.split("/")[1]
        return first[1:-1] if first.startswith("{") else None


class Router:
    """Finds the route of a call."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.table: dict[tuple[str, str], Route] = {}
        """By method, and path without its first slash."""
        for route in routes:
            key = (route.method, route.path.strip("/"))
            if key in self.table:
                raise ValueError(f"two routes for {route.method} {route.path}")
            self.table[key] = route

    def find(self, call: Call, *, kind: str | None) -> Route | None:
        """The route of a call whose path begins with an object of this kind, or with no object."""
        return self.table.get((call.method, _key(call, kind)))

    def edges(self, kind: str) -> list[str]:
        """The lists that may be read, or expanded, of an object of this kind."""
        start = f"{{{kind}}}/"
        return [
            path.removeprefix(start) for method, path in self.table if method == "GET" and path.startswith(start)
        ]


def _key(call: Call, kind: str | None) -> str:
    segments = call.segments
    return "/".join((f"{{{kind}}}", *segments[1:])) if kind else "/".join(segments)
