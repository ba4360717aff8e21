"""One look for everybody: taken only while somebody looks, part by part, each no oftener than it can bear."""

import asyncio
import gzip
import json
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, Final

from wabajobs.clock import Clock
from wabajobs.errors import WabajobsError

_PATIENCE_SECONDS: Final = 1.0
"""How long who looks waits for parts that are slow; then he is shown what there is."""
_KEPT_SECONDS: Final = 0.5
"""How long what was made of the parts is good when none of them has changed: they grow old."""
_REST: Final = 20
"""A part rests twenty times as long as its last look took: to count a million rows is not for every second."""

_log = logging.getLogger(__name__)


@dataclass
class Part:
    """One part of the look. `look` may block; it returns what can be written as JSON."""

    name: str
    look: Callable[[], Any]
    every_seconds: float = 1.0
    value: Any = None
    seen_at: float | None = None
    """By the monotonic clock; None: never yet."""
    trouble: str | None = None
    due_at: float = 0.0
    begun_at: float | None = None
    ended_at: float = 0.0
    again: bool = False
    """Something was decided while it looked: it looks once more."""

    def take(self) -> None:
        """Look, in a thread. An error becomes a sentence; what was seen before stays, and grows old."""
        begun = time.monotonic()
        try:
            self.value, self.trouble, self.seen_at = self.look(), None, begun
        except WabajobsError as error:
            self.trouble = str(error)
        except Exception as error:
            _log.exception("the look at %s failed", self.name)
            self.trouble = f"{type(error).__name__}; Flower's log says more"
        self.ended_at = ended = time.monotonic()
        self.due_at = ended + max(self.every_seconds, _REST * (ended - begun))
        self.begun_at = None
        if self.again:
            self.again, self.due_at = False, 0.0

    def shown(self, now: float) -> dict[str, Any]:
        """Return its value, how old that is, and what is amiss."""
        waited = now - self.begun_at if self.begun_at is not None else 0
        slow = f"no answer for {waited:.0f} s" if waited > 3 * _PATIENCE_SECONDS else None
        return {
            "value": self.value,
            "age_seconds": None if self.seen_at is None else round(now - self.seen_at, 1),
            "trouble": self.trouble or slow,
        }


@dataclass
class Snapshot:
    """The parts, and what was made of them last."""

    parts: Sequence[Part]
    threads: Executor
    clock: Clock
    _body: tuple[bytes, bytes] = (b"", b"")
    _made_at: float = 0.0
    _looking: set["asyncio.Future[None]"] = field(default_factory=set)

    async def newest(self) -> tuple[bytes, bytes]:
        """Return the look as JSON, plain and compressed; a new one when the last is a second old."""
        self._begin()
        if self._looking:
            await asyncio.wait(self._looking, timeout=_PATIENCE_SECONDS)
        now = time.monotonic()
        if now - self._made_at >= _KEPT_SECONDS or any(part.ended_at >= self._made_at for part in self.parts):
            self._body, self._made_at = self._written(now), now
        return self._body

    def hurry(self) -> None:
        """Let everything be looked at anew: something was decided."""
        for part in self.parts:
            part.due_at, part.again = 0.0, part.begun_at is not None

    def _begin(self) -> None:
        now, loop = time.monotonic(), asyncio.get_running_loop()
        for part in self.parts:
            if part.begun_at is None and part.due_at <= now:
                part.begun_at = now
                task = loop.run_in_executor(self.threads, part.take)
                self._looking.add(task)
                task.add_done_callback(self._looking.discard)

    def _written(self, now: float) -> tuple[bytes, bytes]:
        shown = {part.name: part.shown(now) for part in self.parts}
        looked = {"at": self.clock.now().isoformat(), **shown}
        plain = json.dumps(looked, ensure_ascii=False, separators=(",", ":"), default=str).encode()
        return plain, gzip.compress(plain, 5, mtime=0)
