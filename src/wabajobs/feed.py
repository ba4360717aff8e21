"""What the Hub is told: how operations end or wait, how templates change; in one order, each with a cursor.

It reads them in order (`Client.events`), or is called for each (`[callbacks]`); then `verify` checks who calls.
"""

import hashlib
import hmac
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Self

from wabajobs.errors import InvalidRequest
from wabajobs.secret import Secret

TIMESTAMP: Final = "X-Wabajobs-Timestamp"
"""Header: when the callback was signed, in whole seconds of Unix time."""
SIGNATURE: Final = "X-Wabajobs-Signature"
"""Header: `sha256=` and the HMAC-SHA256, in hex, of timestamp, a full stop and the body as it came."""
_LATE: Final = timedelta(minutes=5)


class EventKind(StrEnum):
    """What can be told."""

    SUCCEEDED = "operation.succeeded"
    FAILED = "operation.failed"
    HELD = "operation.held"
    NEEDS_INPUT = "operation.needs_input"
    EXPIRED = "operation.expired"
    CANCELLED = "operation.cancelled"
    TEMPLATE_CHANGED = "template.changed"


def event_kinds(names: Iterable[EventKind | str]) -> frozenset[EventKind]:
    """Read kinds of events. Raises `InvalidRequest` that names those there are."""
    try:
        return frozenset(map(EventKind, names))
    except ValueError as error:
        raise InvalidRequest(f"kinds: {error}; there are: {', '.join(EventKind)}") from None


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing that has happened. It may be told twice; its `cursor` says which it is."""

    cursor: int
    """Its number: 1, 2, 3 … in the order in which all events are told, without a gap."""
    kind: EventKind
    at: datetime
    operation_id: str | None
    """Also of a template's change: the sync that found it; None when a webhook told it."""
    operation_kind: str | None
    partner: str | None
    app: str | None
    waba: str | None
    data: dict[str, Any]
    """`result`, `error`, `hold` or `needs` of the operation, as in its JSON; or the change of the template."""

    def as_json(self) -> dict[str, Any]:
        """Return the public form. It holds no secret."""
        return {
            "cursor": self.cursor,
            "event": str(self.kind),
            "at": self.at.isoformat(),
            "operation": self.operation_id,
            "kind": self.operation_kind,
            "partner": self.partner,
            "app": self.app,
            "waba": self.waba,
            "data": self.data,
        }

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Self:
        """Read the public form."""
        return cls(
            cursor=value["cursor"],
            kind=EventKind(value["event"]),
            at=datetime.fromisoformat(value["at"]),
            operation_id=value["operation"],
            operation_kind=value["kind"],
            partner=value["partner"],
            app=value["app"],
            waba=value["waba"],
            data=value["data"],
        )

    @property
    def body(self) -> bytes:
        """What a callback of it carries."""
        return json.dumps(self.as_json(), ensure_ascii=False).encode()


def sign(body: bytes, *, timestamp: str, secret: Secret) -> str:
    """Return the signature of a callback."""
    signed = timestamp.encode() + b"." + body
    return f"sha256={hmac.new(secret.reveal().encode(), signed, hashlib.sha256).hexdigest()}"


def verify(
    body: bytes,
    headers: Mapping[str, str],
    secrets: Iterable[Secret | str],
    *,
    late: timedelta = _LATE,
    now: float | None = None,
) -> Event:
    """Return the event of a callback that came, once it is certain that we have sent it, and of late.

    `body` is what came, byte for byte; `headers` are found in any case; any of `secrets` may have signed, so that
    they can be changed one after the other. Raises `InvalidRequest` for everything else: answer that with 401.
    """
    found = {name.lower(): value for name, value in headers.items()}
    timestamp, signature = found.get(TIMESTAMP.lower(), ""), found.get(SIGNATURE.lower(), "")
    if not timestamp.isascii() or not timestamp.isdecimal():
        raise InvalidRequest(f"this is no callback of ours: it has no {TIMESTAMP}")
    known = [one if isinstance(one, Secret) else Secret(one) for one in secrets]
    made = [sign(body, timestamp=timestamp, secret=one).encode() for one in known]
    if not any(hmac.compare_digest(one, signature.strip().encode()) for one in made):
        raise InvalidRequest("the callback's signature is not ours")
    if abs((time.time() if now is None else now) - int(timestamp)) > late.total_seconds():
        raise InvalidRequest("the callback was signed too long ago: it may have been recorded and sent again")
    return Event.of_json(json.loads(body))
