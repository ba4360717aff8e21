"""Whatever the order of events, deliveries and syncs: the mirror is true, or the list is due for a sync soon."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.ledger.conftest import Book, a_sync
from tests.ledger.test_templates import a_template, swap
from tests.support.hooks import status
from wabajobs import webhooks
from wabajobs.clock import HandClock
from wabajobs.ledger import Ledger
from wabajobs.operation import Operation
from wabajobs.outcome import Done
from wabajobs.settings import PlannerSettings

SETTINGS = PlannerSettings()
TEMPLATES = ("1", "2")
STATUSES = ("APPROVED", "PAUSED", "DISABLED", "REJECTED")
_wabas = itertools.count(10_000_000)

steps = st.one_of(
    st.tuples(st.just("event"), st.sampled_from(TEMPLATES), st.sampled_from(STATUSES)),
    st.tuples(st.just("deliver"), st.integers(0, 30), st.none()),
    st.tuples(st.just("again"), st.integers(0, 30), st.none()),
    st.tuples(st.just("read"), st.floats(0, 2), st.none()),
    st.tuples(st.just("swap"), st.none(), st.none()),
    st.tuples(st.just("wait"), st.sampled_from((0.1, 0.6, 1.0, 4.0, 9.0, 60.0)), st.none()),
)


@dataclass
class World:
    """Meta's templates of one WABA, what it sends, and our mirror of it."""

    book: Book
    skew: timedelta
    waba: str = field(default_factory=lambda: str(next(_wabas)))
    history: dict[str, list[str]] = field(default_factory=lambda: {id_: ["PENDING"] for id_ in TEMPLATES})
    on_the_way: list[bytes] = field(default_factory=list)
    arrived: list[bytes] = field(default_factory=list)
    running: Operation | None = None
    pages: int = 0

    def event(self, template: str, word: str) -> None:
        if self.history[template][-1] == word:
            return
        self.history[template].append(word)
        self.on_the_way.append(status(self.waba, template, word, at=self.book.clock.now() + self.skew))

    def deliver(self, which: int) -> None:
        if self.on_the_way:
            self.arrived.append(self.on_the_way.pop(which % len(self.on_the_way)))
            self._hear(self.arrived[-1])

    def again(self, which: int) -> None:
        if self.arrived:
            self._hear(self.arrived[which % len(self.arrived)])

    def _hear(self, body: bytes) -> None:
        told = webhooks.read(body)
        self.book.ledger.apply(told, now=self.book.clock.now(), planner=SETTINGS)

    def read(self, seconds: float) -> None:
        """Ask for the next page, which is as things stand when Meta answers."""
        if self.running is None:
            self.running, self.pages = self.book.running(a_sync(self.waba)), 0
        if self.pages == len(TEMPLATES):
            return
        asked_at = self.book.clock.now()
        self.book.pass_time(seconds)
        id_ = TEMPLATES[self.pages]
        page = [a_template(id_, status=self.history[id_][-1])]
        self.book.stage(self.running, self.pages, page, cursor=f"c{self.pages}", read_at=asked_at)
        self.pages += 1

    def swap(self) -> None:
        while self.pages < len(TEMPLATES) or self.running is None:
            self.read(0.1)
        swap(self.book, self.running)
        self.book.record(self.running, Done())
        self.running, self.pages = None, 0

    def mirrored(self) -> dict[str, str]:
        return {one["id"]: one["status"] for one in self.book.ledger.templates.templates(self.waba)}

    def is_doubted(self) -> bool:
        kept = self.book.ledger.fleet.get(self.waba, settings=SETTINGS)
        return kept is not None and kept.facts.doubted_at is not None


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def module_ledger(request: pytest.FixtureRequest) -> Iterator[Ledger]:
    from wabajobs.ledger import Database

    server = request.getfixturevalue("sqlite_files" if request.param == "sqlite" else "postgres")
    database = Database(server.fresh())
    yield Ledger(database)
    database.close()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(script=st.lists(steps, max_size=25), skew=st.floats(-3, 3), order=st.randoms(use_true_random=False))
def test_the_mirror_is_true_or_a_sync_is_due_soon(
    module_ledger: Ledger, script: list[tuple[str, object, object]], skew: float, order: object
) -> None:
    world = World(Book(module_ledger, HandClock()), timedelta(seconds=skew))
    world.swap()
    world.book.pass_time(60)

    for name, *arguments in script:
        if name == "wait":
            world.book.pass_time(arguments[0])  # type: ignore[arg-type]
        else:
            getattr(world, name)(*(argument for argument in arguments if argument is not None))
    while world.on_the_way:
        world.deliver(order.randrange(100))  # type: ignore[attr-defined]
    if world.running:
        world.swap()

    truth = {id_: words[-1] for id_, words in world.history.items()}
    assert world.mirrored() == truth or world.is_doubted()

    world.book.pass_time(60)
    world.swap()
    assert world.mirrored() == truth
    assert not world.is_doubted(), "a sync that began after all of it leaves no doubt"
