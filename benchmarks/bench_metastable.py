"""Whether a limit that was halved for two hours is forgotten afterwards, or kept alive by those who try again.

The same operations arrive, at three quarters of the limit; the vendor halves the limit for two windows and
then gives it back. Refused calls count, as at Meta. Who tries again blindly keeps the window full for ever:
a metastable failure (Bronson et al., 2021). Once with plain Celery in the usual ways, once with the product:
dispatcher, workers and ledger.
"""

# ruff: noqa: E402
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "src")]

import argparse
import importlib
import os
import random
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, select

from benchmarks import support
from benchmarks.gate_stage import Vendor, short, vendor
from wabajobs.ledger.tables import OperationRow

LOAD = 0.75
"""Operations that arrive, as a share of what the limit allows."""
WARM, CUT = 1.0, 2.0
"""Windows before the cut, and of the cut."""
WORKERS = 2
POLICIES = {
    "unlimited": "Celery, retries without end",
    "three": "Celery, three retries",
    "rate_limit": "Celery, rate_limit, retries without end",
}
OURS = "wabajobs"
_QUIET = ("--loglevel=WARNING", "--without-gossip", "--without-mingle")


@dataclass
class Side:
    """Who works off the arrivals, against a vendor of its own."""

    name: str
    shop: Vendor
    send: Callable[[str], object]
    counts: Callable[[], dict[str, int]]
    sent: int = 0
    marks: dict[str, dict[str, Any]] = field(default_factory=dict)


def main() -> None:
    """Run."""
    options = _parser().parse_args()
    hour = options.window or (12.0 if options.quick else 30.0)
    after = 2.0 if options.quick else 4.0
    limit = round(15 * hour)
    conditions = [
        f"a window takes {hour:g} s; limit {limit}, halved from window {WARM:g} to {WARM + CUT:g};"
        " refused calls count",
        f"operations of one call each arrive for {WARM + CUT + after:g} windows, at random moments,"
        f" at {LOAD:.0%} of the limit; the same for all, at the same time",
        f"each has {WORKERS} worker processes and a vendor of its own; nobody is told of the cut",
        "Celery: autoretry_for, retry_backoff, full jitter; the longest backoff is a sixth of a window, as its"
        " 600 s are of an hour; rate_limit: the limit's rate, divided among the workers",
        "goodput: calls that succeed in the last window, as a share of the operations that arrive in it",
    ]
    with support.stage("sqlite") as stage, ExitStack() as shops:
        report = support.Report("metastable", options, support.machine(stage, "sqlite"), conditions)
        sides = [_celery(stage, shops, policy, hour, limit) for policy in POLICIES]
        sides.append(_ours(stage, shops, hour, limit))
        _trial(sides, hour, limit, after)
        rows = [_judged(report, side, hour, limit) for side in sides]
        stage.stop(*[name for name in stage.running if not name.startswith("vendor")])
        head = ["", "arrived", "completed", "lost", "unfinished", "calls sent", "refused", "goodput, last window"]
        report.table("The limit halved for two windows", head, rows)
        report.end()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small numbers: to see that it works")
    parser.add_argument("--window", type=float, help="seconds that a window takes (30; quick 12)")
    parser.add_argument("--results", type=Path, default=support.RESULTS, help="folder of raw results")
    return parser


# ── the sides ───────────────────────────────────────────────────────────────────────────────────────────────


def _celery(stage: support.Stage, shops: ExitStack, policy: str, hour: float, limit: int) -> Side:
    shop = shops.enter_context(vendor(stage, hour=hour, limit=limit, latency=0.05))
    env = {
        "BENCH_POLICY": policy,
        "BENCH_BROKER_URL": stage.redis.broker_url,
        "BENCH_REDIS_URL": stage.redis.redis_url,
        "BENCH_GRAPH_URL": shop.url,
        "BENCH_GRAPH_TOKEN": shop.token,
        "BENCH_BACKOFF_MAX": str(max(2, round(hour / 6))),
        "BENCH_RATE_LIMIT": f"{limit / hour / WORKERS:.3f}/s",
    }
    # Threads, as ours; but Celery keeps a rate limit in its event loop, which only its processes have.
    pool = ["--concurrency=4"] if policy == "rate_limit" else ["--pool=threads", "--concurrency=8"]
    for i in range(WORKERS):
        name = f"{policy}-{i}"
        argv = [sys.executable, "-m", "celery", "-A", "benchmarks.storm", "worker", *_QUIET, *pool]
        stage.start(name, [*argv, "--loglevel=INFO", "--hostname", f"{name}@bench"], env)
    for i in range(WORKERS):
        log = stage.folder / f"{policy}-{i}.log"
        stage.until(lambda log=log: "ready." in log.read_text(errors="replace"), what="a Celery worker")
    os.environ.update(BENCH_BROKER_URL=stage.redis.broker_url)
    app = importlib.import_module("benchmarks.storm").app
    redis = stage.client_of_redis()

    def counts() -> dict[str, int]:
        return {name: int(redis.get(f"storm:{policy}:{name}") or 0) for name in ("done", "lost")}

    return Side(
        name=POLICIES[policy],
        shop=shop,
        send=lambda waba: app.send_task("storm.operation", [waba], queue=f"storm-{policy}"),
        counts=counts,
    )


def _ours(stage: support.Stage, shops: ExitStack, hour: float, limit: int) -> Side:
    shop = shops.enter_context(vendor(stage, hour=hour, limit=limit, latency=0.05))
    token = stage.folder / "shop-token"
    token.write_text(shop.token)
    gate = short(hour)
    del gate["silence_seconds"]  # here is a dispatcher
    config = stage.config(
        stage.databases.fresh(),
        graph_url=shop.url,
        kinds=["benchmarks.one_call"],
        apps={shop.app: {"token": {"file": str(token)}, "calls_per_window": limit}},
        gate=gate,
    )
    env = {"WABAJOBS_CONFIG": str(config)}
    stage.start("dispatcher", [sys.executable, "-m", "wabajobs", "dispatcher"], env)
    argv = [sys.executable, "-m", "celery", "-A", "benchmarks.one_call_worker", "worker", *_QUIET]
    for i in range(WORKERS):
        stage.start(f"worker-{i}", [*argv, "--hostname", f"ours-{i}@bench"], env)
    client, house = support.opened(config)
    shops.callback(house.close)
    shops.callback(client.close)
    stage.until(
        lambda: len(house.presence.living(["one_call"])["one_call"]) >= WORKERS, what=f"{WORKERS} workers"
    )

    def counts() -> dict[str, int]:
        query = select(OperationRow.state, func.count()).group_by(OperationRow.state)
        with house.ledger.database.read() as connection:
            states = {str(state): int(number) for state, number in connection.execute(query)}
        done = states.pop("succeeded", 0)
        return {"done": done, "lost": states.get("failed", 0) + states.get("expired", 0)}

    return Side(
        name=OURS,
        shop=shop,
        send=lambda waba: client.enqueue("one_call", partner="acme", waba=waba),
        counts=counts,
    )


# ── the trial ───────────────────────────────────────────────────────────────────────────────────────────────


def _trial(sides: list[Side], hour: float, limit: int, after: float) -> None:
    """Let the same operations arrive at all sides; halve the limit, and give it back."""
    rate = LOAD * limit / hour
    source = random.Random(1)
    begin = time.monotonic() + 1.0
    end = begin + (WARM + CUT + after) * hour
    arrivals, at = [], begin
    while (at := at + source.expovariate(rate)) < end:
        arrivals.append(at)

    def feed(side: Side) -> None:
        for number, moment in enumerate(arrivals):
            time.sleep(max(0.0, moment - time.monotonic()))
            side.send(side.shop.wabas[number % len(side.shop.wabas)])
            side.sent += 1

    feeding = [threading.Thread(target=feed, args=(side,)) for side in sides]
    for thread in feeding:
        thread.start()
    for moment, set_ in ((begin + WARM * hour, limit // 2), (begin + (WARM + CUT) * hour, limit)):
        time.sleep(max(0.0, moment - time.monotonic()))
        for side in sides:
            side.shop.post("limits", app_limit=set_)
    for thread in feeding:
        thread.join()
    time.sleep(max(0.0, end - time.monotonic()))
    for side in sides:
        side.marks["end"] = {"at": end, "begin": begin, **side.counts()}
        side.marks["last"] = {"arrived": sum(moment > end - hour for moment in arrivals)}


def _judged(report: support.Report, side: Side, hour: float, limit: int) -> list[str]:
    end, begin = side.marks["end"]["at"], side.marks["end"]["begin"]
    calls = [call for call in side.shop.calls() if call["at"] <= end]
    good = [call["at"] for call in calls if call["status"] == 200]
    refused = [call["at"] for call in calls if call["refused"]]
    done, lost = side.marks["end"]["done"], side.marks["end"]["lost"]
    last = sum(at > end - hour for at in good) / side.marks["last"]["arrived"]
    windows = int((end - begin) / hour + 0.01)

    def by_window(moments: list[float]) -> list[int]:
        return [sum(begin + i * hour < at <= begin + (i + 1) * hour for at in moments) for i in range(windows)]

    report.keep(
        what="side",
        side=side.name,
        arrived=side.sent,
        completed=done,
        lost=lost,
        unfinished=side.sent - done - lost,
        calls=len(calls),
        refused=len(refused),
        goodput=last,
        limit=limit,
        good_by_window=by_window(good),
        refused_by_window=by_window(refused),
    )
    numbers = (side.sent, done, lost, side.sent - done - lost, len(calls), len(refused))
    return [side.name, *(f"{number:,}" for number in numbers), f"{last:.0%}"]


if __name__ == "__main__":
    main()
