"""What goes into the gate and what comes out of it."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Self

from wabajobs.capability import Capability, ServiceClass
from wabajobs.operation import Operation


class Quota(StrEnum):
    """A small limit of Meta's on one thing, beside those on calls. Its value begins the budget's scope."""

    REGISTER = "register"
    """Registrations of a number: 10 in 72 hours, and an eleventh locks the number for 72 hours (133016)."""
    DEREGISTER = "deregister"
    """The same for taking its registration back."""
    TEMPLATE_CREATION = "creations"
    """Templates created in a WABA: 100 an hour."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One Graph call that somebody wants to make: everything the gate needs to judge it."""

    app: str
    queue: str
    partner: str
    capability: Capability
    waba: str | None = None
    number: str | None = None
    """The phone number that it is about: a number may have a breaker and quotas of its own."""
    of_number: str | None = None
    """The phone number that its operation is about, which may be paused."""
    quota: Quota | None = None
    """The small limit that it spends one of."""
    service_class: ServiceClass = ServiceClass.BACKGROUND
    cost: int = 1
    """Calls it counts for at Meta: a batch of 20 costs 20."""
    operation: str = ""
    """The operation's id, for whoever looks at what is on the wire."""

    @classmethod
    def of(cls, operation: Operation, capability: Capability | None = None) -> Self:
        """Return a call that an operation wants to make; without a capability, its next one."""
        return cls(
            app=operation.app,
            queue=operation.kind,
            partner=operation.partner,
            waba=operation.waba,
            of_number=operation.number,
            capability=capability or operation.capability,
            service_class=operation.service_class,
            operation=operation.id,
        )

    @property
    def reads(self) -> bool:
        """Whether it is of a kind that changes nothing: such a call is the better probe."""
        return self.capability is Capability.TEMPLATE_READS


@dataclass(frozen=True, kw_only=True)
class Permit:
    """Leave to make one call, now. It must be settled, also when the call was not made after all.

    A permit goes stale after `GateSettings.start_within_seconds`: who has not started the call by then
    settles it as `UNUSED` and asks again. That bound is what lets `pause` promise that no call starts
    after it has returned.
    """

    id: str
    call: Call
    ticket: bytes = b""
    """What the gate has noted for its settlement: where the call was charged, the order of its admission (a late
    answer must not overwrite what a newer one said), and the epoch of each breaker (an outcome with an old one
    cannot close it)."""
    probes: tuple[str, ...] = ()
    """The breakers that this call probes: it holds their half-open leases."""
    start_before: float
    """`time.monotonic()` of this process by which the call must have started."""
    unasked: bool = False
    """Given by this process itself, because Redis was away: it is settled with nobody."""


class Because(StrEnum):
    """Which part of the gate said no."""

    PAUSE = "pause"
    SLOWED = "slowed"
    """A person lets only a part of it run."""
    BREAKER = "breaker"
    """Of Meta: it has refused, or is not well."""
    HELD_OPEN = "held_open"
    """A person holds the breaker open."""
    BUDGET = "budget"
    GATE = "gate"
    CONFIGURATION = "configuration"
    """Its app is not, or no longer, among those that we are set up for."""


@dataclass(frozen=True, kw_only=True)
class Wait:
    """No, and why. `str()` is a sentence for a person.

    `delay` is the longest of all waits that apply, None where only a person can say (an open-ended pause).
    Nothing was charged.
    """

    delay: timedelta | None
    because: Because
    scope: str
    """What said no: `queue:template_sync`, `app:1`, `app:1/uploads`, `waba:1:2`."""
    reason: str
    notice: str | None = None

    def __str__(self) -> str:
        return self.reason

    def is_long(self, short: timedelta) -> bool:
        """Whether it is more than a worker sleeps out, which is quicker than to come back for a `short` wait.

        Always at a breaker: what is released before its probe has come back would only fill the slots.
        """
        return self.because is Because.BREAKER or self.delay is None or self.delay > short

    def is_pace(self, short: timedelta) -> bool:
        """Whether it is a moment between two calls that are spread over the window: that keeps nothing back."""
        return self.because in (Because.BUDGET, Because.SLOWED) and not self.is_long(short)


class Outcome(StrEnum):
    """How a call ended, as far as the gate cares."""

    OK = "ok"
    """Meta answered, be it with a client error: Meta is well."""
    FAILED = "failed"
    """5xx, a timeout, a connection that broke: Meta or the way there is not well."""
    APP_LIMIT = "app_limit"
    WABA_LIMIT = "waba_limit"
    NUMBER_LIMIT = "number_limit"
    """A limit of one phone number (133016 and the like): trips the number's breaker."""
    CAPABILITY_LIMIT = "capability_limit"
    """A narrow limit (code 613 and the like): trips the (app, capability) breaker."""
    UNUSED = "unused"
    """The call was not made: the charge and any probe lease are given back."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a caller tells the gate after a call."""

    outcome: Outcome
    app_percent: int | None = None
    """Highest meter of `X-App-Usage`; None when the header was absent or unreadable (not zero)."""
    waba_percent: int | None = None
    """Highest meter of `X-Business-Use-Case-Usage` for this WABA."""
    regain: timedelta | None = None
    """`estimated_time_to_regain_access`, when it is more than zero."""
    seconds: float = 0.0
    """How long the answer took."""
    code: int | None = None
    subcode: int | None = None
    fbtrace_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Change:
    """A breaker that changed its state, for the log and the events."""

    scope: str
    state: str
    """`open`, `closed`; (`half-open` is a lease, not a change)."""
    until: timedelta | None
    evidence: str


@dataclass(frozen=True, kw_only=True)
class WindowReading:
    """One budget as it stands."""

    scope: str
    limit: int
    used: int
    """Charged by us in the window."""
    others: int
    """What Meta's headers say beyond our own count."""
    window: timedelta
    usable: dict[ServiceClass, int] = field(default_factory=dict)
    """How full each class may make it, now."""
    height: float = 1.0
    """Share of the limit that is trusted: less than 1 after a trip that nobody could explain."""
    pace: float = 0.0
    """Our calls per window, at the rate of late (a twelfth of the window)."""
    people: float = 0.0
    """Those of them that are interactive, weighted by how late they were."""
    shadow: bool = False
    """On trial: it refuses nothing."""
    would_refuse: int = 0
    """Calls that it would have refused, if it were not."""

    def exhausted_in(self, service_class: ServiceClass = ServiceClass.INTERACTIVE) -> timedelta | None:
        """When it will be full for a class if we go on as of late; None if it will not, as far as one can see.

        Others are taken to go on as they are. Calls leave the window as evenly as they came.
        """
        room = self.usable.get(service_class, self.limit) - self.others - self.used
        gain = (self.pace - self.used) / self.window.total_seconds() if self.window else 0.0
        if room <= 0:
            return timedelta(0)
        return timedelta(seconds=room / gain) if gain > 0 and room / gain < self.window.total_seconds() else None


@dataclass(frozen=True, kw_only=True)
class BreakerReading:
    """One breaker as it stands. `state` is `closed`, `open` or `half-open`."""

    scope: str
    state: str
    retry_in: timedelta | None
    trips: int
    evidence: str
    held: str | None = None
    """How and why a person holds it, in a sentence."""


@dataclass(frozen=True, kw_only=True)
class Spender:
    """Who used how much of an app's budget in the window."""

    queue: str
    partner: str
    waba: str
    calls: int


@dataclass(frozen=True, kw_only=True)
class SpentBy:
    """What one spender used in one part of the window, and with which part of the API."""

    queue: str
    partner: str
    waba: str
    capability: str
    calls: int
    refused: int
    """Those of the calls that met a limit of Meta's."""


@dataclass(frozen=True, kw_only=True)
class SpentPart:
    """Who used an app's budget in one part of the window: a twelfth."""

    since: datetime
    lasting: timedelta
    generation: str
    """Name of the counters. Where Redis was emptied in between, others have begun, with a name of their own."""
    spenders: tuple[SpentBy, ...]


@dataclass(frozen=True, kw_only=True)
class AppReading:
    """What the gate knows of one app."""

    app: str
    told: bool
    """False: the gate has lost its state, or was never told; no call passes."""
    learning: bool
    """After a loss of state: one call at a time until Meta's headers, or time, tell the usage."""
    in_flight: int
    windows: tuple[WindowReading, ...] = ()
    breakers: tuple[BreakerReading, ...] = ()
    revision: int | None = field(default=None)
