"""The gate's functions in Redis, and Redis's troubles in plain words."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from typing import Any, Final

import redis
from redis import exceptions

from wabajobs.errors import GateUnavailable

_PARTS: Final = ("numbers", "window", "breaker", "plan", "admit", "settle", "tell", "read")
_UNKNOWN: Final = "function not found"
_NO_RULES: Final = "NORULES"

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

    A request is put together here, as bytes, and goes through a connection of the client's pool: what redis-py
    does to a command takes longer than what Redis does with it.
    """

    def __init__(self, client: redis.Redis) -> None:
        """Read the functions; Redis learns them at their first use."""
        self._client = client
        self._pool: Any = client.connection_pool
        self._idle: list[Any] = []
        self._pid = os.getpid()
        self._library, self._source = _library()
        self._rules: dict[str, tuple[str, str]] = {}

    def rules(self, key: str, text: str) -> str:
        """Return the short name by which functions know these rules. Redis learns them at their first use."""
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        self._rules[digest] = key, text
        return digest

    def request(self, name: str, key: str, *args: str | bytes, more: int = 0) -> bytes:
        """Write a request to run a function on the app of `key`, or the beginning of one that has `more`."""
        function = f"{self._library}_{name}"
        return b"*%d\r\n%b" % (4 + len(args) + more, packed("FCALL", function, "1", key, *args))

    def run(self, request: bytes) -> Any:
        """Send a request. Raises `GateUnavailable` when Redis does not run it."""
        return self.run_many((request,))[0]

    def run_many(self, requests: Sequence[bytes]) -> list[Any]:
        """Send many in one round trip. Raises `GateUnavailable`."""
        if not requests:
            return []
        try:
            answers = self._exchange(requests)
            for nth, answer in enumerate(answers):
                if isinstance(answer, exceptions.ResponseError):
                    answers[nth] = self._once_more(requests[nth], answer)
            return answers
        except exceptions.RedisError as error:
            raise _unavailable(error) from error

    def _once_more(self, request: bytes, error: exceptions.ResponseError) -> Any:
        """Give Redis what it lacks - it is new, or has lost it - and ask again."""
        for _ in range(2):  # it may lack the functions and the rules
            self._teach(error)
            (answer,) = self._exchange([request])
            if not isinstance(answer, exceptions.ResponseError):
                return answer
            error = answer
        raise error

    def _teach(self, error: exceptions.ResponseError) -> None:
        said = str(error)
        if _UNKNOWN in said.lower():
            self._client.function_load(self._source, replace=True)
        elif _NO_RULES in said:
            digest = said.rpartition(" ")[2]
            key, text = self._rules[digest]
            self._exchange([self.request("learn", key, digest, text)])
        else:
            raise error

    def _exchange(self, requests: Sequence[bytes]) -> list[Any]:
        """Send requests and read an answer to each; one that Redis refused is the error itself.

        The connections are kept: to take one from the client's pool, which looks whether it is still alive, takes
        as long as all the rest. One that is not alive is opened anew by the retry.
        """
        connection = self._connection()
        try:
            answers: list[Any] = connection.retry.call_with_retry(
                lambda: _answers(connection, requests), lambda _error: connection.disconnect()
            )
            return answers
        except BaseException:
            connection.disconnect()  # whatever it still had to say was for somebody who has gone
            raise
        finally:
            self._idle.append(connection)

    def _connection(self) -> Any:
        if self._pid != os.getpid():
            self._idle, self._pid = [], os.getpid()
        try:
            return self._idle.pop()
        except IndexError:
            return self._pool.get_connection()


def _answers(connection: Any, requests: Sequence[bytes]) -> list[Any]:
    connection.send_packed_command((b"".join(requests),))
    answers = []
    for _ in requests:
        try:
            answers.append(connection.read_response(disable_decoding=True))
        except exceptions.ResponseError as error:
            answers.append(error)
    return answers


def packed(*parts: str | bytes) -> bytes:
    """Write arguments as Redis reads them. https://redis.io/docs/latest/develop/reference/protocol-spec/"""
    encoded = [part if isinstance(part, bytes) else part.encode() for part in parts]
    return b"".join([b"$%d\r\n%b\r\n" % (len(part), part) for part in encoded])


@contextmanager
def in_plain_words() -> Iterator[None]:
    """Turn Redis's errors into `GateUnavailable`, with the cause in plain words."""
    try:
        yield
    except exceptions.RedisError as error:
        raise _unavailable(error) from error


def _unavailable(error: exceptions.RedisError) -> GateUnavailable:
    return GateUnavailable(f"the gate cannot be asked: {_cause(error)}; no call is made")


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
    return name, f"#!lua name={name}\nlocal LIBRARY = '{name}'\n{body}"
