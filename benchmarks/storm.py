"""Plain Celery under a limit, as it is usually written: a task that makes one Graph call and is tried again.

`BENCH_POLICY` says how: `unlimited` and `three` retries, with exponential backoff and full jitter; `rate_limit`
is `unlimited` with Celery's own `rate_limit` beside it. Nothing of ours in it.
"""

import os
import threading
from typing import Any

import requests
from celery import Celery, Task
from redis import Redis

POLICY = os.environ.get("BENCH_POLICY", "unlimited")

app = Celery("storm", broker=os.environ.get("BENCH_BROKER_URL"), set_as_current=False)
app.conf.update(
    task_ignore_result=True,
    task_serializer="json",
    accept_content=["json"],
    task_acks_late=True,
    task_default_queue=f"storm-{POLICY}",
    # What a rate limit holds back lies in the worker, unacknowledged. Once all places are taken so, a worker on
    # Redis fetches about one message a second, whatever its rate: with room for all it is at its best.
    worker_prefetch_multiplier=10_000 if POLICY == "rate_limit" else 4,
    worker_enable_remote_control=False,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
)
_local = threading.local()


class RefusedError(Exception):
    """The vendor said that there are too many calls, or something else went wrong."""


class Counted(Task):
    """A task whose end is counted in Redis."""

    def on_success(self, *_: Any) -> None:
        """It made its call."""
        _redis().incr(f"storm:{POLICY}:done")

    def on_failure(self, *_: Any) -> None:
        """It was given up: nobody will try it again."""
        _redis().incr(f"storm:{POLICY}:lost")


@app.task(
    name="storm.operation",
    base=Counted,
    shared=False,
    autoretry_for=(RefusedError,),
    max_retries=3 if POLICY == "three" else None,
    retry_backoff=1,
    retry_backoff_max=int(os.environ.get("BENCH_BACKOFF_MAX", "600")),
    retry_jitter=True,
    rate_limit=os.environ.get("BENCH_RATE_LIMIT") if POLICY == "rate_limit" else None,
)
def operation(path: str) -> None:
    """Make one call."""
    if not hasattr(_local, "session"):
        _local.session = requests.Session()
        _local.session.trust_env = False
    try:
        answer = _local.session.get(
            f"{os.environ['BENCH_GRAPH_URL']}/v24.0/{path}",
            params={"fields": "name"},
            headers={"Authorization": f"Bearer {os.environ['BENCH_GRAPH_TOKEN']}"},
            timeout=30,
        )
    except requests.RequestException as error:
        raise RefusedError(str(type(error).__name__)) from None
    if answer.status_code != 200:
        raise RefusedError(f"HTTP {answer.status_code}")


def _redis() -> "Redis":
    if not hasattr(_local, "redis"):
        _local.redis = Redis.from_url(os.environ["BENCH_REDIS_URL"])
    return _local.redis
