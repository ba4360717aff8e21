"""Which workers are alive, and how many operations each can work at. Announced every second, soon forgotten.

And the other way round: that a queue's messages were not fetched, for its workers to ask themselves why.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from redis import Redis
from redis.exceptions import RedisError

from wabajobs.errors import NotReady
from wabajobs.signals.moments import milliseconds

_COMPLAINT_MS: Final = 60_000


@dataclass(frozen=True, kw_only=True)
class Worker:
    """A worker that is alive and consumes `queue`."""

    name: str
    queue: str
    slots: int


class Presence:
    """The list of living workers."""

    def __init__(self, redis: Redis, *, alive_for: timedelta) -> None:
        """Keep it in `redis`; a worker that was silent for `alive_for` is taken for dead."""
        self._redis = redis
        self._alive_for_ms = int(alive_for.total_seconds() * 1000)

    def announce(self, worker: Worker) -> timedelta | None:
        """Say that a worker is alive; return how long ago somebody complained that its queue is not consumed.

        Raises `NotReady` when Redis cannot be reached.
        """
        try:
            now = self._now_ms()
            with self._redis.pipeline(transaction=False) as pipe:
                pipe.hset(_key(worker.queue), worker.name, json.dumps({"slots": worker.slots, "at": now}))
                pipe.pexpire(_key(worker.queue), self._alive_for_ms * 2)
                pipe.get(_complaint(worker.queue))
                *_, complained_at = pipe.execute()
        except (RedisError, OSError) as error:
            raise NotReady(f"Redis cannot be reached: {error}") from error
        return None if complained_at is None else timedelta(milliseconds=max(0, now - int(complained_at)))

    def complain(self, queue: str) -> None:
        """Say that messages of a queue were not fetched although workers live. Forgotten after a minute."""
        try:
            self._redis.set(_complaint(queue), self._now_ms(), px=_COMPLAINT_MS)
        except (RedisError, OSError) as error:
            raise NotReady(f"Redis cannot be reached: {error}") from error

    def complaints(self, queues: Iterable[str]) -> set[str]:
        """Return the queues of which somebody has complained within the last minute."""
        queues = list(queues)
        try:
            there = self._redis.mget([_complaint(queue) for queue in queues]) if queues else []
        except (RedisError, OSError) as error:
            raise NotReady(f"Redis cannot be reached: {error}") from error
        return {queue for queue, complained_at in zip(queues, there, strict=True) if complained_at is not None}

    def leave(self, worker: Worker) -> None:
        """Say that a worker goes. Never raises: it would be forgotten anyhow."""
        try:
            self._redis.hdel(_key(worker.queue), worker.name)
        except (RedisError, OSError):
            return

    def living(self, queues: Iterable[str]) -> dict[str, list[Worker]]:
        """Return the living workers of each queue. Raises `NotReady` when Redis cannot be reached."""
        queues = list(queues)
        try:
            with self._redis.pipeline(transaction=False) as pipe:
                pipe.time()
                for queue in queues:
                    pipe.hgetall(_key(queue))
                time, *answers = pipe.execute()
            now = milliseconds(time)
            return {queue: self._alive(queue, answer, now) for queue, answer in zip(queues, answers, strict=True)}
        except (RedisError, OSError) as error:
            raise NotReady(f"Redis cannot be reached: {error}") from error

    def _alive(self, queue: str, told: dict[bytes, bytes], now: int) -> list[Worker]:
        alive = []
        for name, value in told.items():
            facts = json.loads(value)
            if now - facts["at"] > self._alive_for_ms:
                self._redis.hdel(_key(queue), name)
            else:
                alive.append(Worker(name=name.decode(), queue=queue, slots=facts["slots"]))
        return alive

    def _now_ms(self) -> int:
        return milliseconds(self._redis.time())


def _complaint(queue: str) -> str:
    return f"wabajobs:unfetched:{queue}"


def _key(queue: str) -> str:
    return f"wabajobs:workers:{queue}"
