"""What Flower looks at: `celery -A wabajobs.broker.monitor flower`, or `wabajobs flower`."""

from wabajobs.broker.app import make_app
from wabajobs.kinds import catalogue
from wabajobs.settings import Settings

_settings = Settings.load()
app = make_app(_settings, queues=catalogue(_settings.kinds).names)
