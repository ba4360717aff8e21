"""Incidents: episodes begin and end by themselves, what comes back joins, and only a person closes."""

from datetime import datetime, timedelta
from itertools import count, pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import delete, select

from tests.ledger.conftest import Book, a_request, at_once, hold
from tests.ledger.test_retention import days, prune
from wabajobs.errors import InvalidRequest, NotFound
from wabajobs.ledger import Condition, Episode, Incident, Ledger, Rules
from wabajobs.ledger.impact import _first_since
from wabajobs.ledger.tables import EventRow
from wabajobs.operation import Operation
from wabajobs.outcome import Done, Failed

APP = "10001"
QUIET, REJOIN = timedelta(minutes=30), timedelta(days=14)
RULES = Rules(quiet=QUIET, rejoin=REJOIN)


def breaker(book: Book, scope: str = f"app:{APP}", **changes: Any) -> Condition:
    evidence = f"the breaker of {scope} opened (code 4, fbtrace Abc)"
    return Condition(
        **({"cause": "breaker", "scope": scope, "since": book.clock.now(), "evidence": evidence} | changes)
    )


def see(book: Book, *conditions: Condition, app: str = APP, channels: tuple[str, ...] = ()) -> Episode | None:
    return book.ledger.incidents.see(app, conditions, rules=RULES, now=book.clock.now(), channels=channels)


def pass_quietly(book: Book, minutes: float, *, app: str = APP) -> None:
    """Let time go by, looking at its end and seeing nothing."""
    book.pass_time(minutes * 60)
    see(book, app=app)


def incidents(book: Book) -> list[Incident]:
    return book.ledger.incidents.find()[::-1]


def test_a_quiet_day_is_no_incident(book: Book) -> None:
    assert see(book) is None
    assert incidents(book) == []
    assert book.ledger.incidents.revision() == 0


def test_the_first_condition_opens_an_incident_with_an_episode(book: Book) -> None:
    began = book.clock.now() - timedelta(seconds=40)

    episode = see(book, breaker(book, since=began))

    [incident] = incidents(book)
    assert incident.episodes == (episode,)
    assert (incident.state, incident.app, incident.opened_by) == ("on", APP, "wabajobs")
    assert incident.title == "the breaker of app:10001 opened (code 4, fbtrace Abc)"
    assert incident.began_at == began
    assert [one.name for one in incident.notes] == ["opened"]


def test_conditions_of_one_app_are_one_episode_and_each_has_its_own_time(book: Book) -> None:
    began = book.clock.now()
    see(book, breaker(book))
    book.pass_time(60)
    see(book, breaker(book), breaker(book, f"app:{APP}/uploads"))
    book.pass_time(60)
    see(book, breaker(book, f"app:{APP}/uploads"))
    book.pass_time(60)
    see(book, breaker(book), breaker(book, f"app:{APP}/uploads"))
    book.pass_time(60)
    see(book)
    pass_quietly(book, 30)

    [incident] = incidents(book)
    [episode] = incident.episodes
    assert (episode.began_at, episode.ended_at) == (began, began + timedelta(minutes=3))
    app, uploads = episode.conditions
    assert (app.scope, app.times, app.seconds) == ("app:10001", 2, 60.0)
    assert (uploads.scope, uploads.times, uploads.seconds) == ("app:10001/uploads", 1, 120.0)
    assert incident.lasted(book.clock.now()) == timedelta(minutes=3)


def test_a_breaker_that_flaps_makes_one_episode(book: Book) -> None:
    for minute in range(200):
        book.pass_time(60)
        see(book, *([breaker(book)] if minute % 2 else []))

    [incident] = incidents(book)
    [episode] = incident.episodes
    assert episode.conditions[0].times == 100


def test_it_is_the_same_incident_when_it_comes_back(book: Book) -> None:
    see(book, breaker(book))
    pass_quietly(book, 30)
    days(book, 9)
    see(book, breaker(book))

    [incident] = incidents(book)
    assert len(incident.episodes) == 2
    assert incident.state == "on"


def test_a_closed_one_is_opened_again_within_two_weeks_and_not_after(book: Book) -> None:
    see(book, breaker(book))
    pass_quietly(book, 30)
    book.ledger.incidents.close(incidents(book)[0].id, reason="Meta says so", actor="anna", now=book.clock.now())
    days(book, 13)
    see(book, breaker(book))

    [incident] = incidents(book)
    assert (incident.state, len(incident.episodes)) == ("on", 2)
    assert [one.name for one in incident.notes] == ["opened", "closed", "reopened"]

    pass_quietly(book, 30)
    book.ledger.incidents.close(incident.id, reason="now really", actor="anna", now=book.clock.now())
    days(book, 15)
    see(book, breaker(book))
    assert [len(one.episodes) for one in incidents(book)] == [2, 1]


def test_apps_have_incidents_of_their_own_unless_a_person_has_opened_one_for_all(book: Book) -> None:
    see(book, breaker(book))
    see(book, breaker(book, "app:10002"), app="10002")
    assert [one.app for one in incidents(book)] == [APP, "10002"]

    book.ledger.incidents.open(app=None, title="the data centre", actor="anna", now=book.clock.now())
    see(book, breaker(book, "app:10003"), app="10003")

    last = incidents(book)[-1]
    assert (last.app, last.title, [one.app for one in last.episodes]) == (None, "the data centre", ["10003"])


def test_closing_is_refused_while_an_episode_is_on(book: Book) -> None:
    see(book, breaker(book))
    [incident] = incidents(book)

    with pytest.raises(InvalidRequest, match=r"is not over: the breaker of app:10001 opened.*--force"):
        book.ledger.incidents.close(incident.id, reason="done", actor="anna", now=book.clock.now())

    closed = book.ledger.incidents.close(
        incident.id, reason="a drill", actor="anna", now=book.clock.now(), force=True
    )
    book.pass_time(60)
    see(book, breaker(book))
    assert (closed.state, incidents(book)[0].state) == ("closed", "closed"), "what is known does not reopen it"
    pass_quietly(book, 30)
    see(book, breaker(book))
    assert incidents(book)[0].state == "on", "what comes after it does"
    with pytest.raises(NotFound, match="no incident 77; wabajobs incident list"):
        book.ledger.incidents.close(77, reason="done", actor="anna", now=book.clock.now())


def test_one_that_is_closed_is_not_closed_again_nor_one_opened_twice(book: Book) -> None:
    opened = book.ledger.incidents.open(app=APP, title="slow", actor="anna", now=book.clock.now())
    with pytest.raises(InvalidRequest, match=f"incident {opened.id} of the same is open"):
        book.ledger.incidents.open(app=APP, title="slow", actor="ben", now=book.clock.now())
    see(book, breaker(book))
    assert len(incidents(book)) == 1, "what the product sees belongs to it"
    pass_quietly(book, 30)
    noted = book.ledger.incidents.note(opened.id, text="called Meta", actor="ben", now=book.clock.now())
    assert (noted.notes[-1].name, noted.notes[-1].text, noted.notes[-1].actor) == ("note", "called Meta", "ben")

    book.ledger.incidents.close(opened.id, reason="over", actor="anna", now=book.clock.now())
    with pytest.raises(InvalidRequest, match="is closed already, by anna"):
        book.ledger.incidents.close(opened.id, reason="over", actor="ben", now=book.clock.now())


def test_two_dispatchers_that_see_it_at_once_open_one_incident(book: Book) -> None:
    at_once(4, lambda _: see(book, breaker(book), channels=("command",)))

    [incident] = incidents(book)
    assert len(incident.episodes) == 1
    assert [one.channel for one in incident.episodes[0].alarms] == ["command"]


# ── alarms ───────────────────────────────────────────────────────────────────────────────────────────────────


def due(book: Book) -> list[Any]:
    return book.ledger.incidents.due_alarms(now=book.clock.now(), again=timedelta(seconds=60))


def test_an_episode_is_told_once_by_each_way(book: Book) -> None:
    see(book, breaker(book), channels=("command", "url"))
    book.pass_time(1)
    see(book, breaker(book), channels=("command", "url"))

    taken = at_once(3, lambda _: due(book))
    [command, url] = sorted((one for each in taken for one in each), key=lambda one: one.channel)
    assert (command.channel, url.channel, command.tries) == ("command", "url", 1)
    book.ledger.incidents.alarmed(command, now=book.clock.now())
    again_at = book.clock.now() + timedelta(seconds=10)
    book.ledger.incidents.alarm_failed(url, error="HTTP 500", again_at=again_at)
    assert [one.error for one in book.ledger.incidents.mute_alarms()] == ["HTTP 500"]
    assert due(book) == []

    book.pass_time(10)
    [again] = due(book)
    assert (again.channel, again.tries) == ("url", 2)
    book.ledger.incidents.alarmed(again, now=book.clock.now())
    book.pass_time(3600)
    assert due(book) == []
    assert book.ledger.incidents.mute_alarms() == []
    assert [one.name for one in incidents(book)[0].notes] == ["opened", "alarmed", "alarmed"]


def test_an_alarm_whose_teller_died_is_told_by_another(book: Book) -> None:
    see(book, breaker(book), channels=("command",))
    assert len(due(book)) == 1
    book.pass_time(61)

    [again] = due(book)

    assert again.tries == 2


# ── retention ────────────────────────────────────────────────────────────────────────────────────────────────


def test_closed_incidents_go_at_their_age_with_all_that_is_theirs(book: Book) -> None:
    see(book, breaker(book), channels=("command",))
    pass_quietly(book, 30)
    book.ledger.incidents.close(incidents(book)[0].id, reason="over", actor="anna", now=book.clock.now())
    book.ledger.incidents.open(app="10002", title="open for ever", actor="anna", now=book.clock.now())
    days(book, 3651)

    assert prune(book) == {"incidents": 1}
    assert [one.title for one in incidents(book)] == ["open for ever"]


# ── any order ────────────────────────────────────────────────────────────────────────────────────────────────


_apps = count(10_001)


def machine(book: Book) -> type[RuleBasedStateMachine]:
    class Orders(RuleBasedStateMachine):
        """Trips, quiet times and closings of an app, in any order."""

        @initialize()
        def begin(self) -> None:
            days(book, 100)
            self.app = str(next(_apps))
            self.looks: list[tuple[datetime, bool]] = []

        @rule(scopes=st.sets(st.sampled_from(["", "/uploads", "/flows"]), max_size=2))
        def look(self, scopes: set[str]) -> None:
            see(
                book,
                *(breaker(book, f"app:{self.app}{each}") for each in scopes),
                app=self.app,
                channels=("url",),
            )
            self.looks.append((book.clock.now(), bool(scopes)))

        @rule(minutes=st.sampled_from([1, 1, 10, 29, 30, 31, 600]))
        def wait(self, minutes: int) -> None:
            book.pass_time(minutes * 60)

        @rule(number=st.sampled_from([1, 13, 14, 15]))
        def wait_for_days(self, number: int) -> None:
            days(book, number)

        @precondition(lambda self: any(one.closed_at is None for one in self.mine()))
        @rule(force=st.booleans())
        def close(self, force: bool) -> None:
            open_ = next(one for one in self.mine() if one.closed_at is None)
            try:
                book.ledger.incidents.close(
                    open_.id, reason="over", actor="anna", now=book.clock.now(), force=force
                )
            except InvalidRequest:
                assert open_.is_on
                assert not force
            else:
                assert force or not open_.is_on

        def mine(self) -> list[Incident]:
            return [one for one in book.ledger.incidents.find(at_most=12)[::-1] if one.app == self.app]

        @invariant()
        def episodes_are_the_times_between_which_it_was_quiet(self) -> None:
            if not hasattr(self, "app"):
                return
            expected = _episodes(self.looks)
            found = sorted((one.began_at, one.ended_at) for each in self.mine() for one in each.episodes)
            assert found == expected

        @invariant()
        def at_most_one_is_open_and_what_belongs_together_is_together(self) -> None:
            if not hasattr(self, "app"):
                return
            mine = self.mine()
            assert sum(one.closed_at is None for one in mine) <= 1
            for before, after in pairwise(mine):
                last = max(one.ended_at for one in before.episodes if one.ended_at)
                assert after.began_at - last > REJOIN, "it would have belonged to the one before"
            for one in mine:
                assert one.notes[0].name == "opened"
                names = [each.name for each in one.notes]
                assert names.count("closed") - names.count("reopened") == (one.closed_at is not None)
                assert all([alarm.channel for alarm in each.alarms] == ["url"] for each in one.episodes)

    return Orders


def _episodes(looks: list[tuple[datetime, bool]]) -> list[tuple[datetime, datetime | None]]:
    """Say by plain reckoning what the episodes are: a look that saw nothing for long enough has ended one."""
    found: list[tuple[datetime, datetime | None]] = []
    seen_at: datetime | None = None
    for at, something in looks:
        if something and (not found or found[-1][1] is not None):
            found.append((at, None))
        if something:
            seen_at = at
        elif found and found[-1][1] is None and seen_at is not None and at - seen_at >= QUIET:
            found[-1] = (found[-1][0], seen_at)
    return found


def test_any_order_of_trips_quiet_times_and_closings(ledger: Ledger) -> None:
    book = Book(ledger)
    run_state_machine_as_test(
        machine(book),
        settings=settings(
            max_examples=25 if ledger.database.is_sqlite else 10,
            stateful_step_count=30,
            deadline=None,
            phases=[Phase.explicit, Phase.reuse, Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


# ── what was felt ────────────────────────────────────────────────────────────────────────────────────────────


def test_what_operations_felt_is_told_by_kind_and_partner(book: Book) -> None:
    before = book.running(a_request())
    book.record(before, Done())
    book.pass_time(3600)
    since = book.clock.now()
    waits = book.accept_one(a_request(waba="2"))
    stopped = book.running(a_request(waba="3", partner="beta"))
    book.pass_time(10)
    book.record(stopped, hold(book, 60, by="breaker"))
    quick = book.running(a_request(waba="4"))
    book.record(quick, Done())
    book.pass_time(585)
    asked = book.accept_one(a_request(waba="5", kind="flow_publish"))
    [released] = book.release(kind="flow_publish")
    failed = book.begin(asked.id, released.fence)
    assert isinstance(failed, Operation)
    book.pass_time(5)
    book.record(failed, Failed("no"))
    until = book.clock.now()
    book.pass_time(3600)
    book.accept_one(a_request(waba="6"))
    other_app = book.ledger.impacts.of(app="10002", since=since, until=until, patience=timedelta(minutes=1))

    felt = book.ledger.impacts.of(app=APP, since=since, until=until, patience=timedelta(minutes=1))
    stops = book.ledger.impacts.stops(app=APP, since=since, until=until)

    assert other_app == []
    assert {(one.kind, one.partner): (one.unfinished, one.delayed, one.failed, one.expired) for one in felt} == {
        ("template_sync", "acme"): (2, 1, 0, 0),
        ("template_sync", "beta"): (1, 1, 0, 0),
        ("flow_publish", "acme"): (1, 0, 1, 0),
    }
    assert [(one.kind, one.partner, one.by, one.operations) for one in stops] == [
        ("template_sync", "beta", "breaker", 1)
    ]
    assert stops[0].last_at == since + timedelta(seconds=10)
    assert waits.state == "waiting"


def test_the_first_event_since_a_moment_is_found(book: Book) -> None:
    moments = []
    for nth in range(20):
        moments.append(book.clock.now())
        book.accept_one(a_request(waba=f"{nth}"))
        book.pass_time(60)
    with book.ledger.database.write() as connection:
        connection.execute(delete(EventRow).where(EventRow.id.between(5, 9)))

    with book.ledger.database.read() as connection:
        rows = connection.execute(select(EventRow.id, EventRow.at).order_by(EventRow.id)).all()
        for moment in [*moments, book.clock.now()]:
            found = _first_since(connection, moment)
            assert [row.id for row in rows if row.id >= found] == [row.id for row in rows if row.at >= moment]
