"""Conditions on `operations`: what a pause covers, who holds a lease."""

import json
from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Integer,
    Select,
    Text,
    TextClause,
    and_,
    bindparam,
    cast,
    false,
    func,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

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


class _Leases(FunctionElement[bool]):
    """One parameter for all of them, a JSON object: the statement's text is the same for any number.

    A text that is known costs neither the driver nor the server what reading it costs.
    """

    type = Boolean()
    inherit_cache = True


@compiles(_Leases, "postgresql")
def _in_postgresql(_element: _Leases, compiler: SQLCompiler, **options: Any) -> str:
    given = cast(bindparam("leases", type_=Text), JSONB)
    ids = func.array(select(func.jsonb_object_keys(given)).scalar_subquery())
    fence = cast(given.op("->>")(OperationRow.id), Integer)
    return compiler.process(and_(OperationRow.id == func.any(ids), OperationRow.fence == fence), **options)


@compiles(_Leases, "sqlite")
def _in_sqlite(_element: _Leases, compiler: SQLCompiler, **options: Any) -> str:
    given = bindparam("leases", type_=Text)
    each = func.json_each(given).table_valued("key")
    fence = func.json_extract(given, '$."' + OperationRow.id + '"')
    among = and_(OperationRow.id.in_(select(each.c.key)), OperationRow.fence == fence)
    return compiler.process(among, **options)


LEASES: Final = _Leases()
"""The operation's newest lease is one of those that `named` binds."""


def named(leases: Collection[tuple[str, int]]) -> dict[str, str]:
    """Bind leases (id, fence); of several of one operation only the newest can be good."""
    return {"leases": json.dumps(dict(sorted(leases)))}
