"""The worker of `hosting_change`: `celery -A workers.hosting_change worker`."""

from wabajobs.broker import worker_app

app = worker_app("hosting_change")
