"""What a worker does beside its tasks: it says that it is alive, and consumes no queue that is paused.

Both happen in a step of Celery's consumer, so that they begin before the first message is fetched, end with the
connection to the broker, and hold for a worker whenever it was started.
"""

import threading
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any

from celery import bootsteps
from celery.worker import state
from celery.worker.consumer.tasks import Tasks

from wabajobs import events
from wabajobs.errors import LedgerUnavailable, NotReady, WabajobsError
from wabajobs.signals import Worker
from wabajobs.wiring import House

_ANNOUNCE_SECONDS = 1.0
_FLUSH_SECONDS = 0.05
_EVENTS_AT_ONCE = 1000
"""How many task events may wait for that moment to end."""
_LOOK_SECONDS = 2.0
"""How often pauses are looked up although nobody rang."""


class _Loop:
    """Celery's event loop: a worker in which it hangs fetches nothing, and must not be taken for alive."""

    def __init__(self, consumer: Any, *, longest: float) -> None:
        self._consumer = consumer
        self._longest = longest
        self._went_round = time.monotonic()

    def require_alive(self) -> None:
        """Raise `NotReady` if the loop has not gone round for too long."""
        silent = time.monotonic() - self._went_round
        self._consumer.call_soon(self._goes_round)
        if silent > self._longest:
            raise NotReady(f"the worker's event loop has been stuck for {silent:.0f} s: it is not announced")

    def _goes_round(self) -> None:
        self._went_round = time.monotonic()


def _connect_anew(consumer: Any) -> None:
    """Let Celery start its consumer afresh, as after a connection that broke: what runs goes on."""
    raise consumer.connection_errors[0]("the queue is not consumed over this connection")


class _FlushedTogether:
    """Sends task events a moment later, and all of that moment with one message.

    Celery publishes each of them by itself, which costs more than all else that it does for a short task. Only
    Flower listens, and each event carries its own time.
    """

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self._due = False

    def __call__(self) -> None:
        if not self._due:
            self._due = True
            self._consumer.call_soon(self._consumer.hub.call_later, _FLUSH_SECONDS, self._flush)

    def _flush(self) -> None:
        self._due = False
        self._consumer.event_dispatcher.flush()


class Consuming(bootsteps.StartStopStep):
    """Keeps `consumed queues = own queues - paused queues` true, and announces the worker."""

    requires = (Tasks,)
    house: House
    worker_name: str

    def __init__(self, consumer: Any, **_options: Any) -> None:
        """Belong to this consumer."""
        self._threads: list[threading.Thread] = []
        self._stop = threading.Event()
        self._queues: tuple[str, ...] = ()
        self._paused: set[str] = set()
        super().__init__(consumer, **_options)

    def start(self, consumer: Any) -> None:
        """Leave out what is paused before the first fetch. While the ledger is away nothing is fetched."""
        self._queues = tuple(self._queues or consumer.app.amqp.queues.consume_from)
        self._stop = threading.Event()
        self._apply(consumer, self._look_when_possible())
        if consumer.hub is not None and consumer.event_dispatcher is not None:
            consumer.event_dispatcher.on_send_buffered = _FlushedTogether(consumer)
            consumer.event_dispatcher.buffer_limit = _EVENTS_AT_ONCE
        self._threads = [
            threading.Thread(target=self._follow, args=(consumer, self._stop), name="pauses", daemon=True),
            threading.Thread(target=self._announce, args=(consumer, self._stop), name="presence", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def stop(self, consumer: Any) -> None:
        """Go silent: nothing more is sent to this worker."""
        self._stop.set()
        with suppress(Exception):  # without a connection they are sent over the next one
            consumer.event_dispatcher.flush()
        for worker in self._workers(consumer):
            self.house.presence.leave(worker)

    shutdown = stop

    def _look(self) -> set[str]:
        pauses = self.house.ledger.decisions.pauses(now=self.house.clock.now())
        return {
            queue for queue in self._queues if any(one.stands_still and one.covers_queue(queue) for one in pauses)
        }

    def _look_when_possible(self) -> set[str]:
        """Wait for the ledger, as Celery waits for the broker. To give up here would end the worker."""
        while True:
            try:
                return self._look()
            except LedgerUnavailable as error:
                events.tell("part_failed", part="pauses", why=error)
            state.maybe_shutdown()
            time.sleep(_ANNOUNCE_SECONDS)

    def _apply(self, consumer: Any, paused: set[str]) -> None:
        """Make it true; by what the consumer does, whatever somebody else has told it meanwhile."""
        self._paused = paused
        for queue in self._queues:
            consumes = consumer.task_consumer.consuming_from(queue)
            if consumes == (queue not in paused):
                continue
            (consumer.cancel_task_queue if consumes else consumer.add_task_queue)(queue)
            events.tell("consuming_changed", queue=queue, consuming=not consumes)

    def _follow(self, consumer: Any, stop: threading.Event) -> None:
        while not stop.is_set():
            self.house.decision_bell.wait(_LOOK_SECONDS)
            try:
                paused = self._look()
            except WabajobsError as error:
                # What is in force stays in force. Nothing can begin meanwhile anyhow: that needs the ledger.
                events.tell("part_failed", part="pauses", why=error)
                stop.wait(_LOOK_SECONDS)
                continue
            if not stop.is_set():
                consumer.call_soon(self._apply, consumer, paused)

    def _announce(self, consumer: Any, stop: threading.Event) -> None:
        known = False
        since = time.monotonic()
        loop = _Loop(consumer, longest=self.house.settings.dispatch.worker_alive_seconds)
        while not stop.is_set():
            try:
                loop.require_alive()
                for worker in self._workers(consumer):
                    complaint = self.house.presence.announce(worker)
                    if worker.queue not in self._paused and self._is_ours(complaint, since):
                        since = time.monotonic()
                        events.tell("not_consuming", queue=worker.queue)
                        consumer.call_soon(_connect_anew, consumer)
            except WabajobsError as error:
                known = False
                events.tell("part_failed", part="presence", why=error)
            else:
                known = known or self.house.work_bell.ring()
            stop.wait(_ANNOUNCE_SECONDS)

    def _is_ours(self, complaint: timedelta | None, since: float) -> bool:
        """Whether a complaint came when this worker had been connected for long enough, with nothing to do."""
        if complaint is None or state.active_requests:
            return False
        lease = self.house.settings.dispatch.release_lease_seconds
        return time.monotonic() - complaint.total_seconds() > since + lease

    def _workers(self, consumer: Any) -> list[Worker]:
        slots = consumer.pool.limit or 1
        return [Worker(name=self.worker_name, queue=queue, slots=slots) for queue in self._queues]
