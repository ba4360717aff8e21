"""What an answer shows of a WABA's activity: with a registered number Meta allows it 5,000 calls, else 200.

It is read from what is asked anyway; no call is made for it.

Source: developers.facebook.com/docs/graph-api/overview/rate-limiting, "WhatsApp Business Management API".
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from wabajobs.graph.client import Exchange, GraphRequest

_REGISTERED: Final = {"CLOUD_API", "ON_PREMISE"}
"""Platforms (`platform_type`) of a number that is registered; any other is of one that is not."""


def shown_activity(request: GraphRequest, exchange: Exchange) -> Iterator[tuple[str, bool]]:
    """Yield each WABA of which an answer shows whether it has a registered number, and whether it has."""
    if request.batch:
        for part, answered in zip(request.batch, exchange.parts, strict=False):
            yield from shown_activity(part, answered)
    elif exchange.answer is None:
        return
    elif request.method == "POST" and request.path.endswith("/register") and request.waba:
        if exchange.answer.get("success") is True:
            yield request.waba, True
    elif request.method == "GET" and request.path.rpartition("/")[2] == "phone_numbers":
        waba = request.path.partition("/")[0]
        lists = exchange.answer if request.ids else {waba: exchange.answer}
        for each, numbers in lists.items():
            active = _any_registered(numbers)
            if active is not None:
                yield each, active


def _any_registered(numbers: Any) -> bool | None:
    """None where the list does not say: it goes on, or was asked for without the platform."""
    data = numbers.get("data") if isinstance(numbers, Mapping) else None
    if not isinstance(data, list):
        return None
    platforms = [one.get("platform_type") if isinstance(one, Mapping) else None for one in data]
    if _REGISTERED & {platform for platform in platforms if isinstance(platform, str)}:
        return True
    goes_on = bool((numbers.get("paging") or {}).get("next"))
    return None if goes_on or None in platforms else False
