"""`number_migration`: the move of a number with its templates, and the dry run of it."""

from collections.abc import Mapping
from typing import Any

from tests.kinds.cases import Case, case
from tests.kinds.owner import PIN, answer, destination, does, number_as_it_is, phone_number
from tests.support.stage import Stage
from wabajobs.operation import Operation
from wabajobs.simulator.world import accounts


def _to_move(stage: Stage) -> Mapping[str, Any]:
    does(stage, "two_step_off")
    payload = {"phone_number": phone_number(stage), "pin": PIN}
    return {"waba": destination(stage), "payload": payload}


def _within_a_business(stage: Stage) -> Mapping[str, Any]:
    """The app is not subscribed yet, and the templates are copied page by page."""
    asked, world = _to_move(stage), stage.simulator.world
    leaves, comes = world.change(world.waba(stage.waba)), world.change(world.waba(destination(stage)))
    comes.business_id = leaves.business_id
    accounts.unsubscribe(world, comes, stage.simulator.app)
    return {**asked, "payload": {**asked["payload"], "source_waba": stage.waba, "templates": True}}


def _to_be_checked(stage: Stage) -> Mapping[str, Any]:
    payload = {
        "phone_number": phone_number(stage),
        "check_only": True,
        "source_waba": stage.waba,
        "source_number": stage.number,
    }
    return {"waba": destination(stage), "payload": payload}


def _moved(stage: Stage, operation: Operation) -> Any:
    world = stage.simulator.world
    arrived = sorted((one.name, one.language) for one in world.listed(world.waba(operation.waba or "")))
    left = world.waba(stage.waba).numbers[0].moved_away
    return number_as_it_is(stage, operation), arrived, left, sorted(world.waba(operation.waba or "").subscribed)


case(
    Case(
        name="number_migration: moved",
        kind="number_migration",
        prepare=_to_move,
        state=_moved,
        give=answer(),
    )
)
case(
    Case(
        name="number_migration: within a business",
        kind="number_migration",
        prepare=_within_a_business,
        state=_moved,
        give=answer(),
    )
)
case(Case(name="number_migration: checked", kind="number_migration", prepare=_to_be_checked))
