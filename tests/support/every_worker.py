"""A worker of all queues at once: `celery -A tests.support.every_worker worker`."""

from wabajobs.broker import worker_app
from wabajobs.kinds import catalogue

app = worker_app(*catalogue().names)
