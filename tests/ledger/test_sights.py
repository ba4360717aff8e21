"""What the product has seen is kept, can be asked for by time and name, and goes at its age."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.ledger.conftest import Book, a_pause, a_request, hold
from tests.ledger.test_retention import AGES, days, prune
from wabajobs.capability import Capability, ServiceClass
from wabajobs.errors import InvalidRequest
from wabajobs.ledger import Happening, QueueSample, Sample, Spent, Used, Who
from wabajobs.outcome import Done

APP = "10001"
MINUTE = timedelta(minutes=1)


def happening(book: Book, name: str = "refused", **changes: Any) -> Happening:
    return Happening(**({"at": book.clock.now(), "name": name, "app": APP} | changes))


def used(
    calls: int, *, queue: str = "template_sync", partner: str = "acme", waba: str = "1", refused: int = 0
) -> Used:
    who = Who(queue=queue, partner=partner, capability="template_reads", waba=waba)
    return Used(who=who, calls=calls, refused=refused)


def spend(book: Book, *of: Used, since: datetime | None = None, generation: str = "a", app: str = APP) -> None:
    since = since or book.clock.now()
    book.ledger.spending.put(app, since, of, lasting=5 * MINUTE, generation=generation)


# ── happenings ───────────────────────────────────────────────────────────────────────────────────────────────


def test_what_was_seen_comes_back_as_it_was_in_its_order(book: Book) -> None:
    first = happening(
        book,
        scope="app:10001/uploads",
        queue="profile_photo",
        partner="acme",
        waba="1",
        capability="uploads",
        operation_id="0198-1",
        code=4,
        subcode=1504022,
        fbtrace_id="Abc",
        detail={"message": "Application request limit reached", "percent": 104},
    )
    book.ledger.happenings.put([first, happening(book, "breaker_opened")])
    book.pass_time(60)
    book.ledger.happenings.put([happening(book, "breaker_closed", app="10002")])

    found = book.ledger.happenings.find()

    assert [one.name for one in found] == ["refused", "breaker_opened", "breaker_closed"]
    assert {**vars(found[0]), "id": None} == vars(first)


def test_it_is_found_by_name_app_time_and_what_is_known_already(book: Book) -> None:
    began = book.clock.now()
    for name, app in (("refused", APP), ("probe", APP), ("refused", "10002"), ("refused", APP)):
        book.ledger.happenings.put([happening(book, name, app=app)])
        book.pass_time(60)
    all_ = book.ledger.happenings.find()

    def ids(**wanted: Any) -> list[int]:
        return [all_.index(one) for one in book.ledger.happenings.find(**wanted)]

    assert ids(names=["refused"]) == [0, 2, 3]
    assert ids(app=APP) == [0, 1, 3]
    assert ids(since=began + MINUTE, until=began + 3 * MINUTE) == [1, 2]
    assert ids(after=all_[1].id) == [2, 3]
    assert ids(at_most=2) == [0, 1]
    assert book.ledger.happenings.newest() == all_[-1].id


def test_refusals_are_counted_by_what_meta_said(book: Book) -> None:
    began = book.clock.now()
    for code, subcode in ((4, 1504022), (80007, None), (4, 1504022), (4, None)):
        book.ledger.happenings.put([happening(book, code=code, subcode=subcode)])
        book.pass_time(60)
    book.ledger.happenings.put([happening(book, "probe", code=4), happening(book, code=4, app="10002")])

    told = book.ledger.happenings.refusals(app=APP)

    assert [(one.code, one.subcode, one.calls) for one in told] == [
        (4, 1504022, 2),
        (4, None, 1),
        (80007, None, 1),
    ]
    assert (told[0].first_at, told[0].last_at) == (began, began + 2 * MINUTE)


# ── samples ──────────────────────────────────────────────────────────────────────────────────────────────────


def sample(book: Book, **changes: Any) -> Sample:
    facts = {"at": book.clock.now(), "app": APP, "scope": f"app:{APP}", "used": 90, "others": 5, "limit": 100}
    more = {
        "percent": 95.0,
        "percent_high": 97.0,
        "in_flight": 3,
        "learning": False,
        "broken": ("app:10001/flows",),
    }
    return Sample(**(facts | more | changes))


def test_samples_come_back_and_a_moment_is_sampled_once(book: Book) -> None:
    queue = QueueSample(
        at=book.clock.now(), queue="flows", waiting=1, held=2, running=3, needs_input=4, oldest_seconds=60.0
    )
    book.ledger.samples.put([sample(book), sample(book, app="10002", scope="app:10002")], [queue])
    book.ledger.samples.put([sample(book, used=1)], [queue])
    book.pass_time(60)
    book.ledger.samples.put([sample(book, used=2)])

    assert [one.used for one in book.ledger.samples.usage(app=APP)] == [90, 2]
    assert book.ledger.samples.usage(app=APP)[0].broken == ("app:10001/flows",)
    assert [one.used for one in book.ledger.samples.usage(since=book.clock.now())] == [2]
    assert book.ledger.samples.backlog() == [queue]
    assert queue.unfinished == 10
    assert book.ledger.samples.backlog(queues=["onboarding"]) == []


def test_a_count_tells_the_queues_and_what_is_late_of_them(book: Book) -> None:
    began = book.clock.now()
    done = book.running(a_request(kind="template_sync"))
    book.record(done, Done())
    held = book.running(a_request(waba="2"))
    book.record(held, hold(book, 3600, by="breaker"))
    by_meta = book.running(a_request(waba="3"))
    book.record(by_meta, hold(book, 3600, by="meta"))
    book.pass_time(60)
    book.accept(a_request(waba="4"), a_request(waba="5", partner="other"))
    book.accept(a_request(kind="onboarding", service_class=ServiceClass.INTERACTIVE))
    book.pass_time(60)

    counted = book.ledger.samples.count(
        pauses=[a_pause("partner:other")],
        queues=["template_sync", "onboarding", "flow_publish"],
        now=book.clock.now(),
    )

    sync, onboarding, flows = counted.queues
    assert (sync.waiting, sync.held, sync.oldest_seconds) == (1, 3, 120.0), "what is paused is held"
    assert (onboarding.waiting, onboarding.unfinished, onboarding.oldest_seconds) == (1, 1, 60.0)
    assert (flows.unfinished, flows.oldest_seconds) == (0, 0.0)
    late = {(one.queue, one.service_class): one for one in counted.late}
    standard = [one for one in counted.late if one.queue == "template_sync"]
    assert sum(one.number for one in standard) == 2, "neither what is paused nor what Meta itself keeps waiting"
    assert min(one.oldest for one in standard) == began
    assert late["onboarding", ServiceClass.INTERACTIVE].oldest == began + MINUTE


# ── spending ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_spending_is_added_up_by_every_dimension(book: Book) -> None:
    spend(book, used(30, refused=2), used(5, waba="2"), used(7, partner="beta", waba=""))
    book.pass_time(300)
    spend(book, used(10, queue="flow_publish"))
    spend(book, used(1000), app="10002")

    def by(dimension: str, **wanted: Any) -> dict[str, int]:
        return {one.name: one.calls for one in book.ledger.spending.by(dimension, **({"app": APP} | wanted))}

    assert by("partner") == {"acme": 45, "beta": 7}
    assert by("queue") == {"template_sync": 42, "flow_publish": 10}
    assert by("capability") == {"template_reads": 52}
    assert by("waba") == {"1": 40, "2": 5}
    assert by("app", app=None) == {"10002": 1000, APP: 52}
    assert by("queue", since=book.clock.now()) == {"flow_publish": 10}
    assert by("queue", until=book.clock.now()) == {"template_sync": 42}
    assert book.ledger.spending.by("partner", app=APP)[0] == Spent(name="acme", calls=45, refused=2)
    parts = book.ledger.spending.parts("queue", app=APP)
    assert [(one.name, one.calls, one.lasting) for one in parts] == [
        ("template_sync", 42, 5 * MINUTE),
        ("flow_publish", 10, 5 * MINUTE),
    ]
    with pytest.raises(InvalidRequest, match="there are: app, queue, partner"):
        book.ledger.spending.by("colour")


def test_a_counter_that_was_emptied_adds_to_what_it_told_before(book: Book) -> None:
    spend(book, used(30))
    spend(book, used(40))
    spend(book, used(3), generation="b")
    spend(book, used(5), generation="b")

    assert [one.calls for one in book.ledger.spending.by("partner")] == [45]


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    told=st.lists(
        st.lists(st.tuples(st.integers(0, 300), st.integers(0, 30), st.integers(1, 50)), max_size=400), max_size=4
    )
)
def test_of_however_many_only_the_largest_are_named_and_nothing_is_counted_twice(
    told: list[list[tuple[int, int, int]]], book: Book
) -> None:
    book.pass_time(300)
    now = book.clock.now()
    for each in told:
        spend(book, *(used(calls, partner=f"p{p}", waba=f"{w}") for p, w, calls in each), since=now)

    last = told[-1] if told else []
    by_partner = book.ledger.spending.by("partner", since=now)
    by_waba = book.ledger.spending.by("waba", since=now)
    assert sum(one.calls for one in by_partner) == sum(calls for *_, calls in last)
    assert len(by_partner) <= 201
    assert len(by_waba) <= 20
    true = dict.fromkeys((f"{w}" for _, w, _ in last), 0)
    for _, w, calls in last:
        true[f"{w}"] += calls
    assert {one.name: one.calls for one in by_waba}.items() <= true.items()
    assert sorted(true.values())[::-1][:20] == [one.calls for one in by_waba]


def test_what_was_seen_goes_at_its_age(book: Book) -> None:
    book.ledger.happenings.put([happening(book)])
    queue = QueueSample(
        at=book.clock.now(), queue="f", waiting=1, held=2, running=3, needs_input=4, oldest_seconds=6
    )
    book.ledger.samples.put([sample(book)], [queue])
    spend(book, used(1))
    days(book, 3651)
    book.ledger.happenings.put([happening(book)])

    assert book.ledger.retention.count(AGES, now=book.clock.now())["spending"] == 2
    assert prune(book) == {"happenings": 1, "samples": 1, "backlogs": 1, "spending": 2}
    assert len(book.ledger.happenings.find()) == 1


def test_capabilities_fit(book: Book) -> None:
    longest = max(Capability, key=len)
    who = Who(queue="q" * 64, partner="p" * 64, capability=longest, waba="1" * 20)

    spend(book, Used(who=who, calls=1))

    assert book.ledger.spending.by("capability") == [Spent(name=longest, calls=1, refused=0)]


def test_what_one_waba_keeps_back_does_not_make_others_of_its_line_look_late(book: Book) -> None:
    book.accept(a_request(waba="1"))
    book.pass_time(3600)
    book.accept(a_request(waba="2"), a_request(waba="3"))
    pauses = [a_pause("waba:1"), a_pause("queue:flow_publish")]

    counted = book.ledger.samples.count(pauses=pauses, queues=["template_sync"], now=book.clock.now())

    [late] = counted.late
    assert (late.number, late.oldest) == (2, book.clock.now())
    assert counted.queues[0].unfinished == 3
