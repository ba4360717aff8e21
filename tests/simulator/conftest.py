"""Running simulators whose time is moved by hand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from wabajobs.simulator import Simulator, SimulatorConfig

from .client import Client
from .keeping import assert_kept

Start = Callable[..., Client]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a simulator with these knobs, on a hand-moved clock unless told otherwise."""
    started: list[Simulator] = []
    with ExitStack() as running:

        def begin(**knobs: Any) -> Client:
            config = SimulatorConfig(**{"clock": "hand", "wabas": 3, **knobs})
            client = Client(running.enter_context(Simulator(config).running()))
            running.callback(client.session.close)
            started.append(client.simulator)
            return client

        yield begin
    for simulator in started:
        # Whatever a test made happen, a restart must not lose it.
        assert_kept(simulator.world)


@pytest.fixture
def callback() -> Iterator[Callable[..., str]]:
    """Makes callbacks that answer the challenge of one verify token, or something else."""
    servers: list[ThreadingHTTPServer] = []

    def begin(*, token: str = "right", status: int = 200, body: str | None = None) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = parse_qs(urlsplit(self.path).query)
                good = asked.get("hub.mode") == ["subscribe"] and asked.get("hub.verify_token") == [token]
                answer = (asked["hub.challenge"][0] if body is None else body) if good else "no"
                self.send_response(status if good else 403)
                self.end_headers()
                self.wfile.write(answer.encode())

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/hook"

    yield begin
    for server in servers:
        server.shutdown()
        server.server_close()
