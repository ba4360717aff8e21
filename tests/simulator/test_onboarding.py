"""A customer's way from Embedded Signup to a WABA that works, as a partner's server sees it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests

from wabajobs.simulator import Simulator, SimulatorConfig

from .client import Client, error_of


def exchange(client, code: str, *, app: int = 0, **changes: Any) -> requests.Response:
    """Exchange a code, without a token, as a server does it."""
    partner = client.simulator.world.apps[app]
    given = {"client_id": partner.id, "client_secret": partner.secret, "code": code, **changes}
    parameters = {name: value for name, value in given.items() if value is not None}
    return requests.get(f"{client.simulator.url}/v23.0/oauth/access_token", params=parameters, timeout=10)


def token_of(client, signup) -> str:
    """The business token for a signup's code."""
    return exchange(client, signup.code).json()["access_token"]


def as_customer(client, token: str, method: str, path: str, **options: Any) -> requests.Response:
    """A call with a business token."""
    return requests.request(
        method,
        f"{client.simulator.url}/v23.0/{path}",
        headers={"Authorization": f"Bearer {token}"},
        timeout=10,
        **options,
    )


def effects(client, kind: str) -> list[tuple[str, bool]]:
    """The subjects of the effects of a kind, each with whether it was there already."""
    return [(one.subject, one.repeated) for one in client.simulator.judge.effects.all(kind=kind)]


def events(client, topic: str = "account_update") -> list[tuple[str, str]]:
    """The events of the webhooks of a topic, each with the app that was told."""
    return [(one.value["event"], one.app) for one in client.simulator.webhooks.sent(topic=topic)]


# What a signup makes


def test_a_signup_makes_a_business_a_waba_and_a_verified_number(start) -> None:
    client = start()
    world = client.simulator.world

    signup = world.signup(name="Bakery")
    waba, number = world.waba(signup.waba_id), world.nodes[signup.number_id]

    assert (waba.name, waba.business_id, waba.review) == ("Bakery", signup.business_id, "APPROVED")
    assert world.nodes[signup.business_id].name == "Bakery"
    assert (number.code_status, number.registered, number.pin) == ("VERIFIED", False, None)
    assert (waba.assigned, waba.subscribed, waba.funding_id, waba.active) == ({}, {}, None, False)
    assert signup.waba_id in world.waba_ids


@pytest.mark.parametrize(("number", "has_one", "active"), [("none", False, False), ("registered", True, True)])
def test_a_signup_may_bring_no_number_or_a_registered_one(start, number, has_one, active) -> None:
    world = start().simulator.world

    signup = world.signup(number=number)

    assert bool(signup.number_id) is has_one
    assert world.waba(signup.waba_id).active is active


def test_a_signup_may_share_a_waba_or_a_business_that_is_there(start) -> None:
    client = start()
    world = client.simulator.world
    before = len(world.waba_ids)

    again = world.signup(waba=world.waba_ids[0])
    second = world.signup(business=again.business_id)

    assert (again.waba_id, again.number_id) == (world.waba_ids[0], world.waba(world.waba_ids[0]).numbers[0].id)
    assert world.waba(second.waba_id).business_id == again.business_id
    assert len(world.waba_ids) == before + 1
    for wrong in ({"app": "1"}, {"waba": "1"}, {"business": "1"}):
        with pytest.raises(ValueError, match="there is no"):
            world.signup(**wrong)


def test_a_signup_tells_its_app_by_webhooks_without_a_subscription(start) -> None:
    client = start(apps=2)
    world = client.simulator.world

    signup = world.signup(app=world.apps[1].id)

    assert events(client) == [("PARTNER_ADDED", world.apps[1].id), ("PARTNER_APP_INSTALLED", world.apps[1].id)]
    told = client.simulator.webhooks.sent(topic="account_update")[1]
    assert told.waba == signup.waba_id
    assert told.value["waba_info"] == {
        "waba_id": signup.waba_id,
        "owner_business_id": signup.business_id,
        "partner_app_id": world.apps[1].id,
    }


def test_a_signup_can_be_made_and_seen_over_http(start) -> None:
    client = start()

    made = client.control("POST", "signups", json={"name": "Bakery", "number": "none"}).json()
    listed = client.control("GET", "signups").json()["signups"]

    assert listed == [made]
    assert (made["phone_number_id"], made["used"]) == (None, False)
    assert exchange(client, made["code"]).ok
    assert client.control("GET", "signups").json()["signups"][0]["used"] is True
    assert client.control("POST", "signups", json={"waba": "1"}).status_code == 400
    assert client.control("POST", "signups", json={"number": "three"}).status_code == 400


def test_the_same_seed_makes_the_same_signups(start) -> None:
    first, second = (start(seed=4).simulator.world.signup() for _ in range(2))

    assert (first.code, first.waba_id, first.number_id) == (second.code, second.waba_id, second.number_id)


# The code


def test_a_code_is_exchanged_for_a_token_once(start) -> None:
    client = start()
    signup = client.simulator.world.signup()

    first, second = exchange(client, signup.code), exchange(client, signup.code)

    assert set(first.json()) == {"access_token", "token_type"}
    assert first.json()["token_type"] == "bearer"
    assert (error_of(second)["code"], error_of(second)["error_subcode"]) == (100, 36009)
    assert second.status_code == 400
    assert 'OAuth "Facebook Platform" "invalid_code"' in second.headers["WWW-Authenticate"]
    assert effects(client, "code_exchanged") == [(signup.waba_id, False)]


def test_the_code_of_a_second_signup_for_a_waba_is_no_duplicate(start) -> None:
    client = start()
    first = client.simulator.world.signup()
    second = client.simulator.world.signup(waba=first.waba_id)

    assert exchange(client, first.code).ok
    assert exchange(client, second.code).ok

    assert effects(client, "code_exchanged") == [(first.waba_id, False), (f"{first.waba_id}/2", False)]


@pytest.mark.parametrize(("seconds", "subcode"), [(29.9, None), (30, 36007)])
def test_a_code_lives_thirty_seconds(start, seconds, subcode) -> None:
    client = start()
    signup = client.simulator.world.signup()

    client.simulator.advance(seconds)
    answer = exchange(client, signup.code)

    if subcode is None:
        assert answer.ok
    else:
        assert (error_of(answer)["code"], error_of(answer)["error_subcode"]) == (100, subcode)
        assert effects(client, "code_exchanged") == []


def test_how_long_a_code_lives_is_a_knob(start) -> None:
    client = start(signup_code_seconds=600)
    signup = client.simulator.world.signup()

    client.simulator.advance(599)

    assert exchange(client, signup.code).ok


def test_a_code_needs_its_own_apps_id_and_secret(start) -> None:
    client = start(apps=2)
    signup = client.simulator.world.signup()

    assert error_of(exchange(client, signup.code, client_id="1"))["code"] == 101
    assert error_of(exchange(client, signup.code, client_id=None))["code"] == 101
    assert error_of(exchange(client, signup.code, client_secret="0" * 32))["code"] == 1
    assert error_of(exchange(client, signup.code, client_secret=None))["code"] == 1
    assert error_of(exchange(client, "nonsense"))["code"] == 100
    assert error_of(exchange(client, signup.code, app=1))["code"] == 100
    assert error_of(exchange(client, None))["code"] == 1
    assert exchange(client, signup.code).ok


def test_a_code_may_be_posted_and_another_token_on_the_way_is_ignored(start) -> None:
    client = start(apps=2)
    partner = client.simulator.world.apps[1]
    signup = client.simulator.world.signup(app=partner.id)

    answer = client.post(
        "oauth/access_token",
        data={
            "client_id": partner.id,
            "client_secret": partner.secret,
            "code": signup.code,
            "redirect_uri": "https://partner.example/back",
        },
    )

    assert answer.ok
    assert client.simulator.world.tokens[answer.json()["access_token"]].app_id == partner.id
    assert client.simulator.judge.calls()[-1].app == partner.id


def test_exchanging_counts_against_the_app_and_is_refused_by_its_limit(start) -> None:
    client = start(app_limit=1)
    signup = client.simulator.world.signup()

    codes = [exchange(client, "nonsense"), exchange(client, signup.code)]

    assert [error_of(one)["code"] for one in codes] == [100, 4]


def test_an_app_gets_its_own_token(start) -> None:
    client = start()
    app = client.simulator.app

    token = exchange(client, None, grant_type="client_credentials").json()["access_token"]

    assert token == f"{app.id}|{app.secret}"
    assert error_of(exchange(client, None, grant_type="magic"))["code"] == 100
    assert (
        as_customer(client, token, "GET", "debug_token", params={"input_token": token}).json()["data"]["type"]
        == "APP"
    )


# The token


def test_a_business_token_reaches_its_waba_and_no_other(start) -> None:
    client = start()
    world = client.simulator.world
    signup = world.signup()
    token = token_of(client, signup)

    assert as_customer(client, token, "GET", signup.waba_id).ok
    assert as_customer(client, token, "GET", signup.number_id).ok
    assert as_customer(client, token, "GET", signup.business_id).ok
    for other in (world.waba_ids[0], world.waba(world.waba_ids[0]).numbers[0].id, world.business.id):
        error = error_of(as_customer(client, token, "GET", other))
        assert (error["code"], error["error_subcode"]) == (100, 33)


def test_the_system_user_reaches_a_new_waba_only_once_it_is_assigned(start) -> None:
    client = start()
    signup = client.simulator.world.signup()
    user = client.simulator.app.system_user_id

    before = client.get(signup.waba_id)
    assigned = client.post(f"{signup.waba_id}/assigned_users", data={"user": user, "tasks": "['MANAGE']"})
    after = client.get(signup.waba_id)

    assert error_of(before)["error_subcode"] == 33
    assert assigned.json() == {"success": True}
    assert after.ok
    assert effects(client, "user_assigned") == [(signup.waba_id, False)]


def test_a_token_covers_all_that_its_business_shared_with_the_app_newest_first(start) -> None:
    client = start(apps=2)
    world = client.simulator.world
    first = world.signup()
    second = world.signup(business=first.business_id)
    world.signup(business=first.business_id, app=world.apps[1].id)

    token = token_of(client, second)
    known = client.get("debug_token", input_token=token).json()["data"]

    granted = {one["scope"]: one.get("target_ids") for one in known["granular_scopes"]}
    assert granted["whatsapp_business_management"] == [second.waba_id, first.waba_id]
    assert granted["whatsapp_business_messaging"] == [second.waba_id, first.waba_id]
    assert granted["business_management"] == [first.business_id]
    assert (known["type"], known["is_valid"], known["app_id"]) == ("SYSTEM_USER", True, client.simulator.app.id)
    assert set(granted) == set(known["scopes"])
    assert known["user_id"]
    assert known["expires_at"] == 0


def test_a_business_token_may_end(start) -> None:
    client = start(business_token_seconds=3600)
    signup = client.simulator.world.signup()
    answer = exchange(client, signup.code).json()

    valid = client.get("debug_token", input_token=answer["access_token"]).json()["data"]
    client.simulator.advance(3600)
    ended = client.get("debug_token", input_token=answer["access_token"]).json()["data"]
    refused = as_customer(client, answer["access_token"], "GET", signup.waba_id)

    assert answer["expires_in"] == 3600
    assert valid["expires_at"] == valid["issued_at"] + 3600
    assert (ended["is_valid"], ended["error"]["subcode"]) == (False, 463)
    assert (error_of(refused)["code"], error_of(refused)["error_subcode"]) == (190, 463)


def test_debug_token_knows_revoked_tokens_unknown_ones_and_none_of_another_app(start) -> None:
    client = start(apps=2)
    world = client.simulator.world
    token = token_of(client, world.signup())
    world.revoke_token(token)

    revoked = client.get("debug_token", input_token=token).json()["data"]
    unknown = client.get("debug_token", input_token="x").json()["data"]
    foreign = client.get("debug_token", input_token=world.apps[1].token)

    assert (revoked["is_valid"], revoked["error"]["subcode"]) == (False, 460)
    assert (unknown["is_valid"], unknown["error"]["code"], unknown["scopes"]) == (False, 190, [])
    assert error_of(foreign)["code"] == 100


def test_me_is_the_user_of_the_token(start) -> None:
    client = start()
    signup = client.simulator.world.signup()
    token = token_of(client, signup)
    app = client.simulator.app

    partner = client.get("me").json()
    customer = as_customer(client, token, "GET", "me", params={"fields": "client_business_id"}).json()

    assert partner["id"] == app.system_user_id
    assert customer["client_business_id"] == signup.business_id
    assert error_of(as_customer(client, f"{app.id}|{app.secret}", "GET", "me"))["code"] == 2500


# All of it


def test_a_partner_onboards_a_customer_in_the_order_of_metas_guide(start) -> None:
    client = start()
    world, user = client.simulator.world, client.simulator.app.system_user_id
    signup = world.signup()
    waba = signup.waba_id

    token = token_of(client, signup)
    assert as_customer(client, token, "POST", f"{waba}/subscribed_apps").json() == {"success": True}
    assert client.post(f"{waba}/assigned_users", params={"user": user, "tasks": '["MANAGE"]'}).ok
    (line,) = client.get(f"{world.business.id}/extendedcredits", fields="id,legal_entity_name").json()["data"]
    shared = client.post(
        f"{line['id']}/whatsapp_credit_sharing_and_attach", params={"waba_id": waba, "waba_currency": "EUR"}
    ).json()
    credential = client.get(shared["allocation_config_id"], fields="receiving_credential{id}").json()
    funding = as_customer(client, token, "GET", waba, params={"fields": "primary_funding_id"}).json()

    assert shared["waba_id"] == waba
    assert credential["receiving_credential"] == {"id": funding["primary_funding_id"]}
    assert client.simulator.judge.effects.by_kind() == {
        "code_exchanged": 1,
        "app_subscribed": 1,
        "user_assigned": 1,
        "credit_shared": 1,
        "credit_attached": 1,
    }
    assert client.simulator.judge.effects.duplicates() == []


# What the customer and Meta do later


def test_a_customer_who_removes_the_partner_is_out_of_reach_until_the_next_signup(start) -> None:
    client = start()
    world = client.simulator.world
    signup = world.signup()
    token = token_of(client, signup)
    as_customer(client, token, "POST", f"{signup.waba_id}/subscribed_apps")

    body = {"waba": signup.waba_id, "action": "remove_partner"}
    assert client.control("POST", "accounts", json=body).json()["reachable"] is False
    refused = as_customer(client, token, "GET", signup.waba_id)
    known = client.get("debug_token", input_token=token).json()["data"]["granular_scopes"]
    again = world.signup(waba=signup.waba_id)

    assert error_of(refused)["error_subcode"] == 33
    assert {"scope": "whatsapp_business_management", "target_ids": []} in known
    assert [event for event, _ in events(client)] == [
        "PARTNER_ADDED",
        "PARTNER_APP_INSTALLED",
        "PARTNER_REMOVED",
        "PARTNER_ADDED",
        "PARTNER_APP_INSTALLED",
    ]
    assert as_customer(client, token_of(client, again), "GET", signup.waba_id).ok
    assert world.waba(signup.waba_id).subscribed == {}


def test_no_record_of_a_signup_holds_its_code_secret_or_token(start) -> None:
    client = start()
    signup = client.simulator.world.signup()
    token = token_of(client, signup)

    kept = json.dumps([one._asdict() for one in client.simulator.judge.calls()])
    kept += json.dumps([one._asdict() for one in client.simulator.judge.effects.all()])

    assert signup.code not in kept
    assert token not in kept
    assert client.simulator.app.secret not in kept


def test_all_of_it_outlives_a_restart(tmp_path) -> None:
    config = SimulatorConfig(clock="hand", wabas=1)
    good = {"version": "7.0", "screens": []}
    with Simulator(config, state=tmp_path / "state").running() as first:
        client = Client(first)
        world = first.world
        used, open_ = world.signup(), world.signup()
        token = token_of(client, used)
        client.post(f"{used.waba_id}/assigned_users", data={"user": first.app.system_user_id, "tasks": "MANAGE"})
        shared = client.post(
            f"{world.credit.id}/whatsapp_credit_sharing_and_attach",
            data={"waba_id": used.waba_id, "waba_currency": "EUR"},
        ).json()
        flow = client.post(
            f"{used.waba_id}/flows", json={"name": "x", "categories": ["OTHER"], "flow_json": json.dumps(good)}
        ).json()
        intent = client.post(f"{used.waba_id}/set_solution_migration_intent", data={"solution_id": "7"}).json()
        paths = {
            used.waba_id: f"currency,primary_funding_id,assigned_users.business({world.business.id}){{tasks}}",
            shared["allocation_config_id"]: "receiving_credential,request_status",
            flow["id"]: "name,status,validation_errors,updated_at",
            intent["id"]: "status",
            first.app.system_user_id: "name",
        }
        before = {path: client.get(path, fields=fields).json() for path, fields in paths.items()}

    with Simulator(config, state=tmp_path / "state").running() as second:
        again = Client(second)
        assert {path: again.get(path, fields=fields).json() for path, fields in paths.items()} == before
        assert as_customer(again, token, "GET", used.waba_id).ok
        assert error_of(exchange(again, used.code))["error_subcode"] == 36009
        assert exchange(again, open_.code).ok
