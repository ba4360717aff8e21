"""One call from arrival to answer: the order in which the Graph checks things."""

from __future__ import annotations

import hashlib
import hmac
import json
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import partial
from random import Random
from typing import Any

from wabajobs.simulator import errors
from wabajobs.simulator.agenda import Agenda
from wabajobs.simulator.calls import Call, Reply
from wabajobs.simulator.clock import Clock
from wabajobs.simulator.config import SimulatorConfig
from wabajobs.simulator.errors import GraphError
from wabajobs.simulator.faults import FaultRule, Faults
from wabajobs.simulator.inputs import checked
from wabajobs.simulator.judge import Judge
from wabajobs.simulator.limits import Admission, Limits
from wabajobs.simulator.randomness import put_state, state_of
from wabajobs.simulator.routes import Body, Context, Later, Remarks, Route, Router
from wabajobs.simulator.webhooks import Webhooks
from wabajobs.simulator.world import App, Node, Token, Waba, World

VERSIONS = ("v21.0", "v22.0", "v23.0", "v24.0", "v25.0", "v26.0")
"""Versions that are served, oldest first; any other is served by the oldest, as is a path without one."""

_PROOF_SECONDS = 300


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
    request: int
    wall: float
    now: float
    node: Node | None
    """The object that the path begins with."""
    waba: Waba | None
    """The WABA that it is, or belongs to."""
    route: Route | None
    token: Token | None
    app: App | None
    rule: FaultRule | None
    reply: Reply = field(default_factory=Reply)
    error: GraphError | None = None
    counted: bool = False
    refused: bool = False
    remarks: Remarks = field(default_factory=Remarks)
    later: Later | None = None

    @property
    def charged(self) -> Waba | None:
        """The WABA whose limit the call counts against."""
        return self.waba if self.route and self.route.charges == "waba" else None

    @property
    def ending(self) -> Ending:
        if self.call.cut:
            return Ending.RESET
        if self.rule is None:
            return Ending.ANSWER
        if self.rule.hang:
            return Ending.HANG
        return Ending.RESET if self.rule.reset_before or self.rule.reset_after else Ending.ANSWER

    def fail(self, error: GraphError, config: SimulatorConfig) -> None:
        """Answer with this error, as the knobs say."""
        if error.missing is not None and config.missing_object == "803":
            error = errors.no_such_alias(error.missing)
        self.error = error
        self.reply = error_reply(error, data_as_text=config.error_data == "text")


class Graph:
    """Meta's side of the wire. A call is decided at one moment of simulated time."""

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
        agenda: Agenda,
        webhooks: Webhooks,
        lock: threading.RLock,
    ) -> None:
        self.base_url = ""
        self._router = router
        self._world = world
        self._limits = limits
        self._faults = faults
        self._judge = judge
        self._clock = clock
        self._agenda = agenda
        self._webhooks = webhooks
        self._lock = lock
        self._random = Random(f"latency:{config.seed}")
        self._answers = 0

    async def handle(self, call: Call, *, request: int = 0) -> Outcome:
        """Decide a call: fault, token, app limit, narrower limit, permission, object, parameters."""
        with self._lock:
            case = self._decided(call, request)
            if case.later is None:
                return self._finished(case)
        heard = await case.later.wait()
        with self._lock:
            self._answer_with(case, partial(case.later.then, heard))
            return self._finished(case)

    def refuse(self, call: Call, error: GraphError, *, request: int) -> Outcome:
        """Answer a request that holds several calls, or none, with an error; it counts as one call."""
        with self._lock:
            case = self._case(call, request, self._clock.now())
            if case.app:
                case.counted = self._admit(case, case.app).counted
            case.fail(error, self._world.config)
            return self._finished(case)

    def token_error(self, call: Call) -> GraphError | None:
        """What is wrong with a call's token, if anything is."""
        if not call.token:
            return errors.token_missing()
        if self._world.app_of(call.token):
            return None
        if self._world.is_revoked(call.token):
            return errors.token_revoked()
        return errors.token_expired() if call.token in self._world.tokens else errors.token_wrong()

    # Kept across a restart

    def state(self) -> dict[str, Any]:
        """What is its own, as JSON can hold it."""
        return {"answers": self._answers, "random": state_of(self._random)}

    def restore(self, state: dict[str, Any]) -> None:
        """Put a `state` in place of it."""
        self._answers = state["answers"]
        put_state(self._random, state["random"])

    # How a call is decided

    def _decided(self, call: Call, request: int) -> _Case:
        now = self._clock.now()
        if self._agenda.next_due <= now:
            self._agenda.catch_up(now)
        case = self._case(call, request, now)
        if case.rule and case.rule.answers and not case.rule.took_effect:
            self._answer_by_rule(case, case.rule)
        elif case.rule is None or not case.rule.unhandled:
            self._answer_with(case, partial(self._checked, case))
        return case

    def _finished(self, case: _Case) -> Outcome:
        if case.rule and case.rule.took_effect:
            case.error = None
            self._say(case, case.rule)
        self._add_headers(case)
        self._record(case)
        return Outcome(case.reply, self._delay(case.rule), case.ending)

    def _case(self, call: Call, request: int, now: float) -> _Case:
        world = self._world
        node = world.node(call.segments[0]) if call.segments else None
        route = self._router.find(call, kind=node.kind if node else None)
        token = world.token(call.token) if call.token else None
        app = world.app_by_id(token.app_id) if token else None
        if route and route.client:
            token, app = None, world.app_by_id(call.parameters.one("client_id") or "")
        rule = self._rule(call, route, app=app, now=now) if self._faults else None
        if rule and rule.upload_keeps is not None:
            call = replace(call, body=call.body[: rule.upload_keeps], cut=True)
        return _Case(
            call=call,
            request=request,
            wall=time.time(),
            now=now,
            node=node,
            waba=world.waba_of(node),
            route=route,
            token=token,
            app=app,
            rule=rule,
        )

    def _rule(self, call: Call, route: Route | None, *, app: App | None, now: float) -> FaultRule | None:
        page = _asked_limit(call) or self._world.config.default_limit
        capability = route.capability if route else "unknown"
        return self._faults.pick(call, app=app.id if app else None, page=page, capability=capability, now=now)

    def _answer_by_rule(self, case: _Case, rule: FaultRule) -> None:
        # Not handled, so nobody asks whether it would have been refused; but it happened, so it counts.
        if case.app and rule.counted and not rule.unhandled:
            case.counted = self._admit(case, case.app).counted
        self._say(case, rule)

    def _say(self, case: _Case, rule: FaultRule) -> None:
        """Answer as the rule says."""
        error = rule.error()
        if error:
            case.fail(error, self._world.config)
        else:
            case.reply = rule.reply()

    def _answer_with(self, case: _Case, answer: Any) -> None:
        try:
            made = answer()
            if isinstance(made, Later):
                case.later = made
            else:
                case.reply = self._reply(case, made)
        except GraphError as error:
            case.fail(error, self._world.config)

    def _reply(self, case: _Case, body: Body) -> Reply:
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if case.route is None or not case.route.tagged:
            return Reply(body=body)
        # SHA-1 because machines have it in hardware: this is done for every page of templates.
        tag = f'"{hashlib.sha1(body, usedforsecurity=False).hexdigest()}"'
        if case.call.headers.get("if-none-match") == tag:
            return Reply(status=304, headers={"ETag": tag})
        return Reply(body=body, headers={"ETag": tag})

    def _admit(self, case: _Case, app: App) -> Admission:
        credit = case.route is not None and case.route.charges == "credit"
        user = case.token.user_id if case.token else ""
        return self._limits.admit(app.id, case.charged, user=user, credit=credit, now=case.now)

    def _checked(self, case: _Case) -> Body | Later:
        call, app, route = case.call, case.app, case.route
        if route and route.header_only and "authorization" not in call.headers:
            raise errors.token_missing()
        if app is None:
            if route and route.client:
                raise errors.no_such_app()
            raise self.token_error(call) or errors.token_wrong()
        refusal, case.counted = self._admit(case, app)
        if refusal:
            case.refused = True
            raise refusal
        self._check_proof(call, app)
        if route is None:
            raise self._no_route(case)
        self._check_permission(case, route)
        call.parameters.check_body()
        body = route.handler(self._context(case, route, app), checked(route.input, call.parameters))
        if case.remarks.extra:
            self._limits.charge_extra(app.id, case.charged, case.remarks.extra, now=case.now)
        return body

    def _no_route(self, case: _Case) -> GraphError:
        call = case.call
        first = call.segments[0] if call.segments else ""
        reachable = case.node and case.token and self._world.may(case.token, case.node)
        if reachable and case.node and call.method == "GET" and len(call.segments) > 1:
            if len(call.segments) > 2:
                return errors.unknown_path(call.segments[1:])
            return errors.no_such_field(call.segments[1], NODE_TYPE_NAMES.get(case.node.kind, case.node.kind))
        error = errors.no_such_object(call.method, first)
        # What is there and only cannot do this is not missing.
        return replace(error, missing=None) if reachable or not first else error

    def _check_permission(self, case: _Case, route: Route) -> None:
        token = case.token
        if token is None:
            return
        if not self._world.may(token, case.node, admin=route.admin):
            raise errors.no_such_object(case.call.method, case.call.segments[0])
        if route.app_token and token.type != "APP":
            raise errors.app_token_needed()
        if case.waba and case.waba.state == "DISABLED" and route.method != "GET":
            raise errors.account_disabled()
        if route.scopes and not set(route.scopes) & set(token.scopes):
            raise errors.no_permission(route.scopes[0])

    def _context(self, case: _Case, route: Route, app: App) -> Context:
        stale = case.rule.stale if case.rule and route.method == "GET" else None

        def effect(kind: str, subject: str, **details: Any) -> None:
            self._judge.effects.record(
                kind,
                subject,
                call=self._judge.next_seq,
                time=case.now,
                wall=case.wall,
                app=app.id,
                waba=case.waba.id if case.waba else None,
                details=details,
            )

        return Context(
            call=case.call,
            parameters=case.call.parameters,
            app=app,
            token=case.token,
            node=case.node,
            world=self._world,
            config=self._world.config,
            version=served_version(case.call),
            base_url=self.base_url,
            effect=effect,
            router=self._router,
            webhooks=self._webhooks,
            as_of=None if stale is None else case.now - stale,
            repeat_cursor=case.rule is not None and case.rule.repeat_cursor,
            remarks=case.remarks,
        )

    def _check_proof(self, call: Call, app: App) -> None:
        given = call.parameters.one("appsecret_proof")
        if given is None:
            if self._world.config.require_proof and call.token:
                raise errors.proof_missing()
            return
        signed, asked_at = call.token or "", call.parameters.one("appsecret_time")
        if asked_at is not None:
            if not asked_at.isdecimal() or abs(self._clock.unix() - int(asked_at[:15])) > _PROOF_SECONDS:
                raise errors.proof_wrong()
            signed = f"{signed}|{asked_at}"
        right = hmac.new(app.secret.encode(), signed.encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(right.encode(), given.encode("utf-8", "replace")):
            raise errors.proof_wrong()

    def _delay(self, rule: FaultRule | None) -> float:
        config = self._world.config
        jitter = self._random.random() * config.jitter if config.jitter else 0.0
        return config.latency + jitter + (rule.latency if rule else 0.0)

    def _add_headers(self, case: _Case) -> None:
        self._answers = number = self._answers + 1
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
            capability=case.route.capability if case.route else "unknown",
            request=case.request,
            via=call.via,
            idle=case.remarks.idle,
        )


NODE_TYPE_NAMES = {
    "app": "Application",
    "business": "Business",
    "system_user": "SystemUser",
    "waba": "WhatsAppBusinessAccount",
    "phone": "WhatsAppBusinessPhoneNumber",
    "template": "WhatsAppMessageTemplate",
    "flow": "WhatsAppFlow",
    "credit": "ExtendedCredit",
    "allocation": "ExtendedCreditAllocationConfig",
    "intent": "WhatsAppBusinessSolutionMigrationIntent",
}
"""How the Graph names each kind of object."""


def overridden(call: Call) -> Call:
    """A POST that says `method=delete` is a DELETE, for clients that can only post."""
    if call.method != "POST" or ("method=" not in call.query and b"method" not in call.body and not call.form):
        return call
    method = (call.parameters.one("method") or "").upper()
    return replace(call, method=method) if method in ("GET", "DELETE") else call


def served_version(call: Call) -> str:
    """The version that serves a call."""
    return call.version if call.version in VERSIONS else VERSIONS[0]


def _asked_limit(call: Call) -> int | None:
    try:
        return call.parameters.whole("limit")
    except GraphError:
        return None


def error_reply(error: GraphError, *, data_as_text: bool = False) -> Reply:
    """An error as an answer."""
    headers = {}
    if error.authenticate:
        headers["WWW-Authenticate"] = f'OAuth "Facebook Platform" "{error.authenticate}" "{error.message}"'
    return Reply(status=error.status, body=error.body(data_as_text=data_as_text), headers=headers)
