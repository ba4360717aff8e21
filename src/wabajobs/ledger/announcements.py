"""What the public was told of incidents. Each entry was released by a person, and is never changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Connection, RowMapping, insert, select

from wabajobs.ledger import audit
from wabajobs.ledger.database import Database
from wabajobs.ledger.tables import AnnouncementRow


class Stage(StrEnum):
    """How far an incident has come, as a status page says it."""

    INVESTIGATING = "investigating"
    IDENTIFIED = "identified"
    MONITORING = "monitoring"
    RESOLVED = "resolved"


class Severity(StrEnum):
    """How much of the service an incident touches."""

    NONE = "none"
    MINOR = "minor"
    MAJOR = "major"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """The worse, the higher."""
        return list(Severity).index(self)


@dataclass(frozen=True, kw_only=True)
class Announcement:
    """One entry."""

    id: int
    incident: int
    at: datetime
    stage: Stage
    title: str
    body: str
    impact: Severity
    components: tuple[str, ...]
    """Names of those that it is about."""
    actor: str


class Announcements:
    """The record of them."""

    def __init__(self, database: Database) -> None:
        """Work on the tables of `database`."""
        self._database = database

    def release(
        self,
        incident: int,
        stage: Stage,
        *,
        title: str,
        body: str,
        impact: Severity,
        components: Sequence[str],
        actor: str,
        now: datetime,
    ) -> Announcement:
        """Tell the public."""
        values = {
            "incident": incident,
            "at": now,
            "stage": str(stage),
            "title": title,
            "body": body,
            "impact": str(impact),
            "components": list(components),
            "actor": actor,
        }
        with self._database.write() as connection:
            id_ = connection.scalar(insert(AnnouncementRow).values(**values).returning(AnnouncementRow.id))
            audit.note(
                connection,
                "announce",
                f"incident:{incident}",
                reason=body,
                actor=actor,
                now=now,
                incident=incident,
            )
            return _find(connection, AnnouncementRow.id == id_)[0]

    def newest(self, *, incidents: int = 50) -> list[Announcement]:
        """Return all entries of the newest so many incidents, oldest first."""
        with self._database.read() as connection:
            newest = (
                select(AnnouncementRow.incident)
                .distinct()
                .order_by(AnnouncementRow.incident.desc())
                .limit(incidents)
            )
            return _find(connection, AnnouncementRow.incident.in_(newest.scalar_subquery()))


def _find(connection: Connection, *conditions: object) -> list[Announcement]:
    query = select(AnnouncementRow.__table__).where(*conditions).order_by(AnnouncementRow.id)  # type: ignore[arg-type]
    return [_as_announcement(row) for row in connection.execute(query).mappings()]


def _as_announcement(row: RowMapping) -> Announcement:
    return Announcement(
        id=row["id"],
        incident=row["incident"],
        at=row["at"],
        stage=Stage(row["stage"]),
        title=row["title"],
        body=row["body"],
        impact=Severity(row["impact"]),
        components=tuple(row["components"]),
        actor=row["actor"],
    )
