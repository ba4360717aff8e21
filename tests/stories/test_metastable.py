"""A limit that was halved for a while: forgotten afterwards, where others keep it alive by trying again.

The vendor counts refused calls as well. The same operations arrive twice: at the product, with real processes,
and at a plain retrier with exponential backoff and full jitter, which is how such things are usually written.
"""

import queue
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import requests

from tests.support.fleet import Fleet
from wabajobs.simulator import Simulator

WINDOW, LIMIT = 4.0, 40
ARRIVALS, EVERY = 112, 1 / 7
"""Seven a second, where ten are allowed: for one window before the cut, two of the cut, and one behind it."""
RETRIES, LONGEST_BACKOFF = 3, WINDOW / 6
"""Celery's ten minutes are a sixth of Meta's hour."""


@dataclass
class Retrier:
    """Threads that make one call per operation, and try again after a refusal: so often, with full jitter."""

    simulator: Simulator
    waiting: "queue.PriorityQueue[tuple[float, int, int]]" = field(default_factory=queue.PriorityQueue)
    done: int = 0
    lost: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def accept(self, number: int) -> None:
        self.waiting.put((time.monotonic(), number, 0))

    def work(self, until_all: int) -> None:
        while self.done + self.lost < until_all:
            try:
                due, number, tries = self.waiting.get(timeout=0.1)
            except queue.Empty:
                continue
            if due > time.monotonic():
                self.waiting.put((due, number, tries))
                time.sleep(0.01)
                continue
            self._try(number, tries)

    def _try(self, number: int, tries: int) -> None:
        world = self.simulator.world
        waba = world.waba_ids[number % len(world.waba_ids)]
        headers = {"Authorization": f"Bearer {self.simulator.app.token}"}
        answer = requests.get(f"{self.simulator.url}/v24.0/{waba}", headers=headers, timeout=10)
        with self.lock:
            if answer.ok:
                self.done += 1
            elif tries == RETRIES:
                self.lost += 1
            else:
                backoff = random.uniform(0, min(LONGEST_BACKOFF, WINDOW / 3600 * 2**tries))
                self.waiting.put((time.monotonic() + backoff, number, tries + 1))


@pytest.mark.timeout(110)
def test_a_limit_that_was_halved_for_a_while_loses_nothing_and_is_forgotten(
    on_sqlite: Callable[..., Fleet], simulate: Callable[..., Simulator]
) -> None:
    knobs = {"wabas": ARRIVALS, "templates": 3, "window": WINDOW, "app_limit": LIMIT, "latency": 0.03}
    fleet = on_sqlite(
        knobs=knobs, gate={"window_seconds": WINDOW, "spread_seconds": 0.25, "header_stale_seconds": 0.5}
    )
    retrier = Retrier(simulate(**knobs))
    fleet.start("dispatcher", "worker-1", "worker-2")
    fleet.ready(workers=2)
    crew = [threading.Thread(target=retrier.work, args=(ARRIVALS,), daemon=True) for _ in range(16)]
    for thread in crew:
        thread.start()

    begin = time.monotonic()
    operations = []
    for number, waba in enumerate(fleet.simulator.world.waba_ids):
        windows = (number * EVERY) / WINDOW
        for simulator in (fleet.simulator, retrier.simulator):
            simulator.limits.set_app_limit(LIMIT // 2 if 1 <= windows < 3 else LIMIT)
        operations += fleet.sync(waba)
        retrier.accept(number)
        time.sleep(max(0.0, begin + (number + 1) * EVERY - time.monotonic()))

    done = fleet.finished(operations, within=60)
    for thread in crew:
        thread.join(60)
    ours, theirs = fleet.simulator.judge, retrier.simulator.judge
    assert {one.state for one in done} == {"succeeded"}, "nothing is lost"
    assert {one.attempts for one in done} == {1}, "and being held has cost no attempt"
    assert ours.refused <= 0.15 * ours.total, "hardly a call was refused"
    assert retrier.done + retrier.lost == ARRIVALS
    assert retrier.lost > 0, "a plain retrier gives operations up"
    assert theirs.refused > 2 * ours.refused, "and is refused far more often"
    assert ours.most_in_window(fleet.simulator.app.id) <= LIMIT
