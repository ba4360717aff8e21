"""Conditions on `operations`: what a pause covers, who holds a lease."""

from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, TextClause, and_, bindparam, false, func, or_, select, true, tuple_

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
        ScopeType.NUMBER: func.coalesce(OperationRow.payload["number"].as_string(), ""),
        # An operation without a WABA is in no WABA's pause; NULL = 'x' would be neither true nor false.
        ScopeType.WABA: func.coalesce(OperationRow.waba, ""),
    }
    if scope.type is ScopeType.ALL:
        return true()
    if scope.type is ScopeType.PARTNER_QUEUE:
        return and_(OperationRow.partner == scope.partner, OperationRow.kind == scope.queue)
    covered: ColumnElement[bool] = columns[scope.type] == scope.name
    return covered


def any_keeps(pauses: Collection[Pause]) -> ColumnElement[bool]:
    """One of the pauses keeps the operation from running, as `Pause.keeps` says."""
    return or_(false(), *(_kept(pause) for pause in pauses if pause.begins_nothing))


def _kept(pause: Pause) -> ColumnElement[bool]:
    if pause.keeps(begun=True):
        return covered(pause.scope)
    return and_(covered(pause.scope), OperationRow.checkpoint.is_(None))


def in_state(state: State, pauses: Collection[Pause]) -> ColumnElement[bool]:
    """The operation is shown in this state, under these pauses."""
    kept = any_keeps(pauses)
    match state:
        case State.HELD:
            return or_(OperationRow.state == state, and_(OperationRow.state == State.WAITING, kept))
        case State.WAITING:
            return and_(OperationRow.state == state, ~kept)
        case _:
            return OperationRow.state == state


def locked(*conditions: ColumnElement[bool] | TextClause) -> Select[str]:
    """Select the ids of these operations, and lock them in their order.

    So two transactions that lock some of the same rows do not wait for each other.
    """
    return select(OperationRow.id).where(*conditions).order_by(OperationRow.id).with_for_update()


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
