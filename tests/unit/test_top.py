"""Who explains a load: nobody while it is spread, and whoever stands out."""

import random
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.gate.conftest import a_call
from tests.support.stage import Stage
from wabajobs.errors import InvalidRequest
from wabajobs.gate import Outcome, Permit, Report
from wabajobs.ledger import Used, Who
from wabajobs.seeing.top import Dimension, Spenders, explaining

Stages = Callable[..., AbstractContextManager[Stage]]


def drawn(partners: int, calls: int, seed: int) -> Counter[str]:
    """So many calls, each made by any partner with the same chance."""
    chance = random.Random(seed)
    return Counter(f"p{chance.randrange(partners)}" for _ in range(calls))


@given(st.integers(2, 400), st.integers(1, 5000), st.integers())
def test_a_uniform_load_has_no_culprit(partners: int, calls: int, seed: int) -> None:
    assert explaining(drawn(partners, calls, seed), total=calls) == ()


@given(st.integers(3, 300), st.integers(10, 50), st.integers())
def test_a_flood_is_named_among_any_number_of_others(partners: int, each: int, seed: int) -> None:
    calls = drawn(partners, partners * each, seed)
    calls["flood"] = 10 * each + calls.total() // 3

    assert explaining(calls, total=calls.total()) == ("flood",)


@given(st.lists(st.integers(1, 1000), min_size=2, max_size=50), st.integers(2, 5))
def test_the_same_load_several_times_over_has_the_same_culprits_or_more(numbers: list[int], times: int) -> None:
    calls = {f"p{nth}": number for nth, number in enumerate(numbers)}
    more = {name: number * times for name, number in calls.items()}

    assert set(explaining(calls, total=sum(numbers))) <= set(explaining(more, total=sum(more.values())))


@given(st.integers(3, 100), st.integers(100, 1000))
def test_a_heavy_partner_may_use_as_many_times_more_as_it_weighs(partners: int, each: int) -> None:
    calls = {f"p{nth}": each for nth in range(partners)} | {"heavy": 10 * each}

    assert explaining(calls, total=sum(calls.values()), weight=lambda name: 10 if name == "heavy" else 1) == ()


def test_who_always_uses_so_much_does_not_explain_today() -> None:
    calls = {"large": 500, **{f"p{nth}": 10 for nth in range(50)}}

    assert explaining(calls, total=1000) == ("large",)
    assert explaining(calls, total=1000, usual={"large": 0.4}) == ()
    assert explaining(calls, total=1000, usual={"large": 0.1}) == ("large",)


def test_a_large_share_of_next_to_nothing_is_chance() -> None:
    assert explaining({"a": 5, "b": 1, "c": 1}, total=7) == ()


def spenders(stage: Stage) -> Spenders:
    return stage.house.spenders


def spend(stage: Stage, number: int, *, outcome: Outcome = Outcome.OK, **call: Any) -> None:
    for _ in range(number):
        permit = stage.house.gate.admit(a_call(app=stage.app, **call))
        assert isinstance(permit, Permit), permit
        stage.house.gate.settle(permit, Report(outcome=outcome))


@pytest.fixture
def stage(stages: Stages) -> Any:
    with stages(knobs={"app_limit": 5000}) as made:
        made.pass_time(7200)  # what the stage itself has called is out of the window
        yield made


def test_the_window_that_counts_now_is_asked_of_the_gate(stage: Stage) -> None:
    for nth in range(20):
        spend(stage, 5, partner=f"p{nth}", waba=str(nth))
    spend(stage, 150, partner="bravo", queue="onboarding", waba="7")
    spend(stage, 1, partner="bravo", waba="7", outcome=Outcome.WABA_LIMIT)

    by_partner, by_kind, by_waba = (
        spenders(stage).top(one) for one in (Dimension.PARTNERS, Dimension.KINDS, Dimension.WABAS)
    )

    assert (by_partner.calls, by_partner.refused, by_partner.explained_by) == (251, 1, ("bravo",))
    assert str(by_partner).startswith("explained by bravo with 60% (30.2 times a typical one's)")
    assert by_partner.talkers[0].refused == 1
    assert [one.name for one in by_kind.talkers] == ["onboarding", "template_sync"]
    assert by_kind.explained_by == ()
    assert by_waba.explained_by == ("7",)
    assert {one.name for one in spenders(stage).top(Dimension.CAPABILITIES).talkers} == {"template_reads"}


def test_an_even_load_names_nobody_and_says_so(stage: Stage) -> None:
    for nth in range(20):
        spend(stage, 5, partner=f"p{nth}")

    told = spenders(stage).top(Dimension.PARTNERS, app=stage.app)

    assert told.explained_by == ()
    assert str(told).startswith("no partner explains this: the largest, p0, made 5% of the calls")


def test_a_time_that_is_over_is_asked_of_the_ledger(stage: Stage) -> None:
    began = stage.clock.now()
    kept = [
        Used(
            who=Who(queue="template_sync", partner=f"p{nth}", capability="template_reads", waba=str(nth)),
            calls=30,
        )
        for nth in range(40)
    ]
    flood = Used(
        who=Who(queue="template_sync", partner="bravo", capability="template_reads", waba="666"),
        calls=2000,
        refused=7,
    )
    put = stage.house.ledger.spending.put
    five = timedelta(minutes=5)
    put(stage.app, began - timedelta(days=2), kept, lasting=five, generation="a")
    put(stage.app, began, [*kept, flood], lasting=five, generation="a")
    stage.pass_time(86_400)

    then = spenders(stage).top(Dimension.PARTNERS, since=began, until=began + five)
    before = spenders(stage).top(Dimension.PARTNERS, since=began - timedelta(days=3), until=began - five)
    wabas = spenders(stage).top(Dimension.WABAS, since=began, until=began + five)

    assert (then.calls, then.refused, then.explained_by) == (3200, 7, ("bravo",))
    assert then.talkers[0].usual_share == 0.0
    assert (before.calls, before.explained_by) == (1200, ())
    assert wabas.explained_by == ("666",)
    assert (wabas.calls, wabas.talkers[-1].name) == (3200, "")


def test_a_time_that_is_none_is_refused(stage: Stage) -> None:
    with pytest.raises(InvalidRequest, match="is no time"):
        spenders(stage).top(Dimension.PARTNERS, since=stage.clock.now() + timedelta(hours=1))
