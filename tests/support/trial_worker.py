"""The worker of trials: `celery -A tests.support.trial_worker worker`."""

from tests.support.number_trial import NAME
from wabajobs.broker import worker_app

app = worker_app("template_sync", NAME)
