"""How long what waits will take, and what a pause would touch.

Everything is worked out from what is measured now: the backlog by line (`Operations.census`), the calls that an
operation of a kind takes, and what each budget would admit. docs/seeing.md has the formula.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Any, Final

from wabajobs.capability import ServiceClass
from wabajobs.clock import Clock
from wabajobs.decisions import Pause, PauseMode, Scope, ScopeType
from wabajobs.errors import ConfigurationError, InvalidRequest, NotReady
from wabajobs.freshness import spoken
from wabajobs.gate import AppReading, Gate, Spender, WindowReading
from wabajobs.kinds import Catalogue
from wabajobs.ledger import Ledger, Part, is_fine
from wabajobs.operation import State
from wabajobs.settings import GateSettings, RampSettings, Settings
from wabajobs.signals import Presence

_DRAINING: Final = (State.WAITING, State.HELD, State.RUNNING)
"""What needs input waits for a person, and no budget hastens that."""
_RECENT: Final = 1 / 12
"""Part of a window over which `WindowReading.pace` is measured."""
_FEWEST_RESULTS: Final = 5
_AGREE: Final = 1.2
"""Two times that differ by less are told as one."""
_SHOWN: Final = 5


# ── budgets ──────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class Room:
    """What one budget lets one class of calls use, as it stands now."""

    usable: float
    """Calls in a window, ours and of this class or a higher one; less what others and the rest of us use."""
    used: float
    """Of these, those that are in the window now."""
    recent: float
    """Of these, those of the last twelfth of the window."""
    turn: timedelta
    """After which a call has certainly left the window."""
    paced: bool
    """Whether calls are spread over the window."""

    def takes(self, calls: float) -> timedelta | None:
        """Return how long so many calls take, all of them one after the other; None: for ever."""
        if calls <= 0:
            return timedelta(0)
        if self.usable < 1:
            return None
        rounds = -(-calls // self.usable) - 1
        ring = rounds * self.turn + self._leave(calls - rounds * self.usable - (self.usable - self.used))
        return max(ring, calls / self.usable * self.turn) if self.paced else ring

    def _leave(self, need: float) -> timedelta:
        """Return when so many of the calls in the window have left it: the older ones evenly, then the recent."""
        older = max(0.0, self.used - self.recent)
        if need <= 0:
            return timedelta(0)
        if need <= older:
            return need / older * (1 - _RECENT) * self.turn
        return (1 - _RECENT + _RECENT * min(1.0, (need - older) / max(1.0, self.recent))) * self.turn


def room_of(
    window: WindowReading,
    service_class: ServiceClass,
    *,
    gate: GateSettings,
    rest: float = 0.0,
    percent: int | None = None,
) -> Room:
    """Return what a budget leaves a class; `rest` calls of a window are made by us for other things.

    With `percent`, no more than so many per cent of the limit.
    """
    usable = window.usable.get(service_class, window.limit) - window.others - rest
    if percent is not None:
        usable = min(usable, window.limit * percent / 100)
    reach = window.window + timedelta(seconds=gate.spread_seconds)
    return Room(
        usable=max(0.0, usable),
        used=max(0.0, window.used - rest),
        recent=max(0.0, (window.pace - rest) * _RECENT),
        turn=reach * (1 + 1 / gate.window_buckets),
        paced=gate.pacing and service_class is not ServiceClass.INTERACTIVE,
    )


def takes(calls: Mapping[ServiceClass, float], rooms: Mapping[ServiceClass, Room]) -> timedelta | None:
    """Return how long the calls of all classes take that share a budget; None: for ever.

    Higher classes go first, and all calls count in the same window: so a class is done when its own calls and
    those before it have found room beneath its ceiling. The last to be done counts.
    """
    together = accumulate(calls.get(one, 0.0) for one in ServiceClass)
    spans = [
        rooms[one].takes(before)
        for one, before in zip(ServiceClass, together, strict=True)
        if calls.get(one, 0.0) > 0
    ]
    return _longest(spans)


def ramped(span: timedelta, ramp: RampSettings | None) -> timedelta:
    """Return how long something takes that goes on in steps and would take `span` with the whole budget.

    What would be done within the first step is not spread at all.
    """
    if ramp is None:
        return span
    step = timedelta(seconds=ramp.step_seconds)
    if span <= step * ramp.steps[0] / 100:
        return span
    left = span
    for nth, percent in enumerate(ramp.steps):
        share = percent / 100
        if left <= step * share:
            return nth * step + left / share
        left -= step * share
    return len(ramp.steps) * step + left


def _longest(spans: Iterable[timedelta | None]) -> timedelta | None:
    longest = timedelta(0)
    for span in spans:
        if span is None:
            return None
        longest = max(longest, span)
    return longest


# ── answers ──────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class Drain:
    """How long a backlog takes at the present budget, once it may go."""

    operations: int
    calls: int
    """That they take, as far as one can tell."""
    at_best: timedelta | None
    """If we call for nothing else; None: never, or nobody can say (`doubts` tell)."""
    at_present: timedelta | None
    """If the rest of us goes on to call as in the last window; None: it leaves them nothing."""
    bound_by: str | None
    """The budget that takes longest: `app:1`, `waba:1:2`, `partner:acme`."""
    percent: int | None = None
    """Share of each budget that they may use; None: all that their class may."""
    broken: tuple[str, ...] = ()
    """Breakers that stand in its way: until Meta is well, nothing of it goes."""
    doubts: tuple[str, ...] = ()
    """Why it may take longer, a sentence each."""

    def __str__(self) -> str:
        if not self.operations:
            return "nothing waits"
        return self._how_long() + (f", once the breaker of {self.broken[0]} is closed" if self.broken else "")

    def _how_long(self) -> str:
        budget = "the present budget" if self.percent is None else f"{self.percent} % of the present budget"
        if self.at_best is None:
            return f"at {budget} they do not drain"
        if self.at_present is None:
            return f"they drain in {spoken(self.at_best)} at best; now the rest of our calls leaves them nothing"
        if self.at_present <= self.at_best * _AGREE:
            return f"at {budget} they drain in {spoken(self.at_present)}"
        return f"at {budget} they drain in {spoken(self.at_best)} to {spoken(self.at_present)}"

    def as_json(self) -> dict[str, Any]:
        """Return the public form; times in seconds."""
        return {
            "operations": self.operations,
            "calls": self.calls,
            "at_best_seconds": _seconds(self.at_best),
            "at_present_seconds": _seconds(self.at_present),
            "bound_by": self.bound_by,
            "percent": self.percent,
            "broken": list(self.broken),
            "doubts": list(self.doubts),
            "sentence": str(self),
        }


@dataclass(frozen=True, kw_only=True)
class Touched:
    """What a pause touches of one queue, as it stands under the pauses there are."""

    queue: str
    waiting: int
    held: int
    running: int
    needs_input: int

    @property
    def operations(self) -> int:
        """All of them."""
        return self.waiting + self.held + self.running + self.needs_input


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What a change of a pause would touch. Nothing is changed by looking."""

    scope: Scope
    mode: PauseMode | None
    """The pause's; None: it is lifted."""
    percent: int | None
    """Share of the budget that the scope may use; None: nothing while it is paused, all when it is lifted."""
    at: datetime
    queues: tuple[Touched, ...]
    partners: int
    wabas: int
    more_wabas: bool
    """There may be more than that."""
    oldest: datetime | None
    drain: Drain
    """Of what is there, once it may go."""
    held_besides: tuple[tuple[Pause, int], ...]
    """Other pauses that cover some of it, and how many operations; one may be covered by several."""
    free: int
    """Operations that no other pause covers."""

    @property
    def operations(self) -> int:
        """All that is touched and not finished."""
        return sum(queue.operations for queue in self.queues)

    @property
    def running(self) -> int:
        """Operations that a worker is at."""
        return sum(queue.running for queue in self.queues)

    def __str__(self) -> str:
        if not self.operations:
            return "affects no operation that is there now"
        whose = f"{_counted(self.operations, 'operation')} of {_counted(self.partners, 'partner')}"
        return f"affects {whose}; {self.drain}"

    @property
    def sentences(self) -> tuple[str, ...]:
        """Everything, a sentence each; the first is the shortest answer."""
        return tuple(filter(None, (str(self), *self._details())))

    def _details(self) -> Iterable[str]:
        if not self.operations:
            return
        largest = sorted(self.queues, key=lambda one: -one.operations)
        for one in largest[:_SHOWN]:
            yield f"{one.queue}: {one.waiting:,} waiting, {one.held:,} held, {one.running:,} running" + (
                f", {one.needs_input:,} need input" if one.needs_input else ""
            )
        if len(largest) > _SHOWN:
            rest = sum(one.operations for one in largest[_SHOWN:])
            yield f"{len(largest) - _SHOWN} other queues: {rest:,} operations"
        if self.wabas:
            yield f"they are about {'at least ' if self.more_wabas else ''}{_counted(self.wabas, 'WABA')}"
        if self.oldest is not None:
            yield f"the oldest was accepted {spoken(self.at - self.oldest)} ago"
        yield self._about_running()
        for pause, number in self.held_besides:
            yield f"{number:,} of them stay held: {pause}"
        if self.drain.calls:
            calls = _counted(self.drain.calls, "call")
            yield f"they take about {calls}" + (f"; {self.drain.bound_by} decides" if self.drain.bound_by else "")
        yield from self.drain.doubts

    def _about_running(self) -> str:
        if not self.running or self.mode is None or self.percent:
            return ""
        if self.mode is PauseMode.DRAIN:
            return f"{self.running:,} are running: they are finished"
        return f"{self.running:,} are running: they stop before their next call"

    def as_json(self) -> dict[str, Any]:
        """Return the public form."""
        return {
            "scope": str(self.scope),
            "mode": None if self.mode is None else str(self.mode),
            "percent": self.percent,
            "at": self.at.isoformat(),
            "operations": self.operations,
            "running": self.running,
            "partners": self.partners,
            "wabas": self.wabas,
            "wabas_is_exact": not self.more_wabas,
            "oldest_seconds": None if self.oldest is None else (self.at - self.oldest).total_seconds(),
            "queues": [
                {
                    "queue": one.queue,
                    "waiting": one.waiting,
                    "held": one.held,
                    "running": one.running,
                    "needs_input": one.needs_input,
                }
                for one in self.queues
            ],
            "drain": self.drain.as_json(),
            "held_besides": [
                {"pause": pause.id, "scope": str(pause.scope), "operations": number}
                for pause, number in self.held_besides
            ],
            "free": self.free,
            "sentence": str(self),
            "sentences": list(self.sentences),
        }


# ── looking ──────────────────────────────────────────────────────────────────────────────────────────────


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
                _longest(one.at_best for one in spans),
                _longest(one.at_present for one in spans),
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


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else round(span.total_seconds(), 1)
