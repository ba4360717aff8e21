"""`partners`: how partners are served beside each other."""

from typing import Any

import click

from wabajobs.cli.brakes import actor
from wabajobs.cli.house import house
from wabajobs.cli.say import answer, as_json
from wabajobs.decisions import require_reason
from wabajobs.errors import InvalidRequest
from wabajobs.intake import partner_id
from wabajobs.ledger import Setting, Share
from wabajobs.partners import Partners
from wabajobs.wiring import House

_reason = click.option("--reason", required=True, help="Why.")


@click.group()
def partners() -> None:
    """Show and set partners' weights and caps."""


@partners.command()
@click.argument("name", required=False)
@as_json
def show(name: str | None, *, as_json: bool) -> None:
    """Show the weights and caps in force; with NAME, also who has set them before, when and why."""
    with house() as open_house:
        rows = [_in_force(open_house, each) for each in ([name] if name else _named(open_house))]
        history = open_house.ledger.shares.history(name) if name else []
    if name:
        rows[0]["history"] = [_as_json(one) for one in history]

    def plain() -> None:
        for row in rows:
            cap = f"at most {row['at_most']} at once" if row["at_most"] else "no cap"
            click.echo(f"{row['partner']}: weight {row['weight']:g}, {cap}, set by {row['by']} ({row['reason']})")
        if not rows:
            click.echo("All partners have weight 1 and no cap.")
        for one in history:
            click.echo(f"  {one}")

    answer(rows[0] if name else rows, as_json=as_json, plain=plain)


@partners.command("set")
@click.argument("name")
@click.option("--weight", type=float, help="Turns for one of an ordinary partner's; as it was, unless given.")
@click.option(
    "--at-most", type=click.IntRange(1, 1_000_000), help="Operations out at once; as it was, unless given."
)
@click.option("--no-cap", is_flag=True, help="Take the cap away.")
@_reason
@actor
@as_json
def set_share(
    name: str,
    *,
    weight: float | None,
    at_most: int | None,
    no_cap: bool,
    reason: str,
    actor: str,
    as_json: bool,
) -> None:
    """Set how a partner is served beside the others, at once.

    \b
    wabajobs partners set acme --weight 3 --at-most 20 --reason "their onboarding week"
    """
    partner_id(name)
    require_reason(reason)
    if weight is None and at_most is None and not no_cap:
        raise click.UsageError("say what: --weight, --at-most or --no-cap")
    if at_most is not None and no_cap:
        raise click.UsageError("--at-most and --no-cap contradict each other")
    with house() as open_house:
        before = _in_force(open_house, name)
        open_house.ledger.shares.set(
            Share(
                partner=name,
                weight=before["weight"] if weight is None else weight,
                at_most=None if no_cap else before["at_most"] if at_most is None else at_most,
                actor=actor,
                reason=reason,
                created_at=open_house.clock.now(),
            )
        )
        open_house.work_bell.ring()
        now = _in_force(open_house, name)
    cap = f"at most {now['at_most']} at once" if now["at_most"] else "no cap"
    answer(now, as_json=as_json, plain=lambda: click.echo(f"{name}: weight {now['weight']:g}, {cap}."))


@partners.command()
@click.argument("name")
@_reason
@actor
@as_json
def unset(name: str, *, reason: str, actor: str, as_json: bool) -> None:
    """Take back what was set for a partner: the configuration alone decides again."""
    require_reason(reason)
    with house() as open_house:
        if not open_house.ledger.shares.unset(name, actor=actor, reason=reason, now=open_house.clock.now()):
            known = ", ".join(one.partner for one in open_house.ledger.shares.current())
            raise InvalidRequest(f"nothing is set for partner {name!r}; set are: {known or 'none'}")
        open_house.work_bell.ring()
        now = _in_force(open_house, name)
    answer(now, as_json=as_json, plain=lambda: click.echo(f"{name}: as configured."))


def _named(open_house: House) -> list[str]:
    current = {one.partner for one in open_house.ledger.shares.current()}
    return sorted(current | open_house.settings.partners.keys())


def _in_force(open_house: House, name: str) -> dict[str, Any]:
    in_force = Partners(open_house.ledger, open_house.settings.partners)
    in_force.refresh()
    decided = next((one for one in open_house.ledger.shares.current() if one.partner == name), None)
    configured = "from the configuration" if name in open_house.settings.partners else "as for everybody"
    return {
        "partner": name,
        "weight": in_force.weight(name),
        "at_most": in_force.at_most.get(name),
        "by": decided.actor if decided else "config",
        "since": decided.created_at.isoformat() if decided else None,
        "reason": decided.reason if decided else configured,
    }


def _as_json(one: Setting) -> dict[str, Any]:
    return {
        "at": one.share.created_at.isoformat(),
        "by": one.share.actor,
        "reason": one.share.reason,
        "weight": None if one.taken_back else one.share.weight,
        "at_most": None if one.taken_back else one.share.at_most,
        "taken_back": one.taken_back,
    }
