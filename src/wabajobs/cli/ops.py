"""`enqueue` and `ops`: put operations in, and see where they stand."""

import json
import sys
from datetime import timedelta
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from wabajobs.capability import ServiceClass
from wabajobs.cli import interventions
from wabajobs.cli.house import house
from wabajobs.cli.say import Span, answer, as_json, facts, out, short
from wabajobs.client import Client
from wabajobs.dry_run import Plan
from wabajobs.errors import NotReady, Rejected
from wabajobs.gate import Call
from wabajobs.intake import IfHeld
from wabajobs.operation import Operation, State
from wabajobs.seeing.story import Move, how_to_give, moves, shortened, summary
from wabajobs.settings import Settings
from wabajobs.wiring import House


@click.command()
@click.argument("kind")
@click.option("--partner", required=True, help="For whom.")
@click.option("--waba", help="Id of the WhatsApp Business Account.")
@click.option("--app", help="Id of the Meta app; may be left out when only one is configured.")
@click.option("--set", "fields", metavar="FIELD=VALUE", multiple=True, help="A field of the payload.")
@click.option("--key", help="Idempotency key: the same key gives the same operation.")
@click.option("--expires-after", type=Span(), help="After which it is of no use any more: 90s, 30m, 2h, 1d.")
@click.option(
    "--class", "service_class", type=click.Choice([str(one) for one in ServiceClass]), help="Class of service."
)
@click.option(
    "--if-held",
    type=click.Choice(["wait", "reject"]),
    default="wait",
    show_default=True,
    help="What becomes of it if it would have to wait now.",
)
@click.option("--dry-run", is_flag=True, help="Accept nothing; say what would be done, and what is missing.")
@as_json
def enqueue(
    kind: str,
    *,
    partner: str,
    waba: str | None,
    app: str | None,
    fields: tuple[str, ...],
    key: str | None,
    expires_after: timedelta | None,
    service_class: str | None,
    if_held: IfHeld,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Accept an operation of KIND. When this returns, it is in the ledger.

    \b
    wabajobs enqueue template_sync --partner acme --waba 102290129340398
    wabajobs enqueue template_sync --partner acme --waba 102290129340398 --dry-run
    """
    wanted: dict[str, Any] = {
        "partner": partner,
        "waba": waba,
        "app": app,
        "payload": _payload(fields),
        "service_class": service_class,
        "key": key,
        "expires_after": expires_after.total_seconds() if expires_after else None,
        "if_held": if_held,
    }
    with Client(Settings.load()) as client:
        if dry_run:
            plan = client.enqueue(kind, **wanted, dry_run=True)
            answer(plan.as_json(), as_json=as_json, plain=lambda: _tell_plan(plan))
            return
        try:
            operation = client.enqueue(kind, **wanted)
        except Rejected as rejected:
            if not as_json:
                raise
            click.echo(json.dumps(rejected.as_json(), ensure_ascii=False, indent=2))
            sys.exit(1)

    def plain() -> None:
        click.echo(operation.id)
        if operation.hold:
            click.echo(f"It waits: {operation.hold.reason}.", err=True)

    answer(operation.as_json(), as_json=as_json, plain=plain)


def _tell_plan(plan: Plan) -> None:
    whom = f"WABA {plan.waba} of {plan.partner}" if plan.waba else plan.partner
    click.echo(f"{plan.kind} for {whom} (app {plan.app}, {plan.service_class}). Nothing is accepted.")
    for step in plan.steps:
        marks = [
            *([] if step.required else ["left out if it cannot be done"]),
            *(["happens once"] if step.happens_once else []),
            *(["point of no return"] if step.point_of_no_return else []),
        ]
        click.echo(f"  {step.name}" + (f" ({', '.join(marks)})" if marks else ""))
        for call in step.calls:
            click.echo(f"    {call.method} {call.path}" + (f" ({call.note})" if call.note else ""))
        for name, about in step.asks.items():
            click.echo(f"    asks a person for {name}: {about}")
    times = "call" if plan.cost == 1 else "calls"
    click.echo(f"It costs {'' if plan.is_exact else 'about '}{plan.cost} {times} of the app's budget.")
    if plan.known:
        click.echo(f"Its key stands for operation {plan.known} already: nothing new would be accepted.")
    if plan.joins:
        click.echo(f"It would join operation {plan.joins}, which is still pending.")
    for sentence in plan.missing:
        click.echo(f"Missing: {sentence}")
    if plan.waits:
        click.echo(f"Its first call would have to wait: {plan.waits}")


def _payload(fields: tuple[str, ...]) -> dict[str, Any]:
    payload: dict[str, Any] = {}
    for field in fields:
        name, equals, value = field.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"--set {field!r}: write FIELD=VALUE")
        payload[name] = _value(value)
    return payload


def _value(text: str) -> Any:
    """Return a JSON object or list as such, and anything else as text: an id or a PIN is no number.

    A field that is a number or a truth value takes it written out.
    """
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, dict | list) else text


@click.group()
def ops() -> None:
    """Look at operations, cancel them, let them go again."""


@ops.command("list")
@click.option("--kind")
@click.option("--state", type=click.Choice([str(one) for one in State]))
@click.option("--partner")
@click.option("--waba")
@click.option("--limit", "at_most", type=click.IntRange(1, 10_000), default=50, show_default=True)
@as_json
def list_operations(
    *, kind: str | None, state: str | None, partner: str | None, waba: str | None, at_most: int, as_json: bool
) -> None:
    """List operations, newest first."""
    with house() as open_house:
        found = open_house.ledger.operations.find(
            kind=kind,
            state=State(state) if state else None,
            partner=partner,
            waba=waba,
            pauses=open_house.ledger.decisions.pauses(now=open_house.clock.now()),
            at_most=at_most,
        )
    answer([operation.as_json() for operation in found], as_json=as_json, plain=lambda: _table(found))


def _table(found: list[Operation]) -> None:
    if not found:
        click.echo("No operations.")
        return
    table = Table(box=None, pad_edge=False)
    for name in ("id", "kind", "partner", "waba", "state", "accepted (UTC)", "why"):
        table.add_column(name, no_wrap=name in {"id", "state"}, overflow="fold")
    for one in found:
        why = how_to_give(one) or (one.hold.reason if one.hold else (one.error or {}).get("message", ""))
        accepted = f"{one.created_at:%m-%d %H:%M:%S}"
        # As text: what an operator or Meta wrote may hold brackets, which are no markup of ours.
        cells = (one.id, one.kind, one.partner, one.waba or "", one.state, accepted, str(why))
        table.add_row(*map(Text, cells))
    out.print(table)


@ops.command()
@click.argument("operation_id", metavar="ID")
@click.option("--all", "whole", is_flag=True, help="Tell every move, however many there are.")
@as_json
def show(operation_id: str, *, whole: bool, as_json: bool) -> None:
    """Tell an operation's story."""
    with house() as open_house:
        now = open_house.clock.now()
        pauses = open_house.ledger.decisions.pauses(now=now)
        operation = open_house.ledger.operations.get(operation_id).under(pauses)
        story = open_house.ledger.operations.story(operation_id)
        waits_for = _waits_for(operation, open_house)
    told = moves(story)
    value = operation.as_json() | {
        "waits_for": waits_for,
        "events": [
            {
                "at": one.at.isoformat(),
                "event": one.name,
                "by": one.actor,
                "lease": one.attempt,
                "detail": one.detail,
                "sentence": move.sentence,
            }
            for one, move in zip(story, told, strict=True)
        ],
    }

    def plain() -> None:
        _tell(operation, waits_for)
        click.echo(summary(operation, story, now=now) + "\n")
        for move in told if whole else shortened(told):
            _tell_move(move, left_out=len(told) - len(shortened(told)) + 1)

    answer(value, as_json=as_json, plain=plain)


def _waits_for(operation: Operation, open_house: House) -> str | None:
    """Say what a waiting operation waits for: the gate's reason if it has one, or else a worker."""
    if operation.state is not State.WAITING:
        return operation.hold.reason if operation.hold else None
    try:
        [wait] = open_house.gate.forecast([Call.of(operation)])
        workers = open_house.presence.living([operation.kind])[operation.kind]
    except NotReady as error:
        return str(error)
    if wait is not None:
        return str(wait)
    return "its turn at a worker" if workers else f"a worker: none is alive for {operation.kind}"


def _tell(operation: Operation, waits_for: str | None) -> None:
    whom = f"WABA {operation.waba} of {operation.partner}" if operation.waba else operation.partner
    click.echo(f"{operation.kind} for {whom} (app {operation.app}, {operation.service_class})")
    click.echo(f"{operation.id} is {operation.state}", nl=False)
    click.echo(f", {operation.attempts} attempts, {operation.callers} callers.")
    if operation.hold:
        until = f" Expected to go on at {operation.hold.until:%H:%M:%S} UTC." if operation.hold.until else ""
        click.echo(f"It waits: {operation.hold.reason}.{until}")
        if operation.hold.notice:
            click.echo(f"Notice: {operation.hold.notice}")
    elif waits_for:
        click.echo(f"It waits for: {waits_for}.")
    if operation.needs:
        click.echo(f"It needs input: {operation.needs.reason}.")
        for ask in operation.needs.asks:
            click.echo(f"  {ask.name}: {ask.about}")
        click.echo(how_to_give(operation))
    if operation.stop and not operation.state.finished:
        click.echo(f"It is to stop before its next call: {operation.stop['by']} ({operation.stop['reason']}).")
    if operation.deadline_at and not operation.state.finished and not operation.needs:
        click.echo(f"It expires at {operation.deadline_at:%Y-%m-%d %H:%M:%S} UTC.")
    if operation.error:
        click.echo(f"Error: {operation.error.get('message')}")


def _tell_move(move: Move | None, *, left_out: int) -> None:
    if move is None:
        click.echo(f"{'':23}  {'':10}  … {left_out} moves are left out; --all tells them …")
        return
    after = f"+{short(move.after)}" if move.after.total_seconds() >= 0.5 else ""
    click.echo(f"{move.at:%Y-%m-%d %H:%M:%S} UTC  {after:<10}  {move.sentence}")


@ops.command()
@click.argument("operation_ids", metavar="ID...", nargs=-1, required=True)
@click.option("--timeout", type=Span(), help="How long at most: 90s, 30m, 2h.")
@as_json
def wait(operation_ids: tuple[str, ...], *, timeout: timedelta | None, as_json: bool) -> None:
    """Wait until operations are finished, or need input. Exit code 0 only if all of them have succeeded."""
    with Client(Settings.load()) as client:
        finished = [client.wait(one, timeout=timeout) for one in operation_ids]

    def plain() -> None:
        for one in finished:
            told = how_to_give(one) or facts(one.result or one.error or {})
            click.echo(f"{one.id} {one.state}: {told}")

    answer([one.as_json() for one in finished], as_json=as_json, plain=plain)
    sys.exit(0 if all(one.state is State.SUCCEEDED for one in finished) else 1)


for command in (interventions.cancel, interventions.retry, interventions.provide, interventions.dead):
    ops.add_command(command)
