"""The gate: one question before each Graph call, one answer after it, each a single atomic step in Redis."""

import json
import os
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, Final, Protocol

import redis

from wabajobs.clock import Clock
from wabajobs.decisions import AtEnd, Decisions, Limit, Override, Pause, PauseMode, Scope, ScopeType
from wabajobs.errors import ConfigurationError, GateUnavailable
from wabajobs.gate import keys, replies
from wabajobs.gate.allowance import Allowance
from wabajobs.gate.calls import (
    AppReading,
    Because,
    Call,
    Change,
    Outcome,
    Permit,
    Quota,
    Report,
    Spender,
    SpentPart,
    Wait,
)
from wabajobs.gate.scripts import Scripts, in_plain_words, packed
from wabajobs.settings import GateSettings

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_POLL_SECONDS: Final = 0.02
_GRACE_SECONDS: Final = 0.25
"""Added to the time in which a permit must be used, for a thread that was about to use it."""
_BEGUN_MOST: Final = 4096
"""Beginnings of requests that are kept."""
_SPENT_PARTS: Final = 12
"""Of a window, in which it is counted who has spent it."""
_AT_ONCE: Final = 64
"""Calls that are foretold in one run of a function: Redis does nothing else meanwhile, half a millisecond."""


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

    @property
    def calls_per_inactive_waba(self) -> int:
        """The same for a WABA without a registered number."""
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
        self._allowance = Allowance(
            per_minute=settings.away_calls_per_minute, start_within_seconds=settings.start_within_seconds
        )
        self._rules: dict[str, str] = {}
        self._begun: dict[tuple[str, bytes], bytes] = {}

    def admit(self, call: Call) -> Permit | Wait:
        """Say whether this call may be made now. A refusal has charged nothing.

        Raises `GateUnavailable` when Redis cannot be asked: then the call must not be made.
        """
        start_before = time.monotonic() + self._settings.start_within_seconds
        id, shape = _new_id(), keys.shape(call)
        try:
            reply = self._scripts.run(self._question(id, call, shape))
        except GateUnavailable:
            permit = self._allowance.permit(call)
            if permit is None:
                raise
            return permit
        if isinstance(reply, bytes):
            return replies.permit_of(reply, id=id, call=call, shape=shape, start_before=start_before)
        return replies.wait_of(reply, call=call)

    def admit_many(self, call: Call, count: int) -> list[Permit] | Wait:
        """Take leave for up to `count` such calls at once, as many as may be made now; or the wait for the first.

        One round trip. Each permit must be settled; those that are not needed can go back with `give_back`.
        Raises `GateUnavailable`.
        """
        if count < 1:
            raise ValueError("count must be at least 1")
        start_before = time.monotonic() + self._settings.start_within_seconds
        ids, shape = [_new_id() for _ in range(count)], keys.shape(call)
        answers = self._scripts.run_many([self._question(id, call, shape) for id in ids])
        permits = [
            replies.permit_of(reply, id=id, call=call, shape=shape, start_before=start_before)
            for id, reply in zip(ids, answers, strict=True)
            if isinstance(reply, bytes)
        ]
        return permits or replies.wait_of(answers[0], call=call)

    def give_back(self, permits: Iterable[Permit]) -> None:
        """Settle permits that were not used, in one round trip. Raises `GateUnavailable`."""
        unused = Report(outcome=Outcome.UNUSED)
        self._scripts.run_many([self._settlement(permit, unused) for permit in permits if not permit.unasked])

    def forecast(self, calls: Sequence[Call]) -> list[Wait | None]:
        """Say what `admit` would answer to each call by itself now: a wait, or None. Nothing is charged.

        Only the probe of a breaker is foretold to one call, and to the others that it is taken: so the same call
        may be asked for twice. Calls of an app that is not configured wait for that to change: they are in nobody
        else's way. One round trip for all. Raises `GateUnavailable`.
        """
        answers = [None if call.app in self._apps else self._stranger(call.app) for call in calls]
        of_app: dict[str, list[int]] = {}
        for nth, call in enumerate(calls):
            if answers[nth] is None:
                of_app.setdefault(call.app, []).append(nth)
        chunks = [nths[i : i + _AT_ONCE] for nths in of_app.values() for i in range(0, len(nths), _AT_ONCE)]
        asked = [self._forecast_question([calls[nth] for nth in chunk]) for chunk in chunks]
        for chunk, told in zip(chunks, self._scripts.run_many(asked), strict=True):
            for nth, reply in zip(chunk, told, strict=True):
                if reply != 1:
                    answers[nth] = replies.wait_of(reply, call=calls[nth])
        return answers

    def settle(self, permit: Permit, report: Report) -> tuple[Change, ...]:
        """Tell how the call ended, and what Meta's headers said. Returns the breakers that changed.

        Raises `GateUnavailable` when Redis cannot be told; the permit then lapses by itself.
        """
        if permit.unasked:
            return ()
        return replies.changes_of(self._scripts.run(self._settlement(permit, report)))

    def tell(self, decisions: Decisions, *, instead: bool = False) -> bool:
        """Install what people have decided, for every app. False when a newer revision stands somewhere.

        With `instead`, a newer one is replaced as well: it is of a ledger that is not ours any more.

        Counters are left alone. An app that had not been told anything begins by learning.
        """
        with in_plain_words():
            home = self._redis.info("server").get("run_id", "")
        silence = self._silence()
        stamp = os.urandom(16)
        installed = self._scripts.run_many(
            [
                self._scripts.request(
                    *("tell", keys.told(app), str(decisions.revision), _mirror(decisions, app)),
                    *("instead" if instead else "", self._now(), silence, home, stamp),
                )
                for app in self._apps
            ]
        )
        return all(answer == 1 for answer in installed)

    def told(self) -> int | None:
        """Return the lowest revision that an app was told; None when one of them has to be told again.

        Whoever asks regularly keeps the gate awake: one to which nobody speaks lets nothing pass.
        """
        now, silence = self._now(), self._silence()
        asked = [self._scripts.request("told", keys.told(app), now, silence) for app in self._apps]
        revisions = self._scripts.run_many(asked)
        return min(map(int, revisions)) if revisions and all(revisions) else None

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

    def read(self, app: str, *, wabas: Iterable[str] = (), budgets: Iterable[str] = ()) -> AppReading:
        """Return what the gate knows of an app: its budget and breakers, and the budgets of `wabas`.

        `budgets` names others by their scopes, such as `partner:acme`; one that nobody has set is left out.
        """
        with in_plain_words():
            tripped: Any = self._redis.zrange(keys.tripped(app), 0, -1)
        names = keys.of_app(app, wabas=wabas, budgets=budgets, broken=[replies.text(scope) for scope in tripped])
        asked = (self._now(), json.dumps(names.budgets), json.dumps(names.breakers))
        reply = self._scripts.run(self._scripts.request("read", keys.told(app), self._rules_for(app), *asked))
        return replies.reading_of(reply, app=app, windows=names.budgets, breakers=names.breakers)

    def spenders(self, app: str) -> list[Spender]:
        """Return who used the app's budget in the window, by queue, partner and WABA, the largest first."""
        length = _microseconds(self._settings.window_seconds)
        asked = self._scripts.request("spenders", keys.told(app), self._now(), str(length))
        return replies.spenders_of(self._scripts.run(asked))

    def spent_parts(self, app: str, *, newest: int = _SPENT_PARTS) -> list[SpentPart]:
        """Return who used the app's budget in each of the newest parts of the window, the oldest part first.

        The counters are read little by little: Redis goes on meanwhile. Raises `GateUnavailable`.
        """
        length = _microseconds(self._settings.window_seconds)
        now = round(self._milliseconds() * 1000)
        last = now * _SPENT_PARTS // length
        parts = (self._spent_part(app, part, length) for part in range(last - newest + 1, last + 1))
        return [part for part in parts if part is not None]

    def _spent_part(self, app: str, part: int, length: int) -> SpentPart | None:
        key, name = keys.spent(app, part), os.urandom(8).hex()
        with in_plain_words():
            if not self._redis.exists(key):
                return None
            with self._redis.pipeline() as pipe:
                pipe.hsetnx(key, replies.MARK, name)
                # Should the counters have gone just now, their name is not to stay for ever.
                pipe.pexpire(key, 2 * length // 1000, nx=True)
                pipe.execute()
            before: Any = self._redis.hget(key, replies.MARK)
            fields = dict(self._redis.hscan_iter(key, count=_AT_ONCE))
            after: Any = self._redis.hget(key, replies.MARK)
        if before is None or before != after:
            return None  # Redis was emptied while we read
        return SpentPart(
            since=_EPOCH + part * length * _MICROSECOND / _SPENT_PARTS,
            lasting=length * _MICROSECOND / _SPENT_PARTS,
            generation=replies.text(before),
            spenders=replies.spent_by(fields),
        )

    def note_activity(self, app: str, waba: str, *, active: bool) -> bool:
        """Learn whether a WABA has a registered number, which gives it Meta's larger limit. True if that is news.

        A WABA of which nobody knows counts as active: Meta's headers correct that. Raises `GateUnavailable`.
        """
        asked = ("activity", keys.told(app), waba, "1" if active else "0", os.urandom(16))
        return bool(self._scripts.run(self._scripts.request(*asked)))

    def _question(self, id: str, call: Call, shape: keys.Shape) -> bytes:
        """Write a call down as `admit` reads it: most of it is the same for all calls of its shape."""
        begun = self._begin("admit", 3, call, shape)
        return begun + packed(self._now(), id, _on_wire(id, call, shape))

    def _forecast_question(self, calls: Sequence[Call]) -> bytes:
        app = calls[0].app
        shapes = [keys.shape(call).text for call in calls]
        return self._scripts.request("forecast", keys.told(app), self._rules_for(app), self._now(), *shapes)

    def _settlement(self, permit: Permit, report: Report) -> bytes:
        """Write down how a call ended as `settle` reads it."""
        call, id, outcome = permit.call, permit.id, report.outcome
        shape = keys.shape(call)
        slow = report.seconds >= self._settings.slow_call_seconds
        went_well = outcome is Outcome.OK and not slow
        return self._begin("settle", 11, call, shape) + packed(
            self._now(),
            id,
            _on_wire(id, call, shape),
            permit.ticket,
            outcome,
            "-1" if report.app_percent is None else str(report.app_percent),
            "-1" if report.waba_percent is None or not call.waba else str(report.waba_percent),
            "0" if report.regain is None else str(report.regain // _MICROSECOND),
            "1" if slow else "0",
            "0" if went_well else repr(random.random()),
            "" if went_well else replies.evidence_of(report),
        )

    def _begin(self, name: str, more: int, call: Call, shape: keys.Shape) -> bytes:
        begun = self._begun.get((name, shape.text))
        if begun is None:
            if len(self._begun) >= _BEGUN_MOST:
                self._begun.clear()
            rules = self._rules_for(call.app)
            begun = self._scripts.request(name, keys.told(call.app), rules, shape.text, more=more)
            self._begun[name, shape.text] = begun
        return begun

    def _stranger(self, app: str) -> Wait:
        reason = f"app {app!r} is not configured (configured: {', '.join(self._apps)})"
        return Wait(delay=None, because=Because.CONFIGURATION, scope=f"app:{app}", reason=reason)

    def _now(self) -> str:
        return "" if self._clock is None else str((self._clock.now() - _EPOCH) // _MICROSECOND)

    def _silence(self) -> str:
        return str(_microseconds(self._settings.silence_seconds))

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

    def _rules_for(self, app: str) -> str:
        """Return the name by which the functions know the app's rules."""
        rules = self._rules.get(app)
        if rules is None:
            rules = self._rules[app] = self._scripts.rules(keys.told(app), self._rules_text(app))
        return rules

    def _rules_text(self, app: str) -> str:
        """Write what the functions have to know, once for each app; times in microseconds."""
        if app not in self._apps:
            raise ConfigurationError(str(self._stranger(app)))
        settings, limits = self._settings, self._apps[app]
        length = _microseconds(settings.window_seconds)
        lent = min(settings.interactive_reserve, settings.margin / 2)
        quota_length = _microseconds(settings.registration_window_seconds)
        return json.dumps(
            {
                "margin": settings.margin,
                "highest": 1 - settings.margin + lent,
                "reserves": [  # at least, at most, and while the class is idle
                    [settings.interactive_reserve, settings.reserve_most, settings.interactive_reserve - lent],
                    [settings.standard_reserve, settings.reserve_most, 0.0],
                ],
                "unknown": settings.unknown_limit,
                "silence": _microseconds(settings.silence_seconds),
                "pacing": settings.pacing,
                "burst": _microseconds(settings.pacing_burst_seconds),
                "burst_calls": settings.pacing_burst_calls,
                "buckets": settings.window_buckets,
                "spread": _microseconds(settings.spread_seconds),
                "windows": {
                    "app": [limits.calls_per_window, length],
                    "waba": [limits.calls_per_waba, length],
                    "inactive": [min(limits.calls_per_waba, limits.calls_per_inactive_waba), length],
                    Quota.REGISTER: [settings.registrations, quota_length],
                    Quota.DEREGISTER: [settings.registrations, quota_length],
                    Quota.TEMPLATE_CREATION: [settings.template_creations, length],
                },
                "plain": dict.fromkeys(Quota, True),
                "stale": _microseconds(settings.header_stale_seconds),
                "learning_share": settings.learning_share,
                "lease": _microseconds(settings.probe_lease_seconds),
                "retry": _microseconds(settings.ask_again_seconds),
                "base": _microseconds(settings.breaker_seconds),
                "cap": _microseconds(settings.breaker_cap_seconds),
                "clean": _microseconds(5 * settings.breaker_cap_seconds),
                "ramp": _microseconds(settings.breaker_seconds / 2),
                "failures_ttl": _milliseconds(3 * settings.failure_window_seconds),
                "failure_window": _microseconds(settings.failure_window_seconds),
                "failure_calls": settings.failure_calls,
                "failure_share": settings.failure_share,
            }
        )


def _new_id() -> str:
    return os.urandom(12).hex()


def _on_wire(id: str, call: Call, shape: keys.Shape) -> str:
    """Describe a call on the wire, as JSON: its id, its operation, and what it is about."""
    return f'["{id}",{json.dumps(call.operation)},{shape.described}'


def _covers(scope: Scope, app: str, on_wire: Sequence[Any]) -> bool:
    _, _, _, capability, queue, partner, waba, _, number, *_ = on_wire
    return scope.covers(
        app=app, capability=capability, queue=queue, partner=partner, waba=waba or None, number=number or None
    )


def _mirror(decisions: Decisions, app: str) -> str:
    """Write the decisions that concern one app as fields and values."""
    pauses: dict[str, list[list[str | float]]] = {}
    for pause in decisions.pauses:
        if pause.mode is PauseMode.DRAIN and not pause.percent:
            continue  # what has begun goes on; that nothing else begins, the dispatcher sees to
        if pause.scope.type is not ScopeType.APP or pause.scope.name == app:
            pauses.setdefault(f"pause:{pause.scope}", []).append(_pause_entry(pause))
    limits = {f"limit:{limit.scope}": _limit_entry(limit) for limit in decisions.limits if _is_of(limit, app)}
    overrides = {f"breaker:{override.scope}": _override_entry(override) for override in decisions.overrides}
    fields = {**pauses, **limits, **overrides}
    return json.dumps(list(chain.from_iterable((name, json.dumps(value)) for name, value in fields.items())))


def _pause_entry(pause: Pause) -> list[str | float]:
    """Write a pause as `plan.lua` reads it: the share is -1 where nothing passes, and 0 for single probes."""
    holds_on = pause.at_end is AtEnd.RAMP  # until it goes on step by step, also when its time is over
    share = -1 if pause.stands_still else pause.percent / 100
    sentence, notice = str(pause), pause.notice or ""
    return [_milliseconds_at(pause.ends_at), sentence, notice, str(pause.scope), int(holds_on), share, pause.id]


def _override_entry(override: Override) -> list[str | int]:
    return [str(override.stand), _milliseconds_at(override.ends_at), str(override)]


def _milliseconds_at(moment: datetime | None) -> int:
    """Unix time in milliseconds, rounded up; 0 for never."""
    return 0 if moment is None else -((_EPOCH - moment) // timedelta(milliseconds=1))


def _limit_entry(limit: Limit) -> list[int]:
    return [limit.calls, _microseconds(limit.window_seconds), int(limit.shadow)]


def _is_of(limit: Limit, app: str) -> bool:
    kind, _, rest = limit.scope.partition(":")
    return rest.partition(":")[0] == app if kind in ("app", "waba") else True


def _microseconds(seconds: float) -> int:
    return round(seconds * 1_000_000)


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1_000))
