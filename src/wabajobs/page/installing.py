"""Our entries in Flower's tables: addresses, and where templates come from."""

from pathlib import Path
from typing import Final

import flower.urls
from tornado.web import url

from wabajobs.page.overlay import Overlay
from wabajobs.page.room import Room
from wabajobs.page.views import (
    ActionHandler,
    IncidentHandler,
    IncidentPage,
    LookHandler,
    OperationPage,
    PreviewHandler,
    ReportHandler,
    RoomPage,
    SlashHandler,
    StaticHandler,
    StoryHandler,
)
from wabajobs.wiring import House

STATIC: Final = Path(__file__).parent / "static"


def install(house: House) -> None:
    """Put the control room of a house into the Flower that this process is about to start.

    Flower reads these tables when it makes its application; `--url-prefix` is laid over ours as over its own.
    """
    with_room = {"room": Room(house)}
    ours = [
        url(r"/wabajobs", RoomPage, with_room, name="wabajobs"),
        url(r"/wabajobs/", SlashHandler),
        url(r"/wabajobs/look", LookHandler, with_room),
        url(r"/wabajobs/preview", PreviewHandler, with_room),
        url(r"/wabajobs/actions/([a-z-]+)", ActionHandler, with_room),
        url(r"/wabajobs/operations/([^/]+)", OperationPage, with_room, name="wabajobs-operation"),
        url(r"/wabajobs/operations/([^/]+)/story", StoryHandler, with_room),
        url(r"/wabajobs/incidents/([0-9]{1,9})", IncidentPage, with_room),
        url(r"/wabajobs/incidents/([0-9]{1,9})/look", IncidentHandler, with_room),
        url(r"/wabajobs/incidents/([0-9]{1,9})/report", ReportHandler, with_room),
        url(r"/wabajobs/static/(.*)", StaticHandler, {"path": str(STATIC)}, name="wabajobs-static"),
    ]
    flower.urls.handlers[-1:-1] = ours  # the last one takes what nobody else has taken
    flower.urls.settings.setdefault("xsrf_cookie_kwargs", {"samesite": "Strict"})
    flower.urls.settings["template_loader"] = Overlay(flower.urls.settings["template_path"])
