"""Why is it not done, what comes next, when: each thing that can keep an operation is told for what it is."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.stage import Stage
from wabajobs.capability import Capability, ServiceClass
from wabajobs.decisions import AtEnd, PauseMode, Scope
from wabajobs.errors import GateUnavailable, NotFound
from wabajobs.ledger import DISPATCHER, Line, NewOperation, Share
from wabajobs.operation import Operation, State
from wabajobs.outcome import Origin
from wabajobs.seeing.explain import Explanation, band, served_before
from wabajobs.signals import Worker

A_PROFILE = {"about": "We are here"}


@pytest.fixture(autouse=True)
def programs(stage: Stage) -> None:
    """A dispatcher leads, and a worker is alive for everything."""
    lead(stage)
    for queue in stage.house.kinds.names:
        stage.house.presence.announce(Worker(name=f"{queue}@here", queue=queue, slots=8))


def lead(stage: Stage) -> None:
    hour = timedelta(hours=1)
    stage.house.ledger.leaderships.lead(DISPATCHER, holder="here", now=stage.clock.now(), lease=hour)


def sync(stage: Stage, **more: Any) -> Operation:
    return stage.accept("template_sync", waba=stage.waba, **more)


def explain(stage: Stage, operation: Operation) -> Explanation:
    found = stage.house.explainer.explain(operation.id)
    assert found.as_json()["id"] == operation.id
    return found


def keeping(stage: Stage, operation: Operation) -> list[tuple[str, Origin]]:
    found = explain(stage, operation)
    return [(one.by, one.origin) for one in ([found.why] if found.why else []) + list(found.behind)]


def test_nothing_keeps_it_but_its_turn(stage: Stage) -> None:
    found = explain(stage, sync(stage))

    assert found.why is not None
    assert (found.why.by, found.why.origin) == ("turn", Origin.OURS)
    assert "it is the first of its line" in found.summary
    assert found.queueing is not None and found.queueing.before == 0


def test_the_pause_that_lasts_longest_wins_and_the_others_are_told(stage: Stage) -> None:
    one = sync(stage)
    decide = stage.house.ledger.decisions.pause
    told: dict[str, Any] = {"reason": "incident 7", "actor": "anna", "now": stage.clock.now()}
    decide(Scope.of("queue:template_sync"), lasting=timedelta(hours=2), at_end=AtEnd.RAMP, **told)
    decide(Scope.of("partner:acme"), lasting=timedelta(hours=1), notice="Later today.", **told)
    decide(Scope.of("partner:bolt"), **told)

    found = explain(stage, one)

    assert found.why is not None
    assert (found.why.by, found.why.origin, found.why.scope) == ("pause", Origin.PERSON, "queue:template_sync")
    assert "paused by anna" in found.summary
    assert found.why.until == stage.clock.now() + timedelta(hours=2)
    assert "UTC, in 2 h: it goes on in steps" in found.next
    assert [one.reason.split(" ")[0] for one in found.behind] == ["partner:acme"]
    decide(Scope.of("all"), **told)
    assert "it has no end: wabajobs resume all" in explain(stage, one).next


def test_our_budget_is_ours_and_says_who_used_what(stage: Stage) -> None:
    one = sync(stage)
    stage.spend()

    found = explain(stage, one)

    assert found.why is not None
    assert (found.why.by, found.why.origin) == ("budget", Origin.OURS)
    assert found.why.scope == f"app:{stage.app}"
    assert found.why.detail["used"] >= found.why.detail["usable"]
    assert "our own gate keeps the budget" in found.summary
    assert found.why.until is not None
    assert found.why.until > stage.clock.now()


def test_metas_refusal_is_metas_and_names_the_code(stage: Stage) -> None:
    first, second = sync(stage), sync(stage, partner="bolt")
    stage.fault(code=4)
    stage.attempt(first)

    refused, waiting = explain(stage, first), explain(stage, second)

    assert refused.why is not None and waiting.why is not None
    assert (refused.why.by, refused.why.origin) == ("meta", Origin.META)
    assert (waiting.why.by, waiting.why.origin) == ("breaker", Origin.META)
    assert "code 4" in waiting.summary
    assert waiting.why.detail["next_probe"] is not None
    assert "one call probes" in waiting.next


def test_a_breaker_that_a_person_holds_open_is_not_metas(stage: Stage) -> None:
    one = sync(stage)
    stage.break_("template_reads")

    assert keeping(stage, one) == [("held_open", Origin.PERSON)]
    assert "is held open by ops" in explain(stage, one).summary


def test_a_back_off_tells_the_failure_and_the_next_try(stage: Stage) -> None:
    one = sync(stage)
    stage.fault(code=2)
    stage.attempt(one)

    found = explain(stage, one)

    assert found.why is not None
    assert (found.why.by, found.why.origin) == ("retry", Origin.OURS)
    assert "try 1 of 6" in found.summary
    assert found.why.until is not None and found.why.since == stage.clock.now()
    assert "tried again" in found.next


def test_what_goes_first_in_its_lane_is_named(stage: Stage) -> None:
    payload = A_PROFILE | {"number": stage.number}
    first, second, third = (stage.accept("profile_update", waba=stage.waba, payload=payload) for _ in range(3))

    found = explain(stage, third)

    assert found.why is not None
    assert (found.why.by, found.why.detail["operation"], found.why.detail["before"]) == ("lane", first.id, 2)
    assert explain(stage, second).why.detail["before"] == 1  # type: ignore[union-attr]
    assert keeping(stage, first)[0][0] == "turn"


def test_missing_programs_are_told(stage: Stage) -> None:
    one = sync(stage)
    stage.house.presence.leave(Worker(name="template_sync@here", queue="template_sync", slots=8))
    stage.house.ledger.leaderships.resign([DISPATCHER], holder="here", now=stage.clock.now())

    assert [by for by, _ in keeping(stage, one)] == ["dispatcher", "workers"]
    assert "wabajobs dispatcher" in explain(stage, one).next


def test_a_partners_cap_is_told(stage: Stage) -> None:
    share = Share(partner="acme", at_most=1, actor="ops", reason="flood", created_at=stage.clock.now())
    stage.house.ledger.shares.set(share)
    for waba in stage.simulator.world.waba_ids:
        stage.accept("template_sync", waba=waba)
    operations = stage.house.ledger.operations
    [line] = operations.lines(["template_sync"])
    first, second = operations.heads({line: 2})[line]
    operations.release([first], now=stage.clock.now(), lease=timedelta(minutes=1))

    assert keeping(stage, second) == [("partner_cap", Origin.OURS)]
    assert "has been sent to the workers" in explain(stage, first).summary


def test_a_pause_hides_nothing_of_what_lies_behind_it(stage: Stage) -> None:
    one = sync(stage)
    stage.spend()
    stage.pause("all")

    assert keeping(stage, one) == [("pause", Origin.PERSON), ("budget", Origin.OURS)]
    assert "behind that: budget" in explain(stage, one).next


def test_a_part_that_may_run_is_a_persons_word(stage: Stage) -> None:
    one = sync(stage)
    for _ in range(3):
        stage.house.controls.pause(
            Scope.of("all"), reason="a test", actor="ops", percent=1, mode=PauseMode.HOLD, at_end=AtEnd.LIFT
        )
    stage.attempt(sync(stage, partner="bolt"))

    assert keeping(stage, one)[0] == ("slowed", Origin.PERSON)


def test_what_is_of_an_app_that_was_taken_out_of_the_settings_waits_and_lets_the_others_go(stage: Stage) -> None:
    ours = sync(stage)
    new = NewOperation(
        kind="template_sync",
        partner="acme",
        app="77777",
        waba="1234567",
        service_class=ours.service_class,
        capability=ours.capability,
        payload={},
    )
    operations = stage.house.ledger.operations
    [accepted] = operations.accept([new], now=stage.clock.now())
    sent: list[str] = []

    def send(released: Sequence[Operation]) -> Sequence[Operation]:
        sent.extend(one.id for one in released)
        return []

    stage.house.dispatcher(send).release_due()

    assert sent == [ours.id]
    gone = accepted.operation
    assert keeping(stage, gone) == [("configuration", Origin.OURS)]
    assert "app '77777' is not configured" in explain(stage, gone).summary
    found = next(one for one in stage.house.lookout.look().queues if one.queue == "template_sync")
    assert found.waits_for == {"configuration": 1}


def test_a_running_one_tells_where_it_is(stage: Stage) -> None:
    one = sync(stage)
    operations = stage.house.ledger.operations
    [released] = operations.release([operations.get(one.id)], now=stage.clock.now(), lease=timedelta(minutes=1))
    operations.begin(one.id, released.fence, worker="w@here:1", now=stage.clock.now(), lease=timedelta(minutes=1))
    stage.pass_time(30)

    found = explain(stage, one)

    assert found.why is None
    assert (
        found.summary == "it is running on w@here:1 for 30 s, at its step read_list"
        or found.step in found.summary
    )
    stage.pass_time(60)
    assert "its lease has run out" in explain(stage, one).next


def test_an_end_is_told_with_what_was_said(stage: Stage) -> None:
    one = stage.work(sync(stage))

    found = explain(stage, one)

    assert one.state is State.SUCCEEDED
    assert found.summary.startswith("it is succeeded at ")
    with pytest.raises(NotFound):
        stage.house.explainer.explain("nobody")


def test_a_gate_that_is_away_is_told_and_the_rest_is_still_there(stage: Stage) -> None:
    one = sync(stage)
    stage.pause("partner:acme")

    def away(*_: object, **__: object) -> None:
        raise GateUnavailable("Redis is away")

    stage.house.__dict__["gate"] = type("Away", (), {"read": away, "forecast": away})()

    assert [by for by, _ in keeping(stage, one)] == ["pause", "gate"]


def a_line(partner: str, rank: int = 2) -> Line:
    service_class = list(ServiceClass)[rank]
    name = f"{rank}:1:template_reads:{partner}"
    return Line("template_sync", name, service_class, "1", Capability.TEMPLATE_READS, partner)


@given(st.integers(0, 1000), st.lists(st.tuples(st.integers(0, 2), st.integers(1, 1000)), max_size=20))
def test_what_is_served_before_it_is_as_in_turns(before: int, others: list[tuple[int, int]]) -> None:
    mine = a_line("me", 1)
    lines = {a_line(f"p{nth}", rank): number for nth, (rank, number) in enumerate(others)}

    told = served_before(mine, before, {mine: before + 5} | lines)

    queues = [number for rank, number in others if rank == 1]
    served = sum(number for rank, number in others if rank == 0)
    for _ in range(before + 1):  # a round: one of each line that has any, and one of ours
        served += sum(1 for number in queues if number > 0) + 1
        queues = [number - 1 for number in queues]
    assert told == served - 1


@given(st.integers(0, 10**6), st.floats(0.01, 1000), st.integers(1, 10**6))
def test_a_band_holds_what_is_likely_and_is_never_too_sure(ahead: int, rate: float, seen: int) -> None:
    earliest, latest = band(ahead, rate=rate, seen=seen)
    likely = (ahead + 1) / rate

    assert earliest.total_seconds() <= 0.75 * likely + 1e-3
    assert latest.total_seconds() >= 1.25 * likely - 1e-3
