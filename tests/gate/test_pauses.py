"""What people decide: it outranks everything, and the gate knows nothing until it has been told."""

from datetime import UTC, datetime, timedelta

import pytest
import redis

from tests.gate.conftest import APP, Door, Limits, a_call, gate_on
from wabajobs.capability import Capability
from wabajobs.clock import HandClock
from wabajobs.decisions import Decisions, Limit, Pause, Scope
from wabajobs.errors import ConfigurationError
from wabajobs.gate import Because, Outcome, Permit, Report, Wait

START = datetime(2026, 1, 1, tzinfo=UTC)


def a_pause(scope: str, *, ends_at: datetime | None = None, notice: str | None = None) -> Pause:
    return Pause(1, Scope.of(scope), "incident 7", "ops-oncall", START, ends_at, notice)


@pytest.mark.parametrize(
    "scope",
    ["all", f"app:{APP}", "capability:uploads", "queue:profile_photo", "partner:p7", "waba:w1"],
)
def test_a_pause_holds_what_it_covers_and_nothing_else(door: Door, scope: str) -> None:
    covered = {"capability": Capability.UPLOADS, "queue": "profile_photo", "partner": "p7", "waba": "w1"}

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
