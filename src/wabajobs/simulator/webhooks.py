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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Literal, NamedTuple, get_args

import aiohttp
from pydantic import TypeAdapter

from wabajobs.simulator.clock import Clock, rest
from wabajobs.simulator.config import SimulatorConfig

Topic = Literal[
    "account_alerts",
    "account_review_update",
    "account_settings_update",
    "account_update",
    "automatic_events",
    "business_capability_update",
    "business_status_update",
    "calls",
    "flows",
    "group_lifecycle_update",
    "group_participants_update",
    "group_settings_update",
    "group_status_update",
    "history",
    "message_echoes",
    "message_template_components_update",
    "message_template_quality_update",
    "message_template_status_update",
    "messages",
    "messaging_handovers",
    "partner_solutions",
    "payment_configuration_update",
    "phone_number_name_update",
    "phone_number_quality_update",
    "security",
    "smb_app_state_sync",
    "smb_message_echoes",
    "standby",
    "template_category_update",
    "template_correct_category_detection",
    "tracking_events",
    "user_id_update",
    "user_preferences",
]
"""What an app may be told of a WABA; most of it never happens here.

https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/overview
"""
TOPICS: tuple[str, ...] = get_args(Topic)

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
    repeats: int = 0
    """The `seq` of the webhook that is delivered a second time by this one; 0: it is no repetition."""


class Subscription(NamedTuple):
    """Where an app's webhooks go, and which of them."""

    url: str
    topics: tuple[str, ...]


_DELIVERIES = TypeAdapter(list[Delivery])


class Webhooks:
    """Every webhook of one simulator. Methods may be called from any thread."""

    def __init__(
        self, *, clock: Clock, url: str | None, config: Callable[[], SimulatorConfig], lock: threading.RLock
    ) -> None:
        """`config` gives the knobs as they are at a moment."""
        self._clock = clock
        self._config = config
        self._lock = lock
        self._url = url
        self._urls: dict[str, str] = {}
        self._topics: dict[str, tuple[str, ...]] = {}
        """What each app has chosen. Who has not chosen gets everything; an empty choice is no subscription."""
        self._made = 0
        self.changed = 0
        """Counts the changes, so that who saves the webhooks knows whether it must."""
        self._all: deque[Delivery] = deque(maxlen=_KEPT)
        self._waiting: list[Delivery] = []
        self._poke: Callable[[], object] = lambda: None

    # What the world does

    def send(self, *, app: str, secret: str, waba: str, topic: str, value: dict[str, Any]) -> None:
        """Tell an app that something happened at a WABA, if it wants to know; without a callback it is only
        recorded."""
        with self._lock:
            if topic not in self._topics.get(app, (topic,)):
                return
            self.changed += 1
            now = self._clock.now()
            entry = {"id": waba, "time": int(self._clock.unix()), "changes": [{"value": value, "field": topic}]}
            body = json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()
            signature = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
            config = self._config()
            chance = Random(f"webhooks:{config.seed}:{self._made}")

            def due() -> float:
                late, seconds = chance.random(), chance.uniform(*config.webhooks_late_seconds)
                return now + seconds if late < config.webhooks_late else now

            first = self._add(Delivery(0, now, app, waba, topic, value, body, signature, due=due()))
            if chance.random() < config.webhooks_twice:
                self._add(replace(first, statuses=[], due=due(), repeats=first.seq))
        self._poke()

    def _add(self, delivery: Delivery) -> Delivery:
        self._made += 1
        delivery.seq = self._made
        self._all.append(delivery)
        if self.url_of(delivery.app):
            self._waiting.append(delivery)
        return delivery

    # What an app chooses

    def subscription(self, app: str) -> Subscription | None:
        """What an app gets, and where; nothing without a callback."""
        url = self.url_of(app)
        return Subscription(url, self._topics.get(app, TOPICS)) if url else None

    def subscribe(self, app: str, url: str, topics: Sequence[str]) -> bool:
        """From now on an app gets these topics there, and no others; whether anything became different."""
        with self._lock:
            before = self.subscription(app)
            self._urls[app], self._topics[app] = url, tuple(dict.fromkeys(topics))
            self.changed += 1
            return self.subscription(app) != before

    def unsubscribe(self, app: str, topics: Sequence[str] | None = None) -> bool:
        """From now on an app does not get these topics, or none at all; whether anything became different."""
        with self._lock:
            before = self._topics.get(app, TOPICS)
            left = () if topics is None else tuple(one for one in before if one not in topics)
            self._topics[app] = left
            if not left:
                self._urls.pop(app, None)
            self.changed += 1
            return left != before

    # What anybody may ask and change

    def url_of(self, app: str) -> str | None:
        """The app's callback."""
        return self._urls.get(app, self._url) if self._topics.get(app, TOPICS) else None

    def set_url(self, url: str | None, *, app: str | None = None) -> None:
        """Give one app, or every app, a callback for all that happens from now on; none: nothing is delivered."""
        with self._lock:
            self.changed += 1
            if app is None:
                self._url = url
                self._urls.clear()
                self._topics.clear()
                return
            self._topics.pop(app, None)
            if url is None:
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
                "topics": {app: list(topics) for app, topics in self._topics.items()},
                "waiting": sorted(waiting),
                "all": _DELIVERIES.dump_python(kept, mode="json"),
            }

    def restore(self, state: dict[str, Any]) -> None:
        """Put a `state` in place of everything, but the URL that the config names."""
        with self._lock:
            self._made = state["made"]
            self._url = self._url or state["url"]
            self._urls = state["urls"]
            self._topics = {app: tuple(topics) for app, topics in state["topics"].items()}
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
                    due = sorted(
                        (one for one in self._waiting if one.due <= now), key=lambda one: (one.due, one.seq)
                    )
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
