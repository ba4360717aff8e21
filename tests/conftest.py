"""Fixtures that any test may use. Everything is real: SQLite and PostgreSQL, Redis, processes, HTTP."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.databases import PostgresServer, ReusedFile, SqliteFiles, missing, postgres_server
from tests.support.fleet import Fleet
from tests.support.servers import RunningRedis
from tests.support.stage import Stage, staged
from wabajobs.ledger import Database, Ledger
from wabajobs.machine import RedisServer, find_server
from wabajobs.simulator import Simulator, SimulatorConfig


@pytest.fixture(scope="session")
def sqlite_files() -> Iterator[SqliteFiles]:
    # In memory, where there is room: nobody will miss what a power cut takes, and a commit waits for no disk.
    room = shutil.disk_usage("/dev/shm").free if os.access("/dev/shm", os.W_OK) else 0
    with tempfile.TemporaryDirectory(prefix="wabajobs-", dir="/dev/shm" if room > 4 << 30 else None) as folder:
        yield SqliteFiles(Path(folder))


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server(forgets_power_cuts=True) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A fresh, migrated database; the test runs once on each kind."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_files").fresh()
        return
    server = request.getfixturevalue("postgres")
    url = server.fresh()
    yield url
    server.drop(url)


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    database = Database(database_url)
    yield Ledger(database)
    database.close()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RunningRedis]:
    """The embedded Redis server, one per test."""
    yield from _running(RedisServer(find_server(), folder=tmp_path / "redis"))


@pytest.fixture
def debian_redis(tmp_path: Path) -> Iterator[RunningRedis]:
    """The `redis-server` on the PATH."""
    if not (found := shutil.which("redis-server")):
        missing("redis-server", "there is no redis-server on the PATH")
    assert found
    binary = find_server(search_path=str(Path(found).parent))
    yield from _running(RedisServer(binary, folder=tmp_path / "debian-redis"))


def _running(server: RedisServer) -> Iterator[RunningRedis]:
    running = RunningRedis(server)
    yield running
    running.close()


@pytest.fixture
def simulate() -> Iterator[Callable[..., Simulator]]:
    """Starts simulators with these knobs."""
    with ExitStack() as running:

        def start(**knobs: Any) -> Simulator:
            config = SimulatorConfig(**{"header_floor": 0, **knobs})
            return running.enter_context(Simulator(config).running())

        yield start


@pytest.fixture
def fleet_on(own_redis: RunningRedis, simulate: Callable[..., Simulator]) -> Iterator[Callable[..., Fleet]]:
    """Makes a fleet on a database, against a simulator with these knobs; nothing is started yet."""
    with ExitStack() as running, tempfile.TemporaryDirectory(prefix="fleet-") as folder:

        def make(
            database_url: str,
            *,
            knobs: dict[str, Any] | None = None,
            redis: RunningRedis = own_redis,
            **more: Any,
        ) -> Fleet:
            fleet = Fleet(
                folder=Path(folder),
                simulator=simulate(**(knobs or {})),
                database_url=database_url,
                redis_url=redis.url,
                broker_url=redis.broker_url,
                more=more,
            )
            running.callback(fleet.stop_all)
            return fleet

        yield make


@pytest.fixture
def fleet(fleet_on: Callable[..., Fleet], sqlite_files: SqliteFiles) -> Fleet:
    """A fleet on SQLite, with the simulator's defaults."""
    return fleet_on(sqlite_files.fresh())


@pytest.fixture(scope="session")
def redis_for_stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRedis]:
    """A Redis that every stage empties before it uses it."""
    yield from _running(RedisServer(find_server(), folder=tmp_path_factory.mktemp("redis-for-stages")))


@pytest.fixture(scope="session")
def ledger_for_stages(sqlite_files: SqliteFiles) -> Iterator[ReusedFile]:
    """A ledger that is fresh for every stage; in memory where the machine has a file system for that."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None, prefix="stages-") as folder:
        reused = ReusedFile(sqlite_files, Path(folder))
        yield reused
        reused.database.close()


@pytest.fixture
def stages(
    redis_for_stages: RunningRedis, ledger_for_stages: ReusedFile, tmp_path: Path
) -> Callable[..., AbstractContextManager[Stage]]:
    """Sets stages: `with stages(knobs=…, settings=…, kinds=…) as stage`; one at a time."""

    def make(**more: Any) -> AbstractContextManager[Stage]:
        redis_for_stages.client.flushall()
        ledger = ledger_for_stages.fresh()
        return staged(ledger=ledger, redis_url=redis_for_stages.url, folder=tmp_path, **more)

    return make


@pytest.fixture
def stage(stages: Callable[..., AbstractContextManager[Stage]]) -> Iterator[Stage]:
    """A stage with our kinds, and the world of `tests.support.stage.KNOBS`."""
    with stages() as made:
        yield made
