"""The worker of `template_create`: `celery -A workers.template_create worker`."""

from wabajobs.broker import worker_app

app = worker_app("template_create")
