"""`status`: what is going on."""

import time

import click
from rich.console import Group, JustifyMethod, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from wabajobs.cli.house import house
from wabajobs.cli.say import answer, as_json, bar, out, short
from wabajobs.gate import WindowReading
from wabajobs.status import QueueStatus, Status, look
from wabajobs.story import how_to_give
from wabajobs.wiring import House

_REFRESH_SECONDS = 1.0


@click.command()
@click.option("--watch", is_flag=True, help="Keep looking, until Ctrl-C.")
@as_json
def status(*, watch: bool, as_json: bool) -> None:
    """Show queues, pauses, budgets and breakers, and what is amiss."""
    with house() as open_house:
        if watch and not as_json:
            _watch(open_house)
            return
        now = _look(open_house)
    answer(now.as_json(), as_json=as_json, plain=lambda: out.print(render(now)))


def _look(open_house: House) -> Status:
    return look(
        ledger=open_house.ledger,
        gate=open_house.gate,
        presence=open_house.presence,
        kinds=open_house.kinds,
        settings=open_house.settings,
        clock=open_house.clock,
    )


def _watch(open_house: House) -> None:
    with Live(render(_look(open_house)), console=out, screen=out.is_terminal, auto_refresh=False) as live:
        while True:
            time.sleep(_REFRESH_SECONDS)
            live.update(render(_look(open_house)), refresh=True)


def render(now: Status) -> RenderableType:
    """Draw a status for a terminal."""
    parts: list[RenderableType] = [Text(f"{now.at:%Y-%m-%d %H:%M:%S} UTC", style="dim"), _queues(now)]
    parts += [Text(f"⏸  {pause}", style="yellow") for pause in now.pauses]
    parts += [Text(f"?  {one.kind} of {one.partner}: {how_to_give(one)}", style="cyan") for one in now.asking]
    parts += [Text(f"→  {route}", style="yellow") for route in now.routes]
    parts += [_budgets(now), *_breakers(now)]
    parts += [Text(f"!  {trouble}", style="bold red") for trouble in now.troubles]
    return Group(*parts)


def _queues(now: Status) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("queue", no_wrap=True, overflow="fold")
    for name in ("waiting", "held", "running", "oldest", "done/h", "failed/h", "workers", "slots"):
        table.add_column(name, justify="right")
    table.add_column("")
    for queue in now.queues:
        table.add_row(*_queue_row(queue))
    return table


def _queue_row(queue: QueueStatus) -> tuple[str, ...]:
    unknown = "?"
    return (
        queue.queue,
        str(queue.waiting),
        str(queue.held),
        str(queue.running),
        short(queue.oldest_age),
        str(queue.succeeded),
        str(queue.failed),
        unknown if queue.workers is None else str(queue.workers),
        unknown if queue.slots is None else str(queue.slots),
        _remarks(queue),
    )


def _remarks(queue: QueueStatus) -> str:
    ended = {"cancelled": queue.cancelled, "expired": queue.expired}
    told = ["paused"] if queue.pause else []
    if queue.needs_input:
        told.append(f"{queue.needs_input} need input")
    return ", ".join(told + [f"{number} {word}/h" for word, number in ended.items() if number])


def _budgets(now: Status) -> Table:
    table = budget_table("on the wire")
    for app in now.apps:
        for window in app.windows:
            table.add_row(*budget_cells(window), str(app.in_flight))
    return table


def budget_table(*more: str, left: str = "") -> Table:
    """Begin a table of budgets, with columns besides the usual; `left` is one of text."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("budget", "", "ours", "others", "limit", "window", *more):
        justify: JustifyMethod = "left" if name in {"budget", "", left} else "right"
        table.add_column(name, justify=justify, no_wrap=name == "budget", overflow="fold")
    return table


def budget_cells(window: WindowReading) -> tuple[RenderableType, ...]:
    """Fill the usual columns of a budget's row."""
    return (
        window.scope,
        bar(window.used, window.others, window.limit),
        str(window.used),
        str(window.others),
        str(window.limit),
        short(window.window),
    )


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


COMMANDS = (status,)
