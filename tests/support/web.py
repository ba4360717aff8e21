"""A web server that answers as a test says, byte by byte; what it was asked is kept."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

Answer = Callable[[socket.socket], object]
"""Writes onto the connection whatever it likes. It is closed then."""


@dataclass
class Web:
    """A server on this machine."""

    port: int
    tls: ssl.SSLContext | None = None
    answers: dict[str, Answer] = field(default_factory=dict)
    """By path."""
    asked: list[str] = field(default_factory=list)
    """The heads of the requests."""
    connections: int = 0
    closing: threading.Event = field(default_factory=threading.Event)
    """Set when the test is over: what writes for ever must look at it."""

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        """Return the URL of a path."""
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{path}"

    def serve(self, path: str, content: bytes, **headers: str) -> str:
        """Serve a file; return its URL."""
        self.answers[path] = whole(content, **headers)
        return self.url(path)

    def lead(self, path: str, to: str, status: int = 302) -> str:
        """Lead on from a path."""
        self.answers[path] = whole(b"", status=status, Location=to)
        return self.url(path)

    def drip(self, path: str, first: bytes, again: bytes) -> str:
        """Serve something that never ends: `again` after `again`, slowly."""

        def answer(connection: socket.socket) -> None:
            connection.sendall(first)
            while not self.closing.wait(0.01):
                connection.sendall(again)

        self.answers[path] = answer
        return self.url(path)

    def _handle(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
            with connection:
                head = b""
                while b"\r\n\r\n" not in head:
                    if not (piece := connection.recv(65536)):
                        return
                    head += piece
                self.asked.append(head.decode("latin-1"))
                self.answers[head.split()[1].decode()](connection)
                connection.shutdown(socket.SHUT_WR)


def whole(content: bytes, *, status: int = 200, **headers: str) -> Answer:
    """Return the answer of an ordinary server."""
    lines = [f"HTTP/1.1 {status} As said", f"Content-Length: {len(content)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return raw("\r\n".join(lines).encode() + b"\r\n\r\n" + content)


def raw(said: bytes) -> Answer:
    """Return the answer of a server that says exactly this."""
    return lambda connection: connection.sendall(said)


@contextmanager
def web(*, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> Iterator[Web]:
    """Run a server."""
    listener = socket.create_server((host, 0))
    served = Web(listener.getsockname()[1], tls)

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                served.connections += 1
                threading.Thread(target=served._handle, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        served.closing.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)
