"""No query of the dispatcher, of a worker or of the door reads through the operations, however many there are.

What they really ask is listened to, with 50,000 operations in the ledger, and explained by the database itself.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.engine import Engine

from tests.ledger.conftest import APP, KIND, LEASE, WORKER, a_request, a_sync
from tests.support.databases import PostgresServer
from tests.support.fakes import FakeBroker, FakeGate, FakeLifelines, FakePresence, FakeRetryBudget
from wabajobs.capability import Capability
from wabajobs.clock import HandClock
from wabajobs.dispatcher.dispatch import Dispatcher
from wabajobs.dispatcher.retention import Pruner
from wabajobs.dispatcher.retries import Retries
from wabajobs.kinds import catalogue
from wabajobs.ledger import Database, Ledger, Line, Part
from wabajobs.ledger.attempts import Ending
from wabajobs.ledger.tables import OperationRow
from wabajobs.operation import Operation, State
from wabajobs.outcome import Done
from wabajobs.partners import Partners
from wabajobs.settings import DispatchSettings, RetentionSettings

MANY, PARTNERS, WABAS = 50_000, 100, 2_000
FINISHED, HELD = 10_000, 500
SLOTS = 16
FEW = 1_000
"""Rows that one query may look at. Those of one WABA or partner, of what is held or out, are fewer."""


@pytest.fixture
def big(database_url: str) -> Iterator[Ledger]:
    """A ledger with a past and a backlog."""
    database = Database(database_url)
    yield _filled(database)
    database.close()


def _filled(database: Database) -> Ledger:
    ledger = Ledger(database)
    (first,) = ledger.operations.accept([a_request()], now=HandClock().now())
    with database.write() as connection:
        _multiply(connection, first.operation.id, is_sqlite=database.is_sqlite)
    return ledger


def _multiply(connection: Connection, original: str, *, is_sqlite: bool) -> None:
    """Copy one operation as often as wanted: of many partners and WABAs, some finished and some held."""
    number = "printf('%08d', i)" if is_sqlite else "lpad(i::text, 8, '0')"
    moment = "datetime(due_at, '+1 day')" if is_sqlite else "due_at + interval '1 day'"
    state = f"CASE WHEN i <= {FINISHED} THEN 'succeeded' WHEN i <= {FINISHED + HELD} THEN 'held' ELSE state END"
    changed = {
        "id": f"substr(id, 1, 28) || {number}",
        "partner": f"'partner-' || (i % {PARTNERS})",
        "waba": f"CAST(20000000 + i % {WABAS} AS VARCHAR(20))",
        "turn": f"i / {WABAS}",
        "state": state,
        "finished_at": f"CASE WHEN i <= {FINISHED} THEN created_at END",
        "lane": f"'lane-' || (CASE WHEN i % 2 = 0 THEN i ELSE {MANY} END)",
        "blocked": f"i % 2 = 1 AND i < {MANY} - 1",
        "due_at": f"CASE WHEN {state} = 'held' THEN {moment} ELSE due_at END",
    }
    names = [column.name for column in OperationRow.__table__.columns if column.computed is None]
    connection.execute(
        text(
            f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {MANY})"
            f" INSERT INTO operations ({', '.join(names)})"
            f" SELECT {', '.join(changed.get(name, name) for name in names)}"
            " FROM n CROSS JOIN (SELECT * FROM operations WHERE id = :original) AS original"
        ),
        {"original": original},
    )


@contextmanager
def listened_to() -> Iterator[list[tuple[str, Any]]]:
    """Yield the statements about operations that are executed meanwhile, each once, with their parameters."""
    heard: dict[str, Any] = {}

    def hear(_c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
        if "operations" in statement and not statement.startswith("INSERT"):
            heard.setdefault(statement, parameters[0] if many else parameters)

    event.listen(Engine, "before_cursor_execute", hear)
    told: list[tuple[str, Any]] = []
    try:
        yield told
    finally:
        event.remove(Engine, "before_cursor_execute", hear)
        told += heard.items()


def _work(ledger: Ledger) -> None:
    """Do what door, dispatcher and worker do all day."""
    clock = HandClock()
    now = clock.now()
    dispatcher = Dispatcher(
        ledger=ledger,
        kinds=catalogue(),
        gate=FakeGate(),
        presence=FakePresence({KIND: [SLOTS]}),  # type: ignore[arg-type]
        lifelines=FakeLifelines({"nobody"}),  # type: ignore[arg-type]
        send=(broker := FakeBroker()),
        clock=clock,
        settings=DispatchSettings(),
        partners=Partners(ledger, {}),
        retries=Retries(ledger, FakeRetryBudget(), DispatchSettings()),
        pruner=Pruner(ledger, RetentionSettings(), clock=clock),
    )
    operations = ledger.operations
    operations.accept([a_request(partner="partner-7", waba="20000007"), a_sync("20000009")], now=now)
    for _ in range(2):
        operations.accept([a_sync("20000009"), a_sync("20000010")], now=now)
    ledger.fleet.plan([a_sync("20000009"), a_sync("20000011")], now=now)
    ledger.fleet.planned()
    assert dispatcher.lead()
    dispatcher.look_after()
    assert dispatcher.release_due().released == SLOTS
    leases = [(one.id, one.fence) for one in broker.sent]
    begun = [
        one
        for one in operations.begin_all(leases, worker=WORKER, now=now, lease=LEASE)
        if isinstance(one, Operation)
    ]
    assert len(begun) == SLOTS
    operations.renew(leases, now=now, lease=LEASE)
    ended, abandoned = begun[:10], begun[10:]
    written = operations.record_all([Ending(one, Done({})) for one in ended], worker=WORKER, now=now)
    assert written == [Done({})] * len(ended)
    operations.take_back(abandoned[:1], now=now, why="a trial")
    clock.advance(timedelta(days=2))
    assert dispatcher.reclaim() > 0
    assert dispatcher.release_due().released == SLOTS
    line = operations.lines([KIND])[0]
    paused = {str(20_000_000 + number) for number in range(WABAS - PARTNERS)}
    assert len(operations.heads({line: 30}, but=paused)[line]) < len(operations.heads({line: 30})[line])
    for state, held_by in ((State.WAITING, None), (State.HELD, "backoff")):
        of_line = Line.at(KIND, 1, APP, Capability.TEMPLATE_READS, "partner-8")
        operations.oldest(Part(of_line, state, held_by, operations=1, oldest=now), at_most=10)
    operations.resting([one.id for one in begun])
    operations.get(begun[0].id)
    operations.story(begun[0].id)
    operations.find(partner="partner-7")


@pytest.mark.parametrize("analyzed", [True, False], ids=["with statistics", "without statistics"])
def test_no_query_reads_through_the_operations(big: Ledger, analyzed: bool) -> None:
    database = big.database
    if analyzed:
        with database.write() as connection:
            connection.exec_driver_sql("ANALYZE")

    with listened_to() as told:
        _work(big)

    assert len(told) > 10
    explain = _sqlite_fault if database.is_sqlite else _postgresql_fault
    faults = {statement: fault for statement, asked in told if (fault := explain(database, statement, asked))}
    assert faults == {}


def test_a_plan_that_was_made_when_there_was_nothing_is_good_when_there_is_much(postgres: PostgresServer) -> None:
    """PostgreSQL keeps the plans of a session's statements until somebody counts its tables' rows."""
    other = Database(postgres.fresh())
    with listened_to() as told:
        _work(_filled(other))
    other.close()
    database = Database(postgres.fresh())
    with database.write() as connection:
        session: psycopg.Connection = connection.connection.dbapi_connection  # type: ignore[assignment]
        session.execute("SET plan_cache_mode = force_generic_plan")
        session.commit()
        for statement, asked in told:
            session.execute(statement, asked, prepare=True)
            session.commit()

        _filled(database)

        read = {}
        for statement, asked in told:
            before = _operations_read(session)
            session.execute(statement, asked, prepare=True)
            read[statement] = _operations_read(session) - before
            session.commit()
    database.close()

    assert len(told) > 10
    assert {statement: number for statement, number in read.items() if number > FEW} == {}


def _operations_read(session: psycopg.Connection) -> int:
    """Return how many rows of operations this transaction has looked at."""
    query = "SELECT idx_tup_fetch + seq_tup_read FROM pg_stat_xact_user_tables WHERE relname = 'operations'"
    return int(session.execute(query).fetchall()[0][0])


def _sqlite_fault(database: Database, statement: str, asked: Any) -> str | None:
    """Return a step of the plan that goes through all operations, or through all that wait."""
    with database.read() as connection:
        plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", asked)]
    small = ("ix_operations_leased", "ix_operations_held", "ix_operations_deadline", "ix_operations_retries")
    scans = [step for step in plan if step.startswith("SCAN") and "operations" in step]
    return next((step for step in scans if not any(index in step for index in small)), None)


def _postgresql_fault(database: Database, statement: str, asked: Any) -> str | None:
    """Return a node of the plan that has looked at too many rows. It is really run, and taken back."""
    with database.write() as connection:
        done = connection.begin_nested()
        (plan,) = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", asked).scalar_one()
        done.rollback()
    if "JIT" in plan:
        return f"compiled, which takes longer than what it is for: {plan['JIT']}"
    for node in _nodes(plan["Plan"]):
        rows = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        if node.get("Relation Name") == "operations" and rows > FEW:
            return json.dumps({**node, "Plans": None})
    return None


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for below in node.get("Plans", ()):
        yield from _nodes(below)
