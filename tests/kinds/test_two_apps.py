"""Two Meta apps: what stops one leaves the other as it was, and what may go by the other goes by it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.stage import KNOBS, Stage
from wabajobs import attempt
from wabajobs.capability import Capability
from wabajobs.gate import Call, Outcome, Permit, Report
from wabajobs.intake import Request, checked
from wabajobs.kinds import PlannedCall, Step, Work, catalogue
from wabajobs.ledger import Route
from wabajobs.operation import Operation, State
from wabajobs.simulator import Simulator, SimulatorConfig

WORLD = {**KNOBS, "wabas": 12, "apps": 2}
LIMIT = 6
"""Calls that the first app may make in the window."""
SYNC = catalogue()["template_sync"]


def upload(work: Work) -> dict[str, Any]:
    file = b"\x89PNG"
    opened = work.graph.send(
        "POST",
        f"{work.operation.app}/uploads",
        params={"file_name": "a.png", "file_length": len(file), "file_type": "image/png"},
    )
    work.keep({"session": opened["id"]})
    sent = work.graph.send("POST", opened["id"], data=file, headers={"file_offset": "0"}, auth="OAuth")
    return {"handle": sent["h"]}


def look(work: Work) -> dict[str, Any]:
    work.graph.get(f"{work.operation.waba}/message_templates")
    return {}


MEDIA = replace(
    SYNC,
    name="media",
    coalesces=False,
    steps=(
        Step(
            name="upload",
            run=upload,
            capability=Capability.UPLOADS,
            calls=lambda _: (PlannedCall(method="POST", path="{app}/uploads"),),
        ),
        Step(name="look", run=look, capability=Capability.TEMPLATE_READS),
    ),
)


@pytest.fixture
def apps() -> list[Any]:
    return list(Simulator(SimulatorConfig(**WORLD)).world.apps)


@pytest.fixture
def stage(
    stages: Callable[..., AbstractContextManager[Stage]], tmp_path: Path, apps: list[Any]
) -> Iterator[Stage]:
    first, second = apps
    (tmp_path / "second").write_text(second.token)
    settings = {
        "apps": {
            first.id: {"token": {"file": tmp_path / "token"}, "calls_per_window": LIMIT},
            second.id: {"token": {"file": tmp_path / "second"}, "calls_per_window": 500},
        },
        "gate": {"margin": 0.0, "interactive_reserve": 0.0, "standard_reserve": 0.0},
    }
    with stages(knobs=WORLD, settings=settings, kinds=[SYNC, MEDIA]) as made:
        call = Call(app=second.id, queue="first", partner="first", capability=Capability.TEMPLATE_READS)
        permit = made.house.gate.admit(call)
        assert isinstance(permit, Permit)
        made.house.gate.settle(permit, Report(outcome=Outcome.OK, app_percent=0))
        yield made


def work_off(stage: Stage, kind: str = "template_sync") -> None:
    """Let workers begin everything that queues, once; no time passes."""
    operations = stage.house.ledger.operations
    while lines := operations.lines([kind]):
        due = [one for heads in operations.heads(dict.fromkeys(lines, 100)).values() for one in heads]
        for one in operations.release(due, now=stage.clock.now(), lease=timedelta(seconds=15)):
            attempt.perform(one.id, one.fence, bench=stage._bench)


def enqueue(stage: Stage, app: str, kind: str = "template_sync") -> list[Operation]:
    return [
        stage.accept(kind, waba=waba, app=app, partner=f"of-{app}") for waba in stage.simulator.world.waba_ids
    ]


def states(stage: Stage, operations: list[Operation]) -> list[State]:
    return [stage.get(one).state for one in operations]


def calls_by(stage: Stage, token: str) -> int:
    return sum(token in value for one in stage.witness.arrived for value in one.headers.values())


def route(stage: Stage, apps: list[Any]) -> dict[str, Any]:
    found = Route(
        from_app=apps[0].id, to_app=apps[1].id, reason="app limit", actor="anna", created_at=stage.clock.now()
    )
    stage.house.router.check(found)
    stage.house.ledger.routes.put(found)
    [*_, told] = stage.house.router.move(found, actor="anna")
    return told.as_json()


def test_a_limit_of_one_app_leaves_the_other_as_it_was(stage: Stage, apps: list[Any]) -> None:
    first, second = (enqueue(stage, app.id) for app in apps)

    work_off(stage)

    assert states(stage, second) == [State.SUCCEEDED] * 12
    assert 0 < states(stage, first).count(State.SUCCEEDED) < LIMIT
    held = [stage.get(one).hold for one in first if stage.get(one).state is State.HELD]
    assert {hold.by for hold in held if hold} == {"budget"}
    assert calls_by(stage, apps[1].token) == 12


def test_a_breaker_of_one_app_leaves_the_other_as_it_was(stage: Stage, apps: list[Any]) -> None:
    stage.break_("template_reads")
    first, second = (enqueue(stage, app.id) for app in apps)

    work_off(stage)

    assert states(stage, second) == [State.SUCCEEDED] * 12
    assert states(stage, first) == [State.HELD] * 12
    assert calls_by(stage, apps[0].token) == 0


def test_what_is_moved_runs_by_the_other_app_and_uploads_stay(stage: Stage, apps: list[Any]) -> None:
    media = stage.accept("media", waba=stage.waba, app=apps[0].id)
    stage.pause("capability:template_reads")
    stage.attempt(media)
    stage.resume("capability:template_reads")
    first = enqueue(stage, apps[0].id)
    work_off(stage)
    done = states(stage, first).count(State.SUCCEEDED)
    before = calls_by(stage, apps[0].token)

    told = route(stage, apps)
    work_off(stage)

    assert told == {"moves": 12 - done, "stays": {"its upload handle is bound to its app": 1}}
    assert states(stage, first) == [State.SUCCEEDED] * 12
    assert calls_by(stage, apps[0].token) == before, "not one more call by the app that is limited"
    assert calls_by(stage, apps[1].token) == 12 - done
    kept = stage.get(media)
    assert (kept.app, kept.routed_from) == (apps[0].id, None)
    stage.pass_time(3601)
    assert stage.work(media).state is State.SUCCEEDED
    assert calls_by(stage, apps[1].token) == 12 - done, "the handle never went by the other app"


def test_what_comes_goes_by_the_other_app_while_the_route_stands(stage: Stage, apps: list[Any]) -> None:
    house = stage.house
    route(stage, apps)
    routes = house.router.standing()

    def ask(waba: str) -> Operation:
        request = Request(kind="template_sync", partner="acme", waba=waba, app=apps[0].id)
        new = house.router.routed(checked(request, kinds=house.kinds, settings=house.settings), routes)
        return house.ledger.operations.accept([new], now=stage.clock.now())[0].operation

    operations = [ask(waba) for waba in stage.simulator.world.waba_ids]
    work_off(stage)

    assert states(stage, operations) == [State.SUCCEEDED] * 12
    assert calls_by(stage, apps[0].token) == 0
