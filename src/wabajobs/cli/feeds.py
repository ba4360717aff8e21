"""`feeds`: what other programs are shown, the public among them."""

import time
from datetime import timedelta
from functools import partial

import click

from wabajobs import events, logs
from wabajobs.cli.house import house, me
from wabajobs.cli.say import answer, as_json, out
from wabajobs.errors import InvalidRequest
from wabajobs.exposed import Bulletin, Draft, draft
from wabajobs.exposed.server import Address, Server, documents
from wabajobs.ledger import Stage
from wabajobs.machine import require_free
from wabajobs.settings import Settings
from wabajobs.wiring import House

DEFAULT_PORT = 5556
_LOCAL = ("127.0.0.1", "localhost", "::1")
_PATHS = {
    "statuspage": "/api/v2/summary.json",
    "instatus": "/summary.json",
    "operations": "/operations.json",
}


@click.group(invoke_without_command=True)
@click.option("--port", default=DEFAULT_PORT, show_default=True, help="Where the public documents are served.")
@click.option("--host", default="127.0.0.1", show_default=True, help="On which address.")
@click.option("--metrics-port", type=int, help="Serve /metrics there, and not beside the documents.")
@click.option("--metrics-host", default="127.0.0.1", show_default=True, help="On which address.")
@click.pass_context
def feeds(context: click.Context, *, port: int, host: str, metrics_port: int | None, metrics_host: str) -> None:
    """Serve the status page's documents and the metrics, until Ctrl-C; or a subcommand.

    /api/v2/summary.json and its siblings as Statuspage has them, /summary.json as Instatus has it,
    /operations.json, and /metrics for Prometheus. Metrics are no matter of the public: with a --host that others
    can reach they need a port of their own.
    """
    if context.invoked_subcommand is not None:
        return
    if host not in _LOCAL and metrics_port is None:
        raise InvalidRequest(
            f"metrics name partners, and {host} can be reached by others: give them a port of their own,"
            " --metrics-port N"
        )
    logs.to_stderr(Settings.load().log, program="feeds")
    require_free(port, "the feeds", option="--port")
    public, internal = Address(host=host, port=port), None
    if metrics_port is not None:
        require_free(metrics_port, "the metrics", option="--metrics-port")
        internal = Address(host=metrics_host, port=metrics_port)
    with house(wait=time.sleep) as open_house:
        server = Server(
            open_house.looker,
            open_house.editor,
            clock=open_house.clock,
            fresh_seconds=open_house.settings.status_page.look_seconds,
        )
        ready = partial(events.tell, "feeds_served", public=public, metrics=f"{internal or public}/metrics")
        server.run(public, internal, ready=ready)


@feeds.command(name="print")
@click.argument("form", type=click.Choice(list(_PATHS)))
def print_(*, form: str) -> None:
    """Print a document once, for a file or a pipe."""
    with house() as open_house:
        document = documents(_bulletin(open_house))[_PATHS[form]]
    answer(document, as_json=True, plain=lambda: None)


@feeds.command(name="draft")
@click.argument("incident", type=int)
@click.option("--over", is_flag=True, help="As if it were over.")
@as_json
def draft_(*, incident: int, over: bool, as_json: bool) -> None:
    """Draft what to tell the public of an incident, from how things are. Nothing is shown to anybody."""
    with house() as open_house:
        drafted = _draft(open_house, incident, over=over)
    answer(drafted.as_json(), as_json=as_json, plain=lambda: _show(drafted))


@feeds.command
@click.argument("incident", type=int)
@click.option("--status", type=click.Choice(list(Stage)), help="How far it has come; as drafted.")
@click.option("--title", help="A title for the public; as drafted, or as before.")
@click.option("--text", help="What to tell the public; as drafted.")
@click.option("--component", "components", multiple=True, help="What it is about; those that are unwell.")
@click.option("--yes", is_flag=True, help="Release it without being asked.")
@as_json
def release(
    *,
    incident: int,
    status: str | None,
    title: str | None,
    text: str | None,
    components: tuple[str, ...],
    yes: bool,
    as_json: bool,
) -> None:
    """Tell the public of an incident: shows the words, asks, and puts them on the status page."""
    with house() as open_house:
        stage = Stage(status) if status else None
        drafted = _draft(open_house, incident, over=stage is Stage.RESOLVED)
        known = list(open_house.settings.status_page.components)
        if unknown := [one for one in components if one not in known]:
            raise InvalidRequest(f"there is no component {unknown[0]!r}; there are: {', '.join(known)}")
        words = Draft(
            incident=incident,
            stage=stage or drafted.stage,
            title=title or drafted.title,
            body=text or drafted.body,
            impact=drafted.impact,
            components=components or drafted.components,
        )
        if not yes:
            _show(words)
            click.confirm("Tell the public so?", abort=True, err=True)
        open_house.ledger.announcements.release(
            incident,
            words.stage,
            title=words.title,
            body=words.body,
            impact=words.impact,
            components=words.components,
            actor=me(),
            now=open_house.clock.now(),
        )
    answer(words.as_json(), as_json=as_json, plain=lambda: out.print("The public has been told."))


def _bulletin(open_house: House) -> Bulletin:
    return open_house.editor.bulletin(open_house.looker.look())


def _draft(open_house: House, incident: int, *, over: bool) -> Draft:
    over |= open_house.ledger.incidents.get(incident).closed_at is not None
    within = timedelta(seconds=open_house.settings.status_page.update_seconds)
    return draft(incident, _bulletin(open_house), over=over, update_within=within)


def _show(words: Draft) -> None:
    out.print(f"{words.title}  ({words.stage}, impact {words.impact})", markup=False)
    out.print(f"Components: {', '.join(words.components) or 'none'}", markup=False)
    out.print(words.body, markup=False)
