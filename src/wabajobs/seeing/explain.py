"""Why an operation is not done, what comes next, and when.

Everything that could keep it is looked at, not only what does: whoever lifts a pause is to know of the budget
behind it. Each obstacle says whose word it is: a person's, our own gate's, or Meta's.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

from wabajobs.capability import ServiceClass
from wabajobs.clock import Clock
from wabajobs.decisions import AtEnd, Override, Pause
from wabajobs.errors import ConfigurationError, InvalidRequest, NotReady
from wabajobs.freshness import spoken
from wabajobs.gate import AppReading, Because, BreakerReading, Call, Gate, Wait, WindowReading
from wabajobs.kinds import Catalogue
from wabajobs.ledger import DISPATCHER, RETRY_BUDGET, Ledger, Line, Position, Story
from wabajobs.operation import Operation, State
from wabajobs.outcome import Origin
from wabajobs.partners import Partners
from wabajobs.settings import Settings
from wabajobs.signals import Presence

_LATELY: Final = timedelta(minutes=10)
_SHORTEST: Final = timedelta(seconds=20)
"""Over less, a rate says nothing."""
_FEWEST_ENDED: Final = 5
_LEAST_SPREAD: Final = 0.25
_PASSES: Final = ("turn", "budget")
"""What the rate of late has passed as well: so it tells when the turn of this one comes."""
_THEN: Final = {
    "retry": "it is tried again, if the retry budget has room",
    RETRY_BUDGET: "it is tried again as soon as there is room",
    "meta": "its next call is asked for again",
    "gate": "it asks the gate again",
    "worker": "another worker takes it",
    "configuration": "a worker tries it again, if one is set up rightly by then",
    "ledger": "it goes on from its checkpoint",
}


@dataclass(frozen=True, kw_only=True)
class Obstacle:
    """Something that keeps an operation from running now, or would."""

    by: str
    """As a hold says it, or `lane`, `dispatcher`, `workers`, `partner_cap`, `turn`, `needs_input`, `cancel`."""
    origin: Origin
    reason: str
    """A sentence for a person."""
    scope: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    """None: nobody knows, or only a person can say."""
    then: str = ""
    """What comes when it is over."""
    detail: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the public form."""
        return {
            "by": self.by,
            "origin": str(self.origin),
            "reason": self.reason,
            "scope": self.scope,
            "since": _iso(self.since),
            "until": _iso(self.until),
            "then": self.then,
            **({"detail": self.detail} if self.detail else {}),
        }


@dataclass(frozen=True, kw_only=True)
class Queueing:
    """How many go before it, and when its turn may come."""

    before: int
    """In its own line."""
    ahead: int
    """That are served before it where all lines take turns."""
    per_minute: float | None
    """Operations of its queue that have ended of late."""
    earliest: datetime | None
    latest: datetime | None

    def as_json(self) -> dict[str, Any]:
        """Return the public form."""
        return {
            "before_in_line": self.before,
            "ahead": self.ahead,
            "per_minute": None if self.per_minute is None else round(self.per_minute, 1),
            "earliest": _iso(self.earliest),
            "latest": _iso(self.latest),
        }


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why an operation is not done, what comes next, and when."""

    operation: Operation
    """As it stands under the pauses there are."""
    at: datetime
    summary: str
    """The shortest answer."""
    why: Obstacle | None
    """What keeps it now; None when nothing does."""
    behind: tuple[Obstacle, ...]
    """What would keep it if that were gone."""
    next: str
    """What comes next, and when."""
    queueing: Queueing | None
    step: str | None
    """Where it is, or where it goes on."""
    troubles: tuple[str, ...]
    """What could not be asked."""

    def as_json(self) -> dict[str, Any]:
        """Return the public form."""
        return {
            "id": self.operation.id,
            "kind": self.operation.kind,
            "state": str(self.operation.state),
            "at": self.at.isoformat(),
            "summary": self.summary,
            "why": self.why.as_json() if self.why else None,
            "behind": [one.as_json() for one in self.behind],
            "next": self.next,
            "queueing": self.queueing.as_json() if self.queueing else None,
            "step": self.step,
            "attempts": self.operation.attempts,
            "deadline_at": _iso(self.operation.deadline_at),
            "troubles": list(self.troubles),
        }


@dataclass(frozen=True, kw_only=True)
class Explainer:
    """Looks at everything that an operation has to pass. Changes nothing."""

    ledger: Ledger
    gate: Gate
    presence: Presence
    kinds: Catalogue
    settings: Settings
    clock: Clock

    def explain(self, operation_id: str) -> Explanation:
        """Explain an operation. Raises `NotFound`, `LedgerUnavailable`; of all else that is away it tells."""
        now = self.clock.now()
        operations = self.ledger.operations
        pauses = self.ledger.decisions.pauses(now=now)
        operation = operations.get(operation_id).under(pauses)
        position = operations.position(operation_id)
        story = operations.story(operation_id)
        step = self._step(operation)
        if operation.state.finished:
            return _plain(operation, now, _end(operation), "nothing more happens to it by itself", step=None)
        if operation.state is State.RUNNING:
            return self._running(operation, position, story, step, now)
        if operation.state is State.NEEDS_INPUT:
            return _needs_input(operation, step, now)
        look = _Look(self, operation, position, story, pauses, now)
        why, *behind = look.obstacles()
        queueing = look.queueing(why)
        return Explanation(
            operation=operation,
            at=now,
            summary=f"it waits: {why.reason}",
            why=why,
            behind=tuple(behind),
            next=_next(why, behind, queueing, operation, now),
            queueing=queueing,
            step=step,
            troubles=tuple(look.troubles),
        )

    def _running(
        self, operation: Operation, position: Position, story: Sequence[Story], step: str | None, now: datetime
    ) -> Explanation:
        began = next((one for one in reversed(story) if one.name == "begun"), None)
        since = f" for {spoken(now - began.at)}" if began else ""
        where = f", at its step {step}" if step else ""
        gone = position.leased_until is not None and position.leased_until < now
        then = (
            "its lease has run out: it is taken back, and another attempt goes on from its checkpoint"
            if gone
            else "it goes on with its next call"
        )
        if operation.stop:
            then = f"it stops before its next call: {operation.stop['by']} wants it cancelled"
        summary = f"it is running on {position.worker or 'a worker'}{since}{where}"
        return _plain(operation, now, summary, then + _deadline(operation), step=step)

    def _step(self, operation: Operation) -> str | None:
        """Return the first step that is not done."""
        try:
            steps = self.kinds[operation.kind].steps
        except InvalidRequest:
            return None
        done = (operation.checkpoint or {}).get("done", {})
        return next((one.name for one in steps if one.when(operation.payload) and one.name not in done), None)


@dataclass
class _Look:
    """One look at a waiting operation."""

    house: Explainer
    operation: Operation
    position: Position
    story: Sequence[Story]
    pauses: Sequence[Pause]
    now: datetime
    troubles: list[str] = field(default_factory=list)

    def obstacles(self) -> list[Obstacle]:
        """Return what keeps it, the first of it first; at least its turn does."""
        found = [*self._pauses(), *self._lane(), *self._hold(), *self._programs(), *self._gate(), *self._cap()]
        told: dict[tuple[str, str | None], Obstacle] = {}
        for one in found:
            kept = told.get((one.by, None))
            if (
                kept is not None and one.scope is not None
            ):  # the hold in the ledger, and what the gate knows of it
                told[one.by, None] = replace(kept, scope=one.scope, detail=one.detail)
            else:
                told.setdefault((one.by, one.scope), one)
        if self.operation.stop:
            return [self._cancel(), *told.values()]
        return list(told.values()) or [self._turn()]

    # ── people ──────────────────────────────────────────────────────────────────────────────────────────

    def _pauses(self) -> Iterable[Obstacle]:
        """Tell the pauses that keep it, the one that lasts longest first."""
        decides = self.operation.pause_among(self.pauses)
        keeping = [one for one in self.pauses if one.keeps(begun=self.operation.has_begun)]
        covering = [one for one in keeping if self.operation.is_covered_by(one)]
        for pause in sorted(covering, key=lambda one: one is not decides):
            yield Obstacle(
                by="pause",
                origin=Origin.PERSON,
                reason=str(pause),
                scope=str(pause.scope) if pause is decides else f"{pause.scope} #{pause.id}",
                since=pause.created_at,
                until=pause.ends_at,
                then=_after(pause),
                detail={
                    "pause": pause.id,
                    "mode": str(pause.mode),
                    "actor": pause.actor,
                    "reason": pause.reason,
                    "notice": pause.notice,
                    "incident": pause.incident,
                },
            )

    def _cancel(self) -> Obstacle:
        stop = self.operation.stop or {}
        return Obstacle(
            by="cancel",
            origin=Origin.PERSON,
            reason=f"{stop.get('by')} wants it cancelled ({stop.get('reason')})",
            then="it ends before its next call",
        )

    # ── the ledger ──────────────────────────────────────────────────────────────────────────────────────

    def _lane(self) -> Iterable[Obstacle]:
        first = self.position.goes_first
        if first is None:
            return
        more = self.position.before_in_lane - 1
        yield Obstacle(
            by="lane",
            origin=Origin.OURS,
            reason=(
                f"{first.kind} {first.id} touches the same thing and goes first; it is {first.state}"
                + (f", and {more} more go before" if more else "")
            ),
            scope=self.operation.lane,
            then="it queues when they have finished: what touches the same thing keeps its order",
            detail={"operation": first.id, "before": self.position.before_in_lane},
        )

    def _hold(self) -> Iterable[Obstacle]:
        """Tell the hold that the ledger keeps, unless it is a pause's: that is worked out anew."""
        kept = self.house.ledger.operations.get(self.operation.id)
        if kept.hold is None or (kept.hold.by in ("pause", "slowed", "held_open") and kept.due_at <= self.now):
            return
        hold = kept.hold
        since = next((one.at for one in reversed(self.story) if one.name in ("held", "paused")), None)
        yield Obstacle(
            by=hold.by,
            origin=hold.origin,
            reason=hold.reason,
            since=since,
            until=hold.until,
            then=_THEN.get(hold.by, "it asks again"),
        )

    # ── programs ────────────────────────────────────────────────────────────────────────────────────────

    def _programs(self) -> Iterable[Obstacle]:
        if self.house.ledger.leaderships.holder(DISPATCHER, now=self.now) is None:
            yield Obstacle(
                by="dispatcher",
                origin=Origin.OURS,
                reason="no dispatcher runs, and nothing leaves the ledger",
                then="start one: wabajobs dispatcher",
            )
        queue = self.operation.kind
        try:
            living = self.house.presence.living([queue])[queue]
        except NotReady as error:
            self.troubles.append(f"whether a worker is alive for {queue} cannot be said: {error}")
            return
        if not living:
            yield Obstacle(
                by="workers",
                origin=Origin.OURS,
                reason=f"no worker is alive for {queue}",
                scope=queue,
                then="start one: it needs no setting",
            )

    def _cap(self) -> Iterable[Obstacle]:
        partners = Partners(self.house.ledger, self.house.settings.partners)
        partners.refresh()
        at_most = partners.at_most.get(self.operation.partner)
        if at_most is None or self.position.leased_until is not None:
            return
        out = sum(
            number
            for (_, partner), number in self.house.ledger.operations.out().items()
            if partner == self.operation.partner
        )
        if out >= at_most:
            yield Obstacle(
                by="partner_cap",
                origin=Origin.OURS,
                reason=f"{self.operation.partner} may have {at_most} operations out at once, and {out} are",
                scope=f"partner:{self.operation.partner}",
                then="when one of them has ended, the next goes",
            )

    # ── the gate ────────────────────────────────────────────────────────────────────────────────────────

    def _gate(self) -> Iterable[Obstacle]:
        """Tell what the gate says of its next call, and all else in the gate that would say no to it."""
        call = Call.of(self.operation)
        try:
            [wait] = self.house.gate.forecast([call])
            decided = self.house.ledger.decisions.current(now=self.now)
            own = [
                f"partner:{call.partner}",
                f"capability:{call.capability}",
                f"partner:{call.partner}/{call.waba}",
            ]
            reading = self.house.gate.read(call.app, wabas=[call.waba] if call.waba else (), budgets=own)
        except ConfigurationError as error:
            yield Obstacle(
                by="configuration",
                origin=Origin.OURS,
                reason=str(error),
                scope=f"app:{call.app}",
                then="it goes on as soon as the dispatcher and the workers are set up for it",
            )
            return
        except NotReady as error:
            yield Obstacle(
                by="gate",
                origin=Origin.OURS,
                reason=f"no calls are made: {error}",
                then="it goes on by itself as soon as the gate answers",
            )
            return
        if wait is not None and self._is_told(wait):
            yield self._refusal(wait, reading, decided.overrides)
        for breaker in reading.breakers:
            if breaker.state != "closed" and self._concerns(breaker.scope):
                yield self._broken(breaker, decided.overrides)
        for window in reading.windows:
            if not window.shadow and _room(window, self.operation.service_class) < 1:
                yield self._spent(window, wait)

    def _is_told(self, wait: Wait) -> bool:
        """Whether it is more than the pace. Pauses have been told; that a person slows it down always is."""
        if wait.because in (Because.PAUSE, Because.SLOWED):
            return wait.because is Because.SLOWED
        return not wait.is_pace(self.house.settings.dispatch.short_wait)

    def _refusal(self, wait: Wait, reading: AppReading, overrides: Sequence[Override]) -> Obstacle:
        until = None if wait.delay is None else self.now + wait.delay
        if wait.because in (Because.BREAKER, Because.HELD_OPEN):
            for breaker in reading.breakers:
                if breaker.scope == wait.scope:
                    return self._broken(breaker, overrides)
        if wait.because is Because.BUDGET:
            for window in reading.windows:
                if window.scope == wait.scope:
                    return self._spent(window, wait)
        return Obstacle(
            by=str(wait.because),
            origin=Origin.of(wait.because),
            reason=str(wait),
            scope=wait.scope,
            until=until,
            then=_THEN.get(str(wait.because), "its next call is let through"),
        )

    def _broken(self, breaker: BreakerReading, overrides: Sequence[Override]) -> Obstacle:
        if breaker.held:
            held = next((one for one in overrides if one.scope == breaker.scope), None)
            return Obstacle(
                by="held_open",
                origin=Origin.PERSON,
                reason=breaker.held,
                scope=breaker.scope,
                until=held.ends_at if held else None,
                then="the breaker goes its own way again",
            )
        probe = self.now + breaker.retry_in if breaker.retry_in is not None else None
        if breaker.state == "open":
            then = "one call probes; when it succeeds, the others follow, slowly at first"
        else:
            then = "one call is probing it now; when it succeeds, the others follow, slowly at first"
        return Obstacle(
            by="breaker",
            origin=Origin.META,
            reason=_refused(breaker),
            scope=breaker.scope,
            until=probe,
            then=then,
            detail={"evidence": breaker.evidence, "trips": breaker.trips, "next_probe": _iso(probe)},
        )

    def _spent(self, window: WindowReading, wait: Wait | None) -> Obstacle:
        mine = wait is not None and wait.scope == window.scope
        service_class = self.operation.service_class
        usable = window.usable.get(service_class, window.limit)
        others = f", and others {window.others:,}" if window.others else ""
        if mine and _room(window, service_class) >= 1:
            reason = f"our own pace: {wait}"
        else:
            reason = (
                f"our own gate keeps the budget of {window.scope}: of {window.limit:,} calls in"
                f" {spoken(window.window)} {service_class} operations may use {usable:,};"
                f" we have used {window.used:,}{others}"
            )
        return Obstacle(
            by="budget",
            origin=Origin.OURS,
            reason=reason,
            scope=window.scope,
            until=self.now + wait.delay if wait and mine and wait.delay is not None else None,
            then="its next call fits; Meta has refused nothing",
            detail={
                "limit": window.limit,
                "usable": usable,
                "used": window.used,
                "others": window.others,
                "class": str(service_class),
                "window_seconds": window.window.total_seconds(),
            },
        )

    def _concerns(self, scope: str) -> bool:
        app, capability = self.operation.app, self.operation.capability
        own = {f"app:{app}", f"app:{app}/{capability}", f"waba:{app}:{self.operation.waba}"}
        return scope in own or scope == f"number:{self.operation.number}"

    # ── its turn ────────────────────────────────────────────────────────────────────────────────────────

    def _turn(self) -> Obstacle:
        if self.position.leased_until is not None:
            return Obstacle(
                by="turn",
                origin=Origin.OURS,
                reason="it has been sent to the workers, and none has begun it yet",
                until=self.position.leased_until,
                then="if none does by then, it is sent again",
            )
        before = self.position.before_in_line
        order = f"{before:,} of its line go before it" if before else "it is the first of its line"
        return Obstacle(
            by="turn",
            origin=Origin.OURS,
            reason=f"nothing keeps it but its turn at a worker: {order}",
            then="partners take turns, whatever the length of their queues",
        )

    def queueing(self, why: Obstacle) -> Queueing | None:
        """Return how many go before it, and when its turn may come; None while it is not in a line."""
        if not self.position.is_ready:
            return None
        mine, before = self.position.line, self.position.before_in_line
        ahead = served_before(mine, before, self.house.ledger.operations.ready_by_line([mine.kind]))
        # While it has waited its queue was busy; before that it may have had nothing to do.
        lately = min(_LATELY, max(_SHORTEST, self.now - self.operation.created_at))
        ended = self._ended_since(self.now - lately)
        rate = ended / lately.total_seconds() if ended >= _FEWEST_ENDED else None
        earliest, latest = None, None
        if rate is not None and why.by in _PASSES:
            begin = max(self.now, why.until or self.now)
            earliest, latest = (begin + span for span in band(ahead, rate=rate, seen=ended))
        return Queueing(
            before=before,
            ahead=ahead,
            per_minute=None if rate is None else rate * 60,
            earliest=earliest,
            latest=latest,
        )

    def _ended_since(self, since: datetime) -> int:
        ended = self.house.ledger.operations.count_finished(since=since)
        return sum(number for kind, _, number in ended if kind == self.position.line.kind)


def served_before(mine: Line, before: int, ready: dict[Line, int]) -> int:
    """Return how many operations of a queue are served before one that has `before` others before it in its line.

    Lines take turns: in as many rounds as it takes, each other one has as many served, or all that it has. Those
    of a higher class go first, those of a lower one hardly count.
    """
    ahead = before
    for line, number in ready.items():
        if line.name == mine.name:
            continue
        if line.service_class.rank < mine.service_class.rank:
            ahead += number
        elif line.service_class is mine.service_class:
            ahead += min(number, before + 1)
    return ahead


def band(ahead: int, *, rate: float, seen: int) -> tuple[timedelta, timedelta]:
    """Return when something is served that has so many ahead, at so many a second: at the earliest and latest.

    A rate of which few were `seen` is known less well; it never is to a quarter.
    """
    likely = (ahead + 1) / rate
    spread = max(_LEAST_SPREAD, 2 / math.sqrt(max(1, seen)))
    return timedelta(seconds=likely * max(0.0, 1 - spread)), timedelta(seconds=likely * (1 + spread))


def _refused(breaker: BreakerReading) -> str:
    return f"Meta refused or failed ({breaker.evidence}): the breaker of {breaker.scope} is {breaker.state}"


def _room(window: WindowReading, service_class: ServiceClass) -> int:
    return window.usable.get(service_class, window.limit) - window.others - window.used


def _after(pause: Pause) -> str:
    if pause.is_ramp:
        return "it is being lifted step by step"
    if pause.ends_at is None:
        return f"it has no end: wabajobs resume {pause.scope}"
    return "it goes on in steps" if pause.at_end is AtEnd.RAMP else "it goes on at once"


def _next(
    why: Obstacle, behind: Sequence[Obstacle], queueing: Queueing | None, operation: Operation, now: datetime
) -> str:
    told = [why.then]
    if why.until is not None:
        told = [f"about {_clock(why.until)}, in {spoken(max(timedelta(0), why.until - now))}: {why.then}"]
    if behind:
        told.append(f"behind that: {', '.join(dict.fromkeys(one.by for one in behind))}")
    if queueing and queueing.earliest and queueing.latest:
        told.append(
            f"its turn comes about {_clock(queueing.earliest)} to {_clock(queueing.latest)}, at the rate of late"
        )
    return "; ".join(filter(None, told)) + _deadline(operation)


def _needs_input(operation: Operation, step: str | None, now: datetime) -> Explanation:
    needs = operation.needs
    assert needs is not None  # noqa: S101 (that is what the state means)
    names = " or ".join(one.name for one in needs.asks)
    why = Obstacle(
        by="needs_input",
        origin=Origin.PERSON,
        reason=f"it needs {names}: {needs.reason}",
        until=needs.until,
        then=f"give it: wabajobs ops provide {operation.id}",
    )
    ends = f"; without it, it ends {_clock(needs.until)}" if needs.until else ""
    return Explanation(
        operation=operation,
        at=now,
        summary=why.reason,
        why=why,
        behind=(),
        next=why.then + ends,
        queueing=None,
        step=step,
        troubles=(),
    )


def _plain(operation: Operation, now: datetime, summary: str, then: str, *, step: str | None) -> Explanation:
    return Explanation(
        operation=operation,
        at=now,
        summary=summary,
        why=None,
        behind=(),
        next=then,
        queueing=None,
        step=step,
        troubles=(),
    )


def _end(operation: Operation) -> str:
    at = f" at {_clock(operation.finished_at)}" if operation.finished_at else ""
    said = (operation.error or {}).get("message")
    return f"it is {operation.state}{at}" + (f": {said}" if said else "")


def _deadline(operation: Operation) -> str:
    if operation.deadline_at is None:
        return ""
    return f"; it expires {_clock(operation.deadline_at)} if it is not done by then"


def _clock(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
