"""A RabbitMQ node for all tests of this folder, and fleets that use it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.databases import SqliteFiles
from tests.support.fleet import Fleet
from tests.support.rabbitmq import RunningRabbit, running_rabbitmq


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RunningRabbit]:
    with running_rabbitmq() as node:
        yield node


@pytest.fixture
def on_rabbitmq(
    fleet_on: Callable[..., Fleet], rabbitmq: RunningRabbit, sqlite_files: SqliteFiles
) -> Callable[..., Fleet]:
    """Makes a fleet whose messages go through RabbitMQ."""

    def make(**more: Any) -> Fleet:
        return fleet_on(sqlite_files.fresh(), broker_url=rabbitmq.url, **more)

    return make
