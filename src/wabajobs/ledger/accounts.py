"""What Meta has told of accounts and their numbers: the newest of each thing, and what follows from it for us.

A WABA that is deleted, disabled or no longer ours is paused in Meta's name, like by a person: what waits is held
with that reason, what runs stops before its next call, and its list is no longer synced. It goes on as soon as
Meta tells the opposite; until then a person can still resume it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, exists, select

from wabajobs.decisions import Scope, ScopeType
from wabajobs.ledger import decisions, fleet, homes, news
from wabajobs.ledger.database import Database, upsert
from wabajobs.ledger.news import Applied, Did
from wabajobs.ledger.tables import AccountNewsRow, OperationRow
from wabajobs.settings import PlannerSettings

META: Final = fleet.META
_QUALITY: Final = "phone_number_quality_update"


class Standing(StrEnum):
    """Whether calls about a WABA can come to anything."""

    GOOD = "good"
    DISABLED = "disabled"
    """Meta has banned it."""
    LOST = "lost"
    """We may no longer look after it, or its app may not."""
    DELETED = "deleted"
    """It is gone for good."""


@dataclass(frozen=True, kw_only=True)
class AccountNews:
    """One thing that one webhook tells of a WABA, or of one of its numbers."""

    waba: str
    topic: str
    subject: str = ""
    """Of what in it: a number, an app, one of several matters. Of each the newest counts."""
    event: str = ""
    """Meta's own word."""
    happened_at: datetime | None
    """By Meta's clock; None when it was not told."""
    value: Mapping[str, Any] = field(default_factory=dict)
    """All that was told, also what nobody here knows."""
    doubtful: bool = False
    """The templates may be others now: a sync should look."""


@dataclass(frozen=True, kw_only=True)
class Heard:
    """The newest that was told of something."""

    topic: str
    subject: str
    event: str
    happened_at: datetime
    """By Meta's clock."""
    heard_at: datetime
    value: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Return the public form."""
        return {
            "topic": self.topic,
            "subject": self.subject,
            "event": self.event,
            "happened_at": self.happened_at.isoformat(),
            "heard_at": self.heard_at.isoformat(),
            "value": self.value,
        }


@dataclass(frozen=True, kw_only=True)
class Account:
    """A WABA as Meta's webhooks have told it."""

    waba: str
    app: str | None
    """Its home app."""
    standing: Standing
    why: Heard | None
    """What its standing follows from; None where it is good."""
    news: tuple[Heard, ...]
    """The newest of each thing about the WABA itself."""
    numbers: dict[str, tuple[Heard, ...]]
    """The same of each number, by the number as it is shown."""

    def as_json(self) -> dict[str, Any]:
        """Return the public form."""
        return {
            "waba": self.waba,
            "app": self.app,
            "standing": str(self.standing),
            "why": self.why.as_json() if self.why else None,
            "news": [one.as_json() for one in self.news],
            "numbers": {number: [one.as_json() for one in told] for number, told in self.numbers.items()},
        }


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What came of news of accounts."""

    applied: Sequence[Applied] = ()
    decided: bool = False
    """Whether a WABA was paused, or goes on."""
    active: Mapping[str, bool] = field(default_factory=dict)
    """WABAs that have a registered number, as was told now, or have none."""


class Accounts:
    """The mirror of accounts and numbers."""

    def __init__(self, database: Database) -> None:
        """Work on the tables of `database`."""
        self._database = database

    def apply(self, told: Sequence[AccountNews], *, now: datetime, planner: PlannerSettings) -> Taken:
        """Take in what webhooks tell, in one transaction; what was applied is in the same order.

        Given twice, late or in the wrong order they do no harm: of each thing the newest by Meta's clock counts.
        """
        in_order = sorted(range(len(told)), key=lambda number: told[number].waba)
        applied: dict[int, Applied] = {}
        decided, active = False, {}
        with self._database.write() as connection:
            for number in in_order:
                one = told[number]
                news.lock(connection, one.waba)
                did, changed = _apply(connection, one, now=now, planner=planner)
                applied[number] = Applied(
                    waba=one.waba, topic=one.topic, event=one.event, template_id=None, did=did
                )
                decided = decided or changed
                if did is Did.NOTED and (is_active := _activity(connection, one)) is not None:
                    active[one.waba] = is_active
        return Taken(applied=[applied[number] for number in range(len(told))], decided=decided, active=active)

    def get(self, waba: str) -> Account | None:
        """Return what was told of a WABA; None when nothing ever was."""
        with self._database.read() as connection:
            heard, app = _heard(connection, waba), homes.home_of(connection, waba)
        if not heard:
            return None
        why = _shut(heard, app)
        numbers: dict[str, tuple[Heard, ...]] = {}
        for one in heard:
            if one.topic in OF_NUMBERS:
                numbers[one.subject] = (*numbers.get(one.subject, ()), one)
        return Account(
            waba=waba,
            app=app,
            standing=_standing(why),
            why=why,
            news=tuple(one for one in heard if one.topic not in OF_NUMBERS),
            numbers=numbers,
        )


OF_NUMBERS: Final = frozenset({_QUALITY, "phone_number_name_update", "security"})
"""Topics that are about one number, which is their subject."""
_LOSES: Final = frozenset({"PARTNER_REMOVED", "PARTNER_APP_UNINSTALLED", "ACCOUNT_DELETED"})
_GAINS: Final = frozenset({"PARTNER_ADDED", "PARTNER_APP_INSTALLED"})
_BANNED: Final = "DISABLE"
_LASTING: Final = timedelta(days=30)
"""No hold is for ever. What still waits then gets Meta's own answer."""


def _apply(
    connection: Connection, told: AccountNews, *, now: datetime, planner: PlannerSettings
) -> tuple[Did, bool]:
    """Take one piece of news in; return what was done, and whether the WABA was paused by it or goes on."""
    app = homes.home_of(connection, told.waba)
    before = _heard(connection, told.waba)
    # A moment to come is somebody's wrong clock, and would outdo all that comes after it.
    happened_at = min(told.happened_at or now, now)
    did = _take_in(connection, told, before, happened_at=happened_at, now=now)
    after = _heard(connection, told.waba)
    is_now = _lost(after, app)
    fresh = did is Did.NOTED
    kept_fresh = fleet.note_account(
        connection,
        told.waba,
        now=now,
        doubted=fresh and told.doubtful,
        lost=is_now.event if is_now and fresh and told.event in _LOSES else None,
        regained=fresh and told.event in _GAINS and is_now is None,
        settings=planner,
    )
    if not (kept_fresh or app or _has_operations(connection, told.waba)):
        return Did.FOREIGN, False
    return did, _decide(connection, told.waba, _shut(before, app), _shut(after, app), now=now)


def _take_in(
    connection: Connection, told: AccountNews, before: Sequence[Heard], *, happened_at: datetime, now: datetime
) -> Did:
    known = next((one for one in before if (one.topic, one.subject) == (told.topic, told.subject)), None)
    if known is not None and happened_at < known.happened_at:
        return Did.OLD
    value = dict(told.value)
    if known is not None and (happened_at, value) == (known.happened_at, known.value):
        return Did.UNCHANGED
    values = {"event": told.event, "happened_at": happened_at, "heard_at": now, "value": value}
    connection.execute(
        upsert(connection, AccountNewsRow)
        .values(waba=told.waba, topic=told.topic, subject=told.subject, **values)
        .on_conflict_do_update(index_elements=["waba", "topic", "subject"], set_=values)
    )
    return Did.NOTED


def _decide(connection: Connection, waba: str, was: Heard | None, now_is: Heard | None, *, now: datetime) -> bool:
    """Pause the WABA, or let it go on, where its standing has changed; what a person has decided since stays."""
    if was == now_is:
        return False
    scope = Scope(ScopeType.WABA, waba)
    lifted = decisions.lift(connection, scope, by=META, reason="Meta has told otherwise", actor=META, now=now)
    if now_is is not None:
        at = f"{now_is.happened_at:%Y-%m-%d %H:%M:%S} UTC"
        decisions.put(
            connection, scope, reason=f"{_sentence(now_is)}, at {at}", actor=META, now=now, lasting=_LASTING
        )
    return bool(lifted) or now_is is not None


def _shut(heard: Sequence[Heard], app: str | None) -> Heard | None:
    """Return what says that no call about the WABA can come to anything, if something does."""
    banned = next((one for one in heard if one.subject == "ban" and _ban_state(one) == _BANNED), None)
    return _lost(heard, app) or banned


def _lost(heard: Sequence[Heard], app: str | None) -> Heard | None:
    """Return what has taken the WABA from us, or from its app, unless it was given back since."""
    ours = [one for one in heard if one.event in _LOSES | _GAINS and one.subject in _matters(app)]
    losses = [one for one in ours if one.event in _LOSES]
    if deleted := next((one for one in losses if one.event == "ACCOUNT_DELETED"), None):
        return deleted
    gained_at = max((one.happened_at for one in ours if one.event in _GAINS), default=None)
    lasting = [one for one in losses if gained_at is None or one.happened_at > gained_at]
    return max(lasting, key=lambda one: one.happened_at, default=None)


def _matters(app: str | None) -> tuple[str, ...]:
    # That another app was uninstalled takes nothing from us.
    return ("access", "deleted", "app:", f"app:{app}")


def _standing(why: Heard | None) -> Standing:
    if why is None:
        return Standing.GOOD
    if why.event == "ACCOUNT_DELETED":
        return Standing.DELETED
    return Standing.LOST if why.event in _LOSES else Standing.DISABLED


def _sentence(why: Heard) -> str:
    match _standing(why):
        case Standing.DELETED:
            return "the WABA was deleted"
        case Standing.DISABLED:
            return "Meta has disabled the WABA"
        case _:
            return f"we may no longer look after the WABA ({why.event})"


def _ban_state(one: Heard) -> str:
    info = one.value.get("ban_info")
    return str(info.get("waba_ban_state")) if isinstance(info, dict) else ""


def _activity(connection: Connection, told: AccountNews) -> bool | None:
    """Say whether the WABA has a registered number, where that was told."""
    if told.topic == _QUALITY or told.event == "ACCOUNT_RECONNECTED":
        return True
    if told.event == "ACCOUNT_OFFBOARDED":
        # Which of its numbers it was is not told. With several of them, one may still be registered.
        numbers = {one.subject for one in _heard(connection, told.waba) if one.topic == _QUALITY}
        return False if len(numbers) <= 1 else None
    return None


def _heard(connection: Connection, waba: str) -> tuple[Heard, ...]:
    table = AccountNewsRow.__table__
    names = ("topic", "subject", "event", "happened_at", "heard_at", "value")
    query = select(*(table.c[name] for name in names)).where(table.c.waba == waba)
    rows = connection.execute(query.order_by(table.c.topic, table.c.subject)).mappings()
    return tuple(Heard(**row) for row in rows)


def _has_operations(connection: Connection, waba: str) -> bool:
    return bool(connection.scalar(select(exists().where(OperationRow.waba == waba))))
