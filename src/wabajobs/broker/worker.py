"""A worker's application: `celery -A workers.template_sync worker`."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from celery import Celery, signals

from wabajobs import events, logs
from wabajobs.broker.app import make_app
from wabajobs.broker.consuming import Consuming
from wabajobs.broker.task import register
from wabajobs.errors import ConfigurationError, WabajobsError
from wabajobs.kinds import own_names
from wabajobs.settings import Settings
from wabajobs.signals import Ringer
from wabajobs.wiring import House

T = TypeVar("T")

_LAST_WORDS_SECONDS: Final = 2.0
"""How long the end of a worker waits for what it has seen to be written down."""


def worker_app(*queues: str, settings: Settings | None = None) -> Celery:
    """Return the application of a worker that serves these queues, one task per kind.

    Without settings that fit together the program ends, with a sentence; the ledger is opened by the worker.
    """
    settings = settings or _or_exit(Settings.load)
    house = House(settings)
    kinds = _or_exit(lambda: [house.kinds[queue] for queue in queues])
    app = make_app(settings, queues=queues)
    bench = house.bench(*queues)
    slot_is_free = Ringer(house.work_bell).ring
    for kind in kinds:
        register(app, kind.name, bench, slot_is_free=slot_is_free)
    # A class of its own: Celery makes the step itself, and two applications in one process must not share it.
    step = type("Consuming", (Consuming,), {"house": house, "worker_name": bench.worker})
    app.steps["consumer"].add(step)

    @signals.worker_init.connect(weak=False)
    def quiet(sender: Any, **_: Any) -> None:
        """Leave out the chatter between workers: nothing of ours goes that way."""
        if sender.app is app:
            sender.options.update(without_mingle=True, without_gossip=True)
            sender.quiet |= settings.log == "json"  # a banner is no JSON
            _or_exit(lambda: house.ledger.database.wait_for_schema(time.sleep))
            house.lifeline(bench.worker).hold()

    @signals.worker_shutting_down.connect(weak=False)
    def shut_down(**_: Any) -> None:
        """Warm shutdown: attempts stop at their next call and give their operation back."""
        bench.leases.shut_down()

    @signals.worker_shutdown.connect(weak=False)
    def leave(**_: Any) -> None:
        """Let what was seen last be written down."""
        house.chronicle.flush(_LAST_WORDS_SECONDS)

    @signals.after_setup_logger.connect(weak=False)
    def log_events(loglevel: int = logging.INFO, **_: Any) -> None:
        """Let our own events through Celery's log; of a task its end is told, its arrival only when debugging."""
        logging.getLogger("wabajobs").setLevel(logging.INFO)
        if loglevel >= logging.INFO:
            logging.getLogger("celery.worker.strategy").setLevel(logging.WARNING)

    if settings.log == "json":
        _log_json(logs.JsonLines(program="worker", worker=bench.worker))
    return app


@signals.task_prerun.connect(weak=False)
def _begin(task_id: str, task: Any, kwargs: Mapping[str, Any], **_: Any) -> None:
    """Let each line of the attempt say whose it is, those of Celery and of libraries too."""
    known = {name: kwargs.get(name) or None for name in ("partner", "waba", "app")}
    events.about(operation=task_id, kind=task.name, attempt=kwargs.get("fence"), **known)


@signals.task_postrun.connect(weak=False)
def _end(**_: Any) -> None:
    """Forget it: the thread takes another one next."""
    events.about_nothing()


def _log_json(lines: logging.Formatter) -> None:
    """Let Celery's handlers write JSON, wherever they write to."""

    def write(logger: logging.Logger, **_: Any) -> None:
        for handler in logger.handlers:
            handler.setFormatter(lines)

    logs.warnings_to_stderr(lines)
    signals.after_setup_logger.connect(write, weak=False)
    signals.after_setup_task_logger.connect(write, weak=False)


def own_kinds() -> tuple[str, ...]:
    """Return the names of the kinds that only the settings know, or end the program with a sentence."""

    def names() -> tuple[str, ...]:
        settings = Settings.load()
        own = own_names(settings.kinds)
        if not own:
            raise ConfigurationError('the settings name no kinds of your own: kinds = ["your.module"]')
        return own

    return _or_exit(names)


def _or_exit(make: Callable[[], T]) -> T:
    """Return what is made, or end the program with a sentence: this is an operator's door, too."""
    try:
        return make()
    except WabajobsError as error:
        raise SystemExit(f"wabajobs: {error}") from None
