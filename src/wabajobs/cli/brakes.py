"""The brakes: `pause` and `resume`, and the record of all decisions."""

import sys
from datetime import timedelta
from typing import Any

import click

from wabajobs.cli.house import house, me
from wabajobs.cli.say import Span, answer, as_json, facts, report
from wabajobs.controls import Decided
from wabajobs.decisions import AtEnd, PauseMode, Scope, ScopeType
from wabajobs.errors import InvalidRequest, WabajobsError
from wabajobs.seeing.preview import Preview
from wabajobs.seeing.status import pause_json
from wabajobs.wiring import House

NOT_IN_FORCE = 3
"""Exit code of a decision that is recorded but not yet in force everywhere."""

_scope = click.argument("scope", metavar="SCOPE")
_name = click.argument("name", metavar="[NAME]", required=False)
actor = click.option("--actor", default=me, show_default="you", help="Who decides.")
_queue = click.option("--queue", help="With SCOPE partner: only this queue of his.")
_preview = click.option("--preview", is_flag=True, help="Decide nothing; say what it would touch.")


@click.command()
@_scope
@_name
@_queue
@click.option("--reason", required=True, help="Why: it is shown to whoever asks why an operation waits.")
@click.option("--for", "lasting", type=Span(), help="How long: 90s, 30m, 2h, 1d. Without it, until `resume`.")
@click.option(
    "--then",
    "at_end",
    type=click.Choice([str(one) for one in AtEnd]),
    default=str(AtEnd.RAMP),
    show_default=True,
    help="After that time: ramp goes on little by little, lift all at once.",
)
@click.option(
    "--mode",
    type=click.Choice([str(one) for one in PauseMode]),
    default=str(PauseMode.HOLD),
    show_default=True,
    help="What becomes of operations: hold them; reject new ones; drop them; drain, which finishes what has"
    " begun; probe, which makes single calls.",
)
@click.option("--percent", type=click.IntRange(1, 99), help="Do not stop it: let it use so much of the budget.")
@click.option("--incident", type=int, help="Number of the incident that it belongs to.")
@click.option("--notice", help="What the Hub may tell its customers meanwhile.")
@click.option("--yes", is_flag=True, help="Do not ask before operations are dropped.")
@_preview
@actor
@as_json
def pause(
    scope: str,
    name: str | None,
    *,
    queue: str | None,
    reason: str,
    lasting: timedelta | None,
    at_end: str,
    mode: str,
    percent: int | None,
    incident: int | None,
    notice: str | None,
    yes: bool,
    preview: bool,
    actor: str,
    as_json: bool,
) -> None:
    """Stop SCOPE: all, or queue, partner, waba, number, app or capability with its NAME.

    When this returns with exit code 0, no further Graph call of it starts anywhere. Running operations stop
    between two calls and keep their place; the Hub can go on enqueueing. Exit code 3: the pause is recorded,
    but the gate could not be told yet; it comes into force by itself.

    \b
    wabajobs pause queue template_sync --reason "app limit" --for 4h
    wabajobs pause partner acme --queue template_create --reason "flood" --for 2h
    wabajobs pause queue template_sync --percent 10 --reason "a tenth is enough for now"
    """
    what = _scope_of(scope, name, queue)
    if preview:
        _foretell(what, mode=PauseMode(mode), percent=percent, as_json=as_json)
        return
    if mode == PauseMode.DROP and not yes:
        click.confirm(f"Operations of {what} will be cancelled, now and until this is lifted. Do it?", abort=True)
    with house() as open_house:
        if what.queue:  # the other brakes must work also where a kind cannot be loaded
            _known(what.queue, open_house.kinds.names)
        decided = open_house.controls.pause(
            what,
            reason=reason,
            actor=actor,
            lasting=lasting,
            notice=notice,
            mode=PauseMode(mode),
            percent=percent or 0,
            at_end=AtEnd(at_end),
            incident=incident,
        )
        # Afterwards: nobody counts a million operations before the brake is on.
        touched = _touched(open_house, what, mode=PauseMode(mode), percent=percent)
    sentence = f"{decided.pauses[0]}.{_in_words(touched)}"
    _tell(decided, as_json=as_json, sentence=sentence, touched=touched)


@click.command()
@_scope
@_name
@_queue
@click.option("--reason", default="the reason is over", help="Why, for the record.")
@click.option(
    "--percent",
    type=click.IntRange(1, 100),
    help="How much of the budget it may use from now on, until you decide anew; 100 lifts the pause at once."
    " Without it, more and more, and less again when Meta refuses.",
)
@click.option("--all", "everyone", is_flag=True, help="With SCOPE partner: all partners, one after the other.")
@_preview
@actor
@as_json
def resume(
    scope: str,
    name: str | None,
    *,
    queue: str | None,
    reason: str,
    percent: int | None,
    everyone: bool,
    preview: bool,
    actor: str,
    as_json: bool,
) -> None:
    """Let SCOPE go on. Other pauses that cover the same operations stay in force.

    It goes on in steps, each with more of the budget; where hardly anything waits, at once.
    """
    if everyone:
        _require_partners(scope, name, queue, percent)
        with house() as open_house:
            decided = open_house.controls.resume_partners(reason=reason, actor=actor)
        _tell(decided, as_json=as_json, sentence="The partners go on, one after the other.")
        return
    what = _scope_of(scope, name, queue)
    if preview:
        _foretell(what, mode=None, percent=percent, as_json=as_json)
        return
    with house() as open_house:
        touched = _touched(open_house, what, mode=None, percent=percent)
        decided = open_house.controls.resume(what, reason=reason, actor=actor, percent=percent)
    sentence = f"{what} goes on{decided.pace}.{_in_words(touched)}"
    _tell(decided, as_json=as_json, sentence=sentence, touched=touched)


def _scope_of(scope: str, name: str | None, queue: str | None) -> Scope:
    if queue is None:
        return Scope.of(scope, name)
    partner = Scope.of(scope, name)
    if partner.type is not ScopeType.PARTNER:
        raise InvalidRequest("--queue narrows a partner down: wabajobs pause partner NAME --queue QUEUE")
    return Scope(ScopeType.PARTNER_QUEUE, f"{partner.name}/{queue}")


def _require_partners(scope: str, name: str | None, queue: str | None, percent: int | None) -> None:
    if scope != ScopeType.PARTNER or name or queue or percent:
        raise InvalidRequest("--all is for all partners: wabajobs resume partner --all")


def _known(queue: str, queues: tuple[str, ...]) -> None:
    if queue not in queues:
        raise click.BadParameter(f"there is no queue {queue!r}; there are: {', '.join(queues)}")


def _foretell(scope: Scope, *, mode: PauseMode | None, percent: int | None, as_json: bool) -> None:
    with house() as open_house:
        touched = open_house.forecast.preview(scope, mode=mode, percent=percent)
    answer(touched.as_json(), as_json=as_json, plain=lambda: click.echo("\n".join(touched.sentences)))


def _touched(open_house: House, scope: Scope, *, mode: PauseMode | None, percent: int | None) -> Preview | None:
    """Return what a change touches; None where that cannot be told, which is no reason not to brake."""
    try:
        return open_house.forecast.preview(scope, mode=mode, percent=percent)
    except WabajobsError:
        return None


def _in_words(touched: Preview | None) -> str:
    return f"\nIt {touched}." if touched else ""


def _tell(decided: Decided, *, as_json: bool, sentence: str, touched: Preview | None = None) -> None:
    told: dict[str, Any] = {
        "pauses": [pause_json(pause) for pause in decided.pauses],
        "going_on": [pause_json(pause) for pause in decided.going_on],
        "in_force": decided.in_force,
        "still_calling": decided.still_calling,
        "touched": touched.as_json() if touched else None,
    }
    answer(told, as_json=as_json, plain=lambda: click.echo(sentence))
    if decided.still_going and not as_json:
        click.echo(decided.still_going)
    if decided.not_in_force:
        report(decided.not_in_force)
        sys.exit(NOT_IN_FORCE)


@click.command()
@click.option("--since", type=Span(), default="1d", show_default=True, help="How far back: 90s, 30m, 2h, 7d.")
@click.option("--scope", help="Only of this one, such as queue:template_sync.")
@as_json
def audit(*, since: timedelta, scope: str | None, as_json: bool) -> None:
    """Show who decided what, when and why: pauses, limits, breakers, shares, routes, and the steps of ramps."""
    with house() as open_house:
        entries = open_house.ledger.audit.entries(since=open_house.clock.now() - since, scope=scope)

    def plain() -> None:
        for one in entries:
            more = f"  [{facts(one.detail)}]" if one.detail else ""
            click.echo(
                f"{one.at:%Y-%m-%d %H:%M:%S} UTC  {one.actor}: {one.action} {one.scope}: {one.reason}{more}"
            )
        if not entries:
            click.echo("Nobody has decided anything in that time.")

    answer([one.as_json() for one in entries], as_json=as_json, plain=plain)
