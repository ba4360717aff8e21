"""What the judge knows: the report, the calls one by one, their effects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from wabajobs.simulator.control.actions import Action, ControlInput, known_app
from wabajobs.simulator.judge import CallRecord
from wabajobs.simulator.world import numbers

if TYPE_CHECKING:
    from wabajobs.simulator.server import Simulator


class CallsInput(ControlInput):
    """Query of GET calls."""

    after: int = Field(default=0, ge=0)
    limit: int = Field(default=1000, ge=1, le=100_000)


class WindowsInput(ControlInput):
    """Query of GET windows."""

    app: str | None = None


class EffectsInput(CallsInput):
    """Query of GET effects."""

    kind: str | None = None


def report(simulator: Simulator, _: dict[str, Any]) -> dict[str, Any]:
    """GET report"""
    usage = {app.id: simulator.limits.app_usage(app.id) for app in simulator.world.apps}
    return simulator.judge.report() | {
        "time": simulator.clock.now(),
        "locked_numbers": numbers.locked(simulator.world),
        "apps": {
            app_id: {"calls_in_window": one.calls, "limit": one.limit, "percent": one.percent}
            for app_id, one in usage.items()
        },
    }


def windows(simulator: Simulator, query: dict[str, Any]) -> dict[str, Any]:
    """GET windows"""
    asked = WindowsInput.model_validate(query)
    now = simulator.clock.now()
    ids = [known_app(simulator.world, asked.app)] if asked.app else [app.id for app in simulator.world.apps]
    return {
        "time": now,
        "apps": {
            app_id: {
                **simulator.judge.history(app_id, now=now),
                "limit": simulator.limits.app_limit(app_id),
                "calls_in_window": simulator.limits.app_usage(app_id).calls,
            }
            for app_id in ids
        },
    }


def calls(simulator: Simulator, query: dict[str, Any]) -> dict[str, Any]:
    """GET calls"""
    asked = CallsInput.model_validate(query)
    found = simulator.judge.calls(after=asked.after, limit=asked.limit)
    return {
        "calls": [_record(call) for call in found],
        "last_seq": found[-1].seq if found else asked.after,
    }


def effects(simulator: Simulator, query: dict[str, Any]) -> dict[str, Any]:
    """GET effects"""
    asked = EffectsInput.model_validate(query)
    found = simulator.judge.effects.all(kind=asked.kind, after=asked.after, limit=asked.limit)
    return {"effects": [one._asdict() for one in found], "last_seq": found[-1].seq if found else asked.after}


def _record(call: CallRecord) -> dict[str, Any]:
    return {**call._asdict(), "refused": call.refused}


ACTIONS: dict[tuple[str, str], Action] = {
    ("GET", "report"): report,
    ("GET", "windows"): windows,
    ("GET", "calls"): calls,
    ("GET", "effects"): effects,
}
