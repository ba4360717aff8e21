"""The Hub is called for each event, signed, in order per WABA, until it takes it or too long has passed."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from tests.ledger.conftest import Book, a_request
from tests.support.databases import SqliteFiles
from tests.support.receivers import receiving
from tests.support.waiting import until
from wabajobs import feed
from wabajobs.callbacks import HttpPost, Relay
from wabajobs.clock import HandClock
from wabajobs.errors import ConfigurationError, InvalidRequest
from wabajobs.feed import Event, EventKind
from wabajobs.ledger import Database, Ledger
from wabajobs.outcome import Done, Failed
from wabajobs.secret import Secret
from wabajobs.settings import CallbackSettings, SecretSource, Settings

SECRET = Secret("between us")


@dataclass
class Hub:
    """Where callbacks arrive."""

    url: str = ""
    answers: Callable[[Event], int] = lambda _event: 200
    came: list[tuple[Event, int]] = field(default_factory=list)
    """What came, and what was answered."""
    headers: list[Mapping[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    @property
    def taken(self) -> list[int]:
        return [event.cursor for event, answer in self.came if answer == 200]

    def take(self, headers: Mapping[str, str], body: bytes) -> int:
        event = Event.of_json(json.loads(body))
        answer = self.answers(event)
        self.came.append((event, answer))
        self.headers.append(headers)
        self.bodies.append(body)
        return answer


@contextmanager
def a_hub() -> Iterator[Hub]:
    hub = Hub()
    with receiving(hub.take) as hub.url:
        yield hub


@pytest.fixture
def hub() -> Iterator[Hub]:
    with a_hub() as running:
        yield running


def a_relay(book: Book, hub: Hub, **changes: Any) -> Relay:
    settings = CallbackSettings(url=hub.url, secret=SecretSource(env="SECRET"), **changes)
    post = HttpPost(settings, lambda: SECRET, book.clock)
    relay = Relay(book.ledger, settings, post=post, clock=book.clock, lasting=timedelta(seconds=5))
    relay.turn()  # from now on
    return relay


@pytest.fixture
def sqlite_book(sqlite_files: SqliteFiles) -> Iterator[Book]:
    ledger = Ledger(Database(sqlite_files.fresh()))
    yield Book(ledger)
    ledger.database.close()


def end(book: Book, *wabas: str, outcome: Any = None) -> None:
    for waba in wabas:
        book.record(book.running(a_request(waba=waba)), outcome or Done({"n": 1}))


# ── a good day ──────────────────────────────────────────────────────────────────────────────────────────────


def test_the_hub_gets_each_event_signed_and_in_order(book: Book, hub: Hub) -> None:
    end(book, "10000")
    relay = a_relay(book, hub)
    end(book, "11111", "22222", "11111")

    for _ in range(3):
        relay.turn()

    assert sorted(hub.taken) == [2, 3, 4], "what was told before the first start is not sent"
    of_one = [event.cursor for event, _ in hub.came if event.waba == "11111"]
    assert of_one == [2, 4]
    now = book.clock.now().timestamp()
    for body, headers in zip(hub.bodies, hub.headers, strict=True):
        assert feed.verify(body, headers, [SECRET], now=now).kind is EventKind.SUCCEEDED
        assert headers["X-Wabajobs-Attempt"] == "1"
    assert book.ledger.callbacks.backlog().waiting == 0


def test_only_the_kinds_that_are_wanted_are_sent(sqlite_book: Book, hub: Hub) -> None:
    relay = a_relay(sqlite_book, hub, kinds=("operation.failed",))
    end(sqlite_book, "11111")
    end(sqlite_book, "11111", outcome=Failed("no"))

    relay.turn()
    relay.turn()

    assert hub.taken == [2]


def test_it_runs_beside_its_caller_while_it_is_told_to(sqlite_book: Book, hub: Hub) -> None:
    relay = a_relay(sqlite_book, hub, retry_seconds=0.05)
    end(sqlite_book, "11111", "22222")

    relay.keep_up()

    until(lambda: sorted(hub.taken) == [1, 2], what="both events have arrived", within=20)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"body": b"{}"}, "signature is not ours"),
        ({"secret": "another"}, "signature is not ours"),
        ({"timestamp": ""}, "has no X-Wabajobs-Timestamp"),
        ({"later": 301}, "signed too long ago"),
        ({"later": -301}, "signed too long ago"),
    ],
)
def test_what_is_not_ours_or_old_is_refused(change: dict[str, Any], why: str) -> None:
    body, at = b'{"cursor": 1}', "1000"
    headers = {
        feed.TIMESTAMP.lower(): change.get("timestamp", at),
        feed.SIGNATURE.upper(): feed.sign(body, timestamp=at, secret=SECRET),
    }

    with pytest.raises(InvalidRequest, match=why):
        feed.verify(
            change.get("body", body),
            headers,
            [change.get("secret", SECRET)],
            now=1000 + change.get("later", 0),
        )


# ── a bad one ───────────────────────────────────────────────────────────────────────────────────────────────


def test_an_event_that_is_refused_holds_up_its_own_waba_alone(book: Book, hub: Hub) -> None:
    relay = a_relay(book, hub)
    end(book, "11111", "11111", "22222")
    hub.answers = lambda event: 422 if event.cursor == 1 else 200

    relay.turn()
    relay.turn()
    assert hub.taken == [3]
    assert book.ledger.callbacks.backlog().last_error == "HTTP 422"

    hub.answers = lambda _event: 200
    book.pass_time(2)
    for _ in range(3):
        relay.turn()
    assert hub.taken == [3, 1, 2]


def test_a_redirect_is_not_followed(sqlite_book: Book, hub: Hub) -> None:
    relay = a_relay(sqlite_book, hub)
    end(sqlite_book, "11111")
    hub.answers = lambda _event: 302

    relay.turn()

    assert [answer for _, answer in hub.came] == [302]


def test_while_the_hub_is_away_one_event_asks_for_it(sqlite_book: Book, hub: Hub) -> None:
    relay = a_relay(sqlite_book, hub, connections=4)
    end(sqlite_book, *(str(20000 + number) for number in range(20)))
    hub.answers = lambda _event: 503

    rests = [relay.turn().total_seconds()]
    assert len(hub.came) == 4, "each connection stops at its first"
    for _ in range(4):
        sqlite_book.pass_time(rests[-1])
        rests.append(relay.turn().total_seconds())
    assert len(hub.came) == 4 + 4
    assert rests == [2, 4, 8, 16, 32]

    hub.answers = lambda _event: 200
    for _ in range(6):
        sqlite_book.pass_time(60)
        relay.turn()
    assert sorted(hub.taken) == list(range(1, 21))


def test_an_event_is_given_up_after_a_bounded_time_and_can_be_sent_again(book: Book, hub: Hub) -> None:
    relay = a_relay(book, hub, attempts=3)
    end(book, "11111", "11111")
    hub.answers = lambda event: 400 if event.cursor == 1 else 200
    for _ in range(6):
        relay.turn()
        book.pass_time(300)

    assert [event.cursor for event, _ in hub.came] == [1, 1, 1, 2]
    assert book.ledger.callbacks.backlog().given_up == 1

    hub.answers = lambda _event: 200
    assert book.ledger.callbacks.resend(after=None) == 1
    relay.turn()
    assert hub.taken == [2, 1]
    assert book.ledger.callbacks.backlog().given_up == 0


def test_an_event_is_given_up_after_its_time_also_with_few_tries(sqlite_book: Book, hub: Hub) -> None:
    relay = a_relay(sqlite_book, hub, give_up_seconds=3600)
    end(sqlite_book, "11111")
    hub.answers = lambda _event: 500
    relay.turn()
    sqlite_book.pass_time(3601)

    relay.turn()

    backlog = sqlite_book.ledger.callbacks.backlog()
    assert (backlog.given_up, backlog.waiting) == (1, 0)


def test_everything_behind_a_cursor_can_be_sent_again(book: Book, hub: Hub) -> None:
    relay = a_relay(book, hub)
    end(book, "11111", "11111", "11111")
    for _ in range(4):
        relay.turn()
    assert hub.taken == [1, 2, 3]

    assert book.ledger.callbacks.resend(after=1) == 2
    for _ in range(4):
        relay.turn()

    assert hub.taken == [1, 2, 3, 2, 3]
    with pytest.raises(InvalidRequest, match="none of this ledger's"):
        book.ledger.callbacks.resend(after=99)


def test_a_hub_that_is_not_there_at_all_is_away(sqlite_book: Book) -> None:
    relay = a_relay(sqlite_book, Hub(url="http://127.0.0.1:9/"))
    end(sqlite_book, "11111")

    rest = relay.turn()

    assert rest == timedelta(seconds=2)
    assert "no answer" in (sqlite_book.ledger.callbacks.backlog().last_error or "")


def test_where_no_address_is_set_nothing_is_sent(sqlite_book: Book) -> None:
    relay = a_relay(sqlite_book, Hub(url=""))
    before = threading.enumerate()

    relay.keep_up()

    assert set(threading.enumerate()) <= set(before)


@hypothesis(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_the_hub_answers_each_waba_gets_its_events_in_order(
    sqlite_files: SqliteFiles, data: st.DataObject
) -> None:
    """Each event is taken once, unless it was refused or the Hub was away more often than we try."""
    wabas = data.draw(st.lists(st.sampled_from(["11111", "22222", "33333"]), min_size=1, max_size=12))
    bad = {
        cursor: data.draw(st.lists(st.sampled_from([422, 503, 500]), max_size=3))
        for cursor in range(1, len(wabas) + 1)
    }
    ledger = Ledger(Database(sqlite_files.fresh()))
    book = Book(ledger, HandClock())
    with a_hub() as hub:
        relay = a_relay(book, hub)
        hub.answers = lambda event: bad[event.cursor].pop() if bad[event.cursor] else 200
        end(book, *wabas)
        for _ in range(120):
            relay.turn()
            book.pass_time(60)
            if len(hub.taken) == len(wabas):
                break

        assert sorted(hub.taken) == list(range(1, len(wabas) + 1))
        for waba in set(wabas):
            tried = [event.cursor for event, _ in hub.came if event.waba == waba]
            assert tried == sorted(tried), "none before the one that was told before it has been taken"
    ledger.database.close()


@pytest.mark.parametrize(
    ("callbacks", "why"),
    [
        ({"url": "ftp://hub"}, "an address begins with http"),
        ({"url": "https://user:pass@hub/x", "secret": {"env": "S"}}, "has no user"),
        ({"url": "https://hub/x"}, "callbacks: .*a callback is signed: say with what"),
        ({"url": "https://hub/x", "secret": {"env": "S"}, "kinds": ["operation.begun"]}, "operation.succeeded"),
    ],
)
def test_an_address_that_cannot_be_is_refused(
    callbacks: dict[str, Any], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wabajobs.toml").write_text(tomli_w.dumps({"callbacks": callbacks}))

    with pytest.raises(ConfigurationError, match=why):
        Settings.load({"WABAJOBS_CONFIG": str(tmp_path / "wabajobs.toml")})
