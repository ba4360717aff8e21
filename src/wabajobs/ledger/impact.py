"""Impact: what operations felt of a time in which something was wrong. For reports: it may read many rows."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, and_, case, func, literal, or_, select

from wabajobs.ledger.database import Database
from wabajobs.ledger.tables import EventRow, OperationRow, UtcDateTime
from wabajobs.operation import State

_OF_A_LIMIT: Final = ("budget", "breaker", "gate", "meta", "retry_budget")


@dataclass(frozen=True, kw_only=True)
class Impact:
    """What the operations of one kind, partner and capability felt."""

    kind: str
    partner: str
    capability: str
    """Of the step at which they stand, or ended."""
    unfinished: int
    """Those that were to be done at some moment of it."""
    delayed: int
    """Those of them that it kept waiting for longer than nothing."""
    failed: int
    """Those that failed in it."""
    expired: int
    """Those whose deadline passed in it."""


@dataclass(frozen=True, kw_only=True)
class Stops:
    """Operations of one kind and partner that had begun, and were stopped by a limit on their way."""

    kind: str
    partner: str
    by: str
    """Who stopped them: `breaker`, `budget`, `gate`, `meta`."""
    operations: int
    last_at: datetime


class Impacts:
    """Asks the operations and their stories."""

    def __init__(self, database: Database) -> None:
        """Work on the tables of `database`."""
        self._database = database

    def of(self, *, app: str | None, since: datetime, until: datetime, patience: timedelta) -> list[Impact]:
        """Return what was felt between two moments, by kind, partner and capability.

        An operation counts as delayed when it lay unfinished for longer than `patience` within that time.
        """
        row, end = OperationRow, literal(until, UtcDateTime())
        within = and_(row.finished_at >= since, row.finished_at <= until)
        begins = case((row.created_at > since, row.created_at), else_=literal(since, UtcDateTime()))
        ends = case((row.finished_at < until, row.finished_at), else_=end)
        with self._database.read() as connection:
            lay = _epoch(connection, ends) - _epoch(connection, begins)
            query = (
                select(
                    row.kind,
                    row.partner,
                    row.capability,
                    func.count().label("unfinished"),
                    _number(lay > patience.total_seconds()).label("delayed"),
                    _number(and_(row.state == State.FAILED, within)).label("failed"),
                    _number(and_(row.state == State.EXPIRED, within)).label("expired"),
                )
                .where(
                    row.created_at < until,
                    or_(row.finished_at.is_(None), row.finished_at >= since),
                    *([row.app == app] if app else []),
                )
                .group_by(row.kind, row.partner, row.capability)
                .order_by(row.kind, row.partner, row.capability)
            )
            return [Impact(**one) for one in connection.execute(query).mappings()]

    def stops(self, *, app: str | None, since: datetime, until: datetime) -> list[Stops]:
        """Return what was stopped on its way between two moments, by kind, partner and who stopped it."""
        by = EventRow.detail["by"].as_string()
        with self._database.read() as connection:
            first, last = _first_since(connection, since), _first_since(connection, until)
            query = (
                select(
                    OperationRow.kind,
                    OperationRow.partner,
                    by.label("by"),
                    func.count(EventRow.operation_id.distinct()).label("operations"),
                    func.max(EventRow.at).label("last_at"),
                )
                .join(OperationRow, OperationRow.id == EventRow.operation_id)
                .where(
                    EventRow.id >= first,
                    EventRow.id < last,
                    EventRow.name == "held",
                    by.in_(_OF_A_LIMIT),
                    *([OperationRow.app == app] if app else []),
                )
                .group_by(OperationRow.kind, OperationRow.partner, by)
                .order_by(OperationRow.kind, OperationRow.partner, by)
            )
            return [Stops(**one) for one in connection.execute(query).mappings()]


def _number(condition: ColumnElement[bool]) -> Any:
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)


def _epoch(connection: Connection, moment: ColumnElement[datetime]) -> Any:
    """Seconds since an epoch, another for each database."""
    if connection.dialect.name == "postgresql":
        return func.extract("epoch", moment)
    return func.julianday(moment) * 86400.0


def _first_since(connection: Connection, moment: datetime) -> int:
    """Return the id of the first event that is not older: by halving, since events are written as time goes by.

    They have no index by time; nobody else asks for one.
    """
    low, high = 0, (connection.scalar(select(func.max(EventRow.id))) or 0) + 1
    while low < high:
        middle = (low + high) // 2
        query = select(EventRow.id, EventRow.at).where(EventRow.id >= middle).order_by(EventRow.id).limit(1)
        found = connection.execute(query).first()
        if found is None or found.at >= moment:
            high = middle
        else:
            low = found.id + 1
    return low
