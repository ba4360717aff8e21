"""Secrets as the ledger keeps them: sealed, by name. Whoever reads the database reads nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, func, select, update

from wabajobs.ledger.database import Database, upsert
from wabajobs.ledger.tables import SecretRow


@dataclass(frozen=True)
class KnownSecret:
    """That there is a secret, and whose it is."""

    name: str
    operation_id: str | None
    created_at: datetime


class SecretRecords:
    """The table of sealed secrets."""

    def __init__(self, database: Database) -> None:
        """Work on the table in `database`."""
        self._database = database

    def get(self, name: str) -> str | None:
        """Return a secret, sealed; None when there is none of the name."""
        with self._database.read() as connection:
            return connection.scalar(select(SecretRow.sealed).where(SecretRow.name == name))

    def put(self, name: str, sealed: str, *, now: datetime) -> None:
        """Keep a secret until somebody deletes it, in the place of one of the same name."""
        with self._database.write() as connection:
            keep(connection, {name: sealed}, operation_id=None, now=now)

    def delete(self, name: str) -> bool:
        """Delete a secret; False when there is none of the name."""
        with self._database.write() as connection:
            return bool(connection.execute(delete(SecretRow).where(SecretRow.name == name)).rowcount)

    def known(self) -> list[KnownSecret]:
        """Return which secrets there are, by name."""
        query = select(SecretRow.name, SecretRow.operation_id, SecretRow.created_at).order_by(SecretRow.name)
        with self._database.read() as connection:
            return [KnownSecret(*row) for row in connection.execute(query)]

    def count(self) -> int:
        """Return how many there are."""
        with self._database.read() as connection:
            return connection.scalar(select(func.count()).select_from(SecretRow)) or 0

    def batch(self, *, after: str, at_most: int) -> dict[str, str]:
        """Return the next secrets in the order of their names, sealed."""
        query = select(SecretRow.name, SecretRow.sealed).where(SecretRow.name > after)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(SecretRow.name).limit(at_most))
            return {row.name: row.sealed for row in rows}

    def replace(self, anew: Mapping[str, tuple[str, str]]) -> int:
        """Put new seals in the place of old ones, by name `(old, new)`; return how many were still the old."""
        if not anew:
            return 0
        with self._database.write() as connection:
            return sum(
                connection.execute(
                    update(SecretRow).where(SecretRow.name == name, SecretRow.sealed == old).values(sealed=new)
                ).rowcount
                for name, (old, new) in sorted(anew.items())
            )


def keep(
    connection: Connection, secrets: Mapping[str, str | None], *, operation_id: str | None, now: datetime | None
) -> None:
    """Keep sealed secrets inside a transaction, in the place of those of the same name; None deletes one."""
    gone = [name for name, sealed in secrets.items() if sealed is None]
    if gone:
        connection.execute(delete(SecretRow).where(SecretRow.name.in_(gone)))
    rows = [
        {"name": name, "sealed": sealed, "operation_id": operation_id, "created_at": now}
        for name, sealed in secrets.items()
        if sealed is not None
    ]
    if rows:
        statement = upsert(connection, SecretRow)
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=["name"],
                set_={name: statement.excluded[name] for name in ("sealed", "operation_id", "created_at")},
            ),
            rows,
        )
