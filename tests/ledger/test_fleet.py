"""The record of the fleet: who is in it, the stalest by one seek, and what is planned, on both databases."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from tests.ledger.conftest import APP, PARTNER, WABA, Book, a_sync, at_once, hold
from tests.ledger.test_templates import a_template, swap, synced
from wabajobs.ledger import Kept, Ledger, NewOperation, Wish
from wabajobs.operation import Operation, State
from wabajobs.outcome import Done, Failed
from wabajobs.settings import PlannerSettings

SETTINGS = PlannerSettings(jitter=0)


def keep(book: Book, *wabas: str, **changes: Any) -> None:
    facts = {"app": APP, "partner": PARTNER, "every": None, "actor": "anna", "reason": "a test"}
    book.ledger.fleet.keep(wabas, now=book.clock.now(), settings=SETTINGS, **(facts | changes))


def kept(book: Book, waba: str = WABA) -> Kept:
    found = book.ledger.fleet.get(waba, settings=SETTINGS)
    assert found is not None
    return found


def stalest(book: Book, **more: Any) -> list[str]:
    return [one.waba for one in book.ledger.fleet.stalest(APP, now=book.clock.now(), **({"at_most": 100} | more))]


def plan(book: Book, *requests: NewOperation) -> list[str | None]:
    return [one.waba for one in book.ledger.fleet.plan(requests, now=book.clock.now())]


def test_a_sync_brings_its_waba_in_and_says_what_it_cost(book: Book) -> None:
    running = book.running(a_sync())
    book.stage(running, 0, [a_template("1")])
    book.ledger.templates.swap(
        running, checkpoint=dict, page_size=100, now=book.clock.now(), calls=7, planner=SETTINGS
    )

    found = kept(book)

    assert (found.app, found.partner, found.calls, found.actor) == (APP, PARTNER, 7, None)
    assert found.due.at == book.clock.now() + timedelta(hours=1)
    assert found.as_json()["why"] == "every 1 h, as the configuration asks"


def test_the_stalest_come_first_and_those_that_are_planned_not_at_all(book: Book) -> None:
    for waba in ("30003", "10001", "20002"):
        keep(book, waba)
        book.pass_time(1)
    keep(book, "40004", partner="bolt")

    assert stalest(book) == ["30003", "10001", "20002", "40004"]
    assert stalest(book, at_most=2) == ["30003", "10001"]
    assert stalest(book, but_partners={"bolt"}, but_wabas={"10001"}) == ["30003", "20002"]
    plan(book, a_sync("30003"))
    assert stalest(book) == ["10001", "20002", "40004"]


def test_what_is_planned_is_seen_until_it_has_ended(book: Book) -> None:
    keep(book, "10001", "20002", "30003")
    assert plan(book, *(a_sync(waba) for waba in ("10001", "20002", "30003"))) == ["10001", "20002", "30003"]
    begun = [book.begin(one.id, one.fence) for one in book.release()]
    good, bad, held = (one for one in begun if isinstance(one, Operation))
    book.stage(good, 0, [a_template("1")])
    swap(book, good)
    book.record(good, Done())
    book.record(bad, Failed({"message": "Forbidden"}))
    book.record(held, hold(book))

    planned = {one.waba: one for one in book.ledger.fleet.planned()}
    book.ledger.fleet.settle(
        [one for one in planned.values() if one.ended], now=book.clock.now(), settings=SETTINGS
    )

    states = {waba: one.state for waba, one in planned.items()}
    assert states == {"10001": State.SUCCEEDED, "20002": State.FAILED, "30003": State.HELD}
    assert [one.waba for one in book.ledger.fleet.planned()] == ["30003"]
    assert (kept(book, "10001").facts.failures, kept(book, "20002").facts.failures) == (0, 1)
    assert kept(book, "20002").due.at == book.clock.now() + timedelta(hours=1)


def test_a_sync_under_way_is_neither_doubled_nor_disturbed(book: Book) -> None:
    keep(book, "10001", "20002", "30003")
    running = book.running(a_sync("10001"))
    waiting = book.accept_one(a_sync("20002"))

    assert plan(book, *(a_sync(waba) for waba in ("10001", "20002", "30003"))) == ["30003"]

    assert kept(book, "10001").operation_id == running.id
    assert (book.get(waiting).callers, kept(book, "20002").operation_id) == (1, waiting.id)


def test_planning_is_all_or_nothing(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(book, "10001")

    def fails(*_args: object, **_more: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("wabajobs.ledger.fleet.update", fails)
    with pytest.raises(RuntimeError):
        plan(book, a_sync("10001"))

    assert book.all() == []


def test_two_planners_at_once_plan_each_waba_once(book: Book) -> None:
    wabas = [str(10_000 + number) for number in range(40)]
    keep(book, *wabas)

    at_once(4, lambda _: plan(book, *(a_sync(waba) for waba in wabas)))

    assert sorted(str(one.waba) for one in book.all()) == wabas


def test_many_are_kept_forgotten_and_given_another_wish(book: Book) -> None:
    wabas = [str(100_000 + number) for number in range(1200)]
    keep(book, *wabas, wabas[0])
    keep(book, *wabas[:600], app="20002")
    wish = Wish(app=APP, every=timedelta(hours=5), share=None, actor="bob", reason="enough")
    book.ledger.fleet.wish(wish, now=book.clock.now(), settings=SETTINGS)
    forgotten = book.ledger.fleet.forget(
        wabas[:3], actor="anna", reason="left", now=book.clock.now(), settings=SETTINGS
    )

    assert forgotten == wabas[:3]
    assert kept(book, wabas[0]).due.at is None
    assert kept(book, wabas[5]).facts.every == timedelta(hours=1)
    assert kept(book, wabas[700]).due.every == timedelta(hours=5)
    surveys = {one.app: one for one in book.ledger.fleet.surveys(now=book.clock.now())}
    assert (surveys[APP].wabas, surveys["20002"].wabas) == (600, 597)
    assert surveys[APP].wished_per_second == pytest.approx(600 / 18_000)


def test_a_sync_and_a_wish_at_the_same_moment_lose_nothing(book: Book) -> None:
    for number in range(8):
        waba = str(70_000 + number)
        running = book.running(a_sync(waba))
        book.stage(running, 0, [a_template("1")])

        at_once(
            2,
            lambda n, waba=waba, running=running: (  # type: ignore[misc]
                swap(book, running) if n else keep(book, waba, every=timedelta(minutes=5))
            ),
        )

        found = kept(book, waba)
        assert found.facts.success_at is not None
        assert found.facts.every == timedelta(minutes=5)
        book.record(running, Done())


def test_a_template_that_waits_for_meta_is_noticed_by_the_sync(book: Book) -> None:
    synced(book, a_template("1"), a_template("2", status="IN_APPEAL"))
    pending = kept(book).facts.pending_since
    synced(book, a_template("1"), a_template("2"))

    assert pending == book.clock.now()
    assert kept(book).facts.pending_since is None


def test_the_stalest_are_found_by_one_seek(ledger: Ledger) -> None:
    query = (
        "SELECT waba, app, partner, due_at, calls FROM fleet WHERE app = '1' AND operation_id IS NULL"
        " AND due_at IS NOT NULL AND due_at <= '2026-01-01' ORDER BY due_at, waba LIMIT 10"
    )
    with ledger.database.read() as connection:
        if ledger.database.is_sqlite:
            rows = connection.execute(text(f"EXPLAIN QUERY PLAN {query}")).all()
        else:
            connection.execute(text("SET enable_seqscan = off"))
            connection.execute(text("SET enable_bitmapscan = off"))
            rows = connection.execute(text(f"EXPLAIN {query}")).all()
    told = "\n".join(str(row[-1]) for row in rows)

    assert "ix_fleet_due" in told
    assert "Sort" not in told
    assert "B-TREE" not in told


def test_an_old_wish_is_outranked_by_the_newest(book: Book) -> None:
    for every in (timedelta(hours=2), None, timedelta(hours=3)):
        wish = Wish(app="", every=every, share=0.2, actor="bob", reason="so")
        book.ledger.fleet.wish(wish, now=book.clock.now(), settings=SETTINGS)

    wishes = book.ledger.fleet.wishes(SETTINGS)

    assert wishes.every(APP) == (timedelta(hours=3), "bob (so)")
    assert wishes.share(APP) == 0.2
