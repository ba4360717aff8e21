"""How long partners with one operation each wait while another has 100,000 waiting.

200 partners enqueue at one moment, on real dispatcher and workers: alone; behind a flood of one partner for one
WABA; and behind the same flood spread over 5,000 WABAs. A wait is from the enqueue's return to the begin.
"""

# ruff: noqa: E402
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "src")]

import argparse
import statistics
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from benchmarks import support
from wabajobs.client import Client
from wabajobs.decisions import Scope
from wabajobs.intake import Request
from wabajobs.ledger.tables import EventRow, OperationRow
from wabajobs.wiring import House

KIND = "noop"
FLOODS = {"alone": 0, "flood": 1, "flood over WABAs": 5_000}
"""Over how many WABAs the flood is spread; 0: there is none."""
CONCURRENCY = 8
WARM = 100
GOAL = 1.2
_QUIET = ("--loglevel=WARNING", "--without-gossip", "--without-mingle")
_QUEUE = Scope.of("queue", KIND)


def main() -> None:
    """Run."""
    options = _parser().parse_args()
    databases = ("sqlite", "postgresql") if options.database == "both" else (options.database,)
    for database in databases:
        with support.stage(database) as stage:
            _measure(stage, database, options)


def _parser() -> argparse.ArgumentParser:
    parser = support.parser(__doc__, rounds=5, databases=("both", "sqlite", "postgresql"))
    parser.add_argument("--flood", type=int, help="operations of the one partner (100,000; quick 2,000)")
    parser.add_argument("--partners", type=int, help="partners with one operation each (200; quick 50)")
    return parser


def _measure(stage: support.Stage, database: str, options: argparse.Namespace) -> None:
    flood = options.flood or (2_000 if options.quick else 100_000)
    partners = options.partners or (50 if options.quick else 200)
    conditions = [
        f"{flood:,} no-op operations of one partner, then one of each of {partners} others, enqueued together;"
        f" {options.rounds} rounds, each case on a ledger of its own, interleaved",
        f"1 dispatcher, 1 worker process (threads, {CONCURRENCY}); the flood is under way when the others come",
        "wait: from the moment at which `enqueue_many` has returned to the begin: before its commit nobody can"
        " see what it enqueues, and under a flood that alone takes longer",
    ]
    report = support.Report("fairness", options, support.machine(stage, database), [database, *conditions])
    results: dict[str, list[dict[str, float]]] = {case: [] for case in FLOODS}
    for round_ in range(options.rounds):
        for case in support.in_turn(list(FLOODS), round_):
            waits, turns = _waits(stage, partners, flood if FLOODS[case] else 0, wabas=FLOODS[case])
            result = {name: support.quantile(waits, share) for name, share in SHARES.items()}
            result["turns"] = support.quantile(turns, SHARES["p95"])
            results[case].append(result)
            report.keep(what="side", database=database, round=round_, side=case, waits=waits, **result)
            stage.flush()
    _tell(report, results)
    report.end()


SHARES = {"p50": 0.5, "p95": 0.95, "max": 1.0}


def _waits(stage: support.Stage, partners: int, flood: int, *, wabas: int) -> tuple[list[float], list[int]]:
    """Return how long each of the others has waited: in seconds, and in operations that were begun till then."""
    config = stage.config(stage.databases.fresh(), workers={"concurrency": CONCURRENCY})
    client, house = support.opened(config)
    env = {"WABAJOBS_CONFIG": str(config)}
    argv = [sys.executable, "-m", "celery", "-A", "benchmarks.noop_worker", "worker", *_QUIET]
    stage.start("worker", argv, env)
    stage.start("dispatcher", [sys.executable, "-m", "wabajobs", "dispatcher"], env)
    stage.wait_for_workers(house, KIND)
    client.enqueue_many([Request(kind=KIND, partner="warm") for _ in range(WARM)])
    stage.until(lambda: _finished(house) == WARM, what="the first operations")
    if flood:
        _enqueue_flood(client, house, flood, wabas)
        stage.until(lambda: _finished(house) >= 2 * WARM, what="the flood")
    ids = [one.id for one in client.enqueue_many(_one_of_each(partners))]
    committed = house.clock.now()
    stage.until(lambda: _finished(house, ids) == partners, what="the others", within=600, every=0.5)
    stories = [{one.name: one.at for one in house.ledger.operations.story(id_)} for id_ in ids]
    waits = [max(0.0, (story["begun"] - committed).total_seconds()) for story in stories]
    order = _begun_since(house, stories[0]["accepted"])
    before = len(order) - len(_begun_since(house, committed))
    turns = [max(1, order.index(id_) + 1 - before) for id_ in ids]
    stage.stop("worker", "dispatcher")
    client.close()
    house.close()
    return waits, turns


def _enqueue_flood(client: Client, house: House, number: int, wabas: int) -> None:
    """Let so many wait before the first of them goes."""
    house.controls.pause(_QUEUE, reason="fill the ledger first", actor="benchmark")
    for begun in range(0, number, 5_000):
        size = min(5_000, number - begun)
        client.enqueue_many(
            [Request(kind=KIND, partner="flood", waba=str(10_000_000 + (begun + i) % wabas)) for i in range(size)]
        )
    house.controls.resume(_QUEUE, reason="the ledger is filled", actor="benchmark", percent=100)
    house.work_bell.ring()


def _one_of_each(partners: int) -> list[Request]:
    return [Request(kind=KIND, partner=f"partner-{i:03}", waba=str(20_000_000 + i)) for i in range(partners)]


def _finished(house: House, ids: Sequence[str] = ()) -> int:
    query = select(func.count()).select_from(OperationRow).where(OperationRow.finished_at.is_not(None))
    if ids:
        query = query.where(OperationRow.id.in_(ids))
    with house.ledger.database.read() as connection:
        return int(connection.scalar(query) or 0)


def _begun_since(house: House, moment: datetime) -> list[str]:
    """Return the ids of what has begun since, in order."""
    query = select(EventRow.operation_id).where(EventRow.name == "begun", EventRow.at >= moment)
    with house.ledger.database.read() as connection:
        return list(connection.scalars(query.order_by(EventRow.at, EventRow.id)))


def _tell(report: support.Report, results: dict[str, list[dict[str, float]]]) -> None:
    rows = [
        [case, *(f"{statistics.median(one[name] for one in those):.2f}" for name in SHARES)]
        for case, those in results.items()
    ]
    rows = [
        [*row, f"{statistics.median(one['turns'] for one in those):.0f}"]
        for row, those in zip(rows, results.values(), strict=True)
    ]
    title = "Seconds waited by those with one operation; medians of the rounds. Turns: operations begun by p95."
    report.table(title, ["", *SHARES, "turns"], rows)
    alone, *others = ([one["p95"] for one in those] for those in results.values())
    floods = [case for case, wabas in FLOODS.items() if wabas]
    rows = [
        [case, *support.spread(support.ratios(those, alone), ".2f")]
        for case, those in zip(floods, others, strict=True)
    ]
    report.table(
        "p95, as a multiple of that without a flood (each round's own).", ["", "min", "median", "max"], rows
    )
    worst: Any = max(statistics.median(support.ratios(those, alone)) for those in others)
    print(f"Goal: {GOAL} or less. {'Reached' if worst <= GOAL else 'Missed'}: {worst:.2f}.\n")


if __name__ == "__main__":
    main()
