"""What a person sees while a drill runs: the date, and how each side fares."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

_BETWEEN_LINES = 15.0
"""Seconds between two lines where there is no terminal."""


def picture(*, headline: str, share: float, sides: Mapping[str, Mapping[str, str]]) -> RenderableType:
    """Draw how far a drill has come, and how each side fares."""
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for name in next(iter(sides.values()), {}):
        table.add_column(name, justify="right", min_width=9)
    for side, numbers in sides.items():
        style = {"refused": "bold red"}
        table.add_row(side, *(Text(value, style=style.get(name, "")) for name, value in numbers.items()))
    return Group(Text(headline, style="bold"), ProgressBar(total=1.0, completed=share, width=60), table)


@contextmanager
def shown(console: Console, draw: Callable[[], RenderableType]) -> Iterator[Callable[[], None]]:
    """Yield what shows the picture anew: in place on a terminal, else every few seconds."""
    if console.is_terminal:
        with Live(draw(), console=console, auto_refresh=False) as live:
            yield lambda: live.update(draw(), refresh=True)
        return
    last = time.monotonic()

    def now_and_then() -> None:
        nonlocal last
        if time.monotonic() - last >= _BETWEEN_LINES:
            last = time.monotonic()
            console.print(draw())

    yield now_and_then
