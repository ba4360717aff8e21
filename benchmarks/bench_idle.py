"""What one million operations that may not run now cost: CPU of dispatcher and worker, and Redis's memory.

They are paused by capability or by partner, held back by an open breaker, or wait without any worker. Each is
measured for a while, beside the same programs with an empty ledger.
"""

# ruff: noqa: E402
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "src")]

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil

from benchmarks import support
from wabajobs.client import Client
from wabajobs.decisions import Scope, Stand
from wabajobs.intake import Request
from wabajobs.wiring import House

KIND, CAPABILITY = "noop", "profile"
PARTNERS = 20
GOAL_PERCENT = 2.0
WHY = {"reason": "measure what it costs", "actor": "benchmark"}
_QUIET = ("--loglevel=WARNING", "--without-gossip", "--without-mingle")
_EMPTY = "nothing"


def main() -> None:
    """Run."""
    options = _parser().parse_args()
    databases = ("sqlite", "postgresql") if options.database == "both" else (options.database,)
    for database in databases:
        with support.stage(database) as stage:
            _measure(stage, database, options)


def _parser() -> argparse.ArgumentParser:
    parser = support.parser(__doc__, rounds=1, databases=("both", "sqlite", "postgresql"))
    parser.add_argument("--operations", type=int, help="operations that wait (1,000,000; quick 20,000)")
    parser.add_argument("--seconds", type=float, help="how long each case is measured (30; quick 5)")
    return parser


def _measure(stage: support.Stage, database: str, options: argparse.Namespace) -> None:
    number = options.operations or (20_000 if options.quick else 1_000_000)
    seconds = options.seconds or (5.0 if options.quick else 30.0)
    conditions = [
        f"{number:,} operations of {PARTNERS} partners, in one ledger; 1 dispatcher, 1 worker (threads)",
        f"each case is measured for {seconds:g} s, once things have settled; settings as shipped",
        "CPU: user + system of the process, as a share of one core; Redis: used_memory",
    ]
    report = support.Report("idle", options, support.machine(stage, database), [database, *conditions])
    results: dict[str, dict[str, Any]] = {}
    with _programs(stage, worker=True):
        results[_EMPTY] = _cost(stage, seconds)
    stage.flush()
    config = stage.config(stage.databases.fresh())
    client, house = support.opened(config)
    _fill(client, number)
    for case, (hold, let_go, worker) in _cases(house).items():
        hold()
        with _programs(stage, worker=worker, config=config):
            results[case] = _cost(stage, seconds)
        let_go()
        stage.flush()
    client.close()
    house.close()
    for case, result in results.items():
        report.keep(what="side", database=database, side=case, **result)
    _tell(report, results)
    report.end()


def _cases(house: House) -> dict[str, tuple[Callable[[], object], Callable[[], object], bool]]:
    """Return how each case begins and ends, and whether there is a worker."""
    controls = house.controls
    capability = Scope.of("capability", CAPABILITY)
    partners = [Scope.of("partner", name) for name in _partners()]
    breaker = f"app:{support.APP}/{CAPABILITY}"
    return {
        "paused capability": (
            lambda: controls.pause(capability, **WHY),
            lambda: controls.resume(capability, percent=100, **WHY),
            True,
        ),
        "paused partners": (
            lambda: [controls.pause(one, **WHY) for one in partners],
            lambda: [controls.resume(one, percent=100, **WHY) for one in partners],
            True,
        ),
        "open breaker": (
            lambda: controls.hold_breaker(breaker, Stand.OPEN, **WHY),
            lambda: controls.release_breaker(breaker, **WHY),
            True,
        ),
        "no worker": (lambda: None, lambda: None, False),
    }


def _partners() -> list[str]:
    return [f"partner-{number:02}" for number in range(PARTNERS)]


def _fill(client: Client, number: int) -> None:
    names = _partners()
    for begun in range(0, number, 5_000):
        those = range(begun, min(begun + 5_000, number))
        client.enqueue_many(
            [Request(kind=KIND, partner=names[i % PARTNERS], waba=str(10_000_000 + i % 10_000)) for i in those]
        )


@contextmanager
def _programs(stage: support.Stage, *, worker: bool, config: Path | None = None) -> Iterator[None]:
    """Run a dispatcher, and a worker perhaps, on a ledger; without one on an empty one."""
    config = config or stage.config(stage.databases.fresh())
    env = {"WABAJOBS_CONFIG": str(config)}
    stage.start("dispatcher", [sys.executable, "-m", "wabajobs", "dispatcher"], env)
    if worker:
        argv = [sys.executable, "-m", "celery", "-A", "benchmarks.noop_worker", "worker", *_QUIET]
        stage.start("worker", argv, env)
    _, house = support.opened(config)
    if worker:
        stage.wait_for_workers(house, KIND)
    stage.until(lambda: house.gate.told() is not None, what="the gate is told")
    time.sleep(3.0)
    yield
    if config and house.ledger.operations.out():
        raise SystemExit("something was released that had to wait")
    stage.stop(*stage.running)
    house.close()


def _cost(stage: support.Stage, seconds: float) -> dict[str, Any]:
    """Return what the programs use, in percent of a core, and Redis's memory in bytes."""
    there = {name: psutil.Process(process.pid) for name, process in stage.running.items()}
    used = support.CpuUse(**there, redis=psutil.Process(stage.redis_pid))
    time.sleep(seconds)
    percent = {name: 100 * each / seconds for name, each in used.seconds().items()}
    redis: Any = stage.client_of_redis()
    return {"percent": percent, "redis_bytes": redis.info("memory")["used_memory"], "redis_keys": redis.dbsize()}


def _tell(report: support.Report, results: dict[str, dict[str, Any]]) -> None:
    names = ("dispatcher", "worker", "redis")
    rows = []
    for case, one in results.items():
        percent = one["percent"]
        ours = sum(percent.get(name, 0.0) for name in names[:2])
        shares = [f"{percent[name]:.2f}" if name in percent else "-" for name in names]
        rows.append([case, *shares, f"{ours:.2f}", f"{one['redis_bytes'] / 1e6:.2f}", f"{one['redis_keys']:,}"])
    head = ["% of a core", *names, "dispatcher + worker", "Redis MB", "keys"]
    report.table("What operations that may not run cost.", head, rows)
    held = {case: one for case, one in results.items() if case != _EMPTY}
    most = max(sum(one["percent"].get(name, 0.0) for name in names[:2]) for one in held.values())
    more = max(one["redis_bytes"] for one in held.values()) / results[_EMPTY]["redis_bytes"]
    word = "Reached" if most < GOAL_PERCENT else "Missed"
    print(f"Goal: under {GOAL_PERCENT:g} % of a core. {word}: {most:.2f} %.")
    print(f"Goal: Redis no larger. {more:.3f} times what it is with nothing.\n")


if __name__ == "__main__":
    main()
