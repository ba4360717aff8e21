"""One process of the crowd: `python -m benchmarks.gate_worker`. It is told what to do in lines of JSON.

A line in is what one of the functions below takes; a line out is what came of it. Times are those of
`time.monotonic`, which all processes of a machine share; `skew` moves the wall clock of this one.
"""

import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import redis

from benchmarks import gate_anchors
from wabajobs.capability import Capability, ServiceClass
from wabajobs.errors import AppLimitReached, GraphError, Held, WabaLimitReached
from wabajobs.gate import Call, Change, Gate, Permit, Report, Wait
from wabajobs.graph import Credentials, Exchange, GraphClient, GraphRequest
from wabajobs.operation import Operation, State, new_id
from wabajobs.permits import PermittedGraph
from wabajobs.secret import Secret
from wabajobs.settings import AppSettings, GateSettings, GraphSettings, SecretSource

_REAL_TIME = time.time
_LONGEST_SLEEP = 0.25
"""A held call is asked for again after this at the latest, as other operations would ask meanwhile."""


class Wire:
    """The Graph client, with a note of each call: when it was wished for, begun and answered, and how."""

    def __init__(self, asked: Mapping[str, Any]) -> None:
        token = Secret(asked["token"])
        self._client = GraphClient(
            base_url=asked["url"],
            version="v24.0",
            settings=GraphSettings(read_seconds=asked.get("read_seconds", 30)),
            credentials=lambda _: Credentials(token=token),
        )
        self._drift = asked.get("drift", 0.0)
        self._period = asked.get("drift_period", 1.0)
        self._regain_scale = asked.get("regain_scale", 1.0)
        self.announce: Callable[[], None] = lambda: None
        self.calls: list[tuple[float, float, int]] = []
        """Begun, answered, and 0 for success, Meta's code, or -1 when there was none."""

    def exchange(self, request: GraphRequest) -> Exchange:
        """Make the call, after as much delay on the way as the drift says."""
        self.announce()
        began = time.monotonic()
        if self._drift:
            # On the way there and not on the way back: what matters is when it arrives. It swings slowly.
            time.sleep(self._drift * (0.5 + 0.5 * random.choice((-1, 1)) * abs((began / self._period) % 2 - 1)))
        exchange = self._client.exchange(request)
        self.calls.append((began, time.monotonic(), _code(exchange.error)))
        regain = exchange.usage.regain
        if regain is None or self._regain_scale == 1.0:
            return exchange
        # Meta tells whole minutes. In an hour that is shorter they are shorter, too.
        usage = type(exchange.usage)(
            app_percent=exchange.usage.app_percent,
            waba_percent=exchange.usage.waba_percent,
            regain=regain / self._regain_scale,
        )
        return Exchange(usage=usage, status=exchange.status, answer=exchange.answer, error=exchange.error)


class Noting:
    """The gate, with a note of how long calls were kept waiting, and of the breakers that changed."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._refused_at: float | None = None
        self.waits: list[float] = []
        """Seconds from the first no to the yes; 0 for who was not kept waiting."""
        self.reasons: dict[str, int] = {}
        self.changes: list[tuple[float, str, str, str]] = []
        self.settled: list[float] = []
        """When the gate had been told of a refusal."""
        self.probes: list[float] = []
        self.asked: list[float] = []
        """When those were asked for that were granted."""

    def admit(self, call: Call) -> Permit | Wait:
        """Ask."""
        asked = time.monotonic()
        answer = self._gate.admit(call)
        if isinstance(answer, Wait):
            self.reasons[str(answer.because)] = self.reasons.get(str(answer.because), 0) + 1
            if self._refused_at is None:
                self._refused_at = asked
            return answer
        self.asked.append(asked)
        self.waits.append(0.0 if self._refused_at is None else time.monotonic() - self._refused_at)
        self._refused_at = None
        if answer.probes:
            self.probes.append(time.monotonic())
        return answer

    def settle(self, permit: Permit, report: Report) -> tuple[Change, ...]:
        """Tell."""
        changes = self._gate.settle(permit, report)
        now = time.monotonic()
        self.changes += [(now, change.scope, change.state, change.evidence) for change in changes]
        if report.code is not None:
            self.settled.append(now)
        return changes

    def note_activity(self, app: str, waba: str, *, active: bool) -> bool:
        """Tell."""
        return self._gate.note_activity(app, waba, active=active)


def call(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Call through the gate from `begin` to `end`: without a pause, or in `bursts` of [moment, number]."""
    wire, noting = Wire(asked), Noting(_gate(asked))
    if asked.get("announce_probes"):
        wire.announce = _announcer(noting)
    graphs = [
        PermittedGraph(
            gate=noting,
            client=wire,
            operation=_operation(asked, waba),
            capability=Capability(asked.get("capability", "template_reads")),
            may_go_on=lambda: _before(asked["end"]),
            short_wait=timedelta(seconds=asked.get("short_wait", 1.0)),
        )
        for waba in asked["wabas"]
    ]
    _sleep_until(asked["begin"])
    for moment, number in asked.get("bursts") or [(asked["begin"], None)]:
        _sleep_until(moment)
        made = 0
        while time.monotonic() < asked["end"] and (number is None or made < number):
            made += _try(random.choice(graphs), asked)
    return {
        "calls": wire.calls,
        "waits": noting.waits,
        "reasons": noting.reasons,
        "changes": noting.changes,
        "settled": noting.settled,
        "probes": noting.probes,
        "asked": noting.asked,
    }


def _announcer(noting: "Noting") -> Callable[[], None]:
    """Return who says aloud that a probe begins, once each."""
    said = 0

    def announce() -> None:
        nonlocal said
        if len(noting.probes) > said:
            said = len(noting.probes)
            _say({"began": time.monotonic()})

    return announce


class _OverError(Exception):
    """The time is over."""


def _before(end: float) -> None:
    if time.monotonic() >= end:
        raise _OverError


def _try(graph: PermittedGraph, asked: Mapping[str, Any]) -> bool:
    """Make one call; False when it was held, after a sleep."""
    try:
        graph.get(asked.get("path", asked["wabas"][0]), fields="name")
    except Held as held:
        wait = _LONGEST_SLEEP if held.wait is None else held.wait.total_seconds()
        time.sleep(min(max(wait, 0.001), asked.get("longest_sleep", _LONGEST_SLEEP)))
        return False
    except GraphError:
        return True
    except _OverError:
        return False
    time.sleep(asked.get("think", 0.0))
    return True


def others(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Be another program of the same app: call at `rates` of [since, calls a second], without any limiter."""
    wire = Wire(asked)
    request = GraphRequest(app=asked["app"], path=asked["wabas"][0], params={"fields": "id"})
    rates = [(since, rate) for since, rate in asked["rates"]]
    due = asked["begin"]
    _sleep_until(due)
    while due < asked["end"]:
        rate = next((rate for since, rate in reversed(rates) if since <= due), 0)
        if not rate:
            due += 0.05
            _sleep_until(due)
            continue
        _sleep_until(due)
        wire.exchange(request)
        due += 1 / rate
    return {"calls": wire.calls}


def anchor(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Call through another limiter, from `begin` to `end` in the same way."""
    wire = Wire(asked)
    may = gate_anchors.limiter(asked["limiter"], asked["redis"], asked["limit"], asked["window"])
    request = GraphRequest(app=asked["app"], path=asked["wabas"][0], params={"fields": "name"})
    waits: list[float] = []
    _sleep_until(asked["begin"])
    for moment, number in asked.get("bursts") or [(asked["begin"], None)]:
        _sleep_until(moment)
        made, wished = 0, time.monotonic()
        while time.monotonic() < asked["end"] and (number is None or made < number):
            if not may():
                time.sleep(0.004)
                continue
            made += 1
            waits.append(time.monotonic() - wished if time.monotonic() - wished > 0.004 else 0.0)
            wire.exchange(request)
            time.sleep(asked.get("think", 0.0))
            wished = time.monotonic()
    return {"calls": wire.calls, "waits": waits}


def breaker(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Call through pybreaker, its state shared in Redis, from `begin` to `end`."""
    wire = Wire(asked)
    guarded = gate_anchors.breaker(asked["redis"], asked["fail_max"], asked["reset_seconds"])
    request = GraphRequest(app=asked["app"], path=asked["wabas"][0], params={"fields": "name"})

    def once() -> None:
        if (error := wire.exchange(request).error) is not None:
            raise error

    _sleep_until(asked["begin"])
    while time.monotonic() < asked["end"]:
        if guarded(once):
            time.sleep(asked.get("think", 0.0))
        else:
            time.sleep(0.004)
    return {"calls": wire.calls}


def _code(error: GraphError | None) -> int:
    if error is None:
        return 0
    if error.code is not None:
        return error.code
    return 4 if isinstance(error, AppLimitReached) else 80008 if isinstance(error, WabaLimitReached) else -1


def _gate(asked: Mapping[str, Any]) -> Gate:
    limits = AppSettings(
        token=SecretSource(env="NONE"),
        calls_per_window=asked["limit"],
        calls_per_waba=asked.get("waba_limit", 10_000_000),
    )
    client = redis.Redis.from_url(asked["redis"], socket_timeout=5)
    return Gate(client, settings=GateSettings(**asked["gate"]), apps={asked["app"]: limits})


def _operation(asked: Mapping[str, Any], waba: str) -> Operation:
    now = datetime.now(UTC)
    return Operation(
        id=new_id(),
        kind="benchmark",
        state=State.RUNNING,
        partner=asked.get("partner", "acme"),
        app=asked["app"],
        waba=waba if asked.get("about_waba") else None,
        service_class=ServiceClass(asked.get("class", "background")),
        capability=Capability(asked.get("capability", "template_reads")),
        payload={},
        attempts=1,
        fence=1,
        hold=None,
        checkpoint=None,
        result=None,
        error=None,
        due_at=now,
        created_at=now,
        finished_at=None,
    )


def _sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


def _skew(seconds: float) -> None:
    """Let this process's wall clock go wrong by so much."""
    time.time = lambda: _REAL_TIME() + seconds
    time.time_ns = lambda: int((_REAL_TIME() + seconds) * 1e9)


_said = threading.Lock()


def _say(what: Mapping[str, Any]) -> None:
    with _said:
        sys.stdout.write(json.dumps(what) + "\n")
        sys.stdout.flush()


def main() -> None:
    """Do what comes in, until nothing more comes."""
    does = {"call": call, "others": others, "anchor": anchor, "breaker": breaker}
    _say({"ready": os.getpid()})
    for line in sys.stdin:
        asked = json.loads(line)
        _skew(asked.get("skew", 0.0))
        try:
            _say({"done": does[asked["do"]](asked)})
        except Exception as error:
            _say({"failed": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
