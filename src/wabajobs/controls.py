"""What people decide: pause and resume, limits. SQL keeps it; the gate's mirror is told, and told again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from wabajobs import events
from wabajobs.clock import Clock
from wabajobs.decisions import AtEnd, Decisions, Limit, Override, Pause, PauseMode, Scope, Stand, require_reason
from wabajobs.errors import GateUnavailable, InvalidRequest
from wabajobs.gate import Because, Gate
from wabajobs.kinds import Catalogue
from wabajobs.ledger import Ledger
from wabajobs.ramp import Ramps
from wabajobs.signals import Bell

_HELD_BY_PAUSES = (Because.PAUSE, Because.SLOWED)
_HELD_BY_THE_GATE = (Because.BUDGET, Because.BREAKER, Because.HELD_OPEN, *_HELD_BY_PAUSES)


_WHY_NOT: Final = {
    PauseMode.DROP: "what a customer has asked for is not thrown away, unless something later does the same work"
}


@dataclass(frozen=True, kw_only=True)
class Decided:
    """A decision that was recorded. `in_force` is False when the gate could not be told of it yet."""

    pauses: tuple[Pause, ...]
    """What was decided about, as it was or is: the pause that was put, or those that were lifted or eased."""
    in_force: bool
    going_on: tuple[Pause, ...] = ()
    """Pauses that were eased and still hold a part."""
    still_calling: int = 0
    """Calls of the scope that had begun before, and are still on the wire."""
    why_not: str | None = None

    @property
    def pace(self) -> str:
        """How what was held goes on, to be added to `goes on`; empty when all of it does at once."""
        if not self.going_on:
            return ""
        slowest = min(one.percent for one in self.going_on)
        if not self.going_on[0].is_ramp:
            return f" at {slowest} % of the budget, until somebody decides anew"
        return f" at {slowest} % of the budget, and more step by step" if slowest else " when its turn comes"

    @property
    def still_going(self) -> str:
        """A sentence about the calls that can still end; empty when there are none."""
        if not self.still_calling:
            return ""
        return f"{self.still_calling} calls had begun before, and are still on the wire."

    @property
    def not_in_force(self) -> str:
        """What the gate's not being told means; empty when it has been."""
        if self.in_force:
            return ""
        return (
            f"this is recorded, but the gate could not be told ({self.why_not}). It comes into force by itself as"
            " soon as the gate can be reached; until then the gate lets nothing pass that asks it"
        )


@dataclass(frozen=True, kw_only=True)
class Controls:
    """The switches. Each writes one row; nobody's operations are touched."""

    ledger: Ledger
    gate: Gate
    bell: Bell
    clock: Clock
    kinds: Callable[[], Catalogue]
    """Asked only where the kinds matter: the other brakes work also where one of them cannot be loaded."""
    ramps: Ramps

    def pause(
        self,
        scope: Scope,
        *,
        reason: str,
        actor: str,
        lasting: timedelta | None = None,
        notice: str | None = None,
        mode: PauseMode = PauseMode.HOLD,
        percent: int = 0,
        at_end: AtEnd = AtEnd.RAMP,
        incident: int | None = None,
    ) -> Decided:
        """Pause a scope, or slow it. When this returns in force, no further Graph call of it starts anywhere.

        With `percent`, 1 to 99, it may use so much of an app's budget. After `lasting` it goes on, step by step
        unless `at_end` says otherwise. Raises `InvalidRequest` for a mode that a kind of the scope cannot bear.
        """
        require_reason(reason)
        if not 0 <= percent < 100:
            raise InvalidRequest(f"a pause lets 0 to 99 percent run, not {percent}")
        self._require_mode(mode, scope)
        pause = self.ledger.decisions.pause(
            scope,
            reason=reason,
            actor=actor,
            now=self.clock.now(),
            lasting=lasting,
            notice=notice,
            mode=mode,
            percent=percent,
            at_end=at_end,
            incident=incident,
        )
        try:
            self.mirror()
            still_calling = self.gate.await_started(scope) if pause.stands_still else 0
        except GateUnavailable as error:
            return Decided(pauses=(pause,), in_force=False, why_not=str(error))
        finally:
            self.bell.ring()
        return Decided(pauses=(pause,), in_force=True, still_calling=still_calling)

    def _require_mode(self, mode: PauseMode, scope: Scope) -> None:
        if mode is PauseMode.HOLD:  # every kind bears it
            return
        kinds = self.kinds()
        concerned = [kinds[scope.queue].name] if scope.queue else kinds.names
        cannot = [name for name in concerned if mode not in kinds[name].pause_modes]
        if cannot:
            can = [name for name in kinds.names if mode in kinds[name].pause_modes]
            raise InvalidRequest(
                f"{scope} cannot be paused with mode {mode}: {', '.join(cannot)} cannot bear it"
                f" ({_WHY_NOT.get(mode, 'the kind says so')}); it is for {', '.join(can) or 'no kind'}"
            )

    def resume(self, scope: Scope, *, reason: str, actor: str, percent: int | None = None) -> Decided:
        """Let what exactly this scope's pauses hold go on, in a ramp; other layers stay.

        Where hardly anything waits, and with `percent` 100, they are lifted at once. A smaller `percent` stays
        until somebody decides anew.
        """
        require_reason(reason)
        if percent is not None and not 1 <= percent <= 100:
            raise InvalidRequest(f"1 to 100 percent can go on, not {percent}")
        live = self.ledger.decisions.pauses(now=self.clock.now())
        of_scope = [one for one in live if one.scope == scope]
        if not of_scope:
            others = ", ".join(sorted({str(one.scope) for one in live})) or "nothing"
            raise InvalidRequest(f"{scope} is not paused; paused is: {others}")
        return self._resume(of_scope, reason=reason, actor=actor, percent=percent)

    def resume_partners(self, *, reason: str, actor: str) -> Decided:
        """Let all partners that are held go on, one after the other. Raises `InvalidRequest` when none is."""
        require_reason(reason)
        live = self.ledger.decisions.pauses(now=self.clock.now())
        of_partners = [one for one in live if one.scope.partner and not one.is_ramp]
        if not of_partners:
            raise InvalidRequest("no partner is held")
        return self._resume(of_partners, reason=reason, actor=actor, percent=None)

    def _resume(self, pauses: Sequence[Pause], *, reason: str, actor: str, percent: int | None) -> Decided:
        going_on = self._ease(pauses, reason=reason, actor=actor, percent=percent)
        try:
            self.mirror()
            # Some of it is held until a moment that has been worked out with the pause in force.
            self.ledger.operations.ask_again(held_by=_HELD_BY_PAUSES, now=self.clock.now())
        except GateUnavailable as error:
            return Decided(pauses=tuple(pauses), going_on=tuple(going_on), in_force=False, why_not=str(error))
        finally:
            self.bell.ring()
        return Decided(pauses=tuple(pauses), going_on=tuple(going_on), in_force=True)

    def _ease(self, pauses: Sequence[Pause], *, reason: str, actor: str, percent: int | None) -> Sequence[Pause]:
        if percent is None:
            return self.ramps.begin(pauses, reason=reason, actor=actor)
        told: dict[str, Any] = {"reason": reason, "actor": actor, "now": self.clock.now()}
        if percent < 100:
            return self.ledger.decisions.let_run(pauses, percent, stepped_at=None, **told)
        for scope in {one.scope for one in pauses}:
            self.ledger.decisions.resume(scope, only=pauses, **told)
        return ()

    def set_limit(self, limit: Limit) -> bool:
        """Set a limit; True when the gate knows already."""
        require_reason(limit.reason)
        self.ledger.decisions.set_limit(limit, now=self.clock.now())
        return self._put_in_force()

    def forget_limit(self, scope: str, *, reason: str, actor: str) -> bool:
        """Take back what was set for a scope; True when the gate knows already."""
        require_reason(reason)
        decisions = self.ledger.decisions
        if not decisions.forget_limit(scope, reason=reason, actor=actor, now=self.clock.now()):
            known = ", ".join(limit.scope for limit in decisions.current(now=self.clock.now()).limits)
            raise InvalidRequest(f"nobody has set a limit for {scope}; set are: {known or 'none'}")
        return self._put_in_force()

    def hold_breaker(
        self, scope: str, stand: Stand, *, reason: str, actor: str, lasting: timedelta | None = None
    ) -> tuple[Override, bool]:
        """Hold a breaker open or closed; with it, whether the gate knows already."""
        require_reason(reason)
        override = self.ledger.decisions.override(
            scope, stand, reason=reason, actor=actor, now=self.clock.now(), lasting=lasting
        )
        return override, self._put_in_force()

    def release_breaker(self, scope: str, *, reason: str, actor: str) -> bool:
        """Let a breaker go its own way again; True when the gate knows already."""
        require_reason(reason)
        decisions = self.ledger.decisions
        if not decisions.lift_override(scope, reason=reason, actor=actor, now=self.clock.now()):
            held = ", ".join(one.scope for one in decisions.current(now=self.clock.now()).overrides)
            raise InvalidRequest(f"nobody holds the breaker of {scope}; held are: {held or 'none'}")
        return self._put_in_force()

    def _put_in_force(self) -> bool:
        try:
            self._mirror_news()
        except GateUnavailable:
            return False
        finally:
            self.bell.ring()
        return True

    def mirror(self) -> Decisions:
        """Tell the gate everything that has been decided. Raises `GateUnavailable`."""
        decisions = self.ledger.decisions.current(now=self.clock.now())
        while not self.gate.tell(decisions):
            newest = self.ledger.decisions.current(now=self.clock.now())
            if newest.revision == decisions.revision:
                # The gate knows of a later decision than our ledger does: the ledger has been restored or
                # replaced, and what was decided in the other one is no longer true.
                events.tell("mirror_replaced", revision=newest.revision)
                self.gate.tell(newest, instead=True)
                return newest
            decisions = newest
        return decisions

    def _mirror_news(self) -> Decisions:
        decisions = self.mirror()
        # How long a budget or a breaker holds was said by the old state of things.
        self.ledger.operations.ask_again(held_by=_HELD_BY_THE_GATE, now=self.clock.now())
        return decisions

    def keep_mirrored(self) -> None:
        """Tell the gate again if it knows other than the ledger: it was emptied, or could not be reached."""
        try:
            told = self.gate.told()
            if told != self.ledger.decisions.revision():
                events.tell("mirror_restored", revision=self._mirror_news().revision, was=told)
        except GateUnavailable as error:
            events.tell("mirror_failed", why=error)
