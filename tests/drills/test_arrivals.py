"""The requests of a drill: the same for all sides, and the same again with the same seed."""

from collections import Counter
from itertools import pairwise

import pytest

from wabajobs.drills.arrivals import DAY, needs, ordinary
from wabajobs.drills.asking import Asker
from wabajobs.drills.meta import prepared
from wabajobs.drills.september import calendar
from wabajobs.kinds import catalogue


def test_the_same_seed_asks_for_the_same_at_the_same_moments() -> None:
    one = ordinary(hours=20, fleet=5, seed=7)

    assert ordinary(hours=20, fleet=5, seed=7) == one
    assert ordinary(hours=20, fleet=5, seed=8) != one


def test_requests_come_in_order_and_each_thing_is_asked_for_once() -> None:
    asked = ordinary(hours=30, fleet=5, seed=1)

    assert [one.at for one in asked] == sorted(one.at for one in asked)
    assert [one.number for one in asked] == list(range(len(asked)))
    people = Counter((one.what, one.place) for one in asked if one.what != "template_sync")
    assert set(people.values()) == {1}


def test_each_waba_of_the_fleet_is_synced_once_an_hour() -> None:
    syncs = [one for one in ordinary(hours=12, fleet=9, seed=3) if one.what == "template_sync"]

    assert len(syncs) == 9 * 12
    for waba in range(9):
        moments = [one.at for one in syncs if one.place == waba]
        assert all(later - sooner == pytest.approx(1) for sooner, later in pairwise(moments))


def test_an_ordinary_day_asks_for_twelve_kinds_of_operation() -> None:
    asked = ordinary(hours=calendar().hours, fleet=3, seed=1)

    assert {one.kind for one in asked} == set(catalogue().names) - {"template_delete"}
    assert len({one.kind for one in asked}) == 12


def test_two_metas_of_one_plan_have_the_same_ids_and_something_for_each_request() -> None:
    asked = ordinary(hours=12, fleet=4, seed=2)
    plan = {"knobs": {"templates": 30, "seed": 2}, "needs": needs(asked), "fleet": 4}

    _, things = prepared(plan)
    _, again = prepared(plan)

    assert again == things
    assert set(DAY) < {one.what for one in asked}
    words = [Asker(things).asked(one) for one in asked]
    assert [one.kind for one in words] == [one.kind for one in asked]
