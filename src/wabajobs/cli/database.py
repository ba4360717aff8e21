"""`wabajobs db`."""

import sys
import time
from collections import Counter
from datetime import timedelta

import click

from wabajobs.cli.house import house
from wabajobs.cli.say import Span, answer, as_json
from wabajobs.dispatcher.retention import ages
from wabajobs.ledger import Database
from wabajobs.settings import Settings

_REST_SECONDS = 0.02
"""Between two transactions, so that whoever waits for the database gets his turn."""


@click.group()
def db() -> None:
    """Look after the ledger's tables."""


@db.command()
@as_json
def upgrade(*, as_json: bool) -> None:
    """Bring the tables to this version's schema. Safe to repeat."""
    database = Database(Settings.load().database)
    before = database.revision()
    after = database.upgrade()
    database.close()
    answer(
        {"database": str(database), "was": before, "revision": after},
        as_json=as_json,
        plain=lambda: click.echo(f"{database} is at revision {after}" + (" already" if before == after else "")),
    )


@db.command()
@click.option("--older-than", type=Span(), help="Finished operations of this age: 30d. Else as the settings say.")
@click.option("--dry-run", is_flag=True, help="Count what would be deleted, and delete nothing.")
@as_json
def prune(*, older_than: timedelta | None, dry_run: bool, as_json: bool) -> None:
    """Delete what is old, in small steps; the dispatcher does so by itself. Decisions are kept for ever.

    It can be stopped at any moment; the next one goes on.
    """
    with house() as open_house:
        old, now = ages(open_house.settings.retention, operations=older_than), open_house.clock.now()
        retention = open_house.ledger.retention
        counted = retention.count(old, now=now)
        deleted: Counter[str] = Counter()
        total = sum(counted.values())
        quiet = as_json or dry_run or not sys.stderr.isatty()
        with click.progressbar(length=total, file=sys.stderr, hidden=quiet) as bar:
            for what, rows in () if dry_run else retention.prune(old, now=now):
                deleted[what] += rows
                bar.update(rows)
                time.sleep(_REST_SECONDS)
    facts = counted if dry_run else {what: deleted[what] for what in counted}
    verb = "would be deleted" if dry_run else "deleted"

    def plain() -> None:
        for what, rows in facts.items():
            click.echo(f"{rows:>9} {what} {verb}")

    answer({"dry_run": dry_run, **facts}, as_json=as_json, plain=plain)
