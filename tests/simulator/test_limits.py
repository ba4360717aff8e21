"""The rolling windows: when calls are refused, when they pass again, and what the headers say."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wabajobs.simulator.limits import Others, RollingWindow

from .client import Client, error_of


def code(answer) -> int | None:
    return None if answer.status_code == 200 else error_of(answer)["code"]


def test_the_call_after_the_limit_is_refused_with_code_4(start) -> None:
    client = start(app_limit=5)

    codes = [code(client.templates()) for _ in range(6)]

    assert codes == [None] * 5 + [4]


def test_an_app_limit_refuses_every_endpoint_and_even_unknown_ones(start) -> None:
    client = start(app_limit=1)
    waba = client.simulator.world.waba_ids[1]
    client.templates()

    for path in ("debug_token", waba, f"{waba}/phone_numbers", "no_such_thing"):
        assert code(client.get(path)) == 4


def test_calls_pass_again_when_old_ones_leave_the_window(start) -> None:
    client = start(app_limit=2, count_refused=False)
    client.templates()
    client.simulator.advance(100)
    client.templates()

    client.simulator.advance(3499.5)
    assert code(client.templates()) == 4
    client.simulator.advance(0.5)
    assert code(client.templates()) is None
    assert code(client.templates()) == 4


def test_refused_calls_keep_the_window_full(start) -> None:
    client = start(app_limit=3)
    for _ in range(3):
        client.templates()

    client.simulator.advance(1800)
    assert [code(client.templates()) for _ in range(3)] == [4, 4, 4]
    client.simulator.advance(1800)
    # The accepted calls are gone, but the refused ones fill the window for another half an hour.
    assert code(client.templates()) == 4
    client.simulator.advance(1800)
    assert code(client.templates()) is None


def test_a_client_that_goes_on_calling_never_gets_back_in(start) -> None:
    client = start(app_limit=3)
    for _ in range(3):
        client.templates()

    for _ in range(30):
        client.simulator.advance(900)
        assert code(client.templates()) == 4
    client.simulator.advance(3600)
    assert code(client.templates()) is None


def test_refused_calls_do_not_count_when_switched_off(start) -> None:
    client = start(app_limit=3, count_refused=False)
    for _ in range(3):
        client.templates()
    client.simulator.advance(3000)
    for _ in range(10):
        assert code(client.templates()) == 4

    client.simulator.advance(600)

    assert [code(client.templates()) for _ in range(4)] == [None, None, None, 4]
    assert client.simulator.judge.counted == 6


def test_calls_with_a_wrong_token_count_for_nobody(start) -> None:
    client = start(app_limit=1)
    for _ in range(5):
        client.session.get(f"{client.simulator.url}/v23.0/1", headers={"Authorization": "Bearer x"}, timeout=10)

    assert code(client.templates()) is None
    assert client.simulator.judge.counted == 1


def test_failed_calls_count_like_others(start) -> None:
    client = start(app_limit=2)

    assert [code(client.get("1")) for _ in range(3)] == [100, 100, 4]


def test_each_app_has_a_window_of_its_own(start) -> None:
    client = start(app_limit=1, apps=2)
    other = type(client)(client.simulator, app=1)
    client.templates()

    assert code(client.templates()) == 4
    assert code(other.templates()) is None


@pytest.mark.parametrize("status", [400, 403, 429])
def test_code_4_comes_with_the_status_that_is_chosen(start, status) -> None:
    client = start(app_limit=1, app_refusal_status=status, app_refusal_transient=None, refusal_subcode=2446079)
    client.templates()

    answer = client.templates()

    assert answer.status_code == status
    assert error_of(answer)["error_subcode"] == 2446079
    assert "is_transient" not in error_of(answer)


def test_code_4_says_it_is_transient_unless_told_otherwise(start) -> None:
    client = start(app_limit=1)
    client.templates()

    error = error_of(client.templates())

    assert error["message"] == "(#4) Application request limit reached"
    assert error["is_transient"] is True
    assert "error_subcode" not in error


@pytest.mark.parametrize("refusal", [80007, 80008])
def test_a_waba_over_its_limit_is_refused_alone(start, refusal) -> None:
    client = start(waba_limit_active=2, waba_refusal_code=refusal)
    first, second, _ = client.simulator.world.waba_ids

    codes = [code(client.templates(first)) for _ in range(3)]

    assert codes == [None, None, refusal]
    assert code(client.get(first)) == refusal
    assert code(client.get(f"{first}/phone_numbers")) == refusal
    assert code(client.templates(second)) is None
    assert code(client.get("debug_token", input_token="x")) is None


def test_a_waba_without_a_registered_number_has_the_small_limit(start) -> None:
    client = start(inactive_wabas=1, waba_limit_active=50, waba_limit_inactive=3)
    world = client.simulator.world
    waba = world.waba_ids[-1]

    codes = [code(client.templates(waba)) for _ in range(4)]
    world.set_registered(world.waba(waba).numbers[0].id, True)

    assert codes == [None, None, None, 80008]
    assert code(client.templates(waba)) is None


def test_the_app_limit_is_checked_before_the_wabas(start) -> None:
    client = start(app_limit=2, waba_limit_active=2)

    assert [code(client.templates()) for _ in range(3)] == [None, None, 4]


def test_the_limits_are_checked_before_object_and_parameters(start) -> None:
    client = start(waba_limit_active=1)
    client.templates()

    assert code(client.templates(fields="colour")) == 80008


def test_the_app_limit_can_change_while_it_runs(start) -> None:
    client = start(app_limit=1)
    client.templates()
    assert code(client.templates()) == 4

    client.simulator.limits.set_app_limit(3, app=client.simulator.app.id)

    assert [code(client.templates()), code(client.templates())] == [None, 4]


def test_calls_of_others_fill_the_apps_window(start) -> None:
    client = start(app_limit=100)
    client.simulator.limits.add_others(client.simulator.app.id, 99)

    assert [code(client.templates()), code(client.templates())] == [None, 4]
    client.simulator.advance(3600)
    assert code(client.templates()) is None


def test_others_may_call_at_a_rate(start) -> None:
    client = start(app_limit=100)
    app = client.simulator.app.id
    client.simulator.limits.set_others_rate(app, 0.5)

    client.simulator.advance(99)
    assert client.simulator.limits.app_usage(app).calls == 50
    client.simulator.advance(10_000_001)
    assert client.simulator.limits.app_usage(app).calls == 1800
    client.simulator.limits.set_others_rate(app, 0)
    client.simulator.advance(3600)
    assert client.simulator.limits.app_usage(app).calls == 0


def test_the_app_header_is_absent_at_low_use_and_whole_percents_above(start) -> None:
    client = start(app_limit=200, header_floor=2)

    headers = [client.templates().headers.get("X-App-Usage") for _ in range(9)]

    assert headers[:3] == [None, None, None]
    assert json.loads(headers[3]) == {"call_count": 2, "total_time": 0, "total_cputime": 0}
    assert json.loads(headers[8]) == {"call_count": 4, "total_time": 1, "total_cputime": 1}


def test_the_waba_header_tells_percents_and_minutes_only_when_throttled(start) -> None:
    client = start(waba_limit_active=4)
    waba = client.simulator.world.waba_ids[0]

    def usage() -> dict:
        ((key, entries),) = json.loads(client.templates().headers["X-Business-Use-Case-Usage"]).items()
        assert key == waba
        (entry,) = entries
        assert entry["type"] == "whatsapp_business_management"
        return entry

    seen = [usage() for _ in range(3)]
    client.simulator.advance(600)
    full, refused = usage(), usage()

    assert [one["call_count"] for one in seen] == [25, 50, 75]
    assert {one["estimated_time_to_regain_access"] for one in seen} == {0}
    assert set(full) == {
        "type",
        "call_count",
        "total_cputime",
        "total_time",
        "estimated_time_to_regain_access",
    }
    assert (full["call_count"], full["estimated_time_to_regain_access"]) == (100, 50)
    assert (refused["call_count"], refused["estimated_time_to_regain_access"]) == (125, 50)


def test_headers_come_on_refusals_unless_switched_off(start) -> None:
    client = start(app_limit=1)
    client.templates()

    assert json.loads(client.templates().headers["X-App-Usage"])["call_count"] == 200
    client.simulator.limits.set(headers_on_refusal=False)
    headers = client.templates().headers
    assert "X-App-Usage" not in headers
    assert "X-Business-Use-Case-Usage" not in headers


def test_calls_not_about_a_waba_have_no_waba_header(start) -> None:
    assert "X-Business-Use-Case-Usage" not in start().get("debug_token", input_token="x").headers


def test_time_may_throttle_before_the_count_does(start) -> None:
    client = start(app_limit=10, time_factor=2.0)

    codes = [code(client.templates()) for _ in range(6)]

    assert codes == [None] * 5 + [4]


steps = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3)), max_size=60)


@settings(deadline=None)
@given(steps=steps, length=st.integers(1, 60), allowed=st.integers(1, 5))
def test_a_rolling_window_agrees_with_a_plain_list(steps, length, allowed) -> None:
    window, plain, now = RollingWindow(float(length)), [], 0.0
    for wait, calls in steps:
        now += wait
        for _ in range(calls):
            window.add(now)
            plain.append(now)
        inside = [time for time in plain if now - length < time <= now]

        assert window.count(now) == len(inside)
        free = now if len(inside) < allowed else inside[len(inside) - allowed] + length
        assert window.below_at(allowed, now=now) == free


@settings(deadline=None)
@given(steps=steps, length=st.integers(1, 60))
def test_calls_in_bulk_leave_the_window_together(steps, length) -> None:
    window, plain, now = RollingWindow(float(length)), [], 0.0
    for wait, calls in steps:
        now += wait
        window.add_many(now, calls)
        plain += [now] * calls

        assert window.count(now) == len([time for time in plain if now - length < time])


@settings(deadline=None)
@given(waits=st.lists(st.integers(0, 500), max_size=20), allowed=st.none() | st.integers(1, 20))
def test_looking_often_or_seldom_finds_the_same_calls_of_others(waits, allowed) -> None:
    seldom, often = (RollingWindow(63.0), Others()), (RollingWindow(63.0), Others())
    for _, others in (seldom, often):
        others.set_rate(0.5, now=0.0)
    now = 0.0
    for wait in waits:
        for second in range(wait):
            often[1].catch_up(often[0], now=now + second, length=63.0, allowed=allowed)
        now += wait
    for window, others in (seldom, often):
        others.catch_up(window, now=now, length=63.0, allowed=allowed)

    assert seldom[0].count(now) == often[0].count(now)


# One user's limit


def test_a_user_has_a_limit_of_its_own_by_a_knob(start) -> None:
    client = start(apps=2, user_limit=2)
    other = Client(client.simulator, app=1)

    codes = [client.templates().status_code for _ in range(2)]
    answer = client.templates()

    assert codes == [200, 200]
    assert (answer.status_code, error_of(answer)["code"]) == (400, 17)
    assert error_of(answer)["is_transient"] is True
    assert other.templates().ok, "the system user of another app"
    assert client.simulator.judge.refused == 1
    assert client.simulator.judge.report()["wasted"] == {"refused": 1}


def test_calls_of_a_user_leave_the_window_one_by_one_and_refused_ones_count(start) -> None:
    client = start(user_limit=2)
    client.templates()
    client.simulator.advance(1800)
    client.templates()
    client.templates()

    client.simulator.advance(1800)
    assert error_of(client.templates())["code"] == 17
    client.simulator.advance(3600)

    assert client.templates().ok


def test_a_users_limit_may_come_and_go_while_it_runs(start) -> None:
    client = start()
    client.templates()

    client.control("POST", "limits", json={"user_limit": 1})
    codes = [client.templates().status_code for _ in range(2)]
    client.control("POST", "limits", json={"user_limit": None})

    assert codes == [200, 400]
    assert client.templates().ok


def test_an_apps_own_token_is_no_users(start) -> None:
    client = start(user_limit=1)
    app = client.simulator.app

    own = [
        client.get("debug_token", input_token=app.token, access_token=f"{app.id}|{app.secret}") for _ in range(3)
    ]

    assert all(one.ok for one in own)


def test_the_apps_limit_comes_before_the_users(start) -> None:
    client = start(app_limit=1, user_limit=1)
    client.templates()

    assert error_of(client.templates())["code"] == 4


def test_code_17_is_worded_as_the_knobs_say(start) -> None:
    client = start(user_limit=1, app_refusal_status=429, app_refusal_transient=None, refusal_subcode=2446079)
    client.templates()

    answer = client.templates()

    assert (answer.status_code, error_of(answer)["error_subcode"]) == (429, 2446079)
    assert "is_transient" not in error_of(answer)


def test_the_users_window_is_empty_after_a_reset(start) -> None:
    client = start(user_limit=1)
    client.templates()

    client.control("POST", "reset", json={"limits": True})

    assert client.templates().ok
