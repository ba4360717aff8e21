"""The bell: who asks for a ring is heard, be he alone, in a crowd, or after Redis was away."""

from collections.abc import Callable, Iterator

import pytest
from redis import Redis

from tests.ledger.conftest import at_once
from tests.support.servers import RunningRedis
from tests.support.waiting import until
from wabajobs.signals import Bell, Ringer

CHANNEL = "wabajobs:bell:test"


@pytest.fixture
def bell(own_redis: RunningRedis) -> Bell:
    return Bell(Redis.from_url(own_redis.url, socket_timeout=0.25), CHANNEL)


@pytest.fixture
def heard(own_redis: RunningRedis) -> Iterator[Callable[[], int]]:
    """Says how many rings have come since it was asked last."""
    with own_redis.client.pubsub() as ear:
        ear.subscribe(CHANNEL)
        assert ear.get_message(timeout=5)

        def count() -> int:
            number = 0
            while message := ear.get_message(timeout=0.1):
                number += message["type"] == "message"
            return number

        yield count


def test_one_who_asks_is_rung_for(bell: Bell, heard: Callable[[], int]) -> None:
    ringer = Ringer(bell)

    ringer.ring()
    until(heard, what="a ring")
    ringer.ring()
    until(heard, what="another")


def test_those_who_ask_at_the_same_time_are_rung_for_together(bell: Bell, heard: Callable[[], int]) -> None:
    ringer = Ringer(bell)

    at_once(8, lambda _: [ringer.ring() for _ in range(100)])

    assert 1 <= heard() < 800


def test_who_asks_last_is_rung_for_too(bell: Bell, own_redis: RunningRedis) -> None:
    ringer = Ringer(bell)
    listener = Bell(Redis.from_url(own_redis.url), CHANNEL)
    listener.wait(0.01)  # it listens from here on

    for _ in range(50):
        ringer.ring()
        assert listener.wait(10)


def test_a_ringer_outlives_redis(bell: Bell, own_redis: RunningRedis) -> None:
    ringer = Ringer(bell)
    own_redis.kill()
    ringer.ring()
    own_redis.start()
    listener = Bell(Redis.from_url(own_redis.url), CHANNEL)

    assert until(lambda: (ringer.ring(), listener.wait(0.1))[1], what="it is heard again")
