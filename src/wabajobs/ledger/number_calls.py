"""The account of calls of which a number bears few: its registrations. Unlike the gate's, it outlives Redis."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select, update

from wabajobs.ledger.database import Database, upsert
from wabajobs.ledger.tables import NumberCallsRow


class NumberCalls:
    """When each number was registered and deregistered of late."""

    def __init__(self, database: Database) -> None:
        """Work on the table in `database`."""
        self._database = database

    def charge(self, number: str, quota: str, *, most: int, window: timedelta, now: datetime) -> timedelta | None:
        """Write down a call that is about to leave; where `most` have within `window`, say how long to wait."""
        with self._database.write() as connection:
            recent = [at for at in _times(connection, number, quota) if at > now - window]
            if len(recent) >= most:
                return recent[-most] + window - now
            _write(connection, number, quota, [*recent, now])
            return None

    def give_back(self, number: str, quota: str, *, at: datetime) -> None:
        """Take a call back that was written down at this moment: it has not come to the number."""
        with self._database.write() as connection:
            times = _times(connection, number, quota)
            if at in times:
                times.remove(at)
                _write(connection, number, quota, times)


def _times(connection: Connection, number: str, quota: str) -> list[datetime]:
    """Return what is written down of a number, which nobody else changes until the transaction's end."""
    first = upsert(connection, NumberCallsRow).values(number=number, quota=quota, times=[])
    connection.execute(first.on_conflict_do_nothing())
    written = select(NumberCallsRow.times).where(*_of(number, quota)).with_for_update()
    return [datetime.fromisoformat(at) for at in connection.scalars(written).one()]


def _write(connection: Connection, number: str, quota: str, times: list[datetime]) -> None:
    told = [at.isoformat() for at in times]
    connection.execute(update(NumberCallsRow).where(*_of(number, quota)).values(times=told))


def _of(number: str, quota: str) -> tuple[Any, ...]:
    return NumberCallsRow.number == number, NumberCallsRow.quota == quota
