"""`wabajobs up`: everything on one machine, from nothing, and nothing is left of it afterwards."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import requests

from tests.support.fleet import ROOT
from tests.support.waiting import until
from tests.support.witness import answer
from wabajobs.cli.site import WORKERS
from wabajobs.machine import free_port

Up = Callable[..., subprocess.Popen[str]]


def _environment() -> dict[str, str]:
    """Return the environment of somebody who has set nothing."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WABAJOBS_")}
    return kept | {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [kept.get("PYTHONPATH")])])}


def _wabajobs(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "wabajobs", *arguments],
        cwd=folder,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/healthcheck", timeout=10).ok
    except requests.RequestException:
        return False


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    """Starts `wabajobs up --simulator` in a folder of its own."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, folder: Path = tmp_path) -> subprocess.Popen[str]:
        if "--feeds-port" not in arguments:
            arguments = ("--feeds-port", str(free_port()), *arguments)
        with (folder / "up.log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-u", "-m", "wabajobs", "up", "--simulator", *arguments],
                cwd=folder,
                env=_environment(),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
            )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
            process.wait(30)


def _is_up(folder: Path, process: subprocess.Popen[str]) -> str:
    def said() -> str:
        text = (folder / "up.log").read_text()
        assert process.poll() is None, text
        return text if "Ctrl-C stops everything." in text else ""

    return until(said, what="everything is up", within=90)


def test_up_gets_up_works_and_leaves_nothing_behind(up: Up, tmp_path: Path) -> None:
    port, feeds = free_port(), free_port()
    process = up("--flower-port", str(port), "--feeds-port", str(feeds))
    said = _is_up(tmp_path, process)
    shown = requests.get(f"http://127.0.0.1:{feeds}/api/v2/status.json", timeout=10).json()
    measured = requests.get(f"http://127.0.0.1:{feeds}/metrics", timeout=10).text
    children = psutil.Process(process.pid).children(recursive=True)

    waba = said.partition("--waba ")[2].split()[0]
    accepted = answer(_wabajobs(tmp_path, *f"enqueue template_sync --partner acme --waba {waba} --json".split()))
    waited = _wabajobs(tmp_path, "ops", "wait", accepted["id"], "--timeout", "30s", "--json")
    status = answer(_wabajobs(tmp_path, "status", "--json"))
    process.send_signal(signal.SIGINT)
    code = process.wait(30)

    assert [one["state"] for one in answer(waited)] == ["succeeded"]
    assert status["troubles"] == []
    assert f"http://127.0.0.1:{feeds}/metrics" in said
    assert shown["status"]["indicator"] in ("none", "minor")  # minor: the gate is finding out
    assert "wabajobs_dispatcher_leads 1.0" in measured
    assert {queue["workers"] for queue in status["queues"]} == {1}
    assert code == 0
    said = (tmp_path / "up.log").read_text()
    assert "Everything has stopped" in said
    assert "Traceback" not in said
    assert len(children) >= 5 + len(WORKERS)  # Redis, the simulator, the dispatcher, Flower, feeds, the workers
    assert [child for child in children if child.is_running()] == []
    left = [one.info for one in psutil.process_iter(["pid", "cmdline"]) if str(tmp_path) in str(one.info)]
    assert left == []
    assert _wabajobs(tmp_path, "enqueue", "template_sync", "--partner", "acme", "--waba", waba).returncode == 1


def test_a_second_up_in_the_same_folder_is_refused(up: Up, tmp_path: Path) -> None:
    process = up("--flower-port", str(free_port()))
    _is_up(tmp_path, process)

    ports = ("--flower-port", str(free_port()), "--feeds-port", str(free_port()))
    second = _wabajobs(tmp_path, "up", "--simulator", *ports)

    assert second.returncode == 1
    (said,) = second.stderr.splitlines()
    assert "wabajobs already runs in" in said
    assert str(process.pid) in said
    # The first one has not been disturbed.
    assert answer(_wabajobs(tmp_path, "status", "--json"))["troubles"] == []
    assert process.poll() is None


def test_a_taken_flower_port_is_told_in_a_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused = _wabajobs(tmp_path, "up", "--simulator", "--flower-port", port)

    assert refused.returncode == 1
    (said,) = refused.stderr.splitlines()
    assert port in said
    assert "--flower-port" in said
    assert not (tmp_path / ".wabajobs").exists()


def test_what_was_accepted_is_still_there_after_up_was_killed(up: Up, tmp_path: Path) -> None:
    data = tmp_path / ".wabajobs"
    port = free_port()
    process = up("--flower-port", str(port), "--data", str(data))
    said = _is_up(tmp_path, process)
    waba = said.partition("--waba ")[2].split()[0]
    paused = _wabajobs(tmp_path, "pause", "queue", "template_sync", "--reason", "trying it out")
    accepted = answer(_wabajobs(tmp_path, *f"enqueue template_sync --partner acme --waba {waba} --json".split()))
    children = psutil.Process(process.pid).children(recursive=True)

    process.kill()
    process.wait(10)
    until(lambda: not any(child.is_running() for child in children), what="no child outlives it", within=30)
    again = up("--flower-port", str(port), "--data", str(data))
    _is_up(tmp_path, again)

    assert paused.returncode == 0
    until(lambda: _answers(port), what="Flower answers on the same port")
    shown = answer(_wabajobs(tmp_path, "ops", "show", accepted["id"], "--json"))
    assert shown["state"] == "held"
    assert "trying it out" in shown["hold"]["reason"]
    assert _wabajobs(tmp_path, "resume", "queue", "template_sync").returncode == 0
    assert _wabajobs(tmp_path, "ops", "wait", accepted["id"], "--timeout", "30s").returncode == 0
