"""Retention: what is old is deleted, in transactions so small that nobody waits for them.

Decisions are kept for ever. What has been deleted needs no record: the next transaction finds what is left.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, and_, delete, func, or_, select, tuple_, update

from wabajobs.ledger.database import Database
from wabajobs.ledger.outbox import NEWEST, OLDEST
from wabajobs.ledger.tables import (
    BacklogRow,
    CallbackRow,
    EventRow,
    HappeningRow,
    IncidentRow,
    MediaRow,
    OperationRow,
    OutboxRow,
    RequestRow,
    SampleRow,
    SecretRow,
    SpendingRow,
    StagedPageRow,
    TemplateChangeRow,
)
from wabajobs.operation import FINISHED, State

_ROWS: Final = 500
"""Rows that one transaction deletes, at most."""
_FILES: Final = 10
"""Files that one transaction deletes: each may have a hundred megabytes."""
_OPERATIONS: Final = 50
"""Operations of which one transaction deletes the events."""


@dataclass(frozen=True, kw_only=True)
class Ages:
    """From which age on something is deleted."""

    finished: timedelta
    """Operations that succeeded, expired or were cancelled, with their events."""
    failed: timedelta
    """Operations that failed, with their events."""
    pages: timedelta
    """Pages of half-read lists, after the end of their operation."""
    requests: timedelta
    """Idempotency keys, unless the operation that was made with one is still to be done."""
    media: timedelta
    """Files of operations that did not succeed; those of others go at once."""
    changes: timedelta
    """Differences that template syncs found."""
    events: timedelta
    """What the Hub was told."""
    seen: timedelta
    """Happenings, samples, and who spent the budgets."""
    incidents: timedelta
    """Incidents that were closed, with their episodes and diaries."""


class Retention:
    """Deletes what is old."""

    def __init__(self, database: Database) -> None:
        """Work on the tables of `database`."""
        self._database = database

    def prune(self, ages: Ages, *, now: datetime) -> Iterator[tuple[str, int]]:
        """Delete step by step; each is one small transaction, and says what was deleted and how much of it.

        Whoever takes the steps decides how long to rest between them. Between two steps no lock is held.
        """
        yield from self._steps("secrets", lambda c: _delete(c, SecretRow, _NEEDED_NO_MORE))
        for state in sorted(FINISHED):
            before = now - (ages.failed if state is State.FAILED else ages.finished)
            yield from self._steps("operations", lambda c, s=state, b=before: _operations(c, s, b))
        yield from self._steps("pages", lambda c: _pages(c, now - ages.pages))
        yield from self._steps("files", lambda c: _delete(c, MediaRow, _old_media(now - ages.media), _FILES))
        yield from self._steps("keys", lambda c: _delete(c, RequestRow, _old_requests(now - ages.requests)))
        old_changes = TemplateChangeRow.at < now - ages.changes
        yield from self._steps("changes", lambda c: _delete(c, TemplateChangeRow, old_changes))
        yield from self._steps("outbox", lambda c: _events(c, now - ages.events))
        for name, table, old in _old_sights(now - ages.seen):
            yield from self._steps(name, lambda c, t=table, o=old: _delete(c, t, o))
        over = IncidentRow.closed_at < now - ages.incidents
        yield from self._steps("incidents", lambda c: _delete(c, IncidentRow, over))

    def count(self, ages: Ages, *, now: datetime) -> dict[str, int]:
        """Return how much there is to delete."""
        finished = (
            and_(OperationRow.state == state, OperationRow.finished_at < now - age)
            for state in FINISHED
            for age in [ages.failed if state is State.FAILED else ages.finished]
        )
        asked: Mapping[str, Select[int]] = {
            "secrets": select(func.count()).select_from(SecretRow).where(_NEEDED_NO_MORE),
            "operations": select(func.count()).select_from(OperationRow).where(or_(*finished)),
            "pages": select(func.count()).select_from(StagedPageRow).where(_of_ended(now - ages.pages)),
            "files": select(func.count()).select_from(MediaRow).where(_old_media(now - ages.media)),
            "keys": select(func.count()).select_from(RequestRow).where(_old_requests(now - ages.requests)),
            "changes": select(func.count())
            .select_from(TemplateChangeRow)
            .where(TemplateChangeRow.at < now - ages.changes),
            "outbox": select(func.count()).select_from(OutboxRow).where(_old_events(now - ages.events)),
            **{
                name: select(func.count()).select_from(table).where(old)
                for name, table, old in _old_sights(now - ages.seen)
            },
            "incidents": select(func.count())
            .select_from(IncidentRow)
            .where(IncidentRow.closed_at < now - ages.incidents),
        }
        with self._database.read() as connection:
            return {name: connection.scalar(query) or 0 for name, query in asked.items()}

    def _steps(self, name: str, step: Any) -> Iterator[tuple[str, int]]:
        while True:
            with self._database.write() as connection:
                more, number = step(connection)
            if number or more:
                yield name, number
            if not more:
                return


def _operations(connection: Connection, state: State, before: datetime) -> tuple[bool, int]:
    """Delete some operations, their events first: one of them may have had thousands."""
    old = (
        select(OperationRow.id)
        .where(OperationRow.state == state, OperationRow.finished_at < before)
        .order_by(OperationRow.finished_at)
        .limit(_OPERATIONS)
        .with_for_update(skip_locked=True)
    )
    ids = list(connection.scalars(old))
    if not ids:
        return False, 0
    events = select(EventRow.id).where(EventRow.operation_id.in_(ids)).limit(_ROWS)
    deleted = connection.execute(delete(EventRow).where(EventRow.id.in_(events.scalar_subquery()))).rowcount
    if deleted == _ROWS:
        return True, 0
    # A page is larger than an event, but there are few: a kind keeps some only while it reads a list.
    connection.execute(delete(OperationRow).where(OperationRow.id.in_(ids)))
    return len(ids) == _OPERATIONS, len(ids)


def _of_ended(before: datetime) -> ColumnElement[bool]:
    return _is_of(StagedPageRow.operation_id, OperationRow.finished_at < before)


def _pages(connection: Connection, before: datetime) -> tuple[bool, int]:
    """Delete pages that no retry will use any more; a checkpoint that speaks of them goes with them."""
    old = select(StagedPageRow.operation_id).where(_of_ended(before)).distinct().limit(_OPERATIONS)
    ids = list(connection.scalars(old))
    if not ids:
        return False, 0
    connection.execute(update(OperationRow).where(OperationRow.id.in_(ids)).values(checkpoint=None))
    pages = select(StagedPageRow.operation_id, StagedPageRow.page).where(StagedPageRow.operation_id.in_(ids))
    key = tuple_(StagedPageRow.operation_id, StagedPageRow.page)
    deleted = connection.execute(delete(StagedPageRow).where(key.in_(pages.limit(_ROWS)))).rowcount
    return deleted == _ROWS or len(ids) == _OPERATIONS, deleted


def _old_media(before: datetime) -> ColumnElement[bool]:
    old = or_(OperationRow.state == State.SUCCEEDED, OperationRow.finished_at < before)
    return _is_of(MediaRow.operation_id, old)


def _events(connection: Connection, before: datetime) -> tuple[bool, int]:
    """Delete events that are old, the oldest first, and what could not be delivered of them."""
    oldest = select(OutboxRow.id).order_by(OutboxRow.id).limit(_ROWS)
    old = delete(OutboxRow).where(OutboxRow.id.in_(oldest.scalar_subquery()), _old_events(before))
    deleted = connection.execute(old).rowcount
    if deleted:
        connection.execute(delete(CallbackRow).where(CallbackRow.number < OLDEST.scalar_subquery()))
    return deleted == _ROWS, deleted


def _old_events(before: datetime) -> ColumnElement[bool]:
    # The newest stays: from it the next one's number is counted.
    newest = func.coalesce(NEWEST.scalar_subquery(), 1)
    return and_(OutboxRow.at < before, func.coalesce(OutboxRow.number, 0) < newest)


def _old_sights(before: datetime) -> list[tuple[str, Any, ColumnElement[bool]]]:
    return [
        ("happenings", HappeningRow, HappeningRow.at < before),
        ("samples", SampleRow, SampleRow.at < before),
        ("backlogs", BacklogRow, BacklogRow.at < before),
        ("spending", SpendingRow, SpendingRow.since < before),
    ]


def _old_requests(before: datetime) -> ColumnElement[bool]:
    # The key of a request that joined what waited already goes at its age: asked again it joins again. Else those
    # who ask for the same sync each hour of a long pause would leave their keys as long as it lasts.
    made = _is_of(
        RequestRow.operation_id,
        OperationRow.finished_at.is_(None),
        OperationRow.created_at >= RequestRow.created_at,
    )
    return and_(RequestRow.created_at < before, ~made)


def _is_of(operation_id: Any, *such: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether there is such an operation; a look for each, where of an EXISTS a join with all of them is made."""
    found = select(OperationRow.id).where(OperationRow.id == operation_id, *such).limit(1)
    return found.scalar_subquery().is_not(None)


_NEEDED_NO_MORE: Final = _is_of(SecretRow.operation_id, OperationRow.state.in_(sorted(FINISHED - {State.FAILED})))
"""What failed may be let go again, with the secrets that it was given; they go when it does."""


def _delete(
    connection: Connection, table: Any, condition: ColumnElement[bool], rows: int = _ROWS
) -> tuple[bool, int]:
    key = tuple_(*table.__table__.primary_key.columns)
    old = select(*table.__table__.primary_key.columns).where(condition).limit(rows)
    deleted = connection.execute(delete(table).where(key.in_(old))).rowcount
    return deleted == rows, deleted
