"""The worker of your own kinds, those that the settings name: `celery -A workers.own worker`."""

from wabajobs.broker import own_kinds, worker_app

app = worker_app(*own_kinds())
