"""A worker's application: `celery -A workers.template_sync worker`."""

import logging
from typing import Any

from celery import Celery, signals

from wabajobs.broker.app import make_app
from wabajobs.broker.consuming import Consuming
from wabajobs.broker.task import register
from wabajobs.settings import Settings
from wabajobs.wiring import House


def worker_app(*queues: str, settings: Settings | None = None) -> Celery:
    """Return the application of a worker that serves these queues, one task per kind.

    Raises `ConfigurationError` when the settings do not fit together; the ledger is opened by the worker.
    """
    settings = settings or Settings.load()
    house = House(settings)
    for queue in queues:
        house.kinds[queue]  # an unknown kind is refused here, not at the first message
    app = make_app(settings, queues=queues)
    bench = house.bench("+".join(queues))
    for queue in queues:
        register(app, queue, bench, slot_is_free=house.work_bell.ring)
    # A class of its own: Celery makes the step itself, and two applications in one process must not share it.
    step = type("Consuming", (Consuming,), {"house": house, "worker_name": bench.worker})
    app.steps["consumer"].add(step)

    @signals.worker_init.connect(weak=False)
    def quiet(sender: Any, **_: Any) -> None:
        """Leave out the chatter between workers: nothing of ours goes that way."""
        if sender.app is app:
            sender.options.update(without_mingle=True, without_gossip=True)
            house.ledger.database.require_schema()

    @signals.worker_shutting_down.connect(weak=False)
    def shut_down(**_: Any) -> None:
        """Warm shutdown: attempts stop at their next call and give their operation back."""
        bench.leases.shut_down()

    @signals.after_setup_logger.connect(weak=False)
    def log_events(**_: Any) -> None:
        """Let our own events through Celery's log."""
        logging.getLogger("wabajobs").setLevel(logging.INFO)

    return app
