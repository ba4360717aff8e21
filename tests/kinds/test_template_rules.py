"""What Meta would refuse in a template is refused at the edge, with the field and the rule; nothing else is."""

import contextlib
import copy
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from tests.kinds.templates import AUTHENTICATION, BODY, CODE, LIBRARY, MEDIA, TEXT, UPSERT
from tests.support.pictures import picture
from tests.support.stage import Stage
from wabajobs.errors import InvalidRequest
from wabajobs.kinds import template_rules as ours
from wabajobs.kinds.template_create import Wanted
from wabajobs.kinds.template_edit import Wanted as Edit
from wabajobs.simulator.errors import GraphError
from wabajobs.simulator.world import template_rules as metas

GONE = object()


def changed(payload: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a payload with another value at a place; GONE takes it away."""
    whole: Any = copy.deepcopy(dict(payload))
    place = whole
    *above, last = path.split(".")
    for part in above:
        place = place[int(part) if part.isdecimal() else part]
    key: Any = int(last) if last.isdecimal() else last
    if value is GONE:
        del place[key]
    else:
        place[key] = value
    return dict(whole)


def header(**fields: Any) -> dict[str, Any]:
    return changed(TEXT, "components.0", {"type": "HEADER", **fields})


def body(text: str, *examples: str, **fields: Any) -> dict[str, Any]:
    example = {"example": {"body_text": [list(examples)]}} if examples else {}
    return changed(TEXT, "components.1", {"type": "BODY", "text": text, **example, **fields})


def buttons(*some: dict[str, Any]) -> dict[str, Any]:
    return changed(TEXT, "components.3.buttons", list(some))


def code(**fields: Any) -> dict[str, Any]:
    return changed(AUTHENTICATION, "components.2.buttons.0", {"type": "OTP", **fields})


def card(*components: dict[str, Any]) -> dict[str, Any]:
    picture_ = {"type": "HEADER", "format": "IMAGE", "example": {"header_handle": ["4::abc"]}}
    return {"components": [picture_, {"type": "BODY", "text": "A card."}, *components]}


def carousel(*cards: dict[str, Any]) -> dict[str, Any]:
    return {**TEXT, "components": [BODY, {"type": "CAROUSEL", "cards": list(cards)}]}


def deep(levels: int) -> Any:
    return [deep(levels - 1)] if levels else "x"


QUICK = {"type": "QUICK_REPLY", "text": "Yes"}
LINK = {"type": "URL", "text": "Shop", "url": "https://shop.example"}
CALL = {"type": "PHONE_NUMBER", "text": "Call", "phone_number": "+15550100"}
APPS = [{"package_name": "com.example", "signature_hash": "K8a/AINcGX7"}]

REFUSED: list[tuple[dict[str, Any], str, str]] = [
    # name, language, category
    (changed(TEXT, "name", GONE), "name", "required"),
    (changed(TEXT, "name", "Order-Sent"), "name", "lower-case letters, digits and underscores"),
    (changed(TEXT, "name", "order sent"), "name", "lower-case letters"),
    (changed(TEXT, "name", ""), "name", "lower-case letters"),
    (changed(TEXT, "name", "order_sent\n"), "name", "lower-case letters"),
    (changed(TEXT, "name", "a" * 513), "name", "at most 512 characters, not 513"),
    (changed(TEXT, "name", "hello_world"), "name", "kept for a sample"),
    (changed(TEXT, "language", "en-US"), "language", "no language of templates"),
    (changed(TEXT, "language", "tlh"), "language", "no language of templates"),
    (changed(TEXT, "language", GONE), "", "language or languages is needed"),
    (changed(TEXT, "category", "TRANSACTIONAL"), "category", "'AUTHENTICATION', 'MARKETING' or 'UTILITY'"),
    (changed(TEXT, "parameter_format", "MIXED"), "parameter_format", "'NAMED' or 'POSITIONAL'"),
    (changed(TEXT, "message_send_ttl_seconds", 5), "", "message_send_ttl_seconds is 30 to 43200 for UTILITY"),
    (changed(TEXT, "tags", ["new"]), "tags", "Extra inputs are not permitted"),
    # components
    (changed(TEXT, "components", GONE), "", "components or library_template_name is needed"),
    (changed(TEXT, "components", [TEXT["components"][0]]), "components", "type BODY is missing"),
    (changed(TEXT, "components", [BODY, BODY]), "components", "2 components of type BODY"),
    (changed(TEXT, "components", [{"type": "BODIES"}]), "components", "component 0: type: it is one of BODY"),
    (changed(TEXT, "components", ["BODY"]), "components.0", "dictionary"),
    # header
    (header(format="TEXT"), "components", "HEADER: text is missing"),
    (header(format="PICTURE"), "components", "HEADER: format: it is one of DOCUMENT"),
    (header(format="TEXT", text="x" * 61), "components", "HEADER: text has 61 characters, at most 60"),
    (header(format="TEXT", text="*News*"), "components", "formatting signs"),
    (header(format="TEXT", text="two\nlines"), "components", "line breaks"),
    (header(format="TEXT", text="{{1}} and {{2}}"), "components", "2 variables; it can have one"),
    (header(format="TEXT", text="For {{1}}"), "components", "HEADER: example.header_text is [one text]"),
    (header(format="TEXT", text="For {{2}}"), "components", "numbered from 1"),
    (header(format="TEXT", text="For you", colour="red"), "components", "has no field 'colour'"),
    (header(format="IMAGE"), "components", "example.header_handle is [a handle of an upload]"),
    (
        header(format="IMAGE", example={"header_handle": ["https://x.example/a.jpg"]}),
        "components",
        "give the address in `media`",
    ),
    (header(format="IMAGE", text="x"), "components", "HEADER of format IMAGE: it has no field 'text'"),
    (header(format="LOCATION", example={}), "components", "HEADER of format LOCATION: it has no field"),
    # body
    (body(""), "components", "BODY: text is missing"),
    (body(" \n"), "components", "BODY: text is missing"),
    (body("x" * 1025), "components", "BODY: text has 1025 characters, at most 1024"),
    (body("Dear {{name}}, it is here", "Ann"), "components", "badly written"),
    (body("Dear {{ 1 }}, it is here", "Ann"), "components", "badly written"),
    (body("Dear {{1}, it is here"), "components", ""),
    (body("We tell {{1}} and {{3}} what is new here today", "a", "b"), "components", "without gaps"),
    (body("{{1}}, it is here now", "Ann"), "components", "neither begins nor ends"),
    (body("It is here now, {{1}}.", "Ann"), "components", "neither begins nor ends"),
    (body("We greet {{1}} now"), "components", "example.body_text is [[1 text]]"),
    (body("We greet {{1}} and {{2}} now in town", "Ann"), "components", "[[2 texts]]"),
    (body("Hi {{1}} {{2}} all", "a", "b"), "components", "2 words besides 2 variables; it needs at least 5"),
    (changed(TEXT, "components.1.example", {"a": deep(40)}), "components", "nested too deeply"),
    (body("Dear\0 all"), "components", "control character"),
    (
        {
            **TEXT,
            "parameter_format": "NAMED",
            "components": [{"type": "BODY", "text": "We greet {{name}} in our town"}],
        },
        "components",
        "body_text_named_params needs",
    ),
    # footer
    (changed(TEXT, "components.2.text", "x" * 61), "components", "FOOTER: text has 61 characters, at most 60"),
    (changed(TEXT, "components.2.text", "For {{1}}"), "components", "FOOTER: text has no variables"),
    (changed(TEXT, "components.2.example", {}), "components", "FOOTER: it has no field 'example'"),
    # buttons
    (buttons(), "components", "BUTTONS: buttons is missing"),
    (buttons(*[QUICK] * 11), "components", "11 buttons, at most 10"),
    (buttons(LINK, LINK, LINK), "components", "3 buttons of type URL, at most 2"),
    (buttons(CALL, CALL), "components", "2 buttons of type PHONE_NUMBER, at most 1"),
    (buttons(QUICK, LINK, QUICK), "components", "quick replies stand together"),
    (buttons({**QUICK, "text": "x" * 26}), "components", "button 0 (QUICK_REPLY): text has 26 characters"),
    (buttons({**QUICK, "text": "Hi {{1}}"}), "components", "text has no variables"),
    (buttons({"type": "QUICK_REPLY"}), "components", "text is missing"),
    (buttons({**LINK, "url": "shop.example"}), "components", "begins with http:// or https://"),
    (buttons({**LINK, "url": "ftp://shop.example"}), "components", "begins with http:// or https://"),
    (buttons({**LINK, "url": "https://s.example/{{1}}/x", "example": ["x"]}), "components", "variable"),
    (buttons({**LINK, "url": "https://s.example/{{1}}"}), "components", "example is missing"),
    (buttons({**LINK, "url": "https://s.example/" + "x" * 2000}), "components", "at most 2000"),
    (buttons({**CALL, "phone_number": "call us"}), "components", "phone_number is digits"),
    (buttons({**CALL, "phone_number": "1" * 21}), "components", "at most 20"),
    (buttons({"type": "COPY_CODE"}), "components", "example is missing"),
    (buttons({"type": "COPY_CODE", "example": "x" * 16}), "components", "at most 15"),
    (buttons({"type": "FLOW", "text": "Go"}), "components", "one of flow_id, flow_name and flow_json"),
    (buttons({"type": "OTP", "otp_type": "COPY_CODE"}), "components", "type: it is one of CATALOG"),
    # cards and offers
    (carousel(card()), "components", "CAROUSEL: it has 2 to 10 cards"),
    (carousel(card(), card({"type": "BUTTONS", "buttons": [QUICK]})), "components", "same components"),
    (carousel(card(), {"components": [BODY]}), "components", "card 1: a HEADER of format IMAGE"),
    (
        carousel(*[card({"type": "BUTTONS", "buttons": [QUICK] * 3})] * 2),
        "components",
        "card 0: BUTTONS: there are 3 buttons, at most 2",
    ),
    (
        {**TEXT, "components": [BODY, {"type": "LIMITED_TIME_OFFER", "limited_time_offer": {"text": "Now!"}}]},
        "components",
        "only templates of category MARKETING",
    ),
    # authentication
    (changed(AUTHENTICATION, "components.0.text", "Your code"), "components", "it has no field 'text'"),
    (changed(AUTHENTICATION, "components", CODE[:2]), "components", "one button of type OTP"),
    (changed(AUTHENTICATION, "components.1.code_expiration_minutes", 91), "components", "1 to 90"),
    (changed(AUTHENTICATION, "components.0.add_security_recommendation", "yes"), "components", "true or false"),
    (code(otp_type="SMS"), "components", "otp_type: it is one of COPY_CODE"),
    (code(otp_type="ONE_TAP"), "components", "package_name"),
    (code(otp_type="ZERO_TAP", supported_apps=APPS), "components", "zero_tap_terms_accepted: true"),
    (code(otp_type="ONE_TAP", supported_apps=APPS * 6), "components", "1 to 5 apps"),
    (
        {**AUTHENTICATION, "components": [*CODE, {"type": "HEADER", "format": "TEXT", "text": "Hi"}]},
        "components",
        "has no HEADER",
    ),
    # several languages
    ({**UPSERT, "language": "de"}, "", "not both"),
    ({**UPSERT, "languages": ["de", "de"]}, "", "one twice"),
    ({**UPSERT, "languages": []}, "languages", "at least 1"),
    ({**UPSERT, "languages": ["de", "xx"]}, "languages.1", "no language"),
    (
        {**TEXT, "languages": ["de"], "language": None},
        "",
        "languages goes with category AUTHENTICATION",
    ),
    # library
    ({**LIBRARY, "components": [BODY]}, "", "components or library_template_name is needed, and not both"),
    ({**LIBRARY, "category": "MARKETING"}, "", "category UTILITY or AUTHENTICATION"),
    ({**TEXT, "library_template_button_inputs": [QUICK]}, "library_template_button_inputs", "no field 'text'"),
    (
        {**TEXT, "library_template_body_inputs": {"add_contact_number": True}},
        "",
        "go with a library_template_name",
    ),
    ({**LIBRARY, "library_template_body_inputs": {"colour": True}}, "library_template_body_inputs", "no field"),
    (
        {**LIBRARY, "library_template_body_inputs": {"code_expiration_minutes": 0}},
        "library_template_body_inputs",
        "1 to 90",
    ),
    (
        {**LIBRARY, "library_template_button_inputs": [{"type": "URL"}]},
        "library_template_button_inputs",
        "url.base_url is missing",
    ),
    (
        {**LIBRARY, "library_template_button_inputs": [{"type": "PHONE_NUMBER", "phone_number": "x"}]},
        "library_template_button_inputs",
        "phone_number is digits",
    ),
    # files
    ({**TEXT, "media": {"data": picture()}}, "components", "no HEADER of format"),
    ({**LIBRARY, "media": {"data": picture()}}, "", "media goes with components"),
    (changed(MEDIA, "components.0.example", {"header_handle": ["4::a"]}), "components", "it has no example"),
    (changed(MEDIA, "components.0.format", "VIDEO"), "", "a header video is video/mp4"),
    ({**MEDIA, "media": {"data": b"<html>"}}, "", "no file of a known type"),
    ({**MEDIA, "media": {"url": "file:///etc/passwd"}}, "media.url", "http"),
    ({**MEDIA, "media": {}}, "media", "exactly one of"),
]


@pytest.mark.parametrize(("payload", "field", "rule"), REFUSED, ids=[rule[:30] for *_, rule in REFUSED])
def test_what_meta_would_refuse_is_refused_with_field_and_rule(
    payload: dict[str, Any], field: str, rule: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        Wanted.model_validate(payload)

    told = refused.value.errors()
    assert any(rule in one["msg"] and (".".join(map(str, one["loc"])) == field or not field) for one in told), (
        told
    )


TAKEN: list[dict[str, Any]] = [
    dict(TEXT),
    dict(MEDIA),
    dict(LIBRARY),
    dict(AUTHENTICATION),
    dict(UPSERT),
    changed(TEXT, "name", "a" * 512),
    body("x" * 1024),
    body("您好 {{1}} 您的订单已经发货", "王"),
    body("Dear {{1}} {{1}} of our town", "Ann"),
    buttons(*[QUICK] * 10),
    buttons(QUICK, QUICK, LINK, LINK, CALL, {"type": "COPY_CODE", "example": "SAVE25"}),
    buttons({"type": "FLOW", "text": "Go", "flow_id": "12345"}),
    changed(TEXT, "message_send_ttl_seconds", -1),
    code(otp_type="one_tap", **APPS[0]),
    code(otp_type="ZERO_TAP", supported_apps=APPS, zero_tap_terms_accepted=True),
    carousel(card(), card()),
    {
        **TEXT,
        "parameter_format": "NAMED",
        "components": [
            {
                "type": "body",
                "text": "We greet {{first_name}} in our town",
                "example": {"body_text_named_params": [{"param_name": "first_name", "example": "Ann"}]},
            }
        ],
    },
    header(format="LOCATION"),
    {
        **TEXT,
        "category": "MARKETING",
        "components": [BODY, {"type": "LIMITED_TIME_OFFER", "limited_time_offer": {"text": "Now!"}}],
    },
]


@pytest.mark.parametrize("payload", TAKEN)
def test_what_meta_takes_is_taken(payload: dict[str, Any]) -> None:
    Wanted.model_validate(payload)


def test_the_hub_reads_which_field_and_which_rule(stage: Stage) -> None:
    with pytest.raises(InvalidRequest) as refused:
        stage.accept("template_create", waba=stage.waba, payload=body("x" * 1025))

    assert str(refused.value).startswith(
        "template_create: components: BODY: text has 1025 characters, at most 1024 (it takes "
    )


# Held against the simulator's own rules, which share no code with ours

_PIECES = st.sampled_from(
    ["Hello", "you there", "our shop", " ", ".", "\n", "*", "{{1}}", "{{2}}", "{{name}}", "{{ 1}}", "{{", "你"]
)
_TEXTS = st.one_of(
    st.lists(_PIECES, min_size=0, max_size=9).map(" ".join),
    st.integers(10, 1100).map(lambda length: "word " * (length // 5)),
)
_EXAMPLES = st.one_of(
    st.none(),
    st.lists(st.sampled_from(["a", "", 5]), max_size=3).map(lambda some: {"body_text": [some]}),
    st.lists(st.sampled_from(["a", "b"]), max_size=2).map(lambda some: {"header_text": some}),
    st.sampled_from(["body", "header"]).map(
        lambda of: {f"{of}_text_named_params": [{"param_name": "name", "example": "Ann"}]}
    ),
    st.just({"header_handle": ["4::abc"]}),
)


def _one(kind: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"type": st.just(kind)}, optional=fields).map(
        lambda one: {name: value for name, value in one.items() if value is not None}
    )


_URLS = st.sampled_from(
    ["https://a.example", "https://a.example/{{1}}", "https://a.example/{{1}}/b", "a.example", "https://", ""]
)
_BUTTON = st.one_of(
    _one("QUICK_REPLY", text=_TEXTS.map(lambda text: text[:30])),
    _one("URL", text=st.just("Go"), url=_URLS, example=st.sampled_from([None, "a", ["a"], ["a", "b"], []])),
    _one("PHONE_NUMBER", text=st.just("Call"), phone_number=st.sampled_from(["+15550100", "x", "", "1" * 21])),
    _one("COPY_CODE", example=st.sampled_from(["SAVE25", "x" * 16, ["SAVE25"], None]), text=st.just("Copy")),
    _one("FLOW", text=st.just("Go"), flow_id=st.just("12345"), flow_name=st.just("a")),
    _one("OTP", otp_type=st.sampled_from(["COPY_CODE", "ONE_TAP", "ZERO_TAP", "SMS"]), text=st.just("Copy")),
    _one("CATALOG", text=st.just("See")),
)
_COMPONENT = st.one_of(
    _one(
        "HEADER",
        format=st.sampled_from(["TEXT", "IMAGE", "LOCATION", "OTHER"]),
        text=_TEXTS.map(lambda text: text[:65]),
        example=_EXAMPLES,
    ),
    _one("FOOTER", text=_TEXTS.map(lambda text: text[:65]), code_expiration_minutes=st.sampled_from([0, 10, 91])),
    _one("BUTTONS", buttons=st.lists(_BUTTON, max_size=12)),
    _one("LIMITED_TIME_OFFER", limited_time_offer=st.sampled_from([{"text": "Now!"}, {"text": "x" * 17}, {}])),
    _one("CALL_PERMISSION_REQUEST"),
)
_BODY = _one("BODY", text=_TEXTS, example=_EXAMPLES, add_security_recommendation=st.booleans())
_GOOD = {
    "BODY": [
        {"type": "BODY", "text": "Our cakes are here."},
        BODY,
        {
            "type": "BODY",
            "text": "We greet {{name}} in our town",
            "example": {"body_text_named_params": [{"param_name": "name", "example": "Ann"}]},
        },
        *[{"type": "BODY", "add_security_recommendation": said} for said in (True, False)],
    ],
    "other": [
        {"type": "header", "format": "text", "text": "News"},
        {"type": "HEADER", "format": "TEXT", "text": "For {{1}}", "example": {"header_text": ["Ann"]}},
        {"type": "HEADER", "format": "IMAGE", "example": {"header_handle": ["4::abc"]}},
        {"type": "FOOTER", "text": "Bye"},
        *CODE[1:],
        {"type": "BUTTONS", "buttons": [QUICK, LINK, CALL]},
        {"type": "LIMITED_TIME_OFFER", "limited_time_offer": {"text": "Now!"}},
        carousel(card(), card())["components"][1],
    ],
}
_PARTS = st.tuples(
    st.one_of(st.sampled_from(_GOOD["BODY"]), st.sampled_from(_GOOD["BODY"]), _BODY),
    st.lists(st.one_of(st.sampled_from(_GOOD["other"]), st.sampled_from(_GOOD["other"]), _COMPONENT), max_size=2),
)


@settings(max_examples=600, deadline=None)
@given(
    components=_PARTS.map(lambda parts: [parts[0], *parts[1]]),
    category=st.sampled_from(sorted(ours.TTL_SECONDS)),
    named=st.booleans(),
)
def test_our_rules_and_the_simulators_say_the_same(
    components: list[dict[str, Any]], category: str, named: bool
) -> None:
    refused: str | None = None
    try:
        ours.check_components(components, category=category, named=named)
    except PydanticCustomError as error:
        refused = error.message()
    around = metas.Surroundings(handle_problem=lambda _: None)
    theirs: str | None = None
    try:
        metas.checked_components(copy.deepcopy(components), category=category, named=named, around=around)
    except GraphError as error:
        theirs = f"{error.message}: {error.user_message}"
    event("refused" if refused else "taken")
    assert (refused is None) == (theirs is None), f"we: {refused}; Meta: {theirs}"


_FIELDS = (
    "type format text example buttons cards components url base_url header_handle body_text limited_time_offer"
    " supported_apps otp_type"
)
_LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.text(max_size=3), st.sampled_from(["BODY", "TEXT", "{{1}}"])
)
_JSON = st.recursive(
    _LEAVES,
    lambda below: st.one_of(
        st.lists(below, max_size=3),
        st.dictionaries(st.sampled_from(_FIELDS.split()), below, max_size=4),
    ),
    max_leaves=12,
)


@st.composite
def _odd(draw: st.DrawFn) -> list[Any]:
    """Components of the right types with whatever inside."""
    kinds = draw(st.lists(st.sampled_from(["HEADER", "BODY", "FOOTER", "BUTTONS", "CAROUSEL"]), max_size=3))
    inside = st.dictionaries(st.sampled_from(_FIELDS.split()), _JSON, max_size=4)
    odd: list[Any] = [{**draw(inside), "type": kind} for kind in kinds]
    return [*odd, *draw(st.sampled_from([[], [BODY], CODE]))]


@settings(max_examples=400, deadline=None)
@given(
    components=st.one_of(_odd(), _JSON),
    more=_JSON,
    category=st.sampled_from([None, *ours.TTL_SECONDS]),
    field=st.sampled_from(
        ["media", "library_template_button_inputs", "library_template_body_inputs", "message_send_ttl_seconds"]
    ),
)
def test_whatever_comes_is_taken_or_refused_and_nothing_breaks(
    components: Any, more: Any, category: str | None, field: str
) -> None:
    payload = {"name": "a", "components": components, **({"category": category} if category else {})}
    for model, whole in (
        (Wanted, {**payload, "language": "de", field: more}),
        (Edit, {**payload, "template_id": "12345678"}),
    ):
        with contextlib.suppress(ValidationError):
            model.model_validate(whole)


@given(name=st.text(alphabet="ab_1-A ", max_size=8))
def test_names_are_judged_alike(name: str) -> None:
    try:
        metas.check_name(name)
        theirs = True
    except GraphError:
        theirs = False
    try:
        Wanted.model_validate({**TEXT, "name": name})
    except ValidationError:
        assert not theirs
    else:
        assert theirs


def test_languages_and_times_to_live_are_those_of_the_simulator() -> None:
    assert ours.LANGUAGES == metas.LANGUAGES
    assert ours.SAMPLES == metas.SAMPLE_NAMES
    assert ours.TTL_SECONDS == metas.TTL_SECONDS
