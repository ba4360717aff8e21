"""Proving that a number is its owner's by a code, and registering it: the steps that several kinds share.

A code costs its owner an SMS or a call, so it is never asked for again without a person's word. A registration is
one of ten in 72 hours, after which Meta locks the number: it is never repeated blindly.

Sources: developers.facebook.com/docs/whatsapp/cloud-api/reference/registration,
/docs/whatsapp/business-management-api/manage-phone-numbers, /docs/whatsapp/cloud-api/support/error-codes.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any, Final, Literal, NoReturn

from pydantic import BaseModel, StringConstraints

from wabajobs.capability import Capability
from wabajobs.errors import Ask, GraphError, Held, NarrowLimitReached
from wabajobs.kinds.inputs import PIN_DIGITS, Pin, split_number
from wabajobs.kinds.kind import Payload, PlannedCall, Step
from wabajobs.kinds.work import Work

CODE: Final = Ask(
    name="code", about="the six digits that Meta has sent to the number's owner", pattern=r"[0-9]{6}"
)
RESEND: Final = Ask(
    name="resend", about="how Meta is to send another code: sms or voice", pattern="(?i)sms|voice"
)
PIN: Final = Ask(
    name="pin",
    about="the six digits of the number's two-step verification; where it is off, they switch it on",
    pattern=PIN_DIGITS,
)
DONE: Final = Ask(name="done", about="yes, once it is done", pattern="(?i)yes")

_CODE_WITHIN: Final = timedelta(days=3)
_PIN_WITHIN: Final = timedelta(days=7)

Region = Literal["AU", "ID", "IN", "JP", "SG", "KR", "DE", "CH", "GB", "BR", "BH", "ZA", "AE", "CA"]
"""Where Meta keeps a number's messages. Source: Cloud API, local storage."""


class CodeWanted(BaseModel, extra="forbid"):
    """What a request says of the code, and of the PIN with which the number is then registered."""

    code_method: Literal["SMS", "VOICE"] = "SMS"
    language: Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}(_[A-Z]{2})?$")] = "en_US"
    """Of the SMS, or of the call."""
    pin: Pin | None = None
    """Without one, a person is asked for it when it is needed."""


def number_of(work: Work) -> str:
    """Return the id of the number that the operation is about."""
    return str(work.results.get("number") or work.operation.payload["number"])


def lane_of(payload: Mapping[str, Any]) -> str:
    """Return the lane of a number: by its id, else by its digits."""
    return f"number:{payload.get('number') or payload['phone_number'].removeprefix('+')}"


# ── a number that comes ──────────────────────────────────────────────────────────────────────────────────────


def add(work: Work, **more: object) -> dict[str, Any]:
    """Add the number of the payload to the WABA, and return its id there."""
    cc, national = split_number(work.operation.payload["phone_number"])
    try:
        answer = work.graph.post(f"{work.operation.waba}/phone_numbers", cc=cc, phone_number=national, **more)
    except GraphError as error:
        if error.subcode == _IN_THE_LIST and (found := find(work)):
            return found  # an earlier operation has come as far as this
        raise in_words(error) from None
    return {"number": str(answer["id"])}


def find(work: Work) -> dict[str, Any] | None:
    """Look for the number of the payload in the WABA's list."""
    wanted = work.operation.payload["phone_number"].removeprefix("+")
    after = None
    while True:
        answer = work.graph.get(
            f"{work.operation.waba}/phone_numbers", fields="id,display_phone_number", limit=100, after=after
        )
        for one in answer.get("data", ()):
            if re.sub(r"\D", "", one["display_phone_number"]) == wanted:
                return {"number": str(one["id"])}
        paging = answer.get("paging", {})
        if "next" not in paging:
            return None
        after = paging["cursors"]["after"]


# ── the code ─────────────────────────────────────────────────────────────────────────────────────────────────


def request_code(work: Work) -> dict[str, Any]:
    """Let Meta send a code to the number's owner."""
    if work.secret("code"):
        return {}  # somebody has one from before
    if work.progress():
        work.keep({})  # what is asked for from here on, nobody has looked for
    number, resend = number_of(work), work.secret("resend")
    method = resend.reveal().upper() if resend else work.operation.payload["code_method"]
    try:
        work.graph.post(f"{number}/request_code", code_method=method, language=work.operation.payload["language"])
    except GraphError as error:
        return _no_code(work, number, error)
    if resend:
        work.keep({}, resend=None)
    return {}


def _no_code(work: Work, number: str, error: GraphError) -> dict[str, Any]:
    if not error.is_definite:
        _ask_whether_it_came(work)
    if error.code != _NO_CODE_NOW and not isinstance(error, NarrowLimitReached):
        raise in_words(error) from None
    if error.code != _NO_CODE_NOW or not _is_verified(work, number):
        work.keep({}, resend=None)
        _hold_if_told(number, error)
        work.ask(
            f"Meta sends no code to number {number} now ({error.details or error.message}); give one that has"
            " come before, or say later that another be sent",
            CODE,
            RESEND,
            within=_CODE_WITHIN,
        )
    return {"verified": True}


def code_came(work: Work) -> dict[str, Any] | None:
    """Ask a person whether a code has come: Meta cannot be asked, and another would cost another SMS."""
    code, resend = work.secret("code"), work.secret("resend")
    if not work.progress().get("asked") or not (code or resend):
        _ask_whether_it_came(work)
    return {} if code else None


def _ask_whether_it_came(work: Work) -> NoReturn:
    # What was given before this call does not answer for it.
    work.keep({"asked": True}, code=None, resend=None)
    work.ask(
        f"nobody knows whether Meta has sent a code to number {number_of(work)}: its answer was lost. Give the"
        " code if one has come, else say that another be sent",
        CODE,
        RESEND,
        within=_CODE_WITHIN,
    )


def verify_code(work: Work) -> dict[str, Any]:
    """Wait for the code, and prove with it that the number is its owner's."""
    if work.results.get("verified"):
        return {}
    number, code = number_of(work), work.secret("code")
    if code is None:
        if work.secret("resend"):
            work.go_back("request_code", asked=True)
        _ask_for_code(work, f"the code that Meta has sent to number {number} is needed")
    try:
        work.graph.post(f"{number}/verify_code", code=code)
    except GraphError as error:
        return _code_refused(work, number, error)
    return {"verified": True}


def _code_refused(work: Work, number: str, error: GraphError) -> dict[str, Any]:
    if error.code != _NOT_THIS_CODE and (error.code, error.subcode) != (100, None):
        raise in_words(error) from None
    words = error.details or error.message
    if "already" not in words.lower() or not _is_verified(work, number):
        work.keep({}, code=None, resend=None)
        _hold_if_told(number, error)
        _ask_for_code(work, f"Meta does not take the code for number {number} ({words})")
    return {"verified": True}


def _ask_for_code(work: Work, why: str) -> NoReturn:
    work.ask(f"{why}; give it, or let another be sent", CODE, RESEND, within=_CODE_WITHIN)


def is_verified(work: Work) -> dict[str, Any] | None:
    """Read back whether the owner has proved that the number is his."""
    return {"verified": True} if _is_verified(work, number_of(work)) else None


def _is_verified(work: Work, number: str) -> bool:
    answer = work.graph.get(number, fields="code_verification_status")
    return answer.get("code_verification_status") == "VERIFIED"


def _hold_if_told(number: str, error: GraphError) -> None:
    if error.wait:
        reason = f"Meta lets number {number} wait: {error.details or error.message}"
        raise Held(reason=reason, by="meta", wait=error.wait)


def adding(run: Callable[[Work], dict[str, Any]], *, when: Callable[[Payload], bool], undo: str) -> Step:
    """Return the step that adds a number to the WABA; one that is there already is found."""
    return Step(
        name="add",
        run=run,
        when=when,
        capability=Capability.PHONE_NUMBERS,
        calls=lambda _: (PlannedCall(method="POST", path="{waba}/phone_numbers"),),
        happens_once=True,
        reads_back=find,
        undo=undo,
    )


def steps(when: Callable[[Payload], bool]) -> tuple[Step, Step]:
    """Return the two steps of proving: let a code be sent, and take it."""
    return (
        Step(
            name="request_code",
            run=request_code,
            when=when,
            capability=Capability.PHONE_NUMBERS,
            calls=lambda _: (PlannedCall(method="POST", path="{number}/request_code"),),
            happens_once=True,
            reads_back=code_came,
            asks=(CODE, RESEND),
        ),
        Step(
            name="verify_code",
            run=verify_code,
            when=when,
            capability=Capability.PHONE_NUMBERS,
            calls=lambda _: (PlannedCall(method="POST", path="{number}/verify_code"),),
            happens_once=True,
            reads_back=is_verified,
            asks=(CODE, RESEND),
        ),
    )


# ── the registration ─────────────────────────────────────────────────────────────────────────────────────────


def register(work: Work, **more: object) -> dict[str, Any]:
    """Register the number for the Cloud API. A PIN that is wrong is asked for anew, never tried again."""
    number = number_of(work)
    pin = work.secret("pin") or (None if work.progress().get("wrong_pin") else work.vault.get(f"pins/{number}"))
    if pin is None:
        work.ask(f"number {number} is registered with a PIN: give it", PIN, within=_PIN_WITHIN)
    try:
        work.graph.post(f"{number}/register", messaging_product="whatsapp", pin=pin, **more)
    except GraphError as error:
        _not_registered(work, number, error)
        return register(work, **more)
    remember_pin(work, number)
    return {"number": number, "registered": True}


def remember_pin(work: Work, number: str) -> None:
    """Keep the PIN in the vault true, if one lies there; one that a request brings is not copied there."""
    name, pin = f"pins/{number}", work.secret("pin")
    if pin and work.vault.get(name) not in (None, pin):
        work.vault.put(name, pin)


def _not_registered(work: Work, number: str, error: GraphError) -> None:
    """Ask a person, or mend it: whoever returns may try again at once. Raises the error that cannot be mended."""
    words = error.details or error.message
    if error.code == _WRONG_PIN:
        work.keep({**work.progress(), "wrong_pin": True}, pin=None)
        work.ask(
            f"two-step verification of number {number} is on, and its PIN is another one; Meta locks a number"
            " whose PIN is guessed too often",
            PIN,
            within=_PIN_WITHIN,
        )
    if error.subcode == _TWO_STEP_ON:
        work.keep(work.progress(), done=None)
        work.ask(
            f"Meta does not let number {number} be registered here yet ({words}); switch two-step verification"
            " off where the number is now, in the WhatsApp Manager, then say so",
            DONE,
            within=_PIN_WITHIN,
        )
    if error.code == _HALF_DEREGISTERED and not work.progress().get("deregistered"):
        work.keep({**work.progress(), "deregistered": True})
        work.graph.post(f"{number}/deregister")
        return
    if error.code == _NOT_VERIFIED and work.operation.payload.get("verify"):
        work.keep(work.progress(), code=None)
        work.go_back("request_code")
    raise in_words(error) from None


def is_registered(work: Work) -> dict[str, Any] | None:
    """Read back whether the number is registered."""
    number = number_of(work)
    answer = work.graph.get(number, fields="status,platform_type,is_pin_enabled")
    if answer.get("platform_type") != "CLOUD_API":
        return None
    remember_pin(work, number)
    return {"number": number, "registered": True}


# ── Meta's refusals, in words ────────────────────────────────────────────────────────────────────────────────

_NO_CODE_NOW: Final = 136024
_NOT_THIS_CODE: Final = 136025
_WRONG_PIN: Final = 133005
_NOT_VERIFIED: Final = 133006
_HALF_DEREGISTERED: Final = 133000
_TWO_STEP_ON: Final = 2388001
_IN_THE_LIST: Final = 2388012

_WORDS: Final = {
    33: "the number is not in this WABA (any more)",
    131031: "Meta has locked the account or the number, or the PIN is wrong: look into the WhatsApp Manager",
    131045: "Meta's record of the registration is broken: ask for the number's registration again",
    133000: "the number's deregistration is incomplete, also after it was repeated: ask Meta's support",
    133006: "the number must be verified first: ask for its registration with `verify`",
    133010: "the number is not registered: register it first",
    1349175: "the business has as many numbers as Meta allows it, or the number is not linked to it: have the"
    " business verified in the Business Manager, or take numbers away",
    2388012: "the number is in the WABA's list already",
    2388091: "the number is not on its way to this WABA any more, so Meta sends no code: migrate it anew",
    2388093: "the number is not on its way to this WABA any more, so Meta takes no code: migrate it anew",
}
"""What Meta's codes and subcodes mean for a number, and what to do."""


def in_words(error: GraphError) -> GraphError:
    """Return the error with a sentence for a person, and Meta's own words behind it."""
    sentence = _WORDS.get(error.subcode or 0) or _WORDS.get(error.code or 0)
    if sentence is None and error.details and error.details not in error.message:
        sentence = error.message
    return said(error, sentence) if sentence else error


def said(error: GraphError, sentence: str) -> GraphError:
    """Return the error with this sentence, and Meta's own words behind it."""
    own = error.details or error.message
    return replace(error, message=sentence if own == sentence else f"{sentence}; Meta: {own}")
