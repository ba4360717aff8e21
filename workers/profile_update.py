"""The worker of `profile_update`: `celery -A workers.profile_update worker`."""

from wabajobs.broker import worker_app

app = worker_app("profile_update")
