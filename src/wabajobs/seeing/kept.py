"""What keeps operations from going on, and whose word that is: a person's, our own gate's, or Meta's.

What is held says so itself. Of what waits, the dispatcher leaves in the ledger whatever the gate would refuse: so
the gate is asked, once for all calls that are alike.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

from wabajobs.errors import NotReady
from wabajobs.gate import Because, Call, Gate, Wait
from wabajobs.ledger import Line, Part
from wabajobs.operation import State
from wabajobs.outcome import Origin
from wabajobs.settings import Settings

Kept = dict[tuple[str, str], Counter[str]]
"""How many operations of each (app, queue) are kept by what (`Hold.by`)."""
_AWAY: Final = Wait(delay=None, because=Because.GATE, scope="gate", reason="the gate cannot be asked")


def held(parts: Iterable[Part]) -> Kept:
    """Return what holds those that are held."""
    found: Kept = defaultdict(Counter)
    for part in parts:
        if part.state is State.HELD:
            found[part.line.app, part.line.kind][part.held_by or "nobody"] += part.operations
    return found


def refused(parts: Iterable[Part], *, gate: Gate, settings: Settings) -> Kept:
    """Return what the gate would refuse now of those that wait; one round trip, partners are not told apart."""
    waiting: Counter[Call] = Counter()
    for part in parts:
        if part.state is State.WAITING and part.line.app in settings.apps:
            waiting[_next_call(part.line)] += part.operations
    calls = list(waiting)
    try:
        answers = gate.forecast(calls) if calls else []
    except NotReady:
        answers = [_AWAY] * len(calls)
    found: Kept = defaultdict(Counter)
    for call, wait in zip(calls, answers, strict=True):
        if wait is not None and not is_pace(wait, settings):
            found[call.app, call.queue][str(wait.because)] += waiting[call]
    return found


def is_pace(wait: Wait, settings: Settings) -> bool:
    """Whether a worker sleeps it out, as calls are spread over the window: that keeps nothing in the ledger."""
    short = settings.dispatch.short_wait_seconds
    return wait.because is Because.BUDGET and wait.delay is not None and wait.delay.total_seconds() <= short


def by_queue(kept: Kept) -> dict[str, Counter[str]]:
    """Add up over the apps."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for (_, queue), counted in kept.items():
        found[queue].update(counted)
    return found


def by_origin(kept: Iterable[Mapping[str, int]]) -> dict[Origin, int]:
    """Add up by whose word it is."""
    counted: Counter[Origin] = Counter()
    for one in kept:
        for by, number in one.items():
            counted[Origin.of(by)] += number
    return dict(counted)


def _next_call(line: Line) -> Call:
    return Call(
        app=line.app,
        queue=line.kind,
        partner="",
        capability=line.capability,
        service_class=line.service_class,
    )
