"""The operator's door: `wabajobs COMMAND`. One file per noun."""

import gc
import sys
from importlib import import_module
from typing import Final

import click

from wabajobs.cli.say import report
from wabajobs.errors import WabajobsError

_FILES: Final = {
    "apps": "apps",
    "audit": "brakes",
    "breakers": "budgets",
    "budget": "budgets",
    "db": "database",
    "demo": "demo",
    "dispatcher": "run",
    "drill": "drill",
    "enqueue": "ops",
    "events": "events",
    "explain": "explain",
    "feeds": "feeds",
    "fleet": "fleet",
    "flower": "run",
    "incident": "incidents",
    "limits": "budgets",
    "ops": "ops",
    "partners": "partners",
    "pause": "brakes",
    "resume": "brakes",
    "simulator": "run",
    "status": "look",
    "top": "top",
    "up": "run",
    "vault": "vault",
}
"""Each command, and the file of this folder in which a function of that name is it."""


class Commands(click.Group):
    """Commands that are read in when asked for: at 3 a.m. `pause` does not wait for what it has no need of."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all."""
        del ctx
        return sorted(_FILES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the one of that name, if there is any."""
        del ctx
        if cmd_name not in _FILES:
            return None
        gc.disable()  # Modules are made to stay: to look for garbage among them takes a fifth of the start.
        try:
            module = import_module(f"{__name__}.{_FILES[cmd_name]}")
        finally:
            gc.freeze()
            gc.enable()
        command = getattr(module, cmd_name)
        assert isinstance(command, click.Command)  # noqa: S101 (tried for each name by a test)
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="wabajobs", message="%(version)s")
@click.option("--debug", is_flag=True, help="Show where an internal error happened.")
def cli(*, debug: bool) -> None:
    """The background job queue for WhatsApp Business Account management.

    Settings come from the file in WABAJOBS_CONFIG and the WABAJOBS_… environment variables; without any,
    from a running `wabajobs up` in this folder.
    """
    del debug  # read in `main`, which must know it even when parsing fails


def main() -> None:
    """Run a command. An error is one sentence and an exit code; a stack trace never, unless asked for."""
    try:
        sys.exit(cli.main(standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(141)  # who read us has had enough
    except WabajobsError as error:
        report(error)
        sys.exit(1)
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        report(f"internal error: {type(error).__name__}: {error}; --debug shows where it happened")
        sys.exit(70)
