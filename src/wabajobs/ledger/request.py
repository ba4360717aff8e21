"""A request that has been checked, as the ledger takes it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from wabajobs.capability import Capability, ServiceClass
from wabajobs.ledger.media import Media
from wabajobs.operation import Operation, Order, State, new_id


def line_name(one: "NewOperation | Operation") -> str:
    """Return where an operation queues, as the database works it out for itself."""
    return f"{one.service_class.rank}:{one.app}:{one.capability}:{one.partner}"


@dataclass(frozen=True, kw_only=True)
class NewOperation:
    """A request that has been checked: what `accept` writes down."""

    kind: str
    partner: str
    app: str
    waba: str | None
    service_class: ServiceClass
    capability: Capability
    payload: dict[str, Any]
    lane: str | None = None
    coalesces: bool = False
    order: Order = Order.OLDEST
    expires_after: timedelta | None = None
    key: str | None = None
    """The caller's idempotency key, unique per partner."""
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Those of the payload, sealed, by the names that it refers to."""
    media: tuple[Media, ...] = ()
    """Files of the payload, which refers to them by their SHA-256."""
    routed_from: str | None = None
    """The app for which it was asked, if a route takes it to another."""
    id: str = field(default_factory=new_id)

    def deadline(self, now: datetime) -> datetime | None:
        """Return when it expires, if it is accepted now."""
        return now + self.expires_after if self.expires_after else None

    @property
    def line(self) -> str:
        """Where it queues."""
        return line_name(self)

    @property
    def fingerprint(self) -> str:
        """What makes two requests the same: kind, app, WABA and payload. Of secrets, that there are some."""
        asked = self.routed_from or self.app
        same = json.dumps([self.kind, asked, self.waba, self.payload], sort_keys=True)
        return hashlib.sha256(same.replace(self.id, "").encode()).hexdigest()

    def accepted(self, now: datetime) -> Operation:
        """Return the operation that it becomes."""
        return Operation(
            id=self.id,
            kind=self.kind,
            state=State.WAITING,
            partner=self.partner,
            app=self.app,
            waba=self.waba,
            service_class=self.service_class,
            capability=self.capability,
            payload=self.payload,
            attempts=0,
            fence=0,
            hold=None,
            checkpoint=None,
            result=None,
            error=None,
            due_at=now,
            created_at=now,
            finished_at=None,
            lane=self.lane,
            routed_from=self.routed_from,
            deadline_at=self.deadline(now),
        )
