"""What the dispatcher publishes is what Celery itself would publish, to the letter."""

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from celery import Celery
from celery.events import EventReceiver

from tests.support.servers import RunningRedis
from wabajobs.broker import Sender, make_app
from wabajobs.capability import Capability, ServiceClass
from wabajobs.operation import Operation, State
from wabajobs.settings import Settings

KINDS = ("template_sync", "other_kind")


@pytest.fixture
def app(own_redis: RunningRedis) -> Iterator[Celery]:
    settings = Settings.load({"WABAJOBS_BROKER_URL": own_redis.server.broker_url})
    with make_app(settings, queues=KINDS) as app:
        yield app
        app.pool.force_close_all()


def operation(number: int, *, kind: str = "template_sync", waba: str | None = "524126980791429") -> Operation:
    now = datetime(2026, 11, 23, tzinfo=UTC)
    return Operation(
        id=f"01a20822-c579-7e18-b5ba-{number:012}",
        kind=kind,
        state=State.WAITING,
        partner='acme\'s "best"',
        app="1236833878997956",
        waba=waba,
        service_class=ServiceClass.STANDARD,
        capability=Capability.TEMPLATE_READS,
        payload={},
        attempts=0,
        fence=number,
        hold=None,
        checkpoint=None,
        result=None,
        error=None,
        due_at=now,
        created_at=now,
        finished_at=None,
    )


def taken(redis: RunningRedis, queue: str) -> list[dict[str, Any]]:
    """Take all messages off a queue, without what is another one each time."""
    messages = [json.loads(raw) for raw in reversed(redis.client.lrange(queue, 0, -1))]
    redis.client.delete(queue)
    for message in messages:
        del message["properties"]["delivery_tag"]
        del message["properties"]["reply_to"]  # for results, which nobody waits for
    return messages


def test_a_message_is_the_one_that_celery_would_send(app: Celery, own_redis: RunningRedis) -> None:
    ones = [operation(1), operation(2, waba=None), operation(3, kind="other_kind")]
    for one in ones:
        app.send_task(
            one.kind,
            task_id=one.id,
            kwargs={"fence": one.fence, "partner": one.partner, "waba": one.waba or "", "app": one.app},
            queue=one.kind,
            ignore_result=True,
        )
    celerys = [taken(own_redis, kind) for kind in KINDS]

    assert Sender(app)(ones) == ()

    ours = [taken(own_redis, kind) for kind in KINDS]
    assert ours == celerys
    assert [len(messages) for messages in celerys] == [2, 1]


def test_flower_is_told_of_each_what_celery_would_tell(app: Celery, own_redis: RunningRedis) -> None:
    heard: list[dict[str, Any]] = []
    with app.connection_for_read() as connection:
        receiver = EventReceiver(connection, handlers={"task-sent": heard.append}, app=app)
        with receiver.consumer_context() as (line, *_):
            while not own_redis.client.pubsub_numpat():
                with suppress(TimeoutError):
                    line.drain_events(timeout=0.1)
            app.send_task(
                "template_sync",
                task_id=operation(1).id,
                kwargs={
                    "fence": 1,
                    "partner": 'acme\'s "best"',
                    "waba": "524126980791429",
                    "app": "1236833878997956",
                },
                queue="template_sync",
                ignore_result=True,
            )
            Sender(app)([operation(1), operation(2)])
            while len(heard) < 3:
                line.drain_events(timeout=5)
    for event in heard:
        for differs in ("timestamp", "local_received", "clock"):
            assert event.pop(differs)
    celerys, ours, other = heard
    assert ours == celerys | {"exception": None, "result": None}  # why it was held before
    assert other["uuid"] == operation(2).id


def test_nothing_is_published_when_redis_is_away(app: Celery, own_redis: RunningRedis) -> None:
    sender = Sender(app)
    own_redis.kill()
    ones = [operation(1), operation(2)]

    assert sender(ones) == ones

    own_redis.start()
    assert sender(ones) == ()
    assert len(taken(own_redis, "template_sync")) == 2
