"""An incident report of the product, in the time of the story: it was written in that of the run."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from wabajobs.incidents.report import Report
from wabajobs.incidents.telling import span

_CLOCK: Final = re.compile(r"\b(?:(\d{4}-\d\d-\d\d) )?(\d\d):(\d\d):(\d\d) UTC")
_SPAN: Final = re.compile(r"\b(?:(?P<h>\d+) h (?P<hm>\d\d) min|(?P<m>\d+) min (?P<ms>\d\d) s|(?P<s>\d+) s)\b")
_OVER: Final = re.compile(r"(episode (\d+) is over, after) .*")


def retold(report: Report, date_of: Callable[[datetime], datetime], *, speed: float) -> Report:
    """Return the report with each moment and span as they are in the story.

    `date_of` is the story's moment of one of the run; `speed` is how many of its seconds pass in one of the run.
    Spans that contain a cut of the story are worked out from their ends.
    """
    told = _in_story(report.model_dump(), date_of, speed, near=report.generated_at)
    before: datetime | None = None
    for one in told["episodes"]:
        if one["ended_at"] is not None:
            one["seconds"] = _seconds(one["began_at"], one["ended_at"])
        one["quiet_before_seconds"] = None if before is None else _seconds(before, one["began_at"])
        before = one["ended_at"]
    lasted = {str(one["number"]): span(one["seconds"]) for one in told["episodes"]}
    for one in told["timeline"]:
        one["text"] = _OVER.sub(lambda found: f"{found[1]} {lasted[found[2]]}", one["text"])
    told["seconds"] = sum(one["seconds"] for one in told["episodes"])
    told["span_seconds"] = _seconds(told["began_at"], told["ended_at"])
    return Report.model_validate(told)


def _in_story(value: Any, date_of: Callable[[datetime], datetime], speed: float, *, near: datetime) -> Any:
    match value:
        case datetime():
            return date_of(value)
        case dict():
            return {
                name: one * speed
                if "seconds" in str(name) and isinstance(one, int | float)
                else _in_story(one, date_of, speed, near=near)
                for name, one in value.items()
            }
        case list() | tuple():
            return [_in_story(one, date_of, speed, near=near) for one in value]
        case str():
            value = _SPAN.sub(lambda found: span(_spanned(found) * speed), value)
            return _CLOCK.sub(lambda found: f"{date_of(_moment(found, near)):%-d %b %H:%M} UTC", value)
        case _:
            return value


def _spanned(found: re.Match[str]) -> float:
    """Return the seconds of a span as reports tell it."""
    part = {name: int(digits or 0) for name, digits in found.groupdict().items()}
    return 3600 * part["h"] + 60 * (part["hm"] + part["m"]) + part["ms"] + part["s"]


def _moment(found: re.Match[str], near: datetime) -> datetime:
    """Return the latest moment before `near` at which a clock showed this."""
    hour, minute, second = map(int, found.groups()[1:])
    moment = near.astimezone(UTC).replace(hour=hour, minute=minute, second=second, microsecond=0)
    return moment if moment <= near else moment - timedelta(days=1)


def _seconds(since: datetime, until: datetime) -> float:
    return (until - since).total_seconds()
