"""Pages of a list: cursors, the part that a page shows, and the links to the next one.

A cursor is the place of an item, written as the Graph writes it: base64 with each `=` turned into `ZD`.
So, as there, a list that changes between two pages shifts under the reader.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlencode

from wabajobs.simulator.errors import bad_parameter
from wabajobs.simulator.routes import Context

T = TypeVar("T")


def cursor_of(place: int) -> str:
    """The cursor of the item at this place, from 0."""
    return base64.b64encode(str(place).encode()).decode().replace("=", "ZD")


def place_of(cursor: str) -> int:
    """The place that a cursor stands for."""
    plain = cursor.replace("ZD", "=")
    try:
        text = base64.b64decode(plain.encode(), validate=True).decode("ascii")
    except ValueError:
        text = ""
    if not (text.isdigit() and len(text) < 10):
        raise bad_parameter("Invalid cursors values")
    return int(text)


def page_size(context: Context, *, most: int | None = None) -> int:
    """How many items the call wants on a page; `most` is the largest page, if not the usual one."""
    config = context.config
    most = most or config.max_limit
    asked = context.parameters.whole("limit")
    if asked is None:
        return min(config.default_limit, most)
    if not 1 <= asked <= most:
        raise bad_parameter(f"Param limit must be between 1 and {most}")
    return asked


@dataclass(frozen=True, kw_only=True)
class Page:
    """The part [start, stop) of a list of `total` items."""

    start: int
    stop: int
    total: int
    size: int

    @classmethod
    def asked(cls, context: Context, *, total: int, size: int) -> Page:
        """The page that the call's cursors lead to."""
        parameters = context.parameters
        after, before = parameters.one("after"), parameters.one("before")
        if after:
            start = min(place_of(after) + 1, total)
            return cls(start=start, stop=min(start + size, total), total=total, size=size)
        if before:
            stop = min(place_of(before), total)
            return cls(start=max(0, stop - size), stop=stop, total=total, size=size)
        return cls(start=0, stop=min(size, total), total=total, size=size)

    def of(self, items: Sequence[T]) -> Sequence[T]:
        """The items of this page."""
        return items[self.start : self.stop]

    def links(self, context: Context) -> str:
        """The `paging` object as JSON; an empty page has none."""
        if context.repeat_cursor:
            again = context.parameters.one("after") or cursor_of(max(0, self.stop - 1))
            return self._links(context, before=again, after=again, more=True)
        if self.start >= self.stop:
            return ""
        return self._links(
            context,
            before=cursor_of(self.start),
            after=cursor_of(self.stop - 1),
            more=self.stop < self.total,
        )

    def _links(self, context: Context, *, before: str, after: str, more: bool) -> str:
        links: dict[str, object] = {"cursors": {"before": before, "after": after}}
        if more:
            links["next"] = self._link(context, "after", after)
        if self.start > 0 and not context.repeat_cursor:
            links["previous"] = self._link(context, "before", before)
        return json.dumps(links, separators=(",", ":"))

    def _link(self, context: Context, side: str, cursor: str) -> str:
        call = context.call
        dropped = {"access_token", "limit", "after", "before", "appsecret_proof"}
        kept = [(name, value) for name, value in context.parameters.pairs() if name not in dropped]
        query = [("access_token", call.token or ""), *kept, ("limit", str(self.size)), (side, cursor)]
        path = "/".join((call.version or context.version, *call.segments))
        return f"{context.base_url}/{path}?{urlencode(query, errors='replace')}"


def answer(data: str, paging: str, *, summary: str = "") -> bytes:
    """A list's answer, from parts that are JSON already."""
    parts = [f'"data":{data}']
    if paging:
        parts.append(f'"paging":{paging}')
    if summary:
        parts.append(f'"summary":{summary}')
    return ("{" + ",".join(parts) + "}").encode()
