"""The worker of `noop`: `celery -A benchmarks.noop_worker worker`."""

from wabajobs.broker import worker_app

app = worker_app("noop")
