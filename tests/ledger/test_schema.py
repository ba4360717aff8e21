"""The tables are made and moved by `db upgrade`; without them the ledger says what to do."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

from tests.ledger.conftest import Book, a_request, at_once
from tests.support.databases import PostgresServer
from wabajobs.errors import ConfigurationError, LedgerUnavailable
from wabajobs.ledger import Database, Ledger
from wabajobs.ledger.tables import Base


@pytest.fixture
def bare_url(database_url: str, tmp_path: Path) -> str:
    """A database of each kind without any tables."""
    if database_url.startswith("sqlite"):
        return f"sqlite:///{tmp_path / 'a' / 'folder' / 'ledger.sqlite3'}"
    database = Database(database_url)
    with database.write() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    database.close()
    return database_url


@pytest.fixture
def bare(bare_url: str) -> Iterator[Database]:
    database = Database(bare_url)
    if database.is_sqlite and database.url.database:
        Path(database.url.database).parent.mkdir(parents=True)
    yield database
    database.close()


def test_a_fresh_database_gets_all_tables(bare: Database) -> None:
    revision = bare.upgrade()

    bare.require_schema()
    assert bare.revision() == revision == Database.newest_revision()
    with bare.read() as connection:
        assert set(Base.metadata.tables) < set(inspect(connection).get_table_names())


def test_sqlite_gets_its_folder_too(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a' / 'new' / 'folder' / 'ledger.sqlite3'}")

    database.upgrade()

    database.require_schema()
    database.close()


def test_upgrading_again_changes_nothing(ledger: Ledger) -> None:
    book = Book(ledger)
    operation = book.accept_one(a_request())

    ledger.database.upgrade()

    assert book.get(operation) == operation


def test_upgrading_four_times_at_once_upgrades_once(bare: Database) -> None:
    url = bare.url.render_as_string(hide_password=False)

    def upgrade(_thread: int) -> str:
        database = Database(url)
        revision = database.upgrade()
        database.close()
        return revision

    assert set(at_once(4, upgrade)) == {Database.newest_revision()}
    bare.require_schema()


def test_a_database_without_tables_says_what_to_do(bare: Database) -> None:
    book = Book(Ledger(bare))

    for ask in (
        bare.require_schema,
        lambda: book.accept_one(a_request()),
        book.release,
        book.reclaim,
        lambda: book.ledger.decisions.pauses(now=book.clock.now()),
        lambda: book.ledger.templates.read("1"),
    ):
        with pytest.raises(LedgerUnavailable, match=r"run: wabajobs db upgrade$"):
            ask()


def test_tables_of_another_version_say_which(ledger: Ledger) -> None:
    with ledger.database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))

    with pytest.raises(LedgerUnavailable, match=r"is at revision 0000, this needs .*; run: wabajobs db upgrade"):
        ledger.database.require_schema()


def test_the_migrations_make_what_the_code_expects(ledger: Ledger) -> None:
    with ledger.database.read() as connection:
        assert _differences(connection) == []
        assert _conditions_of_indexes(connection)


def _differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(
        connection, opts={"compare_type": True, "compare_server_default": True, "target_metadata": Base.metadata}
    )
    return list(compare_metadata(context, Base.metadata))


def _conditions_of_indexes(connection: Connection) -> bool:
    """Autogenerate does not look at the conditions of partial indexes."""
    expected = {
        index.name
        for table in Base.metadata.tables.values()
        for index in table.indexes
        if index.dialect_options[connection.dialect.name].get("where") is not None
    }
    query = (
        "SELECT name, sql FROM sqlite_master WHERE type = 'index'"
        if connection.dialect.name == "sqlite"
        else "SELECT indexname AS name, indexdef AS sql FROM pg_indexes WHERE schemaname = 'public'"
    )
    rows = connection.execute(text(query))
    return {row.name for row in rows if row.sql and " WHERE " in row.sql} == expected


def test_migrations_run_in_one_transaction_on_postgresql(postgres: PostgresServer) -> None:
    database = Database(postgres.fresh())
    with database.write() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
        connection.execute(text("CREATE TABLE operations (in_the_way INTEGER)"))

    with pytest.raises(Exception, match="already exists"):
        database.upgrade()

    with database.read() as connection:
        assert inspect(connection).get_table_names() == ["operations"], "nothing is half done"
    database.close()


def test_a_postgresql_database_that_cannot_hold_every_letter_is_refused(postgres: PostgresServer) -> None:
    database = Database(postgres.fresh_in("SQL_ASCII"))

    with pytest.raises(ConfigurationError, match=r"is encoded in SQL_ASCII.*ENCODING 'UTF8'"):
        database.upgrade()

    assert database.revision() is None
    database.close()
