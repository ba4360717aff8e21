"""An alarm is given by a program and by an address: once, again when it came to nothing, and within its time."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.ledger.conftest import Book
from tests.ledger.test_incidents import breaker, see
from tests.support.databases import SqliteFiles
from tests.support.receivers import receiving
from tests.support.waiting import until
from wabajobs import feed
from wabajobs.incidents.alarms import Alarms
from wabajobs.ledger import Alarm, Database, Ledger
from wabajobs.secret import Secret
from wabajobs.settings import WatchSettings

SECRET = Secret("between us")


@dataclass
class Pager:
    """Where alarms arrive over HTTP."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    """What is answered next; 200 when there is nothing left."""
    came: list[tuple[Mapping[str, str], bytes]] = field(default_factory=list)

    def take(self, headers: Mapping[str, str], body: bytes) -> int:
        self.came.append((headers, body))
        return self.answers.pop(0) if self.answers else 200


@pytest.fixture
def pager() -> Iterator[Pager]:
    pager = Pager()
    with receiving(pager.take) as pager.url:
        yield pager


@pytest.fixture
def book(sqlite_files: SqliteFiles) -> Iterator[Book]:
    database = Database(sqlite_files.fresh())
    yield Book(Ledger(database))
    database.close()


def alarms_of(book: Book, *, secret: Secret | None = None, **changes: Any) -> Alarms:
    settings = WatchSettings(**changes)
    return Alarms(book.ledger, settings, clock=book.clock, lasting=timedelta(seconds=0.2), secret=lambda: secret)


def trip(book: Book, alarms: Alarms) -> None:
    see(book, breaker(book), channels=alarms.channels)


def given(book: Book) -> tuple[Alarm, ...]:
    [incident] = book.ledger.incidents.find()
    return incident.episodes[-1].alarms


def test_the_program_gets_the_incident_on_its_standard_input(book: Book, tmp_path: Path) -> None:
    file = tmp_path / "alarm.json"
    alarms = alarms_of(book, alarm_command=("/bin/sh", "-c", f"cat > {file}"))
    trip(book, alarms)

    alarms.turn()
    alarms.turn()

    told = json.loads(file.read_text())
    assert told["event"] == "incident.began"
    assert told["incident"]["state"] == "on"
    assert told["episode"]["conditions"][0]["cause"] == "breaker"
    assert told["sentence"] == "incident 1: the breaker of app:10001 opened (code 4, fbtrace Abc)"
    [alarm] = given(book)
    assert (alarm.tries, alarm.error) == (1, None)
    assert alarm.done_at is not None


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (("/bin/sh", "-c", "echo no pager >&2; exit 3"), "it ended with 3: no pager"),
        (("/nowhere/at/all",), "it cannot be run: No such file or directory"),
        (("/bin/sh", "-c", "sleep 600"), "it ran longer than 0.3 s"),
        (("/bin/sh", "-c", "sleep 600 & exit 1"), "it ran longer than 0.3 s"),
    ],
)
def test_a_program_that_fails_is_run_again_later(book: Book, command: tuple[str, ...], error: str) -> None:
    alarms = alarms_of(book, alarm_command=command, alarm_timeout_seconds=0.3, alarm_retry_seconds=10)
    trip(book, alarms)

    alarms.turn()
    [first] = given(book)
    alarms.turn()
    assert given(book) == (first,), "not at once"
    book.pass_time(10)
    alarms.turn()

    [again] = given(book)
    assert (first.tries, first.error, again.tries) == (1, error, 2)
    assert again.due_at == book.clock.now() + timedelta(seconds=20)
    assert [one.error for one in book.ledger.incidents.mute_alarms()] == [error]


def test_a_program_that_does_not_read_what_it_is_told_has_been_run(book: Book) -> None:
    alarms = alarms_of(book, alarm_command=("/bin/true",))
    trip(book, alarms)

    alarms.turn()

    assert given(book)[0].done_at is not None


def test_the_address_gets_the_same_signed_as_callbacks_are(book: Book, pager: Pager) -> None:
    alarms = alarms_of(book, secret=SECRET, alarm_url=pager.url)
    trip(book, alarms)

    alarms.turn()

    [(headers, body)] = pager.came
    assert json.loads(body)["incident"]["id"] == 1
    assert headers["X-Wabajobs-Event"] == "incident.began"
    signed = feed.sign(body, timestamp=headers[feed.TIMESTAMP], secret=SECRET)
    assert headers[feed.SIGNATURE] == signed
    assert given(book)[0].done_at is not None


def test_without_a_secret_it_is_not_signed(book: Book, pager: Pager) -> None:
    alarms = alarms_of(book, alarm_url=pager.url)
    trip(book, alarms)

    alarms.turn()

    assert feed.SIGNATURE not in pager.came[0][0]


def test_an_address_that_refuses_is_called_again_and_given_up_at_last(book: Book, pager: Pager) -> None:
    pager.answers = [500, 404, 500]
    alarms = alarms_of(book, alarm_url=pager.url, alarm_attempts=3, alarm_retry_seconds=1)
    trip(book, alarms)

    for _ in range(6):
        alarms.turn()
        book.pass_time(60)

    [alarm] = given(book)
    assert len(pager.came) == 3
    assert (alarm.tries, alarm.error, alarm.due_at, alarm.done_at) == (3, "HTTP 500", None, None)


def test_every_episode_is_told_and_only_once(book: Book, pager: Pager) -> None:
    alarms = alarms_of(book, alarm_url=pager.url, alarm_command=("/bin/true",))
    for _ in range(3):
        for _ in range(3):
            trip(book, alarms)
            alarms.turn()
            book.pass_time(10)
        book.pass_time(3600)
        see(book)

    assert len(pager.came) == 3
    assert [json.loads(body)["incident"]["id"] for _, body in pager.came] == [1, 1, 1]


def test_it_goes_on_by_itself_where_somebody_leads(book: Book, pager: Pager) -> None:
    alarms = alarms_of(book, alarm_url=pager.url)
    trip(book, alarms)

    until(lambda: alarms.keep_up() or pager.came, what="it is told")  # type: ignore[func-returns-value]


def test_where_nobody_is_to_be_woken_nothing_is_kept_to_be_told(book: Book) -> None:
    alarms = alarms_of(book)
    trip(book, alarms)

    alarms.keep_up()

    assert given(book) == ()
