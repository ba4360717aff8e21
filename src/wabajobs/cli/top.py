"""`top`: who used the budgets."""

from datetime import datetime, timedelta

import click
from rich.table import Table
from rich.text import Text

from wabajobs.cli.house import house
from wabajobs.cli.say import Moment, Span, answer, as_json, bar, out
from wabajobs.freshness import spoken
from wabajobs.seeing.top import Dimension, Talker, Top


@click.command()
@click.argument("dimension", type=click.Choice([str(one) for one in Dimension]), metavar="BY")
@click.option("--app", help="Id of the Meta app; without it, of all together.")
@click.option("--window", type=Span(), help="The last 15m, 1h, 2d; without it, the window that counts now.")
@click.option("--since", type=Moment(), help="From when on, in UTC: 05:40, 2026-11-23, 2026-11-23T05:40.")
@click.option("--until", type=Moment(), help="Until when; without it, until now.")
@click.option("--limit", "at_most", type=click.IntRange(1, 1000), default=10, show_default=True)
@as_json
def top(
    dimension: str,
    *,
    app: str | None,
    window: timedelta | None,
    since: datetime | None,
    until: datetime | None,
    at_most: int,
    as_json: bool,
) -> None:
    """Show who used the budget, BY partners, kinds, wabas or capabilities, and whether anybody explains it.

    \b
    wabajobs top partners
    wabajobs top wabas --app 1234567890 --since 05:40 --until 07:10
    """
    if window is not None and since is not None:
        raise click.UsageError("--window and --since both say from when on; give one of them")
    with house() as open_house:
        if app is not None:
            open_house.settings.app(app)
        if window is not None:
            since = (until or open_house.clock.now()) - window
        found = open_house.spenders.top(Dimension(dimension), app=app, since=since, until=until)
    answer(found.as_json(), as_json=as_json, plain=lambda: _tell(found, at_most))


def _tell(found: Top, at_most: int) -> None:
    whose = f"app {found.app}" if found.app else "all apps"
    moments = f"{found.since:%Y-%m-%d %H:%M} to {found.until:%Y-%m-%d %H:%M} UTC"
    refused = f", {found.refused:,} of them refused by Meta" if found.refused else ""
    click.echo(f"{found.calls:,} calls of {whose}{refused}; {moments} ({spoken(found.until - found.since)})")
    if found.talkers:
        out.print(talkers_table(found, at_most))
    if found.dimension.is_compared and found.calls:
        click.echo(f"{str(found)[0].upper()}{str(found)[1:]}.")


def talkers_table(found: Top, at_most: int) -> Table:
    """Draw the largest, each with its share."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(found.dimension.one, overflow="fold")
    for name in ("calls", "share"):
        table.add_column(name, justify="right")
    table.add_column("")
    for name in ("refused", "typical", "usual"):
        table.add_column(name, justify="right")
    for one in found.talkers[:at_most]:
        table.add_row(*_row(one, found))
    if rest := found.talkers[at_most:]:
        calls = sum(one.calls for one in rest)
        table.add_row(Text(f"{len(rest)} more", style="dim"), f"{calls:,}", f"{calls / found.calls:.0%}")
    return table


def _row(one: Talker, found: Top) -> tuple[Text | str, ...]:
    style = "bold red" if one.name in found.explained_by else ""
    return (
        Text(one.name or "(others)", style=style),
        f"{one.calls:,}",
        f"{one.share:.0%}",
        bar(one.calls, 0, found.calls, style=style or "cyan"),
        f"{one.refused:,}" if one.refused else "",
        "" if one.times_typical is None else f"{one.times_typical:.1f} x",
        "" if one.usual_share is None else f"{one.usual_share:.0%}",
    )
