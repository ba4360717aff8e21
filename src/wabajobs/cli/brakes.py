"""The brakes: `pause` and `resume`."""

import sys
from datetime import timedelta
from typing import Any

import click

from wabajobs.cli.house import house, me
from wabajobs.cli.say import Span, answer, as_json, report
from wabajobs.controls import Decided
from wabajobs.decisions import Scope, ScopeType
from wabajobs.status import pause_json

NOT_IN_FORCE = 3
"""Exit code of a decision that is recorded but not yet in force everywhere."""

_scope = click.argument("scope", metavar="SCOPE")
_name = click.argument("name", metavar="[NAME]", required=False)
actor = click.option("--actor", default=me, show_default="you", help="Who decides.")


@click.command()
@_scope
@_name
@click.option("--reason", required=True, help="Why: it is shown to whoever asks why an operation waits.")
@click.option("--for", "lasting", type=Span(), help="How long: 90s, 30m, 2h, 1d. Without it, until `resume`.")
@click.option("--notice", help="What the Hub may tell its customers meanwhile.")
@actor
@as_json
def pause(
    scope: str,
    name: str | None,
    *,
    reason: str,
    lasting: timedelta | None,
    notice: str | None,
    actor: str,
    as_json: bool,
) -> None:
    """Stop SCOPE: all, or queue, partner, waba, app or capability with its NAME.

    When this returns with exit code 0, no further Graph call of it starts anywhere. Running operations stop
    between two calls and keep their place; the Hub can go on enqueueing. Exit code 3: the pause is recorded,
    but the gate could not be told yet; it comes into force by itself.

    \b
    wabajobs pause queue template_sync --reason "app limit" --for 4h
    wabajobs pause partner acme --reason "flood"
    """
    what = Scope.of(scope, name)
    with house() as open_house:
        if what.type is ScopeType.QUEUE:  # the other brakes must work also where a kind cannot be loaded
            _known(what, open_house.kinds.names)
        decided = open_house.controls.pause(what, reason=reason, actor=actor, lasting=lasting, notice=notice)
    _tell(decided, as_json=as_json, sentence=f"{decided.pauses[0]}.")


@click.command()
@_scope
@_name
@click.option("--reason", default="the reason is over", help="Why, for the record.")
@actor
@as_json
def resume(scope: str, name: str | None, *, reason: str, actor: str, as_json: bool) -> None:
    """Let SCOPE go on. Other pauses that cover the same operations stay in force."""
    what = Scope.of(scope, name)
    with house() as open_house:
        decided = open_house.controls.resume(what, reason=reason, actor=actor)
    _tell(decided, as_json=as_json, sentence=f"{what} goes on.")


def _known(scope: Scope, queues: tuple[str, ...]) -> None:
    if scope.name not in queues:
        raise click.BadParameter(f"there is no queue {scope.name!r}; there are: {', '.join(queues)}")


def _tell(decided: Decided, *, as_json: bool, sentence: str) -> None:
    facts: dict[str, Any] = {
        "pauses": [pause_json(pause) for pause in decided.pauses],
        "in_force": decided.in_force,
        "still_calling": decided.still_calling,
    }
    answer(facts, as_json=as_json, plain=lambda: click.echo(sentence))
    if decided.still_calling and not as_json:
        click.echo(f"{decided.still_calling} calls had begun before, and are still on the wire.")
    if not decided.in_force:
        report(
            f"this is recorded, but the gate could not be told ({decided.why_not}). It comes into force by"
            " itself as soon as the gate can be reached; until then the gate lets nothing pass that asks it"
        )
        sys.exit(NOT_IN_FORCE)


COMMANDS = (pause, resume)
