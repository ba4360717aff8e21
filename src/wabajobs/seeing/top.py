"""Who used the budget, over any time; and whether anybody explains it.

The gate counts who calls, in twelve parts of a window; `ledger.spending` keeps these counts. A name *explains* a
load only if all of this holds (`explaining`):

- it made at least three times the calls of a typical one, by weight, beyond what chance could do;
- what it made beyond that is a tenth of all calls or more;
- it made at least twice its usual share, that of the week before, where that is known.

Where nobody does all three, the load is spread: to hold the largest would hold the wrong one.
"""

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Self

from wabajobs.clock import Clock
from wabajobs.errors import InvalidRequest
from wabajobs.freshness import spoken
from wabajobs.gate import Gate
from wabajobs.ledger import Ledger, Spent
from wabajobs.settings import Settings

TIMES_TYPICAL: Final = 3.0
LEAST_PART: Final = 0.1
"""Of all calls, that somebody's surplus must be to explain them."""
TIMES_USUAL: Final = 2.0
_SIGMAS: Final = 5.0
_USUAL: Final = timedelta(days=7)
_FEWEST_USUAL: Final = 1000
"""Calls of the week before, from which on it tells what is usual."""
_MOST_NAMED: Final = 3


class Dimension(StrEnum):
    """By what it is told who used a budget."""

    PARTNERS = "partners"
    KINDS = "kinds"
    WABAS = "wabas"
    CAPABILITIES = "capabilities"

    @property
    def one(self) -> str:
        """One of them."""
        return "capability" if self is Dimension.CAPABILITIES else str(self).removesuffix("s")

    @property
    def column(self) -> str:
        """What it is called where it is counted."""
        return "queue" if self is Dimension.KINDS else self.one

    @property
    def is_compared(self) -> bool:
        """Whether one can be held against another: kinds and capabilities differ by nature."""
        return self in (Dimension.PARTNERS, Dimension.WABAS)


@dataclass(frozen=True, kw_only=True)
class Talker:
    """What one of them used."""

    name: str
    """Empty: those that are not counted by name, together, or calls about no WABA."""
    calls: int
    refused: int
    """Of these, those that met a limit of Meta's."""
    share: float
    """Of all calls."""
    times_typical: float | None = None
    """Compared with a typical one, by weight."""
    usual_share: float | None = None
    """Of the calls of the week before."""


@dataclass(frozen=True, kw_only=True)
class Top:
    """Who used the budget of one app, or of all, in some time."""

    dimension: Dimension
    app: str | None
    since: datetime
    until: datetime
    calls: int
    refused: int
    talkers: tuple[Talker, ...]
    """The largest first."""
    explained_by: tuple[str, ...]
    """Who explains it; nobody, if it is spread."""

    def __str__(self) -> str:
        if not self.calls:
            return f"no calls in {spoken(self.until - self.since)}"
        named = [one for one in self.talkers if one.name]
        if not self.dimension.is_compared or not named:
            return f"{self.calls:,} calls in {spoken(self.until - self.since)}"
        if len(self.talkers) == 1:
            return f"all of it is {named[0].name}'s: no other {self.dimension.one} called"
        if not self.explained_by:
            largest = named[0]
            return (
                f"no {self.dimension.one} explains this: the largest, {largest.name}, made {largest.share:.0%}"
                f" of the calls{_beside(largest)}"
            )
        theirs = [one for one in named if one.name in self.explained_by]
        told = ", ".join(f"{one.name} with {one.share:.0%}{_beside(one)}" for one in theirs)
        rest = 1 - sum(one.share for one in theirs)
        return f"explained by {told}; all others together made {rest:.0%}"

    def shortened(self, at_most: int) -> Self:
        """Return it with the largest only."""
        return replace(self, talkers=self.talkers[:at_most])

    def as_json(self) -> dict[str, Any]:
        """Return the public form."""
        return {
            "by": str(self.dimension),
            "app": self.app,
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "calls": self.calls,
            "refused": self.refused,
            "explained_by": list(self.explained_by),
            "sentence": str(self),
            "talkers": [
                {
                    "name": one.name or None,
                    "calls": one.calls,
                    "refused": one.refused,
                    "share": round(one.share, 4),
                    "times_typical": None if one.times_typical is None else round(one.times_typical, 1),
                    "usual_share": None if one.usual_share is None else round(one.usual_share, 4),
                }
                for one in self.talkers
            ],
        }


def _beside(one: Talker) -> str:
    facts = []
    if one.times_typical is not None:
        facts.append(f"{one.times_typical:.1f} times a typical one's")
    if one.usual_share is not None:
        facts.append(f"usually {one.usual_share:.0%}")
    return f" ({', '.join(facts)})" if facts else ""


class Typical:
    """How many calls a typical one makes: the median of the others, by weight."""

    def __init__(self, calls: Mapping[str, int], weight: Callable[[str], float]) -> None:
        """Know what each made."""
        self._calls = calls
        self._weight = weight
        self._rates = sorted(number / weight(name) for name, number in calls.items())

    def beside(self, name: str) -> float | None:
        """Return what a typical other one would have made with this one's weight; None when there is no other."""
        if len(self._rates) < 2:
            return None
        weight = self._weight(name)
        mine = bisect_left(self._rates, self._calls[name] / weight)
        half, odd = divmod(len(self._rates) - 1, 2)
        middle = [half] if odd else [half - 1, half]
        return sum(self._rates[at if at < mine else at + 1] for at in middle) / len(middle) * weight


def explaining(
    calls: Mapping[str, int],
    *,
    total: int,
    weight: Callable[[str], float] = lambda _: 1.0,
    usual: Mapping[str, float] | None = None,
) -> tuple[str, ...]:
    """Return who explains `total` calls, the largest first, at most three; nobody, if they are spread.

    `usual` are the shares of the time before; without it, it is not known what is usual.
    """
    typical = Typical(calls, weight)
    found = []
    for name, number in calls.items():
        like = typical.beside(name)
        if like is None:
            continue
        stands_out = number >= TIMES_TYPICAL * like + _SIGMAS * math.sqrt(max(like, 1.0))
        matters = number - like >= LEAST_PART * total
        unusual = usual is None or number >= TIMES_USUAL * usual.get(name, 0.0) * total
        if stands_out and matters and unusual:
            found.append(name)
    return tuple(sorted(found, key=lambda name: (-calls[name], name))[:_MOST_NAMED])


@dataclass(frozen=True, kw_only=True)
class Spenders:
    """Looks up who used the budgets."""

    ledger: Ledger
    gate: Gate
    settings: Settings
    clock: Clock

    def top(
        self,
        dimension: Dimension,
        *,
        app: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        usual: bool = True,
    ) -> Top:
        """Say who used an app's budget, or all apps', since a moment; without one, in the window that counts now.

        `usual` looks up the week before, too. Raises `GateUnavailable`, `LedgerUnavailable`, and `InvalidRequest`
        for a time that has not been.
        """
        now = self.clock.now()
        window = timedelta(seconds=self.settings.gate.window_seconds)
        begin, end = since or (until or now) - window, until or now
        if begin >= end:
            raise InvalidRequest(f"from {begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC is no time")
        is_now = until is None and begin >= now - window
        spent = self._counted(dimension, app, begin) if is_now else self._kept(dimension, app, begin, end)
        calls = {one.name: one.calls for one in spent if one.name}
        total = sum(one.calls for one in spent)
        shares = self._usual(dimension, app, begin) if usual and dimension.is_compared and total else None
        weight = self._weights() if dimension is Dimension.PARTNERS else _equal
        typical = Typical(calls, weight) if dimension.is_compared else None
        return Top(
            dimension=dimension,
            app=app,
            since=begin,
            until=end,
            calls=total,
            refused=sum(one.refused for one in spent),
            talkers=tuple(_talker(one, total, typical, shares) for one in spent),
            explained_by=explaining(calls, total=total, weight=weight, usual=shares)
            if dimension.is_compared
            else (),
        )

    def _counted(self, dimension: Dimension, app: str | None, since: datetime) -> list[Spent]:
        """Ask the gate, which knows the last window call by call."""
        calls: Counter[str] = Counter()
        refused: Counter[str] = Counter()
        for each in [app] if app else list(self.settings.apps):
            for part in self.gate.spent_parts(each):
                if part.since + part.lasting <= since:
                    continue
                for one in part.spenders:
                    name = str(getattr(one, dimension.column))
                    calls[name] += one.calls
                    refused[name] += one.refused
        spent = [Spent(name=name, calls=number, refused=refused[name]) for name, number in calls.items()]
        return sorted(spent, key=lambda one: (-one.calls, one.name))

    def _kept(self, dimension: Dimension, app: str | None, since: datetime, until: datetime) -> list[Spent]:
        """Ask the ledger. Of WABAs it keeps the largest of each part; the others are told together."""
        spending = self.ledger.spending
        spent = spending.by(dimension.column, app=app, since=since, until=until)
        if dimension is Dimension.WABAS:
            whole = spending.by("app", app=app, since=since, until=until)
            calls = sum(one.calls for one in whole) - sum(one.calls for one in spent)
            refused = sum(one.refused for one in whole) - sum(one.refused for one in spent)
            if calls > 0:
                spent = [*spent, Spent(name="", calls=calls, refused=max(0, refused))]
        return spent

    def _usual(self, dimension: Dimension, app: str | None, before: datetime) -> dict[str, float] | None:
        spent = self._kept(dimension, app, before - _USUAL, before)
        total = sum(one.calls for one in spent)
        return {one.name: one.calls / total for one in spent} if total >= _FEWEST_USUAL else None

    def _weights(self) -> Callable[[str], float]:
        weights = {name: one.weight for name, one in self.settings.partners.items()}
        weights |= {one.partner: one.weight for one in self.ledger.shares.current()}
        return lambda partner: weights.get(partner, 1.0)


def _equal(_name: str) -> float:
    return 1.0


def _talker(one: Spent, total: int, typical: Typical | None, usual: Mapping[str, float] | None) -> Talker:
    like = typical.beside(one.name) if typical and one.name else None
    return Talker(
        name=one.name,
        calls=one.calls,
        refused=one.refused,
        share=one.calls / total if total else 0.0,
        times_typical=one.calls / like if like else None,
        usual_share=usual.get(one.name, 0.0) if usual is not None and one.name else None,
    )
