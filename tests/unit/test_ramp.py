"""A ramp: what was paused goes on little by little, and never runs ahead of Meta."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from hypothesis import settings as quickly
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support.databases import SqliteFiles
from tests.support.fakes import FakeGate
from tests.unit.conftest import APP, Bay, some_settings
from wabajobs.controls import Controls
from wabajobs.decisions import AtEnd, Pause, PauseMode, Scope
from wabajobs.errors import GateUnavailable, InvalidRequest
from wabajobs.gate import AppReading
from wabajobs.kinds import catalogue
from wabajobs.ledger import Database, Ledger
from wabajobs.ramp import Ramps

STEP = 120
SYNC = Scope.of("queue", "template_sync")
LIMIT = 300
"""Calls an hour: the first step, a tenth for two minutes, is a single one."""


@dataclass
class Hill:
    """Ramps on a real ledger, with a gate of our own; the dispatcher's look is taken by hand."""

    bay: Bay
    gate: FakeGate = field(default_factory=lambda: FakeGate(limit=LIMIT))

    def __post_init__(self) -> None:
        clock, ledger = self.bay.clock, self.bay.ledger
        self.ramps = Ramps(ledger=ledger, gate=self.gate, kinds=catalogue, settings=some_settings(), clock=clock)
        self.decisions = ledger.decisions

    def backlog(self, number: int, *, partner: str = "acme") -> None:
        first = 10_000_000 + 1000 * len(self.bay.ledger.operations.find(at_most=10_000))
        for nth in range(number):
            self.bay.accept(partner=partner, waba=str(first + nth))

    def pause(self, scope: Scope = SYNC, **more: object) -> Pause:
        return self.decisions.pause(scope, reason="incident 7", actor="anna", now=self.bay.clock.now(), **more)  # type: ignore[arg-type]

    def resume(self, *pauses: Pause) -> list[Pause]:
        return self.ramps.begin(pauses, reason="Meta is well", actor="anna")

    def later(self, seconds: float = STEP) -> None:
        self.bay.pass_time(seconds)
        self.ramps.keep_up()

    @property
    def live(self) -> list[Pause]:
        return self.decisions.pauses(now=self.bay.clock.now())

    @property
    def percents(self) -> list[int]:
        return [one.percent for one in self.live]


@pytest.fixture
def hill(ledger: Ledger) -> Hill:
    return Hill(Bay(ledger))


def test_it_goes_on_step_by_step_and_is_lifted_after_the_last(hill: Hill) -> None:
    hill.backlog(30)
    hill.resume(hill.pause())

    seen = [hill.percents]
    for _ in range(4):
        hill.later(STEP - 1)
        seen.append(hill.percents)
        hill.later(1)
        seen.append(hill.percents)

    assert seen == [[10], [10], [25], [25], [50], [50], [75], [75], []]
    told = [(one.action, one.actor, (one.detail or {}).get("percent")) for one in hill.bay.ledger.audit.entries()]
    assert told == [
        ("pause", "anna", 0),
        ("resume", "anna", 10),
        ("ramp", "ramp", 25),
        ("ramp", "ramp", 50),
        ("ramp", "ramp", 75),
        ("ramp", "ramp", 100),
    ]


def test_where_hardly_anything_waits_it_is_lifted_at_once(hill: Hill) -> None:
    hill.backlog(1)

    assert hill.resume(hill.pause()) == []
    assert hill.live == []


def test_a_ramp_is_over_when_nothing_waits_any_more(hill: Hill) -> None:
    hill.backlog(30)
    hill.resume(hill.pause())
    ids = [one.id for one in hill.bay.ledger.operations.find()]
    hill.bay.ledger.operations.cancel(ids, reason="done elsewhere", actor="anna", now=hill.bay.clock.now())

    hill.later()

    assert hill.live == []


@pytest.mark.parametrize("state", ["open", "half-open"])
@pytest.mark.parametrize("scope", [f"app:{APP}", f"app:{APP}/template_reads"])
def test_it_steps_back_at_a_refusal_of_metas_and_waits_for_its_end(hill: Hill, scope: str, state: str) -> None:
    hill.backlog(30)
    hill.resume(hill.pause())
    hill.later()
    hill.later()
    assert hill.percents == [50]

    hill.gate.broken[scope] = state
    hill.later(1)
    assert hill.percents == [25]
    for _ in range(5):
        hill.later()
    assert hill.percents == [25]

    hill.gate.broken.clear()
    hill.later(1)
    hill.later(STEP - 1)
    assert hill.percents == [25], "a whole step after Meta is well"
    hill.later(1)
    assert hill.percents == [50]
    [*_, back, _again, _up] = hill.bay.ledger.audit.entries()
    assert "is open" in back.reason or "is half-open" in back.reason


def test_a_refusal_elsewhere_does_not_concern_it(hill: Hill) -> None:
    hill.backlog(30)
    hill.resume(hill.pause())
    hill.gate.broken[f"app:{APP}/uploads"] = "open"

    hill.later()

    assert hill.percents == [25]


def test_nothing_more_is_let_run_while_the_budget_is_nearly_spent(hill: Hill) -> None:
    hill.backlog(30)
    hill.resume(hill.pause())
    hill.gate.others = LIMIT - 10
    hill.later()
    assert hill.percents == [10]

    hill.gate.others = 0
    hill.later(1)
    assert hill.percents == [25]


def test_when_its_time_is_over_a_pause_becomes_a_ramp_unless_it_was_to_be_lifted(hill: Hill) -> None:
    hill.backlog(30)
    hour = timedelta(hours=1)
    hill.pause(lasting=hour, at_end=AtEnd.RAMP)
    hill.pause(Scope.of("partner", "acme"), lasting=hour, at_end=AtEnd.LIFT)

    hill.later(3599)
    assert hill.percents == [0, 0]
    hill.bay.pass_time(1)
    assert hill.percents == [0], "nobody has looked yet, and it is not open meanwhile"
    hill.ramps.keep_up()

    assert hill.percents == [10]
    assert hill.live[0].ends_at is None


def test_partners_go_on_one_after_the_other(hill: Hill) -> None:
    partners = ("acme", "bolt", "cody")
    for partner in partners:
        hill.backlog(20, partner=partner)
    hill.resume(*(hill.pause(Scope.of("partner", partner)) for partner in partners))

    assert hill.percents == [10, 0, 0]
    for _ in range(4):
        hill.later()
    assert [(one.scope.partner, one.percent) for one in hill.live] == [("bolt", 10), ("cody", 0)]
    for _ in range(8):
        hill.later()
    assert hill.live == []


def test_other_layers_stay_as_they_are(hill: Hill) -> None:
    hill.backlog(30)
    everything, _queue = hill.pause(Scope.of("all")), hill.pause()

    hill.resume(everything)
    for _ in range(4):
        hill.later()

    assert [(str(one.scope), one.percent) for one in hill.live] == [("queue:template_sync", 0)]


def test_while_the_gate_is_away_nothing_more_is_let_run(hill: Hill, monkeypatch: pytest.MonkeyPatch) -> None:
    hill.backlog(1)

    def away(_app: str) -> AppReading:
        raise GateUnavailable("Redis cannot be reached")

    monkeypatch.setattr(hill.gate, "read", away)
    hill.resume(hill.pause())
    for _ in range(3):
        hill.later()

    assert hill.percents == [10]


class AnyOrder(RuleBasedStateMachine):
    """Whatever happens in whatever order: never a jump, never up while a breaker is open, back at each trip."""

    files: SqliteFiles

    @initialize(backlog=st.integers(5, 40))
    def begin(self, backlog: int) -> None:
        self.database = Database(self.files.fresh())
        self.hill = Hill(Bay(Ledger(self.database)))
        self.hill.backlog(backlog)
        self.hill.resume(self.hill.pause())
        self.before = self.hill.percents

    def teardown(self) -> None:
        if hasattr(self, "database"):
            self.database.close()

    @rule(seconds=st.integers(0, 300))
    def time_passes(self, seconds: int) -> None:
        self.hill.later(seconds)

    @rule(state=st.sampled_from(["open", "half-open"]))
    def meta_refuses(self, state: str) -> None:
        was_well = not self.hill.gate.broken
        self.hill.gate.broken[f"app:{APP}"] = state
        percents = self.hill.percents
        self.hill.ramps.keep_up()
        if was_well and percents and percents[0] > 10:
            assert self.hill.percents[0] < percents[0]

    @rule()
    def meta_is_well(self) -> None:
        self.hill.gate.broken.clear()
        self.hill.ramps.keep_up()

    @rule()
    def another_dispatcher_leads(self) -> None:
        self.hill.__post_init__()
        self.hill.ramps.keep_up()

    @precondition(lambda self: self.hill.live)
    @invariant()
    def it_moves_by_single_steps_and_not_up_into_trouble(self) -> None:
        steps = [10, 25, 50, 75]
        [before], [now] = self.before, self.hill.percents
        assert steps.index(now) - steps.index(before) <= 1
        assert not (self.hill.gate.broken and now > before)
        self.before = [now]


@pytest.fixture(autouse=True)
def _files(sqlite_files: SqliteFiles) -> Iterator[None]:
    AnyOrder.files = sqlite_files
    yield


class TestAnyOrder(AnyOrder.TestCase):  # type: ignore[name-defined, misc]
    settings = quickly(max_examples=20, stateful_step_count=15, deadline=None)


# ── what can be asked of it ─────────────────────────────────────────────────────────────────────────────────


def _controls(hill: Hill) -> Controls:
    parts = {"gate": hill.gate, "bell": None, "clock": hill.bay.clock}
    return Controls(ledger=hill.bay.ledger, kinds=catalogue, ramps=hill.ramps, **parts)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", [one for one in PauseMode if one is not PauseMode.HOLD])
@pytest.mark.parametrize("name", catalogue().names)
def test_a_mode_that_the_kind_cannot_bear_is_refused_with_why(hill: Hill, name: str, mode: PauseMode) -> None:
    legal = mode in catalogue()[name].pause_modes
    assert legal is (mode is not PauseMode.DROP or name == "template_sync")
    if legal:
        return

    with pytest.raises(InvalidRequest, match=rf"{name} cannot bear it .*it is for template_sync"):
        _controls(hill).pause(Scope.of("queue", name), reason="too much", actor="anna", mode=mode)
    with pytest.raises(InvalidRequest, match="cannot bear it"):
        _controls(hill).pause(Scope.of("partner", f"acme/{name}"), reason="too much", actor="anna", mode=mode)
    assert hill.live == []


def test_everything_cannot_be_dropped(hill: Hill) -> None:
    with pytest.raises(InvalidRequest, match=r"all cannot be paused .* drop: .*onboarding.* cannot bear it"):
        _controls(hill).pause(Scope.of("all"), reason="too much", actor="anna", mode=PauseMode.DROP)
