"""What is asked for, and when: the same for all sides of a drill, from a seed."""

import random
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

PARTNERS: Final = ("acme", "bravo", "corto", "delta", "elmo", "forte", "gusto", "hallo")
FLOODER: Final = "mega"
"""The partner of a flood."""

DAY: Final[Mapping[str, float]] = {
    "profile_update": 6,
    "channel_update": 4,
    "flow_publish": 3,
    "number_registration": 1,
    "onboarding": 0.8,
    "hosting_change": 0.4,
    "template_create": 12,
    "template_media": 4,
    "template_edit": 3,
    "profile_photo": 4,
    "number_migration": 1,
    "template_migration": 1,
}
"""Requests in an hour of an ordinary day, beside the syncs of the fleet."""


@dataclass(frozen=True)
class Arrival:
    """One request."""

    number: int
    """Its place among all, from 0."""
    at: float
    """Hours since the begin of the drill."""
    what: str
    """A kind; `template_media` is a template with a file in its header, `flood` one of a flood."""
    place: int
    """Which of this sort it is, from 0; of a `template_sync` which WABA of the fleet."""

    @property
    def kind(self) -> str:
        """The kind of operation."""
        return "template_create" if self.what in ("template_media", "flood") else self.what


def ordinary(*, hours: float, fleet: int, seed: int, load: float = 1.0) -> list[Arrival]:
    """Return the requests of ordinary days: people at random moments, and a sync of each WABA every hour."""
    found = [
        (at, what, place) for what, rate in DAY.items() for place, at in _poisson(what, rate * load, hours, seed)
    ]
    found += hourly(hours=hours, fleet=fleet, seed=seed)
    return numbered(found)


def hourly(*, hours: float, fleet: int, seed: int, since: float = 0.0) -> list[tuple[float, str, int]]:
    """Return a sync of each WABA every hour, each at a minute of its own."""
    source = random.Random(f"{seed}:minutes")
    minutes = [source.random() for _ in range(fleet)]
    return [
        (since + hour + minutes[waba], "template_sync", waba)
        for hour in range(int(hours) + 1)
        for waba in range(fleet)
        if hour + minutes[waba] < hours
    ]


def numbered(found: Iterable[tuple[float, str, int]]) -> list[Arrival]:
    """Return requests in the order of their moments."""
    return [Arrival(number, *one) for number, one in enumerate(sorted(found))]


def needs(arrivals: Iterable[Arrival]) -> dict[str, int]:
    """Return how many there are of each sort."""
    return dict(Counter(one.what for one in arrivals))


def _poisson(what: str, rate: float, hours: float, seed: int) -> list[tuple[int, float]]:
    source = random.Random(f"{seed}:{what}")
    found: list[float] = []
    at = source.expovariate(rate)
    while at < hours:
        found.append(at)
        at += source.expovariate(rate)
    return list(enumerate(found))
