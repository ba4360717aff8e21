"""Callbacks: the Hub is called for each event, signed, and again until it has answered with success.

It happens beside the dispatcher, in threads of its own, and only where one leads: no operation waits for it. What
is told of one WABA comes in order; an event that the Hub refuses holds up its own WABA alone, for a bounded time.
While the Hub does not answer at all, one event at a time finds out whether it is back.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from typing import Final, Protocol

import requests

from wabajobs import events
from wabajobs.beside import Beside
from wabajobs.clock import Clock
from wabajobs.feed import SIGNATURE, TIMESTAMP, Event, EventKind, sign
from wabajobs.ledger import Delivery, Ledger, Missed
from wabajobs.secret import Secret
from wabajobs.settings import CallbackSettings

_OPEN: Final = 500
"""Events that are taken up at once: what waits longer lies in the outbox."""
_AT_ONCE: Final = 50
_POLL_SECONDS: Final = 1.0
_BUSY: Final = frozenset({408, 425, 429})
_LONGEST_ERROR: Final = 300


class Refused(Exception):
    """The Hub has answered, and not with success. It is there, and does not want this event."""


class Away(Exception):
    """The Hub has not answered, or says that it cannot."""


class Post(Protocol):
    """Makes one call."""

    def __call__(self, event: Event, *, attempt: int) -> None:
        """Deliver an event. Raises `Refused` or `Away`."""
        ...


class Caller:
    """Posts JSON to one address over HTTP, signed if there is a secret.

    Redirects are not followed, and of the answer only its status is read.
    """

    def __init__(
        self, url: str, *, timeout_seconds: float, secret: Callable[[], Secret | None], clock: Clock
    ) -> None:
        """Call `url`; `secret` is asked for when it is first needed."""
        self._url = url
        self._timeout_seconds = timeout_seconds
        self._secret = secret
        self._clock = clock

    def __call__(self, body: bytes, *, headers: Mapping[str, str]) -> None:
        """Post once. Raises `Refused` or `Away`."""
        try:
            with self._session.post(
                self._url,
                data=body,
                headers={
                    "Content-Type": "application/json",
                    "User-Agent": "wabajobs",
                    **self._signature(body),
                    **headers,
                },
                timeout=self._timeout_seconds,
                allow_redirects=False,
                stream=True,
            ) as answer:
                status = answer.status_code
        except (requests.RequestException, UnicodeError) as error:
            raise Away(f"no answer ({type(error).__name__})") from error
        if status >= 500 or status in _BUSY:
            raise Away(f"HTTP {status}")
        if not 200 <= status < 300:
            raise Refused(f"HTTP {status}")

    def _signature(self, body: bytes) -> dict[str, str]:
        if self._key is None:
            return {}
        timestamp = str(int(self._clock.now().timestamp()))
        return {TIMESTAMP: timestamp, SIGNATURE: sign(body, timestamp=timestamp, secret=self._key)}

    @cached_property
    def _key(self) -> Secret | None:
        return self._secret()

    @cached_property
    def _session(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False  # no proxy stands between us and the address, and no netrc speaks for us
        return session


class HttpPost:
    """Delivers over HTTP."""

    def __init__(self, settings: CallbackSettings, secret: Callable[[], Secret], clock: Clock) -> None:
        """Call the address of the settings; `secret` is asked for when it is first needed."""
        self._call = Caller(settings.url, timeout_seconds=settings.timeout_seconds, secret=secret, clock=clock)

    def __call__(self, event: Event, *, attempt: int) -> None:
        """Deliver an event. Raises `Refused` or `Away`."""
        headers = {
            "X-Wabajobs-Event": str(event.kind),
            "X-Wabajobs-Cursor": str(event.cursor),
            "X-Wabajobs-Attempt": str(attempt),
        }
        self._call(event.body, headers=headers)


class Relay:
    """Delivers events while it is told to. Whoever leads tells it, again and again."""

    def __init__(
        self,
        ledger: Ledger,
        settings: CallbackSettings,
        *,
        post: Post,
        clock: Clock,
        lasting: timedelta,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Deliver through `post`; `lasting` is for how long one `keep_up` is good."""
        self._ledger = ledger
        self._settings = settings
        self._post = post
        self._clock = clock
        self._beside = Beside(
            "callbacks",
            self.turn,
            lasting=lasting,
            retry=timedelta(seconds=settings.retry_seconds),
            monotonic=monotonic,
        )
        self._vain = 0
        """Turns one after the other in which the Hub was away."""

    def keep_up(self) -> None:
        """Go on for a while. Returns at once."""
        if self._settings.url:
            self._beside.keep_up()

    def turn(self) -> timedelta:
        """Deliver what is due; return how long there is nothing to do. Raises `NotReady`."""
        callbacks, now = self._ledger.callbacks, self._clock.now()
        taken = callbacks.take_up(self._kinds, now=now, most_open=_OPEN)
        due = callbacks.due(now=now, at_most=1 if self._vain else _AT_ONCE)
        if not due:
            return timedelta(seconds=_POLL_SECONDS)
        came = self._deliver(due)
        self._settle(due, came)
        errors = list(came.values())
        if errors and all(isinstance(error, Away) for error in errors):
            self._vain += 1
            return self._after(self._vain)
        self._vain = 0
        return timedelta(0) if taken or None in errors else timedelta(seconds=_POLL_SECONDS)

    def _deliver(self, due: Sequence[Delivery]) -> dict[int, Refused | Away | None]:
        """Try these, several at once; return what came of each, by its place, as far as it was tried."""
        came: dict[int, Refused | Away | None] = {}
        places = iter(range(len(due)))

        def work() -> None:
            for place in places:
                if not self._beside.may_go_on:
                    return
                came[place] = error = self._try(due[place])
                if isinstance(error, Away):
                    return

        # Not those of a pool: at the end of the process they would be waited for.
        threads = [
            threading.Thread(target=work, name=f"callback-{number}", daemon=True)
            for number in range(min(self._settings.connections, len(due)))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return came

    def _try(self, delivery: Delivery) -> Refused | Away | None:
        try:
            self._post(delivery.event, attempt=delivery.tries + 1)
        except (Refused, Away) as error:
            return error
        return None

    def _settle(self, due: Sequence[Delivery], came: Mapping[int, Refused | Away | None]) -> None:
        delivered = [due[place].event.cursor for place, error in came.items() if error is None]
        missed = {
            due[place].event.cursor: self._missed(due[place], str(error))
            for place, error in came.items()
            if error is not None
        }
        self._ledger.callbacks.settle(delivered, missed, now=self._clock.now())

    def _missed(self, delivery: Delivery, why: str) -> Missed:
        now = self._clock.now()
        first_at, tries = delivery.first_at or now, delivery.tries + 1
        too_long = now - first_at >= timedelta(seconds=self._settings.give_up_seconds)
        if too_long or tries >= self._settings.attempts:
            events.tell("callback_given_up", event_cursor=delivery.event.cursor, tries=tries, why=why)
            return Missed(error=why[:_LONGEST_ERROR], first_at=first_at, again_at=None)
        return Missed(error=why[:_LONGEST_ERROR], first_at=first_at, again_at=now + self._after(tries))

    def _after(self, tries: int) -> timedelta:
        most = self._settings.retry_cap_seconds
        return timedelta(seconds=min(most, self._settings.retry_seconds * 2.0 ** min(tries - 1, 30)))

    @property
    def _kinds(self) -> frozenset[EventKind]:
        return frozenset(self._settings.kinds)
