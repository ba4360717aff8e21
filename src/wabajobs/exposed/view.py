"""What is seen in one look: decisions, breakers, budgets, programs, and the operations, which take long to count.

One thread looks, now and then. Whoever asks is answered from what was seen last: no request costs a query.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from wabajobs import events
from wabajobs.capability import Capability, ServiceClass
from wabajobs.clock import Clock
from wabajobs.decisions import Pause
from wabajobs.errors import LedgerUnavailable, NotReady
from wabajobs.gate import AppReading, Gate, Spender
from wabajobs.kinds import Catalogue
from wabajobs.ledger import DISPATCHER, Announcement, Backlog, Incident, Ledger, Part, Spent
from wabajobs.operation import State
from wabajobs.settings import Settings
from wabajobs.signals import Presence

_BUDGETS: Final = tuple(f"capability:{each}" for each in Capability)
"""Budgets that are looked at beside the app's own, where somebody has set them."""
_RECENTLY: Final = timedelta(hours=1)
_COUNTING_SHARE: Final = 0.005
"""Part of the time in which operations may be counted: with a million of them that takes a second or two."""


@dataclass(frozen=True, kw_only=True)
class Unfinished:
    """Operations of one kind that stand alike."""

    kind: str
    state: State
    by: str
    """What holds them: `pause`, `breaker`, `budget` and so on; empty when nothing does."""
    service_class: ServiceClass
    number: int
    oldest: datetime
    """When the first of them was accepted."""


@dataclass(frozen=True, kw_only=True)
class Counted:
    """The operations, as they were counted last."""

    at: datetime
    seconds: float
    """How long it took to count them."""
    unfinished: tuple[Unfinished, ...] = ()
    finished: Mapping[tuple[str, State], int] = field(default_factory=dict)
    """Those of the last hour, by queue and how they ended."""
    spenders: Mapping[str, tuple[Spender, ...]] = field(default_factory=dict)
    """Who used each app's budget in its window, the largest first."""
    spent: Mapping[str, tuple[Spent, ...]] = field(default_factory=dict)
    """What was spent by each app within the last hour or so, by capability."""

    def held(self, kind: str) -> int:
        """How many operations of a kind are held."""
        return sum(one.number for one in self._held(kind))

    def oldest_held(self, kind: str) -> datetime | None:
        """When the first of those that are held was accepted."""
        return min((one.oldest for one in self._held(kind)), default=None)

    def waits(self, kind: str) -> bool:
        """Whether anything of a kind wants a worker."""
        return any(one.kind == kind and one.state in (State.WAITING, State.RUNNING) for one in self.unfinished)

    def _held(self, kind: str) -> list[Unfinished]:
        return [one for one in self.unfinished if one.kind == kind and one.state is State.HELD]


@dataclass(frozen=True, kw_only=True)
class View:
    """Everything at one moment. What could not be asked is None, and its error told."""

    at: datetime
    counted: Counted
    revision: int = 0
    """Of the newest decision."""
    pauses: tuple[Pause, ...] = ()
    leads: bool = False
    """Whether a dispatcher does."""
    callbacks: Backlog | None = None
    incidents: tuple[Incident, ...] = ()
    """Those that nobody has closed yet."""
    announcements: tuple[Announcement, ...] = ()
    apps: tuple[AppReading, ...] | None = None
    workers: Mapping[str, tuple[int, int]] | None = None
    """Living workers, and their slots, by queue."""
    unfetched: frozenset[str] = frozenset()
    """Queues whose messages lay unfetched within the last minute."""
    ledger_error: str | None = None
    redis_error: str | None = None


class Looker:
    """Looks at everything, and keeps what was seen."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        gate: Gate,
        presence: Presence,
        kinds: Catalogue,
        settings: Settings,
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing has been seen yet."""
        self._ledger = ledger
        self._gate = gate
        self._presence = presence
        self._kinds = kinds
        self._settings = settings
        self._clock = clock
        self._monotonic = monotonic
        self._count_again = 0.0
        self._seen = View(at=clock.now(), counted=Counted(at=clock.now(), seconds=0.0), ledger_error="not asked")

    @property
    def seen(self) -> View:
        """What was seen last."""
        return self._seen

    def look(self) -> View:
        """Look once more. What is away is told in the view itself, and the last count stays as it was."""
        now = self._clock.now()
        view = self._at_redis(replace(self._seen, at=now))
        try:
            view = self._at_ledger(view, now)
        except LedgerUnavailable as error:
            view = replace(view, ledger_error=str(error), leads=False)
        self._seen = view
        return view

    def keep_looking(self, stopping: threading.Event, *, tell: Callable[[View], object]) -> None:
        """Look until told to stop, and `tell` what was seen; an outage is told in the log when it begins."""
        known = ""
        while not stopping.wait(self._settings.status_page.look_seconds):
            try:
                view = self.look()
                tell(view)
                trouble = "; ".join(filter(None, (view.ledger_error, view.redis_error)))
            except Exception as error:  # this thread must live, whatever the fault: nobody else looks
                trouble = f"{type(error).__name__}: {error}"
            if trouble and trouble != known:
                events.tell("part_failed", part="feeds", why=trouble)
            known = trouble

    def _at_redis(self, view: View) -> View:
        try:
            living = self._presence.living(self._kinds.names)
            return replace(
                view,
                apps=tuple(self._gate.read(app, budgets=_BUDGETS) for app in self._settings.apps),
                workers={name: (len(them), sum(one.slots for one in them)) for name, them in living.items()},
                unfetched=frozenset(self._presence.complaints(self._kinds.names)),
                redis_error=None,
            )
        except NotReady as error:
            return replace(view, apps=None, workers=None, unfetched=frozenset(), redis_error=str(error))

    def _at_ledger(self, view: View, now: datetime) -> View:
        decisions = self._ledger.decisions.current(now=now)
        view = replace(
            view,
            revision=decisions.revision,
            pauses=decisions.pauses,
            leads=self._ledger.leaderships.holder(DISPATCHER, now=now) is not None,
            callbacks=self._ledger.callbacks.backlog() if self._settings.callbacks.url else None,
            incidents=tuple(self._ledger.incidents.find(open_only=True)),
            announcements=tuple(self._ledger.announcements.newest()),
            ledger_error=None,
        )
        began = self._monotonic()
        if began < self._count_again:
            return view
        parts = self._ledger.operations.census_under(decisions.pauses)
        finished = self._ledger.operations.count_finished(since=now - _RECENTLY)
        seconds = self._monotonic() - began
        self._count_again = began + seconds + seconds / _COUNTING_SHARE
        counted = Counted(
            at=now,
            seconds=seconds,
            unfinished=tuple(_gathered(parts)),
            finished={(kind, state): number for kind, state, number in finished},
            spenders=self._spenders(),
            spent={
                app: tuple(self._ledger.spending.by("capability", app=app, since=now - _RECENTLY))
                for app in self._settings.apps
            },
        )
        return replace(view, counted=counted)

    def _spenders(self) -> dict[str, tuple[Spender, ...]]:
        try:
            return {app: tuple(self._gate.spenders(app)) for app in self._settings.apps}
        except NotReady:
            return {}


def _gathered(parts: Iterable[Part]) -> Iterable[Unfinished]:
    """Gather what differs in app, partner or capability only."""
    found: dict[tuple[str, State, str, ServiceClass], tuple[int, datetime]] = {}
    for part in parts:
        alike = (part.line.kind, part.state, part.held_by or "", part.line.service_class)
        number, oldest = found.get(alike, (0, part.oldest))
        found[alike] = (number + part.operations, min(oldest, part.oldest))
    for (kind, state, by, service_class), (number, oldest) in found.items():
        yield Unfinished(kind=kind, state=state, by=by, service_class=service_class, number=number, oldest=oldest)
