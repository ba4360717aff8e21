"""What people have decided: pauses, limits and overrides, and one revision number over all."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
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

from wabajobs.decisions import (
    AtEnd,
    Decisions,
    Limit,
    Override,
    Pause,
    PauseMode,
    Scope,
    ScopeType,
    Stand,
)
from wabajobs.ledger import audit
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
        mode: PauseMode = PauseMode.HOLD,
        percent: int = 0,
        at_end: AtEnd = AtEnd.LIFT,
        incident: int | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> Pause:
        """Write a pause down. A second one of the same scope is a layer of its own.

        `detail` is what is to stand in the record of decisions besides.
        """
        with self._database.write() as connection:
            return put(
                connection,
                scope,
                reason=reason,
                actor=actor,
                now=now,
                lasting=lasting,
                notice=notice,
                mode=mode,
                percent=percent,
                at_end=at_end,
                incident=incident,
                detail=detail,
            )

    def let_run(
        self,
        pauses: Iterable[Pause],
        percent: int,
        *,
        stepped_at: datetime | None,
        reason: str,
        actor: str,
        now: datetime,
        detail: Mapping[str, Any] | None = None,
    ) -> list[Pause]:
        """Let a part of what live pauses cover run; they have no end any more. Returns them as they are now.

        With `stepped_at` they are being lifted, step by step. One that was lifted meanwhile stays so.
        """
        changed = []
        with self._database.write() as connection:
            live = {one.id: one for one in live_pauses(connection, now)}
            for one in pauses:
                if one.id not in live:
                    continue
                connection.execute(
                    update(PauseRow)
                    .where(PauseRow.id == one.id)
                    .values(percent=percent, stepped_at=stepped_at, ends_at=None)
                )
                changed.append(replace(live[one.id], percent=percent, stepped_at=stepped_at, ends_at=None))
                facts = {"pause": one.id, "percent": percent, "was": live[one.id].percent, **(detail or {})}
                action = "resume" if stepped_at is None or not live[one.id].is_ramp else "ramp"
                audit.note(
                    connection,
                    action,
                    one.scope,
                    reason=reason,
                    actor=actor,
                    now=now,
                    detail=facts,
                    incident=one.incident,
                )
            if changed:
                _bump(connection)
        return changed

    def resume(
        self,
        scope: Scope,
        *,
        reason: str,
        actor: str,
        now: datetime,
        only: Iterable[Pause] | None = None,
        detail: Mapping[str, Any] | None = None,
    ) -> list[Pause]:
        """Lift every live pause of exactly this scope, or `only` some; other layers stay. Returns those."""
        with self._database.write() as connection:
            return lift(connection, scope, reason=reason, actor=actor, now=now, only=only, detail=detail)

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
            facts = {"calls": limit.calls, "window_seconds": limit.window_seconds, "shadow": limit.shadow}
            audit.note(
                connection, "limit", limit.scope, reason=limit.reason, actor=limit.actor, now=now, detail=facts
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
            audit.note(connection, "limit forgotten", scope, reason=reason, actor=actor, now=now)
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
            audit.note(
                connection, f"breaker {stand}", scope, reason=reason, actor=actor, now=now, detail=_until(lasting)
            )
            _bump(connection)
            row = connection.execute(select(OverrideRow.__table__).where(OverrideRow.id == id_)).one()
        return _as_override(row)

    def lift_override(self, scope: str, *, reason: str, actor: str, now: datetime) -> list[Override]:
        """Let a breaker go its own way again. Returns what was lifted."""
        with self._database.write() as connection:
            lifted = _lift_overrides(connection, scope, reason=reason, actor=actor, now=now)
            if lifted:
                audit.note(connection, "breaker released", scope, reason=reason, actor=actor, now=now)
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


def _live(rows: type[PauseRow | OverrideRow], *other: ColumnElement[bool]) -> ColumnElement[bool]:
    return and_(rows.lifted_at.is_(None), or_(rows.ends_at.is_(None), rows.ends_at > bindparam("now"), *other))


# One that is to go on little by little holds until somebody sees to that, also when its time is over.
_LIVE_PAUSES: Final = _pauses().where(_live(PauseRow, PauseRow.at_end == AtEnd.RAMP)).order_by(PauseRow.id)
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
    mode: PauseMode = PauseMode.HOLD,
    percent: int = 0,
    at_end: AtEnd = AtEnd.LIFT,
    incident: int | None = None,
    detail: Mapping[str, Any] | None = None,
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
        "mode": str(mode),
        "percent": percent,
        "at_end": str(at_end),
        "incident": incident,
    }
    id_ = connection.scalar(insert(PauseRow).values(**values).returning(PauseRow.id))
    facts = {"pause": id_, "mode": str(mode), "percent": percent, "notice": notice, **(_until(lasting) or {})}
    audit.note(
        connection,
        "pause",
        scope,
        reason=reason,
        actor=actor,
        now=now,
        detail={**facts, **(detail or {})},
        incident=incident,
    )
    _bump(connection)
    return _as_pause(connection.execute(_pauses().where(PauseRow.id == id_)).one())


def _until(lasting: timedelta | None) -> dict[str, Any] | None:
    return {"for_seconds": lasting.total_seconds()} if lasting else None


def lift(
    connection: Connection,
    scope: Scope,
    *,
    reason: str,
    actor: str,
    now: datetime,
    by: str | None = None,
    only: Iterable[Pause] | None = None,
    detail: Mapping[str, Any] | None = None,
) -> list[Pause]:
    """Lift the live pauses of exactly this scope in a transaction: all, those by `by`, or `only` some."""
    of_scope = [PauseRow.scope_type == str(scope.type), PauseRow.scope_name == scope.name]
    if by is not None:
        of_scope.append(PauseRow.actor == by)
    if only is not None:
        of_scope.append(PauseRow.id.in_([one.id for one in only]))
    lifted = [_as_pause(row) for row in connection.execute(_LIVE_PAUSES.where(*of_scope), {"now": now})]
    if lifted:
        _lift(connection, PauseRow, lifted, reason=reason, actor=actor, now=now)
        for one in lifted:
            facts = {"pause": one.id, "was": one.percent, "percent": 100, **(detail or {})}
            audit.note(
                connection,
                "ramp" if one.is_ramp else "resume",
                scope,
                reason=reason,
                actor=actor,
                now=now,
                detail=facts,
                incident=one.incident,
            )
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
        mode=PauseMode(row.mode),
        percent=row.percent,
        at_end=AtEnd(row.at_end),
        incident=row.incident,
        stepped_at=row.stepped_at,
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
