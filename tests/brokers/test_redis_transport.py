"""Our way to Redis takes and acknowledges messages together, and promises what kombu's own promises."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
from kombu import Consumer, Exchange, Message, Producer, Queue
from kombu.asynchronous import Hub, set_event_loop
from kombu.transport import pyamqp

from tests.support.servers import RunningRedis
from tests.support.waiting import until
from wabajobs.broker import redis_transport
from wabajobs.broker.redis_transport import Connection


@dataclass
class Line:
    """A connection to Redis, and what has come over it."""

    redis: RunningRedis
    prefetch: int
    queues: tuple[str, ...] = ("one",)
    came: list[Message] = field(default_factory=list)
    noted: list[set[str]] = field(default_factory=list)
    """What was noted as unacknowledged when each came."""

    def __post_init__(self) -> None:
        self.connection = Connection(self.redis.server.broker_url)
        self.channel = self.connection.channel()
        self.channel.basic_qos(0, self.prefetch, False)
        queues = [Queue(name, Exchange(name), routing_key=name) for name in self.queues]
        self.consumer = Consumer(self.channel, queues, on_message=self._take)

    def _take(self, message: Message) -> None:
        self.came.append(message)
        self.noted.append(self.unacked())

    def unacked(self) -> set[str]:
        index = {tag.decode() for tag in self.redis.client.zrange("unacked_index", 0, -1)}
        assert index == {tag.decode() for tag in self.redis.client.hkeys("unacked")}
        return index

    def send(self, *bodies: Any, queue: str = "one") -> None:
        with Connection(self.redis.server.broker_url) as connection:
            producer = Producer(connection.channel())
            for body in bodies:
                producer.publish(body, exchange="", routing_key=queue)

    def consume(self) -> None:
        self.consumer.consume()
        with pytest.raises(TimeoutError):
            while True:
                self.connection.drain_events(timeout=0.3)

    def bodies(self) -> list[Any]:
        return [message.decode() for message in self.came]

    def waiting(self, queue: str = "one") -> list[Any]:
        """Return what lies in the queue, the next one first."""
        raw = reversed(self.redis.client.lrange(queue, 0, -1))
        return [json.loads(self.channel.decode_body(one["body"], "base64")) for one in map(json.loads, raw)]


LineOf = Callable[..., Line]


@pytest.fixture
def line_of(own_redis: RunningRedis) -> Iterator[LineOf]:
    """Makes lines with so many slots, closed at the end."""
    with ExitStack() as open_ones:

        def make(slots: int, *queues: str) -> Line:
            line = Line(own_redis, slots, queues or ("one",))
            open_ones.callback(line.connection.close)
            return line

        yield make


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()
    yield hub
    hub.close()
    set_event_loop(None)


def tags(messages: list[Message]) -> set[str]:
    return {message.delivery_tag for message in messages}


def test_no_more_come_than_there_are_slots_and_in_order(line_of: LineOf) -> None:
    line = line_of(3)
    line.send(0, 1, 2, 3, 4)

    line.consume()

    assert line.bodies() == [0, 1, 2]
    assert line.waiting() == [3, 4]


def test_each_is_noted_before_it_is_delivered(line_of: LineOf) -> None:
    line = line_of(3)
    line.send(0, 1, 2)

    line.consume()

    for message, noted in zip(line.came, line.noted, strict=True):
        assert message.delivery_tag in noted
    assert line.unacked() == tags(line.came)


def test_acknowledged_ones_leave_and_make_room(line_of: LineOf) -> None:
    line = line_of(2)
    line.send(*range(5))
    line.consume()
    for _ in range(2):
        for message in [one for one in line.came if not one.acknowledged]:
            message.ack()
        line.consume()

    assert line.bodies() == [0, 1, 2, 3, 4]
    assert line.waiting() == []
    assert line.unacked() == tags(line.came[4:])


def test_what_was_not_acknowledged_is_given_back_in_order(line_of: LineOf) -> None:
    line = line_of(4)
    line.send(0, 1, 2, 3)
    line.consume()
    line.came[1].ack()

    line.connection.close()

    later = line_of(4)
    assert sorted(later.waiting()) == [0, 2, 3]
    assert later.unacked() == set()
    later.consume()
    assert all(message.delivery_info["redelivered"] for message in later.came)


def test_several_queues_take_turns(line_of: LineOf) -> None:
    line = line_of(4, "one", "two")
    line.send("a", "b", "c", queue="one")
    line.send("x", "y", "z", queue="two")

    line.consume()

    assert sorted(line.bodies()) == ["a", "b", "x", "y"]


def test_a_message_cannot_be_noted_under_a_tag_that_its_text_contains(line_of: LineOf) -> None:
    line = line_of(3)
    with Connection(line.redis.server.broker_url) as connection:
        for number in range(3):
            Producer(connection.channel()).publish(
                {"text": '"delivery_tag": "mine"'},
                exchange="",
                routing_key="one",
                headers={"kwargsrepr": f'{{"delivery_tag": "{number}"}} "delivery_tag": "mine"'},
            )

    line.consume()

    assert len(line.came) == 3
    assert line.unacked() == tags(line.came)


def test_in_an_event_loop_a_late_word_to_redis_still_frees_the_slot_at_once(line_of: LineOf, hub: Hub) -> None:
    line = line_of(1)
    line.send(0, 1, 2)
    line.connection.register_with_event_loop(hub)
    line.consumer.consume()
    until(lambda: (hub.run_once(), line.came)[1], what="the first")

    line.came[0].ack()
    assert line.unacked() == tags(line.came)  # not yet told
    until(lambda: (hub.run_once(), len(line.came) == 2)[1], what="the second")
    assert line.unacked() == tags(line.came[1:])  # told with the errand of the second

    line.came[1].ack()
    until(lambda: (hub.run_once(), len(line.came) == 3)[1], what="the third")
    line.came[2].ack()
    until(lambda: (hub.run_once(), not line.unacked())[1], what="Redis is told also when nothing else is to do")


def test_in_an_event_loop_slots_are_filled_together_unless_all_are_free(
    line_of: LineOf, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_FREE_WITHIN_SECONDS", "_ACK_WITHIN_SECONDS"):
        monkeypatch.setattr(redis_transport, name, 600)
    line = line_of(3)
    line.send(0, 1, 2, 3, 4, 5)
    line.connection.register_with_event_loop(hub)
    line.consumer.consume()
    until(lambda: (hub.run_once(), len(line.came) == 3)[1], what="the first three")

    line.came[0].ack()
    line.came[1].ack()
    for _ in range(20):
        hub.call_soon(lambda: None)  # it goes round without waiting for anything
        hub.run_once()
    assert len(line.came) == 3

    line.came[2].ack()
    until(lambda: (hub.run_once(), len(line.came) == 6)[1], what="all three slots")


def test_what_redis_has_not_been_told_yet_is_told_at_the_end(line_of: LineOf, hub: Hub) -> None:
    line = line_of(2)
    line.send(0, 1)
    line.connection.register_with_event_loop(hub)
    line.consumer.consume()
    until(lambda: (hub.run_once(), len(line.came) == 2)[1], what="both")
    line.came[0].ack()

    line.connection.close()
    assert line.unacked() == set()
    assert line_of(1).waiting() == [1]

    line.came[1].ack()  # the thread was at work until after the end: nothing is left to tell
    assert line.unacked() == set()


def test_other_brokers_keep_their_own_transport() -> None:
    assert Connection("amqp://127.0.0.1:1//").get_transport_cls() is pyamqp.Transport
