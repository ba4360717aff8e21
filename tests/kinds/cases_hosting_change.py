"""`hosting_change`: a number of an installation goes to the cloud, with its backup."""

from collections.abc import Mapping
from typing import Any

from tests.kinds.cases import Case, case
from tests.kinds.owner import PIN, does, number_as_it_is
from tests.support.stage import Stage

PASSWORD = "correct horse"


def on_premises(stage: Stage, **more: str) -> Mapping[str, Any]:
    """Let the number be On-Premises, without two-step verification, and its installation make a backup."""
    does(stage, "on_premises")
    does(stage, "two_step_off")
    data = does(stage, "back_up", value=PASSWORD)["settings"]["data"]
    payload = {"number": stage.number, "backup_data": data, "backup_password": PASSWORD, "pin": PIN, **more}
    return {"waba": stage.waba, "payload": payload}


case(
    Case(name="hosting_change", kind="hosting_change", prepare=on_premises, state=number_as_it_is),
)
