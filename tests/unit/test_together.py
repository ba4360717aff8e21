"""Group commit: everybody gets their own answer or their own error, and nobody waits for ever."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ledger.conftest import at_once
from wabajobs.errors import LeaseLost, LedgerUnavailable, NotReady
from wabajobs.together import Together


@dataclass
class Desk:
    """Answers with ten times the question; notes what came together, and can be made to wait."""

    faults: dict[int, Exception] = field(default_factory=dict)
    """Raised for a whole batch in which such a question is."""
    refusals: dict[int, Exception] = field(default_factory=dict)
    """Given as an answer."""
    batches: list[list[int]] = field(default_factory=list)
    inside: threading.Event = field(default_factory=threading.Event)
    open: threading.Event = field(default_factory=threading.Event)
    _one: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, questions: Sequence[int]) -> list[Any]:
        assert self._one.acquire(blocking=False), "one at a time"
        try:
            self.batches.append(list(questions))
            self.inside.set()
            assert self.open.wait(30)
            for question in questions:
                if question in self.faults:
                    raise self.faults[question]
            return [self.refusals.get(question, question * 10) for question in questions]
        finally:
            self._one.release()


def ask(desk: Desk, number: int) -> list[Any]:
    """Ask 0, then all others while that is being answered; return the answers, or what was raised."""
    together: Together[int, int] = Together(desk)

    def one(question: int) -> Any:
        if question:
            assert desk.inside.wait(30)
            if question == number - 1:
                _until_waiting(together, number - 2)
                threading.Timer(0, _open_when_all_wait, [desk, together, number - 1]).start()
        try:
            return together(question)
        except Exception as error:
            return error

    if number == 1:
        desk.open.set()
    return at_once(number, one)


def _until_waiting(together: Together[int, int], number: int) -> None:
    while len(together._waiting) < number:
        threading.Event().wait(0.001)


def _open_when_all_wait(desk: Desk, together: Together[int, int], number: int) -> None:
    _until_waiting(together, number)
    desk.open.set()


def test_who_is_alone_is_answered_alone() -> None:
    desk = Desk()

    assert ask(desk, 1) == [0]
    assert desk.batches == [[0]]


def test_those_who_wait_are_answered_together_each_with_his_own() -> None:
    desk = Desk()

    answers = ask(desk, 8)

    assert answers == [number * 10 for number in range(8)]
    assert desk.batches[0] == [0]
    assert sorted(desk.batches[1]) == list(range(1, 8))
    assert len(desk.batches) == 2


def together_with_company(desk: Desk, company: int, *, gather_seconds: float) -> Together[int, int]:
    """One of whom so many have just asked together."""
    together: Together[int, int] = Together(desk, gather_seconds=gather_seconds)
    together._company = company
    desk.open.set()
    return together


def test_while_others_come_the_first_waits_until_as_many_have_come_as_last_time() -> None:
    desk = Desk()
    together = together_with_company(desk, 3, gather_seconds=60)

    def one(question: int) -> int:
        _until_waiting(together, question)  # one after the other, none of them too late
        return together(question)

    assert at_once(3, one) == [0, 10, 20]
    assert [sorted(batch) for batch in desk.batches] == [[0, 1, 2]]


def test_who_waits_for_company_that_does_not_come_is_answered_all_the_same() -> None:
    desk = Desk()
    together = together_with_company(desk, 8, gather_seconds=0.001)

    assert [together(question) for question in range(5)] == [0, 10, 20, 30, 40]
    assert together._company == 1, "and soon nobody waits any more"


def test_none_is_an_answer() -> None:
    together: Together[int, None] = Together(lambda questions: [None for _ in questions])

    assert together(1) is None


def test_an_error_among_the_answers_is_raised_for_the_one_who_asked() -> None:
    desk = Desk(refusals={3: LeaseLost("gone")})

    answers = ask(desk, 6)

    assert isinstance(answers[3], LeaseLost)
    assert answers[:3] + answers[4:] == [0, 10, 20, 40, 50]


def test_one_faulty_question_does_not_spoil_the_others() -> None:
    fault = ValueError("cannot be written")
    desk = Desk(faults={4: fault})

    answers = ask(desk, 6)

    assert answers[4] is fault
    assert answers[:4] + answers[5:] == [0, 10, 20, 30, 50]


def test_a_database_that_is_away_is_told_to_all_at_once_and_not_asked_for_each() -> None:
    desk = Desk(faults={2: LedgerUnavailable("away")})

    answers = ask(desk, 6)

    assert answers[0] == 0
    assert all(isinstance(one, NotReady) for one in answers[1:])
    assert len(desk.batches) == 2


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt()])
def test_whatever_ends_the_one_who_answers_the_next_one_is_answered(error: BaseException) -> None:
    raised = [error]

    def answer(questions: Sequence[int]) -> list[int]:
        if raised:
            raise raised.pop()
        return list(questions)

    together: Together[int, int] = Together(answer)
    with pytest.raises(type(error)):
        together(1)

    assert together(2) == 2


@settings(max_examples=25, deadline=None)
@given(
    threads=st.integers(2, 6),
    faults=st.dictionaries(st.integers(0, 17), st.sampled_from(["fault", "refusal", "away"]), max_size=6),
)
def test_nobody_waits_for_ever_and_nobody_gets_anothers(threads: int, faults: dict[int, str]) -> None:
    def those(name: str, make: type[Exception]) -> dict[int, Exception]:
        return {question: make(str(question)) for question, its in faults.items() if its == name}

    desk = Desk(faults=those("fault", ValueError) | those("away", NotReady), refusals=those("refusal", LeaseLost))
    desk.open.set()
    together: Together[int, int] = Together(desk)

    def work(thread: int) -> None:
        for number in range(3):
            question = thread * 3 + number
            try:
                assert together(question) == question * 10
                assert question not in faults
            except NotReady as error:
                assert int(str(error)) in faults, "that of the whole batch"
            except (ValueError, LeaseLost) as error:
                assert str(error) == str(question)

    at_once(threads, work)
