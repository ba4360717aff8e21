"""What a step works with: operation, the Graph API behind the gate, memory, secrets, the mirror of templates."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, NoReturn, Protocol, Self

from wabajobs.capability import Capability, ServiceClass
from wabajobs.errors import Ask, GraphError
from wabajobs.operation import Operation
from wabajobs.secret import Secret
from wabajobs.settings import PlannerSettings, Settings

Method = Literal["GET", "POST", "DELETE"]


class Graph(Protocol):
    """The Graph API as a step sees it. Whether a call may be made now is not the step's business."""

    def get(self, path: str, **params: object) -> dict[str, Any]:
        """Read. Raises a `GraphError`."""
        ...

    def post(self, path: str, **fields: object) -> dict[str, Any]:
        """Change something. Raises a `GraphError`; whoever repeats it after one must first look what happened."""
        ...

    def delete(self, path: str, **params: object) -> dict[str, Any]:
        """Delete something. Raises a `GraphError`, as `post` does."""
        ...

    def send(
        self,
        method: Method,
        path: str,
        *,
        params: Mapping[str, object] | None = None,
        json: Mapping[str, object] | None = None,
        data: bytes | None = None,
        form: Mapping[str, object] | None = None,
        file: tuple[str, str, bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        auth: Literal["Bearer", "OAuth", "none"] = "Bearer",
        changes: bool = False,
    ) -> dict[str, Any]:
        """Make a call of any shape: bytes for a body, a header, another way to prove who we are.

        `file` (name, type, content) goes in a form, with the fields of `form` beside it. `changes` says of a GET
        that it changes something all the same: a code that it spends, say.
        """
        ...

    def by(self, token: Secret) -> Self:
        """Return the same, in the name of another token: that of a business."""
        ...

    def get_many(self, ids: Sequence[str], path: str = "", **params: object) -> dict[str, Any]:
        """Read the same of several objects, at most 50, with one request; by id. It costs a call for each."""
        ...

    def batch(
        self, requests: Sequence[tuple[Method, str, Mapping[str, object]]]
    ) -> list[dict[str, Any] | GraphError]:
        """Send requests (method, path, params), at most 50, as one. It costs a call for each."""
        ...


class Templates(Protocol):
    """The mirror of templates, as a step sees it."""

    def page_size(self, waba: str) -> int | None:
        """Return the page size that Meta bore last time."""
        ...

    def stage(
        self,
        operation: Operation,
        *,
        page: int,
        templates: Sequence[dict[str, Any]],
        checkpoint: dict[str, Any],
        cursor: str | None,
        capability: Capability,
        read_at: datetime,
    ) -> bool:
        """Keep a page, asked for at `read_at`, with the checkpoint behind it; False when its cursor was seen."""
        ...

    def swap(
        self,
        operation: Operation,
        *,
        checkpoint: Callable[[dict[str, int]], dict[str, Any]],
        page_size: int,
        now: datetime,
        calls: int,
        planner: PlannerSettings,
    ) -> dict[str, int]:
        """Put the staged list in the place of the old one, and record the difference."""
        ...

    def note(
        self,
        operation: Operation,
        *,
        written: Sequence[dict[str, Any]] = (),
        deleted: Collection[str] = (),
        deleted_name: str | None = None,
        at: datetime,
        now: datetime,
        planner: PlannerSettings,
        doubted: bool = False,
    ) -> None:
        """Take in what a call made `at` has changed: templates written (with their id), or deleted."""
        ...

    def mark_attempt(self, operation: Operation, *, now: datetime, error: str | None) -> None:
        """Move the clock of attempts."""
        ...


class Media(Protocol):
    """The files that an operation is to give to Meta, as a step sees them."""

    def put(self, content: bytes, *, type: str) -> str:
        """Put a file aside until the operation has ended; return its SHA-256, by which it is found."""
        ...

    def read(self, sha256: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Return a file, or a part of it. Raises `NotFound` when it is no longer kept."""
        ...


class Vault(Protocol):
    """Secrets that outlast an operation: the token of a WABA, the PIN of a number."""

    def get(self, name: str) -> Secret | None:
        """Return the secret of a name, None when there is none."""
        ...

    def put(self, name: str, secret: Secret) -> None:
        """Keep a secret under a name, in the place of one that lies there; `vault:<name>` refers to it."""
        ...


class Work(Protocol):
    """What a step works with: its operation, the outside world, and its memory."""

    @property
    def operation(self) -> Operation:
        """The operation."""
        ...

    @property
    def graph(self) -> Graph:
        """The Graph API."""
        ...

    @property
    def templates(self) -> Templates:
        """The mirror of templates."""
        ...

    @property
    def media(self) -> Media:
        """The operation's files."""
        ...

    @property
    def settings(self) -> Settings:
        """The settings."""
        ...

    @property
    def vault(self) -> Vault:
        """Secrets that outlast the operation. Its own it keeps with `keep`."""
        ...

    @property
    def results(self) -> dict[str, Any]:
        """What the steps before this one have returned, together."""
        ...

    def now(self) -> datetime:
        """Return the present moment."""
        ...

    def progress(self) -> dict[str, Any]:
        """Return what this step has kept, in an earlier attempt or this one; empty at first."""
        ...

    def checkpoint(self, progress: dict[str, Any]) -> dict[str, Any]:
        """Return the whole checkpoint with this step's progress, to be stored together with other rows."""
        ...

    def keep(self, progress: dict[str, Any], **secrets: Secret | None) -> None:
        """Remember this step's progress, and secrets with it, at once; None forgets one."""
        ...

    def settle(self, progress: dict[str, Any], **secrets: Secret | None) -> None:
        """Do so where a step that happens once has several calls, and this is what came of those made so far."""
        ...

    def secret(self, name: str) -> Secret | None:
        """Return a secret of the operation: what a person has given, the payload brought, or a step has kept."""
        ...

    def app_secret(self) -> Secret:
        """Return the secret of the operation's app. Raises `ConfigurationError` when it has none."""
        ...

    def is_about(self, waba: str) -> None:
        """Let an operation that came without a WABA be that of one: its budgets and pauses apply from here on."""
        ...

    def enqueue(self, kind: str, *, key: str, service_class: ServiceClass | None = None) -> str:
        """Accept another operation for the same WABA, partner and app, once for each key; return its id."""
        ...

    def go_back(self, step: str, *, asked: bool = False) -> None:
        """Go on from an earlier step: what it made is of no use any more. Returns when that was done before.

        Unless a person has `asked` for it, it happens once in an operation.
        """
        ...

    def ask(self, reason: str, *asks: Ask, within: timedelta) -> NoReturn:
        """End this attempt, and wait for a person; the step runs again once something was given."""
        ...
