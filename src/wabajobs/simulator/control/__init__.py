"""The control plane under /_simulator/: what tests and operators may see and change over HTTP.

It needs no token, is not counted and not recorded; the server listens on loopback only. Each module has the
actions for one part; an action gets the query of a GET, or the JSON object of any other request.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from pydantic import ValidationError

from wabajobs.simulator.calls import Reply
from wabajobs.simulator.config import sentence
from wabajobs.simulator.control import description, flows, judging, levers, numbers, scenario, signups, templates
from wabajobs.simulator.control.actions import Action, ControlError

if TYPE_CHECKING:
    from wabajobs.simulator.server import Simulator

PREFIX = "/_simulator/"

ACTIONS: dict[tuple[str, str], Action] = {
    **description.ACTIONS,
    **flows.ACTIONS,
    **judging.ACTIONS,
    **levers.ACTIONS,
    **numbers.ACTIONS,
    **scenario.ACTIONS,
    **signups.ACTIONS,
    **templates.ACTIONS,
}
"""Every action by its method and its path below the prefix; `*` stands for one more word of the path."""


class Control:
    """Answers the control plane's requests."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    def handle(self, *, method: str, path: str, query: str, body: bytes) -> Reply:
        """The answer to one request; `path` begins with the prefix."""
        try:
            answer = self._answer(method, path.removeprefix(PREFIX), query, body)
            return answer if isinstance(answer, Reply) else _json(200, answer)
        except ControlError as error:
            return _json(error.status, {"error": str(error)})
        except ValidationError as error:
            return _json(400, {"error": sentence(error)})
        except (ValueError, OverflowError) as error:
            return _json(400, {"error": str(error)})

    def knows(self, method: str, name: str) -> bool:
        """Whether there is such an action."""
        return _found(method, name) is not None

    def perform(self, method: str, name: str, body: dict[str, Any]) -> Any:
        """The same as a request with this body; a ValueError says why not."""
        try:
            return self._done(method, name, body)
        except ControlError as error:
            raise ValueError(str(error)) from error
        except ValidationError as error:
            raise ValueError(sentence(error)) from error

    def _answer(self, method: str, name: str, query: str, body: bytes) -> Any:
        given = dict(parse_qsl(query)) if method == "GET" else _object(body)
        with self._simulator.lock:
            # What is due has happened before anybody looks or changes anything.
            self._simulator.agenda.catch_up(self._simulator.clock.now())
            return self._done(method, name, given)

    def _done(self, method: str, name: str, given: dict[str, Any]) -> Any:
        action = _found(method, name)
        if action is None:
            known = ", ".join(f"{verb} {noun}" for verb, noun in ACTIONS)
            raise ControlError(f"the control plane knows no {method} {name}; it knows {known}", status=404)
        _, _, word = name.partition("/")
        return action(self._simulator, {**given, "id": word} if word else given)


def _found(method: str, name: str) -> Action | None:
    noun, _, word = name.partition("/")
    return ACTIONS.get((method, f"{noun}/*" if word else noun))


def _object(body: bytes) -> dict[str, Any]:
    if not body.strip():
        return {}
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ControlError("the body must be a JSON object") from error
    if not isinstance(parsed, dict):
        raise ControlError("the body must be a JSON object")
    return parsed


def _json(status: int, value: Any) -> Reply:
    return Reply(status=status, body=json.dumps(value).encode())
