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
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
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
from wabajobs.simulator.scenario import Phase, Player, Scenario
from wabajobs.simulator.state import Keeper
from wabajobs.simulator.webhooks import Webhooks
from wabajobs.simulator.world import App, Waba, World, template_customers

HOST = "127.0.0.1"
_BODY_MOST = 64 * 1024 * 1024
_LINE_MOST = 64 * 1024
_SAVES = 1.9
"""Seconds between two looks at whether the state must be saved."""
_IDLE_SAVES = 30.0
"""Seconds after which it is saved though only time has passed."""

log = logging.getLogger(__name__)


class PortTaken(Exception):
    """Somebody else listens on the port that was asked for."""


class Simulator:
    """A Graph with its world, limits, faults and judge; `running()` puts it on a port."""

    def __init__(self, config: SimulatorConfig | None = None, *, state: str | Path | None = None) -> None:
        """With `state`, a file from which it goes on, if there is one, and in which it keeps its state.

        Raises StateError when the file is broken, of another config, or in use.
        """
        self.config = config = config or SimulatorConfig()
        # One lock for all state: the server's thread and a test's thread never see half a change.
        self.lock = lock = threading.RLock()
        self.clock: Clock = HandClock() if config.clock == "hand" else RealClock(speed=config.speed)
        self.agenda = Agenda()
        self.webhooks = Webhooks(
            clock=self.clock, url=config.webhook_url, config=lambda: self.world.config, lock=lock
        )
        self.world = World(
            config,
            now=self.clock.now,
            unix=self.clock.unix,
            agenda=self.agenda,
            publish=self._publish,
            lock=lock,
        )
        self.limits = Limits(config, clock=self.clock, lock=lock, on_change=self._turn)
        self.faults = Faults(config.faults, seed=config.seed, lock=lock)
        self.judge = Judge(window=config.window, size=config.log_size, lock=lock)
        self.world.undone = self.judge.effects.undo
        self._graph = Graph(
            config,
            router=Router(ROUTES),
            world=self.world,
            limits=self.limits,
            faults=self.faults,
            judge=self.judge,
            clock=self.clock,
            agenda=self.agenda,
            webhooks=self.webhooks,
            lock=lock,
        )
        self._requests = Requests(self._graph)
        self._control = Control(self)
        self.player = Player(
            world=self.world,
            limits=self.limits,
            faults=self.faults,
            agenda=self.agenda,
            perform=self._control.perform,
            knows=self._control.knows,
            lock=lock,
        )
        if config.phases:
            self.player.play(Scenario(description=config.description, phases=config.phases), at=0.0)
        self.keeper: Keeper | None = None
        if state is not None:
            self.keeper = Keeper(self, Path(state))
            self.keeper.open()
        self.agenda.catch_up(self.clock.now())

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
        if seconds < 0:
            raise ValueError(f"time cannot go back by {-seconds} s")
        end = self.clock.now() + seconds
        # From one thing that is due to the next, so that each happens at its own moment.
        while (due := self.agenda.next_due) <= end:
            with self.lock:
                self.clock.move_to(due)
                self.agenda.catch_up(due)
        self.clock.move_to(end)

    def play(self, what: Scenario | SimulatorConfig | str | Iterable[Phase | Mapping[str, Any]]) -> str:
        """Play a scenario from now on: one that comes with the package by its name, a config's, or phases.

        Of a config only what can be changed while the simulator runs counts. Returns the id of the play.
        """
        if isinstance(what, str):
            what = SimulatorConfig.from_toml(what)
        if isinstance(what, SimulatorConfig):
            what = what.scenario()
        if not isinstance(what, Scenario):
            what = Scenario(phases=tuple(Phase.model_validate(one) for one in what))
        with self.lock:
            now = self.clock.now()
            play = self.player.play(what, at=now)
            self.agenda.catch_up(now)
            return play

    def _turn(self, config: SimulatorConfig) -> None:
        """Some knobs are others from now on."""
        before, self.world.config = self.world.config, config
        if config.customer_changes_per_hour != before.customer_changes_per_hour:
            template_customers.turn(self.world)

    def _publish(self, waba: Waba, topic: str, value: dict[str, Any], *, app: str | None = None) -> None:
        """Tell the subscribed apps; with `app` that one alone, subscribed or not."""
        for app_id in waba.subscribed if app is None else (app,):
            known = self.world.app_by_id(app_id)
            if known:
                self.webhooks.send(app=known.id, secret=known.secret, waba=waba.id, topic=topic, value=value)

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
                    "system_user": app.system_user_id,
                    "limit": self.limits.app_limit(app.id),
                }
                for app in self.world.apps
            ],
            "business": self.world.business.id,
            "credit": self.world.credit.id,
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
        if self.keeper is not None:
            self.keeper.take_again()
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
        if self.keeper is not None:
            helpers.append(asyncio.create_task(self._keep_state(self.keeper)))
        started()
        try:
            await stop.wait()
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            await runner.cleanup()
            if self.keeper is not None:
                self._save(self.keeper)
                self.keeper.close()

    async def _keep_state(self, keeper: Keeper) -> None:
        """Save what changed every other second, in a thread of its own; the time alone not as often."""
        saved_at = -math.inf
        while True:
            if keeper.changed or time.monotonic() - saved_at >= _IDLE_SAVES:
                await asyncio.to_thread(self._save, keeper)
                saved_at = time.monotonic()
            await asyncio.sleep(_SAVES)

    def _save(self, keeper: Keeper) -> None:
        try:
            keeper.save()
        except OSError as error:
            log.error("the state was not saved: %s", error)

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
        call = Call(
            method=request.method,
            path=path,
            query=query,
            headers={name.lower(): value for name, value in request.headers.items()},
        )
        if call.binary and request.body_exists:
            call = await _with_file(call, request, most=self.world.config.upload_most)
        else:
            call = await _with_body(call, request)
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


def serve(config: SimulatorConfig, *, port: int, json: bool = False, state: str | Path | None = None) -> None:
    """Run a simulator until SIGINT or SIGTERM; at its start print one line with what a client must know.

    Port 0 takes a free one; a taken port raises PortTaken before anything is printed. With `state` it goes on
    from that file and keeps its state there.
    """
    simulator = Simulator(config, state=state)

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


async def _with_body(call: Call, request: BaseRequest) -> Call:
    try:
        if call.headers.get("content-type", "").startswith("multipart/form-data"):
            return replace(call, form=await _form(request))
        return replace(call, body=await request.read()) if request.body_exists else call
    except (web.HTTPException, HttpProcessingError, web.RequestPayloadError, ValueError, LookupError):
        return replace(call, unreadable=True)


async def _with_file(call: Call, request: BaseRequest, *, most: int) -> Call:
    """The call with the part of a file that came, all of it or what came before the connection broke."""
    content = bytearray()
    try:
        async for chunk in request.content.iter_any():
            content += chunk
            if len(content) > most:
                return replace(call, unreadable=True)
    except (asyncio.CancelledError, HttpProcessingError, web.RequestPayloadError, OSError, ValueError):
        # Who is cancelled here has nobody to answer; what came must still be taken.
        return replace(call, body=bytes(content), cut=True)
    return replace(call, body=bytes(content))


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
