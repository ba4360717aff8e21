"""`status`: what is going on, once or as a screen that stays."""

import time
from collections.abc import Iterable, Mapping
from datetime import timedelta

import click
from rich.console import Console, ConsoleOptions, Group, JustifyMethod, RenderableType, RenderResult
from rich.live import Live
from rich.table import Table
from rich.text import Text

from wabajobs.cli.house import house
from wabajobs.cli.say import BAR, answer, as_json, bar, out, short
from wabajobs.errors import NotReady
from wabajobs.gate import WindowReading
from wabajobs.outcome import Origin
from wabajobs.seeing.kept import by_origin
from wabajobs.seeing.status import Lookout, QueueStatus, Status
from wabajobs.seeing.story import how_to_give

_REFRESH_SECONDS = 1.0
_COUNT_SHARE = 0.1
"""Part of its time in which a screen that stays may count operations: with very many of them that takes long."""
_NARROW = 110
"""Columns of a terminal below which the less important is left out."""
_NARROW_BAR = 12
_STYLES = {Origin.PERSON: "yellow", Origin.OURS: "cyan", Origin.META: "bold red"}
_WHOSE = {Origin.PERSON: "by people", Origin.OURS: "by our own gate and rules", Origin.META: "by Meta"}
_TALKERS = 3


@click.command()
@click.option("--watch", is_flag=True, help="Keep looking, until Ctrl-C.")
@as_json
def status(*, watch: bool, as_json: bool) -> None:
    """Show queues, pauses, incidents, budgets and breakers, who uses them, and what is amiss."""
    with house() as open_house:
        if watch and not as_json:
            _watch(open_house.lookout)
            return
        now = open_house.lookout.look()
    answer(now.as_json(), as_json=as_json, plain=lambda: out.print(Screen(now)))


def _watch(lookout: Lookout) -> None:
    """Look every second; count as rarely as that has to be, and bear a ledger that is away."""
    with Live(console=out, screen=out.is_terminal, auto_refresh=False, transient=True) as live:
        counts, count_due, shown = None, 0.0, None
        while True:
            try:
                began = time.monotonic()
                if counts is None or began >= count_due:
                    counts = lookout.count()
                    count_due = time.monotonic() + (time.monotonic() - began) / _COUNT_SHARE
                shown = lookout.look(counts)
                live.update(Screen(shown, stays=True), refresh=True)
            except NotReady as error:
                told = Text(f"!  {error}; looking again", style="bold red")
                live.update(Group(told, Screen(shown, stays=True)) if shown else told, refresh=True)
            time.sleep(_REFRESH_SECONDS)


class Screen:
    """A status, drawn as wide as the terminal is; one that `stays` leaves out idle queues."""

    def __init__(self, now: Status, *, stays: bool = False) -> None:
        """Draw this status."""
        self._now = now
        self._stays = stays

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it."""
        now, narrow = self._now, options.max_width < _NARROW
        yield from self._head()
        yield self._queues(narrow=narrow)
        yield from self._notes()
        yield _budgets(now, narrow=narrow)
        yield from _breakers(now)
        yield from _outlook(now)
        yield from (Text(f"!  {trouble}", style="bold red") for trouble in now.troubles)

    def _head(self) -> Iterable[RenderableType]:
        now = self._now
        old = now.at - now.counted_at
        counted = f"; operations were counted {short(old)} ago" if old > timedelta(seconds=2) else ""
        yield Text(f"{now.at:%Y-%m-%d %H:%M:%S} UTC{counted}", style="dim")
        for one in now.incidents:
            episodes = f", {len(one.episodes)} episodes" if len(one.episodes) > 1 else ""
            since = f"since {one.began_at:%m-%d %H:%M} UTC{episodes}"
            yield Text(
                f"‼  incident {one.id} is {one.state}: {one.title} ({since})",
                style="bold red" if one.is_on else "yellow",
            )

    def _queues(self, *, narrow: bool) -> RenderableType:
        shown = [one for one in self._now.queues if not self._stays or _is_awake(one)]
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("queue", no_wrap=True, overflow="fold")
        table.add_column("waiting", justify="right")
        table.add_column("held", justify="right")
        table.add_column("running", justify="right")
        table.add_column("oldest", justify="right")
        for name in () if narrow else ("done/h", "failed/h", "workers", "slots"):
            table.add_column(name, justify="right")
        table.add_column("", overflow="fold")
        for one in shown:
            table.add_row(*_queue_row(one, narrow=narrow))
        idle = len(self._now.queues) - len(shown)
        return Group(table, Text(f"{idle} more queues are idle", style="dim")) if idle else table

    def _notes(self) -> Iterable[RenderableType]:
        now = self._now
        yield from (Text(f"⏸  {pause}", style="yellow") for pause in now.pauses)
        yield from (
            Text(f"?  {one.kind} of {one.partner}: {how_to_give(one)}", style="cyan") for one in now.asking
        )
        yield from (Text(f"→  {route}", style="yellow") for route in now.routes)


def _is_awake(queue: QueueStatus) -> bool:
    return bool(
        queue.waiting + queue.held + queue.running + queue.needs_input + queue.failed
        or queue.pause
        or not queue.slots
    )


def _queue_row(queue: QueueStatus, *, narrow: bool) -> list[RenderableType]:
    unknown = "?"
    row: list[RenderableType] = [
        queue.queue,
        str(queue.waiting),
        str(queue.held),
        str(queue.running),
        short(queue.oldest_age),
    ]
    if not narrow:
        row += [
            str(queue.succeeded),
            str(queue.failed),
            unknown if queue.workers is None else str(queue.workers),
            unknown if queue.slots is None else str(queue.slots),
        ]
    return [*row, _remarks(queue)]


def _remarks(queue: QueueStatus) -> Text:
    """Say what keeps its operations, each in the colour of whose word that is; then how others ended."""
    told = [Text("paused", style="yellow")] if queue.pause else []
    for by, number in _kept(queue).items():
        told.append(Text(f"{number} {by.replace('_', ' ')}", style=_STYLES[Origin.of(by)]))
    if queue.needs_input:
        told.append(Text(f"{queue.needs_input} need input", style="cyan"))
    ended = {"cancelled": queue.cancelled, "expired": queue.expired}
    told += [Text(f"{number} {word}/h") for word, number in ended.items() if number]
    return Text(", ").join(told)


def _kept(queue: QueueStatus) -> dict[str, int]:
    kept = dict(queue.held_by)
    for by, number in queue.waits_for.items():
        kept[by] = kept.get(by, 0) + number
    return kept


def _budgets(now: Status, *, narrow: bool) -> Table:
    more = () if narrow else ("on the wire",)
    table = budget_table(*more, "at this rate", left="at this rate")
    for app in now.apps:
        for window in app.windows:
            wire = () if narrow else (str(app.in_flight),)
            table.add_row(*budget_cells(window, narrow=narrow), *wire, outlook(window))
    return table


def budget_table(*more: str, left: str = "") -> Table:
    """Begin a table of budgets, with columns besides the usual; `left` is one of text."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("budget", "", "ours", "others", "limit", "window", *more):
        justify: JustifyMethod = "left" if name in {"budget", "", left} else "right"
        table.add_column(name, justify=justify, no_wrap=name == "budget", overflow="fold")
    return table


def budget_cells(window: WindowReading, *, narrow: bool = False) -> tuple[RenderableType, ...]:
    """Fill the usual columns of a budget's row."""
    width = _NARROW_BAR if narrow else BAR
    return (
        window.scope,
        bar(window.used, window.others, window.limit, width=width),
        str(window.used),
        str(window.others),
        str(window.limit),
        short(window.window),
    )


def outlook(window: WindowReading) -> str:
    """Say when a budget will be spent if everything goes on as of late."""
    if window.shadow:
        return f"on trial: would have refused {window.would_refuse}"
    left = window.exhausted_in()
    spent = f"exhausted in {short(left)}" if left else "exhausted"
    sentence = "lasts" if left is None else spent
    if window.height >= 1:
        return sentence
    return f"{sentence}; {window.height:.0%} of the limit is trusted after a trip"


def _breakers(now: Status) -> list[Text]:
    lines = []
    for app in now.apps:
        if not app.told:
            lines.append(
                Text(f"gate of app {app.app}: has lost its state; no calls until it is told", "bold red")
            )
        elif app.learning:
            lines.append(Text(f"gate of app {app.app}: finding out how much of the budget is spent", "yellow"))
        for breaker in app.breakers:
            if breaker.held:
                lines.append(Text(breaker.held, style="bold yellow"))
            elif breaker.state != "closed":
                lines.append(
                    Text(
                        f"breaker {breaker.scope}: {breaker.state}, next try in"
                        f" {short(breaker.retry_in)} ({breaker.evidence})",
                        style="bold red",
                    )
                )
    return lines


def _outlook(now: Status) -> Iterable[Text]:
    """Say by whom operations are kept, how long they take, and who used the budget."""
    if told := kept_line(by_origin(one for queue in now.queues for one in (queue.held_by, queue.waits_for))):
        yield told
    for app, drain in now.drains:
        if drain.operations:
            yield Text(f"app:{app}: {drain.operations:,} operations; {drain}")
    for top in now.spenders:
        largest = [f"{one.name} {one.share:.0%}" for one in top.talkers[:_TALKERS] if one.name]
        if largest:
            yield Text(f"app:{top.app}: used by {', '.join(largest)}; {top}", style="dim")


def kept_line(kept: Mapping[Origin, int]) -> Text | None:
    """Say whose word keeps how many operations; nothing when none is kept."""
    parts = [Text(f"{_WHOSE[one]} {kept[one]:,}", style=_STYLES[one]) for one in Origin if kept.get(one)]
    return Text("held ") + Text(", ").join(parts) if parts else None
