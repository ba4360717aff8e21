"""The worker of `channel_update`: `celery -A workers.channel_update worker`."""

from wabajobs.broker import worker_app

app = worker_app("channel_update")
