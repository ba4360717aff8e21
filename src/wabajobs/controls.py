"""What people decide: pause and resume, limits. SQL keeps it; the gate's mirror is told, and told again."""

from dataclasses import dataclass
from datetime import timedelta

from wabajobs import events
from wabajobs.clock import Clock
from wabajobs.decisions import Decisions, Limit, Override, Pause, Scope, Stand, require_reason
from wabajobs.errors import GateUnavailable, InvalidRequest
from wabajobs.gate import Because, Gate
from wabajobs.ledger import Ledger
from wabajobs.signals import Bell

_HELD_BY_THE_GATE = (Because.BUDGET, Because.BREAKER)


@dataclass(frozen=True, kw_only=True)
class Decided:
    """A decision that was recorded. `in_force` is False when the gate could not be told of it yet."""

    pauses: tuple[Pause, ...]
    in_force: bool
    still_calling: int = 0
    """Calls of the scope that had begun before, and are still on the wire."""
    why_not: str | None = None


@dataclass(frozen=True, kw_only=True)
class Controls:
    """The switches. Each writes one row; nobody's operations are touched."""

    ledger: Ledger
    gate: Gate
    bell: Bell
    clock: Clock

    def pause(
        self,
        scope: Scope,
        *,
        reason: str,
        actor: str,
        lasting: timedelta | None = None,
        notice: str | None = None,
    ) -> Decided:
        """Pause a scope. When this returns in force, no further Graph call of it starts anywhere."""
        require_reason(reason)
        pause = self.ledger.decisions.pause(
            scope, reason=reason, actor=actor, now=self.clock.now(), lasting=lasting, notice=notice
        )
        try:
            self.mirror()
            still_calling = self.gate.await_started(scope)
        except GateUnavailable as error:
            return Decided(pauses=(pause,), in_force=False, why_not=str(error))
        finally:
            self.bell.ring()
        return Decided(pauses=(pause,), in_force=True, still_calling=still_calling)

    def resume(self, scope: Scope, *, reason: str, actor: str) -> Decided:
        """Lift the pauses of exactly this scope; other layers stay."""
        require_reason(reason)
        lifted = self.ledger.decisions.resume(scope, reason=reason, actor=actor, now=self.clock.now())
        if not lifted:
            live = self.ledger.decisions.pauses(now=self.clock.now())
            others = ", ".join(sorted({str(pause.scope) for pause in live})) or "nothing"
            raise InvalidRequest(f"{scope} is not paused; paused is: {others}")
        try:
            self.mirror()
        except GateUnavailable as error:
            return Decided(pauses=tuple(lifted), in_force=False, why_not=str(error))
        finally:
            self.bell.ring()
        return Decided(pauses=tuple(lifted), in_force=True)

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
