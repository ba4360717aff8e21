"""What the ledger takes in, it takes in once per idempotency key, and whole or not at all."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session

from tests.ledger.conftest import Book, a_request, a_sync, at_once
from wabajobs.capability import ServiceClass
from wabajobs.errors import IdempotencyConflict
from wabajobs.operation import State
from wabajobs.outcome import Done


def test_an_accepted_operation_waits_and_is_due_at_once(book: Book) -> None:
    request = a_request(payload={"name": "hello"}, service_class=ServiceClass.INTERACTIVE)

    operation = book.accept_one(request)

    assert operation == book.get(request)
    assert (operation.state, operation.attempts, operation.fence, operation.hold) == (State.WAITING, 0, 0, None)
    assert operation.due_at == operation.created_at == book.clock.now()
    assert operation.payload == {"name": "hello"}
    assert operation.service_class is ServiceClass.INTERACTIVE
    assert book.story(operation) == ["accepted"]


def test_many_are_accepted_in_the_order_of_the_requests(book: Book) -> None:
    requests = [a_request(partner=f"p{number}", lane=f"lane {9 - number}") for number in range(10)]

    operations = book.accept(*requests)

    assert [one.id for one in operations] == [one.id for one in requests]


def test_the_same_key_gives_the_same_operation(book: Book) -> None:
    first = book.accept_one(a_request(key="order 7", payload={"n": 1}))

    [again] = book.ledger.operations.accept([a_request(key="order 7", payload={"n": 1})], now=book.clock.now())

    assert (again.operation, again.created) == (first, False)
    assert len(book.all()) == 1


def test_the_same_key_gives_the_same_operation_also_after_it_has_finished(book: Book) -> None:
    finished = book.record(book.running(a_request(key="order 7")), Done({"templates": 3}))

    again = book.accept_one(a_request(key="order 7"))

    assert again == finished
    assert (again.state, again.result) == (State.SUCCEEDED, {"templates": 3})


@pytest.mark.parametrize(
    "other", [{"payload": {"n": 2}}, {"kind": "onboarding"}, {"app": "10002"}, {"waba": "55555"}]
)
def test_a_key_of_another_request_is_refused_and_nothing_is_written(book: Book, other: dict[str, object]) -> None:
    first = book.accept_one(a_request(key="order 7", payload={"n": 1}))
    conflicting = a_request(**{"key": "order 7", "payload": {"n": 1}} | other)

    with pytest.raises(IdempotencyConflict, match=r"'order 7' of partner 'acme'.*use a new key") as refused:
        book.accept(a_request(), conflicting)

    assert first.id in str(refused.value)
    assert book.all() == [first]
    assert book.story(first) == ["accepted"]


def test_keys_are_each_partners_own(book: Book) -> None:
    ours = book.accept_one(a_request(key="1", partner="acme", payload={"n": 1}))

    theirs = book.accept_one(a_request(key="1", partner="bolt", payload={"n": 2}))

    assert ours.id != theirs.id


def test_without_a_key_each_request_is_an_operation(book: Book) -> None:
    operations = book.accept(a_request(), a_request())

    assert len({one.id for one in operations}) == 2


def test_the_same_key_twice_in_one_batch_is_one_operation(book: Book) -> None:
    operations = book.accept(a_request(key="1"), a_request(key="1"))

    assert operations[0] == operations[1]
    assert len(book.all()) == 1


def test_the_same_key_from_eight_threads_at_once_makes_one_operation(book: Book) -> None:
    def accept(_thread: int) -> list[str]:
        return [book.accept_one(a_request(key=f"order {number}")).id for number in range(5)]

    answers = at_once(8, accept)

    assert len({tuple(ids) for ids in answers}) == 1
    assert len(book.all()) == 5


def test_batches_over_the_same_wabas_in_any_order_do_not_get_in_each_others_way(book: Book) -> None:
    wabas = [f"{10_000 + number}" for number in range(30)]
    pending = book.accept(*map(a_sync, wabas))

    def accept(thread: int) -> None:
        for _ in range(4):
            book.accept(*map(a_sync, wabas if thread % 2 else reversed(wabas)))

    at_once(4, accept)

    assert [book.get(one).callers for one in pending] == [17] * 30


class TestInTheCallersOwnTransaction:
    """The Hub's session: its changes and its operations stand or fall together."""

    @pytest.fixture
    def hub(self, database_url: str) -> Iterator[Engine]:
        engine = create_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE hub_rows (name VARCHAR(20))"))
        yield engine
        engine.dispose()

    @staticmethod
    def _rows(hub: Engine) -> list[str]:
        with hub.connect() as connection:
            return [row.name for row in connection.execute(text("SELECT name FROM hub_rows"))]

    def test_a_commit_keeps_both(self, book: Book, hub: Engine) -> None:
        with Session(hub) as session:
            session.execute(text("INSERT INTO hub_rows VALUES ('mine')"))
            book.ledger.operations.accept(
                [a_request(key="1"), a_sync()], now=book.clock.now(), connection=session.connection()
            )
            session.commit()

        assert self._rows(hub) == ["mine"]
        assert len(book.all()) == 2

    def test_nobody_sees_it_before_the_commit(self, book: Book, hub: Engine) -> None:
        with Session(hub) as session:
            book.ledger.operations.accept([a_sync()], now=book.clock.now(), connection=session.connection())

            assert book.all() == []
            session.commit()

        assert len(book.all()) == 1

    def test_a_rollback_leaves_nothing(self, book: Book, hub: Engine) -> None:
        with Session(hub) as session:
            session.execute(text("INSERT INTO hub_rows VALUES ('mine')"))
            book.ledger.operations.accept(
                [a_request(key="1"), a_sync()], now=book.clock.now(), connection=session.connection()
            )
            session.rollback()

        assert self._rows(hub) == []
        assert book.all() == []
        assert book.accept_one(a_request(key="1", payload={"other": 1})).state is State.WAITING

    def test_a_rollback_leaves_a_joined_operation_as_it_was(self, book: Book, hub: Engine) -> None:
        before = book.accept_one(a_sync(payload={"n": 1}))

        with Session(hub) as session:
            [joined] = book.ledger.operations.accept(
                [a_sync(payload={"n": 2})], now=book.clock.now(), connection=session.connection()
            )
            session.rollback()

        assert joined.operation.id == before.id
        assert book.get(before) == before

    def test_a_conflict_does_not_spoil_what_the_caller_did_before(self, book: Book, hub: Engine) -> None:
        first = book.accept_one(a_request(key="1"))

        with Session(hub) as session:
            session.execute(text("INSERT INTO hub_rows VALUES ('mine')"))
            with pytest.raises(IdempotencyConflict):
                book.ledger.operations.accept(
                    [a_request(key="1", payload={"n": 2})],
                    now=book.clock.now(),
                    connection=session.connection(),
                )
            session.execute(text("INSERT INTO hub_rows VALUES ('more')"))
            session.commit()

        assert self._rows(hub) == ["mine", "more"]
        assert book.all() == [first]

    def test_of_a_batch_with_a_conflict_nothing_is_written(self, book: Book, hub: Engine) -> None:
        first, pending = book.accept(a_request(key="1"), a_sync("20000"))

        with Session(hub) as session:
            session.execute(text("INSERT INTO hub_rows VALUES ('mine')"))
            with pytest.raises(IdempotencyConflict):
                book.ledger.operations.accept(
                    [a_request(), a_sync("20000"), a_request(key="2"), a_request(key="1", payload={"n": 2})],
                    now=book.clock.now(),
                    connection=session.connection(),
                )
            session.commit()

        assert self._rows(hub) == ["mine"]
        assert {one.id: one for one in book.all()} == {first.id: first, pending.id: pending}
        assert book.accept_one(a_request(key="2", payload={"n": 3})).payload == {"n": 3}
