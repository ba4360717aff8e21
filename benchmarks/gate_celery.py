"""Plain Celery with its own `rate_limit`: a task that makes one Graph call. Nothing of ours in it."""

import os
import threading

import requests
from celery import Celery

app = Celery("gate_celery", broker=os.environ.get("BENCH_BROKER_URL"), set_as_current=False)
app.conf.update(
    task_ignore_result=True,
    task_serializer="json",
    accept_content=["json"],
    task_acks_late=True,
    worker_prefetch_multiplier=32,  # else what the limit holds back keeps it from what it could do
    worker_enable_remote_control=False,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
)
_local = threading.local()


def get(path: str) -> requests.Response:
    """Make one Graph call."""
    if not hasattr(_local, "session"):
        _local.session = requests.Session()
        _local.session.trust_env = False
    answer: requests.Response = _local.session.get(
        f"{os.environ['BENCH_GRAPH_URL']}/v24.0/{path}",
        params={"fields": "name"},
        headers={"Authorization": f"Bearer {os.environ['BENCH_GRAPH_TOKEN']}"},
        timeout=30,
    )
    return answer


@app.task(name="gate_celery.call", shared=False, rate_limit=os.environ.get("BENCH_RATE_LIMIT"))
def call(path: str) -> None:
    """Make one call; what becomes of it is not our matter."""
    get(path)
