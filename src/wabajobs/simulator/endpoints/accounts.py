"""A WABA itself, and its phone numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from wabajobs.simulator.errors import no_such_field
from wabajobs.simulator.paging import Page, answer, page_size
from wabajobs.simulator.routes import Context
from wabajobs.simulator.world import Number, Waba

Node = TypeVar("Node")
Fields = dict[str, Callable[[Node], Any]]

WABA_FIELDS: Fields[Waba] = {
    "id": lambda waba: waba.id,
    "name": lambda waba: waba.name,
    "currency": lambda _: "USD",
    "timezone_id": lambda _: "1",
    "country": lambda _: "US",
    "account_review_status": lambda _: "APPROVED",
    "business_verification_status": lambda _: "verified",
    "ownership_type": lambda _: "CLIENT_OWNED",
    "owner_business_info": lambda waba: {"name": waba.name, "id": str(int(waba.id) + 1)},
    "on_behalf_of_business_info": lambda waba: {"name": waba.name, "id": str(int(waba.id) + 1)},
    "primary_funding_id": lambda _: "0",
    "message_template_namespace": lambda waba: f"{int(waba.id):032x}",
    "status": lambda _: "ACTIVE",
    "health_status": lambda waba: {
        "can_send_message": "AVAILABLE",
        "entities": [{"entity_type": "WABA", "id": waba.id, "can_send_message": "AVAILABLE"}],
    },
    "marketing_messages_lite_api_status": lambda _: "INELIGIBLE",
    "whatsapp_business_manager_messaging_limit": lambda _: "TIER_1K",
}
WABA_DEFAULTS = ("id", "name", "currency", "timezone_id", "message_template_namespace")

NUMBER_FIELDS: Fields[Number] = {
    "id": lambda number: number.id,
    "verified_name": lambda number: number.verified_name,
    "display_phone_number": lambda number: number.display,
    "quality_rating": lambda _: "GREEN",
    "code_verification_status": lambda number: "VERIFIED" if number.registered else "NOT_VERIFIED",
    "platform_type": lambda number: "CLOUD_API" if number.registered else "NOT_APPLICABLE",
    "throughput": lambda _: {"level": "STANDARD"},
    "status": lambda number: "CONNECTED" if number.registered else "PENDING",
    "name_status": lambda _: "APPROVED",
    "new_name_status": lambda _: "NONE",
    "is_official_business_account": lambda _: False,
    "is_pin_enabled": lambda number: number.registered,
    "account_mode": lambda _: "LIVE",
    "messaging_limit_tier": lambda _: "TIER_1K",
}
NUMBER_DEFAULTS = (
    "verified_name",
    "code_verification_status",
    "display_phone_number",
    "quality_rating",
    "platform_type",
    "throughput",
    "id",
)


def get_waba(context: Context) -> bytes:
    """GET /{waba}"""
    fields = _asked(context, WABA_FIELDS, WABA_DEFAULTS, node_type="WhatsAppBusinessAccount")
    return json.dumps(_node(context.world.waba(context.object_id), fields)).encode()


def list_numbers(context: Context) -> bytes:
    """GET /{waba}/phone_numbers"""
    fields = _asked(context, NUMBER_FIELDS, NUMBER_DEFAULTS, node_type="WhatsAppBusinessPhoneNumber")
    numbers = context.world.waba(context.object_id).numbers
    page = Page.asked(context, total=len(numbers), size=page_size(context))
    nodes = [_node(number, fields) for number in numbers[page.start : page.stop]]
    return answer(json.dumps(nodes), page.links(context))


def _asked(context: Context, known: Fields[Node], defaults: tuple[str, ...], *, node_type: str) -> Fields[Node]:
    text = context.call.parameters.one("fields") or ""
    names = [part.strip() for part in text.split(",") if part.strip()] or list(defaults)
    for name in names:
        if name not in known:
            raise no_such_field(name, node_type)
    return {name: known[name] for name in dict.fromkeys([*names, "id"])}


def _node(subject: Node, fields: Fields[Node]) -> dict[str, Any]:
    return {name: value(subject) for name, value in fields.items()}
