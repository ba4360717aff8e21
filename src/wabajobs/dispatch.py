"""Which operations leave the ledger now. Nothing else sends anything to the workers.

Just in time: no more are out than the living workers can work at. One dispatcher leads, any number may run.
"""

import os
import socket
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol
from uuid import uuid4

from wabajobs import events
from wabajobs.clock import Clock
from wabajobs.decisions import Pause
from wabajobs.errors import NotReady, WabajobsError
from wabajobs.gate import Call, Wait
from wabajobs.kinds import Catalogue
from wabajobs.ledger import DISPATCHER, Ledger, Need
from wabajobs.operation import Operation
from wabajobs.settings import DispatchSettings
from wabajobs.signals import Presence

Send = Callable[[Sequence[Operation]], Sequence[Operation]]
"""Publishes what was released; returns what could not be published."""


class Forecaster(Protocol):
    """What is asked of the gate."""

    def forecast(self, calls: Sequence[Call]) -> Sequence[Wait | None]:
        """Say of each call what it would have to wait for now; nothing is charged."""
        ...


_BREATH_SECONDS = 0.005
"""Between two turns that release something: the slots that become free meanwhile are filled together."""


@dataclass(frozen=True)
class Turn:
    """What one look through the queues came to."""

    released: int = 0
    look_again: timedelta | None = None
    """When the gate would let something pass that it refuses now."""

    def __add__(self, other: "Turn") -> "Turn":
        waits = [wait for wait in (self.look_again, other.look_again) if wait is not None]
        return Turn(self.released + other.released, min(waits, default=None))

    def rest(self, at_most: float) -> float:
        """Return how many seconds there is nothing to do, unless somebody rings."""
        return at_most if self.look_again is None else min(at_most, self.look_again.total_seconds())


class Dispatcher:
    """Releases due operations, and takes back those whose worker is gone."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        kinds: Catalogue,
        gate: Forecaster,
        presence: Presence,
        send: Send,
        clock: Clock,
        settings: DispatchSettings,
    ) -> None:
        """Release to the living workers through `send`."""
        self._ledger = ledger
        self._kinds = kinds
        self._gate = gate
        self._presence = presence
        self._send = send
        self._clock = clock
        self._settings = settings
        # Host and process alone do not tell two containers apart that share the host's name.
        self._name = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"
        self._leads = False

    def lead(self) -> bool:
        """Take or keep the lead; False while another dispatcher has it."""
        leads = self._ledger.leaderships.lead(
            DISPATCHER,
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
            self._ledger.leaderships.resign([DISPATCHER], holder=self._name, now=self._clock.now())

    def reclaim(self) -> int:
        """Take back what was leased to somebody who is gone; return how many."""
        sentences = self._ledger.operations.reclaim(
            now=self._clock.now(), max_attempts=self._settings.max_attempts
        )
        for sentence in sentences:
            events.tell("operation_reclaimed", what=sentence)
        return len(sentences)

    def release_due(self) -> Turn:
        """Send what is due, and would be admitted now, to the workers that can begin it now."""
        names = self._kinds.names
        living = self._presence.living(names)
        slots = {name: sum(worker.slots for worker in living[name]) for name in names}
        if not any(slots.values()):
            return Turn()
        out = self._ledger.operations.out(names)
        free = {name: slots[name] - out[name] for name in names if slots[name] > out[name]}
        if not free:
            return Turn()
        pauses = self._ledger.decisions.pauses(now=self._clock.now())
        return sum((self._release(name, free[name], pauses) for name in free), Turn())

    def _release(self, kind: str, at_most: int, pauses: Collection[Pause]) -> Turn:
        due, look_again = self._affordable(kind, at_most, pauses)
        released = self._ledger.operations.release(
            due, now=self._clock.now(), lease=timedelta(seconds=self._settings.release_lease_seconds)
        )
        unsent = self._send(released)
        if unsent:
            why = "the broker could not be reached"
            self._ledger.operations.take_back(unsent, now=self._clock.now(), why=why)
            events.tell("publish_failed", kind=kind, operations=len(unsent))
        return Turn(len(released) - len(unsent), look_again)

    def _affordable(
        self, kind: str, at_most: int, pauses: Collection[Pause]
    ) -> tuple[list[Operation], timedelta | None]:
        """Return due operations whose next call the gate would not refuse, and when to look again for others.

        What it would refuse stays where it lies: going to a worker to hear so would cost a slot, three
        transactions and a message each.
        """
        shut: dict[Need, Wait] = {}
        asked: set[Need] = set()
        while True:
            now = self._clock.now()
            due = self._ledger.operations.next_due(kind, at_most=at_most, pauses=pauses, shut=shut, now=now)
            needs = list({Need.of(operation) for operation in due} - asked)
            refused = {
                need: wait
                for need, wait in zip(needs, self._forecast(kind, needs), strict=True)
                if wait is not None
            }
            if not refused:
                waits = [wait.delay for wait in shut.values() if wait.delay is not None]
                return due, min(waits, default=None)
            asked |= set(needs)
            shut |= refused

    def _forecast(self, kind: str, needs: Sequence[Need]) -> Sequence[Wait | None]:
        short = timedelta(seconds=self._settings.short_wait_seconds)
        waits = self._gate.forecast(
            [
                Call(
                    app=need.app,
                    queue=kind,
                    partner="",
                    capability=need.capability,
                    service_class=need.service_class,
                )
                for need in needs
            ]
        )
        # A short wait is slept out in the worker, which is quicker than to come back for it.
        return [wait if wait and (wait.delay is None or wait.delay > short) else None for wait in waits]


def run(
    dispatcher: Dispatcher,
    *,
    wait: Callable[[float], object],
    upkeep: Callable[[], None],
    stopping: Callable[[], bool],
    settings: DispatchSettings,
    monotonic: Callable[[], float],
    breathe: Callable[[float], object] = time.sleep,
    while_leading: Callable[[], None] = lambda: None,
) -> None:
    """Run until `stopping`: release when woken, do the upkeep every poll interval, survive every outage.

    `wait` sleeps until somebody rings, at most so many seconds. `upkeep` is whatever else has to be looked
    after (the gate's mirror), `while_leading` what only the leader does (planning). An outage of database or
    Redis is told once and waited out.
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
                        while_leading()
                turn = dispatcher.release_due() if leads else Turn()
                if turn.released:
                    breathe(_BREATH_SECONDS)
                else:
                    wait(turn.rest(settings.poll_seconds))
            except NotReady as error:
                events.tell("part_failed", part="dispatcher", why=error)
                leads, upkeep_due = False, 0.0  # somebody else may lead by now: ask before anything else
                wait(settings.poll_seconds)
    finally:
        try:
            dispatcher.resign()
        except WabajobsError as error:
            events.tell("part_failed", part="dispatcher", why=error)
