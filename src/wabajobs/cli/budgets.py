"""Budgets and breakers: `limits`, `budget`, `breakers`."""

import sys
from collections import Counter
from datetime import timedelta
from typing import Any

import click
from rich.table import Table

from wabajobs.capability import Capability, ServiceClass
from wabajobs.cli.brakes import NOT_IN_FORCE, actor
from wabajobs.cli.house import house
from wabajobs.cli.look import budget_cells, budget_table, kept_line, outlook
from wabajobs.cli.say import Span, answer, as_json, out, report
from wabajobs.decisions import Limit, Stand
from wabajobs.gate import AppReading, BreakerReading, Quota, Spender, WindowReading
from wabajobs.outcome import Origin
from wabajobs.seeing import kept
from wabajobs.settings import Settings
from wabajobs.wiring import House

_TOP = 5
_QUOTAS = {str(quota) for quota in Quota}
_OWN = {"partner", "capability", *_QUOTAS}

_reason = click.option("--reason", required=True, help="Why.")


@click.group()
def limits() -> None:
    """Show and set the budgets that are kept to."""


@limits.command("show")
@as_json
def show_limits(*, as_json: bool) -> None:
    """Show the limits in force, and who set them."""
    with house() as open_house:
        decisions = open_house.ledger.decisions.current(now=open_house.clock.now())
        settings = open_house.settings
    in_force = {limit.scope: limit for limit in [*_configured(settings), *decisions.limits]}
    rows: list[dict[str, Any]] = [
        {
            "scope": limit.scope,
            "calls": limit.calls,
            "window_seconds": limit.window_seconds,
            "shadow": limit.shadow,
            "by": limit.actor,
            "reason": limit.reason,
        }
        for limit in in_force.values()
    ]

    def plain() -> None:
        for row in rows:
            calls = f"{row['calls']} calls" if row["calls"] else "unknown; Meta's headers tell"
            trial = ", on trial: refuses nothing" if row["shadow"] else ""
            why = f"set by {row['by']} ({row['reason']})"
            click.echo(f"{row['scope']}: {calls} per {row['window_seconds']:g} s{trial}, {why}")

    answer(rows, as_json=as_json, plain=plain)


def _configured(settings: Settings) -> list[Limit]:
    gate, found = settings.gate, []
    for app, each in settings.apps.items():
        found += [
            Limit(f"app:{app}", each.calls_per_window, gate.window_seconds),
            Limit(f"waba:{app}:*", each.calls_per_waba, gate.window_seconds),
            Limit(f"waba:{app}:* (no registered number)", each.calls_per_inactive_waba, gate.window_seconds),
        ]
    return [
        *found,
        Limit(f"{Quota.REGISTER}:*", gate.registrations, gate.registration_window_seconds),
        Limit(f"{Quota.DEREGISTER}:*", gate.registrations, gate.registration_window_seconds),
        Limit(f"{Quota.TEMPLATE_CREATION}:*", gate.template_creations, gate.window_seconds),
    ]


@limits.command("set")
@click.argument("scope")
@click.option("--calls", "--per-hour", type=click.IntRange(min=1), required=True, help="Calls per window.")
@click.option("--window", type=Span(), help="The window's length: 1h, 72h. Without it, the usual one.")
@click.option("--shadow", is_flag=True, help="On trial: count, say what it would refuse, and refuse nothing.")
@_reason
@actor
@as_json
def set_limit(
    scope: str, *, calls: int, window: timedelta | None, shadow: bool, reason: str, actor: str, as_json: bool
) -> None:
    """Set the limit of SCOPE, at once and everywhere.

    SCOPE is app:ID, waba:APP:ID, partner:NAME, partner:NAME/WABA, capability:NAME, register:NUMBER,
    deregister:NUMBER or creations:WABA.

    \b
    wabajobs limits set app:1234567890 --per-hour 200000 --reason "Meta raised it"
    wabajobs limits set partner:acme --per-hour 5000 --shadow --reason "to see whom it would hit"
    """
    with house() as open_house:
        _check_budget(scope, tuple(open_house.settings.apps))
        seconds = window.total_seconds() if window else _usual_window(scope, open_house.settings)
        limit = Limit(scope, calls, seconds, actor, reason, shadow)
        in_force = open_house.controls.set_limit(limit)
    answer(
        {"scope": scope, "calls": calls, "window_seconds": seconds, "shadow": shadow, "in_force": in_force},
        as_json=as_json,
        plain=lambda: click.echo(f"{scope}: {calls} calls per {seconds:g} s{', on trial' if shadow else ''}."),
    )
    _end(in_force)


@limits.command("unset")
@click.argument("scope")
@_reason
@actor
@as_json
def unset_limit(scope: str, *, reason: str, actor: str, as_json: bool) -> None:
    """Take back what was set for SCOPE: the configuration alone decides again."""
    with house() as open_house:
        in_force = open_house.controls.forget_limit(scope, reason=reason, actor=actor)
    answer(
        {"scope": scope, "in_force": in_force},
        as_json=as_json,
        plain=lambda: click.echo(f"{scope}: as configured."),
    )
    _end(in_force)


def _usual_window(scope: str, settings: Settings) -> float:
    registers = scope.partition(":")[0] in (Quota.REGISTER, Quota.DEREGISTER)
    return settings.gate.registration_window_seconds if registers else settings.gate.window_seconds


def _check_budget(scope: str, apps: tuple[str, ...]) -> None:
    type_, _, rest = scope.partition(":")
    if type_ in _OWN and rest:
        if type_ == "capability" and rest not in set(Capability):
            raise click.BadParameter(f"there is no capability {rest!r}; there are: {', '.join(Capability)}")
        return
    app = rest.partition(":")[0]
    if type_ not in {"app", "waba"} or (type_ == "waba") != (":" in rest):
        raise click.BadParameter(
            f"{scope!r} is no limit's scope; write app:APP_ID, waba:APP_ID:WABA_ID, partner:NAME, "
            "partner:NAME/WABA_ID, capability:NAME, register:NUMBER_ID, deregister:NUMBER_ID or creations:WABA_ID"
        )
    _check_app(app, apps)


def _check_app(app: str, apps: tuple[str, ...]) -> None:
    if app not in apps:
        raise click.BadParameter(f"app {app!r} is not configured (configured: {', '.join(apps) or 'none'})")


@click.command()
@as_json
def budget(*, as_json: bool) -> None:
    """Show how full each budget is, with whose calls, and when it will be spent at this rate."""
    with house() as open_house:
        readings = [(reading, open_house.gate.spenders(reading.app)) for reading in _readings(open_house)]
        kept_by = _kept(open_house)
    facts = [
        {
            "app": reading.app,
            "learning": reading.learning,
            "on_the_wire": reading.in_flight,
            "budgets": [_window_facts(window) for window in reading.windows],
            "kept_by": {str(origin): number for origin, number in kept_by[reading.app].items()},
            "spenders": _spender_facts(spenders),
        }
        for reading, spenders in readings
    ]

    def plain() -> None:
        for reading, spenders in readings:
            out.print(_windows_table(reading))
            if told := kept_line(kept_by[reading.app]):
                out.print(told)
            out.print(_spenders_table(reading, spenders))

    answer(facts, as_json=as_json, plain=plain)


def _kept(open_house: House) -> dict[str, dict[Origin, int]]:
    """Count whose word keeps how many operations of each app."""
    pauses = open_house.ledger.decisions.pauses(now=open_house.clock.now())
    parts = open_house.ledger.operations.census_under(pauses)
    refused = kept.refused(parts, gate=open_house.gate, short=open_house.settings.dispatch.short_wait)
    found = [*kept.held(parts).items(), *refused.items()]
    return {
        app: kept.by_origin(counted for (its, _), counted in found if its == app)
        for app in open_house.settings.apps
    }


def _readings(open_house: House) -> list[AppReading]:
    decisions = open_house.ledger.decisions.current(now=open_house.clock.now())
    scopes = [limit.scope for limit in decisions.limits]
    return [
        open_house.gate.read(
            app,
            wabas=[scope.split(":")[2] for scope in scopes if scope.startswith(f"waba:{app}:")],
            budgets=[scope for scope in scopes if scope.partition(":")[0] in _OWN],
        )
        for app in open_house.settings.apps
    ]


def _window_facts(window: WindowReading) -> dict[str, Any]:
    left = window.exhausted_in()
    return {
        "scope": window.scope,
        "limit": window.limit,
        "window_seconds": window.window.total_seconds(),
        "used": window.used,
        "others": window.others,
        "usable": {str(service_class): usable for service_class, usable in window.usable.items()},
        "ceiling": window.height,
        "per_window_at_this_rate": window.pace,
        "exhausted_in_seconds": None if left is None else left.total_seconds(),
        "exhausted_in_seconds_by_class": {
            str(one): None if (its := window.exhausted_in(one)) is None else its.total_seconds()
            for one in ServiceClass
        },
        "shadow": window.shadow,
        "would_refuse": window.would_refuse,
    }


def _windows_table(reading: AppReading) -> Table:
    table = budget_table(*ServiceClass, "at this rate", left="at this rate")
    for window in reading.windows:
        table.add_row(
            *budget_cells(window),
            *(str(window.usable.get(service_class, "")) for service_class in ServiceClass),
            outlook(window),
        )
    return table


def _spender_facts(spenders: list[Spender]) -> list[dict[str, Any]]:
    return [
        {"kind": one.queue, "partner": one.partner, "waba": one.waba or None, "calls": one.calls}
        for one in spenders
    ]


def _spenders_table(reading: AppReading, spenders: list[Spender]) -> Table:
    """Who used it, along each of three ways to ask."""
    table = Table(title=f"who used app:{reading.app}", title_justify="left", box=None, pad_edge=False)
    total = sum(one.calls for one in spenders)
    columns = []
    for name, of in (("kind", "queue"), ("partner", "partner"), ("waba", "waba")):
        table.add_column(name, overflow="fold")
        table.add_column("calls", justify="right")
        table.add_column("", justify="right", style="dim")
        calls: Counter[str] = Counter()
        for one in spenders:
            calls[getattr(one, of) or "(none)"] += one.calls
        columns.append(calls.most_common(_TOP))
    for i in range(max(map(len, columns), default=0)):
        cells: list[str] = []
        for column in columns:
            who, calls_ = column[i] if i < len(column) else ("", 0)
            cells += [who, str(calls_) if who else "", f"{calls_ / total:.0%}" if who else ""]
        table.add_row(*cells)
    return table


@click.group()
def breakers() -> None:
    """Show the breakers; hold one open or closed."""


@breakers.command("show")
@as_json
def show_breakers(*, as_json: bool) -> None:
    """Show every breaker that is not simply closed, its evidence and its next probe."""
    with house() as open_house:
        found = [breaker for reading in _readings(open_house) for breaker in reading.breakers]
        decisions = open_house.ledger.decisions.current(now=open_house.clock.now())
    rows = [_breaker_facts(breaker) for breaker in found]
    shown = {breaker.scope for breaker in found}
    rows += [
        {
            "scope": one.scope,
            "state": str(one.stand),
            "held": str(one),
            "trips": 0,
            "evidence": "",
            "retry_in": None,
        }
        for one in decisions.overrides
        if one.scope not in shown
    ]

    def plain() -> None:
        awake = [row for row in rows if row["state"] != "closed" or row["held"] or row["trips"]]
        for row in awake:
            click.echo(_breaker_line(row))
        click.echo(
            f"{len(rows) - len(awake)} more are closed." if awake else f"All {len(rows)} breakers are closed."
        )

    answer(rows, as_json=as_json, plain=plain)


def _breaker_facts(breaker: BreakerReading) -> dict[str, Any]:
    return {
        "scope": breaker.scope,
        "state": breaker.state,
        "held": breaker.held,
        "trips": breaker.trips,
        "evidence": breaker.evidence,
        "retry_in": None if breaker.retry_in is None else breaker.retry_in.total_seconds(),
    }


def _breaker_line(row: dict[str, Any]) -> str:
    if row["held"]:
        return str(row["held"])
    trips = f", {row['trips']} trips of late" if row["trips"] else ""
    if row["state"] == "closed":
        return f"{row['scope']}: closed{trips}"
    then = "a probe is on its way" if row["state"] == "half-open" else f"next probe in {row['retry_in']:.0f} s"
    return f"{row['scope']}: {row['state']}, {then} ({row['evidence']}){trips}"


_scope = click.argument("scope")
_lasting = click.option("--for", "lasting", type=Span(), help="How long: 30m, 2h. Without it, until `release`.")


@breakers.command("open")
@_scope
@_lasting
@_reason
@actor
@as_json
def open_breaker(scope: str, *, lasting: timedelta | None, reason: str, actor: str, as_json: bool) -> None:
    """Hold the breaker of SCOPE open: nothing passes, until its end or `breakers release`.

    SCOPE is app:ID, app:ID/CAPABILITY, waba:APP:ID or number:ID.
    """
    _hold(scope, Stand.OPEN, lasting=lasting, reason=reason, actor=actor, as_json=as_json)


@breakers.command("close")
@_scope
@_lasting
@_reason
@actor
@as_json
def close_breaker(scope: str, *, lasting: timedelta | None, reason: str, actor: str, as_json: bool) -> None:
    """Force the breaker of SCOPE closed, whatever Meta answers. Budgets and pauses still hold."""
    _hold(scope, Stand.CLOSED, lasting=lasting, reason=reason, actor=actor, as_json=as_json)


@breakers.command("release")
@_scope
@_reason
@actor
@as_json
def release_breaker(scope: str, *, reason: str, actor: str, as_json: bool) -> None:
    """Let the breaker of SCOPE go its own way again."""
    with house() as open_house:
        in_force = open_house.controls.release_breaker(scope, reason=reason, actor=actor)
    answer(
        {"scope": scope, "in_force": in_force},
        as_json=as_json,
        plain=lambda: click.echo(f"The breaker of {scope} goes its own way again."),
    )
    _end(in_force)


def _hold(scope: str, stand: Stand, *, lasting: timedelta | None, reason: str, actor: str, as_json: bool) -> None:
    with house() as open_house:
        _check_breaker(scope, tuple(open_house.settings.apps))
        override, in_force = open_house.controls.hold_breaker(
            scope, stand, reason=reason, actor=actor, lasting=lasting
        )
    answer(
        {
            "scope": scope,
            "state": str(stand),
            "ends_at": override.ends_at and override.ends_at.isoformat(),
            "in_force": in_force,
        },
        as_json=as_json,
        plain=lambda: click.echo(f"{str(override).capitalize()}."),
    )
    _end(in_force)


def _check_breaker(scope: str, apps: tuple[str, ...]) -> None:
    type_, _, rest = scope.partition(":")
    app, _, capability = rest.partition("/")
    if type_ == "app" and app:
        if capability and capability not in set(Capability):
            raise click.BadParameter(f"there is no capability {capability!r}; there are: {', '.join(Capability)}")
        _check_app(app, apps)
    elif type_ == "waba" and rest.count(":") == 1:
        _check_app(rest.partition(":")[0], apps)
    elif type_ != "number" or not rest:
        raise click.BadParameter(
            f"{scope!r} is no breaker's scope; write app:APP_ID, app:APP_ID/CAPABILITY, waba:APP_ID:WABA_ID "
            "or number:NUMBER_ID"
        )


def _end(in_force: bool) -> None:
    if not in_force:
        report("this is recorded; the gate could not be told yet and will be, by itself")
        sys.exit(NOT_IN_FORCE)
