"""Lets requests arrive at the sides of a drill, each at its moment, and collects what came of them."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from wabajobs import intake
from wabajobs.drills.account import Account, Request, seen_from
from wabajobs.drills.arrivals import Arrival
from wabajobs.drills.asking import LONG, Asked, Asker
from wabajobs.drills.site import Site
from wabajobs.operation import Operation, State

PRODUCT = "wabajobs"
PLAIN = "plain Celery"


class Side(Protocol):
    """Who gets the requests."""

    def send(self, due: Sequence[tuple[Arrival, Asked]]) -> None:
        """Take those that have come."""

    def collect(self, run: "Run") -> Account:
        """Tell what came of them."""


class Product:
    """The product, through the Hub's door."""

    def __init__(self, site: Site) -> None:
        """Enqueue at this site."""
        self._site = site
        self._ids: dict[int, str] = {}
        self._refused: list[Arrival] = []

    def send(self, due: Sequence[tuple[Arrival, Asked]]) -> None:
        """Enqueue them."""
        accepted = self._site.client.enqueue_many(
            intake.Request(
                kind=asked.kind,
                partner=asked.partner,
                waba=asked.waba,
                payload=asked.payload,
                expires_after=LONG,
            )
            for _, asked in due
        )
        for (arrival, _), operation in zip(due, accepted, strict=True):
            self._ids[arrival.number] = operation.id

    def operations(self) -> dict[str, Operation]:
        """Return all that the ledger has, by id."""
        found = self._site.house.ledger.operations.find(at_most=10_000_000)
        return {operation.id: operation for operation in found}

    def unfinished(self) -> int:
        """Return how many have not ended."""
        return sum(number for _, _, number, _ in self._site.house.ledger.operations.count_open())

    def collect(self, run: "Run") -> Account:
        """Read the ledger."""
        ledger = self.operations()
        requests = []
        for arrival in run.arrivals:
            operation = ledger[self._ids[arrival.number]]
            ended = operation.finished_at
            requests.append(
                Request(
                    arrival,
                    asked_at=run.asked_at(PRODUCT, arrival),
                    ended_at=run.hour_of(ended.timestamp()) if ended else None,
                    lost=operation.state.finished and operation.state is not State.SUCCEEDED,
                    operation=operation.id,
                )
            )
        calls = seen_from(self._site.meta.calls(), run.hour_of)
        return Account(PRODUCT, run.hours, tuple(requests), calls)


class PlainCelery:
    """Plain Celery, by its tasks' names."""

    def __init__(self, site: Site) -> None:
        """Send to the workers of this site."""
        self._site = site

    def send(self, due: Sequence[tuple[Arrival, Asked]]) -> None:
        """Send the tasks."""
        for arrival, asked in due:
            queue = "naive-syncs" if arrival.what == "template_sync" else "naive"
            self._site.naive_sender.send_task(arrival.what, [arrival.number], asked.plain, queue=queue)

    def collect(self, run: "Run") -> Account:
        """Read its notes."""
        ends = {number: (how, at) for number, how, at in self._site.naive_ends()}
        requests = []
        for arrival in run.arrivals:
            how, at = ends.get(arrival.number, ("", None))
            ended_at = None if at is None else run.hour_of(at)
            requests.append(Request(arrival, run.asked_at(PLAIN, arrival), ended_at, lost=how == "lost"))
        calls = seen_from(self._site.meta_of_naive.calls(), run.hour_of)
        return Account(PLAIN, run.hours, tuple(requests), calls)


class Run:
    """The time of a drill, and who is fed in it."""

    def __init__(
        self, site: Site, arrivals: Sequence[Arrival], *, hours: float, sides: Mapping[str, Side]
    ) -> None:
        """Prepare the words of all requests: while the drill runs there is other work."""
        self.site = site
        self.hours = hours
        self.arrivals = arrivals
        self.sides = dict(sides)
        self.began = 0.0
        """Unix time of the drill's begin."""
        self.late = 0.0
        """Hours by which a request was sent too late, at most: the machine was too busy."""
        asker = Asker(site.meta.facts["things"])
        self._words = [asker.asked(one) for one in arrivals]
        self._sent: dict[tuple[str, int], float] = {}
        self._failure: BaseException | None = None
        self._stop = threading.Event()

    def hour_of(self, moment: float) -> float:
        """Return the drill's hour of a Unix time."""
        return (moment - self.began) / self.site.hour

    def moment_of(self, hour: float) -> float:
        """Return the Unix time of an hour."""
        return self.began + hour * self.site.hour

    @property
    def now(self) -> float:
        """The hour that it is."""
        return self.hour_of(time.time())

    def asked_at(self, side: str, arrival: Arrival) -> float:
        """Return the hour at which a request was really sent."""
        return self._sent.get((side, arrival.number), arrival.at)

    @contextmanager
    def playing(self, phases: Sequence[Mapping[str, Any]]) -> Any:
        """Begin: Meta's scenario, and the arrivals, each side by a thread of its own. Ends with the last one."""
        self.began = time.time()
        for meta in [self.site.meta, *([self.site.meta_of_naive] if PLAIN in self.sides else [])]:
            if phases:
                meta.play(phases)
        threads = [threading.Thread(target=self._feed, args=(name,), daemon=True) for name in self.sides]
        for thread in threads:
            thread.start()
        try:
            yield self
        except BaseException:
            self._stop.set()
            raise
        finally:
            for thread in threads:
                thread.join()
        if self._failure is not None:
            raise self._failure

    def sleep_until(
        self, hour: float, *, meanwhile: Callable[[], None] = lambda: None, every: float = 0.5
    ) -> None:
        """Wait for an hour of the drill; `meanwhile` is done every so many seconds."""
        while (left := self.moment_of(hour) - time.time()) > 0 and self._failure is None:
            meanwhile()
            time.sleep(max(0.0, min(left, every)))

    def drain(self, product: Product, *, within: float = 30.0) -> None:
        """Wait until the product has nothing more to do, for so many seconds at most."""
        end = time.monotonic() + within
        while product.unfinished() and time.monotonic() < end:
            time.sleep(0.2)

    def collect(self) -> dict[str, Account]:
        """Return each side's account."""
        return {name: side.collect(self) for name, side in self.sides.items()}

    def _feed(self, name: str) -> None:
        side, waiting = self.sides[name], deque(zip(self.arrivals, self._words, strict=True))
        try:
            while waiting:
                if self._stop.wait(max(0.0, self.moment_of(waiting[0][0].at) - time.time())):
                    return
                now, due = self.now, []
                while waiting and waiting[0][0].at <= now:
                    due.append(waiting.popleft())
                self.late = max([self.late, *(now - arrival.at for arrival, _ in due)])
                self._sent.update({(name, arrival.number): now for arrival, _ in due})
                side.send(due)
        except Exception as error:  # a thread's failure is the drill's
            self._failure = error
