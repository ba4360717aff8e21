"""`hosting_change`: bring a phone number from On-Premises to the Cloud API, with the backup of its installation.

The owner needs no code for it. From *register* on, the installation is cut off, so there is no way back; what
comes in within these seconds is lost. *subscribe* lets our app hear of what comes in, and *read_back* makes sure
that the number works from the cloud.

Source: developers.facebook.com/docs/whatsapp/cloud-api/guides/migrating-from-onprem-to-cloud.
"""

import re
from typing import Annotated, Any, Final

from pydantic import BaseModel, SecretStr

from wabajobs.capability import Capability
from wabajobs.errors import GraphError, Transient
from wabajobs.kinds import proof, subscription
from wabajobs.kinds.inputs import MetaId, Pin, secret
from wabajobs.kinds.kind import Kind, PlannedCall, Step
from wabajobs.kinds.work import Work

_TEXT: Final = re.compile(r"[^\x00-\x1f]{1,100000}")


class Wanted(BaseModel, extra="forbid"):
    """Which number, and what its installation has answered to `POST /v1/settings/backup`."""

    number: MetaId
    backup_data: Annotated[SecretStr, secret(_TEXT.fullmatch, "the text of `settings.data`")]
    """`settings.data` of that answer."""
    backup_password: Annotated[SecretStr, secret(_TEXT.fullmatch, "the password of the backup")]
    """The password that it was made with."""
    pin: Pin | None = None
    """Without one, a person is asked for it."""
    data_localization_region: proof.Region | None = None


def register(work: Work) -> dict[str, Any]:
    """Register the number with the backup, in the place of a code."""
    region = work.operation.payload.get("data_localization_region")
    backup = {"password": work.secret("backup_password"), "data": work.secret("backup_data")}
    try:
        return proof.register(work, backup=backup, **({"data_localization_region": region} if region else {}))
    except GraphError as error:
        if (error.code, error.subcode) != (100, None):
            raise
        raise proof.said(error, "Meta does not take the backup, or its password: make another") from None


def read_back(work: Work) -> dict[str, Any]:
    """Make sure that the number works from the cloud."""
    number = work.operation.payload["number"]
    answer = work.graph.get(number, fields="status,platform_type,is_pin_enabled")
    if answer.get("platform_type") != "CLOUD_API":
        raise Transient(
            f"Meta has registered number {number} and still shows it as {answer.get('platform_type')}"
        )
    return {name: answer.get(name) for name in ("status", "platform_type", "is_pin_enabled")}


KIND: Final = Kind(
    name="hosting_change",
    summary="bring a phone number from On-Premises to the Cloud API",
    payload=Wanted,
    steps=(
        Step(
            name="register",
            run=register,
            capability=Capability.PHONE_NUMBERS,
            calls=lambda _: (PlannedCall(method="POST", path="{number}/register"),),
            happens_once=True,
            reads_back=proof.is_registered,
            point_of_no_return=True,
            undo="nothing takes it back: the installation has to be registered anew",
            asks=(proof.PIN, proof.DONE),
        ),
        subscription.step(),
        Step(
            name="read_back",
            run=read_back,
            capability=Capability.PHONE_NUMBERS,
            calls=lambda _: (PlannedCall(method="GET", path="{number}"),),
        ),
    ),
    touches=proof.lane_of,
)
