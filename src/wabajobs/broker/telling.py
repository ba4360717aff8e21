"""Telling Flower: events of Celery's. They go to whoever listens at the moment, and into no queue of ours."""

import os
from collections.abc import Iterable
from typing import Any, Final

from celery import Celery, events
from celery.utils.time import utcoffset
from kombu.exceptions import BatchPublishError, OperationalError
from redis.exceptions import RedisError

from wabajobs.operation import Operation

Event = tuple[str, dict[str, Any]]
"""Its type, such as `task-sent`, and its fields."""
_UNSENT: Final = (OperationalError, BatchPublishError, RedisError, OSError)


def unsent_errors(app: Celery) -> tuple[type[Exception], ...]:
    """Return what publishing raises: ours, and the errors of the broker's own library."""
    broker = app.connection_for_write()
    return (*_UNSENT, *broker.connection_errors, *broker.channel_errors)


class Telling:
    """Tells Flower events of one sender: all in one message, as a worker tells its own."""

    def __init__(self, app: Celery, name: str) -> None:
        """Tell them in this name."""
        self._app = app
        self._name = name
        self._exchange = events.get_exchange(app.connection_for_write(), name=app.conf.event_exchange)

    def __call__(self, told: Iterable[Event], producer: Any) -> None:
        """Tell these. Where nobody listens they are gone at once."""
        clock = self._app.clock.forward
        us = {"hostname": self._name, "pid": os.getpid(), "utcoffset": utcoffset()}
        producer.publish(
            [events.Event(type_, clock=clock(), **us, **fields) for type_, fields in told],
            exchange=self._exchange.name,
            routing_key="task.multi",
            declare=[self._exchange],
            serializer=self._app.conf.event_serializer,
            headers={"hostname": self._name},
            delivery_mode=1,
        )


def searched(one: Operation) -> dict[str, Any]:
    """Return what an operation is searched by in Flower."""
    return {"fence": one.fence, "partner": one.partner, "waba": one.waba or "", "app": one.app}


def shown(searchable: dict[str, Any]) -> str:
    """Return the text in which Flower searches, as Celery writes it for any dictionary, only slower."""
    pairs = (
        (name, "'{}'".format(value.replace("'", "\\'")) if isinstance(value, str) else value)
        for name, value in searchable.items()
    )
    return "{" + ", ".join(f"'{name}': {value}" for name, value in pairs) + "}"
