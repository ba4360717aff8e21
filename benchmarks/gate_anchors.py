"""Limiters and breakers of others, each as one question: may this call be made now?"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pybreaker
import redis
from limits import RateLimitItemPerSecond, storage, strategies
from pyrate_limiter import Limiter, Rate, RedisBucket
from throttled import RateLimiterType, RedisStore, Throttled, per_duration

LIMITERS = (
    "limits moving window",
    "limits sliding window",
    "limits fixed window",
    "pyrate-limiter log",
    "throttled-py GCRA",
    "throttled-py sliding window",
)
"""Those that know one limit for all processes; of Celery's `rate_limit` each worker has its own."""

Question = Callable[[], bool]


def limiter(name: str, url: str, limit: int, window: int) -> Question:
    """Return the question of this limiter: `limit` calls in `window` seconds, for all who use this Redis."""
    key = name.replace(" ", "-")
    makers = {"limits": _limits, "pyrate-limiter": _pyrate, "throttled-py": _throttled}
    return makers[name.partition(" ")[0]](name, key, url, limit, window)


def store_of_limits(client: redis.Redis) -> storage.RedisStorage:
    """Return the store of `limits` on a client of ours: its own URLs know no unix socket with a database."""
    return storage.RedisStorage("redis://localhost", connection_pool=client.connection_pool)


def _limits(name: str, key: str, url: str, limit: int, window: int) -> Question:
    strategy: Any = {
        "limits moving window": strategies.MovingWindowRateLimiter,
        "limits sliding window": strategies.SlidingWindowCounterRateLimiter,
        "limits fixed window": strategies.FixedWindowRateLimiter,
    }[name](store_of_limits(redis.Redis.from_url(url)))
    item = RateLimitItemPerSecond(limit, window)
    return lambda: bool(strategy.hit(item, key))


def _pyrate(_name: str, key: str, url: str, limit: int, window: int) -> Question:
    one = Limiter(RedisBucket.init([Rate(limit, window * 1000)], redis.Redis.from_url(url), key))
    return lambda: bool(one.try_acquire(key, blocking=False))


def _throttled(name: str, key: str, url: str, limit: int, window: int) -> Question:
    kind = RateLimiterType.GCRA if name.endswith("GCRA") else RateLimiterType.SLIDING_WINDOW
    quota = per_duration(timedelta(seconds=window), limit, burst=limit)
    one = Throttled(key=key, using=kind.value, quota=quota, store=RedisStore(server=url))
    return lambda: not one.limit().limited


def breaker(url: str, fail_max: int, reset_seconds: float) -> Callable[[Callable[[], None]], bool]:
    """Return who makes a call through pybreaker, its state in Redis; False when it was not made."""
    state = pybreaker.CircuitRedisStorage(
        pybreaker.STATE_CLOSED, redis.Redis.from_url(url), namespace="bench-anchor"
    )
    one = pybreaker.CircuitBreaker(fail_max=fail_max, reset_timeout=reset_seconds, state_storage=state)

    def guarded(call: Callable[[], None]) -> bool:
        made = False

        def noted() -> None:
            nonlocal made
            made = True
            call()

        try:
            one.call(noted)
        except Exception:
            return made
        return True

    return guarded
