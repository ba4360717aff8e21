"""The Hub's door: accepted means committed, whatever else is down."""

import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from tests.support.databases import SqliteFiles
from tests.support.fakes import FakeGate, a_wait
from tests.support.hooks import account
from tests.support.servers import RunningRedis
from tests.unit.conftest import APP, WABA, Bay, some_settings
from wabajobs import Client, Request
from wabajobs.decisions import PauseMode, Scope
from wabajobs.errors import IdempotencyConflict, InvalidRequest, NotFound, NotReady, Rejected
from wabajobs.gate import Because, Wait
from wabajobs.ledger import Database, Did, Ledger, Standing
from wabajobs.machine.ports import free_port
from wabajobs.operation import State
from wabajobs.settings import Settings
from wabajobs.signals.bell import WORK


@pytest.fixture
def url(sqlite_files: SqliteFiles) -> str:
    return sqlite_files.fresh()


@pytest.fixture
def settings(url: str) -> Settings:
    return some_settings(database_url=url, redis_url=f"redis://127.0.0.1:{free_port()}")


@pytest.fixture
def client(settings: Settings) -> Iterator[Client]:
    with Client(settings) as client:
        yield client


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    """The same ledger, as somebody else sees it."""
    database = Database(url)
    yield Ledger(database)
    database.close()


def test_an_accepted_operation_is_committed(client: Client, ledger: Ledger) -> None:
    operation = client.enqueue("template_sync", partner="acme", waba=WABA, key="order 7")

    assert ledger.operations.get(operation.id) == operation
    assert operation.state is State.WAITING


def test_the_same_key_gives_the_same_operation(client: Client) -> None:
    first = client.enqueue("template_sync", partner="acme", waba=WABA, key="order 7")

    assert client.enqueue("template_sync", partner="acme", waba=WABA, key="order 7") == first
    with pytest.raises(IdempotencyConflict):
        client.enqueue("template_sync", partner="acme", waba="55555", key="order 7")


def test_many_are_accepted_in_order(client: Client) -> None:
    wabas = ["50003", "50001", "50002"]

    operations = client.enqueue_many(Request(kind="template_sync", partner="acme", waba=waba) for waba in wabas)

    assert [one.waba for one in operations] == wabas


@pytest.mark.parametrize(
    "wrong",
    [
        Request(kind="no such kind", partner="acme", waba=WABA),
        Request(kind="template_sync", partner="acme", waba="x"),
        Request(kind="template_sync", partner="acme", waba="55555", key="taken"),
    ],
)
def test_of_many_either_all_are_accepted_or_none(client: Client, ledger: Ledger, wrong: Request) -> None:
    taken = client.enqueue("template_sync", partner="acme", waba="60000", key="taken")

    with pytest.raises(InvalidRequest):
        client.enqueue_many([Request(kind="template_sync", partner="acme", waba=WABA), wrong])

    assert ledger.operations.find() == [taken]


def test_an_operation_that_a_pause_covers_is_accepted_and_shown_as_held(client: Client, ledger: Ledger) -> None:
    now = client.enqueue("template_sync", partner="bolt", waba="55555").created_at
    ledger.decisions.pause(
        Scope.of("partner:acme"), reason="incident 7", actor="ops", now=now, notice="a little later"
    )

    held = client.enqueue("template_sync", partner="acme", waba=WABA)

    assert held.state is State.HELD
    assert held.hold is not None
    assert (held.hold.by, held.hold.notice) == ("pause", "a little later")
    assert "incident 7" in held.hold.reason
    assert client.get(held.id) == held
    assert ledger.operations.get(held.id).state is State.WAITING, "a pause touches no rows"


def test_what_is_not_there_is_not_found(client: Client) -> None:
    with pytest.raises(NotFound):
        client.get("7")


class TestWaiting:
    """`wait` asks the ledger until the operation is finished."""

    def test_a_finished_operation_is_returned_at_once(self, client: Client, ledger: Ledger) -> None:
        operation = client.enqueue("template_sync", partner="acme", waba=WABA)
        _finish(ledger)

        done = client.wait(operation.id, timeout=timedelta(0))

        assert done.state is State.SUCCEEDED

    def test_an_operation_that_finishes_meanwhile_is_returned(self, client: Client, ledger: Ledger) -> None:
        operation = client.enqueue("template_sync", partner="acme", waba=WABA)
        worker = threading.Thread(target=_finish, args=(ledger,))
        worker.start()

        done = client.wait(operation.id, timeout=timedelta(seconds=20))

        worker.join()
        assert done.result is not None

    def test_after_the_timeout_it_is_told_where_it_stands_and_why(self, client: Client, ledger: Ledger) -> None:
        operation = client.enqueue("template_sync", partner="acme", waba=WABA)
        ledger.decisions.pause(Scope.of("all"), reason="incident 7", actor="ops", now=operation.created_at)

        with pytest.raises(NotReady, match=f"operation {operation.id} is still held .*incident 7"):
            client.wait(operation.id, timeout=timedelta(0))


def _finish(ledger: Ledger) -> None:
    bay = Bay(ledger)
    bay.clock.advance(timedelta(days=36500))
    bay.perform()


class TestWithoutRedis:
    """Redis is a courtesy here: it wakes the dispatcher, which looks by itself anyhow."""

    def test_a_redis_that_is_away_neither_breaks_nor_slows(self, client: Client, ledger: Ledger) -> None:
        began = time.monotonic()

        for number in range(50):
            client.enqueue("template_sync", partner="acme", waba=f"{10_000 + number}")

        assert time.monotonic() - began < 5
        assert len(ledger.operations.find()) == 50

    def test_a_redis_that_does_not_answer_slows_little(self, url: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            settings = some_settings(database_url=url, redis_url=f"redis://127.0.0.1:{silent.getsockname()[1]}")
            with Client(settings) as client:
                began = time.monotonic()

                client.enqueue("template_sync", partner="acme", waba=WABA)
                first = time.monotonic() - began
                for number in range(10):
                    client.enqueue("template_sync", partner="acme", waba=f"{10_000 + number}")

                assert first < 2
                assert time.monotonic() - began < first + 2


class TestInTheHubsSession:
    """With `session`, an operation stands or falls with the Hub's own changes."""

    @pytest.fixture
    def session(self, url: str) -> Iterator[Session]:
        engine = create_engine(url)
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE hub_rows (name VARCHAR(20))"))
        with Session(engine) as session:
            yield session
        engine.dispose()

    def test_it_is_there_with_the_commit(self, client: Client, session: Session) -> None:
        session.execute(text("INSERT INTO hub_rows VALUES ('mine')"))
        operation = client.enqueue("template_sync", partner="acme", waba=WABA, session=session)
        with pytest.raises(NotFound):
            client.get(operation.id)

        session.commit()

        assert client.get(operation.id) == operation

    def test_it_is_gone_with_the_rollback(self, client: Client, session: Session) -> None:
        operation = client.enqueue("template_sync", partner="acme", waba=WABA, session=session)

        session.rollback()

        with pytest.raises(NotFound):
            client.get(operation.id)

    def test_of_many_none_is_written_when_one_is_in_conflict(self, client: Client, session: Session) -> None:
        client.enqueue("template_sync", partner="acme", waba="60000", key="taken")
        session.execute(text("INSERT INTO hub_rows VALUES ('mine')"))

        with pytest.raises(IdempotencyConflict):
            client.enqueue_many(
                [
                    Request(kind="template_sync", partner="acme", waba=WABA, key="new"),
                    Request(kind="template_sync", partner="acme", waba="55555", key="taken"),
                ],
                session=session,
            )
        session.commit()

        assert session.execute(text("SELECT count(*) FROM operations")).scalar() == 1
        assert session.execute(text("SELECT count(*) FROM hub_rows")).scalar() == 1

    def test_a_session_that_lives_long_does_not_gather_listeners(self, client: Client, session: Session) -> None:
        for number in range(30):
            client.enqueue("template_sync", partner="acme", waba=f"{10_000 + number}", session=session)
            session.commit()

        assert len(list(session.dispatch.after_commit)) == 1

    def test_the_dispatcher_is_woken_by_the_commit_and_not_before(
        self, url: str, session: Session, own_redis: object
    ) -> None:
        redis = Redis.from_url(own_redis.url)  # type: ignore[attr-defined]
        pubsub = redis.pubsub()
        pubsub.subscribe(WORK)
        assert pubsub.get_message(timeout=5) is not None, "subscribed"
        with Client(some_settings(database_url=url, redis_url=own_redis.url)) as client:  # type: ignore[attr-defined]
            heard = []
            for number in range(2):
                client.enqueue("template_sync", partner="acme", waba=f"{10_000 + number}", session=session)
                before = pubsub.get_message(timeout=0.05)
                session.commit()
                heard.append((before, pubsub.get_message(timeout=5) is not None))

        assert heard == [(None, True), (None, True)]


def test_the_hub_cancels_what_it_wants_no_more_with_redis_away(client: Client, ledger: Ledger) -> None:
    operation = client.enqueue("template_sync", partner="acme", waba=WABA)

    cancelled = client.cancel(operation.id, reason="the customer has left")
    again = client.cancel(operation.id, reason="said twice")

    assert cancelled == again == ledger.operations.get(operation.id)
    assert (cancelled.state, cancelled.as_json()["stop"]["by"]) == (State.CANCELLED, "hub")
    assert client.wait(operation.id) == cancelled


def test_what_others_wait_for_too_is_not_cancelled_unless_that_is_meant(client: Client) -> None:
    operation = client.enqueue("template_sync", partner="acme", waba=WABA)
    client.enqueue("template_sync", partner="acme", waba=WABA)

    with pytest.raises(InvalidRequest, match=r"shared by 2 requests.*force=True"):
        client.cancel(operation.id, reason="the customer has left")
    assert client.get(operation.id).state is State.WAITING
    assert client.cancel(operation.id, reason="we mean it", force=True).state is State.CANCELLED


def test_a_cancellation_needs_a_reason_and_an_operation(client: Client) -> None:
    operation = client.enqueue("template_sync", partner="acme", waba=WABA)

    with pytest.raises(InvalidRequest, match="say why"):
        client.cancel(operation.id, reason=" ")
    with pytest.raises(NotFound):
        client.cancel("7", reason="the customer has left")


def test_a_running_operation_says_that_it_is_to_stop(client: Client, bay: Bay) -> None:
    accepted = bay.accept()
    released = bay.release()
    bay.ledger.operations.begin(
        released.id, released.fence, worker="w", now=bay.clock.now(), lease=timedelta(seconds=15)
    )
    with Client(some_settings(database_url=str(bay.ledger.database.url))) as hub:
        stopping = hub.cancel(accepted.id, reason="the customer has left", actor="anna")

    assert stopping.state is State.RUNNING
    assert stopping.stop is not None and stopping.stop["by"] == "anna"


def test_a_deadline_comes_with_the_request(client: Client) -> None:
    operation = client.enqueue("template_sync", partner="acme", waba=WABA, expires_after=90)

    assert operation.deadline_at == operation.created_at + timedelta(seconds=90)
    assert operation.as_json()["deadline_at"] == operation.deadline_at.isoformat()


# ── what Meta tells of accounts, several apps ───────────────────────────────────────────────────────────────


def deleted(waba: str) -> bytes:
    return account(waba, "ACCOUNT_DELETED", at=int(time.time()))


def test_news_of_an_account_need_the_database_only(client: Client, ledger: Ledger) -> None:
    waiting = client.enqueue("template_sync", partner="acme", waba=WABA)

    [applied] = client.apply_webhook(deleted(WABA))

    assert (applied.did, applied.event) == (Did.NOTED, "ACCOUNT_DELETED")
    known = client.account(WABA)
    assert known is not None
    assert known.standing is Standing.DELETED
    held = client.get(waiting.id)
    assert held.state is State.HELD
    assert "the WABA was deleted" in (held.hold.reason if held.hold else "")
    assert client.enqueue("template_sync", partner="other", waba=WABA).state is State.HELD
    assert client.account("99999") is None


def test_the_gate_hears_whether_a_waba_has_a_registered_number(url: str, own_redis: RunningRedis) -> None:
    with Client(some_settings(database_url=url, redis_url=own_redis.url)) as client:
        client.enqueue("template_sync", partner="acme", waba=WABA)

        client.apply_webhook(account(WABA, "ACCOUNT_OFFBOARDED", at=int(time.time())))

        gate = client._house.gate
        assert gate.note_activity(APP, WABA, active=False) is False, "it knows already"
        assert gate.note_activity(APP, WABA, active=True) is True


def test_with_several_apps_a_request_without_one_goes_home(url: str) -> None:
    apps = {app: {"token": {"env": "TOKEN"}} for app in (APP, "20002")}
    with Client(some_settings(database_url=url, apps=apps)) as client:
        with pytest.raises(InvalidRequest, match=f"wabajobs apps home {WABA} APP"):
            client.enqueue("template_sync", partner="acme", waba=WABA)
        client.keep_fresh(WABA, partner="acme", app="20002")

        many = client.enqueue_many(
            [Request(kind="template_sync", partner=name, waba=WABA) for name in ("acme", "other")]
        )

        assert [one.app for one in many] == ["20002", "20002"], "by which its list is kept"


def test_the_events_of_the_client_are_bounded_and_named(client: Client) -> None:
    with pytest.raises(InvalidRequest, match="1 to 10000 events"):
        client.events(limit=0)
    with pytest.raises(InvalidRequest, match=r"'operation.begun'.*there are: operation.succeeded"):
        client.events(kinds=["operation.begun"])
    assert client.events() == []


# ── what takes nothing new ──────────────────────────────────────────────────────────────────────────────────


def test_a_pause_that_rejects_takes_nothing_new_and_says_why_in_words_for_programs(
    client: Client, ledger: Ledger
) -> None:
    known = client.enqueue("template_sync", partner="acme", waba=WABA, key="order 7")
    ledger.decisions.pause(
        Scope.of("partner", "acme"),
        reason="flood",
        actor="anna",
        now=datetime.now(UTC),
        mode=PauseMode.REJECT,
        lasting=timedelta(hours=1),
        notice="Please use Meta Business Manager meanwhile.",
    )

    with pytest.raises(Rejected) as rejected:
        client.enqueue("template_sync", partner="acme", waba="55555555")
    told = rejected.value.as_json()
    assert told["rejected"] == "paused"
    assert told["reason"].startswith("partner:acme takes nothing by anna since")
    assert told["notice"] == "Please use Meta Business Manager meanwhile."
    assert told["until"]
    requests = [Request(kind="template_sync", partner=name, waba="55555555") for name in ("bolt", "acme")]
    with pytest.raises(Rejected):
        client.enqueue_many(requests)
    assert [one.id for one in ledger.operations.find()] == [known.id], "all of them or none"

    assert client.enqueue("template_sync", partner="acme", waba=WABA, key="order 7").id == known.id
    assert client.enqueue("template_sync", partner="bolt", waba="55555555").state is State.WAITING


def test_who_does_not_want_to_wait_is_told_so_and_nothing_is_accepted(client: Client, ledger: Ledger) -> None:
    ledger.decisions.pause(
        Scope.of("all"), reason="flood", actor="anna", now=datetime.now(UTC), notice="Later today."
    )

    with pytest.raises(Rejected, match="all is paused by anna") as rejected:
        client.enqueue("template_sync", partner="acme", waba=WABA, if_held="reject")
    assert (rejected.value.code, rejected.value.notice) == ("paused", "Later today.")
    assert ledger.operations.find() == []
    held = client.enqueue("template_sync", partner="acme", waba=WABA)
    assert held.hold is not None
    assert held.hold.notice == "Later today."


@pytest.mark.parametrize(
    ("wait", "code"),
    [
        (a_wait(60), "budget"),
        (a_wait(1), None),
        (a_wait(1, because=Because.BREAKER), "breaker"),  # one call probes it: nobody knows for how long
    ],
)
def test_who_does_not_want_to_wait_bears_the_pace_and_no_breaker(
    client: Client, wait: Wait, code: str | None
) -> None:
    client._house.__dict__["gate"] = FakeGate(shut=lambda _call: wait)

    if code is None:
        client.enqueue("template_sync", partner="acme", waba=WABA, if_held="reject")
        return
    with pytest.raises(Rejected) as rejected:
        client.enqueue("template_sync", partner="acme", waba=WABA, if_held="reject")
    assert rejected.value.code == code


def test_who_does_not_want_to_wait_gets_nothing_accepted_while_the_gate_is_away(client: Client) -> None:
    with pytest.raises(Rejected, match="no calls are made") as rejected:
        client.enqueue("template_sync", partner="acme", waba=WABA, if_held="reject")

    assert rejected.value.code == "gate"
