"""Redis is emptied, killed and started again: nothing accepted is lost, and no call is made without leave."""

from collections.abc import Callable

from tests.support.fleet import Fleet, wall
from tests.support.servers import RunningRedis
from tests.support.waiting import until
from tests.support.witness import (
    SHORT_PAGES,
    answer,
    calls_admitted_since,
    calls_since,
    mirrored,
    pages_read_twice,
)
from wabajobs.operation import Operation

FleetOn = Callable[..., Fleet]
SLOW = {"wabas": 16, "templates": 110, "latency": 0.2}
"""Sixteen syncs of six pages, of which one worker can work at eight."""


def _under_way(fleet: Fleet) -> list[Operation]:
    fleet.start("dispatcher", "worker")
    operations = fleet.sync(*fleet.simulator.world.waba_ids)
    until(lambda: fleet.calls() >= 16, what="syncs are under way")
    return operations


def _all_have_succeeded(fleet: Fleet, operations: list[Operation]) -> None:
    done = fleet.finished(operations)
    assert [one.state for one in done] == ["succeeded"] * len(operations)
    assert mirrored(fleet, [one.waba for one in done if one.waba])


def test_an_emptied_redis_loses_no_operation(
    fleet_on: FleetOn, database_url: str, own_redis: RunningRedis
) -> None:
    fleet = fleet_on(database_url, knobs=SLOW, **SHORT_PAGES)
    operations = _under_way(fleet)

    own_redis.client.flushall()

    _all_have_succeeded(fleet, operations)
    assert pages_read_twice(fleet) == {}


def test_a_gate_that_has_lost_its_state_lets_nothing_pass_until_it_is_told(
    on_sqlite: FleetOn, own_redis: RunningRedis
) -> None:
    fleet = on_sqlite(knobs=SLOW, **SHORT_PAGES)
    operations = _under_way(fleet)
    fleet.kill("dispatcher")  # nobody is there to tell it

    own_redis.client.flushall()
    emptied = wall()
    until(
        lambda: not fleet.house.ledger.operations.out(),
        what="what was running is held",
    )

    assert calls_admitted_since(fleet, emptied) == []
    held = answer(fleet.command("ops", "list", "--state", "held", "--json"))
    assert held
    assert {one["hold"]["by"] for one in held} == {"gate"}
    said = fleet.command("status")
    assert said.returncode == 0
    assert "has lost its state; no calls until it is told" in " ".join(said.stdout.split())

    fleet.start("dispatcher")
    _all_have_succeeded(fleet, operations)
    assert pages_read_twice(fleet) == {}


def test_an_emptied_redis_does_not_bring_a_paused_queue_back_to_life(
    on_sqlite: FleetOn, own_redis: RunningRedis
) -> None:
    fleet = on_sqlite(knobs=SLOW, **SHORT_PAGES)
    operations = _under_way(fleet)
    assert fleet.command("pause", "queue", "template_sync", "--reason", "app limit").returncode == 0
    paused = wall()

    own_redis.client.flushall()
    until(lambda: fleet.house.gate.told() is not None, what="the gate is told again")
    fleet.ready()
    until(
        lambda: not fleet.house.ledger.operations.out(),
        what="nothing is out any more",
    )
    # All the same after a restart of everything, with Redis emptied once more.
    for name in list(fleet.processes):
        fleet.kill(name)
    own_redis.client.flushall()
    fleet.start("dispatcher", "worker")
    fleet.ready()
    until(lambda: fleet.house.gate.told() is not None, what="the gate is told again")

    assert calls_since(fleet, paused) == []
    fleet.command("resume", "queue", "template_sync")
    _all_have_succeeded(fleet, operations)
    assert pages_read_twice(fleet) == {}


def test_while_redis_is_down_nothing_is_called_and_everything_is_accepted(
    on_sqlite: FleetOn, own_redis: RunningRedis
) -> None:
    fleet = on_sqlite(knobs={**SLOW, "wabas": 17}, **SHORT_PAGES)
    *wabas, another = fleet.simulator.world.waba_ids
    fleet.start("dispatcher", "worker")
    operations = fleet.sync(*wabas)
    until(lambda: fleet.calls() >= 16, what="syncs are under way")

    own_redis.kill()
    down = wall()
    late = fleet.command("enqueue", "template_sync", "--partner", "acme", "--waba", another)
    said = fleet.command("status")
    machine = answer(fleet.command("status", "--json"))
    until(lambda: fleet.simulator.judge.in_flight == 0, what="calls that had begun are over")
    until(
        lambda: not any(fleet.client.get(one.id).state == "running" for one in operations),
        what="what was running is held",
    )

    assert late.returncode == 0
    assert said.returncode == 0
    assert "Redis cannot be reached" in said.stdout
    assert "no calls are made; operations wait in the ledger" in " ".join(said.stdout.split())
    assert "Traceback" not in said.stdout + said.stderr
    assert any("Redis cannot be reached" in trouble for trouble in machine["troubles"])
    assert calls_admitted_since(fleet, down) == []

    own_redis.start()
    _all_have_succeeded(fleet, [*operations, fleet.client.get(late.stdout.strip())])
    # What was on the wire as Redis went has been answered, and is not asked for again.
    assert pages_read_twice(fleet) == {}


def test_a_worker_consumes_again_after_a_pause_and_a_restart_of_redis(
    on_sqlite: FleetOn, own_redis: RunningRedis
) -> None:
    fleet = on_sqlite()
    first, second, third = fleet.simulator.world.waba_ids[:3]
    fleet.start("dispatcher", "worker")
    fleet.ready()
    fleet.command("pause", "queue", "template_sync", "--reason", "trying it out")
    until(lambda: "consuming=False" in fleet.log("worker"), what="the worker consumes no more")
    operations = fleet.sync(first)
    own_redis.kill()
    own_redis.start()
    fleet.ready()
    operations += fleet.sync(second)
    assert fleet.calls() == 0

    fleet.command("resume", "queue", "template_sync")
    _all_have_succeeded(fleet, operations)
    own_redis.kill()
    own_redis.start()
    _all_have_succeeded(fleet, fleet.sync(third))


def test_a_pause_that_redis_could_not_be_told_of_is_in_force_when_it_comes_back(
    on_sqlite: FleetOn, own_redis: RunningRedis
) -> None:
    fleet = on_sqlite(knobs=SLOW, **SHORT_PAGES)
    operations = _under_way(fleet)

    own_redis.kill()
    down = wall()
    command = fleet.command("pause", "queue", "template_sync", "--reason", "app limit", "--actor", "anna")
    assert command.returncode == 3
    assert "queue:template_sync is paused by anna" in command.stdout
    assert "this is recorded, but the gate could not be told" in command.stderr
    assert "It comes into force by itself" in command.stderr
    own_redis.start()
    fleet.ready()
    revision = fleet.house.ledger.decisions.revision()
    until(lambda: fleet.house.gate.told() == revision, what="the gate is told by itself")
    until(
        lambda: not fleet.house.ledger.operations.out(),
        what="nothing is out any more",
    )

    assert calls_admitted_since(fleet, down) == []
    assert {fleet.client.get(one.id).state for one in operations} <= {"held", "succeeded"}
    again = fleet.command("resume", "queue", "template_sync")
    assert again.returncode == 0
    _all_have_succeeded(fleet, operations)
    assert pages_read_twice(fleet) == {}
