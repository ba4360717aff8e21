"""The HTTP side: the public documents, and apart from them the metrics. Everything is answered from memory."""

import asyncio
import json
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from hashlib import sha256
from math import ceil
from typing import Any, Final

from aiohttp import ETag, web

from wabajobs.clock import Clock
from wabajobs.exposed import instatus, metrics, operations, statuspage
from wabajobs.exposed.bulletin import Bulletin, Editor
from wabajobs.exposed.view import Looker, View

_SILENT: Final = timedelta(minutes=1)
"""Who has not looked for so long is no longer well."""

Document = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where something is served."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


def documents(bulletin: Bulletin) -> Mapping[str, Document]:
    """Return all public documents by their paths."""
    return {
        **statuspage.documents(bulletin),
        **instatus.documents(bulletin),
        **operations.documents(bulletin),
    }


@dataclass(frozen=True)
class _Body:
    """A document as it is sent."""

    content: bytes
    tag: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tag", sha256(self.content).hexdigest()[:32])


class Server:
    """Serves what a `Looker` sees, as an `Editor` tells it."""

    def __init__(self, looker: Looker, editor: Editor, *, clock: Clock, fresh_seconds: float) -> None:
        """A document stays fresh for so long: nothing new can be seen before."""
        self._looker = looker
        self._editor = editor
        self._clock = clock
        self._max_age = max(1, ceil(fresh_seconds))
        self._told: tuple[View, Bulletin, Mapping[str, _Body]]

    def run(self, public: Address, internal: Address | None, *, ready: Callable[[], object]) -> None:
        """Serve until SIGINT or SIGTERM, and look now and then; `ready` is called once somebody can ask."""

        async def until_told_to_stop() -> None:
            ended = asyncio.Event()
            for each in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(each, ended.set)
            async with self.serving(public, internal):
                ready()
                await ended.wait()

        with self.looking():
            asyncio.run(until_told_to_stop())

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Look once, and from then on in a thread."""
        stopping = threading.Event()
        self._tell(self._looker.look())
        look = partial(self._looker.keep_looking, stopping, tell=self._tell)
        threading.Thread(target=look, name="looker", daemon=True).start()
        try:
            yield
        finally:
            stopping.set()

    @asynccontextmanager
    async def serving(self, public: Address, internal: Address | None) -> AsyncIterator[None]:
        """Serve what was seen; without an `internal` address, the metrics beside the documents."""
        documents_, metrics_ = [web.get("/{path:.*}", self._document)], [web.get("/metrics", self._metrics)]
        sites = [(public, documents_ if internal else metrics_ + documents_)]
        sites += [(internal, metrics_)] if internal else []
        async with AsyncExitStack() as runners:
            for address, routes in sites:
                runners.push_async_callback((await self._listen(address, routes)).cleanup)
            yield

    async def _listen(self, address: Address, routes: list[web.RouteDef]) -> web.AppRunner:
        app = web.Application()
        app.add_routes([web.get("/healthz", self._healthz), *routes])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, address.host, address.port).start()
        return runner

    def _tell(self, view: View) -> None:
        bulletin = self._editor.bulletin(view)
        bodies = {path: _Body(json.dumps(one).encode()) for path, one in documents(bulletin).items()}
        self._told = (view, bulletin, bodies)

    async def _document(self, request: web.Request) -> web.Response:
        body = self._told[2].get(f"/{request.match_info['path']}")
        if body is None:
            raise web.HTTPNotFound(text="there is no such document\n")
        headers = {
            "Access-Control-Allow-Origin": "*",
            "Cache-Control": f"public, max-age={self._max_age}",
        }
        known = any(tag.value in (body.tag, "*") for tag in request.if_none_match or ())
        answer = (
            web.Response(status=304, headers=headers)
            if known
            else web.Response(
                body=body.content, content_type="application/json", charset="utf-8", headers=headers
            )
        )
        answer.etag = ETag(body.tag)
        return answer

    async def _metrics(self, _request: web.Request) -> web.Response:
        view, bulletin, _ = self._told
        return web.Response(
            body=metrics.exposition(view, bulletin), headers={"Content-Type": metrics.CONTENT_TYPE}
        )

    async def _healthz(self, _request: web.Request) -> web.Response:
        silent = self._clock.now() - self._looker.seen.at
        if silent > _SILENT:
            return web.Response(status=503, text=f"nothing was seen for {silent.total_seconds():.0f} s\n")
        return web.Response(text="ok\n")
