"""The worker of `onboarding`: `celery -A workers.onboarding worker`."""

from wabajobs.broker import worker_app

app = worker_app("onboarding")
