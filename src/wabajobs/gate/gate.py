"""The gate: one question before each Graph call, one answer after it, each a single atomic step in Redis."""

import json
import random
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, Final, Protocol

import redis

from wabajobs.capability import Capability, ServiceClass
from wabajobs.clock import Clock
from wabajobs.decisions import Decisions, Limit, Pause, Scope, ScopeType
from wabajobs.errors import ConfigurationError
from wabajobs.gate import keys, replies
from wabajobs.gate.calls import AppReading, Call, Change, Outcome, Permit, Report, Wait
from wabajobs.gate.scripts import Scripts, in_plain_words
from wabajobs.settings import GateSettings

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_POLL_SECONDS: Final = 0.02
_GRACE_SECONDS: Final = 0.25
"""Added to the time in which a permit must be used, for a thread that was about to use it."""
_RETRY_SECONDS: Final = 1
"""When to ask again while a single call is finding out how things stand."""
_NOBODY: Final = "-"
"""Whose permit a forecast asks for: an id that holds no lease."""
_BURST_SECONDS: Final = 2
"""How much of the pace may be saved up."""


class AppLimits(Protocol):
    """Meta's limits for one app, as configured."""

    @property
    def calls_per_window(self) -> int:
        """The app's limit."""
        ...

    @property
    def calls_per_waba(self) -> int:
        """The limit of the app and one WABA."""
        ...


class Gate:
    """Leave for each Graph call, from one look at all the pauses, breakers and budgets that apply.

    After its state was lost, and so at its first start, the gate lets one call at a time through until one
    has told how much of the app's budget is spent. Where Meta's header does not say, `learning_share` of it
    counts as spent for one window, and is given back over the next.
    """

    def __init__(
        self,
        redis: redis.Redis,
        *,
        settings: GateSettings,
        apps: Mapping[str, AppLimits],
        clock: Clock | None = None,
    ) -> None:
        """Ask through `redis`, by its time; a test's `clock` is asked instead."""
        self._redis = redis
        self._scripts = Scripts(redis)
        self._settings = settings
        self._apps = dict(apps)
        self._clock = clock
        self._rules: dict[tuple[str, ServiceClass], str] = {}

    def admit(self, call: Call) -> Permit | Wait:
        """Say whether this call may be made now. A refusal has charged nothing.

        Raises `GateUnavailable` when Redis cannot be asked: then the call must not be made.
        """
        start_before = time.monotonic() + self._settings.start_within_seconds
        id = uuid.uuid4().hex
        names, asked = self._question(id, call)
        reply = self._scripts.run("admit", *asked)
        if int(reply[0]) == 1:
            return replies.permit_of(reply, id=id, call=call, names=names, start_before=start_before)
        return replies.wait_of(reply, call=call, names=names)

    def forecast(self, calls: Sequence[Call]) -> list[Wait | None]:
        """Say what `admit` would answer to each call by itself now: a wait, or None. Nothing is charged.

        One round trip for all. Raises `GateUnavailable`.
        """
        if not calls:
            return []
        questions = [self._question(_NOBODY, call) for call in calls]
        answers = self._scripts.run_many("admit", [(keys, (*args, "forecast")) for _, (keys, args) in questions])
        return [
            None if int(reply[0]) == 1 else replies.wait_of(reply, call=call, names=names)
            for call, (names, _), reply in zip(calls, questions, answers, strict=True)
        ]

    def settle(self, permit: Permit, report: Report) -> tuple[Change, ...]:
        """Tell how the call ended, and what Meta's headers said. Returns the breakers that changed.

        Raises `GateUnavailable` when Redis cannot be told; the permit then lapses by itself.
        """
        call = permit.call
        names = keys.names(call.app, call.waba, call.capability)
        reply = self._scripts.run(
            "settle",
            (
                keys.told(call.app),
                keys.wire(call.app),
                keys.tripped(call.app),
                *names.windows,
                *names.breakers,
            ),
            (
                self._rules_for(call.app, call.service_class),
                self._now(),
                _on_wire(permit.id, call),
                _lesson(permit, report, names),
            ),
        )
        return replies.changes_of(reply, names=names)

    def tell(self, decisions: Decisions, *, instead: bool = False) -> bool:
        """Install what people have decided, for every app. False when a newer revision stands somewhere.

        With `instead`, a newer one is replaced as well: it is of a ledger that is not ours any more.

        Counters are left alone. An app that had not been told anything begins by learning.
        """
        installed = [
            self._scripts.run(
                "tell",
                (keys.told(app),),
                (decisions.revision, _mirror(decisions, app), "instead" if instead else ""),
            )
            for app in self._apps
        ]
        return all(int(answer) == 1 for answer in installed)

    def told(self) -> int | None:
        """Return the lowest revision that an app was told; None when one of them has to be told again."""
        with in_plain_words():
            revisions = [self._redis.hget(keys.told(app), "revision") for app in self._apps]
        told = [int(revision) for revision in revisions if revision is not None]
        return min(told) if told and len(told) == len(revisions) else None

    def await_started(self, scope: Scope) -> int:
        """Wait until no call of `scope` admitted before now can still start; return how many are on the wire.

        A permit that is not used in `start_within_seconds` is void, so this never takes longer than that
        and a moment. After `tell` of a pause, its return means that nothing more starts.
        """
        bound = self._settings.start_within_seconds + _GRACE_SECONDS
        deadline = time.monotonic() + bound
        admitted = {app: self._on_wire_now(app, scope) for app in self._apps}
        may_start = {app: self._younger_than(bound, calls) for app, calls in admitted.items()}
        while self._still_there(may_start) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        return self._still_there(admitted)

    def read(self, app: str, *, wabas: Iterable[str] = ()) -> AppReading:
        """Return what the gate knows of an app: its budget, its breakers, and the windows of `wabas`."""
        with in_plain_words():
            tripped: Any = self._redis.zrange(keys.tripped(app), 0, -1)
        by_capability = [keys.names(app, None, capability) for capability in Capability]
        by_waba = {waba: keys.names(app, waba, Capability.UPLOADS) for waba in wabas}
        broken = [keys.names(app, replies.text(waba), Capability.UPLOADS) for waba in tripped]
        windows = [by_capability[0].window_scopes[0], *(each.window_scopes[1] for each in by_waba.values())]
        breakers = {by_capability[0].breaker_scopes[0]: by_capability[0].breakers[0]}
        breakers |= {each.breaker_scopes[1]: each.breakers[1] for each in chain(by_capability, broken)}
        window_keys = (by_capability[0].windows[0], *(each.windows[1] for each in by_waba.values()))
        reply = self._scripts.run(
            "read",
            (keys.told(app), keys.wire(app), *window_keys, *breakers.values()),
            (
                self._rules_text(app, ServiceClass.INTERACTIVE, wabas=len(by_waba)),
                self._now(),
                json.dumps([f"limit:{scope}" for scope in windows]),
            ),
        )
        return replies.reading_of(reply, app=app, windows=windows, breakers=list(breakers))

    def _question(self, id: str, call: Call) -> tuple[keys.Names, tuple[Sequence[str], Sequence[str | int]]]:
        """Write a call down as the script wants it: keys and arguments."""
        names = keys.names(call.app, call.waba, call.capability)
        asked = (keys.told(call.app), keys.wire(call.app), *names.windows, *names.breakers)
        return names, (asked, (self._rules_for(call.app, call.service_class), self._now(), _on_wire(id, call)))

    def _now(self) -> str | int:
        return "" if self._clock is None else (self._clock.now() - _EPOCH) // _MICROSECOND

    def _on_wire_now(self, app: str, scope: Scope) -> dict[Any, float]:
        """Return the calls of `scope` on the wire, each with the millisecond of its admission."""
        with in_plain_words():
            calls: Any = self._redis.zrange(keys.wire(app), 0, -1, withscores=True)
        return {member: score for member, score in calls if _covers(scope, app, json.loads(member))}

    def _younger_than(self, seconds: float, calls: Mapping[Any, float]) -> list[Any]:
        if not calls:
            return []
        since = self._milliseconds() - seconds * 1000
        return [member for member, admitted in calls.items() if admitted >= since]

    def _milliseconds(self) -> float:
        if self._clock is not None:
            return self._clock.now().timestamp() * 1000
        with in_plain_words():
            seconds, microseconds = self._redis.time()
        return float(seconds) * 1000 + float(microseconds) / 1000

    def _still_there(self, calls: Mapping[str, Iterable[Any]]) -> int:
        with in_plain_words():
            return sum(
                score is not None
                for app, members in calls.items()
                if members
                for score in self._redis.zmscore(keys.wire(app), list(members))
            )

    def _rules_for(self, app: str, service_class: ServiceClass) -> str:
        rules = self._rules.get((app, service_class))
        if rules is None:
            rules = self._rules[app, service_class] = self._rules_text(app, service_class)
        return rules

    def _rules_text(self, app: str, service_class: ServiceClass, *, wabas: int = 1) -> str:
        """Write what the scripts have to know, once for each app and class; times in microseconds."""
        if app not in self._apps:
            raise ConfigurationError(f"app {app!r} is not configured (configured: {', '.join(self._apps)})")
        settings, limits = self._settings, self._apps[app]
        length = _microseconds(settings.window_seconds)
        ceilings = {
            ServiceClass.INTERACTIVE: 1.0,
            ServiceClass.STANDARD: settings.standard_ceiling,
            ServiceClass.BACKGROUND: settings.background_ceiling,
        }
        return json.dumps(
            {
                "share": ceilings[service_class] * (1 - settings.margin),
                "paced": settings.pacing and service_class is not ServiceClass.INTERACTIVE,
                "burst": _microseconds(_BURST_SECONDS),
                "burst_calls": settings.pacing_burst_calls,
                "buckets": settings.window_buckets,
                "spread": _microseconds(settings.spread_seconds),
                "windows": [[limits.calls_per_window, length], *([[limits.calls_per_waba, length]] * wabas)],
                "stale": _microseconds(settings.header_stale_seconds),
                "learning_share": settings.learning_share,
                "lease": _microseconds(settings.probe_lease_seconds),
                "retry": _microseconds(_RETRY_SECONDS),
                "base": _microseconds(settings.breaker_seconds),
                "cap": _microseconds(settings.breaker_cap_seconds),
                "clean": _microseconds(5 * settings.breaker_cap_seconds),
                "ramp": _microseconds(settings.breaker_seconds / 2),
                "failure_window": _microseconds(settings.failure_window_seconds),
                "failure_calls": settings.failure_calls,
                "failure_share": settings.failure_share,
            }
        )


def _on_wire(id: str, call: Call) -> str:
    return json.dumps(
        [id, call.app, call.capability, call.queue, call.partner, call.waba or "", call.operation, call.cost]
    )


def _covers(scope: Scope, app: str, on_wire: Sequence[Any]) -> bool:
    _, _, capability, queue, partner, waba, _, _ = on_wire
    named = {
        ScopeType.ALL: "",
        ScopeType.APP: app,
        ScopeType.CAPABILITY: capability,
        ScopeType.QUEUE: queue,
        ScopeType.PARTNER: partner,
        ScopeType.WABA: waba,
    }
    return bool(named[scope.type] == scope.name)


def _lesson(permit: Permit, report: Report, names: keys.Names) -> str:
    percents = (report.app_percent, report.waba_percent)[: len(names.windows)]
    return json.dumps(
        {
            "seq": permit.seq,
            "buckets": [charge.bucket for charge in permit.charges],
            "marks": [charge.mark for charge in permit.charges],
            "epochs": [permit.epochs[scope] for scope in names.breaker_scopes],
            "probes": [int(scope in permit.probes) for scope in names.breaker_scopes],
            "percents": [-1 if percent is None else percent for percent in percents],
            "outcome": report.outcome,
            "limited": _limited(report.outcome, len(names.breaker_scopes)),
            "regain": 0 if report.regain is None else report.regain // _MICROSECOND,
            "evidence": replies.evidence_of(report),
            "random": random.random(),
        }
    )


def _limited(outcome: Outcome, breakers: int) -> int:
    """Which of the call's breakers a limit error names: the app's, the WABA's, the capability's; 0 for none.

    A WABA's limit on a call that named no WABA can only be laid at the capability's door.
    """
    waba = 2
    named = {Outcome.APP_LIMIT: 1, Outcome.WABA_LIMIT: waba, Outcome.CAPABILITY_LIMIT: breakers}
    return named.get(outcome, 0)


def _mirror(decisions: Decisions, app: str) -> str:
    """Write the decisions that concern one app as fields and values."""
    pauses: dict[str, list[list[str | int]]] = {}
    for pause in decisions.pauses:
        if pause.scope.type is not ScopeType.APP or pause.scope.name == app:
            pauses.setdefault(f"pause:{pause.scope}", []).append(_pause_entry(pause))
    limits = {f"limit:{limit.scope}": _limit_entry(limit) for limit in decisions.limits if _is_of(limit, app)}
    fields = {**pauses, **limits}
    return json.dumps(list(chain.from_iterable((name, json.dumps(value)) for name, value in fields.items())))


def _pause_entry(pause: Pause) -> list[str | int]:
    ends = 0 if pause.ends_at is None else -((_EPOCH - pause.ends_at) // timedelta(milliseconds=1))
    return [ends, str(pause), pause.notice or "", str(pause.scope)]


def _limit_entry(limit: Limit) -> list[int]:
    return [limit.calls, _microseconds(limit.window_seconds)]


def _is_of(limit: Limit, app: str) -> bool:
    return limit.scope == f"app:{app}" or limit.scope.startswith(f"waba:{app}:")


def _microseconds(seconds: float) -> int:
    return round(seconds * 1_000_000)
