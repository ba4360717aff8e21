"""PostgreSQL is killed and started again: who depends on it waits, and nobody has to be started anew."""

from collections.abc import Callable

from tests.support.databases import PostgresServer
from tests.support.fleet import Fleet
from tests.support.servers import RunningPostgres, RunningRedis
from tests.support.waiting import until

FleetOn = Callable[..., Fleet]
CONNECTED = "Connected to redis"


def _all_succeed(fleet: Fleet) -> None:
    done = fleet.finished(fleet.sync(*fleet.simulator.world.waba_ids))
    assert {one.state for one in done} == {"succeeded"}
    assert [name for name, process in fleet.processes.items() if process.poll() is not None] == []


def test_programs_that_are_started_before_their_database_wait_for_it(
    fleet_on: FleetOn, own_postgres: RunningPostgres
) -> None:
    fleet = fleet_on(PostgresServer(own_postgres.admin).fresh(), knobs={"wabas": 3})
    own_postgres.kill()

    fleet.start("dispatcher", "worker")
    for name in ("dispatcher", "worker"):
        until(lambda name=name: "part_failed" in fleet.log(name), what=f"{name} has missed it")  # type: ignore[misc]
    own_postgres.start()

    _all_succeed(fleet)


def test_a_worker_that_connects_anew_while_its_database_is_away_waits_for_it(
    fleet_on: FleetOn, own_postgres: RunningPostgres, own_redis: RunningRedis
) -> None:
    fleet = fleet_on(PostgresServer(own_postgres.admin).fresh(), knobs={"wabas": 3})
    fleet.start("dispatcher", "worker")
    fleet.ready()
    own_postgres.kill()

    own_redis.kill()
    own_redis.start()

    def missed() -> bool:
        before, _, since = fleet.log("worker").rpartition(CONNECTED)
        return CONNECTED in before and "part=pauses" in since

    until(missed, what=f"the worker has connected anew\n{fleet.logs()}")
    own_postgres.start()
    _all_succeed(fleet)
