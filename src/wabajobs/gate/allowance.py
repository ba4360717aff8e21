"""What a process may let through by itself while Redis is away: nothing, unless the settings say otherwise."""

import threading
import time
import uuid

from wabajobs.capability import ServiceClass
from wabajobs.gate.calls import Call, Permit


class Allowance:
    """A token bucket for interactive calls, of one process. It knows no pause, no breaker and no budget.

    N processes together may so make N times as many calls a minute, beside what they made before.
    """

    def __init__(self, *, per_minute: int, start_within_seconds: float) -> None:
        """Hold one minute's calls at most, and begin with one."""
        self._rate = per_minute / 60
        self._most = float(per_minute)
        self._start_within = start_within_seconds
        self._lock = threading.Lock()
        self._left = min(1.0, self._most)
        self._at = time.monotonic()

    def permit(self, call: Call) -> Permit | None:
        """Let an interactive call through, if one is left."""
        if call.service_class is not ServiceClass.INTERACTIVE or call.quota is not None:
            return None
        with self._lock:
            now = time.monotonic()
            self._left = min(self._most, self._left + (now - self._at) * self._rate)
            self._at = now
            if self._left < call.cost:
                return None
            self._left -= call.cost
        start_before = now + self._start_within
        return Permit(id=uuid.uuid4().hex, call=call, start_before=start_before, unasked=True)
