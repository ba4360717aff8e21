"""HTTP connections that keep a deadline, whatever the server does.

A read timeout starts anew with every byte that arrives: a server that drips one byte at a time keeps a thread
for ever. So each read from the socket gets what is left of the whole exchange, headers included.
"""

import http.client
import io
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, TypeVar

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.poolmanager import PoolManager, ProxyManager

Manager = TypeVar("Manager", bound=PoolManager)

_deadline: ContextVar[float] = ContextVar("deadline of the exchange")


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Give the exchange inside the block `seconds` in all; its reads and writes raise `TimeoutError` then."""
    token = _deadline.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _deadline.reset(token)


def _remaining() -> float:
    remaining = _deadline.get() - time.monotonic()
    if remaining <= 0:
        raise TimeoutError("the exchange is over its deadline")
    return remaining


class _BoundedReader(io.RawIOBase):
    """A socket's reading side; it waits no longer than the exchange has left."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        self._raw = raw
        self._sock = sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        self._sock.settimeout(_remaining())
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _BoundedResponse(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        raw: io.RawIOBase = self.fp.detach()
        self.fp = io.BufferedReader(_BoundedReader(raw, sock))


class _BoundedHTTP(HTTPConnection):
    response_class = _BoundedResponse

    def request(self, *args: Any, **kwargs: Any) -> None:
        _bound_writes(self)
        super().request(*args, **kwargs)

    def connect(self) -> None:
        super().connect()
        _bound_writes(self)


class _BoundedHTTPS(HTTPSConnection):
    response_class = _BoundedResponse

    def request(self, *args: Any, **kwargs: Any) -> None:
        _bound_writes(self)
        super().request(*args, **kwargs)

    def connect(self) -> None:
        super().connect()
        _bound_writes(self)


def _bound_writes(connection: HTTPConnection) -> None:
    """Let writing the body take what the exchange has left; urllib3 would give it the connect timeout."""
    sock: socket.socket | None = connection.sock
    if sock is not None:
        sock.settimeout(_remaining())


class _BoundedHTTPPool(HTTPConnectionPool):
    ConnectionCls = _BoundedHTTP


class _BoundedHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _BoundedHTTPS


_POOLS: Final = {"http": _BoundedHTTPPool, "https": _BoundedHTTPSPool}


class BoundedAdapter(HTTPAdapter):
    """Pooled connections that keep the `deadline`; they never repeat a request."""

    def __init__(self, *, pool_size: int) -> None:
        """Keep up to `pool_size` connections open between requests."""
        super().__init__(pool_connections=2, pool_maxsize=pool_size, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the manager of direct connections."""
        super().init_poolmanager(*args, **kwargs)
        _bind(self.poolmanager)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> ProxyManager:
        """Make the manager of connections through a proxy."""
        manager: ProxyManager = super().proxy_manager_for(*args, **kwargs)
        return _bind(manager)


def _bind(manager: Manager) -> Manager:
    manager.pool_classes_by_scheme = _POOLS
    return manager
