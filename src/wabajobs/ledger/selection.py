"""Which operations a person means: by kind, partner, WABA, state, error and age."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Connection, Text, cast, func, select

from wabajobs.ledger.tables import OperationRow
from wabajobs.operation import FINISHED, State

ERROR: Final[ColumnElement[str]] = func.coalesce(
    cast(OperationRow.error["code"].as_string(), Text), cast(OperationRow.error["type"].as_string(), Text), "-"
)
"""What an operation failed of: Meta's code, or the type of our own error."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Operations that have all of these in common."""

    states: Collection[State]
    kind: str | None = None
    partner: str | None = None
    waba: str | None = None
    error: str | None = None
    """Meta's code, or the type of the error: `190`, `SyncError`, `internal`."""
    since: datetime | None = None
    """Finished since then, or accepted since then where they are not finished."""

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the selection in SQL."""
        found: list[ColumnElement[bool]] = [OperationRow.state.in_(sorted(self.states))]
        equal = {"kind": self.kind, "partner": self.partner, "waba": self.waba}
        found += [getattr(OperationRow, name) == value for name, value in equal.items() if value is not None]
        if self.error is not None:
            found.append(ERROR.in_([self.error]))
        of_finished = set(self.states) <= FINISHED
        if of_finished:
            found.append(OperationRow.finished_at.is_not(None))
        if self.since is not None:
            moment = OperationRow.finished_at if of_finished else OperationRow.created_at
            found.append(moment >= self.since)
        return found


def count(connection: Connection, selection: Selection) -> dict[tuple[str, str, State], int]:
    """Return how many there are of each (kind, partner, state)."""
    columns = (OperationRow.kind, OperationRow.partner, OperationRow.state)
    query = select(*columns, func.count()).where(*selection.conditions()).group_by(*columns).order_by(*columns)
    return {(kind, partner, State(state)): number for kind, partner, state, number in connection.execute(query)}


def ids(connection: Connection, selection: Selection, *, before: str | None, at_most: int) -> list[str]:
    """Return the ids of the newest, of those before the id `before`."""
    query = select(OperationRow.id).where(*selection.conditions()).order_by(OperationRow.id.desc())
    if before is not None:
        query = query.where(OperationRow.id < before)
    return list(connection.scalars(query.limit(at_most)))
