"""The simulator as an HTTP server on loopback: for a test in a thread of its own, or as a process."""

from __future__ import annotations

import asyncio
import errno
import json as jsonlib
import logging
import math
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_request import BaseRequest

from wabajobs.simulator import errors
from wabajobs.simulator.agenda import Agenda
from wabajobs.simulator.batch import Requests
from wabajobs.simulator.calls import Call, File, Form, Reply
from wabajobs.simulator.clock import Clock, HandClock, RealClock, rest
from wabajobs.simulator.config import SimulatorConfig
from wabajobs.simulator.control import PREFIX, Control
from wabajobs.simulator.endpoints import ROUTES
from wabajobs.simulator.faults import Faults
from wabajobs.simulator.graph import Ending, Graph
from wabajobs.simulator.judge import Judge
from wabajobs.simulator.limits import Limits
from wabajobs.simulator.routes import Router
from wabajobs.simulator.webhooks import Webhooks
from wabajobs.simulator.world import App, Waba, World

HOST = "127.0.0.1"
_BODY_MOST = 64 * 1024 * 1024
_LINE_MOST = 64 * 1024

log = logging.getLogger(__name__)


class PortTaken(Exception):
    """Somebody else listens on the port that was asked for."""


class Simulator:
    """A Graph with its world, limits, faults and judge; `running()` puts it on a port."""

    def __init__(self, config: SimulatorConfig | None = None) -> None:
        self.config = config = config or SimulatorConfig()
        # One lock for all state: the server's thread and a test's thread never see half a change.
        self.lock = lock = threading.RLock()
        self.clock: Clock = HandClock() if config.clock == "hand" else RealClock(speed=config.speed)
        self.agenda = Agenda()
        self.webhooks = Webhooks(clock=self.clock, url=config.webhook_url, lock=lock)
        self.world = World(
            config,
            now=self.clock.now,
            unix=self.clock.unix,
            agenda=self.agenda,
            publish=self._publish,
            lock=lock,
        )
        self.limits = Limits(config, clock=self.clock, lock=lock)
        self.faults = Faults(config.faults, seed=config.seed, lock=lock)
        self.judge = Judge(window=config.window, size=config.log_size, lock=lock)
        self._graph = Graph(
            config,
            router=Router(ROUTES),
            world=self.world,
            limits=self.limits,
            faults=self.faults,
            judge=self.judge,
            clock=self.clock,
            agenda=self.agenda,
            lock=lock,
        )
        self._requests = Requests(self._graph)
        self._control = Control(self)

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end; empty while it does not."""
        return self._graph.base_url

    @property
    def app(self) -> App:
        """The first app."""
        return self.world.apps[0]

    def advance(self, seconds: float) -> None:
        """Move a hand-moved clock forward."""
        if not isinstance(self.clock, HandClock):
            raise TypeError("only a hand-moved clock can be advanced: SimulatorConfig(clock='hand')")
        self.clock.advance(seconds)
        with self.lock:
            self.agenda.catch_up(self.clock.now())

    def _publish(self, waba: Waba, topic: str, value: dict[str, Any]) -> None:
        for app_id in waba.subscribed:
            app = self.world.app_by_id(app_id)
            if app:
                self.webhooks.send(app=app.id, secret=app.secret, waba=waba.id, topic=topic, value=value)

    @contextmanager
    def running(self, *, port: int = 0) -> Iterator[Self]:
        """Serve from a thread of its own, on a free port unless one is named, until the block ends."""
        listening = self._listen(port)
        loop = asyncio.new_event_loop()
        stop = asyncio.Event()
        started = threading.Event()
        thread = threading.Thread(
            target=loop.run_until_complete,
            args=(self._serve(listening, stop=stop, started=started.set),),
            name="simulator",
            daemon=True,
        )
        thread.start()
        started.wait()
        try:
            yield self
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join()
            loop.close()
            self._graph.base_url = ""

    def facts(self) -> dict[str, Any]:
        """What a client needs to know to call it."""
        return {
            "url": self.url,
            "apps": [
                {
                    "id": app.id,
                    "secret": app.secret,
                    "token": app.token,
                    "limit": self.limits.app_limit(app.id),
                }
                for app in self.world.apps
            ],
            "wabas": self.world.waba_ids[:20],
            "numbers": self.world.number_ids[:20],
        }

    def serve(self, *, port: int, started: Callable[[], None]) -> None:
        """Serve from this thread until SIGINT or SIGTERM."""
        listening = self._listen(port)

        async def until_signal() -> None:
            stop = asyncio.Event()
            for name in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(name, stop.set)
            await self._serve(listening, stop=stop, started=started)

        asyncio.run(until_signal())

    def _listen(self, port: int) -> socket.socket:
        try:
            listening = socket.create_server((HOST, port), backlog=1024)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise PortTaken(
                f"port {port} on {HOST} is taken by another program; name another port, or 0 for a free one"
            ) from error
        self._graph.base_url = f"http://{HOST}:{listening.getsockname()[1]}"
        return listening

    async def _serve(self, listening: socket.socket, *, stop: asyncio.Event, started: Callable[[], None]) -> None:
        server = _Server(
            self._answer,
            request_factory=_request,
            # A client that gave up ends its request here too, so that in-flight counts are true.
            handler_cancellation=True,
            access_log=None,
            max_line_size=_LINE_MOST,
            max_field_size=_LINE_MOST,
        )
        runner = web.ServerRunner(server, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.SockSite(runner, listening, backlog=1024).start()
        helpers = [asyncio.create_task(self.webhooks.pump()), asyncio.create_task(self._keep_up())]
        started()
        try:
            await stop.wait()
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            await runner.cleanup()

    async def _keep_up(self) -> None:
        """Let what is due happen, also while nobody calls."""
        loop, awake = asyncio.get_running_loop(), asyncio.Event()
        self.agenda.poke = lambda: None if loop.is_closed() else loop.call_soon_threadsafe(awake.set)
        while True:
            awake.clear()
            with self.lock:
                self.agenda.catch_up(self.clock.now())
                due = self.agenda.next_due
            await rest(self.clock, awake, None if due == math.inf else due)

    async def _answer(self, request: BaseRequest) -> web.StreamResponse:
        target = request.raw_path
        if not target.startswith("/"):
            # A target in absolute form, as sent to a proxy.
            target = request.rel_url.raw_path_qs
        path, _, query = target.partition("?")
        if path.startswith(PREFIX):
            return await self._answer_control(request, path, query)
        number = self.judge.enter()
        try:
            return await self._answer_graph(request, path, query, number)
        except Exception:
            log.exception("the simulator failed on %s %s", request.method, path)
            self.judge.tell_defect()
            error = errors.something_broke()
            return _response(Reply(status=error.status, body=error.body()))
        finally:
            self.judge.leave()

    async def _answer_graph(self, request: BaseRequest, path: str, query: str, number: int) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        form, body, unreadable = None, b"", False
        try:
            if headers.get("content-type", "").startswith("multipart/form-data"):
                form = await _form(request)
            elif request.body_exists:
                body = await request.read()
        except (web.HTTPException, HttpProcessingError, web.RequestPayloadError, ValueError, LookupError):
            unreadable = True
        call = Call(
            method=request.method,
            path=path,
            query=query,
            headers=headers,
            body=body,
            form=form,
            unreadable=unreadable,
        )
        outcome = await self._requests.handle(call, request=number)
        if outcome.delay:
            await self.clock.sleep(outcome.delay)
        if outcome.ending is Ending.HANG:
            await asyncio.Event().wait()
        if outcome.ending is Ending.RESET:
            _reset(request)
        return _response(outcome.reply)

    async def _answer_control(self, request: BaseRequest, path: str, query: str) -> web.StreamResponse:
        body = await request.read() if request.body_exists else b""
        return _response(self._control.handle(method=request.method, path=path, query=query, body=body))


class _Connection(web.RequestHandler):
    """A connection on which even what is no HTTP is answered as the Graph words errors."""

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        # At debug: a client that speaks no HTTP is the client's defect, and tests send such things.
        log.debug("unreadable request: %s %s", message, exc)
        if request.writer.output_size > 0:
            raise ConnectionError("half an answer is sent already")
        broken = status >= 500
        error = errors.something_broke() if broken else errors.bad_parameter("The request cannot be read")
        answer = _response(Reply(status=status, body=error.body()))
        answer.force_close()
        return answer


class _Server(web.Server):
    def __call__(self) -> _Connection:
        return _Connection(self, loop=self._loop, **self._kwargs)


def serve(config: SimulatorConfig, *, port: int, json: bool = False) -> None:
    """Run a simulator until SIGINT or SIGTERM; at its start print one line with what a client must know.

    Port 0 takes a free one; a taken port raises PortTaken before anything is printed.
    """
    simulator = Simulator(config)

    def announce() -> None:
        sys.stdout.write((_json_line if json else _human_line)(simulator.facts()) + "\n")
        sys.stdout.flush()

    simulator.serve(port=port, started=announce)


def _json_line(facts: dict[str, Any]) -> str:
    return jsonlib.dumps(facts)


def _human_line(facts: dict[str, Any]) -> str:
    apps = "; ".join(
        f"app {app['id']} (secret {app['secret']}, token {app['token']}, {app['limit']} calls per window)"
        for app in facts["apps"]
    )
    wabas, numbers = ", ".join(facts["wabas"]) or "none", ", ".join(facts["numbers"]) or "none"
    return f"Simulator at {facts['url']}; {apps}; WABAs {wabas}; numbers {numbers}"


def _request(*parts: Any) -> BaseRequest:
    message, payload, protocol, writer, task = parts
    return BaseRequest(
        message, payload, protocol, writer, task, asyncio.get_running_loop(), client_max_size=_BODY_MOST
    )


async def _form(request: BaseRequest) -> Form:
    """A multipart body: its fields and its files."""
    fields, files = [], {}
    for name, value in (await request.post()).items():
        if isinstance(value, web.FileField):
            with value.file as content:
                files[name] = File(name=value.filename, content_type=value.content_type, content=content.read())
        else:
            fields.append((name, value if isinstance(value, str) else bytes(value).decode("utf-8", "replace")))
    return Form(fields=tuple(fields), files=files)


def _reset(request: BaseRequest) -> None:
    """Break the connection at once, so that the client sees a reset and not an orderly end."""
    transport = request.transport
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _response(reply: Reply) -> web.Response:
    return web.Response(
        status=reply.status, body=reply.body, headers={**reply.headers, "Content-Type": reply.content_type}
    )
