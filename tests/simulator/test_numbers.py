"""Phone numbers: added, listed, read, renamed, their PIN, settings and webhook."""

from __future__ import annotations

import json

import pytest

from tests.support.receivers import verified_callback

from .client import Client, error_of

PYWA_FIELDS = (
    "id,verified_name,display_phone_number,conversational_automation,status,quality_rating,quality_score,"
    "webhook_configuration,name_status,new_name_status,code_verification_status,account_mode,is_on_biz_app,"
    "is_official_business_account,is_pin_enabled,is_preverified_number,search_visibility,platform_type,"
    "throughput,eligibility_for_api_business_global_search,health_status,certificate,new_certificate,"
    "last_onboarded_time,country_code,country_dial_code,whatsapp_business_manager_messaging_limit"
)


def first(client: Client) -> str:
    return client.simulator.world.number_ids[0]


def waba(client: Client, place: int = 0) -> str:
    return client.simulator.world.waba_ids[place]


def steer(client: Client, action: str, number: str | None = None, **more):
    answer = client.control("POST", "numbers", json={"action": action, "number": number, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


def fields(client: Client, number: str, *names: str) -> dict:
    answer = client.get(number, fields=",".join(names))
    assert answer.status_code == 200, answer.text
    return answer.json()


def add(client: Client, place: int = 0, **parameters):
    asked = {"cc": "49", "phone_number": "15123456789", "verified_name": "Shoe Shop", **parameters}
    return client.post(f"{waba(client, place)}/phone_numbers", json=asked)


def added(client: Client, place: int = 0, **parameters) -> str:
    answer = add(client, place, **parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


def listed(client: Client, place: int = 0, **parameters) -> list[str]:
    answer = client.get(f"{waba(client, place)}/phone_numbers", **parameters)
    assert answer.status_code == 200, answer.text
    return [one["id"] for one in answer.json()["data"]]


def effects(client: Client, kind: str) -> list:
    return client.simulator.judge.effects.all(kind=kind)


def webhooks(client: Client, topic: str) -> list[dict]:
    return [one.value for one in client.simulator.webhooks.sent(topic=topic)]


def refusal(answer) -> tuple[int, int | None]:
    error = error_of(answer)
    return error["code"], error.get("error_subcode")


# Adding


def test_an_added_number_is_neither_verified_nor_registered(start) -> None:
    client = start()

    number = added(client)

    assert fields(
        client, number, "verified_name", "display_phone_number", "status", "platform_type", "is_pin_enabled",
        "code_verification_status", "name_status", "quality_rating",
    ) == {
        "verified_name": "Shoe Shop",
        "display_phone_number": "+49 1512345-6789",
        "status": "PENDING",
        "platform_type": "NOT_APPLICABLE",
        "is_pin_enabled": False,
        "code_verification_status": "NOT_VERIFIED",
        "name_status": "PENDING_REVIEW",
        "quality_rating": "UNKNOWN",
        "id": number,
    }  # fmt: skip
    assert listed(client) == [first(client), number]
    (effect,) = effects(client, "number_added")
    assert (effect.subject, effect.details) == (
        f"{waba(client)}/4915123456789",
        {"number": number, "migrating": False},
    )


@pytest.mark.parametrize(
    ("cc", "written", "whole"),
    [
        ("49", "15123456789", "4915123456789"),
        ("49", "4915123456789", "4915123456789"),
        ("+49", "+49 1512-3456789", "4915123456789"),
        ("1", "5550123456", "15550123456"),
        ("1", "15550123456", "15550123456"),
        ("1", "(555) 012-3456", "15550123456"),
        # An area code that is the same as the country code.
        ("49", "4912345", "494912345"),
    ],
)
def test_a_number_comes_with_its_country_code_or_without(start, cc, written, whole) -> None:
    client = start()

    added(client, cc=cc, phone_number=written)

    assert effects(client, "number_added")[0].subject == f"{waba(client)}/{whole}"


@pytest.mark.parametrize(
    "wrong",
    [
        {"cc": None},
        {"cc": ""},
        {"cc": "0"},
        {"cc": "1234"},
        {"cc": "x"},
        {"phone_number": None},
        {"phone_number": ""},
        {"phone_number": "12"},
        {"phone_number": "+49"},
        {"phone_number": "call me"},
        {"phone_number": "1" * 16},
        {"phone_number": "٣" * 9},
        {"verified_name": None},
        {"verified_name": "x"},
        {"verified_name": "x" * 76},
        {"preverified_id": "1"},
        {"migrate_phone_number": "perhaps"},
    ],
)
def test_a_wrong_number_or_name_is_error_100(start, wrong) -> None:
    answer = add(start(), **wrong)

    assert (answer.status_code, error_of(answer)["code"]) == (400, 100)


def test_the_country_code_may_be_named_as_a_client_names_it(start) -> None:
    client = start()

    answer = client.post(
        f"{waba(client)}/phone_numbers",
        json={"country_code": "49", "phone_number": "15123456789", "verified_name": "Shop"},
    )

    assert answer.status_code == 200


def test_a_number_that_is_in_the_list_is_2388012(start) -> None:
    client = start()
    added(client)

    for more in ({}, {"migrate_phone_number": True}, {"phone_number": "4915123456789"}):
        assert refusal(add(client, **more)) == (100, 2388012)


@pytest.mark.parametrize("status", [400, 409])
def test_a_number_that_another_account_has_verified_is_taken(start, status) -> None:
    client = start(number_taken_status=status)
    number = added(client, 1)

    unverified = add(client)
    client.simulator.world.change(client.simulator.world.node(unverified.json()["id"])).moved_away = True
    steer(client, "verify", number)
    answer = add(client)

    assert unverified.status_code == 200
    assert (answer.status_code, error_of(answer)["code"]) == (status, 100)


@pytest.mark.parametrize(("verified", "most"), [(True, 4), (False, 2)])
def test_a_business_may_have_so_many_numbers(start, verified, most) -> None:
    client = start(numbers_most=(2, 4))
    world = client.simulator.world
    world.change(world.nodes[world.waba(waba(client)).business_id]).verified = verified

    answers = [add(client, phone_number=f"1512345678{n}") for n in range(most)]

    assert [one.status_code for one in answers[:-1]] == [200] * (most - 1)
    assert refusal(answers[-1]) == (200, 1349175)
    assert add(client, 1).status_code == 200


def test_the_limit_of_numbers_is_of_all_wabas_of_a_business(start) -> None:
    client = start(numbers_most=(1, 3))
    world = client.simulator.world
    world.change(world.waba(waba(client, 1))).business_id = world.waba(waba(client)).business_id

    assert add(client).status_code == 200
    assert refusal(add(client, 1, phone_number="1512345678")) == (200, 1349175)


def test_a_preverified_number_is_verified_at_once_and_used_once(start) -> None:
    client = start()
    pool = steer(client, "preverify", cc="49", phone_number="15123456789")["id"]

    other = add(client, phone_number="15123456780", preverified_id=pool)
    number = added(client, preverified_id=pool)
    again = add(client, 1, phone_number="15123456781", preverified_id=pool)

    assert fields(client, number, "code_verification_status", "is_preverified_number") == {
        "code_verification_status": "VERIFIED",
        "is_preverified_number": True,
        "id": number,
    }
    assert error_of(other)["code"] == error_of(again)["code"] == 100
    assert client.post(f"{number}/register", json={"messaging_product": "whatsapp", "pin": "123456"}).ok


def test_adding_counts_for_the_app_and_not_for_the_waba(start) -> None:
    client = start(waba_limit_active=1)

    assert [add(client, phone_number=f"1512345678{n}").status_code for n in range(3)] == [200] * 3


# Listing and reading


def test_every_field_of_a_client_may_be_asked_for(start) -> None:
    client = start()

    shown = client.get(first(client), fields=PYWA_FIELDS).json()

    assert shown["status"] == "CONNECTED"
    assert shown["throughput"] == {"level": "STANDARD"}
    assert shown["account_mode"] == "LIVE"
    assert shown["is_pin_enabled"] is True
    assert shown["last_onboarded_time"].endswith("+0000")
    assert shown["health_status"]["can_send_message"] == "AVAILABLE"
    assert client.get(f"{waba(client)}/phone_numbers", fields=PYWA_FIELDS, summary="true").status_code == 200
    assert fields(client, first(client), "whatsapp_business_account{id}")["whatsapp_business_account"] == {
        "id": waba(client)
    }


def test_the_default_fields_come_without_fields(start) -> None:
    client = start()

    shown = client.get(first(client)).json()

    assert {"verified_name", "display_phone_number", "quality_rating", "id"} <= set(shown)
    assert "health_status" not in shown


def test_health_names_what_is_wrong_and_where(start) -> None:
    client = start()
    world, number = client.simulator.world, first(client)

    def wrong() -> dict[str, int]:
        health = fields(client, number, "health_status")["health_status"]
        found = {
            one["entity_type"]: one["errors"][0]["error_code"] for one in health["entities"] if "errors" in one
        }
        assert health["can_send_message"] == ("BLOCKED" if found else "AVAILABLE")
        return found

    assert wrong() == {}
    world.change(world.waba(waba(client))).funding_id = None
    steer(client, "ban", number)
    assert wrong() == {"PHONE_NUMBER": 131031, "WABA": 141006}
    steer(client, "ban", number, value=False)
    steer(client, "deregister", number)
    assert wrong() == {"PHONE_NUMBER": 141000, "WABA": 141006}


def test_a_list_is_sorted_as_asked(start) -> None:
    client = start(numbers=1)
    old = first(client)
    client.simulator.advance(10)
    middle = added(client)
    client.simulator.advance(10)
    young = added(client, phone_number="15123456780")
    steer(client, "verify", middle)
    client.post(f"{middle}/register", json={"messaging_product": "whatsapp", "pin": "123456"})

    assert listed(client, sort="creation_time.desc") == [young, middle, old]
    assert listed(client, sort='["creation_time_ascending"]') == [old, middle, young]
    assert listed(client, sort="last_onboarded_time.desc")[0] == middle
    assert listed(client, sort="last_onboarded_time.asc,creation_time.desc") == [young, old, middle]
    assert listed(client, sort="creation_time.desc", limit=1, fields="id") == [young]


def test_a_list_is_filtered_as_asked(start) -> None:
    client = start(numbers=2)
    live, test = client.simulator.world.number_ids[:2]
    steer(client, "sandbox", test)

    def of(operator: str, value: object) -> list[str]:
        return listed(
            client,
            filtering=json.dumps([{"field": "account_mode", "operator": operator, "value": value}]),
        )

    assert of("EQUAL", "LIVE") == [live]
    assert of("EQUAL", "SANDBOX") == [test]
    assert of("IN", ["SANDBOX", "LIVE"]) == [live, test]


@pytest.mark.parametrize(
    "wrong",
    [
        {"sort": "name"},
        {"sort": "creation_time"},
        {"filtering": "x"},
        {"filtering": '{"a":1}'},
        {"filtering": '[{"field":"colour","operator":"EQUAL","value":"x"}]'},
        {"filtering": '[{"field":["a"],"operator":"EQUAL","value":"x"}]'},
        {"filtering": '[{"field":"account_mode","operator":"NEAR","value":"x"}]'},
        {"filtering": '[{"field":"account_mode","operator":"IN","value":"x"}]'},
        {"limit": 101},
        {"limit": 0},
    ],
)
def test_a_wrong_sort_filter_or_limit_is_error_100(start, wrong) -> None:
    client = start()

    answer = client.get(f"{waba(client)}/phone_numbers", **wrong)

    assert (answer.status_code, error_of(answer)["code"]) == (400, 100)


def test_a_list_has_pages(start) -> None:
    client = start(numbers=30)
    every = [one.id for one in client.simulator.world.waba(waba(client)).numbers]

    page = client.get(f"{waba(client)}/phone_numbers", fields="id").json()
    rest = client.session.get(page["paging"]["next"], timeout=10).json()

    assert [one["id"] for one in page["data"] + rest["data"]] == every
    assert len(page["data"]) == 25
    assert len(listed(client, limit=100)) == 30


def test_a_stale_read_shows_numbers_as_they_were(start) -> None:
    client = start()
    client.simulator.advance(60)
    number = added(client)
    steer(client, "deregister", first(client))
    client.simulator.faults.add(method="GET", stale=30, times=2)

    assert listed(client) == [first(client)]
    assert fields(client, first(client), "status")["status"] == "CONNECTED"
    assert listed(client) == [first(client), number]
    assert fields(client, first(client), "status")["status"] == "DISCONNECTED"


@pytest.mark.parametrize("condition", ["BANNED", "FLAGGED", "RESTRICTED", "RATE_LIMITED"])
def test_the_status_tells_what_meta_decided(start, condition) -> None:
    client = start()

    steer(client, "condition", first(client), value=condition)
    during = fields(client, first(client), "status")["status"]
    steer(client, "condition", first(client))

    assert (during, fields(client, first(client), "status")["status"]) == (condition, "CONNECTED")


def test_a_change_of_quality_is_told_by_a_webhook(start) -> None:
    client = start()

    steer(client, "quality", first(client), value="RED")

    number = client.simulator.world.node(first(client))
    assert fields(client, first(client), "quality_rating")["quality_rating"] == "RED"
    assert webhooks(client, "phone_number_quality_update") == [
        {"display_phone_number": f"1{number.national}", "event": "FLAGGED", "current_limit": "TIER_1K"}
    ]


def test_reading_a_number_counts_for_the_waba(start) -> None:
    client = start(waba_limit_active=2)

    client.get(first(client))
    client.get(f"{waba(client)}/phone_numbers")

    assert error_of(client.get(first(client)))["code"] == 80008


# PIN


def test_a_pin_is_set_and_told_by_a_webhook(start) -> None:
    client = start()

    first_time = client.post(first(client), json={"pin": "123456"})
    again = client.post(first(client), data={"pin": "123456"})

    assert first_time.json() == again.json() == {"success": True}
    assert client.simulator.world.node(first(client)).pin == "123456"
    assert len(effects(client, "pin_set")) == 1
    assert client.simulator.judge.wasted() == {"nothing to do": 1}
    (told,) = webhooks(client, "security")
    assert (told["event"], told["requester"]) == ("PIN_CHANGED", client.simulator.app.system_user_id)


@pytest.mark.parametrize("pin", ["12345", "1234567", "12345a", "", "١٢٣٤٥٦", True, {"a": 1}, 1.5])
def test_a_pin_has_six_digits(start, pin) -> None:
    client = start()

    for answer in (
        client.post(first(client), json={"pin": pin}),
        client.post(f"{first(client)}/register", json={"messaging_product": "whatsapp", "pin": pin}),
    ):
        assert (answer.status_code, error_of(answer)["code"]) == (400, 100)


def test_a_pin_needs_a_registered_number(start) -> None:
    client = start()

    assert error_of(client.post(added(client), json={"pin": "123456"}))["code"] == 133010


def test_a_change_must_name_what_it_changes(start) -> None:
    client = start()

    assert error_of(client.post(first(client), json={}))["code"] == 100
    assert error_of(client.post(first(client), json={"colour": "red"}))["code"] == 100


# Display name


def test_the_name_of_a_new_number_is_reviewed(start) -> None:
    client = start(name_review_seconds=600.0)
    number = added(client)

    client.simulator.advance(599)
    before = fields(client, number, "name_status", "certificate")
    client.simulator.advance(1)

    assert before == {"name_status": "PENDING_REVIEW", "id": number}
    after = fields(client, number, "name_status", "certificate")
    assert after["name_status"] == "APPROVED"
    assert after["certificate"]
    assert webhooks(client, "phone_number_name_update") == [
        {
            "display_phone_number": "4915123456789",
            "decision": "APPROVED",
            "requested_verified_name": "Shoe Shop",
            "rejection_reason": None,
        }
    ]


def test_a_new_name_holds_once_it_is_approved_and_the_number_registered_again(start) -> None:
    client = start(name_review_seconds=600.0)
    number = client.simulator.world.node(first(client))
    asked = {"new_display_name": "Boot Shop", "messaging_product": "whatsapp"}

    assert client.post(number.id, json=asked).json() == {"success": True}
    pending = fields(client, number.id, "verified_name", "new_name_status")
    client.simulator.advance(600)
    approved = fields(client, number.id, "verified_name", "new_name_status", "new_certificate")
    client.post(f"{number.id}/register", json={"messaging_product": "whatsapp", "pin": number.pin})

    assert (pending["verified_name"], pending["new_name_status"]) == ("Shop 1", "PENDING_REVIEW")
    assert (approved["verified_name"], approved["new_name_status"]) == ("Shop 1", "APPROVED")
    after = fields(client, number.id, "verified_name", "new_name_status", "certificate", "new_certificate")
    assert after == {
        "verified_name": "Boot Shop",
        "new_name_status": "NONE",
        "certificate": approved["new_certificate"],
        "id": number.id,
    }
    assert [one.details for one in effects(client, "name_requested")] == [{"name": "Boot Shop"}]
    assert not client.simulator.judge.effects.duplicates()


@pytest.mark.parametrize("by", ["knob", "hand"])
def test_a_name_may_be_declined(start, by) -> None:
    client = start(name_review="DECLINED" if by == "knob" else "manual", name_review_seconds=600.0)
    client.post(first(client), json={"new_display_name": "Boot Shop"})

    client.simulator.advance(600)
    if by == "hand":
        assert fields(client, first(client), "new_name_status")["new_name_status"] == "PENDING_REVIEW"
        steer(client, "decide_name", first(client), value="DECLINED", reason="NAME_TOO_GENERIC")

    assert fields(client, first(client), "new_name_status")["new_name_status"] == "DECLINED"
    (told,) = webhooks(client, "phone_number_name_update")
    assert told["decision"] == "REJECTED"
    assert told["rejection_reason"] == (
        "NAME_TOO_GENERIC" if by == "hand" else "NAME_NOT_CONSISTENT_WITH_BRANDING"
    )


def test_a_name_that_was_replaced_is_not_reviewed(start) -> None:
    client = start(name_review_seconds=600.0)
    client.post(first(client), json={"new_display_name": "Boot Shop"})
    client.simulator.advance(300)
    client.post(first(client), json={"new_display_name": "Sock Shop"})
    again = client.post(first(client), json={"new_display_name": "Sock Shop"})

    client.simulator.advance(300)
    assert fields(client, first(client), "new_name_status")["new_name_status"] == "PENDING_REVIEW"
    client.simulator.advance(300)

    assert again.json() == {"success": True}
    assert [one["requested_verified_name"] for one in webhooks(client, "phone_number_name_update")] == [
        "Sock Shop"
    ]
    assert len(effects(client, "name_requested")) == 2


@pytest.mark.parametrize("name", ["x", "x" * 76, ""])
def test_a_name_has_its_length(start, name) -> None:
    client = start()

    assert error_of(client.post(first(client), json={"new_display_name": name}))["code"] == 100


def test_a_name_can_only_be_decided_while_it_is_reviewed(start) -> None:
    client = start()

    answer = client.control(
        "POST", "numbers", json={"action": "decide_name", "number": first(client), "value": "APPROVED"}
    )

    assert answer.status_code == 400
    assert "being reviewed" in answer.json()["error"]


# Its own webhook


def override(client: Client, url: str, token: str = "right", *, path: str = ""):
    configuration = {"override_callback_uri": url, "verify_token": token}
    return client.post(first(client) + path, json={"webhook_configuration": configuration})


@pytest.mark.parametrize("path", ["", "/"])
def test_an_override_is_set_once_its_callback_answers_the_challenge(start, path) -> None:
    client = start(webhook_url="http://127.0.0.1:9/app")

    with verified_callback() as url:
        answer = override(client, url, path=path)

    assert answer.json() == {"success": True}
    assert fields(client, first(client), "webhook_configuration")["webhook_configuration"] == {
        "phone_number": url,
        "application": "http://127.0.0.1:9/app",
    }
    assert [(one.subject, one.details) for one in effects(client, "override_set")] == [
        (first(client), {"callback": url})
    ]


def test_a_form_may_hold_the_override_as_json(start) -> None:
    client = start()

    with verified_callback() as url:
        configuration = json.dumps({"override_callback_uri": url, "verify_token": "right"})
        answer = client.post(first(client), data={"webhook_configuration": configuration})

    assert answer.json() == {"success": True}


@pytest.mark.parametrize("wrong", [{"status": 500}, {"body": "something"}, {"token": "another"}])
def test_a_callback_that_does_not_answer_the_challenge_is_refused(start, wrong) -> None:
    client = start()

    with verified_callback(**wrong) as url:
        answer = override(client, url)

    assert (answer.status_code, error_of(answer)["code"]) == (400, 100)
    assert "webhook_configuration" not in fields(client, first(client), "webhook_configuration")
    assert not effects(client, "override_set")


@pytest.mark.parametrize("off", [{"override_callback_uri": ""}, "", {}])
def test_an_empty_callback_takes_the_override_back(start, off) -> None:
    client = start()
    with verified_callback() as url:
        override(client, url)

    answers = [client.post(first(client), json={"webhook_configuration": off}) for _ in range(2)]

    assert [one.json() for one in answers] == [{"success": True}] * 2
    assert "webhook_configuration" not in fields(client, first(client), "webhook_configuration")
    assert len(effects(client, "override_cleared")) == 1
    assert client.simulator.judge.wasted() == {"nothing to do": 1}


@pytest.mark.parametrize(
    "configuration",
    [
        {"override_callback_uri": "ftp://x", "verify_token": "t"},
        {"override_callback_uri": "https://a.example/" + "x" * 200, "verify_token": "t"},
        {"override_callback_uri": 7, "verify_token": "t"},
        {"override_callback_uri": {"a": 1}, "verify_token": "t"},
        {"override_callback_uri": "https://a.example"},
        {"override_callback_uri": "https://a.example", "verify_token": ["t"]},
        {"override_callback_uri": "http://[", "verify_token": "t"},
        ["x"],
        "x",
        7,
    ],
)
def test_a_malformed_override_is_error_100(start, configuration) -> None:
    client = start()

    answer = client.post(first(client), json={"webhook_configuration": configuration})

    assert (answer.status_code, error_of(answer)["code"]) == (400, 100)
    assert client.simulator.judge.defects == 0


def test_an_override_must_be_https_by_a_knob(start) -> None:
    client = start(override_https=True)

    with verified_callback() as url:
        assert error_of(override(client, url))["code"] == 100


def test_overrides_are_taken_unasked_by_a_knob(start) -> None:
    client = start(callback_asked=False)
    url = "https://nobody.example/webhooks"

    answers = [
        override(client, url),
        client.post(
            f"{waba(client)}/subscribed_apps", json={"override_callback_uri": url, "verify_token": "right"}
        ),
    ]

    assert all(answer.ok for answer in answers)
    assert fields(client, first(client), "webhook_configuration")["webhook_configuration"] == {
        "phone_number": url,
        "whatsapp_business_account": url,
    }


def test_a_wabas_override_is_shown_at_its_numbers(start) -> None:
    client = start()

    with verified_callback() as url:
        client.post(
            f"{waba(client)}/subscribed_apps", json={"override_callback_uri": url, "verify_token": "right"}
        )

    assert fields(client, first(client), "webhook_configuration")["webhook_configuration"] == {
        "whatsapp_business_account": url
    }


# Settings


def test_settings_are_read_and_changed_part_by_part(start) -> None:
    client = start()
    path = f"{first(client)}/settings"

    before = client.get(path, fields="calling,storage_configuration,user_identity_change").json()
    client.post(path, json={"calling": {"status": "ENABLED", "call_icon_visibility": "DEFAULT"}})
    client.post(path, json={"calling": {"call_icon_visibility": "DISABLE_ALL"}})
    again = client.post(path, json={"user_identity_change": {"enable_identity_key_check": True}})
    client.post(path, json={"user_identity_change": {"enable_identity_key_check": True}})

    assert before == {"calling": {"status": "DISABLED"}, "storage_configuration": {"status": "DEFAULT"}}
    assert again.json() == {"success": True}
    assert client.get(path).json() == {
        "calling": {"status": "ENABLED", "call_icon_visibility": "DISABLE_ALL"},
        "storage_configuration": {"status": "DEFAULT"},
        "user_identity_change": {"enable_identity_key_check": True},
    }
    assert len(effects(client, "settings_changed")) == 3
    assert client.simulator.judge.wasted() == {"nothing to do": 1}


@pytest.mark.parametrize(
    "wrong",
    [{}, {"calling": "x"}, {"calling": {"status": "PERHAPS"}}, {"calling": []}, {"calling": {"status": []}}],
)
def test_wrong_settings_are_error_100(start, wrong) -> None:
    client = start()

    answer = client.post(f"{first(client)}/settings", json=wrong)

    assert (answer.status_code, error_of(answer)["code"]) == (400, 100)


# The control plane


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"action": "dance", "number": "1"}, "action"),
        ({"action": "ban"}, "needs a number"),
        ({"action": "ban", "number": "1"}, "no phone number"),
        ({"action": "ban", "value": "yes"}, "true or false"),
        ({"action": "set_pin"}, "needs a value"),
        ({"action": "quality", "value": "BLUE"}, "must be one of"),
        ({"action": "preverify"}, "needs cc"),
        ({"action": "back_up", "value": "x"}, "not On-Premises"),
    ],
)
def test_a_wrong_action_is_told(start, body, why) -> None:
    client = start()
    given = body if "needs" in why and "value" not in why else {"number": first(client), **body}

    answer = client.control("POST", "numbers", json=given)

    assert answer.status_code == 400
    assert why in answer.json()["error"]


def test_the_numbers_of_a_waba_are_shown_with_what_only_meta_knows(start) -> None:
    client = start()
    number = client.simulator.world.node(first(client))

    shown = client.control("GET", f"numbers?waba={waba(client)}").json()["numbers"]

    assert shown == client.control("GET", f"numbers?number={number.id}").json()["numbers"]
    assert (shown[0]["id"], shown[0]["pin"], shown[0]["registered"]) == (number.id, number.pin, True)
