"""The gate's Lua scripts, and Redis's troubles in plain words."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from typing import Any, Final

import redis
from redis import exceptions

from wabajobs.errors import GateUnavailable

_PARTS: Final = {
    "admit": ("numbers", "window", "breaker", "admit"),
    "settle": ("numbers", "window", "breaker", "settle"),
    "read": ("numbers", "window", "breaker", "read"),
    "tell": ("numbers", "tell"),
    "told": ("numbers", "told"),
    "spenders": ("numbers", "spenders"),
}

_TROUBLES: Final[tuple[tuple[type[Exception], str], ...]] = (
    (exceptions.AuthenticationError, "Redis does not accept our user and password"),
    (exceptions.BusyLoadingError, "Redis is still loading its data"),
    (exceptions.TimeoutError, "Redis did not answer in time"),
    (exceptions.ReadOnlyError, "Redis is a read-only replica just now (a fail-over?)"),
    (exceptions.OutOfMemoryError, "Redis is out of memory (maxmemory is reached)"),
    (exceptions.ConnectionError, "Redis cannot be reached"),
)

_ANSWERS: Final = {
    "OOM": "Redis is out of memory (maxmemory is reached)",
    "READONLY": "Redis is a read-only replica just now (a fail-over?)",
    "LOADING": "Redis is still loading its data",
    "BUSY": "Redis is busy with another script",
    "MISCONF": "Redis refuses to write because it cannot save its data",
    "NOREPLICAS": "Redis refuses to write because its replicas are away",
    "MASTERDOWN": "Redis has lost its primary",
    "CLUSTERDOWN": "the Redis cluster is down",
    "NOAUTH": "Redis does not accept our user and password",
    "NOPERM": "our Redis user may not run the gate's scripts",
}
"""Errors that a script answers with, by their first word or a word in them."""


class Scripts:
    """The scripts, registered with one Redis; each is one round trip."""

    def __init__(self, client: redis.Redis) -> None:
        """Read the scripts; Redis learns them at their first use."""
        self._client = client
        self._scripts = {name: client.register_script(_source(parts)) for name, parts in _PARTS.items()}

    def run(self, name: str, keys: Sequence[str], args: Sequence[str | int]) -> Any:
        """Run a script. Raises `GateUnavailable` when Redis does not."""
        with in_plain_words():
            return self._scripts[name](keys=keys, args=args)

    def run_many(self, name: str, runs: Sequence[tuple[Sequence[str], Sequence[str | int]]]) -> list[Any]:
        """Run a script many times in one round trip. Raises `GateUnavailable` when Redis does not."""
        with in_plain_words(), self._client.pipeline(transaction=False) as pipe:
            for keys, args in runs:
                self._scripts[name](keys=keys, args=args, client=pipe)
            return pipe.execute()


@contextmanager
def in_plain_words() -> Iterator[None]:
    """Turn Redis's errors into `GateUnavailable`, with the cause in plain words."""
    try:
        yield
    except exceptions.RedisError as error:
        raise GateUnavailable(f"the gate cannot be asked: {_cause(error)}; no call is made") from error


def _cause(error: Exception) -> str:
    for kind, words in _TROUBLES:
        if isinstance(error, kind):
            return words
    said = str(error)
    for sign, words in _ANSWERS.items():
        if sign in said.replace("-", " ").split():
            return words
    return f"Redis answered {said!r}"


def _source(parts: tuple[str, ...]) -> str:
    folder = files("wabajobs.gate") / "lua"
    return "\n".join((folder / f"{part}.lua").read_text(encoding="utf-8") for part in parts)
