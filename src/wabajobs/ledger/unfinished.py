"""What is not finished: how much of it, in which state, and what holds it."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, and_, case, func, literal, select

from wabajobs.decisions import Pause
from wabajobs.ledger.conditions import OPEN, any_keeps
from wabajobs.ledger.tables import OperationRow
from wabajobs.operation import State


@dataclass(frozen=True, kw_only=True)
class Unfinished:
    """Operations of one kind that stand alike."""

    kind: str
    state: State
    by: str
    """What holds them: `pause`, `breaker`, `budget` and so on; empty when nothing does."""
    number: int
    oldest: datetime
    """When the first of them was accepted."""


def unfinished(connection: Connection, pauses: Collection[Pause]) -> list[Unfinished]:
    """Count what is not finished; what a pause keeps counts as held by it."""
    kept = and_(OperationRow.state.in_(OPEN), any_keeps(pauses))
    is_held = OperationRow.state == State.HELD
    state = case((kept, literal(str(State.HELD))), else_=OperationRow.state).label("shown")
    by = case((kept, literal("pause")), (is_held, OperationRow.hold_by), else_=literal("")).label("held_by")
    query = (
        select(OperationRow.kind, state, by, func.count(), func.min(OperationRow.created_at))
        .where(OperationRow.finished_at.is_(None))
        .group_by(OperationRow.kind, "shown", "held_by")
    )
    return [
        Unfinished(kind=kind, state=State(state), by=by or "", number=number, oldest=oldest)
        for kind, state, by, number, oldest in connection.execute(query)
    ]
