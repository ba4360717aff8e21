"""`ops cancel`, `ops retry`, `ops provide`, `ops dead`: what people do with operations, one by one or in bulk."""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any, Final, TypeVar

import click
from rich.table import Table
from rich.text import Text

from wabajobs.cli.brakes import actor
from wabajobs.cli.house import house
from wabajobs.cli.say import Span, answer, as_json, out
from wabajobs.ledger import Dead, Selection
from wabajobs.operation import FINISHED, RETRIABLE, Operation, State
from wabajobs.outcome import NeedsInput
from wabajobs.wiring import House

_OPEN: Final = frozenset(State) - FINISHED
_WITHOUT_YES: Final = 2
"""Exit code of a command that has only counted."""

F = TypeVar("F", bound=Callable[..., Any])


def _filters(states: frozenset[State]) -> Callable[[F], F]:
    def add(command: F) -> F:
        for option in (
            click.option("--kind", help="Only of this kind."),
            click.option("--partner", help="Only of this partner."),
            click.option("--waba", help="Only about this WABA."),
            click.option(
                "--state",
                "states",
                multiple=True,
                type=click.Choice(sorted(str(state) for state in states)),
                help="Only in this state; may be given several times.",
            ),
            click.option("--since", type=Span(), help="Only those of the last 90s, 30m, 2h, 1d."),
            click.option("--yes", is_flag=True, help="Do it to all that match, not only count them."),
        ):
            command = option(command)
        return command

    return add


@click.command()
@click.argument("operation_ids", metavar="[ID]...", nargs=-1)
@_filters(_OPEN)
@click.option("--reason", required=True, help="Why: it stays with the operation.")
@click.option("--force", is_flag=True, help="Also those that several callers share; they end for all of them.")
@actor
@as_json
def cancel(
    operation_ids: tuple[str, ...],
    *,
    reason: str,
    force: bool,
    actor: str,
    yes: bool,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Cancel operations: these, or all that match.

    What waits or is held is cancelled at once. A running operation stops before its next call.

    \b
    wabajobs ops cancel 01a206c0-4c41-71fa-884d-46eee85c4f4e --reason "the partner has left"
    wabajobs ops cancel --partner acme --kind template_sync --reason "the partner has left" --yes
    """
    with house() as open_house:
        interventions = open_house.interventions
        if operation_ids:
            _refuse_both(chosen)
            done = [interventions.cancel(one, reason=reason, actor=actor, force=force) for one in operation_ids]
            answer([one.as_json() for one in done], as_json=as_json, plain=lambda: _tell(done))
            return
        selection = _selection(open_house, _OPEN, chosen)
        _in_bulk(
            open_house,
            selection,
            verb="cancelled",
            yes=yes,
            as_json=as_json,
            batches=lambda: interventions.cancel_all(selection, reason=reason, actor=actor, force=force),
        )


@click.command()
@click.argument("operation_ids", metavar="[ID]...", nargs=-1)
@_filters(RETRIABLE)
@click.option("--error-code", "error", help="Only those with this code of Meta's, or this type of error.")
@click.option(
    "--reason", default="asked for by hand", show_default=True, help="Why: it stays with the operation."
)
@actor
@as_json
def retry(
    operation_ids: tuple[str, ...], *, reason: str, actor: str, yes: bool, as_json: bool, **chosen: Any
) -> None:
    """Let operations go again that have failed, expired or been cancelled: these, or all that match.

    They keep their ids, go on from their checkpoints, and queue like all others.

    \b
    wabajobs ops retry 01a206c0-4c41-71fa-884d-46eee85c4f4e
    wabajobs ops retry --kind template_sync --state failed --error-code 190 --since 2h --yes
    """
    with house() as open_house:
        interventions = open_house.interventions
        if operation_ids:
            _refuse_both(chosen)
            done = [interventions.retry(one, reason=reason, actor=actor) for one in operation_ids]
            answer([one.as_json() for one in done], as_json=as_json, plain=lambda: _tell(done))
            return
        selection = _selection(open_house, RETRIABLE, chosen)
        _in_bulk(
            open_house,
            selection,
            verb="retried",
            yes=yes,
            as_json=as_json,
            batches=lambda: interventions.retry_all(selection, reason=reason, actor=actor),
        )


@click.command()
@click.argument("operation_id", metavar="ID")
@click.option("--set", "fields", metavar="NAME=VALUE", multiple=True, help="What is given; else it is asked for.")
@actor
@as_json
def provide(operation_id: str, *, fields: tuple[str, ...], actor: str, as_json: bool) -> None:
    """Give an operation what it needs: a code, a PIN.

    Without --set it asks for each, and shows nothing of it; where standard input is no terminal it reads lines
    NAME=VALUE. What is given is kept sealed, and shown nowhere.

    \b
    wabajobs ops provide 01a206c0-4c41-71fa-884d-46eee85c4f4e
    """
    with house() as open_house:
        needs = open_house.ledger.operations.get(operation_id).needs
        if fields or needs is None:
            given = _given(fields)
        elif sys.stdin.isatty():
            given = _asked_for(needs)
        else:
            given = _given(line.rstrip("\r\n") for line in sys.stdin if line.strip())
        now = open_house.interventions.provide(operation_id, given, actor=actor)
    answer(now.as_json(), as_json=as_json, plain=lambda: click.echo(f"{now.id} goes on: it is {now.state}."))


def _given(fields: Iterable[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for nth, field in enumerate(fields, start=1):
        name, equals, value = field.partition("=")
        if not equals or not name.isidentifier():
            # Not the text itself: it may be the secret alone.
            raise click.BadParameter(f"number {nth} of what is given is not written NAME=VALUE")
        given[name] = value
    return given


def _asked_for(needs: NeedsInput) -> dict[str, str]:
    """Ask for each field at the terminal; what is left empty is not given."""
    click.echo(f"{needs.reason}.", err=True)
    told = {
        ask.name: click.prompt(
            f"{ask.name} ({ask.about})", hide_input=True, default="", show_default=False, err=True
        )
        for ask in needs.asks
    }
    return {name: value for name, value in told.items() if value}


def _refuse_both(chosen: dict[str, Any]) -> None:
    if any(chosen.values()):
        raise click.UsageError("name operations by their ids, or by what they have in common, not both")


def _selection(open_house: House, states: frozenset[State], chosen: dict[str, Any]) -> Selection:
    if not any(chosen.values()):
        raise click.UsageError("say which: ID..., or at least one of --kind, --partner, --waba, --state, --since")
    since: timedelta | None = chosen.pop("since")
    named: tuple[str, ...] = chosen.pop("states")
    return Selection(
        states=frozenset(map(State, named)) or states,
        since=open_house.clock.now() - since if since else None,
        **chosen,
    )


def _in_bulk(
    open_house: House,
    selection: Selection,
    *,
    verb: str,
    yes: bool,
    as_json: bool,
    batches: Callable[[], Iterator[Counter[str]]],
) -> None:
    counted = open_house.ledger.operations.count(selection)
    total = sum(counted.values())
    if yes:
        came_of_it = _work_off(batches(), total, quiet=as_json)
        answer(
            {"matched": total, **came_of_it},
            as_json=as_json,
            plain=lambda: click.echo(
                ", ".join(f"{number} {word}" for word, number in came_of_it.items()) or "None."
            ),
        )
        return
    facts = [
        {"kind": kind, "partner": partner, "state": state, "operations": number}
        for (kind, partner, state), number in counted.items()
    ]

    def plain() -> None:
        for (kind, partner, state), number in counted.items():
            click.echo(f"{number:>8}  {kind} of {partner}, {state}")
        click.echo(f"{total} operations would be {verb}." + (" Say --yes to do it." if total else ""))

    answer({"matched": total, "of": facts}, as_json=as_json, plain=plain)
    if total:
        sys.exit(_WITHOUT_YES)


def _work_off(batches: Iterator[Counter[str]], total: int, *, quiet: bool) -> Counter[str]:
    came_of_it: Counter[str] = Counter()
    with click.progressbar(length=total, file=sys.stderr, hidden=quiet or not sys.stderr.isatty()) as bar:
        for batch in batches:
            came_of_it += batch
            bar.update(batch.total())
    return came_of_it


def _tell(operations: list[Operation]) -> None:
    for one in operations:
        stops = ", stops before its next call" if one.stop and not one.state.finished else ""
        click.echo(f"{one.id} is {one.state}{stops}.")


@click.command()
@click.option("--since", type=Span(), default="7d", show_default=True, help="How far back: 2h, 7d.")
@as_json
def dead(*, since: timedelta, as_json: bool) -> None:
    """Show what has failed or expired of late, by what it has in common, and how to let it go again."""
    with house() as open_house:
        found = open_house.ledger.operations.dead(since=open_house.clock.now() - since)
    facts = [
        {
            "kind": one.kind,
            "partner": one.partner,
            "state": one.state,
            "error_code": one.error,
            "operations": one.number,
            "last_at": one.last_at.isoformat(),
            "example": one.example,
            "message": one.message,
            "retry": _how_to_retry(one),
        }
        for one in found
    ]
    answer(facts, as_json=as_json, plain=lambda: _graves(found))


def _how_to_retry(one: Dead) -> str:
    return (
        f"wabajobs ops retry --kind {one.kind} --partner {one.partner} --state {one.state}"
        f" --error-code {one.error}"
    )


def _graves(found: list[Dead]) -> None:
    if not found:
        click.echo("Nothing has failed or expired.")
        return
    table = Table(box=None, pad_edge=False)
    for name in ("number", "kind", "partner", "state", "error", "last (UTC)", "example"):
        table.add_column(name, no_wrap=name == "example", justify="right" if name == "number" else "left")
    for one in found:
        last = f"{one.last_at:%m-%d %H:%M:%S}"
        table.add_row(
            *map(Text, (str(one.number), one.kind, one.partner, one.state, one.error, last, one.example))
        )
    out.print(table)
    for one in found:
        out.print(Text(f"\n{one.error}: {one.message}\n  {_how_to_retry(one)} --yes"))
