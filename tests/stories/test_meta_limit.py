"""Meta's limit for the app: kept to when it is ours alone, and waited out when others have spent it."""

from collections.abc import Callable
from typing import Any

from tests.support.fleet import Fleet, wall
from tests.support.waiting import until
from tests.support.witness import SHORT_PAGES, calls_since, mirrored, pages_read_twice, story

FleetOn = Callable[..., Fleet]


def _short_window(seconds: float) -> dict[str, Any]:
    return {"window_seconds": seconds, "spread_seconds": 0.25, "header_stale_seconds": 0.5}


def test_a_limit_that_others_have_spent_costs_probes_and_no_operation(on_sqlite: FleetOn) -> None:
    fleet = on_sqlite(
        knobs={"wabas": 24, "templates": 50, "latency": 0.1, "window": 6, "app_limit": 200},
        **SHORT_PAGES,
        gate=_short_window(6),
    )
    app = fleet.simulator.app.id
    fleet.start("dispatcher", "worker-1", "worker-2")
    operations = fleet.sync(*fleet.simulator.world.waba_ids)
    until(lambda: fleet.calls() >= 16, what="syncs are under way")

    fleet.simulator.limits.add_others(app, 200)
    spent = wall()
    until(lambda: fleet.simulator.judge.refused >= 1, what="a call is refused")

    done = fleet.finished(operations)
    holds = [
        event.detail
        for one in operations
        for event in fleet.house.ledger.operations.story(one.id)
        if event.name == "held"
    ]
    assert {hold["by"] for hold in holds} & {"breaker", "meta"}
    assert {hold["by"] for hold in holds} <= {"breaker", "budget", "meta", "gate"}
    assert all(hold["reason"] for hold in holds)
    assert [(one.state, one.attempts) for one in done] == [("succeeded", 1)] * 24
    assert mirrored(fleet, fleet.simulator.world.waba_ids)
    assert pages_read_twice(fleet) == {}
    refusals = [call.wall for call in fleet.simulator.judge.refusals()]
    on_the_wire = [at for at in refusals if at < spent + 0.5]
    probes = [at for at in refusals if at >= spent + 0.5]
    assert len(on_the_wire) <= fleet.settings.workers.concurrency * 2
    # The breaker opens for 1 s, then for 2 s at a time (each with jitter), for as long as the window is full.
    assert len(probes) <= 8
    assert len(calls_since(fleet, spent)) < 150


def test_a_limit_that_was_lowered_is_waited_out(on_sqlite: FleetOn) -> None:
    fleet = on_sqlite(
        knobs={"wabas": 40, "latency": 0.05, "window": 4, "app_limit": 400},
        gate=_short_window(4),
    )
    fleet.start("dispatcher", "worker")
    operations = fleet.sync(*fleet.simulator.world.waba_ids)
    until(lambda: fleet.calls() >= 6, what="syncs are under way")

    fleet.simulator.limits.set_app_limit(20)

    done = fleet.finished(operations, within=60)
    assert [(one.state, one.attempts) for one in done] == [("succeeded", 1)] * 40
    assert fleet.simulator.judge.refused <= fleet.settings.workers.concurrency + 10
    assert all("failed" not in story(fleet, one) for one in operations)


def test_the_only_client_of_an_app_is_never_refused(on_sqlite: FleetOn) -> None:
    limit = 40
    fleet = on_sqlite(
        knobs={"wabas": 90, "window": 4, "app_limit": limit},
        gate=_short_window(4),
    )
    fleet.start("dispatcher", "worker-1", "worker-2")
    operations = fleet.sync(*fleet.simulator.world.waba_ids)

    done = fleet.finished(operations, within=60)

    judge = fleet.simulator.judge
    assert {one.state for one in done} == {"succeeded"}
    assert judge.by_waba() == dict.fromkeys(fleet.simulator.world.waba_ids, 1)
    assert judge.refused == 0
    assert limit * 0.7 <= judge.most_in_window(fleet.simulator.app.id) <= limit
