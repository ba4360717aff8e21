"""A line to Redis that is cut when its process dies: others then know it within moments, not when a lease ends.

A process subscribes to a channel of its own, on which nobody ever speaks. When it is killed its kernel closes the
connection, and Redis forgets the subscription at once. A process that is merely slow, or frozen, keeps it.

It is a hint. A line may be cut by other means, and is then made anew; so it is taken for cut only when it was
missing for a while. To be wrong about it does no harm: what is leased to somebody else has a new fence.
"""

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from redis import Redis
from redis.client import PubSub
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeout

from wabajobs.signals.moments import milliseconds

_NAMES: Final = "wabajobs:lifelines"
_SAY_SECONDS: Final = 1.0
"""How often a process says that it has a line, for a Redis that was emptied, and whether it still has it."""
_ANSWER_SECONDS: Final = 2.0
_KEPT_MS: Final = 60_000
"""A name that was not said for so long is forgotten: by then its leases are long over."""
_ANEW_SECONDS: Final = 0.25
_NEW: Final = timedelta(seconds=5)


class Lifeline:
    """The line of this process, under the name by which the ledger knows it."""

    def __init__(self, redis: Redis, *, name: str) -> None:
        """Nothing is connected yet."""
        self._redis = redis
        self._name = name

    def hold(self) -> None:
        """Hold the line until the process ends, in a thread of its own; make it anew whenever it is cut."""
        threading.Thread(target=self._hold_for_ever, name="lifeline", daemon=True).start()

    def _hold_for_ever(self) -> None:
        while True:
            try:
                self._hold()
            except (RedisError, OSError):
                time.sleep(_ANEW_SECONDS)

    def _hold(self) -> None:
        with self._redis.pubsub() as line:  # type: ignore[no-untyped-call]
            line.subscribe(_channel(self._name))
            while True:
                self._redis.zadd(_NAMES, {self._name: milliseconds(self._redis.time())})
                _require_answer(line)
                line.get_message(timeout=_SAY_SECONDS)  # ends at once when the line is cut


class Lifelines:
    """Looks whose lines are cut. Knows since when each has been missing, so it is to be asked all the time."""

    def __init__(
        self,
        redis: Redis,
        *,
        gone_after: timedelta,
        new_for: timedelta = _NEW,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take a line for cut that has been missing for `gone_after`.

        For `new_for` after Redis was started, or another has taken its place, all have time to make their lines.
        """
        self._redis = redis
        self._gone_after = gone_after.total_seconds()
        self._new_for = new_for.total_seconds()
        self._monotonic = monotonic
        self._missing_since: dict[str, float] = {}
        self._run = ""
        """Which run of which Redis it was."""
        self._new_until = 0.0

    def cut(self) -> set[str]:
        """Return the names of those who are gone. Nobody is, as far as a Redis can tell that is away or new."""
        try:
            missing = self._missing()
        except (RedisError, OSError):
            missing = []
        now = self._monotonic()
        self._missing_since = {name: self._missing_since.get(name, now) for name in missing}
        return {name for name, since in self._missing_since.items() if now - since >= self._gone_after}

    def _missing(self) -> list[str]:
        now = milliseconds(self._redis.time())
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.info("server")
            pipe.zremrangebyscore(_NAMES, "-inf", now - _KEPT_MS)
            pipe.zrange(_NAMES, 0, -1)
            server, _, names = pipe.execute()
        if not names or self._is_new(server):
            return []
        names = [name.decode() for name in names]
        held = self._redis.pubsub_numsub(*map(_channel, names))
        return [name for name, (_, holders) in zip(names, held, strict=True) if not holders]

    def _is_new(self, server: dict[str, Any]) -> bool:
        """Whether those who had a line to the Redis before may not have one to this yet."""
        now = self._monotonic()
        if self._run not in ("", server["run_id"]):
            self._new_until = now + self._new_for
        self._run = server["run_id"]
        return now < self._new_until or int(server["uptime_in_seconds"]) < self._new_for


def _require_answer(line: PubSub) -> None:
    """Raise if nobody answers: a host that has vanished cuts nothing."""
    line.ping()
    while message := line.get_message(timeout=_ANSWER_SECONDS):
        if message["type"] == "pong":
            return
    raise RedisTimeout("the line is dead")


def _channel(name: str) -> str:
    return f"wabajobs:lifeline:{name}"
