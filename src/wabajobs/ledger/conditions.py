"""Conditions on `operations`: what a pause covers, who holds a lease."""

from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, bindparam, false, func, or_, true, tuple_

from wabajobs.decisions import Pause, Scope, ScopeType
from wabajobs.ledger.tables import OperationRow
from wabajobs.operation import State

OPEN: Final = (State.WAITING, State.HELD)
"""The states from which an operation can be released."""


def covered(scope: Scope) -> ColumnElement[bool]:
    """Return the SQL form of `Operation.is_covered_by`."""
    columns: dict[ScopeType, Any] = {
        ScopeType.APP: OperationRow.app,
        ScopeType.CAPABILITY: OperationRow.capability,
        ScopeType.QUEUE: OperationRow.kind,
        ScopeType.PARTNER: OperationRow.partner,
        # An operation without a WABA is in no WABA's pause; NULL = 'x' would be neither true nor false.
        ScopeType.WABA: func.coalesce(OperationRow.waba, ""),
    }
    if scope.type is ScopeType.ALL:
        return true()
    covered: ColumnElement[bool] = columns[scope.type] == scope.name
    return covered


def any_covers(pauses: Collection[Pause]) -> ColumnElement[bool]:
    """One of the pauses covers the operation."""
    return or_(false(), *(covered(pause.scope) for pause in pauses))


def in_state(state: State, pauses: Collection[Pause]) -> ColumnElement[bool]:
    """The operation is shown in this state, under these pauses."""
    covered = any_covers(pauses)
    match state:
        case State.HELD:
            return or_(OperationRow.state == state, and_(OperationRow.state == State.WAITING, covered))
        case State.WAITING:
            return and_(OperationRow.state == state, ~covered)
        case _:
            return OperationRow.state == state


def held_by(operation_id: str, fence: int) -> tuple[ColumnElement[bool], ...]:
    """The operation runs under this lease."""
    return (
        OperationRow.id == operation_id,
        OperationRow.fence == fence,
        OperationRow.state == State.RUNNING,
    )


LEASES: Final = and_(
    OperationRow.id.in_(bindparam("ids", expanding=True)),
    tuple_(OperationRow.id, OperationRow.fence).in_(bindparam("leases", expanding=True)),
)
"""The operation's newest lease is one of those that `named` binds."""


def named(leases: Collection[tuple[str, int]]) -> dict[str, Any]:
    """Bind leases (id, fence); the ids alone let SQLite find them by its index."""
    return {"ids": [operation_id for operation_id, _ in leases], "leases": list(leases)}
