"""The product as real processes against a simulator: started, killed and watched by a test."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from tests.support.waiting import until
from wabajobs.client import Client
from wabajobs.operation import Operation
from wabajobs.settings import Settings
from wabajobs.simulator import Simulator
from wabajobs.simulator.faults import FaultRule
from wabajobs.vault import new_key
from wabajobs.wiring import House

ROOT = Path(__file__).parents[2]

QUICK: dict[str, Any] = {
    "dispatch": {
        "poll_seconds": 0.5,
        "release_lease_seconds": 3,
        "attempt_lease_seconds": 5,
        "renew_seconds": 0.7,
        "worker_alive_seconds": 2.5,
        "leader_seconds": 2,
        "retry_seconds": 0.3,
        "short_wait_seconds": 0.2,
    },
    "graph": {"in_flight_seconds": 1},
    "ramp": {"step_seconds": 0.5},
    "gate": {"breaker_seconds": 1, "breaker_cap_seconds": 2, "redis_timeout_seconds": 1},
}
"""Leases and waits in seconds rather than in minutes."""


def merged(*tables: dict[str, Any]) -> dict[str, Any]:
    """Return nested tables laid over each other."""
    result: dict[str, Any] = {}
    for table in tables:
        for name, value in table.items():
            known = result.get(name)
            result[name] = merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return result


@dataclass
class Fleet:
    """Processes that share one configuration file."""

    folder: Path
    simulator: Simulator
    database_url: str
    redis_url: str
    broker_url: str
    more: dict[str, Any] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        app = self.simulator.app
        self.folder.mkdir(parents=True, exist_ok=True)
        token, secret, keys = self.folder / "token", self.folder / "secret", self.folder / "keys"
        token.write_text(app.token)
        secret.write_text(app.secret)
        keys.write_text(new_key())
        table = merged(
            QUICK,
            {
                "database_url": self.database_url,
                "redis_url": self.redis_url,
                "broker_url": self.broker_url,
                "graph_url": self.simulator.url,
                "vault": {"keys": {"file": str(keys)}},
                "apps": {
                    app.id: {
                        "token": {"file": str(token)},
                        "secret": {"file": str(secret)},
                        "calls_per_window": self.simulator.limits.app_limit(app.id),
                    }
                },
            },
            self.more,
        )
        self.config = self.folder / "wabajobs.toml"
        self.config.write_text(tomli_w.dumps(table))
        self.settings = Settings.load(self.env)
        self.house = House(self.settings)
        self.client = Client(self.settings)

    @property
    def env(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("WABAJOBS_")}
        path = os.pathsep.join([str(ROOT), *filter(None, [kept.get("PYTHONPATH")])])
        return kept | {"WABAJOBS_CONFIG": str(self.config), "PYTHONPATH": path}

    # ── processes ────────────────────────────────────────────────────────────────────────────────────────

    def start(self, *names: str) -> None:
        """Start `dispatcher…` and `worker…` by name; the rest of the name tells several apart."""
        for name in names:
            argv = (
                [sys.executable, "-m", "wabajobs", "dispatcher"]
                if name.startswith("dispatcher")
                else [
                    *(sys.executable, "-m", "celery", "-A", "workers.template_sync", "worker"),
                    *("--loglevel=INFO", "--hostname", f"{name}@%h"),
                ]
            )
            self._spawn(name, argv)

    def start_program(self, name: str, argv: Sequence[str]) -> None:
        """Start another program."""
        self._spawn(name, argv)

    def ready(self, *, workers: int = 1) -> None:
        """Wait until the workers are there to be given something."""
        queue = "template_sync"
        until(
            lambda: len(self.house.presence.living([queue])[queue]) >= workers,
            what=f"{workers} workers announce themselves\n{self.logs()}",
            within=30,
        )

    def kill(self, name: str, how: int = signal.SIGKILL) -> None:
        """Send a signal, and wait for the end."""
        process = self.processes.pop(name)
        process.send_signal(how)
        process.wait(60)

    def stop_all(self) -> None:
        """End everything, the hard way."""
        for process in self.processes.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        for process in self.processes.values():
            process.wait(10)
        self.processes.clear()
        self.client.close()
        self.house.close()

    def log(self, name: str) -> str:
        """Return what a process has printed."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def logs(self) -> str:
        """Return the last lines of all processes, for a failed test."""
        return "\n".join(
            f"── {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-15:])
            for path in self.folder.glob("*.log")
        )

    def command(self, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a `wabajobs` command as an operator would."""
        return subprocess.run(
            [sys.executable, "-m", "wabajobs", *arguments],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            cwd=self.folder,
        )

    def _spawn(self, name: str, argv: Sequence[str]) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                argv,
                env=self.env,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                cwd=self.folder,
            )

    # ── looking ──────────────────────────────────────────────────────────────────────────────────────────

    def sync(self, *wabas: str, partner: str = "acme", **more: Any) -> list[Operation]:
        """Enqueue a template sync for each WABA."""
        return [self.client.enqueue("template_sync", partner=partner, waba=waba, **more) for waba in wabas]

    def finished(self, operations: Sequence[Operation], *, within: float = 40.0) -> list[Operation]:
        """Wait until all are finished, and return them as they ended."""
        ids = [operation.id for operation in operations]
        open_ids = list(ids)

        def all_finished() -> bool:
            # One that is open is enough to know: to ask for all, again and again, would take a core of its own.
            while open_ids and self.client.get(open_ids[-1]).state.finished:
                open_ids.pop()
            return not open_ids

        try:
            until(all_finished, within=within, what="all operations are finished")
            return [self.client.get(id_) for id_ in ids]
        except AssertionError as error:
            states = [str(self.client.get(id_).as_json()) for id_ in open_ids][:10]
            raise AssertionError(f"{error}\n" + "\n".join(states) + "\n" + self.logs()) from None

    @contextmanager
    def slowly(self, seconds: float = 1.0) -> Iterator[None]:
        """Let each list take so long that work lasts, however long a command needs to come through here."""
        self.simulator.faults.add(FaultRule(path="message_templates", latency=seconds))
        yield
        self.simulator.faults.clear()

    def calls(self) -> int:
        """Return how many calls have reached the simulator."""
        return self.simulator.judge.total


def wall() -> float:
    """Return the wall clock, as the simulator's judge stamps calls."""
    return time.time()
