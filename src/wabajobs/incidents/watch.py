"""The watch: looks at breakers, budgets and queues, keeps what it sees, and opens incidents by itself.

Only where a dispatcher leads, in a thread of its own: no operation waits for it. What cannot be asked, because
Redis is away, is neither well nor ill: nothing begins and nothing ends by it.
"""

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from wabajobs import events
from wabajobs.beside import Beside
from wabajobs.clock import Clock
from wabajobs.errors import GateUnavailable
from wabajobs.gate import AppReading
from wabajobs.incidents.breakers import Trips, broken
from wabajobs.incidents.budgets import Budgets, Lowered
from wabajobs.incidents.lateness import Backlog, Count, Workers, without_workers
from wabajobs.incidents.spending import ALL_PARTS, Spending
from wabajobs.incidents.spending import Gate as SpentByWhom
from wabajobs.ledger import Condition, Happening, Ledger, Rules, Sight
from wabajobs.settings import Settings
from wabajobs.signals import Presence


class Gate(SpentByWhom, Protocol):
    """What is asked of the gate."""

    def read(self, app: str) -> AppReading:
        """Return what it knows of an app."""
        ...


class Watch:
    """Looks. Whoever leads tells it to, again and again; two at once do no harm."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        gate: Gate,
        presence: Presence,
        queues: Callable[[], Sequence[str]],
        settings: Settings,
        clock: Clock,
        channels: Sequence[str] = (),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Watch the apps of the settings; what begins is to be told by `channels`."""
        self._ledger = ledger
        self._gate = gate
        self._settings = settings
        self._clock = clock
        self._channels = channels
        self._budgets = Budgets(settings.watch)
        self._lowered = Lowered(ledger)
        self._backlog = Backlog(settings.watch)
        self._trips = Trips(ledger)
        self._learning: dict[str, bool] = {}
        self._workers = Workers(presence, settings.watch, monotonic)
        self._count = Count(ledger, queues, settings.watch, monotonic)
        self._spending = Spending(ledger, gate, part_seconds=settings.gate.window_seconds / ALL_PARTS)
        self._monotonic = monotonic
        self._sample_due = monotonic()
        look = timedelta(seconds=settings.watch.look_seconds)
        lasting = timedelta(seconds=settings.dispatch.leader_seconds)
        self._beside = Beside("watch", self._turn, lasting=lasting, retry=look, monotonic=monotonic)

    def keep_up(self) -> None:
        """Go on for a while. Returns at once, and never raises."""
        if self._settings.watch.enabled:
            self._beside.keep_up()

    def _turn(self) -> timedelta:
        began = self._monotonic()
        self.look()
        took = self._monotonic() - began
        return timedelta(seconds=max(0.0, self._settings.watch.look_seconds - took))

    def look(self) -> None:
        """Look once at everything. Raises `LedgerUnavailable`."""
        now = self._clock.now()
        readings = self._readings()
        self._tell_of_learning(readings, now)
        self._budgets.take(readings, now)
        trips = self._trips.since_the_last_look()
        queues, late = self._count.count(now)
        if queues:
            self._backlog.take(late, now)
        if self._monotonic() >= self._sample_due:
            self._sample_due = self._monotonic() + self._settings.watch.sample_seconds
            self._ledger.samples.put(self._budgets.samples(readings, now), queues)
            self._spending.keep(readings, now)
        forsaken = self._workers.missing_for(late)
        for reading in readings:
            conditions = [
                *broken(reading, trips, now),
                *self._budgets.conditions(reading, now),
                *self._lowered.conditions(reading, now),
                *self._backlog.conditions(reading.app, late, now),
                *without_workers(reading.app, late, forsaken, now),
            ]
            self._see(reading.app, conditions, now)

    def _see(self, app: str, conditions: Collection[Condition], now: datetime) -> None:
        watch = self._settings.watch
        rules = Rules(
            quiet=timedelta(seconds=watch.quiet_seconds), rejoin=timedelta(seconds=watch.rejoin_seconds)
        )
        episode = self._ledger.incidents.see(app, conditions, rules=rules, now=now, channels=self._channels)
        if episode is None:
            return
        if episode.ended_at is not None:
            events.tell("episode_ended", incident=episode.incident, app=app, lasted=episode.lasted(now))
        else:
            evidence = episode.conditions[0].evidence
            events.tell("incident_began", incident=episode.incident, app=app, evidence=evidence)

    def _readings(self) -> list[AppReading]:
        readings = []
        for app in self._settings.apps:
            try:
                readings.append(self._gate.read(app))
            except GateUnavailable as error:
                events.tell("part_failed", part="watch", why=error)
                return readings
        return readings

    def _tell_of_learning(self, readings: Iterable[AppReading], now: datetime) -> None:
        for one in readings:
            learning = one.learning or not one.told
            if learning != self._learning.get(one.app, False):
                sight = Sight.LEARNING_BEGAN if learning else Sight.LEARNING_ENDED
                self._ledger.happenings.put([Happening(at=now, name=sight, app=one.app, scope=f"app:{one.app}")])
            self._learning[one.app] = learning
