"""What the public is told, before it takes a vendor's form: components, operations, incidents, maintenances.

Statuses are facts, and shown at once. Words are a person's: an announcement that was released, a pause's notice.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import groupby
from typing import Any

from wabajobs.decisions import Pause
from wabajobs.exposed.components import Component, Part, components, parts_of
from wabajobs.exposed.health import Health, Status, concerns, health, is_planned, known_since
from wabajobs.exposed.view import View
from wabajobs.kinds import Catalogue
from wabajobs.ledger import Announcement, Severity, Stage
from wabajobs.settings import StatusPageSettings

_OUTAGES = (Status.PARTIAL, Status.MAJOR)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One component, and since when it is so."""

    name: str
    health: Health
    since: datetime


@dataclass(frozen=True, kw_only=True)
class KindLine:
    """One kind of operation."""

    kind: str
    health: Health
    since: datetime
    held: int
    oldest_held: datetime | None
    next_update_due: datetime | None
    """When a person is to have told more; None while all is well."""


@dataclass(frozen=True)
class PublicIncident:
    """What was told of one incident, oldest first."""

    updates: tuple[Announcement, ...]

    @property
    def id(self) -> str:
        """A name for it that tells nothing."""
        return public_id("incident", self.updates[0].incident)

    @property
    def newest(self) -> Announcement:
        """What was told last."""
        return self.updates[-1]

    @property
    def impact(self) -> Severity:
        """The worst that it was."""
        return max((one.impact for one in self.updates), key=lambda one: one.rank)

    @property
    def is_resolved(self) -> bool:
        """Whether it was said to be over."""
        return self.newest.stage is Stage.RESOLVED

    def reached(self, stage: Stage) -> datetime | None:
        """When it was said last to have come so far; None unless it still is there, or further."""
        told = [one.at for one in self.updates if one.stage is stage]
        return told[-1] if told and list(Stage).index(self.newest.stage) >= list(Stage).index(stage) else None


@dataclass(frozen=True, kw_only=True)
class Maintenance:
    """A pause that is no answer to an incident, and of which a person has told the public."""

    id: str
    notice: str
    components: tuple[str, ...]
    begins: datetime
    ends: datetime
    """When it is to end, or when more is to be told."""


@dataclass(frozen=True, kw_only=True)
class Bulletin:
    """All that the public is told."""

    name: str
    url: str
    born: datetime
    """When this program began to tell."""
    at: datetime
    lines: tuple[Line, ...]
    kinds: tuple[KindLine, ...]
    incidents: tuple[PublicIncident, ...]
    """The newest first, resolved ones too."""
    maintenances: tuple[Maintenance, ...]

    @property
    def updated_at(self) -> datetime:
        """When something changed last."""
        told = [one.newest.at for one in self.incidents]
        return max(
            [self.born, *(one.since for one in self.lines), *told, *(one.begins for one in self.maintenances)]
        )

    @property
    def impact(self) -> Severity:
        """How bad it is now."""
        return impact_of([line.health.status for line in self.lines])

    @property
    def unwell(self) -> tuple[Line, ...]:
        """The components that are not operational."""
        return tuple(line for line in self.lines if line.health.status is not Status.OPERATIONAL)


def impact_of(statuses: Sequence[Status]) -> Severity:
    """Return what components together come to: all shut, some shut, slow, or nothing."""
    if statuses and all(one is Status.MAJOR for one in statuses):
        return Severity.CRITICAL
    if any(one in _OUTAGES for one in statuses):
        return Severity.MAJOR
    return Severity.MINOR if Status.DEGRADED in statuses else Severity.NONE


def public_id(*whose: Any) -> str:
    """Return a name for something that is always the same, and tells nothing of it."""
    return sha256(":".join(map(str, whose)).encode()).hexdigest()[:12]


class Editor:
    """Makes bulletins, and remembers since when something is as it is."""

    def __init__(self, settings: StatusPageSettings, kinds: Catalogue, *, now: datetime) -> None:
        """Write for the components of the settings. Raises `ConfigurationError`."""
        self._settings = settings
        self._kinds = kinds
        self._born = now
        self._components = components(settings.components, kinds)
        self._since: dict[str, tuple[Status, datetime]] = {}

    def bulletin(self, view: View) -> Bulletin:
        """Tell what was seen."""
        incidents = [
            PublicIncident(tuple(told))
            for _, told in groupby(
                sorted(view.announcements, key=lambda one: (one.incident, one.id)), key=lambda one: one.incident
            )
        ]
        return Bulletin(
            name=self._settings.name,
            url=self._settings.url.rstrip("/"),
            born=self._born,
            at=view.at,
            lines=tuple(self._line(one, view) for one in self._components),
            kinds=tuple(self._kind_line(name, view, incidents) for name in self._kinds.names),
            incidents=tuple(sorted(incidents, key=lambda one: one.newest.at, reverse=True)),
            maintenances=tuple(self._maintenances(view)),
        )

    def _line(self, component: Component, view: View) -> Line:
        how = health(component.parts, view, busy_share=self._settings.busy_share)
        return Line(
            name=component.name, health=how, since=self._seen_since(component.name, component.parts, how, view)
        )

    def _kind_line(self, kind: str, view: View, incidents: Iterable[PublicIncident]) -> KindLine:
        parts = parts_of(self._kinds[kind])
        how = health(parts, view, busy_share=self._settings.busy_share)
        since = self._seen_since(f"kind:{kind}", parts, how, view)
        mine = {one.name for one in self._components if any(part.kind == kind for part in one.parts)}
        told = [
            one.newest.at for one in incidents if not one.is_resolved and mine.intersection(one.newest.components)
        ]
        due = max([since, *told]) + self._until_update
        return KindLine(
            kind=kind,
            health=how,
            since=since,
            held=view.counted.held(kind),
            oldest_held=view.counted.oldest_held(kind),
            next_update_due=None if how.status is Status.OPERATIONAL else due,
        )

    def _maintenances(self, view: View) -> Iterable[Maintenance]:
        for pause in view.pauses:
            names = tuple(one.name for one in self._components if concerns(pause, one))
            if pause.notice and is_planned(pause) and pause.begins_nothing and names:
                yield Maintenance(
                    id=public_id("pause", pause.id),
                    notice=pause.notice,
                    components=names,
                    begins=pause.created_at,
                    ends=pause.ends_at or self._next_update(pause, view.at),
                )

    def _next_update(self, pause: Pause, now: datetime) -> datetime:
        """Return when more is to be told of a pause without an end."""
        told = (now - pause.created_at) // self._until_update
        return pause.created_at + (told + 1) * self._until_update

    def _seen_since(self, what: str, parts: Collection[Part], how: Health, view: View) -> datetime:
        known = self._since.get(what)
        if known is not None and known[0] is how.status:
            return known[1]
        # What was so before this program began is known from what the product has written down.
        since = None if known or how.status is Status.OPERATIONAL else known_since(parts, view)
        self._since[what] = (how.status, since or view.at)
        return self._since[what][1]

    @property
    def _until_update(self) -> timedelta:
        return timedelta(seconds=self._settings.update_seconds)
