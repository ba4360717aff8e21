"""How webhooks arrive: once or twice, in order or late, at the app's callback and nowhere else."""

from __future__ import annotations

import json

import pytest

from tests.clients.hook import Hook, receiving

from .client import Client
from .templates import created, first, told

DECISIONS = ("PENDING", "REJECTED", "LIMIT_REACHED", "APPROVED")


def answered(_token: str | None, challenge: str | None) -> tuple[str | None, int]:
    return challenge, 200


def review(client: Client, decision: str) -> None:
    """Something that is told by one webhook."""
    client.control("POST", "accounts", json={"action": "review", "waba": first(client), "decision": decision})


def next_decision(hook: Hook) -> str:
    (change,) = json.loads(hook.next().body)["entry"][0]["changes"]
    return change["value"]["decision"]


def test_webhooks_arrive_in_the_order_in_which_things_happened(start) -> None:
    with receiving(answered) as hook:
        client = start(webhook_url=hook.url)
        for decision in DECISIONS:
            review(client, decision)

        assert tuple(next_decision(hook) for _ in DECISIONS) == DECISIONS


def test_a_webhook_may_be_delivered_twice(start) -> None:
    with receiving(answered) as hook:
        client = start(webhook_url=hook.url, webhooks_twice=1)

        review(client, "PENDING")

        first_one, second = hook.next(), hook.next()
    assert first_one == second, "the same body under the same signature"
    assert [one["repeats"] for one in client.control("GET", "webhooks").json()["webhooks"]] == [0, 1]


def test_the_share_that_is_delivered_twice_is_a_knob_that_can_be_turned(start) -> None:
    client = start()

    def repeated() -> int:
        before = len(client.simulator.webhooks.sent())
        for place in range(100):
            review(client, DECISIONS[place % 4])
        return len(client.simulator.webhooks.sent()) - before - 100

    never = repeated()
    client.control("POST", "limits", json={"webhooks_twice": 0.3})
    sometimes = repeated()

    assert never == 0
    assert 10 < sometimes < 50


def test_a_webhook_may_come_late(start) -> None:
    with receiving(answered) as hook:
        client = start(webhook_url=hook.url, webhooks_late=1, webhooks_late_seconds=(60, 60))
        review(client, "PENDING")
        client.control("POST", "limits", json={"webhooks_late": 0})
        review(client, "REJECTED")

        at_once = next_decision(hook)
        waiting = [one["tries"] for one in client.control("GET", "webhooks").json()["webhooks"]]
        client.simulator.advance(60)
        late = next_decision(hook)

    assert (at_once, late) == ("REJECTED", "PENDING")
    assert waiting[0] == 0


def test_late_webhooks_come_out_of_order(start) -> None:
    with receiving(answered) as hook:
        client = start(webhook_url=hook.url, webhooks_late=1, webhooks_late_seconds=(1, 600))
        for place in range(20):
            review(client, DECISIONS[place % 4])
        made = [one.seq for one in client.simulator.webhooks.sent()]
        due = sorted(client.simulator.webhooks.sent(), key=lambda one: one.due)
        client.simulator.advance(600)

        arrived = [next_decision(hook) for _ in made]

    assert [one.seq for one in due] != made
    assert arrived == [one.value["decision"] for one in due]


def test_what_is_late_or_twice_is_decided_by_the_seed(start) -> None:
    def fates(seed: int) -> list[tuple[float, int]]:
        client = start(seed=seed, webhooks_late=0.5, webhooks_twice=0.5)
        for decision in DECISIONS * 5:
            review(client, decision)
        return [(one.due, one.repeats) for one in client.simulator.webhooks.sent()]

    assert fates(1) == fates(1)
    assert fates(1) != fates(2)


@pytest.mark.parametrize(("style", "written"), [("hyphen", "en-US"), ("underscore", "en_US")])
def test_the_language_of_a_template_is_written_as_the_knob_says(start, style, written) -> None:
    client = start(webhook_language=style)
    template = created(client)
    client.simulator.advance(3600)
    client.control(
        "POST",
        "templates",
        json={"action": "set_quality", "waba": first(client), "id": template, "quality": "YELLOW"},
    )

    topics = ("message_template_status_update", "message_template_quality_update")
    assert {one["message_template_language"] for topic in topics for one in told(client, topic)} == {written}


def test_management_webhooks_do_not_follow_an_override(start) -> None:
    with receiving(answered) as app, receiving(answered) as override:
        client = start(webhook_url=app.url)
        waba = first(client)
        number = client.simulator.world.waba(waba).numbers[0].id
        wanted = {"override_callback_uri": override.url, "verify_token": "ours"}
        assert client.post(f"{waba}/subscribed_apps", json=wanted).ok
        assert client.post(number, json={"webhook_configuration": wanted}).ok

        review(client, "PENDING")
        client.control("POST", "numbers", json={"action": "quality", "number": number, "value": "RED"})

        topics = [json.loads(app.next().body)["entry"][0]["changes"][0]["field"] for _ in range(2)]
        assert topics == ["account_review_update", "phone_number_quality_update"]
        assert override.empty()
