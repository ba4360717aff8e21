"""The way to the ledger's database: transactions, and how SQLite is made to behave."""

import json
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime
from functools import cache
from pathlib import Path
from select import POLLIN, poll
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Text,
    bindparam,
    cast,
    create_engine,
    event,
    func,
    inspect,
    select,
    table,
)
from sqlalchemy import column as sql_column
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DBAPIError,
    InterfaceError,
    InternalError,
    InvalidatePoolError,
    NoSuchModuleError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.types import TypeEngine

from wabajobs import events
from wabajobs.errors import ConfigurationError, LedgerUnavailable, WrongSchema
from wabajobs.ledger.tables import Base

NEWEST: Final = "0014"
"""The revision that this version of wabajobs needs: the last file of `migrations/versions`. Written here, because
every command compares it, and reading the migrations to find it takes longer than most commands do."""
_VERSION: Final = table("alembic_version", sql_column("version_num", Text))
_WRITES: Final = {"wabajobs_writes": True}
_BUSY_SECONDS: Final = 30
"""How long a transaction waits for SQLite's one writer to be done."""
_LOOK_SECONDS: Final = 0.0005
_AWAY_SECONDS: Final = 1.0
"""Between two looks for a server that is away."""


class Database:
    """A pool of connections to the ledger. Safe to share between threads."""

    def __init__(self, url: str) -> None:
        """Prepare for the database at an SQLAlchemy URL; nothing is opened yet."""
        self.url: Final = _driver_url(url)
        self._engine = _engine(self.url)
        self._writer = self._engine.execution_options(**_WRITES)
        # PostgreSQL's statements see what is committed when they begin, each by itself: around those that only
        # read a transaction would be two more ways to the server and back.
        self._reader = (
            self._engine if self.is_sqlite else self._engine.execution_options(isolation_level="AUTOCOMMIT")
        )
        # SQLite lets one write at a time, and who finds it busy sleeps and looks again. Threads of one process
        # need not do that to each other: they queue.
        self._turn = _InTurn() if self.is_sqlite else nullcontext()

    @property
    def is_sqlite(self) -> bool:
        """Whether this is the embedded database."""
        return self.url.get_backend_name() == "sqlite"

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction that writes. Keep it short, and never hold it over an HTTP call."""
        with _in_plain_words(self), self._turn, self._writer.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Read, without writing. On SQLite all of it is of one moment, on PostgreSQL each statement by itself."""
        with _in_plain_words(self), self._reader.connect() as connection:
            yield connection

    def upgrade(self) -> str:
        """Bring the tables to the newest schema; safe to repeat. Returns the schema's revision."""
        if self.is_sqlite and self.url.database:
            folder = Path(self.url.database).parent
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise LedgerUnavailable(
                    f"the ledger at {self} cannot be made: {folder}: {error.strerror}"
                ) from error
        with self.write() as connection:
            if not self.is_sqlite:
                encoding = connection.exec_driver_sql("SHOW server_encoding").scalar()
                if encoding != "UTF8":
                    raise ConfigurationError(
                        f"the ledger at {self} is encoded in {encoding}, and templates have letters of all"
                        " languages; create the database with: ENCODING 'UTF8' TEMPLATE template0"
                    )
                # Two who upgrade at once: the second waits, then finds nothing to do.
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7246225)")
            from wabajobs.ledger import migrations  # noqa: PLC0415 (only who upgrades needs Alembic)

            migrations.upgrade(connection)
        return NEWEST

    def revision(self) -> str | None:
        """Return the schema's revision; None for a database without tables."""
        with self.read() as connection:
            if not inspect(connection).has_table(_VERSION.name):
                return None
            return connection.scalar(select(_VERSION.c.version_num))

    def require_schema(self) -> None:
        """Raise `WrongSchema` unless the tables are those of this version."""
        found = self.revision()
        if found != NEWEST:
            state = "has no tables yet" if found is None else f"is at revision {found}, this needs {NEWEST}"
            raise WrongSchema(f"the ledger at {self} {state}; run: wabajobs db upgrade")

    def wait_for_schema(self, wait: Callable[[float], object]) -> None:
        """Require the schema, for a program that serves: a server that is away is waited for.

        `wait` sleeps so many seconds; when it answers that the program is to stop, `LedgerUnavailable` is raised.
        """
        while True:
            try:
                return self.require_schema()
            except WrongSchema:
                raise
            except LedgerUnavailable as error:
                if self.is_sqlite:  # nobody else will make a file that is not there
                    raise
                events.tell("part_failed", part="ledger", why=error)
                if wait(_AWAY_SECONDS):
                    raise

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def __str__(self) -> str:
        return self.url.render_as_string(hide_password=True)


class _InTurn:
    """A lock that is given in the order in which it was asked for.

    One of Python's goes to whoever comes first after its release, mostly to the thread that had it last.
    """

    def __init__(self) -> None:
        self._inside = threading.Lock()
        self._taken = False
        self._waiting: deque[threading.Lock] = deque()

    def __enter__(self) -> None:
        with self._inside:
            if not self._taken:
                self._taken = True
                return
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        mine.acquire()  # whoever leaves opens it, and hands the turn on

    def __exit__(self, *_: object) -> None:
        with self._inside:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._taken = False


def upsert(connection: Connection, table: type[Base]) -> Any:
    """Return an INSERT that can have an ON CONFLICT clause; each of the two databases has one of its own."""
    return _insert(connection.dialect.name, table)


def each(connection: Connection, name: str) -> Any:
    """Return a table of one column, `value`: the texts of the JSON list that is bound as `name`."""
    if connection.dialect.name == "postgresql":
        return listed(name).table_valued("value")
    return func.json_each(bindparam(name, type_=Text)).table_valued("value")


def among(connection: Connection, column: Any, name: str) -> ColumnElement[bool]:
    """Whether a column has one of the texts of the JSON list that is bound as `name`.

    As an array, which leads to the rows by the column's index: what is read like a table PostgreSQL may join to
    the whole of the other.
    """
    if connection.dialect.name == "postgresql":
        return one_of(column, name)
    one: ColumnElement[bool] = column.in_(select(each(connection, name).c.value))
    return one


def one_of(column: Any, name: str) -> ColumnElement[bool]:
    """`among`, for statements that only PostgreSQL is given."""
    one: ColumnElement[bool] = column == func.any(func.array(select(listed(name)).scalar_subquery()))
    return one


def each_of(dialect: str, name: str, *columns: str) -> Any:
    """Return a table of these texts: those of the JSON list of objects that is bound as `name`."""
    if dialect == "postgresql":
        return table_of(name, dict.fromkeys(columns, Text()))
    one = func.json_each(bindparam(name, type_=Text)).table_valued("value", name="one")
    return select(*(func.json_extract(one.c.value, f"$.{each_}").label(each_) for each_ in columns)).subquery(
        name
    )


def listed(name: str) -> Any:
    """Return what gives PostgreSQL the texts of the JSON list that is bound as `name`."""
    return func.jsonb_array_elements_text(cast(bindparam(name, type_=Text), postgresql.JSONB))


def table_of(name: str, columns: Mapping[str, TypeEngine[Any]]) -> Any:
    """Return the table that PostgreSQL makes of the JSON list of objects that is bound as `name`."""
    given = func.jsonb_to_recordset(cast(bindparam(name, type_=Text), postgresql.JSONB))
    made = given.table_valued(*(sql_column(each_, type_) for each_, type_ in columns.items()), name=name)
    return made.render_derived(name=name, with_types=True)


def insert_all(connection: Connection, into: type[Base], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows that name the same columns.

    On PostgreSQL as one JSON list: the statement's text is then the same for any number of rows, and a text that
    is known costs neither the driver nor the server what reading it costs.
    """
    if rows:
        dialect = connection.dialect.name
        connection.execute(_inserted(dialect, into, tuple(rows[0])), _given(dialect, rows))


def insert_new(
    connection: Connection, into: type[Base], rows: Sequence[Mapping[str, Any]], *, unique: str, returning: str
) -> set[Any]:
    """Insert those rows of which nobody has the unique columns yet; return a column of what was inserted."""
    if not rows:
        return set()
    dialect = connection.dialect.name
    statement = _inserted(dialect, into, tuple(rows[0]), tuple(unique.split()), returning)
    return set(connection.scalars(statement, _given(dialect, rows)))


@cache
def _inserted(
    dialect: str, into: type[Base], names: tuple[str, ...], unique: tuple[str, ...] = (), returning: str = ""
) -> Any:
    statement = _insert(dialect, into)
    if dialect == "postgresql":
        rows = table_of("rows", {name: into.__table__.c[name].type for name in names})
        statement = statement.from_select(names, select(*(rows.c[name] for name in names)))
    if unique:
        statement = statement.on_conflict_do_nothing(index_elements=unique)
    return statement.returning(into.__table__.c[returning]) if returning else statement


def _insert(dialect: str, into: type[Base]) -> Any:
    return (postgresql if dialect == "postgresql" else sqlite).insert(into)


def _given(dialect: str, rows: Sequence[Mapping[str, Any]]) -> Any:
    return {"rows": json.dumps(rows, default=datetime.isoformat)} if dialect == "postgresql" else rows


def _driver_url(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigurationError(
            "WABAJOBS_DATABASE_URL is no database URL; for example sqlite:///data/ledger.sqlite3"
            " or postgresql://user@host/name"
        ) from None
    if parsed.drivername in {"postgresql", "postgres"}:
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() not in {"sqlite", "postgresql"}:
        raise ConfigurationError(f"the ledger runs on SQLite or PostgreSQL, not on {parsed.get_backend_name()!r}")
    if parsed.get_backend_name() == "sqlite" and parsed.database in {None, "", ":memory:"}:
        raise ConfigurationError("the ledger must outlive its process: give SQLite a file, not :memory:")
    return parsed


def _engine(url: URL) -> Engine:
    try:
        if url.get_backend_name() == "sqlite":
            engine = create_engine(
                url, connect_args={"timeout": 30, "check_same_thread": False}, hide_parameters=True
            )
            event.listen(engine, "connect", _prepare_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
            return engine
        engine = create_engine(
            url,
            pool_size=10,
            max_overflow=20,
            hide_parameters=True,
            # In a database without an encoding of its own (SQL_ASCII) text would come back as bytes.
            connect_args={"client_encoding": "utf8"},
        )
        event.listen(engine, "connect", _prepare_postgresql)
        event.listen(engine, "checkout", _require_open)
        # Several rows of a table are one statement, not one each.
        engine.dialect.use_insertmanyvalues_wo_returning = True
        return engine
    except (ArgumentError, NoSuchModuleError) as error:
        raise ConfigurationError(f"the database URL cannot be used: {error}") from None


def _prepare_postgresql(dbapi: Any, _entry: ConnectionPoolEntry) -> None:
    # Each of our queries has its index. Without statistics, as in the first minute of a flood, the planner takes
    # nearly every row for one that is leased, and would read them all at each look. With statistics it may take a
    # query for worth compiling: 9 ms, for one of 0.1.
    with dbapi.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        cursor.execute("SET enable_bitmapscan = off")
        cursor.execute("SET jit = off")
    dbapi.commit()


def _require_open(dbapi: Any, _entry: ConnectionPoolEntry, _proxy: object) -> None:
    """Let the pool give out no connection that was closed while it lay idle: its server has left a last word.

    To ask the server each time would be a way to it and back for each transaction.
    """
    waiting = poll()
    waiting.register(dbapi.fileno(), POLLIN)
    if waiting.poll(0):
        with suppress(Exception):  # afterwards it knows by itself whether it is closed
            dbapi.execute("SELECT 1")
            dbapi.rollback()
        if dbapi.closed:
            raise InvalidatePoolError


def _prepare_sqlite(dbapi: Any, _entry: ConnectionPoolEntry) -> None:
    # The driver's own implicit BEGIN comes too late and is always deferred; we begin by ourselves.
    connection: sqlite3.Connection = dbapi
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1000}")
    connection.execute("PRAGMA journal_mode = WAL")
    # FULL: what has been accepted survives a power cut, not only the death of a process.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later would fail with "database is locked" instead of
    # waiting its turn; so whoever will write takes the lock at once.
    if connection.get_execution_options().get("wabajobs_writes"):
        _take_the_lock(connection.connection.dbapi_connection)  # type: ignore[arg-type]
    else:
        connection.exec_driver_sql("BEGIN")


def _take_the_lock(connection: sqlite3.Connection) -> None:
    """Begin to write, looking twice in a millisecond whether the lock is free.

    SQLite's own waiting sleeps longer at each look, up to a tenth of a second: with several processes that write
    all the time, who waits longest is served last.
    """
    end = time.monotonic() + _BUSY_SECONDS
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                    raise
                time.sleep(_LOOK_SECONDS)
            else:
                return
    finally:
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1000}")


@contextmanager
def _in_plain_words(database: Database) -> Iterator[None]:
    try:
        yield
    except PoolTimeout as error:
        raise LedgerUnavailable(
            f"the ledger at {database} cannot be asked: all its connections are busy"
        ) from error
    except (OperationalError, InterfaceError, InternalError) as error:
        # Internal: PostgreSQL says so when it has become a replica, which only reads.
        raise LedgerUnavailable(f"the ledger at {database} cannot be asked: {_cause(error)}") from error
    except DBAPIError as error:
        if type(error) is DatabaseError:  # SQLite's word for a file that is damaged, or no database
            raise LedgerUnavailable(f"the ledger at {database} cannot be asked: {_cause(error)}") from error
        if _lacks_table(error):
            raise LedgerUnavailable(
                f"the ledger at {database} has no tables yet; run: wabajobs db upgrade"
            ) from error
        raise


def _lacks_table(error: DBAPIError) -> bool:
    return getattr(error.orig, "sqlstate", None) == "42P01"


def _cause(error: DBAPIError) -> str:
    text = str(error.orig).strip().splitlines()
    cause = text[0] if text else type(error.orig).__name__
    return f"{cause}; run: wabajobs db upgrade" if cause.startswith("no such table") else cause
