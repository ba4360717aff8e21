"""The rolling-window limits: per app, user, app and WABA, line of credit; refusals and usage headers.

A call made at t is in the window until t + length, not any more at that moment. Every percent is of the
number of calls in the window; there is no reset, only calls that become old.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError

from wabajobs.simulator.clock import Clock
from wabajobs.simulator.config import FIXED, SimulatorConfig, sentence
from wabajobs.simulator.errors import GraphError
from wabajobs.simulator.packing import packed, unpacked
from wabajobs.simulator.world import Waba

K = TypeVar("K")

ADJUSTABLE = frozenset(SimulatorConfig.model_fields) - FIXED
"""The knobs that may be turned while the simulator runs."""

PER_APP = frozenset({"app_limit", "claimed_app_limit", "others_per_second"})
"""What one app may have for itself."""

Setting = tuple[str, str]
"""A knob, `waba_limit` or `others_per_second`; and the app or WABA that it is for, empty: for all."""
Changes = Mapping[Setting, Any]


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

    # Kept across a restart

    def state(self) -> dict[str, Any]:
        """Everything as JSON can hold it."""
        state: dict[str, Any] = {"times": packed(self._times)}
        if self._bulk:
            state["bulk"] = [list(one) for one in self._bulk]
        if self._extra:
            state["extra"] = [list(one) for one in self._extra]
        return state

    @classmethod
    def restored(cls, length: float, state: dict[str, Any]) -> RollingWindow:
        """The window of a `state`."""
        window = cls(length)
        window._times.extend(unpacked(state["times"]))
        for at, calls in state.get("bulk", ()):
            window.add_many(at, calls)
        for at, calls in state.get("extra", ()):
            window.add_extra(at, calls)
        return window

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

    def state(self) -> list[float]:
        """Everything as JSON can hold it."""
        return [self.per_second, self._next]

    @classmethod
    def restored(cls, state: list[float]) -> Others:
        """The others of a `state`."""
        others = cls()
        others.per_second, others._next = state
        return others

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

    def __init__(
        self,
        config: SimulatorConfig,
        *,
        clock: Clock,
        lock: threading.RLock | None = None,
        on_change: Callable[[SimulatorConfig], None] = lambda _: None,
    ) -> None:
        self._first = self._config = config
        self._on_change = on_change
        """Told all knobs as they are from now on."""
        self._clock = clock
        self._lock = lock or threading.RLock()
        self._settled: dict[Setting, Any] = {}
        self._layers: dict[str, dict[Setting, Any]] = {}
        """What is set for a while, the latest last; each ends by its name."""
        self._app_limits: dict[str, int] = {}
        self._claimed: dict[str, int] = {}
        self._waba_limits: dict[str, int] = {}
        self._apps: dict[str, RollingWindow] = {}
        self._others: dict[str, Others] = {}
        self._wabas: dict[tuple[str, str], RollingWindow] = {}
        self._credits: dict[str, RollingWindow] = {}
        self._users: dict[str, RollingWindow] = {}
        self.changed = 0
        """Counts the changes by levers, so that who saves the limits knows whether it must."""

    # What the Graph asks

    def admit(
        self, app_id: str, waba: Waba | None = None, *, user: str = "", credit: bool = False, now: float
    ) -> Admission:
        """Whether the call passes, app first; it is counted, or not, in every window that applies.

        `user` is whose token it is; empty for an app's own.
        """
        config = self._config
        app_window = self._app_window(app_id, now)
        narrow: RollingWindow | None = None
        of_user = self._window(self._users, user) if user and config.user_limit is not None else None
        refusal = None
        if waba:
            narrow = self._window(self._wabas, (app_id, waba.id))
        elif credit:
            narrow = self._window(self._credits, app_id)
        if self._is_full(app_window, self.app_limit(app_id), now):
            refusal = self._app_refusal()
        elif of_user and config.user_limit and of_user.count(now) >= config.user_limit:
            refusal = self._user_refusal()
        elif narrow and waba and self._is_full(narrow, self.waba_limit(waba), now):
            refusal = self._waba_refusal()
        elif narrow and credit and self._is_full(narrow, config.credit_limit, now):
            refusal = self._app_refusal() if config.credit_refusal_code == 4 else self._waba_refusal()
        counted = refusal is None or config.count_refused
        if counted:
            app_window.add(now)
            if of_user:
                of_user.add(now)
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
            claimed = self._claimed.get(app_id, config.claimed_app_limit)
            percents = self._percents(self._app_window(app_id, now), claimed or self.app_limit(app_id), now)
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
            wait = 0.0
            if self._is_full(window, limit, now):
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
        self.change({("app_limit", app or ""): limit})

    def set_waba_limit(self, waba_id: str, limit: int | None) -> None:
        """Give one WABA a limit of its own; none: the usual one again."""
        self.change({("waba_limit", waba_id): limit})

    def set(self, **changes: object) -> None:
        """Turn some of the knobs named in ADJUSTABLE."""
        self.change({(name, ""): value for name, value in changes.items()})

    def add_others(self, app_id: str, calls: int, *, at: float | None = None) -> None:
        """Other clients of the app make so many calls, now or at a moment that has just been."""
        with self._lock:
            now = self._clock.now() if at is None else at
            self._app_window(app_id, now).add_many(now, calls)
            self.changed += 1

    def set_others_rate(self, app_id: str, per_second: float) -> None:
        """Other clients of the app call so often from now on, in simulated seconds; 0 ends it."""
        self.change({("others_per_second", app_id): per_second})

    def change(self, changes: Changes, *, layer: str | None = None, at: float | None = None) -> None:
        """Set something: for good, or in a layer above all others until `end_layer`.

        What is set for good ends what layers say of the same.
        """
        with self._lock:
            self.check(changes)
            if layer is None:
                for held in (self._settled, *self._layers.values()):
                    for setting in changes:
                        _drop(held, setting)
                self._settled.update(changes)
            else:
                self._layers.pop(layer, None)
                self._layers[layer] = dict(changes)
            self._apply(at)

    def end_layer(self, layer: str, *, at: float | None = None) -> None:
        """Let what a layer set go back to what it was."""
        with self._lock:
            if self._layers.pop(layer, None) is not None:
                self._apply(at)

    def forget(self) -> None:
        """Empty every window."""
        with self._lock:
            now = self._clock.now()
            self._apps.clear()
            self._wabas.clear()
            self._credits.clear()
            self._users.clear()
            for others in self._others.values():
                others.set_rate(others.per_second, now=now)
            self.changed += 1

    def settings(self) -> dict[str, Any]:
        """The knobs as they are now."""
        with self._lock:
            return self._config.model_dump(mode="json", include={*ADJUSTABLE, "window"}) | {
                "app_limits": dict(self._app_limits),
                "claimed_app_limits": dict(self._claimed),
                "waba_limits": dict(self._waba_limits),
                "others_per_second": {app: one.per_second for app, one in self._others.items()},
            }

    # Kept across a restart

    def state(self) -> dict[str, Any]:
        """Everything as JSON can hold it."""
        with self._lock:
            return {
                "settled": _listed(self._settled),
                "layers": [[name, _listed(layer)] for name, layer in self._layers.items()],
                "others": {app: one.state() for app, one in self._others.items()},
                "apps": {app: window.state() for app, window in self._apps.items()},
                "wabas": [[*key, window.state()] for key, window in self._wabas.items()],
                "credits": {app: window.state() for app, window in self._credits.items()},
                "users": {user: window.state() for user, window in self._users.items()},
            }

    def restore(self, state: dict[str, Any]) -> None:
        """Put a `state` in place of everything."""
        length = self._config.window
        with self._lock:
            self._settled = {(name, of): value for name, of, value in state["settled"]}
            self._layers = {
                layer: {(name, of): value for name, of, value in changes} for layer, changes in state["layers"]
            }
            self._others = {app: Others.restored(one) for app, one in state["others"].items()}
            self._apps = {app: RollingWindow.restored(length, one) for app, one in state["apps"].items()}
            self._credits = {app: RollingWindow.restored(length, one) for app, one in state["credits"].items()}
            self._users = {user: RollingWindow.restored(length, one) for user, one in state["users"].items()}
            self._wabas = {(app, waba): RollingWindow.restored(length, one) for app, waba, one in state["wabas"]}
            self._apply(None)

    # What is set

    def check(self, changes: Changes) -> None:
        """Refuse with a ValueError what cannot be set."""
        knobs = {}
        for (name, of), value in changes.items():
            if name in ("waba_limit", "others_per_second"):
                continue
            if of and name not in PER_APP:
                raise ValueError(f"{name} is the same for every app")
            if name not in SimulatorConfig.model_fields:
                raise ValueError(f"there is no knob {name}")
            if name not in ADJUSTABLE:
                raise ValueError(f"{name} cannot be changed while the simulator runs")
            if name == "app_limit" and isinstance(value, int) and value < 1:
                raise ValueError("app_limit must be at least 1")
            knobs[name] = value
        if not knobs:
            return
        try:
            self._first.with_changes(**knobs)
        except ValidationError as error:
            raise ValueError(sentence(error)) from error

    def _apply(self, at: float | None) -> None:
        """Work out what holds now: what is settled, then each layer above it."""
        knobs: dict[str, Any] = {}
        own: dict[str, dict[str, Any]] = {"waba_limit": {}, **{name: {} for name in PER_APP}}
        for held in (self._settled, *self._layers.values()):
            for (name, of), value in sorted(held.items(), key=lambda item: item[0]):
                if of:
                    own[name][of] = value
                else:
                    # Sorting puts what is for all before what is for one.
                    own.get(name, {}).clear()
                    knobs[name] = value
        self._config = self._first.with_changes(**knobs)
        self._app_limits = own["app_limit"]
        self._claimed = {app: limit for app, limit in own["claimed_app_limit"].items() if limit is not None}
        self._waba_limits = {waba: limit for waba, limit in own["waba_limit"].items() if limit is not None}
        rates = own["others_per_second"]
        now = self._clock.now() if at is None else at
        for app in {*rates, *self._others}:
            others, rate = self._others.setdefault(app, Others()), rates.get(app, 0.0)
            if others.per_second != rate:
                self._app_window(app, now)
                others.set_rate(rate, now=now)
        self.changed += 1
        self._on_change(self._config)

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
        return self._platform_refusal(4, "Application request limit reached")

    def _user_refusal(self) -> GraphError:
        return self._platform_refusal(17, "User request limit reached")

    def _platform_refusal(self, code: int, message: str) -> GraphError:
        return GraphError(
            message=f"(#{code}) {message}",
            code=code,
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


def _drop(held: dict[Setting, Any], setting: Setting) -> None:
    """Take out a setting; what is for all takes with it what is for one."""
    name, of = setting
    for key in [key for key in held if key == setting or (not of and name in PER_APP and key[0] == name)]:
        del held[key]


def _listed(changes: Changes) -> list[list[Any]]:
    return [[name, of, value] for (name, of), value in changes.items()]
