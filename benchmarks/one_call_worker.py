"""The worker of `one_call`: `celery -A benchmarks.one_call_worker worker`."""

from wabajobs.broker import worker_app

app = worker_app("one_call")
