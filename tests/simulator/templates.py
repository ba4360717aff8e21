"""What the tests of templates share: drafts, and the calls that bring them."""

from __future__ import annotations

from typing import Any

import requests

from wabajobs.simulator.world import uploads

from .client import Client, error_of

BODY = {"type": "BODY", "text": "Thank you for your order, we are on our way."}
GREETING = {
    "type": "BODY",
    "text": "Hi {{1}}, your order is on its way to you.",
    "example": {"body_text": [["Ann"]]},
}
CODE = [
    {"type": "BODY", "add_security_recommendation": True},
    {"type": "FOOTER", "code_expiration_minutes": 5},
    {"type": "BUTTONS", "buttons": [{"type": "OTP", "otp_type": "COPY_CODE"}]},
]


def first(client: Client) -> str:
    return client.simulator.world.waba_ids[0]


def draft(**changes: Any) -> dict[str, Any]:
    """A template that nobody refuses, but for these changes; none leaves a parameter out."""
    every = {"name": "order_update", "language": "en_US", "category": "UTILITY", "components": [BODY], **changes}
    return {name: value for name, value in every.items() if value is not None}


def create(client: Client, *, waba: str | None = None, **changes: Any) -> requests.Response:
    return client.post(f"{waba or first(client)}/message_templates", json=draft(**changes))


def created(client: Client, **changes: Any) -> str:
    """The id of a template that was created."""
    answer = create(client, **changes)
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


def read(client: Client, template: str, fields: str = "") -> dict[str, Any]:
    return client.get(template, **({"fields": fields} if fields else {})).json()


def refused(answer: requests.Response) -> tuple[int, int | None]:
    """Code and subcode of an error."""
    error = error_of(answer)
    return error["code"], error.get("error_subcode")


def effects(client: Client) -> list[tuple[str, str]]:
    """What calls have done, and to what."""
    return [(one.kind, one.subject) for one in client.simulator.judge.effects.all()]


def told(client: Client, topic: str = "message_template_status_update") -> list[dict[str, Any]]:
    """The values of the webhooks of a topic."""
    return [one.value for one in client.simulator.webhooks.sent(topic=topic)]


def handle(client: Client, *, app: int = 0) -> str:
    """The handle of an upload of an app."""
    world = client.simulator.world
    upload = uploads.open_session(
        world, app_id=world.apps[app].id, file_name="a.png", file_length=4, file_type="image/png"
    )
    uploads.receive(world, upload, b"\x89PNG", offset=0)
    assert upload.handle
    return upload.handle
