"""Files are put aside with their operation, read a part at a time, and go when it has ended."""

from datetime import timedelta
from itertools import pairwise

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tests.ledger.conftest import Book, a_request
from tests.ledger.test_retention import days, prune
from wabajobs.errors import IdempotencyConflict
from wabajobs.ledger import Media
from wabajobs.ledger.tables import MediaRow
from wabajobs.operation import Operation
from wabajobs.outcome import Cancelled, Done, Expired, Failed, Hold

CONTENT = bytes(range(256)) * 300
FILE = Media.of(CONTENT, type="image/jpeg")


def kept(book: Book) -> int:
    with book.ledger.database.read() as connection:
        return connection.scalar(select(func.count()).select_from(MediaRow)) or 0


def with_file(book: Book, **more: object) -> Operation:
    return book.accept_one(a_request(media=(FILE,), **more))


def test_a_file_lies_beside_its_operation_and_not_in_it(book: Book) -> None:
    operation = with_file(book)

    assert book.ledger.media.read(operation.id, FILE.sha256) == CONTENT
    assert (
        b"".join(
            book.ledger.media.read(operation.id, FILE.sha256, start=start, length=end - start) or b"-"
            for start, end in pairwise([0, 1, 5000, 70_000, len(CONTENT)])
        )
        == CONTENT
    )
    assert book.ledger.media.read(operation.id, FILE.sha256, start=len(CONTENT), length=9) == b""
    assert book.ledger.media.read(operation.id, FILE.sha256, start=len(CONTENT) - 3, length=9) == CONTENT[-3:]
    assert book.ledger.media.read(operation.id, "0" * 64) is None
    other = book.accept_one(a_request())
    assert book.ledger.media.read(other.id, FILE.sha256) is None, "it is nobody else's"


def test_it_is_written_in_the_transaction_that_accepts(book: Book) -> None:
    with Session(book.ledger.database._engine) as session:
        book.ledger.operations.accept(
            [a_request(media=(FILE,))], now=book.clock.now(), connection=session.connection()
        )
        session.rollback()
    assert kept(book) == 0


def test_the_same_request_again_brings_no_second_file_and_another_file_is_another_request(book: Book) -> None:
    first = with_file(book, key="one", payload={"photo": FILE.sha256})
    again = with_file(book, key="one", payload={"photo": FILE.sha256})

    assert again.id == first.id
    assert kept(book) == 1
    with pytest.raises(IdempotencyConflict):
        with_file(book, key="one", payload={"photo": "0" * 64})


def test_what_a_step_puts_aside_it_may_put_aside_again(book: Book) -> None:
    operation = with_file(book)
    for _ in range(2):
        book.ledger.media.put(operation.id, Media.of(b"smaller", type="image/png"), now=book.clock.now())
    assert kept(book) == 2


def test_files_of_what_succeeded_go_at_once_and_of_what_failed_later(book: Book) -> None:
    ends = [Done(), Failed("no"), Cancelled("no more", "anna"), Expired("too late")]
    hold = Hold(reason="later", by="meta", until=book.clock.now() + timedelta(days=40))
    operations = [book.running(a_request(media=(FILE,))) for _ in [*ends, hold]]
    for operation, end in zip(operations, [*ends, hold], strict=True):
        book.record(operation, end)
    with_file(book)

    assert prune(book) == {"files": 1}
    assert book.ledger.media.read(operations[0].id, FILE.sha256) is None
    days(book, 8)
    assert prune(book) == {"files": 3}
    assert kept(book) == 2, "what is not finished keeps its file, however old"


def test_a_file_goes_with_its_operation(book: Book) -> None:
    book.record(book.running(a_request(media=(FILE,))), Failed("no"))
    days(book, 91)

    prune(book)

    assert kept(book) == 0
