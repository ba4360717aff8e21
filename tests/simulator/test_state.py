"""State kept in a file: everything goes on after a restart, and a file that does not fit is left alone."""

from __future__ import annotations

import json
import os
import select
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests

import wabajobs.simulator
from wabajobs.simulator import Simulator, SimulatorConfig
from wabajobs.simulator.state import Keeper, StateError
from wabajobs.simulator.world import World

from .client import Client, error_of

SOURCE = Path(wabajobs.simulator.__file__).parent
Again = Callable[..., Client]


@pytest.fixture
def again(tmp_path) -> Iterator[Again]:
    """Starts a simulator on the one state file, after ending the one before."""
    running = ExitStack()

    def begin(**knobs: Any) -> Client:
        running.close()
        config = SimulatorConfig(**{"clock": "hand", "wabas": 3, "numbers": 2, **knobs})
        client = Client(running.enter_context(Simulator(config, state=tmp_path / "state.json").running()))
        running.callback(client.session.close)
        return client

    with running:
        yield begin


def create(client: Client, name: str) -> requests.Response:
    body = {
        "name": name,
        "language": "en_US",
        "category": "UTILITY",
        "components": [{"type": "BODY", "text": "Your order is on its way to you now."}],
    }
    return client.post(f"{client.simulator.world.waba_ids[0]}/message_templates", json=body)


def everything(simulator: Simulator) -> dict[str, Any]:
    """All state of a simulator, comparable."""
    world = simulator.world
    templates = {one: world.templates(one) for one in world.waba_ids}  # invented, where nobody had looked
    return {
        "nodes": {one: repr(node) for one, node in world.nodes.items()},
        "templates": templates,
        "order": world.waba_ids,
        "tokens": world.tokens,
        "revoked": world.revoked,
        "signups": world.signups,
        "random": world.random.getstate(),
        "limits": simulator.limits.state(),
        "faults": simulator.faults.state(),
        "agenda": simulator.agenda.state(),
        "player": simulator.player.state(),
        "report": {
            name: value
            for name, value in simulator.judge.report().items()
            if name not in ("in_flight", "most_in_flight")
        },
        "calls": simulator.judge.calls(),
        "effects": simulator.judge.effects.state(),
        "history": simulator.judge.history(simulator.app.id, now=simulator.clock.now()),
        "webhooks": [(one.seq, one.topic, one.value, one.tries) for one in simulator.webhooks.sent()],
        "time": (simulator.clock.now(), simulator.clock.unix()),
        "config": world.config,
    }


def assert_same(before: dict[str, Any], after: dict[str, Any]) -> None:
    for part, value in before.items():
        assert after[part] == value, part


def test_everything_goes_on_after_a_restart(again) -> None:
    knobs: dict[str, Any] = {
        "app_limit": 500,
        "apps": 2,
        "faults": ({"code": 2, "chance": 0.2, "path": "phone_numbers"},),
        "phases": (
            {
                "name": "now",
                "at": 10,
                "until": 1000,
                "limits": {"app_limit": 400},
                "revoke_tokens": True,
                "app": 1,
            },
            {"name": "later", "at": 2000, "until": 3000, "faults": [{"code": 2}], "others": {"per_second": 0.1}},
        ),
    }
    client = again(**knobs)
    simulator = client.simulator
    first, second, _ = simulator.world.waba_ids
    for n in range(4):
        assert create(client, f"made_{n}").ok
    for waba in (first, second):
        client.templates(waba, limit=3)
        client.get(f"{waba}/phone_numbers")
    simulator.world.remove_template(second, simulator.world.templates(second)[5].id)
    simulator.world.set_registered(simulator.world.number_ids[0], False)
    simulator.world.set_heavy_over(first, 70)
    simulator.world.signup()
    client.post(
        f"{simulator.app.id}/uploads", params={"file_name": "a.png", "file_length": 9, "file_type": "image/png"}
    )
    client.control("POST", "limits", json={"waba": first, "waba_limit": 90, "app_refusal_status": 403})
    client.control("POST", "others", json={"per_second": 0.5})
    client.control("POST", "faults", json={"status": 503, "after": 3, "path": "debug_token"})
    client.get("debug_token", input_token="x")
    client.control("POST", "webhooks", json={"url": "http://127.0.0.1:9/never"})
    simulator.advance(33.25)
    client.get(first, fields="name,phone_numbers{id}")
    before = everything(simulator)

    after = everything(again(**knobs).simulator)

    assert_same(before, after)


def test_it_goes_on_as_if_it_had_never_ended(again, tmp_path) -> None:
    """The same calls with and without a restart in the middle give the same answers and the same account."""
    knobs: dict[str, Any] = {
        "app_limit": 30,
        "faults": ({"code": 2, "chance": 0.3, "method": "GET"},),
        "phases": (
            {"name": "low", "at": 50, "until": 150, "limits": {"app_limit": 10}, "others": {"per_second": 1}},
        ),
    }

    def half(client: Client, name: str) -> list[Any]:
        seen: list[Any] = []
        for n in range(12):
            seen.append(create(client, f"{name}_{n}").json())
            seen.append(client.templates(limit=3, fields="name").json())
            client.simulator.advance(7.5)
        return [{**one, "error": one["error"]["code"]} if "error" in one else one for one in seen]

    def shown(client: Client) -> list[Any]:
        account = client.control("GET", "report").json()
        calls = client.control("GET", "calls").json()["calls"]
        for one in [*account["refusals"], *calls]:
            del one["wall"]
        return [account, calls]

    with Simulator(SimulatorConfig(clock="hand", wabas=3, numbers=2, **knobs)).running() as simulator:
        client = Client(simulator)
        whole = [*half(client, "a"), *half(client, "b"), *shown(client)]
        client.session.close()

    parts = half(again(**knobs), "a")
    client = again(**knobs)
    parts += [*half(client, "b"), *shown(client)]

    assert [_bare(one) for one in parts] == [_bare(one) for one in whole]


def _bare(value: Any) -> Any:
    """Without links, which name the port."""
    if isinstance(value, dict):
        return {name: _bare(one) for name, one in value.items() if name not in ("next", "previous")}
    return [_bare(one) for one in value] if isinstance(value, list) else value


def test_the_window_is_as_full_after_a_restart(again) -> None:
    client = again(app_limit=3)
    answers = [client.templates() for _ in range(3)]
    client.simulator.advance(3000)

    client = again(app_limit=3)

    assert all(one.ok for one in answers)
    assert error_of(client.templates())["code"] == 4
    client.simulator.advance(600)
    assert client.templates().ok
    assert client.simulator.judge.most_in_window(client.simulator.app.id) == 4


def test_an_effect_that_happens_again_after_a_restart_is_a_duplicate(again) -> None:
    simulator = again().simulator
    first = {"call": 1, "time": 0.0, "wall": 0.0, "app": "1", "waba": None, "details": {"x": 1}}
    simulator.judge.effects.record("number_registered", "77", **first)
    simulator.world.changed += 1

    effects = again().simulator.judge.effects

    assert effects.record("number_registered", "77", **first).repeated
    assert [one.seq for one in effects.all()] == [1, 2]


def test_what_is_reset_stays_reset(again) -> None:
    client = again()
    for _ in range(3):
        client.templates()
    client.simulator.keeper.save()
    client.control("POST", "reset")
    client.get(client.simulator.world.waba_ids[0])

    judge = again().simulator.judge

    assert judge.total == 1
    assert [one.seq for one in judge.calls()] == [4]


def test_a_phase_that_was_in_force_ends_after_a_restart(again) -> None:
    knobs: dict[str, Any] = {
        "app_limit": 100,
        "phases": (
            {
                "name": "bad",
                "at": 10,
                "until": 100,
                "limits": {"app_limit": 7},
                "faults": [{"code": 2, "times": 3}],
                "revoke_tokens": True,
            },
        ),
    }
    client = again(**knobs)
    client.simulator.advance(50)
    assert error_of(client.templates())["code"] == 2

    client = again(**knobs)

    assert client.simulator.limits.app_limit(client.simulator.app.id) == 7
    assert client.control("GET", "scenario").json()["current"] == ["bad"]
    client.simulator.advance(50)
    assert client.templates().ok
    assert client.simulator.limits.app_limit(client.simulator.app.id) == 100


def test_a_scenario_played_at_run_time_goes_on_too(again) -> None:
    client = again()
    client.simulator.advance(5)
    client.control("POST", "scenario", json={"phases": [{"name": "down", "at": "1m", "faults": [{"code": 2}]}]})

    client = again()

    assert client.templates().ok
    client.simulator.advance(60)
    assert error_of(client.templates())["code"] == 2


def test_a_webhook_that_was_not_delivered_is_still_to_be(again) -> None:
    knobs = {"webhook_url": "http://127.0.0.1:9/"}
    client = again(**knobs)
    simulator = client.simulator
    simulator.world.publish(simulator.world.waba(simulator.world.waba_ids[0]), "account_update", {"event": "X"})

    client = again(**knobs)

    (sent,) = client.control("GET", "webhooks").json()["webhooks"]
    assert (sent["topic"], sent["delivered"]) == ("account_update", False)
    assert len(client.simulator.webhooks.state()["waiting"]) == 1


def test_a_late_webhook_and_its_repetition_come_after_a_restart(again) -> None:
    knobs: dict[str, Any] = {"webhooks_twice": 1, "webhooks_late": 1, "webhooks_late_seconds": (60, 600)}
    client = again(webhook_url="http://127.0.0.1:9/", **knobs)
    world = client.simulator.world
    world.publish(world.waba(world.waba_ids[0]), "account_update", {"event": "X"})
    before = [(one.due, one.repeats) for one in client.simulator.webhooks.sent()]

    client = again(webhook_url="http://127.0.0.1:9/", **knobs)

    assert [(one.due, one.repeats) for one in client.simulator.webhooks.sent()] == before
    assert len(client.simulator.webhooks.state()["waiting"]) == 2
    assert before[0][0] >= 60
    assert before[1][1] == 1


def test_what_apps_chose_is_kept(again) -> None:
    client = again(apps=2)
    chose, left = (app.id for app in client.simulator.world.apps)
    client.simulator.webhooks.subscribe(chose, "http://127.0.0.1:9/", ["security", "flows"])
    client.simulator.webhooks.unsubscribe(left)
    before = client.simulator.webhooks.subscription(chose)

    client = again(apps=2)

    webhooks = client.simulator.webhooks
    assert (webhooks.subscription(chose), webhooks.subscription(left)) == (before, None)
    world = client.simulator.world
    world.publish(world.waba(world.waba_ids[0]), "account_update", {"event": "X"})
    assert webhooks.sent() == []


def test_the_calls_of_a_user_are_kept(again) -> None:
    client = again(user_limit=2)
    assert [client.templates().status_code for _ in range(2)] == [200, 200]

    assert error_of(again(user_limit=2).templates())["code"] == 17


def test_customers_who_began_while_it_ran_go_on(again) -> None:
    client = again(templates=5)
    client.control("POST", "limits", json={"customer_changes_per_hour": 100})
    client.simulator.advance(600)
    before = everything(client.simulator)

    client = again(templates=5)

    assert_same(before, everything(client.simulator))
    client.simulator.advance(3600)
    assert everything(client.simulator)["templates"] != before["templates"]


def test_time_stands_still_while_it_is_down(tmp_path) -> None:
    config = SimulatorConfig(speed=1000, wabas=1)
    with Simulator(config, state=tmp_path / "s").running() as simulator:
        time.sleep(0.05)
    stopped, unix = simulator.clock.now(), simulator.clock.unix()
    kept = json.loads((tmp_path / "s").read_text())["clock"]
    time.sleep(0.3)

    again = Simulator(config, state=tmp_path / "s")

    assert 50 <= kept["now"] <= stopped
    assert kept["now"] <= again.clock.now() < kept["now"] + 250
    assert abs(again.clock.unix() - unix) < 250


def test_only_its_owner_can_read_what_holds_tokens(again, tmp_path) -> None:
    client = again()
    client.templates()
    again()

    for file in tmp_path.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_templates_that_nobody_touched_are_not_stored(again, tmp_path) -> None:
    client = again(templates=2000)
    for waba in client.simulator.world.waba_ids:
        client.templates(waba)
    again(templates=2000)

    assert (tmp_path / "state.json").stat().st_size < 40_000


# ── files that do not fit ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "knobs", [{"seed": 2}, {"wabas": 4}, {"app_limit": 9}, {"phases": ({"name": "x", "revoke_tokens": True},)}]
)
def test_a_state_of_another_config_is_refused_by_the_knobs_name(again, tmp_path, knobs) -> None:
    again()
    again().templates()
    with pytest.raises(StateError, match=f"state.json is of a simulator with another {next(iter(knobs))};"):
        again(**knobs)


def test_speed_and_callback_may_be_others(again) -> None:
    again().templates()

    client = again(clock="real", speed=50, webhook_url="http://127.0.0.1:9/")

    assert client.simulator.judge.total == 1


def broken(how: str, text: str) -> str:
    parts = json.loads(text)
    match how:
        case "cut":
            return text[: len(text) // 2]
        case "empty":
            return ""
        case "another file":
            return "[1, 2]"
        case "another format":
            return json.dumps({**parts, "format": 99})
        case "no limits":
            return json.dumps({**parts, "limits": {}})
        case "odd node":
            parts["world"]["nodes"].append({"kind": "phone", "node": {"id": 5}})
        case "odd kind":
            parts["world"]["nodes"].append({"kind": "ghost", "node": {}})
        case "unknown entry":
            parts["agenda"].append({"due": 5, "what": "nobody.knows", "words": []})
        case "log too short":
            parts["log"]["bytes"] += 500
    return json.dumps(parts)


@pytest.mark.parametrize(
    "how",
    [
        "cut",
        "empty",
        "another file",
        "another format",
        "no limits",
        "odd node",
        "odd kind",
        "unknown entry",
        "log too short",
    ],
)
def test_a_broken_state_is_refused_and_left_as_it_is(again, tmp_path, how) -> None:
    again().templates()
    with pytest.raises(StateError):
        again(seed=5)
    file = tmp_path / "state.json"
    text = broken(how, file.read_text())
    file.write_text(text)

    with pytest.raises(StateError, match="left as it is") as raised:
        again()

    assert file.read_text() == text
    assert len(str(raised.value).splitlines()) == 1
    assert str(file) in str(raised.value)


def test_two_simulators_cannot_have_one_state(again, tmp_path) -> None:
    again()

    with pytest.raises(StateError, match="another simulator uses the state"):
        Simulator(SimulatorConfig(), state=tmp_path / "state.json")


def test_a_simulator_that_runs_again_notices_that_another_wrote_its_state(tmp_path) -> None:
    config = SimulatorConfig(wabas=1)
    first = Simulator(config, state=tmp_path / "s")
    with first.running():
        pass
    with first.running():
        pass
    with Simulator(config, state=tmp_path / "s").running():
        pass

    with pytest.raises(StateError, match="another simulator has written"), first.running():
        pass


def test_a_place_that_cannot_be_written_is_told(tmp_path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StateError, match="cannot be kept in"):
        Simulator(SimulatorConfig(), state=tmp_path / "file" / "state.json")


def test_a_full_disk_loses_nothing_once_there_is_room_again(again, monkeypatch) -> None:
    client = again()
    keeper = client.simulator.keeper
    create(client, "first")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError):
            keeper.save()
    assert keeper.changed
    create(client, "second")
    before = everything(client.simulator)

    assert_same(before, everything(again().simulator))


# ── cost ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_big_world_is_saved_in_well_under_a_second(tmp_path) -> None:
    simulator = Simulator(SimulatorConfig(wabas=5000, clock="hand"), state=tmp_path / "s")
    world, app = simulator.world, simulator.app.id
    for n, waba_id in enumerate(world.waba_ids):
        world.listed(world.waba(waba_id))
        for _ in range(4):
            simulator.limits.admit(app, world.waba(waba_id), now=n / 10)
        if n % 5 == 0:
            world.set_registered(world.waba(waba_id).numbers[0].id, False)
            world.set_status(waba_id, world.listed(world.waba(waba_id))[0].id, "PAUSED")
    assert simulator.keeper is not None
    took = []
    for _ in range(3):
        began = time.perf_counter()
        simulator.keeper.save()
        took.append(time.perf_counter() - began)
        world.set_registered(world.number_ids[0], True)

    # Measured 0.25 s and 0.06 s; the bound bears a busy machine.
    assert min(took) < 0.5
    simulator.keeper.close()


def test_saving_again_writes_only_what_changed(again) -> None:
    client = again(wabas=50)
    keeper: Keeper = client.simulator.keeper
    for waba in client.simulator.world.waba_ids:
        client.simulator.world.set_heavy_over(waba, 5)
    keeper.save()
    written = dict(keeper._world._written)
    client.simulator.world.set_heavy_over(client.simulator.world.waba_ids[7], 9)
    assert keeper.changed

    keeper.save()

    changed = [one for one, text in keeper._world._written.items() if text is not written.get(one)]
    assert changed == [client.simulator.world.waba_ids[7]]
    assert not keeper.changed


def test_nobody_added_a_part_to_the_world_without_thought_for_its_state() -> None:
    """Who gives the world another attribute decides here whether it is kept, derived, or may be forgotten."""
    kept = {"nodes", "tokens", "revoked", "signups", "random", "_wabas", "_by_index"}
    of_the_seed = {"config", "apps", "business", "credit"}
    of_the_simulator = {"now", "unix", "agenda", "publish", "undone", "lock"}
    derived = {"invented", "touched", "changed"}
    forgotten = {"_past"}

    known = kept | of_the_seed | of_the_simulator | derived | forgotten
    assert set(vars(World(SimulatorConfig(wabas=1)))) == known


# ── a process that is killed ────────────────────────────────────────────────────────────────────────────────


class Process:
    """A simulator as a process of its own."""

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "wabajobs.simulator", "--port", "0", "--json", *arguments],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(SOURCE.parent.parent)},
        )
        assert self._process.stdout is not None
        assert select.select([self._process.stdout], [], [], 30)[0], "the simulator printed nothing"
        self.facts = json.loads(self._process.stdout.readline())
        self.url = self.facts["url"]

    def get(self, path: str) -> requests.Response:
        token = self.facts["apps"][0]["token"]
        return requests.get(f"{self.url}/v23.0/{path}", headers={"Authorization": f"Bearer {token}"}, timeout=10)

    def control(self, path: str) -> Any:
        return requests.get(f"{self.url}/_simulator/{path}", timeout=10).json()

    def end(self, how: signal.Signals) -> None:
        self._process.send_signal(how)
        self._process.communicate(timeout=20)


def test_a_killed_process_loses_at_most_the_last_two_seconds(tmp_path) -> None:
    arguments = ("--state", str(tmp_path / "state"), "--wabas", "3")
    process = Process(*arguments)
    made: list[tuple[float, int]] = []
    try:
        end = time.monotonic() + 5
        while time.monotonic() < end:
            assert process.get(process.facts["wabas"][0]).ok
            made.append((time.monotonic(), len(made) + 1))
            time.sleep(0.02)
    finally:
        killed = time.monotonic()
        process.end(signal.SIGKILL)
    safe = max(number for at, number in made if at < killed - 2.2)

    process = Process(*arguments)
    try:
        report = process.control("report")
        calls = process.control("calls")["calls"]
        process.get(process.facts["wabas"][0])
        after = process.control("report")
    finally:
        process.end(signal.SIGTERM)

    assert safe <= report["calls"] <= len(made)
    assert [one["seq"] for one in calls] == list(range(1, report["calls"] + 1))
    assert report["apps"][process.facts["apps"][0]["id"]]["calls_in_window"] == report["calls"]
    assert after["calls"] == report["calls"] + 1


def test_a_process_that_ends_in_order_loses_nothing(tmp_path) -> None:
    arguments = ("--state", str(tmp_path / "state"), "--wabas", "3")
    process = Process(*arguments)
    for _ in range(7):
        process.get(process.facts["wabas"][0])
    process.end(signal.SIGTERM)

    process = Process(*arguments)
    report = process.control("report")
    process.end(signal.SIGINT)

    assert report["calls"] == 7


def test_a_process_refuses_a_state_in_one_line(tmp_path) -> None:
    file = tmp_path / "state"
    file.write_text("nonsense")

    ended = subprocess.run(
        [sys.executable, "-m", "wabajobs.simulator", "--port", "0", "--state", str(file)],
        capture_output=True,
        check=False,
        text=True,
        timeout=30,
        env={**os.environ, "PYTHONPATH": str(SOURCE.parent.parent)},
    )

    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("The simulator did not start: the state in ")
    assert len(ended.stderr.splitlines()) == 1
    assert file.read_text() == "nonsense"
