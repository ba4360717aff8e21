"""A worker's bench on a real ledger (SQLite), with a gate and a Graph of our own; time is moved by hand."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from tests.support.databases import SqliteFiles
from tests.support.fakes import FakeGate, FakeGraph
from wabajobs.attempt import perform
from wabajobs.bench import Bench
from wabajobs.capability import ServiceClass
from wabajobs.clock import HandClock
from wabajobs.intake import Request, checked
from wabajobs.kinds import Catalogue, catalogue
from wabajobs.leases import Leases
from wabajobs.ledger import Database, Ledger
from wabajobs.operation import Operation
from wabajobs.outcome import Outcome
from wabajobs.settings import Settings
from wabajobs.vault import Vault

APP, WABA = "10001", "102290129340398"
LEASE = timedelta(seconds=15)


def some_settings(**more: Any) -> Settings:
    """Settings with one app."""
    return Settings.model_validate({"apps": {APP: {"token": {"env": "TOKEN"}}}} | more)


@dataclass
class Bay:
    """A worker's place: what is accepted here is released, and worked off by real attempts."""

    ledger: Ledger
    settings: Settings = field(default_factory=some_settings)
    kinds: Catalogue = field(default_factory=catalogue)
    clock: HandClock = field(default_factory=HandClock)
    gate: FakeGate = field(default_factory=FakeGate)
    graph: FakeGraph = field(default_factory=FakeGraph)

    def __post_init__(self) -> None:
        self.leases = Leases(self.ledger, clock=self.clock, lease=LEASE, renew_every=timedelta(hours=1))

    @property
    def bench(self) -> Bench:
        return Bench(
            ledger=self.ledger,
            gate=self.gate,
            client=self.graph,
            kinds=self.kinds,
            leases=self.leases,
            settings=self.settings,
            clock=self.clock,
            vault=Vault(records=self.ledger.secrets, settings=self.settings.vault, clock=self.clock),
            worker="worker@here:1",
            enqueue=self.enqueue,
        )

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(timedelta(seconds=seconds))

    def accept(
        self, kind: str = "template_sync", *, partner: str = "acme", waba: str = WABA, **more: Any
    ) -> Operation:
        request = Request(kind=kind, partner=partner, waba=waba, **more)
        new = checked(request, kinds=self.kinds, settings=self.settings)
        return self.ledger.operations.accept([new], now=self.clock.now())[0].operation

    def enqueue(self, whose: Operation, kind: str, *, key: str, service_class: ServiceClass | None) -> str:
        return self.accept(
            kind, partner=whose.partner, waba=whose.waba or "", key=key, service_class=service_class
        ).id

    def wake(self) -> None:
        """Let what is due queue again, retries too."""
        operations, now = self.ledger.operations, self.clock.now()
        operations.wake(now=now)
        operations.let_retry([one.id for one in operations.due_retries(now=now)], now=now)

    def release(self, kind: str = "template_sync") -> Operation:
        """Release the next operation."""
        self.wake()
        [line] = self.ledger.operations.lines([kind])
        due = self.ledger.operations.heads({line: 1})[line]
        [released] = self.ledger.operations.release(due, now=self.clock.now(), lease=LEASE)
        return released

    def perform(self, released: Operation | None = None) -> Outcome:
        """Make an attempt at what is next."""
        released = released or self.release()
        return perform(released.id, released.fence, bench=self.bench)

    def lose_lease(self) -> None:
        """Let time pass without a renewal, and the dispatcher look."""
        self.pass_time(16)
        self.ledger.operations.reclaim(now=self.clock.now(), max_attempts=6)

    def get(self, operation: Operation) -> Operation:
        return self.ledger.operations.get(operation.id)

    def mirrored(self, waba: str = WABA) -> list[str]:
        return [template["id"] for template in self.ledger.templates.templates(waba)]


@pytest.fixture
def sqlite_ledger(sqlite_files: SqliteFiles) -> Iterator[Ledger]:
    database = Database(sqlite_files.fresh())
    yield Ledger(database)
    database.close()


@pytest.fixture
def bay(sqlite_ledger: Ledger) -> Bay:
    return Bay(sqlite_ledger)
