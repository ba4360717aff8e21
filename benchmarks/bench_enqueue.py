"""How many operations a second are accepted: `Client.enqueue` and `enqueue_many`, beside Celery's `delay`.

An accepted operation is a committed row (fsync included); a delayed task is a message in Redis, which its
server writes to disk within a second.
"""

# ruff: noqa: E402
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "src")]

import importlib
import itertools
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks import support
from wabajobs.client import Client
from wabajobs.intake import Request
from wabajobs.settings import Settings

PROCESSES = 4
WARM = 20
_wabas = itertools.count(1)


@dataclass(frozen=True)
class Side:
    """One way to hand work over."""

    name: str
    kind: str
    """`noop`, `template_sync`, or `delay` for plain Celery."""
    batch: int = 0
    """Operations per call of `enqueue_many`; 0 for one `enqueue` each."""
    processes: int = 1


SIDES = (
    Side("Celery delay", "delay"),
    Side("enqueue noop", "noop"),
    Side("enqueue template_sync", "template_sync"),
    Side("enqueue_many(100) noop", "noop", batch=100),
    Side("enqueue_many(1000) noop", "noop", batch=1000),
    Side("enqueue_many(100) template_sync", "template_sync", batch=100),
    Side("enqueue_many(1000) template_sync", "template_sync", batch=1000),
    Side(f"Celery delay, {PROCESSES} processes", "delay", processes=PROCESSES),
    Side(f"enqueue noop, {PROCESSES} processes", "noop", processes=PROCESSES),
)


def main() -> None:
    """Run."""
    parser = support.parser(__doc__, rounds=5)
    parser.add_argument("--seconds", type=float, help="how long each side runs in a round (2; quick 0.5)")
    options = parser.parse_args()
    seconds = options.seconds or (0.5 if options.quick else 2.0)
    depth = 5_000 if options.quick else 100_000
    conditions = [
        f"each side runs {seconds:g} s a round, {options.rounds} rounds, sides interleaved in changing order",
        "an accepted operation is a committed row; a delayed task is a message in Redis",
        "Redis runs and nobody consumes: no dispatcher, no worker",
        "template_sync: each operation for a WABA of its own, so none is joined to another",
        f"empty: a fresh ledger per side and round; deep: one ledger with {depth:,} waiting (half noop, half"
        " template_sync) at first, which grows by what the rounds add",
    ]
    with support.stage(options.database) as stage:
        stage.plain()
        facts = support.machine(stage, options.database)
        report = support.Report("enqueue", options, facts, conditions)
        for name, waiting in (("empty", 0), (f"{depth:,} waiting", depth)):
            deep = _filled(stage, waiting, report) if waiting else None
            results: dict[str, list[dict[str, Any]]] = {side.name: [] for side in SIDES}
            for number in range(options.rounds):
                for side in support.in_turn(SIDES, number):
                    config = deep or stage.config(stage.databases.fresh())
                    result = measure(side, config, seconds)
                    stage.flush()
                    results[side.name].append(result)
                    report.keep(what="side", depth=name, round=number, side=side.name, **result)
            _tell(report, name, results)
        report.end()


def measure(side: Side, config: Path, seconds: float) -> dict[str, Any]:
    """Run one side for so long; return its rate and the times of its calls."""
    if side.processes == 1:
        count, elapsed, took = _run(side, config, seconds, lambda: None)
        return _result(count, elapsed, took)
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(side.processes), context.SimpleQueue()
    those = [
        context.Process(target=_one_of_many, args=(side, str(config), seconds, number, barrier, answers))
        for number in range(side.processes)
    ]
    for one in those:
        one.start()
    told = [answers.get() for _ in those]
    for one in those:
        one.join()
    return _result(
        sum(count for count, _, _ in told),
        max(elapsed for _, elapsed, _ in told),
        [call for _, _, took in told for call in took],
        shares=sorted(count for count, _, _ in told),
    )


def _one_of_many(side: Side, config: str, seconds: float, number: int, barrier: Any, answers: Any) -> None:
    global _wabas  # noqa: PLW0603 (each process counts its own WABAs)
    _wabas = itertools.count((number + 1) * 100_000_000)
    answers.put(_run(side, Path(config), seconds, barrier.wait))


def _run(
    side: Side, config: Path, seconds: float, when_warm: Callable[[], object]
) -> tuple[int, float, list[float]]:
    step, size, close = _step(side, config)
    for _ in range(1 if side.batch else WARM):
        step()
    when_warm()
    took: list[float] = []
    begun = last = time.perf_counter()
    while last - begun < seconds:
        step()
        now = time.perf_counter()
        took.append(now - last)
        last = now
    close()
    return len(took) * size, last - begun, took


def _step(side: Side, config: Path) -> tuple[Callable[[], object], int, Callable[[], object]]:
    if side.kind == "delay":
        noop = importlib.import_module("benchmarks.plain").noop
        return (lambda: noop.delay(0)), 1, lambda: None
    client = Client(Settings.load({"WABAJOBS_CONFIG": str(config)}))
    if side.batch:
        return (lambda: client.enqueue_many(requests(side.kind, side.batch))), side.batch, client.close
    if side.kind == "noop":
        return (lambda: client.enqueue("noop", partner="acme")), 1, client.close
    return (lambda: client.enqueue(side.kind, partner="acme", waba=waba())), 1, client.close


def requests(kind: str, number: int) -> list[Request]:
    """Return so many requests, each for a WABA of its own if it is about one."""
    if kind == "noop":
        return [Request(kind=kind, partner="acme") for _ in range(number)]
    return [Request(kind=kind, partner="acme", waba=waba()) for _ in range(number)]


def waba() -> str:
    """Return a WABA id that was not used before."""
    return str(10_000_000_000 + next(_wabas))


def _result(count: int, elapsed: float, took: list[float], **more: Any) -> dict[str, Any]:
    milliseconds = [call * 1000 for call in took]
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    return {
        "rate": count / elapsed,
        "operations": count,
        "seconds": elapsed,
        "call_ms": {name: support.quantile(milliseconds, share) for name, share in shares.items()},
        **more,
    }


def _filled(stage: support.Stage, waiting: int, report: support.Report) -> Path:
    config = stage.config(stage.databases.fresh())
    client = Client(Settings.load({"WABAJOBS_CONFIG": str(config)}))
    begun = time.perf_counter()
    for _ in range(waiting // 1000):
        client.enqueue_many([*requests("noop", 500), *requests("template_sync", 500)])
    elapsed = time.perf_counter() - begun
    client.close()
    report.keep(what="fill", operations=waiting, seconds=elapsed)
    return config


def _tell(report: support.Report, depth: str, results: dict[str, list[dict[str, Any]]]) -> None:
    rows = []
    for side in SIDES:
        rates = [one["rate"] for one in results[side.name]]
        base = next(one.name for one in SIDES if one.kind == "delay" and one.processes == side.processes)
        ratio = support.ratios(rates, [one["rate"] for one in results[base]])
        calls = [
            f"{max(one['call_ms'][name] for one in results[side.name]):,.1f}"
            if name == "max"
            else f"{sorted(one['call_ms'][name] for one in results[side.name])[len(rates) // 2]:,.2f}"
            for name in ("p50", "p99", "max")
        ]
        rows.append([side.name, *support.spread(rates), *support.spread(ratio, ".2f"), *calls])
    head = ["operations/s", "min", "median", "max", "ratio min", "median", "max", "call p50 ms", "p99", "max"]
    title = f"Ledger: {depth}. Ratio: to Celery's delay of the same round and number of processes."
    report.table(title, head, rows)


if __name__ == "__main__":
    main()
