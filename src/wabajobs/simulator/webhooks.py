"""Webhooks: what the Graph tells a subscribed app by itself, signed; and the challenge of a new callback.

https://developers.facebook.com/docs/graph-api/webhooks/getting-started
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import secrets
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from pydantic import TypeAdapter

from wabajobs.simulator.clock import Clock, rest

RETRIES = (60.0, 300.0, 1800.0, 7200.0, 21_600.0)
"""Simulated seconds before each further try of a delivery that was not answered with 200."""

_TIMEOUT = aiohttp.ClientTimeout(total=10)
_KEPT = 100_000
_SAVED_MOST = 2000
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Delivery:
    """One webhook to one app."""

    seq: int
    """Its place in the order in which they were made, from 1."""
    time: float
    """Simulated second at which it was made."""
    app: str
    waba: str
    topic: str
    """Such as `message_template_status_update`."""
    value: dict[str, Any]
    body: bytes = field(repr=False, default=b"")
    signature: str = ""
    """The `X-Hub-Signature-256` that it bears."""
    tries: int = 0
    statuses: list[int] = field(default_factory=list)
    """What the callback answered to each try; 0: nothing."""
    delivered: bool = False
    due: float = 0.0
    """Simulated second of its next try."""


_DELIVERIES = TypeAdapter(list[Delivery])


class Webhooks:
    """Every webhook of one simulator. Methods may be called from any thread."""

    def __init__(self, *, clock: Clock, url: str | None, lock: threading.RLock) -> None:
        self._clock = clock
        self._lock = lock
        self._url = url
        self._urls: dict[str, str] = {}
        self._made = 0
        self.changed = 0
        """Counts the changes, so that who saves the webhooks knows whether it must."""
        self._all: deque[Delivery] = deque(maxlen=_KEPT)
        self._waiting: list[Delivery] = []
        self._poke: Callable[[], object] = lambda: None

    # What the world does

    def send(self, *, app: str, secret: str, waba: str, topic: str, value: dict[str, Any]) -> None:
        """Tell an app that something happened at a WABA; without a callback it is only recorded."""
        with self._lock:
            self._made += 1
            self.changed += 1
            now = self._clock.now()
            entry = {"id": waba, "time": int(self._clock.unix()), "changes": [{"value": value, "field": topic}]}
            body = json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()
            signature = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
            delivery = Delivery(self._made, now, app, waba, topic, value, body, signature, due=now)
            self._all.append(delivery)
            if self.url_of(app):
                self._waiting.append(delivery)
        self._poke()

    # What anybody may ask and change

    def url_of(self, app: str) -> str | None:
        """The app's callback."""
        return self._urls.get(app, self._url)

    def set_url(self, url: str | None, *, app: str | None = None) -> None:
        """Give one app, or every app, a callback for what happens from now on; none: nothing is delivered."""
        with self._lock:
            self.changed += 1
            if app is None:
                self._url = url
                self._urls.clear()
            elif url is None:
                self._urls.pop(app, None)
            else:
                self._urls[app] = url

    def sent(self, *, topic: str | None = None, after: int = 0) -> list[Delivery]:
        """The webhooks that were made, oldest first, delivered or not."""
        with self._lock:
            return [one for one in self._all if one.seq > after and (topic is None or one.topic == topic)]

    # Kept across a restart

    def state(self) -> dict[str, Any]:
        """What was not delivered yet and the latest of the others, as JSON can hold it."""
        with self._lock:
            waiting = {one.seq for one in self._waiting}
            latest = self._made - _SAVED_MOST
            kept = [one for one in self._all if one.seq > latest or one.seq in waiting]
            return {
                "made": self._made,
                "url": self._url,
                "urls": dict(self._urls),
                "waiting": sorted(waiting),
                "all": _DELIVERIES.dump_python(kept, mode="json"),
            }

    def restore(self, state: dict[str, Any]) -> None:
        """Put a `state` in place of everything, but the URL that the config names."""
        with self._lock:
            self._made = state["made"]
            self._url = self._url or state["url"]
            self._urls = state["urls"]
            waiting = set(state["waiting"])
            self._all = deque(_DELIVERIES.validate_python(state["all"]), maxlen=_KEPT)
            self._waiting = [one for one in self._all if one.seq in waiting]

    # How they get there

    async def pump(self) -> None:
        """Deliver until cancelled."""
        loop, awake = asyncio.get_running_loop(), asyncio.Event()
        self._poke = lambda: None if loop.is_closed() else loop.call_soon_threadsafe(awake.set)
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
            while True:
                awake.clear()
                with self._lock:
                    now = self._clock.now()
                    due = [one for one in self._waiting if one.due <= now]
                    next_due = min((one.due for one in self._waiting if one.due > now), default=None)
                for delivery in due:
                    await self._deliver(session, delivery)
                if not due:
                    await rest(self._clock, awake, next_due)

    async def _deliver(self, session: aiohttp.ClientSession, delivery: Delivery) -> None:
        status = 0
        headers = {"Content-Type": "application/json", "X-Hub-Signature-256": delivery.signature}
        url = self.url_of(delivery.app)
        try:
            if url:
                async with session.post(
                    url, data=delivery.body, headers=headers, allow_redirects=False
                ) as answer:
                    status = answer.status
        except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
            log.debug("webhook %d was not delivered: %s", delivery.seq, type(error).__name__)
        with self._lock:
            delivery.tries += 1
            self.changed += 1
            delivery.statuses.append(status)
            delivery.delivered = status == 200
            if delivery.delivered or delivery.tries > len(RETRIES) or not url:
                self._waiting.remove(delivery)
            else:
                delivery.due = self._clock.now() + RETRIES[delivery.tries - 1]


async def challenge(url: str, verify_token: str) -> bool:
    """Whether a callback proves that it is wanted: it must answer with the challenge.

    https://developers.facebook.com/docs/graph-api/webhooks/getting-started#verification-requests
    """
    word = str(secrets.randbelow(10**10))
    query = {"hub.mode": "subscribe", "hub.verify_token": verify_token, "hub.challenge": word}
    try:
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT) as session,
            session.get(url, params=query, allow_redirects=False) as answer,
        ):
            return answer.status == 200 and (await answer.text()).strip() == word
    except (aiohttp.ClientError, OSError, ValueError, TimeoutError):
        return False
