"""How many operations a second leave the ledger, with little and with very much waiting in it.

The dispatcher's own loop, on a real ledger and a real broker. This benchmark stands where a dispatcher rests:
it plays the workers there (what was released is ended, what was published is taken off, as much is enqueued
again), and that time is not counted. So the backlog stays as deep as it was.
"""

# ruff: noqa: E402
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "src")]

import argparse
import itertools
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import psutil
from celery import Celery

from benchmarks import support
from wabajobs.broker import Sender, make_app
from wabajobs.client import Client
from wabajobs.dispatcher import dispatch
from wabajobs.intake import Request
from wabajobs.ledger.attempts import Ending
from wabajobs.operation import Operation
from wabajobs.outcome import Done
from wabajobs.signals import Worker
from wabajobs.wiring import House

KIND = "noop"
PARTNERS = 500
WABAS = 20
"""Of each partner."""
SHALLOW = 1_000
GOAL_RATE, GOAL_RATIO = 1_000.0, 1.2
_BATCH = 5_000
_PATIENCE = 300.0


def main() -> None:
    """Run."""
    options = _parser().parse_args()
    databases = ("sqlite", "postgresql") if options.database == "both" else (options.database,)
    for database in databases:
        with support.stage(database) as stage:
            _measure(stage, database, options)


def _parser() -> argparse.ArgumentParser:
    parser = support.parser(__doc__, rounds=5, databases=("both", "sqlite", "postgresql"))
    parser.add_argument("--depth", type=int, help="operations that wait (1,000,000; quick 20,000)")
    parser.add_argument("--operations", type=int, help="operations released a round (4000; quick 500)")
    parser.add_argument("--slots", type=int, default=64, help="slots of the workers (default 64)")
    return parser


def _measure(stage: support.Stage, database: str, options: argparse.Namespace) -> None:
    depth = options.depth or (20_000 if options.quick else 1_000_000)
    number = options.operations or (500 if options.quick else 4_000)
    conditions = [
        f"{PARTNERS} partners of {WABAS} WABAs; each has as many {KIND} operations waiting as the others",
        f"a turn finds {options.slots} free slots; {number:,} operations are released a round,"
        f" {options.rounds} rounds, depths interleaved",
        "released: found, leased and committed, published to Redis; looking after lead, leases and gate, and"
        " the dispatcher's own breath, are counted; the workers' part is not, and nobody else works meanwhile",
        f"the ledger of {SHALLOW:,} is made anew each round; what is enqueued there comes on top",
        "enqueue: one process, one thread, a commit each; enqueue_many: 1,000 a commit",
    ]
    report = support.Report("release", options, support.machine(stage, database), [database, *conditions])
    deep = Ledger.filled(stage, depth)
    report.keep(what="fill", database=database, operations=depth, seconds=deep.fill_seconds)
    rate = depth / deep.fill_seconds
    print(f"Filled {depth:,} in {deep.fill_seconds:.0f} s: {rate:,.0f} a second.\n", flush=True)
    results: dict[int, list[dict[str, Any]]] = {SHALLOW: [], depth: []}
    for round_ in range(options.rounds):
        for waiting in support.in_turn((SHALLOW, depth), round_):
            ledger = deep if waiting == depth else Ledger.filled(stage, waiting)
            result = ledger.release(number, slots=options.slots) | ledger.enqueue(
                number // 8, batches=2 if options.quick else 5
            )
            results[waiting].append(result)
            report.keep(what="side", database=database, round=round_, waiting=waiting, **result)
            if ledger is not deep:
                ledger.close()
            stage.flush()
    deep.close()
    _tell(report, results)
    report.end()


# ── a ledger and its dispatcher ─────────────────────────────────────────────────────────────────────────────


@dataclass
class Ledger:
    """A ledger that is kept as deep as it is, and what may be done to it."""

    client: Client
    house: House
    celery: Celery
    requests: Iterator[Request]
    fill_seconds: float = 0.0
    _sent: list[Operation] = field(default_factory=list)

    @classmethod
    def filled(cls, stage: support.Stage, waiting: int) -> "Ledger":
        """Make one with so many operations."""
        client, house = support.opened(stage.config(stage.databases.fresh()))
        celery = make_app(house.settings, queues=house.kinds.names)
        made = cls(client, house, celery, _requests())
        begun = time.perf_counter()
        for done in range(0, waiting, _BATCH):
            made.add(min(_BATCH, waiting - done))
        made.fill_seconds = time.perf_counter() - begun
        return made

    def add(self, number: int) -> None:
        """Let so many more wait."""
        self.client.enqueue_many(list(itertools.islice(self.requests, number)))

    def release(self, number: int, *, slots: int) -> dict[str, Any]:
        """Release so many; return the rate and what it cost."""
        publish = Sender(self.celery)

        def send(released: Sequence[Operation]) -> Sequence[Operation]:
            self._sent += released
            return publish(released)

        house, settings = self.house, self.house.settings.dispatch
        dispatcher = house.dispatcher(send)
        here = psutil.Process()
        aside = {"seconds": 0.0, "cpu": 0.0}
        turns, released = 0, 0

        def work(rest: float) -> None:
            nonlocal turns, released
            time.sleep(rest)
            begun, used = time.perf_counter(), _cpu(here)
            turns, released = turns + 1, released + len(self._sent)
            self._play_the_workers(slots)
            aside["seconds"] += time.perf_counter() - begun
            aside["cpu"] += _cpu(here) - used

        end = time.monotonic() + _PATIENCE

        def idle(rest: float) -> None:
            if time.monotonic() > end:
                raise SystemExit(f"released {released} of {number} operations in {_PATIENCE:g} s")
            house.work_bell.wait(rest)

        self._play_the_workers(slots)
        house.controls.keep_mirrored()
        begun, used = time.perf_counter(), _cpu(here)
        dispatch.run(
            dispatcher,
            wait=idle,
            upkeep=house.controls.keep_mirrored,
            stopping=lambda: released >= number,
            settings=settings,
            monotonic=time.monotonic,
            breathe=work,
        )
        seconds = time.perf_counter() - begun - aside["seconds"]
        return {
            "rate": released / seconds,
            "released": released,
            "turns": turns,
            "seconds": seconds,
            "cpu_ms": 1000 * (_cpu(here) - used - aside["cpu"]) / released,
        }

    def _play_the_workers(self, slots: int) -> None:
        """End what was released, take the messages away, enqueue as many, and say that we live."""
        operations, now = self.house.ledger.operations, self.house.clock.now()
        if self._sent:
            leases = [(one.id, one.fence) for one in self._sent]
            begun = operations.begin_all(leases, worker="bench", now=now, lease=timedelta(minutes=1))
            endings = [Ending(one, Done({})) for one in begun if isinstance(one, Operation)]
            operations.record_all(endings, worker="bench", now=now)
            self.add(len(self._sent))
        self._sent.clear()
        with self.celery.connection_for_write() as connection:
            connection.default_channel.queue_purge(KIND)
        self.house.presence.announce(Worker(name="bench", queue=KIND, slots=slots))

    def enqueue(self, singles: int, *, batches: int) -> dict[str, float]:
        """Return how many a second are accepted, one by one and 1,000 at a time."""
        begun = time.perf_counter()
        for request in itertools.islice(self.requests, singles):
            self.client.enqueue(request.kind, partner=request.partner, waba=request.waba)
        one_by_one = singles / (time.perf_counter() - begun)
        begun = time.perf_counter()
        for _ in range(batches):
            self.add(1_000)
        return {"enqueue": one_by_one, "enqueue_many": 1_000 * batches / (time.perf_counter() - begun)}

    def close(self) -> None:
        """Close all connections."""
        self.client.close()
        self.house.close()


def _requests() -> Iterator[Request]:
    for waba in itertools.cycle(range(WABAS)):
        for partner in range(PARTNERS):
            its = str(10_000_000 + partner * WABAS + waba)
            yield Request(kind=KIND, partner=f"partner-{partner:03}", waba=its)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


# ── out ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _tell(report: support.Report, results: dict[int, list[dict[str, Any]]]) -> None:
    shallow, deep = results
    for what, title in (
        ("rate", "Released per second."),
        ("cpu_ms", "CPU milliseconds of the dispatcher per released operation."),
        ("enqueue", "Enqueued per second, a commit each."),
        ("enqueue_many", "Enqueued per second, 1,000 a commit."),
    ):
        values = {waiting: [one[what] for one in those] for waiting, those in results.items()}
        form = ",.2f" if what == "cpu_ms" else ",.0f"
        rows = [[f"{waiting:,} waiting", *support.spread(those, form)] for waiting, those in values.items()]
        rows.append(["ratio (each round's own)", *support.spread(_slower(values, what), ".2f")])
        report.table(title, ["", "min", "median", "max"], rows)
    least = min(statistics.median(one["rate"] for one in those) for those in results.values())
    ratio = statistics.median(_slower({n: [one["rate"] for one in results[n]] for n in (shallow, deep)}, "rate"))
    print(f"Goal: {GOAL_RATE:,.0f} a second. {'Reached' if least >= GOAL_RATE else 'Missed'}: {least:,.0f}.")
    print(f"Goal: a ratio of {GOAL_RATIO}. {'Reached' if ratio <= GOAL_RATIO else 'Missed'}: {ratio:.2f}.\n")


def _slower(values: dict[int, list[float]], what: str) -> list[float]:
    """Return how many times worse each round is with the deep ledger."""
    shallow, deep = values.values()
    return support.ratios(deep, shallow) if what == "cpu_ms" else support.ratios(shallow, deep)


if __name__ == "__main__":
    main()
