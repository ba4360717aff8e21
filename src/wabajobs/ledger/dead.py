"""What has died of late: failed or expired operations, gathered by what they have in common."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select

from wabajobs.ledger.selection import ERROR
from wabajobs.ledger.tables import OperationRow
from wabajobs.operation import State

_DEAD = (State.FAILED, State.EXPIRED)


@dataclass(frozen=True, kw_only=True)
class Dead:
    """Operations of one kind and partner that ended in the same way."""

    kind: str
    partner: str
    state: State
    error: str
    """Meta's code, or the type of the error."""
    number: int
    last_at: datetime
    example: str
    """Id of the newest of them."""
    message: str
    """What happened to that one."""


def dead(connection: Connection, *, since: datetime) -> list[Dead]:
    """Return what has failed or expired since, the most frequent first."""
    error = ERROR.label("kind_of_error")
    columns = (OperationRow.kind, OperationRow.partner, OperationRow.state, error)
    gathered = (
        select(
            *columns,
            func.count().label("number"),
            func.max(OperationRow.finished_at).label("last_at"),
            func.max(OperationRow.id).label("example"),
        )
        .where(OperationRow.state.in_(_DEAD), OperationRow.finished_at >= since)
        .group_by(*columns)
        .subquery()
    )
    query = (
        select(gathered, OperationRow.error)
        .join(OperationRow, OperationRow.id == gathered.c.example)
        .order_by(gathered.c.number.desc(), gathered.c.example)
    )
    return [
        Dead(
            kind=row.kind,
            partner=row.partner,
            state=State(row.state),
            error=row.kind_of_error,
            number=row.number,
            last_at=row.last_at,
            example=row.example,
            message=str((row.error or {}).get("message", "")),
        )
        for row in connection.execute(query)
    ]
