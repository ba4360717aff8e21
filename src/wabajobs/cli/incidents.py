"""`incident`: what went wrong, what was done about it, and what to tell others."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from wabajobs.cli.brakes import actor
from wabajobs.cli.house import house
from wabajobs.cli.say import answer, as_json, out, short
from wabajobs.ledger import Incident

_reason = click.option("--reason", required=True, help="Why.")
_number = click.argument("number", metavar="ID", type=click.INT)
_file = click.option("--out", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write it to a file.")


@click.group()
def incident() -> None:
    """Open, note and close incidents; tell others about them.

    The product opens incidents by itself when a breaker trips, a budget runs out or work is late. Only a person
    closes one.
    """


@incident.command("open")
@click.option("--reason", required=True, help="What is wrong.")
@click.option("--app", help="The app that it is about. Without it: all.")
@actor
@as_json
def open_(*, reason: str, app: str | None, actor: str, as_json: bool) -> None:
    """Open an incident. What the product sees of this app from now on belongs to it."""
    with house() as open_house:
        opened = open_house.incidents.open(reason=reason, app=app, actor=actor)
    answer(opened.as_json(), as_json=as_json, plain=lambda: click.echo(f"incident {opened.id} is open"))


@incident.command()
@_number
@click.argument("text")
@actor
@as_json
def note(number: int, text: str, *, actor: str, as_json: bool) -> None:
    """Write TEXT into the diary of incident ID, for its report."""
    with house() as open_house:
        noted = open_house.incidents.note(number, text, actor=actor)
    answer(noted.as_json(), as_json=as_json, plain=lambda: click.echo(f"noted in incident {number}"))


@incident.command()
@_number
@_reason
@click.option("--force", is_flag=True, help="Also while an episode is on.")
@actor
@as_json
def close(number: int, *, reason: str, force: bool, actor: str, as_json: bool) -> None:
    """Close incident ID. What comes back within two weeks opens it again."""
    with house() as open_house:
        closed = open_house.incidents.close(number, reason=reason, force=force, actor=actor)
    answer(closed.as_json(), as_json=as_json, plain=lambda: click.echo(f"incident {number} is closed"))


@incident.command("list")
@click.option("--all", "all_", is_flag=True, help="Closed ones, too.")
@as_json
def list_(*, all_: bool, as_json: bool) -> None:
    """List incidents, the newest first."""
    with house() as open_house:
        found = open_house.incidents.find(open_only=not all_)
    answer([one.as_json() for one in found], as_json=as_json, plain=lambda: _table(found, all_=all_))


@incident.command()
@_number
@_file
@as_json
def report(number: int, *, file: Path | None, as_json: bool) -> None:
    """Tell the story of incident ID: episodes, what partners felt, a time line. Markdown, or JSON."""
    with house() as open_house:
        told = open_house.incidents.report(number)
    _write(told.as_json(), told.markdown(), file=file, as_json=as_json)


@incident.command()
@_number
@click.option("--pseudonyms", is_flag=True, help="Number the partners in place of naming them.")
@_file
@as_json
def pack(number: int, *, pseudonyms: bool, file: Path | None, as_json: bool) -> None:
    """Gather what Meta's support needs of incident ID: codes, trace ids, calls per hour. No secrets."""
    with house() as open_house:
        packed = open_house.incidents.pack(number, pseudonyms=pseudonyms)
    _write(packed.as_json(), packed.markdown(), file=file, as_json=as_json)


def _write(value: Any, text: str, *, file: Path | None, as_json: bool) -> None:
    if file is None:
        answer(value, as_json=as_json, plain=lambda: click.echo(text, nl=False))
        return
    told = json.dumps(value, ensure_ascii=False, indent=2) + "\n" if as_json else text
    try:
        file.write_text(told, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"{file} cannot be written: {error.strerror}") from None
    click.echo(f"{file} is written")


def _table(found: list[Incident], *, all_: bool) -> None:
    if not found:
        click.echo("there is no incident" if all_ else "no incident is open")
        return
    now = datetime.now(UTC)
    table = Table(box=None, pad_edge=False)
    for head in ("ID", "STATE", "APP", "BEGAN", "EPISODES", "IMPAIRED", "WHAT"):
        table.add_column(head, overflow="fold")
    for one in found:
        began = f"{one.began_at:%Y-%m-%d %H:%M} UTC"
        impaired = short(one.lasted(now))
        table.add_row(
            str(one.id), one.state, one.app or "all", began, str(len(one.episodes)), impaired, one.title
        )
    out.print(table)
