"""What Flower looks at, with the control room in it: `celery -A wabajobs.page.monitor flower`."""

from wabajobs.broker.monitor import app, settings
from wabajobs.page.installing import install
from wabajobs.wiring import House

install(House(settings))

__all__ = ["app"]
