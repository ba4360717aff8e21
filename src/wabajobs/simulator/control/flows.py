"""Flows, seen with their JSON, and throttled or blocked as Meta's monitoring does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from wabajobs.simulator.calls import Reply
from wabajobs.simulator.control.actions import Action, ControlError, ControlInput, known_waba
from wabajobs.simulator.world import Flow, flows

if TYPE_CHECKING:
    from wabajobs.simulator.server import Simulator


class FlowsQuery(ControlInput):
    """Query of GET flows."""

    waba: str


class FlowsInput(ControlInput):
    """Body of POST flows."""

    id: str
    status: Literal["DRAFT", "PUBLISHED", "DEPRECATED", "THROTTLED", "BLOCKED"]


class JsonQuery(ControlInput):
    """Query of GET flow_json/ID, as it is in the `download_url` of an asset."""

    id: str
    version: str


def show_flows(simulator: Simulator, query: dict[str, Any]) -> dict[str, Any]:
    """GET flows"""
    waba = known_waba(simulator.world, FlowsQuery.model_validate(query).waba)
    return {"flows": [_shown(flow) for flow in flows.of_waba(simulator.world, waba)]}


def set_status(simulator: Simulator, body: dict[str, Any]) -> dict[str, Any]:
    """POST flows"""
    asked = FlowsInput.model_validate(body)
    flow = _known(simulator, asked.id)
    flows.set_status(simulator.world, flow, asked.status)
    return _shown(flow)


def download(simulator: Simulator, query: dict[str, Any]) -> Reply:
    """GET flow_json/ID: what Meta's file servers would serve, which count no calls."""
    asked = JsonQuery.model_validate(query)
    flow = _known(simulator, asked.id)
    if flow.json is None or asked.version != flows.digest(flow):
        raise ControlError("this link has expired", status=404)
    return Reply(body=flow.json.encode("utf-8", "replace"))


def _known(simulator: Simulator, flow_id: str) -> Flow:
    node = simulator.world.node(flow_id)
    if not isinstance(node, Flow):
        raise ControlError(f"there is no flow {flow_id}", status=404)
    return node


def _shown(flow: Flow) -> dict[str, Any]:
    return {
        "id": flow.id,
        "waba": flow.waba_id,
        "name": flow.name,
        "status": flow.status,
        "categories": list(flow.categories),
        "json": flow.json,
        "validation_errors": list(flow.errors),
    }


ACTIONS: dict[tuple[str, str], Action] = {
    ("GET", "flows"): show_flows,
    ("POST", "flows"): set_status,
    ("GET", "flow_json/*"): download,
}
