"""Every error that wabajobs raises on purpose. Each message says what, whom, and what to do next.

WabajobsError
├── InvalidRequest              the caller asked for something that cannot be
│   ├── IdempotencyConflict     the same key was used for another request
│   └── ConfigurationError      the settings do not fit together
├── Rejected                    what is paused takes nothing new
├── NotFound                    there is no such operation, pause, …
├── NotReady                    a part of the system is not there (yet)
│   ├── GateUnavailable         the gate cannot be asked: no calls are made
│   ├── LedgerUnavailable       the database cannot be asked
│   │   └── WrongSchema         its tables are not those of this version
│   └── PortTaken               somebody else listens there
├── LeaseLost                   this attempt is no longer ours: write nothing
├── Held                        not now: the gate says how long and why
├── StopAsked                   somebody has cancelled this operation while it ran
├── DeadlinePassed              this operation is of no use any more
├── InputNeeded                 only a person can give what comes next
├── Conflict                    what is there already is not what was asked for
├── FaultsFound                 Meta has looked at what we sent, and found faults in it
├── SyncError                   a template list that cannot be trusted
└── GraphError                  Meta answered, or did not answer, with an error
    ├── LimitReached            a budget of Meta's is spent
    │   ├── AppLimitReached
    │   ├── WabaLimitReached
    │   ├── NumberLimitReached
    │   └── NarrowLimitReached
    ├── Transient               worth another try later
    │   └── HeavyPage           "reduce the amount of data you're asking for"
    ├── Unauthorized            the token is no good
    ├── Forbidden               the token may not do this
    ├── InvalidCall             Meta will never accept this
    ├── WrongState              not until something else has changed
    ├── Blocked                 policy: a person must look
    └── UnknownGraphError       a code we have never seen
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One thing that a person is asked for."""

    name: str
    about: str
    """What it is, for the person who is to give it."""
    pattern: str = r"[^\x00-\x1f]{1,200}"
    """Regular expression that the whole of it matches."""


class WabajobsError(Exception):
    """Whatever goes wrong in wabajobs for a known reason; `str()` is a sentence for a person."""


class InvalidRequest(WabajobsError):
    """The caller asked for something that cannot be; nothing has been done."""


class IdempotencyConflict(InvalidRequest):
    """The idempotency key belongs to a request with another kind or payload."""


class ConfigurationError(InvalidRequest):
    """The settings are incomplete or contradict each other."""


class Rejected(WabajobsError):
    """Nothing is accepted for now, because of what has been decided or because it would have to wait."""

    def __init__(
        self, sentence: str, *, code: str, notice: str | None = None, until: datetime | None = None
    ) -> None:
        """Say it in a sentence; `code` is for programs: `paused`, `breaker`, `budget`, `gate`."""
        super().__init__(sentence)
        self.code = code
        self.notice = notice
        self.until = until

    def as_json(self) -> dict[str, Any]:
        """Return the public form."""
        until = self.until.isoformat() if self.until else None
        return {"rejected": self.code, "reason": str(self), "notice": self.notice, "until": until}


class NotFound(WabajobsError):
    """There is no such thing."""


class NotReady(WabajobsError):
    """A part of the system that is needed is not there."""


class GateUnavailable(NotReady):
    """The gate cannot be asked, or has lost its state. No call may be made (fail closed)."""


class LedgerUnavailable(NotReady):
    """The ledger's database cannot be asked."""


class WrongSchema(LedgerUnavailable):
    """The database answers, and its tables are not those of this version. Waiting does not help."""


class PortTaken(NotReady):
    """Another program listens on the port."""


class LeaseLost(WabajobsError):
    """The attempt's lease has gone to somebody else; its holder must not write or call any more."""


class MediaRefused(WabajobsError):
    """A file that Meta would not take, or an address that we do not fetch from; another try would not help."""


class MediaUnavailable(WabajobsError):
    """A file that cannot be had now, because where it lies is away or slow: worth another try later."""


class SyncError(WabajobsError):
    """A template list that cannot be trusted, for example one that never ends."""


@dataclass(eq=False)
class Held(WabajobsError):
    """A call may not be made now. Raised towards the attempt, which gives the slot back.

    `wait` is how long until it is worth asking again; None when only a person can say.
    `by` names who or what decided: `pause`, `breaker`, `budget`, `gate`.
    """

    reason: str
    by: str
    wait: timedelta | None
    notice: str | None = None

    def __str__(self) -> str:
        return self.reason


@dataclass(eq=False)
class StopAsked(WabajobsError):
    """The operation has been cancelled while it ran: its attempt makes no further call."""

    reason: str
    by: str

    def __str__(self) -> str:
        return f"cancelled by {self.by}: {self.reason}"


@dataclass(eq=False)
class InputNeeded(WabajobsError):
    """A step cannot go on without something that only a person can give.

    `asks` are the fields, each with what it is; `within` is how long it makes sense to wait for them.
    """

    reason: str
    asks: "tuple[Ask, ...]"
    within: timedelta

    def __str__(self) -> str:
        return self.reason


@dataclass(eq=False)
class Conflict(WabajobsError):
    """What is there already is not what was asked for; `difference` has each field as there and as asked."""

    reason: str
    difference: dict[str, Any]

    def __str__(self) -> str:
        return self.reason


@dataclass(eq=False)
class FaultsFound(WabajobsError):
    """Meta has taken what we sent, and found faults in it; `faults` are Meta's own words, one for each."""

    reason: str
    faults: list[Any]

    def __str__(self) -> str:
        return self.reason


class DeadlinePassed(WabajobsError):
    """The operation's deadline has passed: its attempt makes no further call."""


@dataclass(eq=False)
class GraphError(WabajobsError):
    """Meta's error, with what is needed to tell Meta about it. It never carries a token or a URL."""

    message: str
    code: int | None = None
    subcode: int | None = None
    status: int | None = None
    fbtrace_id: str | None = None
    details: str | None = None
    wait: timedelta | None = None
    """How long Meta lets this one thing, such as a number, wait; None where it does not say, and nobody knows."""

    @property
    def is_definite(self) -> bool:
        """Whether it is certain that the call has changed nothing. Who says how long to wait has refused it."""
        return self.wait is not None or not isinstance(self, Transient | UnknownGraphError)

    def __str__(self) -> str:
        code = "" if self.code is None else f"code {self.code}"
        if self.subcode is not None:
            code += f", subcode {self.subcode}"
        trace = f" [fbtrace {self.fbtrace_id}]" if self.fbtrace_id else ""
        return f"{self.message}{f' ({code})' if code else ''}{trace}"


class LimitReached(GraphError):
    """A budget of Meta's is spent. Not a failure of the operation: it waits."""

    @property
    def is_of_capability(self) -> bool:
        """Whether a whole part of the API is limited for the app (code 613), not one template or number."""
        return self.code == 613


class AppLimitReached(LimitReached):
    """The app's own limit (codes 4, 17, 341): everything of this app stops."""


class WabaLimitReached(LimitReached):
    """The limit of this app and WABA (codes 80007, 80008)."""


class NumberLimitReached(LimitReached):
    """A limit of one phone number (133016 and the like)."""


class NarrowLimitReached(LimitReached):
    """A limit of one template or feature (80012, 613)."""


class Transient(GraphError):
    """Meta, or the way there, is unwell: worth another try later."""


class HeavyPage(Transient):
    """The page asked for is too heavy: ask for fewer items at a time."""


class Unauthorized(GraphError):
    """The token is missing, expired or revoked: a person must give a new one."""


class Forbidden(GraphError):
    """The token lacks a permission."""


class InvalidCall(GraphError):
    """Meta will never accept this call as it is."""


class WrongState(GraphError):
    """Meta accepts this only after something else has changed."""


class Blocked(GraphError):
    """A policy restriction: a person must look."""


class UnknownGraphError(GraphError):
    """A code that is in no table of ours; tried again a little, never trusted."""
