"""A database that cannot be asked is named in plain words, with the way out and without its password."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError

from tests.ledger.conftest import Book, a_request, at_once
from tests.support.databases import PostgresServer
from tests.support.waiting import until
from wabajobs.errors import ConfigurationError, LedgerUnavailable
from wabajobs.ledger import Database, Ledger
from wabajobs.machine.ports import free_port

PASSWORD = "s3cret-pass"


@pytest.fixture
def book_at() -> Iterator[Callable[[str], Book]]:
    databases: list[Database] = []

    def open_(url: str) -> Book:
        databases.append(Database(url))
        return Book(Ledger(databases[-1]))

    yield open_
    for database in databases:
        database.close()


def test_postgresql_that_is_down(book_at: Callable[[str], Book]) -> None:
    book = book_at(f"postgresql://wabajobs:{PASSWORD}@127.0.0.1:{free_port()}/ledger")

    with pytest.raises(LedgerUnavailable) as refused:
        book.accept_one(a_request())

    assert "the ledger at postgresql+psycopg://wabajobs:***@127.0.0.1" in str(refused.value)
    assert "refused" in str(refused.value)
    assert PASSWORD not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_postgresql_without_the_database(book_at: Callable[[str], Book], postgres: PostgresServer) -> None:
    url = make_url(postgres.fresh()).set(database="not_there")
    book = book_at(url.render_as_string(hide_password=False))

    with pytest.raises(LedgerUnavailable, match="does not exist"):
        book.all()


def test_postgresql_that_has_become_a_read_only_replica(
    book_at: Callable[[str], Book], postgres: PostgresServer
) -> None:
    url = postgres.fresh()
    book = book_at(url)
    name = book.ledger.database.url.database
    with book.ledger.database.write() as connection:
        connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
    after_failover = book_at(url)

    with pytest.raises(LedgerUnavailable, match="read-only transaction"):
        after_failover.accept_one(a_request())


def test_postgresql_that_hangs_up_is_found_again(
    book_at: Callable[[str], Book], postgres: PostgresServer
) -> None:
    url = postgres.fresh()
    book, other = book_at(url), book_at(url)
    operation = book.accept_one(a_request())

    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with other.ledger.database.write() as connection:
        connection.execute(text(f"SELECT pg_terminate_backend(pid) {others}"))
    with other.ledger.database.read() as connection:
        until(lambda: not connection.scalar(text(f"SELECT count(*) {others}")), what="they have hung up")

    assert book.get(operation) == operation


def test_sqlite_in_a_folder_that_is_not_there(book_at: Callable[[str], Book], tmp_path: Path) -> None:
    book = book_at(f"sqlite:///{tmp_path / 'nowhere' / 'ledger.sqlite3'}")

    with pytest.raises(LedgerUnavailable, match=r"the ledger at sqlite:///.*unable to open database file"):
        book.accept_one(a_request())


def test_sqlite_that_cannot_be_made(book_at: Callable[[str], Book], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    book = book_at(f"sqlite:///{tmp_path / 'file' / 'ledger.sqlite3'}")

    with pytest.raises(LedgerUnavailable, match=r"the ledger at sqlite:///.*cannot be made"):
        book.ledger.database.upgrade()


def test_a_file_that_is_no_sqlite_database(book_at: Callable[[str], Book], tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite3").write_bytes(os.urandom(8192))
    book = book_at(f"sqlite:///{tmp_path / 'ledger.sqlite3'}")

    with pytest.raises(LedgerUnavailable, match="file is not a database"):
        book.accept_one(a_request())


def test_all_connections_being_busy_is_told(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book.ledger.database._engine.pool, "_timeout", 0.05)

    def ask_inside(depth: int) -> None:
        if depth:
            with book.ledger.database.read():
                ask_inside(depth - 1)
        book.all()

    with pytest.raises(LedgerUnavailable, match="all its connections are busy"):
        ask_inside(40)


def test_what_the_database_refuses_is_told_without_what_was_to_be_written(book: Book) -> None:
    partner = None if book.ledger.database.is_sqlite else "x" * 65

    with pytest.raises(DBAPIError) as refused:
        book.accept_one(a_request(partner=partner, payload={"pin": "739182"}))

    assert "739182" not in str(refused.value)


def test_a_url_of_no_database_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigurationError, match="no database URL; for example") as refused:
        Database(f"user:{PASSWORD}@host")

    assert PASSWORD not in str(refused.value)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///"])
def test_a_ledger_in_memory_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="give SQLite a file"):
        Database(url)


def test_another_database_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="SQLite or PostgreSQL, not on 'mysql'"):
        Database(f"mysql://user:{PASSWORD}@host/name")


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_postgresql_may_be_written_in_any_of_its_ways(scheme: str) -> None:
    database = Database(f"{scheme}://user:{PASSWORD}@host/name")

    assert str(database) == "postgresql+psycopg://user:***@host/name"


def test_eight_writers_of_sqlite_wait_their_turn(book: Book) -> None:
    at_once(8, lambda _thread: [book.accept_one(a_request()) for _ in range(10)])

    assert len(book.all()) == 80
