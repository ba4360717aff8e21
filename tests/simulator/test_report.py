"""The report command, the history of the windows, and the command line."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests

import wabajobs.simulator
from tests.support.receivers import Handler, serving
from wabajobs.simulator import report
from wabajobs.simulator.__main__ import main

from .client import Client

SOURCE = Path(wabajobs.simulator.__file__).parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SOURCE.parent.parent), "COLUMNS": "160"}


def ran(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "wabajobs.simulator", *arguments],
        capture_output=True,
        check=False,
        text=True,
        timeout=30,
        env=ENVIRONMENT,
    )


def effect(client: Client, subject: str) -> None:
    client.simulator.judge.effects.record(
        "code_sent",
        subject,
        call=1,
        time=60.0,
        wall=0.0,
        app=client.simulator.app.id,
        waba=None,
        details={},
    )


def told(client: Client, *arguments: str) -> subprocess.CompletedProcess[str]:
    return ran("report", "--url", client.simulator.url, *arguments)


# ── the report ──────────────────────────────────────────────────────────────────────────────────────────────


def test_the_report_shows_the_account(start) -> None:
    client = start(app_limit=4)
    waba = client.simulator.world.waba_ids[0]
    for _ in range(6):
        client.templates(waba)
    client.get("nothing")
    effect(client, "4711")
    effect(client, "4711")
    client.simulator.advance(3725)

    ended = told(client)

    assert (ended.returncode, ended.stderr) == (0, "")
    for line in (
        "7 calls in 7 requests, 7 counted, 3 refused (42.9 %)",
        "simulated time 1:02:05",
        "template_reads",
        "message_templates.list",
        "Effects that happened again",
        "A limit was hit: 3 calls refused.",
        "1 effect happened again: code_sent.",
    ):
        assert line in ended.stdout
    row = next(line for line in ended.stdout.splitlines() if line.startswith(client.simulator.app.id))
    assert row.split() == [client.simulator.app.id, "7", "7", "4", "0", "(0", "%)"]
    assert any(line.split()[:3] == ["code_sent", "4711", "0:01:00"] for line in ended.stdout.splitlines())
    assert any(line.split()[:2] == [waba, "6"] for line in ended.stdout.splitlines())
    assert any(line.split()[:2] == ["refused", "3"] for line in ended.stdout.splitlines())


def test_the_report_as_json_is_the_control_planes(start) -> None:
    client = start()
    client.templates()

    ended = told(client, "--json")

    assert ended.returncode == 0
    assert json.loads(ended.stdout) == client.control("GET", "report").json()


def test_a_clean_account_passes_the_check(start) -> None:
    client = start()
    client.templates()

    ended = told(client, "--check")

    assert ended.returncode == 0
    assert "No limit was hit, no effect happened twice, no number is locked." in ended.stdout


@pytest.mark.parametrize("blame", ["limit", "effect"])
def test_the_check_fails_for_a_limit_or_a_repeated_effect(start, blame) -> None:
    client = start(app_limit=2)
    for _ in range(3 if blame == "limit" else 2):
        client.templates()
    if blame == "effect":
        effect(client, "1")
        effect(client, "1")

    assert told(client, "--check").returncode == 2
    assert told(client).returncode == 0


def some_report(**changes: Any) -> dict[str, Any]:
    return {
        "refused": 0,
        "most_in_window": {"1": 5},
        "apps": {"1": {"limit": 5}},
        "duplicates": [],
        **changes,
    }


def test_more_calls_in_a_window_than_the_limit_are_to_blame_even_if_none_was_refused() -> None:
    (sentence,) = report.findings(some_report(apps={"1": {"limit": 4}}))

    assert sentence == "App 1 made 5 calls in one window; its limit is 4."


def test_a_locked_number_fails_the_check(start) -> None:
    client = start(numbers=1)
    number = client.simulator.world.number_ids[0]
    body = {"messaging_product": "whatsapp", "pin": "000000"}
    for _ in range(11):
        client.post(f"{number}/register", json=body)

    (locked,) = client.control("GET", "report").json()["locked_numbers"]
    ended = told(client, "--check")

    assert (locked["number"], locked["locked"]) == (number, True)
    assert ended.returncode == 2
    assert f"1 number is locked: {number}." in ended.stdout
    assert any(line.split()[:4] == [number, "10", "0", "10"] for line in ended.stdout.splitlines())


def test_a_number_that_is_only_near_to_it_is_shown_without_blame(start) -> None:
    client = start(numbers=1)
    number = client.simulator.world.number_ids[0]
    body = {"messaging_product": "whatsapp", "pin": "000000"}
    for _ in range(9):
        client.post(f"{number}/register", json=body)

    ended = told(client, "--check")

    assert ended.returncode == 0
    assert any(line.split()[:2] == [number, "9"] for line in ended.stdout.splitlines())


@pytest.mark.parametrize(
    ("answer", "words"),
    [((404, b""), "it answered 404"), ((200, b"<html>"), "no JSON"), ((200, b"[]"), "no report")],
)
def test_who_is_no_simulator_is_told_in_a_sentence(answer, words, capsys) -> None:
    status, body = answer

    class Other(Handler):
        """Some other program's server."""

        def do_GET(self) -> None:  # noqa: N802 (as the library wants it)
            self.answer(status, body)

    with serving(Other) as url:
        assert main(["report", "--url", url]) == 1

    output = capsys.readouterr()
    assert words in output.err
    assert (output.out, len(output.err.splitlines())) == ("", 1)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "file:///etc/passwd", "nonsense"])
def test_a_simulator_that_is_not_there_is_told_in_a_sentence(url, capsys) -> None:
    assert main(["report", "--url", url, "--check"]) == 1

    assert len(capsys.readouterr().err.splitlines()) == 1


# ── the windows ─────────────────────────────────────────────────────────────────────────────────────────────


def test_the_windows_tell_calls_and_refusals_by_minute_and_by_window(start) -> None:
    client = start(app_limit=3, apps=2)
    app = client.simulator.app.id
    for minute, calls in ((0, 2), (1, 3), (61, 1)):
        client.simulator.advance(minute * 60 - client.simulator.clock.now())
        for _ in range(calls):
            client.templates()

    shown = client.control("GET", "windows").json()["apps"]
    one = client.control("GET", "windows", params={"app": app}).json()

    assert set(shown) == {each.id for each in client.simulator.world.apps}
    assert one["apps"] == {app: shown[app]}
    history = shown[app]
    assert (history["window"], history["slice"], history["limit"]) == (3600, 60, 3)
    assert history["windows"] == [
        {"since": 0, "calls": 5, "refused": 2},
        {"since": 3600, "calls": 1, "refused": 0},
    ]
    assert len(history["slices"]) == 60
    assert history["slices"][-1] == {"since": 3660, "calls": 1, "refused": 0}
    assert sum(each["calls"] for each in history["slices"]) == 1
    assert client.control("GET", "windows", params={"app": "5"}).status_code == 400


def test_the_windows_slices_are_sixtieths_of_any_window(start) -> None:
    client = start(window=60)
    client.templates()
    client.simulator.advance(1.5)
    client.templates()

    history = client.control("GET", "windows").json()["apps"][client.simulator.app.id]

    assert history["slices"] == [
        {"since": 0, "calls": 1, "refused": 0},
        {"since": 1, "calls": 1, "refused": 0},
    ]


# ── the command line ────────────────────────────────────────────────────────────────────────────────────────


def test_the_scenarios_are_listed_with_what_happens_in_them() -> None:
    ended = ran("scenarios")

    assert ended.returncode == 0
    assert any(
        line.startswith("september-2024") and "an app's limit is too low" in line
        for line in ended.stdout.splitlines()
    )


def test_the_help_names_the_commands() -> None:
    ended = ran("--help")

    assert ended.returncode == 0
    for word in ("report", "scenarios", "--state", "--webhook-url", "--numbers", "--apps", "--scenario"):
        assert word in ended.stdout


def served(*arguments: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "wabajobs.simulator", "--port", "0", "--json", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], 30)[0], "the simulator printed nothing"
    return process, json.loads(process.stdout.readline())


def test_a_process_takes_apps_numbers_a_callback_and_a_scenario_by_name() -> None:
    process, facts = served(
        *("--apps", "3", "--wabas", "2", "--numbers", "4", "--scenario", "limit-lowered", "--speed", "3600"),
        *("--webhook-url", "http://127.0.0.1:9/hook"),
    )
    try:
        scenario = requests.get(f"{facts['url']}/_simulator/scenario", timeout=10).json()
        ended = ran("report", "--port", facts["url"].rpartition(":")[2])
    finally:
        process.terminate()
        process.communicate(timeout=20)

    assert (len(facts["apps"]), len(facts["wabas"]), len(facts["numbers"])) == (3, 2, 8)
    assert scenario["phases"][0]["name"] == "the limit is a fifth, and nobody says so"
    assert ended.returncode == 0
    assert ended.stdout.startswith("0 calls in 0 requests")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--scenario", "nothing-of-this-name"), "no scenario of this name"),
        (("--webhook-url", "ftp://x"), "webhook_url"),
        (("--apps", "0"), "apps"),
    ],
)
def test_a_process_that_cannot_start_names_what_is_wrong(arguments, words) -> None:
    ended = ran("--port", "0", *arguments)

    assert (ended.returncode, ended.stdout) == (1, "")
    assert words in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_a_bad_phase_is_told_at_the_start_with_its_file(tmp_path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('[[phases]]\nname = "odd"\nlimits = { app_limit = 0 }\n')

    ended = ran("--port", "0", "--scenario", str(file))

    assert ended.returncode == 1
    assert "mine.toml" in ended.stderr
    assert "phase 'odd', limits: app_limit" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
