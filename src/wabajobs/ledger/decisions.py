"""What people have decided: pauses, limits and overrides, and one revision number over all."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    func,
    insert,
    or_,
    select,
    update,
)

from wabajobs.decisions import Decisions, Limit, Override, Pause, Scope, ScopeType, Stand
from wabajobs.ledger.database import Database, upsert
from wabajobs.ledger.tables import LeadershipRow, LimitRow, OverrideRow, PauseRow, RevisionRow

_REVISION = "decisions"

DISPATCHER: Final = "dispatcher"
"""The name under which the leading dispatcher holds its lease."""


class DecisionRecords:
    """The record of pauses, limits and overrides."""

    def __init__(self, database: Database) -> None:
        """Work on the tables of `database`."""
        self._database = database

    def pause(
        self,
        scope: Scope,
        *,
        reason: str,
        actor: str,
        now: datetime,
        lasting: timedelta | None = None,
        notice: str | None = None,
    ) -> Pause:
        """Write a pause down. A second one of the same scope is a layer of its own."""
        with self._database.write() as connection:
            return put(connection, scope, reason=reason, actor=actor, now=now, lasting=lasting, notice=notice)

    def resume(self, scope: Scope, *, reason: str, actor: str, now: datetime) -> list[Pause]:
        """Lift every live pause of exactly this scope; other layers stay. Returns what was lifted."""
        with self._database.write() as connection:
            return lift(connection, scope, reason=reason, actor=actor, now=now)

    def set_limit(self, limit: Limit, *, now: datetime) -> None:
        """Write down a limit that somebody set; it outranks the configuration and what was set before."""
        with self._database.write() as connection:
            connection.execute(
                insert(LimitRow).values(
                    scope=limit.scope,
                    calls=limit.calls,
                    shadow=limit.shadow,
                    window_seconds=limit.window_seconds,
                    actor=limit.actor,
                    reason=limit.reason,
                    created_at=now,
                )
            )
            _bump(connection)

    def forget_limit(self, scope: str, *, reason: str, actor: str, now: datetime) -> bool:
        """Take back what was set for a scope; False when nothing was."""
        with self._database.write() as connection:
            if scope not in {limit.scope for limit in _limits(connection)}:
                return False
            values = {"calls": None, "shadow": False, "window_seconds": 0.0}
            connection.execute(
                insert(LimitRow).values(scope=scope, actor=actor, reason=reason, created_at=now, **values)
            )
            _bump(connection)
        return True

    def override(
        self,
        scope: str,
        stand: Stand,
        *,
        reason: str,
        actor: str,
        now: datetime,
        lasting: timedelta | None = None,
    ) -> Override:
        """Write down how a breaker must stand; this replaces what was decided for it before."""
        values = {
            "scope": scope,
            "stand": str(stand),
            "reason": reason,
            "actor": actor,
            "created_at": now,
            "ends_at": now + lasting if lasting else None,
        }
        with self._database.write() as connection:
            _lift_overrides(connection, scope, reason=reason, actor=actor, now=now)
            id_ = connection.scalar(insert(OverrideRow).values(**values).returning(OverrideRow.id))
            _bump(connection)
            row = connection.execute(select(OverrideRow.__table__).where(OverrideRow.id == id_)).one()
        return _as_override(row)

    def lift_override(self, scope: str, *, reason: str, actor: str, now: datetime) -> list[Override]:
        """Let a breaker go its own way again. Returns what was lifted."""
        with self._database.write() as connection:
            lifted = _lift_overrides(connection, scope, reason=reason, actor=actor, now=now)
            if lifted:
                _bump(connection)
        return lifted

    def pauses(self, *, now: datetime) -> list[Pause]:
        """Return the pauses in force, oldest first."""
        with self._database.read() as connection:
            return live_pauses(connection, now)

    def current(self, *, now: datetime) -> Decisions:
        """Return all that is in force, with its revision."""
        with self._database.read() as connection:
            revision = _revision(connection)
            pauses = live_pauses(connection, now)
            limits, overrides = _limits(connection), _live_overrides(connection, now)
        return Decisions(revision, tuple(pauses), tuple(limits), tuple(overrides))

    def revision(self) -> int:
        """Return the number of the newest decision."""
        with self._database.read() as connection:
            return _revision(connection)


class Leaderships:
    """Who leads: a lease by name, so that of many dispatchers one works and another can take over."""

    def __init__(self, database: Database) -> None:
        """Work on the tables of `database`."""
        self._database = database

    def lead(self, name: str, *, holder: str, now: datetime, lease: timedelta) -> bool:
        """Take or renew the lead. False while somebody else holds it."""
        mine_or_over = or_(LeadershipRow.holder == holder, LeadershipRow.until < now)
        until = {"holder": holder, "until": now + lease}
        with self._database.write() as connection:
            led = connection.execute(
                upsert(connection, LeadershipRow)
                .values(name=name, **until)
                .on_conflict_do_update(index_elements=["name"], set_=until, where=mine_or_over)
                .returning(LeadershipRow.name)
            )
            return led.first() is not None

    def holder(self, name: str, *, now: datetime) -> str | None:
        """Return who leads; None when nobody does."""
        query = select(LeadershipRow.holder).where(LeadershipRow.name == name, LeadershipRow.until >= now)
        with self._database.read() as connection:
            return connection.scalar(query)

    def resign(self, names: Iterable[str], *, holder: str, now: datetime) -> None:
        """Give the lead up, so that another need not wait for its end."""
        with self._database.write() as connection:
            connection.execute(
                update(LeadershipRow)
                .where(LeadershipRow.name.in_(list(names)), LeadershipRow.holder == holder)
                .values(until=now - timedelta(seconds=1))
            )


def _pauses() -> Select[Any]:
    columns: list[Column[Any]] = list(PauseRow.__table__.columns)  # type: ignore[arg-type]
    return select(*columns)


def _live(rows: type[PauseRow | OverrideRow]) -> ColumnElement[bool]:
    return and_(rows.lifted_at.is_(None), or_(rows.ends_at.is_(None), rows.ends_at > bindparam("now")))


_LIVE_PAUSES: Final = _pauses().where(_live(PauseRow)).order_by(PauseRow.id)
_LIVE_OVERRIDES: Final = select(OverrideRow.__table__).where(_live(OverrideRow)).order_by(OverrideRow.id)


def live_pauses(connection: Connection, now: datetime) -> list[Pause]:
    """Return the pauses in force, oldest first, as a transaction sees them."""
    return [_as_pause(row) for row in connection.execute(_LIVE_PAUSES, {"now": now})]


def put(
    connection: Connection,
    scope: Scope,
    *,
    reason: str,
    actor: str,
    now: datetime,
    lasting: timedelta | None = None,
    notice: str | None = None,
) -> Pause:
    """Write a pause down inside a transaction."""
    values = {
        "scope_type": str(scope.type),
        "scope_name": scope.name,
        "reason": reason,
        "notice": notice,
        "actor": actor,
        "created_at": now,
        "ends_at": now + lasting if lasting else None,
    }
    id_ = connection.scalar(insert(PauseRow).values(**values).returning(PauseRow.id))
    _bump(connection)
    return _as_pause(connection.execute(_pauses().where(PauseRow.id == id_)).one())


def lift(
    connection: Connection, scope: Scope, *, reason: str, actor: str, now: datetime, by: str | None = None
) -> list[Pause]:
    """Lift the live pauses of exactly this scope inside a transaction, all or those that `by` has made."""
    of_scope = [PauseRow.scope_type == str(scope.type), PauseRow.scope_name == scope.name]
    if by is not None:
        of_scope.append(PauseRow.actor == by)
    lifted = [_as_pause(row) for row in connection.execute(_LIVE_PAUSES.where(*of_scope), {"now": now})]
    if lifted:
        _lift(connection, PauseRow, lifted, reason=reason, actor=actor, now=now)
        _bump(connection)
    return lifted


def _limits(connection: Connection) -> list[Limit]:
    newest = select(func.max(LimitRow.id)).group_by(LimitRow.scope)
    in_force = (
        select(LimitRow.__table__)
        .where(LimitRow.id.in_(newest), LimitRow.calls.is_not(None))
        .order_by(LimitRow.scope)
    )
    return [
        Limit(row.scope, row.calls, row.window_seconds, row.actor, row.reason, row.shadow)
        for row in connection.execute(in_force)
    ]


def _live_overrides(connection: Connection, now: datetime) -> list[Override]:
    return [_as_override(row) for row in connection.execute(_LIVE_OVERRIDES, {"now": now})]


def _lift_overrides(
    connection: Connection, scope: str, *, reason: str, actor: str, now: datetime
) -> list[Override]:
    live = [one for one in _live_overrides(connection, now) if one.scope == scope]
    if live:
        _lift(connection, OverrideRow, live, reason=reason, actor=actor, now=now)
    return live


def _lift(
    connection: Connection,
    rows: type[PauseRow | OverrideRow],
    decisions: Iterable[Pause | Override],
    *,
    reason: str,
    actor: str,
    now: datetime,
) -> None:
    connection.execute(
        update(rows)
        .where(rows.id.in_([one.id for one in decisions]))
        .values(lifted_at=now, lifted_by=actor, lift_reason=reason)
    )


def _as_override(row) -> Override:  # type: ignore[no-untyped-def]
    return Override(
        id=row.id,
        scope=row.scope,
        stand=Stand(row.stand),
        reason=row.reason,
        actor=row.actor,
        created_at=row.created_at,
        ends_at=row.ends_at,
    )


def _as_pause(row) -> Pause:  # type: ignore[no-untyped-def]
    return Pause(
        id=row.id,
        scope=Scope(ScopeType(row.scope_type), row.scope_name),
        reason=row.reason,
        actor=row.actor,
        created_at=row.created_at,
        ends_at=row.ends_at,
        notice=row.notice,
    )


def _revision(connection: Connection) -> int:
    return connection.scalar(select(RevisionRow.number).where(RevisionRow.name == _REVISION)) or 0


def _bump(connection: Connection) -> None:
    # The row's lock also puts decisions that are made at the same time into one order.
    connection.execute(
        upsert(connection, RevisionRow)
        .values(name=_REVISION, number=1)
        .on_conflict_do_update(index_elements=["name"], set_={"number": RevisionRow.number + 1})
    )
