"""Turns: partners in proportion to their weights, classes before each other, and nobody saves up or starves."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wabajobs.capability import Capability, ServiceClass
from wabajobs.dispatcher.turns import Turns
from wabajobs.ledger import Line

POOL = frozenset({"sync"})
PARTNERS = ("acme", "bolt", "corp")
WEIGHTS = st.fixed_dictionaries(dict.fromkeys(PARTNERS, st.sampled_from([0.25, 1.0, 2.0, 3.0])))
CAPABILITIES = tuple(Capability)[:3]
ARRIVALS = st.dictionaries(
    st.tuples(st.sampled_from(PARTNERS), st.sampled_from(CAPABILITIES)), st.integers(0, 12), max_size=5
)


def a_line(
    partner: str,
    *,
    capability: Capability = Capability.UPLOADS,
    service_class: ServiceClass = ServiceClass.STANDARD,
) -> Line:
    name = f"{service_class.rank}:10001:{capability}:{partner}"
    return Line("sync", name, service_class, "10001", capability, partner)


@dataclass
class Hall:
    """Lines with so many operations each; what one release takes of them is chosen in turns."""

    weights: dict[str, float] = field(default_factory=dict)
    lower_share: float = 0.05
    waiting: Counter[Line] = field(default_factory=Counter)
    order: list[Line] = field(default_factory=list)
    may_go: Callable[[Line], bool] = lambda line: True

    def __post_init__(self) -> None:
        self.turns = Turns(weight=lambda partner: self.weights.get(partner, 1.0), lower_share=self.lower_share)

    def come(self, line: Line, number: int = 1_000_000) -> None:
        self.waiting[line] += number

    def release(self, slots: int) -> Counter[str]:
        """Fill the slots, a line's emptiness being found out only afterwards; return who was served how often."""
        round_ = self.turns.round(POOL)
        begin, going = len(self.order), set(+self.waiting)
        while True:
            round_.among(going)
            wanted: Counter[Line] = Counter()
            while len(self.order) - begin + wanted.total() < slots and (line := round_.next()):
                if self.may_go(line):
                    wanted[line] += 1
                else:
                    round_.drop(line, turns_back=1)
            if not wanted:
                return Counter(line.partner for line in self.order[begin:])
            for line, number in wanted.items():
                got = min(number, self.waiting[line])
                self.order += [line] * got
                self.waiting[line] -= got
                if got < number:
                    round_.drop(line, turns_back=number - got)
                    going.discard(line)

    def has_work(self, partner: str) -> bool:
        return any(number for line, number in self.waiting.items() if line.partner == partner)


@given(weights=WEIGHTS, steps=st.lists(st.tuples(ARRIVALS, st.integers(0, 20)), max_size=40))
def test_as_long_as_two_have_work_they_are_served_by_their_weights(
    weights: dict[str, float], steps: list[tuple[dict[tuple[str, Capability], int], int]]
) -> None:
    hall, lead = Hall(weights), dict.fromkeys(combinations(PARTNERS, 2), (0.0, 0.0, 0.0))
    for arrivals, slots in steps:
        for (partner, capability), number in arrivals.items():
            hall.come(a_line(partner, capability=capability), number)
        busy = {partner for partner in PARTNERS if hall.has_work(partner)}

        served = hall.release(slots)

        for one, other in lead:
            if not {one, other} <= busy or not (hall.has_work(one) and hall.has_work(other)):
                lead[one, other] = (0.0, 0.0, 0.0)
                continue
            now, least, most = lead[one, other]
            now += served[one] / weights[one] - served[other] / weights[other]
            lead[one, other] = now, min(least, now), max(most, now)
            # In whatever stretch of time: SFQ's own bound, one operation of each.
            bound = 1 / weights[one] + 1 / weights[other]
            assert max(most, now) - min(least, now) <= bound + 1e-6


@given(lines=st.integers(1, 3), flood=st.integers(50, 200))
def test_neither_more_lines_nor_more_operations_give_more_turns(lines: int, flood: int) -> None:
    hall = Hall()
    for capability in CAPABILITIES[:lines]:
        hall.come(a_line("acme", capability=capability), flood)
    hall.come(a_line("bolt"), 20)

    hall.release(40)

    assert Counter(line.partner for line in hall.order) == {"acme": 20, "bolt": 20}


def test_a_partners_lines_take_turns() -> None:
    hall = Hall()
    for capability in CAPABILITIES:
        hall.come(a_line("acme", capability=capability))

    for _ in range(9):
        hall.release(1)

    assert Counter(line.capability for line in hall.order) == dict.fromkeys(CAPABILITIES, 3)


@pytest.mark.parametrize("slots", [1, 16])
def test_who_was_idle_has_saved_nothing_up(slots: int) -> None:
    hall = Hall()
    hall.come(a_line("bolt"), 1)
    hall.come(a_line("acme"))
    for _ in range(100):
        hall.release(slots)

    hall.come(a_line("bolt"))
    hall.come(a_line("corp"))
    served = hall.release(9)

    assert max(served.values()) - min(served.values()) <= 1


@pytest.mark.parametrize("slots", [1, 16])
def test_who_could_not_go_for_a_while_has_saved_nothing_up_nor_has_anybody_beside_him(slots: int) -> None:
    hall = Hall()
    hall.come(a_line("acme"))
    hall.come(a_line("capped"))
    hall.release(2)
    hall.may_go = lambda line: line.partner != "capped"
    for _ in range(100):
        hall.release(slots)

    hall.come(a_line("newcomer"))
    beside = hall.release(12)
    hall.may_go = lambda line: True
    afterwards = hall.release(12)

    assert (beside["acme"], beside["newcomer"]) == (6, 6)
    assert max(afterwards.values()) - min(afterwards.values()) <= 1


def test_turns_given_back_count_even_while_other_lines_are_served() -> None:
    hall = Hall()
    hall.come(a_line("acme", capability=CAPABILITIES[0]), 1)
    for capability in CAPABILITIES[1:]:
        hall.come(a_line("acme", capability=capability))
    hall.come(a_line("bolt"))
    shut = a_line("acme", capability=CAPABILITIES[1])
    hall.may_go = lambda line: line != shut

    served = [hall.release(2) for _ in range(50)]

    assert sum(served, Counter()) == {"acme": 50, "bolt": 50}


def test_classes_go_before_each_other() -> None:
    hall = Hall(lower_share=0)
    for service_class in ServiceClass:
        hall.come(a_line("acme", service_class=service_class), 5)

    for _ in range(5):
        hall.release(3)

    expected = [one for one in ServiceClass for _ in range(5)]
    assert [line.service_class for line in hall.order] == expected


@pytest.mark.parametrize("share", [0.05, 0.1, 0.25, 0.4])
def test_lower_classes_have_their_share_and_none_starves(share: float) -> None:
    hall = Hall(lower_share=share)
    for service_class in ServiceClass:
        hall.come(a_line("acme", service_class=service_class))

    for _ in range(2_000):
        hall.release(1)

    order = [line.service_class for line in hall.order]
    turns_for_one = 1 / share + 1
    assert gaps(order, {ServiceClass.STANDARD, ServiceClass.BACKGROUND}) <= turns_for_one + 1
    assert gaps(order, {ServiceClass.BACKGROUND}) <= (turns_for_one + 1) ** 2
    assert sum(one is not ServiceClass.INTERACTIVE for one in order) <= len(order) / turns_for_one + 1


def gaps(order: Iterable[ServiceClass], whose: set[ServiceClass]) -> int:
    """The longest stretch without any of these."""
    longest = current = 0
    for one in order:
        current = 0 if one in whose else current + 1
        longest = max(longest, current)
    return longest


def test_higher_classes_alone_earn_nothing_for_lower_ones() -> None:
    hall = Hall()
    hall.come(a_line("acme", service_class=ServiceClass.INTERACTIVE))
    hall.release(1_000)
    hall.come(a_line("acme", service_class=ServiceClass.BACKGROUND))

    hall.release(20)

    assert [line.service_class for line in hall.order[1_000:]] == [ServiceClass.INTERACTIVE] * 20


def test_partners_that_are_gone_are_forgotten() -> None:
    hall = Hall()
    hall.come(a_line("acme"))
    for number in range(40_000):
        hall.come(a_line(f"partner-{number}"), 1)
        if number % 200 == 199:
            hall.release(400)
            hall.waiting = +hall.waiting

    remembered = [
        kept
        for ring in hall.turns._rings.values()
        for kept in vars(ring).values()
        if isinstance(kept, dict) and len(kept) > 11_000
    ]

    assert remembered == []
