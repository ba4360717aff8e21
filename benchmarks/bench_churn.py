"""Whether the ledger stays fast while very many operations go through it.

Beside operations that wait behind a pause, no-op operations come, run and are deleted a minute after their end,
by the dispatcher itself. After some minutes of that somebody holds a transaction open for as long, as a backup
does: until it ends no database can forget what has changed since it began.
"""

# ruff: noqa: E402
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "src")]

import argparse
import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import psutil
from sqlalchemy import func, select, text

from benchmarks import support
from wabajobs.client import Client
from wabajobs.decisions import Scope
from wabajobs.intake import Request
from wabajobs.ledger.tables import OperationRow, OutboxRow
from wabajobs.wiring import House

KIND = "noop"
PHASES = {
    "at first": False,
    "with deletions": False,
    "and more of them": False,
    "a transaction is open": True,
    "it has ended": False,
}
"""What is measured, one after the other, and whether somebody holds a transaction open meanwhile."""
PARTNERS, WABAS = 20, 2_000
CONCURRENCY = 32
_QUIET = ("--loglevel=WARNING", "--without-gossip", "--without-mingle")
_FEW, _MORE = 2_000, 1_000
"""With fewer waiting than that, so many are added."""


def main() -> None:
    """Run."""
    options = _parser().parse_args()
    databases = ("sqlite", "postgresql") if options.database == "both" else (options.database,)
    for database in databases:
        with support.stage(database) as stage:
            _measure(stage, database, options)


def _parser() -> argparse.ArgumentParser:
    parser = support.parser(__doc__, rounds=1, databases=("both", "sqlite", "postgresql"))
    parser.add_argument("--depth", type=int, help="operations behind the pause (300,000; quick 2,000)")
    parser.add_argument("--seconds", type=float, help="how long each phase lasts (60; quick 5)")
    return parser


def _measure(stage: support.Stage, database: str, options: argparse.Namespace) -> None:
    depth = options.depth or (2_000 if options.quick else 300_000)
    seconds = options.seconds or (5.0 if options.quick else 60.0)
    conditions = [
        f"{depth:,} operations wait behind a pause; beside them no-op operations of {PARTNERS} partners and"
        f" {WABAS:,} WABAs; at least {_FEW:,} wait, and this benchmark enqueues more of them all the time",
        f"1 dispatcher, 1 worker process (threads, {CONCURRENCY}); each phase lasts {seconds:g} s, and what has"
        " ended is kept for as long",
        "CPU: user + system of the process, per operation; of PostgreSQL all its processes, enqueueing included",
    ]
    report = support.Report("churn", options, support.machine(stage, database), [database, *conditions])
    keep = seconds / 86_400
    config = stage.config(
        stage.databases.fresh(),
        workers={"concurrency": CONCURRENCY},
        retention={"finished_days": keep, "event_days": keep},
    )
    client, house = support.opened(config)
    _fill(client, house, depth)
    env = {"WABAJOBS_CONFIG": str(config)}
    argv = [sys.executable, "-m", "celery", "-A", "benchmarks.noop_worker", "worker", *_QUIET]
    processes = {
        "worker": stage.start("worker", argv, env),
        "dispatcher": stage.start("dispatcher", [sys.executable, "-m", "wabajobs", "dispatcher"], env),
        **support.postgresql(house.settings.database),
    }
    stage.wait_for_workers(house, KIND)
    results = {}
    with _fed(client, house):
        stage.until(lambda: _ended(house) > _FEW, what="the first operations")
        for phase, open_transaction in PHASES.items():
            with _transaction(house) if open_transaction else nullcontext():
                results[phase] = _phase(house, seconds, processes)
            report.keep(what="side", database=database, side=phase, **results[phase])
            print(f"{phase}: {results[phase]['rate']:,.0f} a second", flush=True)
    print()
    stage.stop("worker", "dispatcher")
    client.close()
    house.close()
    _tell(report, results)
    report.end()


def _fill(client: Client, house: House, number: int) -> None:
    """Let so many wait that may not go."""
    house.controls.pause(Scope.of("partner", "waits"), reason="they are to wait", actor="benchmark")
    for begun in range(0, number, 5_000):
        those = range(begun, min(begun + 5_000, number))
        client.enqueue_many(
            [Request(kind=KIND, partner="waits", waba=str(30_000_000 + i % 10_000)) for i in those]
        )


@contextmanager
def _fed(client: Client, house: House) -> Iterator[None]:
    """See to it that there is always something to do."""
    over = threading.Event()

    def feed() -> None:
        counter = itertools.count()
        begun, added = _ended(house), 0
        while not over.wait(0.05):
            if added - (_ended(house) - begun) < _FEW:
                some = list(itertools.islice(counter, _MORE))
                client.enqueue_many(
                    [
                        Request(kind=KIND, partner=f"partner-{i % PARTNERS:02}", waba=str(20_000_000 + i % WABAS))
                        for i in some
                    ]
                )
                added += _MORE

    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    try:
        yield
    finally:
        over.set()
        feeder.join()


def _ended(house: House) -> int:
    """Count what has ended since the beginning: the Hub is told of each."""
    with house.ledger.database.read() as connection:
        return int(connection.scalar(select(func.max(OutboxRow.id))) or 0)


@contextmanager
def _transaction(house: House) -> Iterator[None]:
    """Look at the ledger as it is now, and hold on to that."""
    engine = house.ledger.database._engine
    isolation = "SERIALIZABLE" if house.ledger.database.is_sqlite else "REPEATABLE READ"
    with engine.connect().execution_options(isolation_level=isolation) as connection, connection.begin():
        connection.scalar(select(func.count()).where(OperationRow.id == ""))
        yield


def _phase(house: House, seconds: float, processes: dict[str, psutil.Process]) -> dict[str, Any]:
    used, begun, before = support.CpuUse(**processes), time.monotonic(), _ended(house)
    time.sleep(seconds)
    number, took = _ended(house) - before, time.monotonic() - begun
    with house.ledger.database.read() as connection:
        finished = OperationRow.finished_at.is_not(None)
        kept = connection.scalar(select(func.count()).select_from(OperationRow).where(finished))
        size = connection.scalar(text(_SIZE[connection.dialect.name]))
        dead = connection.scalar(text(_DEAD)) if connection.dialect.name == "postgresql" else None
    return {
        "rate": number / took,
        "cpu_ms": {name: 1000 * each / number for name, each in used.seconds().items()},
        "kept": kept,
        "dead": dead,
        "mb": size / 1e6,
    }


_SIZE = {
    "postgresql": "SELECT pg_database_size(current_database())",
    "sqlite": "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
}
_DEAD = "SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'operations'"


def _tell(report: support.Report, results: dict[str, dict[str, Any]]) -> None:
    first = next(iter(results.values()))
    names = list(first["cpu_ms"])
    rows = [
        [
            phase,
            f"{one['rate']:,.0f}",
            f"{one['rate'] / first['rate']:.2f}",
            *(f"{one['cpu_ms'][name]:.2f}" for name in names),
            f"{one['kept']:,}",
            "-" if one["dead"] is None else f"{one['dead']:,}",
            f"{one['mb']:,.0f}",
        ]
        for phase, one in results.items()
    ]
    head = ["", "a second", "of the first", *(f"{name}, ms" for name in names), "kept", "dead rows", "MB"]
    report.table("Operations a second, CPU per operation, and what the database holds.", head, rows)


if __name__ == "__main__":
    main()
