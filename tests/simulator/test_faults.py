"""Faults by rule: each way to go wrong, and when a rule is in force."""

from __future__ import annotations

import threading

import pytest
import requests
from pydantic import ValidationError

from wabajobs.simulator import FaultRule

from .client import error_of


def codes(client, calls: int) -> list[int | None]:
    answers = [client.templates() for _ in range(calls)]
    return [None if one.ok else error_of(one)["code"] for one in answers]


def test_a_fault_answers_with_its_graph_error(start) -> None:
    client = start()
    client.simulator.faults.add(status=503, code=2, subcode=99, message="(#2) Down", is_transient=True)

    answer = client.templates()

    error = error_of(answer)
    assert answer.status_code == 503
    assert (error["code"], error["error_subcode"], error["message"]) == (2, 99, "(#2) Down")
    assert error["is_transient"] is True
    assert "X-Business-Use-Case-Usage" in answer.headers


def test_a_fault_answers_with_any_body(start) -> None:
    client = start()
    client.simulator.faults.add(status=502, body="<html>Bad gateway</html>", times=1)
    client.simulator.faults.add(status=503, times=1)

    html, empty = client.templates(), client.templates()

    assert (html.status_code, html.text) == (502, "<html>Bad gateway</html>")
    assert html.headers["Content-Type"].startswith("text/html")
    assert "X-Business-Use-Case-Usage" not in html.headers
    assert (empty.status_code, empty.content) == (503, b"")


def test_a_rule_lets_some_pass_then_fails_some_then_is_spent(start) -> None:
    client = start()
    name = client.simulator.faults.add(code=2, after=2, times=3)

    assert codes(client, 7) == [None, None, 2, 2, 2, None, None]
    assert client.simulator.faults.used(name) == 3


def test_a_rule_is_in_force_from_since_until_until(start) -> None:
    client = start()
    client.simulator.faults.add(code=2, since=10, until=20)

    seen = []
    for _ in range(4):
        seen += codes(client, 1)
        client.simulator.advance(9)

    assert seen == [None, None, 2, None]


def test_the_first_rule_in_force_decides(start) -> None:
    client = start()
    client.simulator.faults.add(code=2, times=1)
    client.simulator.faults.add(code=131000)

    assert codes(client, 2) == [2, 131000]


def test_a_rule_matches_by_path_method_and_app(start) -> None:
    client = start(apps=2)
    first, second, _ = client.simulator.world.waba_ids
    other_app = type(client)(client.simulator, app=1)
    client.simulator.faults.add(
        code=2, path=f"/{first}/message_templates$", method="get|post", app=client.simulator.app.id
    )

    assert error_of(client.templates(first))["code"] == 2
    assert client.templates(second).ok
    assert client.get(first).ok
    assert other_app.templates(first).ok
    url = f"{client.simulator.url}/{first}/message_templates"
    assert error_of(client.session.delete(url, timeout=10))["code"] == 100


def test_a_rule_can_be_taken_out(start) -> None:
    client = start()
    name = client.simulator.faults.add(code=2)
    assert codes(client, 1) == [2]

    client.simulator.faults.remove(name)

    assert codes(client, 1) == [None]
    with pytest.raises(KeyError):
        client.simulator.faults.remove(name)


def test_a_chance_hits_its_share_of_the_calls_the_same_for_a_seed(start) -> None:
    def hits() -> list[int | None]:
        client = start(seed=3)
        client.simulator.faults.add(code=2, chance=0.3)
        return codes(client, 60)

    first, second = hits(), hits()

    assert first == second
    assert 6 <= first.count(2) <= 32


def test_a_reset_before_leaves_no_trace_in_the_windows(start) -> None:
    client = start()
    client.simulator.faults.add(reset_before=True, times=1)

    with pytest.raises(requests.ConnectionError):
        client.templates()

    assert client.simulator.limits.app_usage(client.simulator.app.id).calls == 0
    (record,) = client.simulator.judge.calls()
    assert (record.status, record.counted, record.fault) == (0, False, "fault-1")
    assert client.templates().ok


def test_a_reset_after_counts_though_no_answer_comes(start) -> None:
    client = start()
    client.simulator.faults.add(reset_after=True, times=1)

    with pytest.raises(requests.ConnectionError):
        client.templates()

    assert client.simulator.limits.app_usage(client.simulator.app.id).calls == 1
    (record,) = client.simulator.judge.calls()
    assert (record.status, record.counted) == (0, True)


def test_a_hang_is_never_answered_or_counted(start) -> None:
    client = start()
    client.simulator.faults.add(hang=True, times=1)

    with pytest.raises(requests.ReadTimeout):
        client.session.get(f"{client.simulator.url}/v23.0/me", timeout=0.2)

    assert client.simulator.judge.counted == 0
    assert client.templates().ok


def test_latency_holds_the_answer_until_its_time(start) -> None:
    client = start()
    client.simulator.faults.add(latency=30)
    answers: list[requests.Response] = []
    caller = threading.Thread(target=lambda: answers.append(client.templates()))

    caller.start()
    caller.join(0.2)
    assert answers == []
    client.simulator.advance(29)
    caller.join(0.1)
    assert answers == []
    client.simulator.advance(1)
    caller.join(5)

    assert answers[0].ok


def test_simulated_latency_is_divided_by_the_speed(start) -> None:
    client = start(clock="real", speed=1000, latency=20, jitter=40)

    elapsed = [client.templates().elapsed.total_seconds() for _ in range(5)]

    assert min(elapsed) >= 0.02
    assert max(elapsed) < 5


def test_a_page_that_is_too_heavy_is_code_1(start) -> None:
    client = start(heavy_over=200)
    first, second, _ = client.simulator.world.waba_ids
    client.simulator.world.set_heavy_over(second, 50)

    heavy = client.templates(first, limit=201)

    assert (heavy.status_code, error_of(heavy)["code"]) == (500, 1)
    assert error_of(heavy)["message"].startswith("Please reduce the amount of data")
    assert client.templates(first, limit=200).ok
    assert error_of(client.templates(second, limit=51))["code"] == 1
    assert client.templates(second).ok


def test_a_rule_may_find_pages_too_heavy(start) -> None:
    client = start()
    client.simulator.faults.add(path="message_templates", heavy_over=24, times=1)

    assert client.templates(limit=24).ok
    assert error_of(client.templates())["code"] == 1
    assert client.templates().ok


def test_usage_headers_may_be_missing_or_malformed(start) -> None:
    client = start(header_floor=0)
    client.simulator.faults.add(usage_headers="missing", times=1)
    client.simulator.faults.add(usage_headers="malformed", times=1)

    missing, malformed, usual = client.templates(), client.templates(), client.templates()

    names = ("X-App-Usage", "X-Business-Use-Case-Usage")
    assert missing.ok
    assert malformed.ok
    assert not any(name in missing.headers for name in names)
    for name in names:
        with pytest.raises(ValueError):
            requests.models.complexjson.loads(malformed.headers[name])
        requests.models.complexjson.loads(usual.headers[name])


def test_a_repeating_cursor_leads_back_to_itself(start) -> None:
    client = start(templates=60)
    client.simulator.faults.add(repeat_cursor=True)

    first = client.templates().json()["paging"]
    second = client.templates(after=first["cursors"]["after"]).json()
    third = client.templates(after=second["paging"]["cursors"]["after"]).json()

    assert first["cursors"]["after"] == second["paging"]["cursors"]["after"]
    assert second["data"] == third["data"]
    assert "next" in third["paging"]


def test_a_fault_may_go_uncounted(start) -> None:
    client = start()
    client.simulator.faults.add(code=2, counted=False, times=1)
    client.simulator.faults.add(code=2, times=1)

    codes(client, 2)

    assert [one.counted for one in client.simulator.judge.calls()] == [False, True]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"path": "x"},
        {"path": "(", "code": 2},
        {"code": 2, "body": "x"},
        {"hang": True, "reset_after": True},
        {"took_effect": True},
        {"took_effect": True, "latency": 5},
        {"took_effect": True, "status": 504, "reset_before": True},
        {"colour": "red"},
        {"status": 99},
    ],
)
def test_a_rule_that_says_nothing_or_too_much_is_refused(fields) -> None:
    with pytest.raises(ValidationError):
        FaultRule(**fields)
