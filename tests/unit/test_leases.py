"""A worker's leases: good while they are renewed, and nobody goes on once they may be lost."""

import threading
import time
from datetime import timedelta
from typing import Any

import pytest

from tests.unit.conftest import Bay
from wabajobs.errors import Held, LeaseLost
from wabajobs.leases import Leases
from wabajobs.operation import Operation


def running(bay: Bay) -> Operation:
    bay.accept()
    released = bay.release()
    begun = bay.ledger.operations.begin(
        released.id, released.fence, worker="w", pauses=(), now=bay.clock.now(), lease=bay.leases.length
    )
    assert isinstance(begun, Operation)
    return begun


def test_the_holder_may_go_on(bay: Bay) -> None:
    operation = running(bay)

    with bay.leases.hold(operation.id, operation.fence, since=time.monotonic()) as may_go_on:
        may_go_on()


def test_a_lease_that_was_not_renewed_in_time_is_taken_for_lost_before_it_ends(bay: Bay) -> None:
    operation = running(bay)
    almost_over = time.monotonic() - bay.leases.length.total_seconds() + 0.9

    with (
        bay.leases.hold(operation.id, operation.fence, since=almost_over) as may_go_on,
        pytest.raises(LeaseLost, match="could not be renewed in time"),
    ):
        may_go_on()


def test_renewing_makes_it_good_again(bay: Bay) -> None:
    operation = running(bay)
    long_ago = time.monotonic() - 60
    bay.pass_time(14)

    with bay.leases.hold(operation.id, operation.fence, since=long_ago) as may_go_on:
        bay.leases.renew()
        may_go_on()

    bay.pass_time(14)
    assert bay.ledger.operations.reclaim(now=bay.clock.now(), max_attempts=6) == []


def test_who_was_reclaimed_learns_it_from_the_renewal(bay: Bay) -> None:
    operation = running(bay)

    with bay.leases.hold(operation.id, operation.fence, since=time.monotonic()) as may_go_on:
        bay.lose_lease()
        bay.leases.renew()
        with pytest.raises(LeaseLost):
            may_go_on()


def test_a_lease_is_not_renewed_any_more_once_the_attempt_is_over(bay: Bay) -> None:
    operation = running(bay)
    with bay.leases.hold(operation.id, operation.fence, since=time.monotonic()):
        pass
    bay.pass_time(14)
    bay.leases.renew()

    bay.pass_time(2)

    assert len(bay.ledger.operations.reclaim(now=bay.clock.now(), max_attempts=6)) == 1


def test_who_shuts_down_stops_at_the_next_call_but_keeps_the_lease(bay: Bay) -> None:
    operation = running(bay)

    with bay.leases.hold(operation.id, operation.fence, since=time.monotonic()) as may_go_on:
        bay.leases.shut_down()
        with pytest.raises(Held) as held:
            may_go_on()
        bay.pass_time(14)
        bay.leases.renew()
        bay.pass_time(14)

    assert held.value.wait == timedelta(0)
    assert bay.ledger.operations.reclaim(now=bay.clock.now(), max_attempts=6) == []


def test_whatever_goes_wrong_in_one_renewal_the_next_is_made(bay: Bay, monkeypatch: pytest.MonkeyPatch) -> None:
    operation = running(bay)
    leases = Leases(bay.ledger, clock=bay.clock, lease=bay.leases.length, renew_every=timedelta(milliseconds=10))
    renewed = threading.Event()
    renew, faults = bay.ledger.operations.renew, iter([RuntimeError("a fault of ours")])

    def renew_after_a_fault(*arguments: Any, **more: Any) -> Any:
        for fault in faults:
            raise fault
        renewed.set()
        return renew(*arguments, **more)

    monkeypatch.setattr(bay.ledger.operations, "renew", renew_after_a_fault)

    with leases.hold(operation.id, operation.fence, since=time.monotonic()):
        assert renewed.wait(10)
