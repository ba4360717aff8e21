"""The watch: looks at breakers, budgets and queues, keeps what it sees, and opens incidents by itself.

Only where a dispatcher leads, in a thread of its own: no operation waits for it. What cannot be asked, because
Redis is away, is neither well nor ill: nothing begins and nothing ends by it.
"""

import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import combinations
from statistics import median_low
from typing import Final, Protocol

from wabajobs import events
from wabajobs.beside import Beside
from wabajobs.capability import ServiceClass
from wabajobs.clock import Clock
from wabajobs.errors import GateUnavailable, NotReady
from wabajobs.gate import AppReading, SpentPart, WindowReading
from wabajobs.ledger import (
    Condition,
    Happening,
    Late,
    Ledger,
    QueueSample,
    Rules,
    Sample,
    Sight,
    Used,
    Who,
)
from wabajobs.settings import Settings, WatchSettings
from wabajobs.signals import Presence

_REST_TIMES: Final = 200
"""A count of the ledger that took long is followed by so many times of rest."""
_ALL_PARTS: Final = 12
_UNSETTLED_PARTS: Final = 3
_POINTS: Final = 30
"""Of a slope."""
_GONE: Final = 1 / 3
_GONE_LONGER: Final = 0.1
"""Shares of a limit that must be gone for an episode to begin, and for it to go on."""
_FULL: Final = 0.9
"""Share of what background operations may use, from which on a budget is taken to hold some of them back."""
_TRIPS: Final = 1000
"""Openings of breakers that one look takes in."""


class Gate(Protocol):
    """What is asked of the gate."""

    def read(self, app: str) -> AppReading:
        """Return what it knows of an app."""
        ...

    def spent_parts(self, app: str, *, newest: int) -> Sequence[SpentPart]:
        """Return who used the app's budget in the newest parts of the window."""
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
        self._queues = queues
        self._settings = settings
        self._clock = clock
        self._channels = channels
        self._budgets = _Budgets(settings.watch)
        self._lowered = _Lowered(ledger)
        self._backlog = _Backlog(settings.watch)
        self._trips = _Trips(ledger)
        self._learning: dict[str, bool] = {}
        self._workers = _Workers(presence, settings.watch, monotonic)
        self._counter = _Counter(ledger, queues, settings.watch, monotonic)
        self._spending = _Spending(ledger, gate, part_seconds=settings.gate.window_seconds / _ALL_PARTS)
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
        queues, late = self._counter.count(now)
        if queues:
            self._backlog.take(late, now)
        if self._monotonic() >= self._sample_due:
            self._sample_due = self._monotonic() + self._settings.watch.sample_seconds
            self._ledger.samples.put(self._budgets.samples(readings, now), queues)
            self._spending.keep(readings, now)
        forsaken = self._workers.missing_for(late)
        for reading in readings:
            conditions = [
                *_broken(reading, trips, now),
                *self._budgets.conditions(reading, now),
                *self._lowered.conditions(reading, now),
                *self._backlog.conditions(reading.app, late, now),
                *_without_workers(reading.app, late, forsaken, now),
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


# ── breakers ─────────────────────────────────────────────────────────────────────────────────────────────────


class _Trips:
    """The openings of breakers that the workers have told, also of those that are closed again."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: int | None = None

    def since_the_last_look(self) -> list[Happening]:
        if self._known is None:
            self._known = self._ledger.happenings.newest()
            return []
        found = self._ledger.happenings.find(names=[Sight.BREAKER_OPENED], after=self._known, at_most=_TRIPS)
        self._known = max([self._known, *(one.id for one in found if one.id is not None)])
        return found


def _broken(reading: AppReading, trips: Sequence[Happening], now: datetime) -> Iterable[Condition]:
    """Return the breakers of the app and its capabilities that are open, or were since the last look.

    One that a person holds open is no news to people.
    """
    of_app = (f"app:{reading.app}", f"app:{reading.app}/")
    told = {one.scope: one for one in reversed(trips) if one.scope and one.app == reading.app}
    for breaker in reading.breakers:
        if not (breaker.scope == of_app[0] or breaker.scope.startswith(of_app[1])) or breaker.held:
            continue
        trip = told.get(breaker.scope)
        if breaker.state == "closed" and trip is None:
            continue
        evidence = trip.detail.get("evidence") if trip else breaker.evidence
        yield Condition(
            cause="breaker",
            scope=breaker.scope,
            since=trip.at if trip else now,
            evidence=f"the breaker of {breaker.scope} has opened ({evidence})",
        )


# ── budgets ──────────────────────────────────────────────────────────────────────────────────────────────────


class _Course:
    """How a number has gone of late."""

    def __init__(self, span: timedelta) -> None:
        self._span = span
        self._points: deque[tuple[datetime, int]] = deque()

    def take(self, number: int, now: datetime) -> None:
        """Remember how much it is now."""
        if not self._points or now - self._points[-1][0] >= self._span / _POINTS:
            self._points.append((now, number))
        while len(self._points) > 1 and self._points[1][0] <= now - self._span:
            self._points.popleft()

    @property
    def is_known(self) -> bool:
        """Whether it has been looked at for long enough."""
        return len(self._points) > 1 and self._points[-1][0] - self._points[0][0] >= self._span / 2

    @property
    def rate(self) -> float:
        """What it grows by in a second: the middle of all slopes, which a single leap does not bend.

        A header of Meta's can make a budget leap. 0 when it has not been looked at for long enough.
        """
        if not self.is_known:
            return 0.0
        pairs = combinations(self._points, 2)
        slopes = ((after - before) / (end - since).total_seconds() for (since, before), (end, after) in pairs)
        return median_low(slopes)


class _Budgets:
    """How full the apps' budgets are, and how fast they fill."""

    def __init__(self, settings: WatchSettings) -> None:
        self._settings = settings
        span = timedelta(seconds=settings.slope_seconds)
        self._all: defaultdict[str, _Course] = defaultdict(lambda: _Course(span))
        self._others: defaultdict[str, _Course] = defaultdict(lambda: _Course(span))
        self._high: dict[str, float] = {}

    def take(self, readings: Iterable[AppReading], now: datetime) -> None:
        """Remember how full they are now."""
        for reading in readings:
            if (window := _window(reading)) is None:
                continue
            self._all[reading.app].take(window.used + window.others, now)
            self._others[reading.app].take(window.others, now)
            self._high[reading.app] = max(self._high.get(reading.app, 0.0), _percent(window))

    def samples(self, readings: Iterable[AppReading], now: datetime) -> list[Sample]:
        """Return how full they are now, and were at most since the last samples."""
        high, self._high = self._high, {}
        return [
            Sample(
                at=now,
                app=reading.app,
                scope=window.scope,
                used=window.used,
                others=window.others,
                limit=window.limit,
                percent=_percent(window),
                percent_high=max(high.get(reading.app, 0.0), _percent(window)),
                in_flight=reading.in_flight,
                learning=reading.learning,
                broken=tuple(one.scope for one in reading.breakers if one.state != "closed"),
            )
            for reading in readings
            if (window := _window(reading)) is not None
        ]

    def conditions(self, reading: AppReading, now: datetime) -> Iterable[Condition]:
        """Say when a budget is spent for interactive operations, or will be soon."""
        window = _window(reading)
        if window is None or reading.learning or not reading.told:
            return
        left = self._left(reading.app, window)
        if left is None or left > timedelta(seconds=self._settings.exhausted_within_seconds):
            return
        minutes = left.total_seconds() / 60
        when = f"will be spent in {minutes:.0f} min, as it fills now" if left else "is spent"
        yield Condition(
            cause="budget",
            scope=window.scope,
            since=now,
            evidence=(
                f"the budget of {window.scope} {when}: {window.used} calls of ours and {window.others} of others,"
                f" of {window.limit}"
            ),
        )

    def _left(self, app: str, window: WindowReading) -> timedelta | None:
        """Return when it will be spent if it goes on filling as of late; None if it will not.

        Background and standard operations stop at their own ceilings, and what they have used leaves. So only
        people and others can fill the rest: a backlog that is worked off at full pace spends nothing of that.
        """
        full = window.used + window.others
        room = window.usable.get(ServiceClass.INTERACTIVE, window.limit) - full
        if full < self._settings.exhausted_from * window.limit:
            return None
        if room <= 0:
            return timedelta(0)
        unstoppable = (window.people - window.used) / window.window.total_seconds() + self._others[app].rate
        rate = min(self._all[app].rate, unstoppable)
        return timedelta(seconds=room / rate) if rate > 0 else None


class _Lowered:
    """Whether Meta grants an app less than it did, as far as its header tells.

    A limit that was lowered refuses a few calls at first, or none: from then on the gate goes by the header, and
    yet not all that is asked for can be done. Another program that begins to call with the same app looks alike.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def conditions(self, reading: AppReading, now: datetime) -> Iterable[Condition]:
        """Say that Meta counts more beyond our own calls than it did, and that work is held back by it.

        An episode goes on for as long as a tenth of the limit is gone since it began; one begins with a third.
        """
        window = _window(reading)
        if window is None or reading.learning or not reading.told or not _holds_back(window):
            return
        episode = self._ledger.incidents.running(reading.app)
        before = self._others_before(reading.app, episode.began_at if episode else now, window.window)
        gone = _GONE_LONGER if episode else _GONE
        if before is None or window.others - before <= gone * window.limit:
            return
        yield Condition(
            cause="limit",
            scope=window.scope,
            since=now,
            evidence=(
                f"Meta counts {window.others} calls of {window.scope} beyond our own, of {window.limit}, and had"
                f" counted {before}: its limit is lower than it was, or somebody else calls"
            ),
        )

    def _others_before(self, app: str, moment: datetime, window: timedelta) -> int | None:
        """Return what Meta counted beyond our own calls in the window before a moment; None if nobody knows.

        After a loss of the gate's state, calls of ours are among them until two windows have gone.
        """
        lost = [Sight.LEARNING_BEGAN, Sight.LEARNING_ENDED]
        if self._ledger.happenings.find(names=lost, app=app, since=moment - 2 * window, until=moment, at_most=1):
            return None
        samples = self._ledger.samples.usage(app=app, since=moment - window, until=moment)
        return median_low(one.others for one in samples) if samples else None


def _holds_back(window: WindowReading) -> bool:
    if window.others <= _GONE_LONGER * window.limit:
        return False
    return window.used + window.others >= _FULL * window.usable.get(ServiceClass.BACKGROUND, window.limit)


def _window(reading: AppReading) -> WindowReading | None:
    return next((one for one in reading.windows if one.scope == f"app:{reading.app}"), None)


def _percent(window: WindowReading) -> float:
    return 100 * (window.used + window.others) / window.limit if window.limit else 0.0


# ── queues ───────────────────────────────────────────────────────────────────────────────────────────────────


class _Counter:
    """Counts what is not finished, as often as that may be: with a million of them it takes a while."""

    def __init__(
        self,
        ledger: Ledger,
        queues: Callable[[], Sequence[str]],
        settings: WatchSettings,
        monotonic: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._queues = queues
        self._settings = settings
        self._monotonic = monotonic
        self._due = monotonic()
        self._late: tuple[Late, ...] = ()

    def count(self, now: datetime) -> tuple[tuple[QueueSample, ...], tuple[Late, ...]]:
        """Return the samples of a new count, if it is time for one, and what was late at the newest."""
        began = self._monotonic()
        if began < self._due:
            return (), self._late
        pauses = self._ledger.decisions.pauses(now=now)
        counted = self._ledger.samples.count(pauses=pauses, queues=self._queues(), now=now)
        took = self._monotonic() - began
        self._due = began + max(self._settings.sample_seconds, _REST_TIMES * took)
        self._late = counted.late
        return counted.queues, counted.late


class _Backlog:
    """Which classes of operations are late, and are not being caught up with."""

    def __init__(self, settings: WatchSettings) -> None:
        self._bounds = {
            ServiceClass.INTERACTIVE: timedelta(seconds=settings.interactive_age_seconds),
            ServiceClass.STANDARD: timedelta(seconds=settings.standard_age_seconds),
            ServiceClass.BACKGROUND: timedelta(seconds=settings.background_age_seconds),
        }
        self._span = timedelta(seconds=settings.slope_seconds)
        self._late: dict[tuple[str, ServiceClass], tuple[datetime, _Course]] = {}

    def take(self, late: Iterable[Late], now: datetime) -> None:
        """Remember a new count."""
        numbers: Counter[tuple[str, ServiceClass]] = Counter()
        oldest: dict[tuple[str, ServiceClass], datetime] = {}
        for one in late:
            of_class = one.app, one.service_class
            numbers[of_class] += one.number
            oldest[of_class] = min(one.oldest, oldest.get(of_class, one.oldest))
        overdue = {key for key, accepted in oldest.items() if now - accepted > self._bounds[key[1]]}
        self._late = {key: self._late.get(key) or (now, _Course(self._span)) for key in overdue}
        for key, (_, course) in self._late.items():
            course.take(numbers[key], now)

    def conditions(self, app: str, late: Iterable[Late], now: datetime) -> Iterable[Condition]:
        """Say which classes are late. One that will be caught up with in time, as it shrinks now, is not.

        What was let go on after a pause is old at once. So it is told when it has been seen how it goes on.
        """
        for service_class, bound in self._bounds.items():
            since, course = self._late.get((app, service_class), (now, None))
            mine = [one for one in late if one.app == app and one.service_class is service_class]
            if course is None or not course.is_known or not mine:
                continue
            if course.rate < 0 and timedelta(seconds=sum(one.number for one in mine) / -course.rate) <= bound:
                continue
            oldest = min(mine, key=lambda one: one.oldest)
            minutes = (now - oldest.oldest).total_seconds() / 60
            yield Condition(
                cause="backlog",
                scope=f"class:{service_class}",
                since=since,
                evidence=(
                    f"{service_class} operations of app:{app} are late: the oldest, of {oldest.queue}, was asked"
                    f" for {minutes:.0f} min ago"
                ),
            )


class _Workers:
    """Which queues have work and no worker, and since when."""

    def __init__(self, presence: Presence, settings: WatchSettings, monotonic: Callable[[], float]) -> None:
        self._presence = presence
        self._settings = settings
        self._monotonic = monotonic
        self._since: dict[str, float] = {}

    def missing_for(self, late: Iterable[Late]) -> dict[str, timedelta]:
        """Return the queues without workers for long enough, and for how long; none when Redis cannot say."""
        queues = sorted({one.queue for one in late})
        try:
            living = self._presence.living(queues) if queues else {}
        except NotReady:
            return {}
        now = self._monotonic()
        self._since = {queue: self._since.get(queue, now) for queue in queues if not living[queue]}
        missing = {queue: now - since for queue, since in self._since.items()}
        bound = self._settings.no_worker_seconds
        return {queue: timedelta(seconds=span) for queue, span in missing.items() if span >= bound}


def _without_workers(
    app: str, late: Sequence[Late], missing: Mapping[str, timedelta], now: datetime
) -> Iterable[Condition]:
    for queue, span in missing.items():
        number = sum(one.number for one in late if one.queue == queue and one.app == app)
        if number:
            yield Condition(
                cause="workers",
                scope=f"queue:{queue}",
                since=now - span,
                evidence=f"no worker is alive for {queue}, and {number} of its operations are to be done",
            )


# ── spending ─────────────────────────────────────────────────────────────────────────────────────────────────


class _Spending:
    """Copies the gate's counters of who spent what into the ledger."""

    def __init__(self, ledger: Ledger, gate: Gate, *, part_seconds: float) -> None:
        self._ledger = ledger
        self._gate = gate
        self._part_seconds = part_seconds
        self._kept: dict[str, dict[datetime, SpentPart]] = {}
        self._kept_at: dict[str, datetime] = {}

    def keep(self, readings: Iterable[AppReading], now: datetime) -> None:
        """Copy the parts of a window that may have changed since the last time, and all of them at first."""
        for reading in readings:
            kept = self._kept.get(reading.app, {})
            try:
                parts = self._gate.spent_parts(reading.app, newest=self._newest(reading.app, now))
            except GateUnavailable as error:
                events.tell("part_failed", part="watch", why=error)
                return
            for part in parts:
                if kept.get(part.since) != part:
                    self._keep(reading.app, part)
            self._kept[reading.app] = {part.since: part for part in parts}
            self._kept_at[reading.app] = now

    def _newest(self, app: str, now: datetime) -> int:
        if app not in self._kept_at:
            return _ALL_PARTS
        passed = (now - self._kept_at[app]).total_seconds()
        # A call is settled up to some parts after it was admitted, and counted where it was admitted.
        return min(_ALL_PARTS, int(passed / self._part_seconds) + _UNSETTLED_PARTS)

    def _keep(self, app: str, part: SpentPart) -> None:
        used = [
            Used(
                who=Who(queue=one.queue, partner=one.partner, capability=one.capability, waba=one.waba),
                calls=one.calls,
                refused=one.refused,
            )
            for one in part.spenders
        ]
        self._ledger.spending.put(app, part.since, used, lasting=part.lasting, generation=part.generation)
