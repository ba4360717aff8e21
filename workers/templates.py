"""The worker of all that changes templates: `celery -A workers.templates worker`."""

from wabajobs.broker import worker_app

app = worker_app("template_create", "template_edit", "template_delete")
