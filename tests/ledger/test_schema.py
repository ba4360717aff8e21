"""The tables are made and moved by `db upgrade`; without them the ledger says what to do."""

from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, bindparam, inspect, text

from tests.ledger.conftest import Book, a_request, at_once
from tests.support.databases import PostgresServer
from wabajobs.clock import HandClock
from wabajobs.errors import ConfigurationError, LedgerUnavailable
from wabajobs.ledger import Database, Ledger, migrations
from wabajobs.ledger.database import NEWEST
from wabajobs.ledger.tables import Base, UtcDateTime
from wabajobs.operation import Operation, State
from wabajobs.outcome import Done


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
    assert bare.revision() == revision == NEWEST == migrations.last()
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

    assert set(at_once(4, upgrade)) == {NEWEST}
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


OLD = (
    # id, state, lane, whether it is leased, and whether it has to wait from then on
    ("a1", "succeeded", "lane a", False, False),
    ("a2", "waiting", "lane a", False, False),
    ("a3", "held", "lane a", False, True),
    ("b1", "waiting", "lane b", False, True),
    ("b2", "running", "lane b", True, False),
    ("c1", "held", "lane c", False, True),
    ("c2", "waiting", "lane c", True, False),  # released before the one that came before it
    ("c3", "waiting", "lane c", False, True),
    ("d1", "held", "lane d", False, False),
    ("e1", "failed", None, False, False),
    ("e2", "waiting", None, False, False),
    ("e3", "held", None, False, False),
    ("e4", "running", None, True, False),
    ("e5", "cancelled", "lane a", False, False),
    ("e6", "expired", "lane b", False, False),
)


def test_what_queued_before_there_were_lanes_goes_on_in_them_and_back(bare: Database) -> None:
    _migrate(bare, command.upgrade, "0002")
    with bare.write() as connection:
        for id_, state, lane, leased, _ in OLD:
            connection.execute(_INSERT, _old_row(id_, state, lane, leased))

    _migrate(bare, command.upgrade, "0003")

    with bare.read() as connection:
        rows = connection.execute(text("SELECT id, blocked, line, turn FROM operations ORDER BY id")).all()
    assert [(row.id, bool(row.blocked)) for row in rows] == [(one[0], one[-1]) for one in OLD]
    assert {(row.line, row.turn) for row in rows} == {("2:10001:uploads:acme", 0)}
    _migrate(bare, command.downgrade, "0002")
    with bare.read() as connection:
        assert not inspect(connection).has_table("shares")
        assert connection.scalar(text("SELECT count(*) FROM operations")) == len(OLD)
    bare.upgrade()
    _goes_on(Book(Ledger(bare)))


def _goes_on(book: Book) -> None:
    """Whatever was there comes to its end, in every lane the first first."""
    book.pass_time(60)
    book.reclaim()
    order = []
    while released := book.release(kind="sync"):
        for one in released:
            begun = book.begin(one.id, one.fence)
            assert isinstance(begun, Operation)
            order.append(one.id)
            book.record(begun, Done())
    assert all(one.state.finished for one in book.all())
    for earlier, later in (("a2", "a3"), ("b2", "b1"), ("c2", "c1"), ("c1", "c3")):
        assert order.index(earlier) < order.index(later)


def _migrate(database: Database, move: Callable[[Config, str], None], revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(resources.files("wabajobs.ledger") / "migrations"))
    with database.write() as connection:
        config.attributes["connection"] = connection
        move(config, revision)


def _old_row(id_: str, state: str, lane: str | None, leased: bool) -> dict[str, object]:
    now = HandClock().now()
    return {
        "id": id_,
        "state": state,
        "lane": lane,
        "now": now,
        "leased": now if leased else None,
        "finished": now if State(state).finished else None,
        "worker": "w" if state == "running" else None,
    }


_INSERT = text(
    "INSERT INTO operations (id, kind, state, partner, app, waba, class_rank, capability, payload, lane,"
    " coalesces, callers, due_at, fence, leased_until, worker, attempts, created_at, finished_at)"
    " VALUES (:id, 'sync', :state, 'acme', '10001', '102290129340398', 2, 'uploads', '{}', :lane,"
    " false, 1, :now, 1, :leased, :worker, 0, :now, :finished)"
).bindparams(*(bindparam(name, type_=UtcDateTime()) for name in ("now", "leased", "finished")))
