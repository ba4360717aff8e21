"""`channel_update`: everything at once, and callbacks taken back."""

from collections.abc import Mapping
from typing import Any

from tests.kinds.cases import Case, case
from tests.support.stage import Stage
from wabajobs.operation import Operation
from wabajobs.simulator.world import accounts, numbers

WEBHOOKS = {"callback_asked": False}
"""Nobody listens at the callbacks of these tests."""
CALLBACK = "https://hub.example/webhooks"


def _everything(stage: Stage) -> Mapping[str, Any]:
    payload = {
        "waba_callback": f"{CALLBACK}/waba",
        "waba_settings": {"name": "Boots", "template_auto_archival_enabled": False},
        "number": stage.number,
        "number_callback": f"{CALLBACK}/number",
        "number_settings": {"calling": {"status": "ENABLED"}},
        "pin": "135790",
        "display_name": "Boots and More",
        "verify_token": "a-verify-token",
    }
    return {"waba": stage.waba, "payload": payload}


def _taken_back(stage: Stage) -> Mapping[str, Any]:
    world = stage.simulator.world
    accounts.subscribe(world, world.waba(stage.waba), stage.simulator.app, CALLBACK)
    numbers.set_override(world, world.waba(stage.waba).numbers[0], CALLBACK)
    return {"waba": stage.waba, "payload": {"waba_callback": "", "number": stage.number, "number_callback": ""}}


def as_it_is(stage: Stage, operation: Operation) -> Any:
    """Return what has been set at Meta, and what the operation tells of it."""
    waba = stage.simulator.world.waba(stage.waba)
    [number] = waba.numbers
    set_there = (waba.subscribed, waba.name, waba.settings, number.override, number.settings, number.pin)
    return set_there, number.new_name, operation.result


case(
    Case(
        name="channel_update: everything",
        kind="channel_update",
        prepare=_everything,
        state=as_it_is,
        knobs=WEBHOOKS,
    )
)
case(Case(name="channel_update: taken back", kind="channel_update", prepare=_taken_back, state=as_it_is))
