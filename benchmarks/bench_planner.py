"""What planning the fleet's syncs costs: a turn with 1,000, 100,000 and 1,000,000 WABAs, and an idle planner.

A turn looks at what has ended, asks the gate, takes the stalest and writes their syncs down. It runs in the
dispatcher's process, so its time is time in which nothing is released.
"""

# ruff: noqa: E402
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "src")]

import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import insert, text, update

from benchmarks import support
from wabajobs import webhooks
from wabajobs.capability import Capability
from wabajobs.clock import HandClock
from wabajobs.gate import Call, Outcome, Permit, Report
from wabajobs.ledger.tables import FleetRow, OperationRow
from wabajobs.planner import QUEUE, Planner
from wabajobs.signals import Worker
from wabajobs.wiring import House

LIMIT, SHARE = 200_000, 0.6
SIZES = (1_000, 100_000, 1_000_000)
QUICK_SIZES = (1_000, 20_000)


@dataclass
class Side:
    """A fleet of one size, and its planner; time is moved by hand."""

    name: str
    wabas: int
    house: House
    planner: Planner
    clock: HandClock
    config: Path

    def turn(self) -> tuple[float, int]:
        """Plan once, a second after the last time; return how long it took, in ms, and how many were planned."""
        self.house.presence.announce(Worker(name="bench", queue=QUEUE, slots=64))
        self.house.controls.keep_mirrored()
        self.clock.advance(timedelta(seconds=1))
        begun = time.perf_counter()
        planned = self.planner.plan().planned
        took = (time.perf_counter() - begun) * 1000
        self._sync()
        return took, planned

    def _sync(self) -> None:
        """Let everything that is planned have succeeded."""
        with self.house.ledger.database.write() as connection:
            planned = [one.operation_id for one in self.house.ledger.fleet.planned()]
            now = self.clock.now()
            ended = {"state": "succeeded", "finished_at": now, "coalesce_key": None}
            connection.execute(update(OperationRow).where(OperationRow.id.in_(planned)).values(**ended))
            due = {"success_at": now - timedelta(hours=1), "due_at": now}
            connection.execute(update(FleetRow).where(FleetRow.operation_id.in_(planned)).values(**due))

    def idle(self) -> float:
        """Look once although nothing is due; return how long it took, in ms."""
        now, self.clock._now = self.clock._now, datetime(2020, 1, 1, tzinfo=UTC)
        self.planner.plan()  # which takes what has ended off the list
        begun = time.perf_counter()
        plan = self.planner.plan()
        took = (time.perf_counter() - begun) * 1000
        self.clock._now = now
        assert plan.planned == 0 and not plan.obstacles
        return took

    def hear(self, number: int) -> float:
        """Take in a webhook; return how long it took, in ms."""
        waba = waba_of(number % self.wabas)
        body = {
            "object": "whatsapp_business_account",
            "entry": [
                {
                    "id": waba,
                    "time": int(self.clock.now().timestamp()),
                    "changes": [
                        {
                            "field": "message_template_status_update",
                            "value": {"event": "APPROVED", "message_template_id": 10_000 + number},
                        }
                    ],
                }
            ],
        }
        begun = time.perf_counter()
        told = webhooks.read(body)
        self.house.ledger.apply(told, now=self.clock.now(), planner=self.house.settings.planner)
        return (time.perf_counter() - begun) * 1000

    def count(self) -> float:
        """Count the whole fleet; return how long it took, in ms."""
        begun = time.perf_counter()
        self.house.ledger.fleet.surveys(now=self.clock.now())
        return (time.perf_counter() - begun) * 1000


def main() -> None:
    """Run."""
    parser = support.parser(__doc__, rounds=5)
    parser.add_argument("--turns", type=int, help="turns of each size in a round (40; quick 10)")
    parser.add_argument(
        "--idle-seconds", type=float, help="how long the idle dispatcher is watched (15; quick 4)"
    )
    options = parser.parse_args()
    turns = options.turns or (10 if options.quick else 40)
    watched = options.idle_seconds or (4.0 if options.quick else 15.0)
    sizes = QUICK_SIZES if options.quick else SIZES
    conditions = [
        f"{options.rounds} rounds of {turns} turns, the sizes in turns, in changing order; a turn a second",
        f"the app's limit is {LIMIT:,} calls an hour, {SHARE:.0%} of it is planned: 33 syncs a turn",
        "a tenth of the fleet is due, in random order, of 500 partners; what was synced is due again at once",
        "idle: nothing is due; count: the survey that the dispatcher makes in a thread every 5 minutes",
        "webhook: a status of a template that the mirror does not know, which writes news and the fleet's row",
        f"the idle dispatcher is watched for {watched:g} s with the largest fleet, planning on and off in turn",
    ]
    with support.stage(options.database) as stage:
        facts = support.machine(stage, options.database)
        report = support.Report("planner", options, facts, conditions)
        sides = [_side(stage, size, report) for size in sizes]
        results: dict[str, dict[str, list[float]]] = {side.name: {} for side in sides}
        for number in range(options.rounds):
            for side, measured in zip(sides, measure(sides, turns, number), strict=True):
                for what, values in measured.items():
                    results[side.name].setdefault(what, []).append(statistics.median(values))
                    report.keep(what=what, round=number, wabas=side.wabas, ms=values)
        _tell(report, sides, results)
        _watch(stage, sides[-1], watched, options.rounds, report)
        report.end()


def measure(sides: list[Side], turns: int, number: int) -> list[dict[str, list[float]]]:
    """Run a round, the sides in turns, so that what else the machine does hits them alike; return times in ms."""
    times: dict[str, dict[str, list[float]]] = {side.name: {} for side in sides}
    for each in range(turns):
        for side in support.in_turn(sides, each):
            took, planned = side.turn()
            assert planned > 0
            measured = {"turn": took, "idle": side.idle(), "webhook": side.hear(number * turns + each)}
            if each == 0:
                measured["count"] = side.count()
            for what, value in measured.items():
                times[side.name].setdefault(what, []).append(value)
    return [times[side.name] for side in sides]


def waba_of(number: int) -> str:
    """Return a WABA of the fleet."""
    return str(100_000_000_000 + number)


def _side(stage: support.Stage, size: int, report: support.Report) -> Side:
    planner = {"share": SHARE, "waiting": 100}
    apps = {support.APP: {"token": {"file": str(stage.folder / "token")}, "calls_per_window": LIMIT}}
    config = stage.config(stage.databases.fresh(), planner=planner, apps=apps)
    client, house = support.opened(config)
    client.close()
    clock = HandClock(datetime.now(UTC))
    begun = time.perf_counter()
    chance = random.Random(size)
    with house.ledger.database.write() as connection:
        rows: list[dict[str, Any]] = []
        for number in chance.sample(range(size), size):
            # Nine tenths are due in the hour to come, one has been due in the last minutes.
            due = clock.now() + timedelta(seconds=chance.uniform(-400, 3600))
            rows.append(
                {
                    "waba": waba_of(number),
                    "app": support.APP,
                    "partner": f"partner-{number % 500}",
                    "due_at": due,
                    "why": "every 1 h, as the configuration asks",
                    "interval_seconds": 3600.0,
                    "calls": 1.0,
                    "added_at": clock.now() - timedelta(days=9),
                    "success_at": due - timedelta(hours=1),
                    "failures": 0,
                    "credit": 0,
                }
            )
            if len(rows) == 10_000:
                connection.execute(insert(FleetRow), rows)
                rows.clear()
        if rows:
            connection.execute(insert(FleetRow), rows)
    with house.ledger.database.write() as connection:
        connection.execute(text("ANALYZE"))
    report.keep(what="fill", wabas=size, seconds=time.perf_counter() - begun)
    house.controls.mirror()
    _let_learn(house)
    made = Planner(
        ledger=house.ledger,
        kinds=house.kinds,
        gate=house.gate,
        presence=house.presence,
        clock=clock,
        settings=house.settings,
        router=house.router,
    )
    made.plan()
    return Side(f"{size:,} WABAs", size, house, made, clock, config)


def _let_learn(house: House) -> None:
    """Let the gate know that nothing of the budget is spent: one call that Meta answered."""
    call = Call(app=support.APP, queue=QUEUE, partner="p", capability=Capability.TEMPLATE_READS)
    permit = house.gate.admit(call)
    if isinstance(permit, Permit):
        house.gate.settle(permit, Report(outcome=Outcome.OK, app_percent=0))


def _tell(report: support.Report, sides: list[Side], results: dict[str, dict[str, list[float]]]) -> None:
    base = results[sides[0].name]
    rows = []
    for what in ("turn", "idle", "webhook", "count"):
        for side in sides:
            values = results[side.name][what]
            ratio = support.ratios(values, base[what])
            rows.append([f"{what}, {side.name}", *support.spread(values, ",.2f"), *support.spread(ratio, ".2f")])
    head = ["ms, median of each round", "min", "median", "max", "ratio min", "median", "max"]
    report.table("Ratio: to the smallest fleet in the same round.", head, rows)


def _watch(stage: support.Stage, side: Side, seconds: float, rounds: int, report: support.Report) -> None:
    """Watch the CPU time of an idle dispatcher, with planning and without."""
    with side.house.ledger.database.write() as connection:
        # Nothing is due for a day.
        connection.execute(
            update(FleetRow).values(due_at=datetime.now(UTC) + timedelta(days=1), operation_id=None)
        )
    without = side.config.with_name("off.toml")
    without.write_text(side.config.read_text().replace("[planner]", "[planner]\nenabled = false"))
    shares: dict[str, list[float]] = {"planning": [], "not planning": []}
    for number in range(rounds):
        for name, config in support.in_turn([("planning", side.config), ("not planning", without)], number):
            argv = [sys.executable, "-m", "wabajobs", "dispatcher"]
            process = stage.start("dispatcher", argv, {"WABAJOBS_CONFIG": str(config)})
            _rest(5)  # it has counted the fleet by then
            use = support.CpuUse(dispatcher=process)
            _rest(seconds)
            share = 100 * use.seconds()["dispatcher"] / seconds
            shares[name].append(share)
            report.keep(what="cpu", round=number, side=name, percent=share)
            stage.stop("dispatcher")
    rows = [[name, *support.spread(values, ".2f")] for name, values in shares.items()]
    report.table(f"Idle dispatcher, {side.name}, % of a core", ["", "min", "median", "max"], rows)


_rest: Callable[[float], None] = time.sleep


if __name__ == "__main__":
    main()
