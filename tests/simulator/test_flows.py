"""WhatsApp Flows, from the first draft to deprecation, and their copies at other WABAs."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests

from wabajobs.simulator.world import flow_json

from .client import error_of
from .test_onboarding import as_customer, effects, token_of

SCREEN: dict[str, Any] = {
    "id": "WELCOME",
    "title": "Welcome",
    "terminal": True,
    "layout": {
        "type": "SingleColumnLayout",
        "children": [
            {"type": "TextHeading", "text": "Hello"},
            {"type": "Footer", "label": "Done", "on-click-action": {"name": "complete", "payload": {}}},
        ],
    },
}
GOOD: dict[str, Any] = {"version": "7.0", "screens": [SCREEN]}


def first(client) -> str:
    return client.simulator.world.waba_ids[0]


def create(client, waba: str | None = None, **changes: Any) -> requests.Response:
    given = {"name": "survey", "categories": ["SURVEY"], **changes}
    return client.post(f"{waba or first(client)}/flows", json=given)


def made(client, json_: Any = GOOD, **changes: Any) -> str:
    """A draft with this JSON."""
    return create(client, flow_json=json.dumps(json_), **changes).json()["id"]


def published(client, **changes: Any) -> str:
    return made(client, publish=True, **changes)


def upload(client, flow: str, content: str | bytes, **changes: Any) -> requests.Response:
    data = {"name": "flow.json", "asset_type": "FLOW_JSON", "messaging_product": "whatsapp", **changes}
    return client.post(f"{flow}/assets", data=data, files={"file": ("flow.json", content, "application/json")})


def status_of(client, flow: str) -> str:
    return client.get(flow, fields="status").json()["status"]


# Making


def test_a_flow_is_created_as_a_draft_and_read(start) -> None:
    client = start()

    answer = create(client).json()
    read = client.get(answer["id"]).json()

    assert set(answer) == {"id"}
    assert read == {
        "id": answer["id"],
        "name": "survey",
        "status": "DRAFT",
        "categories": ["SURVEY"],
        "validation_errors": [],
    }
    assert effects(client, "flow_created") == [(f"{first(client)}/survey", False)]


def test_every_field_of_a_flow_may_be_asked_for(start) -> None:
    client = start()
    flow = made(client, GOOD | {"data_api_version": "3.0"}, endpoint_uri="https://a.example/flow")
    fields = (
        "id,name,status,json_version,data_api_version,categories,validation_errors,endpoint_uri,"
        "preview.invalidate(false),whatsapp_business_account,application,updated_at,health_status"
    )

    read = client.get(flow, fields=fields).json()

    assert set(read) == {field.partition(".")[0] for field in fields.split(",")}
    assert (read["json_version"], read["data_api_version"]) == ("7.0", "3.0")
    assert read["whatsapp_business_account"]["id"] == first(client)
    assert {"name", "timezone_id"} <= set(read["whatsapp_business_account"])
    assert read["application"]["id"] == client.simulator.app.id
    assert read["health_status"]["can_send_message"] == "BLOCKED"
    assert read["updated_at"].endswith("+0000")


def test_a_previews_link_stays_until_it_is_invalidated_or_ends(start) -> None:
    client = start()
    flow = made(client)

    def preview(fields: str) -> dict[str, str]:
        return client.get(flow, fields=fields).json()["preview"]

    one, same = preview("preview"), preview("preview.invalidate(false)")
    other = preview("preview.invalidate(true)")
    client.simulator.advance(30 * 86_400)
    later = preview("preview")

    assert set(one) == {"preview_url", "expires_at"}
    assert one == same
    assert len({one["preview_url"], other["preview_url"], later["preview_url"]}) == 3
    assert flow in later["preview_url"]


def test_a_name_is_unique_in_its_waba(start) -> None:
    client = start()
    flow = create(client).json()["id"]
    other = create(client, name="other").json()["id"]

    again = create(client)

    assert (again.status_code, error_of(again)["code"]) == (400, 100)
    assert error_of(again)["error_user_title"] == "Flow name is not unique"
    assert error_of(client.post(other, data={"name": "survey"}))["code"] == 100
    assert create(client, client.simulator.world.waba_ids[1]).ok
    assert client.delete(flow).ok
    assert create(client).ok
    assert client.simulator.judge.effects.duplicates() == []


@pytest.mark.parametrize(
    "changes",
    [
        {"name": None},
        {"name": ""},
        {"categories": None},
        {"categories": []},
        {"categories": ["FUN"]},
        {"endpoint_uri": "somewhere"},
        {"clone_flow_id": "1"},
        {"publish": True},
        {"publish": "perhaps"},
    ],
)
def test_a_flow_needs_a_name_and_known_categories(start, changes) -> None:
    client = start()

    assert error_of(create(client, **changes))["code"] == 100
    assert client.get(f"{first(client)}/flows").json() == {"data": []}


def test_a_flow_may_come_by_a_form(start) -> None:
    client = start()

    answer = client.post(
        f"{first(client)}/flows", data={"name": "x", "categories": '["OTHER","SURVEY"]', "publish": "false"}
    )

    assert client.get(answer.json()["id"]).json()["categories"] == ["OTHER", "SURVEY"]


def test_a_flow_may_be_created_from_another_and_published_at_once(start) -> None:
    client = start()
    source = made(client)

    answer = create(client, name="copy", clone_flow_id=source, publish=True).json()

    assert answer["success"] is True
    assert answer["validation_errors"] == []
    assert status_of(client, answer["id"]) == "PUBLISHED"
    assert effects(client, "flow_published") == [(answer["id"], False)]


def test_what_cannot_be_published_at_once_is_a_draft_or_is_not_created(start) -> None:
    client = start(inactive_wabas=1)

    faulty = create(client, flow_json="{}", publish=True).json()
    without_number = create(client, client.simulator.world.waba_ids[-1], flow_json=json.dumps(GOOD), publish=True)

    assert faulty["success"] is False
    assert faulty["validation_errors"]
    assert status_of(client, faulty["id"]) == "DRAFT"
    assert error_of(without_number)["code"] == 139002
    assert client.get(f"{client.simulator.world.waba_ids[-1]}/flows").json() == {"data": []}


def test_flows_are_listed_in_pages_with_the_fields_asked_for(start) -> None:
    client = start()
    flows = [create(client, name=f"flow {n}").json()["id"] for n in range(3)]

    page = client.get(
        f"{first(client)}/flows", limit=2, fields="id,preview.invalidate(false)", summary="true"
    ).json()
    rest = client.get(f"{first(client)}/flows", after=page["paging"]["cursors"]["after"]).json()

    assert [one["id"] for one in page["data"] + rest["data"]] == flows
    assert page["summary"] == {"total_count": 3}
    assert all("preview_url" in one["preview"] for one in page["data"])
    assert set(rest["data"][0]) == {"id", "name", "status", "categories", "validation_errors"}
    assert "next" in page["paging"]
    assert "next" not in rest["paging"]


def test_a_customers_token_reaches_its_own_flows_only(start) -> None:
    client = start()
    signup = client.simulator.world.signup()
    token, other = token_of(client, signup), create(client).json()["id"]

    own = as_customer(
        client, token, "POST", f"{signup.waba_id}/flows", data={"name": "x", "categories": "OTHER"}
    ).json()["id"]
    cloned = as_customer(
        client,
        token,
        "POST",
        f"{signup.waba_id}/flows",
        data={"name": "y", "categories": "OTHER", "clone_flow_id": other},
    )

    assert as_customer(client, token, "GET", own).ok
    assert error_of(as_customer(client, token, "GET", other))["error_subcode"] == 33
    assert error_of(cloned)["code"] == 100


# The JSON


def test_a_json_is_uploaded_and_its_asset_served_as_it_is(start) -> None:
    client = start()
    flow = create(client).json()["id"]
    text = json.dumps(GOOD, indent=3) + "\n"

    empty = client.get(f"{flow}/assets").json()
    answer = upload(client, flow, text)
    (asset,) = client.get(f"{flow}/assets").json()["data"]
    downloaded = requests.get(asset["download_url"], timeout=10)

    assert empty == {"data": []}
    assert answer.json() == {"success": True, "validation_errors": []}
    assert (asset["name"], asset["asset_type"]) == ("flow.json", "FLOW_JSON")
    assert downloaded.text == text
    assert effects(client, "flow_updated") == [(flow, False)]


def test_a_download_counts_no_call_and_ends_with_its_version(start) -> None:
    client = start()
    flow = made(client)
    url = client.get(f"{flow}/assets").json()["data"][0]["download_url"]
    calls = client.simulator.judge.total

    assert requests.get(url, timeout=10).ok
    assert client.simulator.judge.total == calls
    upload(client, flow, json.dumps(GOOD | {"version": "7.1"}))
    assert requests.get(url, timeout=10).status_code == 404


def test_a_json_with_errors_is_kept_and_told_with_its_places(start) -> None:
    client = start()
    flow = create(client).json()["id"]
    text = """{
  "version": "7.0",
  "screens": [
    {"id": "A", "terminal": true,
     "layout": {"type": "Grid", "children": [{"type": "Footer"}]}}
  ]
}"""

    answer = upload(client, flow, text).json()

    (error,) = answer["validation_errors"]
    assert answer["success"] is True
    assert (error["error"], error["error_type"]) == ("INVALID_PROPERTY_VALUE", "FLOW_JSON_ERROR")
    line = text.splitlines()[4]
    start_column = line.index('"Grid"') + 1
    assert (error["line_start"], error["line_end"]) == (5, 5)
    assert (error["column_start"], error["column_end"]) == (start_column, start_column + 6)
    assert error["pointers"][0]["path"] == "screens[0].layout.type"
    assert client.get(flow, fields="validation_errors").json()["validation_errors"] == [error]
    assert requests.get(client.get(f"{flow}/assets").json()["data"][0]["download_url"], timeout=10).text == text


def test_what_is_no_json_is_an_error_of_syntax(start) -> None:
    client = start()
    flow = create(client).json()["id"]

    (error,) = upload(client, flow, '{\n "version": "7.0",,\n}').json()["validation_errors"]

    assert (error["error_type"], error["line_start"], error["column_start"]) == ("JSON_SYNTAX_ERROR", 2, 19)


def test_uploading_the_same_draft_again_is_nothing_to_do(start) -> None:
    client = start()
    flow = made(client)

    assert upload(client, flow, json.dumps(GOOD)).ok

    assert effects(client, "flow_updated") == []
    assert client.simulator.judge.calls()[-1].wasted == "nothing to do"


def test_an_upload_needs_a_file_of_at_most_10_mb_and_its_kind(start) -> None:
    client = start()
    flow = create(client).json()["id"]

    assert (
        error_of(client.post(f"{flow}/assets", data={"name": "flow.json", "asset_type": "FLOW_JSON"}))["code"]
        == 100
    )
    assert error_of(upload(client, flow, "{}", asset_type="PICTURE"))["code"] == 100
    assert error_of(upload(client, flow, b" " * (10 * 1024 * 1024 + 1)))["code"] == 100
    assert upload(client, flow, b"\xff\xfe\x00").json()["validation_errors"]
    assert upload(client, flow, b"[" * 100_000).json()["validation_errors"]


# What the check of a JSON finds


def with_screens(*screens: Any, **changes: Any) -> dict[str, Any]:
    return {"version": "7.0", "screens": list(screens), **changes}


def with_children(*children: Any) -> dict[str, Any]:
    return with_screens(SCREEN | {"layout": {"type": "SingleColumnLayout", "children": list(children)}})


FAULTS = [
    ([], ""),
    ({"screens": [SCREEN]}, ""),
    (GOOD | {"version": "1.0"}, "version"),
    (GOOD | {"version": 7}, "version"),
    (GOOD | {"data_api_version": "9"}, "data_api_version"),
    (GOOD | {"colour": "red"}, "colour"),
    ({"version": "7.0"}, ""),
    (with_screens(), "screens"),
    (with_screens(1, SCREEN), "screens[0]"),
    (with_screens(*({**SCREEN, "id": f"{'A' * n}"} for n in range(1, 102))), "screens"),
    (with_screens(SCREEN, SCREEN), "screens[1].id"),
    (with_screens({name: value for name, value in SCREEN.items() if name != "id"}), "screens[0]"),
    (with_screens(SCREEN | {"id": "SUCCESS"}), "screens[0].id"),
    (with_screens(SCREEN | {"id": "A 1"}), "screens[0].id"),
    (with_screens(SCREEN | {"colour": "red"}), "screens[0].colour"),
    (with_screens(SCREEN | {"terminal": False}), "screens"),
    (with_screens({name: value for name, value in SCREEN.items() if name != "layout"}), "screens[0]"),
    (with_screens(SCREEN | {"layout": []}), "screens[0].layout"),
    (with_screens(SCREEN | {"layout": {"children": [{"type": "Footer"}]}}), "screens[0].layout"),
    (with_screens(SCREEN | {"layout": {"type": "SingleColumnLayout"}}), "screens[0].layout"),
    (with_children(), "screens[0].layout.children"),
    (with_children("text"), "screens[0].layout.children[0]"),
    (with_children({"text": "x"}), "screens[0].layout.children[0]"),
    (with_children({"type": "Lamp"}), "screens[0].layout.children[0].type"),
    (
        with_children({"type": "Form", "children": [{"type": "Lamp"}]}),
        "screens[0].layout.children[0].children[0].type",
    ),
    (
        with_children({"type": "If", "then": [{"type": "Footer"}], "else": [{"type": "Lamp"}]}),
        "screens[0].layout.children[0].else[0].type",
    ),
    (
        with_children({"type": "Switch", "cases": {"a": [{"type": "Lamp"}]}}),
        "screens[0].layout.children[0].cases.a[0].type",
    ),
    (with_children(*({"type": "TextBody"} for _ in range(51))), "screens[0].layout.children"),
    (GOOD | {"routing_model": []}, "routing_model"),
    (GOOD | {"routing_model": {"NOWHERE": []}}, "routing_model.NOWHERE"),
    (GOOD | {"routing_model": {"WELCOME": "WELCOME"}}, "routing_model.WELCOME"),
    (GOOD | {"routing_model": {"WELCOME": ["NOWHERE"]}}, "routing_model.WELCOME[0]"),
    (GOOD | {"routing_model": {"WELCOME": ["WELCOME"] * 11}}, "routing_model.WELCOME"),
]


@pytest.mark.parametrize(("flow", "path"), FAULTS, ids=[f"{n}-{path}" for n, (_, path) in enumerate(FAULTS)])
def test_each_fault_is_found_at_its_place(flow, path) -> None:
    text = json.dumps(flow, indent=2)

    (error,) = flow_json.check(text).errors

    lines = text.splitlines()
    assert error["pointers"][0]["path"] == path
    assert 1 <= error["line_start"] <= error["line_end"] <= len(lines)
    where = lines[error["line_start"] - 1][error["column_start"] - 1 :]
    last = path.rpartition(".")[2]
    named = last if error["error"] == "INVALID_PROPERTY" else ""
    assert where.startswith(f'"{named}' if named else ("{", "[", '"', *"0123456789"))


def test_a_good_json_has_no_fault() -> None:
    assert flow_json.check(json.dumps(GOOD | {"routing_model": {"WELCOME": []}})).errors == ()


def test_only_the_first_faults_are_told() -> None:
    assert len(flow_json.check(json.dumps(with_children(*({"type": "Lamp"} for _ in range(60))))).errors) == 20


# Publishing, editing, deprecating


def test_a_draft_is_published_and_told_by_a_webhook(start) -> None:
    client = start()
    flow = made(client)

    assert client.post(f"{flow}/publish").json() == {"success": True}

    assert status_of(client, flow) == "PUBLISHED"
    (told,) = client.simulator.webhooks.sent(topic="flows")
    assert told.value["event"] == "FLOW_STATUS_CHANGE"
    assert (told.value["flow_id"], told.value["old_status"], told.value["new_status"]) == (
        flow,
        "DRAFT",
        "PUBLISHED",
    )
    assert effects(client, "flow_published") == [(flow, False)]


def test_what_is_not_ready_is_not_published(start) -> None:
    client = start(inactive_wabas=1)
    inactive = client.simulator.world.waba_ids[-1]
    reasons = {
        create(client, name="no json").json()["id"]: "no JSON",
        made(client, {}, name="faulty"): "validation errors",
        made(client, GOOD | {"data_api_version": "3.0"}, name="no endpoint"): "endpoint_uri",
        create(client, inactive, flow_json=json.dumps(GOOD)).json()["id"]: "phone number",
        published(client, name="published"): "not a draft",
    }

    for flow, reason in reasons.items():
        refused = client.post(f"{flow}/publish")
        assert (refused.status_code, error_of(refused)["code"]) == (400, 139002)
        assert reason in error_of(refused)["error_user_msg"]
    assert len(effects(client, "flow_published")) == 1


@pytest.mark.parametrize("edit", ["json", "name"])
def test_editing_a_published_flow_makes_it_a_draft_again(start, edit) -> None:
    client = start()
    flow = published(client)

    if edit == "json":
        upload(client, flow, json.dumps(GOOD | {"version": "7.1"}))
    else:
        client.post(flow, data={"name": "renamed"})

    assert status_of(client, flow) == "DRAFT"
    assert client.post(f"{flow}/publish").ok
    assert client.simulator.judge.effects.duplicates() == []
    assert [one.value["new_status"] for one in client.simulator.webhooks.sent(topic="flows")] == [
        "PUBLISHED",
        "DRAFT",
        "PUBLISHED",
    ]


def test_a_published_flow_of_a_waba_with_an_on_premises_number_stays(start) -> None:
    client = start()
    flow = published(client)
    world = client.simulator.world
    world.change(world.waba(first(client)).numbers[0]).platform = "ON_PREMISE"

    assert error_of(client.post(flow, data={"name": "renamed"}))["code"] == 139001
    assert status_of(client, flow) == "PUBLISHED"


def test_name_categories_endpoint_and_app_can_be_changed(start) -> None:
    client = start(apps=2)
    flow, app = made(client), client.simulator.world.apps[1].id
    changes = {
        "name": "renamed",
        "categories": ["OTHER"],
        "endpoint_uri": "https://a.example/flow",
        "application_id": app,
    }

    assert client.post(flow, json=changes).json() == {"success": True}
    assert client.post(flow, json=changes).json() == {"success": True}
    read = client.get(flow, fields="name,categories,endpoint_uri,application{id}").json()

    del changes["application_id"]
    assert read == {**changes, "application": {"id": app}, "id": flow}
    assert effects(client, "flow_updated") == [(flow, False)]
    assert error_of(client.post(flow, json={"application_id": "1"}))["code"] == 100


def test_a_renamed_flow_leaves_its_name_to_another(start) -> None:
    client = start()
    client.post(made(client), data={"name": "renamed"})

    assert create(client).ok
    assert client.simulator.judge.effects.duplicates() == []


def test_a_published_flow_is_deprecated_for_ever(start) -> None:
    client = start()
    flow = published(client)

    assert client.post(f"{flow}/deprecate").json() == {"success": True}
    again = client.post(f"{flow}/deprecate")

    assert status_of(client, flow) == "DEPRECATED"
    assert error_of(again)["code"] == 139003
    assert error_of(client.post(f"{flow}/publish"))["code"] == 139002
    assert error_of(client.post(flow, data={"name": "renamed"}))["code"] == 139001
    assert error_of(upload(client, flow, "{}"))["code"] == 139001
    assert error_of(client.delete(flow))["code"] == 139004
    assert effects(client, "flow_deprecated") == [(flow, False)]


def test_a_draft_is_deleted_and_not_deprecated(start) -> None:
    client = start()
    flow = made(client)

    assert error_of(client.post(f"{flow}/deprecate"))["code"] == 139003
    assert client.delete(flow).json() == {"success": True}

    assert error_of(client.get(flow))["error_subcode"] == 33
    assert client.get(f"{first(client)}/flows").json() == {"data": []}
    assert effects(client, "flow_deleted") == [(f"{first(client)}/survey", False)]


def test_a_published_flow_is_not_deleted(start) -> None:
    client = start()
    flow = published(client)

    assert error_of(client.delete(flow))["code"] == 139004
    assert status_of(client, flow) == "PUBLISHED"


def test_a_blocked_flow_can_only_be_deprecated(start) -> None:
    client = start()
    flow = published(client)

    client.control("POST", "flows", json={"id": flow, "status": "BLOCKED"})

    for refused in (
        client.post(f"{flow}/publish"),
        client.post(flow, data={"name": "renamed"}),
        upload(client, flow, "{}"),
    ):
        assert error_of(refused)["code"] == 139000
    assert client.simulator.webhooks.sent(topic="flows")[-1].value["new_status"] == "BLOCKED"
    assert client.post(f"{flow}/deprecate").ok


def test_a_throttled_flow_is_limited_and_can_be_edited(start) -> None:
    client = start()
    flow = published(client)

    client.control("POST", "flows", json={"id": flow, "status": "THROTTLED"})
    health = client.get(flow, fields="health_status.phone_number(1)").json()["health_status"]

    assert health["can_send_message"] == "LIMITED"
    assert client.post(flow, data={"name": "renamed"}).ok
    assert status_of(client, flow) == "DRAFT"


def test_the_control_plane_shows_flows(start) -> None:
    client = start()
    flow = made(client)

    (shown,) = client.control("GET", "flows", params={"waba": first(client)}).json()["flows"]

    assert (shown["id"], json.loads(shown["json"])) == (flow, GOOD)
    assert client.control("POST", "flows", json={"id": "1", "status": "DRAFT"}).status_code == 404
    assert client.control("GET", f"flow_json/{flow}", params={"version": "x"}).status_code == 404


def test_a_flow_may_be_read_as_it_was(start) -> None:
    client = start()
    flow = made(client)
    client.simulator.advance(60)
    client.post(f"{flow}/publish")
    client.control("POST", "faults", json={"method": "GET", "stale": 30})

    assert status_of(client, flow) == "DRAFT"


# Migration


def two_of_one_business(client) -> tuple[str, str]:
    world = client.simulator.world
    source = world.waba(first(client))
    destination = world.signup(business=source.business_id, number="registered").waba_id
    client.post(
        f"{destination}/assigned_users",
        data={"user": client.simulator.app.system_user_id, "tasks": "MANAGE"},
    )
    return source.id, destination


def test_flows_are_copied_with_their_status_and_failures_are_told_one_by_one(start) -> None:
    client = start()
    source, destination = two_of_one_business(client)
    draft, live, old = made(client, name="draft"), published(client, name="live"), published(client, name="old")
    client.post(f"{old}/deprecate")
    create(client, destination, name="taken")
    create(client, name="taken")

    answer = client.post(
        f"{destination}/migrate_flows",
        params={"source_waba_id": source, "source_flow_names": "draft,live,old,taken,nowhere"},
    ).json()

    moved = {one["source_name"]: one for one in answer["migrated_flows"]}
    assert {name: one["source_id"] for name, one in moved.items()} == {"draft": draft, "live": live, "old": old}
    assert [status_of(client, moved[name]["migrated_id"]) for name in ("draft", "live", "old")] == [
        "DRAFT",
        "PUBLISHED",
        "DRAFT",
    ]
    assert [(one["source_name"], one["error_code"]) for one in answer["failed_flows"]] == [
        ("taken", "4233041"),
        ("nowhere", "4233041"),
    ]
    assert status_of(client, live) == "PUBLISHED"
    assert effects(client, "flow_migrated") == [
        (f"{destination}/{name}", False) for name in ("draft", "live", "old")
    ]


def test_without_names_the_first_hundred_are_copied_and_a_second_call_copies_none(start) -> None:
    client = start(templates=0)
    source, destination = two_of_one_business(client)
    for number in range(101):
        create(client, name=f"flow {number}")

    first_call = client.post(f"{destination}/migrate_flows", data={"source_waba_id": source}).json()
    second_call = client.post(f"{destination}/migrate_flows", data={"source_waba_id": source}).json()

    assert len(first_call["migrated_flows"]) == 100
    assert (second_call["migrated_flows"], len(second_call["failed_flows"])) == ([], 100)
    assert client.simulator.judge.effects.duplicates() == []


def test_flows_are_copied_within_one_business_only(start) -> None:
    client = start()
    source, destination = two_of_one_business(client)
    other = client.simulator.world.waba_ids[1]

    for given in (
        {"source_waba_id": other},
        {"source_waba_id": destination},
        {"source_waba_id": "1"},
        {},
        {"source_waba_id": source, "source_flow_names": json.dumps([f"flow {n}" for n in range(101)])},
    ):
        assert error_of(client.post(f"{destination}/migrate_flows", data=given))["code"] == 100
