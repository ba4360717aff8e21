"""The outbox: what the Hub is told, written in the transaction in which it happens, and numbered afterwards.

Transactions end in another order than they begin in, so an id that was drawn early may show up late; whoever
reads by id would miss it. Numbers are given one transaction after the other, and only to what has been committed:
what has a number stands there for all, and what comes later has a higher one. What happens to one operation
happens under its row's lock, so its events have their ids, and with them their numbers, in that order.
"""

import hashlib
import re
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, Protocol

from sqlalchemy import BigInteger, Connection, bindparam, func, select, text, update
from sqlalchemy import cast as sql_cast

from wabajobs.errors import InvalidRequest
from wabajobs.feed import Event, EventKind
from wabajobs.ledger.database import Database, insert_all
from wabajobs.ledger.tables import OutboxRow
from wabajobs.outcome import Hold

_AT_ONCE: Final = 5000
"""Events that one transaction numbers, at most."""
_VARYING: Final = re.compile(r"\[fbtrace [^\]]*\]|[0-9]+")
"""What differs between two holds for one and the same reason."""


class About(Protocol):
    """Which operation an event is about."""

    @property
    def id(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def partner(self) -> str: ...
    @property
    def app(self) -> str: ...
    @property
    def waba(self) -> str | None: ...


class Told(NamedTuple):
    """What is to be told of an operation."""

    operation: About
    kind: EventKind
    data: dict[str, Any]


def tell_operations(connection: Connection, now: datetime, told: Sequence[Told]) -> None:
    """Write events of operations down, all with one statement."""
    insert_all(
        connection,
        OutboxRow,
        [
            {
                "at": now,
                "kind": one.kind,
                "operation_id": one.operation.id,
                "operation_kind": one.operation.kind,
                "partner": one.operation.partner,
                "app": one.operation.app,
                "waba": one.operation.waba,
                "data": one.data,
            }
            for one in told
        ],
    )


def tell_templates(
    connection: Connection, now: datetime, waba: str, changes: Sequence[dict[str, Any]], *, sync: About | None
) -> None:
    """Write changes of a WABA's templates down, which a sync has found or a webhook told."""
    about = {
        "operation_id": sync.id if sync else None,
        "operation_kind": sync.kind if sync else None,
        "partner": sync.partner if sync else None,
        "app": sync.app if sync else None,
        "waba": waba,
    }
    insert_all(
        connection,
        OutboxRow,
        [{"at": now, "kind": EventKind.TEMPLATE_CHANGED, **about, "data": change} for change in changes],
    )


def gist(hold: Hold) -> str:
    """Return what makes two holds the same for the Hub: who holds, and why, without its numbers and traces."""
    return hashlib.sha256(f"{hold.by}:{_VARYING.sub('', hold.reason)}".encode()).hexdigest()[:16]


class Outbox:
    """The events, as they are read."""

    def __init__(self, database: Database) -> None:
        """Work on the table in `database`."""
        self._database = database

    def read(self, *, after: int, at_most: int, kinds: Collection[EventKind] = ()) -> list[Event]:
        """Return the first events behind the cursor `after`, of some kinds or all.

        Raises `InvalidRequest` when what follows the cursor is no longer kept, or the cursor is none of ours.
        """
        self.number()
        with self._database.read() as connection:
            _require_kept(connection, after)
            return read(connection, after=after, at_most=at_most, kinds=kinds)

    def last(self, at_most: int, *, kinds: Collection[EventKind] = ()) -> list[Event]:
        """Return the newest events, oldest first."""
        self.number()
        query = _of(kinds).where(OutboxRow.number.is_not(None)).order_by(OutboxRow.number.desc())
        with self._database.read() as connection:
            return [event_of(row) for row in reversed(connection.execute(query.limit(at_most)).all())]

    def number(self) -> None:
        """Give numbers to all that has been committed and has none."""
        with self._database.read() as connection:
            if connection.scalar(_UNNUMBERED.limit(1)) is None:
                return
        numbered = _AT_ONCE
        while numbered == _AT_ONCE:
            with self._database.write() as connection:
                numbered = _number(connection)


def read(connection: Connection, *, after: int, at_most: int, kinds: Collection[EventKind] = ()) -> list[Event]:
    """Return the first numbered events behind a cursor."""
    query = _of(kinds).where(OutboxRow.number > after).order_by(OutboxRow.number).limit(at_most)
    return [event_of(row) for row in connection.execute(query)]


def those(connection: Connection, numbers: Collection[int]) -> dict[int, Event]:
    """Return the events of these numbers, as far as they are kept."""
    found = connection.execute(_of(()).where(OutboxRow.number.in_(numbers)))
    return {row.number: event_of(row) for row in found}


def newest(connection: Connection) -> int:
    """Return the highest number; 0 when there is none."""
    return connection.scalar(NEWEST) or 0


def _number(connection: Connection) -> int:
    if connection.dialect.name == "postgresql":
        # One after the other: whoever comes second sees what the first has numbered.
        connection.execute(_ONE_AT_A_TIME)
    return connection.execute(_NUMBER, {"last": newest(connection)}).rowcount


def _require_kept(connection: Connection, after: int) -> None:
    oldest, last = connection.scalar(OLDEST) or 1, newest(connection)
    if 0 < after < oldest - 1:
        raise InvalidRequest(
            f"events {after + 1} to {oldest - 1} are no longer kept ([retention] event_days): look at the"
            f" operations themselves, and go on after {oldest - 1}"
        )
    if not 0 <= after <= last:
        raise InvalidRequest(
            f"cursor {after} is none of this ledger's: its newest event is {last}; was the ledger replaced?"
        )


def _of(kinds: Collection[EventKind]) -> Any:
    query = select(OutboxRow.__table__)
    return query.where(OutboxRow.kind.in_(sorted(kinds))) if kinds else query


def event_of(row: Any) -> Event:
    """Read a row."""
    return Event(
        cursor=row.number,
        kind=EventKind(row.kind),
        at=row.at,
        operation_id=row.operation_id,
        operation_kind=row.operation_kind,
        partner=row.partner,
        app=row.app,
        waba=row.waba,
        data=row.data,
    )


_NUMBERED: Final = OutboxRow.number.is_not(None)  # said, so that the index of numbers is found
NEWEST: Final = select(func.max(OutboxRow.number)).where(_NUMBERED)
"""The highest number."""
OLDEST: Final = select(func.min(OutboxRow.number)).where(_NUMBERED)
"""The lowest."""
_ONE_AT_A_TIME: Final = text("SELECT pg_advisory_xact_lock(7246228)")
_UNNUMBERED: Final = select(OutboxRow.id).where(OutboxRow.number.is_(None)).order_by(OutboxRow.id)
_NEXT: Final = _UNNUMBERED.limit(_AT_ONCE).subquery()
_PLACES: Final = select(_NEXT.c.id, func.row_number().over(order_by=_NEXT.c.id).label("place")).subquery()
_NUMBER: Final = (
    update(OutboxRow)
    .where(OutboxRow.id == _PLACES.c.id)
    .values(number=bindparam("last", type_=BigInteger) + sql_cast(_PLACES.c.place, BigInteger))
)
