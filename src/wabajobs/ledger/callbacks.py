"""Callbacks: which events are still to be delivered to the Hub, and which could not be.

The outbox itself says what there is to deliver. A cursor tells how far it was taken up; what was taken up has a
row here until it is delivered. What is told of one WABA goes one after the other.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, exists, func, select, update
from sqlalchemy.orm import aliased

from wabajobs.feed import Event, EventKind
from wabajobs.ledger import outbox
from wabajobs.ledger.database import Database, upsert
from wabajobs.ledger.outbox import Outbox
from wabajobs.ledger.tables import CallbackRow, CursorRow

_CURSOR: Final = "callbacks"


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """An event that is to be delivered now."""

    event: Event
    tries: int
    first_at: datetime | None
    """When it was tried first."""


@dataclass(frozen=True, kw_only=True)
class Missed:
    """A try that did not deliver."""

    error: str
    first_at: datetime
    again_at: datetime | None
    """None: it is given up."""


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """How far delivery has come."""

    behind: int
    """Events that were not even taken up yet; also those of kinds that nobody wants delivered."""
    waiting: int
    """Events under way to the Hub, or tried in vain and to be tried again."""
    given_up: int
    last_error: str | None

    def as_json(self) -> dict[str, Any]:
        """Return the public form."""
        return vars(self).copy()


class Callbacks:
    """The record of what is to be delivered."""

    def __init__(self, database: Database) -> None:
        """Work on the tables of `database`."""
        self._database = database
        self._outbox = Outbox(database)

    def take_up(self, kinds: Collection[EventKind], *, now: datetime, most_open: int) -> int:
        """Put the next events down for delivery, unless so many are open already; return how many.

        The first time, what has been told before counts as delivered.
        """
        self._outbox.number()
        with self._database.read() as connection:
            cursor, newest = _cursor(connection), outbox.newest(connection)
            room = most_open - (connection.scalar(_OPEN) or 0)
            if cursor == newest or room <= 0:
                return 0
        with self._database.write() as connection:
            cursor = _cursor(connection)
            if cursor is None:
                _move(connection, outbox.newest(connection))
                return 0
            found = outbox.read(connection, after=cursor, at_most=room)
            wanted = [event for event in found if not kinds or event.kind in kinds]
            if wanted:
                rows = [{"number": one.cursor, "line": _line(one), "tries": 0, "due_at": now} for one in wanted]
                connection.execute(upsert(connection, CallbackRow).on_conflict_do_nothing(), rows)
            if found:
                _move(connection, found[-1].cursor)
        return len(wanted)

    def due(self, *, now: datetime, at_most: int) -> list[Delivery]:
        """Return what is to be tried now: of each WABA the first event that is not delivered."""
        earlier = aliased(CallbackRow)
        in_its_way = exists().where(
            earlier.line == CallbackRow.line, earlier.failed_at.is_(None), earlier.number < CallbackRow.number
        )
        query = (
            select(CallbackRow.number, CallbackRow.tries, CallbackRow.first_at)
            .where(CallbackRow.failed_at.is_(None), CallbackRow.due_at <= now, ~in_its_way)
            .order_by(CallbackRow.number)
            .limit(at_most)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
            # Not in one with the outbox, which has a month of events: all of them might be joined to the few.
            told = outbox.those(connection, [row.number for row in rows])
        return [
            Delivery(event=told[row.number], tries=row.tries, first_at=row.first_at)
            for row in rows
            if row.number in told
        ]

    def settle(self, delivered: Sequence[int], missed: Mapping[int, Missed], *, now: datetime) -> None:
        """Write down what came of tries."""
        with self._database.write() as connection:
            if delivered:
                connection.execute(delete(CallbackRow).where(CallbackRow.number.in_(delivered)))
            if missed:
                connection.execute(
                    _MISSED,
                    [
                        {
                            "which": number,
                            "why": one.error,
                            "first": one.first_at,
                            "again": one.again_at or now,
                            "given_up": None if one.again_at else now,
                        }
                        for number, one in missed.items()
                    ],
                )

    def resend(self, *, after: int | None) -> int:
        """Deliver again what was given up; with `after`, everything behind that cursor. Return how many of them.

        Raises `InvalidRequest` when they are no longer kept.
        """
        if after is not None:
            self._outbox.read(after=after, at_most=1)
        with self._database.write() as connection:
            if after is None:
                again = {"failed_at": None, "tries": 0, "first_at": None}
                given_up = update(CallbackRow).where(CallbackRow.failed_at.is_not(None))
                return connection.execute(given_up.values(again)).rowcount
            connection.execute(delete(CallbackRow).where(CallbackRow.number > after))
            _move(connection, after)
            return outbox.newest(connection) - after

    def has_begun(self) -> bool:
        """Whether anything has ever been taken up: what was told before counts as delivered."""
        with self._database.read() as connection:
            return _cursor(connection) is not None

    def backlog(self) -> Backlog:
        """Return how far delivery has come."""
        counted = select(
            func.count().filter(CallbackRow.failed_at.is_(None)),
            func.count().filter(CallbackRow.failed_at.is_not(None)),
        ).select_from(CallbackRow)
        last = select(CallbackRow.error).where(CallbackRow.error.is_not(None)).order_by(CallbackRow.number.desc())
        with self._database.read() as connection:
            waiting, given_up = connection.execute(counted).one()
            cursor, newest = _cursor(connection), outbox.newest(connection)
            return Backlog(
                behind=0 if cursor is None else newest - cursor,
                waiting=waiting,
                given_up=given_up,
                last_error=connection.scalar(last.limit(1)),
            )


def _line(event: Event) -> str:
    return event.waba or event.operation_id or ""


def _cursor(connection: Connection) -> int | None:
    return connection.scalar(select(CursorRow.number).where(CursorRow.name == _CURSOR))


def _move(connection: Connection, number: int) -> None:
    connection.execute(
        upsert(connection, CursorRow)
        .values(name=_CURSOR, number=number)
        .on_conflict_do_update(index_elements=["name"], set_={"number": number})
    )


_OPEN: Final = select(func.count()).select_from(CallbackRow).where(CallbackRow.failed_at.is_(None))
_MISSED: Final = (
    update(CallbackRow)
    .where(CallbackRow.number == bindparam("which"))
    .values(
        tries=CallbackRow.tries + 1,
        error=bindparam("why"),
        first_at=bindparam("first"),
        due_at=bindparam("again"),
        failed_at=bindparam("given_up"),
    )
)
