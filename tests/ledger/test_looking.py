"""What the ledger shows: lists, counts, stories; what a pause covers counts as held."""

from datetime import timedelta

from tests.ledger.conftest import WABA, WORKER, Book, a_pause, a_request, hold
from wabajobs.operation import State
from wabajobs.outcome import Done, Failed


def test_the_newest_come_first_and_no_more_than_asked_for(book: Book) -> None:
    ids = []
    for _ in range(5):
        ids.append(book.accept_one(a_request()).id)
        book.pass_time(1)

    found = book.ledger.operations.find(at_most=3)

    assert [one.id for one in found] == ids[:-4:-1]


def test_operations_are_found_by_what_is_known_of_them(book: Book) -> None:
    onboarding, bolts, elsewhere, nowhere = book.accept(
        a_request(kind="onboarding"), a_request(partner="bolt"), a_request(waba="55555"), a_request(waba=None)
    )
    find = book.ledger.operations.find

    assert [one.id for one in find(kind="onboarding")] == [onboarding.id]
    assert [one.id for one in find(partner="bolt")] == [bolts.id]
    assert [one.id for one in find(waba="55555")] == [elsewhere.id]
    assert [one.id for one in find(waba=WABA, kind="onboarding", partner="acme")] == [onboarding.id]
    assert nowhere.id in {one.id for one in find(state=State.WAITING)}
    assert find(partner="nobody") == []


def test_what_a_pause_covers_is_shown_as_held_with_who_and_why(book: Book) -> None:
    covered, free = book.accept(a_request(partner="bolt"), a_request())
    pause = a_pause(
        "partner:bolt",
        reason="incident 7",
        ends_at=book.clock.now() + timedelta(hours=2),
        notice="template changes wait",
    )

    shown = {one.id: one for one in book.ledger.operations.find(pauses=[pause])}

    assert shown[free.id] == free
    assert shown[covered.id].state is State.HELD
    hold_shown = shown[covered.id].hold
    assert hold_shown is not None
    assert (hold_shown.by, hold_shown.until) == ("pause", pause.ends_at)
    assert hold_shown.notice == "template changes wait"
    assert "paused by ops" in hold_shown.reason
    assert "incident 7" in hold_shown.reason


def test_held_and_waiting_are_found_as_they_are_shown(book: Book) -> None:
    held = book.record(book.running(), hold(book))
    covered, free = book.accept(a_request(partner="bolt"), a_request())
    pauses = [a_pause("partner:bolt"), a_pause("waba:99999")]
    find = book.ledger.operations.find

    assert {one.id for one in find(state=State.HELD, pauses=pauses)} == {held.id, covered.id}
    assert [one.id for one in find(state=State.WAITING, pauses=pauses)] == [free.id]


def test_an_operation_without_a_waba_is_in_no_wabas_pause(book: Book) -> None:
    nowhere = book.accept_one(a_request(waba=None))
    pauses = [a_pause(f"waba:{WABA}")]

    assert [one.id for one in book.ledger.operations.find(state=State.WAITING, pauses=pauses)] == [nowhere.id]
    assert book.ledger.operations.find(state=State.HELD, pauses=pauses) == []
    assert [row[1:3] for row in book.ledger.operations.count_open(pauses=pauses)] == [(State.WAITING, 1)]


def test_a_running_operation_is_running_also_under_a_pause(book: Book) -> None:
    running = book.running()

    [shown] = book.ledger.operations.find(state=State.RUNNING, pauses=[a_pause("all")])

    assert shown == running


def test_open_operations_are_counted_as_they_are_shown(book: Book) -> None:
    start = book.clock.now()
    book.record(book.running(), hold(book))
    book.pass_time(10)
    book.running()
    book.record(book.running(), Done())
    book.accept(a_request(), a_request(partner="bolt"), a_request(kind="onboarding"))
    later = book.clock.now()

    plain = {row[:2]: row[2:] for row in book.ledger.operations.count_open()}
    paused = {row[:2]: row[2:] for row in book.ledger.operations.count_open(pauses=[a_pause("partner:bolt")])}
    stopped = {row[:2]: row[2:] for row in book.ledger.operations.count_open(pauses=[a_pause("all")])}

    others = {
        ("template_sync", State.RUNNING): (1, later),
        ("onboarding", State.WAITING): (1, later),
    }
    assert plain == others | {
        ("template_sync", State.HELD): (1, start),
        ("template_sync", State.WAITING): (2, later),
    }
    assert paused == others | {
        ("template_sync", State.HELD): (2, start),
        ("template_sync", State.WAITING): (1, later),
    }
    assert stopped == {
        ("template_sync", State.RUNNING): (1, later),
        ("template_sync", State.HELD): (3, start),
        ("onboarding", State.HELD): (1, later),
    }


def test_finished_operations_are_counted_since_a_moment(book: Book) -> None:
    book.record(book.running(), Done())
    book.pass_time(60)
    since = book.clock.now()
    book.record(book.running(), Done())
    book.record(book.running(), Failed("no"))
    book.record(book.running(), hold(book))

    counted = book.ledger.operations.count_finished(since=since)

    assert sorted(counted) == [("template_sync", State.FAILED, 1), ("template_sync", State.SUCCEEDED, 1)]


def test_the_story_tells_every_move_with_who_and_when(book: Book) -> None:
    running = book.running()
    book.pass_time(5)
    book.record(running, hold(book, 60))
    book.pass_time(60)
    book.record(book.run(running.id), Done({"templates": 3}))

    story = book.ledger.operations.story(running.id)

    assert [(event.name, event.actor) for event in story] == [
        ("accepted", "partner:acme"),
        ("released", "dispatcher"),
        ("begun", WORKER),
        ("held", WORKER),
        ("due", "dispatcher"),
        ("released", "dispatcher"),
        ("begun", WORKER),
        ("succeeded", WORKER),
    ]
    assert story[3].detail is not None
    assert story[3].detail["reason"] == "the budget is spent"
    assert story[-1].detail == {"templates": 3}
    assert [event.at for event in story] == sorted(event.at for event in story)
    assert story[-1].at == book.clock.now()


def test_nothing_has_happened_to_what_is_not_there(book: Book) -> None:
    assert book.ledger.operations.story("7") == []
