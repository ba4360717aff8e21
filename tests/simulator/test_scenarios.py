"""Scenarios: phases on a time line, played over HTTP; each kind of fault; the files of the package."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest
import requests
from pydantic import ValidationError

from wabajobs.simulator import Phase, Scenario, Simulator, SimulatorConfig
from wabajobs.simulator.config import SHIPPED, shipped_scenarios
from wabajobs.simulator.scenario import seconds_of

from .client import Client, error_of

TEMPLATE = {
    "name": "order_update",
    "language": "en_US",
    "category": "UTILITY",
    "components": [{"type": "BODY", "text": "Your order is on its way to you now."}],
}


def create(client: Client, **changes) -> requests.Response:
    waba = client.simulator.world.waba_ids[0]
    return client.post(f"{waba}/message_templates", json={**TEMPLATE, **changes})


def code(answer: requests.Response) -> int | None:
    return None if answer.ok else error_of(answer)["code"]


def played(start, tmp_path: Path, text: str, **knobs) -> Client:
    """A client of a simulator that plays this scenario file."""
    file = tmp_path / "played.toml"
    file.write_text(text)
    config = SimulatorConfig.from_toml(file)
    return start(**{name: getattr(config, name) for name in config.model_fields_set}, **knobs)


def app_limits(client: Client) -> list[int]:
    return [one["limit"] for one in client.control("GET", "world").json()["apps"]]


# ── times ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(90, 90), ("90", 90), ("90s", 90), ("12m", 720), ("1h30m", 5400), ("2d4h", 187_200), ("1.5h", 5400)],
)
def test_a_time_is_seconds_or_text_with_units(text, seconds) -> None:
    assert seconds_of(text) == seconds
    assert Phase(name="x", at=text, revoke_tokens=True).at == seconds


@pytest.mark.parametrize("text", ["soon", "1h-3m", "5 weeks", "", "-5", -5, "h", "1h 5"])
def test_any_other_time_is_refused(text) -> None:
    with pytest.raises(ValidationError):
        Phase(name="x", at=text, revoke_tokens=True)


# ── when ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_phase_holds_from_at_until_until_and_what_it_set_goes_back(start, tmp_path) -> None:
    client = played(
        start,
        tmp_path,
        'app_limit = 100\n[[phases]]\nname = "low"\nat = "1m"\nuntil = "2m"\nlimits = { app_limit = 7 }\n',
    )

    seen = []
    for _ in range(4):
        seen.append(app_limits(client))
        client.simulator.advance(59.5)

    assert seen == [[100], [100], [7], [100]]


def test_a_phase_without_an_end_lasts(start, tmp_path) -> None:
    client = played(start, tmp_path, '[[phases]]\nname = "low"\nat = "1m"\nlimits = { app_limit = 7 }\n')

    client.simulator.advance(10 * 86_400)

    assert app_limits(client) == [7]


def test_a_phase_at_0_holds_before_anybody_calls(start, tmp_path) -> None:
    client = played(start, tmp_path, '[[phases]]\nname = "low"\nlimits = { app_limit = 7 }\n')

    assert client.simulator.facts()["apps"][0]["limit"] == 7


def test_of_overlapping_phases_the_later_wins_and_the_earlier_comes_back(start) -> None:
    def limit(name: str, at: float, until: float | None, value: int) -> Phase:
        return Phase(name=name, at=at, until=until, limits={"app_limit": value})

    client = start(
        app_limit=100,
        phases=(limit("a", 10, 100, 1), limit("b", 50, 150, 2), limit("c", 60, None, 3), limit("d", 70, 80, 4)),
    )

    seen = {}
    for moment in (0, 10, 50, 60, 70, 80, 100, 150):
        client.simulator.advance(moment - client.simulator.clock.now())
        seen[moment] = app_limits(client)[0]

    assert seen == {0: 100, 10: 1, 50: 2, 60: 3, 70: 4, 80: 3, 100: 3, 150: 3}


def test_the_next_phase_begins_as_the_one_before_ends(start) -> None:
    client = start(
        app_limit=100,
        phases=(
            Phase(name="b", at=20, until=30, limits={"app_limit": 2}),
            Phase(name="a", at=10, until=20, limits={"app_limit": 1}),
        ),
    )

    seen = []
    for _ in range(4):
        seen.append(app_limits(client)[0])
        client.simulator.advance(10)

    assert seen == [100, 1, 2, 100]


def test_a_hand_moved_clock_stops_at_each_phase_on_its_way(start) -> None:
    others = [Phase(name=f"at {at}", at=at, others={"calls": 10}) for at in (100, 3000, 3700)]
    client = start(app_limit=1000, phases=tuple(others))

    client.simulator.advance(4000)

    # The calls of second 100 are over, those of 3000 and 3700 are not.
    usage = client.control("GET", "report").json()["apps"][client.simulator.app.id]
    assert usage["calls_in_window"] == 20
    client.simulator.advance(2600)
    assert client.simulator.limits.app_usage(client.simulator.app.id).calls == 10


def test_phases_run_by_simulated_seconds_at_any_speed() -> None:
    config = SimulatorConfig(
        speed=600,
        wabas=1,
        window=600,
        app_limit=100,
        phases=(Phase(name="low", at="3m", until="20m", limits={"app_limit": 5}, others={"per_second": 1}),),
    )
    with Simulator(config).running() as simulator, requests.Session() as session:
        began = time.monotonic()
        url = f"{simulator.url}/{simulator.world.waba_ids[0]}"
        token = {"access_token": simulator.app.token}
        assert session.get(url, params=token, timeout=5).ok
        while (now := simulator.clock.now()) < 240:
            time.sleep(0.01)
        refused = session.get(url, params=token, timeout=5)
        assert 180 <= now < 1200, "this machine is too slow to tell"
    assert error_of(refused)["code"] == 4
    assert time.monotonic() - began < 60


# ── what: limits and other clients ──────────────────────────────────────────────────────────────────────────


def test_an_exception_may_land_on_the_wrong_app(start, tmp_path) -> None:
    client = played(
        start,
        tmp_path,
        "apps = 2\napp_limit = 3\n"
        '[[phases]]\nname = "misapplied"\nat = 10\nuntil = 20\napp = 1\nlimits = { app_limit = 50 }\n'
        '[[phases]]\nname = "put right"\nat = 20\nlimits = { app = 0, app_limit = 50 }\n',
    )
    other = Client(client.simulator, app=1)

    assert [code(client.templates()) for _ in range(4)] == [None, None, None, 4]
    client.simulator.advance(10)
    assert app_limits(client) == [3, 50]
    assert code(client.templates()) == 4
    assert [code(other.templates()) for _ in range(5)] == [None] * 5
    client.simulator.advance(10)
    assert app_limits(client) == [50, 3]
    assert code(client.templates()) is None
    assert code(other.templates()) == 4


def test_headers_may_claim_another_limit_than_is_enforced(start, tmp_path) -> None:
    client = played(
        start,
        tmp_path,
        "app_limit = 100\nheader_floor = 0\n"
        '[[phases]]\nname = "claimed"\nat = 10\nlimits = { app = 0, app_limit = 4, claimed_app_limit = 400 }\n',
    )
    client.simulator.advance(10)

    answers = [client.templates() for _ in range(5)]

    assert [code(one) for one in answers] == [None] * 4 + [4]
    assert json.loads(answers[3].headers["X-App-Usage"])["call_count"] == 1


def test_any_adjustable_knob_may_change_for_a_time(start, tmp_path) -> None:
    client = played(
        start,
        tmp_path,
        '[[phases]]\nname = "other words"\nat = 10\nuntil = 20\n'
        "limits = { app_limit = 1, app_refusal_status = 403, count_refused = false, default_limit = 3 }\n",
    )
    assert len(client.templates().json()["data"]) == 25
    client.simulator.advance(3600)
    client.simulator.play([Phase(name="x", limits={"default_limit": 3, "app_limit": 1}, until=10)])

    assert len(client.templates().json()["data"]) == 3
    assert client.templates().status_code == 400
    client.simulator.advance(10)
    assert len(client.templates().json()["data"]) == 25


def test_refusals_are_worded_as_a_phase_says(start, tmp_path) -> None:
    client = played(
        start,
        tmp_path,
        '[[phases]]\nname = "other words"\nat = 10\nuntil = 20\n'
        "limits = { app_limit = 1, app_refusal_status = 403, count_refused = false }\n",
    )
    client.simulator.advance(10)

    answers = [client.templates() for _ in range(3)]

    assert [one.status_code for one in answers] == [200, 403, 403]
    assert client.simulator.limits.app_usage(client.simulator.app.id).calls == 1


def test_one_waba_may_have_a_limit_of_its_own_for_a_time(start, tmp_path) -> None:
    client = played(
        start,
        tmp_path,
        '[[phases]]\nname = "one"\nat = 10\nuntil = 20\nlimits = { waba = 1, waba_limit = 2 }\n',
    )
    first, second, _ = client.simulator.world.waba_ids
    client.simulator.advance(10)

    assert [code(client.templates(second)) for _ in range(3)] == [None, None, 80008]
    assert code(client.templates(first)) is None
    client.simulator.advance(10)
    assert code(client.templates(second)) is None


def test_other_clients_eat_the_apps_budget_while_the_phase_lasts(start, tmp_path) -> None:
    client = played(
        start,
        tmp_path,
        "app_limit = 1000\n"
        '[[phases]]\nname = "busy"\nat = 100\nuntil = 200\nothers = { per_second = 5 }\n'
        '[[phases]]\nname = "burst"\nat = 300\nothers = { calls = 400 }\n',
    )
    app = client.simulator.app.id

    def others() -> int:
        return client.simulator.limits.app_usage(app).calls

    seen = {}
    for moment in (99, 150, 199, 250, 299, 300, 3750, 3900):
        client.simulator.advance(moment - client.simulator.clock.now())
        seen[moment] = others()

    assert seen[99] == 0
    assert 250 <= seen[150] <= 251
    assert 495 <= seen[199] <= 496
    assert 500 <= seen[250] <= 501
    assert seen[299] == seen[250]
    assert seen[300] == seen[250] + 400
    assert 650 <= seen[3750] <= 651
    assert seen[3900] == 0


def test_other_clients_alone_can_keep_the_window_full(start, tmp_path) -> None:
    client = played(
        start, tmp_path, 'app_limit = 100\n[[phases]]\nname = "busy"\nat = 10\nothers = { per_second = 0.1 }\n'
    )

    seen = []
    for _ in range(3):
        seen.append(code(client.templates()))
        client.simulator.advance(3600)

    assert seen == [None, 4, 4]


# ── what: faults ────────────────────────────────────────────────────────────────────────────────────────────


def in_phase(start, fault: dict, **knobs) -> Client:
    """A client in the middle of a phase, from second 10 to second 1000, that has this fault."""
    client = start(phases=({"name": "bad", "at": 10, "until": 1000, "faults": [fault]},), **knobs)
    assert client.templates(limit=1).ok
    client.simulator.advance(10)
    return client


def after_phase(client: Client) -> Client:
    client.simulator.advance(990)
    return client


def test_a_phase_may_break_one_class_of_paths(start) -> None:
    client = in_phase(start, {"path": r"^/v[\d.]+/\d+/uploads$", "code": 2, "status": 503})
    app = client.simulator.app.id
    asked = {"file_name": "a.png", "file_length": 10, "file_type": "image/png"}

    assert (client.post(f"{app}/uploads", params=asked).status_code, client.templates().status_code) == (503, 200)
    (record, _) = client.simulator.judge.calls()[-2:]
    assert record.fault == "bad"
    assert error_of(after_phase(client).post(f"{app}/uploads"))["code"] == 100


def test_a_phase_may_break_one_capability(start) -> None:
    client = in_phase(start, {"capability": "phone_numbers", "status": 502})
    waba = client.simulator.world.waba_ids[0]

    assert client.get(f"{waba}/phone_numbers").status_code == 502
    assert client.templates().ok
    assert after_phase(client).get(f"{waba}/phone_numbers").ok


def test_answers_may_come_late(start) -> None:
    client = in_phase(start, {"latency": 30})
    answers: list[requests.Response] = []
    caller = threading.Thread(target=lambda: answers.append(client.templates()))

    caller.start()
    caller.join(0.2)
    assert not answers
    client.simulator.advance(30)
    caller.join(5)

    assert answers[0].ok


@pytest.mark.parametrize(
    ("fault", "status", "content_type", "content"),
    [
        ({"status": 503}, 503, "text/html", ""),
        ({"status": 500, "body": "{", "content_type": "application/json"}, 500, "application/json", "{"),
        ({"status": 502, "body": "<html>Bad gateway</html>"}, 502, "text/html", "<html>Bad gateway</html>"),
    ],
)
def test_errors_may_come_without_json(start, fault, status, content_type, content) -> None:
    client = in_phase(start, fault)

    answer = client.templates()

    assert (answer.status_code, answer.text) == (status, content)
    assert answer.headers["Content-Type"].startswith(content_type)
    assert after_phase(client).templates().ok


def test_errors_may_come_with_json(start) -> None:
    client = in_phase(start, {"status": 503, "code": 2, "is_transient": True})

    answer = client.templates()

    assert (answer.status_code, error_of(answer)["code"], error_of(answer)["is_transient"]) == (503, 2, True)
    assert after_phase(client).templates().ok


def test_a_reset_before_the_write_has_no_effect(start) -> None:
    client = in_phase(start, {"method": "POST", "reset_before": True})

    with pytest.raises(requests.ConnectionError):
        create(client)

    assert client.simulator.judge.effects.all() == []
    assert create(after_phase(client)).ok


def test_a_reset_after_the_write_loses_the_answer_and_not_the_effect(start) -> None:
    client = in_phase(start, {"method": "POST", "reset_after": True})

    with pytest.raises(requests.ConnectionError):
        create(client)

    (effect,) = client.simulator.judge.effects.all(kind="template_created")
    assert effect.call == client.simulator.judge.calls()[-1].seq
    assert error_of(create(after_phase(client)))["error_subcode"] == 2388024


def test_a_write_may_happen_and_time_out_after_30_seconds(start) -> None:
    client = in_phase(start, {"method": "POST", "latency": 30, "reset_after": True})
    errors: list[Exception] = []

    def caller() -> None:
        try:
            create(client)
        except requests.ConnectionError as error:
            errors.append(error)

    thread = threading.Thread(target=caller)
    thread.start()
    thread.join(0.2)
    assert client.simulator.judge.effects.by_kind() == {"template_created": 1}
    assert not errors
    client.simulator.advance(30)
    thread.join(5)

    assert errors


def test_a_write_may_happen_and_a_proxy_answer_for_it(start) -> None:
    client = in_phase(
        start, {"method": "POST", "status": 504, "body": "<html>Time-out</html>", "took_effect": True}
    )

    answer = create(client)

    assert (answer.status_code, answer.text) == (504, "<html>Time-out</html>")
    assert "X-App-Usage" not in answer.headers
    assert client.simulator.judge.effects.by_kind() == {"template_created": 1}
    (record,) = client.simulator.judge.calls()[-1:]
    assert (record.status, record.counted, record.wasted) == (504, True, "failed")


def test_what_a_proxy_answers_for_counts_as_the_graph_says(start) -> None:
    client = in_phase(start, {"status": 504, "took_effect": True}, app_limit=2)

    answers = [client.templates() for _ in range(3)]

    assert [one.status_code for one in answers] == [504, 504, 504]
    assert client.simulator.limits.app_usage(client.simulator.app.id).calls == 4


def test_a_lost_answer_in_a_batch_is_null(start) -> None:
    client = in_phase(start, {"path": "phone_numbers", "reset_after": True})
    waba = client.simulator.world.waba_ids[0]
    batch = [
        {"method": "GET", "relative_url": waba},
        {"method": "GET", "relative_url": f"{waba}/phone_numbers"},
        {"method": "GET", "relative_url": f"{waba}/message_templates"},
    ]

    answers = client.session.post(f"{client.simulator.url}/v23.0/", json={"batch": batch}, timeout=10).json()

    assert [one and one["code"] for one in answers] == [200, None, 200]


def test_reads_may_be_stale(start) -> None:
    client = start(phases=({"name": "stale", "at": 100, "until": 200, "stale_reads": "50s"},))
    client.simulator.advance(80)
    template = create(client).json()["id"]
    waba = client.simulator.world.waba_ids[0]

    def listed() -> bool:
        return template in [one["id"] for one in client.templates(waba, limit=100, fields="id").json()["data"]]

    assert listed()
    client.simulator.advance(20)
    assert not listed()
    client.simulator.advance(40)
    assert listed()


def test_heavy_pages_may_be_code_1(start) -> None:
    client = in_phase(start, {"path": "message_templates", "heavy_over": 10})

    assert error_of(client.templates(limit=11))["code"] == 1
    assert client.templates(limit=10).ok
    assert after_phase(client).templates(limit=11).ok


@pytest.mark.parametrize("way", ["missing", "malformed"])
def test_usage_headers_may_be_missing_or_malformed(start, way) -> None:
    client = in_phase(start, {"usage_headers": way}, header_floor=0)

    text = client.templates().headers.get("X-App-Usage")

    if way == "missing":
        assert text is None
    else:
        with pytest.raises(ValueError):
            json.loads(text or "")
    json.loads(after_phase(client).templates().headers["X-App-Usage"])


def test_a_phases_faults_come_before_those_that_were_there(start) -> None:
    client = in_phase(start, {"code": 2}, faults=({"code": 131000, "since": 5},))

    assert error_of(client.templates())["code"] == 2
    assert error_of(after_phase(client).templates())["code"] == 131000


def test_a_phases_app_is_the_app_of_its_faults(start) -> None:
    client = start(apps=2, phases=({"name": "one app", "app": 1, "faults": [{"code": 2}]},))

    assert client.templates().ok
    assert code(Client(client.simulator, app=1).templates()) == 2


# ── what: tokens and other levers ───────────────────────────────────────────────────────────────────────────


def test_tokens_are_revoked_for_the_time_of_a_phase(start) -> None:
    client = start(apps=2, phases=({"name": "gone", "at": 10, "until": 20, "app": 0, "revoke_tokens": True},))
    other = Client(client.simulator, app=1)
    client.simulator.advance(10)

    refused = client.templates()

    assert (error_of(refused)["code"], error_of(refused)["error_subcode"]) == (190, 460)
    assert other.templates().ok
    client.simulator.advance(10)
    assert client.templates().ok


def test_tokens_may_be_restored_by_another_phase(start) -> None:
    client = start(
        phases=(
            {"name": "gone", "at": 10, "revoke_tokens": True},
            {"name": "back", "at": 20, "restore_tokens": True},
        )
    )
    client.simulator.advance(10)
    assert code(client.templates()) == 190

    client.simulator.advance(10)

    assert client.templates().ok


def test_any_lever_of_the_control_plane_may_be_pulled(start) -> None:
    client = start(
        phases=(
            {
                "name": "customers",
                "at": 10,
                "actions": [
                    {
                        "post": "templates",
                        "with": {
                            "action": "set_status",
                            "waba": "waba:1",
                            "id": "template:1:3",
                            "status": "PAUSED",
                        },
                    },
                    {"post": "faults", "with": {"code": 2, "times": 1}},
                    {"delete": "faults"},
                ],
            },
        )
    )
    waba = client.simulator.world.waba_ids[1]

    client.simulator.advance(10)

    assert client.simulator.world.templates(waba)[3].status == "PAUSED"
    assert client.templates().ok
    assert "problems" not in client.control("GET", "scenario").json()["phases"][0]


def test_a_lever_that_cannot_be_pulled_is_told_and_the_rest_goes_on(start) -> None:
    client = start(
        phases=(
            {
                "name": "odd",
                "at": 10,
                "actions": [
                    {"post": "templates", "with": {"action": "remove", "waba": "waba:0", "id": "77"}},
                    {"post": "templates", "with": {"waba": "waba:99"}},
                    {"post": "faults", "with": {"code": 2}},
                ],
            },
        )
    )
    client.simulator.advance(10)

    assert code(client.templates()) == 2
    (phase,) = client.control("GET", "scenario").json()["phases"]
    assert "has no template 77" in phase["problems"][0]
    assert "there is no WABA 99" in phase["problems"][1]
    assert client.simulator.judge.defects == 0


# ── playing at run time ─────────────────────────────────────────────────────────────────────────────────────


def test_a_scenario_played_later_counts_its_time_from_then(start) -> None:
    client = start(app_limit=100)
    client.simulator.advance(1000)

    client.simulator.play([{"name": "low", "at": 10, "until": 20, "limits": {"app_limit": 1}}])

    seen = []
    for _ in range(3):
        seen.append(app_limits(client)[0])
        client.simulator.advance(10)
    assert seen == [100, 1, 100]


def test_a_scenario_is_played_shown_and_stopped_over_http(start) -> None:
    client = start(app_limit=100)
    client.simulator.advance(5)
    body = {
        "description": "what happens",
        "knobs": {"app_refusal_status": 429},
        "faults": [{"id": "later", "code": 2, "since": 50, "until": 60}],
        "phases": [
            {"name": "low", "limits": {"app_limit": 1}, "revoke_tokens": True},
            {"name": "down", "at": "30s", "until": "40s", "faults": [{"code": 2}]},
        ],
    }

    answer = client.control("POST", "scenario", json=body).json()
    shown = client.control("GET", "scenario").json()

    assert answer["id"] == "play-1"
    assert shown["playing"] == [{"id": "play-1", "began": 5, "description": "what happens", "over": False}]
    assert shown["current"] == ["knobs", "low"]
    assert shown["next"] == {"name": "down", "in": 30}
    assert [(one["name"], one["state"], one["begins"], one["ends"]) for one in shown["phases"]] == [
        ("knobs", "now", 5, None),
        ("low", "now", 5, None),
        ("down", "to come", 35, 45),
        ("later", "to come", 55, 65),
    ]
    client.simulator.advance(30)
    assert client.control("GET", "scenario").json()["current"] == ["knobs", "low", "down"]
    assert app_limits(client) == [1]

    stopped = client.control("DELETE", "scenario").json()

    assert (stopped["phases"], stopped["current"], stopped["next"]) == ([], [], None)
    assert app_limits(client) == [100]
    assert client.templates().ok
    assert client.control("GET", "limits").json()["app_refusal_status"] == 400
    client.simulator.advance(25)
    assert client.templates().ok


def test_a_scenario_that_comes_with_the_package_is_played_by_its_name(start) -> None:
    client = start()

    answer = client.control("POST", "scenario", json={"name": "uploads-broken"})

    assert answer.json()["next"] == {"name": "uploads are down", "in": 120}
    missing = client.control("POST", "scenario", json={"name": "nothing"})
    assert missing.status_code == 400
    assert "uploads-broken" in missing.json()["error"]


def test_what_an_operator_sets_holds_against_the_phase_in_force(start) -> None:
    client = start(app_limit=100, phases=({"name": "low", "until": 10, "limits": {"app_limit": 5}},))

    client.control("POST", "limits", json={"app_limit": 50})

    assert app_limits(client) == [50]
    client.simulator.advance(10)
    assert app_limits(client) == [50]


# ── scenario files that are wrong ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('name = "a"\nlimits = { app_limit = 0 }', ["phase 'a'", "limits", "app_limit"]),
        ('name = "a"\nlimits = { colour = 1 }', ["phase 'a'", "limits", "there is no knob colour"]),
        ('name = "a"\nlimits = { wabas = 1 }', ["phase 'a'", "limits", "wabas cannot be changed"]),
        ('name = "a"\nlimits = { waba_limit = 1 }', ["phase 'a'", "limits", "needs a waba"]),
        ('name = "a"\nlimits = { waba = 99, waba_limit = 1 }', ["phase 'a'", "limits", "there is no WABA 99"]),
        ('name = "a"\nlimits = { app = 0 }', ["phase 'a'", "limits"]),
        ('name = "a"\napp = 7\nrevoke_tokens = true', ["phase 'a'", "app", "there is no app 7"]),
        ('name = "a"\nat = "soon"\nrevoke_tokens = true', ["phase 'a'", "at", "12m"]),
        ('name = "a"\nat = 5\nuntil = 5\nrevoke_tokens = true', ["phase 'a'", "until must be later than at"]),
        ('name = "a"\nuntill = 5', ["phase 'a'", "untill"]),
        ('name = "a"', ["phase 'a'", "needs one of limits"]),
        ("at = 5\nrevoke_tokens = true", ["phase 1", "name"]),
        ('name = "a"\nothers = { }', ["phase 'a'", "others", "calls or per_second"]),
        ('name = "a"\nothers = { app = "5", calls = 1 }', ["phase 'a'", "others", "there is no app 5"]),
        ('name = "a"\n[[phases.faults]]\nstatus = 99', ["phase 'a'", "faults.0.status"]),
        ('name = "a"\n[[phases.faults]]\ncode = 2\nsince = 5', ["phase 'a'", "faults.0", "since"]),
        (
            'name = "a"\n[[phases.faults]]\ncode = 2\napp = "1"',
            ["phase 'a'", "faults.0.app", "there is no app 1"],
        ),
        ('name = "a"\n[[phases.actions]]\npost = "x"', ["phase 'a'", "actions.0", "knows no POST x"]),
        ('name = "a"\n[[phases.actions]]\npost = "clock"', ["phase 'a'", "actions.0", "knows no POST clock"]),
        ('name = "a"\n[[phases.actions]]\nwith = { }', ["phase 'a'", "actions.0", "either post or delete"]),
        (
            'name = "a"\nrevoke_tokens = true\n[[phases]]\nname = "a"\nrevoke_tokens = true',
            ["two have the name 'a'"],
        ),
    ],
)
def test_a_bad_phase_is_told_in_one_sentence_that_names_it_and_its_key(tmp_path, text, words) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(f"[[phases]]\n{text}\n")

    with pytest.raises(ValueError) as raised:
        Simulator(SimulatorConfig.from_toml(file))

    told = str(raised.value)
    assert len(told.splitlines()) == 1
    for word in words:
        assert word in told


def test_a_bad_scenario_over_http_is_told_and_nothing_of_it_is_played(start) -> None:
    client = start(app_limit=100)
    phases = [{"name": "good", "limits": {"app_limit": 1}}, {"name": "bad", "limits": {"app_limit": 0}}]

    answers = [
        client.control("POST", "scenario", json=body)
        for body in ({"phases": phases}, {}, {"phases": [{"name": "x", "at": "soon"}]}, {"knobs": {"seed": 4}})
    ]

    assert [one.status_code for one in answers] == [400] * 4
    assert "phase 'bad', limits" in answers[0].json()["error"]
    assert "phase 'x', at" in answers[2].json()["error"]
    assert app_limits(client) == [100]
    assert client.control("GET", "scenario").json()["phases"] == []


# ── the scenarios that come with the package ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", sorted(shipped_scenarios()))
def test_each_scenario_of_the_package_plays_to_its_end(start, name) -> None:
    config = SimulatorConfig.from_toml(name)
    client = start(**{knob: getattr(config, knob) for knob in config.model_fields_set})

    for _ in range(40):
        if not config.latency:
            client.templates()
        client.simulator.advance(12 * 3600)

    told = client.control("GET", "scenario").json()
    assert told["next"] is None
    assert not [one for one in told["phases"] if "problems" in one]
    assert all(one["state"] == "over" or one["ends"] is None for one in told["phases"])
    assert client.simulator.judge.defects == 0


def test_each_scenario_of_the_package_says_in_a_line_what_happens() -> None:
    shipped = shipped_scenarios()

    assert set(shipped) == {file.stem for file in SHIPPED.glob("*.toml")}
    assert {"september-2024", "flaky", "uploads-broken", "weekend"} <= set(shipped)
    assert all(shipped.values())


def test_a_scenarios_first_comment_serves_as_its_description(tmp_path, monkeypatch) -> None:
    (tmp_path / "quiet.toml").write_text("# Nothing happens\nwabas = 1\n")
    monkeypatch.setattr("wabajobs.simulator.config.SHIPPED", tmp_path)

    assert shipped_scenarios() == {"quiet": "Nothing happens"}
    assert SimulatorConfig.from_toml("quiet").wabas == 1


DAY = 86_400


def test_september_2024_has_its_four_outages_and_what_ended_them(start) -> None:
    config = SimulatorConfig.from_toml("september-2024")
    client = start(**{knob: getattr(config, knob) for knob in config.model_fields_set})
    app = client.simulator.app.id
    uploads = {"file_name": "a.png", "file_length": 10, "file_type": "image/png"}

    def at(day: int, hour: float) -> tuple[int | None, int | None]:
        """What reading templates and opening an upload answer at an hour of a day of September."""
        client.simulator.advance((day - 12) * DAY + hour * 3600 - client.simulator.clock.now())
        return code(client.templates()), code(client.post(f"{app}/uploads", params=uploads))

    fine, limited = (None, None), (4, 4)
    assert at(12, 12) == fine
    assert at(12, 17) == limited
    assert at(13, 8) == limited
    assert at(14, 12) == limited
    assert at(14, 15) == (None, 2)
    assert at(14, 17) == fine
    assert at(16, 6) == fine
    assert at(16, 9) == limited
    assert at(16, 17) == fine
    assert at(25, 12) == fine
    assert at(26, 12) == limited
    assert at(27, 18) == fine
    assert at(30, 12) == fine
    assert at(30, 15) == limited
    assert app_limits(client) == [2000, 10_000]
    assert at(30, 17.5) == fine
    assert app_limits(client) == [10_000, 2000]


def test_flaky_goes_wrong_in_many_ways_and_never_by_a_defect() -> None:
    config = SimulatorConfig.from_toml("flaky").with_changes(speed=100_000)
    with Simulator(config).running() as simulator:
        client = Client(simulator)
        lost = 0
        for number in range(300):
            try:
                create(client, name=f"order_{number}") if number % 3 == 0 else client.templates(limit=200)
            except requests.RequestException:
                lost += 1
        client.session.close()

        used = [one["id"] for one in simulator.faults.listed() if one["used"]]
        assert len(used) > 6
        assert lost > 0
        assert simulator.judge.defects == 0
        assert len(simulator.judge.by_status()) > 4


def test_uploads_broken_breaks_nothing_else(start) -> None:
    config = SimulatorConfig.from_toml("uploads-broken")
    client = start(**{knob: getattr(config, knob) for knob in config.model_fields_set})
    app = client.simulator.app.id
    uploads = {"file_name": "a.png", "file_length": 10, "file_type": "image/png"}
    opened = client.post(f"{app}/uploads", params=uploads).json()["id"]

    client.simulator.advance(300)

    assert code(client.post(f"{app}/uploads", params=uploads)) == 2
    assert code(client.get(opened)) == 2
    assert client.templates().ok
    assert create(client).ok


def test_a_scenario_model_is_a_config_without_what_is_fixed() -> None:
    config = SimulatorConfig(wabas=2, app_limit=5, phases=({"name": "x", "revoke_tokens": True},))

    assert config.scenario() == Scenario(knobs={"app_limit": 5}, phases=config.phases)
