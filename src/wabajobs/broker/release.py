"""Publishing what the dispatcher releases: an id, a lease number, and what makes it findable in Flower."""

from collections.abc import Sequence

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from wabajobs.operation import Operation


class Sender:
    """Sends released operations to their queues."""

    def __init__(self, app: Celery) -> None:
        """Send through `app`'s broker."""
        self._app = app

    def __call__(self, released: Sequence[Operation]) -> Sequence[Operation]:
        """Publish in order; return those that could not be, from the first refusal on."""
        try:
            with self._app.producer_or_acquire() as producer:
                for number, one in enumerate(released):
                    try:
                        self._send(one, producer)
                    except (OperationalError, RedisError, OSError):
                        # The one that failed may have been sent after all. Then its lease is over before
                        # a worker sees it, and the worker drops it.
                        return released[number:]
        except (OperationalError, RedisError, OSError):
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
