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
from wabajobs.simulator.fields import Field, fields_asked, trimmed

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
QUALITIES = ("GREEN", "YELLOW", "RED", "UNKNOWN")
SOURCES = ("MANUAL", "AUTO_GENERATED")

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
    correct_category: str | None = None
    """The category that it is about to get, or should have had."""
    sub_category: str | None = None
    source: str = "MANUAL"
    library_template_name: str | None = None
    message_send_ttl_seconds: int | None = None
    cta_url_link_tracking_opted_out: bool = False
    is_primary_device_delivery_only: bool = False
    display_format: str | None = None
    turn: int = 0
    """Counts the turns of its life; what was planned in an earlier one does not happen any more."""
    pauses: int = 0
    """How often its quality has paused it."""
    pause: str | None = None
    """Why it is paused, as the webhook's title says it, such as `FIRST_PAUSE`."""
    paused_at: float = 0.0
    """Simulated second."""
    before_archive: str | None = None
    """The status that it gets back when it leaves the archive."""
    edits: tuple[float, ...] = ()
    """Simulated seconds of its edits while it was approved, for their quota."""
    writes: tuple[float, ...] = ()
    """Simulated seconds of the calls that change it, for their limit."""


_BLOCKED = {
    "PAUSED": (132015, "Template is paused due to low quality"),
    "DISABLED": (132016, "Template is disabled due to low quality"),
}


def _health(template: Template) -> str:
    entity: dict[str, Any] = {"entity_type": "MESSAGE_TEMPLATE", "id": template.id}
    entity["can_send_message"] = "AVAILABLE" if template.status == "APPROVED" else "BLOCKED"
    if template.status != "APPROVED":
        code, description = _BLOCKED.get(template.status, (132001, "Template is not approved"))
        entity["errors"] = [
            {
                "error_code": code,
                "error_description": description,
                "possible_solution": "Use another template, or edit this one.",
            }
        ]
    return json.dumps({"can_send_message": entity["can_send_message"], "entities": [entity]})


def _optional(value: str | None) -> str | None:
    return None if value is None else quote(value)


def _ttl(template: Template) -> str:
    if template.message_send_ttl_seconds is not None:
        return str(template.message_send_ttl_seconds)
    return "600" if template.category == "AUTHENTICATION" else "-1"


Renderer = Callable[[Template], str | None]
"""A field's value as JSON; nothing leaves the field out."""


FIELDS: dict[str, Renderer] = {
    "id": lambda t: quote(t.id),
    "name": lambda t: quote(t.name),
    "parameter_format": lambda t: quote(t.parameter_format),
    "components": lambda t: t.components,
    "language": lambda t: quote(t.language),
    "status": lambda t: quote(t.status),
    "category": lambda t: quote(t.category),
    "sub_category": lambda t: _optional(t.sub_category),
    "previous_category": lambda t: _optional(t.previous_category),
    "correct_category": lambda t: _optional(t.correct_category),
    "quality_score": lambda t: f'{{"score":{quote(t.quality)},"date":{t.quality_date},"reasons":[]}}',
    "rejected_reason": lambda t: quote(t.rejected_reason),
    "last_updated_time": lambda t: str(t.last_updated_time),
    "health_status": _health,
    "source": lambda t: quote(t.source),
    "message_send_ttl_seconds": _ttl,
    "library_template_name": lambda t: _optional(t.library_template_name),
    "cta_url_link_tracking_opted_out": lambda t: "true" if t.cta_url_link_tracking_opted_out else "false",
    "is_primary_device_delivery_only": lambda t: "true" if t.is_primary_device_delivery_only else "false",
    "display_format": lambda t: _optional(t.display_format),
    "degrees_of_freedom_spec": lambda _: None,
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


Plan = tuple[tuple[str, Renderer], ...]
"""The fields of an answer: each name as JSON with its colon, and its value."""


def render(template: Template, plan: Plan) -> str:
    """The template as JSON, with the fields of a plan."""
    return "{" + ",".join([name + value for name, of in plan if (value := of(template)) is not None]) + "}"


@lru_cache(maxsize=256)
def planned(text: str | None) -> Plan:
    """The fields of a `fields` parameter, each once, in its order, and always the id; or the usual ones."""
    asked = fields_asked(text) or tuple(Field(name) for name in DEFAULT_FIELDS)
    for field in asked:
        if field.name not in FIELDS:
            raise no_such_field(field.name, "WhatsAppMessageTemplate")
    plan = {field.name: _renderer(field) for field in asked}
    plan.setdefault("id", FIELDS["id"])
    return tuple((f'"{name}":', of) for name, of in plan.items())


_OF_QUALITY: dict[str, Renderer] = {
    "score": lambda t: quote(t.quality),
    "date": lambda t: str(t.quality_date),
    "reasons": lambda _: "[]",
}


def _renderer(field: Field) -> Renderer:
    whole = FIELDS[field.name]
    if not field.below:
        return whole
    if field.name == "quality_score":
        # It is asked for in parts all the time, and differs from template to template.
        parts = tuple((f'"{one.name}":', _OF_QUALITY[one.name]) for one in field.below if one.name in _OF_QUALITY)
        return lambda template: render(template, parts)

    @lru_cache(maxsize=1024)
    def cut(value: str) -> str:
        return json.dumps(trimmed(json.loads(value), field.below), separators=(",", ":"))

    def part(template: Template) -> str | None:
        value = whole(template)
        return None if value is None else cut(value)

    return part


@lru_cache(maxsize=4096)
def words_of(components: str) -> str:
    """All that a template says to its reader, in lower case."""
    texts: list[str] = []
    waiting: list[Any] = [json.loads(components)]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting.extend(reversed(one))
        elif isinstance(one, dict):
            texts.append(str(one.get("text") or ""))
            waiting.extend(below for name, below in one.items() if name != "example")
    return "\n".join(texts).lower()


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
        {"type": "PHONE_NUMBER", "text": "Call us", "phone_number": "+15550100"},
        {"type": "QUICK_REPLY", "text": "Stop"},
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
