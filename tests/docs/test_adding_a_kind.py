"""The kind that docs/adding-a-kind.md makes runs, as the page shows it."""

import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import DOCS, Page
from tests.support.databases import SqliteFiles
from tests.support.fleet import Fleet
from tests.support.stage import Crash, Point, Stage, differs
from tests.support.waiting import until
from tests.support.witness import answer
from wabajobs.client import Client
from wabajobs.kinds import catalogue
from wabajobs.operation import Operation, State
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
    files = {"waba_health.py", "waba_health_worker.py", "greeting.py"}
    assert {file.name for file in example.folder.glob("*.py")} == files
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


def greeting(stage: Stage, *, text: str = "Good morning") -> Operation:
    return stage.accept("greeting", waba=stage.waba, payload={"text": text})


def sign_off(operation: Operation, stage: Stage) -> None:
    stage.provide(operation, signed_off="yes")


def texts(stage: Stage) -> list[str]:
    templates = stage.simulator.world.templates(stage.waba)
    return [one.components for one in templates if one.name == "greeting"]


@pytest.fixture
def greetings(
    example: Example, stages: Callable[..., AbstractContextManager[Stage]]
) -> Callable[[], AbstractContextManager[Stage]]:
    """Stages with the kind that changes something."""
    kind = catalogue(["greeting"])["greeting"]
    return lambda: stages(kinds=[kind])


def test_the_kind_that_changes_something_waits_for_a_person_and_makes_the_calls_that_it_plans(
    greetings: Callable[[], AbstractContextManager[Stage]],
) -> None:
    with greetings() as stage:
        operation = greeting(stage)

        done = stage.work(operation, sign_off)

        assert done.state is State.SUCCEEDED
        assert [(one.method, one.path) for one in stage.calls(operation)] == [
            ("POST", f"{stage.waba}/message_templates")
        ]
        assert not differs(stage.house.kinds["greeting"].calls(operation.payload), stage.calls(operation), done)


@pytest.mark.parametrize("disturbed", [{"lose": 1}, *({"crash": Crash(1, point)} for point in Point)], ids=str)
def test_the_kind_that_changes_something_does_so_once(
    greetings: Callable[[], AbstractContextManager[Stage]], disturbed: dict[str, Any]
) -> None:
    with greetings() as stage:
        done = stage.work(greeting(stage), sign_off, **disturbed)

        assert done.state is State.SUCCEEDED
        assert len(texts(stage)) == 1
        assert stage.duplicates() == []


def test_the_kind_that_changes_something_tells_what_is_there_instead(
    greetings: Callable[[], AbstractContextManager[Stage]],
) -> None:
    with greetings() as stage:
        stage.work(greeting(stage, text="Good evening"), sign_off)
        operation = greeting(stage)
        stage.work(operation)
        sign_off(operation, stage)
        stage.attempt(operation, Crash(1, Point.BEFORE))

        done = stage.work(operation)

        assert done.state is State.FAILED
        assert (done.error or {})["difference"] == {"text": ["Good evening", "Good morning"]}
