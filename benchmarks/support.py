"""What the benchmarks stand on: servers of their own, processes, fair rounds, tables and raw results."""

import argparse
import importlib
import json
import math
import os
import platform
import shutil
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import psutil
import psycopg
import requests
import tomli_w
from redis import Redis
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from tests.support.databases import PostgresServer, SqliteFiles, postgres_server
from wabajobs.client import Client
from wabajobs.machine import RedisServer, find_server
from wabajobs.machine import processes as children
from wabajobs.settings import Settings
from wabajobs.wiring import House

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
APP = "100000000000001"
T = TypeVar("T")


# ── what is asked for ───────────────────────────────────────────────────────────────────────────────────────


def parser(
    doc: str | None, *, rounds: int, databases: Sequence[str] = ("sqlite", "postgresql")
) -> argparse.ArgumentParser:
    """Return a parser with the options that all benchmarks have; the first of the databases is the default."""
    made = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    made.add_argument("--quick", action="store_true", help="small numbers: to see that it works")
    made.add_argument("--rounds", type=int, default=rounds, help=f"rounds, interleaved (default {rounds})")
    made.add_argument("--database", choices=databases, default=databases[0])
    made.add_argument("--results", type=Path, default=RESULTS, help="folder of raw results")
    return made


# ── servers and processes ───────────────────────────────────────────────────────────────────────────────────


@dataclass
class Stage:
    """A Redis server, databases, and processes, all in one folder that goes away at the end."""

    folder: Path
    redis: RedisServer
    redis_pid: int
    databases: SqliteFiles | PostgresServer
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _configs: int = 0

    def config(self, database_url: str, **more: Any) -> Path:
        """Write a configuration file for the product, and return its path."""
        self._configs += 1
        token = self.folder / "token"
        if not token.exists():
            token.write_text("benchmark-token")
        table = {
            "database_url": database_url,
            "redis_url": self.redis.redis_url,
            "broker_url": self.redis.broker_url,
            "apps": {APP: {"token": {"file": str(token)}, "calls_per_window": 1_000_000}},
            "gate": {"pacing": False},
            "kinds": ["benchmarks.noop"],
            **more,
        }
        path = self.folder / f"wabajobs-{self._configs}.toml"
        path.write_text(tomli_w.dumps(table))
        return path

    def start(self, name: str, argv: Sequence[str], env: Mapping[str, str]) -> psutil.Process:
        """Start a program that ends with us, its output in a log of its own."""
        self.running[name] = children.start(argv, log=self._log(name), env={**child_env(), **env})
        return psutil.Process(self.running[name].pid)

    def stop(self, *names: str) -> None:
        """Stop programs the soft way, and wait for their end."""
        for name in names or tuple(self.running):
            process = self.running.pop(name)
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait(5)

    def until(self, ask: Callable[[], T], *, what: str, within: float = 60.0, every: float = 0.05) -> T:
        """Return the first truthy answer; end the benchmark when there is none in time."""
        end = time.monotonic() + within
        while not (answer := ask()):
            dead = [name for name, process in self.running.items() if process.poll() is not None]
            if dead or time.monotonic() > end:
                why = f"{', '.join(dead)} ended" if dead else f"not within {within:g} s"
                raise SystemExit(self.clean(f"{what}: {why}\n{self.logs()}"))
            time.sleep(every)
        return answer

    def wait_for_workers(self, house: House, queue: str) -> None:
        """Wait until a worker of `queue` is there to be given something."""
        self.until(lambda: house.presence.living([queue])[queue], what=f"a worker of {queue}")

    def client_of_redis(self) -> Redis:
        """Return a client of our Redis server."""
        return Redis.from_url(self.redis.redis_url)

    def flush(self) -> None:
        """Empty Redis."""
        self.client_of_redis().flushall()

    def plain(self, **env: str) -> Any:
        """Return plain Celery's module, made with these environment variables, which its worker needs too."""
        os.environ.update(env, BENCH_BROKER_URL=self.redis.broker_url)
        return importlib.import_module("benchmarks.plain")

    def logs(self) -> str:
        """Return the last lines of all logs."""
        return "\n".join(
            f"── {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-12:])
            for path in sorted(self.folder.glob("*.log"))
        )

    def clean(self, told: str) -> str:
        """Take this machine's name and folders out of a text."""
        places = {str(self.folder): "DATA", str(ROOT): ".", sys.prefix: "VENV", socket.gethostname(): "HOST"}
        for place, word in places.items():
            told = told.replace(place, word)
        return told

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"


@dataclass(kw_only=True)
class Simulated:
    """A simulated Graph API, as a process of its own."""

    url: str
    app: str
    token: str
    secret: str
    limit: int
    wabas: list[str]

    def arrived(self) -> Iterator[dict[str, Any]]:
        """Return all calls that have arrived, in their order; `wall` is when, by this machine's clock."""
        after = 0
        while True:
            asked = {"after": after, "limit": 50_000}
            answer = requests.get(f"{self.url}/_simulator/calls", params=asked, timeout=120).json()
            yield from answer["calls"]
            if answer["last_seq"] == after:
                return
            after = answer["last_seq"]

    def apps(self, folder: Path) -> dict[str, Any]:
        """Return `[apps]` of a configuration for it; the secrets lie in files of this folder."""
        secrets = {"token": self.token, "secret": self.secret}
        for name, value in secrets.items():
            (folder / f"{self.app}-{name}").write_text(value)
        sources = {name: {"file": str(folder / f"{self.app}-{name}")} for name in secrets}
        return {self.app: {**sources, "calls_per_window": self.limit}}


def simulated(stage: Stage, name: str = "simulator", **knobs: Any) -> Simulated:
    """Start a simulator with these knobs; a program of the stage's under this name."""
    scenario, log = stage.folder / f"{name}.toml", stage.folder / f"{name}.log"
    # With a floor of 0 the usage header is always there: the gate need not guess how much is spent.
    scenario.write_text(tomli_w.dumps({"templates": 5, "header_floor": 0, **knobs}))
    argv = [sys.executable, "-m", "wabajobs.simulator", "--port", "0", "--scenario", str(scenario), "--json"]
    stage.start(name, argv, {})
    stage.until(lambda: log.exists() and "\n" in log.read_text(), what=f"the {name}")
    facts = json.loads(log.read_text().partition("\n")[0])
    app = facts["apps"][0]
    world = requests.get(f"{facts['url']}/_simulator/world", timeout=60).json()
    return Simulated(
        url=facts["url"],
        app=app["id"],
        token=app["token"],
        secret=app["secret"],
        limit=app["limit"],
        wabas=[waba["id"] for waba in world["wabas"]],
    )


def child_env() -> dict[str, str]:
    """Return the environment of our programs: this tree's modules, and no setting of the caller's."""
    for name in [name for name in os.environ if name.startswith("WABAJOBS_")]:
        del os.environ[name]
    return {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}


@contextmanager
def stage(database: str) -> Iterator[Stage]:
    """Yield servers of our own; afterwards nothing is left of them."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="wabajobs-bench-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        server = stack.enter_context(RedisServer(find_server(), folder=folder / "redis"))
        running = children.start(server.command(), log=folder / "redis.log", env=None)
        stack.callback(running.wait, 10)
        stack.callback(running.terminate)
        server.wait_until_ready()
        if database == "sqlite":
            (folder / "sqlite").mkdir()
            databases: SqliteFiles | PostgresServer = SqliteFiles(folder / "sqlite")
        else:
            databases = stack.enter_context(postgres_server())
        made = Stage(folder=folder, redis=server, redis_pid=running.pid, databases=databases)
        stack.callback(made.stop)
        yield made


def opened(config: Path) -> tuple[Client, House]:
    """Return a client and a house with these settings."""
    settings = Settings.load({"WABAJOBS_CONFIG": str(config)})
    return Client(settings), House(settings)


class CpuUse:
    """The CPU time, user and system, that some processes use from now on."""

    def __init__(self, **processes: psutil.Process) -> None:
        """Begin to count."""
        self._processes = processes
        self._before = {name: _cpu_seconds(process) for name, process in processes.items()}

    def seconds(self) -> dict[str, float]:
        """Return how much each has used."""
        return {name: _cpu_seconds(one) - self._before[name] for name, one in self._processes.items()}


class _Family(psutil.Process):
    """A process with its children, also those that have ended."""

    def cpu_times(self) -> Any:
        own = super().cpu_times()
        living = []
        for child in self.children():
            with suppress(psutil.NoSuchProcess):  # PostgreSQL's own come and go
                living.append(child.cpu_times())
        return own._replace(
            user=own.user + own.children_user + sum(one.user for one in living),
            system=own.system + own.children_system + sum(one.system for one in living),
        )


def postgresql(url: str) -> dict[str, psutil.Process]:
    """Return the server of the database, if it is one."""
    if not url.startswith("postgresql"):
        return {}
    with psycopg.connect(url) as connection:
        folder = connection.execute("SHOW data_directory").fetchone()
    assert folder is not None
    return {"postgresql": _Family(int((Path(folder[0]) / "postmaster.pid").read_text().split()[0]))}


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def in_turn(sides: Sequence[T], number: int) -> list[T]:
    """Return the sides of a round in an order that differs from round to round, so that none is always first."""
    shift = number % len(sides)
    order = [*sides[shift:], *sides[:shift]]
    return order[::-1] if number % 2 else order


# ── what comes out ──────────────────────────────────────────────────────────────────────────────────────────


def machine(stage: Stage, database: str) -> dict[str, Any]:
    """Return what the numbers depend on. No host name, no path."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "load before": round(os.getloadavg()[0], 2),
        "wabajobs": revision(),
        "Python": platform.python_version(),
        "celery": version("celery"),
        "kombu": version("kombu"),
        "redis-py": version("redis"),
        "Redis server": f"{stage.redis.binary.kind} {'.'.join(map(str, stage.redis.binary.version))}"
        " (unix socket, append-only file, fsync every second)",
        "SQLAlchemy": version("sqlalchemy"),
        "database": _database_version(stage, database),
        "one fsync": f"{_fsync_ms(stage.folder):.2f} ms (4 KiB appended, median of 100)",
    }


def revision() -> str:
    """Return the commit that is measured; `-dirty` with changes on top."""
    asked = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    try:
        told = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        told = "no commit"
    return f"{version('wabajobs')} ({told})"


def _database_version(stage: Stage, database: str) -> str:
    if database == "sqlite":
        return f"SQLite {sqlite3.sqlite_version} (WAL, synchronous=FULL)"
    engine = create_engine(make_url(stage.databases.fresh()).set(drivername="postgresql+psycopg"))
    with engine.connect() as connection:
        told = connection.execute(text("SHOW server_version")).scalar_one()
        sync = connection.execute(text("SHOW fsync")).scalar_one()
    engine.dispose()
    return f"PostgreSQL {told} (fsync={sync})"


def _fsync_ms(folder: Path) -> float:
    took = []
    with (folder / "fsync").open("wb", buffering=0) as file:
        for _ in range(100):
            file.write(b"x" * 4096)
            begun = time.perf_counter()
            os.fsync(file.fileno())
            took.append(time.perf_counter() - begun)
    return statistics.median(took) * 1000


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


class Report:
    """Prints, and keeps every raw result as a line of JSON."""

    def __init__(
        self, name: str, options: argparse.Namespace, facts: Mapping[str, Any], conditions: Sequence[str]
    ) -> None:
        """Print the head and open the file."""
        now = datetime.now(UTC)
        self._run = f"{now:%Y%m%dT%H%M%SZ}"
        self._name = name
        options.results.mkdir(parents=True, exist_ok=True)
        self._path = options.results / f"{name}-{now:%Y-%m-%d}.jsonl"
        self._wall = time.monotonic()
        asked = {key: value for key, value in vars(options).items() if key != "results"}
        print(f"{name}  ({', '.join(f'{key} {value}' for key, value in asked.items())})\n")
        for key, value in facts.items():
            print(f"  {key:<13} {value}")
        print()
        for line in conditions:
            print(f"  * {line}")
        print(flush=True)
        self.keep(what="run", **asked, machine=dict(facts), conditions=list(conditions))

    def keep(self, **facts: Any) -> None:
        """Write a raw result down."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"run": self._run, **facts}) + "\n")

    def table(self, title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table; the first column is text, the others are numbers."""
        widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
        print(title)
        for row in (head, ["-" * width for width in widths], *rows):
            first, *others = (f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
            print("  " + "  ".join([row[0].ljust(len(first)), *others]))
        print(flush=True)

    def end(self) -> None:
        """Say how long it took."""
        print(f"{time.monotonic() - self._wall:.0f} s; raw results: {self._path.parent.name}/{self._path.name}")


def spread(values: Sequence[float], form: str = ",.0f") -> list[str]:
    """Return min, median and max as text."""
    return [format(value, form) for value in (min(values), statistics.median(values), max(values))]


def ratios(values: Sequence[float], base: Sequence[float]) -> list[float]:
    """Return the ratio of each round to its own round's base."""
    return [value / other for value, other in zip(values, base, strict=True)]
