"""Plain Celery, for comparison: nothing of ours in it. Settings that matter are the same as our workers'."""

import itertools
import json
import os
import threading
import time
from pathlib import Path

import requests
from celery import Celery

app = Celery("plain", broker=os.environ.get("BENCH_BROKER_URL"), set_as_current=False)
app.conf.update(
    task_ignore_result=True,
    task_serializer="json",
    accept_content=["json"],
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    worker_pool="threads",
    worker_concurrency=int(os.environ.get("BENCH_CONCURRENCY", "8")),
    worker_enable_remote_control=False,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
)
if os.environ.get("BENCH_EVENTS"):
    app.conf.update(worker_send_task_events=True, task_send_sent_event=True, task_track_started=True)

_number = itertools.count(1)
_begun: list[float] = []
_local = threading.local()


@app.task(name="plain.noop", shared=False)
def noop(last: int) -> None:
    """Do nothing. Call number `last` writes down when the first and the last one were made."""
    number = next(_number)
    if number == 1:
        _begun.append(time.time())
    if number == last:
        told = Path(os.environ["BENCH_TOLD"])
        unfinished = told.with_suffix(".part")
        unfinished.write_text(json.dumps({"first": _begun[0], "last": time.time()}))
        unfinished.rename(told)


@app.task(name="plain.warm", shared=False)
def warm() -> None:
    """Do nothing, and count nothing."""


@app.task(name="plain.call", shared=False)
def call(waba: str) -> None:
    """Make one Graph call, as a task without limits would."""
    if not hasattr(_local, "session"):
        _local.session = requests.Session()
        _local.session.trust_env = False
    _local.session.get(
        f"{os.environ['BENCH_GRAPH_URL']}/v24.0/{waba}/message_templates",
        params={"limit": 1},
        headers={"Authorization": f"Bearer {os.environ['BENCH_GRAPH_TOKEN']}"},
        timeout=10,
    )
