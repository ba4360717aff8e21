"""The worker of `template_delete`: `celery -A workers.template_delete worker`."""

from wabajobs.broker import worker_app

app = worker_app("template_delete")
