"""`python -m wabajobs.simulator`: a simulator as a process, its report, and the scenarios that come with it."""

from __future__ import annotations

import argparse
import sys

from pydantic import ValidationError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from wabajobs.simulator import report
from wabajobs.simulator.config import SimulatorConfig, sentence, shipped_scenarios
from wabajobs.simulator.scenario import PhaseError
from wabajobs.simulator.server import HOST, PortTaken, serve

_KNOBS = ("speed", "seed", "apps", "wabas", "numbers", "templates", "app_limit", "window", "webhook_url")
_MORE = """
commands:
  wabajobs simulator report --port N     what the judge has counted; --check fails when there is blame
  wabajobs simulator scenarios           the scenarios that come with it
"""


def main(arguments: list[str] | None = None) -> int:
    """Serve until a signal, or do what a command says; returns the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    match given[:1]:
        case ["report"]:
            return _report(given[1:])
        case ["scenarios"]:
            return _scenarios(given[1:])
        case _:
            return _serve(given)


def _serve(arguments: list[str]) -> int:
    asked = _parser().parse_args(arguments)
    changes = {name: getattr(asked, name) for name in _KNOBS if getattr(asked, name) is not None}
    try:
        config = SimulatorConfig.from_toml(asked.scenario) if asked.scenario else SimulatorConfig()
        serve(config.with_changes(**changes), port=asked.port, json=asked.json, state=asked.state)
    except ValidationError as error:
        return _fail(sentence(error))
    except PhaseError as error:
        return _fail(f"{asked.scenario}: {error}")
    except (PortTaken, ValueError, OverflowError, OSError) as error:
        return _fail(str(error))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wabajobs simulator",
        description="Run a Graph API that behaves like Meta's, until a signal.",
        epilog=_MORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--port", type=int, required=True, help="port on loopback; 0 takes a free one")
    add(
        "--scenario",
        metavar="FILE",
        help="TOML file with any knob of the config, [[faults]] and [[phases]]; or the name of one that comes"
        " with it",
    )
    add("--state", metavar="FILE", help="keep the state in this file, and go on from it")
    add("--speed", type=float, help="simulated seconds per real second")
    add("--seed", type=int, help="decides every id, secret, token and template")
    add("--apps", type=int, help="how many apps exist")
    add("--wabas", type=int, help="how many WABAs exist")
    add("--numbers", type=int, help="phone numbers of each WABA")
    add("--templates", type=int, help="message templates of each WABA")
    add("--app-limit", type=int, help="calls an app may make in a window")
    add("--window", type=float, help="length of the rolling windows in simulated seconds")
    add("--webhook-url", metavar="URL", help="callback that gets the webhooks of every app")
    add("--json", action="store_true", help="print the line at the start as JSON")
    return parser


def _report(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="wabajobs simulator report", description="Print what the judge of a running simulator has counted."
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--url", help="where the simulator listens")
    where.add_argument("--port", type=int, help="the same, by its port on this machine")
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    parser.add_argument(
        "--check",
        action="store_true",
        help="exit with 2 when a limit was hit, an effect happened again, or a number is locked",
    )
    asked = parser.parse_args(arguments)
    return report.run(asked.url or f"http://{HOST}:{asked.port}", as_json=asked.json, check=asked.check)


def _scenarios(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="wabajobs simulator scenarios", description="List the scenarios that come with the simulator."
    )
    parser.parse_args(arguments)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    for name, description in shipped_scenarios().items():
        table.add_row(Text(name, style="bold"), Text(description))
    Console(highlight=False).print(table)
    return 0


def _fail(sentence_: str) -> int:
    sys.stderr.write(f"The simulator did not start: {sentence_}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
