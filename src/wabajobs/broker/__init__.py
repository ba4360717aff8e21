"""Everything that knows Celery: the application, the task body, publishing, consuming."""

from wabajobs.broker.app import make_app
from wabajobs.broker.release import Sender
from wabajobs.broker.standing import Standing
from wabajobs.broker.worker import own_kinds, worker_app

__all__ = ["Sender", "Standing", "make_app", "own_kinds", "worker_app"]
