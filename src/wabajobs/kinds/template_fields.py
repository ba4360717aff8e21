"""What the payloads of creating and editing a template have in common, and how their calls are made of them."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel, Field

from wabajobs.kinds import template_rules as rules


class Options(BaseModel, extra="forbid"):
    """What a template may have besides its components."""

    message_send_ttl_seconds: int | None = None
    """How long delivery of a message is tried, in seconds; -1 stands for 30 days."""
    sub_category: str | None = Field(default=None, max_length=100, pattern=r"^[A-Z_]+$")
    display_format: str | None = Field(default=None, max_length=100, pattern=r"^[A-Z_]+$")
    cta_url_link_tracking_opted_out: bool | None = None
    is_primary_device_delivery_only: bool | None = None


OPTIONS: Final = tuple(Options.model_fields)
_OURS: Final = frozenset({"template_id", "media"})
"""Fields of a payload that are not Meta's."""


def fields(payload: Mapping[str, Any], *but: str) -> dict[str, Any]:
    """Return the fields of a payload that go to Meta."""
    return {name: value for name, value in payload.items() if name not in _OURS and name not in but}


def options_in(payload: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the options that were asked for."""
    return tuple(name for name in OPTIONS if name in payload)


def mirrored(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a payload tells of a template as Meta reads it back; a file's address only Meta knows."""
    told = {name: payload[name] for name in ("category", "parameter_format", *OPTIONS) if name in payload}
    if "components" in payload:
        told["components"] = [_component(one) for one in payload["components"]]
    return told


def _component(one: Mapping[str, Any]) -> dict[str, Any]:
    seen = {**one, "type": one["type"].upper()}
    if "format" in seen:
        seen["format"] = seen["format"].upper()
        if seen["format"] in rules.MEDIA:
            seen.pop("example", None)
    return seen
