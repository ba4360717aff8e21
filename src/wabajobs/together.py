"""Group commit: what several threads ask for at the same time is answered by one of them, for all.

A transaction costs the same for one row as for ten. So who finds one under way waits for its end, and the first
of those who wait then takes everybody's question along. While others come all the time, he first waits a moment
until as many have come as last time (PostgreSQL's `commit_delay` is such a moment); who was alone never waits.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from wabajobs.errors import NotReady

_GATHER_SECONDS: Final = 0.004

Q = TypeVar("Q")
A = TypeVar("A")


class _Ticket(Generic[Q, A]):
    """A question, and the way to wake the one who asked it."""

    def __init__(self, question: Q) -> None:
        self.question = question
        self.answer: list[A] = []
        self.error: BaseException | None = None
        self._asleep = threading.Lock()
        self._asleep.acquire()

    @property
    def done(self) -> bool:
        return bool(self.answer) or self.error is not None

    def wait(self) -> None:
        self._asleep.acquire()

    def wake(self) -> None:
        self._asleep.release()


class Together(Generic[Q, A]):
    """Answers questions, those of several threads at once."""

    def __init__(
        self,
        answer: Callable[[Sequence[Q]], Sequence[A | Exception]],
        *,
        gather_seconds: float = _GATHER_SECONDS,
    ) -> None:
        """Answer through `answer`: all or nothing, and in the order of the questions.

        An exception among the answers is raised for the one who asked. Who goes first waits so long at most for
        company.
        """
        self._answer = answer
        self._gather_seconds = gather_seconds
        self._inside = threading.Condition(threading.Lock())
        self._waiting: list[_Ticket[Q, A]] = []
        self._busy = False
        self._company = 0
        """How many came together last time, or half of those before if that was fewer: one may have been late."""
        self._wanted = 0
        """For how many a leader waits now."""

    def __call__(self, question: Q) -> A:
        """Return the answer, or raise what went wrong."""
        mine: _Ticket[Q, A] = _Ticket(question)
        with self._inside:
            self._waiting.append(mine)
            leads, self._busy = not self._busy, True
            if len(self._waiting) == self._wanted:
                self._inside.notify()
        if not leads:
            mine.wait()  # for an answer, or for the lead
        if not mine.done:
            self._lead(mine)
        if mine.error is not None:
            raise mine.error
        return mine.answer[0]

    def _lead(self, mine: _Ticket[Q, A]) -> None:
        batch = [mine]
        try:
            with self._inside:
                self._wanted = self._company
                self._inside.wait_for(lambda: len(self._waiting) >= self._wanted, self._gather_seconds)
                self._wanted = 0
                batch, self._waiting = self._waiting, []
            self._company = max(len(batch), self._company // 2)
            self._settle(batch)
        finally:
            self._hand_on(batch, mine)

    def _hand_on(self, batch: list[_Ticket[Q, A]], mine: _Ticket[Q, A]) -> None:
        """Wake whoever leads next, and those who have their answer. Nobody else: waking is what costs most."""
        with self._inside:
            self._waiting = [ticket for ticket in self._waiting if ticket is not mine]
            successor = self._waiting[0] if self._waiting else None
            self._busy = successor is not None
        if successor is not None:
            successor.wake()
        for ticket in batch:
            if ticket is not mine:
                ticket.wake()

    def _settle(self, batch: list[_Ticket[Q, A]]) -> None:
        try:
            answers = self._answer([ticket.question for ticket in batch])
        except BaseException as error:
            if len(batch) > 1 and isinstance(error, Exception) and not isinstance(error, NotReady):
                for ticket in batch:  # one of them is at fault: the others shall not suffer for it
                    self._settle([ticket])
                return
            for ticket in batch:
                ticket.error = error
            return
        for ticket, answer in zip(batch, answers, strict=True):
            if isinstance(answer, Exception):
                ticket.error = answer
            else:
                ticket.answer.append(answer)
