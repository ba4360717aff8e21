"""Each of the kinds on the real path: enqueued by the Hub, released, worked off by a Celery worker, judged."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.kinds import test_crash_matrix  # noqa: F401 (it puts all cases on the list)
from tests.kinds.cases import CASES, Case
from tests.support.fleet import Fleet
from tests.support.waiting import until
from wabajobs.client import Client
from wabajobs.clock import SystemClock
from wabajobs.kinds import catalogue
from wabajobs.operation import Operation, State
from wabajobs.simulator import Simulator
from wabajobs.wiring import House

WABAS = 40
OF_NOBODY = 1
"""WABAs whose numbers nobody has registered."""
KNOBS: dict[str, Any] = {
    "wabas": WABAS,
    "inactive_wabas": OF_NOBODY,
    "templates": 3,
    "app_limit": 100_000,
    "header_floor": 0,
    "callback_asked": False,
}


@dataclass
class Place:
    """A WABA of the fleet's simulator, as the cases of the kinds know their stage."""

    fleet: Fleet
    waba: str

    @property
    def simulator(self) -> Simulator:
        return self.fleet.simulator

    @property
    def house(self) -> House:
        return self.fleet.house

    @property
    def client(self) -> Client:
        return self.fleet.client

    @property
    def clock(self) -> SystemClock:
        return SystemClock()

    @property
    def app(self) -> str:
        return self.simulator.app.id

    @property
    def number(self) -> str:
        return self.simulator.world.waba(self.waba).numbers[0].id

    def get(self, operation: Operation) -> Operation:
        return self.client.get(operation.id)

    def provide(self, operation: Operation, **given: str) -> Operation:
        return self.client.provide(operation.id, **given)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("database", ["sqlite_files", "postgres"])
def test_every_kind_does_its_work_through_a_real_worker(
    fleet_on: Callable[..., Fleet], request: pytest.FixtureRequest, database: str
) -> None:
    fleet = fleet_on(request.getfixturevalue(database).fresh(), knobs=KNOBS)
    world = fleet.simulator.world
    first = {case.kind: case for case in reversed(CASES.values())}
    assert set(first) == set(catalogue().names)
    worker = [sys.executable, "-m", "celery", "-A", "tests.support.every_worker", "worker"]
    fleet.start("dispatcher")
    fleet.start_program("worker", [*worker, "--loglevel=INFO"])
    fleet.ready()

    # The first two are the ends of what moves from one to the other.
    free = iter(world.waba_ids[2 : WABAS - OF_NOBODY])
    special = {
        "number_registration": world.waba_ids[-1],
        "number_migration": world.waba_ids[0],
        "template_migration": world.waba_ids[0],
    }
    going: list[tuple[Case, Place, Operation]] = []
    for kind, case in first.items():
        place = Place(fleet, special.get(kind) or next(free))
        asked = dict(case.prepare(place))  # type: ignore[arg-type]
        operation = fleet.client.enqueue(kind, partner="acme", service_class="interactive", **asked)
        going.append((case, place, operation))
        until(lambda one=going[-1]: _has_ended(*one), what=f"{kind} has ended\n{fleet.logs()}", within=60)

    done = {case.kind: fleet.client.get(operation.id) for case, _, operation in going}
    assert {kind: one.error for kind, one in done.items() if one.state is not State.SUCCEEDED} == {}
    assert fleet.simulator.judge.effects.duplicates() == []


def _has_ended(case: Case, place: Place, operation: Operation) -> bool:
    now = place.get(operation)
    if now.state is State.NEEDS_INPUT:
        case.give(now, place)  # type: ignore[arg-type]
    return now.state.finished
