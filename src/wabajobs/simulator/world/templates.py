"""A message template, and its fields as JSON: one line per field.

Many WABAs have the same shapes of components, so those are made once and written to JSON once.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quote
from random import Random
from typing import Any, ClassVar

from wabajobs.simulator.errors import no_such_field
from wabajobs.simulator.fields import fields_asked

STATUSES = (
    "APPROVED",
    "PENDING",
    "REJECTED",
    "PAUSED",
    "DISABLED",
    "IN_APPEAL",
    "PENDING_DELETION",
    "DELETED",
    "LIMIT_EXCEEDED",
    "ARCHIVED",
)
CATEGORIES = ("AUTHENTICATION", "MARKETING", "UTILITY")

_LANGUAGES = ("en_US", "en_GB", "de", "es", "es_MX", "fr", "it", "pt_BR", "hi", "id", "ar", "tr")
_TOPICS = ("order", "invoice", "welcome", "seasonal", "delivery", "booking", "loyalty", "reminder", "survey")
_TURNS = ("update", "promo", "confirmation", "notice", "offer", "receipt", "followup", "alert")


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """One template in one language, as it is at this moment."""

    kind: ClassVar[str] = "template"
    id: str
    name: str
    language: str
    status: str
    category: str
    components: str
    """Already JSON, because it is read far more often than changed."""
    quality: str = "UNKNOWN"
    quality_date: int = 0
    rejected_reason: str = "NONE"
    last_updated_time: int = 0
    parameter_format: str = "POSITIONAL"
    previous_category: str | None = None


FIELDS: dict[str, Callable[[Template], str | None]] = {
    "id": lambda t: quote(t.id),
    "name": lambda t: quote(t.name),
    "parameter_format": lambda t: quote(t.parameter_format),
    "components": lambda t: t.components,
    "language": lambda t: quote(t.language),
    "status": lambda t: quote(t.status),
    "category": lambda t: quote(t.category),
    "sub_category": lambda _: None,
    "previous_category": lambda t: quote(t.previous_category) if t.previous_category else None,
    "correct_category": lambda _: None,
    "quality_score": lambda t: f'{{"score":{quote(t.quality)},"date":{t.quality_date},"reasons":[]}}',
    "rejected_reason": lambda t: quote(t.rejected_reason),
    "last_updated_time": lambda t: str(t.last_updated_time),
    "health_status": lambda t: (
        f'{{"can_send_message":"{"AVAILABLE" if t.status == "APPROVED" else "BLOCKED"}",'
        f'"entities":[{{"entity_type":"MESSAGE_TEMPLATE","id":{quote(t.id)}}}]}}'
    ),
    "source": lambda _: '"MANUAL"',
    "message_send_ttl_seconds": lambda t: "600" if t.category == "AUTHENTICATION" else "-1",
    "library_template_name": lambda _: None,
    "cta_url_link_tracking_opted_out": lambda _: "false",
    "is_primary_device_delivery_only": lambda _: "false",
    "display_format": lambda _: None,
}
"""Every field that may be asked for; one without a value is left out of the answer."""

DEFAULT_FIELDS = (
    "name",
    "parameter_format",
    "components",
    "language",
    "status",
    "category",
    "sub_category",
    "previous_category",
    "id",
)


def render(template: Template, fields: tuple[str, ...]) -> str:
    """The template as JSON, with these fields and always its id, as the Graph does for every node."""
    parts = []
    for field in fields:
        value = FIELDS[field](template)
        if value is not None:
            parts.append(f'"{field}":{value}')
    return "{" + ",".join(parts) + "}"


@lru_cache(maxsize=256)
def names_asked(text: str | None) -> tuple[str, ...]:
    """The names in a `fields` parameter, each once, in its order; the usual ones when none are named."""
    fields = fields_asked(text)
    for field in fields:
        if field.name not in FIELDS:
            raise no_such_field(field.name, "WhatsAppMessageTemplate")
    return tuple(dict.fromkeys([*(field.name for field in fields), "id"])) if fields else DEFAULT_FIELDS


def components_of(text: str, *, header: str, footer: str | None, buttons: int) -> list[dict[str, Any]]:
    """Components with a text or media header, a body with one variable, and what else is asked for."""
    parts: list[dict[str, Any]] = []
    if header == "TEXT":
        parts.append({"type": "HEADER", "format": "TEXT", "text": "A message from us"})
    elif header:
        handle = f"https://scontent.whatsapp.net/v/t61/{header.lower()}?ccb=1-7"
        parts.append({"type": "HEADER", "format": header, "example": {"header_handle": [handle]}})
    parts.append({"type": "BODY", "text": text, "example": {"body_text": [["Ann"]]}})
    if footer:
        parts.append({"type": "FOOTER", "text": footer})
    offered: list[dict[str, Any]] = [
        {
            "type": "URL",
            "text": "Shop",
            "url": "https://shop.example/{{1}}",
            "example": ["https://shop.example/a"],
        },
        {"type": "QUICK_REPLY", "text": "Stop"},
        {"type": "PHONE_NUMBER", "text": "Call us", "phone_number": "+15550100"},
    ]
    if buttons:
        parts.append({"type": "BUTTONS", "buttons": offered[:buttons]})
    return parts


_SHAPES = tuple(
    json.dumps(
        components_of(
            f"Hi {{{{1}}}}, this is about your {topic}. Thank you for being with us.",
            header=header,
            footer=footer,
            buttons=buttons,
        ),
        separators=(",", ":"),
    )
    for topic in _TOPICS
    for header, footer, buttons in (
        ("", None, 0),
        ("TEXT", "Reply STOP to opt out", 2),
        ("IMAGE", "Reply STOP to opt out", 1),
        ("DOCUMENT", None, 3),
    )
)


def invent(random: Random, *, id: str, number: int, before: int) -> Template:
    """A plausible template, mostly approved; its number keeps name and language unique in its WABA."""
    topic = random.randrange(len(_TOPICS))
    status = random.choices(("APPROVED", "PENDING", "REJECTED", "PAUSED"), (88, 4, 6, 2))[0]
    updated = before - random.randrange(365 * 86_400)
    return Template(
        id=id,
        name=f"{_TOPICS[topic]}_{random.choice(_TURNS)}_{number:04d}",
        language=random.choice(_LANGUAGES),
        status=status,
        category=random.choices(CATEGORIES, (5, 45, 50))[0],
        components=_SHAPES[topic * 4 + random.randrange(4)],
        quality=random.choices(("GREEN", "YELLOW", "RED", "UNKNOWN"), (70, 8, 2, 20))[0],
        quality_date=updated,
        rejected_reason="INVALID_FORMAT" if status == "REJECTED" else "NONE",
        last_updated_time=updated,
    )


_SLOTS = 100_000
_SCATTER = 7919
_FIRST = 10**15


def template_id(index: int, number: int) -> str:
    """The id of the template with this number in the WABA with this index.

    Scattered, unique in the world, and computable before the WABA's templates are made.
    """
    return str(_FIRST + (index * _SLOTS + number) * _SCATTER)


def index_in(object_id: str) -> int | None:
    """The index of the WABA that a template's id belongs to; nothing when it is no template's id."""
    if not (object_id.isdecimal() and object_id.isascii() and 16 <= len(object_id) < 24):
        return None
    place, rest = divmod(int(object_id) - _FIRST, _SCATTER)
    return None if rest else place // _SLOTS
