"""After a loss of state the gate does not know what is spent: one call finds out."""

from datetime import timedelta

import pytest

from tests.gate.conftest import APP, Door
from wabajobs.gate import Because, Outcome, Permit, Report


@pytest.fixture
def door(door_with) -> Door:
    """A gate that has just been told for the first time."""
    door = door_with(calls=1000)
    door.tell()
    return door


def test_one_call_at_a_time_finds_out_how_much_is_spent(door: Door) -> None:
    door.pass_()

    wait = door.hold(queue="onboarding", waba="w1")

    assert (wait.because, wait.scope, wait.delay) == (Because.GATE, "gate", timedelta(seconds=1))
    assert "finding out how much of the budget is spent" in str(wait)
    assert door.gate.read(APP).learning


def test_the_header_ends_the_learning(door: Door) -> None:
    door.call(app_percent=70)

    assert not door.gate.read(APP).learning
    assert door.take() == 1000 - 705


def test_without_a_header_a_share_counts_as_spent_for_a_window(door: Door) -> None:
    door.call()

    assert door.take() == 500
    door.later(599)
    assert door.gate.read(APP).windows[0].others == 499
    door.later(601)
    assert door.gate.read(APP).windows[0].others == 0


def test_an_app_limit_tells_that_all_is_spent(door: Door) -> None:
    door.call(Outcome.APP_LIMIT, regain=timedelta(seconds=20))
    assert not door.gate.read(APP).learning

    door.later(21)
    assert door.gate.read(APP).windows[0].others == 999


def test_a_call_that_failed_has_taught_nothing(door: Door) -> None:
    door.call(Outcome.FAILED)

    assert door.hold().because is Because.GATE
    door.later(1)
    assert isinstance(door.ask(), Permit)
    assert door.gate.read(APP).learning


def test_a_call_that_was_not_made_gives_the_lease_back(door: Door) -> None:
    door.call(Outcome.UNUSED)

    assert isinstance(door.ask(), Permit)


def test_a_lost_call_is_replaced_when_its_lease_ends(door: Door) -> None:
    lost = door.pass_()
    door.later(45)
    successor = door.pass_()

    door.gate.settle(lost, Report(outcome=Outcome.OK, app_percent=0))
    assert door.gate.read(APP).learning, "it no longer speaks for the gate"
    door.gate.settle(successor, Report(outcome=Outcome.OK, app_percent=0))
    assert not door.gate.read(APP).learning


def test_telling_again_does_not_end_the_learning_nor_free_its_lease(door: Door) -> None:
    door.pass_()

    door.tell()

    assert door.hold().because is Because.GATE


def test_answers_from_before_the_loss_do_no_harm(door: Door) -> None:
    door.call(app_percent=0)
    old = [door.pass_() for _ in range(50)]
    door.client.flushall()
    door.later(1)
    door.tell()
    door.call(app_percent=10)
    spent = door.gate.read(APP).windows[0]

    door.gate.settle(old[0], Report(outcome=Outcome.UNUSED))
    door.gate.settle(old[1], Report(outcome=Outcome.OK, app_percent=1))
    door.gate.settle(old[2], Report(outcome=Outcome.FAILED))

    assert door.gate.read(APP).windows[0] == spent
