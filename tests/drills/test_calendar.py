"""The drill's time and September's: one factor within a stretch, and cuts between."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wabajobs.drills.calendar import Calendar, Stretch, september
from wabajobs.drills.september import EPISODES, calendar, phases
from wabajobs.simulator import SimulatorConfig

LENGTHS = ("quick", "usual", "whole")


def test_the_episodes_last_as_long_as_the_incident_report_says() -> None:
    assert [str(one.lasts) for one in EPISODES] == ["2 days, 0:55:00", "7:55:00", "2 days, 2:15:00", "2:30:00"]


@pytest.mark.parametrize("length", LENGTHS)
@given(share=st.floats(min_value=0, max_value=0.999))
def test_an_hour_of_the_drill_is_a_moment_of_september_and_back(length: str, share: float) -> None:
    played = calendar(length)
    hour = share * played.hours

    assert played.hour_of(played.date_of(hour)) == pytest.approx(hour, abs=1e-4)


@pytest.mark.parametrize("length", LENGTHS)
def test_begin_and_end_of_each_episode_are_played(length: str) -> None:
    played = calendar(length)

    for one in EPISODES:
        for moment in (one.begins, one.eased, one.ends):
            assert abs(played.date_of(played.hour_of(moment)) - moment) < timedelta(seconds=1)


def test_whole_means_that_no_hour_of_an_episode_is_left_out() -> None:
    played = calendar("whole")

    for one in EPISODES:
        hours = played.hour_of(one.ends) - played.hour_of(one.begins)
        assert timedelta(hours=hours).total_seconds() == pytest.approx(one.lasts.total_seconds())


def test_what_is_left_out_lies_at_the_cut() -> None:
    played = Calendar(
        [
            Stretch(september(3, "10:00"), september(3, "12:00")),
            Stretch(september(1, "00:00"), september(1, "06:00")),
            Stretch(september(1, "05:00"), september(1, "08:00")),
        ]
    )

    assert (played.hours, played.cuts) == (10, [8])
    assert played.hour_of(september(2, "00:00")) == 8
    assert played.date_of(9) == september(3, "11:00")


@pytest.mark.parametrize("count_refused", [True, False])
def test_the_script_is_one_that_the_simulator_plays(count_refused: bool) -> None:
    script = phases(calendar(), load=0.5, count_refused=count_refused)

    played = SimulatorConfig(phases=tuple(script)).phases

    assert sum("only uploads" in one.name for one in played) == 4
