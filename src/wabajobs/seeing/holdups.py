"""Holdups: what cannot go on now, of which queue, how many, what holds them and when that ends.

What the ledger holds row by row, and what only waits there because nothing would let it go: a pause, an open
breaker, a spent budget, no worker. Nothing is charged, and nothing is moved, by looking.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Final

from wabajobs.clock import Clock
from wabajobs.decisions import Pause, Scope, longest
from wabajobs.dispatcher.picking import Forecaster
from wabajobs.errors import NotReady
from wabajobs.freshness import spoken
from wabajobs.gate import Wait
from wabajobs.kinds import Catalogue
from wabajobs.ledger import Ledger, Line, Part, is_fine, less
from wabajobs.operation import Operation, State, hold_of
from wabajobs.outcome import Hold, Origin
from wabajobs.seeing.kept import refusals
from wabajobs.settings import DispatchSettings
from wabajobs.signals import Presence

WORKERS: Final = "workers"
NEEDS_INPUT: Final = "needs_input"
_REST: Final = 200
"""A count rests so many times as long as it took."""
_LINES: Final = 5
"""From which examples are taken: each costs a query."""
_WHO: Final = {Origin.PERSON: "A person", Origin.OURS: "We ourselves", Origin.META: "Meta"}


@dataclass(frozen=True, kw_only=True)
class Cause:
    """What holds operations."""

    by: str
    """As in `Hold.by`; or `workers`, `needs_input`."""
    scope: str
    """What of it: `queue:template_sync` of a pause, `app:1/uploads` of a breaker, `app:1` of a budget."""
    reason: str
    until: datetime | None = None
    """When it is worth looking again; None when only a person can say."""
    notice: str | None = None
    """What the Hub may tell its customers meanwhile."""

    @property
    def origin(self) -> Origin:
        """Whose word it is: a person's, our own or Meta's."""
        return Origin.PERSON if self.by == NEEDS_INPUT else Origin.of(self.by)

    @property
    def hold(self) -> Hold:
        """The hold that it means for an operation."""
        return Hold(reason=self.reason, by=self.by, until=self.until, notice=self.notice)


@dataclass(frozen=True, kw_only=True)
class Holdup:
    """Operations of one queue that one thing holds."""

    queue: str
    cause: Cause
    parts: tuple[Part, ...] = field(repr=False)
    """The oldest first."""

    @property
    def key(self) -> str:
        """Its name, the same for as long as the same thing holds operations of the queue."""
        return f"{self.queue}:{self.cause.by}:{self.cause.scope}"

    @property
    def operations(self) -> int:
        """How many they are."""
        return sum(part.operations for part in self.parts)

    @property
    def oldest(self) -> datetime:
        """When the one that came first was accepted."""
        return self.parts[0].oldest

    @property
    def partners(self) -> int:
        """Of how many partners they are."""
        return len({part.line.partner for part in self.parts})

    def sentence(self, now: datetime) -> str:
        """Say how many are held, for how long, by whom and why; what matters most first."""
        told = f"{self.operations:,} held, oldest {spoken(now - self.oldest)}."
        told += f" {_WHO[self.cause.origin]}: {self.cause.reason}"
        if self.cause.until and self.cause.by != "pause":  # which says so itself
            told += f"; next at {self.cause.until:%H:%M:%S} UTC"
        return f"{told}; of {self.partners} partners" if self.partners > 1 else told


@dataclass(frozen=True, kw_only=True)
class Look:
    """What is held at one moment."""

    at: datetime
    holdups: tuple[Holdup, ...]
    """Those with most operations first."""
    pauses: tuple[Pause, ...]
    by_line: Mapping[Line, Cause]
    """What holds everything of a line that waits."""

    def why(self, operation: Operation) -> Hold | None:
        """Return what holds an operation that no worker has; None when nothing does, or it is finished."""
        if pause := operation.pause_among(self.pauses):
            return hold_of(pause)
        if operation.state is not State.WAITING:
            return _own_hold(operation)
        cause = self.by_line.get(Line.of(operation))
        return cause.hold if cause else None


class Holdups:
    """Looks what is held. One thread at a time."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        gate: Forecaster,
        presence: Presence,
        kinds: Catalogue,
        clock: Clock,
        settings: DispatchSettings,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing has been counted yet."""
        self._ledger = ledger
        self._gate = gate
        self._presence = presence
        self._kinds = kinds
        self._clock = clock
        self._settings = settings
        self._monotonic = monotonic
        self._counts: dict[tuple[Scope | None, bool], list[Part]] = {}
        self._good_until = 0.0
        self._refused_before: dict[Line, Cause] = {}

    def look(self) -> Look:
        """Look. What is held and why is as it is now; how many, as last counted. Raises `LedgerUnavailable`."""
        now = self._clock.now()
        pauses = tuple(self._ledger.decisions.pauses(now=now))
        parts = list(self._under(pauses))
        by_line = self._refused({part.line for part, pause in parts if not pause}, now)
        causes: list[tuple[Part, Cause]] = []
        for part, pause in parts:
            refused = by_line.get(part.line)
            if pause:
                causes.append((part, _of_pause(pause)))
            elif part.state is State.WAITING:
                causes += [(part, refused)] if refused else []
            else:  # what the gate says now of what it has held is newer than what the row says
                is_same = refused is not None and refused.by == part.held_by
                causes.append((part, refused if refused and is_same else _of_the_row(part)))
        holdups = sorted(self._gathered(causes), key=lambda one: (-one.operations, one.key))
        return Look(at=now, holdups=tuple(holdups), pauses=pauses, by_line=by_line)

    def examples(self, holdup: Holdup, *, at_most: int) -> list[Operation]:
        """Return some of its operations: those that came first of the lines that wait longest."""
        lines = holdup.parts[: min(_LINES, at_most)]
        found = (self._ledger.operations.oldest(part, at_most=at_most // len(lines)) for part in lines)
        return [one for its in found for one in its]

    # ── counting ─────────────────────────────────────────────────────────────────────────────────────────

    def _under(self, pauses: Iterable[Pause]) -> Iterable[tuple[Part, Pause | None]]:
        """Return what lies in the ledger, in parts, and the pause that keeps each."""
        keeping = [pause for pause in pauses if pause.begins_nothing]
        still = [pause for pause in keeping if pause.stands_still]
        if still == keeping:
            yield from _shared_out(self._count, keeping)
            return
        # Some let be finished what has begun: that is counted by itself.
        begun = partial(self._count, begun=True)
        yield from _shared_out(lambda scope: less(self._count(scope), begun(scope)), keeping)
        yield from _shared_out(begun, still)

    def _count(self, scope: Scope | None, *, begun: bool = False) -> list[Part]:
        asked = self._monotonic()
        if asked >= self._good_until:
            self._counts.clear()
        if (scope, begun) not in self._counts:
            operations = self._ledger.operations
            census = operations.census_begun if begun else operations.census
            found = census(*([scope] if scope else []))
            self._counts[scope, begun] = [part for part in found if part.state is not State.RUNNING]
            now = self._monotonic()
            self._good_until = max(self._good_until, now + _REST * (now - asked))
        return self._counts[scope, begun]

    # ── reasons ──────────────────────────────────────────────────────────────────────────────────────────

    def _refused(self, lines: set[Line], now: datetime) -> dict[Line, Cause]:
        """Return why nothing of a line may go, for those of which that is so."""
        if not lines:
            return {}
        try:
            idle = {queue for queue, workers in self._presence.living(self._kinds.names).items() if not workers}
            waits = refusals(lines, gate=self._gate, short=self._settings.short_wait)
        except NotReady as error:
            cause = Cause(by="gate", scope="gate", reason=f"no calls are made: {error}")
            return dict.fromkeys(lines, cause)
        found = {line: _of_the_gate(wait, now) for line, wait in waits.items()}
        # A breaker whose time is over looks closed until somebody has probed it: so what held a line still does
        # in the look after that.
        lingering = {line: self._refused_before[line] for line in lines & self._refused_before.keys()}
        self._refused_before, found = found, lingering | found
        for line in lines:
            if line.kind in idle:
                found[line] = _without_worker(line.kind, found.get(line))
        return found

    def _gathered(self, causes: Iterable[tuple[Part, Cause]]) -> Iterable[Holdup]:
        """Gather the parts of a queue that the same thing holds."""
        together: dict[tuple[str, str, str], list[tuple[Part, Cause]]] = defaultdict(list)
        for part, cause in causes:
            together[part.line.kind, cause.by, cause.scope].append((part, cause))
        for (queue, _, _), its in together.items():
            its.sort(key=lambda one: (one[0].oldest, one[0].line.name))
            parts = tuple(part for part, _ in its)
            told = next((cause for _, cause in its if cause.reason), None)
            cause = told or self._as_the_first_says(parts, its[0][1])
            yield Holdup(queue=queue, cause=cause, parts=parts)

    def _as_the_first_says(self, parts: Sequence[Part], cause: Cause) -> Cause:
        """Complete a cause of which each operation knows its own reason."""
        first = next(iter(self._ledger.operations.oldest(parts[0], at_most=1)), None)
        hold = _own_hold(first) if first else None
        if first is None or hold is None:
            return replace(cause, reason="they are about to go on")
        alone = sum(part.operations for part in parts) == 1
        reason = hold.reason if alone else f"{hold.reason} (so says {first.id}, the oldest)"
        return replace(cause, reason=reason, until=hold.until, notice=hold.notice)


def _shared_out(
    count: Callable[[Scope | None], Iterable[Part]], keeping: Sequence[Pause]
) -> Iterable[tuple[Part, Pause | None]]:
    """Return everything that is counted, in parts, and the pause among these that keeps each."""
    left = {part: part.operations for part in count(None)}
    for pause in keeping:
        for part in count(pause.scope) if is_fine(pause.scope) else ():
            whole = next((one for one in left if one.key == part.key and not _over(one, keeping)), None)
            if whole and part.state is not State.NEEDS_INPUT:
                left[whole] -= part.operations
                yield part, pause
    for part, number in left.items():
        if number > 0:
            yield replace(part, operations=number), _over(part, keeping)


def _own_hold(operation: Operation) -> Hold | None:
    """Return what its row says."""
    if operation.state is State.NEEDS_INPUT and operation.needs:
        return Hold(reason=str(operation.needs), by=NEEDS_INPUT, until=operation.needs.until)
    return operation.hold


def _over(part: Part, keeping: Iterable[Pause]) -> Pause | None:
    """Return the pause that keeps all of a part."""
    if part.state is State.NEEDS_INPUT:
        return None
    return longest(pause for pause in keeping if part.is_covered_by(pause.scope))


def _of_pause(pause: Pause) -> Cause:
    hold = hold_of(pause)
    return Cause(by=hold.by, scope=str(pause.scope), reason=hold.reason, until=hold.until, notice=hold.notice)


def _of_the_gate(wait: Wait, now: datetime) -> Cause:
    until = now + wait.delay if wait.delay is not None else None
    return Cause(by=str(wait.because), scope=wait.scope, reason=str(wait), until=until, notice=wait.notice)


def _of_the_row(part: Part) -> Cause:
    """Return the cause of what its row says to be held; the rows know the reason."""
    by = NEEDS_INPUT if part.state is State.NEEDS_INPUT else part.held_by or ""
    return Cause(by=by, scope=f"app:{part.line.app}/{part.line.capability}", reason="")


def _without_worker(queue: str, besides: Cause | None) -> Cause:
    nobody = f"no worker of {queue} is alive"
    if besides is None:
        return Cause(by=WORKERS, scope=queue, reason=f"{nobody}: nothing of it is released")
    return replace(besides, reason=f"{besides.reason}; and {nobody}")
