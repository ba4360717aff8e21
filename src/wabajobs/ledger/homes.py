"""Home apps: by which of our Meta apps a WABA is looked after.

It is learned from the first operation of a WABA that succeeds, and a person can set another. Where a WABA has
none yet, its fleet entry says by which app it was synced.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select

from wabajobs.ledger import audit
from wabajobs.ledger.database import Database, each, upsert
from wabajobs.ledger.tables import FleetRow, HomeRow


@dataclass(frozen=True, kw_only=True)
class Home:
    """The home app of a WABA. Without an actor it was learned."""

    waba: str
    app: str
    since: datetime
    actor: str | None
    reason: str | None


class Homes:
    """The record of home apps."""

    def __init__(self, database: Database) -> None:
        """Work on the table in `database`."""
        self._database = database

    def of(self, waba: str) -> str | None:
        """Return the home app of a WABA; None when nobody knows it."""
        with self._database.read() as connection:
            return home_of(connection, waba)

    def of_all(self, wabas: Collection[str]) -> dict[str, str]:
        """Return the home apps of those WABAs that have one, with one question."""
        with self._database.read() as connection:
            waba = each(connection, "wabas")
            home = select(HomeRow.app).where(HomeRow.waba == waba.c.value).scalar_subquery()
            synced_by = select(FleetRow.app).where(FleetRow.waba == waba.c.value).scalar_subquery()
            query = select(waba.c.value, func.coalesce(home, synced_by))
            rows = connection.execute(query, {"wabas": json.dumps(sorted(wabas))})
            return {row[0]: row[1] for row in rows if row[1] is not None}

    def get(self, waba: str) -> Home | None:
        """Return who has set a WABA's home app and when; None when nobody has and none was learned."""
        with self._database.read() as connection:
            row = connection.execute(select(HomeRow.__table__).where(HomeRow.waba == waba)).one_or_none()
        if row is None:
            return None
        return Home(waba=row.waba, app=row.app, since=row.since, actor=row.actor, reason=row.reason)

    def set(self, waba: str, app: str, *, actor: str, reason: str, now: datetime) -> None:
        """Give a WABA a home app."""
        values = {"app": app, "since": now, "actor": actor, "reason": reason}
        with self._database.write() as connection:
            audit.note(
                connection, "home", f"waba:{waba}", reason=reason, actor=actor, now=now, detail={"app": app}
            )
            connection.execute(
                upsert(connection, HomeRow)
                .values(waba=waba, **values)
                .on_conflict_do_update(index_elements=["waba"], set_=values)
            )

    def count(self) -> dict[str, int]:
        """Return how many WABAs are at home at each app."""
        query = select(HomeRow.app, func.count()).group_by(HomeRow.app)
        with self._database.read() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}


def home_of(connection: Connection, waba: str) -> str | None:
    """Return the home app of a WABA, as a transaction sees it."""
    home = connection.scalar(select(HomeRow.app).where(HomeRow.waba == waba))
    return home or connection.scalar(select(FleetRow.app).where(FleetRow.waba == waba))


def learn(connection: Connection, reached: Mapping[str, str], *, now: datetime) -> None:
    """WABAs were reached by these apps: those without a home have one now."""
    rows = [{"waba": waba, "app": app, "since": now} for waba, app in sorted(reached.items())]
    if rows:
        connection.execute(upsert(connection, HomeRow).on_conflict_do_nothing(), rows)
