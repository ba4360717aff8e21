"""What Meta refuses in a template, with which subcode, and what it takes."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wabajobs.simulator import Simulator, SimulatorConfig
from wabajobs.simulator.world import Flow
from wabajobs.simulator.world.template_rules import LANGUAGES, SAMPLE_NAMES
from wabajobs.simulator.world.templates import _LANGUAGES as INVENTED
from wabajobs.simulator.world.templates import components_of

from .client import error_of
from .templates import BODY, CODE, GREETING, create, created, draft, effects, handle, read, refused

WORDS = "word " * 60


def body(text: str, *examples: str) -> dict[str, Any]:
    return {"type": "BODY", "text": text, **({"example": {"body_text": [list(examples)]}} if examples else {})}


def named(text: str, **examples: str) -> dict[str, Any]:
    params = [{"param_name": name, "example": value} for name, value in examples.items()]
    return {"type": "BODY", "text": text, "example": {"body_text_named_params": params}}


def header(text: str, *examples: str) -> dict[str, Any]:
    example = {"example": {"header_text": list(examples)}} if examples else {}
    return {"type": "HEADER", "format": "TEXT", "text": text, **example}


def buttons(*every: dict[str, Any]) -> dict[str, Any]:
    return {"type": "BUTTONS", "buttons": list(every)}


def reply(text: str = "Stop") -> dict[str, Any]:
    return {"type": "QUICK_REPLY", "text": text}


def link(url: str = "https://shop.example", **more: Any) -> dict[str, Any]:
    return {"type": "URL", "text": "Shop", "url": url, **more}


CALL = {"type": "PHONE_NUMBER", "text": "Call us", "phone_number": "+1 555 0100"}
COUPON = {"type": "COPY_CODE", "example": "SPRING25"}


# Names and languages


@pytest.mark.parametrize(
    ("name", "subcode"),
    [
        ("Order_Update", 2388046),
        ("order update", 2388046),
        ("order-update", 2388046),
        ("bestellung_ä", 2388046),
        ("", 2388046),
        ("o" * 513, 2388040),
        ("hello_world", 2388155),
    ],
)
def test_bad_names_are_refused(start, name, subcode) -> None:
    client = start(templates=0)

    answer = create(client, name=name)

    error = error_of(answer)
    assert (answer.status_code, error["message"], error["is_transient"]) == (400, "Invalid parameter", False)
    assert (error["code"], error["error_subcode"]) == (100, subcode)
    assert error["error_data"] == {"blame_field_specs": [["name"]]}
    assert error["error_user_title"]
    assert error["error_user_msg"]
    assert effects(client) == []


def test_good_names_are_taken(start) -> None:
    client = start(templates=0)

    for name in ("o", "o" * 512, "order_2_update", "2"):
        assert create(client, name=name).ok
    assert len(SAMPLE_NAMES) > 1


def test_only_known_languages_are_taken(start) -> None:
    client = start(templates=0)

    for language in ("english", "en-US", "EN_us", "xx", ""):
        error = error_of(create(client, language=language))
        assert error["code"] == 100
        assert error["message"].startswith("(#100) Param language must be one of {")
    assert set(INVENTED) <= LANGUAGES


@pytest.mark.parametrize(
    "changes",
    [{"category": "ADVERT"}, {"parameter_format": "ROMAN"}, {"components": "{"}, {"components": "text"}],
)
def test_parameters_of_another_shape_are_error_100(start, changes) -> None:
    assert refused(create(start(templates=0), **changes))[0] == 100


def test_category_and_format_may_be_written_small(start) -> None:
    client = start(templates=0)

    template = created(
        client,
        category="marketing",
        parameter_format="named",
        components=[{"type": "body", "text": "We have news for you."}],
    )

    seen = read(client, template)
    assert (seen["category"], seen["parameter_format"], seen["components"][0]["type"]) == (
        "MARKETING",
        "NAMED",
        "BODY",
    )


@pytest.mark.parametrize(
    ("category", "seconds", "right"),
    [
        ("UTILITY", 30, True),
        ("UTILITY", 29, False),
        ("UTILITY", 43_200, True),
        ("UTILITY", 43_201, False),
        ("MARKETING", 43_199, False),
        ("MARKETING", 2_592_000, True),
        ("UTILITY", -1, True),
        ("UTILITY", 0, False),
    ],
)
def test_the_time_to_live_lies_in_the_range_of_the_category(start, category, seconds, right) -> None:
    answer = create(start(templates=0), category=category, message_send_ttl_seconds=seconds)

    assert answer.ok == right
    if not right:
        assert refused(answer) == (100, None)


# Components


@pytest.mark.parametrize(
    ("components", "subcode"),
    [
        # What is missing, and what does not belong
        ([], 2388043),
        ([{"type": "FOOTER", "text": "x"}], 2388043),
        ([{"type": "BODY"}], 2388043),
        ([{"type": "BODY", "text": "  "}], 2388043),
        ([{"type": "BODY", "text": 7}], 2388043),
        ([{**BODY, "colour": "red"}], 2388042),
        ([BODY, {"type": "FOOTER", "text": "x", "example": {}}], 2388042),
        ([BODY, BODY], None),
        ([BODY, {"type": "SOUND"}], None),
        ([BODY, {"type": None}], None),
        # Headers
        ([{"type": "HEADER", "text": "x"}, BODY], 2388043),
        ([{"type": "HEADER", "format": "TEXT"}, BODY], 2388043),
        ([{"type": "HEADER", "format": "SOUND"}, BODY], None),
        ([header("x" * 61), BODY], 2388040),
        ([header("*Bold*"), BODY], 2388047),
        ([header("Two\nlines"), BODY], 2388047),
        ([header("Order {{1}} of {{2}}", "a"), BODY], 2388047),
        ([header("Order {{one}}", "a"), BODY], 2388047),
        ([header("Order {{1}}"), BODY], 2388043),
        ([header("Order {{1}}", "a", "b"), BODY], 2388043),
        ([{"type": "HEADER", "format": "IMAGE"}, BODY], 2388043),
        ([{"type": "HEADER", "format": "IMAGE", "example": {"header_handle": []}}, BODY], 2388043),
        (
            [{"type": "HEADER", "format": "IMAGE", "text": "x", "example": {"header_handle": ["h"]}}, BODY],
            2388042,
        ),
        ([{"type": "HEADER", "format": "LOCATION", "example": {}}, BODY], 2388042),
        # Bodies
        ([body("x" * 1025)], 2388040),
        ([body(f"{WORDS}{{{{2}}}} there", "a")], 2388072),
        ([body(f"{WORDS}{{{{1}}}} and {{{{3}}}} there", "a", "b")], 2388072),
        ([body(f"{WORDS}{{{{0}}}} there", "a")], 2388072),
        ([body(f"{WORDS}{{{{name}}}} there", "a")], 2388072),
        ([body(f"{WORDS}{{{{ 1 }}}} there", "a")], 2388072),
        ([body(f"{WORDS}{{{{1}} there", "a")], 2388072),
        ([body(f"{WORDS}{{{{}}}} there", "a")], 2388072),
        ([body(f"{{{{1}}}} {WORDS}", "a")], 2388299),
        ([body(f"{WORDS}{{{{1}}}}", "a")], 2388299),
        ([body(f"{WORDS}{{{{1}}}}!", "a")], 2388299),
        ([body("Hi {{1}} there", "a")], 2388293),
        ([body("Hi {{1}}, the {{2}} of {{3}} is there", "a", "b", "c")], 2388293),
        ([body(f"{WORDS}{{{{1}}}} there")], 2388043),
        ([body(f"{WORDS}{{{{1}}}} there", "a", "b")], 2388043),
        ([body(f"{WORDS}{{{{1}}}} there", "")], 2388043),
        ([{**GREETING, "example": {"body_text": ["Ann"]}}], 2388043),
        ([{**GREETING, "example": "Ann"}], 2388043),
        # Footers
        ([BODY, {"type": "FOOTER"}], 2388043),
        ([BODY, {"type": "FOOTER", "text": "x" * 61}], 2388040),
        ([BODY, {"type": "FOOTER", "text": "Bye {{1}}"}], 2388073),
        # Buttons
        ([BODY, {"type": "BUTTONS"}], 2388043),
        ([BODY, buttons()], 2388043),
        ([BODY, buttons(*(reply(f"No {number}") for number in range(11)))], None),
        ([BODY, buttons(link(), link(), link())], None),
        ([BODY, buttons(CALL, CALL)], None),
        ([BODY, buttons(COUPON, COUPON)], None),
        ([BODY, buttons(reply("a"), link(), reply("b"))], None),
        ([BODY, buttons({"type": "BELL", "text": "x"})], None),
        ([BODY, buttons({"type": "QUICK_REPLY"})], 2388043),
        ([BODY, buttons(reply("x" * 26))], 2388040),
        ([BODY, buttons(reply("Hi {{1}}"))], None),
        ([BODY, buttons({**reply(), "url": "https://a.example"})], 2388042),
        ([BODY, buttons({"type": "URL", "text": "Shop"})], 2388043),
        ([BODY, buttons(link("shop.example"))], None),
        ([BODY, buttons(link("https://shop.example/{{1}}/x", example=["a"]))], None),
        ([BODY, buttons(link("https://shop.example/{{1}}"))], 2388043),
        ([BODY, buttons(link("https://shop.example/" + "x" * 1980))], 2388040),
        ([BODY, buttons({"type": "PHONE_NUMBER", "text": "Call"})], 2388043),
        ([BODY, buttons({"type": "COPY_CODE"})], 2388043),
        ([BODY, buttons({"type": "COPY_CODE", "example": "x" * 16})], 2388040),
        ([BODY, buttons({"type": "FLOW", "text": "Open"})], 2388043),
        ([BODY, buttons({"type": "FLOW", "text": "Open", "flow_id": "1"})], None),
        ([BODY, buttons({"type": "FLOW", "text": "Open", "flow_json": {"deep": []}})], None),
        # Others
        ([BODY, {"type": "CAROUSEL", "cards": []}], None),
        ([BODY, {"type": "LIMITED_TIME_OFFER"}], 2388043),
        ([BODY, {"type": "LIMITED_TIME_OFFER", "limited_time_offer": {"text": "x" * 17}}], 2388040),
        ([BODY, {"type": "CALL_PERMISSION_REQUEST", "text": "x"}], 2388042),
    ],
)
def test_bad_components_are_refused(start, components, subcode) -> None:
    client = start(templates=0)

    assert refused(create(client, components=components)) == (100, subcode)
    assert client.templates().json() == {"data": []}
    assert effects(client) == []


@pytest.mark.parametrize("phone", ["nobody", "+", "1" * 21, "+15550100x"])
def test_a_button_with_a_bad_phone_number_is_192(start, phone) -> None:
    components = [BODY, buttons({**CALL, "phone_number": phone})]

    assert refused(create(start(templates=0), components=components))[0] == 192


@pytest.mark.parametrize(
    "components",
    [
        [body("x" * 1024)],
        [header("x" * 60), BODY, {"type": "FOOTER", "text": "x" * 60}],
        [header("Order {{1}}", "4711"), BODY],
        [{"type": "HEADER", "format": "LOCATION"}, BODY],
        [body("Hi {{1}}, the {{2}} is on its way to you", "Ann", "tea")],
        [body("Hi {{1}}, yes {{1}}, all is on its way to you", "Ann")],
        [body("你好{{1}}你的订单在路上了", "Ann")],
        [BODY, buttons(*(reply(f"No {number}") for number in range(10)))],
        [BODY, buttons(reply("a"), reply("b"), link(), link(), CALL, {**COUPON, "example": ["SPRING25"]})],
        [BODY, buttons(link("https://shop.example/{{1}}", example=["https://shop.example/a"]), reply())],
        [BODY, buttons({"type": "CATALOG", "text": "View catalog"})],
        [BODY, buttons({"type": "FLOW", "text": "Open", "flow_name": "signup"})],
        [
            body("Hi {{1}}, this is for you today only", "Ann"),
            {"type": "LIMITED_TIME_OFFER", "limited_time_offer": {"text": "Today", "has_expiration": True}},
        ],
        [BODY, {"type": "CALL_PERMISSION_REQUEST"}],
    ],
)
def test_good_components_are_taken_and_read_back_as_they_are(start, components) -> None:
    client = start(templates=0)

    template = created(client, category="MARKETING", components=components)

    assert read(client, template)["components"] == components


def test_how_many_words_a_variable_needs_is_a_knob(start) -> None:
    scarce = [body("Hi {{1}}, it is on the way", "Ann")]

    assert create(start(templates=0), components=scarce).ok
    strict = start(templates=0, template_words_per_variable=6)
    assert refused(create(strict, components=scarce)) == (100, 2388293)


@pytest.mark.parametrize(
    ("component", "subcode"),
    [
        (named("Hi {{first_name}}, all is on its way", first_name="Ann"), 0),
        (named("Hi {{1}}, all is on its way", first_name="Ann"), 2388072),
        (named("Hi {{First}}, all is on its way", First="Ann"), 2388072),
        (named("Hi {{first_name}}, all is on its way", name="Ann"), 2388043),
        (named("Hi {{first_name}}, all is on its way", first_name="Ann", name="Ann"), 2388043),
        (body("Hi {{first_name}}, all is on its way", "Ann"), 2388043),
    ],
)
def test_named_parameters_have_named_examples(start, component, subcode) -> None:
    client = start(templates=0)

    answer = create(client, parameter_format="NAMED", components=[component])

    if subcode:
        assert refused(answer) == (100, subcode)
    else:
        seen = read(client, answer.json()["id"])
        assert (seen["parameter_format"], seen["components"]) == ("NAMED", [component])


def test_a_header_may_have_a_named_parameter(start) -> None:
    client = start(templates=0)
    text = {"type": "HEADER", "format": "TEXT", "text": "Order {{number}}"}
    example = {"header_text_named_params": [{"param_name": "number", "example": "4711"}]}

    assert create(client, parameter_format="NAMED", components=[{**text, "example": example}, BODY]).ok
    assert refused(create(client, name="other", parameter_format="NAMED", components=[text, BODY])) == (
        100,
        2388043,
    )


def test_a_button_for_the_catalog_needs_a_catalog(start) -> None:
    components = [BODY, buttons({"type": "MPM", "text": "View items"})]

    assert create(start(templates=0), components=components).ok
    assert refused(create(start(templates=0, template_catalog=False), components=components)) == (100, 2388027)


def test_a_button_for_a_flow_needs_a_flow_of_the_waba(start) -> None:
    client = start(templates=0)
    world = client.simulator.world
    here, there = (
        world.add(Flow(id=world.fresh_id(), waba_id=waba, name="f", categories=("OTHER",)))
        for waba in world.waba_ids[:2]
    )

    def with_flow(flow: str):
        return create(client, components=[BODY, buttons({"type": "FLOW", "text": "Open", "flow_id": flow})])

    assert refused(with_flow(there.id))[0] == 100
    assert with_flow(here.id).ok


def card(client, **changes: Any) -> dict[str, Any]:
    picture = {"type": "HEADER", "format": "IMAGE", "example": {"header_handle": [handle(client)]}}
    return {"components": [picture, body(changes.get("text", "One of ours")), buttons(reply())]}


def test_the_cards_of_a_carousel_are_alike(start) -> None:
    client = start(templates=0)

    def carousel(*cards: Any):
        return create(client, category="MARKETING", components=[BODY, {"type": "CAROUSEL", "cards": list(cards)}])

    alone, bare = card(client), {"components": card(client)["components"][:2]}
    assert refused(carousel(alone)) == (100, None)
    assert refused(carousel(alone, bare)) == (100, None)
    assert refused(carousel(alone, {})) == (100, 2388043)
    assert refused(carousel(alone, card(client, text="x" * 161))) == (100, 2388040)
    assert refused(carousel(alone, {"components": [buttons(reply(), reply(), reply())]})) == (100, None)
    cards = read(client, carousel(alone, card(client)).json()["id"])["components"][1]["cards"]
    assert all(
        one["components"][0]["example"]["header_handle"][0].startswith("https://scontent.") for one in cards
    )


def test_an_offer_for_a_limited_time_is_marketing(start) -> None:
    offer = {"type": "LIMITED_TIME_OFFER", "limited_time_offer": {"text": "Today"}}

    assert refused(create(start(templates=0), components=[BODY, offer])) == (100, 2388042)


# Authentication templates


@pytest.mark.parametrize(
    ("components", "subcode"),
    [
        ([BODY, CODE[2]], 2388042),
        ([CODE[0], {"type": "FOOTER", "text": "x"}, CODE[2]], 2388042),
        ([CODE[0], {"type": "FOOTER"}, CODE[2]], 2388043),
        ([CODE[0], {"type": "FOOTER", "code_expiration_minutes": 91}, CODE[2]], None),
        ([CODE[0], {"type": "FOOTER", "code_expiration_minutes": "soon"}, CODE[2]], None),
        ([CODE[0], header("x"), CODE[2]], 2388042),
        ([CODE[0]], 2388043),
        ([CODE[0], buttons(reply())], None),
        ([CODE[0], buttons({"type": "OTP"})], 2388043),
        ([CODE[0], buttons({"type": "OTP", "otp_type": "MIND_READING"})], None),
        ([CODE[0], buttons({"type": "OTP", "otp_type": "ONE_TAP"})], 2388043),
        (
            [
                CODE[0],
                buttons(
                    {
                        "type": "OTP",
                        "otp_type": "ZERO_TAP",
                        "supported_apps": [{"package_name": "a.b", "signature_hash": "x"}],
                    }
                ),
            ],
            2388043,
        ),
        ([{"type": "BODY", "add_security_recommendation": "perhaps"}, CODE[2]], None),
    ],
)
def test_authentication_templates_have_their_own_shape(start, components, subcode) -> None:
    answer = create(start(templates=0), category="AUTHENTICATION", components=components)

    assert refused(answer) == (100, subcode)


def test_an_authentication_template_gets_its_texts_from_meta(start) -> None:
    client = start(templates=0)

    text, footer, button = read(client, created(client, category="AUTHENTICATION", components=CODE))["components"]

    assert text["text"].startswith("*{{1}}* is your verification code.")
    assert text["add_security_recommendation"] is True
    assert (footer["text"], footer["code_expiration_minutes"]) == ("This code expires in 5 minutes.", 5)
    assert button["buttons"] == [{"type": "OTP", "otp_type": "COPY_CODE", "text": "Copy code"}]


def test_one_tap_and_zero_tap_name_the_app(start) -> None:
    client = start(templates=0)
    app = {"package_name": "com.example.app", "signature_hash": "K8a/AINcGX7"}

    def button(**fields: Any) -> dict[str, Any]:
        return buttons({"type": "OTP", "autofill_text": "Autofill", **fields})

    for name, one in (
        ("old", button(otp_type="ONE_TAP", **app)),
        ("new", button(otp_type="one_tap", supported_apps=[app])),
        ("zero", button(otp_type="ZERO_TAP", supported_apps=[app], zero_tap_terms_accepted=True)),
    ):
        template = created(client, name=name, category="AUTHENTICATION", components=[CODE[0], one])
        assert read(client, template)["components"][1]["buttons"][0]["supported_apps"] == [app]


def test_ordinary_templates_have_no_button_for_codes(start) -> None:
    assert refused(create(start(templates=0), components=[BODY, CODE[2]]))[0] == 100


@pytest.mark.parametrize("offered", [0, 1, 2, 3])
def test_invented_templates_keep_to_the_rules(start, offered) -> None:
    client = start(templates=0)
    text = "Hi {{1}}, this is about your order. Thank you for being with us."
    components = components_of(text, header="TEXT", footer="Reply STOP to opt out", buttons=offered)

    assert read(client, created(client, components=components))["components"] == components


# Anything at all


@pytest.fixture(scope="module")
def fuzzed():
    config = SimulatorConfig(wabas=1, templates=0, app_limit=10**7, waba_limit_active=10**7, clock="hand")
    with Simulator(config).running() as simulator, requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {simulator.app.token}"
        yield simulator, session


odd = st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.just("\ud800") | st.just("{{1}} {{x}}")
kinds = st.sampled_from(
    ["HEADER", "BODY", "FOOTER", "BUTTONS", "CAROUSEL", "LIMITED_TIME_OFFER", "OTP", "URL", "FLOW", "COPY_CODE"]
)
_KEYS = (
    "text format example buttons cards components url phone_number otp_type flow_id header_handle body_text "
    "body_text_named_params limited_time_offer supported_apps colour add_security_recommendation "
    "code_expiration_minutes zero_tap_terms_accepted"
)
keys = st.sampled_from(_KEYS.split())
forms = st.sampled_from(
    ["TEXT", "IMAGE", "LOCATION", "PRODUCT", "COPY_CODE", "ZERO_TAP", "https://a.example/{{1}}"]
)


def _objects(below: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(
        lambda kind, rest: {"type": kind, **rest}, kinds | odd, st.dictionaries(keys, below | forms, max_size=4)
    )


anything = st.recursive(odd | forms, lambda below: st.lists(below, max_size=3) | _objects(below), max_leaves=12)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    components=st.lists(_objects(anything) | st.just(BODY), max_size=4) | anything,
    category=st.sampled_from(["UTILITY", "MARKETING", "AUTHENTICATION"]),
    form=st.sampled_from(["NAMED", "POSITIONAL"]),
    library=st.none() | st.sampled_from(["delivery_update_1", "verify_code_1"]),
)
def test_whatever_the_components_are_the_answer_is_the_graphs(
    fuzzed, components, category, form, library
) -> None:
    simulator, session = fuzzed
    name = f"t{simulator.judge.total}"
    asked = draft(name=name, category=category, components=components, parameter_format=form)
    if library:
        asked |= {"library_template_name": library, "library_template_button_inputs": components}
    simulator.advance(60)

    answer = session.post(
        f"{simulator.url}/v23.0/{simulator.world.waba_ids[0]}/message_templates", json=asked, timeout=10
    )

    assert simulator.judge.defects == 0
    if answer.status_code == 200:
        assert session.get(f"{simulator.url}/{answer.json()['id']}", timeout=10).json()["components"]
    else:
        assert error_of(answer)["code"] in (100, 192, 80008)


def test_components_as_deep_as_a_well_are_refused(start) -> None:
    client = start(templates=0)
    for depth in (50, 400, 900, 5000):
        deep = "[" * depth + "]" * depth
        for components in (f'[{{"type": {deep}}}]', f'[{{"type":"BODY","text":"Hi","example":{deep}}}]', deep):
            form = {**draft(components=None), "components": components}
            answer = client.post(f"{client.simulator.world.waba_ids[0]}/message_templates", data=form)
            assert answer.ok or refused(answer)[0] == 100
            body = (
                '{"name":"deep","language":"de","category":"UTILITY","components":' + components + "}"
            ).encode()
            answer = client.post(
                f"{client.simulator.world.waba_ids[0]}/message_templates",
                data=body,
                headers={"Content-Type": "application/json"},
            )
            assert answer.ok or refused(answer)[0] == 100
    assert client.simulator.judge.defects == 0
