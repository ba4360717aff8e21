"""What a pause would touch, and how long what waits takes: the answers, as sentences and as JSON."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from wabajobs.decisions import Pause, PauseMode, Scope
from wabajobs.freshness import spoken

_AGREE: Final = 1.2
"""Two times that differ by less are told as one."""
_SHOWN: Final = 5


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


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else round(span.total_seconds(), 1)
