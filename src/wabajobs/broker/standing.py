"""What Flower shows of operations that are no message of any queue: what is held, why, and how many.

Told by the dispatcher that leads, in events of Celery's alone:

- for each queue and each thing that holds operations of it, one standing entry, whose name is the kind and whose
  id begins with `held:`. It is told anew all the time, so that a Flower that has just been started knows it; when
  nothing is held any more it ends;
- for some single operations of each, those that came first, that they are held, under their own ids.

The state is RETRY throughout, Celery's word for *will come again*, as it is for an attempt that was held. It is
the only state that may follow an end, and that anything else may follow.
"""

import socket
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from typing import Any, Final

from celery import Celery

from wabajobs import events
from wabajobs.broker.telling import Event, Telling, searched, shown, unsent_errors
from wabajobs.ledger import Ledger
from wabajobs.operation import Operation, State
from wabajobs.outcome import Cancelled, Done, Expired, Failed, Hold
from wabajobs.seeing.holdups import Holdup, Holdups
from wabajobs.settings import FlowerSettings
from wabajobs.signals import Told

_STANDING: Final = "held:"
_MOST: Final = 2_000
"""Single operations that are followed until they have ended."""
_HELD: Final = "held"
_WAITS: Final = "waits"


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What one look comes to."""

    at: datetime
    standing: Mapping[str, Holdup]
    held: Mapping[str, tuple[Operation, Hold]]
    """Single operations that are held, and by what."""
    others: Collection[Operation]
    """Operations that were told of, are not held now, and that no worker has."""
    out: Collection[str]
    """Ids of those that were told of, and that a worker has."""

    @property
    def words(self) -> dict[str, str]:
        """What is known to Flower hereafter, of all that is not finished."""
        waiting = {one.id for one in self.others if not one.state.finished} | set(self.out)
        return dict.fromkeys(waiting, _WAITS) | dict.fromkeys([*self.standing, *self.held], _HELD)


class Standing:
    """Tells Flower what is held. Only the dispatcher that leads does."""

    def __init__(
        self,
        app: Celery,
        *,
        holdups: Holdups,
        ledger: Ledger,
        told: Told,
        settings: FlowerSettings,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Tell it through `app`'s broker."""
        self._app = app
        self._holdups = holdups
        self._ledger = ledger
        self._told = told
        self._settings = settings
        self._monotonic = monotonic
        self._tell = Telling(app, f"dispatcher@{socket.gethostname()}")
        self._unsent = unsent_errors(app)
        self._look_due = self._repeat_due = 0.0
        self._fails = False

    def keep_up(self) -> None:
        """Look if it is time to, and tell what is new and what is over; now and then, everything."""
        now = self._monotonic()
        if now < self._look_due:
            return
        self._look_due = now + self._settings.look_seconds
        repeats = now >= self._repeat_due
        before = self._told.words()
        found = self._find(before, anew=repeats)
        known = {} if repeats else before
        told = _over(found, before) + _news(found, known)
        if not self._publish([*told, self._alive()] if repeats else told):
            return
        if repeats:
            self._repeat_due = now + self._settings.repeat_seconds
        if found.words != before:
            self._told.keep(found.words)
        # One that another dispatcher has released meanwhile may have ended before we said that it was held.
        self._publish(_ended(self._ledger.operations.resting(_new(found, known))))

    def _find(self, before: Mapping[str, str], *, anew: bool) -> _Found:
        """Look what is held; `anew`, or if other things hold it, also at operations that were not told before."""
        look = self._holdups.look()
        standing = {f"{_STANDING}{one.key}": one for one in look.holdups[: self._settings.reasons]}
        followed = sorted(before.keys() - _standing(before))[:_MOST]
        operations = {one.id: one for one in self._ledger.operations.resting(followed)}
        out = [id_ for id_ in followed if id_ not in operations]
        if anew or standing.keys() != _standing(before):
            operations |= self._first(standing.values())
        held = {id_: (one, hold) for id_, one in operations.items() if (hold := look.why(one))}
        others = [one for id_, one in operations.items() if id_ in before and id_ not in held]
        return _Found(at=look.at, standing=standing, held=held, others=others, out=out)

    def _first(self, holdups: Iterable[Holdup]) -> dict[str, Operation]:
        """Return those that came first, of each queue as many as the settings say."""
        found: dict[str, Operation] = {}
        of_queue: Counter[str] = Counter()
        for holdup in holdups:
            if room := self._settings.operations - of_queue[holdup.queue]:
                its = self._holdups.examples(holdup, at_most=room)
                of_queue[holdup.queue] += len(its)
                found |= {one.id: one for one in its}
        return found

    def _publish(self, told: list[Event]) -> bool:
        """Tell Flower; False when the broker cannot be reached. It is told again then."""
        if not told:
            return True
        try:
            with self._app.producer_or_acquire() as producer:
                self._tell(told, producer)
        except self._unsent as error:
            if not self._fails:
                events.tell("part_failed", part="flower", why=error)
            self._fails = True
            return False
        self._fails = False
        return True

    def _alive(self) -> Event:
        """Let Flower show among the workers who tells all this, and that nobody does when it is silent."""
        who = {"sw_ident": "wabajobs", "sw_ver": version("wabajobs"), "sw_sys": "dispatcher"}
        return "worker-heartbeat", {"freq": self._settings.repeat_seconds, **who}


# ── events ───────────────────────────────────────────────────────────────────────────────────────────────


def _standing(ids: Iterable[str]) -> set[str]:
    return {id_ for id_ in ids if id_.startswith(_STANDING)}


def _over(found: _Found, before: Mapping[str, str]) -> list[Event]:
    """Say of what was told before that nothing holds it now."""
    over = [_has_ended(id_, found.at) for id_ in sorted(_standing(before) - found.standing.keys())]
    return over + [event for one in found.others if (event := _goes_on(one, was=before[one.id]))]


def _news(found: _Found, known: Mapping[str, str]) -> list[Event]:
    """Say what is held: of operations what is not known; if the entries are other ones, all of them anew."""
    news = [_is_held(*found.held[id_]) for id_ in _new(found, known)]
    if found.standing.keys() == _standing(known):
        return news
    return [_stands(id_, one, found.at) for id_, one in found.standing.items()] + news


def _new(found: _Found, known: Mapping[str, str]) -> list[str]:
    return [id_ for id_ in found.held if known.get(id_) != _HELD]


def _stands(id_: str, holdup: Holdup, at: datetime) -> Event:
    """Say what one thing holds of a queue. Received is when that was so: the newest stand on top."""
    facts: dict[str, Any] = {"held": holdup.operations, "by": holdup.cause.by, "scope": holdup.cause.scope}
    facts |= {"who": str(holdup.cause.origin), "oldest": _utc(holdup.oldest), "until": _utc(holdup.cause.until)}
    partners = {part.line.partner for part in holdup.parts}
    facts |= {"partner": partners.pop()} if len(partners) == 1 else {"partners": len(partners)}
    return "task-retried", {
        "uuid": id_,
        "name": holdup.queue,
        "args": "()",
        "kwargs": shown(facts),
        **_says(holdup.sentence(at)),
        "received": time.time(),
    }


def _has_ended(id_: str, at: datetime) -> Event:
    # A word of our own: Flower's overview counts what has succeeded, and this is no operation.
    return "task-released", {
        "uuid": id_,
        "name": id_.split(":")[1],
        "exception": None,
        "result": f"nothing is held by it any more, since {_utc(at)}",
        "received": time.time(),
    }


def _is_held(one: Operation, hold: Hold) -> Event:
    return "task-retried", {**_named(one), **_says(str(hold))}


def _goes_on(one: Operation, *, was: str) -> Event | None:
    """Say what has become of an operation; what a worker does, the worker tells."""
    if one.state in (State.CANCELLED, State.EXPIRED):
        return _ends(one)
    if one.state.finished or was != _HELD:
        return None
    return "task-pending", {**_named(one), "exception": None, "result": None}


def _ended(operations: Iterable[Operation]) -> list[Event]:
    """Say how operations have ended: what was told of it before we said that they were held is told once more."""
    return [event for one in operations if (event := _ends(one))]


def _ends(one: Operation) -> Event | None:
    error = one.error or {}
    match one.state:
        case State.SUCCEEDED:
            return "task-succeeded", {**_named(one), "result": str(Done(one.result or {})), "exception": None}
        case State.FAILED:
            return "task-failed", {**_named(one), "exception": str(Failed(error["message"]))}
        case State.CANCELLED:
            return "task-revoked", {**_named(one), "exception": str(Cancelled(error["reason"], error["by"]))}
        case State.EXPIRED:
            return "task-revoked", {**_named(one), "exception": str(Expired(error["message"]))}
        case _:
            return None


def _says(sentence: str) -> dict[str, str]:
    """Return why something is held: where workers tell it, too, and where Flower's list shows and finds it."""
    return {"exception": sentence, "result": sentence}


def _named(one: Operation) -> dict[str, Any]:
    return {"uuid": one.id, "name": one.kind, "args": "()", "kwargs": shown(searched(one))}


def _utc(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment else ""
