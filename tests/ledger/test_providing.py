"""Waiting for people, on both databases: asking, giving, expiring, and who wins when two come at once."""

from datetime import timedelta
from typing import Any

import pytest

from tests.ledger.conftest import WORKER, Book, a_request, at_once
from wabajobs.capability import Capability
from wabajobs.errors import Ask, StopAsked
from wabajobs.ledger import Ages
from wabajobs.operation import Operation, State
from wabajobs.outcome import Done, NeedsInput

LANE = "10001:acme:102290129340398:number:1"
CODE = Ask(name="code", about="the code", pattern="[0-9]{6}")


def asking(book: Book, *, within: float = 600, **changes: Any) -> Operation:
    """An operation that needs a code."""
    operation = book.running(a_request(**changes))
    outcome = NeedsInput(reason="a code", asks=(CODE,), until=book.clock.now() + timedelta(seconds=within))
    book.ledger.operations.record(operation, outcome, worker=WORKER, now=book.clock.now())
    return book.get(operation)


def provide(book: Book, operation: Operation, sealed: str = "sealed") -> bool:
    return book.ledger.operations.provide(
        operation.id,
        {f"operations/{operation.id}/code": sealed},
        given=["code"],
        actor="anna",
        now=book.clock.now(),
    )


def secret(book: Book, operation: Operation) -> str | None:
    return book.ledger.secrets.get(f"operations/{operation.id}/code")


def test_what_is_given_lies_sealed_with_the_operation_which_queues_again(book: Book) -> None:
    operation = asking(book, expires_after=timedelta(hours=1))

    assert operation.state is State.NEEDS_INPUT
    assert operation.attempts == 0
    assert provide(book, operation)

    now = book.get(operation)
    assert (now.state, now.needs, now.deadline_at) == (
        State.WAITING,
        None,
        now.created_at + timedelta(hours=1),
    )
    assert secret(book, operation) == "sealed"
    assert book.story(operation)[-2:] == ["needs input", "provided"]
    assert [one.id for one in book.ready()] == [operation.id]


def test_of_two_who_give_at_once_one_is_told_that_it_is_not_needed(book: Book) -> None:
    operation = asking(book)

    won = at_once(2, lambda number: provide(book, operation, f"by {number}"))

    assert sorted(won) == [False, True]
    assert secret(book, operation) == f"by {won.index(True)}"


@pytest.mark.parametrize("round_", range(5))
def test_giving_and_expiring_at_once_has_one_winner(book: Book, round_: int) -> None:
    operation = asking(book)
    book.pass_time(601)

    def either(number: int) -> bool:
        if number == round_ % 2:
            return provide(book, operation)
        return bool(book.ledger.operations.expire(now=book.clock.now()))

    assert sorted(at_once(2, either)) == [False, True]
    now = book.get(operation)
    assert now.state in (State.EXPIRED, State.WAITING)
    assert (secret(book, operation) is None) == (now.state is State.EXPIRED)
    assert now.needs is None


def test_its_lane_stays_blocked_until_it_has_ended(book: Book) -> None:
    operation = asking(book, lane=LANE)
    later = book.accept_one(a_request(lane=LANE))

    assert book.ready() == []
    book.pass_time(601)
    book.ledger.operations.expire(now=book.clock.now())
    assert [one.id for one in book.ready()] == [later.id]
    assert book.get(operation).state is State.EXPIRED


def test_who_retries_what_expired_asking_gets_its_own_deadline_back(book: Book) -> None:
    with_one = asking(book, expires_after=timedelta(hours=3))
    without = asking(book)
    book.pass_time(601)
    book.ledger.operations.expire(now=book.clock.now())

    book.ledger.operations.retry([with_one.id, without.id], reason="again", actor="anna", now=book.clock.now())

    again = book.get(with_one)
    assert (again.state, again.needs) == (State.WAITING, None)
    assert again.deadline_at == book.clock.now() + timedelta(hours=3)
    assert book.get(without).deadline_at is None


def test_a_checkpoint_past_the_point_of_no_return_ends_the_deadline_and_one_before_brings_it_back(
    book: Book,
) -> None:
    operation = book.running(a_request(expires_after=timedelta(hours=1)))
    write = book.ledger.operations.record_checkpoint
    of_profile = {"capability": Capability.PROFILE}

    write(operation.id, operation.fence, {"past_return": {"step": "x"}}, unless_stopped=True, **of_profile)
    passed = book.get(operation)
    write(operation.id, operation.fence, {}, deadline=operation.deadline_at, **of_profile)

    assert (passed.deadline_at, passed.past_return) == (None, True)
    assert book.get(operation).deadline_at == operation.deadline_at


def test_who_is_to_stop_does_not_pass_the_point_of_no_return(book: Book) -> None:
    operation = book.running()
    book.ledger.operations.cancel([operation.id], reason="unwanted", actor="anna", now=book.clock.now())

    with pytest.raises(StopAsked, match="cancelled by anna: unwanted"):
        book.ledger.operations.record_checkpoint(
            operation.id,
            operation.fence,
            {"past_return": {"step": "x"}},
            capability=Capability.PROFILE,
            unless_stopped=True,
        )

    assert not book.get(operation).past_return


def test_secrets_go_with_their_operation(book: Book) -> None:
    operation = asking(book)
    provide(book, operation)
    book.record(book.run(operation.id), Done())
    book.pass_time(86_400 * 40)
    month = timedelta(days=30)
    ages = Ages(
        finished=month,
        failed=month,
        pages=month,
        requests=month,
        media=month,
        changes=month,
        events=month,
        seen=month,
        incidents=month,
    )

    list(book.ledger.retention.prune(ages, now=book.clock.now()))

    assert secret(book, operation) is None
