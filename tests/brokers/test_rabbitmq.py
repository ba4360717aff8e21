"""The suite's core with RabbitMQ as broker: accepted, released, worked at, paused, killed, found again."""

import signal
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
from kombu import Connection

from tests.support.fleet import Fleet, wall
from tests.support.rabbitmq import RunningRabbit
from tests.support.waiting import until
from tests.support.witness import (
    SHORT_PAGES,
    attempts,
    calls_since,
    mirrored,
    pages_read_twice,
    story,
)
from wabajobs.operation import Operation
from wabajobs.signals import Worker

OnRabbit = Callable[..., Fleet]
SLOW = {"wabas": 16, "templates": 110, "latency": 0.2}
"""Sixteen syncs of six pages, of which one worker can work at eight."""


@pytest.fixture(autouse=True)
def emptied(rabbitmq: RunningRabbit) -> Iterator[None]:
    """Leave no message for the next test."""
    yield
    with Connection(rabbitmq.url) as connection:
        connection.default_channel.queue_delete("template_sync")


def _all_have_succeeded(fleet: Fleet, operations: list[Operation]) -> None:
    done = fleet.finished(operations)
    assert [one.state for one in done] == ["succeeded"] * len(operations)
    assert mirrored(fleet, [one.waba for one in done if one.waba])


def test_operations_go_through_it_once(on_rabbitmq: OnRabbit) -> None:
    fleet = on_rabbitmq(knobs={"wabas": 30})
    wabas = fleet.simulator.world.waba_ids
    fleet.start("dispatcher", "worker")

    operations = fleet.sync(*wabas)

    _all_have_succeeded(fleet, operations)
    assert fleet.simulator.judge.by_waba() == dict.fromkeys(wabas, 1)
    assert all(
        one.outcome in ("held", "succeeded") for operation in operations for one in attempts(fleet, operation)
    )


def test_a_paused_queue_is_not_consumed_and_goes_on_after_it(on_rabbitmq: OnRabbit) -> None:
    fleet = on_rabbitmq(knobs=SLOW, **SHORT_PAGES)
    fleet.start("dispatcher", "worker")
    operations = fleet.sync(*fleet.simulator.world.waba_ids)
    until(lambda: fleet.calls() >= 16, what="syncs are under way")

    assert fleet.command("pause", "queue", "template_sync", "--reason", "app limit").returncode == 0
    paused = wall()
    until(lambda: "consuming=False" in fleet.log("worker"), what="the worker consumes no more")
    until(lambda: not fleet.house.ledger.operations.out(), what="nothing is out any more")
    calls = calls_since(fleet, paused)
    assert fleet.command("resume", "queue", "template_sync").returncode == 0

    _all_have_succeeded(fleet, operations)
    assert calls == []
    assert pages_read_twice(fleet) == {}


def test_what_a_killed_worker_had_is_done_by_another(on_rabbitmq: OnRabbit) -> None:
    fleet = on_rabbitmq(knobs=SLOW, **SHORT_PAGES)
    fleet.start("dispatcher", "worker-1")
    operations = fleet.sync(*fleet.simulator.world.waba_ids)
    until(lambda: fleet.calls() >= 16, what="syncs are under way")

    fleet.kill("worker-1")
    fleet.start("worker-2")

    _all_have_succeeded(fleet, operations)
    # RabbitMQ gives its messages to the next worker at once; nothing begins before its lease is over.
    for operation in operations:
        for before, after in pairwise(attempts(fleet, operation)):
            assert before.ended_at is not None
            assert before.ended_at <= after.begun_at
    assert len(pages_read_twice(fleet)) <= fleet.settings.workers.concurrency


def test_a_stopped_worker_gives_its_operations_back_at_once(on_rabbitmq: OnRabbit) -> None:
    fleet = on_rabbitmq(knobs={**SLOW, "wabas": 8}, **SHORT_PAGES)
    fleet.start("dispatcher", "worker-1")
    operations = fleet.sync(*fleet.simulator.world.waba_ids)
    until(lambda: fleet.calls() >= 12, what="syncs are under way")

    fleet.kill("worker-1", signal.SIGTERM)
    fleet.start("worker-2")

    _all_have_succeeded(fleet, operations)
    assert pages_read_twice(fleet) == {}
    assert all(fleet.client.get(one.id).attempts == 1 for one in operations)


def test_messages_that_are_lost_are_released_again(on_rabbitmq: OnRabbit, rabbitmq: RunningRabbit) -> None:
    fleet = on_rabbitmq(knobs={"wabas": 8})
    fleet.start("dispatcher", "worker")
    fleet.ready()
    fleet.processes["worker"].send_signal(signal.SIGSTOP)
    operations = fleet.sync(*fleet.simulator.world.waba_ids)
    until(lambda: len(fleet.house.ledger.operations.out()) > 0, what="operations are released")

    with Connection(rabbitmq.url) as connection:
        connection.default_channel.queue_purge("template_sync")
    fleet.processes["worker"].send_signal(signal.SIGCONT)

    _all_have_succeeded(fleet, operations)


def test_it_goes_on_after_the_broker_was_killed(on_rabbitmq: OnRabbit, rabbitmq: RunningRabbit) -> None:
    fleet = on_rabbitmq(knobs=SLOW, **SHORT_PAGES)
    *wabas, another = fleet.simulator.world.waba_ids
    fleet.start("dispatcher", "worker")
    operations = fleet.sync(*wabas)
    until(lambda: fleet.calls() >= 16, what="syncs are under way")

    rabbitmq.kill()
    operations += fleet.sync(another)
    rabbitmq.start()

    _all_have_succeeded(fleet, operations)
    assert pages_read_twice(fleet) == {}


def test_what_cannot_be_published_stays_in_the_ledger(on_rabbitmq: OnRabbit, rabbitmq: RunningRabbit) -> None:
    fleet = on_rabbitmq(knobs={"wabas": 2})
    first, second = fleet.simulator.world.waba_ids
    fleet.start("dispatcher", "worker")
    _all_have_succeeded(fleet, fleet.sync(first))  # the dispatcher is connected

    fleet.kill("worker")
    rabbitmq.kill()
    # A worker that is still taken for alive: without one, nothing is released at all.
    fleet.house.presence.announce(Worker(name="ghost", queue="template_sync", slots=8))
    operations = fleet.sync(second)
    until(lambda: "publish_failed" in fleet.log("dispatcher"), what="the dispatcher notices")
    rabbitmq.start()
    fleet.start("worker")

    _all_have_succeeded(fleet, operations)
    assert "taken back" in story(fleet, operations[0])
    assert fleet.client.get(operations[0].id).attempts == 1
