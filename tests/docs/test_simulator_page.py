"""What docs/simulator.md and docs/simulator-coverage.md say of the simulator is so."""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import requests

from tests.docs.pages import DOCS, Block, Page
from tests.docs.test_commands import words_of
from tests.support.fleet import ROOT
from wabajobs.simulator import FaultRule, Phase, Simulator, SimulatorConfig
from wabajobs.simulator.__main__ import main
from wabajobs.simulator.config import FIXED, shipped_scenarios
from wabajobs.simulator.control import ACTIONS
from wabajobs.simulator.control.numbers import NumbersInput
from wabajobs.simulator.control.signups import AccountInput
from wabajobs.simulator.control.templates import TemplatesInput
from wabajobs.simulator.effects import UNDONE_BY
from wabajobs.simulator.endpoints import ROUTES

PAGE = Page(DOCS / "simulator.md")
COVERAGE = Page(DOCS / "simulator-coverage.md")

_KNOBS = re.compile(r"(<!-- knobs: [^\n]*-->\n).*?(<!-- end of knobs -->)", re.DOTALL)
_TEST = re.compile(r"`(?:(?P<folder>simulator|clients)/)?(?P<file>test_\w+\.py)::(?P<test>test_\w+)`")


def blocks_of(language: str) -> list[Block]:
    return [block for block in PAGE.blocks if block.language == language]


def rows(page: Page, first: str) -> Iterator[list[str]]:
    """The cells of the rows of a table whose header begins with these words."""
    inside = False
    for line in page.prose.splitlines():
        if line.startswith("|"):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            if inside and not set(cells[0]) <= set("-"):
                yield cells
            inside = inside or cells[0] == first
        else:
            inside = False


# What is shown runs


@pytest.mark.parametrize("block", blocks_of("python"), ids=[f"{n}" for n in range(len(blocks_of("python")))])
def test_the_python_on_the_page_runs(block: Block, tmp_path: Path) -> None:
    if "def test_" in block.text:
        file = tmp_path / "test_example.py"
        file.write_text(block.text)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
        assert ended.returncode == 0, ended.stdout
        assert "1 passed" in ended.stdout
        return

    exec(compile(block.text, str(PAGE), "exec"), {})


@pytest.mark.parametrize("block", blocks_of("toml"), ids=lambda block: block.text.partition("\n")[0])
def test_the_scenarios_on_the_page_are_played_to_their_end(block: Block) -> None:
    config = SimulatorConfig.model_validate(tomllib.loads(block.text) | {"clock": "hand"})
    simulator = Simulator(config)

    simulator.advance(3 * 3600)

    assert config.faults or config.phases
    told = simulator.player.told(simulator.clock.now())
    assert [one for one in told["phases"] if one["state"] != "over" or "problems" in one] == []


def test_the_commands_of_the_simulator_have_the_options_that_are_shown() -> None:
    shown = [line for block in PAGE.blocks for line in block.text.splitlines() if "wabajobs simulator " in line]

    used = []
    for line in shown:
        words = words_of(line.partition("wabajobs simulator ")[2].rstrip("& "))
        command = words[0] if words[0] in ("report", "scenarios") else ""
        known = set(re.findall(r"--[a-z-]+", help_of(*([command] if command else []))))
        assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known, line
        used.append(command)
    assert {"", "report", "scenarios"} <= set(used)


def help_of(*command: str) -> str:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), pytest.raises(SystemExit):
        main([*command, "--help"])
    return said.getvalue()


# What there is, is told


@pytest.mark.parametrize("command", [(), ("report",)], ids=str)
def test_every_option_is_on_the_page(command: tuple[str, ...]) -> None:
    options = set(re.findall(r"(?<![\w-])--[a-z-]+", help_of(*command))) - {"--help"}

    assert options - set(re.findall(r"--[a-z-]+", PAGE.prose)) == set()


def test_the_knobs_on_the_page_are_those_of_the_config() -> None:
    match = _KNOBS.search(PAGE.text)

    assert match
    assert match[0] == match[1] + knobs() + match[2], (
        "the knobs have changed; run: python -m tests.docs.test_simulator_page"
    )
    assert {cells[0].split("`")[1] for cells in rows(PAGE, "knob")} == set(SimulatorConfig.model_fields)


def test_every_disagreement_names_knobs_that_exist() -> None:
    named = {name for cells in rows(PAGE, "what") for name in re.findall(r"`(\w+)`", cells[1])}

    assert len(named) > 30
    assert named - set(SimulatorConfig.model_fields) == set()


def test_every_action_of_the_control_plane_is_on_the_page_and_no_other() -> None:
    shown = set(
        re.findall(r"^\| .*", PAGE.prose.partition("## The control plane")[2].partition("\n## ")[0], re.M)
    )
    found = {pair for row in shown for pair in re.findall(r"`(GET|POST|DELETE) ([\w./]+)`", row.split(" | ")[0])}

    assert found == {(method, path.replace("*", "ID")) for method, path in ACTIONS}


@pytest.mark.parametrize("model", [TemplatesInput, NumbersInput, AccountInput], ids=lambda model: model.__name__)
def test_what_an_action_can_do_is_on_the_page_and_nothing_else(model: Any) -> None:
    title = {TemplatesInput: "templates", NumbersInput: "numbers", AccountInput: "accounts"}[model]
    table = PAGE.prose.partition(f"\n`POST {title}`")[2].partition("| action | |")[2].partition("\n\n")[0]

    shown = {word for row in table.splitlines() if row for word in re.findall(r"`(\w+)`", row.split("|")[1])}

    assert shown == set(get_args(model.model_fields["action"].annotation))


@pytest.mark.parametrize(
    ("model", "heads"),
    [(FaultRule, ("which calls", "what happens")), (Phase, ("in a phase",))],
    ids=["faults", "phases"],
)
def test_every_field_is_on_the_page_and_no_other(model: Any, heads: tuple[str, ...]) -> None:
    shown = {name for head in heads for cells in rows(PAGE, head) for name in re.findall(r"`(\w+)`", cells[0])}

    assert shown == set(model.model_fields) - ({"id"} if model is FaultRule else set())


def test_every_effect_is_on_the_page_with_what_undoes_it() -> None:
    shown = {cells[0].strip("`"): set(re.findall(r"`(\w+)`", cells[1])) for cells in rows(PAGE, "once only")}

    assert shown == {kind: set(undoers) for kind, undoers in UNDONE_BY.items()}


def test_the_effects_that_may_happen_again_are_effects() -> None:
    (told,) = re.findall(r"^As often as one likes: ([^.]*)\.", PAGE.prose, re.MULTILINE)
    sources = (ROOT / "src" / "wabajobs" / "simulator" / "endpoints").glob("*.py")
    known = set(re.findall(r'"(\w+)"', "".join(source.read_text(encoding="utf-8") for source in sources)))

    kinds = set(re.findall(r"`(\w+)`", told))
    assert kinds - known == set()
    assert kinds & set(UNDONE_BY) == set()


def test_every_scenario_of_the_package_is_on_the_page() -> None:
    assert {cells[0].strip("`") for cells in rows(PAGE, "scenario")} == set(shipped_scenarios())


def test_everything_in_the_account_is_on_the_page() -> None:
    with Simulator(SimulatorConfig(wabas=1)).running() as simulator:
        account = requests.get(f"{simulator.url}/_simulator/report", timeout=10).json()
    shown = {name for cells in rows(PAGE, "in the account") for name in re.findall(r"`(\w+)`", cells[0])}

    assert shown - set(account) == set()
    assert {name for name in account if name.startswith("by_")} <= shown


# The coverage


def test_every_endpoint_is_on_the_coverage_page_once_and_no_other() -> None:
    shown = [tuple(cells[0].strip("`").split(" ")) for cells in rows(COVERAGE, "endpoint")]

    assert sorted(shown) == sorted((route.method, route.path) for route in ROUTES)


def test_every_test_that_is_named_exists() -> None:
    named = [match for page in (PAGE, COVERAGE) for match in _TEST.finditer(page.text)]

    assert len(named) > 200
    texts: dict[Path, str] = {}
    for match in named:
        path = ROOT / "tests" / (match["folder"] or "simulator") / match["file"]
        text = texts.setdefault(path, path.read_text(encoding="utf-8"))
        assert f"def {match['test']}(" in text, f"{path.name} has no {match['test']}"


def test_every_endpoint_and_every_rule_that_is_there_names_a_test() -> None:
    endpoints = [cells for cells in rows(COVERAGE, "endpoint") if not _TEST.search(cells[-1])]
    there = [cells for cells in rows(COVERAGE, "rule") if not cells[1].startswith("no:")]
    rules = [cells for cells in there if not _TEST.search(cells[-1])]

    assert len(there) > 200
    assert endpoints == []
    assert [cells for cells in rules if cells[2] != "no test"] == []


def test_every_rule_says_whether_it_is_there() -> None:
    levers = {f"{method} {path}" for method, path in ACTIONS}
    for model in (TemplatesInput, NumbersInput, AccountInput):
        levers |= set(get_args(model.model_fields["action"].annotation))
    for cells in rows(COVERAGE, "rule"):
        assert len(cells) == 3, cells
        assert re.match(r"yes\b|no: |knobs? `|lever `|fault rule\b|partly: ", cells[1]), cells
        for kind, known in (("knob", set(SimulatorConfig.model_fields)), ("lever", levers)):
            for names in re.findall(rf"\b{kind}s? ((?:`[\w ]+`(?:, )?)+)", cells[1]):
                assert set(re.findall(r"`([\w ]+)`", names)) <= known, cells


# The table of knobs


def knobs() -> str:
    """Every knob with its default and what it is, a table for each part of the config."""
    lines: list[str] = []
    for line in inspect.getsource(SimulatorConfig).splitlines():
        if heading := re.fullmatch(r"    # (\w[\w ]*)", line):
            lines += ["", f"### {heading[1]}", "", "| knob | default | |", "|---|---|---|"]
        elif (found := re.match(r"    (\w+): ", line)) and found[1] in SimulatorConfig.model_fields:
            knob = SimulatorConfig.model_fields[found[1]]
            mark = " *" if found[1] in FIXED else ""
            told = " ".join(str(knob.description).split()).replace("|", "\\|")
            lines.append(f"| `{found[1]}`{mark} | {_written(knob.get_default())} | {told} |")
    return "\n".join([*lines[1:], "", ""])


def _written(value: Any) -> str:
    """A default as it stands in TOML."""
    if value is None:
        return "none"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, tuple):
        return "`[" + ", ".join(_written(one).strip("`") for one in value) + "]`"
    return f"`{json.dumps(value)}`"


if __name__ == "__main__":
    text = _KNOBS.sub(lambda match: match[1] + knobs() + match[2], PAGE.text)
    PAGE.path.write_text(text, encoding="utf-8")
