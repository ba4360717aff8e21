"""The planner: the stalest first, at the pace of its share, just in time, and nothing behind an obstacle."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.databases import SqliteFiles
from tests.support.fakes import FakeGate, FakePresence, a_wait
from tests.unit.conftest import APP, Bay, some_settings
from wabajobs.clock import HandClock
from wabajobs.decisions import Scope
from wabajobs.gate import Because, Call, Wait
from wabajobs.intake import Request, checked
from wabajobs.ledger import Database, Kept, Ledger, Route
from wabajobs.operation import Operation, State
from wabajobs.outcome import Done, Failed
from wabajobs.planner import QUEUE, Planner
from wabajobs.routing import Router


@dataclass
class Depot:
    """A planner on a real ledger; `rate` calls a second are its share of the budget."""

    bay: Bay
    rate: float = 1.0
    planner_settings: dict[str, Any] = field(default_factory=dict)
    gate: FakeGate = field(default_factory=FakeGate)
    presence: FakePresence = field(default_factory=lambda: FakePresence({QUEUE: [4]}))
    monotonic: float = 0.0

    def __post_init__(self) -> None:
        self.gate.limit = round(self.rate * 3600 / 0.5)
        self.bay.settings = some_settings(planner={"share": 0.5, "jitter": 0.0, **self.planner_settings})
        self.planner = self.another()

    def another(self) -> Planner:
        return Planner(
            ledger=self.bay.ledger,
            kinds=self.bay.kinds,
            gate=self.gate,
            presence=self.presence,  # type: ignore[arg-type]
            clock=self.bay.clock,
            settings=self.bay.settings,
            router=Router(self.bay.ledger, self.bay.kinds, self.bay.settings, clock=self.bay.clock),
            monotonic=lambda: self.monotonic,
        )

    def keep(self, *wabas: str, partner: str = "acme", every: timedelta | None = None) -> None:
        self.bay.ledger.fleet.keep(
            wabas,
            app=APP,
            partner=partner,
            every=every,
            actor="anna",
            reason="test",
            now=self.bay.clock.now(),
            settings=self.bay.settings.planner,
        )

    def turn(self, seconds: float = 1.0) -> list[str]:
        """Let time pass, and plan; return the WABAs that were planned, in their order."""
        self.bay.pass_time(seconds)
        before = {one.id for one in self.open()}
        self.planner.plan()
        return [str(one.waba) for one in self.open() if one.id not in before]

    def open(self) -> list[Operation]:
        """Return the operations that are not finished, in the order of their acceptance."""
        found = self.bay.ledger.operations.find(at_most=10_000)
        return sorted((one for one in found if not one.state.finished), key=lambda one: one.id)

    def sync(self) -> list[str]:
        """Let a worker work off everything that waits."""
        done = []
        while self.bay.ledger.operations.lines([QUEUE]):
            released = self.release()
            outcome = self.bay.perform(released)
            assert isinstance(outcome, (Done, Failed)), outcome
            done.append(str(released.waba))
        return done

    def release(self) -> Operation:
        """Release the next sync, of whatever partner."""
        [line, *_] = self.bay.ledger.operations.lines([QUEUE])
        due = self.bay.ledger.operations.heads({line: 1})[line]
        [released] = self.bay.ledger.operations.release(
            due, now=self.bay.clock.now(), lease=timedelta(seconds=15)
        )
        return released

    def kept(self, waba: str) -> Kept:
        found = self.bay.ledger.fleet.get(waba, settings=self.bay.settings.planner)
        assert found is not None
        return found


def wabas(number: int, *, start: int = 50_000) -> list[str]:
    return [str(start + each) for each in range(number)]


@pytest.fixture
def depot(bay: Bay) -> Depot:
    depot = Depot(bay)
    depot.planner.plan()
    return depot


# ── who belongs to the fleet ────────────────────────────────────────────────────────────────────────────────


def test_a_waba_comes_in_with_its_first_sync_and_is_planned_when_its_time_has_come(depot: Depot) -> None:
    depot.bay.accept(waba="77777")
    depot.sync()

    assert depot.turn(3500) == []
    assert depot.turn(101) == ["77777"]
    [planned] = depot.open()
    assert (planned.service_class, planned.partner) == ("background", "acme")


def test_who_is_forgotten_is_not_planned_even_after_a_sync(depot: Depot) -> None:
    depot.keep("77777")
    forget = {"actor": "anna", "reason": "left us", "settings": depot.bay.settings.planner}
    forgotten = depot.bay.ledger.fleet.forget(["77777", "1"], now=depot.bay.clock.now(), **forget)
    depot.bay.accept(waba="77777")
    depot.sync()

    assert forgotten == ["77777"]
    assert depot.turn(100_000) == []
    depot.keep("77777")
    assert depot.turn() == ["77777"]


# ── in which order, and how fast ────────────────────────────────────────────────────────────────────────────


def test_the_stalest_go_first_at_the_pace_of_the_share(depot: Depot) -> None:
    depot.keep(*wabas(8)[4:])
    depot.bay.pass_time(60)
    depot.keep(*wabas(8)[:4])

    turns = [depot.turn() for _ in range(10)]

    assert [each for turn in turns for each in turn] == wabas(8)[4:] + wabas(8)[:4]
    assert max(len(turn) for turn in turns[1:]) == 1


def test_no_more_wait_than_the_bound(bay: Bay) -> None:
    depot = Depot(bay, rate=100, planner_settings={"waiting": 3})
    depot.turn()
    depot.keep(*wabas(50))

    planned = [len(depot.turn()) for _ in range(5)]
    done = depot.sync()

    assert planned == [3, 0, 0, 0, 0]
    assert len(done) == 3
    assert len(depot.turn()) == 3


def test_a_new_leader_does_not_begin_with_a_burst(depot: Depot) -> None:
    depot.keep(*wabas(50))
    depot.bay.pass_time(3600)

    assert depot.another().plan().planned == 0


def test_a_list_of_many_pages_takes_the_time_of_many(depot: Depot) -> None:
    depot.keep(*wabas(3))
    depot.turn(5)
    with depot.bay.ledger.database.write() as connection:
        connection.exec_driver_sql("UPDATE fleet SET calls = 10")
    depot.keep(*wabas(3, start=60_000))
    with depot.bay.ledger.database.write() as connection:
        connection.exec_driver_sql("UPDATE fleet SET calls = 10")

    planned = sum(len(depot.turn()) for _ in range(31))

    assert planned == 3 or planned == 4, "31 s at one call a second, ten calls each"


def test_what_others_leave_bounds_the_pace(depot: Depot) -> None:
    depot.keep(*wabas(50))
    depot.gate.others = depot.gate.limit - 360  # a tenth of a call a second is left

    assert sum(len(depot.turn()) for _ in range(100)) in range(9, 13)


# ── nothing heaps up ────────────────────────────────────────────────────────────────────────────────────────


def shut_by(scope: str, delay: float | None = None) -> Any:
    """A gate that something holds, whoever calls."""
    return lambda _call: a_wait(delay, because=Because.PAUSE, scope=scope, reason=f"{scope} is paused by anna")


@pytest.mark.parametrize("scope", ["all", "queue:template_sync", f"app:{APP}", "capability:template_reads"])
def test_what_is_paused_is_not_planned_and_goes_on_without_a_burst(depot: Depot, scope: str) -> None:
    depot.keep(*wabas(50))
    depot.gate.shut = shut_by(scope)

    planned = [depot.turn(600) for _ in range(5)]
    plan = depot.planner.plan()
    depot.gate.shut = lambda _call: None
    after = [len(depot.turn()) for _ in range(10)]

    assert planned == [[]] * 5
    assert plan.obstacles == {APP: f"{scope} is paused by anna"}
    assert after == [5, *[1] * 9], "five seconds are saved up, no more"


def test_nothing_is_planned_without_workers(depot: Depot) -> None:
    depot.keep(*wabas(5))
    depot.presence.slots.clear()

    assert depot.turn() == []
    assert depot.planner.plan().obstacles == {APP: "no worker is alive for template_sync"}


def test_a_budget_that_is_empty_plans_nothing_and_a_short_wait_does_not_matter(depot: Depot) -> None:
    depot.keep(*wabas(5))
    depot.gate.shut = lambda _call: a_wait(30)
    empty = depot.turn()
    depot.gate.shut = lambda _call: a_wait(0.5)

    assert empty == []
    assert depot.turn() == wabas(2)


def test_a_breaker_that_is_being_probed_plans_nothing_however_soon_it_is_asked_again(depot: Depot) -> None:
    depot.keep(*wabas(5))
    depot.gate.shut = lambda _call: a_wait(0.5, because=Because.BREAKER)

    assert depot.turn() == []


def test_a_partner_that_is_paused_does_not_stand_in_the_others_way(depot: Depot) -> None:
    depot.keep(*wabas(200))
    depot.bay.pass_time(1)
    depot.keep(*wabas(3, start=60_000), partner="bolt")
    scope = Scope.of("partner:acme")
    depot.bay.ledger.decisions.pause(scope, reason="flood", actor="anna", now=depot.bay.clock.now())

    assert [each for _ in range(6) for each in depot.turn()] == wabas(3, start=60_000)

    depot.bay.ledger.decisions.resume(scope, reason="over", actor="anna", now=depot.bay.clock.now())
    assert depot.turn(2) == wabas(5), "five seconds are saved up, no more"


def test_a_partners_own_budget_holds_his_wabas_alone(depot: Depot) -> None:
    depot.keep(*wabas(200))
    depot.bay.pass_time(1)
    depot.keep(*wabas(2, start=60_000), partner="bolt")

    def shut(call: Call) -> Wait | None:
        return a_wait(900, scope="partner:acme") if call.partner == "acme" else None

    depot.gate.shut = shut

    assert [each for _ in range(5) for each in depot.turn()] == wabas(2, start=60_000)


def test_a_waba_whose_limit_is_reached_waits_alone(depot: Depot) -> None:
    depot.keep("50000", "50001")
    depot.gate.shut = lambda call: a_wait(900, scope=f"waba:{APP}:50000") if call.waba == "50000" else None

    planned = [each for _ in range(5) for each in depot.turn()]
    depot.gate.shut = lambda _call: None

    assert planned == ["50001"]
    assert depot.kept("50000").due.why == "the app's budget is spent"
    assert depot.turn(900) == ["50000"]


# ── what others have asked for ──────────────────────────────────────────────────────────────────────────────


def test_a_sync_that_waits_already_is_left_as_it_is(depot: Depot) -> None:
    depot.keep("77777")
    asked = depot.bay.accept(waba="77777")

    assert depot.turn(5) == []
    assert depot.bay.get(asked).callers == 1
    assert depot.kept("77777").operation_id == asked.id
    depot.sync()
    assert depot.turn(5) == [], "it is fresh now, whoever has asked"


def test_a_sync_that_somebody_asked_for_is_as_good_as_a_planned_one(depot: Depot) -> None:
    depot.keep("77777")
    depot.turn(5)
    depot.sync()
    depot.bay.pass_time(3000)
    depot.bay.accept(waba="77777")
    depot.sync()

    assert depot.turn(700) == []
    assert depot.turn(3000) == ["77777"]


# ── what ends badly ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_sync_that_fails_is_planned_again_after_a_rest_that_doubles(depot: Depot) -> None:
    depot.keep("77777")
    rests = []
    for _ in range(5):
        waited = 0
        while not depot.turn(600):
            waited += 600
        rests.append(waited)
        released = depot.release()
        begun = depot.bay.ledger.operations.begin(
            released.id,
            released.fence,
            worker="w",
            pauses=(),
            now=depot.bay.clock.now(),
            lease=timedelta(seconds=15),
        )
        failed = Failed({"message": "Forbidden"})
        assert isinstance(begun, Operation)
        depot.bay.ledger.operations.record(begun, failed, worker="w", now=depot.bay.clock.now())

    assert rests == [0, 3000, 6600, 13_800, 21_000], "an hour, two, four, and at most six"


def test_a_planned_sync_whose_operation_is_gone_is_planned_anew(depot: Depot) -> None:
    depot.keep("77777")
    depot.turn(5)
    with depot.bay.ledger.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM operations")

    assert depot.turn(5) == ["77777"]


# ── wishes ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_person_can_wish_for_more_and_for_less(depot: Depot) -> None:
    from wabajobs.ledger import Wish

    depot.keep("50000")
    depot.keep("50001", every=timedelta(hours=5))
    depot.turn(3)
    depot.turn(3)
    depot.sync()
    plan = {"settings": depot.bay.settings.planner, "now": depot.bay.clock.now()}
    wishes = depot.bay.ledger.fleet

    wishes.wish(Wish(app="", every=timedelta(minutes=10), share=None, actor="bob", reason="a fair"), **plan)
    sooner = depot.kept("50000").due
    wishes.wish(Wish(app=APP, every=timedelta(days=1), share=0.1, actor="bob", reason="enough"), **plan)
    later = depot.kept("50000").due

    assert (sooner.every, later.every) == (timedelta(minutes=10), timedelta(days=1))
    assert later.why == "every 24 h, as bob (enough) asks"
    assert depot.kept("50001").due.every == timedelta(hours=5), "its own wish outranks them"
    assert wishes.wishes(depot.bay.settings.planner).share(APP) == 0.1


# ── the outlook ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_wish_that_is_out_of_reach_is_told_once(depot: Depot, caplog: pytest.LogCaptureFixture) -> None:
    depot.keep(*wabas(100), every=timedelta(seconds=10))

    for _ in range(3):
        depot.planner.survey()
    depot.keep(*wabas(100), every=timedelta(hours=1))
    depot.planner.survey()

    told = [record.getMessage() for record in caplog.records if "freshness_changed" in record.getMessage()]
    assert ["reachable=False" in line for line in told] == [True, False]
    assert (
        "100 WABAs x 1.0 pages at 50 % of 7,200 calls per hour: one round takes 2 min; you asked for 10 s"
        in told[0]
    )
    [kept] = depot.bay.ledger.fleet.outlooks()
    assert (kept["wabas"], kept["reachable"]) == (100, True)


def test_keeping_up_counts_in_the_background_and_outlives_outages(depot: Depot) -> None:
    from tests.support.waiting import until

    depot.keep("50000")
    depot.presence.away = True
    depot.planner.keep_up()
    depot.presence.away = False
    depot.monotonic += 100
    depot.planner.keep_up()

    until(depot.bay.ledger.fleet.outlooks, what="the fleet is counted")


def test_switched_off_it_does_nothing(bay: Bay) -> None:
    depot = Depot(bay, planner_settings={"enabled": False})
    depot.keep(*wabas(3))
    depot.bay.pass_time(100)

    depot.planner.keep_up()

    assert depot.open() == []


# ── whatever happens ────────────────────────────────────────────────────────────────────────────────────────

happenings = st.lists(
    st.one_of(
        st.tuples(st.just("pass"), st.sampled_from((1, 7, 60, 900))),
        st.tuples(st.just("pause"), st.sampled_from((60, 4000))),
        st.tuples(st.just("sync"), st.just(0)),
        st.tuples(st.just("doubt"), st.integers(0, 11)),
        st.tuples(st.just("ask"), st.integers(0, 11)),
    ),
    max_size=12,
)


@pytest.fixture(scope="module")
def module_ledger(sqlite_files: SqliteFiles) -> Iterator[Ledger]:
    database = Database(sqlite_files.fresh())
    yield Ledger(database)
    database.close()


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(script=happenings, rate=st.sampled_from((0.02, 0.1, 1.0)), jitter=st.sampled_from((0.0, 0.3)))
def test_nobody_starves_and_there_is_never_a_herd(
    module_ledger: Ledger, script: Sequence[tuple[str, int]], rate: float, jitter: float
) -> None:
    with module_ledger.database.write() as connection:
        for table in ("fleet", "events", "staged_pages", "operations", "template_lists"):
            connection.exec_driver_sql(f"DELETE FROM {table}")
    clock = HandClock()
    depot = Depot(Bay(module_ledger, clock=clock), rate=rate, planner_settings={"jitter": jitter, "waiting": 5})
    fleet = wabas(12)
    depot.keep(*fleet)
    planned: list[tuple[datetime, str]] = []

    def turn(seconds: float) -> None:
        clock.advance(timedelta(seconds=seconds))
        due = [
            one.waba for one in module_ledger.fleet.stalest(APP, at_most=100, now=clock.now())
        ]  # what is planned is the head of this
        new = depot.turn(0)
        busy = [waba for waba in due if depot.kept(waba).operation_id and waba not in new]
        head = [waba for waba in due if waba not in busy]
        assert new == head[: len(new)], "the stalest first"
        planned.extend((clock.now(), waba) for waba in new)

    for name, value in script:
        if name == "pass":
            for _ in range(3):
                turn(value)
        elif name == "pause":
            depot.gate.shut = shut_by("all")
            before = len(planned)
            turn(value)
            depot.gate.shut = lambda _call: None
            assert len(planned) == before
        elif name == "sync":
            depot.sync()
        elif name == "ask":
            new = checked(
                Request(kind=QUEUE, partner="acme", waba=fleet[value]),
                kinds=depot.bay.kinds,
                settings=depot.bay.settings,
            )
            module_ledger.operations.accept([new], now=clock.now())
        else:
            with module_ledger.database.write() as connection:
                connection.exec_driver_sql(
                    f"UPDATE fleet SET calls = {1 + value % 3} WHERE waba = '{fleet[value]}'"
                )

    # Never a herd: in no span more than its pace, and a moment's.
    for i, (since, _) in enumerate(planned):
        for j in range(i, len(planned)):
            span = (planned[j][0] - since).total_seconds()
            assert j - i + 1 <= rate * span + max(1.0, rate * 5) + 1
    # Nobody starves: left alone, each is fresh again after one round.
    depot.sync()
    begun = clock.now()
    step = max(60.0, 1 / rate)
    for _ in range(int(3700 / step) + 40):
        turn(step)
        depot.sync()
    for waba in fleet:
        success = depot.kept(waba).facts.success_at
        assert success is not None
        assert success > begun - timedelta(seconds=1) or depot.kept(waba).due.at > clock.now()  # type: ignore[operator]
    assert {one.state for one in depot.open()} <= {State.WAITING}


# ── by another app ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_fleet_that_is_routed_is_planned_by_the_other_app_and_from_its_budget(bay: Bay) -> None:
    other = "20002"
    depot = Depot(bay, planner_settings={"every_seconds": 60})
    tables = {app: {"token": {"env": "TOKEN"}} for app in (APP, other)}
    bay.settings = some_settings(apps=tables, planner={"share": 0.5, "jitter": 0.0, "every_seconds": 60})
    depot.planner = depot.another()
    depot.planner.plan()
    depot.keep("77777")
    # The app's own budget is empty, and that of the other is not.
    depot.gate.shut = lambda call: a_wait(60) if call.app == APP else None
    assert depot.turn() == []

    route = Route(from_app=APP, to_app=other, reason="limit", actor="anna", created_at=bay.clock.now())
    bay.ledger.routes.put(route)

    assert depot.turn() == ["77777"]
    [planned] = depot.open()
    assert (planned.app, planned.routed_from) == (other, APP)
    assert depot.kept("77777").app == APP, "it stays at home"
