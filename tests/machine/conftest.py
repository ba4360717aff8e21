"""Waiting for what real processes do, with a deadline and no guessing."""

import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from wabajobs.machine import Event, Happened, Service, Supervisor

SLEEPER = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"


def await_that(condition: Callable[[], object], *, seconds: float = 20) -> None:
    """Return when `condition` holds; fail if it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {condition}"
        time.sleep(0.02)


def lives(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


class Told(list[Event]):
    """Every event, in order."""

    def of(self, happened: Happened, service: str | None = None) -> list[Event]:
        return [each for each in self if each.happened is happened and service in (None, each.service)]

    def names(self, happened: Happened) -> list[str]:
        return [each.service for each in self.of(happened)]


class Desk:
    """Makes supervisors in a folder of the test's own, with short waits, and sees that they end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told = Told()
        self.made: list[Supervisor] = []

    def service(self, name: str, script: str = SLEEPER, **more) -> Service:
        log = self.folder / "logs" / f"{name}.log"
        more.setdefault("ready", lambda: "up" in log.read_text())
        return Service(name=name, argv=[sys.executable, "-c", script], **more)

    def supervisor(self, *services: Service, **more) -> Supervisor:
        more = {
            "first_backoff": timedelta(seconds=0.05),
            "longest_backoff": timedelta(seconds=0.2),
            "ready_within": timedelta(seconds=20),
            "on_event": self.told.append,
            **more,
        }
        self.made.append(Supervisor(self.folder, services, **more))
        return self.made[-1]


@pytest.fixture
def desk(tmp_path):
    made = Desk(tmp_path / "home")
    yield made
    for supervisor in made.made:
        supervisor.ask_to_stop(kill=True)
        supervisor.stop()
