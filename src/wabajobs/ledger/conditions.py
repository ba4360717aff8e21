"""Conditions on `operations`: what is due, what a pause covers, who holds a lease."""

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Self

from sqlalchemy import ColumnElement, Integer, Select, and_, bindparam, exists, false, func, or_, true, tuple_
from sqlalchemy.orm import aliased

from wabajobs.capability import Capability, ServiceClass
from wabajobs.decisions import Pause, Scope, ScopeType
from wabajobs.ledger.rows import select_operations
from wabajobs.ledger.tables import OperationRow
from wabajobs.operation import Operation, State

OPEN: Final = (State.WAITING, State.HELD)
"""The states from which an operation can be released."""


@dataclass(frozen=True)
class Need:
    """What many operations' next calls have in common: if the gate refuses one, it refuses them all."""

    app: str
    capability: Capability
    service_class: ServiceClass

    @classmethod
    def of(cls, operation: Operation) -> Self:
        """Return what an operation's next call needs."""
        return cls(operation.app, operation.capability, operation.service_class)


@lru_cache(maxsize=256)
def due_query(paused: frozenset[Scope], shut: frozenset[Need]) -> Select[Any]:
    """Put together what `next_due` asks; the same pauses and shut needs come again and again."""
    return (
        select_operations()
        .where(
            OperationRow.kind == bindparam("kind"),
            OperationRow.leased_until.is_(None),
            OperationRow.state.in_(OPEN),
            OperationRow.due_at <= bindparam("now"),
            lane_is_free(),
            *(~covered(scope) for scope in paused),
            *(~_needs(need) for need in shut),
        )
        .order_by(OperationRow.class_rank, OperationRow.due_at, OperationRow.id)
        .limit(bindparam("at_most", type_=Integer))
    )


def lane_is_free() -> ColumnElement[bool]:
    """Nothing of the operation's lane is out; without a lane that is always so."""
    other = aliased(OperationRow)
    return ~exists().where(other.lane == OperationRow.lane, other.leased_until.is_not(None))


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


def _needs(need: Need) -> ColumnElement[bool]:
    return and_(
        OperationRow.app == need.app,
        OperationRow.capability == str(need.capability),
        OperationRow.class_rank == need.service_class.rank,
    )


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


def are(leases: Collection[tuple[str, int]]) -> tuple[ColumnElement[bool], ...]:
    """The operation's newest lease is one of these."""
    """Return the condition for these (id, fence); the ids alone let SQLite find them by its index."""
    ids = [operation_id for operation_id, _ in leases]
    return OperationRow.id.in_(ids), tuple_(OperationRow.id, OperationRow.fence).in_(leases)
