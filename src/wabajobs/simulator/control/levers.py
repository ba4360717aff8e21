"""The levers that only Meta has: limits, faults, other clients of an app, webhooks, the clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from wabajobs.simulator.clock import HandClock
from wabajobs.simulator.control.actions import Action, ControlError, ControlInput, known_app, known_waba
from wabajobs.simulator.faults import FaultRule
from wabajobs.simulator.limits import Setting

if TYPE_CHECKING:
    from wabajobs.simulator.server import Simulator


class LimitsInput(BaseModel):
    """Body of POST limits; the other knobs are checked by the limits themselves."""

    model_config = ConfigDict(extra="allow")

    app: str | None = None
    app_limit: int | None = Field(default=None, ge=1)
    waba: str | None = None
    waba_limit: int | None = Field(default=None, ge=1)


class OthersInput(ControlInput):
    """Body of POST others."""

    app: str | None = None
    calls: int | None = Field(default=None, ge=1, le=100_000_000)
    per_second: float | None = Field(default=None, ge=0, le=100_000, allow_inf_nan=False)


class ResetInput(ControlInput):
    """Body of POST reset: what is cleared besides the log."""

    limits: bool = False
    faults: bool = False


class ClockInput(ControlInput):
    """Body of POST clock."""

    advance: float = Field(ge=0, allow_inf_nan=False)


class FaultInput(ControlInput):
    """DELETE faults/ID."""

    id: str


class WebhooksQuery(ControlInput):
    """Query of GET webhooks."""

    after: int = Field(default=0, ge=0)
    topic: str | None = None


class WebhooksInput(ControlInput):
    """Body of POST webhooks: the callback of one app or of every app, for all topics; without a URL nothing is
    delivered."""

    url: str | None = Field(default=None, pattern=r"^https?://")
    app: str | None = None


def show_world(simulator: Simulator, _: dict[str, Any]) -> dict[str, Any]:
    """GET world"""
    world, limits = simulator.world, simulator.limits
    return {
        "apps": [
            {
                "id": app.id,
                "secret": app.secret,
                "token": app.token,
                "system_user": app.system_user_id,
                "limit": limits.app_limit(app.id),
            }
            for app in world.apps
        ],
        "business": world.business.id,
        "credit": world.credit.id,
        "wabas": [
            {
                "id": waba.id,
                "business": waba.business_id,
                "active": waba.active,
                "limit": limits.waba_limit(waba),
                "numbers": [number.id for number in waba.numbers],
                "templates": waba.templates_at_first if waba.templates is None else len(waba.templates),
            }
            for waba in world
        ],
    }


def show_faults(simulator: Simulator, _: dict[str, Any]) -> dict[str, Any]:
    """GET faults"""
    return {"faults": simulator.faults.listed()}


def add_fault(simulator: Simulator, body: dict[str, Any]) -> dict[str, Any]:
    """POST faults"""
    return {"id": simulator.faults.add(FaultRule.model_validate(body))}


def clear_faults(simulator: Simulator, _: dict[str, Any]) -> dict[str, Any]:
    """DELETE faults"""
    simulator.faults.clear()
    return {"faults": []}


def remove_fault(simulator: Simulator, body: dict[str, Any]) -> dict[str, Any]:
    """DELETE faults/ID"""
    name = FaultInput.model_validate(body).id
    try:
        simulator.faults.remove(name)
    except KeyError as error:
        raise ControlError(f"there is no fault {name}") from error
    return {"faults": simulator.faults.listed()}


def show_limits(simulator: Simulator, _: dict[str, Any]) -> dict[str, Any]:
    """GET limits"""
    return simulator.limits.settings()


def change_limits(simulator: Simulator, body: dict[str, Any]) -> dict[str, Any]:
    """POST limits"""
    asked = LimitsInput.model_validate(body)
    app = known_app(simulator.world, asked.app) if asked.app is not None else None
    if app and asked.app_limit is None:
        raise ControlError("app needs an app_limit")
    if asked.waba is None and asked.waba_limit is not None:
        raise ControlError("waba_limit needs a waba")
    changes: dict[Setting, Any] = {(name, ""): value for name, value in (asked.model_extra or {}).items()}
    if asked.waba is not None:
        changes["waba_limit", known_waba(simulator.world, asked.waba).id] = asked.waba_limit
    if asked.app_limit is not None:
        changes["app_limit", app or ""] = asked.app_limit
    # All of it or nothing.
    simulator.limits.change(changes)
    return simulator.limits.settings()


def others(simulator: Simulator, body: dict[str, Any]) -> dict[str, Any]:
    """POST others"""
    asked = OthersInput.model_validate(body)
    app = known_app(simulator.world, asked.app) if asked.app is not None else simulator.world.apps[0].id
    if asked.calls is None and asked.per_second is None:
        raise ControlError("others need calls or per_second")
    if asked.calls is not None:
        simulator.limits.add_others(app, asked.calls)
    if asked.per_second is not None:
        simulator.limits.set_others_rate(app, asked.per_second)
    usage = simulator.limits.app_usage(app)
    return {"app": app, "calls_in_window": usage.calls, "limit": usage.limit, "percent": usage.percent}


def show_webhooks(simulator: Simulator, query: dict[str, Any]) -> dict[str, Any]:
    """GET webhooks"""
    asked = WebhooksQuery.model_validate(query)
    names = ("seq", "time", "app", "waba", "topic", "value", "tries", "statuses", "delivered", "repeats")
    sent = simulator.webhooks.sent(topic=asked.topic, after=asked.after)
    return {"webhooks": [{name: getattr(one, name) for name in names} for one in sent]}


def set_webhooks(simulator: Simulator, body: dict[str, Any]) -> dict[str, Any]:
    """POST webhooks"""
    asked = WebhooksInput.model_validate(body)
    app = known_app(simulator.world, asked.app) if asked.app is not None else None
    simulator.webhooks.set_url(asked.url, app=app)
    return {"url": asked.url, "app": app}


def reset(simulator: Simulator, body: dict[str, Any]) -> dict[str, Any]:
    """POST reset"""
    asked = ResetInput.model_validate(body)
    simulator.judge.clear()
    if asked.limits:
        simulator.limits.forget()
    if asked.faults:
        simulator.faults.clear()
    return {"reset": True}


def advance(simulator: Simulator, body: dict[str, Any]) -> dict[str, Any]:
    """POST clock"""
    asked = ClockInput.model_validate(body)
    if not isinstance(simulator.clock, HandClock):
        raise ControlError("this simulator runs by the real clock, which nobody moves")
    simulator.advance(asked.advance)
    return {"time": simulator.clock.now()}


ACTIONS: dict[tuple[str, str], Action] = {
    ("GET", "world"): show_world,
    ("GET", "faults"): show_faults,
    ("POST", "faults"): add_fault,
    ("DELETE", "faults"): clear_faults,
    ("DELETE", "faults/*"): remove_fault,
    ("GET", "limits"): show_limits,
    ("POST", "limits"): change_limits,
    ("POST", "others"): others,
    ("GET", "webhooks"): show_webhooks,
    ("POST", "webhooks"): set_webhooks,
    ("POST", "reset"): reset,
    ("POST", "clock"): advance,
}
