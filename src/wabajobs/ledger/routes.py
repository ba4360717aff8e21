"""Routes: operations of one app that go by another, and moving what waits already.

What an operation touches is the same by whichever app it is called; so it keeps its lane, and its place there.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    bindparam,
    case,
    func,
    insert,
    or_,
    select,
    update,
)

from wabajobs.ledger import audit, order
from wabajobs.ledger.conditions import LEASES, OPEN, named
from wabajobs.ledger.database import Database
from wabajobs.ledger.ending import NO_HOLD
from wabajobs.ledger.history import tell
from wabajobs.ledger.request import line_name
from wabajobs.ledger.rows import as_operation, select_operations
from wabajobs.ledger.tables import OperationRow, RouteRow, SecretRow
from wabajobs.operation import Operation, State

_OF_THE_APP: Final = ("budget", "breaker", "gate")
"""What holds operations for the sake of their app: by another one they may go at once."""


@dataclass(frozen=True, kw_only=True)
class Route:
    """Operations of `from_app` go by `to_app`; those of one kind, partner or WABA only, where that is said."""

    from_app: str
    to_app: str
    kind: str | None = None
    partner: str | None = None
    waba: str | None = None
    reason: str
    actor: str
    created_at: datetime
    ends_at: datetime | None = None
    """When it ends by itself; None: when somebody lifts it."""
    id: int = 0
    """0: it does not stand, it is for what waits now."""

    def takes(self, *, app: str, kind: str, partner: str, waba: str | None) -> bool:
        """Whether such an operation goes this way, if it may."""
        wanted = {"kind": self.kind, "partner": self.partner, "waba": self.waba}
        has = {"kind": kind, "partner": partner, "waba": waba}
        return app == self.from_app and all(want in (None, has[name]) for name, want in wanted.items())

    def as_json(self) -> dict[str, Any]:
        """Return the public form."""
        return {
            "id": self.id or None,
            "from": self.from_app,
            "to": self.to_app,
            "kind": self.kind,
            "partner": self.partner,
            "waba": self.waba,
            "reason": self.reason,
            "by": self.actor,
            "since": self.created_at.isoformat(),
            "until": self.ends_at.isoformat() if self.ends_at else None,
        }

    def __str__(self) -> str:
        named_ = (("kind", self.kind), ("partner", self.partner), ("WABA", self.waba))
        only = ", ".join(f"{name} {value}" for name, value in named_ if value)
        until = f", until {self.ends_at:%Y-%m-%d %H:%M} UTC" if self.ends_at else ""
        what = f"operations of app {self.from_app}{f' ({only})' if only else ''} go by app {self.to_app}"
        return f"{what}: {self.actor} since {self.created_at:%Y-%m-%d %H:%M} UTC ({self.reason}{until})"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An operation that a route covers, and the names of the secrets that it keeps."""

    operation: Operation
    secrets: frozenset[str]


class Routes:
    """The record of routes."""

    def __init__(self, database: Database) -> None:
        """Work on the tables of `database`."""
        self._database = database

    def live(self, *, now: datetime) -> list[Route]:
        """Return the routes in force, oldest first."""
        table = RouteRow.__table__
        query = select(table).where(
            RouteRow.lifted_at.is_(None), or_(RouteRow.ends_at.is_(None), RouteRow.ends_at > now)
        )
        with self._database.read() as connection:
            return [_as_route(row) for row in connection.execute(query.order_by(RouteRow.id))]

    def put(self, route: Route) -> Route:
        """Write a route down; from now on it stands."""
        values = {name: value for name, value in vars(route).items() if name != "id"}
        with self._database.write() as connection:
            id_ = connection.scalar(insert(RouteRow).values(**values).returning(RouteRow.id))
            audit.note(
                connection,
                "route",
                f"app:{route.from_app}",
                reason=route.reason,
                actor=route.actor,
                now=route.created_at,
                detail=route.as_json(),
            )
        return replace(route, id=id_ or 0)

    def lift(self, route_id: int, *, reason: str, actor: str, now: datetime) -> bool:
        """Lift a route; False when none of the number is in force."""
        of_id = and_(RouteRow.id == route_id, RouteRow.lifted_at.is_(None))
        values = {"lifted_at": now, "lifted_by": actor, "lift_reason": reason}
        with self._database.write() as connection:
            lifted = bool(connection.execute(update(RouteRow).where(of_id).values(values)).rowcount)
            if lifted:
                audit.note(connection, "unroute", f"route:{route_id}", reason=reason, actor=actor, now=now)
        return lifted

    # ── what waits already ──────────────────────────────────────────────────────────────────────────────

    def candidates(self, route: Route, *, after: str, at_most: int) -> list[Candidate]:
        """Return what waits or is held and would go this way, in the order of the ids, behind the id `after`."""
        query = (
            select_operations()
            .where(_covered(route), _AT_REST, OperationRow.id > after)
            .order_by(OperationRow.id)
            .limit(at_most)
        )
        with self._database.read() as connection:
            operations = [as_operation(row) for row in connection.execute(query).mappings()]
            secrets = _secrets(connection, [one.id for one in operations])
        return [Candidate(operation=one, secrets=secrets.get(one.id, frozenset())) for one in operations]

    def under_way(self, route: Route) -> int:
        """Return how many operations of the route are out: they stay where they are."""
        out = or_(OperationRow.state == State.RUNNING, OperationRow.leased_until.is_not(None))
        query = select(func.count()).select_from(OperationRow)
        with self._database.read() as connection:
            return connection.scalar(query.where(_covered(route), OperationRow.finished_at.is_(None), out)) or 0

    def move(self, operations: Collection[Operation], route: Route, *, actor: str, now: datetime) -> int:
        """Let these queue for the other app, unless they have moved meanwhile; return how many did."""
        with self._database.write() as connection:
            locked = select_operations().where(LEASES, _AT_REST, OperationRow.app == route.from_app)
            locked = locked.add_columns(OperationRow.line).order_by(OperationRow.id).with_for_update()
            of_these = named([(one.id, one.fence) for one in operations])
            rows = connection.execute(locked, of_these).mappings().all()
            if rows:
                _move(connection, rows, route.to_app, now=now)
                detail = {"from": route.from_app, "to": route.to_app, "reason": route.reason}
                tell(connection, now, actor, "routed", [(row["id"], detail, None) for row in rows])
        return len(rows)


@dataclass(frozen=True)
class _Queuing:
    """An operation as it will stand in the other app's line."""

    id: str
    kind: str
    line: str
    waba: str | None
    coalesces: bool


def _move(connection: Connection, rows: Sequence[Any], to_app: str, *, now: datetime) -> None:
    # Who is blocked keeps his number in the lane; all others get rounds in their new lines, in their old order.
    queuing = [
        _Queuing(
            id=row["id"],
            kind=row["kind"],
            line=line_name(replace(as_operation(row), app=to_app)),
            waba=row["waba"],
            coalesces=row["coalesces"],
        )
        for row in sorted(rows, key=lambda row: (row["turn"], row["place"], row["id"]))
        if not row["blocked"]
    ]
    turns = order.turns(connection, queuing)
    moved = [
        {"whom": row["id"], "to_app": to_app, "to_turn": turns.get(row["id"], row["turn"]), "now": now}
        for row in rows
    ]
    connection.execute(_MOVE, moved)
    freed = [row["id"] for row in rows if row["hold_by"] in _OF_THE_APP]
    if freed:
        again = {"state": State.WAITING, "due_at": now, "told": None, **NO_HOLD}
        connection.execute(update(OperationRow).where(OperationRow.id.in_(freed)).values(again))


def _covered(route: Route) -> ColumnElement[bool]:
    """The SQL form of `Route.takes`."""
    conditions = [OperationRow.app == route.from_app]
    wanted = {"kind": route.kind, "partner": route.partner, "waba": route.waba}
    conditions += [getattr(OperationRow, name) == value for name, value in wanted.items() if value is not None]
    return and_(*conditions)


def _secrets(connection: Connection, ids: Sequence[str]) -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    query = select(SecretRow.operation_id, SecretRow.name).where(SecretRow.operation_id.in_(ids))
    for whose, name in connection.execute(query):
        found[whose or ""] = found.get(whose or "", frozenset()) | {name.rpartition("/")[2]}
    return found


def _as_route(row: Any) -> Route:
    return Route(
        id=row.id,
        from_app=row.from_app,
        to_app=row.to_app,
        kind=row.kind,
        partner=row.partner,
        waba=row.waba,
        reason=row.reason,
        actor=row.actor,
        created_at=row.created_at,
        ends_at=row.ends_at,
    )


_AT_REST: Final = and_(OperationRow.state.in_(OPEN), OperationRow.leased_until.is_(None))
_MOVE: Final = (
    update(OperationRow)
    .where(OperationRow.id == bindparam("whom"))
    .values(
        app=bindparam("to_app"),
        # Who comes back to the app for which he was asked has been nowhere.
        routed_from=case(
            (OperationRow.routed_from == bindparam("to_app"), None),
            else_=func.coalesce(OperationRow.routed_from, OperationRow.app),
        ),
        turn=bindparam("to_turn"),
    )
)
