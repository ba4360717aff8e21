"""Publishing what the dispatcher releases: an id, a lease number, and what makes it findable in Flower."""

from collections.abc import Sequence
from typing import Any, Final

from celery import Celery
from celery.utils.nodenames import anon_nodename

from wabajobs.broker.telling import Event, Telling, searched, shown, unsent_errors
from wabajobs.operation import Operation

_PERSISTENT: Final = 2


class Sender:
    """Sends released operations to their queues.

    The messages are Celery's, made by Celery. What `send_task` does beside that for each of them (routes, queues,
    signals, an event) is done once for all here.
    """

    def __init__(self, app: Celery) -> None:
        """Send through `app`'s broker."""
        self._app = app
        self._name = anon_nodename()
        self._unsent = unsent_errors(app)
        self._tell_flower = Telling(app, self._name)

    def __call__(self, released: Sequence[Operation]) -> Sequence[Operation]:
        """Publish in one batch; return those that may not have been published, which is none or all.

        A message that went out after all does no harm: its lease is over before a worker sees it, and the
        worker drops it.
        """
        if not released:
            return ()
        try:
            with self._app.producer_or_acquire() as producer, producer.batch():
                for kind in {one.kind for one in released}:
                    producer.maybe_declare(self._app.amqp.queues[kind])
                self._tell_flower([self._send(one, producer) for one in released], producer)
        except self._unsent:
            return released
        return ()

    def _send(self, one: Operation, producer: Any) -> Event:
        """Publish a task; return what Flower is told of it."""
        searchable = searched(one)
        message = self._app.amqp.create_task_message(
            one.id,
            one.kind,
            kwargs=searchable,
            argsrepr="()",
            kwargsrepr=shown(searchable),
            origin=self._name,
            ignore_result=True,
            create_sent_event=True,
        )
        producer.publish(
            message.body,
            exchange="",
            routing_key=one.kind,
            serializer="json",
            delivery_mode=_PERSISTENT,
            headers=message.headers,
            **message.properties,
        )
        where = {"queue": one.kind, "exchange": "", "routing_key": one.kind}
        return "task-sent", message.sent_event | where | {"exception": None, "result": None}  # why it was held
