"""Whatever is killed, whenever: nothing accepted is lost, and nothing happens twice."""

import random
from collections.abc import Callable

from tests.support.crashes import KINDS, Trial
from tests.support.databases import PostgresServer, SqliteFiles
from tests.support.fleet import Fleet
from tests.support.servers import RunningPostgres, RunningRedis
from tests.support.witness import SHORT_PAGES

FleetOn = Callable[..., Fleet]
KILLS = 12
KNOBS = {"wabas": 460, "inactive_wabas": 400, "templates": (5, 70), "latency": 0.05, "jitter": 0.15}
DEATHS = {"dispatch": {"max_attempts": 30}}
"""So many kills in so short a time may hit one operation often; that alone must not fail it."""


def _judged(trial: Trial) -> None:
    trial.run(KILLS, every=(0.2, 0.8))

    verdict = trial.verdict()
    assert verdict.faults == []
    assert verdict.operations > trial.open_at_once, "work went on"
    assert verdict.lost_attempts > 0


def test_kills_at_random_lose_nothing_on_sqlite(
    fleet_on: FleetOn, own_redis: RunningRedis, sqlite_files: SqliteFiles
) -> None:
    fleet = fleet_on(sqlite_files.fresh(), knobs=KNOBS, kinds=list(KINDS), **DEATHS, **SHORT_PAGES)

    _judged(Trial(fleet, own_redis, None, random.Random(1)))


def test_kills_at_random_lose_nothing_on_postgresql(
    fleet_on: FleetOn, own_redis: RunningRedis, own_postgres: RunningPostgres
) -> None:
    databases = PostgresServer(own_postgres.admin)
    fleet = fleet_on(databases.fresh(), knobs=KNOBS, kinds=list(KINDS), **DEATHS, **SHORT_PAGES)

    _judged(Trial(fleet, own_redis, own_postgres, random.Random(2)))
