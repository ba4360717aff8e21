"""The worker of `flow_publish`: `celery -A workers.flow_publish worker`."""

from wabajobs.broker import worker_app

app = worker_app("flow_publish")
