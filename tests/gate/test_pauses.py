"""What people decide: it outranks everything, and the gate knows nothing until it has been told."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gate.conftest import APP, Door, Limits, a_call, gate_on
from wabajobs.capability import Capability, ServiceClass
from wabajobs.clock import HandClock
from wabajobs.decisions import AtEnd, Decisions, Limit, Pause, PauseMode, Scope
from wabajobs.errors import ConfigurationError
from wabajobs.gate import Because, Outcome, Permit, Report, Wait

START = datetime(2026, 1, 1, tzinfo=UTC)


def a_pause(
    scope: str, *, id: int = 1, ends_at: datetime | None = None, notice: str | None = None, **more: Any
) -> Pause:
    return Pause(id, Scope.of(scope), "incident 7", "ops-oncall", START, ends_at, notice, **more)


@pytest.mark.parametrize(
    "scope",
    [
        *("all", f"app:{APP}", "capability:uploads", "queue:profile_photo", "partner:p7", "waba:w1"),
        *("partner:p7/profile_photo", "number:1234567"),
    ],
)
def test_a_pause_holds_what_it_covers_and_nothing_else(door: Door, scope: str) -> None:
    covered = {"capability": Capability.UPLOADS, "queue": "profile_photo", "partner": "p7", "waba": "w1"}
    covered |= {"of_number": "1234567"}

    door.tell(a_pause(scope, notice="Photos wait"))

    wait = door.hold(**covered)
    assert (wait.because, wait.scope, wait.delay) == (Because.PAUSE, scope, None)
    assert str(wait) == f"{scope} is paused by ops-oncall since 00:00 UTC (incident 7)"
    assert wait.notice == "Photos wait"
    assert isinstance(door.ask(), Wait) == (scope in ("all", f"app:{APP}"))


def test_a_pause_of_another_app_does_not_concern_us(door: Door) -> None:
    door.tell(a_pause("app:99999"))

    assert isinstance(door.ask(), Permit)


def test_a_pause_ends_to_the_millisecond_and_not_before(door: Door) -> None:
    ends_at = door.clock.now() + timedelta(seconds=30, microseconds=1)
    door.tell(a_pause("queue:template_sync", ends_at=ends_at))

    assert door.hold().delay == timedelta(seconds=30, milliseconds=1)
    door.later(30)
    door.hold()
    door.later(milliseconds=1)

    assert isinstance(door.ask(), Permit)


def test_the_longest_of_several_pauses_is_told(door: Door) -> None:
    now = door.clock.now()
    door.tell(
        a_pause("all", ends_at=now + timedelta(seconds=10)),
        a_pause("queue:template_sync", ends_at=now + timedelta(seconds=60)),
        a_pause("queue:template_sync", ends_at=now + timedelta(seconds=20)),
    )

    assert door.hold().delay == timedelta(seconds=60)

    door.tell(a_pause("all"), a_pause("queue:template_sync", ends_at=now + timedelta(seconds=60)))
    assert (door.hold().scope, door.hold().delay) == ("all", None)


def test_a_pause_outranks_a_breaker_and_a_spent_budget(door: Door) -> None:
    door.call(Outcome.APP_LIMIT, regain=timedelta(hours=3))
    door.tell(a_pause("all", ends_at=door.clock.now() + timedelta(seconds=1)))

    assert door.hold().because is Because.PAUSE


def test_no_outcome_lifts_a_pause(door: Door) -> None:
    permit = door.pass_()
    door.tell(a_pause("all"))

    door.gate.settle(permit, Report(outcome=Outcome.OK, app_percent=0))

    assert door.hold().because is Because.PAUSE


def test_an_older_revision_is_not_installed(door: Door) -> None:
    assert door.gate.tell(Decisions(20, (a_pause("all"),), ()))

    assert not door.gate.tell(Decisions(19, (), ()))
    assert door.hold().because is Because.PAUSE
    assert door.gate.told() == 20

    assert door.gate.tell(Decisions(20, (), ()))
    assert isinstance(door.ask(), Permit)


def test_telling_again_forgets_old_decisions_and_keeps_the_counters(door: Door) -> None:
    door.tell(a_pause("all"), limits=(Limit(f"app:{APP}", 5, 600),))
    door.tell()

    assert door.take() == 100
    door.tell()
    assert isinstance(door.ask(), Wait)


def test_thousands_of_decisions_are_told_at_once(door: Door) -> None:
    pauses = [a_pause(f"waba:w{n}") for n in range(4000)]

    door.tell(*pauses, limits=tuple(Limit(f"waba:{APP}:w{n}", n + 1, 600) for n in range(4000)))

    assert door.hold(waba="w3999").scope == "waba:w3999"
    assert isinstance(door.ask(waba="w4000"), Permit)


def test_names_of_any_letters_are_held(door: Door) -> None:
    door.tell(a_pause('partner:Ünï "p|:{7}"'))

    assert isinstance(door.ask(partner='Ünï "p|:{7}"'), Wait)
    assert isinstance(door.ask(partner="Ünï"), Permit)


def test_a_gate_that_was_never_told_lets_nothing_pass(door_with) -> None:
    door = door_with()

    wait = door.hold()

    assert (wait.because, wait.scope, wait.delay) == (Because.GATE, "gate", timedelta(seconds=1))
    assert "it is being put back" in str(wait)
    assert door.gate.told() is None
    assert not door.gate.read(APP).told


def test_an_emptied_redis_lets_nothing_pass_until_it_is_told_again(door: Door) -> None:
    door.tell(a_pause("queue:onboarding"))
    door.pass_()

    door.client.flushall()
    assert door.hold().because is Because.GATE
    assert door.hold(queue="onboarding").because is Because.GATE

    door.tell(a_pause("queue:onboarding"))
    assert door.hold(queue="onboarding").because is Because.PAUSE
    assert isinstance(door.ask(), Permit)


def test_the_gate_is_told_for_every_app(client: redis.Redis, clock: HandClock) -> None:
    gate = gate_on(client, clock=clock, limits={APP: Limits(), "20002": Limits()})
    gate.tell(Decisions(3, (a_pause("app:20002"),), ()))

    assert gate.told() == 3
    assert isinstance(gate.admit(a_call()), Permit)
    assert isinstance(gate.admit(a_call(app="20002")), Wait)

    client.delete("wabajobs:{20002}:told")
    assert gate.told() is None


def test_a_call_of_an_unknown_app_is_refused_aloud(door: Door) -> None:
    with pytest.raises(ConfigurationError, match="app '77777' is not configured"):
        door.ask(app="77777")


# ── a part of it ────────────────────────────────────────────────────────────────────────────────────────────


def test_what_runs_at_a_percentage_gets_that_share_of_the_budget_evenly_and_the_rest_is_free(door: Door) -> None:
    door.tell(a_pause("queue:template_sync", percent=10), limits=(Limit(f"app:{APP}", 3600, 3600),))

    passed = []
    for second in range(600):
        if isinstance(door.ask(), Permit):
            passed.append(second)
        assert isinstance(door.ask(queue="onboarding", service_class=ServiceClass.INTERACTIVE), Permit)
        door.later(1)

    assert 50 <= len(passed) <= 60  # a tenth of 600, less the margin
    gaps = {after - before for before, after in pairwise(passed)}
    assert max(gaps) <= 12, "evenly, not in bursts"
    wait = door.hold()
    assert (wait.because, wait.scope) == (Because.SLOWED, "queue:template_sync")
    assert "queue:template_sync runs at 10 % of the budget by ops-oncall" in str(wait)
    assert wait.delay is not None
    door.later(wait.delay.total_seconds())
    door.pass_()


def test_what_is_probed_gets_single_calls_as_far_apart_as_those_of_a_breaker(door: Door) -> None:
    door.tell(a_pause("partner:p7", mode=PauseMode.PROBE))

    door.pass_(partner="p7")
    wait = door.hold(partner="p7")
    assert wait.delay == timedelta(seconds=30)
    assert "partner:p7 is probed by single calls" in str(wait)
    assert isinstance(door.ask(), Permit)
    door.later(30)
    door.pass_(partner="p7")


def test_the_tightest_of_several_layers_holds(door: Door) -> None:
    door.tell(
        a_pause("queue:template_sync", id=2, percent=50),
        a_pause("partner:p7", id=3, percent=1),
        a_pause("waba:w1"),
        limits=(Limit(f"app:{APP}", 3600, 3600),),
    )

    assert door.hold(partner="p7", waba="w1").because is Because.PAUSE
    door.pass_(partner="p7")
    assert door.hold(partner="p7").scope == "partner:p7"
    door.later(3)
    door.pass_(partner="p8")
    assert door.hold(partner="p8").scope == "queue:template_sync"


def test_what_is_drained_is_left_to_the_dispatcher(door: Door) -> None:
    door.tell(a_pause("queue:template_sync", mode=PauseMode.DRAIN))

    assert isinstance(door.ask(), Permit)


def test_a_pause_that_is_to_end_in_a_ramp_holds_until_somebody_sees_to_that(door: Door) -> None:
    ends_at = door.clock.now() + timedelta(seconds=30)
    door.tell(a_pause("queue:template_sync", ends_at=ends_at, at_end=AtEnd.RAMP))

    assert door.hold().delay == timedelta(seconds=30)
    door.later(500)
    assert door.hold().delay == timedelta(seconds=1)

    door.tell(a_pause("queue:template_sync", percent=10))
    door.pass_()


def test_a_slowed_call_that_is_refused_for_another_reason_spends_nothing_of_its_share(door: Door) -> None:
    door.tell(a_pause("queue:template_sync", percent=10), limits=(Limit(f"app:{APP}", 3600, 3600),))
    limited = Report(outcome=Outcome.WABA_LIMIT, regain=timedelta(hours=1))
    door.gate.settle(door.pass_(waba="w1", queue="onboarding"), limited)

    assert door.hold(waba="w1").because is Because.BREAKER
    door.pass_(waba="w2")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(asked=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 5)), max_size=30))
def test_a_slowed_scope_never_gets_more_than_its_share(door: Door, asked: list[tuple[int, int]]) -> None:
    door.later(7200)
    door.tell(a_pause("queue:template_sync", percent=25), limits=(Limit(f"app:{APP}", 3600, 3600),))
    begun, got = door.clock.now(), 0
    for wait, cost in asked:
        door.later(wait)
        got += cost if isinstance(door.ask(cost=cost), Permit) else 0

    elapsed = (door.clock.now() - begun).total_seconds()
    assert got <= elapsed * 0.25 + 5, "one call may go ahead, of the largest cost there is"


def test_a_slowed_call_waits_longer_than_for_a_spent_budget_and_says_so(door: Door) -> None:
    door.tell(a_pause("queue:template_sync", percent=1), limits=(Limit(f"app:{APP}", 2, 10),))
    door.pass_(queue="onboarding")
    door.pass_()

    assert door.hold(queue="onboarding").because is Because.BUDGET
    assert door.hold().because is Because.SLOWED
    assert [wait.because for wait in door.gate.forecast([a_call()]) if wait] == [Because.SLOWED]
