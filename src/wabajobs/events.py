"""The events that the log tells: past tense, a name and facts, never a secret.

Throttling is weather, an event; an error is something that a developer must fix.
"""

import logging
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Final

log: Final = logging.getLogger("wabajobs")

CATALOGUE: Final = {
    "breaker_changed": "a circuit breaker opened or closed",
    "ramp_stepped": "what was paused may run a little more, or less again",
    "settle_failed": "the gate could not be told how a call ended",
    "mirror_restored": "pauses and limits were put back into the gate",
    "mirror_replaced": "the gate knew decisions of another ledger; ours are in their place",
    "mirror_failed": "the gate could not be told of a decision; it is tried again",
    "operation_reclaimed": "an operation was taken back from a worker that is gone",
    "operations_expired": "operations had not ended by their deadline",
    "operations_dropped": "operations of a queue that is dropped were cancelled",
    "rows_pruned": "something was old enough to be deleted",
    "publish_failed": "the broker could not be reached; the operations stay in the ledger",
    "lead_gained": "this dispatcher leads",
    "lead_lost": "another dispatcher leads",
    "attempt_ended": "an attempt ended",
    "attempt_crashed": "an attempt ended in a fault of ours",
    "lease_lost": "an attempt found that its lease had gone to somebody else",
    "consuming_changed": "this worker began or stopped consuming its queue",
    "not_consuming": "messages of this worker's queue lay unfetched; it connects to the broker anew",
    "freshness_changed": "the budget no longer keeps the fleet as fresh as wished, or does so again",
    "callback_given_up": "an event could not be delivered to the Hub, and is tried no more",
    "feeds_served": "the status page's documents and the metrics are served",
    "part_failed": "a part of this process failed and is tried again",
    "happenings_dropped": "more was seen than the ledger could be told; the rest is not kept",
    "incident_began": "an incident has begun, or one has come back",
    "episode_ended": "an incident has been quiet for long enough; a person closes it",
    "alarm_failed": "an alarm could not be given; it is tried again",
    "alarm_given_up": "an alarm could not be given, and is tried no more",
}
"""Every event there is. `tell` refuses any other."""

_LEVELS: Final = {
    "attempt_crashed": logging.ERROR,
    "part_failed": logging.WARNING,
    "not_consuming": logging.WARNING,
    "callback_given_up": logging.WARNING,
    "rows_pruned": logging.DEBUG,
    "freshness_changed": logging.WARNING,
    "happenings_dropped": logging.WARNING,
    "incident_began": logging.WARNING,
    "alarm_failed": logging.WARNING,
    "alarm_given_up": logging.WARNING,
    "attempt_ended": logging.DEBUG,  # Celery logs the end of each task already
}


def tell(event: str, **facts: Any) -> None:
    """Log an event of the catalogue with its facts, as `event name=value …`; an error with its stack trace."""
    meaning = CATALOGUE[event]
    level = _LEVELS.get(event, logging.INFO)
    if not log.isEnabledFor(level):
        return
    facts = {name: value for name, value in facts.items() if value is not None}
    told = " ".join(f"{name}={value}" for name, value in facts.items())
    known = {"event": event, "meaning": meaning, "facts": facts}
    log.log(level, "%s: %s %s", event, meaning, told, exc_info=level >= logging.ERROR, extra=known)


_subject: ContextVar[Mapping[str, Any]] = ContextVar("subject", default={})  # noqa: B039 (never changed in place)


def about(**facts: Any) -> None:
    """Say what the lines of this thread are about from here on, those of libraries too; adds to what was said."""
    _subject.set({**_subject.get(), **{name: value for name, value in facts.items() if value is not None}})


def about_nothing() -> None:
    """Say that what the lines of this thread were about is over."""
    _subject.set({})


def subject() -> Mapping[str, Any]:
    """Return what the lines of this thread are about: `operation`, `kind`, `partner` and so on."""
    return _subject.get()
