"""`apps`: several Meta apps, whose WABAs they are, and taking operations from one to another."""

import sys
from datetime import timedelta
from typing import Any

import click

from wabajobs.cli.brakes import actor
from wabajobs.cli.house import house
from wabajobs.cli.say import Span, answer, as_json
from wabajobs.decisions import require_reason
from wabajobs.errors import InvalidRequest, NotFound
from wabajobs.ledger import Route
from wabajobs.routing import Sorted
from wabajobs.wiring import House

_WITHOUT_YES = 2
"""Exit code of a command that has only counted."""


@click.group()
def apps() -> None:
    """Several Meta apps: whose WABAs they are, and moving operations from one to another."""


@apps.command("list")
@as_json
def list_apps(*, as_json: bool) -> None:
    """List the apps that are configured, how many WABAs are at home there, and the routes between them."""
    with house() as open_house:
        homes = open_house.ledger.homes.count()
        routes = open_house.ledger.routes.live(now=open_house.clock.now())
        names = list(open_house.settings.apps)
    rows = [
        {
            "app": app,
            "wabas": homes.get(app, 0),
            "routes": [one.as_json() for one in routes if one.from_app == app],
        }
        for app in names
    ]

    def plain() -> None:
        for app in names:
            click.echo(f"app {app}: home of {homes.get(app, 0)} WABAs")
        for route in routes:
            click.echo(f"route {route.id}: {route}")

    answer(rows, as_json=as_json, plain=plain)


@apps.command()
@click.argument("waba")
@as_json
def show(waba: str, *, as_json: bool) -> None:
    """Show the home app of a WABA, and what Meta's webhooks have told of it."""
    with house() as open_house:
        app, home = open_house.ledger.homes.of(waba), open_house.ledger.homes.get(waba)
        account = open_house.ledger.accounts.get(waba)
    if app is None and account is None:
        raise NotFound(f"nothing is known of WABA {waba}: it has no home app, and no webhook has told of it")
    facts: dict[str, Any] = {
        "waba": waba,
        "app": app,
        "since": home.since.isoformat() if home else None,
        "by": home.actor if home else None,
        "reason": home.reason if home else None,
        "account": account.as_json() if account else None,
    }

    def plain() -> None:
        by = f"set by {home.actor} ({home.reason})" if home and home.actor else "learned from its operations"
        click.echo(f"WABA {waba}: home app {app}, {by}" if app else f"WABA {waba} has no home app")
        if account:
            click.echo(f"Meta has told, in all: {account.standing}")
            for one in (*account.news, *(told for number in account.numbers.values() for told in number)):
                what = f"{one.topic} {one.subject}".strip()
                click.echo(f"  {one.happened_at:%Y-%m-%d %H:%M:%S} UTC  {what}: {one.event or one.value}")

    answer(facts, as_json=as_json, plain=plain)


@apps.command()
@click.argument("waba")
@click.argument("app")
@click.option("--reason", default="set by hand", show_default=True, help="Why.")
@actor
@as_json
def home(waba: str, app: str, *, reason: str, actor: str, as_json: bool) -> None:
    """Make APP the home of WABA: requests that name no app go by it."""
    if not (waba.isascii() and waba.isdecimal() and 5 <= len(waba) <= 20):
        raise InvalidRequest(f"waba {waba!r} is no WABA id: 5 to 20 digits")
    with house() as open_house:
        open_house.settings.app(app)
        open_house.ledger.homes.set(waba, app, actor=actor, reason=reason, now=open_house.clock.now())
    answer(
        {"waba": waba, "app": app, "by": actor},
        as_json=as_json,
        plain=lambda: click.echo(f"WABA {waba} is at home at app {app}."),
    )


@apps.command()
@click.option("--from", "from_app", required=True, help="The app that they leave.")
@click.option("--to", "to_app", required=True, help="The app by which they go; it must have access.")
@click.option("--kind", help="Only of this kind.")
@click.option("--partner", help="Only of this partner.")
@click.option("--waba", help="Only about this WABA.")
@click.option("--reason", required=True, help="Why: it stays with the route and the operations.")
@click.option(
    "--for", "lasting", type=Span(), help="How long new ones follow: 90s, 30m, 2h, 1d; else until `unroute`."
)
@click.option("--once", is_flag=True, help="Only what waits now; new ones go as before.")
@click.option("--yes", is_flag=True, help="Do it, not only count.")
@actor
@as_json
def route(
    *,
    from_app: str,
    to_app: str,
    kind: str | None,
    partner: str | None,
    waba: str | None,
    reason: str,
    lasting: timedelta | None,
    once: bool,
    yes: bool,
    actor: str,
    as_json: bool,
) -> None:
    """Take operations from one app to another: what waits or is held, and from now on what comes.

    What is bound to its app stays: kinds that may not change theirs, upload handles, tokens, a step that may have
    happened. Without --yes it only counts (exit code 2).

    \b
    wabajobs apps route --from 10001 --to 10002 --kind template_sync --reason "app limit" --for 4h --yes
    """
    if once and lasting:
        raise click.UsageError("--once and --for contradict each other")
    with house() as open_house:
        now = open_house.clock.now()
        wanted = Route(
            from_app=from_app,
            to_app=to_app,
            kind=kind,
            partner=partner,
            waba=waba,
            reason=reason,
            actor=actor,
            created_at=now,
            ends_at=now + lasting if lasting else None,
        )
        open_house.router.check(wanted)
        if not yes:
            _tell(open_house.router.preview(wanted), verb="would move", as_json=as_json)
            sys.exit(_WITHOUT_YES)
        if not once:
            wanted = open_house.ledger.routes.put(wanted)
        _tell(_moved(open_house, wanted), verb="moved", as_json=as_json, route=None if once else wanted)


def _moved(open_house: House, route: Route) -> Sorted:
    told = Sorted()
    for so_far in open_house.router.move(route, actor=route.actor):
        open_house.work_bell.ring()
        told = so_far
    return told


def _tell(told: Sorted, *, verb: str, as_json: bool, route: Route | None = None) -> None:
    def plain() -> None:
        click.echo(f"{told.moves} operations {verb}.")
        for why, number in told.stays.most_common():
            click.echo(f"{number} stay: {why}.")
        if route:
            click.echo(f"Route {route.id}: {route}.")
        elif verb == "would move":
            click.echo("Nothing was done; --yes does it.")

    answer(told.as_json() | {"route": route.as_json() if route else None}, as_json=as_json, plain=plain)


@apps.command()
@click.argument("route_id", metavar="ROUTE", type=int)
@click.option("--reason", required=True, help="Why.")
@actor
@as_json
def unroute(route_id: int, *, reason: str, actor: str, as_json: bool) -> None:
    """Lift a route: what comes goes by its own app again. What was moved stays where it is."""
    require_reason(reason)
    with house() as open_house:
        now = open_house.clock.now()
        if not open_house.ledger.routes.lift(route_id, reason=reason, actor=actor, now=now):
            live = ", ".join(str(one.id) for one in open_house.ledger.routes.live(now=now)) or "none"
            raise InvalidRequest(f"there is no route {route_id} in force; in force are: {live}")
    answer({"lifted": route_id}, as_json=as_json, plain=lambda: click.echo(f"Route {route_id} is lifted."))
