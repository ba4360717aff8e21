"""The one time that everything in a simulator runs by: simulated seconds since its start."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import threading
import time
from typing import Any, Protocol

HAND_EPOCH = 1_790_000_000.0
"""Unix time at which a hand-moved clock starts, the same in every run."""


class Clock(Protocol):
    def now(self) -> float:
        """Simulated seconds since the start; never goes back."""
        ...

    def unix(self) -> float:
        """The simulated moment as Unix time, for the dates in answers."""
        ...

    def go_on_from(self, now: float, unix: float) -> None:
        """Let it be this simulated second, and this Unix time."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for simulated seconds."""
        ...


class RealClock:
    """Real time, `speed` times as fast: a window of 3600 s lasts 3600/speed real seconds."""

    def __init__(self, *, speed: float = 1.0) -> None:
        self._speed = speed
        self._start = time.monotonic()
        self._epoch = time.time()

    def now(self) -> float:
        return (time.monotonic() - self._start) * self._speed

    def unix(self) -> float:
        return self._epoch + self.now()

    def go_on_from(self, now: float, unix: float) -> None:
        """Let it be this simulated second, and this Unix time."""
        self._start = time.monotonic() - now / self._speed
        self._epoch = unix - now

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self._speed)


class HandClock:
    """Time that moves only when `advance` is called; safe to move from any thread."""

    def __init__(self) -> None:
        self._now = 0.0
        self._epoch = HAND_EPOCH
        self._lock = threading.Lock()
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.AbstractEventLoop, asyncio.Event]] = []

    def now(self) -> float:
        return self._now

    def unix(self) -> float:
        return self._epoch + self._now

    def go_on_from(self, now: float, unix: float) -> None:
        """Let it be this simulated second, and this Unix time."""
        self._now = now
        self._epoch = unix - now

    def advance(self, seconds: float) -> None:
        """Move time forward and wake every sleeper whose time has come."""
        if seconds < 0:
            raise ValueError(f"time cannot go back by {-seconds} s")
        with self._lock:
            self._now += seconds
            while self._sleepers and self._sleepers[0][0] <= self._now:
                _, _, loop, awake = heapq.heappop(self._sleepers)
                if not loop.is_closed():
                    loop.call_soon_threadsafe(awake.set)

    def move_to(self, moment: float) -> None:
        """Move time forward to exactly this second; nothing when it is over."""
        if moment > self._now:
            self.advance(moment - self._now)
            self._now = moment

    async def sleep(self, seconds: float) -> None:
        awake = asyncio.Event()
        with self._lock:
            if seconds <= 0:
                return
            due = self._now + seconds
            heapq.heappush(self._sleepers, (due, next(self._order), asyncio.get_running_loop(), awake))
        await awake.wait()


async def rest(clock: Clock, awake: asyncio.Event, until: float | None) -> None:
    """Wait for an event, or at most until a simulated moment."""
    waiters: list[asyncio.Future[Any]] = [asyncio.ensure_future(awake.wait())]
    if until is not None:
        waiters.append(asyncio.ensure_future(clock.sleep(until - clock.now())))
    try:
        await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for waiter in waiters:
            waiter.cancel()
