"""What Flower looks at: `celery -A wabajobs.broker.monitor flower`, or `wabajobs flower`."""

import logging

from wabajobs import logs
from wabajobs.broker.app import make_app
from wabajobs.kinds import catalogue
from wabajobs.settings import Settings

# Our workers take no remote control, so Flower's inspection of them always comes back empty; what it shows of
# workers and tasks it has from events. That is no news, least of all once for each worker and method.
logging.getLogger("flower.inspector").setLevel(logging.ERROR)

settings = Settings.load()
if settings.log == "json":
    logs.to_stderr("json", program="flower")  # where somebody logs already, Tornado does not
app = make_app(settings, queues=catalogue(settings.kinds).names)
