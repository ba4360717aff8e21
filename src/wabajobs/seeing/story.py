"""An operation's story, in sentences that a tired person understands."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from wabajobs.ledger import RETRY_BUDGET, Story
from wabajobs.operation import Operation

_FIRST, _LAST = 6, 14
"""Of a long story, so many moves of its beginning and of its end are told."""


@dataclass(frozen=True)
class Move:
    """One move: when, how long after the one before, and what it was."""

    at: datetime
    after: timedelta
    sentence: str


def moves(events: Sequence[Story]) -> list[Move]:
    """Tell each event in a sentence."""
    found, before = [], None
    for one in events:
        found.append(Move(one.at, one.at - before if before else timedelta(0), sentence(one)))
        before = one.at
    return found


def shortened(told: Sequence[Move]) -> list[Move | None]:
    """Return the beginning and the end of a long story; None stands for what is left out between."""
    if len(told) <= _FIRST + _LAST + 1:
        return list(told)
    return [*told[:_FIRST], None, *told[-_LAST:]]


def summary(operation: Operation, events: Iterable[Story], *, now: datetime) -> str:
    """Say how long it took, and how much of that it was at work."""
    at_work, begun, attempts = timedelta(0), None, 0
    for one in events:
        if one.name == "begun":
            begun, attempts = one.at, attempts + 1
        elif begun is not None and one.name not in ("cancel asked", "released", "joined"):
            at_work, begun = at_work + (one.at - begun), None
    end = operation.finished_at or now
    if begun is not None:
        at_work += end - begun
    times = "once" if attempts == 1 else f"{attempts} times"
    verb = "took" if operation.finished_at else "has taken"
    whole = _span(end - operation.created_at)
    return (
        f"It {verb} {whole}: begun {times}, at work for {_span(at_work)}." if attempts else f"It {verb} {whole}."
    )


def how_to_give(operation: Operation) -> str:
    """Say what a person is to give, until when, and by which command; nothing when nothing is needed."""
    needs = operation.needs
    if needs is None:
        return ""
    names = " or ".join(ask.name for ask in needs.asks)
    until = f" until {needs.until:%Y-%m-%d %H:%M:%S} UTC" if needs.until else ""
    return f"give {names}{until}: wabajobs ops provide {operation.id}"


def sentence(one: Story) -> str:
    """Tell an event in a sentence."""
    tell = _SENTENCES.get(one.name)
    return tell(one, one.detail or {}) if tell else f"{one.name}, by {one.actor}: {_facts(one.detail or {})}"


_HELD: Final = {
    "retry": "to be tried again",
    RETRY_BUDGET: "waiting for room to be tried again",
    "slowed": "held, as only a part of it may run",
    "held_open": "held by a person at the breaker",
    "meta": "held after Meta's refusal",
    "configuration": "held by a worker that is not set up for it",
}


def _held(_one: Story, detail: dict[str, Any]) -> str:
    until = f"; it goes on about {_clock(detail['until'])}" if detail.get("until") else ""
    by = _HELD.get(str(detail.get("by")), f"held by the {detail.get('by')}")
    notice = f" (customers are told: {detail['notice']})" if detail.get("notice") else ""
    return f"{by}: {detail.get('reason')}{until}{notice}"


def _ended(word: str) -> Callable[[Story, dict[str, Any]], str]:
    def tell(_one: Story, detail: dict[str, Any]) -> str:
        # Older stories have it under another name. Meta's code and trace stand in the message already.
        said = detail.get("message") or detail.get("why")
        return f"{word}: {said}" if said else word

    return tell


def _whom(actor: str) -> str:
    return actor.removeprefix("partner:")


_SENTENCES: Final[dict[str, Callable[[Story, dict[str, Any]], str]]] = {
    "accepted": lambda one, _: f"accepted for {_whom(one.actor)}",
    "joined": lambda one, _: f"one more request of {_whom(one.actor)} shares it",
    "released": lambda one, _: f"sent to the workers (lease {one.attempt or 'unknown'})",
    "begun": lambda one, _: f"begun by {one.actor}",
    "held": _held,
    "paused": lambda one, detail: f"stopped between two calls, {_held(one, detail)}",
    "due": lambda _, __: "its time has come: it queues again",
    "given back": lambda one, detail: f"{one.actor} gave it back before its first call: {detail.get('why')}",
    "taken back": lambda _, detail: f"could not be sent ({detail.get('why')}): it queues again",
    "unclaimed": lambda _, __: "no worker began it in time: it queues again",
    "reclaimed": lambda _, detail: str(detail.get("why")),
    "succeeded": lambda _, detail: f"succeeded: {_facts(detail)}" if detail else "succeeded",
    "failed": _ended("failed"),
    "expired": _ended("expired"),
    "cancelled": lambda _, detail: str(detail.get("message")),
    "cancel asked": lambda one, detail: (
        f"{one.actor} wants it cancelled ({detail.get('reason')}): it stops before its next call"
    ),
    "needs input": lambda _, detail: (
        f"it needs {' or '.join(one['name'] for one in detail['asks'])}: {detail['reason']}"
    ),
    "provided": lambda one, detail: f"{_whom(one.actor)} has given {' and '.join(detail['given'])}",
    "routed": lambda one, detail: (
        f"{one.actor} moves it from app {detail.get('from')} to app {detail.get('to')} ({detail.get('reason')})"
    ),
    "retried": lambda one, detail: (
        f"{one.actor} lets it go again ({detail.get('reason')}); it was {detail.get('was')}"
    ),
}
"""What each event says; an event that is not here is told with its facts."""


def _facts(detail: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in detail.items() if value is not None)


def _clock(moment: str) -> str:
    return f"{datetime.fromisoformat(moment):%Y-%m-%d %H:%M:%S} UTC"


def _span(span: timedelta) -> str:
    seconds = span.total_seconds()
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"
