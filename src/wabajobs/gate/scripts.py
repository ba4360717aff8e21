"""The gate's functions in Redis, and Redis's troubles in plain words."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from typing import Any, Final

import redis
from redis import exceptions

from wabajobs.errors import GateUnavailable

_PARTS: Final = ("numbers", "window", "breaker", "admit", "settle", "tell", "read")
_UNKNOWN: Final = "function not found"

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
    """The gate's functions in one Redis; each is one round trip.

    They are a library of Redis 7's functions and not scripts: what they decode, and the functions themselves, are
    made once and not at every call. The library's name tells its content, so that an older version of ours on
    another host goes on beside it. https://redis.io/docs/latest/develop/programmability/functions-intro/
    """

    def __init__(self, client: redis.Redis) -> None:
        """Read the functions; Redis learns them at their first use."""
        self._client = client
        self._library, self._source = _library()

    def run(self, name: str, keys: Sequence[str], args: Sequence[str | int]) -> Any:
        """Run a function. Raises `GateUnavailable` when Redis does not."""
        with in_plain_words():
            try:
                return self._call(self._client, name, keys, args)
            except exceptions.ResponseError as error:
                self._teach(error)
            return self._call(self._client, name, keys, args)

    def run_many(self, name: str, runs: Sequence[tuple[Sequence[str], Sequence[str | int]]]) -> list[Any]:
        """Run a function many times in one round trip. Raises `GateUnavailable` when Redis does not."""
        with in_plain_words():
            try:
                return self._pipe(name, runs)
            except exceptions.ResponseError as error:
                self._teach(error)
            return self._pipe(name, runs)

    def _pipe(self, name: str, runs: Sequence[tuple[Sequence[str], Sequence[str | int]]]) -> list[Any]:
        with self._client.pipeline(transaction=False) as pipe:
            for keys, args in runs:
                self._call(pipe, name, keys, args)
            return pipe.execute()

    def _call(self, client: Any, name: str, keys: Sequence[str], args: Sequence[str | int]) -> Any:
        return client.fcall(f"{self._library}_{name}", len(keys), *keys, *args)

    def _teach(self, error: exceptions.ResponseError) -> None:
        """Give Redis the functions, if that is what it lacks: it is new, or has lost them."""
        if _UNKNOWN not in str(error).lower():
            raise error
        self._client.function_load(self._source, replace=True)


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
    if "unknown command" in said.lower():
        return "Redis is older than version 7, which the gate needs"
    for sign, words in _ANSWERS.items():
        if sign in said.replace("-", " ").split():
            return words
    return f"Redis answered {said!r}"


@cache
def _library() -> tuple[str, str]:
    """The name of our library, and its source."""
    folder = files("wabajobs.gate") / "lua"
    body = "\n".join((folder / f"{part}.lua").read_text(encoding="utf-8") for part in _PARTS)
    name = f"wabajobs_{hashlib.sha256(body.encode()).hexdigest()[:12]}"
    register = f"local function register(name, body)\n  redis.register_function('{name}_' .. name, body)\nend\n"
    return name, f"#!lua name={name}\n{register}{body}"
