"""Templates for tests: payloads that Meta takes, and what the simulator and the mirror have of them."""

import json
from collections.abc import Mapping
from typing import Any

from tests.support.pictures import picture
from tests.support.stage import Stage

BODY: Mapping[str, Any] = {
    "type": "BODY",
    "text": "Hello {{1}}, your order {{2}} left our shop this morning and is on its way to you.",
    "example": {"body_text": [["Ann", "#12345"]]},
}
TEXT: Mapping[str, Any] = {
    "name": "order_sent",
    "language": "en_US",
    "category": "UTILITY",
    "components": [
        {"type": "HEADER", "format": "TEXT", "text": "News of {{1}}", "example": {"header_text": ["#12345"]}},
        BODY,
        {"type": "FOOTER", "text": "Thank you for being with us"},
        {
            "type": "BUTTONS",
            "buttons": [
                {
                    "type": "URL",
                    "text": "Track it",
                    "url": "https://shop.example/{{1}}",
                    "example": ["https://shop.example/1"],
                },
                {"type": "PHONE_NUMBER", "text": "Call us", "phone_number": "+1 555 0100"},
                {"type": "QUICK_REPLY", "text": "Stop"},
            ],
        },
    ],
}
MEDIA: Mapping[str, Any] = {
    "name": "new_cakes",
    "language": "en_US",
    "category": "MARKETING",
    "media": {"data": picture()},
    "components": [
        {"type": "HEADER", "format": "IMAGE"},
        {"type": "BODY", "text": "Our new cakes are here."},
    ],
}
LIBRARY: Mapping[str, Any] = {
    "name": "our_shipment",
    "language": "en_US",
    "category": "UTILITY",
    "library_template_name": "shipment_confirmation_1",
    "library_template_button_inputs": [
        {
            "type": "URL",
            "url": {
                "base_url": "https://shop.example/track",
                "url_suffix_example": "https://shop.example/track/1",
            },
        }
    ],
}
CODE: list[dict[str, Any]] = [
    {"type": "BODY", "add_security_recommendation": True},
    {"type": "FOOTER", "code_expiration_minutes": 10},
    {"type": "BUTTONS", "buttons": [{"type": "OTP", "otp_type": "COPY_CODE"}]},
]
AUTHENTICATION: Mapping[str, Any] = {
    "name": "sign_in",
    "language": "en_US",
    "category": "AUTHENTICATION",
    "components": CODE,
}
UPSERT: Mapping[str, Any] = {
    "name": "sign_in",
    "languages": ["en_US", "de", "pt_BR"],
    "category": "AUTHENTICATION",
    "components": CODE,
}


def there(stage: Stage, waba: str, name: str, *, language: str = "en_US", **more: Any) -> str:
    """Let there be a template, made behind our back; return its id."""
    return stage.simulator.world.add_template(waba, name=name, language=language, **more).id


def seen(stage: Stage, waba: str) -> list[dict[str, Any]]:
    """Return what Meta has of the WABA's templates; of files only that they are there."""
    world = stage.simulator.world
    return [
        {
            "name": one.name,
            "language": one.language,
            "status": one.status,
            "category": one.category,
            "components": [
                {
                    name: value
                    for name, value in part.items()
                    if part.get("format") != "IMAGE" or name != "example"
                }
                for part in json.loads(one.components)
            ],
            "edits": len(one.edits),
        }
        for one in world.listed(world.waba(waba))
    ]


def mirrored(stage: Stage, waba: str) -> list[dict[str, Any]]:
    """Return what the mirror has of the WABA's templates."""
    names = ("name", "language", "status", "category")
    return [{name: one.get(name) for name in names} for one in stage.house.ledger.templates.templates(waba)]


def brothers(stage: Stage) -> tuple[str, str]:
    """Make two WABAs those of one business; return them."""
    world = stage.simulator.world
    one, other = world.waba_ids[:2]
    world.change(world.waba(other)).business_id = world.waba(one).business_id
    return one, other
