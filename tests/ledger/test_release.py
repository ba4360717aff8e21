"""What leaves the ledger: what is due, people before robots, nothing that is paused, nothing twice."""

from collections import Counter

from tests.ledger.conftest import APP, KIND, LEASE, WABA, Book, a_request, a_sync, at_once, hold
from wabajobs.capability import ServiceClass
from wabajobs.operation import Operation, State
from wabajobs.outcome import Done


def test_a_release_leases_under_a_new_number(book: Book) -> None:
    operation = book.accept_one(a_request())

    [released] = book.release()

    assert (released.id, released.kind, released.fence) == (operation.id, KIND, 1)
    assert (released.partner, released.app, released.waba) == ("acme", APP, WABA)
    assert book.get(operation).state is State.WAITING, "it has not begun"
    assert book.story(operation) == ["accepted", "released"]


def test_what_is_out_is_not_released_again(book: Book) -> None:
    book.accept_one(a_request())
    book.release()

    assert book.release() == []


def test_people_come_before_robots_and_among_them_who_was_due_first(book: Book) -> None:
    expected = {}
    for service_class in (ServiceClass.BACKGROUND, ServiceClass.STANDARD, ServiceClass.INTERACTIVE):
        for number in range(2):
            book.pass_time(1)
            name = f"{service_class}{number}"
            expected[name] = book.accept_one(a_request(service_class=service_class)).id

    released = [one.id for one in book.release()]

    order = ["interactive0", "interactive1", "standard0", "standard1", "background0", "background1"]
    assert released == [expected[name] for name in order]


def test_no_more_than_asked_for(book: Book) -> None:
    book.accept(*(a_request() for _ in range(5)))

    assert [len(book.release(at_most=n)) for n in (0, 2, 2, 2)] == [0, 2, 2, 1]


def test_only_of_the_queue_that_was_asked_for(book: Book) -> None:
    book.accept(a_request(kind="onboarding"), a_request())

    assert [one.kind for one in book.release(kind="onboarding")] == ["onboarding"]


def test_nothing_before_it_is_due(book: Book) -> None:
    held = book.record(book.running(), hold(book, 60))

    book.pass_time(59)
    early = book.release()
    book.pass_time(1)
    in_time = book.release()

    assert early == []
    assert [(one.id, one.fence) for one in in_time] == [(held.id, 2)]


def test_nothing_that_is_finished(book: Book) -> None:
    book.record(book.running(), Done())

    assert book.release() == []


def test_a_lane_gives_one_at_a_time(book: Book) -> None:
    first, second, other = book.accept(a_request(lane="a"), a_request(lane="a"), a_request(lane="b"))

    released = book.release()
    meanwhile = book.release()
    book.record(_begun(book, released[0].id, 1), Done())
    afterwards = book.release()

    assert {one.id for one in released} == {first.id, other.id}
    assert meanwhile == []
    assert [one.id for one in afterwards] == [second.id]


def test_a_full_lane_does_not_keep_others_from_going(book: Book) -> None:
    book.accept(*(a_request(lane="a") for _ in range(20)))
    other = book.accept_one(a_request(lane="b"))

    released = [one.id for _ in range(2) for one in book.release(at_most=3)]

    assert other.id in released
    assert len(released) == 2


def test_releasers_at_once_never_lease_an_operation_twice(book: Book) -> None:
    operations = book.accept(*(a_request() for _ in range(60)))

    def release(_thread: int) -> list[tuple[str, int]]:
        mine: list[tuple[str, int]] = []
        while some := book.release(at_most=4):
            mine += [(one.id, one.fence) for one in some]
        return mine

    leased = [lease for mine in at_once(4, release) for lease in mine]

    assert Counter(leased) == Counter({(one.id, 1): 1 for one in operations})


def test_releasers_at_once_never_let_two_of_a_lane_out(book: Book) -> None:
    for number in range(15):
        book.accept(*(a_request(lane=f"lane {number}") for _ in range(4)))

        released = at_once(4, lambda _thread: book.release())

        assert sum(map(len, released)) == 1, f"of lane {number}"


def test_releasers_who_chose_differently_never_let_two_of_a_lane_out(book: Book) -> None:
    for number in range(15):
        rivals = book.accept(*(a_request(lane=f"lane {number}") for _ in range(4)))

        released = at_once(4, lambda thread, rivals=rivals: book.lease([rivals[thread]]))

        assert sum(map(len, released)) == 1, f"of lane {number}"


def test_looking_at_what_is_next_changes_nothing(book: Book) -> None:
    operation = book.accept_one(a_request())

    due = [book.ready() for _ in range(2)]

    assert due == [[operation], [operation]]
    assert book.story(operation) == ["accepted"]


def test_what_has_moved_since_it_was_looked_at_is_not_released(book: Book) -> None:
    book.accept_one(a_request())
    looked_at = book.ready()
    book.record(book.run(looked_at[0].id), hold(book, 60))

    released = book.lease(looked_at)

    assert released == []


def test_a_release_that_could_not_be_published_is_taken_back(book: Book) -> None:
    operation = book.accept_one(a_request())
    released = book.release()

    book.ledger.operations.take_back(released, now=book.clock.now(), why="no broker")

    assert [(one.id, one.fence) for one in book.release()] == [(operation.id, 2)]
    assert book.story(operation) == ["accepted", "released", "taken back", "released"]
    assert book.ledger.operations.story(operation.id)[2].detail == {"why": "no broker"}


def test_a_message_that_was_published_after_all_is_stale_once_taken_back(book: Book) -> None:
    operation = book.accept_one(a_request())
    [released] = book.release()
    book.ledger.operations.take_back([released], now=book.clock.now(), why="no broker")

    late = book.begin(operation.id, released.fence)

    assert str(late) == "not begun: lease 1 is over, the ledger releases it again"
    assert book.get(operation).attempts == 0


def test_what_has_begun_after_all_is_not_taken_back(book: Book) -> None:
    book.accept_one(a_request())
    [released] = book.release()
    running = _begun(book, released.id, released.fence)

    book.ledger.operations.take_back([released], now=book.clock.now(), why="no broker")

    assert book.get(running).state is State.RUNNING
    assert book.release() == []
    assert book.record(running, Done()).state is State.SUCCEEDED


def test_the_lease_counts_as_out_until_it_is_over(book: Book) -> None:
    book.accept(a_request(), a_request(), a_sync(), a_request(kind="onboarding"))

    book.release(at_most=2)

    assert book.ledger.operations.out() == {(KIND, "acme"): 2}
    book.clock.advance(LEASE * 2)
    book.reclaim()
    assert book.ledger.operations.out() == {}


def _begun(book: Book, operation_id: str, fence: int) -> Operation:
    begun = book.begin(operation_id, fence)
    assert isinstance(begun, Operation)
    return begun
