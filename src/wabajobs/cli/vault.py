"""`wabajobs vault`: the secrets that lie here, by name. No command shows one."""

import sys
from collections import Counter

import click
from rich.table import Table
from rich.text import Text

from wabajobs.cli.house import house
from wabajobs.cli.say import answer, as_json, out, short
from wabajobs.errors import InvalidRequest, NotFound
from wabajobs.secret import Secret
from wabajobs.vault import new_key

_OF_OPERATIONS = "operations/"


@click.group()
def vault() -> None:
    """Look after the secrets that operations and apps refer to. Their values are never shown."""


@vault.command("new-key")
def make_key() -> None:
    """Print a new key for WABAJOBS_VAULT_KEYS.

    \b
    export WABAJOBS_VAULT_KEYS=$(wabajobs vault new-key)
    """
    click.echo(new_key())


@vault.command("set")
@click.argument("name")
@as_json
def put(name: str, *, as_json: bool) -> None:
    """Keep a secret under NAME, in the place of one that lies there.

    It is asked for, or read from standard input where that is no terminal; never from the command line, which
    other users of the machine can see. An app's token is in use within seconds.

    \b
    wabajobs vault set app-token < token.txt
    """
    if name.startswith(_OF_OPERATIONS):
        raise InvalidRequest(f"names below {_OF_OPERATIONS} belong to operations: wabajobs ops provide ID")
    value = click.prompt(name, hide_input=True) if sys.stdin.isatty() else sys.stdin.read()
    if not (value := value.strip()):
        raise InvalidRequest(f"{name}: nothing was given")
    with house() as open_house:
        open_house.vault.put(name, Secret(value))
    answer({"name": name}, as_json=as_json, plain=lambda: click.echo(f"{name} lies in the vault (vault:{name})."))


@vault.command("list")
@as_json
def known(*, as_json: bool) -> None:
    """List the names of the secrets, since when they lie here, and whose they are."""
    with house() as open_house:
        now, found = open_house.clock.now(), open_house.ledger.secrets.known()
    facts = [
        {"name": one.name, "operation": one.operation_id, "since": one.created_at.isoformat()} for one in found
    ]

    def plain() -> None:
        if not found:
            click.echo("The vault is empty.")
            return
        table = Table(box=None, pad_edge=False)
        for column in ("name", "age", "operation"):
            table.add_column(column, no_wrap=column != "name", overflow="fold")
        for one in found:
            table.add_row(*map(Text, (one.name, short(now - one.created_at), one.operation_id or "")))
        out.print(table)

    answer(facts, as_json=as_json, plain=plain)


@vault.command()
@click.argument("name")
@as_json
def delete(name: str, *, as_json: bool) -> None:
    """Delete the secret NAME."""
    with house() as open_house:
        if not open_house.ledger.secrets.delete(name):
            raise NotFound(f"there is no secret {name!r}; list them: wabajobs vault list")
    answer({"name": name, "deleted": True}, as_json=as_json, plain=lambda: click.echo(f"{name} is deleted."))


@vault.command()
@as_json
def rotate(*, as_json: bool) -> None:
    """Seal everything with the first key, so that the others can be taken away.

    It can be stopped at any moment; the next one goes on. Exit code 1 when none of the keys opens a secret.
    """
    with house() as open_house:
        open_house.vault.require_keys()
        counted: Counter[str] = Counter()
        quiet = as_json or not sys.stderr.isatty()
        total = open_house.ledger.secrets.count()
        with click.progressbar(length=total, file=sys.stderr, hidden=quiet) as bar:
            for batch in open_house.vault.rotate():
                counted += batch
                bar.update(batch["seen"])
    facts = {name: counted[name] for name in ("seen", "sealed", "unopened")}

    def plain() -> None:
        click.echo(f"{facts['seen']} secrets, {facts['sealed']} sealed anew with the first key.")
        if facts["unopened"]:
            click.echo(f"{facts['unopened']} cannot be opened with any of the keys; they stay as they are.")

    answer(facts, as_json=as_json, plain=plain)
    sys.exit(1 if facts["unopened"] else 0)
