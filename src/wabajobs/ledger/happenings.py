"""Happenings: what the product has seen of Meta and of its own breakers, in the order in which it was seen."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import ColumnElement, func, insert, select

from wabajobs.ledger.database import Database
from wabajobs.ledger.tables import HappeningRow


class Sight(StrEnum):
    """What can be seen."""

    BREAKER_OPENED = "breaker_opened"
    BREAKER_CLOSED = "breaker_closed"
    PROBE = "probe"
    """A call that an open breaker let through to see whether Meta is well again."""
    REFUSED = "refused"
    """Meta has refused a call because of a limit."""
    FAILED_CALL = "failed_call"
    """Meta, or the way there, was not well."""
    LEARNING_BEGAN = "learning_began"
    """The gate has lost its state, and finds out how much of a budget is spent."""
    LEARNING_ENDED = "learning_ended"


@dataclass(frozen=True, kw_only=True)
class Happening:
    """Something that was seen."""

    at: datetime
    name: str
    app: str | None = None
    scope: str | None = None
    """Whose breaker or limit it was: `app:1`, `app:1/uploads`, `waba:1:2`."""
    queue: str | None = None
    partner: str | None = None
    waba: str | None = None
    capability: str | None = None
    operation_id: str | None = None
    code: int | None = None
    """Meta's, as are the next two."""
    subcode: int | None = None
    fbtrace_id: str | None = None
    detail: dict[str, Any] = field(default_factory=dict)
    id: int | None = None
    """Its place among all; None until it is kept."""

    def as_json(self) -> dict[str, Any]:
        """Return the public form."""
        return {**vars(self), "at": self.at.isoformat()}


@dataclass(frozen=True, kw_only=True)
class Refusals:
    """How often Meta has said the same."""

    code: int | None
    subcode: int | None
    calls: int
    first_at: datetime
    last_at: datetime


class Happenings:
    """The record of what was seen."""

    def __init__(self, database: Database) -> None:
        """Work on the tables of `database`."""
        self._database = database

    def put(self, happenings: Sequence[Happening]) -> None:
        """Keep what was seen."""
        rows = [{name: getattr(one, name) for name in _FIELDS} for one in happenings]
        if rows:
            with self._database.write() as connection:
                connection.execute(insert(HappeningRow), rows)

    def newest(self) -> int:
        """Return the place of the newest; 0 when there is none."""
        with self._database.read() as connection:
            return connection.scalar(select(func.max(HappeningRow.id))) or 0

    def find(
        self,
        *,
        names: Collection[str] = (),
        app: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        after: int = 0,
        at_most: int = 1000,
    ) -> list[Happening]:
        """Return what was seen, oldest first: of these names (empty: all), `since` inclusive, `until` exclusive.

        `after` is the `id` of the last that is known already.
        """
        columns = HappeningRow.__table__.columns
        wanted = _wanted(names=names, app=app, since=since, until=until)
        if after:
            wanted.append(HappeningRow.id > after)
        order = (HappeningRow.id,) if after else (HappeningRow.at, HappeningRow.id)
        query = select(*columns).where(*wanted).order_by(*order).limit(at_most)
        with self._database.read() as connection:
            return [Happening(**row) for row in connection.execute(query).mappings()]

    def refusals(
        self, *, app: str | None = None, since: datetime | None = None, until: datetime | None = None
    ) -> list[Refusals]:
        """Return what Meta has refused, by code and subcode, the most frequent first."""
        code, subcode, at = HappeningRow.code, HappeningRow.subcode, HappeningRow.at
        query = (
            select(code, subcode, func.count(), func.min(at), func.max(at))
            .where(*_wanted(names=[Sight.REFUSED], app=app, since=since, until=until))
            .group_by(code, subcode)
        )
        with self._database.read() as connection:
            found = [
                Refusals(code=code, subcode=subcode, calls=calls, first_at=first_at, last_at=last_at)
                for code, subcode, calls, first_at, last_at in connection.execute(query)
            ]
        return sorted(found, key=lambda one: (-one.calls, one.code or 0, one.subcode or 0))


_FIELDS: Final = tuple(name for name in Happening.__dataclass_fields__ if name != "id")


def _wanted(
    *, names: Collection[str], app: str | None, since: datetime | None, until: datetime | None
) -> list[ColumnElement[bool]]:
    wanted: list[ColumnElement[bool]] = []
    if names:
        wanted.append(HappeningRow.name.in_(sorted(names)))
    if app is not None:
        wanted.append(HappeningRow.app == app)
    if since is not None:
        wanted.append(HappeningRow.at >= since)
    if until is not None:
        wanted.append(HappeningRow.at < until)
    return wanted
