"""The leases that this worker process holds, kept alive while their attempts run."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from wabajobs import events
from wabajobs.clock import Clock
from wabajobs.errors import Held, LeaseLost
from wabajobs.ledger import Ledger

_MARGIN = 1.0
"""Seconds before a lease's end from which no new call is begun."""


class Leases:
    """All leases of one worker process. One thread renews them with one statement."""

    def __init__(self, ledger: Ledger, *, clock: Clock, lease: timedelta, renew_every: timedelta) -> None:
        """Prolong by `lease`, every `renew_every`."""
        self._ledger = ledger
        self._clock = clock
        self._lease = lease
        self._renew_every = renew_every.total_seconds()
        self._lock = threading.Lock()
        self._good_until: dict[tuple[str, int], float] = {}
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def length(self) -> timedelta:
        """How long a lease lasts unless it is renewed."""
        return self._lease

    @contextmanager
    def hold(self, operation_id: str, fence: int, *, since: float) -> Iterator[Callable[[], None]]:
        """Keep a lease alive that was taken at `since` (`time.monotonic()`).

        Yields a function that raises when the attempt must not go on: `LeaseLost` when the lease may have
        gone to somebody else, `Held` when this worker is shutting down.
        """
        mine = (operation_id, fence)
        with self._lock:
            self._good_until[mine] = since + self._lease.total_seconds() - _MARGIN
            self._start()
        try:
            yield lambda: self._check(mine)
        finally:
            with self._lock:
                self._good_until.pop(mine, None)

    def shut_down(self) -> None:
        """Ask the attempts to stop at their next checkpoint. Their leases are renewed until they have."""
        self._stopping.set()

    def renew(self) -> None:
        """Renew all leases now."""
        with self._lock:
            mine = set(self._good_until)
        if not mine:
            return
        asked_at = time.monotonic()
        lost = self._ledger.operations.renew(mine, now=self._clock.now(), lease=self._lease)
        with self._lock:
            for lease in mine & self._good_until.keys():
                self._good_until[lease] = (
                    0.0 if lease in lost else asked_at + self._lease.total_seconds() - _MARGIN
                )

    def _check(self, lease: tuple[str, int]) -> None:
        if time.monotonic() > self._good_until.get(lease, 0.0):
            raise LeaseLost(f"operation {lease[0]}: lease {lease[1]} could not be renewed in time")
        if self._stopping.is_set():
            raise Held(
                reason="its worker is shutting down; it goes on at once elsewhere",
                by="worker",
                wait=timedelta(0),
            )

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._renew_for_ever, name="leases", daemon=True)
            self._thread.start()

    def _renew_for_ever(self) -> None:
        while True:
            time.sleep(self._renew_every)
            try:
                self.renew()
            except Exception as error:
                # Nothing is lost yet: the attempts stop by themselves when their time is over. But this thread
                # must live, whatever the fault: nobody else renews.
                events.tell("part_failed", part="leases", why=f"{type(error).__name__}: {error}")
