"""A ledger with a hand-moved clock: the moves of an operation in a few words."""

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import pytest

from wabajobs.capability import Capability, ServiceClass
from wabajobs.clock import HandClock
from wabajobs.decisions import Pause, Scope
from wabajobs.ledger import Ledger, NewOperation
from wabajobs.operation import Operation
from wabajobs.outcome import Done, Failed, Hold, NotBegun

APP, WABA, PARTNER, KIND = "10001", "102290129340398", "acme", "template_sync"
LEASE = timedelta(seconds=15)
WORKER = "template_sync@host:1"

T = TypeVar("T")


def a_request(**changes: Any) -> NewOperation:
    """A checked request that shares nothing with any other, changed as said."""
    facts: dict[str, Any] = {
        "kind": KIND,
        "partner": PARTNER,
        "app": APP,
        "waba": WABA,
        "service_class": ServiceClass.STANDARD,
        "capability": Capability.TEMPLATE_READS,
        "payload": {},
    }
    return NewOperation(**(facts | changes))


def a_sync(waba: str = WABA, **changes: Any) -> NewOperation:
    """A request that coalesces with others of its WABA."""
    return a_request(**({"waba": waba, "lane": f"{KIND}:{APP}:{waba}", "coalesces": True} | changes))


def a_pause(scope: str, **changes: Any) -> Pause:
    """A pause of `queue:…`, `all` and so on, by ops."""
    facts: dict[str, Any] = {"id": 1, "reason": "incident 7", "actor": "ops", "created_at": HandClock().now()}
    return Pause(scope=Scope.of(scope), **(facts | changes))


def hold(book: "Book", seconds: float | None = 60, *, by: str = "budget", **changes: Any) -> Hold:
    """A hold that ends in so many seconds."""
    until = None if seconds is None else book.clock.now() + timedelta(seconds=seconds)
    return Hold(reason="the budget is spent", by=by, until=until, **changes)


def at_once(threads: int, work: Callable[[int], T]) -> list[T]:
    """Run `work(0)`, `work(1)` … in threads that start together; return what came out, or raise."""
    together = threading.Barrier(threads)
    results: list[Any] = [None] * threads
    errors: list[BaseException] = []

    def run(number: int) -> None:
        together.wait(30)
        try:
            results[number] = work(number)
        except BaseException as error:
            errors.append(error)

    running = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(60)
        assert not thread.is_alive()
    if errors:
        raise errors[0]
    return results


@dataclass
class Book:
    """The ledger of operations, told the time."""

    ledger: Ledger
    clock: HandClock = field(default_factory=HandClock)

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(timedelta(seconds=seconds))

    def accept(self, *requests: NewOperation) -> list[Operation]:
        accepted = self.ledger.operations.accept(requests, now=self.clock.now())
        return [one.operation for one in accepted]

    def accept_one(self, request: NewOperation) -> Operation:
        return self.accept(request)[0]

    def ready(self, at_most: int = 100, *, kind: str = KIND) -> list[Operation]:
        """Return what could be released, line by line."""
        self.ledger.operations.wake(now=self.clock.now())
        lines = self.ledger.operations.lines([kind])
        heads = self.ledger.operations.heads(dict.fromkeys(lines, at_most))
        return [operation for line in lines for operation in heads[line]][:at_most]

    def lease(self, due: Collection[Operation]) -> list[Operation]:
        return self.ledger.operations.release(due, now=self.clock.now(), lease=LEASE)

    def release(self, at_most: int = 100, **more: Any) -> list[Operation]:
        """Release what is next."""
        return self.lease(self.ready(at_most, **more))

    def begin(
        self, operation_id: str, fence: int, *, pauses: Collection[Pause] = (), worker: str = WORKER
    ) -> Operation | NotBegun:
        return self.ledger.operations.begin(
            operation_id, fence, worker=worker, pauses=pauses, now=self.clock.now(), lease=LEASE
        )

    def run(self, operation_id: str) -> Operation:
        """Release what is due, and begin this one of it."""
        released = next(one for one in self.release() if one.id == operation_id)
        begun = self.begin(released.id, released.fence)
        assert isinstance(begun, Operation), begun
        return begun

    def running(self, request: NewOperation | None = None) -> Operation:
        """Accept an operation and begin it."""
        return self.run(self.accept_one(request or a_request()).id)

    def record(self, operation: Operation, outcome: Done | Hold | Failed) -> Operation:
        self.ledger.operations.record(operation, outcome, worker=WORKER, now=self.clock.now())
        return self.get(operation)

    def reclaim(self, *, max_attempts: int = 6) -> list[str]:
        reclaimed = self.ledger.operations.reclaim(now=self.clock.now(), max_attempts=max_attempts)
        return [str(one) for one in reclaimed]

    def get(self, operation: Operation | NewOperation) -> Operation:
        return self.ledger.operations.get(operation.id)

    def all(self) -> Sequence[Operation]:
        return self.ledger.operations.find(at_most=100_000)

    def story(self, operation: Operation) -> list[str]:
        return [event.name for event in self.ledger.operations.story(operation.id)]

    def checkpoint(self, operation: Operation, checkpoint: dict[str, Any]) -> None:
        self.ledger.operations.record_checkpoint(
            operation.id, operation.fence, checkpoint, capability=operation.capability
        )

    def stage(
        self,
        operation: Operation,
        page: int,
        templates: Sequence[dict[str, Any]],
        *,
        cursor: str | None = None,
    ) -> bool:
        return self.ledger.templates.stage(
            operation,
            page=page,
            templates=templates,
            checkpoint={"page": page},
            cursor=cursor,
            capability=operation.capability,
        )


@pytest.fixture
def book(ledger: Ledger) -> Book:
    return Book(ledger)
