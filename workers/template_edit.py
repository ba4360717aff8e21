"""The worker of `template_edit`: `celery -A workers.template_edit worker`."""

from wabajobs.broker import worker_app

app = worker_app("template_edit")
