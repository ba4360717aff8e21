"""Whose time it is: the days of September 2024, and the minutes in which a drill plays them.

Of the days only stretches are played; what lies between them is left out. Within a stretch an hour always lasts
the same, so durations in the drill are durations of the story, but for what was left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


@dataclass(frozen=True)
class Episode:
    """A time in which the app was limited. The moments are those of the public incident report."""

    number: int
    begins: datetime
    eased: datetime
    """From here on only uploads stay limited."""
    ends: datetime

    @property
    def lasts(self) -> timedelta:
        """How long it lasted."""
        return self.ends - self.begins


@dataclass(frozen=True)
class Stretch:
    """A part of the story that is played without a cut."""

    since: datetime
    until: datetime

    @property
    def hours(self) -> float:
        """Its length."""
        return (self.until - self.since) / timedelta(hours=1)


class Calendar:
    """Where the moments of the story lie in the drill, in hours since its begin."""

    def __init__(self, stretches: Sequence[Stretch]) -> None:
        """Play these stretches one after the other; overlapping ones are one."""
        self.stretches = tuple(_joined(stretches))

    @property
    def hours(self) -> float:
        """How many hours are played in all."""
        return sum(one.hours for one in self.stretches)

    @property
    def cuts(self) -> list[float]:
        """Where, in hours of the drill, something was left out."""
        return [self.hour_of(one.since) for one in self.stretches[1:]]

    def hour_of(self, moment: datetime) -> float:
        """Return the hour of the drill; that of the cut, if the moment was left out."""
        played = 0.0
        for one in self.stretches:
            if moment < one.since:
                return played
            if moment <= one.until:
                return played + (moment - one.since) / timedelta(hours=1)
            played += one.hours
        return played

    def date_of(self, hour: float) -> datetime:
        """Return the moment of the story; what comes after the end goes on from there."""
        for one in self.stretches[:-1]:
            if hour < one.hours:
                return one.since + timedelta(hours=hour)
            hour -= one.hours
        return self.stretches[-1].since + timedelta(hours=hour)


def _joined(stretches: Sequence[Stretch]) -> list[Stretch]:
    joined: list[Stretch] = []
    for one in sorted(stretches, key=lambda stretch: stretch.since):
        if joined and one.since <= joined[-1].until:
            joined[-1] = Stretch(joined[-1].since, max(joined[-1].until, one.until))
        else:
            joined.append(one)
    return joined


def september(day: int, clock: str) -> datetime:
    """Return a moment of September 2024."""
    hour, minute = clock.split(":")
    return datetime(2024, 9, day, int(hour), int(minute), tzinfo=UTC)
