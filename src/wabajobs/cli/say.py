"""How the commands answer: a table or sentences for people, JSON for programs."""

import json
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, time, timedelta
from typing import Any, Final

import click
from rich.console import Console
from rich.text import Text

from wabajobs.clock import SystemClock

BAR: Final = 24
"""Width of a gauge."""
_PIPE_WIDTH: Final = 160
"""Where nobody has told how wide he is, lines are not broken as if he had a terminal of 80."""

out: Final = Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)
err: Final = Console(stderr=True, highlight=False)

as_json = click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")


def answer(value: Any, *, as_json: bool, plain: Callable[[], None]) -> None:
    """Print `value` as JSON, or whatever `plain` prints."""
    if as_json:
        click.echo(json.dumps(value, ensure_ascii=False, indent=2))
    else:
        plain()


def report(what: object) -> None:
    """Say on standard error what went wrong."""
    click.echo(f"wabajobs: {what}", err=True)


def short(span: timedelta | None) -> str:
    """Return a span as people say it: `3 s`, `4 min`, `2 h 05 min`, `3 d 4 h`."""
    if span is None:
        return "-"
    seconds = max(0, round(span.total_seconds()))
    if seconds < 100:
        return f"{seconds} s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes < 100:
        return f"{minutes} min"
    if hours < 48:
        return f"{hours} h {minutes % 60:02} min"
    return f"{days} d {hours % 24} h"


def facts(detail: Mapping[str, Any]) -> str:
    """Return facts in one line, but for those of which there is nothing to tell."""
    return ", ".join(f"{name}: {value}" for name, value in detail.items() if value is not None)


def bar(ours: float, others: float, limit: float, *, style: str = "", width: int = BAR) -> Text:
    """Draw how much of a limit is used: by us, and beside us; red when hardly anything is left."""
    limit = max(1, limit)
    first = min(width, round(width * ours / limit))
    second = min(width - first, round(width * others / limit))
    return Text.assemble(
        ("█" * first, style or ("green" if ours + others < 0.9 * limit else "red")),
        ("▒" * second, "yellow"),
        ("·" * (width - first - second), "dim"),
    )


class Span(click.ParamType):  # type: ignore[type-arg]
    """A span of time: `90s`, `30m`, `2h`, `1d`."""

    name = "span"
    _units: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Read it, or say how it is written."""
        if isinstance(value, timedelta):
            return value
        number, unit = value[:-1], value[-1:]
        if unit not in self._units or not number.isdecimal() or int(number) == 0:
            self.fail(f"{value!r} is no span of time; write 90s, 30m, 2h or 1d", param, ctx)
        return timedelta(seconds=int(number) * self._units[unit])


class Moment(click.ParamType):  # type: ignore[type-arg]
    """A moment in UTC: `05:40` (the last one), `2026-11-23`, `2026-11-23T05:40`, with or without an offset."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read it, or say how it is written."""
        if isinstance(value, datetime):
            return value
        now = SystemClock().now()
        try:
            if len(value) <= len("05:40:00") and ":" in value:
                moment = datetime.combine(now.date(), time.fromisoformat(value), UTC)
                return moment if moment <= now else moment - timedelta(days=1)
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no moment; write 05:40, 2026-11-23 or 2026-11-23T05:40 (UTC)", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
