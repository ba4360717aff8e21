"""What is going on, in one look: queues, pauses, budgets, breakers. A part that is away is named, not hidden."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from wabajobs.clock import Clock
from wabajobs.decisions import Pause, Scope, ScopeType
from wabajobs.errors import NotReady
from wabajobs.gate import AppReading, Gate
from wabajobs.kinds import Catalogue
from wabajobs.ledger import DISPATCHER, Alarm, Backlog, Incident, Ledger, Part, Route
from wabajobs.operation import Operation, State
from wabajobs.outcome import Origin
from wabajobs.seeing import kept
from wabajobs.seeing.forecast import Forecast
from wabajobs.seeing.preview import Drain
from wabajobs.seeing.top import Dimension, Spenders, Top
from wabajobs.settings import Settings
from wabajobs.signals import Presence

_RECENTLY: Final = timedelta(hours=1)
_TOP: Final = 5


@dataclass(frozen=True, kw_only=True)
class QueueStatus:
    """One queue. `workers` and `slots` are None when Redis cannot say."""

    queue: str
    waiting: int
    held: int
    running: int
    needs_input: int
    oldest_age: timedelta | None
    """Since the oldest unfinished operation was accepted."""
    succeeded: int
    failed: int
    cancelled: int
    expired: int
    """Of the last hour, like the three before."""
    workers: int | None
    slots: int | None
    pause: Pause | None
    held_by: Mapping[str, int] = field(default_factory=dict)
    """How many of the held ones are held by what: `pause`, `breaker`, `budget` and so on (`Hold.by`)."""
    waits_for: Mapping[str, int] = field(default_factory=dict)
    """How many of those that wait the gate would refuse now, and by what; the others wait for their turn."""

    @property
    def kept_by(self) -> dict[Origin, int]:
        """How many operations cannot go now, by whose word that is."""
        return kept.by_origin([self.held_by, self.waits_for])


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What there was of operations when they were counted, which takes a while when there are very many."""

    at: datetime
    parts: tuple[Part, ...]
    """What is not finished, under the pauses that there were."""
    finished: tuple[tuple[str, State, int], ...]
    """Kind, end, and how many of the last hour."""
    spenders: tuple[Top, ...] = ()
    """Who used each app's budget in the window that counts now, by partner."""
    drains: tuple[tuple[str, Drain], ...] = ()
    """How long what each app has to do takes, once it may go."""


@dataclass(frozen=True, kw_only=True)
class Status:
    """Everything at one moment."""

    at: datetime
    counted_at: datetime
    queues: tuple[QueueStatus, ...]
    pauses: tuple[Pause, ...]
    apps: tuple[AppReading, ...]
    fleet: tuple[dict[str, Any], ...] = ()
    """What the last count of each app's fleet has come to."""
    asking: tuple[Operation, ...] = ()
    """Operations that need input, those that wait longest, and not all if there are many."""
    routes: tuple[Route, ...] = ()
    """By which app operations of another go."""
    incidents: tuple[Incident, ...] = ()
    """Those that nobody has closed yet."""
    spenders: tuple[Top, ...] = ()
    """Who used each app's budget in the window that counts now, by partner."""
    drains: tuple[tuple[str, Drain], ...] = ()
    """How long what each app has to do takes, once it may go."""
    callbacks: Backlog | None = None
    """What is still to be delivered to the Hub; None where it is not called."""
    troubles: tuple[str, ...] = ()
    """What could not be asked, and what that means; empty on a good day."""

    def as_json(self) -> dict[str, Any]:
        """Return the public form."""
        return {
            "at": self.at.isoformat(),
            "counted_at": self.counted_at.isoformat(),
            "queues": [_queue_json(queue) for queue in self.queues],
            "pauses": [pause_json(pause) for pause in self.pauses],
            "apps": [_app_json(app) for app in self.apps],
            "fleet": list(self.fleet),
            "needs_input": [
                {
                    "id": one.id,
                    "kind": one.kind,
                    "partner": one.partner,
                    "needs": one.needs.as_json() if one.needs else None,
                }
                for one in self.asking
            ],
            "routes": [route.as_json() for route in self.routes],
            "incidents": [
                {
                    "id": one.id,
                    "app": one.app,
                    "title": one.title,
                    "state": one.state,
                    "began_at": one.began_at.isoformat(),
                    "episodes": len(one.episodes),
                }
                for one in self.incidents
            ],
            "spenders": [top.shortened(_TOP).as_json() for top in self.spenders],
            "drains": [{"app": app, **drain.as_json()} for app, drain in self.drains],
            "callbacks": self.callbacks.as_json() if self.callbacks else None,
            "troubles": list(self.troubles),
        }


@dataclass(frozen=True, kw_only=True)
class Lookout:
    """Looks at everything."""

    ledger: Ledger
    gate: Gate
    presence: Presence
    kinds: Catalogue
    settings: Settings
    clock: Clock
    forecast: Forecast
    spenders: Spenders

    def count(self) -> Counts:
        """Count the operations: with a million of them that takes some tenths of a second."""
        now = self.clock.now()
        parts = tuple(self.ledger.operations.census_under(self.ledger.decisions.pauses(now=now)))
        return Counts(
            at=now,
            parts=parts,
            finished=tuple(self.ledger.operations.count_finished(since=now - _RECENTLY)),
            spenders=self._spenders(),
            drains=tuple(self._drains(parts)),
        )

    def look(self, counts: Counts | None = None) -> Status:
        """Look at everything; whoever looks again and again may count more rarely.

        Raises `LedgerUnavailable`: without the ledger there is nothing to tell.
        """
        counts = counts or self.count()
        now, ledger = self.clock.now(), self.ledger
        troubles: list[str] = []
        decisions = ledger.decisions.current(now=now)
        slots = _slots(self.presence, self.kinds, troubles)
        apps = _apps(self.gate, self.settings, troubles)
        if any(reading.told and (reading.revision or 0) < decisions.revision for reading in apps):
            troubles.append("the gate has not been told the newest decision yet; it will be within seconds")
        troubles += _unfetched(self.presence, self.kinds)
        queues = self._queues(counts, decisions.pauses, slots, now)
        if ledger.leaderships.holder(DISPATCHER, now=now) is None:
            troubles.append("no dispatcher runs: nothing leaves the ledger (wabajobs dispatcher)")
        for queue in queues:
            if queue.workers == 0 and (queue.waiting or queue.running):
                troubles.append(f"no worker is alive for {queue.queue}: nothing of it is released")
        fleet = ledger.fleet.outlooks() if self.settings.planner.enabled else []
        troubles += [f"app {one['app']}: {one['sentence']}" for one in fleet if not one["reachable"]]
        callbacks = ledger.callbacks.backlog() if self.settings.callbacks.url else None
        troubles += _undelivered(callbacks) if callbacks else []
        troubles += _unheard(ledger.incidents.mute_alarms())
        return Status(
            at=now,
            counted_at=counts.at,
            callbacks=callbacks,
            routes=tuple(ledger.routes.live(now=now)),
            queues=queues,
            pauses=decisions.pauses,
            apps=tuple(apps),
            fleet=tuple(fleet),
            asking=tuple(ledger.operations.asking(kinds=[one.queue for one in queues if one.needs_input])),
            incidents=tuple(ledger.incidents.find(open_only=True)),
            spenders=counts.spenders,
            drains=counts.drains,
            troubles=tuple(troubles),
        )

    def _queues(
        self,
        counts: Counts,
        pauses: tuple[Pause, ...],
        slots: dict[str, tuple[int, int]] | None,
        now: datetime,
    ) -> tuple[QueueStatus, ...]:
        states: dict[str, Counter[State]] = defaultdict(Counter)
        oldest: dict[str, datetime] = {}
        for part in counts.parts:
            queue = part.line.kind
            states[queue][part.state] += part.operations
            oldest[queue] = min(oldest.get(queue, part.oldest), part.oldest)
        ended = {(kind, state): number for kind, state, number in counts.finished}
        held = kept.by_queue(kept.held(counts.parts))
        waits = kept.by_queue(kept.refused(counts.parts, gate=self.gate, short=self.settings.dispatch.short_wait))
        return tuple(
            QueueStatus(
                queue=name,
                waiting=states[name][State.WAITING],
                held=states[name][State.HELD],
                running=states[name][State.RUNNING],
                needs_input=states[name][State.NEEDS_INPUT],
                oldest_age=now - oldest[name] if name in oldest else None,
                succeeded=ended.get((name, State.SUCCEEDED), 0),
                failed=ended.get((name, State.FAILED), 0),
                cancelled=ended.get((name, State.CANCELLED), 0),
                expired=ended.get((name, State.EXPIRED), 0),
                workers=slots[name][0] if slots else None,
                slots=slots[name][1] if slots else None,
                pause=next((pause for pause in pauses if pause.covers_queue(name)), None),
                held_by=dict(held[name].most_common()),
                waits_for=dict(waits[name].most_common()),
            )
            for name in self.kinds.names
        )

    def _spenders(self) -> tuple[Top, ...]:
        try:
            apps = self.settings.apps
            return tuple(self.spenders.top(Dimension.PARTNERS, app=app, usual=False) for app in apps)
        except NotReady:
            return ()  # who looks is told that the gate is away

    def _drains(self, parts: Iterable[Part]) -> Iterable[tuple[str, Drain]]:
        of_app: dict[str, list[Part]] = defaultdict(list)
        for part in parts:
            of_app[part.line.app].append(part)
        for app, theirs in sorted(of_app.items()):
            yield app, self.forecast.drain(Scope(ScopeType.APP, app), parts=theirs)


def _slots(presence: Presence, kinds: Catalogue, troubles: list[str]) -> dict[str, tuple[int, int]] | None:
    try:
        living = presence.living(kinds.names)
    except NotReady as error:
        troubles.append(f"{error}: no calls are made; operations wait in the ledger")
        return None
    return {queue: (len(workers), sum(one.slots for one in workers)) for queue, workers in living.items()}


def _unfetched(presence: Presence, kinds: Catalogue) -> list[str]:
    try:
        queues = sorted(presence.complaints(kinds.names))
    except NotReady:
        return []  # told already
    return [
        f"messages of {queue} lay unfetched within the last minute: a worker has died, or it lives and consumes"
        " nothing; that one connects anew by itself"
        for queue in queues
    ]


def _undelivered(backlog: Backlog) -> list[str]:
    troubles = []
    if backlog.given_up:
        troubles.append(
            f"{backlog.given_up} events could not be delivered to the Hub ({backlog.last_error}), and are tried"
            " no more; send them again: wabajobs events resend"
        )
    elif backlog.last_error:
        troubles.append(f"callbacks to the Hub fail ({backlog.last_error}); they are tried again")
    return troubles


def _unheard(alarms: Sequence[Alarm]) -> list[str]:
    if not alarms:
        return []
    then = "it is tried again" if alarms[0].due_at else "it is tried no more"
    return [f"the alarm of an incident could not be given by its {alarms[0].channel} ({alarms[0].error}); {then}"]


def _apps(gate: Gate, settings: Settings, troubles: list[str]) -> list[AppReading]:
    readings = []
    for app in settings.apps:
        try:
            readings.append(gate.read(app))
        except NotReady as error:
            troubles.append(f"the gate cannot be asked about app {app}: {error}")
            break
    return readings


def pause_json(pause: Pause) -> dict[str, Any]:
    """Return the public form of a pause."""
    return {
        "id": pause.id,
        "scope": str(pause.scope),
        "mode": str(pause.mode),
        "percent": pause.percent,
        "is_ramp": pause.is_ramp,
        "then": str(pause.at_end) if pause.ends_at else None,
        "incident": pause.incident,
        "reason": pause.reason,
        "notice": pause.notice,
        "by": pause.actor,
        "since": pause.created_at.isoformat(),
        "until": pause.ends_at.isoformat() if pause.ends_at else None,
    }


def _queue_json(queue: QueueStatus) -> dict[str, Any]:
    return {
        "queue": queue.queue,
        "waiting": queue.waiting,
        "held": queue.held,
        "running": queue.running,
        "needs_input": queue.needs_input,
        "oldest_age_seconds": queue.oldest_age.total_seconds() if queue.oldest_age else None,
        "succeeded_last_hour": queue.succeeded,
        "failed_last_hour": queue.failed,
        "cancelled_last_hour": queue.cancelled,
        "expired_last_hour": queue.expired,
        "workers": queue.workers,
        "slots": queue.slots,
        "paused": pause_json(queue.pause) if queue.pause else None,
        "held_by": dict(queue.held_by),
        "waits_for": dict(queue.waits_for),
        "kept_by": {str(origin): number for origin, number in queue.kept_by.items()},
    }


def _app_json(app: AppReading) -> dict[str, Any]:
    return {
        "app": app.app,
        "told": app.told,
        "learning": app.learning,
        "in_flight": app.in_flight,
        "windows": [
            {
                "scope": window.scope,
                "limit": window.limit,
                "used": window.used,
                "others": window.others,
                "window_seconds": window.window.total_seconds(),
                "usable": {str(service_class): usable for service_class, usable in window.usable.items()},
                "exhausted_in_seconds": _seconds(window.exhausted_in()),
            }
            for window in app.windows
        ],
        "breakers": [
            {
                "scope": breaker.scope,
                "state": breaker.state,
                "retry_in_seconds": _seconds(breaker.retry_in),
                "held": breaker.held,
                "trips": breaker.trips,
                "evidence": breaker.evidence,
            }
            for breaker in app.breakers
        ],
    }


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else span.total_seconds()
