"""The worker of `template_migration`: `celery -A workers.template_migration worker`."""

from wabajobs.broker import worker_app

app = worker_app("template_migration")
