"""The worker of `number_migration`: `celery -A workers.number_migration worker`."""

from wabajobs.broker import worker_app

app = worker_app("number_migration")
