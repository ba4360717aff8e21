"""The worker of `number_registration`: `celery -A workers.number_registration worker`."""

from wabajobs.broker import worker_app

app = worker_app("number_registration")
