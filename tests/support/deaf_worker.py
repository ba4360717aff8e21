"""A worker that consumes nothing until it connects anew: `celery -A tests.support.deaf_worker worker`."""

from itertools import count
from typing import Any, ClassVar

from celery import bootsteps

from wabajobs.broker import worker_app

app = worker_app("template_sync")


class Deaf(bootsteps.StartStopStep):
    """Asks the broker for nothing over the first connection, as after a fault of the transport."""

    requires = tuple(app.steps["consumer"])
    starts: ClassVar["count[int]"] = count()

    def start(self, consumer: Any) -> None:
        """Stop listening."""
        if next(self.starts) == 0:
            consumer.task_consumer.channel._brpop_start = lambda *_args, **_more: None


app.steps["consumer"].add(Deaf)
