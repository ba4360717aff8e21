"""What has happened to operations: one event per move, one row per attempt."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, bindparam, insert, update

from wabajobs.ledger.tables import AttemptRow, EventRow


@dataclass(frozen=True)
class Story:
    """An operation's events, oldest first."""

    at: datetime
    name: str
    actor: str
    detail: dict[str, Any] | None


def tell(
    connection: Connection,
    now: datetime,
    actor: str,
    name: str,
    whom: Sequence[tuple[str, dict[str, Any] | None]],
) -> None:
    """Write one event for each operation and its detail."""
    connection.execute(
        _EVENT,
        [
            {"operation_id": operation_id, "at": now, "name": name, "actor": actor, "detail": detail}
            for operation_id, detail in whom
        ],
    )


def close_attempt(
    connection: Connection, operation_id: str, fence: int, *, now: datetime, outcome: str, detail: str
) -> None:
    """Write down when and how an attempt ended."""
    ended = {"whom": operation_id, "under": fence, "ended": now, "outcome": outcome, "detail": detail}
    connection.execute(_CLOSE_ATTEMPT, ended)


_EVENT: Final = insert(EventRow)


_CLOSE_ATTEMPT: Final = (
    update(AttemptRow)
    .where(AttemptRow.operation_id == bindparam("whom"), AttemptRow.fence == bindparam("under"))
    .values(ended_at=bindparam("ended"), outcome=bindparam("outcome"), detail=bindparam("detail"))
)
