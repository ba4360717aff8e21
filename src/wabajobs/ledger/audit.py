"""The record of decisions: who did what, when and why. Written with the decision itself, and never changed."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, insert, select

from wabajobs.ledger.database import Database
from wabajobs.ledger.tables import AuditRow

_MOST: Final = 1000


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One entry."""

    id: int
    at: datetime
    actor: str
    action: str
    """`pause`, `resume`, `ramp`, `limit`, `breaker` and the like."""
    scope: str
    reason: str
    detail: dict[str, Any] | None
    incident: int | None

    def as_json(self) -> dict[str, Any]:
        """Return the public form."""
        return {**asdict(self), "at": self.at.isoformat()}


class Audit:
    """Reads the record."""

    def __init__(self, database: Database) -> None:
        """Read from `database`."""
        self._database = database

    def entries(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        scope: str | None = None,
        at_most: int = _MOST,
    ) -> list[Decision]:
        """Return the newest entries, oldest first."""
        conditions = []
        if since is not None:
            conditions.append(AuditRow.at >= since)
        if until is not None:
            conditions.append(AuditRow.at < until)
        if scope is not None:
            conditions.append(AuditRow.scope == scope)
        query = select(AuditRow.__table__).where(*conditions).order_by(AuditRow.id.desc()).limit(at_most)
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
        return [Decision(**row) for row in reversed(rows)]


def note(
    connection: Connection,
    action: str,
    scope: object,
    *,
    reason: str,
    actor: str,
    now: datetime,
    detail: Mapping[str, Any] | None = None,
    incident: int | None = None,
) -> None:
    """Write an entry, inside the transaction of the decision."""
    connection.execute(
        _ENTRY,
        {
            "at": now,
            "actor": actor,
            "action": action,
            "scope": str(scope),
            "reason": reason,
            "detail": dict(detail) if detail else None,
            "incident": incident,
        },
    )


_ENTRY: Final = insert(AuditRow)
