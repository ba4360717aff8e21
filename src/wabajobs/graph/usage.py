"""Meta's usage headers: how much of a limit is spent, in percent. Meta's count outranks ours.

Source: developers.facebook.com/docs/graph-api/overview/rate-limiting. Meta sends them only after enough
traffic, so an absent header says nothing; it never means zero.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from wabajobs.graph.codes import parse

APP_HEADER: Final = "x-app-usage"
WABA_HEADER: Final = "x-business-use-case-usage"
MANAGEMENT: Final = "whatsapp_business_management"
"""The business use case of management calls; `whatsapp` is that of messages, another budget."""

_METERS: Final = ("call_count", "total_cputime", "total_time", "call_volume", "cpu_time")
_LARGEST_PERCENT: Final = 1000  # what is so far beyond the limit needs no more precision
_LONGEST_REGAIN: Final = timedelta(days=7)


@dataclass(frozen=True)
class Usage:
    """What the headers of one answer say. None: nothing, which is not zero."""

    app_percent: int | None = None
    """The fullest of the app's meters; 100 is throttled, and more is possible."""
    waba_percent: int | None = None
    """The fullest meter of this app and WABA."""
    regain: timedelta | None = None
    """How long Meta will refuse; None when it does not."""


def read_usage(headers: Mapping[str, str], *, waba: str | None = None) -> Usage:
    """Read the usage headers of an answer to a call for `waba`; never raises."""
    lowered = {name.lower(): value for name, value in headers.items()}
    entries = _entries(parse(lowered.get(WABA_HEADER)), waba=waba)
    return Usage(
        app_percent=_percent([parse(lowered.get(APP_HEADER))]),
        waba_percent=_percent(entries),
        regain=_regain(entries),
    )


def fullest(usages: Iterable[Usage]) -> Usage:
    """Return the fullest of each meter: what the answers of one batch say together."""
    all_ = list(usages)
    return Usage(
        app_percent=max((one.app_percent for one in all_ if one.app_percent is not None), default=None),
        waba_percent=max((one.waba_percent for one in all_ if one.waba_percent is not None), default=None),
        regain=max((one.regain for one in all_ if one.regain is not None), default=None),
    )


def _entries(usage: object, *, waba: str | None) -> list[Mapping[str, Any]]:
    """Return the entries that speak of management calls for `waba`; of all objects if it is absent."""
    if not isinstance(usage, Mapping):
        return []
    own = _flat([usage.get(waba)])
    entries = own or _flat(usage.values())
    return [entry for entry in entries if entry.get("type") == MANAGEMENT] or entries


def _flat(values: Iterable[object]) -> list[Mapping[str, Any]]:
    entries: list[Mapping[str, Any]] = []
    for value in values:
        candidates = value if isinstance(value, list) else [value]
        entries += [candidate for candidate in candidates if isinstance(candidate, Mapping)]
    return entries


def _percent(entries: Iterable[object]) -> int | None:
    """Return the fullest meter, rounded up: 99.1 % is closer to throttled than to fine."""
    meters = [entry.get(meter) for entry in entries if isinstance(entry, Mapping) for meter in _METERS]
    readable = [number for meter in meters if (number := _number(meter)) is not None]
    return math.ceil(min(max(readable), _LARGEST_PERCENT)) if readable else None


def _regain(entries: Iterable[Mapping[str, Any]]) -> timedelta | None:
    readable = [_number(entry.get("estimated_time_to_regain_access")) or 0 for entry in entries]
    minutes = max(readable, default=0)
    return min(timedelta(minutes=min(minutes, 1e6)), _LONGEST_REGAIN) if minutes > 0 else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number >= 0 else None
