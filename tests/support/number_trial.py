"""A kind for trials with something that must not happen twice: it registers a phone number.

Each of its reads names the number of its lease as the page size, so that the simulator's account tells which
attempt has made a call.
"""

from typing import Any, Final

from pydantic import BaseModel

from wabajobs.capability import Capability
from wabajobs.kinds import Kind, Step, Work

LOOKS: Final = 3
NAME: Final = "number_trial"


class Wanted(BaseModel, extra="forbid"):
    """What a request says."""

    number: str


def look(work: Work) -> dict[str, Any]:
    """Read a few times, so that there is something to be killed at."""
    looks = work.progress().get("looks", 0)
    while looks < LOOKS:
        work.graph.get(f"{work.operation.waba}/phone_numbers", limit=work.operation.fence)
        looks += 1
        work.keep({"looks": looks})
    return {"looks": looks}


def register(work: Work) -> dict[str, Any]:
    """Register the number; what an earlier attempt may have done is looked up before it is done again."""
    number = work.operation.payload["number"]
    if work.progress() and work.graph.get(number, fields="status")["status"] == "CONNECTED":
        return {"found": True}
    work.keep({"begun": True})
    work.graph.post(f"{number}/register", messaging_product="whatsapp", pin="123456")
    return {"found": False}


KIND: Final = Kind(
    name=NAME,
    summary="register a number, for a trial",
    payload=Wanted,
    steps=(
        Step(name="look", run=look, capability=Capability.PHONE_NUMBERS),
        Step(name="register", run=register, capability=Capability.PHONE_NUMBERS),
    ),
)
