"""The worker of trials with secrets: `celery -A tests.support.secretive_worker worker`."""

from tests.support.secretive import KIND
from wabajobs.broker import worker_app

app = worker_app(KIND.name)
