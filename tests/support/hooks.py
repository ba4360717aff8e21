"""Webhooks as Meta writes them."""

import json
from datetime import datetime
from typing import Any


def a_webhook(waba: str, topic: str, value: dict[str, Any], *, at: datetime | int | None) -> bytes:
    """One webhook with one change."""
    time = int(at.timestamp()) if isinstance(at, datetime) else at
    entry = {"id": waba, "time": time, "changes": [{"field": topic, "value": value}]}
    if time is None:
        del entry["time"]
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()


def of_template(template: str, *, language: str = "en-US", **more: Any) -> dict[str, Any]:
    """What every webhook about a template says of it."""
    return {
        "message_template_id": int(template),
        "message_template_name": f"t{template}",
        "message_template_language": language,
        **more,
    }


def status(waba: str, template: str, event: str, *, at: datetime | int | None, **more: Any) -> bytes:
    """message_template_status_update."""
    value = {"event": event, "reason": "NONE", **of_template(template), **more}
    return a_webhook(waba, "message_template_status_update", value, at=at)


def quality(waba: str, template: str, score: str, *, at: datetime | int | None) -> bytes:
    """message_template_quality_update."""
    value = of_template(template, previous_quality_score="UNKNOWN", new_quality_score=score)
    return a_webhook(waba, "message_template_quality_update", value, at=at)


def category(waba: str, template: str, new: str, *, at: datetime | int | None, **more: Any) -> bytes:
    """template_category_update."""
    value = of_template(template, new_category=new, **more)
    return a_webhook(waba, "template_category_update", value, at=at)


def account(waba: str, event: str, *, at: datetime | int | None, **more: Any) -> bytes:
    """account_update."""
    return a_webhook(waba, "account_update", {"event": event, **more}, at=at)
