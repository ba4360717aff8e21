"""One call from arrival to answer: the order in which the Graph checks things."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import sys
import threading
import time
from dataclasses import dataclass, field
from enum import Enum
from random import Random

from wabajobs.simulator import errors
from wabajobs.simulator.calls import Call, Reply
from wabajobs.simulator.clock import Clock
from wabajobs.simulator.config import SimulatorConfig
from wabajobs.simulator.errors import GraphError
from wabajobs.simulator.faults import FaultRule, Faults
from wabajobs.simulator.judge import Judge
from wabajobs.simulator.limits import Limits
from wabajobs.simulator.routes import Context, Route, Router
from wabajobs.simulator.world import App, Waba, World

VERSIONS = ("v21.0", "v22.0", "v23.0", "v24.0", "v25.0", "v26.0")
"""Versions that are served, oldest first; any other is served by the oldest, as is a path without one."""


class Ending(Enum):
    """How the server ends a request."""

    ANSWER = "answer"
    RESET = "reset"
    HANG = "hang"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the server has to do for a call."""

    reply: Reply
    delay: float = 0.0
    """Simulated seconds before it ends."""
    ending: Ending = Ending.ANSWER


@dataclass(slots=True, kw_only=True)
class _Case:
    """A call, what is known about it, and what was decided so far."""

    call: Call
    wall: float
    now: float
    route: Route | None
    app: App | None
    waba: Waba | None
    """The WABA that the path names."""
    rule: FaultRule | None
    reply: Reply = field(default_factory=Reply)
    error: GraphError | None = None
    counted: bool = False
    refused: bool = False

    @property
    def charged(self) -> Waba | None:
        """The WABA whose limit the call counts against."""
        return self.waba if self.route and self.route.per_waba else None

    @property
    def ending(self) -> Ending:
        if self.rule is None:
            return Ending.ANSWER
        if self.rule.hang:
            return Ending.HANG
        return Ending.RESET if self.rule.reset_before or self.rule.reset_after else Ending.ANSWER

    def fail(self, error: GraphError) -> None:
        """Answer with this error."""
        self.error = error
        self.reply = _error_reply(error)


class Graph:
    """Meta's side of the wire. Everything in `handle` happens at one moment of simulated time."""

    def __init__(
        self,
        config: SimulatorConfig,
        *,
        router: Router,
        world: World,
        limits: Limits,
        faults: Faults,
        judge: Judge,
        clock: Clock,
        lock: threading.RLock,
    ) -> None:
        self.base_url = ""
        self._config = config
        self._router = router
        self._world = world
        self._limits = limits
        self._faults = faults
        self._judge = judge
        self._clock = clock
        self._lock = lock
        self._random = Random(f"latency:{config.seed}")
        self._request_ids = itertools.count(1)

    def handle(self, call: Call) -> Outcome:
        """Decide a call: token, app limit, WABA limit, proof, object, parameters. A fault comes first."""
        with self._lock:
            case = self._case(call)
            if case.rule and case.rule.answers:
                self._answer_by_rule(case, case.rule)
            elif case.rule is None or not case.rule.unhandled:
                self._answer(case)
            self._add_headers(case)
            self._record(case)
            return Outcome(case.reply, self._delay(case.rule), case.ending)

    def _case(self, call: Call) -> _Case:
        now = self._clock.now()
        first = call.segments[0] if call.segments else ""
        kind = self._world.kind_of(first)
        app = self._world.app_of(call.token) if call.token else None
        return _Case(
            call=call,
            wall=time.time(),
            now=now,
            route=self._router.find(call, kind=kind),
            app=app,
            waba=self._world.waba(first) if kind == "waba" else None,
            rule=self._rule(call, app=app, now=now) if self._faults else None,
        )

    def _rule(self, call: Call, *, app: App | None, now: float) -> FaultRule | None:
        page = _asked_limit(call) or self._config.default_limit
        return self._faults.pick(call, app=app.id if app else None, page=page, now=now)

    def _answer_by_rule(self, case: _Case, rule: FaultRule) -> None:
        # Not handled, so nobody asks whether it would have been refused; but it happened, so it counts.
        if case.app and rule.counted and not rule.unhandled:
            case.counted = self._limits.admit(case.app.id, case.charged, now=case.now).counted
        error = rule.error()
        if error:
            case.fail(error)
        else:
            case.reply = rule.reply()

    def _answer(self, case: _Case) -> None:
        try:
            case.reply = Reply(body=self._checked(case))
        except GraphError as error:
            case.fail(error)

    def _checked(self, case: _Case) -> bytes:
        call, app, route = case.call, case.app, case.route
        if app is None:
            raise self._token_error(call)
        refusal, case.counted = self._limits.admit(app.id, case.charged, now=case.now)
        if refusal:
            case.refused = True
            raise refusal
        self._check_proof(call, app)
        if route is None:
            raise errors.no_such_object(call.method, call.segments[0] if call.segments else "")
        call.parameters.check_body()
        return route.handler(
            Context(
                call=call,
                app=app,
                world=self._world,
                config=self._config,
                version=served_version(call),
                base_url=self.base_url,
                repeat_cursor=case.rule is not None and case.rule.repeat_cursor,
            )
        )

    def _token_error(self, call: Call) -> GraphError:
        if not call.token:
            return errors.token_missing()
        return errors.token_revoked() if self._world.is_revoked(call.token) else errors.token_wrong()

    def _check_proof(self, call: Call, app: App) -> None:
        given = call.parameters.one("appsecret_proof")
        if given is None:
            if self._config.require_proof:
                raise errors.proof_missing()
            return
        right = hmac.new(app.secret.encode(), (call.token or "").encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(right.encode(), given.encode("utf-8", "replace")):
            raise errors.proof_wrong()

    def _delay(self, rule: FaultRule | None) -> float:
        config = self._config
        jitter = self._random.random() * config.jitter if config.jitter else 0.0
        return config.latency + jitter + (rule.latency if rule else 0.0)

    def _add_headers(self, case: _Case) -> None:
        number = next(self._request_ids)
        headers = case.reply.headers
        headers["x-fb-request-id"] = f"A{number:014x}"
        headers["x-fb-trace-id"] = f"T{number:010x}"
        headers["x-fb-rev"] = "1027000000"
        headers["facebook-api-version"] = served_version(case.call)
        rule = case.rule
        from_proxy = rule is not None and rule.answers and case.error is None
        if case.app is None or from_proxy or (rule and rule.usage_headers == "missing"):
            return
        headers.update(
            self._limits.headers(
                case.app.id,
                case.charged,
                now=case.now,
                refused=case.refused,
                malformed=rule is not None and rule.usage_headers == "malformed",
            )
        )

    def _record(self, case: _Case) -> None:
        call = case.call
        self._judge.record(
            wall=case.wall,
            time=case.now,
            app=case.app.id if case.app else None,
            waba=case.waba.id if case.waba else None,
            method=call.method,
            # The same few paths come again and again; one copy of each is enough.
            path=sys.intern(call.path),
            endpoint=case.route.name if case.route else "unknown",
            status=case.reply.status if case.ending is Ending.ANSWER else 0,
            code=case.error.code if case.error else None,
            counted=case.counted,
            fault=case.rule.id if case.rule else None,
            limit=_asked_limit(call),
            after=call.parameters.one("after"),
        )


def served_version(call: Call) -> str:
    """The version that serves a call."""
    return call.version if call.version in VERSIONS else VERSIONS[0]


def _asked_limit(call: Call) -> int | None:
    try:
        return call.parameters.whole("limit")
    except GraphError:
        return None


def _error_reply(error: GraphError) -> Reply:
    headers = {}
    if error.authenticate:
        headers["WWW-Authenticate"] = f'OAuth "Facebook Platform" "{error.authenticate}" "{error.message}"'
    return Reply(status=error.status, body=error.body(), headers=headers)
