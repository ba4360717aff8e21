"""`explain`: why an operation is not done."""

import click

from wabajobs.cli.house import house
from wabajobs.cli.say import answer, as_json, short
from wabajobs.seeing.explain import Explanation, Obstacle


@click.command()
@click.argument("operation_id", metavar="ID")
@as_json
def explain(operation_id: str, *, as_json: bool) -> None:
    """Say why an operation is not done, what comes next, and when."""
    with house() as open_house:
        found = open_house.explainer.explain(operation_id)
    answer(found.as_json(), as_json=as_json, plain=lambda: _tell(found))


def _tell(found: Explanation) -> None:
    operation = found.operation
    whom = f"WABA {operation.waba} of {operation.partner}" if operation.waba else operation.partner
    click.echo(f"{operation.kind} for {whom} (app {operation.app}, {operation.service_class})")
    click.echo(f"{operation.id} is {operation.state}; accepted {short(found.at - operation.created_at)} ago.")
    click.echo(f"\n{found.summary[0].upper()}{found.summary[1:]}.")
    if found.why:
        click.echo(f"  by      {_whose(found.why)}")
        if notice := found.why.detail.get("notice"):
            click.echo(f"  notice  {notice}")
    if found.step and not operation.state.finished:
        verb = "is at" if found.why is None else "goes on with"
        click.echo(f"  step    it {verb} {found.step}; {operation.attempts} attempts spent")
    if found.behind:
        click.echo("\nIf that were gone:")
        for one in found.behind:
            click.echo(f"  {one.reason} [{_whose(one)}]")
    if found.queueing:
        queue = found.queueing
        rate = f"; {queue.per_minute:.0f} a minute of late" if queue.per_minute is not None else ""
        click.echo(f"\nIn its line {queue.before:,} go before it, {queue.ahead:,} with all lines' turns{rate}.")
    click.echo(f"\nNext: {found.next}.")
    for trouble in found.troubles:
        click.echo(f"!  {trouble}")


def _whose(one: Obstacle) -> str:
    return f"{one.by.replace('_', ' ')}: {one.origin.words}"
