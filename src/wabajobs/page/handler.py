"""What all our handlers have in common: who is there, whether he may act, and what a browser may do with it."""

import base64
import json
from typing import Any, Final
from urllib.parse import urlparse

from flower.views import BaseHandler
from tornado.web import HTTPError, RequestHandler

from wabajobs.errors import InvalidRequest, NotFound, NotReady, WabajobsError
from wabajobs.page.room import Room

SIGN_IN: Final = (
    "you can look, but not act: this Flower runs without authentication. Start it with"
    " --basic-auth=USER:PASSWORD (or FLOWER_BASIC_AUTH in its environment), or with --auth and one of Flower's"
    " OAuth providers"
)
READ_ONLY: Final = "you can look, but not act: this Flower was started with --read-only"

_LONGEST_NAME: Final = 120
_POLICY: Final = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; object-src 'none';"
    " base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


class RoomHandler(BaseHandler):  # type: ignore[misc]  # Flower carries no types
    """A handler of the control room, under Flower's authentication."""

    def initialize(self, room: Room | None = None) -> None:
        """Keep the room; static files need none."""
        self._room = room

    @property
    def room(self) -> Room:
        """The room."""
        assert self._room is not None  # noqa: S101 (it is in the table of handlers)
        return self._room

    def set_default_headers(self) -> None:
        """Let nobody frame us, run a script of his own in our page, or keep what we said."""
        self.set_header("Content-Security-Policy", _POLICY)
        self.set_header("X-Frame-Options", "DENY")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "same-origin")
        self.set_header("Cache-Control", "no-store")

    @property
    def actor(self) -> str | None:
        """Who is signed in; None where Flower asks nobody who he is."""
        options = self.application.options
        user = self.current_user
        if options.auth:
            return str(user)[:_LONGEST_NAME] if user else None
        if not options.basic_auth or not user:
            return None
        _, _, credentials = self.request.headers["Authorization"].partition(" ")
        return base64.b64decode(credentials).decode().partition(":")[0][:_LONGEST_NAME]

    @property
    def why_not(self) -> str | None:
        """Why nobody may act from here; None when he may."""
        if self.application.options.read_only:
            return READ_ONLY
        return None if self.actor else SIGN_IN

    def check_xsrf_cookie(self) -> None:
        """Refuse what another site may have sent in the name of who is signed in.

        Flower lets clients with a password through without a token; a browser sends that password along from
        anywhere. So here it is always asked for: the token of Tornado's cookie in a header, which no other
        site can read or set, and an origin, if one is named, that is ours.
        """
        site, origin = (self.request.headers.get(name) for name in ("Sec-Fetch-Site", "Origin"))
        if site not in (None, "same-origin") or (origin and urlparse(origin).netloc != self.request.host):
            raise HTTPError(403, "this was sent by another site")
        if not self.request.headers.get("X-XSRFToken"):
            raise HTTPError(403, "the token of the page is missing; reload it")
        RequestHandler.check_xsrf_cookie(self)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Say what went wrong, in a sentence."""
        if not hasattr(self, "_current_user"):
            self.current_user = None  # not to be asked for once more
        if status_code == 401 and self.application.options.basic_auth:
            self.set_header("WWW-Authenticate", 'Basic realm="flower"')
        self.tell_error(_sentence(kwargs.get("exc_info", (None, None, None))[1]))

    def tell_error(self, sentence: str) -> None:
        """Write a sentence about an error, as JSON."""
        self.write_json({"error": sentence})

    def write_json(self, value: Any) -> None:
        """Answer with JSON."""
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        self.finish(json.dumps(value, ensure_ascii=False, default=str))


def status_of(error: WabajobsError) -> int:
    """Return the HTTP status of an error that the house raises on purpose."""
    if isinstance(error, NotReady):
        return 503
    if isinstance(error, NotFound):
        return 404
    return 400 if isinstance(error, InvalidRequest) else 409


def _sentence(error: BaseException | None) -> str:
    if not isinstance(error, HTTPError):
        return "internal error; Flower's log says more"
    return error.get_message() or {401: "sign in first"}.get(error.status_code, f"error {error.status_code}")
