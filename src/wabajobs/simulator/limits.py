"""The rolling-window limits: per app, per app and WABA, per line of credit; refusals and usage headers.

A call made at t is in the window until t + length, not any more at that moment. Every percent is of the
number of calls in the window; there is no reset, only calls that become old.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from wabajobs.simulator.clock import Clock
from wabajobs.simulator.config import SimulatorConfig
from wabajobs.simulator.errors import GraphError
from wabajobs.simulator.world import Waba

K = TypeVar("K")

ADJUSTABLE = frozenset(
    {
        "count_refused",
        "app_refusal_status",
        "app_refusal_transient",
        "waba_limit_active",
        "waba_limit_inactive",
        "claimed_app_limit",
        "credit_limit",
        "credit_refusal_code",
        "waba_refusal_code",
        "waba_refusal_status",
        "waba_refusal_transient",
        "refusal_subcode",
        "time_factor",
        "cputime_factor",
        "app_usage_header",
        "waba_usage_header",
        "header_floor",
        "headers_on_refusal",
    }
)
"""The knobs that may be turned while the simulator runs, besides `app_limit`."""


class RollingWindow:
    """The times of the calls in the last `length` seconds; each call costs amortised constant time."""

    __slots__ = ("_bulk", "_bulk_count", "_extra", "_extra_sum", "_length", "_times")

    def __init__(self, length: float) -> None:
        self._length = length
        self._times: deque[float] = deque()
        self._bulk: deque[tuple[float, int]] = deque()
        self._bulk_count = 0
        self._extra: deque[tuple[float, float]] = deque()
        self._extra_sum = 0.0

    def add(self, now: float) -> None:
        """One call; `now` never goes back."""
        self._times.append(now)

    def add_extra(self, now: float, calls: float) -> None:
        """A call took as much time as so many calls more."""
        self._extra.append((now, calls))
        self._extra_sum += calls

    def surplus(self, now: float) -> float:
        """The time taken beyond that of ordinary calls, in calls."""
        while self._extra and self._extra[0][0] + self._length <= now:
            self._extra_sum -= self._extra.popleft()[1]
        return self._extra_sum if self._extra else 0.0

    def add_many(self, now: float, calls: int) -> None:
        """So many calls at once."""
        self._bulk.append((now, calls))
        self._bulk_count += calls

    def count(self, now: float) -> int:
        """Calls in (now - length, now]."""
        times, bulk, length = self._times, self._bulk, self._length
        # The same sum decides entry and exit, so that rounding cannot keep a call for ever.
        while times and times[0] + length <= now:
            times.popleft()
        while bulk and bulk[0][0] + length <= now:
            self._bulk_count -= bulk.popleft()[1]
        return len(times) + self._bulk_count

    def below_at(self, allowed: float, *, now: float) -> float:
        """When fewer than `allowed` calls are left, if none is added; for windows without bulk."""
        excess = min(self.count(now) - math.ceil(allowed), len(self._times) - 1)
        return now if excess < 0 else self._times[excess] + self._length


class Others:
    """Other clients of an app, who call at a steady rate; their calls are entered when somebody looks."""

    def __init__(self) -> None:
        self.per_second = 0.0
        self._next = 0.0

    def set_rate(self, per_second: float, *, now: float) -> None:
        self.per_second = per_second
        self._next = now

    def catch_up(self, window: RollingWindow, *, now: float, length: float, allowed: float | None) -> None:
        """Enter their calls up to now; with `allowed`, only those that were not refused."""
        if not self.per_second:
            return
        step = 1.0 / self.per_second
        if allowed is None and self._next < now - length:
            # What is older than the window would leave it at once.
            self._next += step * math.floor((now - length - self._next) / step)
        while self._next <= now:
            if allowed is None or window.count(self._next) < allowed:
                window.add(self._next)
            self._next += step


class Admission(NamedTuple):
    """What the limits say to a call."""

    refusal: GraphError | None
    counted: bool


@dataclass(frozen=True, kw_only=True)
class Usage:
    """How full a window is."""

    calls: int
    limit: int

    @property
    def percent(self) -> int:
        return self.calls * 100 // self.limit


class Limits:
    """Who may call now. Methods may be called from any thread."""

    def __init__(self, config: SimulatorConfig, *, clock: Clock, lock: threading.RLock | None = None) -> None:
        self._config = config
        self._clock = clock
        self._lock = lock or threading.RLock()
        self._app_limits: dict[str, int] = {}
        self._waba_limits: dict[str, int] = {}
        self._apps: dict[str, RollingWindow] = {}
        self._others: dict[str, Others] = {}
        self._wabas: dict[tuple[str, str], RollingWindow] = {}
        self._credits: dict[str, RollingWindow] = {}

    # What the Graph asks

    def admit(self, app_id: str, waba: Waba | None = None, *, credit: bool = False, now: float) -> Admission:
        """Whether the call passes, app first; it is counted, or not, in every window that applies."""
        config = self._config
        app_window = self._app_window(app_id, now)
        narrow: RollingWindow | None = None
        refusal = None
        if waba:
            narrow = self._window(self._wabas, (app_id, waba.id))
        elif credit:
            narrow = self._window(self._credits, app_id)
        if self._is_full(app_window, self.app_limit(app_id), now):
            refusal = self._app_refusal()
        elif narrow and waba and self._is_full(narrow, self.waba_limit(waba), now):
            refusal = self._waba_refusal()
        elif narrow and credit and self._is_full(narrow, config.credit_limit, now):
            refusal = self._app_refusal() if config.credit_refusal_code == 4 else self._waba_refusal()
        counted = refusal is None or config.count_refused
        if counted:
            app_window.add(now)
            if narrow:
                narrow.add(now)
        return Admission(refusal, counted)

    def charge_extra(self, app_id: str, waba: Waba | None, calls: float, *, now: float) -> None:
        """A call that was admitted took as much time as so many calls more."""
        self._app_window(app_id, now).add_extra(now, calls)
        if waba:
            self._window(self._wabas, (app_id, waba.id)).add_extra(now, calls)

    def headers(
        self, app_id: str, waba: Waba | None, *, now: float, refused: bool, malformed: bool = False
    ) -> dict[str, str]:
        """The usage headers of an answer."""
        config = self._config
        headers: dict[str, str] = {}
        if refused and not config.headers_on_refusal:
            return headers
        if config.app_usage_header:
            percents = self._percents(
                self._app_window(app_id, now), config.claimed_app_limit or self.app_limit(app_id), now
            )
            if malformed:
                headers["X-App-Usage"] = '{"call_count":'
            elif max(percents) >= config.header_floor:
                headers["X-App-Usage"] = (
                    f'{{"call_count":{percents[0]},"total_time":{percents[1]},"total_cputime":{percents[2]}}}'
                )
        if waba and config.waba_usage_header:
            window = self._window(self._wabas, (app_id, waba.id))
            limit = self.waba_limit(waba)
            percents = self._percents(window, limit, now)
            wait = window.below_at(self._allowed(limit, window.surplus(now)), now=now) - now
            headers["X-Business-Use-Case-Usage"] = (
                "<usage unavailable>"
                if malformed
                else f'{{"{waba.id}":[{{"type":"whatsapp_business_management","call_count":{percents[0]},'
                f'"total_cputime":{percents[2]},"total_time":{percents[1]},'
                f'"estimated_time_to_regain_access":{math.ceil(wait / 60)}}}]}}'
            )
        return headers

    # What tests and operators ask and change

    def app_limit(self, app_id: str) -> int:
        """Calls the app may make in a window."""
        return self._app_limits.get(app_id, self._config.app_limit)

    def waba_limit(self, waba: Waba) -> int:
        """Calls an app may make for this WABA in a window."""
        config = self._config
        default = config.waba_limit_active if waba.active else config.waba_limit_inactive
        return self._waba_limits.get(waba.id, default)

    def app_usage(self, app_id: str) -> Usage:
        """How full the app's window is now, the others' calls included."""
        with self._lock:
            now = self._clock.now()
            return Usage(calls=self._app_window(app_id, now).count(now), limit=self.app_limit(app_id))

    def waba_usage(self, app_id: str, waba: Waba) -> Usage:
        """How full the window of this app for this WABA is now."""
        with self._lock:
            calls = self._window(self._wabas, (app_id, waba.id)).count(self._clock.now())
            return Usage(calls=calls, limit=self.waba_limit(waba))

    def set_app_limit(self, limit: int, *, app: str | None = None) -> None:
        """Give one app, or every app, another limit from now on."""
        if limit < 1:
            raise ValueError("app_limit must be at least 1")
        with self._lock:
            if app is None:
                self._app_limits.clear()
                self._config = self._config.with_changes(app_limit=limit)
            else:
                self._app_limits[app] = limit

    def set_waba_limit(self, waba_id: str, limit: int | None) -> None:
        """Give one WABA a limit of its own; none: the usual one again."""
        with self._lock:
            if limit is None:
                self._waba_limits.pop(waba_id, None)
            else:
                self._waba_limits[waba_id] = limit

    def set(self, **changes: object) -> None:
        """Turn some of the knobs named in ADJUSTABLE."""
        if unknown := sorted(changes.keys() - ADJUSTABLE):
            raise ValueError(f"{', '.join(unknown)} cannot be changed while the simulator runs")
        with self._lock:
            self._config = self._config.with_changes(**changes)

    def add_others(self, app_id: str, calls: int) -> None:
        """Other clients of the app make so many calls now."""
        with self._lock:
            now = self._clock.now()
            self._app_window(app_id, now).add_many(now, calls)

    def set_others_rate(self, app_id: str, per_second: float) -> None:
        """Other clients of the app call so often from now on, in simulated seconds; 0 ends it."""
        with self._lock:
            now = self._clock.now()
            self._app_window(app_id, now)
            self._others.setdefault(app_id, Others()).set_rate(per_second, now=now)

    def forget(self) -> None:
        """Empty every window."""
        with self._lock:
            now = self._clock.now()
            self._apps.clear()
            self._wabas.clear()
            self._credits.clear()
            for others in self._others.values():
                others.set_rate(others.per_second, now=now)

    def settings(self) -> dict[str, Any]:
        """The knobs as they are now."""
        with self._lock:
            names = {*ADJUSTABLE, "window", "app_limit"}
            return self._config.model_dump(mode="json", include=names) | {"app_limits": self._app_limits}

    # The sums

    def _app_window(self, app_id: str, now: float) -> RollingWindow:
        window = self._apps.get(app_id)
        if window is None:
            window = self._apps[app_id] = RollingWindow(self._config.window)
        others = self._others.get(app_id)
        if others is not None:
            allowed = None if self._config.count_refused else self._allowed(self.app_limit(app_id), 0.0)
            others.catch_up(window, now=now, length=self._config.window, allowed=allowed)
        return window

    def _window(self, windows: dict[K, RollingWindow], key: K) -> RollingWindow:
        window = windows.get(key)
        if window is None:
            window = windows[key] = RollingWindow(self._config.window)
        return window

    def _is_full(self, window: RollingWindow, limit: int, now: float) -> bool:
        return window.count(now) >= self._allowed(limit, window.surplus(now))

    def _allowed(self, limit: int, extra: float) -> float:
        """The calls that pass: any percent at 100 throttles, so dear calls lower their number."""
        config = self._config
        factor = max(config.time_factor, config.cputime_factor)
        return min(limit, limit / factor - extra) if factor else limit

    def _percents(self, window: RollingWindow, limit: int, now: float) -> tuple[int, int, int]:
        """Whole percents of calls, time and CPU time."""
        config = self._config
        calls = window.count(now)
        percent = (calls + window.surplus(now)) * 100 / limit
        return calls * 100 // limit, int(percent * config.time_factor), int(percent * config.cputime_factor)

    def _app_refusal(self) -> GraphError:
        return GraphError(
            message="(#4) Application request limit reached",
            code=4,
            status=self._config.app_refusal_status,
            is_transient=self._config.app_refusal_transient,
            subcode=self._config.refusal_subcode,
        )

    def _waba_refusal(self) -> GraphError:
        code = self._config.waba_refusal_code
        return GraphError(
            message=(
                f"(#{code}) There have been too many calls to this WhatsApp Business account. Wait a bit and "
                "try again. For more info, please refer to "
                "https://developers.facebook.com/docs/graph-api/overview/rate-limiting."
            ),
            code=code,
            status=self._config.waba_refusal_status,
            is_transient=self._config.waba_refusal_transient,
            subcode=self._config.refusal_subcode,
        )
