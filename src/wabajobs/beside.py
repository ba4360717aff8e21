"""Work that goes on beside a program's own, for as long as the program says that it may.

Only where a dispatcher leads, it says so again and again; where it has lost the lead, or hangs, the work ends.
"""

import math
import threading
import time
from collections.abc import Callable
from datetime import timedelta

from wabajobs import events
from wabajobs.errors import NotReady


class Beside:
    """Takes turns in a thread of its own while it is told to."""

    def __init__(
        self,
        name: str,
        turn: Callable[[], timedelta],
        *,
        lasting: timedelta,
        retry: timedelta,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take turns; each says how long there is nothing to do after it.

        `lasting` is for how long one `keep_up` is good; `retry` how long to rest when a part was away.
        """
        self._name = name
        self._turn = turn
        self._lasting = lasting.total_seconds()
        self._retry = retry
        self._monotonic = monotonic
        self._until = math.inf
        self._thread: threading.Thread | None = None

    @property
    def may_go_on(self) -> bool:
        """Whether it may go on; always, when nobody has ever called `keep_up`."""
        return self._monotonic() < self._until

    def keep_up(self) -> None:
        """Go on for a while. Returns at once."""
        self._until = self._monotonic() + self._lasting
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while (now := self._monotonic()) < self._until:
            try:
                rest = self._turn()
            except NotReady as error:
                events.tell("part_failed", part=self._name, why=error)
                rest = self._retry
            # No longer than we may go on: somebody else may lead by then. Nobody rings here: what there is
            # to do comes from the ledger, and a turn says when it is worth looking at again.
            time.sleep(max(0.0, min(rest.total_seconds(), self._until - now)))
