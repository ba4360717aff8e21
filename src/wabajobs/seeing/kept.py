"""What keeps operations from going on, and whose word that is: a person's, our own gate's, or Meta's.

What is held says so itself. Of what waits, the dispatcher leaves in the ledger whatever the gate would refuse: so
the gate is asked, once for each line.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import timedelta
from typing import Final

from wabajobs.capability import Capability, ServiceClass
from wabajobs.dispatcher.picking import Forecaster
from wabajobs.errors import NotReady
from wabajobs.gate import Because, Call, Wait
from wabajobs.ledger import Line, Part
from wabajobs.operation import State
from wabajobs.outcome import Origin

Kept = dict[tuple[str, str], Counter[str]]
"""How many operations of each (app, queue) are kept by what (`Hold.by`)."""
_ASKED: Final = 500
"""Lines of which the gate is asked in one look; the others are taken to fare like those that resemble them."""
_AWAY: Final = Wait(delay=None, because=Because.GATE, scope="gate", reason="the gate cannot be asked")


def held(parts: Iterable[Part]) -> Kept:
    """Return what holds those that are held."""
    found: Kept = defaultdict(Counter)
    for part in parts:
        if part.state is State.HELD:
            found[part.line.app, part.line.kind][part.held_by or "nobody"] += part.operations
    return found


def refused(parts: Iterable[Part], *, gate: Forecaster, short: timedelta) -> Kept:
    """Return what the gate would refuse now of those that wait; a gate that is away refuses all of them."""
    waiting = [part for part in parts if part.state is State.WAITING]
    lines = {part.line for part in waiting}
    try:
        waits = refusals(lines, gate=gate, short=short)
    except NotReady:
        waits = dict.fromkeys(lines, _AWAY)
    found: Kept = defaultdict(Counter)
    for part in waiting:
        if wait := waits.get(part.line):
            found[part.line.app, part.line.kind][str(wait.because)] += part.operations
    return found


def refusals(lines: Collection[Line], *, gate: Forecaster, short: timedelta) -> dict[Line, Wait]:
    """Return what the gate says of those lines of which nothing goes now, but at a worker's pace.

    One round trip. Of very many lines only some are asked about. Raises `GateUnavailable`.
    """
    asked = sorted(lines, key=lambda line: (line.kind, line.name))
    answers = dict(zip(asked, gate.forecast([_next_call(line) for line in asked[:_ASKED]]), strict=False))
    alike: dict[tuple[str, Capability, ServiceClass], Wait | None] = {}
    for line, wait in answers.items():
        if wait is None or not wait.scope.startswith("partner:"):
            alike.setdefault((line.app, line.capability, line.service_class), wait)
    for line in asked[_ASKED:]:
        answers[line] = alike.get((line.app, line.capability, line.service_class))
    return {line: wait for line, wait in answers.items() if wait and not wait.is_pace(short)}


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
    """Return the next call of what is in a line, as far as all of it makes the same."""
    return Call(
        app=line.app,
        queue=line.kind,
        partner=line.partner,
        capability=line.capability,
        service_class=line.service_class,
    )
