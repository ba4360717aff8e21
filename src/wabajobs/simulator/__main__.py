"""`python -m wabajobs.simulator`: a simulator as a process."""

from __future__ import annotations

import argparse
import sys

from pydantic import ValidationError

from wabajobs.simulator.config import SimulatorConfig, sentence
from wabajobs.simulator.server import PortTaken, serve

_KNOBS = ("speed", "seed", "wabas", "templates", "app_limit", "window")


def main(arguments: list[str] | None = None) -> int:
    """Serve until a signal; returns the exit code."""
    asked = _parser().parse_args(arguments)
    changes = {name: getattr(asked, name) for name in _KNOBS if getattr(asked, name) is not None}
    try:
        config = SimulatorConfig.from_toml(asked.scenario) if asked.scenario else SimulatorConfig()
        serve(config.with_changes(**changes), port=asked.port, json=asked.json)
    except ValidationError as error:
        return _fail(sentence(error))
    except (PortTaken, ValueError, OverflowError, OSError) as error:
        return _fail(str(error))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="wabajobs simulator", description=__doc__)
    add = parser.add_argument
    add("--port", type=int, required=True, help="port on loopback; 0 takes a free one")
    add("--scenario", metavar="FILE", help="TOML file with any knob of the config and [[faults]]")
    add("--speed", type=float, help="simulated seconds per real second")
    add("--seed", type=int, help="decides every id, secret, token and template")
    add("--wabas", type=int, help="how many WABAs exist")
    add("--templates", type=int, help="message templates of each WABA")
    add("--app-limit", type=int, help="calls an app may make in a window")
    add("--window", type=float, help="length of the rolling windows in simulated seconds")
    add("--json", action="store_true", help="print the line at the start as JSON")
    return parser


def _fail(sentence_: str) -> int:
    sys.stderr.write(f"The simulator did not start: {sentence_}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
