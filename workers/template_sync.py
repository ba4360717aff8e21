"""The worker of `template_sync`: `celery -A workers.template_sync worker`."""

from wabajobs.broker import worker_app

app = worker_app("template_sync")
