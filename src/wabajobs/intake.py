"""A request becomes one row of the ledger, once per idempotency key. All that can be refused is refused here."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Literal

from pydantic import BaseModel, SecretStr, ValidationError

from wabajobs.capability import ServiceClass
from wabajobs.decisions import Pause, PauseMode
from wabajobs.errors import InvalidRequest, Rejected
from wabajobs.kinds import Catalogue, Kind
from wabajobs.ledger import Media, NewOperation
from wabajobs.media import sniffed, sources_in
from wabajobs.operation import Operation, new_id
from wabajobs.secret import REFERENCE, Secret, of_operation
from wabajobs.settings import Settings

_PARTNER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_META_ID: Final = re.compile(r"[0-9]{5,20}")
_LONGEST_KEY: Final = 200
IfHeld = Literal["wait", "reject"]
Seal = Callable[[Secret], str]
HomeOf = Callable[[str], str | None]
_LONGEST_LIFE: Final = timedelta(days=365)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the Hub asks for. `app` may be left out when only one is configured, or the WABA has a home app."""

    kind: str
    partner: str
    waba: str | None = None
    app: str | None = None
    payload: Mapping[str, Any] = field(default_factory=dict)
    service_class: ServiceClass | str | None = None
    """None: as the kind says."""
    key: str | None = None
    """Idempotency key, unique per partner: the same key gives the same operation."""
    expires_after: float | None = None
    """Seconds after which it is of no use any more; None: as the kind says."""
    if_held: IfHeld = "wait"
    """What becomes of it if it would have to wait now for a pause, a breaker or a budget."""


def checked(
    request: Request,
    *,
    kinds: Catalogue,
    settings: Settings,
    seal: Seal | None = None,
    home_of: HomeOf = lambda _waba: None,
) -> NewOperation:
    """Return the request as the ledger takes it. Raises `InvalidRequest` that says what is wrong with it.

    `seal` makes a secret of the payload fit for the ledger; without it a payload may only refer to secrets.
    `home_of` knows the home app of a WABA, for a request that names none.
    """
    kind = kinds[request.kind]
    id = new_id()
    given = _payload(request.payload, kind)
    payload, secrets = _sealed(given, id, seal)
    if request.if_held not in ("wait", "reject"):
        raise InvalidRequest(f"if_held {request.if_held!r} cannot be; it is 'wait' or 'reject'")
    waba = _waba(request.waba, kind)
    app = _app(request.app, settings, waba, home_of)
    partner = partner_id(request.partner)
    return NewOperation(
        id=id,
        secrets=secrets,
        kind=kind.name,
        partner=partner,
        app=app,
        waba=waba,
        service_class=_service_class(request.service_class, kind),
        capability=kind.first_capability(payload),
        payload=payload,
        media=_media(given, app),
        lane=kind.lane(partner=partner, waba=waba, payload=payload),
        coalesces=kind.coalesces,
        order=kind.order(settings),
        expires_after=_expires_after(request.expires_after, kind, payload),
        key=_key(request.key),
    )


def refusal(operation: Operation, pauses: Iterable[Pause]) -> Rejected | None:
    """Return the error that says which pause takes nothing new of this kind, if one does."""
    for pause in pauses:
        if pause.mode is PauseMode.REJECT and pause.begins_nothing and operation.is_covered_by(pause):
            return Rejected(str(pause), code="paused", notice=pause.notice, until=pause.ends_at)
    return None


def partner_id(partner: str) -> str:
    """Return a partner's id. Raises `InvalidRequest` when it cannot be one."""
    if not partner:
        raise InvalidRequest("partner is missing: say for whom the operation is")
    if not isinstance(partner, str) or not _PARTNER.fullmatch(partner):
        raise InvalidRequest(
            f"partner {partner!r} is no partner id: letters, digits, '.', '_' and '-', at most 64"
        )
    return partner


def _app(app: str | None, settings: Settings, waba: str | None, home_of: HomeOf) -> str:
    if not settings.apps:
        raise InvalidRequest("no Meta app is configured: add [apps.<app id>] to the file in WABAJOBS_CONFIG")
    if app is None:
        if len(settings.apps) == 1:
            return next(iter(settings.apps))
        app = home_of(waba) if waba else None
        if app is None:
            several = f"app is missing: several are configured ({', '.join(settings.apps)})"
            home = f", and WABA {waba} has no home app yet: wabajobs apps home {waba} APP" if waba else ""
            raise InvalidRequest(several + home)
    if app not in settings.apps:
        raise InvalidRequest(f"app {app!r} is not configured (configured: {', '.join(settings.apps)})")
    return app


def _waba(waba: str | None, kind: Kind) -> str | None:
    if waba is None or waba == "":
        if kind.needs_waba:
            raise InvalidRequest(f"waba is missing: {kind.name} is about one WhatsApp Business Account")
        return None
    if not isinstance(waba, str) or not _META_ID.fullmatch(waba):
        raise InvalidRequest(f"waba {waba!r} is no WABA id: 5 to 20 digits, as a string")
    return waba


def _service_class(service_class: ServiceClass | str | None, kind: Kind) -> ServiceClass:
    if service_class is None:
        return kind.service_class
    try:
        return ServiceClass(service_class)
    except ValueError:
        raise InvalidRequest(
            f"there is no class of service {service_class!r}; there are: {', '.join(ServiceClass)}"
        ) from None


def _expires_after(seconds: float | None, kind: Kind, payload: Mapping[str, Any]) -> timedelta | None:
    if seconds is None:
        return kind.begins_within(payload) if kind.begins_within else kind.expires_after
    most = _LONGEST_LIFE.total_seconds()
    # A truth value is a number to Python, and what is no number at all is neither above nor below another.
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 1 <= seconds <= most:
        raise InvalidRequest(
            f"expires_after {seconds!r} is no time in which an operation can expire: 1 to {most:.0f} seconds"
        )
    return timedelta(seconds=seconds)


def _sealed(payload: BaseModel, id: str, seal: Seal | None) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the payload with a reference in the place of each secret, and the secrets, sealed, by name."""
    plain, sealed = payload.model_dump(mode="json", exclude_none=True), {}
    for name in type(payload).model_fields:
        value = getattr(payload, name)
        if isinstance(value, SecretStr):
            plain[name] = value.get_secret_value()
            if not REFERENCE.fullmatch(plain[name]):
                if seal is None:
                    raise InvalidRequest(f"{name}: only a reference to a secret (vault:<name>) is taken here")
                place = of_operation(id, name)
                sealed[place] = seal(Secret(plain[name]))
                plain[name] = f"vault:{place}"
    return plain, sealed


def _media(payload: BaseModel, app: str) -> tuple[Media, ...]:
    """Return the files that a payload has brought along, each once."""
    files = {}
    for source in sources_in(payload):
        if source.app not in (None, app):
            raise InvalidRequest(f"the handle is good for app {source.app} only, and this is for app {app}")
        if source.content is not None:
            file = Media.of(source.content, type=sniffed(source.content))
            files[file.sha256] = file
    return tuple(files.values())


def _payload(payload: Mapping[str, Any], kind: Kind) -> BaseModel:
    takes = ", ".join(kind.payload.model_fields) or "no fields"
    if not isinstance(payload, Mapping):
        raise InvalidRequest(f"{kind.name}: payload: a mapping of fields is needed (it takes {takes})")
    try:
        return kind.payload.model_validate(dict(payload))
    except ValidationError as error:
        # The input itself is left out of the sentence: it may be a secret.
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "payload"
        raise InvalidRequest(f"{kind.name}: {where}: {first['msg']} (it takes {takes})") from None


def _key(key: str | None) -> str | None:
    if key is None:
        return None
    if not isinstance(key, str) or not key.isprintable():
        raise InvalidRequest("an idempotency key is text of printable characters")
    if not 0 < len(key) <= _LONGEST_KEY:
        raise InvalidRequest(f"an idempotency key has 1 to {_LONGEST_KEY} characters, not {len(key)}")
    return key
