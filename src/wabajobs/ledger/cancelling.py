"""Cancelling: what nobody works at ends at once; a running operation is asked to stop before its next call."""

from collections.abc import Collection
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, select, update

from wabajobs.ledger import lanes
from wabajobs.ledger.ending import end
from wabajobs.ledger.history import tell
from wabajobs.ledger.rows import as_operation, select_operations
from wabajobs.ledger.tables import OperationRow
from wabajobs.operation import Operation, State
from wabajobs.outcome import Cancelled


class Cancelling(StrEnum):
    """What came of asking for a cancellation."""

    CANCELLED = "cancelled"
    """It is final, now or since an earlier request."""
    STOPPING = "stopping"
    """It runs; it stops before its next call."""
    FINISHED = "finished"
    """It has ended otherwise before."""
    PAST_RETURN = "past_return"
    """To stop now would leave things worse than to go on; nothing was done."""
    SHARED = "shared"
    """Others have asked for it, too, and it was not said that they do not matter."""


def cancel(
    connection: Connection, ids: Collection[str], *, reason: str, actor: str, force: bool, now: datetime
) -> dict[str, Cancelling]:
    """Cancel operations; return what came of it for each that there is."""
    of_these = OperationRow.id.in_(list(ids))
    named = connection.scalars(select(OperationRow.lane).where(of_these))
    lanes.lock(connection, {lane for lane in named if lane})
    locked = select_operations().where(of_these).order_by(OperationRow.id).with_for_update()
    operations = [as_operation(row) for row in connection.execute(locked).mappings().all()]
    answers = {one.id: _answer(one, force=force) for one in operations}
    stop = {"by": actor, "reason": reason, "at": now.isoformat()}
    to_stop = [one for one in operations if answers[one.id] is Cancelling.STOPPING and one.stop is None]
    to_end = [
        one for one in operations if answers[one.id] is Cancelling.CANCELLED and one.state is not State.CANCELLED
    ]
    if to_stop or to_end:
        touched = [one.id for one in (*to_stop, *to_end)]
        connection.execute(update(OperationRow).where(OperationRow.id.in_(touched)).values(stop=stop))
    detail: dict[str, Any] = {"reason": reason}
    tell(connection, now, actor, "cancel asked", [(one.id, detail, one.fence) for one in to_stop])
    end(connection, [(one, Cancelled(reason, actor)) for one in to_end], now=now, actor=actor)
    return answers


def _answer(operation: Operation, *, force: bool) -> Cancelling:
    if operation.state is State.CANCELLED:
        return Cancelling.CANCELLED
    if operation.state.finished:
        return Cancelling.FINISHED
    if operation.callers > 1 and not force and not operation.stop:
        return Cancelling.SHARED
    if operation.past_return and not force:
        return Cancelling.PAST_RETURN
    return Cancelling.STOPPING if operation.state is State.RUNNING else Cancelling.CANCELLED
