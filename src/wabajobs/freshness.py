"""When a WABA's template list is due for its next sync, and why; and whether a budget can keep a fleet fresh.

Nothing here looks at anything: facts go in, an answer with its reason comes out, the same for the same facts.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from wabajobs.settings import PlannerSettings

MOST_CREDIT: Final = 3
"""Syncs in a row that must bear the webhooks out before they are trusted, and that a miss is remembered for."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of one WABA's list."""

    waba: str
    every: timedelta
    """The staleness that is wished for."""
    wished_by: str
    """Who wishes it: the settings, or a person with a reason."""
    added_at: datetime
    success_at: datetime | None = None
    failed_at: datetime | None = None
    failures: int = 0
    """Planned syncs that have failed since the last success."""
    pending_since: datetime | None = None
    """When the newest of its templates that wait for Meta began to."""
    credit: int = 0
    """What webhooks are worth here: above 0 they were borne out, below 0 one was missed lately."""
    doubted_at: datetime | None = None
    """When a webhook told something that a sync should look at."""
    stopped: str | None = None
    """Why the list is not kept fresh."""


@dataclass(frozen=True)
class Due:
    """When to sync next, how often that is, and why."""

    at: datetime | None
    every: timedelta
    why: str


def next_due(facts: Facts, settings: PlannerSettings) -> Due:
    """Say when a WABA's list is due, and why."""
    every, why = _interval(facts, settings)
    if facts.stopped is not None:
        return Due(None, every, f"not kept fresh: {facts.stopped}")
    if facts.failures and facts.failed_at:
        return _after_failures(facts, settings)
    if facts.success_at is None:
        return Due(facts.added_at, every, "never synced yet")
    at = facts.success_at + _jittered(every, facts, facts.success_at, settings)
    if facts.doubted_at is not None:
        soon = timedelta(seconds=settings.confirm_seconds)
        look = facts.doubted_at + _jittered(soon, facts, facts.doubted_at, settings)
        if look < at:
            return Due(look, every, "a webhook told something that only a sync can make sure of")
    return Due(at, every, why)


def _interval(facts: Facts, settings: PlannerSettings) -> tuple[timedelta, str]:
    """Return how often a list is synced that gives no trouble; the most urgent reason counts."""
    wish = f"every {spoken(facts.every)}, as {facts.wished_by} asks"
    last = facts.success_at or facts.added_at
    if facts.pending_since and last - facts.pending_since < timedelta(seconds=settings.pending_seconds):
        share, why = (
            settings.pending_share,
            f"more often: a template is pending since {_clock(facts.pending_since)}",
        )
    elif facts.credit < 0:
        share, why = settings.missed_share, "more often: the last syncs found what no webhook had told"
    elif facts.credit >= MOST_CREDIT:
        share, why = settings.trusted_times, "less often: webhooks tell the changes, and the syncs bear them out"
    else:
        return facts.every, wish
    every = max(facts.every * share, min(facts.every, timedelta(seconds=settings.least_seconds)))
    return every, f"every {spoken(every)} ({wish}; {why})"


def _after_failures(facts: Facts, settings: PlannerSettings) -> Due:
    assert facts.failed_at is not None  # noqa: S101 (asked before)
    longest = max(facts.every, timedelta(seconds=settings.failing_seconds))
    rest = min(longest, facts.every * 2 ** min(facts.failures - 1, 20))
    at = facts.failed_at + _jittered(rest, facts, facts.failed_at, settings)
    times = "the last sync" if facts.failures == 1 else f"the last {facts.failures} syncs"
    return Due(at, rest, f"{times} failed: tried again after {spoken(rest)}")


def _jittered(span: timedelta, facts: Facts, since: datetime, settings: PlannerSettings) -> timedelta:
    """Shorten a span by a share of its own for each WABA and each time: what began together does not stay so."""
    word = f"{facts.waba}:{since.timestamp()}".encode()
    chance = int.from_bytes(hashlib.blake2b(word, digest_size=6).digest()) / 2**48
    return span * (1 - settings.jitter * chance)


@dataclass(frozen=True, kw_only=True)
class Survey:
    """One app's fleet, counted."""

    app: str
    at: datetime
    wabas: int
    calls_per_round: float
    """Calls that one sync of every list takes."""
    wished_per_second: float
    """Calls a second that it takes to keep every list as fresh as it should be."""
    pending: int = 0
    trusted: int = 0
    missed: int = 0
    failing: int = 0


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """Whether a fleet can be kept as fresh as wished, with the budget that is left for it."""

    survey: Survey
    limit: int
    """Calls that the app may make in a window."""
    window: timedelta
    share: float
    """Part of the limit that syncs may be planned for."""
    rate: float
    """Calls a second that are left for them now."""

    @property
    def round(self) -> timedelta | None:
        """How long one sync of every list takes; None while nothing is left for it."""
        return timedelta(seconds=self.survey.calls_per_round / self.rate) if self.rate > 0 else None

    @property
    def asked(self) -> timedelta:
        """How long a round may take if every list is to be as fresh as it should be."""
        wished = self.survey.wished_per_second
        return timedelta(seconds=self.survey.calls_per_round / wished) if wished else timedelta(0)

    @property
    def reachable(self) -> bool:
        """Whether it can."""
        return self.survey.wished_per_second <= self.rate

    def __str__(self) -> str:
        survey = self.survey
        pages = survey.calls_per_round / survey.wabas if survey.wabas else 0.0
        hour = "hour" if self.window == timedelta(hours=1) else spoken(self.window)
        budget = f"{self.share:.0%} of {self.limit:,} calls per {hour}".replace("%", " %")
        if self.rate < 0.999 * self.share * self.limit / self.window.total_seconds():
            left = self.rate * self.window.total_seconds()
            budget += f", of which the others leave {left:,.0f}"
        takes = (
            f"one round takes {spoken(self.round)}" if self.round is not None else "nothing is left for a round"
        )
        return (
            f"{survey.wabas:,} WABAs x {pages:.1f} pages at {budget}: {takes}; you asked for {spoken(self.asked)}"
        )

    def as_json(self) -> dict[str, Any]:
        """Return the public form."""
        survey = self.survey
        return {
            "app": survey.app,
            "at": survey.at.isoformat(),
            "wabas": survey.wabas,
            "calls_per_round": round(survey.calls_per_round, 1),
            "pending": survey.pending,
            "webhooks_trusted": survey.trusted,
            "webhooks_missed": survey.missed,
            "failing": survey.failing,
            "limit": self.limit,
            "window_seconds": self.window.total_seconds(),
            "share": self.share,
            "calls_per_second": round(self.rate, 4),
            "round_seconds": None if self.round is None else round(self.round.total_seconds(), 1),
            "asked_seconds": round(self.asked.total_seconds(), 1),
            "reachable": self.reachable,
            "sentence": str(self),
        }


def spoken(span: timedelta) -> str:
    """Return a span as people say it: `45 s`, `6 min`, `4 h 28 min`, `2 d 3 h`."""
    seconds = round(span.total_seconds())
    if seconds < 100:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def _clock(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
