"""The Celery application. Each setting that differs from Celery's own has its reason beside it."""

from collections.abc import Iterable
from typing import Any

from celery import Celery
from celery.app.amqp import AMQP
from kombu import Exchange, Queue

from wabajobs.broker import redis_transport
from wabajobs.settings import Settings


class Amqp(AMQP):
    """Celery's messaging over our connections."""

    Connection = redis_transport.Connection


def make_app(settings: Settings, *, queues: Iterable[str]) -> Celery:
    """Return an application that knows the broker and these queues, and no tasks yet."""
    queues = list(queues)
    app = Celery("wabajobs", amqp=Amqp, set_as_current=False)
    app.conf.update(
        broker_url=settings.broker,
        # Each with an exchange of its own: else all would be bound to that of the first.
        task_queues=[Queue(name, Exchange(name), routing_key=name) for name in queues],
        task_default_queue=queues[0],
        task_create_missing_queues=False,  # a misspelt queue is an error, not a new queue
        task_ignore_result=True,  # the ledger knows what came of it
        result_backend=None,
        task_serializer="json",
        accept_content=["json"],  # never pickle: a message is no program
        enable_utc=True,
        # A message is only a hint; the ledger's lease decides. So it is acknowledged when the attempt is over …
        task_acks_late=True,
        task_acks_on_failure_or_timeout=True,
        # … and a worker takes no more than it can begin.
        worker_prefetch_multiplier=1,
        # After a lost connection Celery would take fewer, and raise that number again from a task's own thread:
        # on AMQP that thread then reads what the event loop is to read, and both wait for ever.
        worker_enable_prefetch_count_reduction=False,
        broker_transport_options=_transport_options(settings.broker),
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # a worker waits for its broker for ever
        # Our work is waiting for HTTP. Threads also stop in time, which prefork under load does not.
        worker_pool="threads",
        worker_concurrency=settings.workers.concurrency,
        worker_enable_remote_control=False,  # what people decide lies in SQL, where a restarted worker finds it
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        # What Flower feeds on.
        worker_send_task_events=True,
        task_send_sent_event=True,
        task_track_started=True,
    )
    return app


def _transport_options(broker: str) -> dict[str, Any]:
    """Return what the way to this broker is told."""
    scheme = broker.partition(":")[0].partition("+")[0]
    if scheme in {"redis", "rediss"}:
        return {
            # What a dead worker held is given back only as a backstop, long after the ledger has done so.
            "visibility_timeout": 3600,
            "socket_timeout": 30,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            # Pub/sub between workers would be the only thing to use these; nothing is steered over it.
            "fanout_prefix": True,
            "fanout_patterns": True,
        }
    if scheme in {"amqp", "amqps", "pyamqp"}:
        # A RabbitMQ that is short of memory or disk lets publishers wait. Who leads must not wait for ever.
        return {"write_timeout": 10}
    return {}
