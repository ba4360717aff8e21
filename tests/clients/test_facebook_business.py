"""Meta's own Business SDK for Python as it is: what it can do to manage a WABA."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests
from facebook_business.adobjects.application import Application
from facebook_business.adobjects.business import Business
from facebook_business.adobjects.extendedcredit import ExtendedCredit
from facebook_business.adobjects.extendedcreditallocationconfig import ExtendedCreditAllocationConfig
from facebook_business.adobjects.systemuser import SystemUser
from facebook_business.adobjects.whatsappbusinessaccount import WhatsAppBusinessAccount
from facebook_business.api import FacebookAdsApi, FacebookResponse
from facebook_business.exceptions import FacebookRequestError
from facebook_business.session import FacebookSession

from wabajobs.simulator import Simulator, SimulatorConfig
from wabajobs.simulator.world import Waba

from .hook import receiving
from .people import REVIEW, sms_code
from .wire import Wire

# The SDK warns of fields that its generated classes do not list, such as all those of a template.
pytestmark = pytest.mark.filterwarnings("ignore:.*(does not allow field|might not be compatible):UserWarning")

BODY = [
    {"type": "BODY", "text": "Hi {{1}}, your order is on its way.", "example": {"body_text": [["Ann & Bob"]]}}
]


def api_at(simulator: Simulator, token: str | None = None, *, secret: str | None = None) -> FacebookAdsApi:
    """The SDK with a token; with the app's secret, so that each call carries an `appsecret_proof`."""
    app = simulator.app
    session = FacebookSession(app.id, secret or app.secret, token or app.token, timeout=20)
    session.GRAPH = simulator.url
    return FacebookAdsApi(session)


@pytest.fixture
def api(simulator: Simulator) -> FacebookAdsApi:
    return api_at(simulator)


@pytest.fixture
def account(api: FacebookAdsApi, waba: str) -> WhatsAppBusinessAccount:
    return WhatsAppBusinessAccount(waba, api=api)


def token_for(simulator: Simulator, api: FacebookAdsApi, code: str) -> str:
    """The business token for the code of a signup."""
    exchange = {"client_id": simulator.app.id, "client_secret": simulator.app.secret, "code": code}
    token: str = api.call("GET", ("oauth", "access_token"), params=exchange).json()["access_token"]
    return token


def one_business(simulator: Simulator) -> tuple[Waba, Waba]:
    """Two WABAs of the same business, the only ones between which things move."""
    source, destination = (simulator.world.waba(one) for one in simulator.world.waba_ids[:2])
    destination.business_id = source.business_id
    return source, destination


def ids(objects: Any) -> list[str]:
    return [one["id"] for one in objects]


# Templates


def test_the_sdk_reads_all_pages_of_templates(
    simulator: Simulator, account: WhatsAppBusinessAccount, waba: str, wire: Wire
) -> None:
    cursor = account.get_message_templates(fields=["id", "name", "status"], params={"limit": 3})

    assert ids(cursor) == [one.id for one in simulator.world.templates(waba)]
    assert cursor.total() == 7
    assert wire.seen() == [f"GET {waba}/message_templates"] * 3
    assert [call.limit for call in simulator.judge.calls()] == [3, 3, 3]


def test_templates_are_filtered_by_lists(
    simulator: Simulator, account: WhatsAppBusinessAccount, waba: str
) -> None:
    world = simulator.world
    world.set_status(waba, world.templates(waba)[0].id, "PAUSED")
    world.set_status(waba, world.templates(waba)[1].id, "REJECTED")

    found = account.get_message_templates(params={"status": ["PAUSED", "REJECTED"]})

    stopped = [one.id for one in world.templates(waba) if one.status in ("PAUSED", "REJECTED")]
    assert ids(found) == stopped


def test_a_template_is_created_from_a_form(
    simulator: Simulator, account: WhatsAppBusinessAccount, waba: str, wire: Wire
) -> None:
    created = account.create_message_template(
        params={
            "name": "order_update",
            "language": "en_US",
            "category": "UTILITY",
            "components": BODY,
            "allow_category_change": True,
        }
    )

    assert (created["status"], created["category"]) == ("PENDING", "UTILITY")
    assert wire.seen() == [f"POST {waba}/message_templates"]
    assert wire.effects() == ["template_created"]
    simulator.advance(REVIEW)
    (read,) = account.get_message_templates(params={"name": "order_update"})
    assert (read["id"], read["status"], read["components"]) == (created["id"], "APPROVED", BODY)


def test_templates_are_deleted_by_name_and_by_ids(
    simulator: Simulator, account: WhatsAppBusinessAccount, waba: str, wire: Wire
) -> None:
    world = simulator.world
    world.add_template(waba, name="to_be_deleted")
    doomed = [world.add_template(waba, name=f"doomed_{number}").id for number in range(3)]

    account.delete_message_templates(params={"name": "to_be_deleted"})
    account.delete_message_templates(params={"hsm_ids": doomed})

    assert len(world.templates(waba)) == 7
    assert wire.seen() == [f"DELETE {waba}/message_templates"] * 2
    assert wire.effects() == ["template_deleted"] * 4


def test_authentication_templates_are_upserted(account: WhatsAppBusinessAccount, waba: str, wire: Wire) -> None:
    account.create_upsert_message_template(
        params={
            "name": "one_time_code",
            "category": "AUTHENTICATION",
            "languages": ["en_US", "de"],
            "components": [
                {"type": "BODY", "add_security_recommendation": True},
                {"type": "BUTTONS", "buttons": [{"type": "OTP", "otp_type": "COPY_CODE"}]},
            ],
        }
    )

    written = account.get_message_templates(params={"name": "one_time_code"})
    assert {one["language"] for one in written} == {"en_US", "de"}
    assert wire.seen()[0] == f"POST {waba}/upsert_message_templates"


def test_templates_and_flows_are_copied_within_a_business(
    simulator: Simulator, api: FacebookAdsApi, account: WhatsAppBusinessAccount, wire: Wire
) -> None:
    world = simulator.world
    source, destination = one_business(simulator)
    template = world.add_template(source.id, name="to_be_copied")
    account.create_flow(params={"name": "Survey", "categories": ["SURVEY"], "publish": False})
    there = WhatsAppBusinessAccount(destination.id, api=api)
    assert wire.effects() == ["flow_created"]

    templates = there.create_migrate_message_template(
        params={"source_waba_id": source.id, "template_ids": [template.id]}
    )
    flows = there.create_migrate_flow(params={"source_waba_id": source.id, "source_flow_names": ["Survey"]})

    assert len(templates["migrated_templates"]) == 1
    assert flows["migrated_flows"][0]["source_name"] == "Survey"
    there = WhatsAppBusinessAccount(destination.id, api=api)
    assert ids(there.get_flows()) == [flows["migrated_flows"][0]["migrated_id"]]
    assert wire.effects() == ["template_migrated", "flow_migrated"]


# Numbers, settings, users


def test_numbers_are_listed_and_added(
    simulator: Simulator, api: FacebookAdsApi, account: WhatsAppBusinessAccount, waba: str, wire: Wire
) -> None:
    before = ids(account.get_phone_numbers(fields=["id", "display_phone_number"]))
    assert before == [one.id for one in simulator.world.waba(waba).numbers]

    new = account.create_phone_number(params={"cc": "49", "phone_number": "3012345678", "verified_name": "Tea"})[
        "id"
    ]
    api.call("POST", (new, "request_code"), params={"code_method": "SMS", "language": "de"})
    api.call("POST", (new, "verify_code"), params={"code": sms_code(simulator, new)})
    api.call("POST", (new, "register"), params={"messaging_product": "whatsapp", "pin": "123456"})

    (added,) = (
        one
        for one in account.get_phone_numbers(fields=["id", "status", "display_phone_number"])
        if one["id"] not in before
    )
    assert (added["id"], added["status"]) == (new, "CONNECTED")
    assert wire.effects() == ["number_added", "code_sent", "number_verified", "number_registered"]


def test_a_number_moves_to_another_waba_of_its_business(
    simulator: Simulator, api: FacebookAdsApi, account: WhatsAppBusinessAccount, number: str, wire: Wire
) -> None:
    old, destination = one_business(simulator)[0].numbers[0], one_business(simulator)[1]
    # Only a person can switch two-step verification off.
    requests.post(
        f"{simulator.url}/_simulator/numbers", json={"action": "two_step_off", "number": number}, timeout=20
    ).raise_for_status()

    new = WhatsAppBusinessAccount(destination.id, api=api).create_phone_number(
        params={"cc": old.cc, "phone_number": old.national, "migrate_phone_number": True}
    )["id"]
    api.call("POST", (new, "request_code"), params={"code_method": "VOICE", "language": "en_US"})
    api.call("POST", (new, "verify_code"), params={"code": sms_code(simulator, new)})
    api.call("POST", (new, "register"), params={"messaging_product": "whatsapp", "pin": "123456"})

    there = WhatsAppBusinessAccount(destination.id, api=api).get_phone_numbers(fields=["id", "status"])
    assert {one["id"]: one["status"] for one in there}[new] == "CONNECTED"
    here = account.get_phone_numbers(fields=["id", "status"])
    assert {one["id"]: one["status"] for one in here}.get(number) != "CONNECTED"
    assert wire.effects() == [
        "number_added",
        "code_sent",
        "number_verified",
        "number_migrated",
        "number_registered",
    ]


def test_a_waba_is_read_and_changed(account: WhatsAppBusinessAccount, waba: str, wire: Wire) -> None:
    account.api_update(params={"is_enabled_for_insights": True})
    account.api_get(fields=["name", "currency", "is_enabled_for_insights", "health_status"])

    assert account["id"] == waba
    assert account["is_enabled_for_insights"] is True
    assert account["health_status"]["can_send_message"] == "AVAILABLE"
    assert wire.seen() == [f"POST {waba}", f"GET {waba}"]


def test_an_app_subscribes_and_unsubscribes(
    simulator: Simulator, account: WhatsAppBusinessAccount, waba: str, wire: Wire
) -> None:
    account.delete_subscribed_apps()
    assert ids_of_apps(account) == []
    account.create_subscribed_app()
    assert ids_of_apps(account) == [simulator.app.id]

    with receiving(lambda token, challenge: (challenge, 200) if token == "ours" else (None, 403)) as hook:
        account.create_subscribed_app(params={"override_callback_uri": hook.url, "verify_token": "ours"})
        assert next(iter(account.get_subscribed_apps()))["override_callback_uri"] == hook.url

    edge = f"{waba}/subscribed_apps"
    assert wire.seen() == [f"{method} {edge}" for method in ("DELETE", "GET", "POST", "GET", "POST", "GET")]


def test_an_app_sets_its_callback_and_topics(simulator: Simulator, wire: Wire) -> None:
    app = simulator.app
    own = Application(app.id, api=api_at(simulator, f"{app.id}|{app.secret}"))

    with receiving(lambda token, challenge: (challenge, 200) if token == "ours" else (None, 403)) as hook:
        given = {"object": "whatsapp_business_account", "callback_url": hook.url, "verify_token": "ours"}
        own.create_subscription(params={**given, "fields": ["security", "flows"]})
        (held,) = own.get_subscriptions()
    own.delete_subscriptions(params={"fields": ["flows"]})
    (left,) = own.get_subscriptions()

    assert (held["callback_url"], held["active"]) == (hook.url, True)
    assert [[field["name"] for field in one["fields"]] for one in (held, left)] == [
        ["security", "flows"],
        ["security"],
    ]
    assert wire.seen() == [f"{method} {app.id}/subscriptions" for method in ("POST", "GET", "DELETE", "GET")]
    assert wire.effects() == ["webhooks_subscribed", "webhooks_unsubscribed"]


def test_an_app_needs_its_own_token_for_that(simulator: Simulator, api: FacebookAdsApi) -> None:
    with pytest.raises(FacebookRequestError) as caught:
        Application(simulator.app.id, api=api).get_subscriptions()

    assert caught.value.api_error_code() == 15


def test_data_of_an_error_that_are_a_text_are_understood(
    simulator: Simulator, account: WhatsAppBusinessAccount
) -> None:
    simulator.limits.set(error_data="text")

    with pytest.raises(FacebookRequestError) as caught:
        account.create_message_template(
            params={"name": "Bad name", "language": "en_US", "category": "UTILITY", "components": BODY}
        )

    assert caught.value.api_blame_field_specs() == [["name"]]


def ids_of_apps(account: WhatsAppBusinessAccount) -> list[str]:
    return [one["whatsapp_business_api_data"]["id"] for one in account.get_subscribed_apps()]


def test_users_are_assigned_and_taken_off(
    simulator: Simulator, account: WhatsAppBusinessAccount, waba: str, wire: Wire
) -> None:
    world = simulator.world
    user = simulator.app.system_user_id
    business = {"business": world.business.id}

    account.create_assigned_user(params={"user": int(user), "tasks": ["MANAGE"]})
    (assigned,) = account.get_assigned_users(params=business)
    assert (assigned["id"], assigned["tasks"]) == (user, ["MANAGE"])
    with pytest.raises(FacebookRequestError) as caught:
        account.get_assigned_users()
    assert caught.value.api_error_code() == 100
    account.delete_assigned_users(params={"user": int(user)})

    assert user not in world.waba(waba).assigned
    edge = f"{waba}/assigned_users"
    assert wire.seen() == [f"POST {edge}", f"GET {edge}", f"GET {edge} 400/100", f"DELETE {edge}"]


# What a partner has


def test_a_partner_lists_what_it_has(simulator: Simulator, api: FacebookAdsApi) -> None:
    world = simulator.world
    partner = Business(world.business.id, api=api)

    wabas = partner.get_client_whats_app_business_accounts(fields=["id", "name"], params={"limit": 2})
    assert ids(wabas) == world.waba_ids
    assert ids(partner.get_owned_whats_app_business_accounts()) == []
    assert ids(partner.get_extended_credits(fields=["id", "legal_entity_name"])) == [world.credit.id]
    assert ids(partner.get_system_users()) == [simulator.app.system_user_id]
    assert set(
        ids(SystemUser(simulator.app.system_user_id, api=api).get_assigned_whats_app_business_accounts())
    ) == set(world.waba_ids)


def test_a_partner_onboards_a_customer(simulator: Simulator, api: FacebookAdsApi, wire: Wire) -> None:
    world = simulator.world
    signup = world.signup()

    token = token_for(simulator, api, signup.code)
    known = api.call("GET", ("debug_token",), params={"input_token": token}).json()["data"]
    granted = {one["scope"]: one.get("target_ids") for one in known["granular_scopes"]}
    assert granted["whatsapp_business_management"] == [signup.waba_id]

    customer = api_at(simulator, token)
    WhatsAppBusinessAccount(signup.waba_id, api=customer).create_subscribed_app()
    WhatsAppBusinessAccount(signup.waba_id, api=api).create_assigned_user(
        params={"user": int(simulator.app.system_user_id), "tasks": ["MANAGE"]}
    )
    credit = ExtendedCredit(world.credit.id, api=api)
    shared = credit.create_whats_app_credit_sharing_and_attach(
        params={"waba_id": signup.waba_id, "waba_currency": "USD"}
    )
    allocation = ExtendedCreditAllocationConfig(shared["allocation_config_id"], api=api)
    allocation.api_get(fields=["receiving_credential", "request_status"])
    funded = WhatsAppBusinessAccount(signup.waba_id, api=customer).api_get(fields=["primary_funding_id"])
    assert funded["primary_funding_id"] == allocation["receiving_credential"]["id"]
    customer.call(
        "POST", (signup.number_id, "register"), params={"messaging_product": "whatsapp", "pin": "123456"}
    )

    assert wire.effects() == [
        "code_exchanged",
        "app_subscribed",
        "user_assigned",
        "credit_shared",
        "credit_attached",
        "number_registered",
    ]
    assert simulator.judge.effects.duplicates() == []
    assert all(not one.endswith("/100") for one in wire.seen())


def test_credit_is_shared_attached_by_the_customers_token_and_revoked(
    simulator: Simulator, api: FacebookAdsApi, wire: Wire
) -> None:
    credit_id, signup = simulator.world.credit.id, simulator.world.signup()
    credit = ExtendedCredit(credit_id, api=api)
    receiving_business = {"receiving_business_id": signup.business_id}
    customer = api_at(simulator, token_for(simulator, api, signup.code))

    credit.create_whats_app_credit_sharing(params=receiving_business)
    (allocation,) = credit.get_owning_credit_allocation_configs(params=receiving_business)
    ExtendedCredit(credit_id, api=customer).create_whats_app_credit_attach(
        params={"waba_id": signup.waba_id, "waba_currency": "EUR"}
    )

    funded = WhatsAppBusinessAccount(signup.waba_id, api=customer).api_get(
        fields=["primary_funding_id", "currency"]
    )
    allocation.api_get(fields=["receiving_credential", "request_status"])
    assert funded["primary_funding_id"] == allocation["receiving_credential"]["id"]
    assert funded["currency"] == "EUR"
    allocation.api_delete()
    allocation.api_get(fields=["request_status"])
    assert allocation["request_status"] == "DELETED"
    # Revoked for the business and for the WABA.
    revoked = ["credit_revoked"] * 2
    assert wire.effects() == ["code_exchanged", "credit_shared", "credit_attached", *revoked]


def test_a_waba_asks_to_move_to_another_solution(api: FacebookAdsApi, account: WhatsAppBusinessAccount) -> None:
    intent = account.create_set_solution_migration_intent(params={"solution_id": "774485461512159"})

    assert api.call("GET", (intent["id"],), params={"fields": "status"}).json()["status"] == "INITIATED"


def test_an_upload_is_opened_from_a_form(simulator: Simulator, api: FacebookAdsApi) -> None:
    opened = Application(simulator.app.id, api=api).create_upload(
        params={"file_name": "picture.png", "file_length": 1000, "file_type": "image/png"}
    )

    assert opened["id"].startswith("upload:")
    assert "sig=" in opened["id"]


# Many in one request


def test_several_objects_are_read_by_their_ids(simulator: Simulator, api: FacebookAdsApi) -> None:
    wanted = simulator.world.waba_ids

    read = WhatsAppBusinessAccount.get_by_ids(wanted, fields=["id", "name"], api=api)

    assert {one["id"]: one["name"] for one in read} == {one: simulator.world.waba(one).name for one in wanted}
    # One HTTP request, but a call for each object.
    assert simulator.judge.counted == 3
    assert len({call.request for call in simulator.judge.calls() if call.via}) == 1


def test_each_call_of_a_batch_is_answered_and_counted(
    simulator: Simulator, api: FacebookAdsApi, account: WhatsAppBusinessAccount, waba: str, wire: Wire
) -> None:
    answers: list[Any] = []
    failures: list[FacebookResponse] = []
    doomed = simulator.world.add_template(waba, name="doomed")
    batch = api.new_batch()

    def told(response: FacebookResponse) -> None:
        answers.append(response.json())

    account.api_get(fields=["name"], batch=batch, success=told, failure=failures.append)
    account.get_message_templates(params={"limit": 2}, batch=batch, success=told, failure=failures.append)
    account.create_message_template(
        params={"name": "of_a_batch", "language": "en_US", "category": "UTILITY", "components": BODY},
        batch=batch,
        success=told,
        failure=failures.append,
    )
    account.delete_message_templates(
        params={"name": doomed.name}, batch=batch, success=told, failure=failures.append
    )
    WhatsAppBusinessAccount("999", api=api).api_get(batch=batch, success=told, failure=failures.append)

    assert batch.execute() is None

    name, templates, created, deleted = answers
    assert name == {"name": simulator.world.waba(waba).name, "id": waba}
    assert len(templates["data"]) == 2
    assert created["status"] == "PENDING"
    assert deleted == {"success": True}
    (failure,) = failures
    assert failure.status() in (400, 404)
    assert failure.error().api_error_code() == 100
    assert simulator.judge.counted == 5
    assert wire.effects() == ["template_created", "template_deleted"]
    (made,) = account.get_message_templates(params={"name": "of_a_batch"})
    assert made["components"] == BODY


def test_what_a_batch_did_not_answer_is_sent_again(
    simulator: Simulator, api: FacebookAdsApi, account: WhatsAppBusinessAccount, waba: str, wire: Wire
) -> None:
    simulator.faults.add(path="message_templates", reset_before=True, times=1)
    answers: list[FacebookResponse] = []
    batch = api.new_batch()
    account.api_get(fields=["name"], batch=batch, success=answers.append)
    account.get_message_templates(params={"limit": 2}, batch=batch, success=answers.append)

    again = batch.execute()

    assert len(answers) == len(again) == 1
    assert again.execute() is None
    assert [sorted(answer.json()) for answer in answers] == [["id", "name"], ["data", "paging"]]
    templates = f"GET {waba}/message_templates"
    assert wire.seen() == [f"GET {waba}", f"{templates} 0/None", templates]


def test_a_batch_of_too_many_is_refused(api: FacebookAdsApi, account: WhatsAppBusinessAccount) -> None:
    batch = api.new_batch()
    for _ in range(51):
        account.api_get(batch=batch)

    with pytest.raises(FacebookRequestError) as caught:
        batch.execute()

    assert caught.value.api_error_type() == "GraphBatchException"


# Errors, limits, proofs


def test_an_error_has_all_that_the_sdk_looks_for(account: WhatsAppBusinessAccount) -> None:
    with pytest.raises(FacebookRequestError) as caught:
        account.create_message_template(
            params={"name": "Bad Name!", "language": "en_US", "category": "UTILITY", "components": BODY}
        )

    error = caught.value
    assert (error.http_status(), error.api_error_code(), error.api_error_subcode()) == (400, 100, 2388046)
    assert error.api_error_type() == "OAuthException"
    assert error.api_error_message() == "Invalid parameter"
    assert error.api_blame_field_specs() == [["name"]]
    assert error.api_transient_error() is False


def test_a_refusal_is_told_with_the_usage_headers(simulator: Simulator, account: WhatsAppBusinessAccount) -> None:
    simulator.limits.set_app_limit(2)
    cursor = account.get_message_templates(params={"limit": 3})
    usage = json.loads(cursor.headers()["X-App-Usage"])
    assert usage["call_count"] == 50

    with pytest.raises(FacebookRequestError) as caught:
        list(cursor)

    error = caught.value
    assert (error.api_error_code(), error.api_transient_error()) == (4, True)
    assert json.loads(error.http_headers()["X-App-Usage"])["call_count"] >= 100
    (business_usage,) = json.loads(error.http_headers()["X-Business-Use-Case-Usage"]).values()
    assert business_usage[0]["type"] == "whatsapp_business_management"


def test_an_outage_is_told_to_be_transient(simulator: Simulator, account: WhatsAppBusinessAccount) -> None:
    simulator.faults.add(code=2, status=503, times=1)

    with pytest.raises(FacebookRequestError) as caught:
        account.api_get()

    assert (caught.value.http_status(), caught.value.api_error_code()) == (503, 2)
    account.api_get()


def test_a_wrong_proof_is_refused_and_a_right_one_is_enough() -> None:
    with Simulator(SimulatorConfig(clock="hand", wabas=1, require_proof=True)).running() as simulator:
        only = simulator.world.waba_ids[0]
        WhatsAppBusinessAccount(only, api=api_at(simulator)).api_get()

        with pytest.raises(FacebookRequestError) as caught:
            WhatsAppBusinessAccount(only, api=api_at(simulator, secret="0" * 32)).api_get()

        assert caught.value.api_error_code() == 100
