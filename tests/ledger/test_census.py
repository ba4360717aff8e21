"""What is not finished is counted as if each operation had been looked at."""

import random
from collections import Counter
from collections.abc import Iterable

import pytest

from tests.ledger.conftest import WABA, Book, a_pause, a_request, hold
from tests.ledger.test_query_plans import listened_to
from wabajobs.capability import Capability, ServiceClass
from wabajobs.decisions import Pause, PauseMode, Scope
from wabajobs.ledger import Part
from wabajobs.operation import FINISHED, Operation
from wabajobs.outcome import Done

SCOPES = (
    "all",
    "app:10001",
    "app:10002",
    "capability:template_reads",
    "queue:template_sync",
    "queue:onboarding",
    "partner:acme",
    "partner:bolt",
    "partner:acme/template_sync",
    f"waba:{WABA}",
    "waba:7",
)


@pytest.fixture
def crowd(book: Book) -> Book:
    """A ledger with something of everything."""
    chance = random.Random(7)
    book.accept(
        *(
            a_request(
                kind=chance.choice(["template_sync", "onboarding"]),
                partner=chance.choice(["acme", "bolt"]),
                app=chance.choice(["10001", "10002"]),
                waba=chance.choice([WABA, "7", None]),
                capability=chance.choice([Capability.TEMPLATE_READS, Capability.ONBOARDING]),
                service_class=chance.choice(list(ServiceClass)),
            )
            for _ in range(60)
        )
    )
    for nth, one in enumerate(book.release(20)):
        begun = book.begin(one.id, one.fence)
        assert isinstance(begun, Operation)
        if nth % 4 < 2:
            book.checkpoint(begun, {"page": 1})
        if nth % 3:
            book.record(begun, Done() if nth % 2 else hold(book, by="breaker" if nth % 4 else "retry"))
    return book


def told(parts: Iterable[Part]) -> Counter[tuple[str, ...]]:
    counted: Counter[tuple[str, ...]] = Counter()
    for part in parts:
        counted[part.line.kind, part.line.partner, part.line.app, part.state, part.held_by or ""] += (
            part.operations
        )
    return counted


def seen(operations: Iterable[Operation]) -> Counter[tuple[str, ...]]:
    open_ = (one for one in operations if one.state not in FINISHED)
    return Counter((one.kind, one.partner, one.app, one.state, one.hold.by if one.hold else "") for one in open_)


def is_in(one: Operation, *scopes: str) -> bool:
    return all(one.is_covered_by(a_pause(scope)) for scope in scopes)


def test_a_scope_holds_what_it_covers(crowd: Book) -> None:
    for scope in SCOPES:
        parts = crowd.ledger.operations.census(Scope.of(scope))

        assert told(parts) == seen(one for one in crowd.all() if is_in(one, scope)), scope


@pytest.mark.parametrize(
    "others",
    [["partner:acme"], ["waba:7", "partner:acme"], ["waba:7", f"waba:{WABA}", "queue:onboarding"]],
    ids=str,
)
def test_what_two_scopes_share_is_counted_once(crowd: Book, others: list[str]) -> None:
    operations = crowd.ledger.operations
    for within in SCOPES:
        scope = Scope.of(within)
        parts = operations.census_among(operations.census(scope), [Scope.of(one) for one in others], within=scope)

        shared = [one for one in crowd.all() if is_in(one, within) and any(is_in(one, other) for other in others)]
        assert told(parts) == seen(shared)


@pytest.mark.parametrize(
    "pauses",
    [
        [a_pause("partner:acme")],
        [a_pause("waba:7")],
        [a_pause("waba:7"), a_pause("partner:bolt/onboarding"), a_pause(f"waba:{WABA}")],
        [a_pause("all")],
        [a_pause("all", percent=10), a_pause("queue:onboarding")],
        [a_pause("all", mode=PauseMode.DRAIN), a_pause("partner:acme")],
        [a_pause("waba:7", mode=PauseMode.DRAIN)],
    ],
    ids=lambda pauses: ", ".join(map(str, pauses)),
)
def test_it_is_counted_as_it_is_shown_under_pauses(crowd: Book, pauses: list[Pause]) -> None:
    parts = crowd.ledger.operations.census_under(pauses)

    assert told(parts) == seen(one.under(pauses) for one in crowd.all())


def test_the_wabas_of_a_scope_are_counted_up_to_a_bound(crowd: Book) -> None:
    count = crowd.ledger.operations.wabas
    kinds = {"template_sync", "onboarding"}

    assert count(Scope.of("all"), kinds=kinds) == (2, False)
    assert count(Scope.of("waba:7"), kinds=kinds) == (1, False)
    assert count(Scope.of("all"), kinds=kinds, at_most=3)[1]
    assert count(Scope.of("all"), kinds=()) == (0, False)


def test_a_waba_with_very_much_is_found_in_its_line(book: Book) -> None:
    book.accept(*(a_request(waba=str(number)) for number in range(1000, 1050)))
    book.accept(*(a_request(waba="666") for _ in range(30)))
    operations = book.ledger.operations

    crowds = operations.crowds(part.line for part in operations.census())

    assert sum(part.operations for part in crowds["666"]) == 30


def test_it_is_counted_from_an_index_alone(book: Book) -> None:
    book.accept(*(a_request(waba=str(number)) for number in range(1000, 1200)))
    database = book.ledger.database

    with listened_to() as told:
        book.ledger.operations.census()

    [(statement, asked)] = told
    explain = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN"
    with database.read() as connection:
        plan = " ".join(str(row[-1]) for row in connection.exec_driver_sql(f"{explain} {statement}", asked))
    assert "COVERING INDEX ix_operations_open" in plan or "Index Only Scan using ix_operations_open" in plan


def test_what_has_begun_is_counted_where_it_is_short(book: Book) -> None:
    book.accept(*(a_request(waba=str(number)) for number in range(1000, 1200)))
    database = book.ledger.database

    with listened_to() as told:
        book.ledger.operations.census_begun(Scope.of("all"))

    assert len(told) == 2
    for (statement, asked), index in zip(told, ("ix_operations_begun", "ix_operations_held"), strict=True):
        explain = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN"
        with database.read() as connection:
            plan = " ".join(str(row[-1]) for row in connection.exec_driver_sql(f"{explain} {statement}", asked))
        assert index in plan
