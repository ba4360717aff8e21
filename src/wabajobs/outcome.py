"""How an attempt ends. Each `str()` is the sentence that Flower and the operators read."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Self

from wabajobs.errors import Ask


class Origin(StrEnum):
    """Whose word it is that something waits."""

    PERSON = "person"
    """Somebody has decided so: a pause, one that lets a part of it run, a breaker that he holds open."""
    OURS = "ours"
    """We hold back by ourselves, and Meta has refused nothing: budgets, pace, back-offs, parts that are away."""
    META = "meta"
    """Meta has refused or failed: a breaker is open, or a limit of Meta's on the thing itself was met."""

    @classmethod
    def of(cls, held_by: str) -> Self:
        """Return whose word a hold `by` somebody is."""
        return cls(_ORIGINS.get(held_by, "ours"))

    @property
    def words(self) -> str:
        """For a person: `our own gate` and the like."""
        return _WORDS[self]


_ORIGINS: Final = {
    "pause": "person",
    "slowed": "person",
    "held_open": "person",
    "breaker": "meta",
    "meta": "meta",
}
_WORDS: Final = {
    Origin.PERSON: "a person's decision",
    Origin.OURS: "our own holding back",
    Origin.META: "Meta's refusal or failure",
}


@dataclass(frozen=True, kw_only=True)
class Hold:
    """Waiting in the ledger, with a reason, an owner and, where it is known, an end."""

    reason: str
    by: str
    """Who or what decided: `pause`, `slowed`, `held_open`, `breaker`, `meta`, `budget`, `gate`, `retry`,
    `retry_budget`, `in_flight`, `worker`, `configuration`, `ledger`."""
    until: datetime | None = None
    """When it is worth trying again; None when only a person can say."""
    notice: str | None = None
    """What the Hub may tell its customers meanwhile."""
    spends_attempt: bool = False
    """True only for a failed try; being held by a limit, a breaker or a pause spends none."""

    @property
    def origin(self) -> Origin:
        """Whose word it is."""
        return Origin.of(self.by)

    def __str__(self) -> str:
        until = f", until {self.until:%Y-%m-%d %H:%M:%S} UTC" if self.until else ""
        return f"held: {self.reason}{until}"

    def as_json(self) -> dict[str, Any]:
        """Return the public form: `reason`, `by`, `origin`, `until`, `notice`."""
        return {
            "reason": self.reason,
            "by": self.by,
            "origin": str(self.origin),
            "until": self.until.isoformat() if self.until else None,
            "notice": self.notice,
        }


@dataclass(frozen=True, kw_only=True)
class NeedsInput:
    """Waiting for a person: what is needed, why, and until when it makes sense to wait."""

    reason: str
    asks: tuple[Ask, ...]
    """Of these at least one is to be given."""
    until: datetime | None
    """None: for as long as it takes."""

    def __str__(self) -> str:
        names = ", ".join(ask.name for ask in self.asks)
        until = f" until {self.until:%Y-%m-%d %H:%M:%S} UTC" if self.until else ""
        return f"needs input ({names}){until}: {self.reason}"

    def as_json(self) -> dict[str, Any]:
        """Return the public form: `reason`, `asks` (each `name`, `about`, `pattern`), `until`."""
        return {
            "reason": self.reason,
            "asks": [{"name": one.name, "about": one.about, "pattern": one.pattern} for one in self.asks],
            "until": self.until.isoformat() if self.until else None,
        }

    @classmethod
    def of_json(cls, value: dict[str, Any]) -> Self:
        """Read the public form."""
        return cls(
            reason=value["reason"],
            asks=tuple(Ask(**one) for one in value["asks"]),
            until=datetime.fromisoformat(value["until"]) if value["until"] else None,
        )


@dataclass(frozen=True)
class Done:
    """The operation has happened."""

    result: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        facts = ", ".join(f"{name} {value}" for name, value in self.result.items() if value is not None)
        return f"done: {facts}" if facts else "done"


@dataclass(frozen=True)
class Failed:
    """The operation cannot happen; another try would not help."""

    reason: str
    error: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"failed: {self.reason}"


@dataclass(frozen=True)
class Cancelled:
    """A person, or the Hub, wanted it no more."""

    reason: str
    by: str

    def __str__(self) -> str:
        return f"cancelled by {self.by}: {self.reason}"


@dataclass(frozen=True)
class Expired:
    """Its deadline has passed: it is of no use any more."""

    reason: str

    def __str__(self) -> str:
        return f"expired: {self.reason}"


@dataclass(frozen=True)
class NotBegun:
    """The message was not for now: no attempt has been made of it."""

    reason: str
    settled: bool
    """True when nothing need be said of it: the operation is finished, or runs elsewhere."""

    def __str__(self) -> str:
        return self.reason


End = Done | Hold | NeedsInput | Failed | Cancelled | Expired
"""How an attempt that has begun can end."""
Unbegun = NotBegun | Cancelled | Expired
"""What a message comes to that leads to no attempt."""
Outcome = End | NotBegun
