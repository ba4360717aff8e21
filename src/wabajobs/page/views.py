"""The handlers: pages are shells that a script fills, everything else is JSON."""

import functools
from collections.abc import Awaitable, Callable
from typing import Any

from tornado.web import HTTPError, RequestHandler, StaticFileHandler, authenticated

from wabajobs.errors import WabajobsError
from wabajobs.page import actions, incidents, telling
from wabajobs.page.handler import RoomHandler, status_of


def signed_in(method: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Answer only those whom Flower lets in; scripts are not sent to a login page, but told. So errors are."""

    @functools.wraps(method)
    async def guarded(self: RoomHandler, *arguments: str) -> None:
        if not self.current_user:
            raise HTTPError(401, "you are signed out; reload the page to sign in")
        try:
            await method(self, *arguments)
        except WabajobsError as error:
            raise HTTPError(status_of(error), str(error)) from error

    return guarded


class Page(RoomHandler):
    """A page in Flower's layout."""

    def show(self, template: str, **more: Any) -> None:
        """Render a template of ours."""
        base = self.reverse_url("wabajobs")
        self.render(template, base=base, actor=self.actor, why_not=self.why_not, modes=self.room.modes, **more)

    def tell_error(self, sentence: str) -> None:
        """Write a sentence about an error, as a page."""
        self.render("trouble.html", sentence=sentence)


class RoomPage(Page):
    """The control room."""

    @authenticated
    def get(self) -> None:
        """Show it."""
        self.show("control_room.html")


class OperationPage(Page):
    """An operation, at its own address."""

    @authenticated
    def get(self, operation_id: str) -> None:
        """Show it."""
        self.show("operation.html", operation_id=operation_id)


class IncidentPage(Page):
    """An incident, at its own address."""

    @authenticated
    def get(self, incident_id: str) -> None:
        """Show it."""
        self.show("incident.html", incident_id=incident_id)


class LookHandler(RoomHandler):
    """What is going on."""

    @signed_in
    async def get(self) -> None:
        """Answer with the one look for everybody."""
        plain, zipped = await self.room.snapshot.newest()
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        self.set_header("Vary", "Accept-Encoding")
        if "gzip" in self.request.headers.get("Accept-Encoding", ""):
            self.set_header("Content-Encoding", "gzip")
            self.write(zipped)
        else:
            self.write(plain)

    def compute_etag(self) -> None:
        """Make none: every look is another."""


class StoryHandler(RoomHandler):
    """An operation's story."""

    @signed_in
    async def get(self, operation_id: str) -> None:
        """Answer with it."""
        self.write_json(await self.room.ask(lambda: telling.story(self.room.house, operation_id)))


class IncidentHandler(RoomHandler):
    """An incident's time line."""

    @signed_in
    async def get(self, incident_id: str) -> None:
        """Answer with it."""
        self.write_json(await self.room.ask(lambda: incidents.whole(self.room.house, int(incident_id))))


class ReportHandler(RoomHandler):
    """An incident's report, for the post-mortem."""

    @signed_in
    async def get(self, incident_id: str) -> None:
        """Answer with it, as a file of Markdown."""
        text = await self.room.ask(lambda: incidents.written(self.room.house, int(incident_id)))
        self.set_header("Content-Type", "text/markdown; charset=UTF-8")
        self.set_header("Content-Disposition", f'attachment; filename="incident-{incident_id}.md"')
        self.finish(text)


class PreviewHandler(RoomHandler):
    """What a decision would touch."""

    @signed_in
    async def get(self) -> None:
        """Answer with it; nothing is changed."""
        wanted = {name: self.get_query_argument(name, None) for name in actions.PREVIEWED}
        self.write_json(await self.room.ask(lambda: actions.preview(self.room.house, wanted)))


class ActionHandler(RoomHandler):
    """Decisions. They need somebody who is signed in, the token of his page, and a reason."""

    @signed_in
    async def post(self, name: str) -> None:
        """Carry one out, in the name of who is signed in."""
        if self.why_not or not self.actor:
            raise HTTPError(403, str(self.why_not))
        act = actions.named(name, self.request.body, actor=self.actor)
        self.write_json(await self.room.decide(lambda: act(self.room.house)))


class StaticHandler(StaticFileHandler):
    """Scripts and styles. A browser asks each time whether they are still the same."""

    def set_extra_headers(self, path: str) -> None:  # noqa: ARG002 (Tornado's signature)
        """Let it keep them, and ask."""
        self.set_header("Cache-Control", "no-cache")
        self.set_header("X-Content-Type-Options", "nosniff")


class SlashHandler(RequestHandler):
    """The address with a slash at its end."""

    def get(self) -> None:
        """Lead on to the page."""
        self.redirect(self.reverse_url("wabajobs"))
