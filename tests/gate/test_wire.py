"""Calls on the wire: a pause waits for those that may still start, and no longer."""

import threading
import time

import pytest
import redis

from tests.gate.conftest import APP, Door, Limits, a_call, gate_on
from wabajobs.decisions import Decisions, Scope
from wabajobs.gate import Outcome, Permit, Report
from wabajobs.settings import GateSettings


def in_flight(door: Door) -> int:
    return door.gate.read(APP).in_flight


def test_a_permit_is_on_the_wire_until_it_is_settled(door: Door) -> None:
    permits = [door.pass_() for _ in range(3)]
    assert in_flight(door) == 3

    for permit in permits:
        door.gate.settle(permit, Report(outcome=Outcome.OK))
    assert in_flight(door) == 0


def test_the_calls_of_a_dead_worker_leave_the_wire(door: Door) -> None:
    door.pass_()
    door.later(91)
    door.pass_()

    assert in_flight(door) == 1


def test_a_permit_says_by_when_it_must_be_used(door: Door) -> None:
    before = time.monotonic()
    permit = door.pass_()

    assert before + 1 <= permit.start_before <= time.monotonic() + 1


def test_a_pause_waits_until_what_was_admitted_is_settled(door_with) -> None:
    door = door_with(start_within_seconds=30)
    door.learn()
    permit = door.pass_(queue="onboarding")
    settle = threading.Timer(0.1, door.gate.settle, (permit, Report(outcome=Outcome.OK)))
    settle.start()

    assert door.gate.await_started(Scope.of("queue:onboarding")) == 0


def test_a_pause_never_waits_longer_than_a_permit_is_good_for(client: redis.Redis) -> None:
    settings = GateSettings(start_within_seconds=0.05)
    gate = gate_on(client, clock=None, limits={APP: Limits()}, settings=settings)
    gate.tell(Decisions(1, (), ()))
    assert isinstance(gate.admit(a_call()), Permit)

    began = time.monotonic()
    on_wire = gate.await_started(Scope.of("all"))

    assert on_wire == 1
    assert 0.2 < time.monotonic() - began < 1


def test_a_pause_does_not_wait_for_calls_that_started_long_ago(door_with) -> None:
    door = door_with(start_within_seconds=30)
    door.learn()
    door.pass_()
    door.later(31)

    assert door.gate.await_started(Scope.of("all")) == 1


@pytest.mark.parametrize(
    "scope", ["queue:other", "partner:p2", "waba:w2", "capability:uploads", "app:20002", "queue:p1"]
)
def test_a_pause_does_not_wait_for_what_it_does_not_cover(door_with, scope: str) -> None:
    door = door_with(start_within_seconds=30)
    door.learn()
    door.pass_(waba="w1")

    assert door.gate.await_started(Scope.of(scope)) == 0


@pytest.mark.parametrize(
    "scope",
    ["all", f"app:{APP}", "queue:template_sync", "partner:p1", "waba:w1", "capability:template_reads"],
)
def test_a_pause_counts_the_calls_that_it_covers(door_with, scope: str) -> None:
    door = door_with(start_within_seconds=0.01)
    door.learn()
    for _ in range(3):
        door.pass_(waba="w1")
    door.later(1)

    assert door.gate.await_started(Scope.of(scope)) == 3
