"""The worker of `profile_photo`: `celery -A workers.profile_photo worker`."""

from wabajobs.broker import worker_app

app = worker_app("profile_photo")
