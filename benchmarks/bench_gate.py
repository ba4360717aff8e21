"""The gate's properties P1 to P16: target, ours, and what others reach in the same run.

The simulator is the vendor, a process of its own, and eight processes call it over HTTP through the gate, with
a real Redis between them. An hour is made short; all that the gate waits for is made shorter alike.
"""

# ruff: noqa: E402
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "src")]

import argparse
import time
import traceback
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from benchmarks import gate_breakers, gate_cost, gate_limits, support
from benchmarks.gate_stage import PROCESSES, Arena, Crowd, Finding

ANCHORS = ("limits", "pyrate-limiter", "throttled-py", "pybreaker")
Trial = Callable[[Arena], list[Finding]]
TRIALS: dict[str, Trial] = {
    "P1": gate_limits.p1,
    "P2": gate_limits.p2,
    "P3": gate_limits.p3,
    "P4": gate_limits.p4,
    "P5": gate_limits.p5,
    "P6": gate_breakers.p6_p7_p8,
    "P7": gate_breakers.p6_p7_p8,
    "P8": gate_breakers.p6_p7_p8,
    "P9": gate_breakers.p9,
    "P10": gate_cost.p10,
    "P11": gate_cost.p11,
    "P12": gate_cost.p12,
    "P13": gate_limits.p13,
    "P14": gate_breakers.p14,
    "P15": gate_limits.p15,
    "P16": gate_limits.p16,
}


def main() -> None:
    """Run."""
    options = _parser().parse_args()
    asked = options.only.split(",") if options.only else list(TRIALS)
    conditions = [
        f"{PROCESSES} processes call through PermittedGraph (gate, HTTP client) as the product's workers do;"
        " the simulator counts refused calls as well",
        "an hour is made short, breakers, headers and ramps alike; the spread (>= 0.15 s), the lease of a probe"
        " (>= 0.75 s) and the bound of a permit are not: they cover real delays",
        "the figures of calls and refusals are the vendor's own account; waits are the callers'",
        "anchors run side by side: before or after ours, against the same kind of vendor, with as many processes",
        "P11: in turns on one connection, ratios of medians of the same round",
    ]
    if options.quick:
        conditions.append(
            "quick: hours of a few seconds, in which times mean little; it only shows that all runs"
        )
    with support.stage("sqlite") as stage:
        facts = support.machine(stage, "sqlite") | {name: version(name) for name in ANCHORS}
        report = support.Report("gate", options, facts, conditions)
        crowd = Crowd(stage)
        try:
            findings = _run(asked, Arena(stage=stage, crowd=crowd, quick=options.quick), report)
        finally:
            crowd.close()
        _tell(report, findings)
        report.end()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small numbers: to see that it works")
    parser.add_argument("--only", metavar="P1,P3", help="some of the properties")
    parser.add_argument("--results", type=Path, default=support.RESULTS, help="folder of raw results")
    return parser


def _run(asked: list[str], arena: Arena, report: support.Report) -> list[Finding]:
    findings: list[Finding] = []
    for trial in dict.fromkeys(TRIALS[name] for name in asked):
        begun = time.monotonic()
        try:
            found = trial(arena)
        except Exception:
            # One that fails must not cost the others their results.
            print(arena.stage.clean(traceback.format_exc()), flush=True)
            found = []
        seconds = time.monotonic() - begun
        for one in found:
            report.keep(what="finding", seconds=round(seconds, 1), finding=vars(one))
            print(f"  [{seconds:4.0f} s] {one.property}: {one.what}: {one.ours} (target {one.target})")
            for name, said in one.anchors.items():
                print(f"           {name}: {said}")
        sys.stdout.flush()
        findings += found
    print()
    return sorted(findings, key=lambda one: int(one.property[1:]))


def _tell(report: support.Report, findings: list[Finding]) -> None:
    words = {True: "yes", False: "NO", None: "-"}
    rows: list[list[Any]] = []
    for one in findings:
        anchors = [f"{name}: {said}" for name, said in one.anchors.items()] or [""]
        rows.append([f"{one.property} {one.what}", one.target, one.ours, words[one.met], anchors[0]])
        rows += [["", "", "", "", anchor] for anchor in anchors[1:]]
    report.table("The gate", ["property", "target", "ours", "met", "anchors in this run"], rows)


if __name__ == "__main__":
    main()
