"""The dispatcher: just in time, no more than there are slots, one leader, and it outlives every outage."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from tests.support.fakes import a_wait
from tests.unit.conftest import APP, Bay
from tests.unit.yard import KIND, Yard
from wabajobs.capability import Capability, ServiceClass
from wabajobs.decisions import Scope
from wabajobs.dispatcher import dispatch
from wabajobs.errors import LedgerUnavailable, NotReady
from wabajobs.gate import Call, Wait
from wabajobs.ledger import RETRY_BUDGET
from wabajobs.operation import Operation, State
from wabajobs.outcome import Hold
from wabajobs.settings import DispatchSettings, PartnerSettings


@pytest.fixture
def yard(bay: Bay) -> Yard:
    return Yard(bay)


def test_no_more_are_out_than_the_workers_have_slots(yard: Yard) -> None:
    yard.presence.slots[KIND] = [2, 3]
    yard.accept(20)

    turns = [yard.dispatcher.release_due().released for _ in range(3)]

    assert turns == [5, 0, 0]
    assert len(yard.broker.sent) == yard.out() == 5


def test_a_slot_that_becomes_free_is_filled(yard: Yard) -> None:
    yard.accept(20)
    yard.dispatcher.release_due()

    yard.bay.perform(yard.broker.sent[0])
    turn = yard.dispatcher.release_due()

    assert turn.released == 1
    assert yard.out() == 4


def test_nothing_goes_out_without_workers(yard: Yard) -> None:
    yard.presence.slots.clear()
    yard.accept(3)

    assert yard.dispatcher.release_due().released == 0
    assert yard.broker.sent == []
    assert yard.out() == 0


def test_each_queue_goes_to_its_own_workers(yard: Yard) -> None:
    yard.accept(3, kind="onboarding")
    yard.accept(3)

    yard.dispatcher.release_due()

    assert {one.kind for one in yard.broker.sent} == {KIND}


def test_what_workers_that_are_gone_still_hold_counts(yard: Yard) -> None:
    yard.accept(10)
    yard.dispatcher.release_due()
    yard.presence.slots[KIND] = [2]

    assert yard.dispatcher.release_due().released == 0


def test_what_is_paused_stays(yard: Yard) -> None:
    yard.accept(2)
    yard.accept(2, partner="bolt")
    yard.bay.ledger.decisions.pause(
        Scope.of("partner:acme"), reason="incident 7", actor="ops", now=yard.bay.clock.now()
    )

    yard.dispatcher.release_due()

    assert {one.partner for one in yard.broker.sent} == {"bolt"}


def test_what_could_not_be_sent_goes_back_and_is_sent_next_time(yard: Yard) -> None:
    yard.broker.room = 1
    yard.accept(4)

    turn = yard.dispatcher.release_due()
    out_meanwhile = yard.out()
    yard.broker.room = 100
    again = yard.dispatcher.release_due()

    assert (turn.released, out_meanwhile) == (1, 1)
    assert again.released == 3
    assert sorted(one.fence for one in yard.broker.sent) == [1, 2, 2, 2]
    assert len({one.id for one in yard.broker.sent}) == 4


def test_what_the_gate_would_refuse_stays_where_it_lies(yard: Yard) -> None:
    def uploads_are_shut(call: Call) -> Wait | None:
        return a_wait(30) if call.capability is Capability.UPLOADS else None

    yard.gate.shut = uploads_are_shut
    yard.accept(10, capability=Capability.UPLOADS)
    yard.accept(3)

    turn = yard.dispatcher.release_due()

    assert turn.released == 3
    assert {one.capability for one in yard.broker.sent} == {Capability.TEMPLATE_READS}
    assert turn.look_again == timedelta(seconds=30)


def test_a_short_wait_is_left_to_the_worker(yard: Yard) -> None:
    yard.gate.shut = lambda _call: a_wait(1)
    yard.accept(1)

    assert yard.dispatcher.release_due().released == 1


def test_when_the_gate_refuses_everything_the_dispatcher_rests_until_it_would_not(yard: Yard) -> None:
    yard.gate.shut = lambda call: a_wait(0.4 + 30 * call.service_class.rank, because="breaker")
    yard.settings = DispatchSettings(short_wait_seconds=0)
    yard.dispatcher = yard.another()
    yard.accept(2)
    yard.accept(2, service_class=ServiceClass.INTERACTIVE)

    turn = yard.dispatcher.release_due()

    assert (turn.released, turn.rest(1.0)) == (0, 0.4)
    assert yard.bay.ledger.operations.out() == {}


def test_who_died_is_taken_back(yard: Yard) -> None:
    yard.accept(2)
    yard.dispatcher.release_due()
    yard.begin(yard.broker.sent[0])
    yard.bay.pass_time(16)

    assert yard.dispatcher.reclaim() == 2
    assert yard.dispatcher.release_due().released == 2


def test_what_a_worker_left_behind_whose_line_is_cut_goes_on_long_before_its_lease_ends(yard: Yard) -> None:
    yard.accept(2)
    yard.dispatcher.release_due()
    yard.begin(yard.broker.sent[0])
    yard.lifelines.gone = {"w"}
    yard.dispatcher.lead()

    assert yard.dispatcher.reclaim() == 1, "the other has just been released"
    assert yard.dispatcher.release_due().released == 1
    assert yard.dispatcher.reclaim() == 0, "it is released anew, and has not been begun"


def test_what_a_dead_worker_may_have_fetched_and_not_begun_is_released_again(yard: Yard) -> None:
    yard.accept(1)
    [lost] = yard.release()
    yard.bay.pass_time(yard.settings.gone_seconds + 0.1)
    yard.accept(1)
    [fresh] = yard.release()
    yard.lifelines.gone = {"w"}
    yard.dispatcher.lead()

    assert yard.dispatcher.reclaim() == 1
    assert yard.presence.complaints == [], "nobody failed to fetch it"
    assert [(one.id, one.fence) for one in yard.release()] == [(lost.id, lost.fence + 1)]
    yard.bay.pass_time(yard.settings.gone_seconds + 0.1)
    yard.dispatcher.lead()
    assert yard.dispatcher.reclaim() == 0, "he has died once, and the others get their time"
    assert fresh.fence == yard.bay.ledger.operations.get(fresh.id).fence


def test_what_is_taken_back_has_had_its_turn_and_goes_before_others(yard: Yard) -> None:
    yard.presence.slots[KIND] = [1]
    yard.accept(3, service_class=ServiceClass.BACKGROUND)
    [left] = yard.release()
    yard.begin(left)
    yard.accept(3, service_class=ServiceClass.INTERACTIVE)
    yard.lifelines.gone = {"w"}
    yard.dispatcher.lead()
    yard.dispatcher.reclaim()

    [again] = yard.release()
    assert (again.id, again.fence) == (left.id, 2)
    yard.finish(again)
    [other] = yard.release()
    assert other.service_class is ServiceClass.INTERACTIVE


@pytest.mark.parametrize("kept_by", ["a pause", "the gate", "its end"])
def test_what_is_taken_back_and_may_not_go_keeps_no_others(yard: Yard, kept_by: str) -> None:
    yard.presence.slots[KIND] = [1]
    [left], others = yard.accept(1), yard.accept(2, partner="globex")
    for one in yard.release():
        yard.begin(one)
    now = yard.bay.clock.now()
    if kept_by == "a pause":
        scope = Scope.of("partner", "acme")
        yard.bay.ledger.decisions.pause(scope, reason="incident 7", actor="ops", now=now)
    if kept_by == "the gate":
        yard.gate.shut = lambda call: a_wait(60, scope="partner:acme") if call.partner == "acme" else None
    yard.lifelines.gone = {"w"}
    yard.dispatcher.lead()
    assert yard.dispatcher.reclaim() == 1
    if kept_by == "its end":
        yard.bay.ledger.operations.cancel([left.id], reason="a trial", actor="ops", now=now)

    [released] = yard.release()

    assert released.id in {one.id for one in others}


def test_what_is_taken_back_goes_as_far_as_its_partner_may(yard: Yard) -> None:
    yard.presence.slots[KIND] = [2]
    yard.accept(2)
    for one in yard.release():
        yard.begin(one)
    yard.accept(2, partner="globex")
    yard.partners["acme"] = PartnerSettings(at_most=1)
    yard.lifelines.gone = {"w"}
    capped = yard.another()
    capped.lead()
    assert capped.reclaim() == 2

    assert capped.release_due().released == 2
    assert [one.partner for one in yard.broker.sent[2:]] == ["acme", "globex"]


def test_nothing_is_sent_to_a_worker_whose_line_is_cut(yard: Yard) -> None:
    yard.presence.slots[KIND] = [4, 3]
    yard.accept(10)
    yard.lifelines.gone = {f"{KIND}@0"}
    yard.dispatcher.lead()

    assert yard.dispatcher.release_due().released == 3


def test_a_second_dispatcher_leads_only_when_the_lease_of_the_first_is_over(yard: Yard) -> None:
    first, second = yard.dispatcher, yard.another()

    led = [first.lead(), second.lead()]
    yard.bay.pass_time(3.9)
    led += [second.lead()]
    yard.bay.pass_time(0.2)
    led += [second.lead(), first.lead()]

    assert led == [True, False, False, True, False]


def test_who_resigns_lets_the_other_lead_at_once(yard: Yard) -> None:
    first, second = yard.dispatcher, yard.another()
    first.lead()
    second.lead()

    second.resign()
    nobody_resigns_for_another = second.lead()
    first.resign()

    assert not nobody_resigns_for_another
    assert second.lead()


def test_only_who_leads_plans(yard: Yard) -> None:
    other, planned = yard.another(), []
    other.lead()
    loop = Loop(yard, turns=7, while_leading=lambda: planned.append(len(loop.waits)))

    loop.run()

    assert planned == [5, 6], "once a second, from the end of the other's lease on"


@dataclass
class Loop:
    """Runs the dispatcher for so many turns; time passes as it waits."""

    yard: Yard
    turns: int
    waits: list[float] = field(default_factory=list)
    before: Callable[[int], None] = lambda turn: None
    upkeep: Callable[[], None] = lambda: None
    while_leading: Callable[[], None] = lambda: None
    now: float = 1000.0

    def run(self) -> None:
        dispatch.run(
            self.yard.dispatcher,
            wait=self._wait,
            upkeep=self.upkeep,
            stopping=self._stopping,
            settings=self.yard.settings,
            monotonic=lambda: self.now,
            breathe=self._wait,
            while_leading=self.while_leading,
        )

    def _stopping(self) -> bool:
        if len(self.waits) >= self.turns:
            return True
        self.before(len(self.waits))
        return False

    def _wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds
        self.yard.bay.pass_time(seconds)


def test_it_looks_again_in_a_breath_after_a_release_and_rests_otherwise(yard: Yard) -> None:
    yard.accept(2)
    loop = Loop(yard, turns=4)

    loop.run()

    assert loop.waits == [0.008, 1.0, 1.0, 1.0]


def test_it_resigns_when_it_stops(yard: Yard) -> None:
    Loop(yard, turns=1).run()

    assert yard.another().lead()


def test_who_does_not_lead_releases_nothing_and_takes_over_in_time(yard: Yard) -> None:
    yard.another().lead()
    yard.accept(1)
    loop = Loop(yard, turns=7)
    sent: list[int] = []
    loop.before = lambda _turn: sent.append(len(yard.broker.sent))

    loop.run()

    assert sent[:5] == [0] * 5
    assert sent[-1] == 1, "within some seconds after the other's lease"


@pytest.mark.parametrize("part", ["ledger", "presence", "upkeep"])
def test_it_outlives_an_outage_and_does_not_spin(
    yard: Yard, part: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    yard.accept(1)
    loop, real = Loop(yard, turns=6), yard.bay.ledger.operations.out

    def out() -> dict[tuple[str, str], int]:
        if part == "ledger" and len(loop.waits) < 3:
            raise LedgerUnavailable("the ledger cannot be asked")
        return real()

    def upkeep() -> None:
        if part == "upkeep" and len(loop.waits) < 3:
            raise NotReady("Redis cannot be reached")

    def presence(turn: int) -> None:
        yard.presence.away = part == "presence" and turn < 3

    monkeypatch.setattr(yard.bay.ledger.operations, "out", out)
    loop.upkeep, loop.before = upkeep, presence

    loop.run()

    assert loop.waits[:3] == [1.0] * 3
    assert len(yard.broker.sent) == 1
    assert caplog.text.count("part_failed") == 3


def test_an_outage_while_it_resigns_ends_it_all_the_same(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_args: object, **_more: object) -> None:
        raise LedgerUnavailable("the ledger cannot be asked")

    monkeypatch.setattr(yard.bay.ledger.leaderships, "resign", away)

    Loop(yard, turns=1).run()


# ── deadlines and retries ────────────────────────────────────────────────────────────────────────────────


def _held_for_a_retry(yard: Yard, number: int) -> list[Operation]:
    """Make operations that have failed once, for a passing reason, and whose back-off is over."""
    yard.presence.slots[KIND] = [number]
    yard.accept(number)
    yard.dispatcher.release_due()
    now = yard.bay.clock.now()
    again = Hold(reason="code 2; try 1 of 6", by="retry", until=now + timedelta(seconds=5), spends_attempt=True)
    tried = [yard.begin(one) for one in yard.broker.sent]
    for one in tried:
        yard.bay.ledger.operations.record(one, again, worker="w", now=now)
    yard.broker.sent.clear()
    yard.bay.pass_time(5)
    return tried


def test_retries_go_as_far_as_their_budget_and_the_others_say_what_they_wait_for(yard: Yard) -> None:
    tried = _held_for_a_retry(yard, 5)
    yard.retry_budget.left = 2

    yard.dispatcher.release_due()

    assert len(yard.broker.sent) == 2
    sent = {one.id for one in yard.broker.sent}
    [held, *others] = [yard.bay.get(one) for one in tried if one.id not in sent]
    assert len(others) == 2
    assert (held.state, held.attempts) == (State.HELD, 1)
    assert held.hold is not None and held.hold.until is not None
    assert held.hold.by == RETRY_BUDGET
    assert held.hold.reason == (
        "the retries of template_reads in app 10001 are used up (10 a minute and 10% of the first tries, for all"
        " operations together); it waits for room since: code 2; try 1 of 6"
    )
    assert held.hold.until > yard.bay.clock.now()
    assert yard.retry_budget.left == 0


def test_who_waits_for_room_goes_as_soon_as_there_is_some(yard: Yard) -> None:
    tried = _held_for_a_retry(yard, 5)
    yard.retry_budget.left = 0
    yard.dispatcher.release_due()
    yard.bay.pass_time(1)

    for _ in range(5):
        yard.retry_budget.left = 1
        yard.dispatcher.look_after()
        yard.dispatcher.release_due()

    assert sorted(one.id for one in yard.broker.sent) == sorted(one.id for one in tried)


def test_who_waits_for_room_again_and_again_has_one_event_and_spends_nothing(yard: Yard) -> None:
    [operation] = _held_for_a_retry(yard, 1)
    yard.retry_budget.left = 0
    for _ in range(5):
        yard.dispatcher.release_due()
        yard.bay.pass_time(600)
    waits = yard.bay.get(operation)
    yard.retry_budget.left = 1

    yard.dispatcher.release_due()

    assert (waits.attempts, waits.hold is not None and waits.hold.by) == (1, RETRY_BUDGET)
    assert [one.id for one in yard.broker.sent] == [operation.id]
    names = [one.name for one in yard.bay.ledger.operations.story(operation.id)]
    assert names == ["accepted", "released", "begun", "held", "held", "due", "released"]


def test_first_tries_are_told_to_the_retry_budget_and_retries_are_not(yard: Yard) -> None:
    _held_for_a_retry(yard, 3)
    yard.dispatcher.release_due()

    yard.dispatcher.look_after()

    assert yard.retry_budget.tries == {(APP, Capability.TEMPLATE_READS): 3}


def test_what_else_is_held_needs_no_retry_budget(yard: Yard) -> None:
    yard.retry_budget.left = 0
    yard.accept(1)
    yard.dispatcher.release_due()
    running = yard.begin(yard.broker.sent.pop())
    hold = Hold(reason="spent", by="budget", until=yard.bay.clock.now())
    yard.bay.ledger.operations.record(running, hold, worker="w", now=yard.bay.clock.now())

    yard.dispatcher.release_due()

    assert [one.id for one in yard.broker.sent] == [running.id]


def test_looking_after_ends_what_has_passed_its_deadline(yard: Yard) -> None:
    yard.accept(3, expires_after=timedelta(seconds=10))
    yard.bay.pass_time(10)

    yard.dispatcher.look_after()

    assert {one.state for one in yard.bay.ledger.operations.find()} == {State.EXPIRED}


def test_looking_after_deletes_what_is_old(yard: Yard) -> None:
    yard.accept(2)
    operations, now = yard.bay.ledger.operations, yard.bay.clock.now()
    old, young = (one.id for one in operations.find())
    operations.cancel([old], reason="a test", actor="anna", now=now)
    yard.bay.pass_time(31 * 86_400)

    yard.dispatcher.look_after()

    assert [one.id for one in operations.find()] == [young]
