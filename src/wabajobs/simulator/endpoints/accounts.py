"""A WABA itself, and its phone numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wabajobs.simulator.fields import NodeType
from wabajobs.simulator.inputs import ListInput, NodeInput
from wabajobs.simulator.reading import edge_read, node_read
from wabajobs.simulator.routes import Context, Route
from wabajobs.simulator.world import Number, Waba


def _health(entity: str, object_id: str, *, available: bool) -> dict[str, Any]:
    word = "AVAILABLE" if available else "BLOCKED"
    return {
        "can_send_message": word,
        "entities": [{"entity_type": entity, "id": object_id, "can_send_message": word}],
    }


WABA = NodeType[Waba](
    name="WhatsAppBusinessAccount",
    fields={
        "id": lambda waba: waba.id,
        "name": lambda waba: waba.name,
        "currency": lambda waba: waba.currency,
        "timezone_id": lambda waba: waba.timezone_id,
        "country": lambda waba: waba.country,
        "account_review_status": lambda waba: waba.review,
        "business_verification_status": lambda _: "verified",
        "ownership_type": lambda _: "CLIENT_OWNED",
        "owner_business_info": lambda waba: {"name": waba.name, "id": waba.business_id},
        "on_behalf_of_business_info": lambda waba: {"name": waba.name, "id": waba.business_id},
        "primary_funding_id": lambda waba: waba.funding_id,
        "message_template_namespace": lambda waba: waba.template_namespace,
        "status": lambda _: "ACTIVE",
        "health_status": lambda waba: _health("WABA", waba.id, available=True),
        "marketing_messages_lite_api_status": lambda _: "INELIGIBLE",
        "whatsapp_business_manager_messaging_limit": lambda _: "TIER_1K",
    },
    defaults=("id", "name", "currency", "timezone_id", "message_template_namespace"),
)

PHONE = NodeType[Number](
    name="WhatsAppBusinessPhoneNumber",
    fields={
        "id": lambda number: number.id,
        "verified_name": lambda number: number.verified_name,
        "display_phone_number": lambda number: number.display,
        "quality_rating": lambda number: number.quality,
        "code_verification_status": lambda number: number.code_status,
        "platform_type": lambda number: number.platform,
        "throughput": lambda number: {"level": "STANDARD" if number.registered else "NOT_APPLICABLE"},
        "status": lambda number: "CONNECTED" if number.registered else "PENDING",
        "name_status": lambda number: number.name_status,
        "new_name_status": lambda number: number.new_name_status,
        "is_official_business_account": lambda _: False,
        "is_pin_enabled": lambda number: number.pin is not None,
        "account_mode": lambda _: "LIVE",
        "messaging_limit_tier": lambda _: "TIER_1K",
        "health_status": lambda number: _health("PHONE_NUMBER", number.id, available=number.registered),
    },
    defaults=(
        "verified_name",
        "code_verification_status",
        "display_phone_number",
        "quality_rating",
        "platform_type",
        "throughput",
        "id",
    ),
)


def _numbers(context: Context, _asked: ListInput) -> Sequence[Number]:
    return [number for number in context.seen(Waba).numbers if not number.moved_away]


ROUTES = (
    Route(
        name="waba.get",
        method="GET",
        path="/{waba}",
        handler=node_read(WABA, Waba),
        input=NodeInput,
        capability="onboarding",
        charges="waba",
    ),
    Route(
        name="phone_numbers.list",
        method="GET",
        path="/{waba}/phone_numbers",
        handler=edge_read(PHONE, _numbers, most=100),
        input=ListInput,
        capability="phone_numbers",
        charges="waba",
    ),
    Route(
        name="phone.get",
        method="GET",
        path="/{phone}",
        handler=node_read(PHONE, Number),
        input=NodeInput,
        capability="phone_numbers",
        charges="waba",
        scopes=("whatsapp_business_management", "whatsapp_business_messaging"),
    ),
)
