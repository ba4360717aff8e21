"""What stories begin with, and what the programs have said when one fails."""

from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest

from tests.support.databases import SqliteFiles
from tests.support.fleet import Fleet
from tests.support.servers import RunningPostgres, running_postgres


@pytest.fixture
def on_sqlite(fleet_on: Callable[..., Fleet], sqlite_files: SqliteFiles) -> Callable[..., Fleet]:
    """Makes a fleet on SQLite, against a simulator with these `knobs`, with these settings."""

    def make(**more: Any) -> Fleet:
        return fleet_on(sqlite_files.fresh(), **more)

    return make


@pytest.fixture
def own_postgres() -> Iterator[RunningPostgres]:
    """A PostgreSQL server that the test may kill."""
    with running_postgres() as server:
        yield server


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and call.when == "call" and call.excinfo:
        for entry in call.excinfo.traceback:
            if isinstance(fleet := entry.frame.f_locals.get("fleet"), Fleet):
                report.sections.append(("What the programs said", fleet.logs()))
                break
    return report
