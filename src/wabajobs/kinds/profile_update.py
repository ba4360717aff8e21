"""`profile_update`: change texts of the business profile of a number. What is not named stays as it is.

Cost: one call.
Source: WhatsApp Cloud API, Business profiles.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field, StringConstraints, model_validator

from wabajobs.capability import Capability
from wabajobs.kinds.inputs import MetaId
from wabajobs.kinds.kind import Kind, PlannedCall, Step
from wabajobs.kinds.work import Work

VERTICALS: Final = (
    "OTHER",
    "AUTO",
    "BEAUTY",
    "APPAREL",
    "EDU",
    "ENTERTAIN",
    "EVENT_PLAN",
    "FINANCE",
    "GROCERY",
    "GOVT",
    "HOTEL",
    "HEALTH",
    "NONPROFIT",
    "PROF_SERVICES",
    "RETAIL",
    "TRAVEL",
    "RESTAURANT",
    "ALCOHOL",
    "ONLINE_GAMBLING",
    "PHYSICAL_GAMBLING",
    "OTC_DRUGS",
    "UNDEFINED",
    "NOT_A_BIZ",
)
"""Kinds of business; the last two are older ones that profiles still have."""


_ADDRESS: Final = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


def _email(value: str) -> str:
    if value and not _ADDRESS.fullmatch(value):
        raise ValueError("it must be an e-mail address; an empty one takes it out")
    return value


def _website(value: str) -> str:
    try:
        parts = urlsplit(value)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname or not value.isprintable() or " " in value:
        raise ValueError("it must be an address that begins with https:// or http://")
    return value


def _vertical(value: str) -> str:
    if value.upper() not in VERTICALS:
        raise ValueError(f"it must be one of {', '.join(VERTICALS)}")
    return value.upper()


def _text(*, most: int, least: int = 0) -> StringConstraints:
    # No NUL: neither a database nor Meta takes it.
    return StringConstraints(min_length=least, max_length=most, pattern=r"^[^\x00]*$")


class ProfileUpdate(BaseModel, extra="forbid"):
    """The number and what is to be changed. An empty text takes one out, but `about` must have one.

    Lengths are in characters. Source: Business profiles, reference. On `description` Meta's guides say 512 and
    its OpenAPI file 256: the wider is taken, and Meta may refuse what lies between with code 100 or 131009.
    """

    number: MetaId
    """Id of the phone number."""
    about: Annotated[str, _text(most=139, least=1)] | None = None
    """1 to 139 characters."""
    address: Annotated[str, _text(most=256)] | None = None
    """At most 256 characters."""
    description: Annotated[str, _text(most=512)] | None = None
    """At most 512 characters."""
    email: Annotated[str, _text(most=128), AfterValidator(_email)] | None = None
    """At most 128 characters."""
    websites: (
        Annotated[list[Annotated[str, _text(most=256), AfterValidator(_website)]], Field(max_length=2)] | None
    ) = None
    """At most 2 of at most 256 characters, with https:// or http://; an empty list takes them out."""
    vertical: Annotated[str, AfterValidator(_vertical)] | None = None
    """Kind of business."""

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if all(getattr(self, name) is None for name in FIELDS):
            raise ValueError(f"nothing is to be changed: give one or more of {', '.join(FIELDS)}")
        return self


FIELDS: Final = tuple(name for name in ProfileUpdate.model_fields if name != "number")
"""What can be changed."""


def update(work: Work) -> dict[str, Any]:
    """Change the profile. To do it again changes nothing more."""
    payload = work.operation.payload
    changes = {name: payload[name] for name in FIELDS if name in payload}
    work.graph.post(f"{payload['number']}/whatsapp_business_profile", messaging_product="whatsapp", **changes)
    return {"number": payload["number"], "changed": sorted(changes)}


def _touches(payload: Mapping[str, Any]) -> str:
    return f"profile:{payload['number']}"


KIND: Final = Kind(
    name="profile_update",
    summary="change the business profile of a number",
    payload=ProfileUpdate,
    steps=(
        Step(
            name="update",
            run=update,
            capability=Capability.PROFILE,
            calls=lambda _: (PlannedCall(method="POST", path="{number}/whatsapp_business_profile"),),
        ),
    ),
    touches=_touches,
    may_change_app=True,
)
