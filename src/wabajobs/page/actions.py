"""What can be decided on the page: a request becomes one of the decisions of `Controls`."""

import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final, TypeVar

from wabajobs.controls import Decided
from wabajobs.decisions import AtEnd, PauseMode, Scope
from wabajobs.errors import InvalidRequest, NotFound
from wabajobs.seeing.status import pause_json
from wabajobs.wiring import House

Choice = TypeVar("Choice", bound=StrEnum)
Act = Callable[[House], dict[str, Any]]

PREVIEWED: Final = ("scope", "mode", "percent")
_LONGEST: Final = 2_000
"""Characters of a reason or a notice."""
_LONGEST_NAME: Final = 120
_SHORTEST_REASON: Final = 3
_LIFT: Final = "lift"


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

    def number(self, name: str) -> int | None:
        """Return a whole number; None when there is none."""
        value = self._fields.get(name)
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 1 << 31
        ):
            raise InvalidRequest(f"{name}: a whole number above 0")
        return value

    def needed(self, name: str) -> int:
        """Return a whole number that has to be there."""
        value = self.number(name)
        if value is None:
            raise InvalidRequest(f"say which {name}, by its number")
        return value

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
    scope = Scope.of(text)
    if len(scope.name) > _LONGEST_NAME:
        raise InvalidRequest(f"{scope.type}: a name of at most {_LONGEST_NAME} characters")
    return scope


def preview(house: House, wanted: Mapping[str, str | None]) -> dict[str, Any]:
    """Return what a pause in a mode would touch, or, with the mode `lift`, its end."""
    scope = _known(house, scope_of(wanted.get("scope")))
    mode = None if wanted.get("mode") == _LIFT else _chosen(PauseMode, wanted.get("mode"), PauseMode.HOLD)
    percent = wanted.get("percent")
    if percent and not percent.isdecimal():
        raise InvalidRequest("percent: a whole number")
    return house.forecast.preview(scope, mode=mode, percent=int(percent) if percent else None).as_json()


def _known(house: House, scope: Scope) -> Scope:
    if scope.queue and scope.queue not in house.kinds.names:
        raise InvalidRequest(f"there is no queue {scope.queue!r}; there are: {', '.join(house.kinds.names)}")
    return scope


def _chosen(of: type[Choice], value: str | None, default: Choice) -> Choice:
    if value is None:
        return default
    if value not in set(of):
        raise InvalidRequest(f"there is no {value!r}; there are: {', '.join(of)}")
    return of(value)


def _pause(wish: Wish, actor: str) -> Act:
    scope = wish.scope
    wanted: dict[str, Any] = {
        "reason": wish.reason,
        "actor": actor,
        "lasting": wish.lasting,
        "notice": wish.text("notice"),
        "mode": _chosen(PauseMode, wish.text("mode"), PauseMode.HOLD),
        "percent": wish.number("percent") or 0,
        "at_end": _chosen(AtEnd, wish.text("at_end"), AtEnd.RAMP),
        "incident": wish.number("incident"),
    }

    def act(house: House) -> dict[str, Any]:
        decided = house.controls.pause(_known(house, scope), **wanted)
        stands = " No further call of it starts anywhere." if decided.pauses[0].stands_still else ""
        return _told(decided, f"{decided.pauses[0]}.{stands}")

    return act


def _resume(wish: Wish, actor: str) -> Act:
    scope, reason, percent = wish.scope, wish.reason, wish.number("percent")

    def act(house: House) -> dict[str, Any]:
        decided = house.controls.resume(scope, reason=reason, actor=actor, percent=percent)
        return _told(decided, f"{scope} goes on{decided.pace}.")

    return act


def _open(wish: Wish, actor: str) -> Act:
    reason, app = wish.reason, wish.text("app")

    def act(house: House) -> dict[str, Any]:
        incident = house.incidents.open(reason=reason, actor=actor, app=app)
        return {"sentence": f"Incident {incident.id} is open."}

    return act


def _note(wish: Wish, actor: str) -> Act:
    incident, text = wish.needed("incident"), wish.reason

    def act(house: House) -> dict[str, Any]:
        house.incidents.note(incident, text, actor=actor)
        return {"sentence": f"It stands in the diary of incident {incident}."}

    return act


def _close(wish: Wish, actor: str) -> Act:
    incident, reason = wish.needed("incident"), wish.reason

    def act(house: House) -> dict[str, Any]:
        house.incidents.close(incident, reason=reason, actor=actor)
        return {"sentence": f"Incident {incident} is closed."}

    return act


def _told(decided: Decided, sentence: str) -> dict[str, Any]:
    if told := decided.not_in_force:
        sentence = f"{told[0].upper()}{told[1:]}."
    elif decided.still_going:
        sentence += f" {decided.still_going}"
    return {
        "sentence": sentence,
        "in_force": decided.in_force,
        "still_calling": decided.still_calling,
        "pauses": [pause_json(pause) for pause in decided.pauses],
    }


_ACTIONS: Final[dict[str, Callable[[Wish, str], Act]]] = {
    "pause": _pause,
    "resume": _resume,
    "open": _open,
    "note": _note,
    "close": _close,
}
