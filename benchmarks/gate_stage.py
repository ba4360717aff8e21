"""What the trials of the gate stand on: the simulator as the vendor, a crowd of processes, an hour made short."""

import bisect
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import redis
import requests

from benchmarks import support
from wabajobs.capability import Capability
from wabajobs.decisions import Decisions
from wabajobs.gate import Call, Gate, Outcome, Permit, Report
from wabajobs.settings import AppSettings, GateSettings, SecretSource

HOUR = 3600.0
PROCESSES = 8
BEHIND = 0.3
"""Seconds between the sending of a task to the crowd and its beginning, so that all begin together."""


def short(hour: float, **more: Any) -> dict[str, Any]:
    """Return the gate's usual settings with an hour that takes `hour` seconds.

    The spread, the lease of a probe and the bound of a permit cannot shrink below what a busy machine does to
    a process: they cover real delays. The ratio of spread to bound stays as it is.
    """
    scale = hour / HOUR
    spread = max(0.15, 5 * scale)
    return {
        "window_seconds": hour,
        "pacing_burst_seconds": 2 * scale,
        "ask_again_seconds": max(0.1, scale),
        "spread_seconds": spread,
        "start_within_seconds": min(1.0, spread * 2 / 3),
        "breaker_seconds": 30 * scale,
        "breaker_cap_seconds": 120 * scale,
        "probe_lease_seconds": max(0.75, 45 * scale),
        "failure_window_seconds": 60 * scale,
        "header_stale_seconds": 30 * scale,
        "silence_seconds": 10_000_000,  # nobody needs a dispatcher here
        **more,
    }


@dataclass(kw_only=True)
class Vendor(support.Simulated):
    """A simulator whose hour takes as long as a trial likes."""

    stage: support.Stage
    name: str
    hour: float
    mono: float = field(default_factory=lambda: time.time() - time.monotonic())

    @property
    def speed(self) -> float:
        """Simulated seconds in a second."""
        return HOUR / self.hour

    def post(self, lever: str, **body: Any) -> Any:
        """Move a lever."""
        answer = requests.post(f"{self.url}/_simulator/{lever}", json=body, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def clear_faults(self) -> float:
        """Be well again; return when."""
        requests.delete(f"{self.url}/_simulator/faults", timeout=30).raise_for_status()
        return time.monotonic()

    def clear_fault(self, name: str) -> None:
        """Take one fault out."""
        requests.delete(f"{self.url}/_simulator/faults/{name}", timeout=30).raise_for_status()

    def report(self) -> dict[str, Any]:
        """What the judge has counted."""
        answer: dict[str, Any] = requests.get(f"{self.url}/_simulator/report", timeout=30).json()
        return answer

    def calls(self) -> list[dict[str, Any]]:
        """All calls that arrived, each with `at`, the moment by our clock."""
        return [{**call, "at": call["wall"] - self.mono} for call in self.arrived()]

    def worst(self) -> float:
        """Most calls in any rolling window, as a share of the limit."""
        return float(self.report()["most_in_window"].get(self.app, 0)) / self.limit

    def task(self, do: str, **more: Any) -> dict[str, Any]:
        """Return a task for one process of the crowd that calls here."""
        return {
            "do": do,
            "redis": self.stage.redis.redis_url,
            "url": self.url,
            "app": self.app,
            "token": self.token,
            "limit": self.limit,
            "window": round(self.hour),
            "wabas": self.wabas[:1],
            "regain_scale": self.speed,
            **more,
        }

    def gate(self, settings: Mapping[str, Any]) -> Gate:
        """Return a gate in an emptied Redis that was told, and has learnt that nothing is spent."""
        apps = {self.app: AppSettings(token=SecretSource(env="NONE"), calls_per_window=self.limit)}
        self.stage.flush()
        client = redis.Redis.from_url(self.stage.redis.redis_url)
        gate = Gate(client, settings=GateSettings(**settings), apps=apps)
        gate.tell(Decisions(1, (), ()))
        permit = gate.admit(Call(app=self.app, queue="b", partner="b", capability=Capability.PROFILE))
        assert isinstance(permit, Permit), permit
        gate.settle(permit, Report(outcome=Outcome.OK, app_percent=0))
        return gate


@contextmanager
def vendor(stage: support.Stage, *, hour: float, limit: int, **knobs: Any) -> Iterator[Vendor]:
    """Yield a vendor whose hour takes `hour` seconds. `latency` is in real seconds."""
    for name in ("latency", "jitter"):
        if name in knobs:
            knobs[name] *= HOUR / hour
    table = {"wabas": 20, "app_limit": limit, "waba_limit_active": 10_000_000}
    name = f"vendor-{time.monotonic_ns()}"
    simulated = support.simulated(stage, name, **{**table, "window": HOUR, "speed": HOUR / hour, **knobs})
    try:
        yield Vendor(**vars(simulated), stage=stage, name=name, hour=hour)
    finally:
        stage.stop(name)


class Crowd:
    """Processes that wait for tasks."""

    def __init__(self, stage: support.Stage, number: int = PROCESSES) -> None:
        """Start them."""
        self._log = (stage.folder / f"crowd-{time.monotonic_ns()}.log").open("ab")
        self.members = [self._start() for _ in range(number)]
        for member in self.members:
            self._read(member)

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "benchmarks.gate_worker"],
            env={**os.environ, **support.child_env()},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def give(self, tasks: Sequence[Mapping[str, Any]]) -> None:
        """Give each a task; no more than there are processes."""
        for member, task in zip(self.members, tasks, strict=False):
            assert member.stdin is not None
            member.stdin.write(json.dumps(task) + "\n")
            member.stdin.flush()

    def take(self, number: int) -> list[dict[str, Any]]:
        """Wait for what came of the tasks of the first so many."""
        return [self._read(member)["done"] for member in self.members[:number]]

    def do(self, tasks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Give and take."""
        self.give(tasks)
        return self.take(len(tasks))

    def line(self, index: int) -> dict[str, Any]:
        """Read one line of one of them."""
        return self._read(self.members[index])

    def _read(self, member: subprocess.Popen[str]) -> dict[str, Any]:
        assert member.stdout is not None
        line = member.stdout.readline()
        said: dict[str, Any] = json.loads(line) if line else {"failed": "it is gone"}
        if "failed" in said:
            raise RuntimeError(f"a process of the crowd failed: {said['failed']}")
        return said

    def close(self) -> None:
        """End them."""
        for member in self.members:
            if member.poll() is None:
                member.kill()
            member.wait(10)
            for pipe in (member.stdin, member.stdout):
                if pipe is not None:
                    pipe.close()
        self._log.close()


def together(after: float = BEHIND) -> float:
    """Return a moment in which all can begin."""
    return time.monotonic() + after


def merged(results: Sequence[Mapping[str, Any]], name: str = "calls") -> list[Any]:
    """Return one list of what all have noted, by time."""
    return sorted(one for result in results for one in result.get(name, ()))


def in_window(moments: Sequence[float], at: float, length: float) -> int:
    """How many of these (sorted) lie in the window of `length` that ends at a moment."""
    return bisect.bisect_right(moments, at) - bisect.bisect_right(moments, at - length)


def most_in_window(moments: Sequence[float], length: float) -> int:
    """Most of these (sorted) in any rolling window."""
    return max((in_window(moments, at, length) for at in moments), default=0)


def fullness(moments: Sequence[float], length: float, since: float, until: float) -> list[float]:
    """How many lie in the window, looked at ten times a second."""
    return [in_window(moments, since + i / 10, length) for i in range(int((until - since) * 10))]


def rates(moments: Sequence[float], since: float, until: float, step: float) -> list[tuple[float, float]]:
    """Calls a second in each stretch of `step` seconds: its end, counted from `since`, and the rate."""
    number = int((until - since) / step)
    return [((i + 1) * step, in_window(moments, since + (i + 1) * step, step) / step) for i in range(number)]


@dataclass(frozen=True, kw_only=True)
class Arena:
    """Where the trials are held."""

    stage: support.Stage
    crowd: Crowd
    quick: bool

    def pick(self, full: Any, quick: Any) -> Any:
        """Return what this run takes."""
        return quick if self.quick else full


@dataclass(kw_only=True)
class Finding:
    """What a trial has shown of one property. There may be several of one, told apart by `case`."""

    property: str
    what: str
    target: str
    ours: str
    met: bool | None
    """None: measured, and nothing is promised."""
    anchors: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
