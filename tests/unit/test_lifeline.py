"""A line that is cut when its process dies, and only then: who is frozen keeps it, a new Redis gets it again."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from redis import Redis

from tests.support.servers import RunningRedis
from tests.support.waiting import until
from wabajobs.signals import Lifelines

NAME = "template_sync@host:1"
HOLD = """
import sys, time
from redis import Redis
from wabajobs.signals import Lifeline
Lifeline(Redis.from_url(sys.argv[1], socket_timeout=2), name=sys.argv[2]).hold()
time.sleep(600)
"""
Worker = subprocess.Popen[bytes]


@pytest.fixture
def worker(own_redis: RunningRedis) -> Iterator[Worker]:
    """A process that holds a line."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, own_redis.url, NAME])
    try:
        until(lambda: _held(own_redis), what="the line is held")
        yield process
    finally:
        process.kill()
        process.wait(10)


@pytest.fixture
def looking(own_redis: RunningRedis) -> Callable[..., Lifelines]:
    def look(*, gone_after: float = 0.3, new_for: float = 1, **more: Any) -> Lifelines:
        until(lambda: own_redis.client.info("server")["uptime_in_seconds"] >= new_for, what="it is not new")
        redis = Redis.from_url(own_redis.url, socket_timeout=2)
        return Lifelines(
            redis, gone_after=timedelta(seconds=gone_after), new_for=timedelta(seconds=new_for), **more
        )

    return look


def _held(redis: RunningRedis) -> bool:
    return bool(redis.client.pubsub_numsub(f"wabajobs:lifeline:{NAME}")[0][1])


def _looks(lines: Lifelines, seconds: float) -> set[str]:
    """Look for so long; return all who were said to be gone."""
    end = time.monotonic() + seconds
    gone: set[str] = set()
    while time.monotonic() < end:
        gone |= lines.cut()
    return gone


def test_who_was_killed_is_gone(worker: Worker, looking: Callable[..., Lifelines]) -> None:
    lines = looking()
    assert _looks(lines, 0.6) == set()

    worker.kill()

    assert until(lines.cut, what="its line is cut") == {NAME}


def test_nobody_is_gone_before_his_line_was_missing_for_a_while(
    worker: Worker, looking: Callable[..., Lifelines]
) -> None:
    moment = 100.0
    lines = looking(gone_after=0, monotonic=lambda: moment)
    patient = looking(gone_after=0.5, monotonic=lambda: moment)
    worker.kill()
    until(lines.cut, what="its line is missing")

    assert patient.cut() == set()
    moment += 0.4
    assert patient.cut() == set()
    moment += 0.2
    assert patient.cut() == {NAME}


def test_who_is_frozen_is_not_gone(worker: Worker, looking: Callable[..., Lifelines]) -> None:
    worker.send_signal(signal.SIGSTOP)

    assert _looks(looking(gone_after=0.1), 1.5) == set()


def test_who_lost_his_line_because_redis_was_started_again_makes_it_anew(
    worker: Worker, looking: Callable[..., Lifelines], own_redis: RunningRedis
) -> None:
    lines = looking(new_for=4)
    assert _looks(lines, 0.1) == set()

    own_redis.kill()
    assert lines.cut() == set(), "of a Redis that is away nobody can say who is gone"
    own_redis.start()

    assert _looks(lines, 4) == set()
    until(lambda: _held(own_redis), what="the line is made anew")
    worker.kill()
    assert until(lines.cut, what="its line is cut") == {NAME}


def test_a_redis_that_was_emptied_knows_the_line_again(
    worker: Worker, looking: Callable[..., Lifelines], own_redis: RunningRedis
) -> None:
    own_redis.client.flushall()
    until(lambda: own_redis.client.zcard("wabajobs:lifelines"), what="it has said that it has a line")

    worker.kill()

    assert until(looking().cut, what="its line is cut") == {NAME}
