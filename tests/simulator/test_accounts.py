"""A WABA: its fields and settings, its users, subscriptions and bans; and the lists of a business."""

from __future__ import annotations

import json

import pytest

from .client import error_of
from .test_onboarding import as_customer, effects, token_of

EVERY_FIELD = (
    "id,name,timezone_id,message_template_namespace,status,business_verification_status,is_enabled_for_insights,"
    "marketing_messages_lite_api_status,marketing_messages_onboarding_status,on_behalf_of_business_info,"
    "ownership_type,health_status,currency,country,subscribed_apps,owner_business_info,account_review_status,"
    "disable_marketing_messages_on_cloud_api,primary_funding_id,whatsapp_business_manager_messaging_limit"
)


def first(client) -> str:
    return client.simulator.world.waba_ids[0]


# Fields and settings


def test_every_field_of_a_waba_may_be_asked_for(start) -> None:
    client = start()

    answer = client.get(first(client), fields=EVERY_FIELD).json()

    assert set(EVERY_FIELD.split(",")) == set(answer)
    assert (answer["status"], answer["account_review_status"]) == ("ACTIVE", "APPROVED")
    assert answer["business_verification_status"] == "verified"
    assert answer["subscribed_apps"]["data"][0]["whatsapp_business_api_data"]["id"] == client.simulator.app.id
    assert isinstance(answer["timezone_id"], str)


def test_a_waba_without_funding_or_whose_business_is_unverified_cannot_send_freely(start) -> None:
    client = start()
    world = client.simulator.world
    waba = world.waba(first(client))

    world.change(world.nodes[waba.business_id]).verified = False
    limited = client.get(waba.id, fields="health_status,business_verification_status").json()
    world.change(waba).funding_id = None
    blocked = client.get(waba.id, fields="health_status").json()["health_status"]

    assert limited["health_status"]["can_send_message"] == "LIMITED"
    assert limited["business_verification_status"] == "not_verified"
    assert [one["entity_type"] for one in limited["health_status"]["entities"]] == ["WABA", "BUSINESS"]
    assert blocked["can_send_message"] == "BLOCKED"
    assert blocked["entities"][0]["errors"][0]["error_code"] == 141006


def test_settings_are_changed_and_read(start) -> None:
    client = start()
    settings = {
        "is_enabled_for_insights": "true",
        "disable_marketing_messages_on_cloud_api": "true",
        "name": "Another name",
        "timezone_id": "42",
        "degrees_of_freedom_spec": '{"creative_features_spec":{}}',
    }

    assert client.post(first(client), data=settings).json() == {"success": True}
    assert client.post(first(client), json={"name": "Another name"}).json() == {"success": True}

    read = client.get(first(client), fields=",".join(settings)).json()
    assert (read["name"], read["timezone_id"], read["is_enabled_for_insights"]) == ("Another name", "42", True)
    assert read["disable_marketing_messages_on_cloud_api"] is True
    assert read["degrees_of_freedom_spec"] == {"creative_features_spec": {}}
    assert effects(client, "waba_changed") == [(first(client), False)]
    assert client.simulator.judge.calls()[1].wasted == "nothing to do"


@pytest.mark.parametrize(
    "settings",
    [{"name": ""}, {"name": "x" * 101}, {"timezone_id": "west"}, {"is_enabled_for_insights": "perhaps"}],
)
def test_wrong_settings_change_nothing(start, settings) -> None:
    client = start()

    assert error_of(client.post(first(client), data=settings))["code"] == 100
    assert effects(client, "waba_changed") == []


def test_a_waba_may_be_read_as_it_was(start) -> None:
    client = start()
    before = client.get(first(client)).json()["name"]
    client.simulator.advance(60)
    client.post(first(client), data={"name": "Another name"})
    client.control("POST", "faults", json={"method": "GET", "stale": 30})

    assert client.get(first(client)).json()["name"] == before


# Assigned users


def test_users_are_assigned_with_tasks_listed_and_taken_off(start) -> None:
    client = start()
    waba, user = first(client), client.simulator.app.system_user_id
    path, business = f"{waba}/assigned_users", client.simulator.world.business.id

    assert client.post(path, json={"user": user, "tasks": ["MANAGE", "VIEW_COST"]}).ok
    listed = client.get(path, business=business, summary="true").json()
    assert client.delete(path, user=user).json() == {"success": True}
    assert client.delete(path, user=user).json() == {"success": True}

    assert [(one["id"], one["tasks"]) for one in listed["data"]] == [(user, ["MANAGE", "VIEW_COST"])]
    assert listed["data"][0]["name"]
    assert client.get(path, business=business).json() == {"data": []}
    assert error_of(client.get(waba))["error_subcode"] == 33
    assert effects(client, "user_unassigned") == [(waba, False)]


@pytest.mark.parametrize(
    ("tasks", "kept"),
    [
        ("['MANAGE']", ["MANAGE"]),
        ('["MANAGE","DEVELOP"]', ["MANAGE", "DEVELOP"]),
        ("MANAGE,MANAGE", ["MANAGE"]),
    ],
)
def test_tasks_come_in_any_of_the_graphs_shapes(start, tasks, kept) -> None:
    client = start()
    user = client.simulator.app.system_user_id

    client.post(f"{first(client)}/assigned_users", params={"user": user, "tasks": tasks})

    assert list(client.simulator.world.waba(first(client)).assigned[user]) == kept


def test_assigning_what_is_assigned_is_nothing_to_do(start) -> None:
    client = start()
    user = client.simulator.app.system_user_id

    assert client.post(f"{first(client)}/assigned_users", data={"user": user, "tasks": "MANAGE"}).ok

    assert effects(client, "user_assigned") == []
    assert client.simulator.judge.calls()[-1].wasted == "nothing to do"


@pytest.mark.parametrize(
    "given",
    [
        {"tasks": "MANAGE"},
        {"user": "1", "tasks": "MANAGE"},
        {"user": "the user", "tasks": "REIGN"},
        {"user": "the user", "tasks": "[]"},
        {"user": "the user"},
    ],
)
def test_assigning_needs_a_system_user_and_known_tasks(start, given) -> None:
    client = start()
    given = {
        name: client.simulator.app.system_user_id if value == "the user" else value
        for name, value in given.items()
    }

    assert error_of(client.post(f"{first(client)}/assigned_users", data=given))["code"] == 100


def test_the_assigned_users_are_those_of_a_business_that_must_be_named(start) -> None:
    client = start()
    path = f"{first(client)}/assigned_users"
    owner = client.simulator.world.waba(first(client)).business_id

    assert error_of(client.get(path))["code"] == 100
    assert error_of(client.get(path, business="1"))["code"] == 100
    assert client.get(path, business=owner).json() == {"data": []}


# Businesses


def test_a_business_lists_its_system_users(start) -> None:
    client = start(apps=2)
    world = client.simulator.world

    users = client.get(f"{world.business.id}/system_users").json()["data"]

    assert [user["id"] for user in users] == [app.system_user_id for app in world.apps]
    assert client.get(f"{world.waba(first(client)).business_id}/system_users").json() == {"data": []}
    assert client.get(world.business.id, fields="name,verification_status").json()["name"] == "The partner"


def test_the_partner_lists_what_customers_share_and_a_customer_what_it_owns(start) -> None:
    client = start(wabas=4)
    world = client.simulator.world
    signup = world.signup()

    shared = client.get(f"{world.business.id}/client_whatsapp_business_accounts").json()["data"]
    owned = client.get(f"{signup.business_id}/owned_whatsapp_business_accounts").json()["data"]

    assert [one["id"] for one in shared] == world.waba_ids
    assert [one["id"] for one in owned] == [signup.waba_id]
    assert client.get(f"{world.business.id}/owned_whatsapp_business_accounts").json() == {"data": []}
    token = token_of(client, signup)
    refused = as_customer(client, token, "GET", f"{world.business.id}/client_whatsapp_business_accounts")
    assert error_of(refused)["error_subcode"] == 33


def test_a_list_of_wabas_has_pages_of_at_most_100_and_the_newest_first_if_wanted(start) -> None:
    client = start(wabas=120, templates=0)
    world = client.simulator.world
    path = f"{world.business.id}/client_whatsapp_business_accounts"

    page = client.get(path, limit=100, fields="id,name").json()
    rest = client.get(path, limit=100, after=page["paging"]["cursors"]["after"]).json()
    newest = client.get(path, sort="creation_time_descending", limit=1).json()["data"]

    assert [one["id"] for one in page["data"] + rest["data"]] == world.waba_ids
    assert len(client.get(path).json()["data"]) == 25
    assert newest[0]["id"] == world.waba_ids[-1]
    assert error_of(client.get(path, limit=101))["code"] == 100
    assert error_of(client.get(path, sort="by_name"))["code"] == 100


def test_wabas_may_be_filtered_by_their_creation(start) -> None:
    client = start()
    world = client.simulator.world
    client.simulator.advance(1000)
    before = int(world.unix())
    client.simulator.advance(1000)
    signup = world.signup()

    def found(operator: str, value: object, field: str = "creation_time"):
        filtering = json.dumps([{"field": field, "operator": operator, "value": value}])
        return client.get(f"{world.business.id}/client_whatsapp_business_accounts", filtering=filtering)

    assert [one["id"] for one in found("GREATER_THAN", before).json()["data"]] == [signup.waba_id]
    assert [one["id"] for one in found("LESS_THAN", str(before)).json()["data"]] == world.waba_ids[:3]
    assert error_of(found("ABOUT", before))["code"] == 100
    assert error_of(found("GREATER_THAN", "yesterday"))["code"] == 100
    assert error_of(found("GREATER_THAN", before, "name"))["code"] == 100


def test_a_stale_list_does_not_have_what_came_since(start) -> None:
    client = start()
    world = client.simulator.world
    client.simulator.advance(60)
    world.signup()
    client.control("POST", "faults", json={"method": "GET", "stale": 30})

    listed = client.get(f"{world.business.id}/client_whatsapp_business_accounts").json()["data"]

    assert [one["id"] for one in listed] == world.waba_ids[:3]


def test_edges_may_be_expanded_in_a_list_of_wabas(start) -> None:
    client = start()
    world = client.simulator.world
    path = f"{world.business.id}/client_whatsapp_business_accounts"

    listed = client.get(path, fields="name,phone_numbers.limit(1){status},subscribed_apps", limit=2).json()[
        "data"
    ]

    assert [one["phone_numbers"]["data"][0]["id"] for one in listed] == world.number_ids[:2]
    assert all(one["subscribed_apps"]["data"] for one in listed)
    assert error_of(client.get(path, fields="name,colours"))["code"] == 100


def test_a_system_user_lists_the_wabas_that_it_is_assigned_to(start) -> None:
    client = start()
    world, user = client.simulator.world, client.simulator.app.system_user_id
    signup = world.signup()
    client.delete(f"{world.waba_ids[1]}/assigned_users", user=user)

    listed = client.get(f"{user}/assigned_whatsapp_business_accounts", fields="id").json()["data"]
    read = client.get(user, fields="name,business{id}").json()

    assert [one["id"] for one in listed] == [world.waba_ids[0], world.waba_ids[2]]
    assert (read["id"], read["business"]["id"]) == (user, world.business.id)
    assert error_of(as_customer(client, token_of(client, signup), "GET", user))["error_subcode"] == 33


# Subscriptions


def test_an_app_subscribes_once_and_leaves(start) -> None:
    client = start()
    signup = client.simulator.world.signup()
    token, path = token_of(client, signup), f"{signup.waba_id}/subscribed_apps"

    answers = [
        as_customer(client, token, method, path) for method in ("POST", "POST", "GET", "DELETE", "DELETE", "GET")
    ]

    assert [answer.json() for answer in answers[:2] + answers[3:5]] == [{"success": True}] * 4
    (listed,) = answers[2].json()["data"]
    assert set(listed) == {"whatsapp_business_api_data"}
    assert listed["whatsapp_business_api_data"]["id"] == client.simulator.app.id
    assert answers[5].json() == {"data": []}
    assert effects(client, "app_subscribed") == [(signup.waba_id, False)]
    assert effects(client, "app_unsubscribed") == [(signup.waba_id, False)]
    assert client.simulator.judge.wasted() == {"nothing to do": 2}


def test_an_override_is_set_once_its_callback_answers_the_challenge(start, callback) -> None:
    client = start()
    path, url = f"{first(client)}/subscribed_apps", callback()

    assert client.post(path, json={"override_callback_uri": url, "verify_token": "right"}).json() == {
        "success": True
    }
    assert client.get(path).json()["data"][0]["override_callback_uri"] == url
    assert effects(client, "override_set") == [(first(client), False)]


@pytest.mark.parametrize(
    "answering", [{"token": "another"}, {"status": 500}, {"body": "hello"}, {"status": 302}], ids=str
)
def test_an_override_whose_callback_fails_is_refused_and_the_one_before_stays(start, callback, answering) -> None:
    client = start()
    path, good = f"{first(client)}/subscribed_apps", callback()
    client.post(path, json={"override_callback_uri": good, "verify_token": "right"})

    refused = client.post(path, json={"override_callback_uri": callback(**answering), "verify_token": "right"})

    assert (refused.status_code, error_of(refused)["code"]) == (400, 100)
    assert client.get(path).json()["data"][0]["override_callback_uri"] == good
    assert len(effects(client, "override_set")) == 1


def test_a_plain_subscription_clears_an_override(start, callback) -> None:
    client = start()
    path = f"{first(client)}/subscribed_apps"
    client.post(path, data={"override_callback_uri": callback(), "verify_token": "right"})

    assert client.post(path).json() == {"success": True}

    assert "override_callback_uri" not in client.get(path).json()["data"][0]
    assert effects(client, "override_cleared") == [(first(client), False)]


@pytest.mark.parametrize(
    "given",
    [
        {"override_callback_uri": "https://a.example/" + "x" * 200, "verify_token": "right"},
        {"override_callback_uri": "https://a.example/"},
        {"override_callback_uri": "ftp://a.example/", "verify_token": "right"},
        {"override_callback_uri": "http://127.0.0.1:9/", "verify_token": "right"},
        {"override_callback_uri": "http://[", "verify_token": "right"},
    ],
)
def test_an_override_needs_a_short_uri_a_token_and_somebody_there(start, given) -> None:
    client = start()

    assert error_of(client.post(f"{first(client)}/subscribed_apps", data=given))["code"] == 100
    assert client.simulator.judge.defects == 0


# Reviews, bans, the end


def test_a_review_is_told_by_a_webhook(start) -> None:
    client = start()

    client.control("POST", "accounts", json={"waba": first(client), "action": "review", "decision": "REJECTED"})

    assert client.get(first(client), fields="account_review_status").json()["account_review_status"] == "REJECTED"
    (told,) = client.simulator.webhooks.sent(topic="account_review_update")
    assert told.value == {"decision": "REJECTED"}


def test_a_disabled_waba_is_read_and_not_changed_until_it_is_reinstated(start) -> None:
    client = start()
    body = {"waba": first(client), "action": "ban"}

    client.control("POST", "accounts", json=body)
    read = client.get(first(client), fields="status,health_status").json()
    refused = client.post(first(client), data={"name": "Another"})
    client.control("POST", "accounts", json={**body, "action": "reinstate"})

    assert read["status"] == "DISABLED"
    assert read["health_status"]["can_send_message"] == "BLOCKED"
    assert (refused.status_code, error_of(refused)["code"]) == (403, 131031)
    assert client.post(first(client), data={"name": "Another"}).ok
    states = [
        one.value["ban_info"]["waba_ban_state"] for one in client.simulator.webhooks.sent(topic="account_update")
    ]
    assert states == ["DISABLE", "REINSTATE"]


def test_a_ban_may_come_after_a_notice(start) -> None:
    client = start()

    client.control("POST", "accounts", json={"waba": first(client), "action": "ban", "after": 3600})
    before = client.get(first(client), fields="status").json()["status"]
    client.simulator.advance(3600)
    after = client.get(first(client), fields="status").json()["status"]

    assert (before, after) == ("ACTIVE", "DISABLED")
    sent = client.simulator.webhooks.sent(topic="account_update")
    assert [one.value["ban_info"]["waba_ban_state"] for one in sent] == ["SCHEDULE_FOR_DISABLE", "DISABLE"]
    assert sent[0].value["ban_info"]["waba_ban_date"] == sent[1].value["ban_info"]["waba_ban_date"]


def test_a_deleted_waba_is_gone(start) -> None:
    client = start()
    waba = first(client)
    number = client.simulator.world.waba(waba).numbers[0].id

    client.control("POST", "accounts", json={"waba": waba, "action": "delete"})

    for path in (waba, number, f"{waba}/message_templates"):
        assert error_of(client.get(path))["error_subcode"] == 33
    listed = client.get(f"{client.simulator.world.business.id}/client_whatsapp_business_accounts").json()["data"]
    assert waba not in [one["id"] for one in listed]
    assert [one.value["event"] for one in client.simulator.webhooks.sent(topic="account_update")] == [
        "ACCOUNT_DELETED"
    ]
    with pytest.raises(ValueError, match="there is no WABA"):
        client.simulator.world.signup(waba=waba)
    assert client.control("POST", "accounts", json={"waba": "1", "action": "ban"}).status_code == 400


# Moving to another solution


def test_a_move_to_another_solution_waits_for_the_owner(start) -> None:
    client = start()
    path = f"{first(client)}/set_solution_migration_intent"

    made = client.post(path, data={"solution_id": "77"}).json()
    waiting = client.get(made["id"], fields="status").json()
    client.control("POST", "intents", json={"id": made["id"], "status": "ACCEPTED"})
    decided = client.get(made["id"], fields="status").json()

    assert waiting == {"status": "INITIATED", "id": made["id"]}
    assert decided["status"] == "ACCEPTED"
    assert error_of(client.post(path))["code"] == 100
    assert client.control("POST", "intents", json={"id": "1", "status": "ACCEPTED"}).status_code == 400


def test_a_second_wish_is_a_duplicate_unless_the_first_was_rejected(start) -> None:
    client = start()
    path = f"{first(client)}/set_solution_migration_intent"

    one = client.post(path, params={"app_id": "77"}).json()["id"]
    client.control("POST", "intents", json={"id": one, "status": "REJECTED"})
    client.post(path, params={"app_id": "77"})
    fresh = client.simulator.judge.effects.duplicates()
    client.post(path, params={"app_id": "77"})

    assert fresh == []
    assert len(client.simulator.judge.effects.duplicates()) == 1


def test_the_calls_that_metas_page_names_count_against_the_waba(start) -> None:
    client = start()
    world, waba = client.simulator.world, first(client)
    user = client.simulator.app.system_user_id

    client.get(waba)
    client.get(f"{waba}/assigned_users", business=world.business.id)
    client.post(f"{waba}/assigned_users", data={"user": user, "tasks": "MANAGE"})
    client.get(f"{waba}/subscribed_apps")
    client.post(f"{waba}/subscribed_apps")
    client.delete(f"{waba}/subscribed_apps")
    client.post(waba, data={"name": "Another"})
    client.get(f"{waba}/flows")

    usage = client.simulator.limits.waba_usage(client.simulator.app.id, world.waba(waba))
    assert usage.calls == 6


def pull(client, action: str, **more):
    answer = client.control("POST", "accounts", json={"waba": first(client), **more, "action": action})
    assert answer.ok, answer.text
    return answer.json()


def test_meta_may_verify_a_business_or_take_that_back(start) -> None:
    client = start(template_limits=(250, 6000))

    def status() -> tuple[str, int]:
        read = client.get(first(client), fields="business_verification_status").json()
        summary = client.templates(summary="message_template_limit").json()["summary"]
        return read["business_verification_status"], summary["message_template_limit"]

    states = [pull(client, "unverify")["verified"], pull(client, "unverify")["verified"]]
    small = status()
    states.append(pull(client, "verify")["verified"])

    assert states == [False, False, True]
    assert (small, status()) == (("not_verified", 250), ("verified", 6000))
    told = client.simulator.webhooks.sent(topic="business_capability_update")
    assert [(one.waba, one.value) for one in told] == [
        (
            first(client),
            {"max_daily_conversations_per_business": "TIER_250", "max_phone_numbers_per_business": 2},
        ),
        (first(client), {"max_daily_conversations_per_business": "TIER_2K", "max_phone_numbers_per_waba": 20}),
    ]


def test_the_funding_of_a_waba_may_end_and_come_back(start) -> None:
    client = start()

    def status() -> tuple[str | None, str]:
        read = client.get(first(client), fields="primary_funding_id,health_status").json()
        return read.get("primary_funding_id"), read["health_status"]["can_send_message"]

    before = status()
    gone = pull(client, "unfund")["funding"]
    without = status()
    back = pull(client, "fund")["funding"]

    assert (gone, without) == (None, (None, "BLOCKED"))
    assert (back, status()) == (before[0], before), "the credit that is attached to it pays again"
    assert pull(client, "fund")["funding"] == back


def test_a_customer_may_pay_by_its_own_means(start) -> None:
    client = start()
    signup = client.simulator.world.signup()

    funding = pull(client, "fund", waba=signup.waba_id)["funding"]

    assert funding
    assert client.simulator.world.waba(signup.waba_id).funding_id == funding
