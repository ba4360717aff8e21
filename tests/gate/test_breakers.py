"""Breakers: they open for the scope that Meta names, let one call probe, and believe no old news."""

import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import redis

from tests.gate.conftest import APP, PLAIN, Door, a_call, gate_on
from wabajobs.capability import Capability, ServiceClass
from wabajobs.gate import Because, Change, Outcome, Permit, Report, Wait
from wabajobs.settings import GateSettings

UPLOADS = Capability.UPLOADS
LIMITS = [Outcome.APP_LIMIT, Outcome.WABA_LIMIT, Outcome.CAPABILITY_LIMIT]


def outage(door: Door, outcome: Outcome = Outcome.APP_LIMIT, **report: object) -> Change:
    (change,) = door.call(outcome, code=4, fbtrace_id="Abc", **report)
    return change


def wait_out(door: Door) -> None:
    """Let time go until the breaker lets a probe through."""
    wait = door.hold()
    assert wait.delay is not None
    door.clock.advance(wait.delay)


def test_an_app_limit_opens_the_breaker_at_once_with_its_evidence(door: Door) -> None:
    change = outage(door)

    assert (change.scope, change.state) == (f"app:{APP}", "open")
    assert change.evidence == f"code 4, fbtrace Abc, {door.clock.now():%H:%M:%S} UTC"
    assert change.until is not None
    assert timedelta(seconds=30) <= change.until <= timedelta(seconds=33)
    wait = door.hold()
    assert (wait.because, wait.scope, wait.delay) == (Because.BREAKER, f"app:{APP}", change.until)
    assert f"the breaker of app:{APP} is open (code 4, fbtrace Abc" in str(wait)


@pytest.mark.parametrize(
    ("outcome", "scope", "still_pass"),
    [
        (Outcome.APP_LIMIT, f"app:{APP}", []),
        (Outcome.WABA_LIMIT, f"waba:{APP}:w1", ["other waba", "no waba"]),
        (Outcome.CAPABILITY_LIMIT, f"app:{APP}/uploads", ["other capability"]),
    ],
)
def test_a_limit_opens_no_more_than_the_code_says(
    door: Door, outcome: Outcome, scope: str, still_pass: list[str]
) -> None:
    calls = {
        "other waba": {"waba": "w2", "capability": UPLOADS},
        "no waba": {"capability": UPLOADS},
        "other capability": {"waba": "w1"},
    }

    (change,) = door.gate.settle(door.pass_(waba="w1", capability=UPLOADS), Report(outcome=outcome))

    assert change.scope == scope
    assert door.hold(waba="w1", capability=UPLOADS).scope == scope
    assert [name for name, call in calls.items() if isinstance(door.ask(**call), Permit)] == still_pass


def test_one_call_probes_and_its_success_closes(door: Door) -> None:
    outage(door)
    wait_out(door)

    probe = door.pass_()
    others = [door.hold() for _ in range(10)]

    assert probe.probes == (f"app:{APP}",)
    assert {(wait.because, wait.delay) for wait in others} == {(Because.BREAKER, timedelta(seconds=1))}
    assert "one call is probing it now" in str(others[0])
    (change,) = door.gate.settle(probe, Report(outcome=Outcome.OK))
    assert (change.scope, change.state, change.until) == (f"app:{APP}", "closed", None)
    assert door.take() > 10


@pytest.mark.parametrize("outcome", [Outcome.APP_LIMIT, Outcome.FAILED])
def test_a_probe_that_does_not_succeed_opens_for_twice_as_long(door: Door, outcome: Outcome) -> None:
    outage(door)
    opened = []
    for _ in range(4):
        wait_out(door)
        [change] = [one for one in door.call(outcome) if one.scope == f"app:{APP}"]
        assert change.until is not None
        opened.append(change.until.total_seconds())

    assert 60 <= opened[0] <= 66
    assert opened[1:] == [120] * 3, "never longer than the longest opening"


def test_a_probe_that_was_not_made_gives_its_lease_back(door: Door) -> None:
    outage(door)
    wait_out(door)

    door.gate.settle(door.pass_(), Report(outcome=Outcome.UNUSED))

    assert door.pass_().probes == (f"app:{APP}",)


def test_a_lost_probe_is_replaced_when_its_lease_ends(door: Door) -> None:
    outage(door)
    wait_out(door)
    lost = door.pass_()

    door.later(44.5)
    assert door.hold().delay == timedelta(seconds=0.5)
    door.later(0.5)
    next_probe = door.pass_()

    assert door.gate.settle(lost, Report(outcome=Outcome.OK)) == (), "it is no longer the probe"
    door.hold()
    assert door.gate.settle(next_probe, Report(outcome=Outcome.OK))[0].state == "closed"


def test_one_call_probes_all_its_breakers_or_none(door: Door) -> None:
    uploads = {"capability": UPLOADS, "waba": "w1"}
    first, second = door.pass_(**uploads), door.pass_(**uploads)
    door.gate.settle(first, Report(outcome=Outcome.CAPABILITY_LIMIT))
    door.gate.settle(second, Report(outcome=Outcome.APP_LIMIT, regain=timedelta(minutes=5)))

    door.later(60)
    assert door.hold(**uploads).scope == f"app:{APP}"
    assert {each.state for each in door.gate.read(APP).breakers if each.scope == f"app:{APP}/uploads"} == {
        "half-open"
    }
    door.later(240)
    probe = door.pass_(**uploads)

    assert probe.probes == (f"app:{APP}", f"app:{APP}/uploads")
    changes = door.gate.settle(probe, Report(outcome=Outcome.CAPABILITY_LIMIT))
    assert [(change.scope, change.state) for change in changes] == [(f"app:{APP}/uploads", "open")]
    assert door.pass_().probes == (f"app:{APP}",), "nothing was learnt about the app: the next call probes it"


def test_a_budget_that_refuses_takes_no_lease(door_with: Callable[..., Door]) -> None:
    door = door_with(calls=2)
    door.learn()
    door.call()
    outage(door)
    door.later(60)

    assert door.hold().because is Because.BUDGET

    door.later(600)
    assert door.pass_().probes == (f"app:{APP}",)


def test_calls_on_the_wire_at_the_trip_neither_trip_again_nor_close(door: Door) -> None:
    on_wire = [door.pass_() for _ in range(8)]
    door.gate.settle(on_wire[0], Report(outcome=Outcome.APP_LIMIT))
    opened = door.gate.read(APP).breakers[0]

    for permit in on_wire[1:5]:
        assert door.gate.settle(permit, Report(outcome=Outcome.APP_LIMIT)) == ()
    for permit in on_wire[5:]:
        assert door.gate.settle(permit, Report(outcome=Outcome.OK)) == ()

    assert door.gate.read(APP).breakers[0] == opened
    assert opened.trips == 1


def test_old_news_does_not_reopen_a_closed_breaker(door: Door) -> None:
    first, late = door.pass_(), door.pass_()
    door.gate.settle(first, Report(outcome=Outcome.APP_LIMIT))
    wait_out(door)
    door.call()

    assert door.gate.settle(late, Report(outcome=Outcome.APP_LIMIT, regain=timedelta(hours=1))) == ()

    assert isinstance(door.ask(), Permit)


def test_the_time_that_meta_names_is_kept(door: Door) -> None:
    change = outage(door, regain=timedelta(minutes=20))

    assert change.until == timedelta(minutes=20)
    door.later(minutes=19.9)
    door.hold()
    door.later(minutes=0.1)
    assert door.pass_().probes


@pytest.mark.parametrize(("percent", "at_least", "at_most"), [(100, 30, 33), (150, 80, 92), (1000, 120, 120)])
def test_no_probe_is_made_while_the_header_foretells_that_it_is_refused(
    door: Door, percent: int, at_least: int, at_most: int
) -> None:
    """Twenty calls, two of them every ten seconds: of each window's, the oldest leave in ten minutes."""
    for _ in range(10):
        door.call()
        door.call()
        door.later(10)
    door.later(450)

    change = outage(door, app_percent=percent)

    assert change.until is not None
    assert at_least <= change.until.total_seconds() <= at_most


def test_a_longer_time_to_regain_extends_and_a_shorter_never_shortens(door: Door) -> None:
    permits = [door.pass_() for _ in range(3)]
    for permit, minutes in zip(permits, (5, 20, 1), strict=True):
        door.gate.settle(permit, Report(outcome=Outcome.APP_LIMIT, regain=timedelta(minutes=minutes)))

    assert door.hold().delay == timedelta(minutes=20)
    assert door.gate.read(APP).breakers[0].trips == 1


def test_a_trip_is_forgotten_after_a_clean_stretch(door: Door) -> None:
    outage(door)
    wait_out(door)
    door.call(Outcome.APP_LIMIT)
    wait_out(door)
    door.call()

    door.later(minutes=10)
    assert door.gate.read(APP).breakers[0].trips == 1
    change = outage(door)

    assert change.until is not None
    assert timedelta(seconds=60) <= change.until <= timedelta(seconds=66)


def test_many_failures_open_the_breaker_of_that_capability_alone(door: Door) -> None:
    changes = [door.gate.settle(door.pass_(capability=UPLOADS, waba="w1"), Report(outcome=outcome))
               for outcome in [Outcome.OK] * 9 + [Outcome.FAILED] * 11]  # fmt: skip

    assert changes[:-1] == [()] * 19
    (change,) = changes[-1]
    assert (change.scope, change.state) == (f"app:{APP}/uploads", "open")
    assert change.evidence.startswith("11 of 20 calls failed")
    door.hold(capability=UPLOADS)
    assert isinstance(door.ask(waba="w1"), Permit)


def test_few_failures_and_old_failures_open_nothing(door: Door) -> None:
    for _ in range(19):
        door.call(Outcome.FAILED)
    door.later(70)
    for _ in range(19):
        door.call(Outcome.FAILED)
    door.later(70)
    for _ in range(21):
        door.call(Outcome.OK)
    for _ in range(20):
        assert door.call(Outcome.FAILED) == ()


def test_answers_never_open_a_breaker(door: Door) -> None:
    assert [door.call(Outcome.OK) for _ in range(100)] == [()] * 100


def test_after_a_stop_the_pace_begins_slowly(door_with: Callable[..., Door]) -> None:
    door = door_with(calls=36000, window_seconds=3600, spread_seconds=0, pacing=True, interactive_reserve=0)
    door.learn()
    outage(door)
    wait_out(door)
    door.call(app_percent=0)

    passed = []
    for _ in range(8):
        until, count = door.clock.now() + timedelta(seconds=15), 0
        while door.clock.now() < until:
            if isinstance(answer := door.ask("standard"), Permit):
                count += 1
            else:
                assert answer.delay is not None
                door.clock.advance(answer.delay)
        passed.append(count)

    assert passed[0] <= 12
    assert passed[1] <= 24
    assert passed[2] <= 44
    assert 140 <= passed[6] <= 160


@pytest.mark.parametrize("outcome", LIMITS)
def test_threads_on_many_connections_get_one_probe_between_them(
    door: Door, server: Path, outcome: Outcome
) -> None:
    door.gate.settle(door.pass_(waba="w1"), Report(outcome=outcome))
    door.later(60)
    probes: list[Permit] = []
    start = threading.Barrier(8)

    def ask() -> None:
        own = gate_on(
            redis.Redis(unix_socket_path=str(server)),
            clock=door.clock,
            settings=GateSettings(**PLAIN),
        )
        start.wait()
        for _ in range(25):
            answer = own.admit(a_call(waba="w1"))
            if isinstance(answer, Permit):
                probes.append(answer)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(probes) == 1
    assert len(probes[0].probes) == 1


def test_a_status_shows_every_open_breaker(door: Door) -> None:
    door.gate.settle(door.pass_(waba="w7"), Report(outcome=Outcome.WABA_LIMIT, code=80008))

    breakers = {each.scope: each for each in door.gate.read(APP).breakers}

    assert breakers[f"waba:{APP}:w7"].state == "open"
    assert breakers[f"waba:{APP}:w7"].evidence.startswith("code 80008")
    assert {each.state for scope, each in breakers.items() if "waba" not in scope} == {"closed"}
    assert len(breakers) == 2 + len(Capability)


def test_a_wait_of_a_breaker_is_honest(door: Door) -> None:
    outage(door)
    wait = door.hold()
    assert wait.delay is not None

    door.clock.advance(wait.delay - timedelta(microseconds=1))
    assert isinstance(door.ask(), Wait)
    door.clock.advance(timedelta(microseconds=1))

    assert isinstance(door.ask(), Permit)


# ── a part of the app, with the code for all of it ──────────────────────────────────────────────────────────


def test_what_is_limited_with_the_apps_code_in_one_part_only_does_not_keep_the_rest_shut(door: Door) -> None:
    """Meta answers uploads with code 4, and everything else well; photos are for people, syncs are not."""
    photo = {"capability": UPLOADS, "service_class": ServiceClass.INTERACTIVE}
    sync = {"capability": Capability.TEMPLATE_READS, "service_class": ServiceClass.BACKGROUND}
    refusal = Report(outcome=Outcome.APP_LIMIT, code=4)
    went_well, refused, tries = 0, 0, 0
    for _ in range(1200):
        for call in (photo, sync):
            answer = door.ask(**call)
            if isinstance(answer, Permit):
                tries += 1
                limited = answer.call.capability is UPLOADS
                door.gate.settle(answer, refusal if limited else Report(outcome=Outcome.OK))
                went_well, refused = went_well + (not limited), refused + limited
        door.later(1)

    states = {one.scope: one.state for one in door.gate.read(APP).breakers}
    assert states[f"app:{APP}"] == "closed"
    assert states[f"app:{APP}/uploads"] != "closed"
    assert went_well >= 40, f"syncs go on, in the budget of 100 per ten minutes ({went_well} of {tries})"
    assert refused <= 1 + 1200 / 30, "one probe per interval"


def test_a_refused_probe_of_the_whole_app_shuts_the_part_that_it_was_made_in(door: Door) -> None:
    door.gate.settle(door.pass_(capability=UPLOADS), Report(outcome=Outcome.APP_LIMIT, code=4))
    wait_out(door)
    probe = door.pass_(capability=UPLOADS)
    changes = door.gate.settle(probe, Report(outcome=Outcome.APP_LIMIT, code=4))
    assert {change.scope for change in changes} == {f"app:{APP}", f"app:{APP}/uploads"}

    wait_out(door)
    other = door.pass_(capability=Capability.TEMPLATE_READS)
    assert other.probes == (f"app:{APP}",)
    door.gate.settle(other, Report(outcome=Outcome.OK))
    assert isinstance(door.ask(capability=Capability.TEMPLATE_READS), Permit)


def test_a_refused_probe_of_one_part_leaves_the_app_as_it_is(door: Door) -> None:
    door.gate.settle(door.pass_(capability=UPLOADS), Report(outcome=Outcome.CAPABILITY_LIMIT, code=613))
    door.later(40)
    probe = door.pass_(capability=UPLOADS)
    assert probe.probes == (f"app:{APP}/uploads",)

    [change] = door.gate.settle(probe, Report(outcome=Outcome.APP_LIMIT, code=4))

    assert change.scope == f"app:{APP}/uploads"
    door.pass_(capability=Capability.TEMPLATE_READS)
