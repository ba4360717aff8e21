"""What is not finished is counted by what holds it."""

from datetime import timedelta

from tests.ledger.conftest import Book, a_pause, a_request, hold
from wabajobs.operation import State
from wabajobs.outcome import Done


def test_what_is_not_finished_is_counted_by_kind_state_and_what_holds_it(book: Book) -> None:
    began = book.clock.now()
    book.record(book.running(), Done())
    book.record(book.running(), hold(book, 6000, by="breaker"))
    book.pass_time(60)
    book.record(book.running(), hold(book, 6000, by="breaker"))
    book.record(book.running(), hold(book, 6000, by="budget"))
    book.running()
    book.accept(a_request(kind="onboarding"), a_request(kind="onboarding", partner="bolt"))

    counted = book.ledger.operations.count_unfinished(pauses=[a_pause("partner:bolt")])

    assert {(one.kind, one.state, one.by): one.number for one in counted} == {
        ("template_sync", State.HELD, "breaker"): 2,
        ("template_sync", State.HELD, "budget"): 1,
        ("template_sync", State.RUNNING, ""): 1,
        ("onboarding", State.WAITING, ""): 1,
        ("onboarding", State.HELD, "pause"): 1,
    }
    oldest = {(one.state, one.by): one.oldest - began for one in counted if one.kind == "template_sync"}
    assert oldest[State.HELD, "breaker"] == timedelta()
    assert oldest[State.RUNNING, ""] == timedelta(seconds=60)


def test_it_adds_up_to_the_count_of_the_status(book: Book) -> None:
    book.record(book.running(), hold(book, 6000, by="breaker"))
    book.accept(a_request(), a_request(partner="bolt"), a_request(kind="onboarding"))
    pauses = [a_pause("partner:bolt"), a_pause("queue:onboarding")]

    counted = book.ledger.operations.count_unfinished(pauses=pauses)
    status = book.ledger.operations.count_open(pauses=pauses)

    told: dict[tuple[str, State], int] = {}
    for one in counted:
        told[one.kind, one.state] = told.get((one.kind, one.state), 0) + one.number
    assert told == {(kind, state): number for kind, state, number, _ in status}
