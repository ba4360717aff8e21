"""The flow: as many more may be out as end while a message travels."""

from hypothesis import given
from hypothesis import strategies as st

from wabajobs.dispatcher.flow import Flow


def steady(
    flow: Flow, *, ended: int, every: float, times: int, begin: float = 0.0, out: int = 8
) -> dict[str, int]:
    """Look `times` times; between two looks so many have ended, and as many were released."""
    ending = flow.ending({"sync": out}, at=begin)
    for number in range(1, times + 1):
        flow.released("sync", ended)
        ending = flow.ending({"sync": out}, at=begin + number * every)
    return ending


def test_the_rate_times_the_time_to_travel() -> None:
    assert steady(Flow(0.1), ended=10, every=0.1, times=100) == {"sync": 9}, "100 a second, a tenth of it"


def test_slow_operations_free_nothing_in_advance() -> None:
    assert steady(Flow(0.05), ended=1, every=1.0, times=100) == {"sync": 0}


def test_nothing_is_known_at_the_first_look_nor_at_the_same_moment() -> None:
    flow = Flow(1.0)

    assert flow.ending({"sync": 8}, at=5.0) == {}
    assert flow.ending({}, at=5.0) == {}


def test_what_ended_long_ago_is_forgotten() -> None:
    flow = Flow(0.1)
    steady(flow, ended=10, every=0.1, times=100)

    assert flow.ending({"sync": 8}, at=30.0) == {"sync": 0}


def test_a_queue_that_stands_still_does_not_count_those_of_another() -> None:
    flow = Flow(1.0)
    flow.ending({"sync": 4, "edit": 4}, at=0.0)

    ending = flow.ending({"edit": 4}, at=10.0)

    assert ending.get("edit", 0) == 0


@given(
    looks=st.lists(
        st.tuples(st.floats(0.01, 10), st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=30
    )
)
def test_it_never_foresees_more_than_the_fastest_that_ever_ended(looks: list[tuple[float, int, int]]) -> None:
    flow, at, before, fastest = Flow(1.0), 0.0, 0, 0.0
    for seconds, out, released in looks:
        if seconds > 0 and at + seconds > at:
            fastest = max(fastest, (before - out) / ((at + seconds) - at)) if at or before else fastest
        at += seconds

        ending = flow.ending({"sync": out}, at=at)

        assert 0 <= ending.get("sync", 0) <= fastest + 1e-6
        flow.released("sync", released)
        before = out + released


def test_who_looks_again_at_once_is_answered_as_before() -> None:
    flow = Flow(1.0)
    flow.ending({}, at=1.0)
    flow.released("sync", 10)
    before = flow.ending({"sync": 0}, at=2.0)

    flow.released("sync", 50)
    again = [flow.ending({"sync": 0}, at=2.0 + moment) for moment in (0.0, 5e-16, 0.0009)]

    assert before == {"sync": 6}
    assert again == [before] * 3
