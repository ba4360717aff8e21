"""The kind that docs/adding-a-kind.md makes runs, as the page shows it."""

import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, Page
from tests.support.databases import SqliteFiles
from tests.support.fleet import Fleet
from tests.support.waiting import until
from tests.support.witness import answer
from wabajobs.client import Client
from wabajobs.kinds import catalogue
from wabajobs.settings import Settings

PAGE = Page(DOCS / "adding-a-kind.md")


@dataclass
class Example:
    """The files of the page, and what it adds to the settings."""

    folder: Path
    kinds: list[str]


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Example]:
    """The page's files in a folder where Python finds them, here and in the programs."""
    folder = tmp_path / "example"
    folder.mkdir()
    kinds: list[str] = []
    for block in PAGE.blocks:
        if block.language == "python" and (named := re.match(r"# (\w+\.py)\n", block.text)):
            (folder / named[1]).write_text(block.text)
        if block.language == "toml":
            kinds = tomllib.loads(block.text)["kinds"]
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.syspath_prepend(str(folder))
    yield Example(folder, kinds)
    for file in folder.glob("*.py"):
        sys.modules.pop(file.stem, None)


def test_the_page_holds_a_kind_and_its_worker(example: Example) -> None:
    assert {file.name for file in example.folder.glob("*.py")} == {"waba_health.py", "waba_health_worker.py"}
    assert catalogue(example.kinds).names == (*catalogue().names, "waba_health")


def test_the_kind_runs_in_a_worker_of_its_own(
    example: Example, fleet_on: Callable[..., Fleet], sqlite_files: SqliteFiles
) -> None:
    fleet = fleet_on(sqlite_files.fresh(), kinds=example.kinds)
    worker = [sys.executable, "-m", "celery", "-A", "waba_health_worker", "worker", "--loglevel=INFO"]
    fleet.start("dispatcher")
    fleet.start_program("worker", [*worker, "--hostname=waba_health@%h"])
    queue = "waba_health"
    until(lambda: fleet.house.presence.living([queue])[queue], within=30, what=f"a worker\n{fleet.logs()}")
    waba = fleet.simulator.world.waba_ids[0]

    accepted = fleet.command(*f"enqueue waba_health --partner acme --waba {waba} --set with_name=true".split())
    (done,) = answer(fleet.command("ops", "wait", accepted.stdout.strip(), "--timeout", "30s", "--json"))

    assert done["class"] == "interactive"
    assert done["result"] == {"can_send_message": "AVAILABLE", "blocked_by": [], "name": "Shop 1"}
    (call,) = fleet.simulator.judge.calls()
    assert (call.endpoint, call.waba) == ("waba.get", waba)


def test_what_the_page_says_of_a_wrong_field_and_of_coalescing(
    example: Example, fleet_on: Callable[..., Fleet], sqlite_files: SqliteFiles
) -> None:
    fleet = fleet_on(sqlite_files.fresh(), kinds=example.kinds)
    waba = fleet.simulator.world.waba_ids[0]
    enqueue = f"enqueue waba_health --partner acme --waba {waba}".split()

    refused = fleet.command(*enqueue, "--set", "with_nam=true")
    with Client(Settings.load(fleet.env)) as client:
        first, second = (client.enqueue(queue_, partner="acme", waba=waba) for queue_ in ["waba_health"] * 2)

    assert refused.returncode == 1
    assert refused.stderr.strip() in PAGE.text
    assert (second.id, second.callers) == (first.id, 2)
