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

from wabajobs.capability import ServiceClass
from wabajobs.clock import Clock
from wabajobs.decisions import Decisions, Limit, Override, Pause, Scope, ScopeType
from wabajobs.errors import ConfigurationError, GateUnavailable
from wabajobs.gate import keys, replies
from wabajobs.gate.allowance import Allowance
from wabajobs.gate.calls import AppReading, Call, Change, Outcome, Permit, Quota, Report, Spender, Wait
from wabajobs.gate.scripts import Scripts, in_plain_words
from wabajobs.settings import GateSettings

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_POLL_SECONDS: Final = 0.02
_GRACE_SECONDS: Final = 0.25
"""Added to the time in which a permit must be used, for a thread that was about to use it."""
_NOBODY: Final = "-"
"""Whose permit a forecast asks for: an id that holds no lease."""


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
        self._rules: dict[tuple[str, ServiceClass, bool], str] = {}

    def admit(self, call: Call) -> Permit | Wait:
        """Say whether this call may be made now. A refusal has charged nothing.

        Raises `GateUnavailable` when Redis cannot be asked: then the call must not be made.
        """
        start_before = time.monotonic() + self._settings.start_within_seconds
        id = uuid.uuid4().hex
        names, asked = self._question(id, call)
        try:
            reply = self._scripts.run("admit", *asked)
        except GateUnavailable:
            permit = self._allowance.permit(call)
            if permit is None:
                raise
            return permit
        if int(reply[0]) == 1:
            return replies.permit_of(reply, id=id, call=call, names=names, start_before=start_before)
        return replies.wait_of(reply, call=call, names=names)

    def admit_many(self, call: Call, count: int) -> list[Permit] | Wait:
        """Take leave for up to `count` such calls at once, as many as may be made now; or the wait for the first.

        One round trip. Each permit must be settled; those that are not needed can go back with `give_back`.
        Raises `GateUnavailable`.
        """
        if count < 1:
            raise ValueError("count must be at least 1")
        start_before = time.monotonic() + self._settings.start_within_seconds
        ids = [uuid.uuid4().hex for _ in range(count)]
        questions = [self._question(id, call) for id in ids]
        replies_ = self._scripts.run_many("admit", [question for _, question in questions])
        permits = [
            replies.permit_of(reply, id=id, call=call, names=names, start_before=start_before)
            for id, (names, _), reply in zip(ids, questions, replies_, strict=True)
            if int(reply[0]) == 1
        ]
        return permits or replies.wait_of(replies_[0], call=call, names=questions[0][0])

    def give_back(self, permits: Iterable[Permit]) -> None:
        """Settle permits that were not used, in one round trip. Raises `GateUnavailable`."""
        unused = Report(outcome=Outcome.UNUSED)
        self._scripts.run_many(
            "settle", [self._settlement(permit, unused) for permit in permits if not permit.unasked]
        )

    def forecast(self, calls: Sequence[Call]) -> list[Wait | None]:
        """Say what `admit` would answer to each call by itself now: a wait, or None. Nothing is charged.

        One round trip for all. Raises `GateUnavailable`.
        """
        if not calls:
            return []
        questions = [self._question(_NOBODY, call, mode="forecast") for call in calls]
        answers = self._scripts.run_many("admit", [question for _, question in questions])
        return [
            None if int(reply[0]) == 1 else replies.wait_of(reply, call=call, names=names)
            for call, (names, _), reply in zip(calls, questions, answers, strict=True)
        ]

    def settle(self, permit: Permit, report: Report) -> tuple[Change, ...]:
        """Tell how the call ended, and what Meta's headers said. Returns the breakers that changed.

        Raises `GateUnavailable` when Redis cannot be told; the permit then lapses by itself.
        """
        if permit.unasked:
            return ()
        reply = self._scripts.run("settle", *self._settlement(permit, report))
        return replies.changes_of(reply, names=keys.names(permit.call))

    def tell(self, decisions: Decisions, *, instead: bool = False) -> bool:
        """Install what people have decided, for every app. False when a newer revision stands somewhere.

        With `instead`, a newer one is replaced as well: it is of a ledger that is not ours any more.

        Counters are left alone. An app that had not been told anything begins by learning.
        """
        with in_plain_words():
            home = self._redis.info("server").get("run_id", "")
        installed = [
            self._scripts.run(
                "tell",
                (keys.told(app),),
                (
                    decisions.revision,
                    _mirror(decisions, app),
                    "instead" if instead else "",
                    self._now(),
                    _microseconds(self._settings.silence_seconds),
                    home,
                ),
            )
            for app in self._apps
        ]
        return all(int(answer) == 1 for answer in installed)

    def told(self) -> int | None:
        """Return the lowest revision that an app was told; None when one of them has to be told again.

        Whoever asks regularly keeps the gate awake: one to which nobody speaks lets nothing pass.
        """
        silence = _microseconds(self._settings.silence_seconds)
        asked = [((keys.told(app),), (self._now(), silence)) for app in self._apps]
        revisions = [replies.text(answer) for answer in self._scripts.run_many("told", asked)]
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
        reply = self._scripts.run(
            "read",
            (keys.told(app), keys.wire(app), keys.inactive(app), *names.windows, *names.breaker_keys),
            (
                self._rules_for(app, ServiceClass.INTERACTIVE),
                self._now(),
                json.dumps(names.budgets),
                json.dumps(names.breakers),
            ),
        )
        return replies.reading_of(reply, app=app, windows=names.budgets, breakers=names.breakers)

    def spenders(self, app: str) -> list[Spender]:
        """Return who used the app's budget in the window, by queue, partner and WABA, the largest first."""
        length = _microseconds(self._settings.window_seconds)
        return replies.spenders_of(self._scripts.run("spenders", (keys.told(app),), (self._now(), length)))

    def note_activity(self, app: str, waba: str, *, active: bool) -> None:
        """Learn whether a WABA has a registered number, which is what gives it Meta's larger limit.

        A WABA of which nobody knows counts as active: Meta's headers correct that. Raises `GateUnavailable`.
        """
        with in_plain_words():
            if active:
                self._redis.srem(keys.inactive(app), waba)
            else:
                self._redis.sadd(keys.inactive(app), waba)

    def _question(
        self, id: str, call: Call, *, mode: str = ""
    ) -> tuple[keys.Names, tuple[Sequence[str], Sequence[str | int]]]:
        """Write a call down as the script wants it: keys and arguments."""
        names = keys.names(call)
        asked = (
            *(keys.told(call.app), keys.wire(call.app), keys.inactive(call.app)),
            *(*names.windows, *names.breaker_keys),
        )
        rules = self._rules_for(call.app, call.service_class, reads=call.reads)
        args: list[str | int] = [rules, self._now(), mode, _on_wire(id, call), id, call.waba or "", call.cost]
        args += [_spender(call), len(names.budgets), *names.budgets, *names.decisions]
        return names, (asked, args)

    def _settlement(self, permit: Permit, report: Report) -> tuple[Sequence[str], Sequence[str | int]]:
        """Write down how a call ended as the script wants it: keys and arguments."""
        call = permit.call
        names = keys.names(call)
        slow = report.seconds >= self._settings.slow_call_seconds
        touched = (
            *(keys.told(call.app), keys.wire(call.app), keys.tripped(call.app), keys.inactive(call.app)),
            *(*names.windows, *names.breaker_keys),
        )
        rules = self._rules_for(call.app, call.service_class)
        args: list[str | int] = [rules, self._now(), _on_wire(permit.id, call)]
        args += [_lesson(permit, report, names, slow=slow), permit.id, call.waba or "", call.cost]
        args += [_spender(call), len(names.budgets), *names.budgets]
        return touched, args

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

    def _rules_for(self, app: str, service_class: ServiceClass, *, reads: bool = False) -> str:
        rules = self._rules.get((app, service_class, reads))
        if rules is None:
            rules = self._rules[app, service_class, reads] = self._rules_text(app, service_class, reads=reads)
        return rules

    def _rules_text(self, app: str, service_class: ServiceClass, *, reads: bool) -> str:
        """Write what the scripts have to know, once for each app and class; times in microseconds."""
        if app not in self._apps:
            raise ConfigurationError(f"app {app!r} is not configured (configured: {', '.join(self._apps)})")
        settings, limits = self._settings, self._apps[app]
        length = _microseconds(settings.window_seconds)
        quota_length = _microseconds(settings.registration_window_seconds)
        return json.dumps(
            {
                "rank": service_class.rank,
                "place": 2 * service_class.rank + (not reads),
                "margin": settings.margin,
                "reserves": [
                    [settings.interactive_reserve, settings.reserve_most],
                    [settings.standard_reserve, settings.reserve_most],
                ],
                "unknown": settings.unknown_limit,
                "silence": _microseconds(settings.silence_seconds),
                "paced": settings.pacing and service_class is not ServiceClass.INTERACTIVE,
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
                "failure_window": _microseconds(settings.failure_window_seconds),
                "failure_calls": settings.failure_calls,
                "failure_share": settings.failure_share,
            }
        )


def _on_wire(id: str, call: Call) -> str:
    return json.dumps(
        [
            id,
            call.app,
            call.capability,
            call.queue,
            call.partner,
            call.waba or "",
            call.operation,
            call.cost,
            call.number or "",
        ]
    )


def _spender(call: Call) -> str:
    return f"{call.queue}|{call.partner}|{call.waba or ''}"


def _covers(scope: Scope, app: str, on_wire: Sequence[Any]) -> bool:
    _, _, capability, queue, partner, waba, *_ = on_wire
    named = {
        ScopeType.ALL: "",
        ScopeType.APP: app,
        ScopeType.CAPABILITY: capability,
        ScopeType.QUEUE: queue,
        ScopeType.PARTNER: partner,
        ScopeType.WABA: waba,
    }
    return bool(named[scope.type] == scope.name)


def _lesson(permit: Permit, report: Report, names: keys.Names, *, slow: bool) -> str:
    percents = (report.app_percent, report.waba_percent if permit.call.waba else None)
    return json.dumps(
        {
            "seq": permit.seq,
            "buckets": [charge.bucket if charge else -1 for charge in permit.charges],
            "marks": [charge.mark if charge else -1 for charge in permit.charges],
            "scopes": names.breakers,
            "epochs": [permit.epochs[scope] for scope in names.breakers],
            "probes": [int(scope in permit.probes) for scope in names.breakers],
            "percents": [-1 if percent is None else percent for percent in percents],
            "outcome": report.outcome,
            "slow": slow,
            "limited": _limited(report.outcome, permit.call, names),
            "regain": 0 if report.regain is None else report.regain // _MICROSECOND,
            "evidence": replies.evidence_of(report),
            "random": random.random(),
        }
    )


def _limited(outcome: Outcome, call: Call, names: keys.Names) -> int:
    """Which of the call's breakers a limit error names, from 1; 0 for none.

    A limit of a WABA or a number that the call did not name can only be laid at the capability's door.
    """
    last = len(names.breakers)
    match outcome:
        case Outcome.APP_LIMIT:
            return 1
        case Outcome.WABA_LIMIT:
            return 2 if call.waba else last
        case Outcome.NUMBER_LIMIT:
            return last - 1 if call.number else last
        case Outcome.CAPABILITY_LIMIT:
            return last
        case _:
            return 0


def _mirror(decisions: Decisions, app: str) -> str:
    """Write the decisions that concern one app as fields and values."""
    pauses: dict[str, list[list[str | int]]] = {}
    for pause in decisions.pauses:
        if pause.scope.type is not ScopeType.APP or pause.scope.name == app:
            pauses.setdefault(f"pause:{pause.scope}", []).append(_pause_entry(pause))
    limits = {f"limit:{limit.scope}": _limit_entry(limit) for limit in decisions.limits if _is_of(limit, app)}
    overrides = {f"breaker:{override.scope}": _override_entry(override) for override in decisions.overrides}
    fields = {**pauses, **limits, **overrides}
    return json.dumps(list(chain.from_iterable((name, json.dumps(value)) for name, value in fields.items())))


def _pause_entry(pause: Pause) -> list[str | int]:
    return [_milliseconds_at(pause.ends_at), str(pause), pause.notice or "", str(pause.scope)]


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
