"""Celery's way to Redis, with fewer errands: messages are fetched and acknowledged several at a time.

Kombu's own transport makes three round trips for a message, each through a client object that it makes for it:
fetch, note as unacknowledged, acknowledge. For a task as short as most of ours that is more work than the task.
What is promised stays as it was: a message is noted as unacknowledged before its task can begin, and is
acknowledged when the task is over. It may be acknowledged a moment later than that, never earlier.
"""

import time
from collections import deque
from contextlib import suppress
from typing import Any, Final

from kombu import Connection as AnyConnection
from kombu.transport import redis
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import dumps, loads

_FREE_WITHIN_SECONDS: Final = 0.005
"""Slots that become free wait so long for others, while some are taken: messages are then fetched together."""
_ACK_WITHIN_SECONDS: Final = 0.02
"""Acknowledgements wait so long for company, or for the next fetch."""

# Takes messages off a queue and notes them as kombu does: under their tags, with exchange and routing key.
_FETCH: Final = """
local items = redis.call('RPOP', KEYS[1], ARGV[1])
for _, item in ipairs(items or {}) do
    local tag = string.match(item, '"delivery_tag": ?"([^"]+)"')
    if tag then
        redis.call('ZADD', KEYS[2], ARGV[2], tag)
        redis.call('HSET', KEYS[3], tag, '[' .. item .. ARGV[3])
    end
end
return items or {}
"""


class QoS(redis.QoS):
    """Which messages are out. Belongs to the thread of the event loop, like kombu's own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Nothing is out yet."""
        super().__init__(*args, **kwargs)
        self.fetched: deque[tuple[str, dict[str, Any]]] = deque()
        """Messages that came along with another, and their queues."""
        self._noted: set[str] = set()
        self._over: list[str] = []
        """Messages whose tasks are over, and whose slots are not free yet."""
        self._acked: list[str] = []
        self._due = False

    def append(self, message: Any, delivery_tag: str) -> None:
        """Note a message as out, say what is acknowledged, and fetch others for free slots: in one round trip."""
        if delivery_tag in self._noted:
            self._noted.discard(delivery_tag)
        else:
            self._exchange(message, delivery_tag)
        super(redis.QoS, self).append(message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Free the slot soon, and tell Redis with an errand after that.

        Should Redis not hear of it, the loop breaks and Celery connects anew: better than a worker that goes on
        with a count of its own. The message then comes once more, and the ledger says that it is stale.
        """
        self._over.append(delivery_tag)
        loop = getattr(self.channel.connection, "loop", None)
        if loop is None or self.channel.closed:
            self.tell_acked()
            return
        if len(self._over) + len(self._dirty) >= len(self._delivered):
            self._free()
        elif len(self._over) == 1:
            loop.call_later(_FREE_WITHIN_SECONDS, self._free)
        if not self._due:
            self._due = True
            loop.call_later(_ACK_WITHIN_SECONDS, self.tell_acked)

    def _free(self) -> None:
        for delivery_tag in self._over:
            super(redis.QoS, self).ack(delivery_tag)
        self._acked += self._over
        self._over.clear()

    def tell_acked(self) -> None:
        """Tell Redis what is acknowledged, if there is anything."""
        self._due = False
        self._free()
        if self._acked:
            with self.pipe_or_acquire() as pipe:
                told = self._add_acked(pipe)
                pipe.execute()
            del self._acked[:told]

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Give back what is out when the channel closes; what is acknowledged is not given back."""
        with suppress(*self.channel.connection_errors):
            self.tell_acked()
        super().restore_unacked_once(stderr)

    def _exchange(self, message: Any, delivery_tag: str) -> None:
        delivery = message.delivery_info
        queue = delivery["routing_key"]
        others = self._room_beside(delivery["exchange"])
        with self.pipe_or_acquire() as pipe:
            told = self._add_acked(pipe)
            now = time.time()
            pipe.zadd(self.unacked_index_key, {delivery_tag: now})
            pipe.hset(self.unacked_key, delivery_tag, dumps([message._raw, delivery["exchange"], queue]))
            if others:
                keys = (queue, self.unacked_index_key, self.unacked_key)
                pipe.eval(_FETCH, len(keys), *keys, others, now, f', "", {dumps(queue)}]')
            *_, fetched = pipe.execute()
        del self._acked[:told]
        for item in fetched if others else ():
            raw = loads(bytes_to_str(item))
            self._noted.add(raw["properties"]["delivery_tag"])
            self.fetched.append((queue, raw))

    def _room_beside(self, exchange: str) -> int:
        """Return for how many more there is room; several queues take turns, one message at a time."""
        if exchange or len(self.channel.active_queues) != 1:
            return 0
        return max(0, (self.can_consume_max_estimate() or 0) - 1)

    def _add_acked(self, pipe: Any) -> int:
        if self._acked:
            pipe.zrem(self.unacked_index_key, *self._acked)
            pipe.hdel(self.unacked_key, *self._acked)
        return len(self._acked)


class Channel(redis.Channel):
    """Keeps one client for all errands, and delivers what was fetched together."""

    QoS = QoS
    _errands: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:
        """Return the client for errands, or a new one for blocking reads, which keeps its connection."""
        if asynchronous:
            return super()._create_client(asynchronous=True)
        if self._errands is None or self._errands.connection_pool is not self.pool:
            self._errands = super()._create_client()
        return self._errands

    def _brpop_read(self, **options: Any) -> Any:
        got = super()._brpop_read(**options)
        while self.qos.fetched:
            queue, raw = self.qos.fetched.popleft()
            self.connection._deliver(raw, queue)
        return got


class Transport(redis.Transport):
    """Makes such channels, and knows the event loop."""

    Channel = Channel
    loop: Any = None

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Do as kombu does, and remember the loop."""
        super().register_with_event_loop(connection, loop)
        self.loop = loop


class Connection(AnyConnection):
    """A connection to any broker; to Redis by this transport."""

    def get_transport_cls(self) -> type:
        """Return ours in the place of kombu's; that of any other broker is left alone."""
        cls: type = super().get_transport_cls()
        return Transport if cls is redis.Transport else cls
