"""Operations go by another app where they may: what waits, in its order, and what comes; never what is bound."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.ledger.conftest import APP, LEASE, WABA, Book, a_request, a_sync, hold
from tests.ledger.test_templates import a_template, synced
from tests.support.databases import SqliteFiles
from wabajobs.capability import Capability
from wabajobs.errors import ConfigurationError, IdempotencyConflict, InvalidRequest
from wabajobs.intake import Request, checked
from wabajobs.kinds import Catalogue, Step, catalogue
from wabajobs.ledger import Database, Ledger, NewOperation, Route
from wabajobs.operation import Operation, State
from wabajobs.outcome import Done, Hold
from wabajobs.routing import Router, Sorted
from wabajobs.settings import Settings

OTHER = "20002"
SYNC = catalogue()["template_sync"]
UPLOAD = Step(name="upload", run=lambda _work: {}, capability=Capability.UPLOADS)
KINDS = Catalogue(
    [
        SYNC,
        replace(SYNC, name="free", coalesces=False, touches=lambda payload: str(payload.get("touches"))),
        replace(SYNC, name="tied", coalesces=False, may_change_app=False),
        replace(SYNC, name="media", coalesces=False, steps=(UPLOAD, *SYNC.steps)),
    ]
)
APPS = {app: {"token": {"env": "TOKEN"}} for app in (APP, OTHER)}
SETTINGS = Settings.model_validate({"apps": APPS})


def a_router(book: Book) -> Router:
    return Router(book.ledger, KINDS, SETTINGS, clock=book.clock)


def a_route(book: Book, **changes: Any) -> Route:
    facts: dict[str, Any] = {
        "from_app": APP,
        "to_app": OTHER,
        "reason": "app limit",
        "actor": "anna",
        "created_at": book.clock.now(),
    }
    return Route(**(facts | changes))


def moved(book: Book, route: Route | None = None) -> Sorted:
    [*_, last] = a_router(book).move(route or a_route(book), actor="anna")
    return last


def free(**changes: Any) -> NewOperation:
    return a_request(**({"kind": "free"} | changes))


def order(book: Book, *, app: str) -> list[str]:
    """Return what would be released of an app, in its order."""
    return [one.id for one in book.ready(kind="free") if one.app == app]


# ── what moves ──────────────────────────────────────────────────────────────────────────────────────────────


def test_what_waits_queues_for_the_other_app_in_its_order(book: Book) -> None:
    there = book.accept_one(free(app=OTHER, waba="77777"))
    operations = []
    for waba in ("11111", "11111", "22222"):
        operations.append(book.accept_one(free(waba=waba)))
        book.pass_time(1)

    assert moved(book) == Sorted(moves=3)

    first, second, other = (one.id for one in operations)
    assert order(book, app=APP) == []
    assert order(book, app=OTHER) == [there.id, first, other, second], "WABAs take turns, as in any line"
    now = book.get(operations[0])
    assert (now.app, now.routed_from) == (OTHER, APP)
    [*_, event] = book.ledger.operations.story(first)
    assert (event.name, event.actor, event.detail) == (
        "routed",
        "anna",
        {"from": APP, "to": OTHER, "reason": "app limit"},
    )
    released = {one.id for one in book.release(kind="free")}
    assert released == {there.id, *(one.id for one in operations)}


def test_what_its_app_has_held_goes_at_once_and_what_backs_off_goes_when_it_is_due(book: Book) -> None:
    held = {}
    for by in ("budget", "breaker", "retry", "meta"):
        operation = book.accept_one(free())
        [leased] = book.lease([operation])
        begun = book.begin(leased.id, leased.fence)
        assert isinstance(begun, Operation)
        held[by] = book.record(begun, hold(book, 600, by=by))

    moved(book)

    assert {by: book.get(one).state for by, one in held.items()} == {
        "budget": State.WAITING,
        "breaker": State.WAITING,
        "retry": State.HELD,
        "meta": State.HELD,
    }
    assert all(book.get(one).app == OTHER for one in held.values())
    book.pass_time(600)
    assert set(order(book, app=OTHER)) == {one.id for one in held.values()}


def test_what_touches_the_same_overtakes_nobody_by_another_app(book: Book) -> None:
    running, second, third = book.accept(*(free(lane="acme:1:template:x") for _ in range(3)))
    [leased] = book.release(kind="free")
    begun = book.begin(leased.id, leased.fence)
    assert isinstance(begun, Operation)

    assert moved(book) == Sorted(2, Counter({"it is at a worker, or on its way to one": 1}))

    fourth = book.accept_one(free(lane="acme:1:template:x", app=OTHER))
    assert order(book, app=OTHER) == []
    book.record(begun, Done())
    for following in (second, third, fourth):
        [leased] = book.release(kind="free")
        assert leased.id == following.id
        begun = book.begin(leased.id, leased.fence)
        assert isinstance(begun, Operation)
        book.record(begun, Done())
    assert running.app == APP


def test_who_asks_again_joins_what_was_moved(book: Book) -> None:
    operation = book.accept_one(a_sync())
    moved(book)

    [again] = book.ledger.operations.accept([a_sync(app=OTHER)], now=book.clock.now())

    assert (again.created, again.operation.id, again.operation.app) == (False, operation.id, OTHER)
    [back] = book.ledger.operations.accept([a_sync()], now=book.clock.now())
    assert (back.operation.id, back.operation.app, back.operation.routed_from) == (operation.id, APP, None)


def test_only_what_is_named_moves(book: Book) -> None:
    book.accept(free(), free(partner="other"), free(waba="99999"), a_request())

    for changes, number in (({"kind": "free"}, 3), ({"partner": "other"}, 1), ({"waba": "99999"}, 1)):
        assert a_router(book).preview(a_route(book, **changes)).moves == number
    moved(book, a_route(book, kind="free", partner="acme", waba=WABA))

    assert sorted((one.kind, one.waba, one.partner) for one in book.all() if one.app == OTHER) == [
        ("free", WABA, "acme")
    ]


def test_what_has_come_back_has_been_nowhere(book: Book) -> None:
    operation = book.accept_one(free())
    moved(book)

    moved(book, a_route(book, from_app=OTHER, to_app=APP))

    assert (book.get(operation).app, book.get(operation).routed_from) == (APP, None)


def test_what_a_dispatcher_takes_meanwhile_is_not_moved(book: Book) -> None:
    operation = book.accept_one(free())
    [candidate] = book.ledger.routes.candidates(a_route(book), after="", at_most=10)
    [leased] = book.release(kind="free")

    number = book.ledger.routes.move([candidate.operation], a_route(book), actor="anna", now=book.clock.now())

    assert (number, book.get(operation).app) == (0, APP)
    assert isinstance(book.begin(leased.id, leased.fence), Operation)


def test_many_move_in_small_transactions(book: Book) -> None:
    book.accept(*(free(waba=str(10_000 + number)) for number in range(450)))

    steps = [told.moves for told in a_router(book).move(a_route(book), actor="anna")]

    assert steps == [200, 400, 450, 450]
    assert not a_router(book).preview(a_route(book)).moves


# ── what stays ──────────────────────────────────────────────────────────────────────────────────────────────


def interrupted(book: Book, new: NewOperation, checkpoint: dict[str, Any]) -> Operation:
    """Let an attempt be held on the way."""
    operation = book.accept_one(new)
    [leased] = book.lease([operation])
    begun = book.begin(leased.id, leased.fence)
    assert isinstance(begun, Operation)
    book.checkpoint(begun, checkpoint)
    return book.record(begun, Hold(reason="budget", by="budget", until=book.clock.now() + LEASE))


@pytest.mark.parametrize(
    ("new", "checkpoint", "why"),
    [
        (a_request(kind="tied"), None, "a tied may not change its app"),
        (a_request(kind="unheard_of"), None, "there is no kind unheard_of here"),
        (
            free(),
            {"begun": {"create": True}},
            "its step 'create' may have happened: by the same app it finds out",
        ),
        (a_request(kind="media"), {"done": {"upload": {}}}, "its upload handle is bound to its app"),
        (
            a_request(kind="media"),
            {"progress": {"upload": {"session": "upload:x"}}},
            "its upload handle is bound to its app",
        ),
        (free(payload={"header_handle": "h"}), None, "its upload handle is bound to its app"),
        (
            free(payload={"components": [{"example": ["4::aW1hZ2U=:ARa:e:1"]}]}),
            None,
            "its upload handle is bound to its app",
        ),
        (
            free(payload={"token": "vault:business/1"}),
            None,
            "it keeps a secret that may be bound to its app",
        ),
        (
            free(secrets={"operations/x/token": "sealed"}),
            None,
            "it keeps a secret that may be bound to its app",
        ),
    ],
    ids=lambda one: "" if not isinstance(one, str) else one[:30],
)
def test_what_is_bound_to_its_app_stays_and_says_why(
    book: Book, new: NewOperation, checkpoint: dict[str, Any] | None, why: str
) -> None:
    new = replace(new, id=str(new.id))
    operation = interrupted(book, new, checkpoint) if checkpoint else book.accept_one(new)

    assert dict(a_router(book).preview(a_route(book)).stays) == {why: 1}
    told = moved(book)

    assert (told.moves, dict(told.stays)) == (0, {why: 1})
    assert book.get(operation).app == APP


def test_a_pin_and_progress_of_another_sort_bind_nobody(book: Book) -> None:
    with_pin = book.accept_one(
        free(payload={"pin": "vault:operations/1/pin"}, secrets={"operations/1/pin": "sealed"})
    )
    half_read = interrupted(book, free(), {"progress": {"read": {"cursor": "QVFI", "pages": 3}}})

    assert moved(book).moves == 2
    assert [book.get(one).app for one in (with_pin, half_read)] == [OTHER, OTHER]


# ── standing routes ─────────────────────────────────────────────────────────────────────────────────────────


def asked(book: Book, **changes: Any) -> NewOperation:
    request = Request(**({"kind": "free", "partner": "acme", "waba": WABA, "app": APP} | changes))
    new = checked(request, kinds=KINDS, settings=SETTINGS, home_of=book.ledger.homes.of)
    router = a_router(book)
    return router.routed(new, router.standing())


def test_what_comes_follows_a_standing_route_until_it_is_lifted(book: Book) -> None:
    route = book.ledger.routes.put(a_route(book, ends_at=book.clock.now() + timedelta(hours=1)))

    assert (asked(book).app, asked(book).routed_from) == (OTHER, APP)
    assert asked(book, kind="tied").app == APP, "what may not change its app goes as before"
    assert asked(book, app=OTHER).routed_from is None
    book.pass_time(3600)
    assert asked(book).app == APP, "it has ended"

    route = book.ledger.routes.put(a_route(book))
    assert asked(book).app == OTHER
    assert book.ledger.routes.lift(route.id, reason="over", actor="anna", now=book.clock.now())
    assert not book.ledger.routes.lift(route.id, reason="over", actor="anna", now=book.clock.now())
    assert asked(book).app == APP


def test_the_same_request_is_the_same_also_after_a_route(book: Book) -> None:
    book.ledger.routes.put(a_route(book))
    routed = asked(book, key="k")
    [first] = book.accept(routed)
    assert first.app == OTHER

    book.ledger.routes.lift(1, reason="over", actor="anna", now=book.clock.now())

    assert book.accept(asked(book, key="k"))[0].id == first.id
    with pytest.raises(IdempotencyConflict):
        book.accept(asked(book, key="k", app=OTHER))


def test_what_comes_to_rest_later_is_taken_along(book: Book) -> None:
    running = book.accept_one(free())
    [leased] = book.release(kind="free")
    begun = book.begin(leased.id, leased.fence)
    assert isinstance(begun, Operation)
    moment = [0.0]
    router = Router(book.ledger, KINDS, SETTINGS, clock=book.clock, monotonic=lambda: moment[0])
    book.ledger.routes.put(a_route(book))
    router.keep_up()
    router.keep_up()

    book.record(begun, hold(book, 600))
    for _ in range(3):
        moment[0] += 31
        router.keep_up()

    assert (book.get(running).app, book.get(running).state) == (OTHER, State.WAITING)


@pytest.mark.parametrize(
    ("changes", "error", "why"),
    [
        ({"to_app": APP}, InvalidRequest, "both ends"),
        ({"to_app": "30003"}, ConfigurationError, "'30003' is not configured"),
        ({"kind": "tied"}, InvalidRequest, "a tied may not change its app"),
        ({"kind": "nonsense"}, InvalidRequest, "there is no kind 'nonsense'"),
        ({"reason": " "}, InvalidRequest, "say why"),
        ({"from_app": OTHER, "to_app": APP}, InvalidRequest, "in circles, or on and on.*wabajobs apps unroute 1"),
    ],
)
def test_a_route_that_cannot_be_is_refused(
    book: Book, changes: dict[str, Any], error: type[Exception], why: str
) -> None:
    book.ledger.routes.put(a_route(book))

    with pytest.raises(error, match=why):
        a_router(book).check(a_route(book, **changes))


# ── home apps ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_home_app_is_learned_from_what_succeeds_and_set_by_people(book: Book) -> None:
    with pytest.raises(InvalidRequest, match=rf"several are configured .* wabajobs apps home {WABA} APP"):
        asked(book, app=None)
    book.record(run(book, free(app=OTHER)), Done())

    assert asked(book, app=None).app == OTHER
    home = book.ledger.homes.get(WABA)
    assert home is not None
    assert (home.app, home.actor) == (OTHER, None)

    book.record(run(book, free(app=APP)), Done())
    assert asked(book, app=None).app == OTHER, "the first counts"
    book.ledger.homes.set(WABA, APP, actor="anna", reason="moved", now=book.clock.now())
    assert asked(book, app=None).app == APP
    assert book.ledger.homes.count() == {APP: 1}


def run(book: Book, new: NewOperation) -> Operation:
    operation = book.accept_one(new)
    [leased] = book.lease([operation])
    begun = book.begin(leased.id, leased.fence)
    assert isinstance(begun, Operation)
    return begun


def test_what_was_routed_teaches_nothing(book: Book) -> None:
    operation = book.accept_one(free())
    moved(book)
    [leased] = book.lease([book.get(operation)])
    begun = book.begin(leased.id, leased.fence)
    assert isinstance(begun, Operation)

    book.record(begun, Done())

    assert book.ledger.homes.of(WABA) is None


def test_a_list_that_was_synced_by_another_app_stays_at_home(book: Book) -> None:
    synced(book, a_template("1"))
    operation = book.accept_one(a_sync())
    moved(book)
    [leased] = book.lease([book.get(operation)])
    begun = book.begin(leased.id, leased.fence)
    assert isinstance(begun, Operation)
    book.stage(begun, 0, [a_template("1")])
    book.ledger.templates.swap(begun, checkpoint=lambda _: {}, page_size=100, now=book.clock.now())

    kept = book.ledger.fleet.get(WABA, settings=SETTINGS.planner)

    assert kept is not None
    assert kept.app == APP


# ── whatever happens ────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    script=st.lists(
        st.sampled_from(["accept", "accept", "there", "back", "work", "hold", "wake"]), min_size=5, max_size=40
    ),
    lanes=st.integers(1, 3),
)
def test_however_operations_are_moved_each_runs_once_and_lanes_keep_their_order(
    sqlite_files: SqliteFiles, script: list[str], lanes: int
) -> None:
    ledger = Ledger(Database(sqlite_files.fresh()))
    book = Book(ledger)
    accepted: dict[str, list[str]] = {}
    done: dict[str, list[str]] = {}

    def work(outcome: Any = None) -> None:
        for leased in book.release(1, kind="free"):
            begun = book.begin(leased.id, leased.fence)
            assert isinstance(begun, Operation)
            book.record(begun, outcome or Done())
            if outcome is None:
                done.setdefault(str(begun.lane), []).append(begun.id)

    for number, step in enumerate(script):
        book.pass_time(1)
        if step == "accept":
            lane = f"lane {number % lanes}"
            one = book.accept_one(free(lane=lane, waba=str(10_000 + number % 4), app=(APP, OTHER)[number % 2]))
            accepted.setdefault(lane, []).append(one.id)
        elif step == "there":
            moved(book)
        elif step == "back":
            moved(book, a_route(book, from_app=OTHER, to_app=APP))
        elif step == "work":
            work()
        elif step == "hold":
            work(hold(book, 30))
        else:
            book.pass_time(60)
    for _ in range(len(script)):
        book.pass_time(60)
        work()

    assert done == accepted
    ledger.database.close()
