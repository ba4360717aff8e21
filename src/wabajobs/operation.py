"""An operation: one thing that the Hub asked for, as the ledger knows it."""

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Self
from uuid import UUID

from wabajobs.capability import Capability, ServiceClass
from wabajobs.decisions import Pause, longest
from wabajobs.outcome import Hold, NeedsInput


class State(StrEnum):
    """Where an operation stands."""

    WAITING = "waiting"
    RUNNING = "running"
    HELD = "held"
    NEEDS_INPUT = "needs_input"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen."""
        return self in FINISHED


FINISHED = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED})
RETRIABLE = FINISHED - {State.SUCCEEDED}
"""Ends after which an operation can be asked to go again."""


class Order(StrEnum):
    """Which of a partner's operations of a kind go first."""

    OLDEST = "oldest"
    NEWEST = "newest"
    STALEST = "stalest"
    """That of the WABA whose template list was read longest ago."""


def new_id() -> str:
    """Return a time-ordered unique id (UUID version 7, RFC 9562): rows that arrive together lie together."""
    nanoseconds = time.time_ns()
    unix_ms, rest = divmod(nanoseconds, 1_000_000)
    fraction = rest * 4096 // 1_000_000  # 12 bits of the millisecond: section 6.2, method 3
    noise = int.from_bytes(os.urandom(8)) & (1 << 62) - 1
    value = (unix_ms & (1 << 48) - 1) << 80 | 0x7 << 76 | fraction << 64 | 0x2 << 62 | noise
    return str(UUID(int=value))


@dataclass(frozen=True, kw_only=True)
class Operation:
    """A snapshot of one operation. `checkpoint` is the kind's own record of how far it has come."""

    id: str
    kind: str
    state: State
    partner: str
    app: str
    waba: str | None
    service_class: ServiceClass
    capability: Capability
    """What its next call needs."""
    payload: dict[str, Any]
    attempts: int
    fence: int
    """Number of its newest lease; a writer with an older one is refused."""
    hold: Hold | None
    checkpoint: dict[str, Any] | None
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    due_at: datetime
    created_at: datetime
    finished_at: datetime | None
    callers: int = 1
    """How many requests share it (coalesced)."""
    lane: str | None = None
    """What it touches: operations of one lane keep their order and never overlap."""
    deadline_at: datetime | None = None
    """From then on it is of no use: it expires."""
    routed_from: str | None = None
    """The app for which it was asked, if a route has taken it to another."""
    needs: NeedsInput | None = None
    """What a person is to give, while it waits for that."""
    stop: dict[str, Any] | None = None
    """Who wants it cancelled (`by`), why (`reason`) and since when (`at`)."""

    @property
    def number(self) -> str | None:
        """The id of the phone number that it was asked for with, if it was."""
        number = self.payload.get("number")
        return number if isinstance(number, str) else None

    @property
    def has_begun(self) -> bool:
        """Whether an attempt has come so far that something is remembered of it."""
        return self.checkpoint is not None

    @property
    def past_return(self) -> bool:
        """Whether to stop now would leave things worse than to go on."""
        return bool((self.checkpoint or {}).get("past_return"))

    def is_overdue(self, now: datetime) -> bool:
        """Whether its deadline has passed."""
        return self.deadline_at is not None and self.deadline_at <= now

    def is_covered_by(self, pause: Pause) -> bool:
        """Whether the pause's scope contains this operation."""
        return pause.scope.covers(
            app=self.app,
            capability=self.capability,
            queue=self.kind,
            partner=self.partner,
            waba=self.waba,
            number=self.number,
        )

    def pause_among(self, pauses: Iterable[Pause]) -> Pause | None:
        """Return the pause that keeps this operation from running, the longest if there are several."""
        if self.state not in (State.WAITING, State.HELD):
            return None
        return longest(one for one in pauses if one.keeps(begun=self.has_begun) and self.is_covered_by(one))

    def under(self, pauses: Iterable[Pause]) -> Self:
        """Return the operation as it stands under these pauses: a waiting one that is covered is held.

        A pause touches no rows; so what is held by one is worked out where it is shown.
        """
        pause = self.pause_among(pauses)
        return replace(self, state=State.HELD, hold=hold_of(pause)) if pause else self

    def as_json(self) -> dict[str, Any]:
        """Return the public form, as `--json` and the Hub see it. It holds no secret."""
        return {
            "id": self.id,
            "kind": self.kind,
            "state": str(self.state),
            "partner": self.partner,
            "app": self.app,
            "routed_from": self.routed_from,
            "waba": self.waba,
            "class": str(self.service_class),
            "payload": self.payload,
            "attempts": self.attempts,
            "callers": self.callers,
            "hold": self.hold.as_json() if self.hold else None,
            "needs": self.needs.as_json() if self.needs else None,
            "stop": self.stop,
            "result": self.result,
            "error": self.error,
            "due_at": self.due_at.isoformat(),
            "created_at": self.created_at.isoformat(),
            "deadline_at": self.deadline_at.isoformat() if self.deadline_at else None,
            "finished_at": self.finished_at.isoformat() if self.finished_at else None,
        }


def hold_of(pause: Pause) -> Hold:
    """Return the hold that a pause means for what it covers."""
    return Hold(reason=str(pause), by="pause", until=pause.ends_at, notice=pause.notice)
