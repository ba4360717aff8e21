"""Signs of an incident: operations that are late, and queues that nobody serves."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from wabajobs.capability import ServiceClass
from wabajobs.errors import NotReady
from wabajobs.incidents.course import Course
from wabajobs.ledger import Condition, Late, Ledger, QueueSample
from wabajobs.settings import WatchSettings
from wabajobs.signals import Presence

_REST_TIMES: Final = 200
"""A count of the ledger that took long is followed by so many times of rest."""


class Count:
    """Counts what is not finished, as often as that may be: with a million of them it takes a while."""

    def __init__(
        self,
        ledger: Ledger,
        queues: Callable[[], Sequence[str]],
        settings: WatchSettings,
        monotonic: Callable[[], float],
    ) -> None:
        """Count at once, and then every `sample_seconds` of the settings."""
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


class Backlog:
    """Which classes of operations are late, and are not being caught up with."""

    def __init__(self, settings: WatchSettings) -> None:
        """Nothing is late yet."""
        self._bounds = {
            ServiceClass.INTERACTIVE: timedelta(seconds=settings.interactive_age_seconds),
            ServiceClass.STANDARD: timedelta(seconds=settings.standard_age_seconds),
            ServiceClass.BACKGROUND: timedelta(seconds=settings.background_age_seconds),
        }
        self._span = timedelta(seconds=settings.slope_seconds)
        self._late: dict[tuple[str, ServiceClass], tuple[datetime, Course]] = {}

    def take(self, late: Iterable[Late], now: datetime) -> None:
        """Remember a new count."""
        numbers: Counter[tuple[str, ServiceClass]] = Counter()
        oldest: dict[tuple[str, ServiceClass], datetime] = {}
        for one in late:
            of_class = one.app, one.service_class
            numbers[of_class] += one.number
            oldest[of_class] = min(one.oldest, oldest.get(of_class, one.oldest))
        overdue = {key for key, accepted in oldest.items() if now - accepted > self._bounds[key[1]]}
        self._late = {key: self._late.get(key) or (now, Course(self._span)) for key in overdue}
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


class Workers:
    """Which queues have work and no worker, and since when."""

    def __init__(self, presence: Presence, settings: WatchSettings, monotonic: Callable[[], float]) -> None:
        """Ask who is present."""
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


def without_workers(
    app: str, late: Sequence[Late], missing: Mapping[str, timedelta], now: datetime
) -> Iterable[Condition]:
    """Say which queues have operations of an app to do, and nobody who does them."""
    for queue, span in missing.items():
        number = sum(one.number for one in late if one.queue == queue and one.app == app)
        if number:
            yield Condition(
                cause="workers",
                scope=f"queue:{queue}",
                since=now - span,
                evidence=f"no worker is alive for {queue}, and {number} of its operations are to be done",
            )
