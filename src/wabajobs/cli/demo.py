"""`wabajobs demo`: the product in a minute, in real processes, with every claim checked by a witness.

The witness is the simulated Graph API's own account of the calls that reached it.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.request import Request as HttpRequest
from urllib.request import urlopen

import click
from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from wabajobs.cli.say import out
from wabajobs.cli.site import SimulatorOptions, Site
from wabajobs.client import Client
from wabajobs.drills.claims import Claims
from wabajobs.errors import PortTaken, WabajobsError
from wabajobs.gate import AppReading
from wabajobs.intake import Request
from wabajobs.machine import Supervisor, free_port, require_free
from wabajobs.operation import Operation, State
from wabajobs.settings import Settings
from wabajobs.wiring import House

_PARTNERS: Final = ("acme", "bravo", "corto", "delta", "elmo")
_WABAS: Final = 80
_WINDOW: Final = 10.0
_LIMIT: Final = 120
_PATIENCE: Final = 80.0
"""Seconds after which the demo gives up: it is to end by itself, also when something is broken."""
_TICK: Final = 0.25


class DemoFailed(WabajobsError):
    """The demo could not be carried through."""


class Witness:
    """The simulator's account of the calls that reached it, and the levers that only Meta has."""

    def __init__(self, url: str) -> None:
        """Ask the simulator at `url`."""
        self._url = url

    def report(self) -> dict[str, Any]:
        """Return totals: `calls`, `refused`, `most_in_window`, `in_flight`."""
        with urlopen(f"{self._url}/_simulator/report", timeout=5) as answer:  # noqa: S310 (our own, on loopback)
            report: dict[str, Any] = json.load(answer)
            return report

    def spend(self, app: str, calls: int) -> None:
        """Let another program of the same app make so many calls at once."""
        body = json.dumps({"app": app, "calls": calls}).encode()
        request = HttpRequest(  # noqa: S310
            f"{self._url}/_simulator/others", data=body, headers={"Content-Type": "application/json"}
        )
        urlopen(request, timeout=5).close()  # noqa: S310


class Stage:
    """What the acts of the demo have in common: the fleet, the witness, and the picture."""

    def __init__(self, site: Site, house: House, client: Client) -> None:
        """Play on a site that is up."""
        self.site = site
        self.house = house
        self.client = client
        self.app = site.facts["apps"][0]["id"]
        self.witness = Witness(site.facts["url"])
        self.claims = Claims()
        self.operations: list[Operation] = []
        self._began = time.monotonic()
        self._pace: deque[tuple[int, int]] = deque(maxlen=40)
        self._before: tuple[int, int] = (0, 0)

    def say(self, headline: str, *lines: str) -> None:
        """Announce what comes."""
        at = time.monotonic() - self._began
        out.print(f"\n[bold cyan]{at:5.1f} s  {headline}[/]")
        for line in lines:
            out.print(f"         {line}")

    def type(self, *arguments: str) -> str:
        """Type a command as an operator would, and show it with its answer."""
        shown = " ".join(f'"{word}"' if " " in word else word for word in arguments)
        out.print(f"         [bold]$ wabajobs {shown}[/]")
        done = subprocess.run(  # noqa: S603 (our own command)
            [sys.executable, "-m", "wabajobs", *arguments],
            env={**os.environ, "WABAJOBS_CONFIG": str(self.site.config)},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        if done.returncode != 0:
            raise DemoFailed(f"wabajobs {shown} failed: {done.stderr.strip()}")
        for line in done.stdout.strip().splitlines():
            out.print(f"         {line}", markup=False)
        return done.stdout

    def watch(self, until: Callable[[], bool], *, at_least: float = 0.0, at_most: float) -> bool:
        """Show the picture until something is so; False when it is not so in time."""
        start = time.monotonic()
        with _live(self.picture()) as update:
            while True:
                elapsed = time.monotonic() - start
                if elapsed >= at_least and until():
                    update(self.picture())
                    return True
                if elapsed > at_most or time.monotonic() - self._began > _PATIENCE:
                    return False
                time.sleep(_TICK)
                update(self.picture())

    def states(self) -> dict[State, int]:
        """Return how many of our operations are in which state."""
        counted = {
            state: number
            for _, state, number, _ in self.house.ledger.operations.count_open(pauses=self._pauses())
        }
        finished = self.house.ledger.operations.count_finished(since=self.operations[0].created_at)
        return counted | {state: number for _, state, number in finished}

    def reading(self) -> AppReading:
        """Return what the gate knows."""
        return self.house.gate.read(self.app)

    def breaker_is_open(self) -> bool:
        """Whether the app's breaker stands open."""
        return any(breaker.state != "closed" for breaker in self.reading().breakers)

    def picture(self) -> RenderableType:
        """Draw operations, budget and pace."""
        states, report, reading = self.states(), self.witness.report(), self.reading()
        calls, refused = report["calls"], report["refused"]
        self._pace.append((calls - self._before[0], refused - self._before[1]))
        self._before = (calls, refused)
        done, total = states.get(State.SUCCEEDED, 0), len(self.operations)
        window = reading.windows[0]
        spent = window.used + window.others
        grid = Table.grid(padding=(0, 1))
        grid.add_row("        syncs", _bar(done, total, "green"), f"{done} of {total} done")
        grid.add_row(
            "        budget",
            _bar(spent, window.limit, "yellow"),
            f"{spent} of {window.limit} calls per {_WINDOW:g} s",
        )
        grid.add_row("        calls", _sparks(self._pace), f"{calls} made, {refused} refused by Meta")
        breaker = next((one for one in reading.breakers if one.state != "closed"), None)
        gate = (
            f"[bold red]breaker {breaker.state}[/] ({escape(breaker.evidence)})" if breaker else "[green]open[/]"
        )
        shown = (State.WAITING, State.RUNNING, State.HELD)
        waits = ", ".join(f"{states[state]} {state}" for state in shown if states.get(state))
        return Group(grid, Text.from_markup(f"         gate    {gate}   {waits}"))

    def _pauses(self) -> list[Any]:
        return self.house.ledger.decisions.pauses(now=self.house.clock.now())


@click.command()
@click.option("--flower-port", default=5555, show_default=True, help="Where Flower listens, if it is free.")
def demo(*, flower_port: int) -> None:
    """See it work, in under 90 seconds: limits, a pause, Meta's limit hit on purpose, the drain.

    Everything is real - Redis, Celery workers, the ledger, HTTP - but Meta, who is played by a simulator that
    keeps its own account of every call. Exit code 0 only if all that is claimed was borne out by that account.
    """
    out.print("[bold]wabajobs demo[/]  real Redis, Celery, Flower and ledger; a simulated Graph API.")
    with tempfile.TemporaryDirectory(prefix="wabajobs-demo-") as folder:
        simulator = SimulatorOptions(
            wabas=_WABAS, app_limit=_LIMIT, window=_WINDOW, templates=(20, 250), latency=0.1
        )
        site = Site(Path(folder), settings=Settings(), simulator=simulator)
        port = _port(flower_port)
        with site.prepared(flower_port=port) as services, Supervisor(site.folder, services):
            out.print(f"It is up. Flower shows every operation while this runs: http://127.0.0.1:{port}/tasks")
            claims = _play(site)
    out.print()
    out.print(claims.table())
    out.print("\nPlay with it yourself: [bold]make up[/]")
    if not claims.all_held:
        raise DemoFailed("not everything that the demo claims was borne out; see the table above")


def _play(site: Site) -> Claims:
    settings = site.settings()
    house = House(settings)
    with Client(settings) as client:
        stage = Stage(site, house, client)
        _many_syncs(stage)
        _a_pause(stage)
        _metas_limit(stage)
        _the_drain(stage)
    house.close()
    return stage.claims


def _many_syncs(stage: Stage) -> None:
    wabas = stage.site.world()
    stage.say(
        f"{len(_PARTNERS)} partners ask for {len(wabas)} template syncs at once.",
        f"Meta allows this app {_LIMIT} calls in any {_WINDOW:g} s (an hour, in the demo's time).",
    )
    stage.operations = stage.client.enqueue_many(
        Request(kind="template_sync", partner=_PARTNERS[number % len(_PARTNERS)], waba=waba)
        for number, waba in enumerate(wabas)
    )
    stage.watch(lambda: stage.states().get(State.SUCCEEDED, 0) >= len(wabas) // 4, at_least=4, at_most=12)


def _a_pause(stage: Stage) -> None:
    stage.say("An operator stops template syncs, everywhere, in one command.")
    stage.type("pause", "queue", "template_sync", "--reason", "demo: who is eating the budget?")
    before = stage.witness.report()["calls"]
    partner, waba = _PARTNERS[0], stage.site.wabas[0]
    late = stage.client.enqueue("template_sync", partner=partner, waba=waba, key="during-the-pause")
    stage.operations.append(late)
    reason = late.hold.reason if late.hold else "nobody said why"
    out.print("         The Hub enqueues one more meanwhile. It is accepted, and told why it waits:")
    out.print(f"         [dim]{late.state}: {escape(reason)}[/]")
    stage.watch(lambda: False, at_most=3)
    during = stage.witness.report()["calls"] - before
    stage.claims.check("no call after `pause` had returned", f"{during} calls in 3 s", during == 0)
    stage.claims.check("enqueueing goes on, and says why it waits", str(late.state), late.state is State.HELD)
    stage.type("resume", "queue", "template_sync", "--reason", "demo: understood")
    done = stage.states().get(State.SUCCEEDED, 0)
    stage.watch(lambda: stage.states().get(State.SUCCEEDED, 0) > done + 3, at_least=1, at_most=8)


def _metas_limit(stage: Stage) -> None:
    report = stage.witness.report()
    most = max(report["most_in_window"].values())
    stage.claims.check(
        f"never more than {_LIMIT} calls in any {_WINDOW:g} s, none refused",
        f"at most {most}, {report['refused']} refused",
        most <= _LIMIT and report["refused"] == 0,
    )
    slots = stage.house.settings.workers.concurrency
    stage.say(
        "Now Meta's limit is hit on purpose: another program with the same app spends all of it.",
        "The first refusal opens the breaker for everybody; then single calls probe, and nobody else calls.",
    )
    stage.witness.spend(stage.app, _LIMIT)
    began = time.monotonic()
    opened = stage.watch(stage.breaker_is_open, at_most=5)
    closed = stage.watch(lambda: not stage.breaker_is_open(), at_least=1, at_most=_WINDOW * 2)
    lasted = time.monotonic() - began
    refused = stage.witness.report()["refused"]
    base = stage.house.settings.gate.breaker_seconds
    allowed = slots + int(lasted / base) + 1
    stage.claims.check(
        "the breaker opened at Meta's first refusal, and closed again", f"{lasted:.1f} s", opened and closed
    )
    stage.claims.check(
        "refused: what was on the wire, then single probes",
        f"{refused} (at most {allowed})",
        0 < refused <= allowed,
    )


def _the_drain(stage: Stage) -> None:
    stage.say("Meta lets the app go on. What waited is drained, at the pace that the budget bears.")
    refused = stage.witness.report()["refused"]
    total = len(stage.operations)
    stage.watch(lambda: stage.states().get(State.SUCCEEDED, 0) >= total, at_most=60)
    relapsed = stage.witness.report()["refused"] - refused
    states = stage.states()
    done, failed = states.get(State.SUCCEEDED, 0), states.get(State.FAILED, 0)
    attempts = [stage.client.get(operation.id).attempts for operation in stage.operations]
    held = sum(
        any(event.name in {"held", "paused"} for event in stage.house.ledger.operations.story(operation.id))
        for operation in stage.operations
    )
    stage.claims.check("no relapse after the recovery", f"{relapsed} refused", relapsed == 0)
    stage.claims.check(
        f"being held costs no attempt ({held} operations were held)",
        f"{max(attempts)} per operation",
        max(attempts) == 1,
    )
    stage.claims.check(f"all {total} operations have succeeded", f"{done}, {failed} failed", done == total)
    _sum_up(stage, lost=total - sum(states.values()))


def _sum_up(stage: Stage, *, lost: int) -> None:
    report = stage.witness.report()
    stage.claims.check("operations lost", str(lost), lost == 0)
    table = Table(title="The account of the simulated Graph API", title_justify="left", box=None)
    for name in ("calls made", "calls refused by Meta", "most in flight", "operations", "operations lost"):
        table.add_column(name, justify="right")
    table.add_row(
        str(report["calls"]),
        str(report["refused"]),
        str(report["most_in_flight"]),
        str(len(stage.operations)),
        str(lost),
    )
    out.print()
    out.print(table)


@contextmanager
def _live(first: RenderableType) -> Iterator[Callable[[RenderableType], None]]:
    """Show a picture that changes; where there is no terminal, show it every few seconds."""
    if out.is_terminal:
        with Live(first, console=out, auto_refresh=False) as live:
            yield lambda picture: live.update(picture, refresh=True)
        return
    shown_at = 0.0

    def print_now_and_then(picture: RenderableType) -> None:
        nonlocal shown_at
        if time.monotonic() - shown_at > 3:
            shown_at = time.monotonic()
            out.print(picture)

    yield print_now_and_then


def _bar(value: int, whole: int, colour: str, width: int = 40) -> Text:
    filled = min(width, round(width * value / whole)) if whole else 0
    return Text.assemble(("█" * filled, colour), ("·" * (width - filled), "dim"))


def _sparks(pace: deque[tuple[int, int]]) -> Text:
    """Draw calls per tick; red where Meta refused some."""
    most = max((calls for calls, _ in pace), default=0) or 1
    text = Text()
    for calls, refused in pace:
        level = " ▁▂▃▄▅▆▇█"[min(8, round(8 * calls / most))] if calls else "·"
        text.append(level, "bold red" if refused else "cyan")
    return text


def _port(wanted: int) -> int:
    try:
        require_free(wanted, "Flower", option="--flower-port")
    except PortTaken:
        return free_port()
    return wanted
