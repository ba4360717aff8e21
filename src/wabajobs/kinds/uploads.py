"""Two steps that give Meta a file: *fetch* has it checked and put aside, *upload* makes a handle of it.

The upload is resumable: a session is opened, the file is sent in parts, and after a break the session itself says
from which byte on to go on. The handle is kept with its app and its time; who uses it asks `handle` for it.

Cost: two calls for a file that fits into one part, one more per further part, one after a break.
Source: Graph API, Resumable Upload API.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NoReturn

from wabajobs.capability import Capability
from wabajobs.errors import Conflict, GraphError, Held, InvalidCall, MediaRefused, Transient
from wabajobs.kinds.kind import Payload, PlannedCall, Step
from wabajobs.kinds.work import Work
from wabajobs.media import Rules, fetch, fit

RulesOf = Callable[[Payload], Rules]
_FILE_NAMES: Final = {
    "image/jpeg": "image.jpg",
    "image/png": "image.png",
    "video/mp4": "video.mp4",
    "application/pdf": "document.pdf",
}
"""Meta wants a name for the session. A partner's own name of his file is none of Meta's business."""


_CALLS: Final = (
    PlannedCall(method="POST", path="{app}/uploads"),
    PlannedCall(method="POST", path="{upload}", note="per part: one, up to [media] chunk_bytes"),
)


def upload_steps(field: str, *, rules: Rules | RulesOf, name: str = "") -> tuple[Step, Step]:
    """Return the steps `fetch` and `upload` of the `MediaSource` in a payload's field.

    `field` is its path: `photo`, or `cards.0.header`. An operation in which nothing is there has not the steps,
    and one that brings a handle along neither. `name` goes before the names of the steps and of their facts,
    where there are several files: `card0_` gives `card0_fetch`, and `card0_handle`.
    """
    one = _Upload(field, rules if callable(rules) else lambda _: rules, name)
    return (
        Step(name=f"{name}fetch", run=one.fetch, when=one.is_needed),
        Step(
            name=f"{name}upload",
            run=one.upload,
            when=one.is_needed,
            capability=Capability.UPLOADS,
            calls=lambda _: _CALLS,
        ),
    )


def handle(work: Work, field: str, *, name: str = "") -> str:
    """Return the handle of a file, for the step that uses it.

    One that was made too long ago, or for another app than the operation is now of, is made anew before, once.
    """
    source, app = source_at(work.operation.payload, field) or {}, work.operation.app
    if "handle" in source:
        made_for, found = source["app"], source["handle"]
    else:
        made_for, found = (work.results[f"{name}{fact}"] for fact in ("handle_app", "handle"))
        age = work.now() - datetime.fromisoformat(work.results[f"{name}handle_at"])
        if made_for != app or age > timedelta(seconds=work.settings.media.handle_seconds):
            work.go_back(f"{name}upload")
    if made_for != app:
        raise Conflict(
            f"the file's handle is good for app {made_for} only, and the operation is one of app {app}",
            {"app": {"there": made_for, "asked": app}},
        )
    return str(found)


def renew_if_refused(work: Work, error: GraphError, field: str, *, name: str = "") -> None:
    """Upload a file anew, once, when Meta has refused its handle; return when that was not what it refused."""
    says = f"{error.message} {error.details or ''}".lower()
    given = "handle" in (source_at(work.operation.payload, field) or {})
    if isinstance(error, InvalidCall) and "handle" in says and not given:
        work.go_back(f"{name}upload")


def source_at(payload: Payload, field: str) -> dict[str, Any] | None:
    """Return what a payload says of a file, None when it has none there."""
    found: object = payload
    for part in field.split("."):
        match found:
            case Mapping():
                found = found.get(part)
            case list() if part.isdecimal() and int(part) < len(found):
                found = found[int(part)]
            case _:
                return None
    return found if isinstance(found, dict) else None


@dataclass(frozen=True)
class _Upload:
    """The steps of one file."""

    field: str
    rules: RulesOf
    name: str

    def is_needed(self, payload: Payload) -> bool:
        source = source_at(payload, self.field)
        return source is not None and "handle" not in source

    # ── fetch ───────────────────────────────────────────────────────────────────────────────────────────

    def fetch(self, work: Work) -> dict[str, Any]:
        """Have the file checked and put aside, as it will be sent; no call is made of Meta's API."""
        payload = work.operation.payload
        source, rules = source_at(payload, self.field) or {}, self.rules(payload)
        convert = bool(source.get("convert"))
        try:
            content = self._content(work, source, most=rules.most_bytes(convert=convert))
            fitted = fit(content, rules, convert=convert)
        except MediaRefused as refused:
            raise MediaRefused(f"{self.field}: {refused}") from None
        sha256 = source.get("sha256")
        if fitted.content != content or sha256 is None:
            sha256 = work.media.put(fitted.content, type=fitted.type)
        facts = {"sha256": sha256, "size": len(fitted.content), "type": fitted.type}
        return {f"{self.name}{fact}": value for fact, value in facts.items()}

    @staticmethod
    def _content(work: Work, source: Mapping[str, Any], *, most: int) -> bytes:
        if "sha256" in source:
            return work.media.read(source["sha256"])
        return fetch(source["url"], most=most, settings=work.settings.media)

    # ── upload ──────────────────────────────────────────────────────────────────────────────────────────

    def upload(self, work: Work) -> dict[str, Any]:
        """Make a handle of the file, from where an earlier attempt stopped."""
        session = _Session(work, *(work.results[f"{self.name}{fact}"] for fact in ("sha256", "size", "type")))
        handle = session.finish()
        facts = {"handle": handle, "handle_app": work.operation.app, "handle_at": work.now().isoformat()}
        return {f"{self.name}{fact}": value for fact, value in facts.items()}


class _Session:
    """A session of Meta's for one file.

    Its progress is the session's id, and the offset only where that is certain: where no part may be under way.
    """

    def __init__(self, work: Work, sha256: str, size: int, type_: str) -> None:
        self._work = work
        self._sha256 = sha256
        self._size = size
        self._type = type_
        self._id = ""
        self._opened_anew = bool(work.progress().get("opened_anew"))

    def finish(self) -> str:
        """Send what is missing, and return the handle. A session that Meta has forgotten is opened anew, once."""
        self._work.media.read(self._sha256, length=1)  # before a call is spent: after days it may be gone
        progress = self._work.progress()
        if "session" not in progress:
            return self._send_from(self._open())
        try:
            return self._send_from(self._take_up(progress))
        except InvalidCall:
            if self._opened_anew:
                raise
        self._opened_anew = True
        return self._send_from(self._open())

    def _open(self) -> int:
        answer = self._work.graph.send(
            "POST",
            f"{self._work.operation.app}/uploads",
            params={
                "file_name": _FILE_NAMES[self._type],
                "file_length": self._size,
                "file_type": self._type,
            },
        )
        session = answer.get("id")
        if not isinstance(session, str) or not session.startswith("upload:"):
            raise Transient("Meta has opened an upload session and not said which")
        self._id = session
        self._keep()
        return 0

    def _take_up(self, progress: Mapping[str, Any]) -> int:
        self._id = progress["session"]
        if "offset" in progress:
            self._keep()  # from here on a part may be under way, and the offset another
            return int(progress["offset"])
        return self._offset(self._ask())

    def _ask(self) -> dict[str, Any]:
        return self._work.graph.send("GET", self._id, auth="OAuth")

    def _send_from(self, offset: int) -> str:
        while True:
            answer = self._send(offset)
            if isinstance(answer.get("h"), str):
                return str(answer["h"])
            there = self._offset(answer if "file_offset" in answer else self._ask())
            if there <= offset:
                self._lost(f"{there} bytes of {self._size} are there, and there is no handle")
            offset = there

    def _send(self, offset: int) -> dict[str, Any]:
        length = min(self._work.settings.media.chunk_bytes, self._size - offset)
        part = self._work.media.read(self._sha256, start=offset, length=length)
        try:
            return self._work.graph.send(
                "POST", self._id, data=part, headers={"file_offset": str(offset)}, auth="OAuth"
            )
        except Held:
            self._keep(offset=offset)  # it never left: the next attempt need not ask how far the file is there
            raise

    def _offset(self, answer: Mapping[str, Any]) -> int:
        offset = answer.get("file_offset")
        if not isinstance(offset, int) or not 0 <= offset <= self._size:
            self._lost(f"Meta says that {offset!r} bytes of {self._size} are there")
        return offset

    def _lost(self, why: str) -> NoReturn:
        """Give the session up: the next attempt opens another."""
        self._work.keep({"opened_anew": True})
        raise Transient(f"the upload went astray: {why}")

    def _keep(self, **offset: int) -> None:
        anew = {"opened_anew": True} if self._opened_anew else {}
        self._work.keep({"session": self._id, **anew, **offset})
