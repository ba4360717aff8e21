"""How long what waits will take, and what a pause would touch.

Everything is worked out from what is measured now: the backlog by line (`Operations.census`), the calls that an
operation of a kind takes, and what each budget would admit.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import accumulate
from typing import Final

from wabajobs.capability import ServiceClass
from wabajobs.clock import Clock
from wabajobs.decisions import PauseMode, Scope, ScopeType
from wabajobs.errors import ConfigurationError, InvalidRequest, NotReady
from wabajobs.gate import AppReading, Gate, Spender, WindowReading
from wabajobs.kinds import Catalogue
from wabajobs.ledger import Ledger, Part, is_fine
from wabajobs.operation import State
from wabajobs.seeing.budgets import longest, ramped, room_of, takes
from wabajobs.seeing.preview import Drain, Preview, Touched
from wabajobs.settings import GateSettings, Settings
from wabajobs.signals import Presence

_DRAINING: Final = (State.WAITING, State.HELD, State.RUNNING)
"""What needs input waits for a person, and no budget hastens that."""
_FEWEST_RESULTS: Final = 5


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Looks ahead. Changes nothing."""

    ledger: Ledger
    gate: Gate
    presence: Presence
    kinds: Catalogue
    settings: Settings
    clock: Clock

    def preview(
        self, scope: Scope, *, mode: PauseMode | None = PauseMode.HOLD, percent: int | None = None
    ) -> Preview:
        """Say what pausing a scope in this mode, or lifting its pause (None), would touch.

        `percent` is the share of the budget that it may still use. Raises `LedgerUnavailable`; a gate that is
        away is told among the doubts.
        """
        now = self.clock.now()
        operations = self.ledger.operations
        pauses = [
            one for one in self.ledger.decisions.pauses(now=now) if one.scope != scope and one.begins_nothing
        ]
        parts = operations.census(scope, kinds=self._kinds_of(scope))
        others = operations.census_among(parts, [one.scope for one in pauses], within=scope)
        overlaps = ((one, operations.census_among(parts, [one.scope], within=scope)) for one in pauses)
        number, more = operations.wabas(scope, kinds={part.line.kind for part in parts})
        return Preview(
            scope=scope,
            mode=mode,
            percent=percent,
            at=now,
            queues=_touched(parts, [part for part in others if part.state is State.WAITING]),
            partners=len({part.line.partner for part in parts}),
            wabas=number,
            more_wabas=more,
            oldest=min((part.oldest for part in parts), default=None),
            drain=self.drain(scope, percent=percent, parts=parts, in_steps=mode is None and percent is None),
            held_besides=tuple((one, _number(covered)) for one, covered in overlaps if _waiting(covered)),
            free=_waiting(parts) - _waiting(others),
        )

    def drain(
        self,
        scope: Scope,
        *,
        percent: int | None = None,
        parts: Sequence[Part] | None = None,
        in_steps: bool = False,
    ) -> Drain:
        """Say how long what a scope holds takes at the present budget, once it may go; `in_steps`, in a ramp.

        `parts` are what it holds, if the caller has counted already.
        """
        counted = self.ledger.operations.census(scope) if parts is None else parts
        backlog = [part for part in counted if part.state in _DRAINING]
        costs = self._costs({part.line.kind for part in backlog})
        calls = sum(costs[part.line.kind].calls * part.operations for part in backlog)
        doubts = [one.doubt for one in costs.values() if one.doubt]
        at_best: timedelta | None = None
        at_present: timedelta | None = None
        bound_by = None
        broken: list[str] = []
        try:
            spans = []
            for app in sorted({part.line.app for part in backlog}):
                of_app = [part for part in backlog if part.line.app == app]
                reading, loads = self._loads(app, scope, of_app, costs)
                spans += [_span(load, reading, self.settings.gate, percent) for load in loads]
                doubts += _doubts(reading)
                broken += _broken(reading, of_app)
            doubts += self._workers_missing(backlog)
            at_best, at_present = (
                longest(one.at_best for one in spans),
                longest(one.at_present for one in spans),
            )
            bound_by = max(spans, key=lambda one: one.order).budget if spans else None
        except (NotReady, ConfigurationError) as error:
            doubts.append(f"nobody can say how long that takes: {error}")
        ramp = self.settings.ramp if in_steps else None
        return Drain(
            operations=_number(backlog),
            calls=round(calls),
            at_best=at_best and ramped(at_best, ramp),
            at_present=at_present and ramped(at_present, ramp),
            bound_by=bound_by,
            percent=percent,
            broken=tuple(broken),
            doubts=tuple(doubts),
        )

    def _kinds_of(self, scope: Scope) -> list[str] | None:
        """Return the kinds whose operations can be in a scope, where that spares the ledger much to read."""
        if scope.type is not ScopeType.NUMBER:
            return None
        return [name for name in self.kinds.names if "number" in self.kinds[name].payload.model_fields]

    # ── demand ───────────────────────────────────────────────────────────────────────────────────────────

    def _costs(self, kinds: Collection[str]) -> dict[str, "_Cost"]:
        """Say how many calls an operation of each kind takes: as the last ones told, or else as it is planned."""
        told: dict[str, list[int]] = defaultdict(list)
        for kind, result in self.ledger.operations.newest_results() if kinds else ():
            if isinstance(result.get("calls"), int):
                told[kind].append(result["calls"])
        return {kind: self._cost(kind, told[kind]) for kind in kinds}

    def _cost(self, kind: str, told: Sequence[int]) -> "_Cost":
        if len(told) >= _FEWEST_RESULTS:
            return _Cost(sum(told) / len(told))
        try:
            known = self.kinds[kind]
        except InvalidRequest:
            return _Cost(1.0, f"kind {kind} is not known here: one call is counted for each")
        plans = [known.calls(one.payload) for one in self.ledger.operations.sample(kind)]
        planned = [call for plan in plans for call in plan]
        calls = sum(call.cost for call in planned) / max(1, len(plans))
        notes = sorted({call.note for call in planned if call.note})
        return _Cost(calls, f"calls of {kind} that come {' or '.join(notes)} are counted once" if notes else "")

    def _loads(
        self, app: str, scope: Scope, parts: Sequence[Part], costs: Mapping[str, "_Cost"]
    ) -> tuple[AppReading, list["_Load"]]:
        """Lay what is to go beside each budget of an app that it must go through."""
        limits = [one.scope for one in self.ledger.decisions.current(now=self.clock.now()).limits]
        own = [one for one in limits if one.partition(":")[0] in ("partner", "capability") and "/" not in one]
        crowds = self._crowds(app, scope, parts)
        reading = self.gate.read(app, wabas=sorted(crowds), budgets=own)
        whole = scope.type is ScopeType.ALL or scope == Scope(ScopeType.APP, app)
        spent = [] if whole else self.gate.spenders(app)
        beside = [one for one in spent if not self._is_of(one, app, scope)]
        loads = []
        for window in reading.windows:
            type_, _, name = window.scope.partition(":")
            if type_ == "waba":
                waba = name.partition(":")[2]
                backlog = crowds[waba]
                rest = [one for one in beside if one.waba == waba]
            else:
                backlog = [
                    part for part in parts if type_ == "app" or name in (part.line.partner, part.line.capability)
                ]
                rest = [one for one in beside if type_ == "app" or name in (one.partner, self._capability(one))]
            loads.append(_Load(window, _by_class(backlog, costs), self._by_class_spent(rest)))
        return reading, loads

    def _crowds(self, app: str, scope: Scope, parts: Sequence[Part]) -> dict[str, Sequence[Part]]:
        """Return what is to go of those WABAs of an app that may have more of it than their own budgets bear."""
        if is_fine(scope):
            return {scope.name: parts} if scope.type is ScopeType.WABA else {}
        largest = sorted(parts, key=lambda part: -part.operations)
        found = {
            waba: [
                part
                for part in theirs
                if part.line.app == app and part.state in _DRAINING and part.is_covered_by(scope)
            ]
            for waba, theirs in self.ledger.operations.crowds(part.line for part in largest).items()
        }
        return {waba: theirs for waba, theirs in found.items() if theirs}

    def _is_of(self, one: Spender, app: str, scope: Scope) -> bool:
        return scope.covers(
            app=app, capability=self._capability(one), queue=one.queue, partner=one.partner, waba=one.waba or None
        )

    def _capability(self, one: Spender) -> str:
        """Return what most calls of a kind need: nobody has noted it call by call."""
        return str(self.kinds[one.queue].capability) if one.queue in self.kinds.names else ""

    def _by_class_spent(self, spent: Iterable[Spender]) -> dict[ServiceClass, float]:
        calls: Counter[ServiceClass] = Counter()
        for one in spent:
            known = one.queue in self.kinds.names
            calls[self.kinds[one.queue].service_class if known else ServiceClass.STANDARD] += one.calls
        return dict(zip(ServiceClass, accumulate(calls[one] for one in ServiceClass), strict=True))

    def _workers_missing(self, backlog: Iterable[Part]) -> Iterable[str]:
        queues = sorted({part.line.kind for part in backlog})
        living = self.presence.living(queues)
        return [f"no worker is alive for {queue}" for queue in queues if not living[queue]]


# ── inside ───────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Cost:
    """Calls that one operation of a kind takes, and what is doubtful about that."""

    calls: float
    doubt: str = ""


@dataclass(frozen=True)
class _Load:
    """What is to go through a budget, and what else of ours went through it, up to each class, in a window."""

    window: WindowReading
    calls: Mapping[ServiceClass, float]
    rest: Mapping[ServiceClass, float]


@dataclass(frozen=True)
class _Span:
    """How long a budget takes."""

    budget: str
    at_best: timedelta | None
    at_present: timedelta | None

    @property
    def order(self) -> tuple[timedelta, timedelta]:
        return (_or_ever(self.at_present), _or_ever(self.at_best))


def _or_ever(span: timedelta | None) -> timedelta:
    return timedelta.max if span is None else span


def _span(load: _Load, reading: AppReading, gate: GateSettings, percent: int | None) -> _Span:
    window = load.window
    if window.shadow:
        return _Span(window.scope, timedelta(0), timedelta(0))
    alone, beside = (
        takes(
            load.calls,
            {
                one: room_of(window, one, gate=gate, rest=rest.get(one, 0.0), percent=percent)
                for one in ServiceClass
            },
        )
        for rest in ({}, load.rest)
    )
    shut = _shut_for(window.scope, reading)
    later = [None if span is None else span + shut if span else span for span in (alone, beside)]
    return _Span(window.scope, later[0], later[1])


def _shut_for(scope: str, reading: AppReading) -> timedelta:
    """Return how long nothing goes, because a breaker is open."""
    open_ = (one.retry_in for one in reading.breakers if one.scope == scope and one.state == "open")
    return max((one for one in open_ if one is not None), default=timedelta(0))


def _doubts(reading: AppReading) -> Iterable[str]:
    if not reading.told:
        yield f"the gate of app {reading.app} has lost its state: nothing goes until it is told"
    elif reading.learning:
        yield f"the gate of app {reading.app} is finding out how much of the budget is spent"
    for breaker in reading.breakers:
        if breaker.held and breaker.state == "open":
            yield breaker.held
        elif breaker.state != "closed":
            yield f"the breaker of {breaker.scope} is {breaker.state}, because of Meta ({breaker.evidence})"
    for window in reading.windows:
        if window.height < 1:
            yield f"{window.height:.0%} of the limit of {window.scope} is trusted after a trip"


def _broken(reading: AppReading, parts: Iterable[Part]) -> Iterable[str]:
    """Return the breakers that are not closed, of the app and of those parts of the API that are needed."""
    own = {f"app:{reading.app}", *(f"app:{reading.app}/{part.line.capability}" for part in parts)}
    return [one.scope for one in reading.breakers if one.state != "closed" and one.scope in own]


def _by_class(parts: Iterable[Part], costs: Mapping[str, _Cost]) -> dict[ServiceClass, float]:
    calls: dict[ServiceClass, float] = defaultdict(float)
    for part in parts:
        calls[part.line.service_class] += costs[part.line.kind].calls * part.operations
    return calls


def _touched(parts: Iterable[Part], paused: Iterable[Part]) -> tuple[Touched, ...]:
    """Count by queue, as it is shown: what waits and is paused is held."""
    counted: dict[str, Counter[State]] = defaultdict(Counter)
    for part in parts:
        counted[part.line.kind][part.state] += part.operations
    for part in paused:
        counted[part.line.kind][State.WAITING] -= part.operations
        counted[part.line.kind][State.HELD] += part.operations
    return tuple(
        Touched(
            queue=queue,
            waiting=number[State.WAITING],
            held=number[State.HELD],
            running=number[State.RUNNING],
            needs_input=number[State.NEEDS_INPUT],
        )
        for queue, number in sorted(counted.items())
    )


def _number(parts: Iterable[Part]) -> int:
    return sum(part.operations for part in parts)


def _waiting(parts: Iterable[Part]) -> int:
    return _number(part for part in parts if part.state in (State.WAITING, State.HELD))
