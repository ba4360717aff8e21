"""How many requests per second the simulator answers on one core.

The simulator has one core to itself, what asks it the other. It is asked for a page of templates, for a WABA,
and to change one; beside it, in every round, a plain aiohttp server that answers the same bytes without
thinking. What the two share is HTTP; the ratio is what behaving like Meta costs.
"""

# ruff: noqa: E402
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "src")]

import argparse
import asyncio
import json
import os
import platform
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

import tomli_w
from aiohttp import web

from benchmarks import support

WABAS, TEMPLATES = 20, 40
GOAL = 2000
"""Requests per second for a page of templates."""


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small numbers: to see that it works")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, interleaved (default 5)")
    parser.add_argument("--seconds", type=float, help="seconds of each measurement (4; quick 1)")
    parser.add_argument("--connections", type=int, default=16, help="each with one request at a time")
    parser.add_argument("--results", type=Path, default=support.RESULTS, help="folder of raw results")
    options = parser.parse_args()
    seconds = options.seconds or (1.0 if options.quick else 4.0)
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("this needs two cores: one for the server, one for what asks it")
    conditions = [
        f"server on core {cores[0]}, load on core {cores[1]}",
        f"{options.connections} connections kept alive, each with one request at a time, no pipelining",
        f"{seconds:g} s each after a tenth of that unmeasured, in {options.rounds} interleaved rounds",
        f"{WABAS} WABAs with {TEMPLATES} templates each, asked in turn; limits far away; no faults, no latency",
        "the constant server: aiohttp's low-level server as the simulator uses it, one body of the same size",
        "CPU: of the server's core while it was measured",
    ]
    os.sched_setaffinity(0, {cores[1]})
    report = support.Report("simulator", options, _machine(), conditions)
    with _simulator(cores[0], options.results) as facts:
        cases = _cases(facts)
        sizes = [_size(facts["url"], case) for case in cases]
        with _constant(cores[0], sizes) as constant:
            measured: list[dict[str, Any]] = []
            for round_ in range(options.rounds):
                sides = [
                    (name, case, place) for place, case in enumerate(cases) for name in ("simulator", "constant")
                ]
                for name, case, place in support.in_turn(sides, round_):
                    url, pid = (facts["url"], facts["pid"]) if name == "simulator" else constant
                    requests = case.requests(url, f"/{place}" if name == "constant" else None)
                    one = _measure(url, pid, requests, seconds=seconds, connections=options.connections)
                    measured.append({"round": round_, "side": name, "case": case.name, **one})
                    report.keep(what="measurement", **measured[-1])
    _tell(report, cases, sizes, measured)
    report.end()


# ── what is asked ───────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Case:
    """A kind of request; each comes for one WABA after the other."""

    name: str
    method: str
    paths: Sequence[str]
    body: bytes
    token: str

    def requests(self, url: str, path: str | None = None) -> list[bytes]:
        """Return the requests as bytes, all of them to `path` if there is one."""
        host = urlsplit(url).netloc
        about = f"Content-Type: application/json\r\nContent-Length: {len(self.body)}\r\n" if self.body else ""
        return [
            (
                f"{self.method} {path or one} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {self.token}\r\n"
                f"User-Agent: bench\r\nAccept: */*\r\n{about}\r\n"
            ).encode()
            + self.body
            for one in self.paths
        ]


def _cases(facts: dict[str, Any]) -> list[Case]:
    token = facts["apps"][0]["token"]

    def case(name: str, method: str, kind: str, path: str, body: bytes = b"") -> Case:
        return Case(name, method, [f"/v23.0/{one}{path}" for one in facts[kind]], body, token)

    about = b'{"messaging_product":"whatsapp","about":"We are here for you"}'
    return [
        case(f"GET message_templates ({TEMPLATES})", "GET", "wabas", "/message_templates?limit=100"),
        case("GET a WABA", "GET", "wabas", "?fields=id,name,currency"),
        case("POST whatsapp_business_profile", "POST", "numbers", "/whatsapp_business_profile", about),
    ]


def _size(url: str, case: Case) -> int:
    """Return the size of the body that a case is answered with."""
    (answer,) = asyncio.run(_load(url, case.requests(url)[:1], seconds=0, connections=1))["bodies"]
    return int(answer)


# ── who answers ─────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _simulator(core: int, folder: Path) -> Iterator[dict[str, Any]]:
    scenario = folder / ".simulator.toml"
    far = 1_000_000_000
    knobs = {
        "wabas": WABAS,
        "templates": TEMPLATES,
        "app_limit": far,
        "waba_limit_active": far,
        "header_floor": 0,
    }
    scenario.write_text(tomli_w.dumps(knobs))
    argv = [sys.executable, "-m", "wabajobs.simulator", "--port", "0", "--json", "--scenario", str(scenario)]
    try:
        with _running(argv, core) as (line, pid):
            yield {**json.loads(line), "pid": pid}
    finally:
        scenario.unlink(missing_ok=True)


@contextmanager
def _constant(core: int, sizes: Sequence[int]) -> Iterator[tuple[str, int]]:
    argv = [sys.executable, __file__, "--constant", ",".join(map(str, sizes))]
    with _running(argv, core) as (line, pid):
        yield line.strip(), pid


@contextmanager
def _running(argv: Sequence[str], core: int) -> Iterator[tuple[str, int]]:
    """Run a server on one core; yield the first line that it prints, and its process."""
    process = subprocess.Popen(
        argv,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **support.child_env()},
    )
    os.sched_setaffinity(process.pid, {core})
    try:
        assert process.stdout is not None
        yield process.stdout.readline(), process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def _serve_constant(sizes: Sequence[int]) -> None:
    bodies = {f"/{place}": b"x" * size for place, size in enumerate(sizes)}
    headers = {"Content-Type": "application/json; charset=UTF-8"}

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.body_exists:
            await request.read()
        return web.Response(body=bodies[request.path], headers=headers)

    async def serve() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        runner = web.ServerRunner(web.Server(answer, access_log=None, handler_cancellation=True))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        print(f"http://{host}:{port}", flush=True)
        await stop.wait()
        await runner.cleanup()

    asyncio.run(serve())


# ── how it is measured ──────────────────────────────────────────────────────────────────────────────────────


class _Connection(asyncio.Protocol):
    """Sends a request, waits for the whole answer, sends the next."""

    def __init__(self, requests: Iterator[bytes], counts: dict[str, Any]) -> None:
        self._requests = requests
        self._counts = counts
        self._buffer = b""
        self._missing = -1
        self._sent = 0.0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._next()

    def data_received(self, data: bytes) -> None:
        if self._missing < 0:
            self._buffer += data
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            lower = head.lower()
            place = lower.index(b"content-length:") + 15
            length = int(lower[place:].partition(b"\r\n")[0])
            if not head.startswith(b"HTTP/1.1 200"):
                self._counts["wrong"] += 1
            self._counts["length"] = length
            self._missing, data, self._buffer = length, rest, b""
        self._missing -= len(data)
        if self._missing <= 0:
            self._missing = -1
            self._counts["done"] += 1
            self._counts["waits"].append(time.perf_counter() - self._sent)
            self._next()

    def _next(self) -> None:
        if self._counts["ended"]:
            self._transport.close()
            return
        self._sent = time.perf_counter()
        self._transport.write(next(self._requests))


def _in_turn(requests: Sequence[bytes]) -> Iterator[bytes]:
    while True:
        yield from requests


async def _load(url: str, requests: Sequence[bytes], *, seconds: float, connections: int) -> dict[str, Any]:
    loop, place = asyncio.get_running_loop(), urlsplit(url)
    counts: dict[str, Any] = {"done": 0, "wrong": 0, "length": 0, "ended": False, "waits": []}
    source = _in_turn(requests)
    for _ in range(connections):
        await loop.create_connection(lambda: _Connection(source, counts), place.hostname, place.port)
    await asyncio.sleep(max(0.2, seconds / 10))
    done, counts["waits"] = counts["done"], []
    began = time.perf_counter()
    await asyncio.sleep(seconds)
    done, took = counts["done"] - done, time.perf_counter() - began
    counts["ended"] = True
    await asyncio.sleep(0.1)
    return {
        "done": done,
        "took": took,
        "wrong": counts["wrong"],
        "bodies": [counts["length"]],
        "waits": counts["waits"],
    }


def _measure(
    url: str, pid: int, requests: Sequence[bytes], *, seconds: float, connections: int
) -> dict[str, Any]:
    before = _cpu_seconds(pid)
    one = asyncio.run(_load(url, requests, seconds=seconds, connections=connections))
    if one["wrong"]:
        raise SystemExit(f"{one['wrong']} requests were not answered with 200")
    # The unmeasured tenth and the end are in both, so this is a share and no more.
    share = (_cpu_seconds(pid) - before) / (one["took"] + max(0.2, seconds / 10) + 0.1)
    waits = [wait * 1000 for wait in one["waits"]]
    return {
        "per_second": one["done"] / one["took"],
        "cpu": share,
        "p50_ms": support.quantile(waits, 0.5),
        "p99_ms": support.quantile(waits, 0.99),
    }


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# ── out ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _machine() -> dict[str, Any]:
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "load before": round(os.getloadavg()[0], 2),
        "wabajobs": support.revision(),
        "Python": platform.python_version(),
        "aiohttp": version("aiohttp"),
        "pydantic": version("pydantic"),
    }


def _tell(
    report: support.Report, cases: Sequence[Case], sizes: Sequence[int], measured: Sequence[dict[str, Any]]
) -> None:
    def of(case: Case, side: str, name: str = "per_second") -> list[float]:
        return [float(one[name]) for one in measured if (one["case"], one["side"]) == (case.name, side)]

    rows = []
    for case, size in zip(cases, sizes, strict=True):
        for side in ("simulator", "constant"):
            p50, p99 = (statistics.median(of(case, side, name)) for name in ("p50_ms", "p99_ms"))
            cpu = f"{statistics.median(of(case, side, 'cpu')):.0%}"
            rows.append(
                [
                    f"{case.name}: {side}",
                    f"{size:,}",
                    *support.spread(of(case, side)),
                    f"{p50:.1f}",
                    f"{p99:.1f}",
                    cpu,
                ]
            )
    head = ["", "bytes", "min", "median", "max", "p50 ms", "p99 ms", "CPU"]
    report.table("Requests per second on one core; of the waits and the CPU the rounds' medians.", head, rows)
    rows = [
        [case.name, *support.spread(support.ratios(of(case, "simulator"), of(case, "constant")), ".2f")]
        for case in cases
    ]
    report.table("Simulator to constant server, round by round.", ["", "min", "median", "max"], rows)
    median = statistics.median(of(cases[0], "simulator"))
    word = "Reached" if median >= GOAL else "Missed"
    print(f"Goal: {GOAL:,} pages of templates a second. {word}: {median:,.0f}.\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--constant"]:
        _serve_constant([int(size) for size in sys.argv[2].split(",")])
    else:
        main()
