"""Incidents: what went wrong with an app, in episodes, until a person says that it is over.

An episode is a time in which the trouble was there. It begins when a condition for an alarm is seen, and ends by
itself when none of its app has been seen for a quiet time. The incident stays open; only a person closes it. What
comes back soon after belongs to the same incident, also to a closed one.

    no incident ──see──> open, episode on <──see── open, quiet <──reopened── closed
                              │    ^                 │   ^                     ^
                              └────┼───── quiet ─────┘   └──────── close ──────┘
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, Self

from sqlalchemy import ColumnElement, Connection, RowMapping, and_, func, insert, or_, select, update

from wabajobs.errors import InvalidRequest, NotFound
from wabajobs.ledger.database import Database, upsert
from wabajobs.ledger.tables import AlarmRow, EpisodeRow, IncidentRow, NoteRow, RevisionRow

PRODUCT: Final = "wabajobs"
"""Who opens what no person has opened."""
OPENED, NOTE, CLOSED, REOPENED, ALARMED = "opened", "note", "closed", "reopened", "alarmed"
_REVISION: Final = "incidents"


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A reason for an alarm that is there now."""

    cause: str
    """`breaker`, `budget`, `limit`, `backlog`, `workers`."""
    scope: str
    """Whose: `app:1`, `app:1/uploads`, `class:interactive`, `queue:onboarding`."""
    since: datetime
    evidence: str
    """A sentence for a person."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A condition as an episode remembers it."""

    cause: str
    scope: str
    evidence: str
    """What was said of it when it was seen first."""
    began_at: datetime
    seen_at: datetime
    """When it was seen last."""
    times: int = 1
    """How often it came."""
    seconds: float = 0.0
    """How long it was there altogether."""
    here: bool = True
    """Whether it was there at the last look."""

    def as_json(self) -> dict[str, Any]:
        """Return the form that is kept."""
        return {**vars(self), "began_at": self.began_at.isoformat(), "seen_at": self.seen_at.isoformat()}

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Self:
        """Read the form that is kept."""
        moments = {name: datetime.fromisoformat(value[name]) for name in ("began_at", "seen_at")}
        return cls(**{**value, **moments})


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """What is told of an episode by one way."""

    channel: str
    """`command` or `url`."""
    tries: int
    due_at: datetime | None
    """When it is tried next; None when it is done or given up."""
    done_at: datetime | None
    error: str | None
    """What came of the last try that was in vain."""

    def as_json(self) -> dict[str, Any]:
        """Return the public form."""
        return {**vars(self), "due_at": _iso(self.due_at), "done_at": _iso(self.done_at)}


@dataclass(frozen=True, kw_only=True)
class Episode:
    """A time in which the trouble was there."""

    id: int
    incident: int
    app: str
    began_at: datetime
    seen_at: datetime
    """When something of it was seen last."""
    ended_at: datetime | None
    """None: it is on, or has not been quiet for long enough."""
    conditions: tuple[Seen, ...]
    alarms: tuple[Alarm, ...] = ()

    def lasted(self, now: datetime) -> timedelta:
        """How long it took, or has taken so far."""
        return (self.ended_at or max(now, self.seen_at)) - self.began_at

    def as_json(self) -> dict[str, Any]:
        """Return the public form."""
        return {
            "id": self.id,
            "incident": self.incident,
            "app": self.app,
            "began_at": self.began_at.isoformat(),
            "seen_at": self.seen_at.isoformat(),
            "ended_at": _iso(self.ended_at),
            "conditions": [one.as_json() for one in self.conditions],
            "alarms": [one.as_json() for one in self.alarms],
        }


@dataclass(frozen=True, kw_only=True)
class Note:
    """An entry in an incident's diary."""

    id: int
    at: datetime
    actor: str
    name: str
    """`opened`, `note`, `closed`, `reopened`, `alarmed`."""
    text: str

    def as_json(self) -> dict[str, Any]:
        """Return the public form."""
        return {**vars(self), "at": self.at.isoformat()}


@dataclass(frozen=True, kw_only=True)
class Incident:
    """Something that went wrong with an app."""

    id: int
    app: str | None
    """None: a person has opened it for all of them."""
    title: str
    opened_at: datetime
    opened_by: str
    """`wabajobs`: no person."""
    closed_at: datetime | None = None
    closed_by: str | None = None
    close_reason: str | None = None
    episodes: tuple[Episode, ...] = ()
    notes: tuple[Note, ...] = ()

    @property
    def is_on(self) -> bool:
        """Whether one of its episodes is on."""
        return any(one.ended_at is None for one in self.episodes)

    @property
    def state(self) -> str:
        """`on` while an episode is on, `quiet` until a person closes it, `closed`."""
        if self.closed_at is not None:
            return "closed"
        return "on" if self.is_on else "quiet"

    @property
    def began_at(self) -> datetime:
        """When it began: its first episode, or the moment at which a person has opened it."""
        return min([self.opened_at, *(one.began_at for one in self.episodes)])

    def ended_at(self, now: datetime) -> datetime:
        """Return until when there is something to tell of it: its last moment if it is over, else `now`."""
        ends = [one.ended_at for one in self.episodes]
        if self.closed_at is None or None in ends:
            return now
        return max([self.closed_at, *(end for end in ends if end is not None)])

    def lasted(self, now: datetime) -> timedelta:
        """How long its episodes took, together."""
        return sum((one.lasted(now) for one in self.episodes), timedelta())

    def as_json(self) -> dict[str, Any]:
        """Return the public form."""
        return {
            "id": self.id,
            "state": self.state,
            "app": self.app,
            "title": self.title,
            "opened_at": self.opened_at.isoformat(),
            "opened_by": self.opened_by,
            "closed_at": _iso(self.closed_at),
            "closed_by": self.closed_by,
            "close_reason": self.close_reason,
            "episodes": [one.as_json() for one in self.episodes],
            "notes": [one.as_json() for one in self.notes],
        }


@dataclass(frozen=True, kw_only=True)
class Rules:
    """When an episode is over, and what belongs together."""

    quiet: timedelta
    """An episode ends when no condition has been seen for so long."""
    rejoin: timedelta
    """What comes back within this time belongs to the same incident."""


@dataclass(frozen=True, kw_only=True)
class DueAlarm:
    """An alarm that is to be given now."""

    incident: Incident
    episode: Episode
    channel: str
    tries: int
    """This one counted."""


class Incidents:
    """The record of incidents. What is done at the same time by several is done one after the other."""

    def __init__(self, database: Database) -> None:
        """Work on the tables of `database`."""
        self._database = database

    # ── what the product sees ────────────────────────────────────────────────────────────────────────────

    def see(
        self,
        app: str,
        conditions: Collection[Condition],
        *,
        rules: Rules,
        now: datetime,
        channels: Sequence[str] = (),
    ) -> Episode | None:
        """Take in what is seen of an app now: every condition there is, or none.

        Returns the episode if it has begun or ended by that. One that begins is to be told by `channels`.
        """
        with self._database.read() as connection:
            if not conditions and _running(connection, app) is None:
                return None
        with self._database.write() as connection:
            _in_order(connection)
            running = _running(connection, app)
            if running is not None:
                return _go_on(connection, running, conditions, rules=rules, now=now)
            if not conditions:
                return None
            incident = _to_join(connection, app, rules=rules, now=now)
            if incident is None:
                first = min(conditions, key=lambda one: one.since)
                incident = _open(connection, app=app, title=first.evidence, actor=PRODUCT, now=now)
            elif incident.closed_at is not None:
                _reopen(connection, incident, conditions, now=now)
            return _begin(connection, incident.id, app, conditions, channels=channels, now=now)

    # ── what people do ───────────────────────────────────────────────────────────────────────────────────

    def open(self, *, app: str | None, title: str, actor: str, now: datetime) -> Incident:
        """Open an incident. Raises `InvalidRequest` when one of this app is open already."""
        with self._database.write() as connection:
            _in_order(connection)
            same = IncidentRow.app.is_(None) if app is None else IncidentRow.app == app
            query = select(IncidentRow.id).where(IncidentRow.closed_at.is_(None), same).order_by(IncidentRow.id)
            if known := connection.scalar(query.limit(1)):
                raise InvalidRequest(f"incident {known} of the same is open; note it there")
            incident = _open(connection, app=app, title=title, actor=actor, now=now)
            return _read(connection, [incident.id])[0]

    def note(self, incident: int, *, text: str, actor: str, now: datetime) -> Incident:
        """Write something into the diary. Raises `NotFound`."""
        with self._database.write() as connection:
            _in_order(connection)
            _one(connection, incident)
            _write_down(connection, incident, NOTE, text, actor=actor, now=now)
            return _read(connection, [incident])[0]

    def close(self, incident: int, *, reason: str, actor: str, now: datetime, force: bool = False) -> Incident:
        """Close an incident. Raises `NotFound`, and `InvalidRequest` when it is closed or an episode is on.

        With `force` also while an episode is on: it goes on to its end, and only what comes after it reopens the
        incident.
        """
        with self._database.write() as connection:
            _in_order(connection)
            known = _one(connection, incident)
            if known.closed_at is not None:
                raise InvalidRequest(f"incident {incident} is closed already, by {known.closed_by}")
            if known.is_on and not force:
                on = next(one for one in known.episodes if one.ended_at is None)
                raise InvalidRequest(
                    f"incident {incident} is not over: {on.conditions[0].evidence} (seen last at"
                    f" {on.seen_at:%Y-%m-%d %H:%M:%S} UTC). It ends by itself after a quiet time; to close it all"
                    " the same: --force on the command line, force=True in a program"
                )
            values = {"closed_at": now, "closed_by": actor, "close_reason": reason}
            connection.execute(update(IncidentRow).where(IncidentRow.id == incident).values(**values))
            _write_down(connection, incident, CLOSED, reason, actor=actor, now=now)
            return _read(connection, [incident])[0]

    # ── looking ──────────────────────────────────────────────────────────────────────────────────────────

    def get(self, incident: int) -> Incident:
        """Return an incident with its episodes and its diary. Raises `NotFound`."""
        with self._database.read() as connection:
            return _one(connection, incident)

    def find(self, *, open_only: bool = False, at_most: int = 50) -> list[Incident]:
        """Return incidents with their episodes and diaries, the newest first."""
        wanted = [IncidentRow.closed_at.is_(None)] if open_only else []
        newest = select(IncidentRow.id).where(*wanted).order_by(IncidentRow.id.desc()).limit(at_most)
        with self._database.read() as connection:
            return _read(connection, list(connection.scalars(newest)))[::-1]

    def running(self, app: str) -> Episode | None:
        """Return the episode of an app that is on, if there is one."""
        with self._database.read() as connection:
            return _running(connection, app)

    def revision(self) -> int:
        """Return a number that grows whenever something about incidents changes."""
        with self._database.read() as connection:
            query = select(RevisionRow.number).where(RevisionRow.name == _REVISION)
            return connection.scalar(query) or 0

    # ── alarms ───────────────────────────────────────────────────────────────────────────────────────────

    def due_alarms(self, *, now: datetime, again: timedelta) -> list[DueAlarm]:
        """Take the alarms that are due. Who does not say what came of one within `again` is taken for dead."""
        due = and_(AlarmRow.due_at.is_not(None), AlarmRow.due_at <= now)
        with self._database.read() as connection:
            if connection.scalar(select(AlarmRow.episode_id).where(due).limit(1)) is None:
                return []
        with self._database.write() as connection:
            rows = connection.execute(
                update(AlarmRow)
                .where(due)
                .values(tries=AlarmRow.tries + 1, due_at=now + again)
                .returning(AlarmRow.episode_id, AlarmRow.channel, AlarmRow.tries)
            ).all()
            whose = select(EpisodeRow.incident_id).where(EpisodeRow.id.in_([row.episode_id for row in rows]))
            incidents = _read(connection, sorted(set(connection.scalars(whose)))) if rows else []
        episodes = {one.id: (incident, one) for incident in incidents for one in incident.episodes}
        return [
            DueAlarm(
                incident=episodes[row.episode_id][0],
                episode=episodes[row.episode_id][1],
                channel=row.channel,
                tries=row.tries,
            )
            for row in rows
        ]

    def alarmed(self, alarm: DueAlarm, *, now: datetime) -> None:
        """Say that an alarm was given."""
        self._settle(alarm, due_at=None, done_at=now, error=None)
        with self._database.write() as connection:
            text = f"the alarm was given ({alarm.channel})"
            _write_down(connection, alarm.incident.id, ALARMED, text, actor=PRODUCT, now=now)

    def alarm_failed(self, alarm: DueAlarm, *, error: str, again_at: datetime | None) -> None:
        """Say that an alarm was given in vain; without `again_at` it is given up."""
        self._settle(alarm, due_at=again_at, done_at=None, error=error)

    def mute_alarms(self) -> list[Alarm]:
        """Return the alarms that were tried in vain and not given yet: of open incidents, the newest first."""
        query = (
            select(*AlarmRow.__table__.columns)
            .join(EpisodeRow, EpisodeRow.id == AlarmRow.episode_id)
            .join(IncidentRow, IncidentRow.id == EpisodeRow.incident_id)
            .where(IncidentRow.closed_at.is_(None), AlarmRow.done_at.is_(None), AlarmRow.error.is_not(None))
            .order_by(AlarmRow.episode_id.desc())
        )
        with self._database.read() as connection:
            return [_as_alarm(row) for row in connection.execute(query).mappings()]

    def _settle(self, alarm: DueAlarm, **values: Any) -> None:
        of_it = and_(AlarmRow.episode_id == alarm.episode.id, AlarmRow.channel == alarm.channel)
        with self._database.write() as connection:
            connection.execute(update(AlarmRow).where(of_it, AlarmRow.tries == alarm.tries).values(**values))


# ── within a transaction ─────────────────────────────────────────────────────────────────────────────────


def _in_order(connection: Connection) -> None:
    # The row's lock puts what two dispatchers see, or a person does, into one order.
    connection.execute(
        upsert(connection, RevisionRow)
        .values(name=_REVISION, number=1)
        .on_conflict_do_update(index_elements=["name"], set_={"number": RevisionRow.number + 1})
    )


def _go_on(
    connection: Connection,
    running: Episode,
    conditions: Collection[Condition],
    *,
    rules: Rules,
    now: datetime,
) -> Episode | None:
    """Take what is seen into an episode that is on; return it if that was its end."""
    after = replace(
        running,
        conditions=merged(running.conditions, conditions, now=now),
        seen_at=max(running.seen_at, now) if conditions else running.seen_at,
    )
    is_over = not conditions and now - running.seen_at >= rules.quiet
    if is_over:
        after = replace(after, ended_at=after.seen_at)
    if after != running:
        values = {
            "conditions": [one.as_json() for one in after.conditions],
            "seen_at": after.seen_at,
            "ended_at": after.ended_at,
        }
        connection.execute(update(EpisodeRow).where(EpisodeRow.id == running.id).values(**values))
    return after if is_over else None


def merged(known: Sequence[Seen], conditions: Collection[Condition], *, now: datetime) -> tuple[Seen, ...]:
    """Return what an episode remembers after another look."""
    here = {(one.cause, one.scope): one for one in conditions}
    after = [_looked_at(one, here.pop((one.cause, one.scope), None), now) for one in known]
    return (*after, *(_first_seen(one, now) for one in here.values()))


def _looked_at(seen: Seen, condition: Condition | None, now: datetime) -> Seen:
    if condition is None:
        return replace(seen, here=False)
    if not seen.here:
        return replace(seen, here=True, times=seen.times + 1, seen_at=now)
    more = max(0.0, (now - seen.seen_at).total_seconds())
    return replace(seen, seen_at=max(now, seen.seen_at), seconds=seen.seconds + more)


def _first_seen(condition: Condition, now: datetime) -> Seen:
    began = min(condition.since, now)
    return Seen(
        cause=condition.cause,
        scope=condition.scope,
        evidence=condition.evidence,
        began_at=began,
        seen_at=now,
        seconds=(now - began).total_seconds(),
    )


def _open(connection: Connection, *, app: str | None, title: str, actor: str, now: datetime) -> Incident:
    values = {"app": app, "title": title, "opened_at": now, "opened_by": actor}
    id_ = connection.scalar(insert(IncidentRow).values(**values).returning(IncidentRow.id))
    assert id_ is not None  # noqa: S101 (it was just written)
    _write_down(connection, id_, OPENED, title, actor=actor, now=now)
    return Incident(id=id_, app=app, title=title, opened_at=now, opened_by=actor)


def _reopen(
    connection: Connection, incident: Incident, conditions: Collection[Condition], *, now: datetime
) -> None:
    values = {"closed_at": None, "closed_by": None, "close_reason": None}
    connection.execute(update(IncidentRow).where(IncidentRow.id == incident.id).values(**values))
    first = min(conditions, key=lambda one: one.since)
    _write_down(connection, incident.id, REOPENED, f"it is back: {first.evidence}", actor=PRODUCT, now=now)


def _begin(
    connection: Connection,
    incident: int,
    app: str,
    conditions: Collection[Condition],
    *,
    channels: Sequence[str],
    now: datetime,
) -> Episode:
    seen = merged((), conditions, now=now)
    values = {
        "incident_id": incident,
        "app": app,
        "began_at": min(one.began_at for one in seen),
        "seen_at": now,
        "conditions": [one.as_json() for one in seen],
    }
    id_ = connection.scalar(insert(EpisodeRow).values(**values).returning(EpisodeRow.id))
    if channels:
        rows = [{"episode_id": id_, "channel": each, "tries": 0, "due_at": now} for each in channels]
        connection.execute(insert(AlarmRow), rows)
    return _episodes(connection, EpisodeRow.id == id_)[0]


def _write_down(
    connection: Connection, incident: int, name: str, text: str, *, actor: str, now: datetime
) -> None:
    values = {"incident_id": incident, "at": now, "actor": actor, "name": name, "text": text}
    connection.execute(insert(NoteRow).values(**values))


def _running(connection: Connection, app: str) -> Episode | None:
    running = _episodes(connection, EpisodeRow.app == app, EpisodeRow.ended_at.is_(None))
    return running[0] if running else None


def _to_join(connection: Connection, app: str, *, rules: Rules, now: datetime) -> Incident | None:
    """Return the incident to which trouble with an app belongs: an open one, or one that was closed of late."""
    last_end = func.max(EpisodeRow.ended_at)
    of_late = (
        select(EpisodeRow.incident_id)
        .where(EpisodeRow.app == app)
        .group_by(EpisodeRow.incident_id)
        .having(last_end >= now - rules.rejoin)
    )
    mine = or_(IncidentRow.app == app, IncidentRow.app.is_(None))
    lately = or_(IncidentRow.closed_at >= now - rules.rejoin, IncidentRow.id.in_(of_late))
    query = (
        select(IncidentRow.id)
        .where(mine, or_(IncidentRow.closed_at.is_(None), lately))
        # An open one before a closed one, one of this app before one of all, the newest first.
        .order_by(IncidentRow.closed_at.is_not(None), IncidentRow.app.is_(None), IncidentRow.id.desc())
        .limit(1)
    )
    found = connection.scalar(query)
    return None if found is None else _read(connection, [found])[0]


def _one(connection: Connection, incident: int) -> Incident:
    found = _read(connection, [incident])
    if not found:
        raise NotFound(f"there is no incident {incident}; wabajobs incident list shows those there are")
    return found[0]


def _read(connection: Connection, ids: Sequence[int]) -> list[Incident]:
    """Return these incidents, the oldest first."""
    rows = connection.execute(
        select(*IncidentRow.__table__.columns).where(IncidentRow.id.in_(ids)).order_by(IncidentRow.id)
    )
    found = [Incident(**row) for row in rows.mappings()]
    episodes = _episodes(connection, EpisodeRow.incident_id.in_(ids))
    notes: dict[int, list[Note]] = {}
    query = select(*NoteRow.__table__.columns).where(NoteRow.incident_id.in_(ids)).order_by(NoteRow.id)
    for row in connection.execute(query).mappings():
        values = {name: value for name, value in row.items() if name != "incident_id"}
        notes.setdefault(row["incident_id"], []).append(Note(**values))
    return [
        replace(
            one,
            episodes=tuple(each for each in episodes if each.incident == one.id),
            notes=tuple(notes.get(one.id, ())),
        )
        for one in found
    ]


def _episodes(connection: Connection, *conditions: ColumnElement[bool]) -> list[Episode]:
    query = select(*EpisodeRow.__table__.columns).where(*conditions).order_by(EpisodeRow.id)
    rows = connection.execute(query).mappings().all()
    alarms: dict[int, list[Alarm]] = {}
    of_these = select(*AlarmRow.__table__.columns).where(AlarmRow.episode_id.in_([row["id"] for row in rows]))
    for row in connection.execute(of_these.order_by(AlarmRow.channel)).mappings():
        alarms.setdefault(row["episode_id"], []).append(_as_alarm(row))
    return [
        Episode(
            id=row["id"],
            incident=row["incident_id"],
            app=row["app"],
            began_at=row["began_at"],
            seen_at=row["seen_at"],
            ended_at=row["ended_at"],
            conditions=tuple(Seen.of_json(one) for one in row["conditions"]),
            alarms=tuple(alarms.get(row["id"], ())),
        )
        for row in rows
    ]


def _as_alarm(row: RowMapping) -> Alarm:
    return Alarm(**{name: value for name, value in row.items() if name != "episode_id"})


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
