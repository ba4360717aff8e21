"""The retry budget: so many retries in a minute for all operations together, in a real Redis."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.conftest import RunningRedis
from tests.ledger.conftest import at_once
from wabajobs.capability import Capability
from wabajobs.clock import HandClock
from wabajobs.errors import GateUnavailable
from wabajobs.gate import RetryBudget

APP = "10001"
READS, WRITES = Capability.TEMPLATE_READS, Capability.TEMPLATE_WRITES

Make = Callable[..., RetryBudget]


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def make(own_redis: RunningRedis, clock: HandClock) -> Make:
    def budget(share: float = 0.1, per_minute: int = 10) -> RetryBudget:
        return RetryBudget(own_redis.client, share=share, per_minute=per_minute, clock=clock)

    return budget


def pass_time(clock: HandClock, seconds: float) -> None:
    clock.advance(timedelta(seconds=seconds))


def test_without_first_tries_there_are_as_many_as_the_floor(make: Make) -> None:
    budget = make(per_minute=10)

    assert [budget.take(APP, READS, 7), budget.take(APP, READS, 7), budget.take(APP, READS, 7)] == [7, 3, 0]


def test_first_tries_earn_their_share(make: Make) -> None:
    budget = make(share=0.1, per_minute=1)
    budget.note({(APP, READS): 500})

    assert budget.take(APP, READS, 1000) == 51


def test_each_capability_and_each_app_has_its_own(make: Make) -> None:
    budget = make(per_minute=5)
    budget.take(APP, READS, 5)

    assert budget.take(APP, WRITES, 5) == 5
    assert budget.take("10002", READS, 5) == 5
    assert budget.take(APP, READS, 5) == 0


def test_all_programs_share_it(make: Make) -> None:
    granted = at_once(4, lambda _thread: sum(make(per_minute=25).take(APP, READS, 1) for _ in range(20)))

    assert sum(granted) == 25


def test_room_comes_back_over_the_next_minute(make: Make, clock: HandClock) -> None:
    budget = make(per_minute=10)
    pass_time(clock, 59)
    assert budget.take(APP, READS, 100) == 10
    pass_time(clock, 1)
    assert budget.take(APP, READS, 100) == 0, "a new minute is no new budget"
    pass_time(clock, 30)
    assert budget.take(APP, READS, 100) == 5
    pass_time(clock, 120)
    assert budget.take(APP, READS, 100) == 10


def test_first_tries_of_long_ago_earn_nothing(make: Make, clock: HandClock) -> None:
    budget = make(share=0.1, per_minute=1)
    budget.note({(APP, READS): 1000})
    pass_time(clock, 120)

    assert budget.take(APP, READS, 100) == 1


def test_a_retry_that_went_well_takes_nothing_away(make: Make) -> None:
    budget = make(per_minute=3)
    for _ in range(50):
        assert budget.take(APP, READS, 1) == 1
        budget.give_back(APP, READS)

    assert budget.take(APP, READS, 100) == 3


def test_giving_back_more_than_was_taken_earns_nothing(make: Make) -> None:
    budget = make(per_minute=3)
    for _ in range(10):
        budget.give_back(APP, READS)

    assert budget.take(APP, READS, 100) == 3


def test_it_goes_by_the_time_of_redis(own_redis: RunningRedis) -> None:
    budget = RetryBudget(own_redis.client, share=0, per_minute=2)

    assert budget.take(APP, READS, 5) == 2
    [key] = own_redis.client.keys("*retries*")
    assert key.startswith(b"wabajobs:{10001}:")
    assert 0 < own_redis.client.ttl(key) <= 180, "an app that is gone leaves nothing behind"


def test_without_redis_there_are_none(make: Make, own_redis: RunningRedis) -> None:
    budget = make()
    own_redis.kill()

    with pytest.raises(GateUnavailable):
        budget.take(APP, READS, 1)
    with pytest.raises(GateUnavailable):
        budget.note({(APP, READS): 1})


def test_an_emptied_redis_is_no_obstacle(make: Make, own_redis: RunningRedis) -> None:
    budget = make(per_minute=4)
    budget.take(APP, READS, 4)
    own_redis.client.flushall()
    own_redis.client.script_flush()

    assert budget.take(APP, READS, 9) == 4
