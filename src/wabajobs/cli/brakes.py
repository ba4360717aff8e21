"""The brakes: `pause` and `resume`, `limits`."""

import sys
from datetime import timedelta
from typing import Any

import click

from wabajobs.cli.house import house, me
from wabajobs.cli.say import Span, answer, as_json, report
from wabajobs.controls import Decided
from wabajobs.decisions import Limit, Scope, ScopeType
from wabajobs.status import pause_json

_NOT_IN_FORCE = 3
"""Exit code of a decision that is recorded but not yet in force everywhere."""

_scope = click.argument("scope", metavar="SCOPE")
_name = click.argument("name", metavar="[NAME]", required=False)
_actor = click.option("--actor", default=me, show_default="you", help="Who decides.")


@click.command()
@_scope
@_name
@click.option("--reason", required=True, help="Why: it is shown to whoever asks why an operation waits.")
@click.option("--for", "lasting", type=Span(), help="How long: 90s, 30m, 2h, 1d. Without it, until `resume`.")
@click.option("--notice", help="What the Hub may tell its customers meanwhile.")
@_actor
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
@_actor
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
        sys.exit(_NOT_IN_FORCE)


@click.group()
def limits() -> None:
    """Show and set the budgets of Meta's that we keep to."""


@limits.command("show")
@as_json
def show_limits(*, as_json: bool) -> None:
    """Show the limits in force, and who set them."""
    with house() as open_house:
        decisions = open_house.ledger.decisions.current(now=open_house.clock.now())
        settings = open_house.settings
    in_force = {limit.scope: limit for limit in decisions.limits}
    for app, configured in settings.apps.items():
        limit = Limit(f"app:{app}", configured.calls_per_window, settings.gate.window_seconds)
        in_force.setdefault(limit.scope, limit)
    rows: list[dict[str, Any]] = [
        {
            "scope": limit.scope,
            "calls": limit.calls,
            "window_seconds": limit.window_seconds,
            "by": limit.actor,
            "reason": limit.reason,
        }
        for limit in in_force.values()
    ]

    def plain() -> None:
        for row in rows:
            click.echo("{scope}: {calls} calls per {window_seconds:g} s, set by {by} ({reason})".format(**row))

    answer(rows, as_json=as_json, plain=plain)


@limits.command("set")
@click.argument("scope")
@click.option("--calls", "--per-hour", type=click.IntRange(min=1), required=True, help="Calls per window.")
@click.option("--reason", required=True, help="Why.")
@_actor
@as_json
def set_limit(scope: str, *, calls: int, reason: str, actor: str, as_json: bool) -> None:
    """Set the limit of SCOPE (app:ID, or waba:APP:ID), at once and everywhere.

    \b
    wabajobs limits set app:1234567890 --per-hour 200000 --reason "Meta raised it"
    """
    with house() as open_house:
        _limit_scope(scope, tuple(open_house.settings.apps))
        limit = Limit(scope, calls, open_house.settings.gate.window_seconds, actor, reason)
        in_force = open_house.controls.set_limit(limit)
    answer(
        {"scope": scope, "calls": calls, "in_force": in_force},
        as_json=as_json,
        plain=lambda: click.echo(f"{scope}: {calls} calls per {limit.window_seconds:g} s."),
    )
    if not in_force:
        report("this is recorded; the gate could not be told yet and will be, by itself")
        sys.exit(_NOT_IN_FORCE)


def _limit_scope(scope: str, apps: tuple[str, ...]) -> None:
    type_, _, rest = scope.partition(":")
    app = rest.partition(":")[0]
    if type_ not in {"app", "waba"} or (type_ == "waba") != (":" in rest):
        raise click.BadParameter(f"{scope!r} is no limit's scope; write app:APP_ID or waba:APP_ID:WABA_ID")
    if app not in apps:
        raise click.BadParameter(f"app {app!r} is not configured (configured: {', '.join(apps) or 'none'})")


COMMANDS = (pause, resume, limits)
