"""How much of what is not finished there is: by queue, state, hold and line. Quick, also with a million of them.

The database counts in the index `ix_operations_open`, without a look at the operations themselves. Whom a pause
covers is asked of each part and not of each operation, but where a scope is finer than a line.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Integer, Select, and_, bindparam, func, or_, select, text

from wabajobs.decisions import Pause, Scope, ScopeType
from wabajobs.ledger.conditions import OPEN, any_keeps, covered
from wabajobs.ledger.lines import Line
from wabajobs.ledger.rows import as_operation, select_operations
from wabajobs.ledger.tables import BEGUN, HELD, READY, OperationRow
from wabajobs.operation import FINISHED, Operation, State

_TOLD_BY_LINE: Final = frozenset(
    {
        ScopeType.ALL,
        ScopeType.APP,
        ScopeType.CAPABILITY,
        ScopeType.QUEUE,
        ScopeType.PARTNER,
        ScopeType.PARTNER_QUEUE,
    }
)
PAUSE: Final = "pause"
"""Who holds what a pause covers."""
_MOST_LINES: Final = 50
"""Lines in which we look for a WABA with very many operations."""
_HELD_LOOKED_AT: Final = 2_000


@dataclass(frozen=True, slots=True)
class Part:
    """Operations that have queue, state, hold and line in common."""

    line: Line
    state: State
    held_by: str | None
    """Who or what holds them, while they are held."""
    operations: int
    oldest: datetime
    """When the oldest of them was accepted."""

    @property
    def key(self) -> tuple[Line, State, str | None]:
        """What they have in common."""
        return self.line, self.state, self.held_by

    def is_covered_by(self, scope: Scope) -> bool:
        """Whether a scope has all of them; a scope that is finer than a line has none."""
        line = self.line
        return scope.covers(
            app=line.app, capability=line.capability, queue=line.kind, partner=line.partner, waba=None
        )


def is_fine(scope: Scope) -> bool:
    """Whether a scope is finer than a line, so that no part tells what it covers."""
    return scope.type not in _TOLD_BY_LINE


def count(connection: Connection, *scopes: Scope, kinds: Collection[str] | None = None) -> list[Part]:
    """Count what is not finished and covered by all of these scopes; `kinds` are those that can be in them."""
    fine = [scope for scope in scopes if is_fine(scope)]
    coarse = [scope for scope in scopes if not is_fine(scope)]
    queues = [OperationRow.kind == scope.name for scope in coarse if scope.type is ScopeType.QUEUE]
    some = [] if kinds is None else [OperationRow.kind.in_(sorted(kinds))]
    counted = _among(fine).where(*map(_named, fine), *queues, *some)
    parts = [_part(row) for row in connection.execute(counted)]
    return [part for part in parts if all(map(part.is_covered_by, coarse))]


def begun(connection: Connection, *scopes: Scope) -> list[Part]:
    """Count what lies still, has been under way before, and is covered by all of these scopes.

    It is read where it is short: among what has begun and is ready, and among what is held.
    """
    covering = [covered(scope) for scope in scopes]
    return [
        _part(row)
        for lying in (text(BEGUN), and_(text(HELD), OperationRow.checkpoint.is_not(None)))
        for row in connection.execute(_COUNTED_TOGETHER.where(lying, *covering).group_by(*_TOGETHER))
    ]


def among(
    connection: Connection, parts: Iterable[Part], scopes: Collection[Scope], *, within: Collection[Scope] = ()
) -> list[Part]:
    """Return what of these parts one of the scopes covers; they are all that is covered by each of `within`."""
    coarse = [scope for scope in scopes if not is_fine(scope)]
    fine = {scope for scope in scopes if is_fine(scope)}
    found = [part for part in parts if any(map(part.is_covered_by, coarse))]
    if fine:
        reading = _among(fine).where(*map(_named, within), or_(*map(_named, fine)))
        besides = [_part(row) for row in connection.execute(reading)]
        found += [part for part in besides if not any(map(part.is_covered_by, coarse))]
    return found


def under(connection: Connection, pauses: Collection[Pause]) -> list[Part]:
    """Count what is not finished, as it stands under these pauses: what waits and is kept by one is held."""
    keeping = [pause for pause in pauses if pause.begins_nothing]
    parts = count(connection)
    kept = among(connection, parts, [pause.scope for pause in keeping])
    if any(not pause.keeps(begun=True) for pause in keeping):
        kept = less(kept, _going_on(connection, keeping))
    held = [part for part in kept if part.state in OPEN]
    return less(parts, held) + [replace(part, state=State.HELD, held_by=PAUSE) for part in held]


def _going_on(connection: Connection, pauses: Collection[Pause]) -> list[Part]:
    """Count what has begun, and is covered only by pauses that let that go on. Reads what is not finished."""
    covering = or_(*(covered(pause.scope) for pause in pauses))
    begun = _ALL.where(OperationRow.checkpoint.is_not(None), covering, ~any_keeps(pauses))
    return [_part(row) for row in connection.execute(begun)]


def not_covered(connection: Connection, scopes: Collection[Scope]) -> list[Part]:
    """Count what is not finished and none of these scopes covers."""
    fine = [scope for scope in scopes if is_fine(scope)]
    coarse = [scope for scope in scopes if not is_fine(scope)]
    parts = [one for one in count(connection) if not any(map(one.is_covered_by, coarse))]
    touched = {one.line for one in among(connection, (), fine)}
    counted = []
    for line in touched & {one.line for one in parts}:  # to take off is not enough: the oldest may be among those
        of_it = (OperationRow.kind == line.kind, OperationRow.line == line.name)
        rows = connection.execute(_ALL.where(*of_it, ~or_(*(covered(scope) for scope in fine))))
        counted += [_part(row) for row in rows]
    return [one for one in parts if one.line not in touched] + counted


def less(parts: Iterable[Part], others: Iterable[Part]) -> list[Part]:
    """Return the parts without those operations that are among the others."""
    numbers: Counter[tuple[Line, State, str | None]] = Counter()
    for part in others:
        numbers[part.key] += part.operations
    left = (replace(part, operations=part.operations - numbers[part.key]) for part in parts)
    return [part for part in left if part.operations > 0]


def of_wabas(connection: Connection, wabas: Collection[str]) -> dict[str, list[Part]]:
    """Count what is not finished of some WABAs, each by itself."""
    found: dict[str, list[Part]] = {waba: [] for waba in wabas}
    for row in connection.execute(_OF_WABAS, {"wabas": list(wabas)}) if wabas else ():
        found[row.waba].append(_part(row))
    return found


def crowded(connection: Connection, lines: Iterable[Line]) -> set[str]:
    """Return WABAs that may have very many operations in these lines, or held.

    In a line, who comes last has the most before it of its own: it comes in the last of the rounds.
    """
    found: set[str | None] = set()
    for line in list(lines)[:_MOST_LINES]:
        found.add(connection.scalar(_LAST_IN_LINE, {"kind": line.kind, "line": line.name}))
    found.update(connection.scalars(_HELD_MOST, {"number": _HELD_LOOKED_AT}))
    return {waba for waba in found if waba is not None}


def wabas(connection: Connection, scope: Scope, *, kinds: Collection[str], at_most: int) -> tuple[int, bool]:
    """Return how many WABAs the operations of a scope, of these kinds, are about; and whether there may be more.

    Of so many operations, at most: to tell a million's WABAs apart takes seconds.
    """
    is_open = _AMONG_FEW if scope.type in (ScopeType.PARTNER, ScopeType.WABA) else _AMONG_ALL
    looked_at = (
        select(OperationRow.waba)
        .where(is_open, OperationRow.kind.in_(sorted(kinds)), _named(scope))
        .limit(bindparam("most", type_=Integer))
        .subquery()
    )
    query = select(func.count(), func.count(looked_at.c.waba.distinct())).select_from(looked_at)
    row = connection.execute(query, {"most": at_most}).one()
    return row[1], row[0] == at_most


def sample(connection: Connection, kind: str, *, at_most: int) -> list[Operation]:
    """Return some operations of a kind that are not finished, whichever are read first."""
    query = select_operations().where(OperationRow.finished_at.is_(None), OperationRow.kind == kind)
    return [as_operation(row) for row in connection.execute(query.limit(at_most)).mappings()]


def newest_results(connection: Connection, *, at_most: int) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the kinds and results of the operations that succeeded last."""
    rows = connection.execute(_NEWEST_RESULTS, {"number": at_most})
    return [(row.kind, row.result) for row in rows if row.result]


def _among(fine: Collection[Scope]) -> Any:
    """Count in the index of all that is open, unless that of the WABAs leads to the few that are asked for."""
    by_waba = bool(fine) and all(scope.type is ScopeType.WABA for scope in fine)
    return _FEW if by_waba else _ALL


def _named(scope: Scope) -> ColumnElement[bool]:
    """Return `covered`, in words that let the database use the index of WABAs."""
    return OperationRow.waba == scope.name if scope.type is ScopeType.WABA else covered(scope)


def _part(row: Any) -> Part:
    state = State(row.state)
    held_by = row.hold_by if state is State.HELD else None
    line = Line.at(row.kind, row.class_rank, row.app, row.capability, row.partner)
    return Part(line, state, held_by, row.operations, row.oldest)


_TOGETHER: Final = (
    OperationRow.kind,
    OperationRow.state,
    OperationRow.hold_by,
    OperationRow.class_rank,
    OperationRow.app,
    OperationRow.capability,
    OperationRow.partner,
)
"""What parts differ in. The column `line` says the same, but SQLite reads computed ones from the row itself."""
_COUNTED: Final = (func.count().label("operations"), func.min(OperationRow.created_at).label("oldest"))
_AMONG_ALL: Final = OperationRow.finished_at.is_(None)
# Said otherwise, so that the database does not read the index of all that is open for the few of a WABA.
_AMONG_FEW: Final = OperationRow.state.in_(sorted(set(State) - FINISHED))
_COUNTED_TOGETHER: Final = select(*_TOGETHER, *_COUNTED)
_ALL: Final = select(*_TOGETHER, *_COUNTED).where(_AMONG_ALL).group_by(*_TOGETHER)
_FEW: Final = select(*_TOGETHER, *_COUNTED).where(_AMONG_FEW).group_by(*_TOGETHER)
_OF_WABAS: Final = (
    select(OperationRow.waba, *_TOGETHER, *_COUNTED)
    .where(OperationRow.waba.in_(bindparam("wabas", expanding=True)), _AMONG_FEW)
    .group_by(OperationRow.waba, *_TOGETHER)
)
_LAST_IN_LINE: Final = (
    select(OperationRow.waba)
    .where(
        OperationRow.kind == bindparam("kind"),
        OperationRow.line == bindparam("line"),
        text(READY),
    )
    .order_by(OperationRow.turn.desc(), OperationRow.place.desc(), OperationRow.id.desc())
    .limit(1)
)


def _held_most() -> Select[Any]:
    held = (
        select(OperationRow.waba)
        .where(text(HELD), OperationRow.waba.is_not(None))
        .order_by(OperationRow.due_at)
        .limit(bindparam("number", type_=Integer))
        .subquery()
    )
    return select(held.c.waba).group_by(held.c.waba).order_by(func.count().desc()).limit(20)


_HELD_MOST: Final = _held_most()
_NEWEST_RESULTS: Final = (
    select(OperationRow.kind, OperationRow.result)
    .where(OperationRow.state == State.SUCCEEDED, OperationRow.finished_at.is_not(None))
    .order_by(OperationRow.finished_at.desc())
    .limit(bindparam("number", type_=Integer))
)
