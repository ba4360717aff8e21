"""A slot is given away exactly when there is one, however the workers' queues overlap."""

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wabajobs.dispatcher.slots import Slots
from wabajobs.signals import Worker

QUEUES = ("a", "b", "c", "d")
TEAMS = st.lists(st.tuples(st.sets(st.sampled_from(QUEUES), min_size=1), st.integers(0, 3)), max_size=5)
OUT = st.dictionaries(st.sampled_from(QUEUES), st.integers(0, 5))
ENDING = st.dictionaries(st.sampled_from(QUEUES), st.integers(0, 12))
Teams = list[tuple[set[str], int]]


def workers(teams: Iterable[tuple[Iterable[str], int]]) -> list[Worker]:
    """One announcement for each queue of each worker."""
    return [
        Worker(name=f"w{number}", queue=queue, slots=slots)
        for number, (queues, slots) in enumerate(teams)
        for queue in sorted(queues)
    ]


def slots_of(queue: str, teams: Teams) -> int:
    return sum(slots for queues, slots in teams if queue in queues)


def seats(teams: Teams, wanted: Mapping[str, int]) -> int:
    """How many operations can be seated at once: the least of all cuts, by trying every one."""
    served = [queue for queue in wanted if wanted[queue]]
    return min(
        sum(wanted[queue] for queue in served if queue not in through)
        + sum(slots for queues, slots in teams if queues & set(through))
        for size in range(len(served) + 1)
        for through in combinations(served, size)
    )


@given(teams=TEAMS, out=OUT, asked=st.lists(st.sampled_from(QUEUES), max_size=16), data=st.data())
def test_a_slot_is_taken_exactly_when_everything_that_is_out_still_finds_a_seat(
    teams: Teams, out: dict[str, int], asked: list[str], data: st.DataObject
) -> None:
    slots, there = Slots(workers(teams), out), Counter(out)
    taken: Counter[str] = Counter()
    for queue in asked:
        if taken.total() and data.draw(st.booleans(), label="give one back"):
            back = data.draw(st.sampled_from(sorted(taken.elements())), label="of")
            slots.give_back(back)
            taken[back] -= 1
        one_more = there + taken + Counter([queue])
        room = seats(teams, one_more) > seats(teams, there + taken)

        assert slots.has(queue) == room
        assert slots.take(queue) == room
        taken[queue] += room


@given(teams=TEAMS, out=OUT, ending=ENDING, before=st.lists(st.sampled_from(QUEUES), max_size=16))
def test_asking_takes_nothing(
    teams: Teams, out: dict[str, int], ending: dict[str, int], before: list[str]
) -> None:
    asked, other = (Slots(workers(teams), out, ending=ending) for _ in range(2))
    for queue in before:
        asked.take(queue)
        other.take(queue)
    for queue in QUEUES * 3:
        asked.has(queue)

    assert [asked.take(queue) for queue in QUEUES * 6] == [other.take(queue) for queue in QUEUES * 6]


@given(teams=TEAMS, out=OUT, ending=ENDING)
def test_for_each_that_ends_soon_one_more_may_go_and_for_each_slot_at_most_two(
    teams: Teams, out: dict[str, int], ending: dict[str, int]
) -> None:
    ahead = {queue: min(ending.get(queue, 0), 2 * slots_of(queue, teams)) for queue in QUEUES}
    stay = {queue: max(0, number - ahead[queue]) for queue, number in out.items()}
    left = {queue: max(0, number - out.get(queue, 0)) for queue, number in ahead.items()}
    early, plain = Slots(workers(teams), out, ending=ending), Slots(workers(teams), stay)

    for queue in QUEUES:
        assert [early.take(queue) for _ in range(left[queue])] == [True] * left[queue]
        assert early.taken(queue) == plain.taken(queue) + left[queue]
    assert [early.take(queue) for queue in QUEUES * 6] == [plain.take(queue) for queue in QUEUES * 6]


@given(teams=TEAMS, out=OUT, ending=ENDING, asked=st.lists(st.sampled_from(QUEUES), max_size=16))
def test_what_is_given_back_can_be_taken_again(
    teams: Teams, out: dict[str, int], ending: dict[str, int], asked: list[str]
) -> None:
    slots, untouched = (Slots(workers(teams), out, ending=ending) for _ in range(2))
    for queue in [queue for queue in asked if slots.take(queue)]:
        slots.give_back(queue)
        slots.has(queue)

    assert [slots.take(queue) for queue in QUEUES * 6] == [untouched.take(queue) for queue in QUEUES * 6]


@given(teams=TEAMS)
def test_pools_are_the_queues_that_hang_together(teams: Teams) -> None:
    pools = Slots(workers(teams), {}).pools()

    together = {queue: {queue} for queues, _ in teams for queue in queues}
    for _ in QUEUES:
        for queues, _slots in teams:
            reach = set().union(*(together[queue] for queue in queues))
            for queue in reach:
                together[queue] |= reach
    assert len(pools) == len(set(pools))
    assert set(pools) == {frozenset(queues) for queues in together.values()}


def test_what_is_out_moves_to_the_worker_that_serves_less() -> None:
    slots = Slots(workers([({"a", "b"}, 1), ({"a"}, 1)]), {"a": 1})

    assert [slots.take("b"), slots.take("a"), slots.take("b")] == [True, False, False]


@pytest.mark.parametrize(("out", "left"), [(0, 3), (2, 1), (3, 0), (9, 0)])
def test_more_may_be_out_than_there_are_seats(out: int, left: int) -> None:
    slots = Slots(workers([({"a"}, 3)]), {"a": out})

    assert [slots.take("a") for _ in range(4)] == [True] * left + [False] * (4 - left)


def test_a_worker_of_two_queues_has_its_slots_once() -> None:
    slots = Slots(workers([({"a", "b"}, 2)]), {})

    assert [slots.take(queue) for queue in "abab"] == [True, True, False, False]
