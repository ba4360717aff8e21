"""`wabajobs db`."""

import click

from wabajobs.cli.say import answer, as_json
from wabajobs.ledger import Database
from wabajobs.settings import Settings


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


COMMANDS = (db,)
