"""What is released next: from the lines that may go, in turns, as many as there are slots and the gate admits."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, Protocol

from wabajobs.decisions import Pause, ScopeType
from wabajobs.dispatcher.slots import Slots
from wabajobs.dispatcher.turns import Pool, Round, Turns
from wabajobs.gate import Because, Call, Wait
from wabajobs.ledger import Ledger, Line
from wabajobs.operation import Operation
from wabajobs.outcome import Hold
from wabajobs.settings import DispatchSettings

_BEGUN_AT_MOST: Final = 200
"""Operations that have begun and may go on, where nothing may begin, in one look."""
_ROUNDS: Final = 20
"""How often one pick looks for others in the place of those that may not go."""


class Forecaster(Protocol):
    """What is asked of the gate."""

    def forecast(self, calls: Sequence[Call]) -> Sequence[Wait | None]:
        """Say of each call what it would have to wait for now; nothing is charged."""
        ...


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What people have decided, as one turn of the dispatcher sees it."""

    pauses: Collection[Pause]
    at_most: Mapping[str, int]
    """How many operations of a partner may be out at once; of others, any number."""

    def pass_by(self, line: Line) -> bool:
        """Whether nothing of the line may begin."""
        return any(pause.begins_nothing and _covers(pause, line) for pause in self.pauses)

    @property
    def paused_wabas(self) -> frozenset[str]:
        """WABAs whose operations stay where they are."""
        scopes = (pause.scope for pause in self.pauses if pause.begins_nothing)
        return frozenset(scope.name for scope in scopes if scope.type is ScopeType.WABA)

    @property
    def drains(self) -> bool:
        """Whether something may be finished where nothing may begin."""
        return any(pause.begins_nothing and not pause.stands_still for pause in self.pauses)

    def slowing(self, line: Line) -> list[Pause]:
        """Return the pauses that let only a part of the line run."""
        return [pause for pause in self.pauses if not pause.begins_nothing and _covers(pause, line)]


def _covers(pause: Pause, line: Line) -> bool:
    return pause.scope.covers(app=line.app, capability=line.capability, queue=line.kind, partner=line.partner)


@dataclass
class Picker:
    """Picks what one turn releases of one pool of queues."""

    ledger: Ledger
    gate: Forecaster
    settings: DispatchSettings
    turns: Turns
    slots: Slots
    out: Counter[str]
    """Operations that are out, by partner."""
    rules: Rules
    now: datetime
    taken_back: set[str] = field(default_factory=set)
    """Ids of what its worker could not finish, until it is picked: it has had its turn."""
    waits: list[timedelta] = field(default_factory=list)
    """After which something could go that was refused now."""
    dry: set[Line] = field(default_factory=set)
    """Lines of which everything is picked."""
    _picked: dict[str, Operation] = field(default_factory=dict)
    _from: Counter[Line] = field(default_factory=Counter)
    _held: set[tuple[Line, str]] = field(default_factory=set)
    """Whose WABA's operations were held in this round."""
    _slowed: Counter[Line] = field(default_factory=Counter)
    """Operations picked of lines that are slowed."""

    def pick(self, pool: Pool, lines: Iterable[Line]) -> list[Operation]:
        """Return operations to be released, in order."""
        if self.taken_back:
            self._pick_taken_back(pool)
        going = {line for line in lines if not self.rules.pass_by(line)}
        if self.rules.drains:
            self._pick_begun(pool)
        round_ = self.turns.round(pool)
        for _ in range(_ROUNDS):
            round_.among(going)
            wanted = self._choose(pool, round_)
            if not wanted:
                break
            self._held.clear()
            fresh = self._fetch(wanted, round_)
            for line, refused, wait in self._refused(fresh):
                self._refuse(line, refused, wait, round_, going)
            going -= self.dry
        return list(self._picked.values())

    def _choose(self, pool: Pool, round_: Round) -> Counter[Line]:
        wanted: Counter[Line] = Counter()
        while any(map(self.slots.has, pool)) and (line := round_.next()):
            if self._has_room(line):
                wanted[line] += 1
                self.out[line.partner] += 1
            else:
                round_.drop(line, turns_back=1)
        return wanted

    def _has_room(self, line: Line) -> bool:
        at_most = self.rules.at_most.get(line.partner)
        if at_most is not None and self.out[line.partner] >= at_most:
            return False
        slowing = self.rules.slowing(line)
        if not all(self._has_slow_room(line, pause) for pause in slowing) or not self.slots.take(line.kind):
            return False
        if slowing:
            self._slowed[line] += 1
        return True

    def _has_slow_room(self, line: Line, pause: Pause) -> bool:
        """Whether one more may go. The gate spaces their calls: more of them would only wait for each other."""
        allowed = max(1, self.slots.of(line.kind) * pause.percent // 100)
        match pause.scope.type:
            case ScopeType.ALL | ScopeType.QUEUE:
                return self.slots.taken(line.kind) < allowed
            case ScopeType.PARTNER | ScopeType.PARTNER_QUEUE:
                return self.out[line.partner] < allowed
            case _:
                return self._slowed[line] < allowed

    def _pick_taken_back(self, pool: Pool) -> None:
        """Pick what has had its turn before anything else, as far as it may go."""
        found = self.ledger.operations.ready(self.taken_back)
        self.taken_back.intersection_update(one.id for one in found)
        going = [one for one in found if one.kind in pool and one.pause_among(self.rules.pauses) is None]
        answers = self._foretold([_next_call(one) for one in going])
        for one, wait in zip(going, answers, strict=True):
            line = Line.of(one)
            if not (wait and wait.is_long(self.settings.short_wait)) and self._has_room(line):
                self.taken_back.discard(one.id)
                self._picked[one.id] = one
                self._from[line] += 1
                self.out[one.partner] += 1

    def _pick_begun(self, pool: Pool) -> None:
        """Pick what has begun where nothing may begin any more."""
        found = self.ledger.operations.begun(pool, at_most=_BEGUN_AT_MOST)
        drained = [pause for pause in self.rules.pauses if pause.begins_nothing and not pause.stands_still]
        going = [
            one
            for one in found
            if one.id not in self._picked
            and one.pause_among(self.rules.pauses) is None
            and any(map(one.is_covered_by, drained))
        ]
        answers = self.gate.forecast([_next_call(one) for one in going]) if going else ()
        for one, wait in zip(going, answers, strict=True):
            if not (wait and wait.is_long(self.settings.short_wait)) and self.slots.take(one.kind):
                self._picked[one.id] = one
                self.out[one.partner] += 1

    def _fetch(self, wanted: Counter[Line], round_: Round) -> dict[Line, list[Operation]]:
        """Return new heads of these lines; what is picked already has not left its line yet."""
        ask = {line: number + self._from[line] for line, number in wanted.items()}
        heads = self.ledger.operations.heads(ask, but=self.rules.paused_wabas)
        fresh = {}
        for line, operations in heads.items():
            # No more than was asked for, though something that is picked has left its line meanwhile.
            fresh[line] = [one for one in operations if one.id not in self._picked][: wanted[line]]
            for one in fresh[line]:
                self._picked[one.id] = one
            self._from[line] += len(fresh[line])
            if missing := wanted[line] - len(fresh[line]):
                self._give_back(line, missing)
                round_.drop(line, turns_back=missing)
                self.dry.add(line)
        return fresh

    def _give_back(self, line: Line, number: int) -> None:
        self.out[line.partner] -= number
        for _ in range(number):
            self.slots.give_back(line.kind)
        self._slowed[line] -= min(number, self._slowed[line])

    def _refused(self, fresh: Mapping[Line, Sequence[Operation]]) -> list[tuple[Line, Operation, Wait]]:
        """Ask the gate about the next calls of all of them, in one round trip."""
        paused = [
            (line, one, _wait_of(pause, self.now))
            for line, theirs in fresh.items()
            for one in theirs
            if (pause := one.pause_among(self.rules.pauses))
        ]
        kept = {one.id for _, one, _ in paused}
        asked = [
            (line, one, _next_call(one)) for line, theirs in fresh.items() for one in theirs if one.id not in kept
        ]
        answers = self._foretold([call for _, _, call in asked])
        refused = ((line, operation, answer) for (line, operation, _), answer in zip(asked, answers, strict=True))
        short = self.settings.short_wait
        return paused + [(line, one, wait) for line, one, wait in refused if wait and wait.is_long(short)]

    def _foretold(self, calls: Sequence[Call]) -> list[Wait | None]:
        """Return what the gate says of each. Calls that are alike are asked for twice: one of them may probe."""
        once = list(dict.fromkeys(calls))
        again = [call for call, number in Counter(calls).items() if number > 1]
        answers = iter(self.gate.forecast([*once, *again]) if once else ())
        first, others = dict(zip(once, answers, strict=False)), dict(zip(again, answers, strict=False))
        return [first.pop(call) if call in first else others[call] for call in calls]

    def _refuse(self, line: Line, operation: Operation, wait: Wait, round_: Round, going: set[Line]) -> None:
        """Leave the operation where it is, and all that would be refused with it."""
        del self._picked[operation.id]
        self._from[line] -= 1
        self._give_back(line, 1)
        round_.drop(line, turns_back=1)
        if wait.delay is not None:
            self.waits.append(wait.delay)
        if wait.scope == f"number:{operation.number}":
            self._hold(operation, wait, alone=True)  # others of the line are about other numbers
            return
        if wait.because is Because.PAUSE:
            going.discard(line)  # it came just now: the next turn knows it
            return
        if operation.waba and wait.scope.endswith((f":{operation.waba}", f"/{operation.waba}")):
            if (line, operation.waba) not in self._held:
                self._held.add((line, operation.waba))
                self._hold(operation, wait)
            return
        if wait.because is Because.SLOWED:
            going -= {other for other in going if _is_slowed_by(other, wait)}
            return
        going -= {other for other in going if _shares(other, line, wait)}

    def _hold(self, operation: Operation, wait: Wait, *, alone: bool = False) -> None:
        """Hold what is about the operation's WABA, or the operation alone."""
        delay = wait.delay or timedelta(seconds=self.settings.retry_cap_seconds)
        hold = Hold(reason=str(wait), by=str(wait.because), until=self.now + delay, notice=wait.notice)
        self.ledger.operations.hold_ready(operation, hold, alone=alone, now=self.now)


def _wait_of(pause: Pause, now: datetime) -> Wait:
    delay = max(pause.ends_at - now, timedelta()) if pause.ends_at else None
    return Wait(
        delay=delay, because=Because.PAUSE, scope=str(pause.scope), reason=str(pause), notice=pause.notice
    )


def _is_slowed_by(line: Line, wait: Wait) -> bool:
    names = {"all": "all", "app": line.app, "capability": line.capability, "queue": line.kind}
    kind, _, name = wait.scope.partition(":")
    if kind == "partner":
        return name in (line.partner, f"{line.partner}/{line.kind}")
    return names.get(kind) == (name or "all")


def _next_call(operation: Operation) -> Call:
    return replace(Call.of(operation), operation="")  # the same for all that ask for the same


def _shares(other: Line, line: Line, wait: Wait) -> bool:
    """Whether what refused a call of `line` refuses those of the other, too."""
    if wait.scope.startswith("partner:"):
        return other.partner == line.partner
    mine, its = ((one.app, one.capability, one.service_class) for one in (line, other))
    return mine == its
