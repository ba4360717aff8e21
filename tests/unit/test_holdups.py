"""What is held, of which queue, how many, by whom and why: pauses, the gate, rows, and nobody who works."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tests.support.fakes import FakePresence, a_wait
from tests.unit.conftest import APP, WABA, Bay
from tests.unit.yard import KIND, Yard
from wabajobs.capability import Capability
from wabajobs.decisions import PauseMode, Scope
from wabajobs.errors import GateUnavailable
from wabajobs.gate import Because, Call, Wait
from wabajobs.outcome import Hold
from wabajobs.seeing import kept
from wabajobs.seeing.holdups import Holdup, Holdups
from wabajobs.settings import DispatchSettings


@pytest.fixture
def yard(bay: Bay) -> Yard:
    return Yard(bay, presence=FakePresence({KIND: [4], "onboarding": [1]}))


@pytest.fixture
def holdups(yard: Yard) -> Holdups:
    return Holdups(
        ledger=yard.bay.ledger,
        gate=yard.gate,
        presence=yard.presence,  # type: ignore[arg-type]
        kinds=yard.kinds,
        clock=yard.bay.clock,
        settings=DispatchSettings(),
        monotonic=lambda: yard.moment,
    )


def pause(yard: Yard, scope: str, **changes: Any) -> None:
    facts = {"reason": "app limit", "actor": "anna", "now": yard.bay.clock.now()}
    yard.bay.ledger.decisions.pause(Scope.of(scope), **(facts | changes))


def told(holdups: Holdups) -> dict[str, int]:
    return {one.key: one.operations for one in holdups.look().holdups}


def the_only(holdups: Holdups) -> Holdup:
    (only,) = holdups.look().holdups
    return only


def test_what_merely_waits_its_turn_is_not_held(yard: Yard, holdups: Holdups) -> None:
    yard.accept(3)

    assert told(holdups) == {}


def test_a_pause_holds_what_it_covers_and_says_who_decided_it(yard: Yard, holdups: Holdups) -> None:
    yard.accept(3)
    (other,) = yard.accept(1, partner="bolt")
    yard.bay.clock.advance(timedelta(minutes=5))
    pause(yard, "partner:acme", notice="later")

    holdup = the_only(holdups)

    assert holdup.operations == 3
    assert holdup.cause.by == "pause"
    assert holdup.cause.notice == "later"
    sentence = holdup.sentence(yard.bay.clock.now())
    assert sentence.startswith("3 held, oldest 5 min. A person: partner:acme is paused by anna")
    assert "app limit" in sentence
    assert holdups.look().why(other) is None


def test_layers_are_told_by_the_one_that_lasts_longest_and_each_operation_once(
    yard: Yard, holdups: Holdups
) -> None:
    yard.accept(3)
    yard.accept(2, partner="bolt")
    pause(yard, f"queue:{KIND}", lasting=timedelta(hours=1))
    pause(yard, "partner:acme")

    assert told(holdups) == {f"{KIND}:pause:partner:acme": 3, f"{KIND}:pause:queue:{KIND}": 2}


def test_a_pause_of_a_waba_holds_its_operations_and_no_others(yard: Yard, holdups: Holdups) -> None:
    yard.accept(2, waba="524126980791429")
    yard.accept(3, waba="524126980791430")
    pause(yard, "waba:524126980791429")

    assert told(holdups) == {f"{KIND}:pause:waba:524126980791429": 2}


def test_what_a_pause_leaves_is_told_beside_it_however_much_alike_they_are(yard: Yard, holdups: Holdups) -> None:
    yard.accept(1, waba="524126980791429")
    yard.accept(1, waba="524126980791430")
    pause(yard, "waba:524126980791429")
    yard.gate.shut = shut(Because.BREAKER, f"app:{APP}")

    assert told(holdups) == {f"{KIND}:pause:waba:524126980791429": 1, f"{KIND}:breaker:app:{APP}": 1}


@pytest.mark.parametrize("scope", [f"queue:{KIND}", f"waba:{WABA}"])
def test_what_has_begun_is_not_held_by_a_pause_that_lets_it_be_finished(
    yard: Yard, holdups: Holdups, scope: str
) -> None:
    yard.accept(1)
    [released] = yard.release()
    begun = yard.begin(released)
    now = yard.bay.clock.now()
    yard.bay.ledger.operations.record_checkpoint(begun.id, begun.fence, {"done": {}}, capability=begun.capability)
    hold = Hold(reason="code 2", by="retry", until=now + timedelta(seconds=9))
    yard.bay.ledger.operations.record(begun, hold, worker="w", now=now)
    yard.accept(3)
    pause(yard, scope, mode=PauseMode.DRAIN)

    drained = told(holdups)
    pause(yard, "partner:acme")
    yard.moment += 1_000

    assert drained == {f"{KIND}:pause:{scope}": 3, f"{KIND}:retry:app:{APP}/template_reads": 1}
    both = told(holdups)
    assert (both[f"{KIND}:pause:partner:acme"] >= 1, sum(both.values())) == (True, 4)


def test_a_pause_that_lets_a_part_run_holds_nothing_by_itself(yard: Yard, holdups: Holdups) -> None:
    yard.accept(2)
    pause(yard, f"queue:{KIND}", mode=PauseMode.PROBE)

    assert told(holdups) == {}


def shut(because: Because, scope: str, seconds: float | None = 60, **more: Any) -> Callable[[Call], Wait]:
    return lambda call: a_wait(seconds, because=because, scope=scope, **more)


def test_what_the_gate_refuses_is_held_by_it_and_meta_is_told_apart_from_us(yard: Yard, holdups: Holdups) -> None:
    yard.accept(2)

    yard.gate.shut = shut(Because.BREAKER, f"app:{APP}", reason="the breaker is open (code 4)")
    refused = the_only(holdups)
    yard.gate.shut = shut(Because.HELD_OPEN, f"app:{APP}", reason="the breaker of app:1 is held open by anna")
    switched = the_only(holdups)
    yard.gate.shut = shut(Because.BUDGET, f"app:{APP}", reason="the budget is spent")
    spent = the_only(holdups)

    assert [one.cause.origin for one in (refused, switched, spent)] == ["meta", "person", "ours"]
    assert refused.key == f"{KIND}:breaker:app:{APP}"
    assert refused.cause.until == yard.bay.clock.now() + timedelta(seconds=60)
    assert "Meta: the breaker is open (code 4); next at" in refused.sentence(yard.bay.clock.now())


def test_the_moment_between_two_paced_calls_holds_nothing(yard: Yard, holdups: Holdups) -> None:
    yard.accept(2)
    yard.gate.shut = shut(Because.BUDGET, f"app:{APP}", seconds=0.5)

    assert told(holdups) == {}


def test_a_breaker_whose_time_is_over_holds_for_one_more_look(yard: Yard, holdups: Holdups) -> None:
    yard.accept(2)
    yard.gate.shut = shut(Because.BREAKER, f"app:{APP}")
    assert told(holdups)
    yard.gate.shut = lambda call: None

    assert [told(holdups), told(holdups)] == [{f"{KIND}:breaker:app:{APP}": 2}, {}]


def test_only_the_partner_without_budget_is_held(yard: Yard, holdups: Holdups) -> None:
    yard.accept(2)
    yard.accept(3, partner="bolt")
    spent = a_wait(60, scope="partner:bolt")
    yard.gate.shut = lambda call: spent if call.partner == "bolt" else None

    assert told(holdups) == {f"{KIND}:budget:partner:bolt": 3}
    parts = yard.bay.ledger.operations.census()
    refused = kept.refused(parts, gate=yard.gate, short=yard.settings.short_wait)
    assert refused == {(APP, KIND): {"budget": 3}}, "as the status says, too"


def test_rows_that_are_held_tell_their_own_reason(yard: Yard, holdups: Holdups) -> None:
    first, second = yard.accept(2)
    for one in yard.release():
        hold = Hold(
            reason="the call failed (code 2)", by="retry", until=yard.bay.clock.now() + timedelta(seconds=9)
        )
        yard.bay.ledger.operations.record(yard.begin(one), hold, worker="w", now=yard.bay.clock.now())

    holdup = the_only(holdups)

    assert (holdup.operations, holdup.cause.by, holdup.cause.origin) == (2, "retry", "ours")
    assert f"the call failed (code 2) (so says {first.id}, the oldest)" in holdup.cause.reason
    assert holdup.cause.until == yard.bay.clock.now() + timedelta(seconds=9)
    assert [one.id for one in holdups.examples(holdup, at_most=5)] == [first.id, second.id]


def test_a_queue_without_a_living_worker_is_held_and_says_so_besides_another_reason(
    yard: Yard, holdups: Holdups
) -> None:
    yard.accept(2, kind="onboarding", capability=Capability.ONBOARDING)
    yard.presence.slots["onboarding"] = []
    nobody = the_only(holdups)
    yard.gate.shut = shut(Because.BUDGET, f"app:{APP}", reason="the budget is spent")
    both = the_only(holdups)

    assert nobody.key == "onboarding:workers:onboarding"
    assert "no worker of onboarding is alive" in nobody.cause.reason
    assert both.cause.by == "budget"
    assert both.cause.reason == "the budget is spent; and no worker of onboarding is alive"


def test_without_the_gate_everything_that_waits_is_held_by_it(yard: Yard, holdups: Holdups) -> None:
    yard.accept(2)

    def away(call: Call) -> Wait | None:
        raise GateUnavailable("Redis cannot be reached")

    yard.gate.shut = away

    assert the_only(holdups).cause.reason == "no calls are made: Redis cannot be reached"


def test_a_count_that_took_long_rests_while_reasons_are_looked_up_each_time(
    yard: Yard, holdups: Holdups, monkeypatch: pytest.MonkeyPatch
) -> None:
    yard.accept(2)
    pause(yard, f"queue:{KIND}")
    census = yard.bay.ledger.operations.census

    def slowly(*scopes: Scope) -> Any:
        yard.moment += 0.5
        return census(*scopes)

    monkeypatch.setattr(yard.bay.ledger.operations, "census", slowly)
    assert the_only(holdups).operations == 2
    yard.accept(1)
    yard.moment += 99
    assert the_only(holdups).operations == 2
    yard.moment += 2
    assert the_only(holdups).operations == 3
    for one in yard.bay.ledger.decisions.pauses(now=yard.bay.clock.now()):
        yard.bay.ledger.decisions.resume(one.scope, reason="over", actor="anna", now=yard.bay.clock.now())
    assert told(holdups) == {}
