"""What was seen is written down beside the work: soon, in order, within bounds, and never in the way."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from tests.support.waiting import until
from wabajobs.clock import HandClock
from wabajobs.errors import LedgerUnavailable
from wabajobs.incidents.chronicle import Chronicle
from wabajobs.ledger import Happening, Sight


@dataclass
class Book:
    """A ledger that can be away, or slow."""

    away: int = 0
    """How many times it is not to be had."""
    broken: bool = False
    gate: threading.Event = field(default_factory=threading.Event)
    written: list[Happening] = field(default_factory=list)
    asked: int = 0

    def __post_init__(self) -> None:
        self.gate.set()

    def put(self, happenings: Sequence[Happening]) -> None:
        self.asked += 1
        self.gate.wait(30)
        if self.away:
            self.away -= 1
            raise LedgerUnavailable("away")
        if self.broken:
            self.broken = False
            raise ValueError("it cannot be written")
        self.written += happenings


@dataclass
class Hands:
    at: float = 0.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def book() -> Book:
    return Book()


def chronicle_of(book: Book, hands: Hands | None = None) -> Chronicle:
    return Chronicle(book.put, clock=HandClock(), monotonic=hands or Hands())


def scopes(book: Book) -> list[str | None]:
    return [one.scope for one in book.written]


def test_what_is_told_is_written_in_its_order(book: Book) -> None:
    chronicle = chronicle_of(book)

    for nth in range(100):
        chronicle.tell([(Sight.BREAKER_OPENED, {"scope": f"app:{nth}"})])

    assert chronicle.flush(30)
    assert scopes(book) == [f"app:{nth}" for nth in range(100)]
    assert {one.at for one in book.written} == {HandClock().now()}


def test_who_tells_does_not_wait_for_a_ledger_that_is_slow(book: Book) -> None:
    book.gate.clear()
    chronicle = chronicle_of(book)

    chronicle.tell([(Sight.REFUSED, {"scope": "app:1"})])
    assert not chronicle.flush(0.01)

    book.gate.set()
    assert chronicle.flush(30)
    assert scopes(book) == ["app:1"]


def test_while_the_ledger_is_away_it_is_told_later(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wabajobs.incidents.chronicle._RETRY_SECONDS", 0.01)
    book.away = 3
    chronicle = chronicle_of(book)

    chronicle.tell([(Sight.REFUSED, {"scope": "app:1"})])

    assert chronicle.flush(30)
    assert (scopes(book), book.asked) == (["app:1"], 4)


def test_what_waits_is_bounded_and_the_newest_stays(book: Book) -> None:
    book.gate.clear()
    chronicle = chronicle_of(book)

    for nth in range(2500):
        chronicle.tell([(Sight.BREAKER_OPENED, {"scope": f"app:{nth}"})])
    book.gate.set()

    assert chronicle.flush(30)
    written = scopes(book)
    assert len(written) <= 1100
    assert written[-1000:] == [f"app:{nth}" for nth in range(1500, 2500)]
    assert len(set(written)) == len(written), "nothing is written twice"


def test_of_a_flood_the_first_of_a_minute_are_told_and_every_breaker_of_an_app(
    book: Book, caplog: pytest.LogCaptureFixture
) -> None:
    hands = Hands()
    chronicle = chronicle_of(book, hands)
    for nth in range(500):
        chronicle.tell([(Sight.REFUSED, {"scope": f"refused {nth}"})])
        if nth == 400:
            chronicle.tell([(Sight.BREAKER_OPENED, {"scope": "app:1"})])
    assert chronicle.flush(30)
    assert len(book.written) == 121
    assert scopes(book)[-1] == "app:1"

    hands.at = 61.0
    chronicle.tell([(Sight.REFUSED, {"scope": "the next minute"})])

    assert chronicle.flush(30)
    assert scopes(book)[-1] == "the next minute"
    assert "happenings_dropped" in caplog.text
    assert "number=380" in caplog.text


def test_what_cannot_be_written_does_not_stop_the_rest(book: Book) -> None:
    book.broken = True
    chronicle = chronicle_of(book)
    chronicle.tell([(Sight.REFUSED, {"scope": "app:1"})])
    assert chronicle.flush(30)

    chronicle.tell([(Sight.REFUSED, {"scope": "app:2"})])

    assert chronicle.flush(30)
    assert scopes(book) == ["app:2"]


def test_its_thread_goes_when_there_is_nothing_to_do_and_another_comes(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wabajobs.incidents.chronicle._IDLE_SECONDS", 0.01)
    chronicle = chronicle_of(book)
    for _ in range(3):
        chronicle.tell([(Sight.REFUSED, {"scope": "app:1"})])
        assert chronicle.flush(30)
        until(lambda: not any(one.name == "chronicle" for one in threading.enumerate()))
    assert len(book.written) == 3
