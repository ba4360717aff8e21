"""The way into a Flower: as a script of the page goes, and as somebody else would."""

from dataclasses import dataclass
from typing import Any

import requests

from tests.support.fleet import Fleet
from wabajobs.decisions import Pause

PAUSE = {"scope": "queue:template_sync", "reason": "trying it out", "for_seconds": 600}
PHONE = {"width": 375, "height": 812}


@dataclass
class Door:
    """A Flower that runs."""

    url: str
    """With its prefix."""
    fleet: Fleet
    auth: tuple[str, str] | None

    @property
    def room(self) -> str:
        """The address of the control room."""
        return f"{self.url}/wabajobs"

    def as_(self, user: str) -> "Door":
        """The same for somebody else."""
        assert self.auth
        return Door(self.url, self.fleet, (user, self.auth[1]))

    def get(self, path: str = "", **more: Any) -> requests.Response:
        """Ask for something of the control room."""
        more.setdefault("auth", self.auth)
        return requests.get(f"{self.room}{path}", timeout=20, allow_redirects=False, **more)

    def look(self) -> dict[str, Any]:
        """What the page shows."""
        answer = self.get("/look")
        assert answer.ok, answer.text
        return dict(answer.json())

    def visitor(self, **cookies: str) -> requests.Session:
        """Somebody who has the page open: with its cookies."""
        session = requests.Session()
        session.auth = self.auth
        for name, value in cookies.items():
            session.cookies.set(name, value)
        assert session.get(self.room, timeout=20).ok
        return session

    def post(
        self, name: str, wish: Any, *, session: requests.Session | None = None, **headers: str | None
    ) -> requests.Response:
        """Decide something, as the page's script does it; `headers` replace those, None leaves one out."""
        session = session or self.visitor()
        own = {"X_XSRFToken": session.cookies.get("_xsrf"), "Content_Type": "application/json"} | headers
        sent = {name.replace("_", "-"): value for name, value in own.items() if value is not None}
        return session.post(f"{self.room}/actions/{name}", json=wish, headers=sent, timeout=60)


def pauses(door: Door) -> list[Pause]:
    """The pauses that are in the ledger."""
    house = door.fleet.house
    return list(house.ledger.decisions.pauses(now=house.clock.now()))
