"""How many operations a second go through, from release to the end, beside others that run tasks.

Beside a plain Celery worker on the same Redis server (one process, threads, task events, late
acknowledgement, prefetch 1); with PostgreSQL also beside a worker of Procrastinate on the same server. The task
does nothing.
"""

# ruff: noqa: E402
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "src")]

import cProfile
import importlib
import io
import json
import logging
import os
import pstats
import signal
import statistics
import threading
import time
from datetime import timedelta
from typing import Any

import psutil
import psycopg
from sqlalchemy import func, select, update

from benchmarks import support
from wabajobs.attempt import perform
from wabajobs.cli.run import dispatcher
from wabajobs.client import Client
from wabajobs.decisions import Scope
from wabajobs.intake import Request
from wabajobs.ledger.tables import EventRow, OperationRow
from wabajobs.wiring import House

WARM = 100
GOALS = {"Celery": 0.7, "Procrastinate": 1.5}
"""Of our rate to theirs."""
_QUIET = ("--loglevel=INFO", "--without-gossip", "--without-mingle")


def main() -> None:
    """Run."""
    parser = support.parser(__doc__, rounds=5)
    parser.add_argument("--operations", type=int, help="operations a round (2000; quick 300)")
    parser.add_argument("--concurrency", type=int, default=32, help="threads of each side's one worker (32)")
    parser.add_argument("--profile", action="store_true", help="show where the dispatcher and an attempt spend")
    options = parser.parse_args()
    number = options.operations or (300 if options.quick else 2000)
    threads: int = options.concurrency
    conditions = [
        f"{number} no-op operations a round, enqueued first; {options.rounds} rounds, sides interleaved",
        f"ours: 1 dispatcher, 1 worker process (threads, {threads}), from the first release to the last end",
        "Celery: 1 worker process with the same pool, concurrency, task events, late acknowledgement, prefetch 1;"
        " from the first task to the last",
        f"Procrastinate: 1 worker process, concurrency {threads}, a function that it runs in threads; from"
        " its first job to its last, as its own events say",
        f"both sides have worked off {WARM} before; nobody listens to the task events; log level INFO",
        "CPU: user + system of the process, per operation of the round; of PostgreSQL all its processes",
    ]
    with support.stage(options.database) as stage:
        report = support.Report("throughput", options, support.machine(stage, options.database), conditions)
        sides = [("wabajobs", ours), ("Celery", plain)]
        if options.database == "postgresql":
            sides.append(("Procrastinate", procrastinate))
        results: dict[str, list[dict[str, Any]]] = {name: [] for name, _ in sides}
        for round_ in range(options.rounds):
            for name, measure in support.in_turn(sides, round_):
                result = measure(stage, number, threads)
                stage.flush()
                results[name].append(result)
                report.keep(what="side", round=round_, side=name, threads=threads, **result)
        _tell(report, results)
        if options.profile:
            profile(stage, number, threads)
        report.end()


# ── our side ────────────────────────────────────────────────────────────────────────────────────────────────


def ours(stage: support.Stage, number: int, threads: int) -> dict[str, Any]:
    """Work off so many operations; return the rate and what it cost."""
    config = _config(stage, threads)
    client, house = support.opened(config)
    worker = _start_worker(stage, config)
    leader = stage.start(
        "dispatcher", [sys.executable, "-m", "wabajobs", "dispatcher"], {"WABAJOBS_CONFIG": str(config)}
    )
    stage.wait_for_workers(house, "noop")
    _enqueue(client, WARM)
    stage.until(lambda: _open(house) == 0, what="the first operations")

    queue = Scope.of("queue", "noop")
    house.controls.pause(queue, reason="fill the ledger first", actor="benchmark")
    _enqueue(client, number)
    used = support.CpuUse(
        dispatcher=leader,
        worker=worker,
        redis=psutil.Process(stage.redis_pid),
        **support.postgresql(house.settings.database),
    )
    house.controls.resume(queue, reason="the ledger is filled", actor="benchmark", percent=100)
    house.work_bell.ring()
    stage.until(lambda: _open(house) == 0, what="all operations", within=300, every=0.1)
    cpu = used.seconds()

    seconds, failed = _drain(house, number)
    stage.stop("worker", "dispatcher")
    client.close()
    house.close()
    if failed:
        raise SystemExit(f"{failed} operations did not succeed")
    return {
        "rate": number / seconds,
        "seconds": seconds,
        "cpu_ms": {name: 1000 * each / number for name, each in cpu.items()},
    }


def _config(stage: support.Stage, threads: int) -> Path:
    return stage.config(stage.databases.fresh(), workers={"concurrency": threads})


def _start_worker(stage: support.Stage, config: Path) -> psutil.Process:
    argv = [sys.executable, "-m", "celery", "-A", "benchmarks.noop_worker", "worker", *_QUIET]
    return stage.start("worker", argv, {"WABAJOBS_CONFIG": str(config)})


def _enqueue(client: Client, number: int) -> None:
    for done in range(0, number, 500):
        size = min(500, number - done)
        client.enqueue_many([Request(kind="noop", partner="acme") for _ in range(size)])


def _open(house: House) -> int:
    with house.ledger.database.read() as connection:
        query = select(func.count()).select_from(OperationRow).where(OperationRow.finished_at.is_(None))
        return int(connection.scalar(query) or 0)


def _drain(house: House, number: int) -> tuple[float, int]:
    """Return how long the newest operations took from the first release to the last end, and how many failed."""
    with house.ledger.database.read() as connection:
        newest = select(OperationRow.id).order_by(OperationRow.id.desc()).limit(number).subquery()
        ids = select(newest.c.id)
        first = connection.scalar(
            select(func.min(EventRow.at)).where(EventRow.name == "released", EventRow.operation_id.in_(ids))
        )
        last = connection.scalar(select(func.max(OperationRow.finished_at)).where(OperationRow.id.in_(ids)))
        failed = connection.scalar(
            select(func.count()).select_from(OperationRow).where(OperationRow.state != "succeeded")
        )
    assert first is not None
    assert last is not None
    return (last - first).total_seconds(), int(failed or 0)


# ── Celery's side ───────────────────────────────────────────────────────────────────────────────────────────


def plain(stage: support.Stage, number: int, threads: int) -> dict[str, Any]:
    """Let a plain worker run so many tasks; return the rate and what it cost."""
    told = stage.folder / "told.json"
    told.unlink(missing_ok=True)
    celery = stage.plain(BENCH_CONCURRENCY=str(threads), BENCH_EVENTS="1", BENCH_TOLD=str(told))
    argv = [sys.executable, "-m", "celery", "-A", "benchmarks.plain", "worker", *_QUIET]
    worker = stage.start("plain", argv, {})
    for _ in range(WARM):
        celery.warm.delay()
    redis = stage.client_of_redis()
    stage.until(lambda: not redis.llen("celery") and not redis.hlen("unacked"), what="the first tasks")
    worker.send_signal(signal.SIGSTOP)  # a message that it has on hand already waits with it
    for _ in range(number):
        celery.noop.delay(number)
    used = support.CpuUse(worker=worker, redis=psutil.Process(stage.redis_pid))
    worker.send_signal(signal.SIGCONT)
    stage.until(told.exists, what="all tasks", within=300, every=0.1)
    cpu = used.seconds()
    stage.stop("plain")
    stamps = json.loads(told.read_text())
    seconds = stamps["last"] - stamps["first"]
    return {
        "rate": number / seconds,
        "seconds": seconds,
        "cpu_ms": {name: 1000 * each / number for name, each in cpu.items()},
    }


# ── Procrastinate's side ────────────────────────────────────────────────────────────────────────────────────


def procrastinate(stage: support.Stage, number: int, threads: int) -> dict[str, Any]:
    """Let a worker of Procrastinate run so many jobs; return the rate and what it cost."""
    url = stage.databases.fresh()
    env = {"BENCH_PG_URL": url}
    os.environ.update(env)
    module = importlib.reload(importlib.import_module("benchmarks.procrastinate_app"))
    noop = module.noop
    with module.app.open() as queue:
        queue.schema_manager.apply_schema()
        noop.batch_defer(*({} for _ in range(WARM)))
        argv = [sys.executable, "-m", "procrastinate", "--app", "benchmarks.procrastinate_app.app", "worker"]
        worker = stage.start("procrastinate", [*argv, "--concurrency", str(threads)], env)
        stage.until(lambda: _succeeded(url)[0] == WARM, what="the first jobs")
        worker.send_signal(signal.SIGSTOP)
        noop.batch_defer(*({} for _ in range(number)))
    used = support.CpuUse(worker=worker, **support.postgresql(url))
    worker.send_signal(signal.SIGCONT)
    stage.until(lambda: _succeeded(url)[0] == WARM + number, what="all jobs", within=300, every=0.1)
    cpu = used.seconds()
    stage.stop("procrastinate")
    _, seconds = _succeeded(url)
    return {
        "rate": number / seconds,
        "seconds": seconds,
        "cpu_ms": {name: 1000 * each / number for name, each in cpu.items()},
    }


def _succeeded(url: str) -> tuple[int, float]:
    """Return how many jobs have ended well, and how long those behind the first took in all, in seconds."""
    with psycopg.connect(url) as connection:
        done = connection.execute("SELECT count(*) FROM procrastinate_events WHERE type = 'succeeded'").fetchone()
        took = connection.execute(
            "SELECT extract(epoch FROM max(at) - min(at)) FROM procrastinate_events"
            " WHERE type IN ('started', 'succeeded') AND job_id > %s",
            [WARM],
        ).fetchone()
    assert done is not None
    assert took is not None
    return int(done[0]), float(took[0] or 0.0)


# ── out ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _tell(report: support.Report, results: dict[str, list[dict[str, Any]]]) -> None:
    rates = {name: [one["rate"] for one in those] for name, those in results.items()}
    rows = [[name, *support.spread(values)] for name, values in rates.items()]
    ratios = {name: support.ratios(rates["wabajobs"], rates[name]) for name in rates if name != "wabajobs"}
    rows += [[f"ratio to {name} (each round's own)", *support.spread(one, ".2f")] for name, one in ratios.items()]
    report.table("Operations per second, end to end.", ["", "min", "median", "max"], rows)
    rows = []
    for name, those in results.items():
        for process in those[0]["cpu_ms"]:
            rows.append([f"{name}: {process}", *support.spread([one["cpu_ms"][process] for one in those], ".2f")])
        rows.append([f"{name}: together", *support.spread([sum(one["cpu_ms"].values()) for one in those], ".2f")])
    report.table("CPU milliseconds per operation.", ["", "min", "median", "max"], rows)
    for name, those in ratios.items():
        median, goal = statistics.median(those), GOALS[name]
        print(f"Goal: {goal} of {name} or better. {'Reached' if median >= goal else 'Missed'}: {median:.2f}.")
    print()


def profile(stage: support.Stage, number: int, threads: int) -> None:
    """Print where the time goes: the dispatcher beside a real worker, and attempts without Celery."""
    config = _config(stage, threads)
    client, house = support.opened(config)
    _start_worker(stage, config)
    stage.wait_for_workers(house, "noop")
    _enqueue(client, number)
    os.environ["WABAJOBS_CONFIG"] = str(config)  # the command reads it as an operator's would
    logging.getLogger().addHandler(logging.NullHandler())
    assert dispatcher.callback is not None

    def stop_when_done() -> None:
        while _open(house):
            time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop_when_done, daemon=True).start()
    _profiled(f"The dispatcher, {number} operations (beside a worker process)", dispatcher.callback)
    stage.stop("worker")
    stage.flush()

    _enqueue(client, number)
    until = house.clock.now() + timedelta(minutes=5)
    with house.ledger.database.write() as connection:
        leased = (
            update(OperationRow).where(OperationRow.finished_at.is_(None)).values(fence=1, leased_until=until)
        )
        ids = connection.scalars(leased.returning(OperationRow.id)).all()
    bench = house.bench("noop")

    def attempts() -> None:
        for id_ in ids:
            perform(id_, 1, bench=bench)

    _profiled(f"Attempts, {number} operations (in this process, one thread, without Celery)", attempts)
    client.close()
    house.close()


def _profiled(title: str, what: Any) -> None:
    profiler = cProfile.Profile()
    profiler.runcall(what)
    told = io.StringIO()
    pstats.Stats(profiler, stream=told).strip_dirs().sort_stats("cumulative").print_stats(25)
    print(f"{title}, by cumulative time:\n{told.getvalue()}")


if __name__ == "__main__":
    main()
