"""Hosts: programs with a folder, a configuration, secrets and an environment of their own."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.databases import PostgresServer
from tests.support.fleet import ROOT, Fleet
from tests.support.servers import redis_on_a_port, running_postgres
from wabajobs.settings import DispatchSettings
from wabajobs.simulator import Simulator

SHIPPED = {"dispatch": DispatchSettings().model_dump()}


class Host(Fleet):
    """One machine: a dispatcher and two workers. It knows others by URL only."""

    @property
    def env(self) -> dict[str, str]:
        """Nothing of ours but where Python is, and this host's own configuration."""
        private = self.folder / "home"
        private.mkdir(exist_ok=True)
        return {
            "PATH": f"{Path(sys.executable).parent}:{os.defpath}",
            "PYTHONPATH": str(ROOT),
            "HOME": str(private),
            "TMPDIR": str(private),
            "WABAJOBS_CONFIG": str(self.config),
        }

    def boot(self) -> None:
        """Start everything."""
        self.start("dispatcher", "worker-1", "worker-2")

    def lose_power(self) -> None:
        """Everything on it ends at the same moment."""
        for process in self.processes.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        for process in self.processes.values():
            process.wait(10)

    @property
    def pids(self) -> set[str]:
        """The processes on it, as the ledger names them."""
        return {str(process.pid) for process in self.processes.values()}


@pytest.fixture
def two_hosts(tmp_path: Path, simulate: Callable[..., Simulator]) -> Iterator[Callable[..., tuple[Host, Host]]]:
    """Makes two hosts against one simulator with these knobs, with the settings as shipped."""
    with ExitStack() as stack:

        def make(*, knobs: dict[str, Any], **more: Any) -> tuple[Host, Host]:
            simulator = simulate(**knobs)
            redis = stack.enter_context(redis_on_a_port(tmp_path / "redis"))
            database = PostgresServer(stack.enter_context(running_postgres()).admin).fresh()
            first, second = (
                Host(
                    folder=tmp_path / name,
                    simulator=simulator,
                    database_url=database,
                    redis_url=redis,
                    broker_url=redis,
                    more={**SHIPPED, **more},
                )
                for name in ("first", "second")
            )
            for host in (first, second):
                stack.callback(host.stop_all)
            return first, second

        yield make
