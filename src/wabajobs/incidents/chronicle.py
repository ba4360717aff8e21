"""The chronicle: what was seen is written down beside the work that saw it, and never in its way.

Who tells something goes on at once. A thread of its own writes; while the ledger is away, it tries again. In a
flood the ledger is told of the first few of a minute: that they were many, the counters of the budget say, too.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from wabajobs import events
from wabajobs.clock import Clock
from wabajobs.errors import NotReady
from wabajobs.ledger import Happening, Sight

_WAITING: Final = 1000
"""Happenings that wait to be written, at most; then the oldest are dropped."""
_AT_ONCE: Final = 100
_PER_MINUTE: Final = 120
"""Happenings of one name that a process tells in a minute. A breaker of an app is always told."""
_RETRY_SECONDS: Final = 2.0
_IDLE_SECONDS: Final = 10.0
"""After which the thread ends when there is nothing to write; the next one begins with the next happening."""
_ALWAYS: Final = frozenset({Sight.BREAKER_OPENED, Sight.BREAKER_CLOSED})


class Chronicle:
    """Keeps what it is told, soon after. Threads may share it."""

    def __init__(
        self,
        put: Callable[[Sequence[Happening]], object],
        *,
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Write through `put`, which may raise `NotReady`."""
        self._put = put
        self._clock = clock
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._waiting: deque[Happening] = deque()
        self._thread: threading.Thread | None = None
        self._told: Counter[Sight] = Counter()
        self._minute = 0
        self._dropped = 0

    def tell(self, seen: Iterable[tuple[Sight, Mapping[str, Any]]]) -> None:
        """Take what was seen at this moment to be written down: each with facts of a `Happening`.

        Never raises, never waits.
        """
        now = self._clock.now()
        for sight, facts in seen:
            self._take(sight, Happening(at=now, name=sight, **facts))

    def _take(self, sight: Sight, happening: Happening) -> None:
        with self._changed:
            if not self._is_wanted(sight, happening.scope):
                self._dropped += 1
                return
            if len(self._waiting) >= _WAITING:
                self._waiting.popleft()
                self._dropped += 1
            self._waiting.append(happening)
            # A process that was forked has the object, and not the thread.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="chronicle", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def flush(self, seconds: float) -> bool:
        """Wait until all is written, at most so long; False when it is not."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting, seconds)

    def _is_wanted(self, sight: Sight, scope: str | None) -> bool:
        minute = int(self._monotonic() // 60)
        if minute != self._minute:
            self._minute = minute
            self._told.clear()
            if self._dropped:
                events.tell("happenings_dropped", number=self._dropped)
                self._dropped = 0
        self._told[sight] += 1
        is_of_an_app = sight in _ALWAYS and (scope or "").startswith("app:")
        return is_of_an_app or self._told[sight] <= _PER_MINUTE

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._changed.wait_for(lambda: self._waiting, _IDLE_SECONDS):
                    self._thread = None
                    return
                batch = [self._waiting[nth] for nth in range(min(_AT_ONCE, len(self._waiting)))]
            if self._is_written(batch):
                with self._changed:
                    # Some of them may have been dropped meanwhile, to make room.
                    while self._waiting and batch and any(self._waiting[0] is one for one in batch):
                        self._waiting.popleft()
                    self._changed.notify_all()
            else:
                # The ledger is away, and nobody rings when it is back. What is told meanwhile waits, too.
                time.sleep(_RETRY_SECONDS)

    def _is_written(self, batch: Sequence[Happening]) -> bool:
        """Write a batch, or forget it if the ledger cannot take it; False when the ledger is away."""
        try:
            self._put(batch)
        except NotReady as error:
            events.tell("part_failed", part="chronicle", why=error)
            return False
        except Exception as error:
            events.tell("happenings_dropped", number=len(batch), why=type(error).__name__)
        return True
