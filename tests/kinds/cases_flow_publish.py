"""`flow_publish`: a flow is made in one call or as a clone; one that is there is changed, deprecated, deleted."""

import json
from collections.abc import Callable
from typing import Any, Final

from tests.kinds.cases import Case, case
from tests.support.stage import Stage
from wabajobs.operation import Operation
from wabajobs.simulator.world import Flow, flows

SCREEN: Final[dict[str, Any]] = {
    "id": "WELCOME",
    "title": "Welcome",
    "terminal": True,
    "layout": {
        "type": "SingleColumnLayout",
        "children": [
            {"type": "TextHeading", "text": "Grüße"},
            {"type": "Footer", "label": "Done", "on-click-action": {"name": "complete", "payload": {}}},
        ],
    },
}
GOOD: Final[dict[str, Any]] = {"version": "7.0", "screens": [SCREEN]}
BETTER: Final[dict[str, Any]] = {"version": "7.0", "screens": [{**SCREEN, "title": "Come in"}]}
NEW: Final[dict[str, Any]] = {"name": "survey", "categories": ["SURVEY"]}


def a_flow(stage: Stage, *, published: bool = False, name: str = "old survey") -> Flow:
    """A flow that is there already, and that no call of ours has made."""
    world = stage.simulator.world
    flow = flows.create(
        world, world.waba(stage.waba), name=name, categories=("SURVEY",), json=json.dumps(GOOD), publish=published
    )
    assert flow.status == ("PUBLISHED" if published else "DRAFT")
    return flow


def as_it_is(stage: Stage, operation: Operation) -> Any:
    """What we know, and all the flows of the WABA. The ids that Meta gives depend on what it did before."""
    world = stage.simulator.world
    told = {name: value for name, value in (operation.result or {}).items() if name != "flow"}
    there = [
        (one.name, one.status, one.json, one.categories) for one in flows.of_waba(world, world.waba(stage.waba))
    ]
    return told, there


def _asked(payload: Callable[[Stage], dict[str, Any]]) -> Callable[[Stage], dict[str, Any]]:
    return lambda stage: {"waba": stage.waba, "payload": payload(stage)}


for name, payload in {
    "a new flow": lambda _: {**NEW, "flow_json": GOOD},
    "a clone": lambda stage: {**NEW, "clone_flow": a_flow(stage).id},
    "a flow that is there": lambda stage: {
        "flow": a_flow(stage, published=True).id,
        "name": "new survey",
        "flow_json": BETTER,
    },
    "a flow is deprecated": lambda stage: {"action": "deprecate", "flow": a_flow(stage, published=True).id},
    "a flow is deleted": lambda stage: {"action": "delete", "flow": a_flow(stage).id},
}.items():
    case(Case(name=f"flow_publish, {name}", kind="flow_publish", prepare=_asked(payload), state=as_it_is))
