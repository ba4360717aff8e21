"""What people decide: pauses, limits, and how a breaker must stand. SQL keeps it; Redis has a copy."""

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
    WABA = "waba"


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
    """One at a time, to see whether it goes."""


@dataclass(frozen=True)
class Scope:
    """What a decision covers: everything, or one named thing. Written `all` or `queue:template_sync`."""

    type: ScopeType
    name: str = ""

    @classmethod
    def of(cls, type_: str, name: str | None = None) -> Self:
        """Read a scope as an operator types it: `of("queue", "template_sync")`, `of("all")`.

        Raises `InvalidRequest` that names the scopes there are.
        """
        if ":" in type_ and not name:
            type_, _, name = type_.partition(":")
        known = ", ".join(ScopeType)
        if type_ not in set(ScopeType):
            raise InvalidRequest(f"there is no scope {type_!r}; use one of {known}")
        kind = ScopeType(type_)
        if kind is ScopeType.ALL and name:
            raise InvalidRequest(f"scope 'all' takes no name, but {name!r} was given")
        if kind is not ScopeType.ALL and not name:
            raise InvalidRequest(f"scope {type_!r} needs a name, for example: {type_} NAME")
        return cls(kind, name or "")

    def covers(self, *, app: str, capability: str, queue: str, partner: str, waba: str | None = None) -> bool:
        """Whether all that is named so lies in this scope; without a WABA, no WABA's scope has it."""
        names = {
            ScopeType.ALL: self.name,
            ScopeType.APP: app,
            ScopeType.CAPABILITY: capability,
            ScopeType.QUEUE: queue,
            ScopeType.PARTNER: partner,
            ScopeType.WABA: waba,
        }
        return names[self.type] == self.name

    def __str__(self) -> str:
        return str(self.type) if self.type is ScopeType.ALL else f"{self.type}:{self.name}"


@dataclass(frozen=True)
class Pause:
    """A person's decision that nothing in `scope` may run. Nothing but its end or a person lifts it."""

    id: int
    scope: Scope
    reason: str
    actor: str
    created_at: datetime
    ends_at: datetime | None = None
    notice: str | None = None
    """What the Hub should tell its customers meanwhile."""

    def covers_queue(self, queue: str) -> bool:
        """Whether the whole queue stands still."""
        return self.scope.type is ScopeType.ALL or self.scope == Scope(ScopeType.QUEUE, queue)

    def __str__(self) -> str:
        return f"{self.scope} is paused {_by_whom(self)}"


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
