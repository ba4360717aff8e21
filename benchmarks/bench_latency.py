"""How long it takes from enqueueing to the first Graph call while nothing else is to be done.

Dispatcher, worker and the simulated Graph API are processes of their own; the simulator stamps each call's
arrival. One `template_sync` at a time, each for a WABA of its own; beside it a plain Celery task that makes
the same kind of call.
"""

# ruff: noqa: E402
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "src")]

import random
import statistics
import time
from typing import Any

from benchmarks import support
from wabajobs.client import Client
from wabajobs.wiring import House

WARM = 10
SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
LEGS = (
    ("enqueue call", "asked", "returned"),
    ("returned -> released", "returned", "released"),
    ("released -> begun", "released", "begun"),
    ("begun -> call arrived", "begun", "arrived"),
    ("returned -> call arrived", "returned", "arrived"),
    ("asked -> call arrived", "asked", "arrived"),
)
GOALS_MS = {"p50": 25.0, "p99": 100.0}


def main() -> None:
    """Run."""
    parser = support.parser(__doc__, rounds=4)
    parser.add_argument("--operations", type=int, help="operations in all (200; quick 30)")
    options = parser.parse_args()
    number = options.operations or (30 if options.quick else 200)
    conditions = [
        f"{number} operations of each side, one at a time, in {options.rounds} interleaved rounds;"
        " the next 50 to 150 ms (random) after the last is finished",
        "each for a WABA of its own with 5 templates: one call; the simulator answers at once",
        "limits far away, pacing off, default leases and waits; all processes warm",
        "released and begun: the ledger's events, stamped as each transaction begins",
        "Celery: delay() of a task that makes one such call, on a worker with the same settings",
    ]
    with support.stage(options.database) as stage:
        report = support.Report("latency", options, support.machine(stage, options.database), conditions)
        simulator = support.simulated(stage, wabas=2 * (number + WARM) + 10, app_limit=1_000_000)
        wabas = iter(simulator.wabas)
        client, house = _start(stage, simulator)
        plain = stage.plain()
        for _ in range(WARM):
            _ours(client, next(wabas))
            _celery(plain.call, next(wabas))
        ours: list[dict[str, Any]] = []
        celery: list[dict[str, Any]] = []
        for round_ in range(options.rounds):
            size = number * (round_ + 1) // options.rounds - number * round_ // options.rounds
            sides = [
                (ours, lambda: _ours(client, next(wabas))),
                (celery, lambda: _celery(plain.call, next(wabas))),
            ]
            for kept, one in support.in_turn(sides, round_):
                kept += [{"round": round_, **one()} for _ in range(size)]
        arrivals = _arrivals(simulator)
        for name, those in (("wabajobs", ours), ("Celery", celery)):
            for each in those:
                each.update(_story(house, each.pop("operation", None)), arrived=arrivals[each["waba"]])
                report.keep(what="operation", side=name, **each)
        client.close()
        house.close()
        _tell(report, ours, celery, options.rounds)
        report.end()


# ── the stage ───────────────────────────────────────────────────────────────────────────────────────────────


def _start(stage: support.Stage, simulator: support.Simulated) -> tuple[Client, House]:
    config = stage.config(stage.databases.fresh(), graph_url=simulator.url, apps=simulator.apps(stage.folder))
    ours = {"WABAJOBS_CONFIG": str(config)}
    stage.plain(BENCH_EVENTS="1", BENCH_GRAPH_URL=simulator.url, BENCH_GRAPH_TOKEN=simulator.token)
    celery = [sys.executable, "-m", "celery", "-A"]
    quiet = ["worker", "--loglevel=INFO", "--without-gossip", "--without-mingle"]
    stage.start("dispatcher", [sys.executable, "-m", "wabajobs", "dispatcher"], ours)
    stage.start("worker", [*celery, "workers.template_sync", *quiet], ours)
    stage.start("plain", [*celery, "benchmarks.plain", *quiet], {})
    client, house = support.opened(config)
    stage.wait_for_workers(house, "template_sync")
    stage.until(lambda: "ready." in (stage.folder / "plain.log").read_text(), what="the plain worker")
    return client, house


def _arrivals(simulator: support.Simulated) -> dict[str, float]:
    """Return when the first call for each WABA arrived."""
    arrivals: dict[str, float] = {}
    for call in simulator.arrived():
        if call["waba"]:
            arrivals.setdefault(call["waba"], call["wall"])
    return arrivals


# ── one at a time ───────────────────────────────────────────────────────────────────────────────────────────


def _ours(client: Client, waba: str) -> dict[str, Any]:
    asked = time.time()
    operation = client.enqueue("template_sync", partner="acme", waba=waba)
    returned = time.time()
    time.sleep(0.06)
    end = time.monotonic() + 30
    while not (now := client.get(operation.id)).state.finished:
        if time.monotonic() > end:
            raise SystemExit(f"an operation is still {now.state} ({now.hold})")
        time.sleep(0.02)
    if now.state != "succeeded":
        raise SystemExit(f"an operation has {now.state}")
    _gap()
    return {"waba": waba, "asked": asked, "returned": returned, "operation": operation.id}


def _celery(call: Any, waba: str) -> dict[str, Any]:
    asked = time.time()
    call.delay(waba)
    returned = time.time()
    time.sleep(0.06)
    _gap()
    return {"waba": waba, "asked": asked, "returned": returned}


def _gap() -> None:
    time.sleep(random.uniform(0.05, 0.15))


def _story(house: House, operation_id: str | None) -> dict[str, float]:
    if operation_id is None:
        return {}
    moments: dict[str, float] = {}
    for event in house.ledger.operations.story(operation_id):
        moments.setdefault(event.name, event.at.timestamp())
    return {name: moments[name] for name in ("released", "begun", "succeeded")}


# ── out ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _tell(report: support.Report, ours: list[dict[str, Any]], celery: list[dict[str, Any]], rounds: int) -> None:
    def row(name: str, those: list[dict[str, Any]], since: str, till: str) -> list[str]:
        values = [(one[till] - one[since]) * 1000 for one in those]
        return [name, f"{min(values):.1f}", *(f"{support.quantile(values, s):.1f}" for s in SHARES.values())]

    rows = [row(f"wabajobs: {name}", ours, since, till) for name, since, till in LEGS]
    rows += [row(f"Celery: {name}", celery, since, till) for name, since, till in (LEGS[0], *LEGS[-2:])]
    report.table("Milliseconds.", ["", "min", *SHARES], rows)

    def medians(those: list[dict[str, Any]]) -> list[float]:
        return [
            statistics.median((one["arrived"] - one["asked"]) * 1000 for one in those if one["round"] == round_)
            for round_ in range(rounds)
        ]

    pairs = {"wabajobs": medians(ours), "Celery": medians(celery)}
    rows = [[name, *support.spread(values, ".1f")] for name, values in pairs.items()]
    rows.append(["ratio", *support.spread(support.ratios(pairs["wabajobs"], pairs["Celery"]), ".1f")])
    report.table("The rounds' medians of asked -> call arrived.", ["", "min", "median", "max"], rows)
    whole = [(one["arrived"] - one["asked"]) * 1000 for one in ours]
    for name, goal in GOALS_MS.items():
        value = support.quantile(whole, SHARES[name])
        print(f"Goal: {name} {goal:g} ms. {'Reached' if value <= goal else 'Missed'}: {value:.1f} ms.")
    print()


if __name__ == "__main__":
    main()
