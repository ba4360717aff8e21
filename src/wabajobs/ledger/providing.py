"""Providing: a person has given what an operation needs, so it queues again."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, update

from wabajobs.ledger.history import tell
from wabajobs.ledger.secrets import keep
from wabajobs.ledger.tables import OperationRow
from wabajobs.operation import State


def provide(
    connection: Connection,
    operation_id: str,
    secrets: Mapping[str, str],
    *,
    given: list[str],
    actor: str,
    now: datetime,
) -> bool:
    """Let an operation that needs input go on with it; False when it needs none (any more).

    `secrets` is what was given, sealed, by its name in the table; `given` are the names of the fields.
    """
    waits = (OperationRow.id == operation_id, OperationRow.state == State.NEEDS_INPUT)
    needs: dict[str, Any] | None = connection.scalar(select(OperationRow.needs).where(*waits).with_for_update())
    if needs is None:
        return False
    deadline = needs["deadline"]
    connection.execute(
        update(OperationRow)
        .where(*waits)
        .values(
            state=State.WAITING,
            needs=None,
            turn=0,  # somebody is waiting for it, and it has waited already
            due_at=now,
            deadline_at=datetime.fromisoformat(deadline) if deadline else None,
        )
    )
    keep(connection, secrets, operation_id=operation_id, now=now)
    tell(connection, now, actor, "provided", [(operation_id, {"given": given}, None)])
    return True
