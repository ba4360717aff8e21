"""What can be decided on the page: a request becomes one of the decisions of `Controls`."""

import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final

from wabajobs.controls import Decided
from wabajobs.decisions import Scope, ScopeType
from wabajobs.errors import InvalidRequest, NotFound
from wabajobs.status import pause_json
from wabajobs.wiring import House

Act = Callable[[House], dict[str, Any]]

PREVIEWED: Final = ("scope", "mode", "percent")
_LONGEST: Final = 2_000
"""Characters of a reason or a notice."""
_SHORTEST_REASON: Final = 3


def named(name: str, body: bytes, *, actor: str) -> Act:
    """Return the decision of that name, made of a JSON body. Raises `NotFound`, `InvalidRequest`."""
    make = _ACTIONS.get(name)
    if make is None:
        raise NotFound(f"there is no action {name!r}")
    return make(Wish.read(body), actor)


class Wish:
    """What a page has sent: its fields, checked one by one."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        """Hold these fields."""
        self._fields = fields

    @classmethod
    def read(cls, body: bytes) -> "Wish":
        """Read a body. Raises `InvalidRequest`."""
        try:
            fields = json.loads(body)
        except ValueError:
            fields = None
        if not isinstance(fields, dict):
            raise InvalidRequest("send a JSON object")
        return cls(fields)

    def text(self, name: str) -> str | None:
        """Return a text without the blanks around it; None when there is nothing in it."""
        value = self._fields.get(name)
        if value is None:
            return None
        if not isinstance(value, str) or len(value) > _LONGEST:
            raise InvalidRequest(f"{name}: a text of at most {_LONGEST} characters")
        return value.strip() or None

    @property
    def reason(self) -> str:
        """Why."""
        reason = self.text("reason") or ""
        if len(reason) < _SHORTEST_REASON:
            raise InvalidRequest("say why: whoever reads it at 3 a.m. will be grateful")
        return reason

    @property
    def scope(self) -> Scope:
        """What it is about."""
        return scope_of(self.text("scope"))

    @property
    def lasting(self) -> timedelta | None:
        """How long; None: until somebody lifts it."""
        seconds = self._fields.get("for_seconds")
        if seconds is None:
            return None
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= 366 * 86400:
            raise InvalidRequest("for_seconds: a number of seconds, at most a year of them")
        return timedelta(seconds=seconds)


def scope_of(text: str | None) -> Scope:
    """Read a scope as it is written, `queue:template_sync`. Raises `InvalidRequest`."""
    if not text:
        raise InvalidRequest("say what it is about, for example queue:template_sync")
    return Scope.of(text)


def preview(house: House, wanted: Mapping[str, str | None]) -> dict[str, Any]:
    """Return what a pause would touch."""
    scope = _known(house, scope_of(wanted.get("scope")))
    return {"scope": str(scope)}


def _known(house: House, scope: Scope) -> Scope:
    if scope.type is ScopeType.QUEUE and scope.name not in house.kinds.names:
        raise InvalidRequest(f"there is no queue {scope.name!r}; there are: {', '.join(house.kinds.names)}")
    return scope


def _pause(wish: Wish, actor: str) -> Act:
    scope, reason, lasting, notice = wish.scope, wish.reason, wish.lasting, wish.text("notice")

    def act(house: House) -> dict[str, Any]:
        decided = house.controls.pause(
            _known(house, scope), reason=reason, actor=actor, lasting=lasting, notice=notice
        )
        return _told(decided, f"{scope} is paused. No further call of it starts anywhere.")

    return act


def _resume(wish: Wish, actor: str) -> Act:
    scope, reason = wish.scope, wish.reason

    def act(house: House) -> dict[str, Any]:
        return _told(house.controls.resume(scope, reason=reason, actor=actor), f"{scope} goes on.")

    return act


def _told(decided: Decided, sentence: str) -> dict[str, Any]:
    if not decided.in_force:
        sentence = (
            f"This is recorded, but the gate could not be told ({decided.why_not}). It comes into force by itself"
            " as soon as the gate can be reached; until then the gate lets nothing pass that asks it."
        )
    elif decided.still_calling:
        sentence += f" {decided.still_calling} calls had begun before, and are still on the wire."
    return {
        "sentence": sentence,
        "in_force": decided.in_force,
        "still_calling": decided.still_calling,
        "pauses": [pause_json(pause) for pause in decided.pauses],
    }


_ACTIONS: Final[dict[str, Callable[[Wish, str], Act]]] = {"pause": _pause, "resume": _resume}
