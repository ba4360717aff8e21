"""A bell: who has put something into the ledger, or freed a slot, wakes those who wait."""

import threading
import time
from typing import Final

from redis import Redis
from redis.client import PubSub
from redis.exceptions import RedisError

WORK: Final = "wabajobs:bell:work"
"""Rung when an operation can be released, or a slot has become free."""
DECISIONS: Final = "wabajobs:bell:decisions"
"""Rung when a person has decided something."""

_SULK_SECONDS: Final = 1.0
_TOGETHER_SECONDS: Final = 0.005
"""For so long after a ring, those who ask for another are rung for together."""


class Bell:
    """Rings and listens on one channel. Never raises: who is not heard is found by polling."""

    def __init__(self, redis: Redis, channel: str) -> None:
        """Use a connection of `redis`; its timeouts bound how long a ring can take."""
        self._redis = redis
        self._channel = channel
        self._pubsub: PubSub | None = None
        self._silent_until = 0.0

    def ring(self) -> bool:
        """Wake the listeners; False when nobody could be told. Redis being away costs one timeout a second."""
        if time.monotonic() < self._silent_until:
            return False
        try:
            self._redis.publish(self._channel, "")
        except (RedisError, OSError):
            self._silent_until = time.monotonic() + _SULK_SECONDS
            return False
        return True

    def wait(self, seconds: float) -> bool:
        """Wait until the bell rings, at most `seconds`. Rings that came meanwhile count as one."""
        end = time.monotonic() + seconds
        try:
            pubsub = self._listening()
            while (left := end - time.monotonic()) > 0:
                message = pubsub.get_message(timeout=left)
                if message is not None and message["type"] == "message":
                    while pubsub.get_message(timeout=0) is not None:
                        pass
                    return True
        except (RedisError, OSError):
            self._pubsub = None
            time.sleep(max(0.0, min(end - time.monotonic(), seconds)))
        return False

    def _listening(self) -> PubSub:
        if self._pubsub is None:
            pubsub: PubSub = self._redis.pubsub()  # type: ignore[no-untyped-call]
            pubsub.subscribe(self._channel)
            self._pubsub = pubsub
        return self._pubsub


class Ringer:
    """Rings for many who ask all the time, and lets none of them wait: a thread of its own does it for them."""

    def __init__(self, bell: Bell) -> None:
        """Ring this bell."""
        self._bell = bell
        self._asked = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def ring(self) -> None:
        """Have the bell rung soon: at once if it was silent, else together with others."""
        self._asked.set()
        if self._thread is None:
            with self._starting:
                self._thread = self._thread or self._started()

    def _started(self) -> threading.Thread:
        thread = threading.Thread(target=self._ring_for_ever, name="ringer", daemon=True)
        thread.start()
        return thread

    def _ring_for_ever(self) -> None:
        while True:
            self._asked.wait()
            self._asked.clear()  # who asks from here on is rung for once more
            self._bell.ring()
            time.sleep(_TOGETHER_SECONDS)
