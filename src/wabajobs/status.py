"""What is going on, in one look: queues, pauses, budgets, breakers. A part that is away is named, not hidden."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from wabajobs.clock import Clock
from wabajobs.decisions import Pause
from wabajobs.errors import NotReady
from wabajobs.gate import AppReading, Gate
from wabajobs.kinds import Catalogue
from wabajobs.ledger import DISPATCHER, Backlog, Ledger, Route
from wabajobs.operation import Operation, State
from wabajobs.settings import Settings
from wabajobs.signals import Presence

_RECENTLY = timedelta(hours=1)


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


@dataclass(frozen=True, kw_only=True)
class Status:
    """Everything at one moment."""

    at: datetime
    queues: tuple[QueueStatus, ...]
    pauses: tuple[Pause, ...]
    apps: tuple[AppReading, ...]
    fleet: tuple[dict[str, Any], ...] = ()
    """What the last count of each app's fleet has come to."""
    asking: tuple[Operation, ...] = ()
    """Operations that need input, those that wait longest, and not all if there are many."""
    routes: tuple[Route, ...] = ()
    """By which app operations of another go."""
    callbacks: Backlog | None = None
    """What is still to be delivered to the Hub; None where it is not called."""
    troubles: tuple[str, ...] = ()
    """What could not be asked, and what that means; empty on a good day."""

    def as_json(self) -> dict[str, Any]:
        """Return the public form."""
        return {
            "at": self.at.isoformat(),
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
            "callbacks": self.callbacks.as_json() if self.callbacks else None,
            "troubles": list(self.troubles),
        }


def look(
    *,
    ledger: Ledger,
    gate: Gate,
    presence: Presence,
    kinds: Catalogue,
    settings: Settings,
    clock: Clock,
) -> Status:
    """Look at everything. Raises `LedgerUnavailable`: without the ledger there is nothing to tell."""
    now = clock.now()
    troubles: list[str] = []
    decisions = ledger.decisions.current(now=now)
    slots = _slots(presence, kinds, troubles)
    apps = _apps(gate, settings, troubles)
    if any(reading.told and (reading.revision or 0) < decisions.revision for reading in apps):
        troubles.append("the gate has not been told the newest decision yet; it will be within seconds")
    troubles += _unfetched(presence, kinds)
    queues = _queues(ledger, kinds, pauses=decisions.pauses, slots=slots, now=now)
    if ledger.leaderships.holder(DISPATCHER, now=now) is None:
        troubles.append("no dispatcher runs: nothing leaves the ledger (wabajobs dispatcher)")
    for queue in queues:
        if queue.workers == 0 and (queue.waiting or queue.running):
            troubles.append(f"no worker is alive for {queue.queue}: nothing of it is released")
    fleet = ledger.fleet.outlooks() if settings.planner.enabled else []
    troubles += [f"app {one['app']}: {one['sentence']}" for one in fleet if not one["reachable"]]
    callbacks = ledger.callbacks.backlog() if settings.callbacks.url else None
    troubles += _undelivered(callbacks) if callbacks else []
    return Status(
        at=now,
        callbacks=callbacks,
        routes=tuple(ledger.routes.live(now=now)),
        queues=queues,
        pauses=decisions.pauses,
        apps=tuple(apps),
        fleet=tuple(fleet),
        asking=tuple(ledger.operations.asking(kinds=[one.queue for one in queues if one.needs_input])),
        troubles=tuple(troubles),
    )


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


def _apps(gate: Gate, settings: Settings, troubles: list[str]) -> list[AppReading]:
    readings = []
    for app in settings.apps:
        try:
            readings.append(gate.read(app))
        except NotReady as error:
            troubles.append(f"the gate cannot be asked about app {app}: {error}")
            break
    return readings


def _queues(
    ledger: Ledger,
    kinds: Catalogue,
    *,
    pauses: tuple[Pause, ...],
    slots: dict[str, tuple[int, int]] | None,
    now: datetime,
) -> tuple[QueueStatus, ...]:
    open_: dict[str, dict[State, int]] = {}
    oldest: dict[str, datetime] = {}
    for kind, state, number, since in ledger.operations.count_open(pauses=pauses):
        open_.setdefault(kind, {})[state] = number
        oldest[kind] = min(oldest.get(kind, since), since)
    finished: dict[tuple[str, State], int] = {
        (kind, state): number for kind, state, number in ledger.operations.count_finished(since=now - _RECENTLY)
    }
    return tuple(
        QueueStatus(
            queue=name,
            waiting=open_.get(name, {}).get(State.WAITING, 0),
            held=open_.get(name, {}).get(State.HELD, 0),
            running=open_.get(name, {}).get(State.RUNNING, 0),
            needs_input=open_.get(name, {}).get(State.NEEDS_INPUT, 0),
            oldest_age=now - oldest[name] if name in oldest else None,
            succeeded=finished.get((name, State.SUCCEEDED), 0),
            failed=finished.get((name, State.FAILED), 0),
            cancelled=finished.get((name, State.CANCELLED), 0),
            expired=finished.get((name, State.EXPIRED), 0),
            workers=slots[name][0] if slots else None,
            slots=slots[name][1] if slots else None,
            pause=next((pause for pause in pauses if pause.covers_queue(name)), None),
        )
        for name in kinds.names
    )


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
            }
            for window in app.windows
        ],
        "breakers": [
            {
                "scope": breaker.scope,
                "state": breaker.state,
                "retry_in_seconds": breaker.retry_in.total_seconds() if breaker.retry_in else None,
                "trips": breaker.trips,
                "evidence": breaker.evidence,
            }
            for breaker in app.breakers
        ],
    }
