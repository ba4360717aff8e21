"""`number_registration`: register a phone number for the Cloud API, from its digits or from its id.

*add* brings the number into the WABA, *request_code* lets Meta send a code to its owner, *verify_code* waits for
that code, *register* sets the PIN. Of a number that is in the WABA already, only what is missing is asked for.

Source: developers.facebook.com/docs/whatsapp/solution-providers/registering-phone-numbers.
"""

from typing import Annotated, Any, Final, Self

from pydantic import StringConstraints, model_validator

from wabajobs.capability import Capability, ServiceClass
from wabajobs.kinds import proof
from wabajobs.kinds.inputs import MetaId, PhoneNumber
from wabajobs.kinds.kind import Kind, Payload, PlannedCall, Step
from wabajobs.kinds.work import Work


class Wanted(proof.CodeWanted):
    """Which number, and what is still to be done with it."""

    number: MetaId | None = None
    """Its id, if it is in the WABA already."""
    phone_number: PhoneNumber | None = None
    """Its digits, if it is to be added."""
    verified_name: Annotated[str, StringConstraints(min_length=2, max_length=75)] | None = None
    """Display name of a number that is added: 2 to 75 characters."""
    verify: bool = True
    """False when its owner has proved already that it is his, by Embedded Signup for one."""
    data_localization_region: proof.Region | None = None
    """Where its messages are kept; only to be changed by deregistering it."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.number is None) == (self.phone_number is None):
            raise ValueError("one of number (its id in the WABA) and phone_number (to add it) is needed")
        if (self.verified_name is None) != (self.phone_number is None):
            raise ValueError("a number that is added needs verified_name, and only such a number has it")
        if self.phone_number is not None and not self.verify:
            raise ValueError("a number that is added has to be verified: leave verify out")
        return self


def add(work: Work) -> dict[str, Any]:
    """Add the number to the WABA."""
    return proof.add(work, verified_name=work.operation.payload["verified_name"])


def register(work: Work) -> dict[str, Any]:
    """Register it, and say where its messages are kept."""
    region = work.operation.payload.get("data_localization_region")
    return proof.register(work, **({"data_localization_region": region} if region else {}))


def _is_added(payload: Payload) -> bool:
    return "phone_number" in payload


def _is_to_be_verified(payload: Payload) -> bool:
    return bool(payload["verify"])


KIND: Final = Kind(
    name="number_registration",
    summary="register a phone number",
    payload=Wanted,
    steps=(
        proof.adding(add, when=_is_added, undo="delete the number in the WhatsApp Manager"),
        *proof.steps(_is_to_be_verified),
        Step(
            name="register",
            run=register,
            capability=Capability.PHONE_NUMBERS,
            calls=lambda _: (PlannedCall(method="POST", path="{number}/register"),),
            happens_once=True,
            reads_back=proof.is_registered,
            undo="deregister the number",
            asks=(proof.PIN, proof.DONE),
        ),
    ),
    service_class=ServiceClass.INTERACTIVE,
    touches=proof.lane_of,
)
