"""The control plane: everything that Python can do, over HTTP, and sentences for bad input."""

from __future__ import annotations

import pytest

from .client import error_of


def test_the_report_and_the_calls_are_the_judges(start) -> None:
    client = start(app_limit=2)
    for _ in range(3):
        client.templates(limit=7)

    report = client.control("GET", "report").json()
    calls = client.control("GET", "calls", params={"after": 1, "limit": 1}).json()

    assert (report["calls"], report["refused"], report["refusals"][0]["seq"]) == (3, 1, 3)
    assert report["by_endpoint"] == {"message_templates.list": 3}
    assert report["most_in_window"] == {client.simulator.app.id: 3}
    assert report["apps"][client.simulator.app.id] == {"calls_in_window": 3, "limit": 2, "percent": 150}
    assert calls["last_seq"] == 2
    (call,) = calls["calls"]
    assert (call["seq"], call["endpoint"], call["limit"]) == (2, "message_templates.list", 7)
    assert client.control("GET", "calls", params={"after": 3}).json() == {"calls": [], "last_seq": 3}


def test_the_control_plane_is_neither_counted_nor_recorded(start) -> None:
    client = start()

    for path in ("report", "calls", "world", "faults", "limits", "nothing"):
        client.control("GET", path)

    assert client.simulator.judge.total == 0
    assert client.simulator.judge.most_in_flight == 0


def test_the_world_is_shown(start) -> None:
    client = start(numbers=2, templates=9)
    world = client.control("GET", "world").json()

    assert [one["id"] for one in world["wabas"]] == client.simulator.world.waba_ids
    assert {one["templates"] for one in world["wabas"]} == {9}
    assert world["apps"][0]["token"] == client.simulator.app.token
    assert world["wabas"][0]["numbers"] == client.simulator.world.number_ids[:2]


def test_faults_are_added_shown_and_removed(start) -> None:
    client = start()

    name = client.control("POST", "faults", json={"code": 2, "path": "message_templates"}).json()["id"]
    assert error_of(client.templates())["code"] == 2
    (shown,) = client.control("GET", "faults").json()["faults"]
    assert (shown["id"], shown["used"]) == (name, 1)
    assert client.control("DELETE", f"faults/{name}").status_code == 200
    assert client.templates().ok

    client.control("POST", "faults", json={"code": 2})
    client.control("DELETE", "faults")
    assert client.templates().ok


def test_limits_change(start) -> None:
    client = start(apps=2)
    app = client.simulator.app.id

    client.control("POST", "limits", json={"app": app, "app_limit": 1, "app_refusal_status": 429})
    client.templates()
    answer = client.templates()
    settings = client.control("POST", "limits", json={"app": app, "app_limit": 9, "count_refused": False})

    assert answer.status_code == 429
    assert client.templates().ok
    assert settings.json()["app_limits"] == {app: 9}
    assert settings.json()["count_refused"] is False


def test_a_waba_gets_a_limit_of_its_own(start) -> None:
    client = start()
    waba = client.simulator.world.waba_ids[0]

    client.control("POST", "limits", json={"waba": waba, "waba_limit": 1})
    client.templates()

    assert error_of(client.templates())["code"] == 80008
    client.control("POST", "limits", json={"waba": waba})
    assert client.templates().ok


def test_limits_change_all_at_once_or_not_at_all(start) -> None:
    client = start()
    waba = client.simulator.world.waba_ids[0]
    before = client.control("GET", "limits").json()

    for wrong in ({"count_refused": "perhaps"}, {"colour": 1}, {"app_limit": 0}, {"wabas": 3}):
        given = {"waba": waba, "waba_limit": 1, "latency": 2, "app_limit": 9} | wrong
        assert client.control("POST", "limits", json=given).status_code == 400

    assert client.control("GET", "limits").json() == before


def test_limits_of_a_waba_an_app_and_all_change_together(start) -> None:
    client = start()
    waba, app = client.simulator.world.waba_ids[0], client.simulator.app.id

    given = {"waba": waba, "waba_limit": 3, "app": app, "app_limit": 9, "count_refused": False}
    now = client.control("POST", "limits", json=given).json()

    assert (now["waba_limits"], now["app_limits"], now["count_refused"]) == ({waba: 3}, {app: 9}, False)


def test_others_call_too(start) -> None:
    client = start(app_limit=10)
    app = client.simulator.app.id

    once = client.control("POST", "others", json={"app": app, "calls": 4}).json()
    client.control("POST", "others", json={"per_second": 1})
    client.simulator.advance(10)

    assert once == {"app": app, "calls_in_window": 4, "limit": 10, "percent": 40}
    assert error_of(client.templates())["code"] == 4


def test_templates_change(start) -> None:
    client = start(templates=1)
    waba = client.simulator.world.waba_ids[0]
    (first,) = client.control("GET", "templates", params={"waba": waba}).json()["templates"]

    def change(**body):
        return client.control("POST", "templates", json={"waba": waba, **body})

    added = change(action="add", name="fresh", category="MARKETING").json()
    change(action="set_status", id=added["id"], status="REJECTED")
    change(action="remove", id=first["id"])

    assert client.templates(fields="name,status").json()["data"] == [
        {"name": "fresh", "status": "REJECTED", "id": added["id"]}
    ]


def test_a_reset_may_empty_windows_and_faults_too(start) -> None:
    client = start(app_limit=1)
    client.templates()
    client.simulator.faults.add(code=2)

    client.control("POST", "reset", json={"limits": True, "faults": True})

    assert client.templates().ok
    assert client.simulator.judge.total == 1


def test_a_hand_moved_clock_moves_over_http_and_a_real_one_does_not(start) -> None:
    by_hand, real = start(), start(clock="real")

    assert by_hand.control("POST", "clock", json={"advance": 5}).json() == {"time": 5.0}
    assert "real clock" in real.control("POST", "clock", json={"advance": 5}).json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "faults", {}),
        ("POST", "faults", {"code": "many"}),
        ("POST", "faults", {"code": 2, "path": "("}),
        ("POST", "faults", [1]),
        ("DELETE", "faults/none", None),
        ("POST", "limits", {"app_limit": 0}),
        ("POST", "limits", {"app": "1", "app_limit": 5}),
        ("POST", "limits", {"colour": 1}),
        ("POST", "limits", {"waba_limit": 5}),
        ("POST", "limits", {"app_refusal_status": 418}),
        ("POST", "others", {}),
        ("POST", "others", {"app": "1", "calls": 3}),
        ("POST", "others", {"calls": -3}),
        ("POST", "templates", {"action": "add", "waba": "1", "name": "x"}),
        ("POST", "templates", {"action": "paint", "waba": "1"}),
        ("POST", "reset", {"everything": True}),
        ("POST", "clock", {"advance": -1}),
        ("GET", "calls?limit=0", None),
        ("GET", "templates", None),
    ],
)
def test_bad_control_input_gets_a_sentence(start, method, path, body) -> None:
    answer = start().control(method, path, json=body)

    assert answer.status_code == 400
    assert set(answer.json()) == {"error"}
    assert len(answer.json()["error"]) > 10


@pytest.mark.parametrize(
    "body",
    [
        {"action": "remove", "id": "1"},
        {"action": "remove"},
        {"action": "set_status", "id": "1", "status": "PAUSED"},
        {"action": "add"},
        {"action": "add", "name": "x", "status": "GLOWING"},
    ],
)
def test_bad_changes_of_templates_get_a_sentence(start, body) -> None:
    client = start()

    answer = client.control("POST", "templates", json={"waba": client.simulator.world.waba_ids[0], **body})

    assert answer.status_code == 400
    assert answer.json()["error"]


def test_a_bad_body_is_refused_before_anything_changes(start) -> None:
    client = start()

    answer = client.control("POST", "limits", data=b"{", headers={"Content-Type": "application/json"})

    assert answer.json() == {"error": "the body must be a JSON object"}


def test_an_unknown_control_path_names_the_known_ones(start) -> None:
    answer = start().control("GET", "colours")

    assert answer.status_code == 404
    assert "GET report" in answer.json()["error"]
