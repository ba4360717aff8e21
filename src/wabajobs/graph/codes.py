"""Meta's error codes, and which error of ours each one is. The only place that knows them.

Sources: Meta's WhatsApp error-code page, its Graph API error-handling guide and its published OpenAPI files.
The class follows from `code` and `error_subcode`, never from the HTTP status: Meta sends the same code with
400, 403, 429 or 500, depending on the endpoint and the year.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from wabajobs.errors import (
    AppLimitReached,
    Blocked,
    Forbidden,
    GraphError,
    HeavyPage,
    InvalidCall,
    LimitReached,
    NarrowLimitReached,
    NumberLimitReached,
    Transient,
    Unauthorized,
    UnknownGraphError,
    WabaLimitReached,
    WrongState,
)
from wabajobs.secret import Secret


@dataclass(frozen=True)
class Known:
    """What a code means: the error it becomes, and a few words for a person."""

    error: type[GraphError]
    meaning: str
    wait: timedelta | None = None
    """How long one thing has to wait after it where Meta's words do not say; zero: only where they do."""


Key = tuple[int | None, int | None]
"""(code, subcode). Without a subcode: whatever the subcode is. Without a code: whatever the code is."""

CODES: Final[dict[Key, Known]] = {
    # Limits. They outrank everything else: code 4 also says `is_transient: true`, and must not be retried.
    (4, None): Known(AppLimitReached, "the app's request limit is reached"),
    (17, None): Known(AppLimitReached, "the request limit of the token's user is reached"),
    (341, None): Known(AppLimitReached, "the app's request limit is reached (older form)"),
    (80007, None): Known(WabaLimitReached, "the limit of this app and WABA is reached"),
    (80008, None): Known(WabaLimitReached, "too many calls to this WABA"),
    (130429, None): Known(NumberLimitReached, "the number's throughput is reached"),
    (131048, None): Known(NumberLimitReached, "the number is limited for spam"),
    (131056, None): Known(NumberLimitReached, "too many messages for this pair of numbers"),
    (133008, None): Known(NumberLimitReached, "the PIN was guessed too often", timedelta(hours=1)),
    (133009, None): Known(NumberLimitReached, "the PIN was guessed too fast", timedelta(minutes=1)),
    (133016, None): Known(NumberLimitReached, "registered or deregistered too often", timedelta(hours=72)),
    (32, None): Known(NarrowLimitReached, "the page's request limit is reached"),
    (613, None): Known(NarrowLimitReached, "the limit of this feature is reached"),
    # Meta says no number; refused calls count, so one that comes again within the hour would never end it.
    (80012, None): Known(NarrowLimitReached, "too many calls to this template", timedelta(hours=1)),
    (138013, None): Known(NarrowLimitReached, "the limit of calling permissions is reached"),
    # Passing trouble.
    (None, 2494100): Known(Transient, "the number is in maintenance", timedelta(minutes=5)),
    (1, None): Known(Transient, "an unknown error at Meta"),
    (2, None): Known(Transient, "Meta's service is down or overloaded"),
    (131000, None): Known(Transient, "something went wrong at Meta"),
    (131016, None): Known(Transient, "Meta's service is unavailable"),
    (131057, None): Known(Transient, "the WABA is in maintenance for about a minute"),
    (133004, None): Known(Transient, "Meta's server is temporarily unavailable"),
    (133015, None): Known(Transient, "the number was deleted minutes ago", timedelta(minutes=5)),
    (134101, None): Known(Transient, "the template is still being synchronised"),
    (2494100, None): Known(Transient, "the number is in maintenance", timedelta(minutes=5)),
    # The token.
    (0, None): Known(Unauthorized, "the token could not be authenticated"),
    (102, None): Known(Unauthorized, "the session is over"),
    (104, None): Known(Unauthorized, "the signature is wrong, or a token is missing"),
    (190, None): Known(Unauthorized, "the token is expired, revoked or invalid"),
    # What the token may do. 200 to 299 are in RANGES.
    (3, None): Known(Forbidden, "the app lacks the capability for this method"),
    (10, None): Known(Forbidden, "the permission was not granted"),
    (131005, None): Known(Forbidden, "access denied"),
    # Policy.
    (368, None): Known(Blocked, "blocked for a policy violation"),
    (130497, None): Known(Blocked, "not allowed in this country"),
    (131031, None): Known(Blocked, "the account is locked"),
    (139000, None): Known(Blocked, "the flow is blocked by integrity"),
    (2593079, None): Known(Blocked, "on-behalf-of accounts cannot be moved"),
    (2593085, None): Known(Blocked, "on-behalf-of accounts cannot be moved"),
    (2593107, None): Known(Blocked, "this can be synchronised only once"),
    (2593108, None): Known(Blocked, "the 24 hours for synchronisation are over"),
    # Not until something else has changed.
    (131037, None): Known(WrongState, "the display name is not approved"),
    (131042, None): Known(WrongState, "the billing or credit line has a problem"),
    (131045, None): Known(WrongState, "the number must be registered again"),
    (132015, None): Known(WrongState, "the template is paused"),
    (132016, None): Known(WrongState, "the template is disabled"),
    (132068, None): Known(WrongState, "the flow is blocked"),
    (132069, None): Known(WrongState, "the flow is throttled"),
    (133000, None): Known(WrongState, "an earlier deregistration is incomplete; deregister again"),
    (133006, None): Known(WrongState, "the number must be verified first"),
    (133010, None): Known(WrongState, "the number is not registered"),
    (134011, None): Known(WrongState, "the payment terms are not accepted"),
    (134102, None): Known(WrongState, "the template is not available"),
    (136024, None): Known(WrongState, "a verification code cannot be requested now", timedelta(0)),
    (139001, None): Known(WrongState, "the flow cannot be updated"),
    (139002, None): Known(WrongState, "the flow cannot be published"),
    (139003, None): Known(WrongState, "the flow is not published, or is deprecated already"),
    (139004, None): Known(WrongState, "a published flow cannot be deleted"),
    (139006, None): Known(WrongState, "the flow's metric is below its threshold"),
    (200005, None): Known(WrongState, "template insights are not available"),
    (200006, None): Known(WrongState, "template insights cannot be switched off"),
    (200007, None): Known(WrongState, "template insights are not switched on"),
    (1752041, None): Known(WrongState, "another partner has submitted this onboarding already"),
    (None, 2388001): Known(WrongState, "the number's ownership is not confirmed, or two-step is still on"),
    (None, 2388012): Known(WrongState, "the number is in the list already"),
    (None, 2388019): Known(WrongState, "the WABA has as many templates as it may have"),
    (None, 2388023): Known(WrongState, "this template name and language is being deleted"),
    (None, 2388027): Known(WrongState, "the catalog is missing"),
    (None, 2388039): Known(WrongState, "the template cannot be changed now"),
    (None, 2388091): Known(WrongState, "the number is not being migrated, so it gets no code"),
    (None, 2388093): Known(WrongState, "the number is not being migrated, so no code is verified"),
    (None, 2388103): Known(WrongState, "the number cannot be migrated yet"),
    # Never, as it is.
    (33, None): Known(InvalidCall, "the number is deleted, or the object is none"),
    (100, None): Known(InvalidCall, "a parameter is invalid"),
    (100, 33): Known(InvalidCall, "the object does not exist, or the token does not see it"),
    (100, 36009): Known(InvalidCall, "the authorization code has been used already"),
    (192, None): Known(InvalidCall, "the phone number is invalid"),
    (506, None): Known(InvalidCall, "a duplicate"),
    (803, None): Known(InvalidCall, "the object does not exist"),
    (131008, None): Known(InvalidCall, "a parameter is missing"),
    (131009, None): Known(InvalidCall, "a parameter's value is not valid"),
    (131021, None): Known(InvalidCall, "sender and recipient are the same"),
    (131026, None): Known(InvalidCall, "the message cannot be delivered"),
    (131047, None): Known(InvalidCall, "more than 24 hours since the recipient answered"),
    (131049, None): Known(InvalidCall, "not delivered, to keep the ecosystem healthy"),
    (131050, None): Known(InvalidCall, "the recipient wants no marketing messages"),
    (131051, None): Known(InvalidCall, "the message type is not supported"),
    (131052, None): Known(InvalidCall, "the media could not be downloaded"),
    (131053, None): Known(InvalidCall, "the media could not be uploaded"),
    (132000, None): Known(InvalidCall, "the number of template parameters does not match"),
    (132001, None): Known(InvalidCall, "the template does not exist in this language"),
    (132005, None): Known(InvalidCall, "the translated text is too long"),
    (132007, None): Known(InvalidCall, "the template's format violates a policy"),
    (132012, None): Known(InvalidCall, "the template parameter's format does not match"),
    (132018, None): Known(InvalidCall, "the template's parameters are not valid"),
    (133005, None): Known(InvalidCall, "the two-step PIN is wrong"),
    (134100, None): Known(InvalidCall, "not a marketing template"),
    (135000, None): Known(InvalidCall, "Meta did not understand the parameters"),
    (136025, None): Known(InvalidCall, "the verification code is not accepted", timedelta(0)),
    (139100, None): Known(InvalidCall, "not all users could be blocked"),
    (139101, None): Known(InvalidCall, "the list of blocked users is full"),
    (139102, None): Known(InvalidCall, "the list of blocked users was changed meanwhile"),
    (139103, None): Known(InvalidCall, "the blocked users could not be changed"),
    (200002, None): Known(InvalidCall, "the template could not be created"),
    (4233041, None): Known(InvalidCall, "the flow could not be migrated"),
    (None, 2388024): Known(InvalidCall, "the template has content in this language already"),
    (None, 2388040): Known(InvalidCall, "a field of the template is too long"),
    (None, 2388042): Known(InvalidCall, "a component of the template has an unexpected field"),
    (None, 2388043): Known(InvalidCall, "the template lacks a field or an example"),
    (None, 2388046): Known(InvalidCall, "the template's name is badly formed"),
    (None, 2388047): Known(InvalidCall, "the template's header is badly formed"),
    (None, 2388072): Known(InvalidCall, "the template's body is badly formed"),
    (None, 2388073): Known(InvalidCall, "the template's footer is badly formed"),
    (None, 2388155): Known(InvalidCall, "the template's name is reserved for samples"),
    (None, 2388293): Known(InvalidCall, "the template has too many variables for its length"),
    (None, 2388299): Known(InvalidCall, "the template begins or ends with a variable"),
}
"""Every code we know, one line each."""

RANGES: Final = (
    (range(80000, 80015), Known(WabaLimitReached, "a limit per business use case is reached")),
    (range(200, 300), Known(Forbidden, "the token lacks a permission")),
)
"""Codes that Meta documents, or has used, as a span."""

_TRANSIENT: Final = Known(Transient, "passing trouble at Meta")
_HEAVY: Final = Known(HeavyPage, "the page asked for is too heavy")
_UNKNOWN: Final = Known(UnknownGraphError, "an error that Meta has not documented")
_HEAVY_WORDS: Final = "reduce the amount of data"

_WAIT: Final = re.compile(r"\b([0-9]{1,7}) (second|minute|hour|day)s?\b", re.IGNORECASE)
_LONGEST_SENTENCE: Final = 500
_LARGEST_CODE: Final = 2**53  # beyond it JSON numbers are no longer exact
_URL_QUERY: Final = re.compile(r"(https?://[^\s?]+)\?\S*")
_TOKEN: Final = re.compile(r"\bEAA[A-Za-z0-9_-]{8,}|(?<=access_token=)[^\s&]+")  # every Graph token begins so


def known(code: int, subcode: int | None = None) -> Known | None:
    """Return what a code means, None when it is in no table."""
    by_code = CODES.get((code, None)) or next((known for span, known in RANGES if code in span), None)
    if by_code and issubclass(by_code.error, LimitReached):
        return by_code
    by_subcode = None
    if subcode is not None:
        by_subcode = CODES.get((code, subcode)) or CODES.get((None, subcode))
    return by_subcode or by_code


def classify(status: int, body: object, *, hide: Iterable[Secret] = ()) -> GraphError:
    """Turn an answer that is an error into an error of ours; never raises.

    `body` is what came over the wire (bytes or text) or the JSON parsed from it. No value of `hide` is in
    the result: Meta repeats a malformed token in its message.
    """
    parsed = parse(body)
    if parsed is None:
        return Transient(_no_graph_answer(status), status=status)
    if (fields := error_fields(parsed)) is None:
        if status >= 500:
            return Transient(_no_graph_error(status), status=status)
        return UnknownGraphError(_no_graph_error(status), status=status)
    code, subcode = _whole(fields.get("code")), _whole(fields.get("error_subcode"))
    verdict = _verdict(code, subcode, fields, status=status)
    hide = tuple(hide)
    details = _details(fields, hide)
    return verdict.error(
        _sentence(fields.get("message"), hide) or f"Meta answered {status}: {verdict.meaning}",
        code=code,
        subcode=subcode,
        status=status,
        fbtrace_id=_sentence(fields.get("fbtrace_id"), hide),
        details=details,
        wait=None if verdict.wait is None else _told_wait(details) or verdict.wait or None,
    )


def parse(body: object) -> object | None:
    """Return the JSON in `body`, None when there is none in it."""
    if not isinstance(body, (bytes, bytearray, str)):
        return body
    try:
        return json.loads(body)  # type: ignore[no-any-return]
    except (ValueError, RecursionError):
        return None


def error_fields(parsed: object) -> Mapping[str, Any] | None:
    """Return the fields of Graph's `error`, None when the answer is no error."""
    if not isinstance(parsed, Mapping) or "error" not in parsed:
        return None
    match parsed["error"]:
        case Mapping() as fields:
            return fields
        case str() as message:  # the plain OAuth form
            return {"message": parsed.get("error_description") or message}
        case None | False:
            return None
        case _:
            return {}


def _verdict(code: int | None, subcode: int | None, fields: Mapping[str, Any], *, status: int) -> Known:
    transient = fields.get("is_transient") is True
    if code is None:
        return _TRANSIENT if transient or status >= 500 else _UNKNOWN
    if code == 1 and _HEAVY_WORDS in str(fields.get("message", "")).lower():
        return _HEAVY
    return known(code, subcode) or (_TRANSIENT if transient else _UNKNOWN)


def _details(fields: Mapping[str, Any], hide: Iterable[Secret]) -> str | None:
    data = parse(fields.get("error_data"))  # an object, or the same as a string with JSON in it
    details = data.get("details") if isinstance(data, Mapping) else None
    return _sentence(fields.get("error_user_msg"), hide) or _sentence(details, hide)


def _told_wait(details: str | None) -> timedelta | None:
    """Return the wait that Meta's words name: "Try again in 43200 seconds"."""
    told = _WAIT.search(details or "")
    return timedelta(**{f"{told[2].lower()}s": int(told[1])}) if told else None


def _whole(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    exact = math.isfinite(number) and number.is_integer() and abs(number) < _LARGEST_CODE
    return int(number) if exact else None


def _sentence(value: object, hide: Iterable[Secret]) -> str | None:
    """Return Meta's words as one short line without secrets, None when there are none."""
    if not isinstance(value, str):
        return None
    for secret in hide:
        if len(secret.reveal()) > 3:
            value = value.replace(secret.reveal(), str(secret))
    value = _URL_QUERY.sub(r"\1", _TOKEN.sub("***", value))
    # Neither a lone surrogate nor a NUL can be kept in a database.
    value = "".join(character if character.isprintable() else " " for character in value)
    return " ".join(value.split())[:_LONGEST_SENTENCE] or None


def _no_graph_answer(status: int) -> str:
    return f"HTTP {status} without a Graph answer in it; something between us and Meta is unwell"


def _no_graph_error(status: int) -> str:
    return f"HTTP {status} without an error of Graph's in it"
