"""What is left of the work when 500 programs and servers are killed at random moments, and how soon it goes on.

Two dispatchers and three workers, Redis and PostgreSQL get `kill -9` while they work off template syncs and
registrations of numbers against the simulator, and are started again as a supervisor would. Then the simulator's
account is held against the ledger's. With kills far apart (`--kills 20 --apart 30`) the times to go on are those
of one kill; else they are those of a storm.
"""

# ruff: noqa: E402
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "src")]

import argparse
import random
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict
from statistics import fmean
from typing import Any

from benchmarks import support
from tests.support.crashes import KINDS, Resumed, Trial, Verdict
from tests.support.databases import PostgresServer, SqliteFiles
from tests.support.fleet import Fleet
from tests.support.servers import RunningRedis, running_postgres
from tests.support.witness import SHORT_PAGES
from wabajobs.machine import RedisServer, find_server
from wabajobs.settings import DispatchSettings
from wabajobs.simulator import Simulator, SimulatorConfig

EVERY = (0.5, 2.0)
GOAL_SECONDS = 15.0


def main() -> None:
    """Run."""
    options = _parser().parse_args()
    kills = options.kills or (15 if options.quick else 500)
    every = (options.apart, options.apart) if options.apart else EVERY
    conditions = [
        f"{kills} kills on each database, seed {options.seed}; a pause of {every[0]:g} to {every[1]:g} s before",
        "who is killed: one of 2 dispatchers, one of 3 workers (threads, 8), Redis; with PostgreSQL also its"
        " server, or the process of one of its sessions. Started again after 0 to 1.5 s",
        "work: template syncs of some pages, and registrations of numbers with a read-back; 40 are open at any"
        " time; the simulator answers after 0.05 to 0.2 s",
        "leases and waits as shipped; max_attempts 30, because so many kills may hit one operation often",
        "run twice at once: attempts at one WABA that overlap, calls that fall into no attempt, calls under an"
        " older lease after one under a newer",
        "to go on, for all: the longest time without a successful call; for one: from the kill of its worker to"
        " the next attempt",
    ]
    databases = ("sqlite", "postgresql") if options.database == "both" else (options.database,)
    failed = False
    for database in databases:
        with support.stage(database) as stage:
            report = support.Report("crash", options, support.machine(stage, database), [database, *conditions])
        verdict, trial, seconds = _tried(database, kills, options.seed, every)
        failed |= bool(verdict.faults)
        _tell(report, database, verdict, trial, seconds)
        report.end()
    if failed:
        raise SystemExit(1)


def _parser() -> argparse.ArgumentParser:
    parser = support.parser(__doc__, rounds=1, databases=("both", "sqlite", "postgresql"))
    parser.add_argument("--kills", type=int, help="kills on each database (500; quick 15)")
    parser.add_argument("--apart", type=float, help="seconds before each kill (0.5 to 2, at random)")
    parser.add_argument("--seed", type=int, default=1, help="of who is killed, and when (default 1)")
    return parser


def _tried(database: str, kills: int, seed: int, every: tuple[float, float]) -> tuple[Verdict, Trial, float]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wabajobs-bench-")))
        redis = RunningRedis(RedisServer(find_server(), folder=folder / "redis"))
        stack.callback(redis.close)
        postgres = stack.enter_context(running_postgres()) if database == "postgresql" else None
        (folder / "sqlite").mkdir()
        databases = PostgresServer(postgres.admin) if postgres else SqliteFiles(folder / "sqlite")
        wabas = 60 + round(13 * kills * (sum(every) / 2 + 1))
        knobs: dict[str, Any] = {"wabas": wabas, "inactive_wabas": wabas - 60, "templates": (5, 70)}
        answers = {"latency": 0.05, "jitter": 0.15, "header_floor": 0, "log_size": 5_000_000}
        simulator = Simulator(
            SimulatorConfig(**knobs, **answers, app_limit=10_000_000, waba_limit_active=1_000_000)
        )
        stack.enter_context(simulator.running())
        fleet = Fleet(
            folder=folder / "fleet",
            simulator=simulator,
            database_url=databases.fresh(),
            redis_url=redis.url,
            broker_url=redis.broker_url,
            more={
                "kinds": list(KINDS),
                "dispatch": DispatchSettings().model_dump() | {"max_attempts": 30},
                "gate": {"breaker_seconds": 30, "breaker_cap_seconds": 120, "redis_timeout_seconds": 2},
                **SHORT_PAGES,
            },
        )
        stack.callback(fleet.stop_all)
        trial = Trial(fleet, redis, postgres, random.Random(seed))
        begun = time.monotonic()
        trial.run(kills, every=every, tell=lambda line: print(line, file=sys.stderr))
        return trial.verdict(), trial, time.monotonic() - begun


def _tell(report: support.Report, database: str, verdict: Verdict, trial: Trial, seconds: float) -> None:
    whom = Counter(kill.whom for kill in trial.kills)
    facts: dict[str, Any] = {
        "kills": len(trial.kills),
        "whom": dict(whom),
        "seconds": seconds,
        "operations": verdict.operations,
        "calls": verdict.calls,
        "attempts": verdict.attempts,
        "lost_attempts": verdict.lost_attempts,
        "lost": len(verdict.lost),
        "at_once": len(verdict.at_once),
        "duplicates": len(verdict.duplicates),
        "unmirrored": len(verdict.unmirrored),
        "gave_up": len(verdict.gave_up),
        "standstills": verdict.standstills,
        "resumed": [asdict(one) for one in sorted(verdict.resumed, key=lambda one: one.seconds)],
        "after": verdict.after,
        "faults": verdict.faults[:20],
    }
    report.keep(what="side", side=database, **facts)
    print(", ".join(f"{name} {times}" for name, times in sorted(whom.items())) + "\n")
    rows = [[name.replace("_", " "), f"{facts[name]:,}"] for name in list(facts)[3:12]]
    report.table(f"{len(trial.kills)} kills in {seconds:.0f} s.", ["", "number"], rows)
    times = [["all: without a call", *(f"{one:.1f}" for one in _shares(verdict.standstills))]]
    resumed = [one.seconds for one in verdict.resumed]
    if resumed:
        times.append(["one: to its next attempt", *(f"{one:.1f}" for one in _shares(resumed))])
    report.table("Seconds to go on (all: of the ten longest).", ["", "p50", "p95", "max"], times)
    if resumed:
        _tell_waits(report, verdict.resumed)
    rows = [[whom, *(f"{one:.1f}" for one in _shares(those))] for whom, those in sorted(verdict.after.items())]
    report.table("Seconds without a call after a kill, up to the next.", ["killed", "p50", "p95", "max"], rows)
    for fault in verdict.faults[:20]:
        print(f"FAULT: {fault}")
    slowest = max([*verdict.standstills, *resumed])
    word = "Reached" if slowest <= GOAL_SECONDS else "Missed"
    print(f"Goal: no faults. {'Missed' if verdict.faults else 'Reached'}: {len(verdict.faults)}.")
    print(f"Goal: {GOAL_SECONDS:g} s to go on. {word}: {slowest:.1f} s.\n")


def _tell_waits(report: support.Report, resumed: list[Resumed]) -> None:
    """Say what those waited for whose worker was killed: all, and those who waited too long."""
    slow = [one for one in resumed if one.seconds > GOAL_SECONDS]
    parts = {
        "its lease": lambda one: one.lease,
        "its turn": lambda one: one.turn,
        "messages that were lost": lambda one: one.lost,
        "the message": lambda one: one.message,
    }
    rows = [
        [name, *(f"{fmean([part(one) for one in those]):.1f}" if those else "" for those in (resumed, slow))]
        for name, part in parts.items()
    ]
    within = 1 - len(slow) / len(resumed)
    report.table(
        f"What they waited for, seconds on average; {within:.0%} of {len(resumed)} went on within"
        f" {GOAL_SECONDS:g} s.",
        ["", "all", "the others"],
        rows,
    )


def _shares(values: list[float]) -> list[float]:
    return [support.quantile(values, share) for share in (0.5, 0.95, 1.0)]


if __name__ == "__main__":
    main()
