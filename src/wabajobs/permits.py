"""The one way out of the house: a Graph that asks the gate before each call and tells it afterwards."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final, Literal, Protocol, Self

from wabajobs import events
from wabajobs.capability import Capability
from wabajobs.errors import (
    AppLimitReached,
    GateUnavailable,
    GraphError,
    HeavyPage,
    Held,
    InvalidRequest,
    NarrowLimitReached,
    NumberLimitReached,
    Transient,
    WabaLimitReached,
)
from wabajobs.gate import Call, Change, Outcome, Permit, Quota, Report, Wait
from wabajobs.graph import Exchange, GraphRequest, cost, shown_activity
from wabajobs.operation import Operation
from wabajobs.secret import Secret
from wabajobs.sightings import Told, seen


class Gate(Protocol):
    """What is asked of the gate."""

    def admit(self, call: Call) -> Permit | Wait:
        """Decide about one call."""
        ...

    def settle(self, permit: Permit, report: Report) -> tuple[Change, ...]:
        """Learn how it ended."""
        ...

    def note_activity(self, app: str, waba: str, *, active: bool) -> bool:
        """Learn whether a WABA has a registered number."""
        ...


class Client(Protocol):
    """What is asked of the Graph client."""

    def exchange(self, request: GraphRequest) -> Exchange:
        """Make one call."""
        ...


class PermittedGraph:
    """The Graph API for one step of one operation."""

    def __init__(
        self,
        *,
        gate: Gate,
        client: Client,
        operation: Operation,
        capability: Capability,
        may_go_on: Callable[[], None],
        short_wait: timedelta,
        before_change: Callable[[], object] = lambda: None,
        not_changed: Callable[[], object] = lambda: None,
        charge: Callable[[Call], object] = lambda _: None,
        give_back: Callable[[Call], object] = lambda _: None,
        tell: Callable[[Iterable[Told]], object] = lambda _: None,
        token: Secret | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Call in the name of `operation`; `may_go_on` raises when it must stop.

        `before_change` is told right before a call that changes something leaves, and `not_changed` after that
        when it is certain that it has changed nothing. `charge` is told of each call that spends a quota of a
        number, and raises when there is none left; `give_back`, when the call has not come so far. `tell` is told
        what is worth to be written down. `token` is that of a business, instead of the app's own.
        """
        self._gate = gate
        self._client = client
        self._may_go_on = may_go_on
        self._short_wait = short_wait.total_seconds()
        self._before_change = before_change
        self._not_changed = not_changed
        self._charge = charge
        self._give_back = give_back
        self._tell = tell
        self._token = token
        self._sleep = sleep
        self._operation = operation
        self._call = Call.of(operation, capability)

    def get(self, path: str, **params: object) -> dict[str, Any]:
        """Read. Raises `Held` when no call may be made now, or the `GraphError` that Meta answered."""
        return self._make(self._request(path=path, params=params)).result()

    def post(self, path: str, **fields: object) -> dict[str, Any]:
        """Change something. Raises as `get` does; after an error nobody knows whether it has happened."""
        return self._make(self._request(method="POST", path=path, json=fields)).result()

    def delete(self, path: str, **params: object) -> dict[str, Any]:
        """Delete something. Raises as `post` does."""
        return self._make(self._request(method="DELETE", path=path, params=params)).result()

    def send(
        self,
        method: Literal["GET", "POST", "DELETE"],
        path: str,
        *,
        params: Mapping[str, object] | None = None,
        json: Mapping[str, object] | None = None,
        data: bytes | None = None,
        form: Mapping[str, object] | None = None,
        file: tuple[str, str, bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        auth: Literal["Bearer", "OAuth", "none"] = "Bearer",
        changes: bool = False,
    ) -> dict[str, Any]:
        """Make a call of any shape. Raises as `get` and `post` do. `changes`: something, although it is a GET."""
        body = {"json": json, "data": data, "form": form or {}, "file": file}
        said = {"params": params or {}, "headers": headers or {}, "auth": auth, **body}
        return self._make(self._request(method=method, path=path, **said), changes=changes).result()

    def by(self, token: Secret) -> Self:
        """Return the same Graph, in the name of a business's token."""
        other = copy(self)
        other._token = token
        return other

    def get_many(self, ids: Sequence[str], path: str = "", **params: object) -> dict[str, Any]:
        """Read the same of several objects, at most 50, with one request; the answer is by id.

        Meta counts a call for each, and so does the gate. One that fails takes the others along. Raises as `get`.
        """
        return self._make(self._request(path=path, params=params, ids=tuple(ids))).result() if ids else {}

    def batch(
        self, requests: Sequence[tuple[Literal["GET", "POST", "DELETE"], str, Mapping[str, object]]]
    ) -> list[dict[str, Any] | GraphError]:
        """Send requests (method, path, params), at most 50, as one; return the answer or the error of each.

        Meta counts a call for each, and so does the gate. Raises as `get` where nothing came of the whole.
        """
        if not requests:
            return []
        parts = [self._request(method=method, path=path, params=params) for method, path, params in requests]
        exchange = self._make(self._request(batch=parts))
        exchange.result()
        return [part.error or part.answer or {} for part in exchange.parts]

    def _request(self, **said: Any) -> GraphRequest:
        return GraphRequest(app=self._operation.app, waba=self._operation.waba, token=self._token, **said)

    def _make(self, request: GraphRequest, *, changes: bool = False) -> Exchange:
        changes |= request.method != "GET" or any(part.method != "GET" for part in request.batch)
        permit = self._admitted(_call(self._call, request), changes=changes)
        began = time.monotonic()
        try:
            exchange = self._client.exchange(request)
        except InvalidRequest:
            # The client refused it before anything went out: no token, a path that cannot be.
            self._settle(permit, Report(outcome=Outcome.UNUSED))
            self._discharge(permit.call)
            self._tell_not_changed(changes)
            raise
        except BaseException:
            # Nothing is known of the call, not even whether it was made: the worst is assumed.
            self._settle(permit, Report(outcome=Outcome.FAILED), request)
            raise
        report, error = _report(exchange, permit.call, seconds=time.monotonic() - began)
        self._settle(permit, report, request, error)
        if report.outcome in (Outcome.APP_LIMIT, Outcome.WABA_LIMIT):
            self._discharge(permit.call)  # it was turned away before it came to the number
        self._tell_not_changed(changes and _changed_nothing(exchange))
        for waba, active in shown_activity(request, exchange):
            with suppress(GateUnavailable):  # until it is shown again, Meta's headers correct the limit
                self._gate.note_activity(self._operation.app, waba, active=active)
        return exchange

    def _admitted(self, call: Call, *, changes: bool) -> Permit:
        """Return a permit that is still good; sleep out a short wait, and raise `Held` for a longer one."""
        patience = time.monotonic() + self._short_wait
        while True:
            answer = self._gate.admit(call)
            if isinstance(answer, Wait):
                self._wait(answer, patience)
                continue
            if self._may_start(answer, changes=changes):
                return answer
            self._discharge(call)
            self._tell_not_changed(changes)

    def _discharge(self, call: Call) -> None:
        if call.quota in _QUOTAS.values():
            self._give_back(call)

    def _tell_not_changed(self, is_so: bool) -> None:
        if is_so:
            self._not_changed()

    def _may_start(self, permit: Permit, *, changes: bool) -> bool:
        charged = False
        try:
            self._may_go_on()
            if permit.call.quota in _QUOTAS.values():
                self._charge(permit.call)
                charged = True
            if changes:
                self._before_change()
        except BaseException:
            self._settle(permit, Report(outcome=Outcome.UNUSED))
            if charged:
                self._discharge(permit.call)
            raise
        if time.monotonic() < permit.start_before:
            return True
        # We were kept from running for so long that a pause may have been promised meanwhile: ask again.
        self._settle(permit, Report(outcome=Outcome.UNUSED))
        return False

    def _wait(self, wait: Wait, patience: float) -> None:
        seconds = None if wait.delay is None else wait.delay.total_seconds()
        if seconds is None or time.monotonic() + seconds > patience:
            raise Held(reason=str(wait), by=str(wait.because), wait=wait.delay, notice=wait.notice)
        self._sleep(seconds)
        self._may_go_on()

    def _settle(
        self,
        permit: Permit,
        report: Report,
        request: GraphRequest | None = None,
        error: GraphError | None = None,
    ) -> None:
        changes: Sequence[Change] = ()
        try:
            changes = self._gate.settle(permit, report)
        except GateUnavailable as away:
            # The call is over, whatever became of it. The gate takes an unsettled permit for lost.
            events.tell("settle_failed", operation=self._operation.id, why=away)
        self._tell(seen(permit, report, changes, request=request, error=error))
        for change in changes:
            events.tell(
                "breaker_changed",
                scope=change.scope,
                state=change.state,
                until=change.until,
                evidence=change.evidence,
                operation=self._operation.id,
            )


_QUOTAS: Final = {"register": Quota.REGISTER, "deregister": Quota.DEREGISTER}
_PROOFS: Final = frozenset({"register", "deregister", "request_code", "verify_code"})
"""What a number is locked for after too many tries: Meta then still answers everything else about it."""


def _call(call: Call, request: GraphRequest) -> Call:
    """Return the call as the gate is to judge it: its cost, the number it is about, the quota it spends."""
    thing, _, edge = request.path.partition("/")
    changes = request.method == "POST"
    quota = _QUOTAS.get(edge) if changes else None
    if changes and edge == "message_templates":
        quota = Quota.TEMPLATE_CREATION
    number = thing if changes and edge in _PROOFS else None
    if (call.cost, call.quota, call.number) == (calls := cost(request), quota, number):
        return call
    return replace(call, cost=calls, quota=quota, number=number)


def _changed_nothing(exchange: Exchange) -> bool:
    errors = [one.error for one in exchange.parts or (exchange,)]
    return all(error is not None and error.is_definite for error in errors)


def _report(exchange: Exchange, call: Call, *, seconds: float) -> tuple[Report, GraphError | None]:
    outcome, error = _worst([(_outcome(one.error, call), one.error) for one in exchange.parts or (exchange,)])
    report = Report(
        outcome=outcome,
        app_percent=exchange.usage.app_percent,
        waba_percent=exchange.usage.waba_percent,
        regain=_regain(exchange, error),
        seconds=seconds,
        code=error.code if error else None,
        subcode=error.subcode if error else None,
        fbtrace_id=error.fbtrace_id if error else None,
    )
    return report, error


def _regain(exchange: Exchange, error: GraphError | None) -> timedelta | None:
    """Return when a limit ends: a number's lock by what Meta says in words, the others by the header."""
    return error.wait if isinstance(error, NumberLimitReached) else exchange.usage.regain


_LIMITS: Final = (Outcome.APP_LIMIT, Outcome.WABA_LIMIT, Outcome.NUMBER_LIMIT, Outcome.CAPABILITY_LIMIT)


def _worst(outcomes: Sequence[tuple[Outcome, GraphError | None]]) -> tuple[Outcome, GraphError | None]:
    """Return what the answers to one request say of Meta: a limit, if one was named, else the best news."""
    by_outcome = dict(reversed(outcomes))
    return next((each, by_outcome[each]) for each in (*_LIMITS, Outcome.OK, Outcome.FAILED) if each in by_outcome)


def _outcome(error: GraphError | None, call: Call) -> Outcome:
    """Return what an error says about Meta's health. A client error is a healthy answer."""
    match error:
        case AppLimitReached():
            return Outcome.APP_LIMIT
        case WabaLimitReached():
            return Outcome.WABA_LIMIT
        case NarrowLimitReached() | NumberLimitReached() if call.number:
            return Outcome.NUMBER_LIMIT  # code 613, too: this number has asked for too many codes
        case NarrowLimitReached() | NumberLimitReached():
            return Outcome.CAPABILITY_LIMIT if error.is_of_capability else Outcome.OK
        case HeavyPage() | Transient(wait=timedelta()):
            return Outcome.OK  # we asked for too much, or one number is not to be had; Meta is well
        case Transient():
            return Outcome.FAILED
        case _:
            return Outcome.OK
