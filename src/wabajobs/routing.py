"""Routing: taking operations from one Meta app to another that has access, but never what is bound to its app.

Bound are upload handles, tokens and other secrets that came by way of an app, and a step of which only its app
can say whether it has happened.
"""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from wabajobs import events
from wabajobs.capability import Capability
from wabajobs.clock import Clock
from wabajobs.decisions import require_reason
from wabajobs.errors import InvalidRequest, NotReady
from wabajobs.kinds import Catalogue, Kind
from wabajobs.ledger import Candidate, Ledger, NewOperation, Route
from wabajobs.secret import REFERENCE
from wabajobs.settings import Settings

_BATCH: Final = 200
_SWEEP_SECONDS: Final = 30.0
_HANDLE: Final = re.compile(r"[0-9]+::[A-Za-z0-9+/=]*:")
"""How a handle of Meta's Resumable Upload API begins."""
_UNBOUND: Final = frozenset({"pin"})
"""Secrets that are of a number, whichever app sends them."""


@dataclass
class Sorted:
    """What a route would move, or has moved, and what stays and why."""

    moves: int = 0
    stays: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, Any]:
        """Return the public form."""
        return {"moves": self.moves, "stays": dict(self.stays)}


class Router:
    """Finds out what may go by another app, and lets it."""

    def __init__(
        self,
        ledger: Ledger,
        kinds: Catalogue,
        settings: Settings,
        *,
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Route between the apps of the settings."""
        self._ledger = ledger
        self._kinds = kinds
        self._settings = settings
        self._clock = clock
        self._monotonic = monotonic
        self._sweep: Iterator[Sorted] | None = None
        self._rest_until = 0.0

    # ── what comes ──────────────────────────────────────────────────────────────────────────────────────

    def standing(self) -> list[Route]:
        """Return the routes in force."""
        # With a single app there is nowhere to go: no question then, which everybody would pay for who enqueues.
        return self._ledger.routes.live(now=self._clock.now()) if len(self._settings.apps) > 1 else []

    def routed(self, new: NewOperation, routes: Sequence[Route]) -> NewOperation:
        """Return a request as it is accepted under these routes: by the other app, where it may go by it."""
        for route in routes:
            goes = route.takes(app=new.app, kind=new.kind, partner=new.partner, waba=new.waba)
            if goes and self._bound(new.kind, new.payload, {}, ()) is None:
                return replace(new, app=route.to_app, routed_from=new.app)
        return new

    # ── what waits ──────────────────────────────────────────────────────────────────────────────────────

    def check(self, route: Route) -> None:
        """Raise `InvalidRequest` for a route that cannot be."""
        require_reason(route.reason)
        for app in (route.from_app, route.to_app):
            self._settings.app(app)
        if route.from_app == route.to_app:
            raise InvalidRequest(f"app {route.from_app} is both ends of the route")
        if route.kind and not self._kinds[route.kind].may_change_app:
            raise InvalidRequest(f"a {route.kind} may not change its app: nothing would move")
        for other in self.standing():
            if other.from_app == route.to_app or other.to_app == route.from_app:
                raise InvalidRequest(
                    f"that would lead in circles, or on and on: {other}; lift it first: wabajobs apps unroute"
                    f" {other.id}"
                )

    def preview(self, route: Route) -> Sorted:
        """Count what would move and what stays; nothing is done."""
        told = Sorted()
        for movable, staying in self._batches(route):
            told.moves += len(movable)
            told.stays.update(staying)
        return self._with_those_out(told, route)

    def move(self, route: Route, *, actor: str) -> Iterator[Sorted]:
        """Move what waits and may move, in small transactions; say after each what has come of it so far."""
        told = Sorted()
        for movable, staying in self._batches(route):
            if movable:
                operations = [one.operation for one in movable]
                moved = self._ledger.routes.move(operations, route, actor=actor, now=self._clock.now())
                told.moves += moved
            told.stays.update(staying)
            yield told
        yield self._with_those_out(told, route)

    def keep_up(self) -> None:
        """Take along what has come to rest since, by standing routes; a batch at a time, now and then."""
        if self._monotonic() < self._rest_until:
            return
        try:
            if self._sweep is None:
                self._sweep = self._sweeping()
            if next(self._sweep, None) is None:
                self._sweep, self._rest_until = None, self._monotonic() + _SWEEP_SECONDS
        except NotReady as error:
            events.tell("part_failed", part="routes", why=error)
            self._sweep, self._rest_until = None, self._monotonic() + _SWEEP_SECONDS

    def _sweeping(self) -> Iterator[Sorted]:
        for route in self.standing():
            yield from self.move(route, actor="dispatcher")

    def _batches(self, route: Route) -> Iterator[tuple[list[Candidate], Counter[str]]]:
        after = ""
        while found := self._ledger.routes.candidates(route, after=after, at_most=_BATCH):
            after = found[-1].operation.id
            why = {one.operation.id: self._why_bound(one) for one in found}
            movable = [one for one in found if why[one.operation.id] is None]
            yield movable, Counter(reason for reason in why.values() if reason is not None)

    def _with_those_out(self, told: Sorted, route: Route) -> Sorted:
        if out := self._ledger.routes.under_way(route):
            told.stays["it is at a worker, or on its way to one"] = out
        return told

    def _why_bound(self, one: Candidate) -> str | None:
        operation = one.operation
        return self._bound(operation.kind, operation.payload, operation.checkpoint or {}, one.secrets)

    def _bound(
        self,
        name: str,
        payload: Mapping[str, Any],
        checkpoint: Mapping[str, Any],
        secrets: Sequence[str] | frozenset[str],
    ) -> str | None:
        """Say what binds an operation to its app; None when nothing does."""
        if name not in self._kinds.names:
            return f"there is no kind {name} here"
        kind = self._kinds[name]
        if not kind.may_change_app:
            return f"a {name} may not change its app"
        if begun := next(iter(checkpoint.get("begun", {})), None):
            return f"its step {begun!r} may have happened: by the same app it finds out"
        if _has_uploaded(kind, checkpoint) or _holds_handle(payload) or _holds_handle(checkpoint):
            return "its upload handle is bound to its app"
        if any(secret not in _UNBOUND for secret in (*secrets, *_referred(payload))):
            return "it keeps a secret that may be bound to its app"
        return None


def _has_uploaded(kind: Kind, checkpoint: Mapping[str, Any]) -> bool:
    uploads = {step.name for step in kind.steps if step.capability is Capability.UPLOADS}
    return any(name in uploads for part in ("done", "progress") for name in checkpoint.get(part, {}))


def _holds_handle(value: Any, name: str = "") -> bool:
    if isinstance(value, Mapping):
        return any(_holds_handle(each, str(key)) for key, each in value.items())
    if isinstance(value, list | tuple):
        return any(_holds_handle(each, name) for each in value)
    return isinstance(value, str) and bool(value) and ("handle" in name or _HANDLE.match(value) is not None)


def _referred(payload: Mapping[str, Any]) -> list[str]:
    """Return the fields of a payload that refer to secrets."""
    return [name for name, value in payload.items() if isinstance(value, str) and REFERENCE.fullmatch(value)]
