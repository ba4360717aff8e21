"""What Flower has been told of as held, for the dispatcher that leads next: it has to tell when that is over."""

from collections.abc import Collection
from typing import Final

from redis import Redis
from redis.exceptions import RedisError

_KEY: Final = "wabajobs:told"
_DAY: Final = 86_400


class Told:
    """A set of ids, kept between dispatchers. A hint: who loses it leaves entries of the past in Flower."""

    def __init__(self, redis: Redis) -> None:
        """Keep it in `redis`."""
        self._redis = redis
        self._known: frozenset[str] = frozenset()
        """As far as this process knows: what a Redis that was emptied has forgotten."""

    def ids(self) -> frozenset[str]:
        """Return them."""
        try:
            kept = frozenset(one if isinstance(one, str) else one.decode() for one in self._redis.smembers(_KEY))
        except (RedisError, OSError):
            kept = frozenset()
        return self._known | kept

    def keep(self, ids: Collection[str]) -> None:
        """Remember these, and no others."""
        self._known = frozenset(ids)
        try:
            with self._redis.pipeline(transaction=True) as pipe:
                pipe.delete(_KEY)
                if ids:
                    pipe.sadd(_KEY, *ids)
                    pipe.expire(_KEY, _DAY)
                pipe.execute()
        except (RedisError, OSError):
            return
