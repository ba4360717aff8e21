"""Publishing what the dispatcher releases: an id, a lease number, and what makes it findable in Flower."""

import os
from collections.abc import Sequence
from typing import Any, Final

from celery import Celery
from celery.events import Event, get_exchange
from celery.utils.nodenames import anon_nodename
from celery.utils.time import utcoffset
from kombu.exceptions import BatchPublishError, OperationalError
from redis.exceptions import RedisError

from wabajobs.operation import Operation

_UNSENT: Final = (OperationalError, BatchPublishError, RedisError, OSError)
"""What publishing raises, beside the errors of the broker's own library."""
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
        broker = app.connection_for_write()
        self._unsent = (*_UNSENT, *broker.connection_errors, *broker.channel_errors)
        self._events = get_exchange(broker, name=app.conf.event_exchange)

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

    def _send(self, one: Operation, producer: Any) -> dict[str, Any]:
        """Publish a task; return what Flower is told of it."""
        searchable = {"fence": one.fence, "partner": one.partner, "waba": one.waba or "", "app": one.app}
        message = self._app.amqp.create_task_message(
            one.id,
            one.kind,
            kwargs=searchable,
            argsrepr="()",
            kwargsrepr=_shown(searchable),
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
        told: dict[str, Any] = message.sent_event | {"queue": one.kind, "exchange": "", "routing_key": one.kind}
        return told

    def _tell_flower(self, sent: Sequence[dict[str, Any]], producer: Any) -> None:
        """Say that they were sent: all in one message, as a worker tells its own events."""
        clock = self._app.clock.forward
        us = {"hostname": self._name, "pid": os.getpid(), "utcoffset": utcoffset()}
        told = [Event("task-sent", clock=clock(), **us, **one) for one in sent]
        producer.publish(
            told,
            exchange=self._events.name,
            routing_key="task.multi",
            declare=[self._events],
            serializer=self._app.conf.event_serializer,
            headers={"hostname": self._name},
            delivery_mode=1,
        )


def _shown(searchable: dict[str, Any]) -> str:
    """Return the text in which Flower searches, as Celery writes it for any dictionary, only slower."""
    pairs = (
        (name, "'{}'".format(value.replace("'", "\\'")) if isinstance(value, str) else value)
        for name, value in searchable.items()
    )
    return "{" + ", ".join(f"'{name}': {value}" for name, value in pairs) + "}"
