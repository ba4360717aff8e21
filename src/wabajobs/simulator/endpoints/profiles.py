"""The business profile of a number: what customers see of it.

https://developers.facebook.com/docs/whatsapp/cloud-api/reference/business-profiles
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from wabajobs.simulator.calls import parsed_json
from wabajobs.simulator.config import SimulatorConfig
from wabajobs.simulator.errors import GraphError, bad_parameter
from wabajobs.simulator.fields import NodeType, fields_asked
from wabajobs.simulator.inputs import Input, NodeInput, Text
from wabajobs.simulator.routes import Context, Route
from wabajobs.simulator.world import Number, Upload, numbers, uploads

VERTICALS = (
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
"""Kinds of business; the last two are older ones."""

_MOST = {"about": 139, "address": 256, "email": 128}
_WEBSITES_MOST = 2
_WEBSITE_MOST = 256
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_PHOTO_TYPES = ("image/jpeg", "image/png")


def _websites(value: Any) -> Any:
    """A list; also as JSON, as one text, or empty."""
    if isinstance(value, str):
        parsed = parsed_json(value) if value.lstrip().startswith("[") else None
        value = parsed if isinstance(parsed, list) else [value]
    return [one for one in value if one != ""] if isinstance(value, list) else value


class ProfileInput(Input):
    messaging_product: Literal["whatsapp"]
    about: Text | None = Field(default=None, description="At most 139 characters")
    address: Text | None = Field(default=None, description="At most 256 characters")
    description: Text | None = Field(default=None, description="At most 512 characters")
    email: Text | None = Field(default=None, description="At most 128 characters")
    websites: Annotated[list[str], BeforeValidator(_websites)] | None = Field(
        default=None, description="At most 2, each with http:// or https:// and at most 256 characters"
    )
    vertical: Text | None = Field(default=None, description="One of " + ", ".join(VERTICALS))
    profile_picture_handle: Text | None = Field(default=None, description="Handle of an upload of the same app")


def _of(name: str) -> Any:
    return lambda number: number.profile.get(name)


PROFILE = NodeType[Number](
    name="WhatsAppBusinessProfile",
    fields={
        "messaging_product": lambda _: "whatsapp",
        "about": _of("about"),
        "address": _of("address"),
        "description": _of("description"),
        "email": _of("email"),
        "profile_picture_url": _of("profile_picture_url"),
        "websites": _of("websites"),
        "vertical": lambda number: number.profile.get("vertical", "UNDEFINED"),
    },
    defaults=("messaging_product",),
)


def read(context: Context, asked: NodeInput) -> dict[str, Any]:
    """The profile as a list of one; fields that are not set are left out, and without `fields` all are."""
    number = context.seen(Number)
    _check_usable(number)
    shown = PROFILE.render(number, fields_asked(asked.fields))
    return {"data": [shown | {"messaging_product": "whatsapp"}]}


def change(context: Context, asked: ProfileInput) -> dict[str, Any]:
    """Change some fields of the profile; an empty one is taken out."""
    number = context.the(Number)
    _check_usable(number)
    changes = asked.model_dump(exclude_none=True, exclude={"messaging_product", "profile_picture_handle"})
    _check(context.config, changes)
    if "vertical" in changes:
        changes["vertical"] = changes["vertical"].upper()
    if asked.profile_picture_handle is not None:
        photo = uploads.usable(
            context.world, asked.profile_picture_handle, context.app.id, name="profile_picture_handle"
        )
        _check_photo(context.config, photo)
        changes["profile_picture_url"] = _photo_url(photo)
    photo_before = number.profile.get("profile_picture_url")
    if not numbers.set_profile(context.world, number, changes):
        context.remarks.idle = True
        return {"success": True}
    context.effect("profile_updated", number.id, fields=sorted(changes))
    if number.profile.get("profile_picture_url") != photo_before:
        context.effect("photo_set", number.id, handle=asked.profile_picture_handle)
    return {"success": True}


def _check_usable(number: Number) -> None:
    numbers.check_there(number)
    if not number.registered:
        raise numbers.not_registered()


def _check(config: SimulatorConfig, changes: dict[str, Any]) -> None:
    """Refuse what is too long or malformed."""
    for name, most in {**_MOST, "description": config.description_most}.items():
        if len(changes.get(name, "")) > most:
            raise _wrong(config, f"Param {name} must be at most {most} characters long.")
    if changes.get("email") and not _EMAIL.fullmatch(changes["email"]):
        raise _wrong(config, "Param email must be a valid email address.")
    if changes.get("vertical") and changes["vertical"].upper() not in VERTICALS:
        raise _wrong(config, f"Param vertical must be one of {{{', '.join(VERTICALS)}}}.")
    websites = changes.get("websites", [])
    if len(websites) > _WEBSITES_MOST:
        raise _wrong(config, f"Param websites must have at most {_WEBSITES_MOST} entries.")
    for website in websites:
        if not re.match(r"https?://[^\s/]", website, re.IGNORECASE):
            raise _wrong(config, "Param websites must have http:// or https:// before each.")
        if len(website) > _WEBSITE_MOST:
            raise _wrong(config, f"Param websites must have at most {_WEBSITE_MOST} characters each.")


def _check_photo(config: SimulatorConfig, photo: Upload) -> None:
    if not config.photo_checked:
        return
    if photo.content_type not in _PHOTO_TYPES or not photo.file_type.startswith("image/"):
        raise bad_parameter("Param profile_picture_handle must be a JPEG or PNG image.")
    if photo.file_length > config.photo_most:
        raise bad_parameter(f"Param profile_picture_handle must have at most {config.photo_most} bytes.")
    if photo.pixels is None:
        return
    width, height = photo.pixels
    if width != height or width < config.photo_least:
        raise bad_parameter(
            f"Param profile_picture_handle must be a square of at least {config.photo_least} pixels, "
            f"not {width} x {height}."
        )


def _photo_url(photo: Upload) -> str:
    # Made from the content alone, so the same photo again is the same URL.
    seen = hashlib.blake2b(json.dumps([photo.digest, photo.file_length]).encode(), digest_size=16).hexdigest()
    return f"https://pps.whatsapp.net/v/t61.24694-24/{int(seen[:12], 16)}_n.jpg?ccb=11-4&oh={seen}"


def _wrong(config: SimulatorConfig, details: str) -> GraphError:
    if config.profile_refusal_code == 100:
        return bad_parameter(details)
    return GraphError(
        message="(#131009) Parameter value is not valid",
        code=131009,
        data={"messaging_product": "whatsapp", "details": details},
    )


_EITHER = ("whatsapp_business_management", "whatsapp_business_messaging")

ROUTES = (
    Route(
        name="profile.get",
        method="GET",
        path="/{phone}/whatsapp_business_profile",
        handler=read,
        input=NodeInput,
        capability="profile",
        scopes=_EITHER,
    ),
    Route(
        name="profile.change",
        method="POST",
        path="/{phone}/whatsapp_business_profile",
        handler=change,
        input=ProfileInput,
        capability="profile",
        scopes=_EITHER,
    ),
)
