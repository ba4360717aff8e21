"""The server: in a thread, as a process, from a scenario file; and that nothing makes it fail."""

from __future__ import annotations

import ast
import json
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import wabajobs.simulator
from wabajobs.simulator import FaultRule, PortTaken, Simulator, SimulatorConfig

SOURCE = Path(wabajobs.simulator.__file__).parent


def run(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "wabajobs.simulator", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE.parent.parent)},
    )


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], 30)[0], "the simulator printed nothing"
    return process.stdout.readline()


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_a_process_prints_one_json_line_and_runs_until_a_signal(ending) -> None:
    process = run(
        "--port", "0", "--json", "--wabas", "30", "--templates", "3", "--app-limit", "77", "--seed", "4"
    )
    try:
        facts = json.loads(first_line(process))
        (app,) = facts["apps"]
        url = f"{facts['url']}/v23.0/{facts['wabas'][0]}/message_templates"
        answer = requests.get(url, headers={"Authorization": f"Bearer {app['token']}"}, timeout=10)
    finally:
        process.send_signal(ending)
        rest, errors = process.communicate(timeout=20)

    assert set(facts) == {"url", "apps", "business", "credit", "wabas", "numbers"}
    assert set(app) == {"id", "secret", "token", "system_user", "limit"}
    assert app["limit"] == 77
    assert len(facts["wabas"]) == len(facts["numbers"]) == 20
    assert len(answer.json()["data"]) == 3
    assert (rest, errors, process.returncode) == ("", "", 0)


def test_a_process_prints_one_human_line_with_the_same_facts() -> None:
    process = run("--port", "0", "--wabas", "2", "--seed", "4")
    try:
        line = first_line(process)
    finally:
        process.terminate()
        rest, _ = process.communicate(timeout=20)

    simulator = Simulator(SimulatorConfig(wabas=2, seed=4))
    app = simulator.app
    for fact in (
        app.id,
        app.secret,
        app.token,
        "200000",
        *simulator.world.waba_ids,
        *simulator.world.number_ids,
    ):
        assert fact in line
    assert "http://127.0.0.1:" in line
    assert rest == ""


def test_a_taken_port_is_told_in_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(PortTaken, match=f"port {port} on 127.0.0.1 is taken"),
            Simulator().running(port=port),
        ):
            pass
        process = run("--port", str(port))
        output, errors = process.communicate(timeout=20)

    assert (process.returncode, output) == (1, "")
    assert f"port {port} on 127.0.0.1 is taken" in errors
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments", [("--speed", "0"), ("--port", "99999"), ("--scenario", "/nowhere.toml"), ("--wabas", "-1")]
)
def test_a_process_that_cannot_start_says_why_in_one_line(arguments) -> None:
    process = run("--port", "0", *arguments)
    output, errors = process.communicate(timeout=20)

    assert (process.returncode, output) == (1, "")
    assert errors.startswith("The simulator did not start: ")
    assert len(errors.splitlines()) == 1


def test_every_knob_and_every_field_of_a_fault_is_explained() -> None:
    for model in (SimulatorConfig, FaultRule):
        assert [name for name, one in model.model_fields.items() if not one.description] == []


def test_a_scenario_file_sets_the_knobs_and_the_faults(tmp_path) -> None:
    file = tmp_path / "bad_day.toml"
    file.write_text(
        'seed = 9\nwabas = 2\ntemplates = [5, 120]\nclock = "hand"\n'
        '[[faults]]\npath = "message_templates"\nstatus = 503\ntimes = 1\n'
    )

    config = SimulatorConfig.from_toml(file)

    assert (config.seed, config.templates, config.faults[0].status) == (9, (5, 120), 503)
    with Simulator(config).running() as simulator:
        url = f"{simulator.url}/{simulator.world.waba_ids[0]}/message_templates"
        token = {"access_token": simulator.app.token}
        answers = [requests.get(url, params=token, timeout=10) for _ in "ab"]
    assert [one.status_code for one in answers] == [503, 200]


@pytest.mark.parametrize(
    "text",
    ["seed = ", "colour = 1", "wabas = -1", "templates = [9, 2]", "[[faults]]\npath = 'x'", "speed = 0"],
)
def test_a_bad_scenario_file_is_refused_by_name(tmp_path, text) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(text)

    with pytest.raises(ValueError, match=r"wrong\.toml"):
        SimulatorConfig.from_toml(file)


def test_several_simulators_run_side_by_side() -> None:
    with (
        Simulator(SimulatorConfig(seed=1)).running() as one,
        Simulator(SimulatorConfig(seed=2)).running() as two,
    ):
        assert one.url != two.url
        answer = requests.get(f"{two.url}/me", params={"access_token": one.app.token}, timeout=10)
        assert answer.status_code == 401


def test_a_stopped_simulator_lets_its_port_go_and_can_run_again() -> None:
    simulator = Simulator()
    with simulator.running():
        port = int(simulator.url.rpartition(":")[2])
    assert simulator.url == ""

    with simulator.running(port=port):
        assert requests.get(f"{simulator.url}/me", timeout=10).status_code == 401


def test_the_simulator_imports_nothing_else_of_the_product() -> None:
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, file
                names = [node.module or ""]
            for name in names:
                assert not name.startswith("wabajobs") or name.startswith("wabajobs.simulator"), (file, name)


@pytest.fixture(scope="module")
def fuzzed():
    config = SimulatorConfig(wabas=2, templates=30, app_limit=10_000_000, waba_limit_active=10_000_000)
    with Simulator(config).running() as simulator, requests.Session() as session:
        yield simulator, session


odd_text = st.text(max_size=12) | st.sampled_from(
    ["%", "%ff", "[", '["a"', "-1", "1e9", "\0", "{}", "a,b", "..", "🐟"]
)
filters = ["name", "status[]", "status", "language[0]", "category[]"]
names = st.sampled_from(["fields", "limit", "after", "before", "summary", *filters]) | odd_text
paths = st.lists(
    st.sampled_from(["v23.0", "WABA", "message_templates", "phone_numbers", "debug_token", ""]) | odd_text,
    max_size=4,
)
bodies = st.none() | st.binary(max_size=40) | st.dictionaries(names, odd_text, max_size=3)
methods = st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"])
types = st.sampled_from(
    ["application/json", "application/x-www-form-urlencoded", "multipart/form-data", "text/x"]
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=methods,
    path=paths,
    query=st.lists(st.tuples(names, odd_text), max_size=4),
    body=bodies,
    content_type=types,
    token=st.booleans(),
)
def test_whatever_is_sent_the_answer_is_the_graphs(
    fuzzed, method, path, query, body, content_type, token
) -> None:
    simulator, session = fuzzed
    parts = [
        simulator.world.waba_ids[0] if part == "WABA" else requests.utils.quote(part, safe="%") for part in path
    ]
    headers = {"Content-Type": content_type}
    if token:
        headers["Authorization"] = f"Bearer {simulator.app.token}"
    data = json.dumps(body).encode() if isinstance(body, dict) and content_type.endswith("json") else body

    answer = session.request(
        method, f"{simulator.url}/" + "/".join(parts), params=query, data=data, headers=headers, timeout=10
    )

    parsed = answer.json()
    assert simulator.judge.defects == 0
    assert answer.status_code < 500
    if answer.status_code == 200:
        assert parsed.keys() & {"data", "id", "success"}
    else:
        assert {"message", "type", "code", "fbtrace_id"} <= set(parsed["error"])


raw_targets = st.binary(min_size=1, max_size=30).filter(lambda raw: not set(raw) & set(b" \r\n\t#\0"))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(target=raw_targets)
def test_raw_bytes_in_the_target_never_break_the_simulator(fuzzed, target) -> None:
    simulator, _ = fuzzed
    address = ("127.0.0.1", int(simulator.url.rpartition(":")[2]))
    authorization = f"Authorization: Bearer {simulator.app.token}".encode()

    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(
            b"GET /" + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + authorization + b"\r\n\r\n"
        )
        answer = b"".join(iter(lambda: connection.recv(65536), b""))

    assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 200", b"HTTP/1.0 400"))
    assert simulator.judge.defects == 0
