"""Templates over HTTP: listed, read, created, edited, deleted, archived, copied."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from wabajobs.simulator.world import template_writes

from .client import Client, error_of
from .templates import BODY, CODE, GREETING, create, created, draft, effects, first, handle, read, refused, told

DAY = 86_400


def listed(client: Client, waba: str | None = None, **parameters) -> list[str]:
    answer = client.templates(waba, limit=1000, fields="id", **parameters)
    assert answer.status_code == 200, answer.text
    return [one["id"] for one in answer.json()["data"]]


# Listing and reading


def test_names_and_contents_are_searched(start) -> None:
    client = start(templates=0)
    world, waba = client.simulator.world, first(client)
    shop = world.add_template(waba, name="shop_news", components=[{"type": "BODY", "text": "Tea and CUPS"}]).id
    cups = world.add_template(waba, name="cups", components=[{"type": "BODY", "text": "Nothing"}]).id
    button = world.add_template(
        waba,
        name="other",
        components=[BODY, {"type": "BUTTONS", "buttons": [{"type": "QUICK_REPLY", "text": "More cups"}]}],
    ).id

    assert listed(client, content="cups") == [shop, button]
    assert listed(client, name_or_content="Cups") == [shop, cups, button]
    assert listed(client, name="cups") == [cups]
    assert listed(client, name="cup") == []
    # The words of the format itself are no content.
    assert listed(client, content="quick_reply") == []


def test_lists_are_filtered_by_quality_source_and_time_of_change(start) -> None:
    client = start(templates=0)
    world, waba = client.simulator.world, first(client)
    old = world.add_template(waba, name="old").id
    client.simulator.advance(1000)
    green = world.add_template(waba, name="green")
    world.put_template(world.waba(waba), replace(green, quality="GREEN", source="AUTO_GENERATED"))
    now = int(world.unix())

    assert listed(client, quality_score="GREEN,RED") == [green.id]
    assert listed(client, quality_score='["unknown"]') == [old]
    assert listed(client, source="AUTO_GENERATED") == [green.id]
    assert listed(client, source="MANUAL") == [old]
    assert listed(client, since=now) == [green.id]
    assert listed(client, until=now - 1) == [old]
    assert listed(client, since=now - 5000, until=now) == [old, green.id]


@pytest.mark.parametrize(
    "parameters",
    [{"quality_score": "SHINY"}, {"source": "HAND"}, {"since": "monday"}, {"category": "x"}, {"status": "[1"}],
)
def test_a_filter_that_means_nothing_is_error_100(start, parameters) -> None:
    assert refused(start().templates(**parameters))[0] == 100


def test_fields_of_fields_are_trimmed(start) -> None:
    client = start(templates=1)

    (one,) = client.templates(fields="quality_score{score},components{type}").json()["data"]

    assert set(one) == {"id", "quality_score", "components"}
    assert set(one["quality_score"]) == {"score"}
    assert all(set(component) == {"type"} for component in one["components"])


def test_the_limit_of_the_summary_grows_with_verification_and_an_approved_name(start) -> None:
    client = start(templates=0)
    world = client.simulator.world
    waba = world.waba(first(client))

    def limit() -> int:
        summary = client.templates(summary="message_template_limit").json()["summary"]
        return summary["message_template_limit"]

    assert limit() == 6000
    world.change(world.nodes[waba.business_id]).verified = False
    assert limit() == 250
    world.change(world.nodes[waba.business_id]).verified = True
    world.change(waba.numbers[0]).name_status = "DECLINED"
    assert limit() == 250


def test_a_template_is_read_by_its_id_with_the_usual_or_the_named_fields(start) -> None:
    client = start(templates=3)
    (one, *_) = client.simulator.world.templates(first(client))

    usual, named = read(client, one.id), read(client, one.id, "status,rejected_reason")

    assert usual == client.templates(limit=1).json()["data"][0]
    assert named == {"status": one.status, "rejected_reason": one.rejected_reason, "id": one.id}
    assert refused(client.get(one.id, fields="colour"))[0] == 100


def test_a_304_counts_for_app_and_waba_like_any_other_call(start) -> None:
    client = start(templates=1, waba_limit_active=2)
    tag = client.templates().headers["ETag"]
    url = f"{client.simulator.url}/v23.0/{first(client)}/message_templates"

    codes = [client.session.get(url, headers={"If-None-Match": tag}, timeout=10).status_code for _ in range(2)]

    assert codes == [304, 400]
    assert client.simulator.limits.app_usage(client.simulator.app.id).calls == 3


def test_a_template_that_has_not_changed_is_304(start) -> None:
    client = start(templates=1)
    template = client.simulator.world.templates(first(client))[0].id
    url = f"{client.simulator.url}/v23.0/{template}"
    tag = client.get(template).headers["ETag"]

    same = client.session.get(url, headers={"If-None-Match": tag}, timeout=10)
    client.simulator.world.set_status(first(client), template, "DISABLED")
    changed = client.session.get(url, headers={"If-None-Match": tag}, timeout=10)

    assert (same.status_code, same.content) == (304, b"")
    assert [call.counted for call in client.simulator.judge.calls()] == [True] * 3
    assert client.simulator.limits.app_usage(client.simulator.app.id).calls == 3
    assert (changed.status_code, changed.json()["status"]) == (200, "DISABLED")


@pytest.mark.parametrize(
    ("status", "word", "code"), [("APPROVED", "AVAILABLE", None), ("PAUSED", "BLOCKED", 132015)]
)
def test_the_health_of_a_template_tells_whether_it_can_be_sent(start, status, word, code) -> None:
    client = start(templates=0)
    template = client.simulator.world.add_template(first(client), name="it", status=status).id

    health = read(client, template, "health_status")["health_status"]

    assert health["can_send_message"] == word
    (entity,) = health["entities"]
    assert (entity["entity_type"], entity["id"], entity["can_send_message"]) == (
        "MESSAGE_TEMPLATE",
        template,
        word,
    )
    assert [one["error_code"] for one in entity.get("errors", [])] == ([code] if code else [])


def test_a_stale_read_shows_a_template_as_it_was(start) -> None:
    client = start(templates=0)
    old = created(client)
    client.simulator.advance(100)
    client.simulator.world.set_status(first(client), old, "DISABLED")
    new = created(client, name="newer")
    client.simulator.faults.add(stale=50)

    assert read(client, old, "status")["status"] == "PENDING"
    assert listed(client) == [old]
    assert refused(client.get(new)) == (100, 33)


# Creating


def test_a_new_template_is_pending_at_the_end_of_the_list(start) -> None:
    client = start(templates=3)

    answer = create(client, components=[GREETING]).json()

    assert answer == {"id": listed(client)[-1], "status": "PENDING", "category": "UTILITY"}
    assert read(client, answer["id"]) == {
        "name": "order_update",
        "parameter_format": "POSITIONAL",
        "components": [GREETING],
        "language": "en_US",
        "status": "PENDING",
        "category": "UTILITY",
        "id": answer["id"],
    }
    assert effects(client) == [("template_created", f"{first(client)}/order_update/en_US")]


def test_a_template_may_come_as_a_form_with_json_in_it(start) -> None:
    client = start(templates=0)
    form = {name: value if isinstance(value, str) else json.dumps(value) for name, value in draft().items()}

    answer = client.post(f"{first(client)}/message_templates", data={**form, "allow_category_change": "true"})

    assert read(client, answer.json()["id"])["components"] == [BODY]


def test_options_are_kept_and_read_back(start) -> None:
    client = start(templates=0)

    template = created(
        client,
        message_send_ttl_seconds=60,
        cta_url_link_tracking_opted_out=True,
        is_primary_device_delivery_only=True,
        sub_category="ORDER_STATUS",
        display_format="ORDER_DETAILS",
    )

    fields = "message_send_ttl_seconds,cta_url_link_tracking_opted_out,is_primary_device_delivery_only"
    assert read(client, template, fields + ",sub_category,display_format") == {
        "message_send_ttl_seconds": 60,
        "cta_url_link_tracking_opted_out": True,
        "is_primary_device_delivery_only": True,
        "sub_category": "ORDER_STATUS",
        "display_format": "ORDER_DETAILS",
        "id": template,
    }


@pytest.mark.parametrize("missing", ["name", "language", "category", "components"])
def test_what_a_template_needs_is_named_when_it_is_missing(start, missing) -> None:
    client = start(templates=0)

    error = error_of(create(client, **{missing: None}))

    assert (error["code"], error["message"]) == (100, f"(#100) The parameter {missing} is required.")
    assert listed(client) == []
    assert effects(client) == []


def test_the_same_name_in_the_same_language_is_2388024_even_with_the_same_content(start) -> None:
    client = start(templates=0)
    created(client)

    assert refused(create(client)) == (100, 2388024)
    assert refused(create(client, components=[GREETING])) == (100, 2388024)
    assert create(client, language="de").status_code == 200
    assert len(effects(client)) == 2


def test_the_languages_of_a_template_have_one_category(start) -> None:
    client = start(templates=0, template_category_subcode=4711)
    created(client)

    answer = create(client, language="de", category="MARKETING")

    assert refused(answer) == (100, 4711)
    assert "UTILITY" in error_of(answer)["error_user_msg"]


def test_a_full_waba_takes_no_more_templates(start) -> None:
    client = start(templates=2, inactive_wabas=1, template_limits=(3, 4))
    small = client.simulator.world.waba_ids[-1]

    created(client, waba=small)
    assert refused(create(client, waba=small, language="de")) == (100, 2388019)
    created(client)
    created(client, language="de")
    assert refused(create(client, language="es")) == (100, 2388019)


@pytest.mark.parametrize("code", [100, 80008])
def test_only_so_many_templates_are_created_in_an_hour(start, code) -> None:
    client = start(templates=0, template_creations=(2, 3600), template_creations_code=code)

    created(client, name="one")
    client.simulator.advance(1800)
    created(client, name="two")
    assert refused(create(client, name="three"))[0] == code
    assert refused(create(client, name="three"))[0] == code
    assert create(client, waba=client.simulator.world.waba_ids[1]).status_code == 200

    client.simulator.advance(1800)
    created(client, name="three")
    assert refused(create(client, name="four"))[0] == code


def media(name: str, form: str = "IMAGE") -> list[dict]:
    return [{"type": "HEADER", "format": form, "example": {"header_handle": [name]}}, BODY]


def test_the_media_of_a_header_is_an_upload_of_the_same_app_and_reads_as_a_url(start) -> None:
    client = start(templates=0, apps=2)

    template = created(client, components=media(handle(client)))

    header = read(client, template)["components"][0]
    (url,) = header["example"]["header_handle"]
    assert url.startswith("https://scontent.whatsapp.net/")
    for wrong in (handle(client, app=1), url, "4::made:up"):
        error = error_of(create(client, name="other", components=media(wrong)))
        assert error["code"] == 100
        assert "handle" in error["message"]


def test_the_media_of_a_header_must_not_be_too_old(start) -> None:
    client = start(templates=0, handle_ttl=3600)
    old = handle(client)
    client.simulator.advance(3600)

    assert "expired" in error_of(create(client, components=media(old)))["message"]


def test_meta_may_choose_another_category_if_it_is_allowed_to(start) -> None:
    client = start(templates=0, template_marketing_names="sale", template_review_seconds=(0, 0))

    allowed = create(client, name="spring_sale", allow_category_change=True).json()
    forbidden = create(client, name="summer_sale").json()

    assert (allowed["category"], allowed["status"]) == ("MARKETING", "APPROVED")
    assert (forbidden["category"], forbidden["status"]) == ("UTILITY", "REJECTED")
    fields = read(client, forbidden["id"], "rejected_reason,correct_category")
    assert (fields["rejected_reason"], fields["correct_category"]) == ("INCORRECT_CATEGORY", "MARKETING")


# The library


def test_the_library_is_searched_and_paged(start) -> None:
    client = start()

    def names(**filters) -> list[str]:
        answer = client.get("message_template_library", limit=100, **filters)
        return [one["name"] for one in answer.json()["data"]]

    assert "delivery_failed_1" in names(search="deliver", language="en_US")
    assert "payment_confirmation_1" not in names(search="deliver")
    assert set(names(topic="PAYMENTS")) == {"payment_due_reminder_1", "payment_confirmation_1"}
    assert set(names(usecase="delivery_failed")) == {"delivery_failed_1"}
    assert "order_confirmation_1" not in names(industry="FINANCIAL_SERVICES")
    assert names(name="verify_code_1", language="en_GB") == ["verify_code_1"]
    page = client.get("message_template_library", limit=1).json()
    assert set(page["data"][0]) >= {"name", "language", "category", "topic", "usecase", "industry", "body", "id"}
    assert "next" in page["paging"]


def test_a_template_of_the_library_is_approved_at_once(start) -> None:
    client = start(templates=0)

    answer = create(client, components=None, library_template_name="order_confirmation_1").json()

    assert (answer["status"], answer["category"]) == ("APPROVED", "UTILITY")
    seen = read(client, answer["id"], "library_template_name,components")
    assert seen["library_template_name"] == "order_confirmation_1"
    assert [one["type"] for one in seen["components"]] == ["HEADER", "BODY"]
    assert [one["event"] for one in told(client)] == ["APPROVED"]
    assert effects(client) == [("template_created", f"{first(client)}/order_update/en_US")]


def test_the_buttons_of_a_template_of_the_library_need_inputs(start) -> None:
    client = start(templates=0)

    def make(name: str, *inputs: dict, **changes):
        return create(
            client,
            name=name,
            components=None,
            library_template_name=name,
            library_template_button_inputs=list(inputs),
            **changes,
        )

    url = {"type": "URL", "url": {"base_url": "https://shop.example/{{1}}", "url_suffix_example": "a"}}
    assert refused(make("delivery_update_1")) == (100, 2388043)
    tracked = make("delivery_update_1", url).json()["id"]
    called = make("delivery_failed_1", {"type": "PHONE_NUMBER", "phone_number": "+15550100"}).json()["id"]
    code = make("verify_code_1", {"type": "OTP", "otp_type": "copy_code"}, category="AUTHENTICATION").json()["id"]

    def button(template: str) -> dict:
        return read(client, template)["components"][-1]["buttons"][0]

    assert button(tracked)["url"] == "https://shop.example/{{1}}"
    assert button(called)["phone_number"] == "+15550100"
    assert button(code)["otp_type"] == "COPY_CODE"
    assert refused(make("feedback_survey_1", {"type": "URL", "url": {"base_url": "shop"}}))[0] == 100


def test_what_the_library_does_not_have_cannot_be_made_of_it(start) -> None:
    client = start(templates=0)

    def make(**changes):
        return create(client, components=None, **{"library_template_name": "order_confirmation_1", **changes})

    assert refused(make(library_template_name="nothing"))[0] == 100
    assert refused(make(language="de"))[0] == 100
    assert refused(make(category="MARKETING"))[0] == 100
    created(client)
    assert refused(make()) == (100, 2388024)


# Editing


def test_an_edited_template_has_only_the_new_components_and_is_pending_again(start) -> None:
    client = start(templates=0)
    footer = {"type": "FOOTER", "text": "Thank you"}
    template = created(client, components=[BODY, footer])
    client.simulator.advance(600)

    answer = client.post(template, json={"components": [GREETING]})

    assert answer.json() == {"success": True, "id": template, "name": "order_update", "category": "UTILITY"}
    seen = read(client, template)
    assert (seen["status"], seen["components"]) == ("PENDING", [GREETING])
    subject = f"{first(client)}/order_update/en_US"
    assert effects(client) == [("template_created", subject), ("template_edited", subject)]


@pytest.mark.parametrize(
    ("status", "may"),
    [
        ("APPROVED", True),
        ("REJECTED", True),
        ("PAUSED", True),
        ("PENDING", False),
        ("DISABLED", False),
        ("IN_APPEAL", False),
        ("PENDING_DELETION", False),
        ("ARCHIVED", False),
    ],
)
def test_only_approved_rejected_and_paused_templates_are_edited(start, status, may) -> None:
    client = start(templates=0)
    template = client.simulator.world.add_template(first(client), name="it", status=status).id

    answer = client.post(template, json={"components": [GREETING]})

    if may:
        assert answer.json()["success"] is True
    else:
        assert refused(answer) == (100, 2388039)
        assert effects(client) == []


def test_an_approved_template_is_edited_once_a_day_and_ten_times_a_month(start) -> None:
    client = start(templates=0)
    world, waba = client.simulator.world, first(client)
    template = world.add_template(waba, name="it").id

    def edit(number: int):
        world.set_status(waba, template, "APPROVED")
        return client.post(template, json={"components": [{"type": "BODY", "text": f"Text {number} of many"}]})

    assert edit(0).ok
    client.simulator.advance(DAY - 1)
    assert refused(edit(0)) == (100, 2388039)
    for number in range(1, 10):
        client.simulator.advance(DAY)
        assert edit(number).ok
    client.simulator.advance(DAY)
    assert refused(edit(10)) == (100, 2388039)
    client.simulator.advance(30 * DAY)
    assert edit(11).ok


def test_rejected_and_paused_templates_are_edited_as_often_as_one_likes(start) -> None:
    client = start(templates=0, template_review="manual")
    world, waba = client.simulator.world, first(client)
    template = world.add_template(waba, name="it").id

    for number in range(5):
        world.set_status(waba, template, "REJECTED" if number % 2 else "PAUSED")
        answer = client.post(template, json={"components": [{"type": "BODY", "text": f"Text {number}"}]})
        assert answer.ok
    assert read(client, template, "rejected_reason")["rejected_reason"] == "NONE"


def test_the_category_is_changed_unless_the_template_is_approved(start) -> None:
    client = start(templates=0)
    add = client.simulator.world.add_template
    approved = add(first(client), name="approved").id
    rejected = add(first(client), name="rejected", status="REJECTED").id

    assert refused(client.post(approved, json={"category": "MARKETING"}))[0] == 100
    assert client.post(approved, json={"category": "UTILITY", "components": [GREETING]}).ok
    assert client.post(rejected, json={"category": "marketing"}).json()["category"] == "MARKETING"
    assert read(client, rejected)["status"] == "PENDING"


def test_options_are_changed_without_a_new_review(start) -> None:
    client = start(templates=0)
    template = client.simulator.world.add_template(first(client), name="it").id

    assert client.post(template, json={"message_send_ttl_seconds": 120}).ok
    assert read(client, template, "status,message_send_ttl_seconds") == {
        "status": "APPROVED",
        "message_send_ttl_seconds": 120,
        "id": template,
    }


def test_an_edit_of_nothing_or_of_bad_components_changes_nothing(start) -> None:
    client = start(templates=0)
    template = client.simulator.world.add_template(first(client), name="it").id
    before = read(client, template)

    assert refused(client.post(template, json={})) == (100, None)
    assert refused(client.post(template, json={"components": [{"type": "FOOTER", "text": "x"}]})) == (
        100,
        2388043,
    )
    assert read(client, template) == before


def test_calls_for_one_template_may_be_limited(start) -> None:
    client = start(templates=0, template_write_limit=2, window=3600)
    one = client.simulator.world.add_template(first(client), name="one", status="REJECTED").id
    two = client.simulator.world.add_template(first(client), name="two", status="REJECTED").id

    codes = [client.post(one, json={}).json()["error"]["code"] for _ in range(3)]
    assert codes == [100, 100, 80012]
    assert client.post(two, json={"components": [GREETING]}).ok
    client.simulator.advance(3600)
    assert client.post(one, json={"components": [GREETING]}).ok


# Authentication templates in several languages


def upsert(client: Client, **changes):
    asked = {
        "name": "one_time_code",
        "category": "AUTHENTICATION",
        "languages": ["en_US", "de"],
        "components": CODE,
        **changes,
    }
    return client.post(f"{first(client)}/upsert_message_templates", json=asked)


def test_an_upsert_creates_what_is_missing_and_edits_what_differs(start) -> None:
    client = start(templates=0, template_review_seconds=(0, 0))
    de, fr, en = (f"{first(client)}/one_time_code/{one}" for one in ("de", "fr", "en_US"))

    made = upsert(client).json()["data"]
    same = upsert(client).json()["data"]
    changed = [{**CODE[0], "add_security_recommendation": False}, *CODE[1:]]
    more = upsert(client, languages="de,fr", components=changed).json()["data"]

    assert [(one["language"], one["status"], one["category"]) for one in made] == [
        ("en_US", "APPROVED", "AUTHENTICATION"),
        ("de", "APPROVED", "AUTHENTICATION"),
    ]
    assert same == made
    assert more[0]["id"] == made[1]["id"]
    assert effects(client) == [
        ("template_created", en),
        ("template_created", de),
        ("template_edited", de),
        ("template_created", fr),
    ]
    assert [one.wasted for one in client.simulator.judge.calls()] == [None, "nothing to do", None]


def test_an_upsert_does_all_or_nothing(start) -> None:
    client = start(templates=0, template_review_seconds=(0, 0), template_creations=(2, 3600))

    assert refused(upsert(client, languages=["en_US", "de", "fr"]))[0] == 80008
    assert refused(upsert(client, languages=["en_US", "klingon"]))[0] == 100
    assert refused(upsert(client, components=[BODY])) == (100, 2388042)
    assert refused(upsert(client, category="UTILITY"))[0] == 100
    assert refused(upsert(client, languages=[]))[0] == 100
    assert listed(client) == []
    assert effects(client) == []


# Deleting


def three_languages(client: Client) -> dict[str, str]:
    add = client.simulator.world.add_template
    return {one: add(first(client), name="doomed", language=one).id for one in ("en_US", "de", "fr")}


def test_a_name_is_deleted_in_all_languages(start) -> None:
    client = start(templates=2)
    others = listed(client)
    three_languages(client)

    assert client.delete(f"{first(client)}/message_templates", name="doomed").json() == {"success": True}

    assert listed(client) == others
    assert effects(client) == [
        ("template_deleted", f"{first(client)}/doomed/{one}") for one in ("en_US", "de", "fr")
    ]
    assert refused(client.delete(f"{first(client)}/message_templates", name="doomed"))[0] == 100


def test_one_language_is_deleted_by_its_id(start) -> None:
    client = start(templates=0)
    ids = three_languages(client)
    path = f"{first(client)}/message_templates"

    assert client.delete(path, name="doomed", hsm_id=ids["de"]).ok
    assert listed(client) == [ids["en_US"], ids["fr"]]
    assert refused(client.delete(path, name="another", hsm_id=ids["fr"]))[0] == 100
    assert client.delete(path, hsm_id=ids["fr"]).ok
    assert listed(client) == [ids["en_US"]]
    assert refused(client.delete(path))[0] == 100


def test_a_list_of_ids_is_deleted_whole_or_not_at_all(start) -> None:
    client = start(templates=120)
    path = f"{first(client)}/message_templates"
    ids = listed(client)

    assert refused(client.delete(path, hsm_ids=json.dumps([*ids[:3], "1"])))[0] == 100
    assert refused(client.delete(path, hsm_ids=json.dumps(ids[:101])))[0] == 100
    assert refused(client.delete(path, hsm_ids=ids[0], name="x"))[0] == 100
    assert refused(client.delete(path, hsm_ids="[]"))[0] == 100
    assert listed(client) == ids
    assert effects(client) == []
    assert client.delete(path, hsm_ids=json.dumps(ids[:100])).ok
    assert listed(client) == ids[100:]
    assert len(effects(client)) == 100


def test_the_name_of_a_deleted_approved_template_is_blocked_for_a_month(start) -> None:
    client = start(templates=0)
    path = f"{first(client)}/message_templates"
    ids = three_languages(client)
    client.simulator.world.add_template(first(client), name="never_approved", status="REJECTED")

    client.delete(path, name="doomed", hsm_id=ids["de"])
    assert refused(create(client, name="doomed", language="de")) == (100, 2388023)
    assert create(client, name="doomed", language="es").ok
    client.delete(path, name="doomed")
    assert refused(create(client, name="doomed", language="it")) == (100, 2388023)
    client.delete(path, name="never_approved")
    assert create(client, name="never_approved").ok

    client.simulator.advance(30 * DAY)
    assert create(client, name="doomed", language="de").ok


def test_a_deleted_template_may_linger(start) -> None:
    client = start(templates=0, template_deletion_seconds=3600, template_name_seconds=0)
    path = f"{first(client)}/message_templates"
    template = created(client)

    client.delete(path, name="order_update")
    assert read(client, template)["status"] == "PENDING_DELETION"
    assert refused(create(client)) == (100, 2388023)
    assert client.delete(path, name="order_update").ok
    assert client.simulator.judge.calls()[-1].wasted == "nothing to do"
    client.simulator.advance(3600)

    assert listed(client) == []
    assert [one["event"] for one in told(client)][-2:] == ["PENDING_DELETION", "DELETED"]
    created(client)
    assert client.simulator.judge.effects.duplicates() == []


def test_a_creation_after_a_deletion_behind_ones_back_is_no_duplicate(start) -> None:
    client = start(templates=0)
    world = client.simulator.world

    world.remove_template(first(client), created(client))
    created(client)

    assert client.simulator.judge.effects.duplicates() == []


# Archiving


def test_templates_go_into_the_archive_and_come_back(start) -> None:
    client = start(templates=0)
    add = client.simulator.world.add_template
    approved, pending, rejected = (
        add(first(client), name=status.lower(), status=status).id
        for status in ("APPROVED", "PENDING", "REJECTED")
    )
    # At Meta this is on another host, without a version.
    url = f"{client.simulator.url}/{first(client)}/message_templates"

    ids = f"{approved},{pending},{rejected},1"
    answer = client.session.post(f"{url}/archive", json={"hsm_ids": ids}, timeout=10).json()
    assert answer["archived_templates"] == [approved, rejected]
    assert set(answer["failed_templates"]) == {pending, "1"}
    assert read(client, rejected)["status"] == "ARCHIVED"

    answer = client.session.post(f"{url}/unarchive", json={"hsm_ids": [rejected, pending]}, timeout=10).json()
    assert answer["unarchived_templates"] == [rejected]
    assert set(answer["failed_templates"]) == {pending}
    assert read(client, rejected)["status"] == "REJECTED"
    assert [one["event"] for one in told(client)] == ["ARCHIVED", "ARCHIVED", "UNARCHIVED"]

    client.simulator.advance(28 * DAY)
    assert listed(client) == [pending, rejected]


def test_at_most_a_hundred_templates_are_archived_at_once(start) -> None:
    client = start(templates=0)
    path = f"{first(client)}/message_templates/archive"

    assert refused(client.post(path, json={"hsm_ids": [str(one) for one in range(101)]}))[0] == 100
    assert refused(client.post(path, json={}))[0] == 100


# Copying to another WABA


@pytest.fixture
def two(start):
    """A client, and two WABAs of one business."""

    def begin(**knobs) -> tuple[Client, str, str]:
        client = start(**{"templates": 0, **knobs})
        world = client.simulator.world
        source, destination = world.waba_ids[:2]
        world.change(world.waba(destination)).business_id = world.waba(source).business_id
        return client, source, destination

    return begin


def migrate(client: Client, source: str, destination: str, **parameters):
    return client.post(f"{destination}/migrate_message_templates", json={"source_waba_id": source, **parameters})


def test_good_templates_are_copied_and_the_others_are_named(two) -> None:
    client, source, destination = two()
    world = client.simulator.world
    good = world.add_template(source, name="good", language="de", components=[GREETING])
    bad = [
        world.add_template(source, name="paused", status="PAUSED").id,
        world.edit_template(source, world.add_template(source, name="disliked").id, quality="RED").id,
        world.add_template(source, name="there_already").id,
    ]
    world.add_template(destination, name="there_already")

    answer = migrate(client, source, destination).json()

    (copy,) = answer["migrated_templates"]
    assert set(answer["failed_templates"]) == set(bad)
    assert len(set(answer["failed_templates"].values())) == 3
    seen = read(client, copy, "name,language,status,components,quality_score{score}")
    assert seen == {
        "name": "good",
        "language": "de",
        "status": "APPROVED",
        "components": [GREETING],
        "quality_score": {"score": "UNKNOWN"},
        "id": copy,
    }
    assert good.id in listed(client, source)
    assert effects(client) == [("template_migrated", f"{destination}/good/de")]


def test_pages_and_ids_choose_what_is_copied(two) -> None:
    client, source, destination = two()
    world = client.simulator.world
    ids = [world.add_template(source, name=f"t{number}").id for number in range(7)]

    def names(**parameters) -> list[str]:
        copies = migrate(client, source, destination, **parameters).json()["migrated_templates"]
        return [read(client, one)["name"] for one in copies]

    assert names(page_number=1, count=3) == ["t3", "t4", "t5"]
    assert names(template_ids=[ids[0], ids[6]]) == ["t0", "t6"]
    assert names(page_number=9) == []
    failed = migrate(client, source, destination, template_ids=[ids[0], "1"]).json()["failed_templates"]
    assert set(failed) == {ids[0], "1"}
    assert refused(migrate(client, source, destination, count=501))[0] == 100
    assert refused(migrate(client, source, destination, template_ids=["1"] * 501))[0] == 100


def test_copying_stops_at_the_limit_of_the_destination(two) -> None:
    client, source, destination = two(template_limits=(2, 2))
    ids = [client.simulator.world.add_template(source, name=f"t{number}").id for number in range(3)]

    answer = migrate(client, source, destination).json()

    assert len(answer["migrated_templates"]) == 2
    assert set(answer["failed_templates"]) == {ids[2]}


def test_only_wabas_of_one_business_copy(two) -> None:
    client, source, destination = two()
    other = client.simulator.world.waba_ids[2]

    assert refused(migrate(client, other, destination))[0] == 100
    assert refused(migrate(client, source, source))[0] == 100
    assert refused(migrate(client, "1", destination)) == (100, 33)
    assert refused(client.post(f"{destination}/migrate_message_templates"))[0] == 100


def test_a_migration_whose_time_is_up_fails_and_has_copied(two) -> None:
    client, source, destination = two(template_migration_most=2)
    for number in range(4):
        client.simulator.world.add_template(source, name=f"t{number}")

    assert refused(migrate(client, source, destination))[0] == 1
    assert len(listed(client, destination)) == 2
    assert len(effects(client)) == 2
    again = migrate(client, source, destination)
    assert len(again.json()["migrated_templates"]) == 2
    assert len(listed(client, destination)) == 4
    assert client.simulator.judge.effects.duplicates() == []


def test_the_ids_of_the_source_may_be_told_instead(two) -> None:
    client, source, destination = two(template_migrated_ids="source")
    template = client.simulator.world.add_template(source, name="it").id

    assert migrate(client, source, destination).json()["migrated_templates"] == [template]


# Comparing


def test_two_templates_of_a_waba_are_compared(start) -> None:
    client = start(templates=2)
    one, other = listed(client)
    now = int(client.simulator.world.unix())

    def compare(ids: str, days: float):
        return client.get(f"{one}/compare", template_ids=ids, start=now - int(days * DAY), end=now)

    rate, sends, reason = compare(other, 30).json()["data"]
    assert (rate["metric"], set(rate["order_by_relative_metric"])) == ("BLOCK_RATE", {one, other})
    assert (sends["metric"], {pair["key"] for pair in sends["number_values"]}) == ("MESSAGE_SENDS", {one, other})
    assert (reason["metric"], {pair["key"] for pair in reason["string_values"]}) == (
        "TOP_BLOCK_REASON",
        {one, other},
    )
    assert compare(other, 30).json() == compare(other, 30).json()
    elsewhere = client.simulator.world.templates(client.simulator.world.waba_ids[1])[0].id
    for wrong in (compare(elsewhere, 30), compare(f"{other},{one}", 30), compare(other, 11), compare("1", 7)):
        assert refused(wrong)[0] == 100


# What they count against


def test_lists_creations_and_deletions_count_against_the_waba_and_the_rest_against_the_app(start) -> None:
    client = start(templates=1, waba_limit_active=3)
    template = client.simulator.world.templates(first(client))[0].id

    client.templates()
    create(client)
    client.delete(f"{first(client)}/message_templates", name="order_update")

    assert refused(client.templates())[0] == 80008
    assert refused(client.get(template))[0] == 80008
    assert client.post(template, json={}).json()["error"]["code"] == 100


def test_the_quota_of_creations_holds_for_what_the_rules_are_called_with_too(start) -> None:
    client = start(templates=0, template_creations=(1, 3600))
    world = client.simulator.world
    waba = world.waba(first(client))
    plan = template_writes.Draft(name="by_python", language="de", category="UTILITY", components=[BODY])

    template = template_writes.create(world, waba, plan, app_id=client.simulator.app.id)

    assert read(client, template.id)["name"] == "by_python"
    assert refused(create(client))[0] == 80008
