"""Flowers with the control room in them, on one ledger and one Redis for all tests of this folder."""

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.page.door import Door
from tests.support.browsers import a_browser
from tests.support.databases import SqliteFiles
from tests.support.fleet import Fleet
from tests.support.servers import RunningRedis
from tests.support.waiting import until
from wabajobs.machine import RedisServer, find_server, free_port
from wabajobs.simulator import Simulator, SimulatorConfig

PASSWORD = "a-long-password"
COOKIE_SECRET = "known-to-the-test"


@pytest.fixture(scope="module")
def page_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRedis]:
    running = RunningRedis(RedisServer(find_server(), folder=tmp_path_factory.mktemp("redis-of-page")))
    yield running
    running.close()


@pytest.fixture(scope="module")
def world(sqlite_files: SqliteFiles, page_redis: RunningRedis) -> Iterator[Fleet]:
    """A fleet of which nothing runs yet."""
    config = SimulatorConfig(header_floor=0, wabas=8, templates=40)
    with Simulator(config).running() as simulator, tempfile.TemporaryDirectory(prefix="page-") as folder:
        fleet = Fleet(
            folder=Path(folder),
            simulator=simulator,
            database_url=sqlite_files.fresh(),
            redis_url=page_redis.url,
            broker_url=page_redis.broker_url,
        )
        yield fleet
        fleet.stop_all()


Opens = Callable[..., Door]


@pytest.fixture(scope="module")
def opens(world: Fleet) -> Opens:
    """Starts a Flower with these options of its own, and this in its environment."""

    def make(name: str, *options: str, prefix: str = "", user: str | None = None, **environment: str) -> Door:
        port = free_port()
        url = f"http://127.0.0.1:{port}{prefix}"
        said = [f"{name}={value}" for name, value in environment.items()]
        program = [sys.executable, "-m", "wabajobs", "flower", f"--port={port}", *options]
        world.start_program(name, ["env", *said, *program])

        def answers() -> bool:
            assert world.processes[name].poll() is None, world.logs()
            try:
                return requests.get(f"{url}/healthcheck", timeout=2).ok
            except requests.RequestException:
                return False

        until(answers, what="Flower answers", within=90)
        return Door(url, world, (user, PASSWORD) if user else None)

    return make


@pytest.fixture(scope="module")
def guarded(opens: Opens) -> Door:
    """Behind a password, and behind a prefix, as behind a proxy."""
    passwords = f"anna:{PASSWORD},bob:{PASSWORD}"
    return opens("flower", "--url-prefix=/flower", prefix="/flower", user="anna", FLOWER_BASIC_AUTH=passwords)


@pytest.fixture(scope="module")
def unguarded(opens: Opens) -> Door:
    """Without authentication, and its API opened for all."""
    return opens("flower-open", FLOWER_UNAUTHENTICATED_API="true")


@pytest.fixture(scope="module")
def with_oauth(opens: Opens) -> Door:
    """Behind one of Flower's OAuth providers."""
    return opens(
        "flower-oauth",
        "--auth=anna@example.com|bob@example.com",
        "--auth_provider=flower.views.auth.GithubLoginHandler",
        f"--cookie_secret={COOKIE_SECRET}",
        "--oauth2_key=key",
        "--oauth2_secret=secret",
        "--oauth2_redirect_uri=http://127.0.0.1/login",
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A real browser."""
    with a_browser() as browser:
        yield browser
