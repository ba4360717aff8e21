"""What Flower has been told, for the dispatcher that leads next: it has to tell when that is over."""

from collections.abc import Mapping
from typing import Final

from redis import Redis
from redis.exceptions import RedisError

_KEY: Final = "wabajobs:told"
_DAY: Final = 86_400


class Told:
    """What was told last of some ids, in a word. A hint: without it, entries of the past stay in Flower."""

    def __init__(self, redis: Redis) -> None:
        """Keep it in `redis`."""
        self._redis = redis
        self._known: dict[str, str] = {}
        """As far as this process knows: also what a Redis that was emptied has forgotten."""

    def words(self) -> dict[str, str]:
        """Return the word for each id."""
        try:
            kept = {_text(id_): _text(word) for id_, word in self._redis.hgetall(_KEY).items()}
        except (RedisError, OSError):
            kept = {}
        return self._known | kept

    def keep(self, words: Mapping[str, str]) -> None:
        """Remember these, and no others."""
        self._known = dict(words)
        try:
            with self._redis.pipeline(transaction=True) as pipe:
                pipe.delete(_KEY)
                for id_, word in words.items():
                    pipe.hset(_KEY, id_, word)
                if words:
                    pipe.expire(_KEY, _DAY)
                pipe.execute()
        except (RedisError, OSError):
            return


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode()
