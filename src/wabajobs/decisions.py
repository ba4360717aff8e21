"""What people decide: pauses, limits, and how a breaker must stand. SQL keeps it; Redis has a copy."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Self

from wabajobs.errors import InvalidRequest

_SHORTEST_REASON = 3


def require_reason(reason: str) -> None:
    """Raise `InvalidRequest` unless somebody has said why he decides so."""
    if len(reason.strip()) < _SHORTEST_REASON:
        raise InvalidRequest("say why: --reason TEXT (whoever reads it at 3 a.m. will be grateful)")


class ScopeType(StrEnum):
    """What a pause can cover."""

    ALL = "all"
    APP = "app"
    CAPABILITY = "capability"
    QUEUE = "queue"
    PARTNER = "partner"
    PARTNER_QUEUE = "partner_queue"
    """One queue of one partner; written `partner:acme/template_sync`."""
    WABA = "waba"
    NUMBER = "number"
    """A phone number, by its id: operations that were asked for with it."""


class PauseMode(StrEnum):
    """What a pause does with the operations that it covers. A kind says which of them it can bear."""

    HOLD = "hold"
    """They wait."""
    REJECT = "reject"
    """New ones are refused, with the reason."""
    DROP = "drop"
    """They are cancelled: something later does the same work anyway."""
    DRAIN = "drain"
    """What has begun is finished, nothing new begins."""
    PROBE = "probe"
    """One call at a time and now and then, to see whether it goes."""


class AtEnd(StrEnum):
    """What comes when a pause's time is over."""

    RAMP = "ramp"
    """What it held goes on little by little. Where hardly anything waits, at once."""
    LIFT = "lift"
    """It is gone, and everything goes on at once."""


@dataclass(frozen=True)
class Scope:
    """What a decision covers: everything, or one named thing. Written `all` or `queue:template_sync`."""

    type: ScopeType
    name: str = ""

    @classmethod
    def of(cls, type_: str, name: str | None = None) -> Self:
        """Read a scope as an operator types it: `of("queue", "template_sync")`, `of("all")`.

        One queue of one partner is `of("partner", "acme/template_sync")`. Raises `InvalidRequest` that names the
        scopes there are.
        """
        if ":" in type_ and not name:
            type_, _, name = type_.partition(":")
        known = ", ".join(one for one in ScopeType if one is not ScopeType.PARTNER_QUEUE)
        if type_ not in set(ScopeType):
            raise InvalidRequest(f"there is no scope {type_!r}; use one of {known}")
        kind = ScopeType(type_)
        if kind is ScopeType.ALL and name:
            raise InvalidRequest(f"scope 'all' takes no name, but {name!r} was given")
        if kind is not ScopeType.ALL and not name:
            raise InvalidRequest(f"scope {type_!r} needs a name, for example: {type_} NAME")
        if kind is ScopeType.PARTNER and name and "/" in name:
            kind = ScopeType.PARTNER_QUEUE
        if kind is ScopeType.PARTNER_QUEUE and not all((name or "").partition("/")):
            raise InvalidRequest(f"{name!r} is no queue of a partner; write it as PARTNER/QUEUE")
        return cls(kind, name or "")

    @property
    def partner(self) -> str | None:
        """The partner whom it is about, if it is about one."""
        if self.type not in (ScopeType.PARTNER, ScopeType.PARTNER_QUEUE):
            return None
        return self.name.partition("/")[0]

    @property
    def queue(self) -> str | None:
        """The queue that it is about, if it is about one."""
        if self.type is ScopeType.PARTNER_QUEUE:
            return self.name.partition("/")[2]
        return self.name if self.type is ScopeType.QUEUE else None

    def covers(
        self,
        *,
        app: str,
        capability: str,
        queue: str,
        partner: str,
        waba: str | None = None,
        number: str | None = None,
    ) -> bool:
        """Whether all that is named so lies in this scope; without a WABA, no WABA's scope has it."""
        names = {
            ScopeType.ALL: self.name,
            ScopeType.APP: app,
            ScopeType.CAPABILITY: capability,
            ScopeType.QUEUE: queue,
            ScopeType.PARTNER: partner,
            ScopeType.PARTNER_QUEUE: f"{partner}/{queue}",
            ScopeType.WABA: waba,
            ScopeType.NUMBER: number,
        }
        return names[self.type] == self.name

    def __str__(self) -> str:
        if self.type is ScopeType.ALL:
            return str(self.type)
        return f"{'partner' if self.type is ScopeType.PARTNER_QUEUE else self.type}:{self.name}"


@dataclass(frozen=True)
class Pause:
    """A person's decision that nothing of `scope` may run, or little. Nothing but its end or a person lifts it.

    Several of one scope, or of scopes that lie in each other, are layers: each holds by itself.
    """

    id: int
    scope: Scope
    reason: str
    actor: str
    created_at: datetime
    ends_at: datetime | None = None
    notice: str | None = None
    """What the Hub should tell its customers meanwhile."""
    mode: PauseMode = PauseMode.HOLD
    percent: int = 0
    """How much of an app's budget what it covers may use: 0 is nothing, 10 a tenth."""
    at_end: AtEnd = AtEnd.LIFT
    incident: int | None = None
    """The incident that it belongs to."""
    stepped_at: datetime | None = None
    """Since when it has had its `percent`, while it is being lifted step by step."""

    @property
    def is_ramp(self) -> bool:
        """Whether it is being lifted, step by step."""
        return self.stepped_at is not None

    @property
    def stands_still(self) -> bool:
        """Whether nothing at all that it covers may make a call."""
        return self.percent == 0 and self.mode not in (PauseMode.DRAIN, PauseMode.PROBE)

    @property
    def begins_nothing(self) -> bool:
        """Whether nothing that it covers may begin."""
        return self.percent == 0 and self.mode is not PauseMode.PROBE

    def keeps(self, *, begun: bool) -> bool:
        """Whether an operation that it covers has to wait for its end; what runs slowly has its turn."""
        return self.stands_still or (self.begins_nothing and not begun)

    def covers_queue(self, queue: str) -> bool:
        """Whether it is about the whole queue."""
        return self.scope.type is ScopeType.ALL or self.scope == Scope(ScopeType.QUEUE, queue)

    def __str__(self) -> str:
        return f"{self.scope} {_does(self)} {_by_whom(self)}"


def longest(pauses: Iterable[Pause]) -> Pause | None:
    """Return the pause that lasts longest, one without an end before all others."""
    return max(pauses, key=lambda one: (one.ends_at is None, one.ends_at or one.created_at), default=None)


def _does(pause: Pause) -> str:
    if pause.percent:
        return f"{'goes on' if pause.is_ramp else 'runs'} at {pause.percent} % of the budget"
    if pause.is_ramp:
        return "waits for its turn to go on"
    return _DOES[pause.mode]


_DOES = {
    PauseMode.HOLD: "is paused",
    PauseMode.REJECT: "takes nothing",
    PauseMode.DROP: "is dropped",
    PauseMode.DRAIN: "begins nothing new",
    PauseMode.PROBE: "is probed by single calls",
}


@dataclass(frozen=True)
class Limit:
    """How many calls a rolling window of `window_seconds` may hold, for one scope of the gate.

    `scope` is `app:<app id>`, or `waba:<app id>:<waba id>` for Meta's limit per app and WABA; of our own choice
    `partner:<partner>`, `partner:<partner>/<waba id>` or `capability:<capability>`, each within an app; or a
    small limit of Meta's: `register:<number id>`, `deregister:<number id>`, `creations:<waba id>`.
    """

    scope: str
    calls: int
    window_seconds: float
    actor: str = "config"
    reason: str = "from the configuration"
    shadow: bool = False
    """On trial: it is counted, and refuses nothing."""


class Stand(StrEnum):
    """How a person can make a breaker stand."""

    OPEN = "open"
    """Nothing passes."""
    CLOSED = "closed"
    """Everything passes, whatever Meta answers."""


@dataclass(frozen=True)
class Override:
    """A person's decision how a breaker stands. Nothing but its end or a person lifts it.

    `scope` is a breaker's: `app:<app id>`, `app:<app id>/<capability>`, `waba:<app id>:<waba id>`,
    `number:<number id>`.
    """

    id: int
    scope: str
    stand: Stand
    reason: str
    actor: str
    created_at: datetime
    ends_at: datetime | None = None

    def __str__(self) -> str:
        return f"the breaker of {self.scope} is held {self.stand} {_by_whom(self)}"


def _by_whom(decision: Pause | Override) -> str:
    until = f", until {decision.ends_at:%Y-%m-%d %H:%M} UTC" if decision.ends_at else ""
    return f"by {decision.actor} since {decision.created_at:%H:%M} UTC ({decision.reason}{until})"


@dataclass(frozen=True)
class Decisions:
    """Everything people have decided, at one revision. A higher revision is newer."""

    revision: int
    pauses: tuple[Pause, ...]
    limits: tuple[Limit, ...]
    overrides: tuple[Override, ...] = ()
