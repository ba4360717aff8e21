"""The account of every call: what the server saw, against which any client's own account can be held."""

from __future__ import annotations

import threading
from collections import Counter, deque
from typing import Any, NamedTuple

from wabajobs.simulator.effects import Effects
from wabajobs.simulator.packing import packed, unpacked

REFUSALS = frozenset({4, 17, 80007, 80008, 80012})
"""Codes that say: too many calls."""

_SLICES = 60
_WINDOWS_MOST = 10_000
_Counts = dict[int, list[int]]
_COUNTERS = (
    "_by_endpoint",
    "_by_waba",
    "_by_app",
    "_by_status",
    "_by_code",
    "_by_capability",
    "_wasted",
)


class CallRecord(NamedTuple):
    """One call as the server saw it."""

    seq: int
    """Its place in the order of arrival, from 1; never given twice."""
    wall: float
    """Unix time of its arrival by the machine's clock."""
    time: float
    """Simulated seconds since the start."""
    app: str | None
    """Id of the app whose token it bore; nothing when the token was missing or wrong."""
    waba: str | None
    """Id of the WABA that the object in its path is, or belongs to."""
    method: str
    path: str
    """Without the query string, so without a token."""
    endpoint: str
    """Name of the endpoint, such as `message_templates.list`; `unknown` when there is none."""
    status: int
    """HTTP status of the answer; 0 when the client got none."""
    code: int | None
    """Code of the Graph error."""
    counted: bool
    """Whether it counts in the windows."""
    fault: str | None
    """Id of the fault rule that decided about it."""
    limit: int | None
    """Page size it asked for."""
    after: str | None
    """Cursor it asked for."""
    capability: str
    """The part of the API that the endpoint belongs to; `unknown` when there is none."""
    request: int
    """Number of the HTTP request in which it came; the calls of a batch share one."""
    via: str | None
    """`batch` or `ids` when it came inside another request."""
    wasted: str | None
    """Why it was of no use: `refused`, `failed`, `unanswered`, `nothing to do`; nothing when it was of use."""

    @property
    def refused(self) -> bool:
        """Whether it was told that there are too many calls."""
        return self.code in REFUSALS


class Judge:
    """The record of one simulator. Methods may be called from any thread."""

    def __init__(self, *, window: float, size: int, lock: threading.RLock | None = None) -> None:
        self._window = window
        self._size = size
        self._lock = lock or threading.RLock()
        self.effects = Effects(lock=self._lock)
        """What the calls have done."""
        self._seq = 0
        self._requests = 0
        self._in_flight = 0
        self._most_in_flight = 0
        self._defects = 0
        self._clearings = 0
        self.clear()

    # What the server tells

    def enter(self) -> int:
        """A request arrived; its number."""
        with self._lock:
            self._requests += 1
            self._in_flight += 1
            self._most_in_flight = max(self._most_in_flight, self._in_flight)
            return self._requests

    def leave(self) -> None:
        """A request is over, however it ended."""
        with self._lock:
            self._in_flight -= 1

    def record(
        self,
        *,
        wall: float,
        time: float,
        app: str | None,
        waba: str | None,
        method: str,
        path: str,
        endpoint: str,
        status: int,
        code: int | None,
        counted: bool,
        fault: str | None,
        limit: int | None,
        after: str | None,
        capability: str,
        request: int,
        via: str | None,
        idle: bool,
    ) -> None:
        """A call was decided."""
        with self._lock:
            self._seq += 1
            wasted = _wasted(status=status, code=code, idle=idle)
            record = CallRecord(
                self._seq, wall, time, app, waba, method, path, endpoint, status, code, counted, fault,
                limit, after, capability, request, via, wasted,
            )  # fmt: skip
            self._log.append(record)
            if len(self._log) >= self._size + max(1000, self._size // 4):
                # In large steps, because taking from the front of a list moves all of it.
                del self._log[: -self._size]
            self._total += 1
            self._counted += counted
            self._by_endpoint[endpoint] += 1
            self._by_status[status] += 1
            self._by_capability[capability] += 1
            if wasted is not None:
                self._wasted[wasted] += 1
            if code is not None:
                self._by_code[code] += 1
                if code in REFUSALS:
                    self._refusals.append(record)
            if waba is not None:
                self._by_waba[waba] += 1
            if app is not None:
                self._by_app[app] += 1
                self._enter_window(app, time)
                self._enter_history(app, time, refused=code in REFUSALS)

    def tell_defect(self) -> None:
        """The simulator itself failed."""
        with self._lock:
            self._defects += 1

    # What anybody may ask

    @property
    def next_seq(self) -> int:
        """The sequence number of the call that is being decided."""
        return self._seq + 1

    @property
    def total(self) -> int:
        """All calls since the last clearing."""
        return self._total

    @property
    def counted(self) -> int:
        """Calls that counted in the windows."""
        return self._counted

    @property
    def refused(self) -> int:
        """Calls that were told there are too many."""
        return sum(self._by_code[code] for code in REFUSALS)

    @property
    def defects(self) -> int:
        """Requests on which the simulator itself failed; more than 0 is a bug in it."""
        return self._defects

    @property
    def in_flight(self) -> int:
        """Requests being answered now."""
        return self._in_flight

    @property
    def most_in_flight(self) -> int:
        """The most requests that were being answered at one time."""
        return self._most_in_flight

    def refusals(self) -> list[CallRecord]:
        """The refused calls, as many as are remembered."""
        with self._lock:
            return list(self._refusals)

    def by_endpoint(self) -> dict[str, int]:
        """Calls of each endpoint."""
        return self._copy(self._by_endpoint)

    def by_waba(self) -> dict[str, int]:
        """Calls about each WABA."""
        return self._copy(self._by_waba)

    def by_app(self) -> dict[str, int]:
        """Calls of each app."""
        return self._copy(self._by_app)

    def by_capability(self) -> dict[str, int]:
        """Calls of each part of the API."""
        return self._copy(self._by_capability)

    def wasted(self) -> dict[str, int]:
        """Calls that were of no use, by why."""
        return self._copy(self._wasted)

    def by_status(self) -> dict[int, int]:
        """Calls by HTTP status; 0 stands for no answer."""
        return self._copy(self._by_status)

    def by_code(self) -> dict[int, int]:
        """Calls by code of the Graph error."""
        return self._copy(self._by_code)

    def most_in_window(self, app: str) -> int:
        """The most calls the app made in any rolling window, refused ones and faults included."""
        with self._lock:
            return self._most_in_window.get(app, 0)

    def calls(self, *, after: int = 0, limit: int | None = None) -> list[CallRecord]:
        """The calls with a higher sequence number, oldest first, as many as are remembered."""
        with self._lock:
            self._trim()
            first = self._log[0].seq if self._log else self._seq + 1
            start = max(0, after + 1 - first)
            return self._log[start:] if limit is None else self._log[start : start + limit]

    def history(self, app: str, *, now: float) -> dict[str, Any]:
        """The app's calls and refused calls: in each sixtieth of the last window, and in each whole window.

        Whole windows are counted from the simulator's start, and the last 10,000 are remembered.
        """
        with self._lock:
            slices, windows = self._history.get(app) or ({}, {})
            step, latest = self._window / _SLICES, int(now * _SLICES // self._window)
            return {
                "window": self._window,
                "slice": step,
                "slices": [
                    {"since": place * step, "calls": calls, "refused": refused}
                    for place in range(max(0, latest - _SLICES + 1), latest + 1)
                    for calls, refused in (slices.get(place, (0, 0)),)
                ],
                "windows": [
                    {"since": number * self._window, "calls": calls, "refused": refused}
                    for number, (calls, refused) in windows.items()
                ],
            }

    def report(self) -> dict[str, Any]:
        """Everything derived, as JSON can hold it."""
        with self._lock:
            return {
                "calls": self._total,
                "counted": self._counted,
                "refused": self.refused,
                "refusals": [
                    {"seq": one.seq, "wall": one.wall, "time": one.time, "app": one.app, "code": one.code}
                    for one in list(self._refusals)[-1000:]
                ],
                "by_endpoint": dict(self._by_endpoint),
                "by_capability": dict(self._by_capability),
                "by_waba": dict(self._by_waba),
                "by_app": dict(self._by_app),
                "by_status": {str(status): calls for status, calls in self._by_status.items()},
                "by_code": {str(code): calls for code, calls in self._by_code.items()},
                "window": self._window,
                "most_in_window": dict(self._most_in_window),
                "in_flight": self._in_flight,
                "most_in_flight": self._most_in_flight,
                "last_seq": self._seq,
                "remembered": min(len(self._log), self._size),
                "defects": self._defects,
                "requests": self._requests,
                "wasted": dict(self._wasted),
                "effects": self.effects.by_kind(),
                "duplicates": [
                    {"seq": one.seq, "call": one.call, "time": one.time, "kind": one.kind, "subject": one.subject}
                    for one in self.effects.duplicates()
                ],
            }

    def clear(self) -> None:
        """Forget every call and every count; sequence numbers go on."""
        with self._lock:
            self._log: list[CallRecord] = []
            self._refusals: deque[CallRecord] = deque(maxlen=self._size)
            self._total = 0
            self._counted = 0
            self._by_endpoint: Counter[str] = Counter()
            self._by_waba: Counter[str] = Counter()
            self._by_app: Counter[str] = Counter()
            self._by_status: Counter[int] = Counter()
            self._by_code: Counter[int] = Counter()
            self._windows: dict[str, deque[float]] = {}
            self._history: dict[str, tuple[_Counts, _Counts]] = {}
            self._clearings += 1
            self._most_in_window: dict[str, int] = {}
            self._most_in_flight = self._in_flight
            self._defects = 0
            self._by_capability: Counter[str] = Counter()
            self._wasted: Counter[str] = Counter()
            self.effects.clear()

    def _enter_window(self, app: str, now: float) -> None:
        # Its own sum, not the limits': who judges must not trust who is judged.
        times = self._windows.get(app)
        if times is None:
            times = self._windows[app] = deque()
        times.append(now)
        while times[0] + self._window <= now:
            times.popleft()
        if len(times) > self._most_in_window.get(app, 0):
            self._most_in_window[app] = len(times)

    def _enter_history(self, app: str, now: float, *, refused: bool) -> None:
        history = self._history.get(app)
        if history is None:
            history = self._history[app] = ({}, {})
        place = int(now * _SLICES // self._window)
        for counted, number, most in (
            (history[0], place, 2 * _SLICES),
            (history[1], place // _SLICES, _WINDOWS_MOST),
        ):
            counts = counted.get(number)
            if counts is None:
                counts = counted[number] = [0, 0]
                if len(counted) > most:
                    del counted[next(iter(counted))]
            counts[0] += 1
            counts[1] += refused

    # Kept across a restart

    @property
    def clearings(self) -> int:
        """How often it was cleared; what was told before that need not be kept."""
        return self._clearings

    def state(self) -> dict[str, Any]:
        """The sums as JSON can hold them; the calls one by one are apart from them, and so are the effects."""
        with self._lock:
            return {
                "seq": self._seq,
                "requests": self._requests,
                "most_in_flight": self._most_in_flight,
                "defects": self._defects,
                "total": self._total,
                "counted": self._counted,
                "counts": {name: list(getattr(self, name).items()) for name in _COUNTERS},
                "windows": {app: packed(times) for app, times in self._windows.items()},
                "most_in_window": dict(self._most_in_window),
                "history": {
                    app: [[[at, *one] for at, one in each.items()] for each in both]
                    for app, both in self._history.items()
                },
            }

    def restore(self, state: dict[str, Any], calls: list[CallRecord]) -> None:
        """Put a `state` and the calls one by one in place of everything but the effects."""
        with self._lock:
            self._seq, self._requests = state["seq"], state["requests"]
            self._most_in_flight, self._defects = state["most_in_flight"], state["defects"]
            self._total, self._counted = state["total"], state["counted"]
            for name in _COUNTERS:
                setattr(self, name, Counter(dict(state["counts"][name])))
            self._windows = {app: deque(unpacked(text)) for app, text in state["windows"].items()}
            self._most_in_window = state["most_in_window"]
            self._history = {
                app: (_counts(slices), _counts(windows)) for app, (slices, windows) in state["history"].items()
            }
            self._log = calls[-self._size :]
            self._refusals.extend(one for one in self._log if one.refused)

    def _trim(self) -> None:
        if len(self._log) > self._size:
            del self._log[: -self._size]

    def _copy(self, counts: Counter[Any]) -> dict[Any, int]:
        with self._lock:
            return dict(counts)


def _wasted(*, status: int, code: int | None, idle: bool) -> str | None:
    if code in REFUSALS:
        return "refused"
    if status == 0:
        return "unanswered"
    if code is not None or status >= 400:
        return "failed"
    return "nothing to do" if idle else None


def _counts(saved: list[list[int]]) -> _Counts:
    return {at: [calls, refused] for at, calls, refused in saved}
