"""Which operations leave the ledger now. Nothing else sends anything to the workers.

Just in time: no more are out than the living workers can work at. One dispatcher leads, any number may run.
"""

import os
import socket
from collections.abc import Callable, Sequence
from datetime import timedelta

from wabajobs import events
from wabajobs.clock import Clock
from wabajobs.errors import NotReady, WabajobsError
from wabajobs.kinds import Catalogue
from wabajobs.ledger import Ledger, Released
from wabajobs.settings import DispatchSettings
from wabajobs.signals import Presence

Send = Callable[[Sequence[Released]], Sequence[Released]]
"""Publishes what was released; returns what could not be published."""

_LEAD = "dispatcher"


class Dispatcher:
    """Releases due operations, and takes back those whose worker is gone."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        kinds: Catalogue,
        presence: Presence,
        send: Send,
        clock: Clock,
        settings: DispatchSettings,
    ) -> None:
        """Release to the living workers through `send`."""
        self._ledger = ledger
        self._kinds = kinds
        self._presence = presence
        self._send = send
        self._clock = clock
        self._settings = settings
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._leads = False

    def lead(self) -> bool:
        """Take or keep the lead; False while another dispatcher has it."""
        leads = self._ledger.leaderships.lead(
            _LEAD,
            holder=self._name,
            now=self._clock.now(),
            lease=timedelta(seconds=self._settings.leader_seconds),
        )
        if leads != self._leads:
            events.tell("lead_gained" if leads else "lead_lost", dispatcher=self._name)
            self._leads = leads
        return leads

    def resign(self) -> None:
        """Let another dispatcher lead at once."""
        if self._leads:
            self._ledger.leaderships.resign([_LEAD], holder=self._name, now=self._clock.now())

    def reclaim(self) -> int:
        """Take back what was leased to somebody who is gone; return how many."""
        sentences = self._ledger.operations.reclaim(
            now=self._clock.now(), max_attempts=self._settings.max_attempts
        )
        for sentence in sentences:
            events.tell("operation_reclaimed", what=sentence)
        return len(sentences)

    def release_due(self) -> int:
        """Send what is due to the workers that can begin it now; return how many operations went out."""
        names = self._kinds.names
        living = self._presence.living(names)
        slots = {name: sum(worker.slots for worker in living[name]) for name in names}
        if not any(slots.values()):
            return 0
        out = self._ledger.operations.out(names)
        free = {name: slots[name] - out[name] for name in names if slots[name] > out[name]}
        if not free:
            return 0
        pauses = self._ledger.decisions.pauses(now=self._clock.now())
        return sum(self._release(name, free[name], pauses) for name in free)

    def _release(self, kind: str, at_most: int, pauses: Sequence[object]) -> int:
        released = self._ledger.operations.release(
            kind,
            at_most=at_most,
            pauses=pauses,  # type: ignore[arg-type]
            now=self._clock.now(),
            lease=timedelta(seconds=self._settings.release_lease_seconds),
        )
        if not released:
            return 0
        unsent = self._send(released)
        if unsent:
            why = "the broker could not be reached"
            self._ledger.operations.take_back(unsent, now=self._clock.now(), why=why)
            events.tell("publish_failed", kind=kind, operations=len(unsent))
        return len(released) - len(unsent)


def run(
    dispatcher: Dispatcher,
    *,
    wait: Callable[[float], object],
    upkeep: Callable[[], None],
    stopping: Callable[[], bool],
    settings: DispatchSettings,
    monotonic: Callable[[], float],
) -> None:
    """Run until `stopping`: release when woken, do the upkeep every poll interval, survive every outage.

    `wait` sleeps until somebody rings, at most so many seconds. `upkeep` is whatever else has to be looked
    after (the gate's mirror). An outage of database or Redis is told once and waited out.
    """
    upkeep_due = 0.0
    leads = False
    try:
        while not stopping():
            try:
                now = monotonic()
                if now >= upkeep_due:
                    upkeep_due = now + min(settings.poll_seconds, settings.leader_seconds / 3)
                    upkeep()
                    leads = dispatcher.lead()
                    if leads:
                        dispatcher.reclaim()
                released = dispatcher.release_due() if leads else 0
                wait(settings.poll_seconds if not released else 0.0)
            except NotReady as error:
                events.tell("part_failed", part="dispatcher", why=error)
                wait(settings.poll_seconds)
    finally:
        try:
            dispatcher.resign()
        except WabajobsError as error:
            events.tell("part_failed", part="dispatcher", why=error)
