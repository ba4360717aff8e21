"""What a kind of operation is: a payload, a class of service, and steps. It never knows that limits exist."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, get_args

from pydantic import BaseModel, SecretStr

from wabajobs.capability import Capability, ServiceClass
from wabajobs.decisions import PauseMode
from wabajobs.errors import Ask
from wabajobs.kinds.work import Method, Work
from wabajobs.operation import Order
from wabajobs.settings import Settings

Payload = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class PlannedCall:
    """One call that a step makes when nothing goes wrong."""

    method: Method
    path: str
    """Names in braces are fields of the operation or its payload, or what only an earlier call will tell."""
    cost: int = 1
    """Calls that Meta counts for it."""
    note: str = ""
    """How often, or when, where that is not always once: `per page`."""


def _no_calls(_payload: Payload) -> tuple[PlannedCall, ...]:
    return ()


def _always(_payload: Payload) -> bool:
    return True


@dataclass(frozen=True, kw_only=True)
class Step:
    """One named part of an operation. After a crash it is run again, and finds its own progress.

    A step that `happens_once` is marked as begun, in the ledger, before its first call that changes something. If
    nobody knows what became of that call, `reads_back` is asked before the step is run again.
    """

    name: str
    run: Callable[[Work], dict[str, Any]]
    """Does the step and returns facts for the operation's result. Raises what it cannot mend."""
    capability: Capability | None = None
    """What its calls need; None for a step that calls nobody."""
    calls: Callable[[Payload], tuple[PlannedCall, ...]] = _no_calls
    """The calls that it makes when nothing goes wrong: the fewest that its task needs."""
    when: Callable[[Payload], bool] = _always
    """Whether an operation with this payload has the step at all."""
    happens_once: bool = False
    """To do it twice would do harm: a second template, a second SMS, a registration more of the ten."""
    reads_back: Callable[[Work], dict[str, Any] | None] | None = None
    """Finds out whether it has happened already: its facts then, and None when it has not. May ask a person."""
    undo: str = ""
    """What takes it back, for the person who looks at an operation that failed later on."""
    required: bool = True
    """Without it the operation has failed. What is not required is left out when it cannot be done, and told."""
    point_of_no_return: bool = False
    """From its first changing call on, stopping leaves things worse: no deadline holds, only force cancels it."""
    asks: tuple[Ask, ...] = ()
    """What a person will be asked for."""

    def __post_init__(self) -> None:
        """Refuse a step of which nobody could say, after a crash, whether it has happened."""
        if self.happens_once and self.reads_back is None:
            raise ValueError(f"step {self.name!r} happens once: say how it reads back whether it has")

    @property
    def is_always_there(self) -> bool:
        """Whether every operation of the kind has the step."""
        return self.when is _always


def _is_secret(annotation: object) -> bool:
    return annotation is SecretStr or any(map(_is_secret, get_args(annotation)))


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
    """Operations of one (partner, WABA) never run at the same time."""
    coalesces: bool = False
    """A request joins the pending operation of its (partner, WABA), if there is one; it goes by the app of the
    newest request."""
    touches: Callable[[Mapping[str, Any]], str] | None = None
    """What it changes in its WABA, by its payload: `template:welcome`, say. Operations that touch the same keep
    their order and never run at the same time, whatever their kinds."""
    order: Callable[[Settings], Order] = _oldest
    """Which of a partner's operations go first."""
    expires_after: timedelta | None = None
    """From its acceptance; an operation that has not finished by then is of no use any more, and expires."""
    begins_within: Callable[[Payload], timedelta | None] | None = None
    """The same for one that has not begun by then: what it begins with is of no use any more. Once it has kept
    anything, no deadline holds. A request's own `expires_after` takes its place, and ends in the same way."""
    pause_modes: frozenset[PauseMode] = frozenset(PauseMode) - {PauseMode.DROP}
    """What a pause may do with its operations."""
    may_change_app: bool = False
    """Whether one that waits may be moved to another app that has access: nothing in it is bound to its app."""

    def __post_init__(self) -> None:
        """Refuse a kind that never calls anybody: there would be nothing to queue for."""
        if not any(step.capability for step in self.steps):
            raise ValueError(f"kind {self.name!r} has no step with a capability")
        names = [step.name for step in self.steps]
        if len(set(names)) < len(names):
            raise ValueError(f"kind {self.name!r} has two steps of one name")
        if self.coalesces and any(_is_secret(one.annotation) for one in self.payload.model_fields.values()):
            raise ValueError(f"kind {self.name!r} coalesces: a request that joins another brings no secret along")
        if self.touches and (self.one_at_a_time or self.coalesces):
            raise ValueError(f"kind {self.name!r} already has a lane for each WABA: it cannot touch less")

    def calls(self, payload: Payload) -> tuple[PlannedCall, ...]:
        """Return the calls of an operation with this payload, in their order, when nothing goes wrong."""
        return tuple(call for step in self.steps if step.when(payload) for call in step.calls(payload))

    @property
    def capability(self) -> Capability:
        """What its first call needs, if it has all its steps."""
        return next(step.capability for step in self.steps if step.capability is not None)

    def first_capability(self, payload: Payload) -> Capability:
        """Return what the first call of an operation with this payload needs; it may lack some of the steps."""
        needed = (step.capability for step in self.steps if step.when(payload))
        return next(filter(None, needed), self.capability)

    def lane(self, *, partner: str, waba: str | None, payload: Mapping[str, Any]) -> str | None:
        """Return the lane of an operation; None when it may run beside any other, as while its WABA is unknown.

        A partner's lanes are his own: nobody is given another's operation. What is touched is the same by
        whichever app: so an operation that changes its app overtakes nobody.
        """
        if self.one_at_a_time or self.coalesces:
            return f"{self.name}:{partner}:{waba}"
        return f"{partner}:{waba}:{self.touches(payload)}" if self.touches and waba else None
