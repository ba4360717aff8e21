"""What Meta refuses in a message template, refused before it costs a call: each time with the field and the rule.

Sources, under https://developers.facebook.com/documentation/business-messaging/whatsapp/ :
`templates/components`, `templates/template-management`, `templates/supported-languages`,
`templates/time-to-live`, `templates/authentication-templates/authentication-templates`,
`templates/template-library`, and the error codes 2388xxx of `support/error-codes`. Meta takes enumerated words in
either case, and so do we.
"""

import itertools
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, NoReturn
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

Components = Sequence[Mapping[str, Any]]
Category = Literal["AUTHENTICATION", "MARKETING", "UTILITY"]
ParameterFormat = Literal["NAMED", "POSITIONAL"]

NAME_MOST: Final = 512
HEADER_MOST: Final = 60
BODY_MOST: Final = 1024
CARD_BODY_MOST: Final = 160
FOOTER_MOST: Final = 60
BUTTON_MOST: Final = 25
URL_MOST: Final = 2000
PHONE_MOST: Final = 20
COUPON_MOST: Final = 15
OFFER_MOST: Final = 16
BUTTONS_MOST: Final = 10
CARD_BUTTONS_MOST: Final = 2
CARDS: Final = range(2, 11)

_LANGUAGES: Final = (
    "af ar ar_AE ar_EG ar_LB ar_MA ar_QA az be_BY bg bn bn_IN ca cs da de de_AT de_CH el en en_AE en_AU en_CA"
    " en_GB en_GH en_IE en_IN en_JM en_MY en_NZ en_QA en_SG en_UG en_US en_ZA es es_AR es_CL es_CO es_CR es_DO"
    " es_EC es_ES es_HN es_MX es_PA es_PE es_UY et fa fi fil fr fr_BE fr_CA fr_CH fr_CI fr_MA ga gu ha he hi hr"
    " hu id it ja ka kk kn ko ky_KG lo lt lv mk ml mr ms nb nl nl_BE pa pl prs_AF ps_AF pt_BR pt_PT ro ru rw_RW"
    " si_LK sk sl sq sr sv sw ta te th tr uk ur uz vi zh_CN zh_HK zh_TW zu"
)
LANGUAGES: Final = frozenset(_LANGUAGES.split())
"""templates/supported-languages"""

SAMPLES: Final = frozenset(
    {
        "hello_world",
        "sample_flight_confirmation",
        "sample_happy_hour_announcement",
        "sample_issue_resolution",
        "sample_movie_ticket_confirmation",
        "sample_purchase_feedback",
        "sample_shipping_confirmation",
    }
)
"""Names that Meta keeps for the samples of new accounts (2388155)."""

TTL_SECONDS: Final = {"AUTHENTICATION": (30, 900), "UTILITY": (30, 43_200), "MARKETING": (43_200, 2_592_000)}
"""Least and most of `message_send_ttl_seconds`; -1 stands for 30 days. templates/time-to-live"""

MEDIA: Final = frozenset({"IMAGE", "VIDEO", "GIF", "DOCUMENT"})
"""Formats of a header that show a file."""
_FORMATS: Final = MEDIA | {"TEXT", "LOCATION", "PRODUCT"}

_BUTTONS: Final[dict[str, tuple[str, ...]]] = {
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
"""The buttons there are, each with its fields besides `type` and `text`. templates/components, Buttons"""
_OF_A_TYPE: Final = {"QUICK_REPLY": 10, "URL": 2}
"""How many of a type a template may have; one of every other."""
_OTP: Final = (
    "otp_type",
    "autofill_text",
    "supported_apps",
    "package_name",
    "signature_hash",
    "zero_tap_terms_accepted",
)
_OTP_TYPES: Final = ("COPY_CODE", "ONE_TAP", "ZERO_TAP")
_APPS: Final = range(1, 6)
_LIBRARY_BODY: Final = frozenset(
    {"add_contact_number", "add_learn_more_link", "add_security_recommendation", "add_track_package_link"}
)
_MINUTES: Final = range(1, 91)
"""In which a code can expire."""

_DEPTH_MOST: Final = 20
_NAME: Final = re.compile(r"[a-z0-9_]+")
_POSITIONAL: Final = re.compile(r"\{\{([1-9][0-9]{0,2})\}\}")
_NAMED: Final = re.compile(r"\{\{([a-z][a-z0-9_]*)\}\}")
_MARKUP: Final = re.compile(r"[*_~`\n\r]")
# Languages that put no spaces between words: there each sign is taken for a word.
_WORD: Final = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]|[^\W_]+")
_EDGE: Final = " \t\r\n.,;:!?¡¿()\"'…–—-"
_PHONE: Final = re.compile(r"\+?[0-9][0-9 ()-]*")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def _refuse(rule: str) -> NoReturn:
    raise PydanticCustomError("template_rule", "{rule}", {"rule": rule})


# Name, language, time to live


def _name(name: str) -> str:
    """2388046, 2388040, 2388155."""
    if not _NAME.fullmatch(name):
        _refuse("a template's name has only lower-case letters, digits and underscores")
    if len(name) > NAME_MOST:
        _refuse(f"a template's name has at most {NAME_MOST} characters, not {len(name)}")
    if name in SAMPLES:
        _refuse(f"the name {name} is kept for a sample of Meta's: choose another")
    return name


def _language(language: str) -> str:
    if language not in LANGUAGES:
        _refuse(f"{language[:20]!r} is no language of templates; they are written like en_US, de, pt_BR")
    return language


TemplateName = Annotated[str, AfterValidator(_name)]
"""A name that a template may have."""
KnownName = Annotated[str, Field(pattern=r"^[a-z0-9_]+$", max_length=NAME_MOST)]
"""The name of a template that is there already; samples have one too."""
Language = Annotated[str, AfterValidator(_language)]


def check_ttl(seconds: int | None, category: str | None) -> None:
    """Refuse a time to live outside the range of the category; of an unknown one, what none allows."""
    if seconds is None or seconds == -1:
        return
    ranges = [TTL_SECONDS[category]] if category else list(TTL_SECONDS.values())
    least, most = min(one[0] for one in ranges), max(one[1] for one in ranges)
    if not least <= seconds <= most:
        of = f" for {category}" if category else ""
        _refuse(f"message_send_ttl_seconds is {least} to {most}{of}, or -1 for 30 days; not {seconds}")


# Components


def check_components(components: Components, *, category: str, named: bool, uploaded: bool = False) -> None:
    """Refuse components that Meta would refuse. With `uploaded` the header's file is uploaded by us."""
    kinds = [_kind(one, f"component {place}") for place, one in enumerate(components)]
    for kind, times in Counter(kinds).items():
        if times > 1:
            _refuse(f"there are {times} components of type {kind}; there can be one")
    if "BODY" not in kinds:
        _refuse("a component of type BODY is missing")
    if category == "AUTHENTICATION":
        _authentication(components, kinds)
    else:
        checker = _Checker(named=named, uploaded=uploaded)
        for kind, one in zip(kinds, components, strict=True):
            checker.check(kind, one)
        if "LIMITED_TIME_OFFER" in kinds and category != "MARKETING":
            _refuse("LIMITED_TIME_OFFER: only templates of category MARKETING have one")
        if {"LIMITED_TIME_OFFER", "FOOTER"} <= set(kinds):
            _refuse("LIMITED_TIME_OFFER: a template that has one has no FOOTER")
    if uploaded and not media_format(components):
        _refuse("there is a file for the header, but no HEADER of format IMAGE, VIDEO, GIF or DOCUMENT")


def seeming_category(components: Components) -> str:
    """Return the category to check components by when nobody says it: codes have a button of their own."""
    types = (text for path, text in _texts_in(components) if path[-1:] == ("type",))
    return "AUTHENTICATION" if "OTP" in map(str.upper, types) else "MARKETING"


def media_format(components: Components) -> str | None:
    """Return the format of a media header: `IMAGE`, say; None when there is none."""
    for one in components:
        if str(one.get("type")).upper() == "HEADER" and str(one.get("format")).upper() in MEDIA:
            return str(one["format"]).upper()
    return None


def variables(components: Components, *, named: bool) -> bool:
    """Whether there is any variable in the texts of components."""
    pattern = _NAMED if named else _POSITIONAL
    return any(pattern.search(text) for path, text in _texts_in(components) if "example" not in path)


def _texts_in(value: Any, path: tuple[str, ...] = (), depth: int = 0) -> Iterator[tuple[tuple[str, ...], str]]:
    if depth > _DEPTH_MOST:
        _refuse("it is nested too deeply")
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for name, below in value.items():
            yield from _texts_in(below, (*path, str(name)), depth + 1)
    elif isinstance(value, Sequence):
        for below in value:
            yield from _texts_in(below, path, depth + 1)


def check_texts(value: Any) -> None:
    """Refuse signs that no text has, and no database takes."""
    for path, text in _texts_in(value):
        if _CONTROL.search(text) or any(_CONTROL.search(name) for name in path):
            _refuse(f"{' '.join(path) or 'it'}: there is a control character in it")


_TYPES: Final = (
    "HEADER",
    "BODY",
    "FOOTER",
    "BUTTONS",
    "CAROUSEL",
    "LIMITED_TIME_OFFER",
    "CALL_PERMISSION_REQUEST",
)


def _kind(one: Any, where: str) -> str:
    kind = one.get("type") if isinstance(one, Mapping) else None
    return _word(kind, _TYPES, f"{where}: type")


def _word(value: Any, allowed: Collection[str], where: str) -> str:
    word = value.upper() if isinstance(value, str) else ""
    if word not in allowed:
        _refuse(f"{where}: it is one of {', '.join(sorted(allowed))}")
    return word


def _only(given: Mapping[str, Any], *allowed: str, where: str) -> None:
    """2388042."""
    unknown = [str(name) for name in given if name not in (*allowed, "type")]
    if unknown:
        _refuse(f"{where}: it has no field {unknown[0][:40]!r}; it takes {', '.join(allowed) or 'none'}")


def _text(given: Mapping[str, Any], most: int, *, where: str, name: str = "text") -> str:
    """2388043, 2388040."""
    text = given.get(name)
    if not isinstance(text, str) or not text.strip():
        _refuse(f"{where}: {name} is missing")
    if len(text) > most:
        _refuse(f"{where}: {name} has {len(text)} characters, at most {most}")
    return text


def _examples(value: Any) -> list[str] | None:
    """Return a list of examples, None when it is none."""
    if isinstance(value, list | tuple) and all(isinstance(one, str | int) and str(one).strip() for one in value):
        return [str(one) for one in value]
    return None


def _variables(text: str, where: str, *, named: bool) -> list[str]:
    """Return the variables of a text, each once; refuse those that are badly written (2388072 and its like)."""
    pattern = _NAMED if named else _POSITIONAL
    names = list(dict.fromkeys(pattern.findall(text)))
    rest = pattern.sub("", text)
    if "{{" in rest or "}}" in rest:
        right = (
            "{{first_name}}: lower-case letters, digits and underscores"
            if named
            else "{{1}}, {{2}}: whole numbers"
        )
        _refuse(f"{where}: a variable is badly written; parameter_format {_format(named)} has {right}")
    if not named and sorted(map(int, names)) != list(range(1, len(names) + 1)):
        _refuse(f"{where}: variables are numbered from 1 without gaps")
    return names


def _format(named: bool) -> str:
    return "NAMED" if named else "POSITIONAL"


class _Checker:
    """Checks the components of a template that is not for authentication."""

    def __init__(self, *, named: bool, uploaded: bool) -> None:
        self._named = named
        self._uploaded = uploaded

    def check(self, kind: str, one: Mapping[str, Any]) -> None:
        match kind:
            case "HEADER":
                self._header(one, "HEADER", uploaded=self._uploaded)
            case "BODY":
                self._body(one, "BODY", BODY_MOST)
            case "FOOTER":
                _footer(one)
            case "BUTTONS":
                self._buttons(one, "BUTTONS", BUTTONS_MOST)
            case "CAROUSEL":
                self._carousel(one)
            case "LIMITED_TIME_OFFER":
                _offer(one)
            case _:
                _only(one, where=kind)

    def _header(self, one: Mapping[str, Any], where: str, *, uploaded: bool = False) -> None:
        _only(one, "format", "text", "example", where=where)
        form = _word(one.get("format"), _FORMATS, f"{where}: format")
        if form == "TEXT":
            self._text_header(one, where)
        elif form in MEDIA:
            _only(one, "format", "example", where=f"{where} of format {form}")
            _media(one, where, uploaded=uploaded)
        else:
            _only(one, "format", where=f"{where} of format {form}")

    def _text_header(self, one: Mapping[str, Any], where: str) -> None:
        """2388047."""
        text = _text(one, HEADER_MOST, where=where)
        if _MARKUP.search(text):
            _refuse(f"{where}: text has no line breaks and no formatting signs (* _ ~ `)")
        found = _variables(text, where, named=self._named)
        if len(found) > 1:
            _refuse(f"{where}: text has {len(found)} variables; it can have one")
        if found:
            self._example(one, found, where, "header_text", rows=False)

    def _body(self, one: Mapping[str, Any], where: str, most: int) -> None:
        _only(one, "text", "example", where=where)
        text = _text(one, most, where=where)
        found = _variables(text, where, named=self._named)
        if found:
            self._wording(text, len(found), where)
            self._example(one, found, where, "body_text", rows=True)

    def _wording(self, text: str, number: int, where: str) -> None:
        """2388299 and 2388293. Meta gives no figure for the latter; this is what integrators have found."""
        pattern = _NAMED if self._named else _POSITIONAL
        # A last variable before a full stop is the last word all the same.
        bare = text.strip(_EDGE)
        found = list(pattern.finditer(bare))
        if found[0].start() == 0 or found[-1].end() == len(bare):
            _refuse(f"{where}: text neither begins nor ends with a variable")
        words = len(_WORD.findall(pattern.sub(" ", text)))
        if words < 2 * number + 1:
            _refuse(
                f"{where}: text has {words} words besides {number} variable{'s' if number > 1 else ''};"
                f" it needs at least {2 * number + 1}"
            )

    def _example(
        self, one: Mapping[str, Any], names: Sequence[str], where: str, field: str, *, rows: bool
    ) -> None:
        """2388043."""
        example = one.get("example")
        given = example if isinstance(example, Mapping) else {}
        if self._named:
            values = given.get(f"{field}_named_params")
            pairs = [each for each in values if isinstance(each, Mapping)] if isinstance(values, list) else []
            told = {str(each.get("param_name")) for each in pairs if _examples([each.get("example")])}
            if told != set(names):
                _refuse(
                    f"{where}: example.{field}_named_params needs a param_name and an example for each of:"
                    f" {', '.join(names)}"
                )
            return
        values = given.get(field)
        if rows:
            values = values[0] if isinstance(values, list) and values else None
        texts = _examples(values)
        if texts is None or len(texts) != len(names):
            shape = f"[[{len(names)} text{'s' if len(names) > 1 else ''}]]" if rows else "[one text]"
            _refuse(f"{where}: example.{field} is {shape}: one for each variable")

    def _buttons(self, one: Mapping[str, Any], where: str, most: int) -> None:
        _only(one, "buttons", where=where)
        buttons = one.get("buttons")
        if not isinstance(buttons, list) or not buttons:
            _refuse(f"{where}: buttons is missing")
        if len(buttons) > most:
            _refuse(f"{where}: there are {len(buttons)} buttons, at most {most}")
        kinds = [self._button(each, f"{where}: button {place}") for place, each in enumerate(buttons)]
        for kind, times in Counter(kinds).items():
            if times > (allowed := _OF_A_TYPE.get(kind, 1)):
                _refuse(f"{where}: there are {times} buttons of type {kind}, at most {allowed}")
        replies = [kind == "QUICK_REPLY" for kind in kinds]
        if sum(one != other for one, other in itertools.pairwise(replies)) > 1:
            _refuse(f"{where}: quick replies stand together, before or after all other buttons")

    def _button(self, one: Any, where: str) -> str:
        kind = _word(one.get("type") if isinstance(one, Mapping) else None, tuple(_BUTTONS), f"{where}: type")
        where = f"{where} ({kind})"
        _only(one, "text", *_BUTTONS[kind], where=where)
        # The text of a copy-code button is Meta's, and may be left out.
        if kind != "COPY_CODE" or "text" in one:
            text = _text(one, BUTTON_MOST, where=where)
            if "{{" in text:
                _refuse(f"{where}: text has no variables")
        match kind:
            case "URL":
                check_url(one.get("url"), one.get("example"), where=where, named=self._named)
            case "PHONE_NUMBER":
                check_phone(one.get("phone_number"), where=where)
            case "COPY_CODE":
                _coupon(one.get("example"), where)
            case "FLOW":
                _flow(one, where)
        return kind

    def _carousel(self, one: Mapping[str, Any]) -> None:
        _only(one, "cards", where="CAROUSEL")
        cards = one.get("cards")
        if not isinstance(cards, list) or len(cards) not in CARDS:
            _refuse(f"CAROUSEL: it has {CARDS[0]} to {CARDS[-1]} cards")
        shapes = {self._card(card, f"CAROUSEL: card {place}") for place, card in enumerate(cards)}
        if len(shapes) > 1:
            _refuse("CAROUSEL: all cards have the same components")

    def _card(self, card: Any, where: str) -> tuple[tuple[str, str], ...]:
        components = card.get("components") if isinstance(card, Mapping) else None
        if not isinstance(components, list) or not components:
            _refuse(f"{where}: components is missing")
        shape = []
        for one in components:
            kind = _kind(one, where)
            match kind:
                case "HEADER":
                    self._header(one, f"{where}: HEADER")
                case "BODY":
                    self._body(one, f"{where}: BODY", CARD_BODY_MOST)
                case "BUTTONS":
                    self._buttons(one, f"{where}: BUTTONS", CARD_BUTTONS_MOST)
                case _:
                    _refuse(f"{where}: it has no component of type {kind}")
            shape.append((kind, str(one.get("format", "")).upper()))
        if not any(form in ("IMAGE", "VIDEO", "PRODUCT") for _, form in shape):
            _refuse(f"{where}: a HEADER of format IMAGE, VIDEO or PRODUCT is missing")
        return tuple(shape)


def _media(one: Mapping[str, Any], where: str, *, uploaded: bool) -> None:
    example = one.get("example")
    given = _examples(example.get("header_handle")) if isinstance(example, Mapping) else None
    if uploaded:
        if example is not None:
            _refuse(f"{where}: its file comes from an upload, so it has no example")
        return
    if not given:
        _refuse(f"{where}: example.header_handle is [a handle of an upload]; or give the file in `media`")
    if any(handle.lower().startswith(("http://", "https://")) for handle in given):
        _refuse(f"{where}: example.header_handle is an address; Meta takes a handle: give the address in `media`")


def _footer(one: Mapping[str, Any]) -> None:
    """2388073."""
    _only(one, "text", where="FOOTER")
    text = _text(one, FOOTER_MOST, where="FOOTER")
    if "{{" in text or "}}" in text:
        _refuse("FOOTER: text has no variables")


def _offer(one: Mapping[str, Any]) -> None:
    where = "LIMITED_TIME_OFFER"
    _only(one, "limited_time_offer", where=where)
    offer = one.get("limited_time_offer")
    if not isinstance(offer, Mapping):
        _refuse(f"{where}: limited_time_offer is missing")
    _only(offer, "text", "has_expiration", where=where)
    _text(offer, OFFER_MOST, where=where)


def check_url(url: Any, example: Any, *, where: str, named: bool = False) -> None:
    """Refuse an address of a button that is none, or has a variable elsewhere than at its end or no example."""
    if not isinstance(url, str) or not url:
        _refuse(f"{where}: url is missing")
    if len(url) > URL_MOST:
        _refuse(f"{where}: url has {len(url)} characters, at most {URL_MOST}")
    fixed, opening, _ = url.partition("{{")
    if opening and _variables(url[len(fixed) :], f"{where}: url", named=named) == []:
        _refuse(f"{where}: url has a badly written variable")
    pattern = _NAMED if named else _POSITIONAL
    if not is_url(fixed) or (opening and not pattern.fullmatch(url[len(fixed) :])):
        _refuse(f"{where}: url begins with http:// or https://, and may have one variable, at its end")
    texts = _examples([example] if isinstance(example, str) else example)
    if opening and (texts is None or len(texts) != 1):
        _refuse(f"{where}: example is missing: one address with the variable filled in")


def is_url(text: str) -> bool:
    """Whether it is a whole http(s) address."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not re.search(r"[\s{}]", text)


def check_phone(phone: Any, *, where: str) -> None:
    """Error 192."""
    if not isinstance(phone, str | int) or isinstance(phone, bool) or not str(phone):
        _refuse(f"{where}: phone_number is missing")
    if len(str(phone)) > PHONE_MOST or not _PHONE.fullmatch(str(phone)):
        _refuse(f"{where}: phone_number is digits with the country's code, at most {PHONE_MOST}: +15550100")


def _coupon(example: Any, where: str) -> None:
    codes = _examples([example] if isinstance(example, str) else example)
    if codes is None or len(codes) != 1:
        _refuse(f"{where}: example is missing: one code")
    if len(codes[0]) > COUPON_MOST:
        _refuse(f"{where}: example has {len(codes[0])} characters, at most {COUPON_MOST}")


def _flow(one: Mapping[str, Any], where: str) -> None:
    ways = [name for name in ("flow_id", "flow_name", "flow_json") if one.get(name)]
    if len(ways) != 1:
        _refuse(f"{where}: it has one of flow_id, flow_name and flow_json")


# Authentication. templates/authentication-templates: texts are Meta's, and there is one button


def _authentication(components: Components, kinds: Sequence[str]) -> None:
    for kind, one in zip(kinds, components, strict=True):
        match kind:
            case "BODY":
                _only(one, "add_security_recommendation", where="BODY (AUTHENTICATION)")
                _flag(one, "add_security_recommendation", "BODY")
            case "FOOTER":
                _only(one, "code_expiration_minutes", where="FOOTER (AUTHENTICATION)")
                _expiry(one.get("code_expiration_minutes"), "FOOTER")
            case "BUTTONS":
                _only(one, "buttons", where="BUTTONS")
                _code_button(one.get("buttons"))
            case _:
                _refuse(f"a template of category AUTHENTICATION has no {kind}")
    if "BUTTONS" not in kinds:
        _refuse("a template of category AUTHENTICATION has BUTTONS with one button of type OTP")


def _flag(given: Mapping[str, Any], name: str, where: str) -> None:
    if not isinstance(given.get(name, False), bool):
        _refuse(f"{where}: {name} is true or false")


def _expiry(minutes: Any, where: str) -> None:
    if not isinstance(minutes, int) or isinstance(minutes, bool) or minutes not in _MINUTES:
        _refuse(f"{where}: code_expiration_minutes is {_MINUTES[0]} to {_MINUTES[-1]}")


def _code_button(buttons: Any) -> None:
    if not isinstance(buttons, list) or len(buttons) != 1 or not isinstance(buttons[0], Mapping):
        _refuse("BUTTONS: a template of category AUTHENTICATION has exactly one button, of type OTP")
    button, where = buttons[0], "BUTTONS: button 0 (OTP)"
    _word(button.get("type"), ("OTP",), "BUTTONS: button 0: type")
    _only(button, "text", *_OTP, where=where)
    way = _word(button.get("otp_type"), _OTP_TYPES, f"{where}: otp_type")
    for name in ("text", "autofill_text"):
        if name in button:
            _text(button, BUTTON_MOST, where=where, name=name)
    if way == "COPY_CODE":
        return
    _apps(button, where)
    if way == "ZERO_TAP" and button.get("zero_tap_terms_accepted") is not True:
        _refuse(f"{where}: a ZERO_TAP button needs zero_tap_terms_accepted: true")


def _apps(button: Mapping[str, Any], where: str) -> None:
    """The apps that may take the code; an older form names one beside the button's other fields."""
    apps = button.get("supported_apps", [button])
    if not isinstance(apps, list) or len(apps) not in _APPS:
        _refuse(f"{where}: supported_apps has {_APPS[0]} to {_APPS[-1]} apps")
    for app in apps:
        for name in ("package_name", "signature_hash"):
            if not isinstance(app, Mapping) or not isinstance(app.get(name), str) or not app[name]:
                _refuse(f"{where}: each of supported_apps has a package_name and a signature_hash")


# The library. templates/template-library


def check_library_buttons(inputs: Components) -> None:
    """Refuse inputs for the buttons of a library's template that cannot be."""
    for place, one in enumerate(inputs):
        where = f"input {place}"
        kind = _word(one.get("type"), _LIBRARY_BUTTONS, f"{where}: type")
        _LIBRARY_BUTTONS[kind](one, f"{where} ({kind})")


def _url_input(one: Mapping[str, Any], where: str) -> None:
    _only(one, "url", where=where)
    url = one.get("url")
    if not isinstance(url, Mapping) or not isinstance(url.get("base_url"), str):
        _refuse(f"{where}: url.base_url is missing")
    _only(url, "base_url", "url_suffix_example", where=f"{where}: url")
    example = url.get("url_suffix_example")
    if example is not None and not isinstance(example, str):
        _refuse(f"{where}: url.url_suffix_example is a whole address")
    check_url(url["base_url"], example, where=f"{where}: url.base_url")


def _phone_input(one: Mapping[str, Any], where: str) -> None:
    _only(one, "phone_number", where=where)
    check_phone(one.get("phone_number"), where=where)


def _otp_input(one: Mapping[str, Any], where: str) -> None:
    _only(one, *_OTP, where=where)
    way = _word(one.get("otp_type"), _OTP_TYPES, f"{where}: otp_type")
    if way != "COPY_CODE":
        _apps(one, where)


_LIBRARY_BUTTONS: Final[dict[str, Callable[[Mapping[str, Any], str], None]]] = {
    "URL": _url_input,
    "PHONE_NUMBER": _phone_input,
    "OTP": _otp_input,
    "QUICK_REPLY": lambda one, where: _only(one, where=where),
}


def check_library_body(inputs: Mapping[str, Any]) -> None:
    """Refuse choices for the body of a library's template that there are not."""
    for name in inputs:
        if name == "code_expiration_minutes":
            _expiry(inputs[name], "it")
        elif name in _LIBRARY_BODY:
            _flag(inputs, name, "it")
        else:
            allowed = ", ".join(sorted(_LIBRARY_BODY | {"code_expiration_minutes"}))
            _refuse(f"it has no field {str(name)[:40]!r}; it takes {allowed}")
