"""Publishing what the dispatcher releases: an id, a lease number, and what makes it findable in Flower."""

from collections.abc import Sequence
from typing import Final

from celery import Celery
from kombu.exceptions import BatchPublishError, OperationalError
from redis.exceptions import RedisError

from wabajobs.operation import Operation

_UNSENT: Final = (OperationalError, BatchPublishError, RedisError, OSError)
"""What publishing raises, beside the errors of the broker's own library."""


class Sender:
    """Sends released operations to their queues."""

    def __init__(self, app: Celery) -> None:
        """Send through `app`'s broker."""
        self._app = app
        broker = app.connection_for_write()
        self._unsent = (*_UNSENT, *broker.connection_errors, *broker.channel_errors)

    def __call__(self, released: Sequence[Operation]) -> Sequence[Operation]:
        """Publish in one batch; return those that may not have been published, which is none or all.

        A message that went out after all does no harm: its lease is over before a worker sees it, and the
        worker drops it.
        """
        try:
            with self._app.producer_or_acquire() as producer, producer.batch():
                for one in released:
                    self._send(one, producer)
        except self._unsent:
            return released
        return ()

    def _send(self, one: Operation, producer: object) -> None:
        self._app.send_task(
            one.kind,
            task_id=one.id,
            kwargs={"fence": one.fence, "partner": one.partner, "waba": one.waba or "", "app": one.app},
            queue=one.kind,
            producer=producer,
            retry=False,
            ignore_result=True,
        )
