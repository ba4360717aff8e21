"""`wabajobs simulator report`: the judge's account for people, and `--check` for a pipeline; over HTTP."""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from rich.console import Console
from rich.table import Table
from rich.text import Text

_SHOWN = 10
_TIMEOUT = 20


class ReportError(Exception):
    """A report that could not be had; its text is the sentence for the caller."""


def read(url: str) -> dict[str, Any]:
    """The report of the simulator at this URL."""
    if not url.startswith(("http://", "https://")):
        raise ReportError(f"{url} is no URL; it begins with http://")
    try:
        request = Request(f"{url.rstrip('/')}/_simulator/report")  # noqa: S310 (checked above)
        with urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310
            report = json.load(answer)
    except HTTPError as error:
        raise ReportError(f"{url} is no simulator: it answered {error.code}") from error
    except (URLError, OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise ReportError(f"no simulator answers at {url}: {reason}") from error
    except ValueError as error:
        raise ReportError(f"{url} is no simulator: its answer is no JSON") from error
    if not isinstance(report, dict) or "most_in_window" not in report:
        raise ReportError(f"{url} is no simulator: its answer is no report")
    return report


def findings(report: Mapping[str, Any]) -> list[str]:
    """What a client is to be blamed for, one sentence each."""
    found = []
    if report["refused"]:
        found.append(f"A limit was hit: {_calls(report['refused'])} refused.")
    for app, most in sorted(report["most_in_window"].items()):
        limit = report["apps"].get(app, {}).get("limit")
        if limit is not None and most > limit:
            found.append(f"App {app} made {most:,} calls in one window; its limit is {limit:,}.")
    if duplicates := report["duplicates"]:
        kinds = ", ".join(sorted({one["kind"] for one in duplicates}))
        word = "effect" if len(duplicates) == 1 else "effects"
        found.append(f"{len(duplicates)} {word} happened again: {kinds}.")
    if locked := _locked(report):
        word = "number is" if len(locked) == 1 else "numbers are"
        found.append(f"{len(locked)} {word} locked: {', '.join(locked)}.")
    return found


def show(report: Mapping[str, Any], console: Console) -> None:
    """Print the report for people."""
    console.print(_totals(report))
    for title, head, rows in _tables(report):
        if rows:
            # Not as the table's own title, which would be folded to the width of a narrow table.
            console.print(Text(f"\n{title}", style="bold"))
            console.print(_table(head, rows))
    found = findings(report)
    for sentence in found or ["No limit was hit, no effect happened twice, no number is locked."]:
        console.print(Text(sentence, style="bold red" if found else "green"))
    if report["defects"]:
        console.print(Text(f"The simulator itself failed on {report['defects']} requests.", style="bold red"))


def run(url: str, *, as_json: bool, check: bool) -> int:
    """Print the report of the simulator at this URL; returns the exit code."""
    try:
        report = read(url)
    except ReportError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if as_json:
        sys.stdout.write(json.dumps(report) + "\n")
    else:
        show(report, Console(highlight=False))
    return 2 if check and findings(report) else 0


def _totals(report: Mapping[str, Any]) -> Text:
    calls, refused = report["calls"], report["refused"]
    return Text(
        f"{_calls(calls)} in {report.get('requests', calls):,} requests, {report['counted']:,} counted, "
        f"{refused:,} refused ({_share(refused, calls)}), at most {report['most_in_flight']:,} at one time; "
        f"simulated time {_time(report['time'])}."
    )


def _tables(report: Mapping[str, Any]) -> Iterable[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
    calls = report["calls"]
    apps: list[tuple[str, ...]] = [
        (
            app,
            f"{report['by_app'].get(app, 0):,}",
            f"{report['most_in_window'].get(app, 0):,}",
            f"{one['limit']:,}",
            f"{one['calls_in_window']:,} ({one['percent']} %)",
        )
        for app, one in report["apps"].items()
    ]
    yield (
        f"Apps (a window is {_time(report['window'])})",
        ("app", "calls", "most in any window", "limit now", "in the window now"),
        apps,
    )
    for title, key in (
        ("By part of the API", "by_capability"),
        ("By endpoint", "by_endpoint"),
        ("By code of the error", "by_code"),
        ("Calls that were of no use", "wasted"),
    ):
        yield title, ("", "calls", "share"), _counted(report.get(key, {}), calls)
    yield "Effects", ("", "times"), [row[:2] for row in _counted(report.get("effects", {}), calls)]
    duplicates = report["duplicates"]
    yield (
        _first("Effects that happened again", len(duplicates)),
        ("effect", "of what", "at", "call"),
        [(one["kind"], str(one["subject"]), _time(one["time"]), str(one["call"])) for one in duplicates[:_SHOWN]],
    )
    numbers = report.get("locked_numbers", ())
    yield (
        _first("Numbers that are locked, or near to it", len(numbers)),
        ("number", "registrations", "deregistrations", "of", "locked until"),
        [
            (
                one["number"],
                str(one["registrations"]),
                str(one["deregistrations"]),
                str(one["most"]),
                _time(one["locked_until"]) if one["locked"] else "",
            )
            for one in numbers[:_SHOWN]
        ],
    )
    wabas = report["by_waba"]
    yield (
        _first("WABAs with the most calls", len(wabas)),
        ("WABA", "calls", "share"),
        _counted(wabas, calls)[:_SHOWN],
    )


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for place, name in enumerate(head):
        table.add_column(Text(name), justify="left" if place == 0 else "right", no_wrap=place == 0)
    for row in rows:
        # As Text: what comes over HTTP is no markup.
        table.add_row(*(Text(cell) for cell in row))
    return table


def _counted(counts: Mapping[str, int], of: int) -> list[tuple[str, ...]]:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [(name, f"{number:,}", _share(number, of)) for name, number in ordered]


def _locked(report: Mapping[str, Any]) -> list[str]:
    """Ids of the numbers whose register quota is spent."""
    return [one["number"] for one in report.get("locked_numbers", ()) if one["locked"]]


def _first(title: str, number: int) -> str:
    return f"{title} (the first {_SHOWN} of {number:,})" if number > _SHOWN else title


def _calls(number: int) -> str:
    return f"{number:,} {'call' if number == 1 else 'calls'}"


def _share(number: int, of: int) -> str:
    return f"{100 * number / of:.1f} %" if of else "-"


def _time(seconds: float) -> str:
    whole = int(seconds)
    days, hours, minutes = whole // 86_400, whole // 3600 % 24, whole // 60 % 60
    clock = f"{hours:d}:{minutes:02d}:{whole % 60:02d}"
    return f"{days} d {clock}" if days else clock
