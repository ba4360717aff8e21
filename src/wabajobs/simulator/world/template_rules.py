"""What Meta refuses in a message template, and with which subcode.

https://developers.facebook.com/documentation/business-messaging/whatsapp/templates/components and
https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes. Where those
name no subcode, as for an unknown language, the error has none.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from wabajobs.simulator.errors import GraphError, bad_parameter, invalid_parameter

NAME_MOST = 512
HEADER_MOST = 60
BODY_MOST = 1024
CARD_BODY_MOST = 160
FOOTER_MOST = 60
BUTTON_MOST = 25
URL_MOST = 2000
PHONE_MOST = 20
COUPON_MOST = 15
OFFER_MOST = 16
BUTTONS_MOST = 10

_LANGUAGES = """
af sq ar ar_EG ar_AE ar_LB ar_MA ar_QA az be_BY bn bn_IN bg ca zh_CN zh_HK zh_TW hr cs da prs_AF nl nl_BE
en en_GB en_US en_AE en_AU en_CA en_GH en_IE en_IN en_JM en_MY en_NZ en_QA en_SG en_UG en_ZA et fil fi fr
fr_BE fr_CA fr_CH fr_CI fr_MA ka de de_AT de_CH el gu ha he hi hu id ga it ja kn kk rw_RW ko ky_KG lo lv
lt mk ms ml mr nb ps_AF fa pl pt_BR pt_PT pa ro ru sr si_LK sk sl es es_AR es_CL es_CO es_CR es_DO es_EC
es_HN es_MX es_PA es_PE es_ES es_UY sw sv ta te th tr uk ur uz vi zu
"""
LANGUAGES = frozenset(_LANGUAGES.split())
"""https://developers.facebook.com/documentation/business-messaging/whatsapp/templates/supported-languages"""

SAMPLE_NAMES = frozenset(
    (
        "hello_world",
        "sample_flight_confirmation",
        "sample_happy_hour_announcement",
        "sample_issue_resolution",
        "sample_movie_ticket_confirmation",
        "sample_purchase_feedback",
        "sample_shipping_confirmation",
    )
)
"""Names that Meta keeps for the samples that it gives to new accounts."""

TTL_SECONDS = {"AUTHENTICATION": (30, 900), "UTILITY": (30, 43_200), "MARKETING": (43_200, 2_592_000)}
"""Least and most seconds of `message_send_ttl_seconds`; -1 stands for 30 days.

https://developers.facebook.com/documentation/business-messaging/whatsapp/templates/time-to-live
"""

_NAME = re.compile(r"[a-z0-9_]+")
_POSITIONAL = re.compile(r"\{\{([1-9][0-9]{0,2})\}\}")
_NAMED = re.compile(r"\{\{([a-z][a-z0-9_]*)\}\}")
_MARKUP = re.compile(r"[*_~`\n\r]")
_WORD = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]|[^\W_]+")
_EDGE = " \t\r\n.,;:!?¡¿()\"'…–—-"
_URL = re.compile(r"https?://[^\s{}/][^\s{}]*(\{\{[^{}]*\}\})?")
_PHONE = re.compile(r"\+?[0-9][0-9 ()-]*")

_TYPES = (
    "HEADER",
    "BODY",
    "FOOTER",
    "BUTTONS",
    "CAROUSEL",
    "LIMITED_TIME_OFFER",
    "CALL_PERMISSION_REQUEST",
)
_FORMATS = ("TEXT", "IMAGE", "VIDEO", "GIF", "DOCUMENT", "LOCATION", "PRODUCT")
_MEDIA = frozenset(("IMAGE", "VIDEO", "GIF", "DOCUMENT"))

_BUTTON_FIELDS: dict[str, tuple[str, ...]] = {
    "QUICK_REPLY": (),
    "URL": ("url", "example", "app_deep_link"),
    "PHONE_NUMBER": ("phone_number",),
    "COPY_CODE": ("example",),
    "FLOW": ("flow_id", "flow_name", "flow_json", "flow_action", "navigate_screen", "icon"),
    "CATALOG": (),
    "MPM": (),
    "SPM": (),
    "VOICE_CALL": ("ttl_minutes",),
    "ORDER_DETAILS": (),
}
"""The buttons of a template, each with the fields it has besides `type` and `text`."""
_BUTTONS_OF_A_TYPE = {"QUICK_REPLY": 10, "URL": 2}
"""How many of a type a template may have; one of every other."""
_OTP_FIELDS = (
    "otp_type",
    "autofill_text",
    "supported_apps",
    "package_name",
    "signature_hash",
    "zero_tap_terms_accepted",
)
_OTP_TYPES = ("COPY_CODE", "ONE_TAP", "ZERO_TAP")


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the check of a template needs to know besides the template."""

    handle_problem: Callable[[str], str | None]
    """Why an upload's handle cannot be used; nothing when it can."""
    has_flow: Callable[[str], bool] = field(default=lambda _: True)
    """Whether the WABA has the flow of this id."""
    has_catalog: bool = True
    words_per_variable: int = 2


# How it is said


def _missing(kind: str, *fields: str) -> GraphError:
    return invalid_parameter(
        2388043,
        'Message template "components" param is missing expected field(s)',
        f"component of type {kind} is missing expected field(s) ({', '.join(fields)})",
        blame="components",
    )


def _unexpected(kind: str, *fields: str) -> GraphError:
    return invalid_parameter(
        2388042,
        'Message template "components" param contains unexpected field(s)',
        f"component of type {kind} has unexpected field(s) ({', '.join(fields)})",
        blame="components",
    )


def _too_long(what: str, most: int, *, blame: str = "components") -> GraphError:
    return invalid_parameter(
        2388040,
        "Character Limit Exceeded",
        f"The {what} field cannot exceed {most} characters.",
        blame=blame,
    )


def _bad_header(message: str) -> GraphError:
    return invalid_parameter(2388047, "Message Header Format is Incorrect", message, blame="components")


def _bad_body(message: str) -> GraphError:
    return invalid_parameter(2388072, "Message Body Format is Incorrect", message, blame="components")


def _bad_footer(message: str) -> GraphError:
    return invalid_parameter(2388073, "Message Footer Format is Incorrect", message, blame="components")


def _bad_buttons(message: str) -> GraphError:
    """No source names a subcode for what is wrong with buttons."""
    return invalid_parameter(None, "Message Buttons are Incorrect", message, blame="components")


# Name, language, category, time to live


def check_name(name: str) -> None:
    """Lower-case letters, digits and underscores, at most 512, and none of the samples' names."""
    if len(name) > NAME_MOST:
        raise _too_long("name", NAME_MOST, blame="name")
    if not _NAME.fullmatch(name):
        raise invalid_parameter(
            2388046,
            "Name Format is Incorrect",
            "Message template name can only have lowercase letters, digits and underscores.",
            blame="name",
        )
    if name in SAMPLE_NAMES:
        raise invalid_parameter(
            2388155,
            "Name is Reserved",
            f'The name "{name}" is reserved for sample templates. Choose another name.',
            blame="name",
        )


def check_language(language: str) -> None:
    """One of the languages that templates may have; the subcode of this refusal is documented nowhere."""
    if language not in LANGUAGES:
        raise bad_parameter(
            f'Param language must be one of {{{", ".join(sorted(LANGUAGES))}}} - got "{language}".'
        )


def check_ttl(seconds: int | None, category: str) -> None:
    """The time to live of messages lies in the range of the template's category, or is -1."""
    if seconds is None or seconds == -1:
        return
    least, most = TTL_SECONDS[category]
    if not least <= seconds <= most:
        raise bad_parameter(
            f"Param message_send_ttl_seconds must be -1 or between {least} and {most} for category {category}"
        )


# Components


def checked_components(
    components: list[dict[str, Any]], *, category: str, named: bool, around: Surroundings
) -> list[dict[str, Any]]:
    """The components as they will be read back; raises what Meta would refuse in them."""
    given = [_component(one, place) for place, one in enumerate(components)]
    kinds = [one["type"] for one in given]
    for kind, times in Counter(kinds).items():
        if times > 1:
            raise invalid_parameter(
                None,
                "Message Template Components are Incorrect",
                f"There can be only one component of type {kind}.",
                blame="components",
            )
    if "BODY" not in kinds:
        raise _missing("BODY", "BODY")
    if category == "AUTHENTICATION":
        return _authentication(given)
    checker = _Checker(named=named, around=around)
    checked = [checker.component(one) for one in given]
    if "LIMITED_TIME_OFFER" in kinds and (category != "MARKETING" or "FOOTER" in kinds):
        raise _unexpected("LIMITED_TIME_OFFER", "FOOTER" if "FOOTER" in kinds else "category")
    return checked


def _component(given: dict[str, Any], place: int) -> dict[str, Any]:
    """A component with its type in capitals, and without what is null."""
    kind = given.get("type")
    if not isinstance(kind, str) or kind.upper() not in _TYPES:
        raise bad_parameter(
            f"Param components[{place}]['type'] must be one of {{{', '.join(_TYPES)}}} - got \"{_said(kind)}\"."
        )
    return {**{name: value for name, value in given.items() if value is not None}, "type": kind.upper()}


def _only(kind: str, given: dict[str, Any], *allowed: str) -> None:
    unknown = [name for name in given if name not in (*allowed, "type")]
    if unknown:
        raise _unexpected(kind, *unknown)


def _text(kind: str, given: dict[str, Any], most: int, *, name: str = "text", what: str = "") -> str:
    text = given.get(name)
    if not isinstance(text, str) or not text.strip():
        raise _missing(kind, name)
    if len(text) > most:
        raise _too_long(what or kind.lower(), most)
    return text


def _example(kind: str, given: dict[str, Any]) -> dict[str, Any]:
    example = given.get("example")
    if not isinstance(example, dict):
        raise _missing(kind, "example")
    return example


def _texts(value: Any) -> list[str] | None:
    if isinstance(value, list) and all(isinstance(one, str | int) and str(one).strip() for one in value):
        return [str(one) for one in value]
    return None


@dataclass(frozen=True, slots=True)
class _Checker:
    """Checks the components of a template that is not for authentication."""

    named: bool
    around: Surroundings

    def component(self, given: dict[str, Any]) -> dict[str, Any]:
        match given["type"]:
            case "HEADER":
                return self._header(given)
            case "BODY":
                return self._body(given)
            case "FOOTER":
                return self._footer(given)
            case "BUTTONS":
                _only("BUTTONS", given, "buttons")
                return {"type": "BUTTONS", "buttons": self._buttons(given.get("buttons"), most=BUTTONS_MOST)}
            case "CAROUSEL":
                return self._carousel(given)
            case "LIMITED_TIME_OFFER":
                return _offer(given)
            case _:
                _only("CALL_PERMISSION_REQUEST", given)
                return {"type": "CALL_PERMISSION_REQUEST"}

    # Header

    def _header(self, given: dict[str, Any]) -> dict[str, Any]:
        _only("HEADER", given, "format", "text", "example")
        asked = given.get("format")
        if not isinstance(asked, str):
            raise _missing("HEADER", "format")
        form = asked.upper()
        if form not in _FORMATS:
            raise bad_parameter(f'Param format must be one of {{{", ".join(_FORMATS)}}} - got "{asked}".')
        if form == "TEXT":
            return self._text_header(given)
        if "text" in given:
            raise _unexpected("HEADER", "text")
        if form not in _MEDIA:
            _only("HEADER", given, "format")
            return {"type": "HEADER", "format": form}
        handles = _texts(_example("HEADER", given).get("header_handle"))
        if not handles:
            raise _missing("HEADER", "example")
        for handle in handles:
            problem = self.around.handle_problem(handle)
            if problem:
                raise bad_parameter(problem)
        urls = [media_url(handle) for handle in handles]
        return {"type": "HEADER", "format": form, "example": {"header_handle": urls}}

    def _text_header(self, given: dict[str, Any]) -> dict[str, Any]:
        text = _text("HEADER", given, HEADER_MOST)
        if _MARKUP.search(text):
            raise _bad_header("The message header can't have any new lines, formatting characters or asterisks.")
        variables = _variables(text, _bad_header, named=self.named)
        if len(variables) > 1:
            raise _bad_header("The message header can have only one variable.")
        checked: dict[str, Any] = {"type": "HEADER", "format": "TEXT", "text": text}
        if not variables:
            return checked
        example = _example("HEADER", given)
        if self.named:
            values = self._named_example("HEADER", example.get("header_text_named_params"), variables)
            return {**checked, "example": {"header_text_named_params": values}}
        texts = _texts(example.get("header_text"))
        if texts is None or len(texts) != 1:
            raise _missing("HEADER", "example")
        return {**checked, "example": {"header_text": texts}}

    # Body and footer

    def _body(self, given: dict[str, Any], *, most: int = BODY_MOST) -> dict[str, Any]:
        _only("BODY", given, "text", "example")
        text = _text("BODY", given, most)
        variables = _variables(text, _bad_body, named=self.named)
        checked = {"type": "BODY", "text": text}
        if not variables:
            return checked
        self._check_wording(text, len(variables))
        example = _example("BODY", given)
        if self.named:
            values = self._named_example("BODY", example.get("body_text_named_params"), variables)
            return {**checked, "example": {"body_text_named_params": values}}
        rows = example.get("body_text")
        texts = _texts(rows[0]) if isinstance(rows, list) and rows else None
        if texts is None or len(texts) != len(variables):
            raise _missing("BODY", "example")
        return {**checked, "example": {"body_text": [texts]}}

    def _check_wording(self, text: str, variables: int) -> None:
        pattern = _NAMED if self.named else _POSITIONAL
        # Signs around it do not help: a last variable before a full stop is the last word all the same.
        bare = text.strip(_EDGE)
        found = list(pattern.finditer(bare))
        if found[0].start() == 0 or found[-1].end() == len(bare):
            raise invalid_parameter(
                2388299,
                "Template Has Leading or Trailing Params",
                "Variables can't be at the start or end of the template.",
                blame="components",
            )
        words = len(_WORD.findall(pattern.sub(" ", text)))
        if words < self.around.words_per_variable * variables + 1:
            raise invalid_parameter(
                2388293,
                "Parameters Words Ratio Exceeds Limit",
                "This template has too many variables for its length. Reduce the number of variables or increase "
                "the message length.",
                blame="components",
            )

    def _footer(self, given: dict[str, Any]) -> dict[str, Any]:
        _only("FOOTER", given, "text")
        text = _text("FOOTER", given, FOOTER_MOST)
        if "{{" in text or "}}" in text:
            raise _bad_footer("The message footer can't have any variables.")
        return {"type": "FOOTER", "text": text}

    def _named_example(self, kind: str, given: Any, names: list[str]) -> list[dict[str, str]]:
        values: dict[str, str] = {}
        for one in given if isinstance(given, list) else []:
            if isinstance(one, dict) and one.get("param_name") and _texts([one.get("example")]):
                values[str(one["param_name"])] = str(one["example"])
        if set(values) != set(names):
            raise _missing(kind, "example")
        return [{"param_name": name, "example": values[name]} for name in names]

    # Buttons

    def _buttons(self, given: Any, *, most: int) -> list[dict[str, Any]]:
        if not isinstance(given, list) or not given:
            raise _missing("BUTTONS", "buttons")
        if len(given) > most:
            raise _bad_buttons(f"A template can have at most {most} buttons.")
        buttons = [self._button(one) for one in given]
        for kind, times in Counter(one["type"] for one in buttons).items():
            if times > _BUTTONS_OF_A_TYPE.get(kind, 1):
                raise _bad_buttons(
                    f"A template can have at most {_BUTTONS_OF_A_TYPE.get(kind, 1)} buttons of type {kind}."
                )
        replies = [one["type"] == "QUICK_REPLY" for one in buttons]
        if sum(one != other for one, other in itertools.pairwise(replies)) > 1:
            raise _bad_buttons("Quick reply buttons must stand together, before or after all other buttons.")
        return buttons

    def _button(self, given: Any) -> dict[str, Any]:
        kind = given.get("type") if isinstance(given, dict) else None
        if not isinstance(kind, str) or kind.upper() not in _BUTTON_FIELDS:
            raise bad_parameter(
                f'Param type must be one of {{{", ".join(_BUTTON_FIELDS)}, OTP}} - got "{_said(kind)}".'
            )
        kind = kind.upper()
        given = {name: value for name, value in given.items() if value is not None}
        _only(kind, given, "text", *_BUTTON_FIELDS[kind])
        button: dict[str, Any] = {"type": kind}
        if kind != "COPY_CODE" or "text" in given:
            button["text"] = _text("BUTTONS", given, BUTTON_MOST, what="button text")
            if "{{" in button["text"]:
                raise _bad_buttons("The text of a button can't have any variables.")
        match kind:
            case "URL":
                return {**button, **checked_url(given.get("url"), given.get("example"), named=self.named)}
            case "PHONE_NUMBER":
                return {**button, "phone_number": checked_phone(given.get("phone_number"))}
            case "COPY_CODE":
                return {**button, "example": _coupon(given.get("example"))}
            case "FLOW":
                return {**button, **self._flow(given)}
            case "CATALOG" | "MPM" | "SPM" if not self.around.has_catalog:
                raise invalid_parameter(
                    2388027,
                    "Catalog is Missing",
                    "No product catalog is connected to this WhatsApp Business Account.",
                    blame="components",
                )
            case _:
                return button

    def _flow(self, given: dict[str, Any]) -> dict[str, Any]:
        ways = [name for name in ("flow_id", "flow_name", "flow_json") if given.get(name)]
        if len(ways) != 1:
            raise _missing("FLOW", "flow_id")
        if ways == ["flow_id"] and not self.around.has_flow(str(given["flow_id"])):
            raise bad_parameter("The flow of the button does not exist or does not belong to this account")
        wrong = [name for name in _BUTTON_FIELDS["FLOW"] if not isinstance(given.get(name, ""), str | int)]
        if wrong:
            raise bad_parameter(f"Param {wrong[0]} must be a string")
        return {name: str(given[name]) for name in _BUTTON_FIELDS["FLOW"] if name in given}

    # Carousel

    def _carousel(self, given: dict[str, Any]) -> dict[str, Any]:
        _only("CAROUSEL", given, "cards")
        cards = given.get("cards")
        if not isinstance(cards, list) or not 2 <= len(cards) <= 10:
            raise invalid_parameter(
                None, "Carousel is Incorrect", "A carousel has 2 to 10 cards.", blame="components"
            )
        checked = [self._card(card) for card in cards]
        shapes = {tuple((one["type"], one.get("format")) for one in card["components"]) for card in checked}
        if len(shapes) > 1:
            raise invalid_parameter(
                None,
                "Carousel is Incorrect",
                "All cards of a carousel must have the same components.",
                blame="components",
            )
        return {"type": "CAROUSEL", "cards": checked}

    def _card(self, given: Any) -> dict[str, Any]:
        components = given.get("components") if isinstance(given, dict) else None
        if not isinstance(components, list) or not all(isinstance(one, dict) for one in components):
            raise _missing("CAROUSEL", "components")
        checked = []
        for place, one in enumerate(components):
            part = _component(one, place)
            match part["type"]:
                case "HEADER":
                    checked.append(self._header(part))
                case "BODY":
                    checked.append(self._body(part, most=CARD_BODY_MOST))
                case "BUTTONS":
                    _only("BUTTONS", part, "buttons")
                    checked.append({"type": "BUTTONS", "buttons": self._buttons(part.get("buttons"), most=2)})
                case kind:
                    raise _unexpected("CAROUSEL", kind)
        if not any(one.get("format") in ("IMAGE", "VIDEO", "PRODUCT") for one in checked):
            raise _missing("CAROUSEL", "HEADER")
        return {"components": checked}


def _offer(given: dict[str, Any]) -> dict[str, Any]:
    _only("LIMITED_TIME_OFFER", given, "limited_time_offer")
    offer = given.get("limited_time_offer")
    if not isinstance(offer, dict):
        raise _missing("LIMITED_TIME_OFFER", "limited_time_offer")
    text = _text("LIMITED_TIME_OFFER", offer, OFFER_MOST)
    return {
        "type": "LIMITED_TIME_OFFER",
        "limited_time_offer": {"text": text, "has_expiration": offer.get("has_expiration") is True},
    }


def _variables(text: str, problem: Callable[[str], GraphError], *, named: bool) -> list[str]:
    """The variables of a text, each once, in their order; they must be all of one kind and well written."""
    pattern = _NAMED if named else _POSITIONAL
    names = list(dict.fromkeys(pattern.findall(text)))
    rest = pattern.sub("", text)
    if "{{" in rest or "}}" in rest:
        right = "lowercase letters, digits and underscores" if named else "whole numbers"
        sample = "{{first_name}}" if named else "{{1}}, {{2}}"
        raise problem(
            "This template contains variable parameters with incorrect formatting. Variable parameters must be "
            f"{right} with two sets of curly brackets (for example, {sample})."
        )
    if not named and sorted(map(int, names)) != list(range(1, len(names) + 1)):
        raise problem("Variable parameters must be numbered from 1 without gaps.")
    return names


def checked_url(url: Any, example: Any, *, named: bool = False) -> dict[str, Any]:
    """The address of a button, with an example if it ends with a variable."""
    if not isinstance(url, str) or not url:
        raise _missing("URL", "url")
    if len(url) > URL_MOST:
        raise _too_long("button URL", URL_MOST)
    match = _URL.fullmatch(url)
    if match is None:
        raise _bad_buttons(
            "The URL of a button must begin with http:// or https:// and may have one variable, at its end."
        )
    if match[1] is None:
        return {"url": url}
    _variables(match[1], _bad_buttons, named=named)
    texts = _texts([example] if isinstance(example, str) else example)
    if texts is None or len(texts) != 1:
        raise _missing("URL", "example")
    return {"url": url, "example": texts}


def checked_phone(given: Any) -> str:
    """The phone number of a button; error 192 when it is none."""
    if not isinstance(given, str | int) or not given:
        raise _missing("PHONE_NUMBER", "phone_number")
    phone = str(given)
    if len(phone) > PHONE_MOST or not _PHONE.fullmatch(phone):
        raise GraphError(message="(#192) Invalid phone number", code=192)
    return phone


def _coupon(given: Any) -> list[str]:
    codes = _texts([given] if isinstance(given, str) else given)
    if codes is None or len(codes) != 1:
        raise _missing("COPY_CODE", "example")
    if len(codes[0]) > COUPON_MOST:
        raise _too_long("coupon code", COUPON_MOST)
    return codes


# Authentication templates


def _authentication(components: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A preset body, an optional preset footer, and one button for the one-time password.

    https://developers.facebook.com/documentation/business-messaging/whatsapp/templates/authentication-templates
    """
    checked = []
    for one in components:
        match one["type"]:
            case "BODY":
                checked.append(_code_body(one))
            case "FOOTER":
                checked.append(_code_footer(one))
            case "BUTTONS":
                _only("BUTTONS", one, "buttons")
                checked.append({"type": "BUTTONS", "buttons": [_code_button(one.get("buttons"))]})
            case kind:
                raise _unexpected("AUTHENTICATION", kind)
    if not any(one["type"] == "BUTTONS" for one in checked):
        raise _missing("AUTHENTICATION", "BUTTONS")
    return checked


def _code_body(given: dict[str, Any]) -> dict[str, Any]:
    _only("BODY", given, "add_security_recommendation")
    text = "*{{1}}* is your verification code."
    example = {"body_text": [["123456"]]}
    if "add_security_recommendation" not in given:
        return {"type": "BODY", "text": text, "example": example}
    advice = _flag("add_security_recommendation", given["add_security_recommendation"])
    if advice:
        text += " For your security, do not share this code."
    return {"type": "BODY", "text": text, "add_security_recommendation": advice, "example": example}


def _code_footer(given: dict[str, Any]) -> dict[str, Any]:
    _only("FOOTER", given, "code_expiration_minutes")
    minutes = given.get("code_expiration_minutes")
    if minutes is None:
        raise _missing("FOOTER", "code_expiration_minutes")
    if isinstance(minutes, str) and minutes.isdecimal() and minutes.isascii() and len(minutes) < 5:
        minutes = int(minutes)
    if not isinstance(minutes, int) or isinstance(minutes, bool) or not 1 <= minutes <= 90:
        raise bad_parameter("Param code_expiration_minutes must be between 1 and 90")
    return {
        "type": "FOOTER",
        "text": f"This code expires in {minutes} minutes.",
        "code_expiration_minutes": minutes,
    }


def _code_button(given: Any) -> dict[str, Any]:
    if not isinstance(given, list) or not given:
        raise _missing("BUTTONS", "buttons")
    button = given[0]
    kind = button.get("type") if isinstance(button, dict) else None
    if len(given) > 1 or not isinstance(kind, str) or kind.upper() != "OTP":
        raise _bad_buttons("An authentication template has exactly one button, of type OTP.")
    button = {name: value for name, value in button.items() if value is not None}
    _only("OTP", button, "text", *_OTP_FIELDS)
    way = button.get("otp_type")
    if not isinstance(way, str):
        raise _missing("OTP", "otp_type")
    if way.upper() not in _OTP_TYPES:
        raise bad_parameter(f'Param otp_type must be one of {{{", ".join(_OTP_TYPES)}}} - got "{way}".')
    made: dict[str, Any] = {"type": "OTP", "otp_type": way.upper(), "text": "Copy code"}
    for name in ("text", "autofill_text"):
        if name in button:
            made[name] = _text("OTP", button, BUTTON_MOST, name=name, what="button text")
    if way.upper() == "COPY_CODE":
        return made
    made["supported_apps"] = _apps(button)
    if way.upper() == "ZERO_TAP":
        if not _flag("zero_tap_terms_accepted", button.get("zero_tap_terms_accepted", False)):
            raise _missing("OTP", "zero_tap_terms_accepted")
        made["zero_tap_terms_accepted"] = True
    return made


def _apps(button: dict[str, Any]) -> list[dict[str, str]]:
    apps = button.get("supported_apps", [button])
    names = ("package_name", "signature_hash")
    if not isinstance(apps, list) or not 1 <= len(apps) <= 5:
        raise _missing("OTP", "supported_apps")
    for app in apps:
        if not isinstance(app, dict) or not all(isinstance(app.get(name), str) and app[name] for name in names):
            raise _missing("OTP", *names)
    return [{name: app[name] for name in names} for app in apps]


def _said(value: Any) -> str:
    """What came in place of a word, for an error; no long thing is repeated."""
    return str(value)[:100] if isinstance(value, str | int | float | None) else type(value).__name__


def _flag(name: str, value: Any) -> bool:
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise bad_parameter(f"Param {name} must be a boolean")
    return value


def media_url(handle: str) -> str:
    """Where a template's media is read from: the address of a copy, which is no handle any more."""
    name = hashlib.blake2b(handle.encode(), digest_size=12).hexdigest()
    return f"https://scontent.whatsapp.net/v/t61.29466-34/{name}?ccb=1-7&_nc_sid=8b1bef"
