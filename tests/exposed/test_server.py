"""The server: answers from memory, tells caches how long, and keeps the metrics from the public."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import requests
from sqlalchemy import text

from tests.exposed.forms import FORMS
from tests.support.databases import SqliteFiles
from tests.support.servers import RunningRedis
from tests.support.waiting import until
from wabajobs.capability import Capability, ServiceClass
from wabajobs.decisions import Scope
from wabajobs.exposed.server import Address, Server
from wabajobs.ledger import DISPATCHER, NewOperation
from wabajobs.machine import free_port
from wabajobs.settings import Settings
from wabajobs.wiring import House

APP = "1234567890"


@dataclass
class Running:
    """A server in a thread."""

    public: str
    internal: str

    def get(self, path: str, **headers: str) -> requests.Response:
        return requests.get(f"{self.public}{path}", headers=headers, timeout=5)

    def measured(self) -> str:
        return requests.get(f"{self.internal}/metrics", timeout=5).text


def a_house(database_url: str, redis_url: str) -> House:
    settings = Settings.model_validate(
        {
            "database_url": database_url,
            "redis_url": redis_url,
            "apps": {APP: {"token": {"env": "NONE"}}},
            "gate": {"redis_timeout_seconds": 0.5},
            "status_page": {"look_seconds": 0.1, "url": "https://status.example.com"},
        }
    )
    made = House(settings)
    is_led(made)
    return made


@pytest.fixture
def house(sqlite_files: SqliteFiles, redis_for_stages: RunningRedis) -> Iterator[House]:
    redis_for_stages.client.flushall()
    made = a_house(sqlite_files.fresh(), redis_for_stages.url)
    yield made
    made.close()


def is_led(house: House) -> None:
    """As a dispatcher does it: the lead is taken, and the gate told what people have decided."""
    house.ledger.leaderships.lead(DISPATCHER, holder="me", now=house.clock.now(), lease=timedelta(minutes=5))
    house.controls.keep_mirrored()


@contextmanager
def served(house: House, *, apart: bool = True) -> Iterator[Running]:
    public = Address(host="127.0.0.1", port=free_port())
    internal = Address(host="127.0.0.1", port=free_port()) if apart else None
    server = Server(house.looker, house.editor, clock=house.clock, fresh_seconds=0.1)
    loop, ready, ended = asyncio.new_event_loop(), threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with server.serving(public, internal):
            ready.set()
            await ended.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    with server.looking():
        thread.start()
        try:
            assert ready.wait(10)
            yield Running(str(public), str(internal or public))
        finally:
            loop.call_soon_threadsafe(ended.set)
            thread.join(10)
            assert not thread.is_alive()
            loop.close()


def a_photo(house: House) -> None:
    request = NewOperation(
        kind="profile_photo",
        partner="acme",
        app=APP,
        waba="102290129340398",
        service_class=ServiceClass.INTERACTIVE,
        capability=Capability.UPLOADS,
        payload={},
    )
    house.ledger.operations.accept([request], now=house.clock.now())


def test_every_document_is_there_and_anybody_may_read_it(house: House) -> None:
    with served(house) as running:
        for path in FORMS:
            answer = running.get(path)
            assert (answer.status_code, answer.headers["Content-Type"]) == (
                200,
                "application/json; charset=utf-8",
            )
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            assert answer.headers["Cache-Control"] == "public, max-age=1"
            assert isinstance(answer.json(), dict)
        assert requests.head(f"{running.public}/summary.json", timeout=5).status_code == 200
        assert running.get("/healthz").text == "ok\n"
        unknown = running.get("/../../etc/passwd")
        assert (unknown.status_code, unknown.text) == (404, "there is no such document\n")
        assert requests.post(f"{running.public}/summary.json", timeout=5).status_code == 405


def test_metrics_are_no_matter_of_the_public(house: House) -> None:
    with served(house) as running:
        assert running.get("/metrics").status_code == 404
        assert "wabajobs_operations" in running.measured()
        assert requests.get(f"{running.internal}/summary.json", timeout=5).status_code == 404
        assert requests.get(f"{running.internal}/healthz", timeout=5).ok
    house.__dict__.pop("looker")
    with served(house, apart=False) as running:
        answer = running.get("/metrics")
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert running.get("/summary.json").ok


def test_what_has_not_changed_is_not_sent_again(house: House) -> None:
    with served(house) as running:
        first = running.get("/api/v2/summary.json")
        tag = first.headers["ETag"]

        again = running.get("/api/v2/summary.json", **{"If-None-Match": tag})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
        assert running.get("/api/v2/summary.json", **{"If-None-Match": '"other"'}).status_code == 200

        scope = Scope.of("queue", "flow_publish")
        house.ledger.decisions.pause(scope, reason="planned", actor="anna", now=house.clock.now())
        until(
            lambda: running.get("/api/v2/summary.json", **{"If-None-Match": tag}).status_code == 200,
            what="the pause is seen",
        )
        flows = {
            one["name"]: one["status"] for one in running.get("/api/v2/components.json").json()["components"]
        }
        assert flows["Flows"] == "under_maintenance"


def test_a_redis_that_goes_away_is_told_and_so_is_its_return(
    sqlite_files: SqliteFiles, own_redis: RunningRedis
) -> None:
    own = a_house(sqlite_files.fresh(), own_redis.url)
    a_photo(own)
    with served(own) as running:

        def indicator() -> str:
            return str(running.get("/api/v2/status.json").json()["status"]["indicator"])

        a_photo_waits = 'wabajobs_operations{queue="profile_photo",state="waiting"} 1.0'
        until(lambda: a_photo_waits in running.measured(), what="it is counted")
        assert indicator() == "major", "no worker lives for profile_photo"

        own_redis.kill()
        until(lambda: indicator() == "critical", what="without Redis nothing runs")
        measured = running.measured()
        assert 'wabajobs_reachable{part="redis"} 0.0' in measured
        assert 'wabajobs_reachable{part="ledger"} 1.0' in measured
        assert a_photo_waits in measured
        assert running.get("/healthz").ok

        own_redis.start()
        own.controls.keep_mirrored()
        until(lambda: indicator() == "major", what="it is back")
    own.close()


def test_a_ledger_that_cannot_be_read_is_told(house: House) -> None:
    a_photo(house)
    before = house.looker.look()
    with house.ledger.database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))
        connection.execute(text("ALTER TABLE pauses RENAME TO gone"))

    view = house.looker.look()

    assert before.ledger_error is None
    assert view.ledger_error
    assert (view.leads, view.counted) == (False, before.counted)


def test_every_answer_is_from_memory(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(house.looker, "keep_looking", lambda *_args, **_more: None)
    with served(house) as running, requests.Session() as session:
        for part in ("_ledger", "_gate", "_presence"):
            monkeypatch.setattr(house.looker, part, None)  # whoever asks them now, fails

        answers = [session.get(f"{running.internal}/metrics", timeout=5).ok for _ in range(50)]
        answers += [session.get(f"{running.public}{path}", timeout=5).ok for path in FORMS]

    assert all(answers)


def test_counting_rests_in_proportion(house: House) -> None:
    """A count that took a second is not repeated within 200."""
    now = [0.0]
    house.looker._monotonic = lambda: now[0]  # time is moved by hand
    count = house.ledger.operations.census_under

    def slow(pauses: Any) -> Any:
        now[0] += 1.0
        return count(pauses)

    house.ledger.operations.census_under = slow  # type: ignore[method-assign]
    a_photo(house)

    first = house.looker.look()
    a_photo(house)
    now[0] += 199.0
    still = house.looker.look()
    now[0] += 1.0
    later = house.looker.look()

    assert [one.counted.seconds for one in (first, later)] == [1.0, 1.0]
    assert still.counted is first.counted
    assert [one.counted.unfinished[0].number for one in (first, later)] == [1, 2]
