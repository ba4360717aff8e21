"""Which operations leave the ledger now. Nothing else sends anything to the workers.

Just in time: no more are out than the living workers can work at. One dispatcher leads, any number may run.
"""

import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

from wabajobs import events
from wabajobs.clock import Clock
from wabajobs.decisions import Pause, PauseMode
from wabajobs.dispatcher.flow import Flow
from wabajobs.dispatcher.picking import Forecaster, Picker, Rules
from wabajobs.dispatcher.retention import Pruner
from wabajobs.dispatcher.retries import Retries
from wabajobs.dispatcher.slots import Slots
from wabajobs.dispatcher.turns import Pool, Turns
from wabajobs.errors import NotReady, WabajobsError
from wabajobs.kinds import Catalogue
from wabajobs.ledger import DISPATCHER, Ledger, Line
from wabajobs.operation import Operation
from wabajobs.partners import Partners
from wabajobs.settings import DispatchSettings
from wabajobs.signals import Lifelines, Presence

Send = Callable[[Sequence[Operation]], Sequence[Operation]]
"""Publishes what was released; returns what could not be published."""


_BREATH_SECONDS = 0.008
"""Between two turns that release something: the slots that become free meanwhile are filled together."""
_DROPPED_AT_ONCE = 500
_SCAN_SHARE = 0.1
"""Part of its time in which a dispatcher may look for lines with work: with thousands of them that takes long."""


@dataclass(frozen=True)
class Turn:
    """What one look through the queues came to."""

    released: int = 0
    look_again: timedelta | None = None
    """When something may go that may not go now."""

    def __add__(self, other: "Turn") -> "Turn":
        waits = [wait for wait in (self.look_again, other.look_again) if wait is not None]
        return Turn(self.released + other.released, min(waits, default=None))

    def rest(self, at_most: float) -> float:
        """Return how many seconds there is nothing to do, unless somebody rings."""
        return at_most if self.look_again is None else min(at_most, max(0.0, self.look_again.total_seconds()))


@dataclass
class _Known:
    """The lines of one queue that had something ready when we looked, and still may."""

    lines: set[Line]
    good_until: float


class Dispatcher:
    """Releases due operations, and takes back those whose worker is gone."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        kinds: Catalogue,
        gate: Forecaster,
        presence: Presence,
        lifelines: Lifelines,
        send: Send,
        clock: Clock,
        settings: DispatchSettings,
        partners: Partners,
        retries: Retries,
        pruner: Pruner,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Release to the living workers through `send`."""
        self._ledger = ledger
        self._kinds = kinds
        self._gate = gate
        self._presence = presence
        self._lifelines = lifelines
        self._send = send
        self._clock = clock
        self._settings = settings
        self._partners = partners
        self._retries = retries
        self._pruner = pruner
        self._monotonic = monotonic
        self._flow = Flow(settings.travel_seconds)
        self._turns = Turns(weight=partners.weight, lower_share=settings.lower_share)
        self._known: dict[str, _Known] = {}
        # Host and process alone do not tell two containers apart that share the host's name.
        self._name = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}"
        self._leads = False
        self._taken_back: set[str] = set()
        self._gone: set[str] = set()
        """Workers that are known to be dead, though they may have announced themselves a moment ago."""
        self._somebody_died = False
        """Since it was looked last what has to be taken back."""

    def lead(self) -> bool:
        """Take or keep the lead; False while another dispatcher has it.

        Who waits for it looks who is gone, too: once he leads he knows for how long.
        """
        gone = self._lifelines.cut()
        self._somebody_died |= not gone <= self._gone
        self._gone = gone
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

    def look_after(self) -> None:
        """Do what only the leader does besides: take back, expire, delete what is old; a little at a time."""
        self.reclaim()
        self.expire()
        self.drop()
        self._pruner.work()
        self._retries.tell()
        self._retries.let_go(now=self._clock.now())

    def expire(self) -> int:
        """End what has not ended by its deadline; return how many."""
        expired = self._ledger.operations.expire(now=self._clock.now())
        if expired:
            events.tell("operations_expired", operations=len(expired))
        return len(expired)

    def drop(self) -> int:
        """Cancel some of what a person has told to be dropped; return how many."""
        pauses = self._ledger.decisions.pauses(now=self._clock.now())
        dropped = 0
        for pause in pauses:
            if pause.mode is PauseMode.DROP and pause.begins_nothing:
                dropped += self._drop(pause)
        return dropped

    def _drop(self, pause: Pause) -> int:
        kinds = [name for name in self._kinds.names if PauseMode.DROP in self._kinds[name].pause_modes]
        ids = self._ledger.operations.open_under(pause.scope, kinds=kinds, at_most=_DROPPED_AT_ONCE)
        if ids:
            self._ledger.operations.cancel(
                ids, reason=str(pause), actor=pause.actor, force=True, now=self._clock.now()
            )
            events.tell("operations_dropped", operations=len(ids), scope=pause.scope)
        return len(ids)

    def reclaim(self) -> int:
        """Take back what was leased to somebody who is gone; return how many."""
        now, settings = self._clock.now(), self._settings
        may_be_lost = now + timedelta(seconds=settings.release_lease_seconds - settings.gone_seconds)
        reclaimed = self._ledger.operations.reclaim(
            now=now,
            max_attempts=settings.max_attempts,
            gone=self._gone,
            unbegun_until=may_be_lost if self._somebody_died else None,
        )
        self._taken_back |= {one.id for one in reclaimed}
        for one in reclaimed:
            events.tell("operation_reclaimed", what=one)
        if not self._somebody_died:  # the messages have died with him, and nobody else is to blame
            for queue in {one.kind for one in reclaimed if not one.begun}:
                self._presence.complain(queue)
        self._somebody_died = False
        return len(reclaimed)

    def release_due(self) -> Turn:
        """Send what may go, and would be admitted now, to the workers that can begin it now."""
        now = self._clock.now()
        wakes = self._wake(now)
        living = self._presence.living(self._kinds.names)
        workers = [worker for theirs in living.values() for worker in theirs if worker.name not in self._gone]
        if not workers:
            return wakes
        out = self._ledger.operations.out()
        by_queue = _by(0, out)
        slots = Slots(workers, by_queue, ending=self._flow.ending(by_queue, at=self._monotonic()))
        self._partners.refresh()
        rules = Rules(pauses=self._ledger.decisions.pauses(now=now), at_most=self._partners.at_most)
        picker = Picker(
            ledger=self._ledger,
            gate=self._gate,
            settings=self._settings,
            turns=self._turns,
            slots=slots,
            out=_by(1, out),
            rules=rules,
            now=now,
            taken_back=self._taken_back,
        )
        return sum((self._serve(pool, picker) for pool in slots.pools()), wakes)

    def _wake(self, now: datetime) -> Turn:
        """Let those queue again whose hold is over; say when the next one's is."""
        due = self._ledger.operations.next_wake()
        if due is not None and due <= now:
            self._ledger.operations.wake(now=now)
            self._retries.let_go(now=now)
            self._known.clear()
            due = self._ledger.operations.next_wake()
        return Turn(look_again=None if due is None else due - now)

    def _serve(self, pool: Pool, picker: Picker) -> Turn:
        queues = [queue for queue in sorted(pool) if picker.slots.has(queue)]
        if not queues:
            return Turn()
        picked = picker.pick(pool, [line for queue in queues for line in self._lines(queue, picker.waits)])
        for line in picker.dry:
            if line.kind in self._known:
                self._known[line.kind].lines.discard(line)
        return Turn(self._release(picked), min(picker.waits, default=None))

    def _lines(self, queue: str, waits: list[timedelta]) -> set[Line]:
        """Return the queue's lines with work, and when to look for others if these are not quite new."""
        known = self._known.get(queue)
        began = self._monotonic()
        if known is not None and began < known.good_until:
            waits.append(timedelta(seconds=known.good_until - began))
            return known.lines
        found = set(self._ledger.operations.lines([queue]))
        self._known[queue] = _Known(found, began + (self._monotonic() - began) / _SCAN_SHARE)
        return found

    def _release(self, picked: Sequence[Operation]) -> int:
        released = self._ledger.operations.release(
            picked, now=self._clock.now(), lease=timedelta(seconds=self._settings.release_lease_seconds)
        )
        self._retries.count(released)
        unsent = self._send(released)
        if unsent:
            why = "the broker could not be reached"
            self._ledger.operations.take_back(unsent, now=self._clock.now(), why=why)
            events.tell("publish_failed", operations=len(unsent))
        sent = Counter(one.kind for one in released) - Counter(one.kind for one in unsent)
        for queue, number in sent.items():
            self._flow.released(queue, number)
        return len(released) - len(unsent)


def _by(part: int, out: Mapping[tuple[str, str], int]) -> Counter[str]:
    """Count what is out by queue (0) or partner (1)."""
    counted: Counter[str] = Counter()
    for names, number in out.items():
        counted[names[part]] += number
    return counted


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
                        dispatcher.look_after()
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
