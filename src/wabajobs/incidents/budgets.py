"""Signs of an incident: budgets that are spent, or will be soon, and limits that were lowered."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from statistics import median_low
from typing import Final

from wabajobs.capability import ServiceClass
from wabajobs.gate import AppReading, WindowReading
from wabajobs.incidents.course import Course
from wabajobs.ledger import Condition, Ledger, Sample, Sight
from wabajobs.settings import WatchSettings

_GONE: Final = 1 / 3
_GONE_LONGER: Final = 0.1
"""Shares of a limit that must be gone for an episode to begin, and for it to go on."""
_FULL: Final = 0.9
"""Share of what background operations may use, from which on a budget is taken to hold some of them back."""


class Budgets:
    """How full the apps' budgets are, and how fast they fill."""

    def __init__(self, settings: WatchSettings) -> None:
        """Nothing is known yet."""
        self._settings = settings
        span = timedelta(seconds=settings.slope_seconds)
        self._all: defaultdict[str, Course] = defaultdict(lambda: Course(span))
        self._others: defaultdict[str, Course] = defaultdict(lambda: Course(span))
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


class Lowered:
    """Whether Meta grants an app less than it did, as far as its header tells.

    A limit that was lowered refuses a few calls at first, or none: from then on the gate goes by the header, and
    yet not all that is asked for can be done. Another program that begins to call with the same app looks alike.
    """

    def __init__(self, ledger: Ledger) -> None:
        """Compare with the samples of a ledger."""
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
