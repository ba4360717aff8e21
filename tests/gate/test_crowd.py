"""Many processes at once: the limit holds for all of them together."""

import multiprocessing
import time
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.gate.conftest import APP, Limits, a_call, gate_on
from wabajobs.capability import ServiceClass
from wabajobs.decisions import Decisions
from wabajobs.gate import Outcome, Permit, Report
from wabajobs.settings import GateSettings

WINDOW, LIMIT, PER_WABA = 0.6, 150, 60
SETTINGS = GateSettings(
    window_seconds=WINDOW, window_buckets=20, spread_seconds=0, margin=0, pacing=False, learning_share=0.01
)


def hammer(sock: str, waba: str, start: Any, found: Any) -> None:
    """Ask without a pause; note between which moments each call was admitted."""
    gate = gate_on(
        redis.Redis(unix_socket_path=sock), clock=None, limits={APP: Limits(LIMIT, PER_WABA)}, settings=SETTINGS
    )
    admitted = []
    start.wait(30)
    until = time.monotonic() + 4 * WINDOW
    while time.monotonic() < until:
        before = time.monotonic()
        answer = gate.admit(a_call(waba=waba, service_class=ServiceClass.INTERACTIVE))
        if isinstance(answer, Permit):
            admitted.append((before, time.monotonic()))
            gate.settle(answer, Report(outcome=Outcome.OK))
    found.put((waba, admitted))


def worst(admitted: list[tuple[float, float]]) -> int:
    """The most calls in any window: those that were begun and answered within it."""
    return max(
        sum(begin <= before and after <= begin + WINDOW for before, after in admitted) for begin, _ in admitted
    )


@pytest.mark.timeout(60)
def test_processes_together_never_exceed_a_limit(server: Path, client: redis.Redis) -> None:
    spawn = multiprocessing.get_context("spawn")
    gate = gate_on(client, clock=None, limits={APP: Limits(LIMIT, PER_WABA)}, settings=SETTINGS)
    gate.tell(Decisions(1, (), ()))
    permit = gate.admit(a_call())
    assert isinstance(permit, Permit)
    gate.settle(permit, Report(outcome=Outcome.OK))
    found, start = spawn.Queue(), spawn.Barrier(4)

    crowd = [
        spawn.Process(target=hammer, args=(str(server), waba, start, found)) for waba in ("w1", "w1", "w2", "w3")
    ]
    for process in crowd:
        process.start()
    results = [found.get(timeout=30) for _ in crowd]
    for process in crowd:
        process.join()

    everything = [call for _, calls in results for call in calls]
    assert worst(everything) <= LIMIT
    assert worst([call for waba, calls in results if waba == "w1" for call in calls]) <= PER_WABA
    assert len(everything) > 2 * LIMIT, "and they did get something done"
    reading = gate.read(APP, wabas=["w1", "w2", "w3"])
    assert reading.in_flight == 0
    app, *wabas = (window.used for window in reading.windows)
    assert app == sum(wabas), "charged together or not at all"
