"""`fleet`: which WABAs are kept fresh, how fresh, and whether the budget is enough for that."""

from datetime import timedelta
from typing import Any

import click

from wabajobs.cli.brakes import actor
from wabajobs.cli.house import house
from wabajobs.cli.say import Span, answer, as_json, short
from wabajobs.errors import GateUnavailable, InvalidRequest, NotFound, NotReady
from wabajobs.freshness import Outlook
from wabajobs.intake import Request, checked
from wabajobs.ledger import Kept, Wish
from wabajobs.wiring import House

_reason = click.option("--reason", required=True, help="Why.")
_every = click.option("--every", type=Span(), help="Wished staleness: 30m, 1h, 1d.")
_wabas = click.argument("wabas", metavar="WABA...", nargs=-1, required=True)


@click.group(invoke_without_command=True)
@as_json
@click.pass_context
def fleet(context: click.Context, *, as_json: bool) -> None:
    """Say whether the budget keeps the template lists of all WABAs as fresh as wished.

    Counts the whole fleet, which takes a second with a million WABAs.
    """
    if context.invoked_subcommand is None:
        _overview(as_json=as_json)


def _overview(*, as_json: bool) -> None:
    with house() as open_house:
        outlooks = open_house.planner.outlooks()
        obstacles = {one.survey.app: _obstacle(open_house, one.survey.app) for one in outlooks}
    facts = [{**one.as_json(), "held": obstacles[one.survey.app]} for one in outlooks]

    def plain() -> None:
        for one in outlooks:
            _tell(one, obstacles[one.survey.app])
        if not outlooks:
            click.echo("No WABA is kept fresh yet. One comes in with its first sync, or: wabajobs fleet add")

    answer(facts, as_json=as_json, plain=plain)


def _obstacle(open_house: House, app: str) -> str | None:
    try:
        return open_house.planner.obstacle(app)
    except (GateUnavailable, NotReady) as error:
        return str(error)


def _tell(outlook: Outlook, obstacle: str | None) -> None:
    survey = outlook.survey
    click.echo(f"app {survey.app}: {outlook}.")
    if not outlook.reachable:
        click.echo(
            "  That cannot be reached. Ask Meta for a higher limit, give all webhooks to Client.apply_webhook,"
            " or be content with less: wabajobs fleet set --every"
        )
    click.echo(
        f"  {survey.pending:,} lists with a pending template, {survey.trusted:,} whose webhooks are borne out,"
        f" {survey.missed:,} where they missed a change, {survey.failing:,} whose syncs fail"
    )
    if obstacle:
        click.echo(f"  Nothing is planned now: {obstacle}.")


@fleet.command()
@click.argument("waba")
@as_json
def show(waba: str, *, as_json: bool) -> None:
    """Say when the list of WABA is due next, and why."""
    with house() as open_house:
        kept = open_house.ledger.fleet.get(waba, settings=open_house.settings.planner)
        now = open_house.clock.now()
    if kept is None:
        raise NotFound(f"WABA {waba} is not kept fresh; begin with: wabajobs fleet add {waba} --partner NAME")

    def plain() -> None:
        click.echo(f"WABA {waba} of {kept.partner}, app {kept.app}: {kept.due.why}.")
        for name, value in _rows(kept, now):
            click.echo(f"  {name:<13} {value}")

    answer(kept.as_json(), as_json=as_json, plain=plain)


def _rows(kept: Kept, now: Any) -> list[tuple[str, str]]:
    facts, due = kept.facts, kept.due.at
    when = "never" if due is None else f"in {short(due - now)}" if due > now else f"since {short(now - due)}"
    credit = {-1: "missed a change lately", 0: "nothing known", 1: f"borne out {facts.credit} times"}
    return [
        ("due", when),
        ("last success", f"{short(now - facts.success_at)} ago" if facts.success_at else "never"),
        ("failures", str(facts.failures)),
        ("webhooks", credit[(facts.credit > 0) - (facts.credit < 0)]),
        ("last webhook", f"{short(now - kept.heard_at)} ago" if kept.heard_at else "never"),
        ("calls a sync", f"{kept.calls:g}"),
        ("planned", kept.operation_id or "no"),
    ]


@fleet.command()
@_wabas
@click.option("--partner", required=True, help="For whom.")
@click.option("--app", help="Id of the Meta app; may be left out when only one is configured.")
@_every
@_reason
@actor
@as_json
def add(
    wabas: tuple[str, ...],
    *,
    partner: str,
    app: str | None,
    every: timedelta | None,
    reason: str,
    actor: str,
    as_json: bool,
) -> None:
    """Keep WABAs fresh from now on, also those that were removed; with --every, as fresh as that.

    \b
    wabajobs fleet add 102290129340398 --partner acme --every 30m --reason "their campaign begins"
    """
    with house() as open_house:
        settings, kinds = open_house.settings, open_house.kinds
        requests = [Request(kind="template_sync", partner=partner, waba=waba, app=app) for waba in wabas]
        new = [checked(request, kinds=kinds, settings=settings) for request in requests]
        open_house.ledger.fleet.keep(
            wabas,
            app=new[0].app,
            partner=partner,
            every=every,
            actor=actor,
            reason=reason,
            now=open_house.clock.now(),
            settings=settings.planner,
        )
    answer({"kept": list(wabas)}, as_json=as_json, plain=lambda: click.echo(f"{_number(wabas)} kept fresh."))


@fleet.command()
@_wabas
@_reason
@actor
@as_json
def remove(wabas: tuple[str, ...], *, reason: str, actor: str, as_json: bool) -> None:
    """Plan no more syncs of WABAs. They can still be synced on request."""
    with house() as open_house:
        forgotten = open_house.ledger.fleet.forget(
            wabas, actor=actor, reason=reason, now=open_house.clock.now(), settings=open_house.settings.planner
        )
    if not forgotten:
        raise NotFound(f"none of these is kept fresh: {', '.join(wabas)}")
    answer(
        {"removed": forgotten},
        as_json=as_json,
        plain=lambda: click.echo(f"{_number(forgotten)} no longer kept fresh."),
    )


def _number(wabas: Any) -> str:
    return "1 WABA is" if len(wabas) == 1 else f"{len(wabas):,} WABAs are"


@fleet.command("set")
@click.option("--app", help="Only this app's WABAs; without it, all.")
@_every
@click.option("--share", type=click.FloatRange(0, 1, min_open=True), help="Part of an app's limit: 0.6.")
@click.option("--as-configured", is_flag=True, help="Take back what was set: the configuration decides again.")
@_reason
@actor
@as_json
def set_wish(
    *,
    app: str | None,
    every: timedelta | None,
    share: float | None,
    as_configured: bool,
    reason: str,
    actor: str,
    as_json: bool,
) -> None:
    """Say how fresh the lists are to be, and what part of the budget that may cost.

    What is not said stays as it is. With a million WABAs it takes some seconds until each has its new time.

    \b
    wabajobs fleet set --every 6h --reason "the limit is too low for an hour"
    wabajobs fleet set --app 1234567890 --share 0.3 --reason "leave room for onboardings"
    """
    if as_configured == bool(every or share):
        raise InvalidRequest("say what to set: --every, --share or both; or --as-configured alone")
    with house() as open_house:
        settings, ledger = open_house.settings, open_house.ledger
        if app is not None:
            settings.app(app)
        known = ledger.fleet.wishes(settings.planner).by_app.get(app or "")
        if known and not as_configured:
            every, share = every or known.every, share or known.share
        wish = Wish(app=app or "", every=every, share=share, actor=actor, reason=reason)
        ledger.fleet.wish(wish, now=open_house.clock.now(), settings=settings.planner)
        wishes = ledger.fleet.wishes(settings.planner)
        apps = [app] if app else list(settings.apps)
        facts = [
            {"app": one, "every_seconds": wishes.every(one)[0].total_seconds(), "share": wishes.share(one)}
            for one in apps
        ]

    def plain() -> None:
        for one in facts:
            click.echo(f"app {one['app']}: every {one['every_seconds']:g} s, {one['share']:.0%} of the limit")

    answer(facts, as_json=as_json, plain=plain)
