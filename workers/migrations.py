"""The worker of all that moves: `celery -A workers.migrations worker`."""

from wabajobs.broker import worker_app

app = worker_app("template_migration", "number_migration", "hosting_change")
