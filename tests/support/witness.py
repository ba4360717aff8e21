"""What the simulator's judge saw, asked in the words of a story."""

import json
import subprocess
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from tests.support.fleet import Fleet
from wabajobs.ledger.tables import OperationRow
from wabajobs.operation import Operation, State
from wabajobs.simulator.judge import CallRecord

SHORT_PAGES: dict[str, Any] = {"template_sync": {"page_size": 20}}
"""Settings with which a list has many pages, and is quickly written down all the same."""


def calls_about(fleet: Fleet, waba: str) -> list[CallRecord]:
    """Return the calls about a WABA, in the order of their arrival."""
    return [call for call in fleet.simulator.judge.calls() if call.waba == waba]


def calls_since(fleet: Fleet, wall: float) -> list[CallRecord]:
    """Return the calls that have arrived since a moment of the wall clock."""
    return [call for call in fleet.simulator.judge.calls() if call.wall > wall]


def calls_admitted_since(fleet: Fleet, wall: float) -> list[CallRecord]:
    """Return the calls that cannot have been admitted before a moment: an older permit would be void by then.

    At most as many as there are slots may have been admitted just before, and arrive just after.
    """
    all_since = calls_since(fleet, wall)
    admitted = calls_since(fleet, wall + fleet.settings.gate.start_within_seconds)
    assert len(all_since) - len(admitted) <= fleet.settings.workers.concurrency
    return admitted


def pages_read(fleet: Fleet, waba: str) -> list[str | None]:
    """Return the cursors of the pages that were answered, in order."""
    return [call.after for call in calls_about(fleet, waba) if call.status == 200]


def pages_read_twice(fleet: Fleet) -> dict[tuple[str | None, str | None], int]:
    """Return the (WABA, cursor) of pages that were answered more than once, and how often."""
    pages = Counter((call.waba, call.after) for call in fleet.simulator.judge.calls() if call.status == 200)
    return {page: times for page, times in pages.items() if times > 1}


def mirrored(fleet: Fleet, wabas: Iterable[str]) -> bool:
    """Tell whether our mirror of these WABAs is what the simulator has."""
    ours, world = fleet.house.ledger.templates, fleet.simulator.world
    return all(
        {template["id"] for template in ours.templates(waba)}
        == {template.id for template in world.templates(waba)}
        for waba in wabas
    )


@dataclass(frozen=True)
class Attempt:
    """One attempt at an operation, as its story tells it."""

    worker: str
    begun_at: datetime
    ended_at: datetime | None
    outcome: str | None
    """`lost` when its worker was gone, else as the event is called."""


def attempts(fleet: Fleet, operation: Operation) -> list[Attempt]:
    """Return the attempts at an operation, oldest first."""
    events = fleet.house.ledger.operations.story(operation.id)
    found = []
    for begun in (one for one in events if one.name == "begun"):
        of_it = [one for one in events if one.attempt == begun.attempt]
        end = next((one for one in of_it[of_it.index(begun) + 1 :] if one.name != "released"), None)
        outcome = "lost" if end and end.actor == "dispatcher" else end and end.name
        found.append(Attempt(begun.actor, begun.at, end and end.at, outcome))
    return found


def open_attempts(fleet: Fleet) -> Counter[str]:
    """Count the attempts under way by process id; those of one that died count until they are reclaimed."""
    with fleet.house.ledger.database.read() as connection:
        workers = connection.scalars(select(OperationRow.worker).where(OperationRow.state == State.RUNNING)).all()
    return Counter(worker.rpartition(":")[2] for worker in workers if worker)


def story(fleet: Fleet, operation: Operation) -> list[str]:
    """Return the names of what has happened to an operation."""
    return [one.name for one in fleet.house.ledger.operations.story(operation.id)]


def answer(done: subprocess.CompletedProcess[str]) -> Any:
    """Return what a command with `--json` has answered."""
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
