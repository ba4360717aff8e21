"""The control plane under /_simulator/: what tests and operators may see and change over HTTP.

It needs no token, is not counted and not recorded; the server listens on loopback only.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Literal
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wabajobs.simulator.calls import Reply
from wabajobs.simulator.clock import Clock, HandClock
from wabajobs.simulator.config import sentence
from wabajobs.simulator.faults import FaultRule, Faults
from wabajobs.simulator.judge import CallRecord, Judge
from wabajobs.simulator.limits import Limits
from wabajobs.simulator.templates import Template
from wabajobs.simulator.world import World

PREFIX = "/_simulator/"


class ControlError(Exception):
    """An input that the control plane cannot use; its text is the sentence for the caller."""

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class _Input(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CallsInput(_Input):
    """Query of GET calls."""

    after: int = Field(default=0, ge=0)
    limit: int = Field(default=1000, ge=1, le=100_000)


class TemplatesQuery(_Input):
    """Query of GET templates."""

    waba: str


class LimitsInput(BaseModel):
    """Body of POST limits; the other knobs are checked by the limits themselves."""

    model_config = ConfigDict(extra="allow")

    app: str | None = None
    app_limit: int | None = Field(default=None, ge=1)
    waba: str | None = None
    waba_limit: int | None = Field(default=None, ge=1)


class OthersInput(_Input):
    """Body of POST others."""

    app: str | None = None
    calls: int | None = Field(default=None, ge=1, le=100_000_000)
    per_second: float | None = Field(default=None, ge=0, le=100_000, allow_inf_nan=False)


class TemplatesInput(_Input):
    """Body of POST templates."""

    action: Literal["add", "remove", "set_status"]
    waba: str
    id: str | None = None
    name: str | None = None
    language: str = "en_US"
    status: str | None = None
    category: str = "UTILITY"
    components: list[dict[str, Any]] | None = None


class ResetInput(_Input):
    """Body of POST reset: what is cleared besides the log."""

    limits: bool = False
    faults: bool = False


class ClockInput(_Input):
    """Body of POST clock."""

    advance: float = Field(ge=0, allow_inf_nan=False)


class Control:
    """Answers the control plane's requests."""

    def __init__(self, *, world: World, limits: Limits, faults: Faults, judge: Judge, clock: Clock) -> None:
        self._world = world
        self._limits = limits
        self._faults = faults
        self._judge = judge
        self._clock = clock
        self._table: dict[tuple[str, str], Callable[[dict[str, Any]], Any]] = {
            ("GET", "report"): self._report,
            ("GET", "calls"): self._calls,
            ("GET", "world"): self._show_world,
            ("GET", "templates"): self._show_templates,
            ("POST", "templates"): self._change_templates,
            ("GET", "faults"): lambda _: {"faults": self._faults.listed()},
            ("POST", "faults"): self._add_fault,
            ("DELETE", "faults"): self._clear_faults,
            ("GET", "limits"): lambda _: self._limits.settings(),
            ("POST", "limits"): self._change_limits,
            ("POST", "others"): self._others,
            ("POST", "reset"): self._reset,
            ("POST", "clock"): self._advance,
        }

    def handle(self, *, method: str, path: str, query: str, body: bytes) -> Reply:
        """The answer to one request; `path` begins with the prefix."""
        try:
            return _json(200, self._answer(method, path.removeprefix(PREFIX), query, body))
        except ControlError as error:
            return _json(error.status, {"error": str(error)})
        except ValidationError as error:
            return _json(400, {"error": sentence(error)})
        except (ValueError, OverflowError) as error:
            return _json(400, {"error": str(error)})

    def _answer(self, method: str, name: str, query: str, body: bytes) -> Any:
        if method == "DELETE" and name.startswith("faults/"):
            return self._remove_fault(name.removeprefix("faults/"))
        action = self._table.get((method, name))
        if action is None:
            known = ", ".join(f"{verb} {noun}" for verb, noun in self._table)
            raise ControlError(f"the control plane knows no {method} {name}; it knows {known}", status=404)
        return action(dict(parse_qsl(query)) if method == "GET" else _object(body))

    def _report(self, _: dict[str, Any]) -> dict[str, Any]:
        usage = {app.id: self._limits.app_usage(app.id) for app in self._world.apps}
        return self._judge.report() | {
            "time": self._clock.now(),
            "apps": {
                app_id: {"calls_in_window": one.calls, "limit": one.limit, "percent": one.percent}
                for app_id, one in usage.items()
            },
        }

    def _calls(self, query: dict[str, Any]) -> dict[str, Any]:
        asked = CallsInput.model_validate(query)
        calls = self._judge.calls(after=asked.after, limit=asked.limit)
        return {
            "calls": [_record(call) for call in calls],
            "last_seq": calls[-1].seq if calls else asked.after,
        }

    def _show_world(self, _: dict[str, Any]) -> dict[str, Any]:
        world = self._world
        return {
            "apps": [
                {
                    "id": app.id,
                    "secret": app.secret,
                    "token": app.token,
                    "limit": self._limits.app_limit(app.id),
                }
                for app in world.apps
            ],
            "wabas": [
                {
                    "id": waba.id,
                    "active": waba.active,
                    "limit": self._limits.waba_limit(waba),
                    "numbers": [number.id for number in waba.numbers],
                    "templates": waba.templates_at_first if waba.templates is None else len(waba.templates),
                }
                for waba in map(world.waba, world.waba_ids)
            ],
        }

    def _show_templates(self, query: dict[str, Any]) -> dict[str, Any]:
        waba = self._known_waba(TemplatesQuery.model_validate(query).waba)
        return {"templates": [_shown(template) for template in self._world.templates(waba)]}

    def _change_templates(self, body: dict[str, Any]) -> dict[str, Any]:
        asked = TemplatesInput.model_validate(body)
        waba = self._known_waba(asked.waba)
        if asked.action == "add":
            if not asked.name:
                raise ControlError("add needs a name")
            template = self._world.add_template(
                waba,
                name=asked.name,
                language=asked.language,
                status=asked.status or "APPROVED",
                category=asked.category,
                components=asked.components,
            )
            return _shown(template)
        if not asked.id:
            raise ControlError(f"{asked.action} needs the id of a template")
        try:
            if asked.action == "remove":
                return _shown(self._world.remove_template(waba, asked.id))
            if not asked.status:
                raise ControlError("set_status needs a status")
            return _shown(self._world.set_status(waba, asked.id, asked.status))
        except KeyError as error:
            raise ControlError(f"WABA {waba} has no template {asked.id}") from error

    def _add_fault(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"id": self._faults.add(FaultRule.model_validate(body))}

    def _clear_faults(self, _: dict[str, Any]) -> dict[str, Any]:
        self._faults.clear()
        return {"faults": []}

    def _remove_fault(self, name: str) -> dict[str, Any]:
        try:
            self._faults.remove(name)
        except KeyError as error:
            raise ControlError(f"there is no fault {name}") from error
        return {"faults": self._faults.listed()}

    def _change_limits(self, body: dict[str, Any]) -> dict[str, Any]:
        asked = LimitsInput.model_validate(body)
        app = self._known_app(asked.app) if asked.app is not None else None
        if app and asked.app_limit is None:
            raise ControlError("app needs an app_limit")
        if asked.waba is not None:
            self._limits.set_waba_limit(self._known_waba(asked.waba), asked.waba_limit)
        self._limits.set(**(asked.model_extra or {}))
        if asked.app_limit is not None:
            self._limits.set_app_limit(asked.app_limit, app=app)
        return self._limits.settings()

    def _others(self, body: dict[str, Any]) -> dict[str, Any]:
        asked = OthersInput.model_validate(body)
        app = self._known_app(asked.app) if asked.app is not None else self._world.apps[0].id
        if asked.calls is None and asked.per_second is None:
            raise ControlError("others need calls or per_second")
        if asked.calls is not None:
            self._limits.add_others(app, asked.calls)
        if asked.per_second is not None:
            self._limits.set_others_rate(app, asked.per_second)
        usage = self._limits.app_usage(app)
        return {"app": app, "calls_in_window": usage.calls, "limit": usage.limit, "percent": usage.percent}

    def _reset(self, body: dict[str, Any]) -> dict[str, Any]:
        asked = ResetInput.model_validate(body)
        self._judge.clear()
        if asked.limits:
            self._limits.forget()
        if asked.faults:
            self._faults.clear()
        return {"reset": True}

    def _advance(self, body: dict[str, Any]) -> dict[str, Any]:
        asked = ClockInput.model_validate(body)
        if not isinstance(self._clock, HandClock):
            raise ControlError("this simulator runs by the real clock, which nobody moves")
        self._clock.advance(asked.advance)
        return {"time": self._clock.now()}

    def _known_app(self, app_id: str) -> str:
        if app_id not in {app.id for app in self._world.apps}:
            raise ControlError(f"there is no app {app_id}")
        return app_id

    def _known_waba(self, waba_id: str) -> str:
        if self._world.kind_of(waba_id) != "waba":
            raise ControlError(f"there is no WABA {waba_id}")
        return waba_id


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


def _record(call: CallRecord) -> dict[str, Any]:
    return {**call._asdict(), "refused": call.refused}


def _shown(template: Template) -> dict[str, Any]:
    return {
        "id": template.id,
        "name": template.name,
        "language": template.language,
        "status": template.status,
        "category": template.category,
    }


def _json(status: int, value: Any) -> Reply:
    return Reply(status=status, body=json.dumps(value).encode())
