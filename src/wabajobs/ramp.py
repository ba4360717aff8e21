"""What was paused goes on little by little, and steps back at the first refusal of Meta's.

A ramp is a pause that lets a growing part of an app's budget pass: what lay still must not fall upon Meta at
once, nor be the first to hear that Meta is not well after all. The leading dispatcher takes the steps.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

from wabajobs import events
from wabajobs.capability import Capability
from wabajobs.clock import Clock
from wabajobs.decisions import AtEnd, Pause, Scope, ScopeType
from wabajobs.errors import NotReady
from wabajobs.gate import AppReading
from wabajobs.kinds import Catalogue
from wabajobs.ledger import Ledger
from wabajobs.settings import Settings

ACTOR: Final = "ramp"
"""Who takes the steps, in the record of decisions."""
_FULL: Final = 0.9
"""Share of an app's limit from which on nothing more is let run."""


class Gate(Protocol):
    """What is asked of the gate."""

    def read(self, app: str) -> AppReading:
        """Return what it knows of an app."""
        ...


class Ramps:
    """Begins ramps, and takes their steps."""

    def __init__(
        self, *, ledger: Ledger, gate: Gate, kinds: Callable[[], Catalogue], settings: Settings, clock: Clock
    ) -> None:
        """Work on the pauses of `ledger`."""
        self._ledger = ledger
        self._gate = gate
        self._kinds = kinds
        self._settings = settings
        self._clock = clock
        self._troubled: set[int] = set()
        """Ramps that have stepped back and wait for Meta to be well."""

    def begin(self, pauses: Iterable[Pause], *, reason: str, actor: str) -> list[Pause]:
        """Let what pauses hold go on; return those that still hold a part of it.

        Where hardly anything waits there is nothing to be spread: such a pause is lifted. Partners go on one
        after the other. Raises `LedgerUnavailable`.
        """
        now = self._clock.now()
        going = []
        for one in pauses:
            if self._holds_little(one):
                self._ledger.decisions.resume(one.scope, reason=reason, actor=actor, now=now, only=[one])
                continue
            percent = 0 if one.scope.partner and self._partner_under_way(now) else self._above(one.percent)
            going += self._ledger.decisions.let_run(
                [one], percent, stepped_at=now, reason=reason, actor=actor, now=now
            )
        return going

    def keep_up(self) -> None:
        """Take the steps that are due. Never raises for a part that is away: then nothing more is let run."""
        try:
            now = self._clock.now()
            pauses = self._ledger.decisions.pauses(now=now)
            over = [one for one in pauses if _is_over(one, now)]
            if over:
                self.begin(over, reason="its time is over", actor=ACTOR)
            ramps = [one for one in pauses if one.is_ramp]
            self._troubled &= {one.id for one in ramps}
            for one in ramps:
                self._step(one, now)
        except NotReady as error:
            events.tell("part_failed", part="ramp", why=error)

    def _step(self, one: Pause, now: datetime) -> None:
        if why := self._trouble(one):
            if one.id not in self._troubled:
                self._troubled.add(one.id)
                self._move(one, self._below(one.percent), now, why)
            return
        if one.id in self._troubled:  # Meta is well again: from here a whole step is waited for
            self._troubled.discard(one.id)
            self._move(one, one.percent, now, "no breaker is open any more")
            return
        if one.percent == 0:
            if not self._partner_under_way(now):
                self._go_on(one, now)
        elif one.stepped_at and now - one.stepped_at >= self._step_length and not self._is_full(one):
            self._go_on(one, now)

    def _go_on(self, one: Pause, now: datetime) -> None:
        percent = self._above(one.percent)
        if percent >= 100 or self._holds_little(one):
            why = "hardly anything waits any more" if percent < 100 else "it has run well"
            self._ledger.decisions.resume(one.scope, reason=why, actor=ACTOR, now=now, only=[one])
            events.tell("ramp_stepped", scope=one.scope, percent=100, why=why)
        else:
            self._move(one, percent, now, "it has run well" if one.percent else "its turn has come")

    def _move(self, one: Pause, percent: int, now: datetime, why: str) -> None:
        self._ledger.decisions.let_run([one], percent, stepped_at=now, reason=why, actor=ACTOR, now=now)
        events.tell("ramp_stepped", scope=one.scope, percent=percent, why=why)

    # ── how things stand ────────────────────────────────────────────────────────────────────────────────

    @property
    def _steps(self) -> Sequence[int]:
        return (*self._settings.ramp.steps, 100)

    @property
    def _step_length(self) -> timedelta:
        return timedelta(seconds=self._settings.ramp.step_seconds)

    def _above(self, percent: int) -> int:
        return next((step for step in self._steps if step > percent), 100)

    def _below(self, percent: int) -> int:
        lower = [step for step in self._steps if step < percent]
        return lower[-1] if lower else min(percent, self._steps[0])

    def _partner_under_way(self, now: datetime) -> bool:
        pauses = self._ledger.decisions.pauses(now=now)
        return any(one.is_ramp and one.percent and one.scope.partner for one in pauses)

    def _holds_little(self, one: Pause) -> bool:
        """Whether no more waits than would be let run in the first step anyhow."""
        try:
            rate = min((_rate(self._gate.read(app)) for app in self._apps(one.scope)), default=0.0)
        except NotReady:
            return False
        few = int(rate * self._settings.ramp.step_seconds * self._steps[0] / 100)
        return self._ledger.operations.waiting_under(one.scope, at_most=few + 1) <= few

    def _is_full(self, one: Pause) -> bool:
        windows = [window for app in self._apps(one.scope) for window in self._gate.read(app).windows[:1]]
        return any(one.limit and one.used + one.others >= _FULL * one.limit for one in windows)

    def _trouble(self, one: Pause) -> str | None:
        """Say which breaker has opened that concerns what the pause covers, if one has."""
        for app in self._apps(one.scope):
            scopes = {f"app:{app}", *(f"app:{app}/{each}" for each in self._capabilities(one.scope))}
            for breaker in self._gate.read(app).breakers:
                if breaker.scope in scopes and breaker.state != "closed":
                    return f"the breaker of {breaker.scope} is {breaker.state} ({breaker.evidence})"
        return None

    def _apps(self, scope: Scope) -> list[str]:
        return [app for app in self._settings.apps if scope.type is not ScopeType.APP or scope.name == app]

    def _capabilities(self, scope: Scope) -> set[Capability]:
        if scope.type is ScopeType.CAPABILITY:
            return {each for each in Capability if each == scope.name}
        if scope.queue:
            return {step.capability for step in self._kinds()[scope.queue].steps if step.capability}
        return set(Capability)


def _is_over(one: Pause, now: datetime) -> bool:
    return one.at_end is AtEnd.RAMP and one.ends_at is not None and one.ends_at <= now


def _rate(app: AppReading) -> float:
    """Return the calls a second that the limit of an app allows."""
    [window] = app.windows[:1]
    return window.limit / window.window.total_seconds()
