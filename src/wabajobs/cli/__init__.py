"""The operator's door: `wabajobs COMMAND`. One file per noun."""

import sys

import click

from wabajobs.cli import (
    apps,
    brakes,
    budgets,
    database,
    demo,
    drill,
    events,
    explain,
    feeds,
    fleet,
    incidents,
    look,
    ops,
    partners,
    run,
    top,
    vault,
)
from wabajobs.cli.say import report
from wabajobs.errors import WabajobsError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="wabajobs", message="%(version)s")
@click.option("--debug", is_flag=True, help="Show where an internal error happened.")
def cli(*, debug: bool) -> None:
    """The background job queue for WhatsApp Business Account management.

    Settings come from the file in WABAJOBS_CONFIG and the WABAJOBS_… environment variables; without any,
    from a running `wabajobs up` in this folder.
    """
    del debug  # read in `main`, which must know it even when parsing fails


NOUNS = (
    *(run, demo, drill, database, ops, look, explain, top, events, feeds, apps, fleet),
    *(brakes, budgets, incidents, partners, vault),
)

for noun in NOUNS:
    for command in noun.COMMANDS:
        cli.add_command(command)


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
