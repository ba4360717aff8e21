"""Where an app's webhooks go and which topics it gets, chosen by a call with the app's own token."""

from __future__ import annotations

import pytest
import requests

from .client import Client, error_of
from .templates import create, first

TOPICS = "message_template_status_update,account_update"


def app_token(client: Client, app: int = 0) -> str:
    one = client.simulator.world.apps[app]
    return f"{one.id}|{one.secret}"


def call(client: Client, method: str, *, token: str | None = None, app: int = 0, **given) -> requests.Response:
    """A call of the edge, with the app's own token in the query unless another is named."""
    path = f"{client.simulator.url}/v23.0/{client.simulator.world.apps[app].id}/subscriptions"
    parameters = {"access_token": token or app_token(client, app), **given}
    return requests.request(method, path, params=parameters, timeout=10)


def subscribe(client: Client, url: str, **changes) -> requests.Response:
    given = {
        "object": "whatsapp_business_account",
        "callback_url": url,
        "verify_token": "right",
        "fields": TOPICS,
        **changes,
    }
    return call(client, "POST", **{name: value for name, value in given.items() if value is not None})


def shown(client: Client, **options) -> list[dict]:
    answer = call(client, "GET", **options)
    assert answer.ok, answer.text
    return answer.json()["data"]


def chosen(client: Client) -> list[str]:
    return [one["name"] for held in shown(client) for one in held["fields"]]


def topics_sent(client: Client, app: int = 0) -> list[str]:
    app_id = client.simulator.world.apps[app].id
    return [one.topic for one in client.simulator.webhooks.sent() if one.app == app_id]


def kinds(client: Client) -> list[str]:
    return [one.kind for one in client.simulator.judge.effects.all()]


def happen(client: Client) -> None:
    """Something of three topics: account_review_update, security, and a template's status."""
    waba = first(client)
    client.control("POST", "accounts", json={"action": "review", "waba": waba})
    client.control(
        "POST",
        "numbers",
        json={"action": "two_step_off", "number": client.simulator.world.waba(waba).numbers[0].id},
    )
    assert create(client).ok
    client.simulator.advance(3600)


def test_an_app_chooses_its_callback_and_its_topics(start, callback) -> None:
    client = start()
    url = callback()

    answer = subscribe(client, url)

    assert answer.json() == {"success": True}
    assert shown(client) == [
        {
            "object": "whatsapp_business_account",
            "callback_url": url,
            "active": True,
            "fields": [{"name": name, "version": "v23.0"} for name in TOPICS.split(",")],
        }
    ]
    assert kinds(client) == ["webhooks_subscribed"]


def test_an_app_gets_only_the_topics_that_it_has_chosen(start, callback) -> None:
    client = start(apps=2)

    subscribe(client, callback())
    happen(client)

    assert set(topics_sent(client)) == {"message_template_status_update"}
    assert set(topics_sent(client, 1)) == {"account_review_update", "security", "message_template_status_update"}


def test_the_topics_of_an_earlier_call_are_forgotten(start, callback) -> None:
    client = start()
    url = callback()

    subscribe(client, url)
    subscribe(client, url, fields="security")
    subscribe(client, url, fields="security")

    assert chosen(client) == ["security"]
    assert [one.wasted for one in client.simulator.judge.calls() if one.method == "POST"] == [
        None,
        None,
        "nothing to do",
    ]


def test_topics_come_as_json_too(start, callback) -> None:
    client = start()

    assert subscribe(client, callback(), fields='["security","flows"]').ok

    assert chosen(client) == ["security", "flows"]


def test_some_topics_are_left(start, callback) -> None:
    client = start()
    subscribe(client, callback())

    answer = call(client, "DELETE", object="whatsapp_business_account", fields="account_update")

    assert answer.json() == {"success": True}
    assert chosen(client) == ["message_template_status_update"]


def test_an_app_that_leaves_gets_nothing_until_it_comes_back(start, callback) -> None:
    client = start(webhook_url="http://127.0.0.1:9/")
    url = callback()
    assert len(shown(client)) == 1, "the callback of the knob is a subscription to everything"

    left = [call(client, "DELETE").json() for _ in range(2)]
    nothing = shown(client)
    happen(client)
    silent = topics_sent(client)
    subscribe(client, url, fields="account_review_update")
    happen_again = client.control("POST", "accounts", json={"action": "review", "waba": first(client)})

    assert left == [{"success": True}] * 2
    assert (nothing, silent, happen_again.ok) == ([], [], True)
    assert topics_sent(client) == ["account_review_update"]
    assert [one for one in kinds(client) if one.startswith("webhooks")] == [
        "webhooks_unsubscribed",
        "webhooks_subscribed",
    ]


def test_without_a_callback_there_is_no_subscription(start) -> None:
    assert shown(start()) == []


def test_the_lever_sets_a_callback_for_all_topics(start, callback) -> None:
    client = start()
    subscribe(client, callback(), fields="security")

    client.control("POST", "webhooks", json={"url": "http://127.0.0.1:9/other", "app": client.simulator.app.id})

    (held,) = shown(client)
    assert held["callback_url"] == "http://127.0.0.1:9/other"
    assert {"security", "messages", "flows"} <= {one["name"] for one in held["fields"]}


@pytest.mark.parametrize("wrong", [{"status": 500}, {"body": "something"}, {"token": "another"}])
def test_a_callback_that_does_not_answer_the_challenge_is_2200(start, callback, wrong) -> None:
    client = start()

    answer = subscribe(client, callback(**wrong))

    assert (answer.status_code, error_of(answer)["code"]) == (400, 2200)
    assert shown(client) == []
    assert kinds(client) == []


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"object": "page"}, "object"),
        ({"object": None}, "object"),
        ({"callback_url": "nowhere"}, "callback_url"),
        ({"callback_url": None}, "callback_url"),
        ({"verify_token": None}, "verify_token"),
        ({"fields": "colours"}, "fields"),
        ({"fields": None}, "fields"),
        ({"fields": ""}, "fields"),
    ],
)
def test_each_parameter_must_be_right(start, callback, changes, named) -> None:
    answer = subscribe(start(), callback(), **changes)

    assert (answer.status_code, error_of(answer)["code"]) == (400, 100)
    assert named in error_of(answer)["message"]


@pytest.mark.parametrize(
    "url",
    [
        "http://[",
        "http://[::1",
        "http://127.0.0.1:1/",
        "http://127.0.0.1:99999/",
        "https://127.0.0.1:1/",
        "http://\ud800/",
        "http://.../",
        "http://%",
        "http://",
        "http://" + 3000 * "a",
    ],
)
def test_a_callback_that_is_nowhere_is_refused(start, url) -> None:
    client = start()
    given = {
        "object": "whatsapp_business_account",
        "verify_token": "right",
        "fields": TOPICS,
        "callback_url": url,
    }

    answer = client.post(
        f"{client.simulator.app.id}/subscriptions", json={**given, "access_token": app_token(client)}
    )

    assert error_of(answer)["code"] in (100, 2200)
    assert client.simulator.judge.defects == 0
    assert shown(client) == []


def test_a_callback_must_be_https_by_a_knob(start, callback) -> None:
    assert error_of(subscribe(start(override_https=True), callback()))["code"] == 2200


def test_it_needs_the_apps_own_token_and_no_users(start) -> None:
    client = start(apps=2)

    of_user = call(client, "GET", token=client.simulator.app.token)
    of_another_app = call(client, "GET", token=app_token(client, 1))

    assert (of_user.status_code, error_of(of_user)["code"]) == (400, 15)
    assert error_of(of_another_app)["error_subcode"] == 33


def test_a_token_that_is_a_parameter_goes_before_the_one_in_the_header(start) -> None:
    client = start()

    answer = client.get(f"{client.simulator.app.id}/subscriptions", access_token=app_token(client))

    assert answer.json() == {"data": []}


def test_a_number_shows_the_callback_of_the_app(start, callback) -> None:
    client = start(apps=2, webhook_url="http://127.0.0.1:9/all")
    url = callback()
    number = client.simulator.world.waba(first(client)).numbers[0].id

    subscribe(client, url)

    mine = client.get(number, fields="webhook_configuration").json()
    others = Client(client.simulator, app=1).get(number, fields="webhook_configuration").json()
    assert mine["webhook_configuration"] == {"application": url}
    assert others["webhook_configuration"] == {"application": "http://127.0.0.1:9/all"}


def test_such_calls_count_for_the_app(start) -> None:
    client = start(app_limit=1)

    call(client, "GET")

    assert error_of(call(client, "GET"))["code"] == 4
