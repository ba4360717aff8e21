"""What Meta's webhooks say, in the words of the mirrors. They are read here and nowhere else.

Every shape is open: a topic that nobody here knows is passed over, an event or a field is kept, or asks for a
sync. For the Hub: `verify` checks who has sent a webhook, `challenge` answers Meta when it asks whether the
address is ours.
Source: Graph API reference, webhooks of the object whatsapp_business_account.
"""

import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from wabajobs.errors import ConfigurationError, InvalidRequest
from wabajobs.ledger import AccountNews, News
from wabajobs.secret import Secret

Body = bytes | str | Mapping[str, Any]
"""A webhook as it came, or what its JSON says."""

_OBJECT: Final = "whatsapp_business_account"
_MILLISECONDS_FROM: Final = 100_000_000_000
"""A larger Unix time than this is told in milliseconds."""

_LONGEST_WORD: Final = 32

_STATUSES: Final = frozenset(
    {
        "APPROVED",
        "REJECTED",
        "PENDING",
        "PAUSED",
        "DISABLED",
        "IN_APPEAL",
        "LIMIT_EXCEEDED",
        "PENDING_DELETION",
        "ARCHIVED",
    }
)
"""Events that are a template's status from then on."""
_MEANS: Final = {"REINSTATED": "APPROVED"}
_MATTERS: Final = {
    "PARTNER_ADDED": "access",
    "PARTNER_REMOVED": "access",
    "PARTNER_APP_INSTALLED": "app",
    "PARTNER_APP_UNINSTALLED": "app",
    "ACCOUNT_DELETED": "deleted",
    "DISABLED_UPDATE": "ban",
    "ACCOUNT_OFFBOARDED": "connection",
    "ACCOUNT_RECONNECTED": "connection",
}
"""Events of account_update that are about one and the same matter; every other is a matter of its own."""
_DOUBTFUL: Final = frozenset({"PARTNER_ADDED", "PARTNER_APP_INSTALLED", "DISABLED_UPDATE"})
"""Events after which the templates may be others."""
_SUBJECTS: Final = {
    "phone_number_quality_update": ("display_phone_number",),
    "phone_number_name_update": ("display_phone_number",),
    "security": ("display_phone_number",),
    "account_alerts": ("entity_id", "alert_type"),
    "partner_solutions": ("solution_id",),
}
"""What in the WABA a topic is about: of each the newest is kept."""
_ACCOUNT_TOPICS: Final = (
    "account_update",
    "account_review_update",
    "account_settings_update",
    "business_capability_update",
    "business_status_update",
    *_SUBJECTS,
)
_LONGEST_SUBJECT: Final = 64
_DEEPEST: Final = 20
_LARGEST: Final = 2**63
_TEXTS: Final = {
    "message_template_title": "HEADER",
    "message_template_element": "BODY",
    "message_template_footer": "FOOTER",
}


def read(body: Body) -> list[News | AccountNews]:
    """Return what a webhook tells of templates and accounts, in its own order; other topics are passed over.

    Raises `InvalidRequest` for what is no webhook of Meta's.
    """
    told = body if isinstance(body, Mapping) else _parsed(body)
    if not isinstance(told.get("object"), str) or not isinstance(told.get("entry"), list):
        raise InvalidRequest("this is no webhook of Meta's: it has no `object` and `entry`")
    if told["object"] != _OBJECT:
        return []
    return [news for entry in told["entry"] if isinstance(entry, Mapping) for news in _of_entry(entry)]


def verify(body: Body, signature: str, secrets: Iterable[Secret | str]) -> None:
    """Raise `InvalidRequest` unless one of the apps' secrets has signed the body.

    `body` is what came, byte for byte; `signature` is the header `X-Hub-Signature-256`. Raises
    `ConfigurationError` when there is no secret at all.

    Source: Graph API, webhooks, getting started: validating payloads.
    """
    if isinstance(body, Mapping):
        raise InvalidRequest("a signature is of the webhook's body as it came: give the bytes, not what they say")
    raw = body.encode() if isinstance(body, str) else body
    known = [one if isinstance(one, Secret) else Secret(one) for one in secrets]
    if not known:
        raise ConfigurationError(
            "no app has a secret to check a webhook's signature with: [apps.<app id>] secret"
        )
    made = (f"sha256={hmac.new(one.reveal().encode(), raw, hashlib.sha256).hexdigest()}" for one in known)
    if not any(hmac.compare_digest(one.encode(), signature.strip().encode()) for one in made):
        raise InvalidRequest("the webhook's signature is not that of any app of ours: nothing was taken from it")


def challenge(query: Mapping[str, str | Sequence[str]], verify_token: Secret | str) -> str:
    """Return what to answer, with status 200, when Meta asks whether a callback address is ours.

    `query` are the parameters of its GET, each as text or as a list of texts. Raises `InvalidRequest` where it
    is no such question, or the verify token is another: answer that with 403.

    Source: Graph API, webhooks, getting started: verification requests.
    """
    told = {name: value if isinstance(value, str) else (*value, "")[0] for name, value in query.items()}
    token = verify_token.reveal() if isinstance(verify_token, Secret) else verify_token
    if told.get("hub.mode") != "subscribe" or not told.get("hub.challenge"):
        raise InvalidRequest("this is no question of Meta's whether the address is ours")
    if not token or not hmac.compare_digest(told.get("hub.verify_token", "").encode(), token.encode()):
        raise InvalidRequest("the verify token is not ours")
    return told["hub.challenge"]


def _parsed(body: bytes | str) -> Mapping[str, Any]:
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidRequest("this is no webhook of Meta's: it is not JSON") from None
    if not isinstance(told, Mapping):
        raise InvalidRequest("this is no webhook of Meta's: it is not an object")
    return told


def _of_entry(entry: Mapping[str, Any]) -> Iterator[News | AccountNews]:
    changes = entry.get("changes")
    for change in changes if isinstance(changes, list) else []:
        if not isinstance(change, Mapping) or not isinstance(value := change.get("value"), Mapping):
            continue
        topic, waba = str(change.get("field")), _waba(entry, value)
        at = _moment(entry.get("time"))
        if waba is None:
            continue
        if reader := _READERS.get(topic):
            yield News(waba=waba, topic=topic, happened_at=at, **reader(value, at))
        elif topic in _ACCOUNT_TOPICS:
            yield _of_account(waba, topic, value, at)


def _waba(entry: Mapping[str, Any], value: Mapping[str, Any]) -> str | None:
    # Where a business is told that it may look after a WABA, the entry is about the business.
    info = value.get("waba_info")
    waba = info.get("waba_id", entry.get("id")) if isinstance(info, Mapping) else entry.get("id")
    return _id(waba)


def _id(value: Any) -> str | None:
    """Ids are numbers in webhooks, and text everywhere else."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**20:
        return str(value)
    is_id = isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 20
    return str(value) if is_id else None


def _moment(value: Any) -> datetime | None:
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 15:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 10**14:
        return None
    return datetime.fromtimestamp(value / 1000 if value >= _MILLISECONDS_FROM else value, UTC)


def _named(value: Mapping[str, Any]) -> dict[str, Any]:
    """Read which template it is about."""
    return {
        "template_id": _id(value.get("message_template_id")),
        "name": _text(value.get("message_template_name")),
        "language": _text(value.get("message_template_language")),
        "event": _word(value.get("event")),
    }


def _word(value: Any) -> str:
    """Read one of Meta's own words; they are short."""
    word = _text(value) or ""
    return word if len(word) <= _LONGEST_WORD else ""


def _text(value: Any) -> str | None:
    """Read text, without what no database takes."""
    return value.replace("\0", "").encode("utf-8", "replace").decode() if isinstance(value, str) else None


def _status(value: Mapping[str, Any], _at: datetime | None) -> dict[str, Any]:
    """message_template_status_update."""
    named = _named(value)
    event = named["event"]
    if event == "DELETED":
        return {**named, "removed": True}
    status = event if event in _STATUSES else _MEANS.get(event)
    if status is None:
        return {**named, "doubtful": True}
    fields = {"status": status}
    if status in {"APPROVED", "REJECTED"} and (reason := _word(value.get("reason"))):
        fields["rejected_reason"] = reason
    return {**named, "fields": fields}


def _quality(value: Mapping[str, Any], at: datetime | None) -> dict[str, Any]:
    """message_template_quality_update."""
    score = _word(value.get("new_quality_score"))
    if not score:
        return {**_named(value), "doubtful": True}
    quality = {"score": score, **({"date": int(at.timestamp())} if at else {})}
    return {**_named(value), "event": score, "fields": {"quality_score": quality}}


def _category(value: Mapping[str, Any], _at: datetime | None) -> dict[str, Any]:
    """template_category_update. Where it announces a change, `new_category` is still the old one."""
    category, previous = _word(value.get("new_category")), _word(value.get("previous_category"))
    if not category:
        return {**_named(value), "doubtful": True}
    fields = {"category": category, **({"previous_category": previous} if previous else {})}
    return {**_named(value), "event": category, "fields": fields}


def _components(value: Mapping[str, Any], _at: datetime | None) -> dict[str, Any]:
    """message_template_components_update. It does not tell all of a template, so a sync has to look."""
    texts = {kind: text for name, kind in _TEXTS.items() if (text := _text(value.get(name))) is not None}
    return {**_named(value), "texts": texts, "doubtful": True}


def _of_account(waba: str, topic: str, value: Mapping[str, Any], at: datetime | None) -> AccountNews:
    event = (_text(value.get("event") or value.get("decision")) or "")[:_LONGEST_SUBJECT]
    return AccountNews(
        waba=waba,
        topic=topic,
        subject=_subject(topic, event, value)[:_LONGEST_SUBJECT],
        event=event,
        happened_at=at,
        value=_clean(value),
        doubtful=event in _DOUBTFUL,
    )


def _subject(topic: str, event: str, value: Mapping[str, Any]) -> str:
    if topic != "account_update":
        return ":".join(filter(None, (_name(value.get(name)) for name in _SUBJECTS.get(topic, ()))))
    matter = _MATTERS.get(event, event.lower())
    if matter != "app":
        return matter
    info = value.get("waba_info")
    app = _id(info.get("partner_app_id")) if isinstance(info, Mapping) else None
    return f"app:{app or ''}"


def _name(value: Any) -> str:
    return _id(value) or _text(value) or ""


def _clean(value: Any, depth: int = 0) -> Any:
    """Return what JSON says, with nothing in it that no database takes."""
    if depth > _DEEPEST:
        return None
    if isinstance(value, Mapping):
        return {_text(str(name)): _clean(each, depth + 1) for name, each in value.items()}
    if isinstance(value, list):
        return [_clean(each, depth + 1) for each in value]
    if isinstance(value, int | float) and not abs(value) < _LARGEST:
        return None
    return _text(value) if isinstance(value, str) else value


_READERS: Final = {
    "message_template_status_update": _status,
    "message_template_quality_update": _quality,
    "template_category_update": _category,
    "message_template_components_update": _components,
}
