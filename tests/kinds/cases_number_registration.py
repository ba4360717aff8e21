"""`number_registration`: a number that is added, one that is there, and one that is verified already."""

from collections.abc import Mapping
from typing import Any

from tests.kinds.cases import Case, case
from tests.kinds.owner import PIN, answer, does, number_as_it_is
from tests.support.stage import Stage

UNREGISTERED = {"inactive_wabas": 2}
"""The world's numbers are neither verified nor registered."""


def _to_be_added(stage: Stage) -> Mapping[str, Any]:
    payload = {"phone_number": "+4930123456", "verified_name": "Shop 7", "pin": PIN}
    return {"waba": stage.waba, "payload": payload}


def _in_the_waba(stage: Stage) -> Mapping[str, Any]:
    return {"waba": stage.waba, "payload": {"number": stage.number, "code_method": "VOICE", "pin": PIN}}


def _verified(stage: Stage) -> Mapping[str, Any]:
    does(stage, "verify")
    payload = {"number": stage.number, "pin": PIN, "verify": False, "data_localization_region": "DE"}
    return {"waba": stage.waba, "payload": payload}


case(
    Case(
        name="number_registration: added",
        kind="number_registration",
        prepare=_to_be_added,
        state=number_as_it_is,
        give=answer(),
    )
)
case(
    Case(
        name="number_registration: there",
        kind="number_registration",
        prepare=_in_the_waba,
        state=number_as_it_is,
        give=answer(),
        knobs=UNREGISTERED,
    )
)
case(
    Case(
        name="number_registration: verified",
        kind="number_registration",
        prepare=_verified,
        state=number_as_it_is,
        knobs=UNREGISTERED,
    )
)
