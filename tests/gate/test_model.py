"""The gate against a plain log of what it let through, in any order of events."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.gate.conftest import APP, Limits, a_call, contents, gate_on, without_places
from wabajobs.capability import Capability, ServiceClass
from wabajobs.clock import HandClock
from wabajobs.decisions import Decisions, Limit, Override, Pause, Scope, Stand
from wabajobs.gate import Because, Call, Outcome, Permit, Quota, Report, Wait
from wabajobs.gate.keys import shape
from wabajobs.settings import GateSettings

LIMIT, PER_WABA, REGISTRATIONS = 12, 5, 2
SETTINGS = GateSettings(
    window_seconds=60,
    window_buckets=10,
    spread_seconds=1,
    margin=0,
    interactive_reserve=0.1,
    standard_reserve=0.2,
    reserve_most=0,
    silence_seconds=1_000_000,
    registrations=REGISTRATIONS,
    registration_window_seconds=200,
    breaker_seconds=10,
    breaker_cap_seconds=20,
    probe_lease_seconds=15,
    pacing_burst_calls=3,
)
KEPT_FOR_PEOPLE, KEPT_FOR_STANDARD = 0.1, 0.2
"""The second only while such calls have been made in the last sixth of the window."""
SPAN, LONG_SPAN = timedelta(seconds=61), timedelta(seconds=201)

QUEUES, PARTNERS, WABAS = ("template_sync", "onboarding"), ("p1", "p2"), (None, "w1", "w2")
CAPABILITIES = (Capability.UPLOADS, Capability.PROFILE)
SCOPES = ["all", f"app:{APP}", "queue:onboarding", "partner:p2", "waba:w1", "capability:uploads"]


@dataclass
class Log:
    """What must be true, kept the plain way."""

    told: bool = False
    pauses: list[Pause] = field(default_factory=list)
    partner_limit: int | None = None
    """Of p1."""
    stand: Override | None = None
    """Of the app's breaker."""
    charged: dict[str, dict[str, tuple[datetime, int]]] = field(default_factory=dict)
    """For each window: permit, when it was charged (the window's time never runs backwards), and how much."""
    standard_at: dict[str, datetime] = field(default_factory=dict)
    """When a standard call was last charged in a window."""
    probing: dict[str, tuple[str, datetime]] = field(default_factory=dict)

    def charge(self, scope: str, permit: Permit, now: datetime) -> None:
        window = self.charged.setdefault(scope, {})
        window[permit.id] = (self._time_of(scope, now), permit.call.cost)
        if permit.call.service_class is ServiceClass.STANDARD:
            self.standard_at[scope] = now

    def _time_of(self, scope: str, now: datetime) -> datetime:
        return max([now, *(at for at, _ in self.charged.get(scope, {}).values())])

    def spent(self, scope: str, now: datetime) -> int:
        """How much the window that ends now holds."""
        end = self._time_of(scope, now)
        span = LONG_SPAN if scope.startswith("register") else SPAN
        return sum(cost for at, cost in self.charged.get(scope, {}).values() if end - at < span)

    def forget(self, permit: Permit, *, only: str = "") -> None:
        """The call was not made, or was turned away before it came to some windows."""
        for scope, window in self.charged.items():
            if permit.id in window and scope.startswith(only):
                window[permit.id] = (window[permit.id][0], 0)

    def budgets(self, call: Call) -> dict[str, int]:
        """The windows that a call is charged in, each with its limit."""
        found = {call.app: LIMIT}
        if call.waba:
            found[call.waba] = PER_WABA
        if call.partner == "p1" and self.partner_limit is not None:
            found["p1"] = self.partner_limit
        if call.quota:
            found[f"register {call.number}"] = REGISTRATIONS
        return found

    def ceiling(self, scope: str, of: ServiceClass, now: datetime) -> float:
        """The share of a window that a class may fill now."""
        if scope.startswith("register") or of is ServiceClass.INTERACTIVE:
            return 1.0
        standard_at = self.standard_at.get(scope)
        is_kept = standard_at is not None and now - standard_at <= timedelta(seconds=10)
        kept = KEPT_FOR_STANDARD if of is ServiceClass.BACKGROUND and is_kept else 0.0
        return 1.0 - KEPT_FOR_PEOPLE - kept


class AnyOrderOfEvents(RuleBasedStateMachine):
    """Calls, settlements, decisions, jumps of the clock, and losses of state."""

    client: redis.Redis

    def __init__(self) -> None:
        super().__init__()
        self.client.flushall()
        self.clock = HandClock()
        self.gate = gate_on(
            self.client, clock=self.clock, limits={APP: Limits(LIMIT, PER_WABA)}, settings=SETTINGS
        )
        self.log = Log()
        self.open: dict[str, Permit] = {}
        self.revision = 0

    @initialize()
    def begin(self) -> None:
        self.tell([])
        permit = self.gate.admit(a_call(service_class=ServiceClass.INTERACTIVE))
        assert isinstance(permit, Permit)
        self._passed(permit)
        self.settle_with(permit, Outcome.OK, 0, None)

    def _passed(self, permit: Permit) -> None:
        for scope in self.log.budgets(permit.call):
            self.log.charge(scope, permit, self.clock.now())
        self.open[permit.id] = permit
        for scope in permit.probes:
            holder, until = self.log.probing.get(scope, ("", self.clock.now()))
            assert holder not in self.open or until <= self.clock.now(), f"two probes of {scope}"
            self.log.probing[scope] = (permit.id, self.clock.now() + timedelta(seconds=15))

    def _is_paused(self, call: Any) -> bool:
        covered = {
            "all",
            f"app:{APP}",
            f"queue:{call.queue}",
            f"partner:{call.partner}",
            f"capability:{call.capability}",
            f"waba:{call.waba}",
        }
        return any(
            str(pause.scope) in covered and (pause.ends_at is None or pause.ends_at > self.clock.now())
            for pause in self.log.pauses
        )

    @rule(
        queue=st.sampled_from(QUEUES),
        partner=st.sampled_from(PARTNERS),
        waba=st.sampled_from(WABAS),
        capability=st.sampled_from(CAPABILITIES),
        service_class=st.sampled_from(ServiceClass),
        cost=st.sampled_from([1, 1, 1, 2, 4]),
        number=st.sampled_from([None, None, "n1", "n2"]),
    )
    def ask(self, number: str | None = None, **described: Any) -> None:
        call = a_call(**described, number=number, quota=Quota.REGISTER if number else None)
        kept = without_places(contents(self.client))

        answer = self.gate.admit(call)

        if isinstance(answer, Wait):
            assert without_places(contents(self.client)) == kept, "a refusal wrote"
            assert answer.delay is None or answer.delay > timedelta(0)
            assert answer.because is not Because.PAUSE or self._is_paused(call)
            return
        assert self.log.told, "passed without having been told"
        assert not self._is_paused(call), "passed a pause"
        stand = self.log.stand
        assert stand is None or stand.stand is Stand.CLOSED, "passed a breaker that is held open"
        now = self.clock.now()
        ceilings = {scope: self.log.ceiling(scope, call.service_class, now) for scope in self.log.budgets(call)}
        self._passed(answer)
        for scope, limit in self.log.budgets(call).items():
            ceiling = ceilings[scope]
            assert self.log.spent(scope, self.clock.now()) <= max(1, int(limit * ceiling + 1e-6)), scope

    @precondition(lambda self: self.open)
    @rule(
        data=st.data(),
        outcome=st.sampled_from([*Outcome, Outcome.OK, Outcome.UNUSED]),
        app_percent=st.sampled_from([None, None, 0, 20, 60, 100]),
        waba_percent=st.sampled_from([None, None, 0, 50, 100]),
    )
    def settle(self, data: Any, outcome: Outcome, app_percent: int | None, waba_percent: int | None) -> None:
        permit = self.open[data.draw(st.sampled_from(list(self.open)))]
        self.settle_with(permit, outcome, app_percent, waba_percent)

    @rule(waba=st.sampled_from(WABAS), service_class=st.sampled_from(ServiceClass), calls=st.integers(1, LIMIT))
    def make_calls(self, waba: str | None, service_class: ServiceClass, calls: int) -> None:
        """As long as they pass; Meta answers each at once, and says nothing about usage."""
        for _ in range(calls):
            before = set(self.open)
            self.ask(
                queue="template_sync",
                partner="p1",
                waba=waba,
                capability=Capability.PROFILE,
                service_class=service_class,
                cost=1,
            )
            for id in set(self.open) - before:
                self.settle_with(self.open[id], Outcome.OK, None, None)

    @rule(seconds=st.sampled_from([40, 50, 55, 60.9]), waba=st.sampled_from(WABAS))
    def fill_the_window_twice(self, seconds: float, waba: str | None) -> None:
        self.make_calls(waba, ServiceClass.INTERACTIVE, LIMIT)
        self._advance(seconds)
        self.make_calls(waba, ServiceClass.INTERACTIVE, LIMIT)

    def settle_with(self, permit: Permit, outcome: Outcome, app: int | None, waba: int | None) -> None:
        unused = outcome is Outcome.UNUSED
        report = Report(
            outcome=outcome, app_percent=None if unused else app, waba_percent=None if unused else waba
        )
        changes = self.gate.settle(permit, report)
        del self.open[permit.id]
        if unused:
            self.log.forget(permit)
        elif outcome in (Outcome.APP_LIMIT, Outcome.WABA_LIMIT):
            self.log.forget(permit, only="register")
        for change in changes:
            assert change.scope in shape(permit.call).breakers
            if change.state == "closed":
                assert change.scope in permit.probes
                assert outcome is Outcome.OK

    def _advance(self, seconds: float) -> None:
        self.clock.advance(timedelta(seconds=seconds))

    @rule(seconds=st.sampled_from([0.5, 3, 7, 11, 20, 30, 45, 55, 60.9, 62]))
    def time_goes_on(self, seconds: float) -> None:
        self._advance(seconds)

    @rule(seconds=st.sampled_from([1, 8, 70, 4000]))
    def the_clock_steps_back(self, seconds: float) -> None:
        self._advance(-seconds)

    @rule(
        pauses=st.lists(st.tuples(st.sampled_from(SCOPES), st.sampled_from([None, 5, 50])), max_size=1),
        partner_limit=st.sampled_from([None, None, 3]),
        stand=st.sampled_from([None, None, None, Stand.OPEN, Stand.CLOSED]),
    )
    def tell(
        self,
        pauses: list[tuple[str, int | None]],
        partner_limit: int | None = None,
        stand: Stand | None = None,
    ) -> None:
        now = self.clock.now()
        self.revision += 1
        self.log.pauses = [
            Pause(1, Scope.of(scope), "why", "who", now, None if end is None else now + timedelta(seconds=end))
            for scope, end in pauses
        ]
        self.log.partner_limit = partner_limit
        self.log.stand = stand and Override(1, f"app:{APP}", stand, "why", "who", now)
        limits = () if partner_limit is None else (Limit("partner:p1", partner_limit, 60),)
        overrides = (self.log.stand,) if self.log.stand else ()

        assert self.gate.tell(Decisions(self.revision, tuple(self.log.pauses), limits, overrides))
        self.log.told = True

    @rule()
    def tell_old_news(self) -> None:
        if self.log.told:
            assert not self.gate.tell(Decisions(self.revision - 1, (), ()))

    @rule(really=st.sampled_from([True, False, False, False]))
    def redis_loses_everything(self, really: bool) -> None:
        if not really:
            return
        self.client.flushall()
        self.log.told = False
        self.log.charged.clear()
        self.log.standard_at.clear()
        self.log.probing.clear()

    @invariant()
    def what_is_told_is_known(self) -> None:
        assert self.gate.told() == (self.revision if self.log.told else None)


@pytest.mark.timeout(300)
def test_in_any_order_of_events_the_laws_hold(client: redis.Redis) -> None:
    AnyOrderOfEvents.client = client

    run_state_machine_as_test(
        AnyOrderOfEvents,
        settings=settings(
            max_examples=50,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
