"""What a kind of operation is: a payload, a class of service, and steps. It never knows that limits exist."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol

from pydantic import BaseModel

from wabajobs.capability import Capability, ServiceClass
from wabajobs.errors import GraphError
from wabajobs.operation import Operation, Order
from wabajobs.settings import PlannerSettings, Settings


class Graph(Protocol):
    """The Graph API as a step sees it. Whether a call may be made now is not the step's business."""

    def get(self, path: str, **params: object) -> dict[str, Any]:
        """Read. Raises a `GraphError`."""
        ...

    def post(self, path: str, **fields: object) -> dict[str, Any]:
        """Change something. Raises a `GraphError`; whoever repeats it after one must first look what happened."""
        ...

    def get_many(self, ids: Sequence[str], path: str = "", **params: object) -> dict[str, Any]:
        """Read the same of several objects, at most 50, with one request; by id. It costs a call for each."""
        ...

    def batch(
        self, requests: Sequence[tuple[Literal["GET", "POST", "DELETE"], str, Mapping[str, object]]]
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

    def mark_attempt(self, operation: Operation, *, now: datetime, error: str | None) -> None:
        """Move the clock of attempts."""
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
    def settings(self) -> Settings:
        """The settings."""
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

    def keep(self, progress: dict[str, Any]) -> None:
        """Remember this step's progress, at once."""
        ...


@dataclass(frozen=True, kw_only=True)
class Step:
    """One named part of an operation. After a crash it is run again, and finds its own progress."""

    name: str
    run: Callable[[Work], dict[str, Any]]
    """Does the step and returns facts for the operation's result. Raises what it cannot mend."""
    capability: Capability | None = None
    """What its calls need; None for a step that calls nobody."""


class NoPayload(BaseModel, extra="forbid"):
    """The payload of a kind that needs none."""


def _oldest(_settings: Settings) -> Order:
    return Order.OLDEST


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of operation. Its name is its queue, its Celery task and its worker."""

    name: str
    summary: str
    """What it does, for a person, in a few words."""
    steps: tuple[Step, ...]
    payload: type[BaseModel] = NoPayload
    service_class: ServiceClass = ServiceClass.STANDARD
    needs_waba: bool = True
    one_at_a_time: bool = False
    """Operations of one (app, partner, WABA) never run at the same time."""
    coalesces: bool = False
    """A request joins the pending operation of its (app, partner, WABA), if there is one."""
    touches: Callable[[Mapping[str, Any]], str] | None = None
    """What it changes in its WABA, by its payload: `template:welcome`, say. Operations that touch the same keep
    their order and never run at the same time, whatever their kinds."""
    order: Callable[[Settings], Order] = _oldest
    """Which of a partner's operations go first."""
    expires_after: timedelta | None = None
    """From its acceptance; an operation that has not finished by then is of no use any more, and expires."""

    def __post_init__(self) -> None:
        """Refuse a kind that never calls anybody: there would be nothing to queue for."""
        if not any(step.capability for step in self.steps):
            raise ValueError(f"kind {self.name!r} has no step with a capability")
        if self.touches and (self.one_at_a_time or self.coalesces):
            raise ValueError(f"kind {self.name!r} already has a lane for each WABA: it cannot touch less")

    @property
    def capability(self) -> Capability:
        """What its first call needs."""
        return next(step.capability for step in self.steps if step.capability is not None)

    def lane(self, *, app: str, partner: str, waba: str | None, payload: Mapping[str, Any]) -> str | None:
        """Return the lane of an operation; None when it may run beside any other.

        A partner's lanes are his own: nobody is given another's operation.
        """
        if self.one_at_a_time or self.coalesces:
            return f"{self.name}:{app}:{partner}:{waba}"
        return f"{app}:{partner}:{waba}:{self.touches(payload)}" if self.touches else None
