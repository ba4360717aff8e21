"""Ending before the time, and going again: deadlines, cancellations, retries."""

from datetime import timedelta

import pytest

from tests.ledger.conftest import LEASE, WORKER, Book, a_request, a_sync, at_once, hold
from wabajobs.errors import LeaseLost
from wabajobs.ledger import Selection
from wabajobs.operation import FINISHED, RETRIABLE, Operation, State
from wabajobs.outcome import Cancelled, Done, Expired, Failed

MINUTE = timedelta(minutes=1)


def cancel(book: Book, *operations: Operation, force: bool = False, reason: str = "they have left") -> list[str]:
    ids = [one.id for one in operations]
    answers = book.ledger.operations.cancel(ids, reason=reason, actor="anna", force=force, now=book.clock.now())
    return [str(answers[id_]) for id_ in ids]


def retry(book: Book, *operations: Operation) -> list[str]:
    ids = [one.id for one in operations]
    answers = book.ledger.operations.retry(ids, reason="token is new", actor="anna", now=book.clock.now())
    return [str(answers[id_]) for id_ in ids]


def expire(book: Book, at_most: int = 200) -> list[str]:
    return [one.id for one in book.ledger.operations.expire(now=book.clock.now(), at_most=at_most)]


def failed(book: Book, **changes: object) -> Operation:
    return book.record(book.running(a_request(**changes)), Failed("no", {"type": "InvalidCall", "code": 100}))


# ── deadlines ────────────────────────────────────────────────────────────────────────────────────────────


def test_what_waits_past_its_deadline_expires_and_says_so(book: Book) -> None:
    operation = book.accept_one(a_request(expires_after=MINUTE))
    book.pass_time(59)
    assert expire(book) == []
    book.pass_time(1)

    assert expire(book) == [operation.id]

    expired = book.get(operation)
    assert (expired.state, expired.finished_at) == (State.EXPIRED, book.clock.now())
    assert expired.error is not None and expired.error["type"] == "Expired"
    assert "its deadline passed at 2" in expired.error["message"]
    assert "before it could begin" in expired.error["message"]
    assert book.story(expired) == ["accepted", "expired"]
    assert book.release() == []


def test_what_is_held_past_its_deadline_expires_with_what_held_it(book: Book) -> None:
    held = book.record(book.running(a_request(expires_after=MINUTE)), hold(book, 3600))
    book.pass_time(61)

    expire(book)

    expired = book.get(held)
    assert (expired.state, expired.hold) == (State.EXPIRED, None)
    assert expired.error is not None and expired.error["message"].endswith("held: the budget is spent")


def test_the_next_of_the_lane_goes_when_one_expires(book: Book) -> None:
    first, second = book.accept(a_request(lane="w", expires_after=MINUTE), a_request(lane="w"))
    book.pass_time(60)

    expire(book)

    assert [one.id for one in book.release()] == [second.id]
    assert book.get(first).state is State.EXPIRED


def test_who_waits_behind_another_of_its_lane_expires_too_and_blocks_nobody(book: Book) -> None:
    first, second, third = book.accept(
        a_request(lane="w"), a_request(lane="w", expires_after=MINUTE), a_request(lane="w")
    )
    running = book.run(first.id)
    book.pass_time(14)
    book.ledger.operations.renew([(running.id, 1)], now=book.clock.now(), lease=2 * MINUTE)
    book.pass_time(60)
    assert expire(book) == [second.id]
    assert book.release() == []

    book.record(running, Done())

    assert [one.id for one in book.release()] == [third.id]


def test_an_attempt_under_way_is_left_to_stop_by_itself(book: Book) -> None:
    running = book.running(a_request(expires_after=timedelta(seconds=5)))
    book.pass_time(6)

    assert expire(book) == []
    expired = book.record(running, Expired("its deadline passed"))

    assert (expired.state, expired.error) == (
        State.EXPIRED,
        {"message": "its deadline passed", "type": "Expired"},
    )
    assert book.story(expired)[-1] == "expired"


def test_a_message_that_comes_too_late_is_refused_and_the_operation_is_final_at_once(book: Book) -> None:
    first, second = book.accept(
        a_request(lane="w", expires_after=timedelta(seconds=5)), a_request(lane="w", waba="10002")
    )
    [released] = book.release()
    book.pass_time(5)

    answer = book.begin(released.id, released.fence)
    again = book.begin(released.id, released.fence)

    assert isinstance(answer, Expired)
    assert again == answer
    assert (book.get(first).state, book.get(first).attempts) == (State.EXPIRED, 0)
    assert [one.id for one in book.release()] == [second.id]


def test_an_old_message_does_not_expire_what_was_leased_anew(book: Book) -> None:
    operation = book.accept_one(a_request(expires_after=timedelta(seconds=20)))
    [old] = book.release()
    book.ledger.operations.take_back([old], now=book.clock.now(), why="no broker")
    book.release()
    book.pass_time(20)

    book.begin(old.id, old.fence)

    assert book.get(operation).state is State.WAITING


def test_a_new_request_gives_the_operation_that_it_joins_its_own_deadline(book: Book) -> None:
    book.accept_one(a_sync(expires_after=MINUTE))
    book.pass_time(50)
    book.accept_one(a_sync(expires_after=MINUTE))
    book.pass_time(50)

    assert expire(book) == []
    book.pass_time(10)
    assert len(expire(book)) == 1


def test_many_expire_in_small_batches(book: Book) -> None:
    book.accept(*(a_request(expires_after=MINUTE) for _ in range(25)))
    book.pass_time(60)

    assert [len(expire(book, at_most=10)) for _ in range(4)] == [10, 10, 5, 0]


def test_each_expires_once_however_many_look(book: Book) -> None:
    book.accept(*(a_request(expires_after=MINUTE, lane=f"w{number % 5}") for number in range(40)))
    book.pass_time(60)

    at_once(4, lambda _thread: [expire(book, at_most=7) for _ in range(8)])

    assert {one.state for one in book.all()} == {State.EXPIRED}
    assert all(book.story(one).count("expired") == 1 for one in book.all())


# ── cancellations ────────────────────────────────────────────────────────────────────────────────────────


def test_what_waits_is_cancelled_at_once_with_who_and_why(book: Book) -> None:
    first, second = book.accept(a_request(lane="w"), a_request(lane="w"))

    assert cancel(book, first) == ["cancelled"]

    cancelled = book.get(first)
    assert (cancelled.state, cancelled.finished_at) == (State.CANCELLED, book.clock.now())
    assert cancelled.stop == {"by": "anna", "reason": "they have left", "at": book.clock.now().isoformat()}
    assert cancelled.error is not None
    assert cancelled.error["message"] == "cancelled by anna: they have left"
    assert [(event.name, event.actor) for event in book.ledger.operations.story(first.id)][-1] == (
        "cancelled",
        "anna",
    )
    assert [one.id for one in book.release()] == [second.id]


def test_what_is_held_is_cancelled_at_once(book: Book) -> None:
    held = book.record(book.running(), hold(book, 3600))

    assert cancel(book, held) == ["cancelled"]
    assert (book.get(held).state, book.get(held).hold) == (State.CANCELLED, None)


def test_a_message_on_its_way_finds_nothing_to_begin(book: Book) -> None:
    operation = book.accept_one(a_request())
    [released] = book.release()

    assert cancel(book, operation) == ["cancelled"]

    assert book.begin(released.id, released.fence) == Cancelled("they have left", "anna")
    assert book.get(operation).state is State.CANCELLED
    assert book.ledger.operations.out() == {}


def test_a_running_one_is_asked_to_stop_and_is_cancelled_when_its_attempt_says_so(book: Book) -> None:
    running = book.running()

    assert cancel(book, running) == ["stopping"]
    assert book.get(running).state is State.RUNNING
    assert book.ledger.operations.stop_asked(running) == book.get(running).stop

    assert book.record(running, Cancelled("they have left", "anna")).state is State.CANCELLED
    assert book.story(running)[-2:] == ["cancel asked", "cancelled"]


@pytest.mark.parametrize("by", ["budget", "pause", "retry"])
def test_a_hold_of_one_that_is_to_stop_ends_it(book: Book, by: str) -> None:
    running = book.running()
    cancel(book, running)

    written = book.ledger.operations.record(running, hold(book, 60, by=by), worker=WORKER, now=book.clock.now())

    assert written == Cancelled("they have left", "anna")
    assert book.get(running).state is State.CANCELLED
    assert book.ledger.operations.out() == {}


def test_the_death_of_its_worker_ends_it_too(book: Book) -> None:
    running, behind = book.accept(a_request(lane="w"), a_request(lane="w"))
    running = book.run(running.id)
    cancel(book, running)
    book.pass_time(16)

    [sentence] = book.reclaim()

    assert sentence.endswith("is gone; cancelled by anna: they have left")
    assert book.get(running).state is State.CANCELLED
    assert [one.id for one in book.release()] == [behind.id]
    with pytest.raises(LeaseLost):
        book.record(running, Done())


@pytest.mark.parametrize(
    ("outcome", "state"), [(Done(), State.SUCCEEDED), (Failed("no"), State.FAILED)], ids=["done", "failed"]
)
def test_what_has_happened_is_not_called_cancelled(book: Book, outcome: Done | Failed, state: State) -> None:
    running = book.running()
    cancel(book, running)

    assert book.record(running, outcome).state is state


def test_cancelling_twice_is_cancelling_once(book: Book) -> None:
    waiting, running = book.accept_one(a_request()), book.running(a_request(partner="bolt"))
    first = cancel(book, waiting, running)
    before = [book.get(one) for one in (waiting, running)]
    book.pass_time(1)

    assert cancel(book, waiting, running, reason="once more") == first
    assert [book.get(one) for one in (waiting, running)] == before
    assert book.story(running).count("cancel asked") == book.story(waiting).count("cancelled") == 1


def test_what_has_ended_otherwise_is_not_cancelled(book: Book) -> None:
    done = book.record(book.running(), Done())

    assert cancel(book, done) == ["finished"]
    assert book.get(done) == done


def test_what_others_have_asked_for_too_is_cancelled_only_by_force(book: Book) -> None:
    operation = book.accept_one(a_sync())
    book.accept_one(a_sync())

    assert cancel(book, operation) == ["shared"]
    assert book.get(operation).state is State.WAITING
    assert cancel(book, operation, force=True) == ["cancelled"]


def test_after_a_cancelled_sync_a_request_is_a_new_operation(book: Book) -> None:
    operation = book.accept_one(a_sync())
    cancel(book, operation)

    assert book.accept_one(a_sync()).id != operation.id


def test_cancelling_what_is_beginning_and_ending_meanwhile_is_either_or(book: Book) -> None:
    operations = book.accept(*(a_request(lane=f"w{number}") for number in range(30)))
    released = book.release()

    def work(thread: int) -> None:
        if thread:
            for one in operations:
                cancel(book, one)
            return
        for one in released:
            begun = book.begin(one.id, one.fence)
            if isinstance(begun, Operation):
                book.ledger.operations.record(begun, hold(book, 0), worker=WORKER, now=book.clock.now())

    at_once(2, work)

    assert {one.state for one in book.all()} == {State.CANCELLED}
    assert book.ledger.operations.out() == {}
    assert all(book.story(one)[-1] == "cancelled" for one in book.all())


# ── retries ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_failed_one_goes_again_from_its_checkpoint_with_all_its_attempts(book: Book) -> None:
    running = book.running()
    book.checkpoint(running, {"page": 3})
    dead = book.record(running, Failed("tried 6 times"))
    book.pass_time(3600)

    assert retry(book, dead) == ["retried"]

    waiting = book.get(dead)
    assert (waiting.state, waiting.attempts, waiting.error, waiting.finished_at) == (State.WAITING, 0, None, None)
    again = book.run(dead.id)
    assert (again.id, again.checkpoint, again.attempts) == (dead.id, {"page": 3}, 1)
    event = next(one for one in book.ledger.operations.story(dead.id) if one.name == "retried")
    assert (event.actor, event.detail) == ("anna", {"was": "failed", "reason": "token is new"})


def test_the_pages_of_a_sync_that_has_failed_are_there_for_its_retry(book: Book) -> None:
    running = book.running(a_sync())
    book.stage(running, 0, [{"id": "1"}], cursor="c0")
    dead = book.record(running, Failed("tried 6 times"))
    retry(book, dead)
    again = book.run(dead.id)

    assert not book.stage(again, 1, [{"id": "2"}], cursor="c0"), "page 0 is known to lead to c0"


def test_an_expired_one_gets_the_time_that_it_had(book: Book) -> None:
    operation = book.accept_one(a_request(expires_after=MINUTE))
    book.pass_time(600)
    expire(book)

    retry(book, operation)

    assert book.get(operation).deadline_at == book.clock.now() + MINUTE


def test_a_cancelled_one_does_not_stop_again(book: Book) -> None:
    operation = book.accept_one(a_request())
    cancel(book, operation)
    retry(book, operation)

    running = book.run(operation.id)

    assert running.stop is None
    assert book.ledger.operations.stop_asked(running) is None


def test_what_goes_again_waits_for_what_goes_in_its_lane(book: Book) -> None:
    dead = failed(book, lane="w")
    running = book.running(a_request(lane="w"))

    retry(book, dead)

    assert book.release() == []
    book.record(running, Done())
    assert [one.id for one in book.release()] == [dead.id]


def test_a_sync_for_which_a_newer_one_waits_is_superseded(book: Book) -> None:
    dead = book.record(book.running(a_sync()), Failed("no"))
    newer = book.accept_one(a_sync())

    assert retry(book, dead) == ["superseded"]
    assert book.get(dead).state is State.FAILED
    book.record(book.run(newer.id), Done())
    assert retry(book, dead) == ["retried"]


def test_of_several_failed_syncs_of_an_account_the_newest_goes(book: Book) -> None:
    dead = [book.record(book.running(a_sync()), Failed("no")) for _ in range(3)]

    assert retry(book, *dead) == ["superseded", "superseded", "retried"]
    assert book.accept_one(a_sync()).id == dead[2].id, "it can be joined"


@pytest.mark.parametrize("state", [State.WAITING, State.RUNNING, State.HELD, State.SUCCEEDED])
def test_only_what_has_ended_badly_is_retried(book: Book, state: State) -> None:
    operation = book.accept_one(a_request())
    if state is not State.WAITING:
        operation = book.run(operation.id)
    if state is State.HELD:
        operation = book.record(operation, hold(book, 60))
    if state is State.SUCCEEDED:
        operation = book.record(operation, Done())
    before = book.get(operation)

    assert retry(book, operation) == ["succeeded" if state is State.SUCCEEDED else "unfinished"]
    assert book.get(operation) == before


def test_nobody_is_cancelled_or_retried_whom_nobody_knows(book: Book) -> None:
    now = book.clock.now()
    assert book.ledger.operations.cancel(["7"], reason="because", actor="anna", now=now) == {}
    assert book.ledger.operations.retry(["7"], reason="because", actor="anna", now=now) == {}


# ── selections ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_selection_is_what_has_all_of_it_in_common(book: Book) -> None:
    old = failed(book, partner="acme")
    book.pass_time(3600)
    mine, theirs = failed(book, partner="acme"), failed(book, partner="bolt")
    other = book.record(book.running(a_request(partner="acme")), Failed("no", {"type": "SyncError"}))
    overdue = book.accept_one(a_request(partner="acme", expires_after=MINUTE))
    book.pass_time(60)
    expire(book)

    def ids(**more: object) -> set[str]:
        return set(book.ledger.operations.ids(Selection(states=RETRIABLE, **more)))  # type: ignore[arg-type]

    assert ids() == {old.id, mine.id, theirs.id, other.id, overdue.id}
    assert ids(partner="acme", error="100") == {old.id, mine.id}
    assert ids(error="SyncError") == {other.id}
    assert ids(error="Expired") == {overdue.id}
    assert ids(partner="acme", since=book.clock.now() - 2 * MINUTE) == {mine.id, other.id, overdue.id}
    assert ids(kind="onboarding") == set()
    only = Selection(states=[State.EXPIRED])
    assert book.ledger.operations.count(only) == {("template_sync", "acme", State.EXPIRED): 1}


def test_a_selection_is_taken_in_portions_the_newest_first(book: Book) -> None:
    dead = [failed(book) for _ in range(5)]
    chosen = Selection(states=FINISHED)

    first = book.ledger.operations.ids(chosen, at_most=2)
    second = book.ledger.operations.ids(chosen, before=first[-1], at_most=9)

    assert [*first, *second] == [one.id for one in reversed(dead)]


def test_the_dead_are_gathered_by_what_they_died_of(book: Book) -> None:
    [*_, newest] = [failed(book, partner="acme") for _ in range(3)]
    book.record(book.running(a_request(partner="bolt")), Failed("a bug"))
    book.accept_one(a_request(partner="bolt", expires_after=MINUTE))
    book.pass_time(60)
    expire(book)
    book.record(book.running(), Done())

    found = book.ledger.operations.dead(since=book.clock.now() - 5 * MINUTE)

    assert [(one.partner, one.state, one.error, one.number) for one in found[:1]] == [
        ("acme", State.FAILED, "100", 3)
    ]
    assert (found[0].example, found[0].message) == (newest.id, "no")
    assert {(one.partner, one.state, one.error) for one in found[1:]} == {
        ("bolt", State.FAILED, "-"),
        ("bolt", State.EXPIRED, "Expired"),
    }
    assert book.ledger.operations.dead(since=book.clock.now() + MINUTE) == []


def test_a_lease_is_a_lease_for_whoever_comes_back_late(book: Book) -> None:
    late = book.running()
    cancel(book, late)
    book.pass_time(LEASE.total_seconds() + 1)
    book.reclaim()
    retry(book, late)
    book.run(late.id)

    with pytest.raises(LeaseLost):
        book.record(late, Cancelled("they have left", "anna"))
    assert book.get(late).state is State.RUNNING
