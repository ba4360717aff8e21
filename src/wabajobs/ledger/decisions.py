"""What people have decided: pauses and limits, and one revision number over both."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Column, Connection, Select, and_, bindparam, func, insert, or_, select, update

from wabajobs.decisions import Decisions, Limit, Pause, Scope, ScopeType
from wabajobs.ledger.database import Database, upsert
from wabajobs.ledger.tables import LeadershipRow, LimitRow, PauseRow, RevisionRow

_REVISION = "decisions"

DISPATCHER: Final = "dispatcher"
"""The name under which the leading dispatcher holds its lease."""


class DecisionRecords:
    """The record of pauses and limits."""

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
        values = {
            "scope_type": str(scope.type),
            "scope_name": scope.name,
            "reason": reason,
            "notice": notice,
            "actor": actor,
            "created_at": now,
            "ends_at": now + lasting if lasting else None,
        }
        with self._database.write() as connection:
            id_ = connection.scalar(insert(PauseRow).values(**values).returning(PauseRow.id))
            _bump(connection)
            row = connection.execute(_pauses().where(PauseRow.id == id_)).one()
        return _as_pause(row)

    def resume(self, scope: Scope, *, reason: str, actor: str, now: datetime) -> list[Pause]:
        """Lift every live pause of exactly this scope; other layers stay. Returns what was lifted."""
        of_scope = (PauseRow.scope_type == str(scope.type), PauseRow.scope_name == scope.name)
        with self._database.write() as connection:
            lifted = [_as_pause(row) for row in connection.execute(_LIVE_PAUSES.where(*of_scope), {"now": now})]
            if lifted:
                connection.execute(
                    update(PauseRow)
                    .where(PauseRow.id.in_([pause.id for pause in lifted]))
                    .values(lifted_at=now, lifted_by=actor, lift_reason=reason)
                )
                _bump(connection)
        return lifted

    def set_limit(self, limit: Limit, *, now: datetime) -> None:
        """Write down a limit that somebody set; it outranks the configuration and what was set before."""
        with self._database.write() as connection:
            connection.execute(
                insert(LimitRow).values(
                    scope=limit.scope,
                    calls=limit.calls,
                    window_seconds=limit.window_seconds,
                    actor=limit.actor,
                    reason=limit.reason,
                    created_at=now,
                )
            )
            _bump(connection)

    def pauses(self, *, now: datetime) -> list[Pause]:
        """Return the pauses in force, oldest first."""
        with self._database.read() as connection:
            return live_pauses(connection, now)

    def current(self, *, now: datetime) -> Decisions:
        """Return all that is in force, with its revision."""
        newest = select(func.max(LimitRow.id)).group_by(LimitRow.scope)
        with self._database.read() as connection:
            revision = _revision(connection)
            pauses = live_pauses(connection, now)
            limits = [
                Limit(row.scope, row.calls, row.window_seconds, row.actor, row.reason)
                for row in connection.execute(
                    select(LimitRow.__table__).where(LimitRow.id.in_(newest)).order_by(LimitRow.scope)
                )
            ]
        return Decisions(revision, tuple(pauses), tuple(limits))

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


_LIVE: Final = and_(
    PauseRow.lifted_at.is_(None), or_(PauseRow.ends_at.is_(None), PauseRow.ends_at > bindparam("now"))
)
_LIVE_PAUSES: Final = _pauses().where(_LIVE).order_by(PauseRow.id)


def live_pauses(connection: Connection, now: datetime) -> list[Pause]:
    """Return the pauses in force, oldest first, as a transaction sees them."""
    return [_as_pause(row) for row in connection.execute(_LIVE_PAUSES, {"now": now})]


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
