"""`events`: what the Hub is told, and sending it again."""

import json
import time

import click

from wabajobs.cli.house import house
from wabajobs.cli.say import answer, as_json
from wabajobs.errors import InvalidRequest
from wabajobs.feed import Event, EventKind
from wabajobs.ledger import Outbox

_FOLLOW_SECONDS = 1.0


@click.group(invoke_without_command=True)
@click.option("--after", type=click.IntRange(0), help="Those behind this cursor; without it, the newest.")
@click.option("--limit", "at_most", type=click.IntRange(1, 10_000), default=50, show_default=True)
@click.option("--kind", "kinds", multiple=True, type=click.Choice([str(one) for one in EventKind]))
@click.option("--follow", is_flag=True, help="Go on with those that come, until Ctrl-C.")
@as_json
@click.pass_context
def events(
    context: click.Context,
    *,
    after: int | None,
    at_most: int,
    kinds: tuple[str, ...],
    follow: bool,
    as_json: bool,
) -> None:
    """Show what the Hub is told: how operations end or wait, and what changes of templates.

    With --follow, JSON is one event a line.

    \b
    wabajobs events --after 120 --kind operation.failed --follow
    """
    if context.invoked_subcommand:
        return
    wanted = frozenset(map(EventKind, kinds))
    with house() as open_house:
        outbox = open_house.ledger.outbox
        if after is None:
            found = outbox.last(at_most, kinds=wanted)
        else:
            found = outbox.read(after=after, at_most=at_most, kinds=wanted)
        if follow:
            _follow(outbox, found, after=after or 0, kinds=wanted, as_json=as_json)
    answer([one.as_json() for one in found], as_json=as_json, plain=lambda: _tell(found))


def _follow(
    outbox: Outbox, found: list[Event], *, after: int, kinds: frozenset[EventKind], as_json: bool
) -> None:
    while True:
        for one in found:
            click.echo(json.dumps(one.as_json(), ensure_ascii=False) if as_json else _line(one))
        after = found[-1].cursor if found else after
        if not found:
            time.sleep(_FOLLOW_SECONDS)
        found = outbox.read(after=after, at_most=1000, kinds=kinds)


def _tell(found: list[Event]) -> None:
    for one in found:
        click.echo(_line(one))
    if not found:
        click.echo("No events.")


def _line(one: Event) -> str:
    whom = " ".join(part for part in (one.operation_kind, one.waba, one.partner) if part)
    return f"{one.cursor:>8}  {one.at:%Y-%m-%d %H:%M:%S}  {one.kind:<22}  {whom}: {_gist(one)}"


def _gist(one: Event) -> str:
    data = one.data
    if one.kind is EventKind.TEMPLATE_CHANGED:
        fields = ", ".join(
            f"{name} {(data['before'] or {}).get(name)} → {value}"
            for name, value in (data["after"] or {}).items()
            if isinstance(value, str)
        )
        return f"{data['name']} ({data['language']}) {data['change']}" + (f": {fields}" if fields else "")
    told = data.get("hold") or data.get("needs") or data.get("error") or {}
    return str(told.get("reason") or told.get("message") or json.dumps(data.get("result"), ensure_ascii=False))


@events.command()
@click.option("--after", type=click.IntRange(0), help="All behind this cursor, also those that were delivered.")
@as_json
def resend(*, after: int | None, as_json: bool) -> None:
    """Deliver to the Hub's callback again what was given up; with --after, everything since.

    The dispatcher does it, in order, within seconds.
    """
    with house() as open_house:
        if not open_house.settings.callbacks.url:
            raise InvalidRequest("no callback is configured: [callbacks] url; the Hub reads events itself")
        number = open_house.ledger.callbacks.resend(after=after)
    answer({"again": number}, as_json=as_json, plain=lambda: click.echo(f"{number} events are sent again."))
