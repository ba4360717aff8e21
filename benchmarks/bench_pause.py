"""From the return of `pause` to the last call's start, with 8 worker processes and 50,000 operations waiting.

Dispatcher, workers and the simulated Graph API are processes of their own; the simulator stamps each arrival of a
call. Beside the queue that is paused another one works on, at a steady pace.
"""

# ruff: noqa: E402
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "src")]

import argparse
import json
import statistics
import subprocess
import threading
import time
from typing import Any

from benchmarks import support
from wabajobs.client import Client
from wabajobs.intake import Request

KIND, OTHER = "one_call", "template_sync"
CONCURRENCY = 4
LATENCY = 0.05
GOAL_RATE = 0.95


def main() -> None:
    """Run."""
    parser = support.parser(__doc__, rounds=3, databases=("both", "sqlite", "postgresql"))
    parser.add_argument("--operations", type=int, help="operations that wait (50,000; quick 2,000)")
    parser.add_argument("--workers", type=int, default=8, help="worker processes of the paused queue (default 8)")
    parser.add_argument("--rate", type=float, default=10, help="unrelated operations a second (default 10)")
    parser.add_argument("--seconds", type=float, default=10, help="how long is looked before and after")
    options = parser.parse_args()
    for database in ("sqlite", "postgresql") if options.database == "both" else (options.database,):
        with support.stage(database) as stage:
            _measure(stage, database, options)


def _measure(stage: support.Stage, database: str, options: argparse.Namespace) -> None:
    number = options.operations or (2_000 if options.quick else 50_000)
    conditions = [
        f"{number:,} operations of one call each, {options.workers} worker processes (threads, {CONCURRENCY})",
        f"the other queue: {options.rate:g} template syncs a second, a worker process of its own",
        f"the simulator answers after {LATENCY * 1000:g} ms; its arrivals are stamped by the same clock",
        f"`wabajobs pause` as an operator types it; {options.seconds:g} s before it and after it are looked at",
    ]
    report = support.Report("pause", options, support.machine(stage, database), [database, *conditions])
    syncs = int(options.rate * (2 * options.seconds + 20) * options.rounds)
    simulator = support.simulated(stage, wabas=syncs + 10, app_limit=1_000_000, latency=LATENCY)
    wabas = simulator.wabas
    config, client = _start(stage, simulator, options.workers)
    client.enqueue_many([Request(kind=KIND, partner=f"p{i % 50}", waba=wabas[i % 200]) for i in range(number)])
    stop = threading.Event()
    feeder = threading.Thread(target=_feed, args=(client, wabas, options.rate, stop), daemon=True)
    feeder.start()
    rows = []
    for round_ in range(options.rounds):
        rows.append(_round(stage, config, simulator, options.seconds))
        report.keep(what="round", database=database, round=round_, **rows[-1])
    stop.set()
    feeder.join()
    waiting = sum(n for kind, _, n, _ in _open(client) if kind == KIND)
    client.close()
    _tell(report, rows, waiting)
    report.end()
    stage.stop()


def _round(stage: support.Stage, config: Path, simulator: support.Simulated, seconds: float) -> dict[str, Any]:
    """Pause in full flow; return what was called before and after."""
    began = time.time()
    stage.until(lambda: _count(simulator, since=time.time() - 1) > 20, what="the queue is in full flow")
    time.sleep(seconds)
    asked = time.time()
    told = json.loads(_type(config, "pause", "queue", KIND, "--reason", "benchmark", "--json"))
    returned = time.time()
    time.sleep(seconds)
    calls = [call for call in simulator.arrived() if call["wall"] >= began]
    ours = [call["wall"] for call in calls if not _is_other(call)]
    others = [call["wall"] for call in calls if _is_other(call)]
    after = [at - returned for at in ours if at > returned]
    _type(config, "resume", "queue", KIND, "--percent", "100", "--json")
    before_rate = sum(asked - seconds <= at < asked for at in others) / seconds
    after_rate = sum(returned <= at < returned + seconds for at in others) / seconds
    return {
        "in_force": told["in_force"],
        "took": returned - asked,
        "rate_before": sum(asked - seconds <= at < asked for at in ours) / seconds,
        "calls_after": len(after),
        "last_after": max(after, default=0.0),
        "others_before": before_rate,
        "others_after": after_rate,
        "others_ratio": after_rate / before_rate if before_rate else 0.0,
    }


def _feed(client: Client, wabas: list[str], rate: float, stop: threading.Event) -> None:
    due = time.monotonic()
    for waba in wabas:
        client.enqueue(OTHER, partner="other", waba=waba)
        due += 1 / rate
        if stop.wait(max(0.0, due - time.monotonic())):
            return


def _is_other(call: dict[str, Any]) -> bool:
    return str(call["endpoint"]).startswith("message_templates")


def _count(simulator: support.Simulated, *, since: float) -> int:
    """Count the calls of the queue that is to be paused."""
    return sum(1 for call in simulator.arrived() if call["wall"] >= since and not _is_other(call))


def _open(client: Client) -> list[Any]:
    return client._house.ledger.operations.count_open()


def _type(config: Path, *arguments: str) -> str:
    env = {**support.child_env(), "WABAJOBS_CONFIG": str(config)}
    argv = [sys.executable, "-m", "wabajobs", *arguments]
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=True, timeout=60).stdout


def _start(stage: support.Stage, simulator: support.Simulated, workers: int) -> tuple[Path, Client]:
    config = stage.config(
        stage.databases.fresh(),
        graph_url=simulator.url,
        apps=simulator.apps(stage.folder),
        kinds=["benchmarks.one_call"],
        workers={"concurrency": CONCURRENCY},
        planner={"enabled": False},
    )
    env = {"WABAJOBS_CONFIG": str(config)}
    quiet = ["worker", "--loglevel=WARNING", "--without-gossip", "--without-mingle"]
    celery = [sys.executable, "-m", "celery", "-A"]
    stage.start("dispatcher", [sys.executable, "-m", "wabajobs", "dispatcher"], env)
    stage.start("other", [*celery, "workers.template_sync", *quiet], env)
    for nth in range(workers):
        hostname = ["--hostname", f"worker{nth}@%h"]
        stage.start(f"worker{nth}", [*celery, "benchmarks.one_call_worker", *quiet, *hostname], env)
    client, house = support.opened(config)
    for queue, there in ((OTHER, 1), (KIND, workers)):
        stage.until(
            lambda queue=queue, there=there: len(house.presence.living([queue])[queue]) >= there,  # type: ignore[misc]
            what=f"the workers of {queue}",
            within=120,
        )
    house.close()
    return config, client


def _tell(report: support.Report, rows: list[dict[str, Any]], waiting: int) -> None:
    names = {
        "took": "seconds that the command took",
        "rate_before": "its calls a second before",
        "calls_after": "its calls that arrived after it had returned",
        "last_after": "seconds from its return to the last of them",
        "others_before": "the other queue's calls a second before",
        "others_after": "and after",
        "others_ratio": "ratio (each round's own)",
    }
    table = [[told, *support.spread([row[name] for row in rows], ".2f")] for name, told in names.items()]
    report.table(f"{len(rows)} rounds; {waiting:,} still waited at the end.", ["", "min", "median", "max"], table)
    most = max(row["calls_after"] for row in rows)
    kept = statistics.median(row["others_ratio"] for row in rows)
    print(f"Goal: 0 calls after. {'Reached' if most == 0 else 'Missed'}: {most}.")
    verdict = "Reached" if kept >= GOAL_RATE else "Missed"
    print(f"Goal: the other queue keeps {GOAL_RATE:.0%}. {verdict}: {kept:.0%}.\n")


if __name__ == "__main__":
    main()
