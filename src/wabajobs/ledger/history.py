"""What has happened to operations: one event per move."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from wabajobs.ledger.database import insert_all
from wabajobs.ledger.tables import EventRow


@dataclass(frozen=True)
class Story:
    """An operation's events, oldest first."""

    at: datetime
    name: str
    actor: str
    detail: dict[str, Any] | None
    attempt: int | None = None
    """Number of the lease under which it happened."""


def tell(
    connection: Connection,
    now: datetime,
    actor: str,
    name: str,
    whom: Sequence[tuple[str, dict[str, Any] | None, int | None]],
) -> None:
    """Write one event for each operation, its detail and the number of its lease, where it happened under one."""
    _write(connection, now, name, [(id_, actor, detail, attempt) for id_, detail, attempt in whom])


def tell_whose(connection: Connection, now: datetime, name: str, whom: Sequence[tuple[str, str]]) -> None:
    """Write one event for each operation, each with an actor of its own."""
    _write(connection, now, name, [(id_, actor, None, None) for id_, actor in whom])


def _write(
    connection: Connection,
    now: datetime,
    name: str,
    whom: Sequence[tuple[str, str, dict[str, Any] | None, int | None]],
) -> None:
    insert_all(
        connection,
        EventRow,
        [
            {
                "operation_id": operation_id,
                "at": now,
                "name": name,
                "actor": actor,
                "attempt": attempt,
                "detail": detail,
            }
            for operation_id, actor, detail, attempt in whom
        ],
    )
