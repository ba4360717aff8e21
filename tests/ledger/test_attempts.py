"""One attempt in the ledger: begun by the right lease only, renewed, recorded once, reclaimed when it dies."""

from datetime import timedelta

import pytest

from tests.ledger.conftest import LEASE, WORKER, Book, a_pause, a_request, a_sync, at_once, hold
from wabajobs.capability import Capability
from wabajobs.errors import Ask, LeaseLost, NotFound
from wabajobs.operation import Operation, State
from wabajobs.outcome import Done, Failed, Hold, NeedsInput, NotBegun

# ── begin ────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_holder_of_the_lease_begins(book: Book) -> None:
    operation = book.accept_one(a_request())

    begun = book.run(operation.id)

    assert (begun.state, begun.attempts, begun.fence) == (State.RUNNING, 1, 1)
    assert begun == book.get(operation)
    assert book.story(operation) == ["accepted", "released", "begun"]


def test_a_message_that_is_delivered_twice_is_begun_once(book: Book) -> None:
    running = book.running()

    again = book.begin(running.id, running.fence, worker="another")

    assert again == NotBegun("not begun: another worker has it", settled=True)
    assert book.get(running) == running


def test_of_eight_deliveries_at_once_one_is_begun(book: Book) -> None:
    book.accept_one(a_request())
    [released] = book.release()

    answers = at_once(8, lambda thread: book.begin(released.id, released.fence, worker=f"w{thread}"))

    assert sum(isinstance(one, Operation) for one in answers) == 1
    assert book.get(released).attempts == 1


@pytest.mark.parametrize("fence", [0, 2])
def test_a_message_with_another_number_is_not_begun(book: Book, fence: int) -> None:
    operation = book.accept_one(a_request())
    book.release()

    answer = book.begin(operation.id, fence)

    assert isinstance(answer, NotBegun)
    assert not answer.settled
    assert book.get(operation).state is State.WAITING


def test_a_finished_operation_is_not_begun(book: Book) -> None:
    finished = book.record(book.running(), Done())

    assert book.begin(finished.id, finished.fence) == NotBegun("not begun: already succeeded", settled=True)


def test_an_operation_that_nobody_knows_is_not_begun(book: Book) -> None:
    answer = book.begin("00000000-0000-7000-8000-000000000000", 1)

    assert answer == NotBegun("not begun: the ledger knows no such operation", settled=True)


def test_a_paused_operation_is_given_back_and_spends_nothing(book: Book) -> None:
    operation = book.accept_one(a_request())
    [released] = book.release()

    answer = book.begin(released.id, released.fence, pauses=[a_pause("all", reason="incident 7")])

    assert isinstance(answer, NotBegun)
    assert not answer.settled
    assert "paused by ops" in str(answer)
    assert "incident 7" in str(answer)
    assert book.get(operation).attempts == 0
    assert [(one.id, one.fence) for one in book.release()] == [(operation.id, 2)]


def test_a_stale_message_under_a_pause_takes_nothing_away_from_the_new_lease(book: Book) -> None:
    book.accept_one(a_request())
    [stale] = book.release()
    book.ledger.operations.take_back([stale], now=book.clock.now(), why="no broker")
    [fresh] = book.release()

    book.begin(stale.id, stale.fence, pauses=[a_pause("all")])

    assert isinstance(book.begin(fresh.id, fresh.fence), Operation)


def test_a_second_delivery_under_a_pause_leaves_the_running_one_alone(book: Book) -> None:
    running = book.running()

    book.begin(running.id, running.fence, pauses=[a_pause("all")])

    assert book.get(running) == running


# ── renew ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_renewed_lease_is_not_reclaimed(book: Book) -> None:
    running = book.running()
    book.pass_time(14)

    lost = book.ledger.operations.renew([(running.id, 1)], now=book.clock.now(), lease=LEASE)
    book.pass_time(14)

    assert lost == set()
    assert book.reclaim() == []
    assert book.get(running).state is State.RUNNING


def test_what_is_leased_to_a_worker_that_is_gone_is_taken_back_before_its_time(book: Book) -> None:
    left, others = book.running(), book.accept_one(a_request())
    [released] = book.release()
    book.begin(released.id, released.fence, worker="another")

    reclaimed = book.ledger.operations.reclaim(now=book.clock.now(), max_attempts=6, gone={WORKER})

    assert [one.begun for one in reclaimed] == [True]
    assert (book.get(left).state, book.get(others).state) == (State.WAITING, State.RUNNING)


def test_a_worker_that_was_taken_for_gone_writes_nothing_any_more(book: Book) -> None:
    running = book.running()
    gone = {"now": book.clock.now(), "max_attempts": 6, "gone": {WORKER}}
    book.ledger.operations.reclaim(**gone)

    with pytest.raises(LeaseLost):
        book.record(running, Done())
    [released] = book.release()

    assert book.ledger.operations.reclaim(**gone) == [], "it is released anew: who will begin it is not known yet"
    begun = book.begin(released.id, released.fence, worker="another")
    assert isinstance(begun, Operation)
    assert book.ledger.operations.reclaim(**gone) == []
    assert book.record(begun, Done()).state is State.SUCCEEDED


def test_renewing_tells_which_leases_are_lost(book: Book) -> None:
    kept, reclaimed, recorded = (book.running() for _ in range(3))
    book.record(recorded, Done())
    book.ledger.operations.renew([(kept.id, 1)], now=book.clock.now() + LEASE, lease=LEASE)
    book.pass_time(16)
    book.reclaim()
    again = book.run(reclaimed.id)

    lost = book.ledger.operations.renew(
        [(kept.id, 1), (reclaimed.id, 1), (recorded.id, 1), ("unknown", 1)], now=book.clock.now(), lease=LEASE
    )

    assert lost == {(reclaimed.id, 1), (recorded.id, 1), ("unknown", 1)}
    assert again.fence == 2


def test_renewing_a_lost_lease_does_not_prolong_its_successors(book: Book) -> None:
    running = book.running()
    book.pass_time(16)
    book.reclaim()
    book.run(running.id)

    book.ledger.operations.renew([(running.id, 1)], now=book.clock.now() + timedelta(hours=1), lease=LEASE)
    book.pass_time(16)

    assert len(book.reclaim()) == 1


def test_renewing_nothing_is_nothing(book: Book) -> None:
    assert book.ledger.operations.renew([], now=book.clock.now(), lease=LEASE) == set()


def test_what_is_recorded_while_it_is_renewed_is_not_leased_any_more(book: Book) -> None:
    book.accept(*(a_request() for _ in range(45)))
    running = [_begun(book, one) for one in book.release()]
    leases = [(one.id, one.fence) for one in running]

    def work(thread: int) -> None:
        if thread:
            for one in running[thread - 1 :: 3]:
                book.record(one, hold(book, 0))
            return
        while len(book.ledger.operations.renew(leases, now=book.clock.now(), lease=LEASE)) < len(leases):
            pass

    at_once(4, work)

    assert book.ledger.operations.out() == {}


# ── record ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_success_is_kept_with_its_result(book: Book) -> None:
    running = book.running()
    book.pass_time(3)

    done = book.record(running, Done({"templates": 3}))

    assert (done.state, done.result, done.error, done.hold) == (State.SUCCEEDED, {"templates": 3}, None, None)
    assert (done.attempts, done.finished_at) == (1, book.clock.now())
    assert book.story(done) == ["accepted", "released", "begun", "succeeded"]
    assert book.release() == []


def test_a_failure_is_kept_with_its_sentence_and_facts(book: Book) -> None:
    failed = book.record(book.running(), Failed("the token is no good (code 190)", {"code": 190}))

    assert failed.state is State.FAILED
    assert failed.error == {"message": "the token is no good (code 190)", "code": 190}
    assert failed.finished_at == book.clock.now()


def test_a_hold_is_kept_with_its_reason_its_owner_and_its_end(book: Book) -> None:
    until = book.clock.now() + timedelta(minutes=5)
    outcome = Hold(reason="the app's limit is reached", by="breaker", until=until, notice="a little later")

    held = book.record(book.running(), outcome)

    assert (held.state, held.hold, held.due_at, held.finished_at) == (State.HELD, outcome, until, None)


def test_a_hold_without_an_end_is_due_at_once(book: Book) -> None:
    held = book.record(book.running(), hold(book, None))

    assert held.due_at == book.clock.now()


def test_a_hold_by_a_pause_leaves_no_copy_of_the_pause(book: Book) -> None:
    waiting = book.record(book.running(), hold(book, 3600, by="pause"))

    assert (waiting.state, waiting.hold, waiting.due_at) == (State.WAITING, None, book.clock.now())
    assert book.story(waiting)[-1] == "paused"
    assert len(book.release()) == 1, "the moment that the pause is lifted"


def test_fifty_holds_spend_no_attempt(book: Book) -> None:
    operation = book.accept_one(a_request())
    for by in ["budget", "breaker", "gate", "meta", "pause"] * 10:
        book.record(book.run(operation.id), hold(book, 60, by=by))
        book.pass_time(60)

    done = book.record(book.run(operation.id), Done())

    assert (done.state, done.attempts, done.fence) == (State.SUCCEEDED, 1, 51)
    assert book.story(done).count("begun") == 51


def test_a_retry_spends_an_attempt(book: Book) -> None:
    operation = book.accept_one(a_request())
    for _ in range(3):
        book.record(book.run(operation.id), hold(book, 60, by="retry", spends_attempt=True))
        book.pass_time(60)

    assert book.get(operation).attempts == 3


def test_an_old_hold_is_gone_once_it_has_begun_again(book: Book) -> None:
    held = book.record(book.running(), hold(book, 60))
    book.pass_time(60)

    again = book.run(held.id)

    assert held.hold is not None
    assert again.hold is None
    assert book.record(again, Done()).hold is None


@pytest.mark.parametrize("outcome", [Done({"late": True}), Failed("late"), Hold(reason="late", by="budget")])
def test_a_late_writer_changes_nothing(book: Book, outcome: Done | Failed | Hold) -> None:
    late = book.running()
    book.pass_time(16)
    book.reclaim()
    running = book.run(late.id)
    story = book.story(running)

    with pytest.raises(LeaseLost, match=f"operation {late.id}: lease 1 has gone to somebody else"):
        book.record(late, outcome)
    with pytest.raises(LeaseLost):
        book.checkpoint(late, {"late": True})

    assert book.get(running) == running
    assert book.story(running) == story
    assert book.record(running, Done({"templates": 1})).result == {"templates": 1}


def test_a_reclaimed_operation_is_not_recorded_by_its_old_worker_though_nobody_has_it(book: Book) -> None:
    late = book.running()
    book.pass_time(16)
    book.reclaim()

    with pytest.raises(LeaseLost):
        book.record(late, Done())

    assert book.get(late).state is State.WAITING


def test_an_outcome_is_recorded_once(book: Book) -> None:
    running = book.running()
    done = book.record(running, Done({"n": 1}))

    with pytest.raises(LeaseLost):
        book.record(running, Failed("after all not"))

    assert book.get(running) == done


def test_a_checkpoint_is_there_for_the_next_attempt(book: Book) -> None:
    running = book.running()
    book.ledger.operations.record_checkpoint(
        running.id, running.fence, {"page": 3}, capability=Capability.TEMPLATE_WRITES
    )
    book.record(running, hold(book, 60))
    book.pass_time(60)

    again = book.run(running.id)

    assert again.checkpoint == {"page": 3}
    assert again.capability is Capability.TEMPLATE_WRITES


def test_the_capability_that_comes_next_decides_where_it_queues(book: Book) -> None:
    running = book.running()
    book.ledger.operations.record_checkpoint(
        running.id, running.fence, {"uploaded": True}, capability=Capability.TEMPLATE_WRITES
    )
    book.record(running, hold(book, 0))

    book.ledger.operations.wake(now=book.clock.now())
    [line] = book.ledger.operations.lines([running.kind])
    assert line.capability is Capability.TEMPLATE_WRITES


def test_an_operation_can_learn_its_waba(book: Book) -> None:
    running = book.running(a_request(waba=None))
    book.ledger.operations.record_checkpoint(
        running.id, running.fence, {"found": True}, capability=Capability.ONBOARDING, waba="5550001"
    )

    assert book.get(running).waba == "5550001"
    assert [one.id for one in book.ledger.operations.find(waba="5550001")] == [running.id]


def test_who_had_only_to_begin_in_time_waits_for_a_person_as_long_as_that_makes_sense(book: Book) -> None:
    running = book.running(a_request(expires_after=timedelta(seconds=30)))
    book.ledger.operations.record_checkpoint(
        running.id, running.fence, {"in_time": True}, capability=Capability.ONBOARDING
    )
    assert book.get(running).deadline_at is None
    until = book.clock.now() + timedelta(days=7)

    book.record(running, NeedsInput(reason="a code", asks=(Ask(name="code", about="a code"),), until=until))

    assert book.get(running).deadline_at == until
    book.ledger.operations.provide(running.id, {}, given=["code"], actor="anna", now=book.clock.now())
    assert book.get(running).deadline_at is None


# ── reclaim ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_message_that_nobody_began_costs_no_attempt(book: Book) -> None:
    operation = book.accept_one(a_request())
    book.release()
    book.pass_time(16)

    sentences = book.reclaim()

    assert sentences == [f"template_sync {operation.id}: no worker began lease 1; released again"]
    assert book.get(operation).attempts == 0
    assert [one.fence for one in book.release()] == [2]
    assert book.story(operation) == ["accepted", "released", "unclaimed", "released"]


def test_a_lease_that_is_still_good_is_left_alone(book: Book) -> None:
    book.running()
    book.accept_one(a_request())
    book.release()
    book.pass_time(15)

    assert book.reclaim() == []


def test_a_hold_that_is_over_waits_for_its_turn(book: Book) -> None:
    held = book.record(book.running(), hold(book, 60))
    book.pass_time(60)

    woken = book.ledger.operations.wake(now=book.clock.now())

    assert woken == 1
    assert (book.get(held).state, book.get(held).hold) == (State.WAITING, None)
    assert book.story(held)[-2:] == ["held", "due"]


def test_an_operation_whose_worker_died_goes_on_from_its_checkpoint(book: Book) -> None:
    running = book.running()
    book.checkpoint(running, {"page": 3})
    book.pass_time(16)

    [sentence] = book.reclaim()
    again = book.run(running.id)

    assert sentence.endswith(f"its worker {WORKER} is gone; it goes on from its checkpoint")
    assert (again.checkpoint, again.attempts, again.fence) == ({"page": 3}, 2, 2)


def test_who_has_killed_too_many_workers_fails_for_a_person_to_look_at(book: Book) -> None:
    operation = book.accept_one(a_sync())
    for number in range(3):
        running = book.run(operation.id)
        book.stage(running, number, [{"id": "1"}], cursor=f"c{number}")
        book.pass_time(16)
        book.reclaim(max_attempts=3)

    failed = book.get(operation)

    assert (failed.state, failed.attempts, failed.finished_at) == (State.FAILED, 3, book.clock.now())
    assert failed.error is not None
    assert "its worker died 3 times; look at the logs" in failed.error["message"]
    assert book.story(failed)[-1] == "failed"
    assert book.release() == []


def test_reclaimers_at_once_take_each_back_once(book: Book) -> None:
    book.accept(*(a_request() for _ in range(30)))
    for released in book.release():
        _begun(book, released)
    book.pass_time(16)

    sentences = at_once(4, lambda _thread: book.reclaim())

    assert sum(map(len, sentences)) == 30
    assert {one.attempts for one in book.all()} == {1}
    assert all(book.story(one).count("reclaimed") == 1 for one in book.all())


def test_what_is_recorded_while_it_is_reclaimed_is_either_or(book: Book) -> None:
    book.accept(*(a_request() for _ in range(20)))
    running = [_begun(book, one) for one in book.release()]
    book.pass_time(16)

    def work(thread: int) -> list[str]:
        if thread:
            book.reclaim()
            return []
        recorded = []
        for one in running:
            try:
                recorded.append(book.record(one, Done()).id)
            except LeaseLost:
                continue
        return recorded

    [recorded, _] = at_once(2, work)

    for one in book.all():
        last = "succeeded" if one.id in recorded else "reclaimed"
        assert book.story(one)[-1] == last
        assert (one.state is State.SUCCEEDED) == (one.id in recorded)
    assert book.ledger.operations.out() == {}


def test_asking_for_what_is_not_there_says_how_to_look(book: Book) -> None:
    with pytest.raises(NotFound, match=r"no operation '7'.*wabajobs ops list"):
        book.ledger.operations.get("7")


def _begun(book: Book, released: Operation) -> Operation:
    begun = book.begin(released.id, released.fence)
    assert isinstance(begun, Operation)
    return begun
