"""A place on this machine where webhooks arrive."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit


class Delivery(NamedTuple):
    """A webhook as it arrived."""

    body: bytes
    signature: str | None


class Hook:
    """A running receiver; `challenge` answers Meta's question whether the place is ours."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._deliveries: queue.Queue[Delivery] = queue.Queue()

    def put(self, delivery: Delivery) -> None:
        self._deliveries.put(delivery)

    def next(self) -> Delivery:
        """Waits for the next webhook."""
        return self._deliveries.get(timeout=20)

    def empty(self) -> bool:
        """Whether nothing has come that nobody has looked at."""
        return self._deliveries.empty()


Challenge = Callable[[str | None, str | None], tuple[str | None, int]]
"""Verify token and challenge in; the answer and its HTTP status out."""


@contextmanager
def receiving(challenge: Challenge) -> Iterator[Hook]:
    """Receive on a free port until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = parse_qs(urlsplit(self.path).query)
            text, status = challenge(
                *((asked.get(f"hub.{name}") or [None])[0] for name in ("verify_token", "challenge"))
            )
            self._answer(status, (text or "").encode())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            hook.put(Delivery(body, self.headers.get("X-Hub-Signature-256")))
            self._answer(200, b"ok")

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hook = Hook(f"http://127.0.0.1:{server.server_address[1]}/hook")
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield hook
        finally:
            server.shutdown()
            thread.join()
