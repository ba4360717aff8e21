"""A stage for kinds: real ledger, gate and Graph client against a simulator, with time that is moved by hand.

An attempt is made right here, or in a process of its own that kills itself at the point a test names. What
reached the simulator is recorded on its side of the wire, so it is there whoever made the call.
"""

import gc
import os
import re
import select
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

from wabajobs import attempt
from wabajobs.bench import Bench
from wabajobs.capability import Capability
from wabajobs.clock import HandClock
from wabajobs.decisions import Limit, Scope, Stand
from wabajobs.gate import Call, Change, Gate, Outcome, Permit, Report, Wait
from wabajobs.graph import Exchange, GraphRequest
from wabajobs.intake import Request, checked
from wabajobs.kinds import Catalogue, Kind, PlannedCall
from wabajobs.ledger import Ledger
from wabajobs.operation import Operation, State
from wabajobs.outcome import Outcome as End
from wabajobs.permits import Client
from wabajobs.settings import Settings
from wabajobs.simulator import Simulator, SimulatorConfig
from wabajobs.simulator.batch import Requests
from wabajobs.simulator.calls import Call as Arriving
from wabajobs.simulator.effects import UNDONE_BY, Effect
from wabajobs.simulator.graph import Ending
from wabajobs.simulator.graph import Outcome as Answered
from wabajobs.vault import new_key
from wabajobs.wiring import House

KNOBS: Mapping[str, Any] = {"wabas": 2, "templates": 3, "clock": "hand", "header_floor": 0}
"""The world, unless a test says otherwise: two WABAs with one registered number and three templates each."""

_KEY = new_key()
_LONGEST_ATTEMPT = 60
"""Seconds after which a process that does not end has hung."""
_ROUNDS = 100
_ALONE: Mapping[str, Any] = {"retry_budget": None, "tell": lambda _: None}
"""An attempt at which nothing goes on beside the test."""


class Point(StrEnum):
    """Where a worker can be killed."""

    BEFORE = "before the call leaves"
    """The permit is taken, and what happens once is marked as begun."""
    UNHEARD = "before the answer is read"
    """Meta has done it."""
    ANSWERED = "after the answer"
    """The gate has been told; nothing is written down yet."""
    RECORDED = "before the outcome is recorded"


@dataclass(frozen=True)
class Crash:
    """A worker is killed, once."""

    number: int
    """Of the operation's call, or of its recording; counted from 1, over all attempts."""
    point: Point

    def __str__(self) -> str:
        return f"killed {self.point} of {'recording' if self.point is Point.RECORDED else 'call'} {self.number}"


@dataclass(frozen=True, kw_only=True)
class Arrived:
    """One request as it reached the simulator."""

    method: str
    path: str
    """What follows the version."""
    params: dict[str, Any]
    """Of query and body together."""
    headers: Mapping[str, str]
    body: bytes
    """Of an upload, the file's bytes."""
    status: int
    answer: bytes
    lost: bool = False
    """Whether the connection broke in place of the answer."""

    def __str__(self) -> str:
        return f"{self.method} {self.path} ({self.status})"


class _Witness:
    """Stands where requests come into the simulator: records them, and loses the answers that it is told to."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self.arrived: list[Arrived] = []
        self.to_lose: set[int] = set()
        """Places of requests, counted from 0."""

    async def handle(self, call: Arriving, *, request: int) -> Answered:
        place = len(self.arrived)
        outcome = await self._requests.handle(call, request=request)
        if lost := place in self.to_lose:
            outcome = replace(outcome, ending=Ending.RESET)
        self.arrived.append(
            Arrived(
                method=call.method,
                path="/".join(call.segments),
                params={} if call.binary else call.parameters.values(),
                headers=call.headers,
                body=call.body if call.binary else b"",
                status=outcome.reply.status,
                answer=outcome.reply.body,
                lost=lost,
            )
        )
        return outcome


class StagedHouse(House):
    """A house whose gate goes by the ledger's clock, so that a test moves both at once."""

    @cached_property
    def gate(self) -> Gate:
        redis = self._redis(self.settings.gate.redis_timeout_seconds)
        return Gate(redis, settings=self.settings.gate, apps=self.settings.apps, clock=self.clock)


@dataclass
class _WatchedGate:
    """The gate, and somebody who acts right before it is asked, or right after it was told."""

    gate: Gate
    before: Callable[[], object] = lambda: None
    after: Callable[[], object] = lambda: None

    def admit(self, call: Call) -> Permit | Wait:
        self.before()
        return self.gate.admit(call)

    def settle(self, permit: Permit, report: Report) -> tuple[Change, ...]:
        changes = self.gate.settle(permit, report)
        self.after()
        return changes

    def note_activity(self, app: str, waba: str, *, active: bool) -> bool:
        return self.gate.note_activity(app, waba, active=active)


@dataclass
class _Doomed:
    """The Graph client of a process that is going to be killed."""

    client: Client
    crash: Crash
    calls: int
    """How many the operation has made so far."""

    def exchange(self, request: GraphRequest) -> Exchange:
        self.calls += 1
        self.die_at(Point.BEFORE)
        exchange = self.client.exchange(request)
        self.die_at(Point.UNHEARD)
        return exchange

    def die_at(self, point: Point) -> None:
        if self.crash == Crash(self.calls, point):
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class Stage:
    """Everything that an attempt needs, and the simulator that it calls."""

    simulator: Simulator
    house: StagedHouse
    clock: HandClock
    witness: _Witness
    _made_by: dict[str, list[Arrived]] = field(default_factory=dict)
    _recordings: dict[str, int] = field(default_factory=dict)
    _before: dict[int, Callable[[], object]] = field(default_factory=dict)
    _now_at: str = ""
    _since: int = 0

    # ── operations ───────────────────────────────────────────────────────────────────────────────────────

    def accept(
        self, kind: str, *, partner: str = "acme", payload: Mapping[str, Any] | None = None, **more: Any
    ) -> Operation:
        """Accept an operation as `Client.enqueue` does. Raises what it raises."""
        request = Request(kind=kind, partner=partner, payload=payload or {}, **more)
        house = self.house
        new = checked(request, kinds=house.kinds, settings=house.settings, seal=house.vault.seal)
        return house.ledger.operations.accept([new], now=self.clock.now())[0].operation

    def get(self, operation: Operation) -> Operation:
        """Return it as it stands, under the pauses there are."""
        ledger = self.house.ledger
        return ledger.operations.get(operation.id).under(ledger.decisions.pauses(now=self.clock.now()))

    def provide(self, operation: Operation, **given: str) -> Operation:
        """Give it what it needs."""
        return self.house.interventions.provide(operation.id, given, actor="anna")

    def attempt(self, operation: Operation, crash: Crash | None = None) -> End | None:
        """Make one attempt, under a real lease; with `crash` in a process of its own. None when it was killed.

        What a dead worker holds is reclaimed first, and what is held is waited for.
        """
        released = self._released(operation)
        self._now_at, self._since = operation.id, len(self.witness.arrived)
        try:
            if crash is None:
                return attempt.perform(released.id, released.fence, bench=self._bench)
            self._in_a_process_of_its_own(released, crash)
            return None
        finally:
            self._made_by.setdefault(operation.id, []).extend(self.witness.arrived[self._since :])
            self._since = len(self.witness.arrived)
            self._recordings[operation.id] = self._recordings.get(operation.id, 0) + 1

    def work(
        self,
        operation: Operation,
        give: Callable[[Operation, "Stage"], object] | None = None,
        *,
        crash: Crash | None = None,
        lose: int | None = None,
    ) -> Operation:
        """Attempt it again and again, as time goes by, until it has ended, or needs what nobody gives.

        With `crash` the worker is killed there, once; `lose` is the number of a call whose answer is lost. Fails
        when either never comes about.
        """
        if lose is not None:
            self.witness.to_lose.add(len(self.witness.arrived) + lose - 1)
        for _ in range(_ROUNDS):
            now = self.get(operation)
            if now.state.finished or (now.state is State.NEEDS_INPUT and give is None):
                assert crash is None, f"it has ended, and was never {crash}: {now.as_json()}"
                assert lose is None or any(one.lost for one in self.calls(operation)), f"no answer {lose}"
                return now
            if now.state is State.NEEDS_INPUT and give is not None:
                give(now, self)
                continue
            self.attempt(operation, crash)
            if crash and self.get(operation).state is State.RUNNING:
                crash = None
        raise AssertionError(f"it does not end: {self.get(operation).as_json()}")

    # ── the world ────────────────────────────────────────────────────────────────────────────────────────

    @property
    def app(self) -> str:
        """The app's id."""
        return self.simulator.app.id

    @property
    def waba(self) -> str:
        """The first WABA."""
        return self.simulator.world.waba_ids[0]

    @property
    def number(self) -> str:
        """The first phone number's id; its WABA is the first."""
        return self.simulator.world.number_ids[0]

    def pass_time(self, seconds: float) -> None:
        """Move the time of ledger, gate and simulator."""
        self.clock.advance(timedelta(seconds=seconds))
        self.simulator.advance(seconds)

    def fault(self, **rule: Any) -> str:
        """Let calls go wrong (docs/simulator.md, Faults)."""
        return self.simulator.faults.add(**rule)

    def before(self, number: int, act: Callable[[], object]) -> None:
        """Do something right before the gate is asked for the operation's call of this number, counted from 1."""
        self._before[number] = act

    # ── what keeps calls from being made ─────────────────────────────────────────────────────────────────

    def pause(self, scope: str) -> None:
        """Pause a scope: `capability:uploads`, `all`."""
        self.house.controls.pause(Scope.of(scope), reason="a test", actor="ops")

    def resume(self, scope: str) -> None:
        """Take the pause back."""
        self.house.controls.resume(Scope.of(scope), reason="a test", actor="ops", percent=100)

    def spend(self) -> None:
        """Let the app's budget be spent; an hour later it is whole again."""
        self._limit(1)
        gate = self.house.gate
        call = Call(app=self.app, queue="other", partner="other", capability=Capability.TEMPLATE_READS)
        while isinstance(permit := gate.admit(call), Permit):
            gate.settle(permit, Report(outcome=Outcome.OK))

    def earn(self) -> None:
        """Give the app its budget back."""
        limit = f"app:{self.app}"
        self.house.controls.forget_limit(limit, reason="a test", actor="ops")

    def break_(self, capability: str) -> None:
        """Hold the breaker of a capability open."""
        scope = f"app:{self.app}/{capability}"
        self.house.controls.hold_breaker(scope, Stand.OPEN, reason="a test", actor="ops")

    def mend(self, capability: str) -> None:
        """Let the breaker go its own way again."""
        self.house.controls.release_breaker(f"app:{self.app}/{capability}", reason="a test", actor="ops")

    def _limit(self, calls: int) -> None:
        limit = Limit(scope=f"app:{self.app}", calls=calls, window_seconds=3600, actor="ops", reason="a test")
        self.house.controls.set_limit(limit)

    # ── what has come of it ──────────────────────────────────────────────────────────────────────────────

    def calls(self, operation: Operation) -> list[Arrived]:
        """Return the requests of an operation that reached the simulator, in their order."""
        mine = self._made_by.get(operation.id, [])
        return [*mine, *self.witness.arrived[self._since :]] if operation.id == self._now_at else list(mine)

    def recordings(self, operation: Operation) -> int:
        """Return how many attempts of it have ended."""
        return self._recordings.get(operation.id, 0)

    def effects(self) -> list[Effect]:
        """Return what the calls have done in the simulator's world."""
        return self.simulator.judge.effects.all()

    def once_effects(self) -> list[tuple[str, str]]:
        """Return those effects that are to happen once: kind and subject, sorted."""
        return sorted((one.kind, one.subject) for one in self.effects() if one.kind in UNDONE_BY)

    def duplicates(self) -> list[tuple[str, str]]:
        """Return the effects that happened again: kind and subject."""
        return [(one.kind, one.subject) for one in self.simulator.judge.effects.duplicates()]

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def _bench(self) -> Bench:
        bench = self.house.bench("stage")
        return replace(bench, gate=_WatchedGate(self.house.gate, before=self._act), **_ALONE)

    def _act(self) -> None:
        number = len(self.witness.arrived[self._since :]) + len(self._made_by.get(self._now_at, [])) + 1
        if act := self._before.pop(number, None):
            act()

    def _released(self, operation: Operation) -> Operation:
        operations, now = self.house.ledger.operations, self.get(operation)
        if now.state is State.RUNNING:
            self.pass_time(self.house.settings.dispatch.attempt_lease_seconds + 1)
            operations.reclaim(now=self.clock.now(), max_attempts=self.house.settings.dispatch.max_attempts)
        elif now.state is State.HELD:
            self.pass_time(max(0.0, (now.due_at - self.clock.now()).total_seconds()))
            operations.wake(now=self.clock.now())
            operations.let_retry([operation.id], now=self.clock.now())
        now = operations.get(operation.id)
        released = operations.release(
            [now],
            now=self.clock.now(),
            lease=timedelta(seconds=self.house.settings.dispatch.release_lease_seconds),
        )
        assert released, f"it cannot be released: {self.get(operation).as_json()}"
        return released[0]

    def _in_a_process_of_its_own(self, released: Operation, crash: Crash) -> None:
        """Make the attempt in a child of this process, which takes no open connection along."""
        self.house.ledger.database.close()
        self.house.graph.close()
        done, recorded = len(self.calls(released)), self.recordings(released)
        child = os.fork()
        if child == 0:
            gc.disable()
            status = 70
            with suppress(BaseException):
                try:
                    self._end_badly(released, crash, done=done, recorded=recorded)
                    status = 0
                except BaseException:
                    traceback.print_exc(file=sys.__stderr__)
            os._exit(status)
        status = _awaited(child)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            return
        assert os.waitstatus_to_exitcode(status) == 0, f"the worker's process failed: status {status}"

    def _end_badly(self, released: Operation, crash: Crash, *, done: int, recorded: int) -> None:
        doomed = _Doomed(self.house.graph, crash, done)
        gate = _WatchedGate(self.house.gate, after=lambda: doomed.die_at(Point.ANSWERED))
        bench = replace(self.house.bench("stage"), client=doomed, gate=gate, **_ALONE)
        if crash == Crash(recorded + 1, Point.RECORDED):
            operations = self.house.ledger.operations
            operations.record_all = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]
        attempt.perform(released.id, released.fence, bench=bench)


def _awaited(child: int) -> int:
    """Wait for a process, and return its status."""
    handle = os.pidfd_open(child)
    try:
        ended, _, _ = select.select([handle], [], [], _LONGEST_ATTEMPT)
        if not ended:
            os.kill(child, signal.SIGABRT)
        return os.waitpid(child, 0)[1]
    finally:
        os.close(handle)


@contextmanager
def staged(
    *,
    ledger: Ledger,
    redis_url: str,
    folder: Path,
    knobs: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    kinds: Sequence[Kind] | None = None,
) -> Iterator[Stage]:
    """Set a stage: on an empty ledger and an empty Redis, with a simulator of its own.

    `knobs` are the simulator's, `settings` more tables of the configuration, `kinds` stand in the place of ours.
    """
    simulator = Simulator(SimulatorConfig(**{**KNOBS, **(knobs or {})}))
    witness = _Witness(simulator._requests)
    simulator._requests = witness  # type: ignore[assignment]
    with simulator.running():
        clock = HandClock(datetime.fromtimestamp(simulator.clock.unix(), UTC))
        house = StagedHouse(_settings(simulator, redis_url, folder, settings or {}), clock=clock)
        house.__dict__["ledger"] = ledger
        if kinds is not None:
            house.__dict__["kinds"] = Catalogue(kinds)
        house.controls.mirror()
        _let_the_gate_learn(house.gate, simulator.app.id)
        try:
            yield Stage(simulator, house, clock, witness)
        finally:
            house.graph.close()


def _settings(simulator: Simulator, redis_url: str, folder: Path, more: Mapping[str, Any]) -> Settings:
    app = simulator.app
    for name, value in {"token": app.token, "secret": app.secret, "keys": _KEY}.items():
        (folder / name).write_text(value)
    table: dict[str, Any] = {
        "redis_url": redis_url,
        "graph_url": simulator.url,
        "vault": {"keys": {"file": folder / "keys"}},
        "apps": {
            app.id: {
                "token": {"file": folder / "token"},
                "secret": {"file": folder / "secret"},
                "calls_per_window": simulator.limits.app_limit(app.id),
                "system_user": app.system_user_id,
                "credit_line": simulator.world.credit.id,
            }
        },
        # Nothing is slept out: what must wait is held, and the test moves time. Leases are not renewed.
        "dispatch": {"short_wait_seconds": 0, "renew_seconds": 3600},
        # What a killed worker held of the gate comes back as soon as its lease does.
        "gate": {"pacing": False, "silence_seconds": 1e9, "probe_lease_seconds": 5},
    }
    for name, value in more.items():
        table[name] = {**table.get(name, {}), **value} if isinstance(value, Mapping) else value
    return Settings.model_validate(table)


def _let_the_gate_learn(gate: Gate, app: str) -> None:
    """Let it know that nothing is spent: at its first start it lets one call at a time through to find out."""
    call = Call(app=app, queue="first", partner="first", capability=Capability.TEMPLATE_READS)
    permit = gate.admit(call)
    assert isinstance(permit, Permit), permit
    gate.settle(permit, Report(outcome=Outcome.OK, app_percent=0))


# ── plans ────────────────────────────────────────────────────────────────────────────────────────────────────


def differs(plan: Sequence[PlannedCall], calls: Sequence[Arrived], operation: Operation) -> str:
    """Say how calls differ from what a kind plans; nothing when they are as planned.

    A name in braces that is a field of the operation stands for its value, any other for anything. What has a
    note (`per page`) may come any number of times.
    """
    told = [f"{one.method} {one.path}" for one in calls]
    known = {**operation.payload, "waba": operation.waba, "app": operation.app}
    pattern = "".join(
        f"(?:{re.escape(one.method)} {_pattern(one.path, known)}\n){'*' if one.note else ''}" for one in plan
    )
    if re.fullmatch(pattern, "".join(f"{one}\n" for one in told)):
        return ""
    planned = [f"{one.method} {one.path}{f' ({one.note})' if one.note else ''}" for one in plan]
    return "\n  ".join(["planned:", *planned, "made:", *told])


def _pattern(path: str, known: Mapping[str, Any]) -> str:
    parts = re.split(r"\{(\w+)\}", path)
    texts, names = parts[::2], parts[1::2]
    values = [re.escape(str(known[name])) if known.get(name) is not None else r"[^/\n]+" for name in names]
    return re.escape(texts[0]) + "".join(
        value + re.escape(text) for value, text in zip(values, texts[1:], strict=True)
    )
