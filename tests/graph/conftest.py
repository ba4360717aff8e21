"""A real HTTP server that answers as a test says, and remembers what it was sent."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.conftest import RunningRedis
from tests.unit.test_operation import an_operation
from wabajobs.capability import Capability, ServiceClass
from wabajobs.decisions import Decisions
from wabajobs.gate import Gate
from wabajobs.graph import Credentials, GraphClient
from wabajobs.permits import PermittedGraph
from wabajobs.secret import Secret
from wabajobs.settings import AppSettings, GateSettings, GraphSettings, SecretSource
from wabajobs.simulator import Simulator

TOKEN = "EAAtoken0123456789"
APP_SECRET = "c0ffee-app-secret"


@dataclass
class Seen:
    """One request as it came over the wire."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Server:
    """The server's address, its script, its memory."""

    url: str = ""
    requests: list[Seen] = field(default_factory=list)
    respond: Callable[[BaseHTTPRequestHandler], None] = lambda handler: answer(handler, 200, b"{}")
    released: threading.Event = field(default_factory=threading.Event)
    """Set at the end, for handlers that keep a client waiting."""

    def says(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.respond = lambda handler: answer(handler, status, body, headers)


def answer(
    handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str] | None = None
) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except OSError:
                self.close_connection = True

        def serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            state.requests.append(Seen(self.command, self.path, dict(self.headers.items()), body))
            state.respond(self)

        do_GET = do_POST = do_DELETE = serve  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{http.server_port}"
    yield state
    state.released.set()
    http.shutdown()
    http.server_close()


@pytest.fixture
def client(server: Server) -> Iterator[GraphClient]:
    made = client_of(server.url)
    yield made
    made.close()


def client_of(url: str, *, app_secret: str | None = APP_SECRET, read_seconds: float = 5) -> GraphClient:
    credentials = Credentials(token=Secret(TOKEN), app_secret=Secret(app_secret) if app_secret else None)
    return GraphClient(
        base_url=url,
        version="v24.0",
        settings=GraphSettings(connect_seconds=0.2, read_seconds=read_seconds),
        credentials=lambda app: credentials,
    )


@dataclass
class Way:
    """The real way out: gate and client, before a simulator."""

    graph: PermittedGraph
    gate: Gate
    simulator: Simulator

    @property
    def wabas(self) -> list[str]:
        return list(self.simulator.world.waba_ids)

    @property
    def charged(self) -> int:
        (window,) = self.gate.read(self.simulator.app.id).windows
        return window.used

    @property
    def counted(self) -> int:
        return self.simulator.judge.counted


@pytest.fixture
def way_to(own_redis: RunningRedis) -> Iterator[Callable[[Simulator], Way]]:
    clients = []

    def make(simulator: Simulator) -> Way:
        app = simulator.app
        client = GraphClient(
            base_url=simulator.url,
            version="v24.0",
            settings=GraphSettings(),
            credentials=lambda _: Credentials(token=Secret(app.token), app_secret=Secret(app.secret)),
        )
        clients.append(client)
        gate = Gate(
            own_redis.client,
            settings=GateSettings(silence_seconds=1000, learning_share=0.01),
            apps={app.id: AppSettings(token=SecretSource(env="NONE"), calls_per_window=100)},
        )
        gate.tell(Decisions(1, (), ()))
        graph = PermittedGraph(
            gate=gate,
            client=client,
            operation=an_operation(
                app=app.id, waba=simulator.world.waba_ids[0], service_class=ServiceClass.INTERACTIVE
            ),
            capability=Capability.TEMPLATE_READS,
            may_go_on=lambda: None,
            short_wait=timedelta(0),
        )
        graph.get(simulator.world.waba_ids[0], fields="id")  # the gate learns how much is spent
        return Way(graph, gate, simulator)

    yield make
    for client in clients:
        client.close()
