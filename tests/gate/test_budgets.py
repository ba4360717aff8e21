"""Budgets beside Meta's limits on calls: of partners, capabilities, numbers, creations; and limits on trial."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.gate.conftest import APP, Door, a_call
from wabajobs.capability import Capability, ServiceClass
from wabajobs.decisions import Limit
from wabajobs.gate import Because, Outcome, Quota, Report, Wait

INTERACTIVE, STANDARD, BACKGROUND = ServiceClass


@pytest.mark.parametrize(
    ("scope", "inside", "outside"),
    [
        ("partner:p1", {"partner": "p1", "waba": "w1"}, {"partner": "p2", "waba": "w1"}),
        ("partner:p1/w1", {"partner": "p1", "waba": "w1"}, {"partner": "p1", "waba": "w2"}),
        ("capability:uploads", {"capability": Capability.UPLOADS}, {"capability": Capability.PROFILE}),
    ],
)
def test_a_budget_of_our_own_is_kept_where_it_was_set_and_nowhere_else(door, scope, inside, outside) -> None:
    door.tell(limits=(Limit(scope, 5, 600),))

    assert door.take(**inside) == 5
    wait = door.hold(**inside)

    assert (wait.because, wait.scope) == (Because.BUDGET, scope)
    assert wait.delay is not None and wait.delay > timedelta(minutes=9)
    door.pass_(**outside)


def test_a_refusal_by_one_budget_charges_no_other(door: Door) -> None:
    door.tell(limits=(Limit("partner:p1", 2, 600), Limit("capability:template_reads", 50, 600)))
    door.take(waba="w1")
    before = door.gate.read(APP, wabas=["w1"], budgets=["partner:p1", "capability:template_reads"])

    for _ in range(100):
        door.hold(waba="w1")

    after = door.gate.read(APP, wabas=["w1"], budgets=["partner:p1", "capability:template_reads"])
    assert after.windows == before.windows
    assert [window.used for window in after.windows] == [2, 2, 2, 2]


def test_a_budget_that_is_taken_away_holds_nobody(door: Door) -> None:
    door.tell(limits=(Limit("partner:p1", 1, 600),))
    door.take()
    door.tell()

    door.pass_()


def test_a_waba_without_a_registered_number_has_the_small_limit(door_with: Callable[..., Door]) -> None:
    door = door_with(calls=10_000, per_waba=1000)
    door.learn()

    door.gate.note_activity(APP, "w1", active=False)
    assert door.take(waba="w1") == 200
    assert [one.limit for one in door.gate.read(APP, wabas=["w1", "w2"]).windows[1:]] == [200, 1000]

    door.gate.note_activity(APP, "w1", active=True)
    assert door.take(waba="w1") == 800


@pytest.mark.parametrize("quota", [Quota.REGISTER, Quota.DEREGISTER])
def test_a_number_is_registered_no_more_than_eight_times_in_72_hours(door: Door, quota: Quota) -> None:
    assert door.take(number="n1", quota=quota) == 8
    door.later(hours=71)
    wait = door.hold(number="n1", quota=quota)

    assert (wait.scope, wait.because) == (f"{quota}:n1", Because.BUDGET)
    door.pass_(number="n2", quota=quota)
    door.pass_(number="n1")
    door.later(hours=3)
    door.pass_(number="n1", quota=quota)


def test_the_two_quotas_of_a_number_are_two(door: Door) -> None:
    assert door.take(number="n1", quota=Quota.REGISTER) == 8
    assert door.take(number="n1", quota=Quota.DEREGISTER) == 8


@pytest.mark.parametrize(
    ("outcome", "spent"),
    [
        (Outcome.OK, 1),
        (Outcome.FAILED, 1),
        (Outcome.NUMBER_LIMIT, 1),
        (Outcome.APP_LIMIT, 0),
        (Outcome.WABA_LIMIT, 0),
        (Outcome.UNUSED, 0),
    ],
)
def test_what_was_turned_away_at_the_door_spends_no_registration(
    door: Door, outcome: Outcome, spent: int
) -> None:
    permit = door.pass_(waba="w1", number="n1", quota=Quota.REGISTER)
    door.gate.settle(permit, Report(outcome=outcome))

    (window,) = door.gate.read(APP, budgets=["register:n1"]).windows[1:]
    assert window.used == spent


def test_a_waba_gets_a_hundred_templates_an_hour(door_with: Callable[..., Door]) -> None:
    door = door_with(calls=10_000, window_seconds=3600)
    door.learn()

    assert door.take(waba="w1", quota=Quota.TEMPLATE_CREATION) == 100
    assert door.hold(waba="w1", quota=Quota.TEMPLATE_CREATION).scope == "creations:w1"
    door.pass_(waba="w2", quota=Quota.TEMPLATE_CREATION)
    door.pass_(waba="w1")


def test_a_limit_of_a_number_stops_that_number_alone(door: Door) -> None:
    permit = door.pass_(number="n1", waba="w1", capability=Capability.PHONE_NUMBERS)
    report = Report(outcome=Outcome.NUMBER_LIMIT, code=133016, regain=timedelta(hours=72))
    (change,) = door.gate.settle(permit, report)

    assert (change.scope, change.until) == ("number:n1", timedelta(hours=72))
    assert door.hold(number="n1").scope == "number:n1"
    door.pass_(number="n2", capability=Capability.PHONE_NUMBERS)
    door.pass_(waba="w1", capability=Capability.PHONE_NUMBERS)
    (shown,) = [one for one in door.gate.read(APP).breakers if one.scope == "number:n1"]
    assert shown.evidence.startswith("code 133016")


def test_a_limit_on_trial_refuses_nothing_and_says_what_it_would_have(door: Door) -> None:
    door.tell(limits=(Limit("partner:p1", 5, 600, shadow=True),))

    assert door.take() == 100, "as many as the app's own limit lets through"

    (_, trial) = door.gate.read(APP, budgets=["partner:p1"]).windows
    assert (trial.shadow, trial.used, trial.would_refuse) == (True, 100, 95)


def test_people_keep_as_much_as_they_have_used_of_late_and_half_as_much_again(door_with) -> None:
    door = door_with(calls=1000)
    door.learn()

    for _ in range(100):
        door.call()

    (window,) = door.gate.read(APP).windows
    assert window.usable[INTERACTIVE] == 1000
    assert window.usable[STANDARD] == 850
    assert window.usable[BACKGROUND] == 850


def test_what_people_no_longer_ask_for_is_handed_on_within_a_sixth_of_the_window(door_with) -> None:
    door = door_with(calls=1000)
    door.learn()
    for _ in range(130):
        door.call()
    assert door.gate.read(APP).windows[0].usable[BACKGROUND] == 805

    door.later(100)

    assert door.gate.read(APP).windows[0].usable[BACKGROUND] >= 970
    door.later(60)
    assert door.gate.read(APP).windows[0].usable[BACKGROUND] == 990


def test_demand_keeps_no_more_than_the_settings_allow(door_with: Callable[..., Door]) -> None:
    door = door_with(calls=1000, reserve_most=0.2)
    door.learn()
    door.take()

    assert door.gate.read(APP).windows[0].usable == {INTERACTIVE: 1000, STANDARD: 800, BACKGROUND: 800}


def test_who_used_the_budget_is_known_by_queue_partner_and_waba(door: Door) -> None:
    for partner, waba, queue, calls in (("p1", "w1", "template_sync", 3), ("p2", "w2", "onboarding", 2)):
        for _ in range(calls):
            door.call_as(partner=partner, waba=waba, queue=queue)
    unused = door.pass_(partner="p3")
    door.gate.settle(unused, Report(outcome=Outcome.UNUSED))
    door.later(300)
    door.call_as(partner="p1", waba="w1", queue="template_sync")

    found = [(one.queue, one.partner, one.waba, one.calls) for one in door.gate.spenders(APP)]

    assert found == [("template_sync", "p1", "w1", 4), ("onboarding", "p2", "w2", 2)]
    door.later(600)
    assert door.gate.spenders(APP) == []


def test_a_budget_says_when_it_will_be_spent_at_the_rate_of_late(door_with: Callable[..., Door]) -> None:
    door = door_with(calls=1000)
    door.learn()
    for _ in range(100):
        door.call()
        door.later(0.5)

    (window,) = door.gate.read(APP).windows

    left = window.exhausted_in()
    assert left is not None
    assert 1000 <= window.pace <= 1200, "two a second, in a window of ten minutes"
    assert timedelta(minutes=5) < left < timedelta(minutes=10)
    door.later(500)
    assert door.gate.read(APP).windows[0].exhausted_in() is None


def test_a_budget_says_how_much_people_use_of_late(door_with: Callable[..., Door]) -> None:
    door = door_with(calls=1000)
    door.learn()
    for _ in range(400):
        door.call_as(service_class=INTERACTIVE)
        door.call_as(service_class=BACKGROUND)
        door.later(0.5)

    assert 1000 <= door.gate.read(APP).windows[0].people <= 1200, "two a second, in a window of ten minutes"
    door.later(300)
    assert door.gate.read(APP).windows[0].people <= 5


def test_an_unknown_limit_is_learnt_from_metas_percents(door_with: Callable[..., Door]) -> None:
    door = door_with(calls=0)
    door.learn()
    assert door.gate.read(APP).windows[0].limit == 200

    for calls in range(1, 190):
        door.call(app_percent=calls * 100 // 20_000)

    assert door.gate.read(APP).windows[0].limit >= 18_000
    assert door.gate.read(APP).windows[0].limit <= 20_000


def test_many_permits_are_taken_in_one_round_trip_as_many_as_there_are(door: Door) -> None:
    door.take(waba="w1", cost=40)  # 80 of 100

    permits = door.gate.admit_many(a_call(service_class=INTERACTIVE, waba="w2"), 50)

    assert isinstance(permits, list)
    assert len(permits) == 20
    assert isinstance(door.gate.admit_many(a_call(service_class=INTERACTIVE), 3), Wait)
    door.gate.give_back(permits[5:])
    assert door.gate.read(APP, wabas=["w2"]).windows[1].used == 5
    assert door.take() == 15
