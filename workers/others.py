"""The worker of what needs none of its own: `celery -A workers.others worker`."""

from wabajobs.broker import worker_app

app = worker_app("number_registration", "profile_update", "flow_publish", "channel_update")
