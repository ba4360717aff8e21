"""Reading WABAs, numbers, templates and tokens, as a client does it over HTTP."""

from __future__ import annotations

import json

import pytest
import requests

from wabajobs.simulator.world.templates import DEFAULT_FIELDS, FIELDS

from .client import error_of


def walk(client, waba: str, **parameters) -> list[str]:
    """Follow `after` cursors to the end, as long as there is a next page."""
    ids: list[str] = []
    while True:
        answer = client.templates(waba, **parameters)
        assert answer.status_code == 200
        page = answer.json()
        ids += [one["id"] for one in page["data"]]
        if "next" not in page.get("paging", {}):
            return ids
        parameters["after"] = page["paging"]["cursors"]["after"]


@pytest.mark.parametrize("limit", [1, 2, 7, 25, 59, 60, 61, 1000])
def test_paging_visits_each_template_exactly_once(start, limit) -> None:
    client = start(templates=60, waba_limit_active=10_000)
    waba = client.simulator.world.waba_ids[1]

    assert walk(client, waba, limit=limit, fields="id") == [
        one.id for one in client.simulator.world.templates(waba)
    ]


@pytest.mark.parametrize(("templates", "limit", "pages"), [(60, None, 3), (60, 30, 2), (50, 25, 2), (1, 25, 1)])
def test_a_list_takes_as_many_calls_as_it_has_pages(start, templates, limit, pages) -> None:
    client = start(templates=templates)

    walk(client, client.simulator.world.waba_ids[0], **({"limit": limit} if limit else {}))

    assert client.simulator.judge.total == pages


def test_the_next_link_leads_on_and_carries_the_token_as_metas_does(start) -> None:
    client = start(templates=30)
    page = client.templates(fields="id,name", status="APPROVED", limit=5).json()

    link = page["paging"]["next"]
    following = requests.get(link, timeout=10)

    assert f"access_token={client.simulator.app.token}" in link
    assert link.startswith(f"{client.simulator.url}/v23.0/")
    assert following.json() == client.templates(
        fields="id,name", status="APPROVED", limit=5, after=page["paging"]["cursors"]["after"]
    ).json() | {"paging": following.json()["paging"]}
    assert not {one["id"] for one in page["data"]} & {one["id"] for one in following.json()["data"]}


def test_the_previous_link_leads_back(start) -> None:
    client = start(templates=30)
    first = client.templates(limit=10, fields="id").json()
    second = client.templates(limit=10, fields="id", after=first["paging"]["cursors"]["after"]).json()

    back = requests.get(second["paging"]["previous"], timeout=10).json()

    assert back["data"] == first["data"]
    assert "previous" not in first["paging"]


def test_the_last_page_has_cursors_but_no_next(start) -> None:
    paging = start(templates=3).templates().json()["paging"]

    assert set(paging) == {"cursors"}
    assert paging["cursors"] == {"before": "MAZDZD", "after": "MgZDZD"}


def test_an_empty_list_is_empty_data(start) -> None:
    assert start(templates=0).templates().json() == {"data": []}


def test_without_fields_the_default_ones_come(start) -> None:
    for one in start(templates=20).templates().json()["data"]:
        assert set(one) <= set(DEFAULT_FIELDS)
        assert {"name", "language", "status", "category", "components", "id"} <= set(one)


@pytest.mark.parametrize("fields", ["name", "id,status", "quality_score,rejected_reason,last_updated_time"])
def test_only_the_fields_asked_for_come_and_always_the_id(start, fields) -> None:
    for one in start().templates(fields=fields).json()["data"]:
        assert set(one) == {*fields.split(","), "id"}


def test_every_known_field_can_be_asked_for(start) -> None:
    answer = start().templates(fields=",".join(FIELDS))

    assert answer.status_code == 200
    assert set(answer.json()["data"][0]) >= {"health_status", "source", "quality_score", "parameter_format"}


def test_an_unknown_field_is_error_100(start) -> None:
    client = start()

    for answer in (
        client.templates(fields="name,colour"),
        client.get(client.simulator.world.waba_ids[0], fields="x"),
    ):
        assert answer.status_code == 400
        assert error_of(answer)["code"] == 100
        assert "nonexisting field" in error_of(answer)["message"]


def test_filters_narrow_the_list(start) -> None:
    client = start(templates=300)
    waba = client.simulator.world.waba_ids[0]
    every = client.simulator.world.templates(waba)

    def seen(**filters) -> list[str]:
        return walk(client, waba, limit=100, fields="id", **filters)

    assert seen(status="REJECTED") == [one.id for one in every if one.status == "REJECTED"]
    assert seen(**{"status[]": ["REJECTED", "PAUSED"]}) == [
        one.id for one in every if one.status in ("REJECTED", "PAUSED")
    ]
    assert seen(language='["de","fr"]') == [one.id for one in every if one.language in ("de", "fr")]
    assert seen(**{"category[0]": "UTILITY"}) == [one.id for one in every if one.category == "UTILITY"]
    assert seen(name=every[7].name) == [every[7].id]
    assert error_of(client.templates(status="GLOWING"))["code"] == 100


def test_the_summary_counts_what_matches_and_what_exists(start) -> None:
    client = start(templates=40, inactive_wabas=1)
    active, inactive = client.simulator.world.waba_ids[0], client.simulator.world.waba_ids[-1]
    approved = [one for one in client.simulator.world.templates(active) if one.status == "APPROVED"]

    summary = "total_count,message_template_count,message_template_limit"
    answer = client.templates(active, summary=summary, status="APPROVED", limit=1).json()

    assert answer["summary"] == {
        "total_count": len(approved),
        "message_template_count": 40,
        "message_template_limit": 6000,
    }
    assert client.templates(inactive, summary=summary).json()["summary"]["message_template_limit"] == 250
    assert error_of(client.templates(summary="colour"))["code"] == 100


@pytest.mark.parametrize(
    "parameters",
    [{"limit": "many"}, {"limit": 0}, {"limit": -1}, {"limit": 1001}, {"after": "!!"}, {"before": "bm8="}],
)
def test_a_bad_limit_or_cursor_is_error_100(start, parameters) -> None:
    answer = start().templates(**parameters)

    assert (answer.status_code, error_of(answer)["code"]) == (400, 100)


def test_a_waba_shows_the_fields_asked_for(start) -> None:
    client = start()
    waba = client.simulator.world.waba_ids[0]

    assert client.get(waba).json()["id"] == waba
    assert set(client.get(waba, fields="name,status").json()) == {"name", "status", "id"}


def test_the_numbers_of_a_waba_are_listed(start) -> None:
    client = start(numbers=3)
    waba = client.simulator.world.waba_ids[0]
    ids = [number.id for number in client.simulator.world.waba(waba).numbers]

    assert [one["id"] for one in client.get(f"{waba}/phone_numbers").json()["data"]] == ids
    page = client.get(f"{waba}/phone_numbers", limit=2, fields="id").json()
    assert page["data"] == [{"id": one} for one in ids[:2]]
    assert "next" in page["paging"]


def test_debug_token_tells_a_good_token_from_a_bad_one(start) -> None:
    client = start()
    token = client.simulator.app.token

    good = client.get("debug_token", input_token=token).json()["data"]
    bad = client.get("debug_token", input_token="nonsense").json()["data"]

    assert (good["is_valid"], good["app_id"]) == (True, client.simulator.app.id)
    assert (bad["is_valid"], bad["error"]["code"]) == (False, 190)
    assert error_of(client.get("debug_token"))["code"] == 100


@pytest.mark.parametrize("path", ["1", "someone", "", "123/message_templates"])
def test_an_unknown_object_is_100_33(start, path) -> None:
    client = start()
    answer = client.get(path.format(waba=client.simulator.world.waba_ids[0]))

    error = error_of(answer)
    assert answer.status_code == 400
    assert (error["code"], error["error_subcode"], error["type"]) == (100, 33, "GraphMethodException")


def test_an_unknown_edge_is_a_field_that_does_not_exist(start) -> None:
    client = start()
    waba = client.simulator.world.waba_ids[0]

    edge, deeper = error_of(client.get(f"{waba}/colours")), error_of(client.get(f"{waba}/a/b"))

    assert edge["code"] == 100
    assert (
        edge["message"]
        == "(#100) Tried accessing nonexisting field (colours) on node type (WhatsAppBusinessAccount)"
    )
    assert (deeper["code"], deeper["message"]) == (2500, "Unknown path components: /a/b")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_an_unsupported_method_is_a_graph_error(start, method) -> None:
    client = start()
    url = f"{client.simulator.url}/v23.0/debug_token"

    error = error_of(client.session.request(method, url, timeout=10))

    assert error["message"].startswith(f"Unsupported {method.lower()} request")


def test_each_error_has_a_fresh_trace_id(start) -> None:
    client = start()

    ids = {error_of(client.get("1"))["fbtrace_id"] for _ in range(5)}

    assert len(ids) == 5


@pytest.mark.parametrize(("path", "version"), [("v25.0/", "v25.0"), ("", "v21.0"), ("v9.0/", "v21.0")])
def test_any_version_path_is_served_and_the_header_tells_which(start, path, version) -> None:
    client = start()
    url = f"{client.simulator.url}/{path}{client.simulator.world.waba_ids[0]}"

    answer = client.session.get(url, timeout=10)

    assert answer.status_code == 200
    assert answer.headers["facebook-api-version"] == version
    assert {"x-fb-request-id", "x-fb-trace-id", "x-fb-rev"} <= {name.lower() for name in answer.headers}


def test_parameters_come_by_query_form_or_json_alike(start) -> None:
    client = start()
    url = f"{client.simulator.url}/v23.0/{client.simulator.world.waba_ids[0]}/message_templates"
    asked = {"fields": "name", "limit": 2, "status": "APPROVED"}

    by_query = client.session.get(url, params=asked, timeout=10).json()
    by_form = client.session.get(url, data=asked, timeout=10).json()
    by_json = client.session.get(url, json={**asked, "status": ["APPROVED"]}, timeout=10).json()

    assert by_query["data"] == by_form["data"] == by_json["data"]
    assert len(by_query["data"]) == 2


def test_a_body_that_is_no_json_object_is_error_100(start) -> None:
    client = start()
    url = f"{client.simulator.url}/v23.0/{client.simulator.world.waba_ids[0]}"
    json_type = {"Content-Type": "application/json"}

    for body in (b"{", b"[1]", b"\xff\xfe", b"[" * 5000):
        answer = client.session.get(url, data=body, headers=json_type, timeout=10)
        assert error_of(answer)["code"] == 100


@pytest.mark.parametrize(
    "credentials",
    [
        lambda token: {"headers": {"Authorization": f"Bearer {token}"}},
        lambda token: {"headers": {"Authorization": f"OAuth {token}"}},
        lambda token: {"params": {"access_token": token}},
        lambda token: {"data": {"access_token": token}},
        lambda token: {"json": {"access_token": token}},
    ],
)
def test_a_token_may_come_by_header_query_or_body(start, credentials) -> None:
    simulator = start().simulator
    url = f"{simulator.url}/v23.0/{simulator.world.waba_ids[0]}"

    right = requests.get(url, timeout=10, **credentials(simulator.app.token))
    wrong = requests.get(url, timeout=10, **credentials("EAAwrong"))

    assert right.status_code == 200
    assert (wrong.status_code, error_of(wrong)["code"]) == (401, 190)


def test_a_missing_token_is_an_oauth_error(start) -> None:
    simulator = start().simulator

    answer = requests.get(f"{simulator.url}/v23.0/{simulator.world.waba_ids[0]}", timeout=10)

    assert (answer.status_code, error_of(answer)["code"]) == (401, 104)
    assert answer.headers["WWW-Authenticate"].startswith('OAuth "Facebook Platform"')


def test_a_revoked_token_is_refused_until_it_is_restored(start) -> None:
    client = start()
    world, token = client.simulator.world, client.simulator.app.token

    world.revoke_token(token)
    answer = client.templates()
    world.restore_token(token)

    assert (error_of(answer)["code"], error_of(answer)["error_subcode"]) == (190, 460)
    assert client.templates().status_code == 200


def proof(secret: str, token: str) -> str:
    # Worked out here by the standard's own words, not by the simulator's code.
    import hashlib

    block = secret.encode().ljust(64, b"\0")
    inner = hashlib.sha256(bytes(b ^ 0x36 for b in block) + token.encode()).digest()
    return hashlib.sha256(bytes(b ^ 0x5C for b in block) + inner).hexdigest()


@pytest.mark.parametrize("required", [False, True])
def test_a_proof_that_is_given_must_be_right_and_may_be_required(start, required) -> None:
    client = start(require_proof=required, apps=2)
    app, other = client.simulator.world.apps

    right = client.templates(appsecret_proof=proof(app.secret, app.token))
    wrong = client.templates(appsecret_proof=proof(other.secret, app.token))
    missing = client.templates()

    assert right.status_code == 200
    assert (wrong.status_code, error_of(wrong)["type"]) == (400, "GraphMethodException")
    assert "Invalid appsecret_proof" in error_of(wrong)["message"]
    if required:
        assert "require an appsecret_proof" in error_of(missing)["message"]
    else:
        assert missing.status_code == 200


def test_a_proof_is_not_repeated_in_links(start) -> None:
    client = start(templates=30)
    app = client.simulator.app

    answer = client.templates(appsecret_proof=proof(app.secret, app.token))

    assert "appsecret_proof" not in json.dumps(answer.json())


def test_a_missing_object_may_be_803(start) -> None:
    client = start(missing_object="803")
    signup = client.simulator.world.signup()

    for answer in (client.get("123"), client.get("123/message_templates"), client.post("123/flows", json={})):
        error = error_of(answer)
        assert (answer.status_code, error["code"], "error_subcode" in error) == (404, 803, False)
        assert "123" in error["message"]
    assert error_of(client.get(signup.waba_id))["code"] == 803, "and one that is out of reach"
    assert [call.code for call in client.simulator.judge.calls()] == [803] * 4


def test_what_is_there_and_cannot_do_this_is_not_missing(start) -> None:
    client = start(missing_object="803")

    assert error_of(client.delete(client.simulator.world.number_ids[0]))["error_subcode"] == 33


def test_how_a_missing_object_is_told_can_be_turned_while_it_runs(start) -> None:
    client = start()
    before = error_of(client.get("123"))["code"]

    client.control("POST", "limits", json={"missing_object": "803"})

    assert (before, error_of(client.get("123"))["code"]) == (100, 803)


@pytest.mark.parametrize(("shape", "read"), [("object", dict), ("text", json.loads)])
def test_the_data_of_an_error_may_be_a_text(start, shape, read) -> None:
    client = start(error_data=shape)
    waba = client.simulator.world.waba_ids[0]
    bad = {"name": "Bad name", "language": "en_US", "category": "UTILITY", "components": "[]"}

    blamed = error_of(client.post(f"{waba}/message_templates", data=bad))
    plain = error_of(client.get("123"))

    assert isinstance(blamed["error_data"], str if shape == "text" else dict)
    assert read(blamed["error_data"]) == {"blame_field_specs": [["name"]]}
    assert "error_data" not in plain


def test_a_list_that_changes_between_two_pages_shifts_under_the_reader(start) -> None:
    client = start(templates=4)
    waba = client.simulator.world.waba_ids[0]
    ids = [one.id for one in client.simulator.world.templates(waba)]

    page = client.templates(limit=2, fields="id").json()
    client.simulator.world.remove_template(waba, ids[0])
    following = client.session.get(page["paging"]["next"], timeout=10).json()

    assert [one["id"] for one in page["data"]] == ids[:2]
    assert [one["id"] for one in following["data"]] == ids[3:], "the third has moved up and is never seen"
