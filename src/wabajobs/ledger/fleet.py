"""The fleet: which WABAs are kept fresh, when each is due, and which syncs are planned."""

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, bindparam, case, func, insert, select, update

from wabajobs.freshness import MOST_CREDIT, Due, Facts, Outlook, Survey, next_due
from wabajobs.ledger import audit
from wabajobs.ledger.database import Database, each, upsert
from wabajobs.ledger.operations import Operations
from wabajobs.ledger.request import NewOperation
from wabajobs.ledger.tables import FleetOutlookRow, FleetRow, FleetWishRow, OperationRow
from wabajobs.operation import FINISHED, Operation, State
from wabajobs.settings import PlannerSettings

META: Final = "Meta"
"""Who has stopped a WABA of which a webhook told that it is no longer ours."""

_BATCH: Final = 500


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A WABA of the fleet, as it stands."""

    facts: Facts
    due: Due
    app: str
    partner: str
    calls: float
    heard_at: datetime | None
    operation_id: str | None
    actor: str | None
    reason: str | None

    def as_json(self) -> dict[str, Any]:
        """Return the public form."""
        facts = self.facts
        moments = {
            "due_at": self.due.at,
            "last_success_at": facts.success_at,
            "failed_at": facts.failed_at,
            "pending_since": facts.pending_since,
            "last_webhook_at": self.heard_at,
            "doubted_at": facts.doubted_at,
            "added_at": facts.added_at,
        }
        return {
            "waba": facts.waba,
            "app": self.app,
            "partner": self.partner,
            "why": self.due.why,
            "every_seconds": self.due.every.total_seconds(),
            "wished_seconds": facts.every.total_seconds(),
            "wished_by": facts.wished_by,
            **{name: moment.isoformat() if moment else None for name, moment in moments.items()},
            "failures": facts.failures,
            "webhook_credit": facts.credit,
            "calls": self.calls,
            "operation": self.operation_id,
            "stopped": facts.stopped,
            "by": self.actor,
            "reason": self.reason,
        }


@dataclass(frozen=True, kw_only=True)
class Stale:
    """A WABA that is due, and nothing is planned for it."""

    waba: str
    app: str
    partner: str
    due_at: datetime
    calls: float


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A planned sync that has not been seen to end yet. `state` is None when its operation is gone."""

    waba: str
    app: str
    operation_id: str
    state: State | None
    ended_at: datetime | None

    @property
    def ended(self) -> bool:
        """Whether there is nothing more to wait for."""
        return self.state is None or self.state in FINISHED


@dataclass(frozen=True, kw_only=True)
class Wish:
    """How fresh the lists of an app, or of all, are to be, and what that may cost; None: as configured."""

    app: str
    """Empty: all apps."""
    every: timedelta | None
    share: float | None
    actor: str
    reason: str


@dataclass(frozen=True)
class Wishes:
    """What is wished for now, newest word first."""

    by_app: dict[str, Wish]
    settings: PlannerSettings

    def every(self, app: str) -> tuple[timedelta, str]:
        """Return the staleness that is wished for an app's lists, and who wishes it."""
        for wish in self._of(app):
            if wish.every is not None:
                return wish.every, f"{wish.actor} ({wish.reason})"
        return timedelta(seconds=self.settings.every_seconds), "the configuration"

    def share(self, app: str) -> float:
        """Return the share of an app's limit that syncs may be planned for."""
        return next((wish.share for wish in self._of(app) if wish.share is not None), self.settings.share)

    def _of(self, app: str) -> Iterator[Wish]:
        yield from (self.by_app[scope] for scope in (app, "") if scope in self.by_app)


class Fleet:
    """The record of the fleet."""

    def __init__(self, database: Database, operations: Operations) -> None:
        """Work on the tables of `database`; what is planned is accepted by `operations`."""
        self._database = database
        self._operations = operations

    # ── who belongs to it ───────────────────────────────────────────────────────────────────────────────

    def keep(
        self,
        wabas: Sequence[str],
        *,
        app: str,
        partner: str,
        every: timedelta | None,
        actor: str,
        reason: str,
        now: datetime,
        settings: PlannerSettings,
    ) -> None:
        """Keep WABAs fresh from now on, for this partner; a WABA that is kept already gets the new wish."""
        for start in range(0, len(wabas), _BATCH):
            with self._database.write() as connection:
                wishes = wishes_of(connection, settings)
                rows = _rows(connection, sorted(set(wabas[start : start + _BATCH])), new=(app, partner, now))
                for row in rows.values():
                    row |= {
                        "app": app,
                        "partner": partner,
                        "every_seconds": every.total_seconds() if every else None,
                        "failures": 0,
                        "stopped": None,
                        "stopped_by": None,
                        "actor": actor,
                        "reason": reason,
                    }
                _write(connection, list(rows.values()), wishes)

    def forget(
        self, wabas: Sequence[str], *, actor: str, reason: str, now: datetime, settings: PlannerSettings
    ) -> list[str]:
        """Keep WABAs fresh no longer, also if they are synced for other reasons; return those that were kept."""
        forgotten: list[str] = []
        for start in range(0, len(wabas), _BATCH):
            with self._database.write() as connection:
                rows = _rows(connection, sorted(set(wabas[start : start + _BATCH])))
                for row in rows.values():
                    row |= {"stopped": f"{actor} at {now:%Y-%m-%d %H:%M} UTC ({reason})", "stopped_by": actor}
                _write(connection, list(rows.values()), wishes_of(connection, settings))
                forgotten += rows
        return forgotten

    def get(self, waba: str, *, settings: PlannerSettings) -> Kept | None:
        """Return a WABA of the fleet, with why it is due when."""
        with self._database.read() as connection:
            row = _rows(connection, [waba]).get(waba)
            wishes = wishes_of(connection, settings)
        if row is None:
            return None
        facts = _facts(row, wishes)
        due = Due(row["due_at"], timedelta(seconds=row["interval_seconds"]), row["why"])
        others = {name: row[name] for name in ("app", "partner", "calls", "heard_at", "operation_id")}
        return Kept(facts=facts, due=due, actor=row["actor"], reason=row["reason"], **others)

    # ── what is wished for ──────────────────────────────────────────────────────────────────────────────

    def wishes(self, settings: PlannerSettings) -> Wishes:
        """Return what is wished for now."""
        with self._database.read() as connection:
            return wishes_of(connection, settings)

    def wish(self, wish: Wish, *, now: datetime, settings: PlannerSettings) -> None:
        """Write a wish down; it replaces the one of the same scope. Lists that would wait longer are hastened."""
        values = {
            "app": wish.app,
            "every_seconds": wish.every.total_seconds() if wish.every else None,
            "share": wish.share,
            "actor": wish.actor,
            "reason": wish.reason,
            "created_at": now,
        }
        with self._database.write() as connection:
            connection.execute(insert(FleetWishRow).values(**values))
            facts = {"every_seconds": values["every_seconds"], "share": wish.share}
            scope = f"app:{wish.app}" if wish.app else "all"
            audit.note(connection, "fleet", scope, reason=wish.reason, actor=wish.actor, now=now, detail=facts)
        after = ""
        while after := self._reschedule(wish.app, after, settings):
            pass

    def _reschedule(self, app: str, after: str, settings: PlannerSettings) -> str:
        """Work out anew when some WABAs are due; return the last of them, nothing at the end."""
        table = FleetRow.__table__
        query = select(table).where(table.c.waba > after, table.c.every_seconds.is_(None))
        if app:
            query = query.where(table.c.app == app)
        if not self._database.is_sqlite:
            query = query.with_for_update()
        with self._database.write() as connection:
            rows = [
                dict(row) for row in connection.execute(query.order_by(table.c.waba).limit(_BATCH)).mappings()
            ]
            _write(connection, rows, wishes_of(connection, settings))
        return rows[-1]["waba"] if rows else ""

    # ── what is planned ─────────────────────────────────────────────────────────────────────────────────

    def stalest(
        self,
        app: str,
        *,
        at_most: int,
        now: datetime,
        but_partners: Collection[str] = (),
        but_wabas: Collection[str] = (),
    ) -> list[Stale]:
        """Return WABAs that are due, the longest overdue first."""
        row = FleetRow
        query = (
            select(row.waba, row.app, row.partner, row.due_at, row.calls)
            .where(row.app == app, row.operation_id.is_(None), row.due_at.is_not(None), row.due_at <= now)
            .order_by(row.due_at, row.waba)
            .limit(at_most)
        )
        if but_partners:
            query = query.where(row.partner.not_in(sorted(but_partners)))
        if but_wabas:
            query = query.where(row.waba.not_in(sorted(but_wabas)))
        with self._database.read() as connection:
            return [Stale(**one) for one in connection.execute(query).mappings()]

    def planned(self) -> list[Planned]:
        """Return the planned syncs that are under way, and those that have just ended."""
        its = OperationRow.id == FleetRow.operation_id  # looked up one by one: a join might read all operations
        query = select(
            FleetRow.waba,
            FleetRow.app,
            FleetRow.operation_id,
            select(OperationRow.state).where(its).scalar_subquery().label("state"),
            select(OperationRow.finished_at).where(its).scalar_subquery().label("ended_at"),
        ).where(FleetRow.operation_id.is_not(None))
        with self._database.read() as connection:
            return [
                Planned(
                    waba=row.waba,
                    app=row.app,
                    operation_id=row.operation_id,
                    state=State(row.state) if row.state else None,
                    ended_at=row.ended_at,
                )
                for row in connection.execute(query)
            ]

    def settle(self, ended: Sequence[Planned], *, now: datetime, settings: PlannerSettings) -> None:
        """Take planned syncs off the list; one that did not succeed is due again after a rest."""
        failed = {one.operation_id: one for one in ended if one.state not in (None, State.SUCCEEDED)}
        with self._database.write() as connection:
            # Everybody locks rows of the fleet in the same order, also those that are only taken off the list.
            rows = _rows(connection, sorted(one.waba for one in ended))
            missed = [row for row in rows.values() if row["operation_id"] in failed]
            for row in missed:
                ended_at = failed[row["operation_id"]].ended_at
                row |= {"failures": row["failures"] + 1, "failed_at": ended_at or now}
            _write(connection, missed, wishes_of(connection, settings))
            connection.execute(
                update(FleetRow)
                .where(FleetRow.operation_id.in_([one.operation_id for one in ended]))
                .values(operation_id=None)
            )

    def postpone(self, wabas: Collection[str], *, until: datetime, why: str) -> None:
        """Let WABAs be due later, because of something that holds them alone."""
        with self._database.write() as connection:
            connection.execute(
                update(FleetRow).where(FleetRow.waba.in_(sorted(wabas))).values(due_at=until, why=why)
            )

    def plan(self, requests: Sequence[NewOperation], *, now: datetime) -> list[Operation]:
        """Accept syncs for WABAs of the fleet, and remember them, both or neither; return those that are new.

        A WABA whose sync waits or runs already, because somebody else has asked for it, gets no other one.
        """
        with self._database.write() as connection:
            under_way = _under_way(connection, [one.lane for one in requests if one.lane])
            new = [one for one in requests if one.lane not in under_way]
            accepted = self._operations.accept(new, now=now, connection=connection) if new else []
            planned = {one.waba: under_way[one.lane] for one in requests if one.lane in under_way}
            planned |= {one.operation.waba: one.operation.id for one in accepted}
            connection.execute(
                update(FleetRow).where(FleetRow.waba == bindparam("whom")).values(operation_id=bindparam("what")),
                [{"whom": waba, "what": operation_id} for waba, operation_id in sorted(planned.items())],
            )
        return [one.operation for one in accepted if one.created]

    # ── looking ─────────────────────────────────────────────────────────────────────────────────────────

    def surveys(self, *, now: datetime) -> list[Survey]:
        """Count the fleet, app by app. It reads every row: not for every second."""
        row = FleetRow
        number = func.count()

        def those(condition: Any) -> Any:
            return func.sum(case((condition, 1), else_=0))

        query = (
            select(
                row.app,
                number.label("wabas"),
                func.sum(row.calls).label("calls_per_round"),
                func.sum(row.calls / row.interval_seconds).label("wished_per_second"),
                those(row.pending_since.is_not(None)).label("pending"),
                those(row.credit >= MOST_CREDIT).label("trusted"),
                those(row.credit < 0).label("missed"),
                those(row.failures > 0).label("failing"),
            )
            .where(row.due_at.is_not(None))
            .group_by(row.app)
        )
        with self._database.read() as connection:
            return [Survey(at=now, **one) for one in connection.execute(query).mappings()]

    def tell_outlook(self, outlook: Outlook) -> None:
        """Keep what a count has come to, for whoever looks."""
        values = {"at": outlook.survey.at, "outlook": outlook.as_json()}
        with self._database.write() as connection:
            connection.execute(
                upsert(connection, FleetOutlookRow)
                .values(app=outlook.survey.app, **values)
                .on_conflict_do_update(index_elements=["app"], set_=values)
            )

    def outlooks(self) -> list[dict[str, Any]]:
        """Return what the last count has come to, in its public form, app by app."""
        with self._database.read() as connection:
            query = select(FleetOutlookRow.outlook).order_by(FleetOutlookRow.app)
            return list(connection.scalars(query))


# ── within the transactions of the mirror ───────────────────────────────────────────────────────────────────


def note_sync(
    connection: Connection,
    operation: Operation,
    *,
    now: datetime,
    calls: int,
    pending_since: datetime | None,
    missed: bool,
    doubted: bool,
    read_at: datetime | None,
    settings: PlannerSettings,
) -> None:
    """A list that was begun at `read_at` was read to its end: its WABA belongs to the fleet, and is due again."""
    assert operation.waba is not None  # noqa: S101 (a list belongs to a WABA)
    owner = (operation.routed_from or operation.app, operation.partner, now)
    row = _rows(connection, [operation.waba], new=owner)[operation.waba]
    doubt = row["doubted_at"]
    still = doubt if doubt is not None and (read_at is None or doubt > read_at) else None
    heard = row["heard_at"] is not None and (row["success_at"] is None or row["heard_at"] > row["success_at"])
    row |= {
        "app": operation.routed_from or operation.app,
        "partner": operation.partner,
        "calls": calls,
        "success_at": now,
        "failures": 0,
        "pending_since": pending_since,
        "credit": _credit(row["credit"], missed=missed, heard=heard),
        "doubted_at": still or (now if doubted else None),
    }
    if row["stopped_by"] == META:
        row |= {"stopped": None, "stopped_by": None}
    _write(connection, [row], wishes_of(connection, settings))


def _credit(credit: int, *, missed: bool, heard: bool) -> int:
    """What webhooks are worth after a sync: it found what they had not told, bore them out, or said nothing."""
    if missed:
        return -MOST_CREDIT
    if credit < 0:
        return credit + 1
    return min(MOST_CREDIT, credit + 1) if heard else credit


def note_news(
    connection: Connection,
    waba: str,
    *,
    now: datetime,
    doubted: bool,
    pending_since: datetime | None,
    settings: PlannerSettings,
) -> bool:
    """A webhook has told something of a WABA's templates; False when it is none of the fleet's."""
    row = _rows(connection, [waba]).get(waba)
    if row is None:
        return False
    row |= {"heard_at": now, "pending_since": pending_since}
    if doubted and row["doubted_at"] is None:
        row["doubted_at"] = now
    _write(connection, [row], wishes_of(connection, settings))
    return True


def note_account(
    connection: Connection,
    waba: str,
    *,
    now: datetime,
    doubted: bool,
    lost: str | None,
    regained: bool,
    settings: PlannerSettings,
) -> bool:
    """A webhook has told something of a WABA itself; False when it is none of the fleet's.

    `lost` is Meta's word for that we may no longer look after it.
    """
    row = _rows(connection, [waba]).get(waba)
    if row is None:
        return False
    row["heard_at"] = now
    if doubted and row["doubted_at"] is None:
        row["doubted_at"] = now
    if lost and row["stopped"] is None:
        row |= {"stopped": f"Meta has told of {lost}", "stopped_by": META}
    if regained and row["stopped_by"] == META:
        row |= {"stopped": None, "stopped_by": None, "failures": 0}
    _write(connection, [row], wishes_of(connection, settings))
    return True


def note_change(
    connection: Connection,
    waba: str,
    *,
    now: datetime,
    doubted: bool,
    pending_since: datetime | None,
    settings: PlannerSettings,
) -> None:
    """An operation of ours has changed templates of a WABA; what is none of the fleet's stays out of it."""
    for row in _rows(connection, [waba]).values():
        row["pending_since"] = pending_since
        if doubted and row["doubted_at"] is None:
            row["doubted_at"] = now
        _write(connection, [row], wishes_of(connection, settings))


def wishes_of(connection: Connection, settings: PlannerSettings) -> Wishes:
    """Return what is wished for, as this transaction sees it."""
    table = FleetWishRow.__table__
    newest = select(func.max(table.c.id)).group_by(table.c.app)
    rows = connection.execute(select(table).where(table.c.id.in_(newest)))
    found = {
        row.app: Wish(
            app=row.app,
            every=timedelta(seconds=row.every_seconds) if row.every_seconds else None,
            share=row.share,
            actor=row.actor,
            reason=row.reason,
        )
        for row in rows
    }
    return Wishes(found, settings)


def _rows(
    connection: Connection, wabas: Sequence[str], *, new: tuple[str, str, datetime] | None = None
) -> dict[str, dict[str, Any]]:
    """Return whole rows, to be written again before the transaction ends.

    With `new`, an app, a partner and the present moment, there is a row for each of the WABAs afterwards.
    """
    table = FleetRow.__table__
    query = select(table).where(table.c.waba.in_(wabas)).order_by(table.c.waba)
    if connection.get_execution_options().get("wabajobs_writes"):
        query = query.with_for_update()
    rows = {row["waba"]: dict(row) for row in connection.execute(query).mappings()}
    if new is None or not (missing := [waba for waba in wabas if waba not in rows]):
        return rows
    app, partner, now = new
    facts = {"app": app, "partner": partner, "added_at": now, "calls": 1, "failures": 0, "credit": 0}
    blank = {**facts, "why": "", "interval_seconds": 1}
    # Somebody else may do the same at this moment: whoever comes second goes on with the row of the first.
    connection.execute(
        upsert(connection, FleetRow).on_conflict_do_nothing(), [{"waba": waba, **blank} for waba in missing]
    )
    return {row["waba"]: dict(row) for row in connection.execute(query).mappings()}


def _write(connection: Connection, rows: Sequence[dict[str, Any]], wishes: Wishes) -> None:
    """Write rows back, each with when it is due and why."""
    for row in rows:
        due = next_due(_facts(row, wishes), wishes.settings)
        row |= {"due_at": due.at, "why": due.why, "interval_seconds": due.every.total_seconds()}
    if rows:
        statement = upsert(connection, FleetRow)
        names = [column.name for column in FleetRow.__table__.columns if column.name != "waba"]
        statement = statement.on_conflict_do_update(
            index_elements=["waba"], set_={name: statement.excluded[name] for name in names}
        )
        connection.execute(statement, list(rows))


def _facts(row: dict[str, Any], wishes: Wishes) -> Facts:
    if row["every_seconds"]:
        every, by = timedelta(seconds=row["every_seconds"]), f"{row['actor']} ({row['reason']})"
    else:
        every, by = wishes.every(row["app"])
    taken = ("waba", "added_at", "success_at", "failed_at", "failures", "pending_since", "credit", "doubted_at")
    return Facts(every=every, wished_by=by, stopped=row["stopped"], **{name: row[name] for name in taken})


def _under_way(connection: Connection, lanes: Sequence[str]) -> dict[str, str]:
    """Return the operations of lanes that wait to be joined, or are out; the younger one where there are two."""
    lane = each(connection, "lanes")
    # Two looks for each lane, not one with an OR: that would need two indexes at once, and read all without.
    pending = select(OperationRow.id).where(OperationRow.coalesce_key == lane.c.value)
    out = (
        select(OperationRow.id)
        .where(
            OperationRow.lane == lane.c.value,
            OperationRow.finished_at.is_(None),
            OperationRow.blocked.is_(False),
            OperationRow.leased_until.is_not(None),
        )
        .order_by(OperationRow.turn, OperationRow.id)  # as in the index of lanes
        .limit(1)
    )
    query = select(lane.c.value, pending.scalar_subquery(), out.scalar_subquery())
    found = connection.execute(query, {"lanes": json.dumps(sorted(lanes))})
    return {one: max(filter(None, ids)) for one, *ids in found if any(ids)}
