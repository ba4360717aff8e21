"""Whether a weekend with nobody there fills anything: Redis's memory, the ledger's rows, the processes' memory.

On Friday evening Meta begins to refuse every call, and nobody looks for 72 hours. Syncs of the fleet and what
people ask for in the Hub go on to arrive. Then Meta is well again. An hour is made short by settings alone: all
windows, breakers, leases of probes, deadlines and ages of what is deleted shrink with it.
"""

# ruff: noqa: E402
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "src")]

import argparse
import itertools
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psutil
from sqlalchemy import func, select

from benchmarks import support
from benchmarks.gate_stage import HOUR, Vendor, short, vendor
from wabajobs.client import Client
from wabajobs.dispatcher.retention import ages
from wabajobs.intake import Request
from wabajobs.ledger.tables import Base, EventRow, OperationRow
from wabajobs.operation import new_id
from wabajobs.wiring import House

WABAS = 40
ASKED = 10
"""Operations that people ask for in an hour."""
KEPT = 6.0
"""Hours for which finished operations, keys, events and sights are kept."""
USEFUL = 3.0
"""Hours after which what somebody has asked for is of no use any more."""
SETTLED = 24.0
"""Hours after which everything that is kept for a while has reached its size."""
GOAL = 1.25
"""Of the second day's median: what grows evenly from nothing comes to 1.67."""
_NOISE = 20
_PATIENCE = 20
_PROBE_SECONDS = 600
"""Of Meta's hour, between two probes."""
_QUIET = ("--loglevel=WARNING", "--without-gossip", "--without-mingle")
_PROGRAMS = {
    "dispatcher": ["-m", "wabajobs", "dispatcher"],
    "one_call": ["-m", "celery", "-A", "benchmarks.one_call_worker", "worker", *_QUIET],
    "template_sync": ["-m", "celery", "-A", "workers.template_sync", "worker", *_QUIET],
}


@dataclass
class Site:
    """The product, and the vendor that it calls."""

    stage: support.Stage
    shop: Vendor
    client: Client
    house: House
    hour: float
    processes: dict[str, psutil.Process]
    samples: list[dict[str, Any]] = field(default_factory=list)
    arrived: Counter[str] = field(default_factory=Counter)

    def sample(self, at: float) -> None:
        """Note what everything weighs, at an hour of the outage.

        What is old enough is deleted first, as by `wabajobs db prune`: the dispatcher goes round in minutes, and
        these are hours here.
        """
        redis, kept = self.stage.client_of_redis(), ages(self.house.settings.retention)
        for _ in self.house.ledger.retention.prune(kept, now=self.house.clock.now()):
            pass
        with self.house.ledger.database.read() as connection:
            tables = Base.metadata.sorted_tables
            rows = {one.name: connection.scalar(select(func.count()).select_from(one)) or 0 for one in tables}
        memory = {name: process.memory_info().rss for name, process in self.processes.items()}
        queued = sum(int(redis.llen(name)) for name in ("one_call", "template_sync"))
        self.samples.append(
            {
                "hour": round(at, 2),
                "redis_bytes": int(redis.info("memory")["used_memory_dataset"]),
                "redis_keys": int(redis.dbsize()),
                "messages": queued,
                "rss": memory,
                "rows": rows,
            }
        )

    def lines_of_open_stories(self) -> dict[str, int]:
        """Count the lines of the stories of what is not finished, by what they tell."""
        query = (
            select(EventRow.name, func.count().label("lines"))
            .join(OperationRow, OperationRow.id == EventRow.operation_id)
            .where(OperationRow.finished_at.is_(None))
            .group_by(EventRow.name)
            .order_by(func.count().desc())
        )
        with self.house.ledger.database.read() as connection:
            return {row.name: row.lines for row in connection.execute(query)}


def main() -> None:
    """Run."""
    options = _parser().parse_args()
    hour = options.hour or (1.0 if options.quick else 4.0)
    hours = options.hours or (36.0 if options.quick else 72.0)
    gate = _gate(hour)
    interval = gate["breaker_cap_seconds"]
    conditions = [
        f"an hour takes {hour:g} s; a quiet hour, then every call is refused (code 4) for {hours:g} hours, then"
        " Meta is well",
        f"each hour: a sync of each of {WABAS} WABAs from the Hub, and what the planner plans besides;"
        f" {ASKED} interactive operations of one call, of no use after {USEFUL:g} hours",
        f"kept for {KEPT:g} hours: finished operations, keys, events for the Hub, happenings, samples, spending",
        f"a breaker is probed every {interval * 1000:.0f} ms ({_PROBE_SECONDS} s of Meta's hour) at last",
        f"flat: the median of the last {SETTLED:g} hours is at most {GOAL:g} times that of the {SETTLED:g}"
        f" before, or less than {_NOISE} more; what grows evenly from nothing comes to 1.67",
    ]
    with support.stage(options.database) as stage:
        report = support.Report("nobody-home", options, support.machine(stage, options.database), conditions)
        with _site(stage, hour, gate) as site:
            began, ended = _weekend(site, hours)
            lines = site.lines_of_open_stories()
            drained = _monday(site)
            _tell(report, site, hours, (began, ended), interval, drained, lines)
        report.end()


def _parser() -> argparse.ArgumentParser:
    parser = support.parser(__doc__, rounds=1)
    parser.add_argument("--hour", type=float, help="seconds that an hour takes (4; quick 1)")
    parser.add_argument("--hours", type=float, help="hours of the outage (72; quick 36)")
    return parser


# ── the site ────────────────────────────────────────────────────────────────────────────────────────────────


def _gate(hour: float) -> dict[str, Any]:
    # The usual 120 s would be a tenth of a second here, which a busy machine cannot keep: then its load would be
    # what is measured.
    gate = short(
        hour, breaker_seconds=_PROBE_SECONDS / 4 * hour / HOUR, breaker_cap_seconds=_PROBE_SECONDS * hour / HOUR
    )
    del gate["silence_seconds"]  # here is a dispatcher
    return gate


@contextmanager
def _site(stage: support.Stage, hour: float, gate: dict[str, Any]) -> Iterator[Site]:
    kept_days = KEPT * hour / 86_400
    with vendor(stage, hour=hour, limit=2_000, latency=0.01, wabas=WABAS) as shop:
        token = stage.folder / "shop-token"
        token.write_text(shop.token)
        config = stage.config(
            stage.databases.fresh(),
            graph_url=shop.url,
            kinds=["benchmarks.one_call"],
            apps={shop.app: {"token": {"file": str(token)}, "calls_per_window": shop.limit}},
            gate=gate,
            dispatch={
                "poll_seconds": 0.1,
                "retry_seconds": max(0.05, 5 * hour / HOUR),
                "retry_cap_seconds": max(0.5, 600 * hour / HOUR),
                "short_wait_seconds": 2 * hour / HOUR,
            },
            planner={"every_seconds": hour, "least_seconds": 60 * hour / HOUR, "survey_seconds": hour / 12},
            watch={
                "look_seconds": max(0.2, 10 * hour / HOUR),
                "sample_seconds": hour / 6,
                "quiet_seconds": hour / 2,
                "rejoin_seconds": 336 * hour,
            },
            retention={
                **dict.fromkeys(
                    ("finished_days", "failed_days", "key_days", "event_days", "seen_days"), kept_days
                ),
                **dict.fromkeys(("pages_days", "media_days", "changes_days"), kept_days),
            },
        )
        env = {"WABAJOBS_CONFIG": str(config)}
        running = {name: stage.start(name, [sys.executable, *argv], env) for name, argv in _PROGRAMS.items()}
        client, house = support.opened(config)
        try:
            for queue in ("one_call", "template_sync"):
                stage.wait_for_workers(house, queue)
            yield Site(stage, shop, client, house, hour, running)
        finally:
            client.close()
            house.close()
            stage.stop(*_PROGRAMS)


# ── the weekend ─────────────────────────────────────────────────────────────────────────────────────────────


def _weekend(site: Site, hours: float) -> tuple[float, float]:
    """Let an hour pass, then the outage; return when that began and ended."""
    done = threading.Event()
    feeding = threading.Thread(target=_feed, args=(site, done), daemon=True)
    feeding.start()
    time.sleep(site.hour)
    site.shop.post("faults", id="limit", code=4, message="(#4) Application request limit reached")
    began = time.monotonic()
    for nth in range(int(hours) + 1):
        time.sleep(max(0.0, began + nth * site.hour - time.monotonic()))
        site.sample((time.monotonic() - began) / site.hour)
    ended = time.monotonic()
    done.set()
    feeding.join()
    return began, ended


def _feed(site: Site, done: threading.Event) -> None:
    """Ask each hour for a sync of each WABA, as a cron job would, and now and then for something else."""
    began, partners = time.monotonic(), [f"partner-{number}" for number in range(5)]
    for nth in itertools.count():
        if done.wait(max(0.0, began + nth * site.hour / ASKED - time.monotonic())):
            return
        waba, partner = site.shop.wabas[nth % WABAS], partners[nth % len(partners)]
        if nth % ASKED == 0:
            syncs = [
                Request(kind="template_sync", partner=partners[i % len(partners)], waba=one, key=f"{nth}-{i}")
                for i, one in enumerate(site.shop.wabas)
            ]
            site.client.enqueue_many(syncs)
            site.arrived["template_sync"] += len(syncs)
        site.client.enqueue(
            "one_call", partner=partner, waba=waba, key=f"{nth}", expires_after=USEFUL * site.hour
        )
        site.arrived["one_call"] += 1


def _monday(site: Site) -> float | None:
    """Let Meta be well again; return after how many hours nothing is left of the weekend."""
    well = site.shop.clear_faults()
    of_the_weekend = select(func.count()).where(OperationRow.finished_at.is_(None), OperationRow.id < new_id())
    while time.monotonic() < well + _PATIENCE * site.hour:
        with site.house.ledger.database.read() as connection:
            if not connection.scalar(of_the_weekend):
                return (time.monotonic() - well) / site.hour
        time.sleep(site.hour / 20)
    return None


# ── what comes out ──────────────────────────────────────────────────────────────────────────────────────────


def _tell(
    report: support.Report,
    site: Site,
    hours: float,
    outage: tuple[float, float],
    interval: float,
    drained: float | None,
    lines: dict[str, int],
) -> None:
    began, ended = outage
    calls = [call["at"] for call in site.shop.calls() if began <= call["at"] <= ended]
    intervals = (ended - began) / interval
    for sample in site.samples:
        report.keep(what="sample", **sample)
    report.keep(
        what="side",
        side="wabajobs",
        hours=hours,
        arrived=dict(site.arrived),
        calls=len(calls),
        intervals=intervals,
        drained_after_hours=drained,
        lines_of_open_stories=lines,
    )
    print(f"Arrived: {', '.join(f'{number:,} {kind}' for kind, number in site.arrived.items())}.")
    each = len(calls) / intervals
    print(f"Calls in the outage: {len(calls):,}, in {intervals:,.0f} probe intervals: {each:.2f} each.")
    after = "not within the time" if drained is None else f"{drained:.1f} hours after Meta's recovery"
    print(f"All that waited has ended: {after}.")
    print(f"In the stories of what was still open: {', '.join(f'{n:,} {name}' for name, n in lines.items())}.\n")
    span = min(SETTLED, hours / 3)
    series = {
        "Redis, bytes of data": [one["redis_bytes"] for one in site.samples],
        "Redis, keys": [one["redis_keys"] for one in site.samples],
        "messages in the broker": [one["messages"] for one in site.samples],
        **{f"{name}, MiB": [one["rss"][name] / 2**20 for one in site.samples] for name in _PROGRAMS},
        **{f"rows of {name}": [one["rows"][name] for one in site.samples] for name in site.samples[0]["rows"]},
    }
    at = [one["hour"] for one in site.samples]
    rows = []
    for name, values in series.items():
        if any(values):
            before = _median(at, values, hours - 2 * span, hours - span)
            last = _median(at, values, hours - span, hours + 1)
            ratio = last / before if before else float(last > 0)
            flat = "yes" if ratio <= GOAL or last - before < _NOISE else "no"
            rows.append([name, *(f"{value:,.0f}" for value in (values[0], before, last)), f"{ratio:.2f}", flat])
    head = ["", "at first", f"{hours - 2 * span:g} to {hours - span:g} h", f"{hours - span:g} to {hours:g} h"]
    report.table("Medians", [*head, "ratio", "flat"], rows)


def _median(at: list[float], values: list[float], since: float, until: float) -> float:
    return statistics.median(value for moment, value in zip(at, values, strict=True) if since <= moment < until)


if __name__ == "__main__":
    main()
