"""The judge's account equals what the client saw."""

from __future__ import annotations

import random
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wabajobs.simulator.judge import Judge

from .client import Client, error_of


def test_the_account_equals_what_the_client_saw(start) -> None:
    client = start(app_limit=25, waba_limit_active=4)
    simulator, chance = client.simulator, random.Random(5)
    simulator.faults.add(status=502, body="x", after=3, times=4)
    simulator.faults.add(code=2, path="phone_numbers", times=2)
    paths = [f"{waba}{edge}" for waba in simulator.world.waba_ids for edge in ("", "/phone_numbers", "/x")]
    began = time.time()

    seen = []
    for _ in range(120):
        path, limit = chance.choice(paths), chance.choice([None, 5, "many"])
        simulator.advance(chance.choice([0, 1, 400]))
        answer = client.get(path, **({} if limit is None else {"limit": limit}))
        is_error = answer.headers["Content-Type"].startswith("application/json") and not answer.ok
        code = error_of(answer)["code"] if is_error else None
        seen.append((f"/v23.0/{path}", answer.status_code, code, limit if limit == 5 else None))

    calls = simulator.judge.calls()
    assert [(one.path, one.status, one.code, one.limit) for one in calls] == seen
    assert [one.seq for one in calls] == list(range(1, 121))
    assert simulator.judge.total == 120
    refused = [one for one in seen if one[2] in (4, 80008)]
    assert {4, 80008} <= {one[2] for one in refused}
    assert simulator.judge.refused == len(refused) == len(simulator.judge.refusals())
    assert sum(simulator.judge.by_endpoint().values()) == 120
    assert simulator.judge.by_endpoint()["waba.get"] == len([p for p, *_ in seen if p.count("/") == 2])
    for waba in simulator.world.waba_ids:
        assert simulator.judge.by_waba()[waba] == len([p for p, *_ in seen if f"/{waba}" in p])
    assert all(began - 1 <= one.wall <= time.time() + 1 for one in calls)
    assert {one.app for one in calls} == {simulator.app.id}


def test_no_record_holds_a_token_or_a_secret(start) -> None:
    client = start()
    app = client.simulator.app
    client.templates(access_token=app.token)
    client.get("debug_token", input_token=app.token)

    record = repr(client.simulator.judge.calls()) + repr(client.simulator.judge.report())

    assert app.token not in record
    assert app.token not in client.control("GET", "calls").text


def test_the_most_calls_in_a_window_are_found(start) -> None:
    client = start(app_limit=4)
    for wait in (0, 1000, 1000, 1000, 1000, 2600, 1):
        client.simulator.advance(wait)
        client.templates()

    # 1000, 2000, 3000 and 4000 lie within an hour, and 0 no longer with them.
    assert client.simulator.judge.most_in_window(client.simulator.app.id) == 4


@settings(deadline=None)
@given(waits=st.lists(st.integers(0, 30), max_size=80), window=st.integers(1, 60))
def test_the_most_calls_in_a_window_agree_with_a_plain_search(waits, window) -> None:
    judge, times, now = Judge(window=window, size=10), [], 0
    for wait in waits:
        now += wait
        times.append(now)
        judge.record(
            wall=0, time=now, app="1", waba=None, method="GET", path="/", endpoint="x", status=200,
            code=None, counted=True, fault=None, limit=None, after=None, capability="y", request=1, via=None,
            idle=False,
        )  # fmt: skip

    most = max((len([t for t in times if end - window < t <= end]) for end in times), default=0)
    assert judge.most_in_window("1") == most
    assert judge.total == len(times)


def test_a_bounded_log_forgets_calls_but_no_counts(start) -> None:
    client = start(log_size=10)
    for _ in range(25):
        client.templates()

    judge = client.simulator.judge

    assert [one.seq for one in judge.calls()] == list(range(16, 26))
    assert [one.seq for one in judge.calls(after=20, limit=3)] == [21, 22, 23]
    assert (judge.total, judge.report()["remembered"]) == (25, 10)


def test_calls_in_flight_are_counted(start) -> None:
    client = start()
    client.simulator.faults.add(latency=10)
    callers = [threading.Thread(target=Client(client.simulator).templates) for _ in range(4)]
    for caller in callers:
        caller.start()

    deadline = time.monotonic() + 5
    while client.simulator.judge.total < 4 and time.monotonic() < deadline:
        pass
    assert client.simulator.judge.in_flight == 4
    client.simulator.advance(10)
    for caller in callers:
        caller.join(5)

    assert client.simulator.judge.most_in_flight == 4


@pytest.mark.parametrize("way", ["python", "http"])
def test_clearing_forgets_counts_but_goes_on_numbering(start, way) -> None:
    client = start()
    client.templates()
    if way == "python":
        client.simulator.judge.clear()
    else:
        client.control("POST", "reset")

    client.templates()

    assert client.simulator.judge.total == 1
    assert [one.seq for one in client.simulator.judge.calls()] == [2]
