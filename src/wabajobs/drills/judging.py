"""Judges an account by what was promised. Meta's record is the witness; the product's word is not asked."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from wabajobs.drills.account import Account, Call, quantile

UPLOADS: Final = "uploads"
MOST_REFUSED: Final = 0.001
"""Share of the calls that may be refused."""
GOODPUT: Final = 0.9
SLOWER: Final = 1.2
"""How much longer people may wait after a recovery than on quiet days."""


@dataclass(frozen=True)
class Limited:
    """A time in which something was limited, in hours of the drill."""

    begins: float
    ends: float
    of_uploads: bool = False
    """Only uploads; else all calls of the app."""

    def is_about(self, call: Call) -> bool:
        """Whether a refusal would be one of this limit."""
        return (call.capability == UPLOADS) if self.of_uploads else True


def refused_share(account: Account) -> float:
    """Return the refused calls as a share of all."""
    return account.refused / max(1, len(account.calls))


def on_the_wire(account: Account, *, wire: float) -> int:
    """Return how many calls were on the wire when another was refused, and were refused as well.

    They are those within `wire` hours of the first refusal; nobody could have kept them back.
    """
    found, first = 0, -math.inf
    for at in (call.at for call in account.calls if call.refused):
        if at - first <= wire:
            found += 1
        else:
            first = at
    return found


def too_close(account: Account, times: Iterable[Limited], *, interval: float, wire: float) -> int:
    """Return how many refused calls came sooner than an interval after the one before, in these times.

    What was on the wire when the first refusal came belongs to it: calls within `wire` hours of that.
    """
    return sum(_too_close(_refusals(account, one), interval, wire) for one in times)


def _refusals(account: Account, limited: Limited) -> list[float]:
    return [
        call.at
        for call in account.calls
        if call.refused and limited.begins <= call.at < limited.ends and limited.is_about(call)
    ]


def _too_close(moments: Sequence[float], interval: float, wire: float) -> int:
    close, tripped = 0, -math.inf
    for at in moments:
        if at - tripped <= wire:
            continue
        close += at - tripped < interval
        tripped = at
    return close


def relapses(account: Account, times: Sequence[Limited], *, grace: float) -> int:
    """Return how many calls were refused when nothing was limited any more, `grace` hours after each end."""
    return sum(
        call.refused and not any(one.begins <= call.at < one.ends + grace and one.is_about(call) for one in times)
        for call in account.calls
    )


def goodput_after(account: Account, moments: Iterable[float], *, after: float, span: float) -> float:
    """Return the least goodput in a span of hours that begins `after` hours after one of these moments."""
    return min(account.goodput(at + after, at + after + span) for at in moments)


def back_at(account: Account, moment: float) -> float:
    """Return when the first call after a moment was answered well: from then on it can be known."""
    return min((call.at for call in account.calls if call.good and call.at >= moment), default=moment)


def slower_than_quiet(
    account: Account, quiet: Sequence[tuple[float, float]], spans: Iterable[tuple[float, float]]
) -> tuple[float, float]:
    """Return the 95th percentile of people's waiting, in hours: on quiet days, and in these spans together."""
    return _p95(account, quiet), _p95(account, spans)


def _p95(account: Account, spans: Iterable[tuple[float, float]]) -> float:
    return quantile([wait for span in spans for wait in account.waits(*span)], 0.95)
