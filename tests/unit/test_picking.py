"""What is picked to go: nothing that is paused, capped or refused, and everything else beside it."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from math import inf, nan
from typing import Any

import pytest
from pydantic import ValidationError

from tests.support.fakes import a_wait
from tests.unit.conftest import WABA, Bay
from tests.unit.yard import KIND, Yard
from wabajobs.capability import Capability, ServiceClass
from wabajobs.decisions import PauseMode, Scope
from wabajobs.errors import InvalidRequest
from wabajobs.gate import Because, Call, Wait
from wabajobs.ledger import Ledger, NewOperation, Share
from wabajobs.operation import Operation, State
from wabajobs.outcome import Hold
from wabajobs.settings import DispatchSettings, PartnerSettings


@pytest.fixture
def yard(ledger: Ledger) -> Yard:
    yard = Yard(Bay(ledger))
    yard.presence.slots[KIND] = [8]
    return yard


def pause(yard: Yard, scope: str, **more: Any) -> None:
    yard.bay.ledger.decisions.pause(
        Scope.of(scope), reason="incident 7", actor="ops", now=yard.bay.clock.now(), **more
    )


def share(yard: Yard, partner: str, **changes: object) -> None:
    facts = {"actor": "ops", "reason": "contract", "created_at": yard.bay.clock.now()}
    yard.bay.ledger.shares.set(Share(partner=partner, **(facts | changes)))  # type: ignore[arg-type]


def refusing(test: Callable[[Call], bool], wait: Wait) -> Callable[[Call], Wait | None]:
    return lambda call: wait if test(call) else None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        *(({"weight": weight}, "a weight is more than 0") for weight in (0.0, -1.0, nan, inf, 1001.0)),
        ({"at_most": 0}, "a cap is at least 1"),
    ],
)
def test_a_share_with_which_nobody_could_be_served_is_refused(
    yard: Yard, changes: dict[str, float], why: str
) -> None:
    share(yard, "acme", weight=3.0)

    with pytest.raises(InvalidRequest, match=why):
        share(yard, "acme", **changes)
    if "weight" in changes:
        with pytest.raises(ValidationError, match="weight"):
            PartnerSettings.model_validate(changes)

    assert [one.weight for one in yard.bay.ledger.shares.current()] == [3.0]


# ── pauses ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("scope", "left"),
    [
        ("all", set()),
        (f"queue:{KIND}", set()),
        ("queue:onboarding", {"plain", "partner", "app", "capability", "waba", "none"}),
        ("partner:bolt", {"plain", "app", "capability", "waba", "none"}),
        (f"partner:bolt/{KIND}", {"plain", "app", "capability", "waba", "none"}),
        ("partner:bolt/onboarding", {"plain", "partner", "app", "capability", "waba", "none"}),
        ("app:10002", {"plain", "partner", "capability", "waba", "none"}),
        ("capability:uploads", {"plain", "partner", "app", "waba", "none"}),
        ("waba:55555", {"plain", "partner", "app", "capability", "none"}),
        (f"waba:{WABA}", {"waba", "none"}),
    ],
)
def test_a_paused_scope_is_left_out_and_everything_else_goes(yard: Yard, scope: str, left: set[str]) -> None:
    changes: dict[str, dict[str, object]] = {
        "plain": {},
        "partner": {"partner": "bolt"},
        "app": {"app": "10002"},
        "capability": {"capability": Capability.UPLOADS},
        "waba": {"waba": "55555"},
        "none": {"waba": None},
    }
    names = {yard.accept(1, **change)[0].id: name for name, change in changes.items()}
    pause(yard, scope)

    assert {names[one.id] for one in yard.release()} == left


def test_each_of_several_pauses_counts(yard: Yard) -> None:
    for changes in ({"waba": None}, {"partner": "bolt"}, {"app": "10002"}, {}):
        yard.accept(1, **changes)
    for scope in ("partner:bolt", "app:10002", f"waba:{WABA}"):
        pause(yard, scope)

    assert [one.waba for one in yard.release()] == [None]


@pytest.mark.parametrize("scope", ["partner:bolt", "waba:55555"])
def test_what_is_paused_takes_no_slots(yard: Yard, scope: str) -> None:
    yard.accept(30, partner="bolt", waba="55555")
    yard.accept(8)
    pause(yard, scope)

    assert [one.partner for one in yard.release()] == ["acme"] * 8


def test_a_pause_that_the_gate_knew_first_keeps_its_line_back(yard: Yard) -> None:
    wait = a_wait(None, because=Because.PAUSE, scope="partner:bolt")
    yard.gate.shut = refusing(lambda call: call.partner == "bolt", wait)
    yard.accept(3, partner="bolt")
    yard.accept(3)

    assert {one.partner for one in yard.release()} == {"acme"}
    assert {one.state for one in yard.bay.ledger.operations.find()} == {State.WAITING}


def test_of_a_paused_number_nothing_goes_and_what_is_about_others_passes_it(yard: Yard) -> None:
    number = {"payload": {"number": "7777777"}, "coalesces": False}
    paused = yard.accept(3, **number)
    others = yard.accept(3, coalesces=False, payload={"number": "8888888"})
    pause(yard, "number:7777777")

    assert {one.id for one in yard.release()} == {one.id for one in others}
    held = [yard.bay.ledger.operations.get(one.id) for one in paused]
    assert {(one.state, one.hold.by if one.hold else None) for one in held} == {(State.HELD, "pause")}


@pytest.mark.parametrize("scope", ["all", f"queue:{KIND}", "partner:acme", f"waba:{WABA}", "number:7777777"])
def test_what_is_drained_is_finished_and_begins_nothing_new(yard: Yard, scope: str) -> None:
    yard.presence.slots[KIND] = [1]
    yard.accept(4, coalesces=False, payload={"number": "7777777"})
    [released] = yard.release()
    begun, ledger, now = yard.begin(released), yard.bay.ledger, yard.bay.clock.now()
    ledger.operations.record_checkpoint(begun.id, begun.fence, {"done": {}}, capability=begun.capability)
    ledger.operations.record(begun, Hold(reason="no room", by="budget", until=now), worker="w", now=now)
    yard.presence.slots[KIND] = [8]
    pause(yard, scope, mode=PauseMode.DRAIN)

    assert [one.id for one in yard.release()] == [begun.id]
    assert yard.release() == []


def test_what_runs_at_a_percentage_takes_that_share_of_the_slots(yard: Yard) -> None:
    yard.presence.slots = {KIND: [20], "onboarding": [20]}
    pause(yard, f"queue:{KIND}", percent=10)
    yard.accept(30)
    yard.accept(30, kind="onboarding")

    first, second = yard.release(), yard.release()

    assert Counter(one.kind for one in first) == {KIND: 2, "onboarding": 20}
    assert second == []


def test_of_those_that_would_probe_a_breaker_one_goes_and_the_others_wait_for_what_comes_of_it(
    yard: Yard,
) -> None:
    taken: set[str] = set()

    def probing(call: Call) -> Wait | None:
        if call.app in taken:
            return a_wait(1, because=Because.BREAKER)
        return taken.add(call.app)

    yard.gate.shut = probing
    yard.accept(3)
    yard.accept(3, partner="bolt")

    assert len(yard.release()) == 1
    assert yard.dispatcher.release_due().look_again == timedelta(seconds=1)


def test_what_the_gate_slows_waits_in_its_line(yard: Yard) -> None:
    wait = a_wait(30, because=Because.SLOWED, scope="partner:bolt")
    yard.gate.shut = refusing(lambda call: call.partner == "bolt", wait)
    yard.accept(3, partner="bolt")
    yard.accept(3)

    assert {one.partner for one in yard.release()} == {"acme"}
    assert {one.state for one in yard.bay.ledger.operations.find()} == {State.WAITING}


def test_what_is_dropped_is_cancelled_and_nothing_else(yard: Yard) -> None:
    yard.accept(3)
    kept = yard.accept(2, kind="onboarding")
    pause(yard, f"queue:{KIND}", mode=PauseMode.DROP)

    assert yard.dispatcher.drop() == 3

    ended = {one.id: one for one in yard.bay.ledger.operations.find() if one.state.finished}
    assert {one.kind for one in ended.values()} == {KIND}
    assert {one.state for one in ended.values()} == {State.CANCELLED}
    assert {one.error["reason"] for one in ended.values() if one.error} == {
        f"queue:{KIND} is dropped by ops since {yard.bay.clock.now():%H:%M} UTC (incident 7)"
    }
    assert not ended.keys() & {one.id for one in kept}


# ── shares ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_no_more_of_a_partner_are_out_than_his_cap_over_all_queues(yard: Yard) -> None:
    yard.partners = {"acme": PartnerSettings(at_most=2)}
    yard.dispatcher = yard.another()
    yard.presence.slots["onboarding"] = [4]
    yard.accept(5)
    yard.accept(5, kind="onboarding")
    yard.accept(2, partner="bolt")

    first, second = yard.release(), yard.release()
    yard.finish(next(one for one in first if one.partner == "acme"))
    third = yard.release()

    assert Counter(one.partner for one in first) == {"acme": 2, "bolt": 2}
    assert second == []
    assert [one.partner for one in third] == ["acme"]


def test_a_cap_leaves_the_partners_other_lines_a_chance_when_the_gate_shuts_one(yard: Yard) -> None:
    yard.partners = {"acme": PartnerSettings(at_most=1)}
    yard.dispatcher = yard.another()
    yard.gate.shut = refusing(lambda call: call.capability is Capability.UPLOADS, a_wait(60))
    yard.accept(3, capability=Capability.UPLOADS)
    yard.accept(3, capability=Capability.TEMPLATE_WRITES)

    assert [one.capability for one in yard.release()] == [Capability.TEMPLATE_WRITES]


def test_what_is_set_at_run_time_outranks_the_configuration_until_it_is_taken_back(yard: Yard) -> None:
    yard.partners = {"acme": PartnerSettings(weight=3), "bolt": PartnerSettings(at_most=1)}
    yard.dispatcher = yard.another()
    share(yard, "acme", weight=1.0)
    share(yard, "bolt", weight=7.0)
    yard.accept(40)
    yard.accept(40, partner="bolt")

    as_set = yard.release()
    for one in as_set:
        yard.finish(one)
    for partner in ("acme", "bolt"):
        yard.bay.ledger.shares.unset(partner, actor="ops", reason="over", now=yard.bay.clock.now())
    as_configured = yard.release()

    assert Counter(one.partner for one in as_set) == {"bolt": 7, "acme": 1}
    assert Counter(one.partner for one in as_configured) == {"bolt": 1, "acme": 7}


# ── the gate ────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_gate_is_asked_once_for_all_and_twice_for_what_is_alike(yard: Yard) -> None:
    for number in range(4):
        yard.accept(2, waba=f"{30_000 + number}", partner=f"p{number}")

    assert len(yard.release()) == 8
    assert [len(asked) for asked in yard.gate.forecasts] == [8]


def test_a_budget_of_a_partner_refuses_his_lines_only(yard: Yard) -> None:
    yard.gate.shut = refusing(lambda call: call.partner == "bolt", a_wait(60, scope="partner:bolt"))
    for capability in (Capability.UPLOADS, Capability.TEMPLATE_READS, Capability.FLOWS):
        yard.accept(4, partner="bolt", capability=capability)
    yard.accept(8, capability=Capability.UPLOADS)

    turn = yard.dispatcher.release_due()

    assert [one.partner for one in yard.broker.sent] == ["acme"] * 8
    assert turn.look_again == timedelta(seconds=60)
    assert len(yard.gate.forecasts) <= 2


def test_a_refusal_of_a_capability_shuts_it_for_every_partner_with_one_question(yard: Yard) -> None:
    yard.gate.shut = refusing(
        lambda call: call.capability is Capability.UPLOADS, a_wait(60, scope="app:10001/uploads")
    )
    for number in range(50):
        yard.accept(1, partner=f"p{number}", capability=Capability.UPLOADS)

    assert yard.release() == []
    assert len(yard.gate.forecasts) == 1
    yard.accept(3)
    assert len(yard.release()) == 3


def test_a_refusal_about_one_waba_holds_its_operations_and_the_others_of_the_line_go(yard: Yard) -> None:
    wait = a_wait(60, scope="waba:10001:55555", reason="WABA 55555 has used its 200 calls", notice="full")
    yard.gate.shut = refusing(lambda call: call.waba == "55555", wait)
    spent = yard.accept(5, waba="55555")
    yard.accept(8)

    released = yard.release()

    assert [one.waba for one in released] == [WABA] * 8
    held = [yard.bay.get(one) for one in spent]
    assert {one.state for one in held} == {State.HELD}
    assert {(str(one.hold and one.hold.reason), one.hold and one.hold.by) for one in held} == {
        ("WABA 55555 has used its 200 calls", "budget")
    }
    assert {one.due_at for one in held} == {yard.bay.clock.now() + timedelta(seconds=60)}
    yard.gate.shut = lambda call: None
    for one in released:
        yard.finish(one)
    yard.bay.pass_time(60)
    assert len(yard.release()) == 5


def test_a_waba_is_held_in_each_of_its_lines_at_once(yard: Yard) -> None:
    yard.gate.shut = refusing(lambda call: call.waba == "55555", a_wait(60, scope="waba:10001:55555"))
    for capability in (Capability.UPLOADS, Capability.TEMPLATE_WRITES, Capability.FLOWS):
        yard.accept(2, waba="55555", capability=capability)

    yard.release()

    assert {one.state for one in yard.bay.ledger.operations.find()} == {State.HELD}
    assert len(yard.gate.forecasts) == 1


def test_a_waba_with_more_than_one_batch_is_held_and_its_neighbours_go_all_the_same(yard: Yard) -> None:
    yard.gate.shut = refusing(lambda call: call.waba == "55555", a_wait(60, scope="waba:10001:55555"))
    yard.accept(1_200, waba="55555")
    yard.accept(3)

    assert len(yard.release()) == 3
    assert {one.waba for one in yard.bay.ledger.operations.find(state=State.WAITING, at_most=2_000)} == {WABA}


@pytest.mark.parametrize(("seconds", "goes"), [(1.9, True), (2.1, False), (None, False)])
def test_a_short_wait_passes(yard: Yard, seconds: float | None, goes: bool) -> None:
    yard.gate.shut = lambda call: a_wait(seconds)
    yard.accept(1)

    assert bool(yard.release()) == goes


def test_the_shortest_of_all_waits_says_when_to_look_again(yard: Yard) -> None:
    seconds = {Capability.UPLOADS: 40, Capability.FLOWS: 30, Capability.TEMPLATE_READS: 50}
    yard.gate.shut = lambda call: a_wait(seconds[call.capability])
    for capability in seconds:
        yard.accept(2, capability=capability)

    assert yard.dispatcher.release_due().look_again == timedelta(seconds=30)


def test_what_leaves_its_line_while_it_is_picked_makes_no_room_that_is_not_there(yard: Yard) -> None:
    lane = {"lane": "a", "coalesces": True}
    first = yard.accept(1, **lane)[0]
    yard.accept(9)
    yard.accept(4, capability=Capability.UPLOADS)

    def shut(call: Call) -> Wait | None:
        if len(yard.gate.forecasts) == 1 and call.capability is Capability.UPLOADS:
            yard.accept(1, service_class=ServiceClass.INTERACTIVE, **lane)  # joins: another line from now on
        return a_wait(60) if call.capability is Capability.UPLOADS else None

    yard.gate.shut = shut
    released = yard.release()

    assert first.id in {one.id for one in released}
    assert len(released) == yard.out() == 8


def test_a_broker_that_is_away_frees_no_slots(yard: Yard) -> None:
    yard.settings = DispatchSettings(travel_seconds=1)
    yard.dispatcher = yard.another()
    yard.accept(60)
    yard.broker.room = 0
    for _ in range(10):
        yard.moment += 0.1
        yard.release()

    yard.broker.room = 1_000
    yard.moment += 0.1
    yard.release()
    yard.moment += 0.01
    yard.release()

    assert yard.out() == 8


# ── one flood among many ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("spread", [1, 500])
def test_a_flood_of_one_partner_keeps_nobody_else_waiting(yard: Yard, spread: int) -> None:
    flooded = [f"{40_000 + number % spread}" for number in range(2_000)]
    _accept_for(yard, "flood", flooded)
    _work_off(yard, turns=5)
    for number in range(50):
        yard.accept(1, partner=f"other-{number}", waba=f"{50_000 + number}")
    yard.accept(1, partner="flood", waba="60001")

    order = _work_off(yard, turns=14)

    others = [place for place, one in enumerate(order) if one.partner != "flood"]
    assert len(others) == 50
    assert others[-1] < 60, "beside them the flood has had one turn of its own in each round"
    if spread == 1:
        assert "60001" in {one.waba for one in order}, "within the partner, too"


def _accept_for(yard: Yard, partner: str, wabas: list[str]) -> None:
    requests = [
        NewOperation(
            kind=KIND,
            partner=partner,
            app="10001",
            waba=waba,
            service_class=ServiceClass.STANDARD,
            capability=Capability.TEMPLATE_READS,
            payload={},
        )
        for waba in wabas
    ]
    yard.bay.ledger.operations.accept(requests, now=yard.bay.clock.now())


def _work_off(yard: Yard, *, turns: int) -> list[Operation]:
    order = []
    for _ in range(turns):
        yard.bay.pass_time(1)
        released = yard.release()
        order += released
        for one in released:
            yard.finish(one)
    return order
