"""`onboarding`: take over what a customer has set up in Embedded Signup, as a Solution Partner.

The code of a signup lives for 30 seconds and is good for one exchange. So it is exchanged before anything else,
and what it gave is kept before anything else is done. It is never sent twice: where nobody knows whether it was
spent, and where Meta does not take it, the customer is asked to sign up again. An operation without a code
finishes an earlier onboarding, with the token of that one.

The customer's assets are worked on with the token of the customer's business, kept as `tokens/<app>/<waba>`; our
system user and our line of credit are given with the app's own token.

Sources: developers.facebook.com/docs/whatsapp/embedded-signup/onboarding-customers-as-a-solution-partner,
…/solution-providers/share-and-revoke-credit-lines, …/solution-providers/registering-phone-numbers.
"""

import hashlib
import re
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Annotated, Any, Final, Literal, NoReturn

from pydantic import AfterValidator, BaseModel, Field, SecretStr, StringConstraints

from wabajobs.capability import Capability, ServiceClass
from wabajobs.errors import (
    Ask,
    ConfigurationError,
    Conflict,
    GraphError,
    InvalidCall,
    NotFound,
    Transient,
    UnknownGraphError,
)
from wabajobs.kinds.inputs import PIN_DIGITS, MetaId, Pin, secret
from wabajobs.kinds.kind import Kind, Payload, PlannedCall, Step
from wabajobs.kinds.work import Graph, Work
from wabajobs.secret import Secret

SCOPES: Final = ("whatsapp_business_management", "whatsapp_business_messaging")
"""What a customer must have granted."""
CURRENCIES: Final = ("AUD", "EUR", "GBP", "IDR", "INR", "USD")
"""What lines of credit are shared in."""

_CODE: Final = r"[!-~]{1,2000}"
_CODE_LIVES: Final = timedelta(seconds=30)
_DUPLICATE: Final = 1752041
"""Another partner has handed in the same onboarding: there is nothing left for us to do."""
_WRONG_PIN: Final = 133005
_NUMBERS: Final = "phone_numbers.limit(100){id,display_phone_number,platform_type,is_on_biz_app}"

_NEW_CODE: Final = Ask(name="code", about="the code of a new signup, at most 30 seconds old", pattern=_CODE)
_PIN: Final = Ask(name="pin", about="the six digits of the number's two-step verification", pattern=PIN_DIGITS)

Facts = dict[str, Any]


def _no_twice(numbers: list[str]) -> list[str]:
    if len(set(numbers)) < len(numbers):
        raise ValueError("a number is named twice")
    return numbers


class Wanted(BaseModel, extra="forbid"):
    """What a request may say. Without `code` it finishes an earlier onboarding of its WABA."""

    code: Annotated[SecretStr, secret(re.compile(_CODE).fullmatch, "the code of a signup")] | None = None
    redirect_uri: Annotated[str, StringConstraints(pattern=r"^https://\S+$", max_length=2000)] | None = None
    """Where the code was sent to, for those logins that need it."""
    numbers: Annotated[list[MetaId], Field(max_length=100), AfterValidator(_no_twice)] | None = None
    """Those that are to be registered; None: all that are not registered yet."""
    pin: Pin | None = None
    """For each of them; without it each gets one of its own, kept as `pins/<number>`."""
    data_localization_region: (
        Literal["AU", "ID", "IN", "JP", "SG", "KR", "DE", "CH", "GB", "BR", "BH", "ZA", "AE", "CA"] | None
    ) = None
    """Where the numbers' messages are kept."""
    currency: Literal["AUD", "EUR", "GBP", "IDR", "INR", "USD"] | None = None
    """Of the line of credit; None: that of the WABA."""
    first_sync: bool = True
    """Mirror the templates when all is done."""


def _unless_duplicate(run: Callable[[Work], Facts]) -> Callable[[Work], Facts]:
    """Return a step that ends the onboarding well once Meta says that it is done already."""

    @wraps(run)
    def step(work: Work) -> Facts:
        if "already_onboarded" in work.results:
            return {}
        try:
            return run(work)
        except GraphError as error:
            if error.code != _DUPLICATE:
                raise
            return {"already_onboarded": str(error)}

    return step


# ── the token ────────────────────────────────────────────────────────────────────────────────────────────────


def _exchange(work: Work) -> Facts:
    """Spend the code, and keep the token that it gives before anything else."""
    if work.secret("token"):
        return {}  # the last attempt ended right after it had been kept
    asked = "asked" in work.progress()
    code = _unsent(work)
    if code is None:
        if _lasting(work) and not asked:
            return {}
        _ask_anew(work, "that code was given up before" if asked else "no token is kept for the WABA")
    if asked:
        work.keep({"since": work.now().isoformat(), "sent": work.progress()["sent"]})
    if work.now() - _since(work) > timedelta(seconds=work.settings.onboarding.code_seconds):
        _ask_anew(work, "the code of the signup is too old, so it was not sent")
    try:
        answer = work.graph.send(
            "GET",
            "oauth/access_token",
            params={
                "client_id": work.operation.app,
                "client_secret": work.app_secret(),
                "code": code,
                "redirect_uri": work.operation.payload.get("redirect_uri"),
            },
            auth="none",
            changes=True,
        )
    except (InvalidCall, Transient, UnknownGraphError) as error:
        _refused(work, error)
    token = answer.get("access_token")
    if not isinstance(token, str) or not token:
        _ask_anew(work, "Meta has taken the code and given no token")
    work.keep({}, token=Secret(token), code=None)
    return {}


def _exchanged(work: Work) -> Facts | None:
    """Say whether the code was spent before we came to a stop: who does not know must not send it again."""
    if work.secret("token"):
        return {}
    if "asked" not in work.progress():
        _ask_anew(work, "the code of the signup may be spent, and what it gave is lost: its worker is gone")
    return None  # that was known, and a person has been asked for a new one


def _unsent(work: Work) -> Secret | None:
    """Return the code, unless it is one that was given up before."""
    code = work.secret("code")
    return None if code is None or _digest(code) in work.progress().get("sent", ()) else code


def _digest(code: Secret) -> str:
    return hashlib.sha256(code.reveal().encode()).hexdigest()


def _since(work: Work) -> datetime:
    """Return when we got the code: with the operation, or, if a person gave it, when we came to it."""
    since = work.progress().get("since")
    return datetime.fromisoformat(since) if since else work.operation.created_at


def _refused(work: Work, error: GraphError) -> NoReturn:
    # The words are Meta's; by its code it is an error that Meta does not know itself.
    if error.code == 1 and "client secret" in error.message.lower():
        raise ConfigurationError(
            f"Meta does not take the secret of app {work.operation.app}, so no signup can be finished:"
            f" see [apps.{work.operation.app}] secret"
        )
    if isinstance(error, InvalidCall):
        _ask_anew(work, f"Meta does not take the code of the signup: {error}")
    _ask_anew(work, f"the code of the signup may be spent, and what it gave is lost: {error}")


def _ask_anew(work: Work, why: str) -> NoReturn:
    """Give the code up for good, and wait for the customer to sign up again."""
    code, sent = work.secret("code"), work.progress().get("sent", [])
    work.keep({"asked": True, "sent": [*sent, _digest(code)] if code else sent}, code=None)
    within = timedelta(seconds=work.settings.onboarding.new_code_seconds)
    work.ask(f"{why}; let the customer sign up again, and give the new code", _NEW_CODE, within=within)


def _find(work: Work) -> Facts:
    """Ask Meta what the token is good for, and keep it under the name of its WABA."""
    token = work.secret("token") or _token(work)
    known = work.graph.get("debug_token", input_token=token).get("data") or {}
    if not known.get("is_valid"):
        why = (known.get("error") or {}).get("message", "it does not say why")
        raise Conflict(f"the token is not valid, says Meta: {why}", {})
    missing = [scope for scope in SCOPES if scope not in known.get("scopes", ())]
    if missing:
        raise Conflict(
            f"the customer has not granted {' and '.join(missing)}: without it nothing can be done for the WABA;"
            " let the customer sign up again, and begin anew",
            {"scopes": {"there": known.get("scopes", []), "asked": list(SCOPES)}},
        )
    waba = _waba(work, known)
    work.vault.put(_token_name(work, waba), token)
    work.is_about(waba)
    work.keep({}, token=None)  # from here on it has a name of its own
    ends = known.get("expires_at")
    return {
        "waba": waba,
        "token": f"vault:{_token_name(work, waba)}",
        **({"token_ends_at": datetime.fromtimestamp(ends, UTC).isoformat()} if ends else {}),
    }


def _waba(work: Work, known: Mapping[str, Any]) -> str:
    """Return the WABA: the one that was asked for, else the newest that the token is for."""
    granular = {one.get("scope"): one.get("target_ids") for one in known.get("granular_scopes", ())}
    covered = granular.get(SCOPES[0]) or []
    waba = work.operation.waba or next(iter(covered), None)
    if waba is None:
        raise Conflict("the signup has brought no WABA: its token is for none", {"waba": {"there": []}})
    if covered and waba not in covered:
        raise Conflict(
            f"the token is not for WABA {waba}, but for {', '.join(covered)}",
            {"waba": {"there": covered, "asked": waba}},
        )
    return str(waba)


def _token_name(work: Work, waba: str | None) -> str:
    return f"tokens/{work.operation.app}/{waba}"


def _lasting(work: Work) -> Secret | None:
    return work.vault.get(_token_name(work, work.operation.waba)) if work.operation.waba else None


def _token(work: Work) -> Secret:
    token = _lasting(work)
    if token is None:
        raise NotFound("the token of this WABA is in the vault no more: let the customer sign up again")
    return token


def _business(work: Work) -> Graph:
    """Return the Graph as the customer's business sees it."""
    return work.graph.by(_token(work))


# ── what the WABA needs ──────────────────────────────────────────────────────────────────────────────────────


def _subscribe(work: Work) -> Facts:
    """Let the WABA's webhooks come to our app. It may be said again. A callback of the WABA's own ends by it."""
    _business(work).post(f"{work.operation.waba}/subscribed_apps")
    return {"subscribed": True}


def _read(work: Work) -> Facts:
    """Read what the WABA has, its numbers with it, in one call."""
    fields = f"currency,primary_funding_id,owner_business_info,{_NUMBERS}"
    seen = _business(work).get(str(work.operation.waba), fields=fields)
    return {
        "business": (seen.get("owner_business_info") or {}).get("id"),
        "currency": seen.get("currency"),
        "funding": seen.get("primary_funding_id"),
        "numbers": [
            {
                "id": one["id"],
                "phone": one.get("display_phone_number"),
                "platform": one.get("platform_type"),
                "on_business_app": bool(one.get("is_on_biz_app")),
            }
            for one in (seen.get("phone_numbers") or {}).get("data", ())
        ],
    }


def _assign(work: Work) -> Facts:
    """Let our system user manage the WABA; that may be said again."""
    user = work.settings.app(work.operation.app).system_user
    if user is None:
        return {}
    work.graph.post(f"{work.operation.waba}/assigned_users", user=user, tasks=["MANAGE"])
    return {"system_user": user}


def _share(work: Work) -> Facts:
    """Share our line of credit with the WABA, unless something pays for it already."""
    line = work.settings.app(work.operation.app).credit_line
    if line is None:
        return {}
    if funding := work.results["funding"]:
        return _paid_by(work, line, funding)
    currency = work.operation.payload.get("currency") or work.results["currency"]
    if currency not in CURRENCIES:
        raise Conflict(
            f"credit is shared in {', '.join(CURRENCIES)}, and the WABA's currency is {currency}: say `currency`",
            {"currency": {"there": currency, "asked": list(CURRENCIES)}},
        )
    shared = work.graph.post(
        f"{line}/whatsapp_credit_sharing_and_attach", waba_id=work.operation.waba, waba_currency=currency
    )
    return {"credit": shared.get("allocation_config_id"), "currency": currency}


def _shared(work: Work) -> Facts | None:
    """Look whether our line of credit pays for the WABA."""
    line = work.settings.app(work.operation.app).credit_line
    seen = _business(work).get(str(work.operation.waba), fields="currency,primary_funding_id")
    funding = seen.get("primary_funding_id")
    return {**_paid_by(work, line, funding), "currency": seen.get("currency")} if line and funding else None


def _paid_by(work: Work, line: str, funding: str) -> Facts:
    """Return which share of ours it is that pays; a customer's own means are left alone."""
    shares = work.graph.get(
        f"{line}/owning_credit_allocation_configs",
        receiving_business_id=work.results["business"],
        fields="id,receiving_credential{id}",
        limit=100,
    )
    ours = [one["id"] for one in shares.get("data", ()) if one["receiving_credential"]["id"] == funding]
    return {"credit": ours[0]} if ours else {"credit": None, "paid_by": "the customer's own means"}


# ── numbers ──────────────────────────────────────────────────────────────────────────────────────────────────


def _register(work: Work) -> Facts:
    """Register the numbers one after the other, and remember each."""
    for number in _chosen(work):
        if number not in work.progress().get("registered", ()):
            _register_one(work, number)
    progress = work.progress()
    return {name: progress[name] for name in ("registered", "pins") if name in progress}


def _register_one(work: Work, number: str) -> None:
    given, name = work.secret("pin"), f"pins/{number}"
    pin = given or work.vault.get(name)
    if pin is None:
        pin = Secret(f"{secrets.randbelow(10**6):06}")
        work.vault.put(name, pin)  # before the call: a lost answer must not leave a PIN that nobody knows
    region = work.operation.payload.get("data_localization_region")
    fields = {"messaging_product": "whatsapp", "pin": pin}
    try:
        _business(work).post(
            f"{number}/register", **fields, **({"data_localization_region": region} if region else {})
        )
    except InvalidCall as error:
        if error.code != _WRONG_PIN:
            raise
        work.keep({**work.progress(), "asked": number}, pin=None)
        work.ask(
            f"number {number} has a PIN already, and it is not {'the one that was given' if given else 'ours'}:"
            " give that of its two-step verification, or one that was set anew in the WhatsApp Manager",
            _PIN,
            within=timedelta(seconds=work.settings.onboarding.answer_seconds),
        )
    _remember(work, number)


def _remember(work: Work, number: str) -> None:
    """Remember that a number is registered, and where its PIN is. One that was asked for is its own alone."""
    progress, given, name = work.progress(), work.secret("pin"), f"pins/{number}"
    forget: dict[str, None] = {}
    if given and progress.pop("asked", None) == number:
        work.vault.put(name, given)
        given, forget = None, {"pin": None}
    progress["registered"] = [*progress.get("registered", ()), number]
    if given is None:
        progress["pins"] = {**progress.get("pins", {}), number: f"vault:{name}"}
    work.settle(progress, **forget)


def _looked_up(work: Work) -> Facts | None:
    """Look whether the number whose registration was begun is registered; the step itself does the others."""
    number = next(one for one in _chosen(work) if one not in work.progress().get("registered", ()))
    if _business(work).get(number, fields="platform_type").get("platform_type") == "CLOUD_API":
        _remember(work, number)
    return None


def _chosen(work: Work) -> list[str]:
    """Return the numbers that are to be registered and are not. Raises `Conflict` for one that is not there."""
    there = {one["id"]: one for one in work.results["numbers"]}
    wanted = work.operation.payload.get("numbers")
    if strange := [number for number in wanted or () if number not in there]:
        raise Conflict(
            f"WABA {work.operation.waba} has no number {', '.join(strange)}; it has {', '.join(there) or 'none'}",
            {"numbers": {"there": list(there), "asked": wanted}},
        )
    # One that is in the Business app as well is registered by that; an On-Premises one has a kind of its own.
    ours = ("CLOUD_API",) if wanted is not None else ("CLOUD_API", "ON_PREMISE")
    return [
        number
        for number in (there if wanted is None else wanted)
        if there[number]["platform"] not in ours and not there[number]["on_business_app"]
    ]


def _sync(work: Work) -> Facts:
    """Have the templates mirrored, by an operation of its own."""
    return {"first_sync": work.enqueue("template_sync", key="first_sync", service_class=ServiceClass.STANDARD)}


# ── the kind ─────────────────────────────────────────────────────────────────────────────────────────────────


def _exchange_calls(payload: Payload) -> tuple[PlannedCall, ...]:
    return (PlannedCall(method="GET", path="oauth/access_token"),) if "code" in payload else ()


def _register_calls(payload: Payload) -> tuple[PlannedCall, ...]:
    if payload.get("numbers") is None:
        return (PlannedCall(method="POST", path="{number}/register", note="per number"),)
    return tuple(PlannedCall(method="POST", path=f"{number}/register") for number in payload["numbers"])


def _begins_within(payload: Payload) -> timedelta | None:
    return _CODE_LIVES if "code" in payload else None


KIND: Final = Kind(
    name="onboarding",
    summary="take over a WABA from Embedded Signup",
    payload=Wanted,
    steps=(
        Step(
            name="exchange",
            run=_unless_duplicate(_exchange),
            capability=Capability.ONBOARDING,
            calls=_exchange_calls,
            happens_once=True,
            reads_back=_exchanged,
            asks=(_NEW_CODE,),
        ),
        Step(
            name="find",
            run=_unless_duplicate(_find),
            capability=Capability.ONBOARDING,
            calls=lambda _: (PlannedCall(method="GET", path="debug_token"),),
        ),
        Step(
            name="subscribe",
            run=_unless_duplicate(_subscribe),
            capability=Capability.SUBSCRIPTIONS,
            calls=lambda _: (PlannedCall(method="POST", path="{waba}/subscribed_apps"),),
            undo="DELETE /{waba}/subscribed_apps, with the WABA's token",
        ),
        Step(
            name="read",
            run=_unless_duplicate(_read),
            capability=Capability.ONBOARDING,
            calls=lambda _: (PlannedCall(method="GET", path="{waba}"),),
        ),
        Step(
            name="assign",
            run=_unless_duplicate(_assign),
            capability=Capability.ONBOARDING,
            calls=lambda _: (
                PlannedCall(method="POST", path="{waba}/assigned_users", note="where a system user is set"),
            ),
            required=False,
            undo="DELETE /{waba}/assigned_users?user={system_user}, with the app's token",
        ),
        Step(
            name="share",
            run=_unless_duplicate(_share),
            capability=Capability.ONBOARDING,
            calls=lambda _: (
                PlannedCall(
                    method="POST",
                    path="{credit_line}/whatsapp_credit_sharing_and_attach",
                    note="where a line of credit is set and nothing pays yet",
                ),
            ),
            happens_once=True,
            reads_back=_shared,
            required=False,
            undo="DELETE /{credit}, with the app's token",
        ),
        Step(
            name="register",
            run=_unless_duplicate(_register),
            capability=Capability.PHONE_NUMBERS,
            calls=_register_calls,
            happens_once=True,
            reads_back=_looked_up,
            asks=(_PIN,),
            undo="POST /{number}/deregister, with the WABA's token; a number has ten of these in 72 hours",
        ),
        Step(
            name="sync",
            run=_unless_duplicate(_sync),
            when=lambda payload: payload["first_sync"],
            required=False,
        ),
    ),
    service_class=ServiceClass.INTERACTIVE,
    needs_waba=False,
    touches=lambda _payload: "onboarding",
    begins_within=_begins_within,
)
