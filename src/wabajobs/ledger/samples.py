"""Samples: how full the budgets were, and what lay in the queues, from moment to moment."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, select
from sqlalchemy.dialects import postgresql, sqlite

from wabajobs.capability import ServiceClass
from wabajobs.decisions import Pause
from wabajobs.ledger import census
from wabajobs.ledger.census import Part
from wabajobs.ledger.database import Database
from wabajobs.ledger.tables import BacklogRow, SampleRow
from wabajobs.operation import State

_OURS: Final = ("budget", "breaker", "gate", "retry", "retry_budget")
"""Who holds an operation that would otherwise run. What a pause or Meta's word on one thing holds is not late."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """How full a budget was at a moment."""

    at: datetime
    app: str
    scope: str
    used: int
    """Calls of ours in the window."""
    others: int
    """What Meta's headers told beyond them."""
    limit: int
    percent: float
    """Of the limit, ours and others' together."""
    percent_high: float
    """The highest since the sample before."""
    in_flight: int
    learning: bool
    broken: tuple[str, ...] = ()
    """Scopes of the breakers of the app and its capabilities that were not closed."""

    def as_json(self) -> dict[str, Any]:
        """Return the public form."""
        return {**vars(self), "at": self.at.isoformat(), "broken": list(self.broken)}


@dataclass(frozen=True, kw_only=True)
class QueueSample:
    """What of a queue was not finished at a moment."""

    at: datetime
    queue: str
    waiting: int
    held: int
    running: int
    needs_input: int
    oldest_seconds: float
    """Age of the oldest of them."""

    @property
    def unfinished(self) -> int:
        """All of them."""
        return self.waiting + self.held + self.running + self.needs_input

    def as_json(self) -> dict[str, Any]:
        """Return the public form."""
        return {**vars(self), "at": self.at.isoformat()}


@dataclass(frozen=True, kw_only=True)
class Late:
    """Operations of an app, a class and a queue that should have been done: nobody holds them on purpose."""

    app: str
    queue: str
    service_class: ServiceClass
    number: int
    oldest: datetime
    """When the oldest of them was accepted."""


@dataclass(frozen=True)
class Counted:
    """What one count of all that is not finished has come to."""

    queues: tuple[QueueSample, ...]
    late: tuple[Late, ...]


class Samples:
    """The record of the samples."""

    def __init__(self, database: Database) -> None:
        """Work on the tables of `database`."""
        self._database = database

    def put(self, samples: Sequence[Sample], queues: Sequence[QueueSample] = ()) -> None:
        """Keep samples. Of two at the same moment, the first is kept."""
        of_apps = [{**vars(one), "broken": list(one.broken)} for one in samples]
        of_queues = [vars(one) for one in queues]
        with self._database.write() as connection:
            on = postgresql if connection.dialect.name == "postgresql" else sqlite
            if of_apps:
                connection.execute(on.insert(SampleRow).on_conflict_do_nothing(), of_apps)
            if of_queues:
                connection.execute(on.insert(BacklogRow).on_conflict_do_nothing(), of_queues)

    def usage(
        self, *, app: str | None = None, since: datetime | None = None, until: datetime | None = None
    ) -> list[Sample]:
        """Return the samples of budgets, oldest first: `since` inclusive, `until` exclusive."""
        wanted: list[ColumnElement[bool]] = [] if app is None else [SampleRow.app == app]
        wanted += [SampleRow.at >= since] if since else []
        wanted += [SampleRow.at < until] if until else []
        query = select(*SampleRow.__table__.columns).where(*wanted).order_by(SampleRow.at, SampleRow.scope)
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
        return [Sample(**{**row, "broken": tuple(row["broken"])}) for row in rows]

    def backlog(
        self,
        *,
        queues: Collection[str] = (),
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> list[QueueSample]:
        """Return the samples of queues (empty: all), oldest first: `since` inclusive, `until` exclusive."""
        wanted: list[ColumnElement[bool]] = [BacklogRow.queue.in_(sorted(queues))] if queues else []
        wanted += [BacklogRow.at >= since] if since else []
        wanted += [BacklogRow.at < until] if until else []
        query = select(*BacklogRow.__table__.columns).where(*wanted).order_by(BacklogRow.at, BacklogRow.queue)
        with self._database.read() as connection:
            return [QueueSample(**row) for row in connection.execute(query).mappings()]

    def count(self, *, pauses: Collection[Pause], queues: Collection[str], now: datetime) -> Counted:
        """Count what is not finished, by queue, and what of it is late."""
        with self._database.read() as connection:
            parts = census.under(connection, pauses)
            not_on_purpose = (
                census.not_covered(connection, [pause.scope for pause in pauses]) if pauses else parts
            )
        return Counted(
            queues=tuple(
                _queue(queue, [one for one in parts if one.line.kind == queue], now) for queue in queues
            ),
            late=tuple(
                Late(
                    app=one.line.app,
                    queue=one.line.kind,
                    service_class=one.line.service_class,
                    number=one.operations,
                    oldest=one.oldest,
                )
                for one in not_on_purpose
                if one.state in (State.WAITING, State.RUNNING) or one.held_by in _OURS
            ),
        )


def _queue(queue: str, parts: Sequence[Part], now: datetime) -> QueueSample:
    def number(state: State) -> int:
        return sum(one.operations for one in parts if one.state is state)

    oldest = min((one.oldest for one in parts), default=now)
    return QueueSample(
        at=now,
        queue=queue,
        waiting=number(State.WAITING),
        held=number(State.HELD),
        running=number(State.RUNNING),
        needs_input=number(State.NEEDS_INPUT),
        oldest_seconds=max(timedelta(0), now - oldest).total_seconds(),
    )
