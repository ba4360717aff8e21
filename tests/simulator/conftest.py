"""Running simulators whose time is moved by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support.receivers import verified_callback
from wabajobs.simulator import Simulator, SimulatorConfig

from .client import Client
from .keeping import assert_kept

Start = Callable[..., Client]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a simulator with these knobs, on a hand-moved clock unless told otherwise."""
    started: list[Simulator] = []
    with ExitStack() as running:

        def begin(**knobs: Any) -> Client:
            config = SimulatorConfig(**{"clock": "hand", "wabas": 3, **knobs})
            client = Client(running.enter_context(Simulator(config).running()))
            running.callback(client.session.close)
            started.append(client.simulator)
            return client

        yield begin
    for simulator in started:
        # Whatever a test made happen, a restart must not lose it.
        assert_kept(simulator.world)


@pytest.fixture
def callback() -> Iterator[Callable[..., str]]:
    """Makes callbacks that answer the challenge of one verify token, or something else."""
    with ExitStack() as running:
        yield lambda **said: running.enter_context(verified_callback(**said))
