"""The programs: `up`, `dispatcher`, `flower`, `simulator`."""

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import click

from wabajobs import logs
from wabajobs.broker import Sender, Standing, make_app
from wabajobs.cli.house import house
from wabajobs.cli.site import SimulatorOptions, Site
from wabajobs.dispatcher import dispatch
from wabajobs.machine import Event, Happened, Supervisor
from wabajobs.settings import RUNNING_FILE, Settings

_FLOWERS_COLUMNS = "name,state,result,uuid,kwargs,received,started,runtime,worker"
"""Flower's own choice leaves out `result` (why something is held) and `kwargs`, with partner and WABA."""
_PASS_ON = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


@click.command()
def dispatcher() -> None:
    """Run a dispatcher: it decides what leaves the ledger, and when. Any number may run; one leads."""
    logs.to_stderr(Settings.load().log, program="dispatcher")
    stopping = threading.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: stopping.set())
    with house(wait=stopping.wait) as open_house:
        settings = open_house.settings
        app = make_app(settings, queues=open_house.kinds.names)
        one = open_house.dispatcher(Sender(app))
        standing = Standing(
            app,
            holdups=open_house.holdups,
            ledger=open_house.ledger,
            told=open_house.told,
            settings=settings.flower,
        )

        def while_leading() -> None:
            open_house.ramps.keep_up()
            open_house.planner.keep_up()
            open_house.relay.keep_up()
            open_house.router.keep_up()
            open_house.watch.keep_up()
            open_house.alarms.keep_up()
            standing.keep_up()

        dispatch.run(
            one,
            wait=open_house.work_bell.wait,
            upkeep=open_house.controls.keep_mirrored,
            while_leading=while_leading,
            stopping=stopping.is_set,
            settings=settings.dispatch,
            monotonic=time.monotonic,
        )


@click.command(context_settings=_PASS_ON)
@click.option("--port", default=5555, show_default=True)
@click.option("--address", default="127.0.0.1", show_default=True)
@click.pass_context
def flower(context: click.Context, *, port: int, address: str) -> None:
    """Run Flower, the engineers' view. Further options are Flower's own (--basic-auth, --url-prefix …)."""
    Settings.load()  # a fault in the settings is told here, in a sentence
    ours = (f"--port={port}", f"--address={address}", f"--tasks-columns={_FLOWERS_COLUMNS}")
    _become("celery", "-A", "wabajobs.page.monitor", "flower", *ours, *context.args)


def _become(module: str, *arguments: str) -> NoReturn:
    """Let another program of this interpreter take our place: our process, our signals, none of our imports."""
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606 (this very interpreter)


@click.command(context_settings=_PASS_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def simulator(arguments: tuple[str, ...]) -> None:
    """Run a Graph API that behaves like Meta's: `wabajobs simulator --help`."""
    _become("wabajobs.simulator", *arguments)


@click.command()
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), default=RUNNING_FILE.parent)
@click.option("--flower-port", default=5555, show_default=True, help="Where Flower listens.")
@click.option("--feeds-port", default=5556, show_default=True, help="Where status page and metrics are served.")
@click.option("--simulator", "simulated", is_flag=True, help="Run against a simulated Graph API.")
@click.option("--wabas", default=200, show_default=True, help="WABAs of the simulator.")
@click.option("--app-limit", default=300, show_default=True, help="Its calls per window.")
@click.option("--window", default=60.0, show_default=True, help="Its window, in seconds.")
def up(
    *,
    data: Path,
    flower_port: int,
    feeds_port: int,
    simulated: bool,
    wabas: int,
    app_limit: int,
    window: float,
) -> None:
    """Run everything on this machine, until Ctrl-C.

    Its own Redis server and SQLite ledger (unless WABAJOBS_REDIS_URL and WABAJOBS_DATABASE_URL name others),
    the dispatcher, the workers, Flower, the status page and the metrics, with their data and logs in one folder.
    """
    options = SimulatorOptions(wabas=wabas, app_limit=app_limit, window=window) if simulated else None
    site = Site(data, settings=Settings.load(running=None), simulator=options)
    with site.prepared(flower_port=flower_port, feeds_port=feeds_port) as services:
        supervisor = Supervisor(data, services, on_event=_tell)
        supervisor.start()
        click.echo(site.welcome())
        supervisor.run_until_stopped()
    click.echo("Everything has stopped; the data stay in " + str(data))


def _tell(event: Event) -> None:
    if event.happened is not Happened.STARTED:
        with suppress(BrokenPipeError):  # who read us has had enough; that is no reason to stop
            click.echo(f"  {event}")
