"""Draws two sides of a drill next to each other: the same axes, and what was refused in one strong colour."""

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from wabajobs.drills import september
from wabajobs.drills.account import Account
from wabajobs.errors import NotReady

STEP: Final = 0.5
"""Hours of a bar."""
_NEVER: Final = 300.0
"""Where on the axis of waiting, in hours, those stand who were never served."""


@dataclass(frozen=True)
class Theme:
    """Colours, for a page in the light or in the dark."""

    paper: str
    ink: str
    faint: str
    good: str
    refused: str
    asked: str
    shade: str


LIGHT: Final = Theme("#ffffff", "#1d2530", "#8a94a3", "#3f7fbf", "#e0202b", "#1d2530", "#f4e9cf")
DARK: Final = Theme("#12161d", "#e4e8ee", "#7d8795", "#5b9bd5", "#ff4d57", "#e4e8ee", "#3a3320")


@dataclass(frozen=True)
class Shown:
    """What is drawn."""

    story: Any
    plain: Account
    product: Account
    hour: float


@dataclass(frozen=True)
class Panel:
    """One row of the picture."""

    name: str
    """In the page, the heading above it."""
    unit: str
    draw: Callable[[Any, Account, Theme], None]
    says: Callable[[Account, Shown], str]
    """The number that matters."""
    scale: str = "linear"


def _starts(account: Account) -> list[float]:
    return account.bins(STEP)


def _calls(axes: Any, account: Account, theme: Theme) -> None:
    good, refused = account.good_calls(STEP), account.refused_calls(STEP)
    how = {"width": STEP, "align": "edge", "linewidth": 0}
    axes.bar(_starts(account), good, color=theme.good, label="answered", **how)
    axes.bar(_starts(account), refused, bottom=good, color=theme.refused, label="refused", **how)


def _goodput(axes: Any, account: Account, theme: Theme) -> None:
    starts = _starts(account)
    how = {"where": "post", "linewidth": 0.9}
    axes.bar(starts, account.done_an_hour(STEP), STEP, align="edge", color=theme.good, linewidth=0, label="done")
    axes.step(starts, account.asked_an_hour(STEP), color=theme.asked, alpha=0.65, label="asked for", **how)


def _backlog(axes: Any, account: Account, theme: Theme) -> None:
    starts = [start + STEP for start in _starts(account)]
    axes.fill_between(starts, account.backlog(STEP), color=theme.good, alpha=0.85, linewidth=0, label="waiting")
    axes.plot(starts, account.lost_by(STEP), color=theme.refused, linewidth=1.8, label="lost for good, in all")


def _waiting(axes: Any, account: Account, theme: Theme) -> None:
    step = 1.0
    at = [start + step / 2 for start in account.bins(step)]
    waits = account.waiting(step)
    served = [(x, wait) for x, wait in zip(at, waits, strict=True) if math.isfinite(wait)]
    never = [x for x, wait in zip(at, waits, strict=True) if math.isinf(wait)]
    axes.axhspan(_NEVER / 2.5, _NEVER * 2.5, color=theme.refused, alpha=0.10, linewidth=0)
    axes.plot([x for x, _ in served], [y for _, y in served], "o", color=theme.good, markersize=3, label="served")
    axes.plot(never, [_NEVER] * len(never), "s", color=theme.refused, markersize=4, label="never served")


def _refused_says(account: Account, _: Shown) -> str:
    share = account.refused / max(1, len(account.calls))
    return f"{account.refused:,} of {len(account.calls):,} calls refused ({_percent(share)})"


def _goodput_says(account: Account, _: Shown) -> str:
    done = sum(one.done for one in account.requests)
    return f"{_percent(done / max(1, len(account.requests)))} of {len(account.requests):,} requests done"


def _backlog_says(account: Account, _: Shown) -> str:
    return f"{account.lost:,} lost; at most {max(account.backlog(STEP)):,} waiting"


def _waiting_says(account: Account, _: Shown) -> str:
    never = sum(math.isinf(wait) for wait in account.waits(0.0, account.hours))
    if never:
        return f"{never:,} people were never served"
    longest = max(account.waits(0.0, account.hours))
    return f"everybody served; the longest wait {spoken(timedelta(hours=longest))}"


PANELS: Final = (
    Panel("Calls to Meta", "calls an hour", _calls, _refused_says),
    Panel("Work done", "requests an hour", _goodput, _goodput_says),
    Panel("Waiting and lost", "requests", _backlog, _backlog_says),
    Panel("How long people wait (95 of 100)", "", _waiting, _waiting_says, scale="log"),
)


def png(shown: Shown, path: Path) -> Path:
    """Write the whole picture, two columns. Raises `NotReady` without matplotlib."""
    plots = _pyplot()
    figure, grid = plots.subplots(len(PANELS), 2, figsize=(15, 13.5), sharex=True, sharey="row", squeeze=False)
    figure.set_facecolor(LIGHT.paper)
    for row, panel in zip(grid, PANELS, strict=True):
        for axes, account in zip(row, (shown.plain, shown.product), strict=True):
            _panel(axes, panel, account, shown=shown, theme=LIGHT)
    grid[0][0].set_ylim(top=1.2 * grid[0][0].get_ylim()[1])  # room for the episodes' numbers
    for axes, account in zip(grid[0], (shown.plain, shown.product), strict=True):
        _headline(axes, account)
        _numbers(axes, shown, LIGHT)
    for row, panel in zip(grid, PANELS, strict=True):
        row[0].set_ylabel(f"{panel.name}\n{panel.unit}".strip(), fontsize=11)
        _legend(row[0], LIGHT)
    figure.suptitle(
        "September 2024, replayed: the same requests, the same Meta, nobody there",
        fontsize=19, fontweight="bold", color=LIGHT.ink, x=0.075, ha="left", y=0.985,
    )  # fmt: skip
    figure.text(
        0.075, 0.943,
        "Shaded: Meta's limit is below what is asked for (darker: only uploads are still limited)."
        " Dotted: days or hours left out. Red: refused, lost.",
        fontsize=11.5, color=LIGHT.ink, alpha=0.75, ha="left",
    )  # fmt: skip
    figure.subplots_adjust(left=0.075, right=0.985, top=0.865, bottom=0.045, hspace=0.2, wspace=0.045)
    figure.savefig(path, dpi=130)
    plots.close(figure)
    return path


def panel_png(panel: Panel, shown: Shown, theme: Theme, *, narrow: bool) -> bytes:
    """Return one row as a PNG: side by side, or for a phone one above the other."""
    plots = _pyplot()
    shape, size = ((2, 1), (6, 5.6)) if narrow else ((1, 2), (13, 3.5))
    figure, grid = plots.subplots(*shape, figsize=size, sharex=True, sharey=True, squeeze=False)
    figure.set_facecolor(theme.paper)
    cells = list(grid.flat)
    for axes, account in zip(cells, (shown.plain, shown.product), strict=True):
        title = f"{account.name}: {panel.says(account, shown)}"
        _panel(axes, panel, account, shown=shown, theme=theme, title=title)
    cells[0].set_ylabel(panel.unit, color=theme.ink)
    handles, labels = cells[0].get_legend_handles_labels()
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    figure.legend(handles, labels, loc="lower center", ncols=2, fontsize=10, frameon=False, labelcolor=theme.ink)
    stream = io.BytesIO()
    figure.savefig(stream, dpi=110, facecolor=theme.paper)
    plots.close(figure)
    return stream.getvalue()


def require() -> None:
    """Raise `NotReady` where nothing can be drawn: better before the drill than after it."""
    _pyplot()


def spoken(span: timedelta) -> str:
    """Return a span as people say it: `48 h 55 min`."""
    minutes = round(span.total_seconds() / 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"


def _panel(axes: Any, panel: Panel, account: Account, *, shown: Shown, theme: Theme, title: str = "") -> None:
    axes.set_facecolor(theme.paper)
    calendar = shown.story.calendar
    for one in september.EPISODES:
        begins, eased, ends = (calendar.hour_of(at) for at in (one.begins, one.eased, one.ends))
        axes.axvspan(begins, ends, color=theme.shade, linewidth=0, zorder=0)
        axes.axvspan(eased, ends, color=theme.refused, alpha=0.12, linewidth=0, zorder=0)
    for cut in calendar.cuts:
        axes.axvline(cut, color=theme.faint, linestyle=":", linewidth=0.9, zorder=1)
    panel.draw(axes, account, theme)
    axes.set_title(
        title or panel.says(account, shown), fontsize=11.5, loc="left", color=theme.ink, fontweight="bold", pad=6
    )
    axes.set_xlim(0, calendar.hours)
    if panel.scale == "log":
        axes.set_yscale("log")
        _marks_of_time(axes)
    axes.set_xticks(*_ticks(shown))
    axes.tick_params(colors=theme.ink, labelsize=9.5, length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(theme.faint)
    axes.grid(axis="y", color=theme.faint, alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)


def _marks_of_time(axes: Any) -> None:
    marks = {1 / 60: "1 min", 10 / 60: "10 min", 1: "1 h", 10: "10 h", _NEVER: "never"}
    axes.set_ylim(0.3 / 60, _NEVER * 2.5)
    axes.set_yticks(list(marks), labels=list(marks.values()))
    axes.minorticks_off()


def _ticks(shown: Shown) -> tuple[list[float], Sequence[str]]:
    calendar = shown.story.calendar
    marks = {}
    for one in september.EPISODES:
        for at in (one.begins, one.ends):
            marks[calendar.hour_of(at)] = f"{at:%-d Sept}\n{at:%H:%M}"
    # Two that stand close together would cover each other.
    kept: list[float] = []
    for at in sorted(marks):
        if not kept or at - kept[-1] > calendar.hours / 12:
            kept.append(at)
    return kept, [marks[at] for at in kept]


def _legend(axes: Any, theme: Theme) -> None:
    axes.legend(
        loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, fontsize=9, frameon=False, labelcolor=theme.ink,
        borderaxespad=0.1, handlelength=1.2, columnspacing=1.2,
    )  # fmt: skip


def _headline(axes: Any, account: Account) -> None:
    axes.text(
        0.0, 1.15, account.name, transform=axes.transAxes, fontsize=17, fontweight="bold", color=LIGHT.ink
    )  # fmt: skip


def _numbers(axes: Any, shown: Shown, theme: Theme) -> None:
    for one in september.EPISODES:
        middle = (shown.story.calendar.hour_of(one.begins) + shown.story.calendar.hour_of(one.ends)) / 2
        axes.text(
            middle, 0.97, f"{one.number}\n{spoken(one.lasts)}", transform=axes.get_xaxis_transform(),
            ha="center", va="top", fontsize=8.5, color=theme.ink, alpha=0.7,
        )  # fmt: skip


def _percent(share: float) -> str:
    return f"{share:.2%}" if 0 < share < 0.01 else f"{share:.0%}"


def _pyplot() -> Any:
    try:
        import matplotlib as mpl  # noqa: PLC0415 (only who draws needs it)
        from matplotlib import pyplot  # noqa: PLC0415
    except ImportError:
        raise NotReady("a drill draws with matplotlib: pip install 'wabajobs[drill]'") from None
    mpl.use("Agg")
    return pyplot
