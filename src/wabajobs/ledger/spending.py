"""Spending: who used how much of an app's budget, in parts of its window.

What is counted as it happens lies in the gate. Here are copies of its counters, part by part, so that any time
can be asked for that is not too old.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, delete, func, insert, select

from wabajobs.errors import InvalidRequest
from wabajobs.ledger.database import Database
from wabajobs.ledger.tables import SpendingRow

DIMENSIONS: Final = ("app", "queue", "partner", "capability", "waba")
_NAMED: Final = 200
"""Sums of one part that are kept by name; what is smaller is kept together, under no partner's name."""
_WABAS: Final = 20
"""WABAs of one part that are kept, the largest."""


@dataclass(frozen=True, kw_only=True)
class Who:
    """Who makes a call."""

    queue: str
    partner: str
    capability: str
    waba: str = ""


@dataclass(frozen=True, kw_only=True)
class Used:
    """What somebody used in one part of the window."""

    who: Who
    calls: int
    refused: int = 0
    """Those of the calls that met a limit of Meta's."""


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What was spent under one name."""

    name: str
    """Of the app, queue, partner, capability or WABA. Empty: what is not kept by name."""
    calls: int
    refused: int


@dataclass(frozen=True, kw_only=True)
class SpentThen(Spent):
    """The same, of one part of a window."""

    since: datetime
    lasting: timedelta


class Spending:
    """The record of what was spent."""

    def __init__(self, database: Database) -> None:
        """Work on the tables of `database`."""
        self._database = database

    def put(
        self, app: str, since: datetime, used: Sequence[Used], *, lasting: timedelta, generation: str
    ) -> None:
        """Keep what was used in the part that began at `since`, in place of what this `generation` told before.

        The counters of another generation, which lived before Redis was emptied, keep what they have told.
        """
        mine = {"app": app, "since": since, "generation": generation}
        lasts = {"seconds": lasting.total_seconds()}
        rows = [
            {**mine, **lasts, **vars(one.who), "calls": one.calls, "refused": one.refused}
            for one in [*_sums(used), *_largest(used)]
        ]
        with self._database.write() as connection:
            of_this = [getattr(SpendingRow, name) == value for name, value in mine.items()]
            connection.execute(delete(SpendingRow).where(*of_this))
            if rows:
                connection.execute(insert(SpendingRow), rows)

    def by(
        self,
        dimension: str,
        *,
        app: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> list[Spent]:
        """Return what was spent by `app`, `queue`, `partner`, `capability` or `waba`, the largest first.

        Parts that began at `since` or later, and before `until`. Only the largest WABAs of each part are known.
        Raises `InvalidRequest` for another dimension.
        """
        column = _column(dimension)
        query = (
            select(column, func.sum(SpendingRow.calls), func.sum(SpendingRow.refused))
            .where(*_wanted(dimension, app, since, until))
            .group_by(column)
        )
        with self._database.read() as connection:
            found = [Spent(name=n, calls=int(c), refused=int(r)) for n, c, r in connection.execute(query)]
        return sorted(found, key=lambda one: (-one.calls, one.name))

    def parts(
        self,
        dimension: str,
        *,
        app: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> list[SpentThen]:
        """Return the same for each part of the window by itself, oldest first."""
        column = _column(dimension)
        query = (
            select(
                SpendingRow.since,
                func.max(SpendingRow.seconds),
                column,
                func.sum(SpendingRow.calls),
                func.sum(SpendingRow.refused),
            )
            .where(*_wanted(dimension, app, since, until))
            .group_by(SpendingRow.since, column)
            .order_by(SpendingRow.since, column)
        )
        with self._database.read() as connection:
            return [
                SpentThen(since=at, lasting=timedelta(seconds=s), name=n, calls=int(c), refused=int(r))
                for at, s, n, c, r in connection.execute(query)
            ]


def _column(dimension: str) -> Any:
    if dimension not in DIMENSIONS:
        raise InvalidRequest(f"nothing is counted by {dimension!r}; there are: {', '.join(DIMENSIONS)}")
    return getattr(SpendingRow, dimension)


def _wanted(
    dimension: str, app: str | None, since: datetime | None, until: datetime | None
) -> list[ColumnElement[bool]]:
    wanted = [SpendingRow.waba != "" if dimension == "waba" else SpendingRow.waba == ""]
    wanted += [SpendingRow.app == app] if app is not None else []
    wanted += [SpendingRow.since >= since] if since else []
    wanted += [SpendingRow.since < until] if until else []
    return wanted


def _added_up(used: Iterable[Used]) -> list[Used]:
    """Return one sum for each that uses something, the largest first."""
    calls: Counter[Who] = Counter()
    refused: Counter[Who] = Counter()
    for one in used:
        calls[one.who] += one.calls
        refused[one.who] += one.refused
    order = sorted(calls, key=lambda who: (-calls[who], who.queue, who.partner, who.capability, who.waba))
    return [Used(who=who, calls=calls[who], refused=refused[who]) for who in order]


def _sums(used: Iterable[Used]) -> list[Used]:
    """Add up over the WABAs; name the largest, and put the rest together."""
    sums = _added_up(replace(one, who=replace(one.who, waba="")) for one in used)
    rest = _added_up(replace(one, who=replace(one.who, partner="")) for one in sums[_NAMED:])
    return [*sums[:_NAMED], *rest]


def _largest(used: Iterable[Used]) -> list[Used]:
    """Return what the largest WABAs used."""
    of_wabas = _added_up(one for one in used if one.who.waba)
    calls: Counter[str] = Counter()
    for one in of_wabas:
        calls[one.who.waba] += one.calls
    largest = {waba for waba, _ in sorted(calls.items(), key=lambda each: (-each[1], each[0]))[:_WABAS]}
    return [one for one in of_wabas if one.who.waba in largest]
