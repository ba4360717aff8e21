"""The product's worker of all queues but the fleet's syncs, which have one of their own."""

from wabajobs.broker import worker_app
from wabajobs.kinds import catalogue

app = worker_app(*(name for name in catalogue().names if name != "template_sync"))
