"""The drills, one after the other, each with its verdict; their raw results are kept with the other benchmarks'.

`bench_drill.py [NAME …] [--quick | --whole] [--pictures FOLDER]`. Refused calls count; with `--not-counting`
they do not.
"""

# ruff: noqa: E402
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "src")]

import argparse
import json
import os
import platform
import subprocess
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from benchmarks import support
from wabajobs.drills import DRILLS


def main() -> None:
    """Run."""
    options = _parser().parse_args()
    facts = {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "load before": round(os.getloadavg()[0], 2),
        "wabajobs": support.revision(),
        "Python": platform.python_version(),
        "celery": version("celery"),
    }
    conditions = ["each drill says itself how long an hour lasts, and what it plays: docs/drills.md"]
    pictures = options.__dict__.pop("pictures")  # a folder of this machine is no condition of a measurement
    report = support.Report("drill", options, facts, conditions)
    names = options.names or [one.name for one in DRILLS]
    for name in names:
        result = _played(name, pictures, options)
        report.keep(what="drill", **{key: value for key, value in result.items() if key != "files"})
        rows = [
            [one["claim"], one["seen"], one["beside"], "held" if one["held"] else "NOT HELD"]
            for one in result["claims"]
        ]
        report.table(name, ["claim", "wabajobs", "plain Celery", ""], rows)
    report.end()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="drills to play; all of them if none is named")
    parser.add_argument("--quick", action="store_true", help="to see that it works")
    parser.add_argument("--whole", action="store_true", help="every hour of the incident")
    parser.add_argument("--not-counting", action="store_true", help="Meta does not count refused calls")
    parser.add_argument("--pictures", type=Path, help="folder to keep pictures and pages in")
    parser.add_argument("--results", type=Path, default=support.RESULTS, help="folder of raw results")
    return parser


def _played(name: str, pictures: Path | None, options: argparse.Namespace) -> dict[str, Any]:
    """Play one; whether its claims held or not, its result is told."""
    with tempfile.TemporaryDirectory(prefix="wabajobs-bench-") as temporary:
        out = (pictures or Path(temporary)) / name
        argv = [sys.executable, "-m", "wabajobs", "drill", name, "--json", "--out", str(out)]
        argv += ["--quick"] * options.quick + ["--whole"] * options.whole
        argv += ["--no-count-refused"] * options.not_counting
        done = subprocess.run(
            argv, env={**os.environ, **support.child_env()}, stdout=subprocess.PIPE, text=True, check=False
        )
        if not done.stdout:
            raise SystemExit(f"the drill {name} was not carried through")
        result: dict[str, Any] = json.loads(done.stdout)
        return result


if __name__ == "__main__":
    main()
