"""Several workers, dispatchers and a Redis of another make: every operation once."""

from collections.abc import Callable

import pytest

from tests.support.fleet import Fleet, wall
from tests.support.servers import RunningRedis
from tests.support.waiting import until
from tests.support.witness import SHORT_PAGES, attempts, calls_since, mirrored, pages_read_twice

FleetOn = Callable[..., Fleet]


def test_two_workers_and_two_dispatchers_do_everything_once(fleet_on: FleetOn, database_url: str) -> None:
    fleet = fleet_on(database_url, knobs={"wabas": 60, "latency": 0.05}, workers={"concurrency": 3})
    fleet.start("dispatcher-1", "dispatcher-2", "worker-1", "worker-2")
    operations = fleet.sync(*fleet.simulator.world.waba_ids)
    most = 0

    def all_finished() -> bool:
        nonlocal most
        counted = fleet.house.ledger.operations.count_open()
        most = max(most, sum(number for _, state, number, _ in counted if state == "running"))
        return not counted

    until(all_finished, within=40, what="all are finished")

    done = fleet.finished(operations)
    assert [(one.state, one.attempts) for one in done] == [("succeeded", 1)] * 60
    judge = fleet.simulator.judge
    assert judge.by_waba() == dict.fromkeys(fleet.simulator.world.waba_ids, 1)
    assert most <= 6
    assert judge.most_in_flight <= 6
    workers = {one.worker for operation in operations for one in attempts(fleet, operation)}
    assert len(workers) == 2


@pytest.mark.parametrize("make", ["own_redis", "debian_redis"])
def test_twenty_syncs_with_a_pause_in_the_middle(
    on_sqlite: FleetOn, request: pytest.FixtureRequest, make: str
) -> None:
    redis: RunningRedis = request.getfixturevalue(make)
    fleet = on_sqlite(knobs={"wabas": 20, "templates": 230}, **SHORT_PAGES, redis=redis)
    fleet.start("dispatcher", "worker-1", "worker-2")
    with fleet.slowly():
        operations = fleet.sync(*fleet.simulator.world.waba_ids)
        until(lambda: fleet.calls() >= 20, what="syncs are under way")

        fleet.command("pause", "queue", "template_sync", "--reason", "in the middle")
        returned = wall()
        until(
            lambda: not any(fleet.client.get(one.id).state == "running" for one in operations),
            what="nothing runs",
        )
    assert calls_since(fleet, returned) == []
    assert any(fleet.client.get(one.id).state == "held" for one in operations)
    fleet.command("resume", "queue", "template_sync")

    assert {one.state for one in fleet.finished(operations)} == {"succeeded"}
    assert mirrored(fleet, fleet.simulator.world.waba_ids)
    assert pages_read_twice(fleet) == {}
