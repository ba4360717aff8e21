"""What Meta changes by itself in a template does not make it another; what a recipient sees does."""

import copy
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kinds.templates import AUTHENTICATION, BODY, CODE, LIBRARY, MEDIA, TEXT
from wabajobs.kinds.template_content import difference


def read_back(payload: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """Return a template as the API tells it."""
    facts = {"id": "1", "status": "APPROVED", "parameter_format": "POSITIONAL"}
    told = {name: payload[name] for name in ("name", "language", "category", "components") if name in payload}
    return {**facts, **copy.deepcopy(told), **changes}


def components(*some: Mapping[str, Any]) -> dict[str, Any]:
    return {**TEXT, "components": list(some)}


def with_buttons(*some: Mapping[str, Any]) -> dict[str, Any]:
    return components(BODY, {"type": "BUTTONS", "buttons": list(some)})


OTP_URL = "https://www.whatsapp.com/otp/code/?otp_type=COPY_CODE&code=otp{{1}}"
SAME: dict[str, tuple[Mapping[str, Any], dict[str, Any]]] = {
    "as it was asked for": (TEXT, read_back(TEXT)),
    "components in another order": (TEXT, read_back(TEXT, components=TEXT["components"][::-1])),
    "keys in another order": (
        components(BODY),
        read_back(components({name: BODY[name] for name in reversed(list(BODY))})),
    ),
    "words in capitals": (
        components({"type": "body", "text": "Hi all"}),
        read_back(components({"type": "BODY", "text": "Hi all"})),
    ),
    "a file is an address": (
        MEDIA,
        read_back(
            MEDIA,
            components=[
                {**MEDIA["components"][0], "example": {"header_handle": ["https://scontent.whatsapp.net/v/t61"]}},
                MEDIA["components"][1],
            ],
        ),
    ),
    "another example": (
        components(BODY),
        read_back(components({**BODY, "example": {"body_text": [["Bob", "#1"]]}})),
    ),
    "spaces and line ends": (
        components({"type": "BODY", "text": "Hello\r\nall "}),
        read_back(components({"type": "BODY", "text": "Hello\nall"})),
    ),
    "Meta has moved it to another category": (
        TEXT,
        read_back(TEXT, category="MARKETING", previous_category="UTILITY"),
    ),
    "Meta may choose the category": (
        {**TEXT, "allow_category_change": True},
        read_back(TEXT, category="MARKETING"),
    ),
    "the format of variables that are not there": (
        {**components({"type": "BODY", "text": "Hi all"}), "parameter_format": "NAMED"},
        read_back(components({"type": "BODY", "text": "Hi all"})),
    ),
    "a number without signs": (
        with_buttons({"type": "PHONE_NUMBER", "text": "Call", "phone_number": "+1 555 0100"}),
        read_back(with_buttons({"type": "PHONE_NUMBER", "text": "Call", "phone_number": "+15550100"})),
    ),
    "a button's default, and what Meta keeps for itself": (
        with_buttons({"type": "FLOW", "text": "Go", "flow_id": 123, "navigate_screen": "A"}),
        read_back(with_buttons({"type": "FLOW", "text": "Go", "flow_id": "123", "flow_action": "navigate"})),
    ),
    "Meta's own text of a coupon": (
        with_buttons({"type": "COPY_CODE", "example": "SAVE25"}),
        read_back(with_buttons({"type": "COPY_CODE", "text": "Copy offer code", "example": ["SAVE25"]})),
    ),
    "preset texts of a code": (
        AUTHENTICATION,
        read_back(
            AUTHENTICATION,
            components=[
                {
                    "type": "BODY",
                    "text": "*{{1}}* is your code. Do not share it.",
                    "add_security_recommendation": True,
                },
                {"type": "FOOTER", "text": "Expires in 10 minutes.", "code_expiration_minutes": 10},
                {
                    "type": "BUTTONS",
                    "buttons": [{"type": "URL", "text": "Copy code", "url": OTP_URL, "example": [OTP_URL]}],
                },
            ],
        ),
    ),
    "no advice is the same as none asked for": (
        {**AUTHENTICATION, "components": [{"type": "BODY"}, *CODE[1:]]},
        read_back(
            AUTHENTICATION,
            components=[{"type": "BODY", "text": "x", "add_security_recommendation": False}, *CODE[1:]],
        ),
    ),
}


@pytest.mark.parametrize(("asked", "there"), SAME.values(), ids=list(SAME))
def test_it_is_the_one_that_was_asked_for(asked: Mapping[str, Any], there: dict[str, Any]) -> None:
    assert difference(asked, there) == {}


OTHER: dict[str, tuple[Mapping[str, Any], dict[str, Any], str]] = {
    "another category": (TEXT, read_back(TEXT, category="MARKETING"), "category"),
    "another text": (components(BODY), read_back(components({**BODY, "text": "Other"})), "BODY.text"),
    "a component more": (
        components(BODY),
        read_back(components(BODY, {"type": "FOOTER", "text": "Bye"})),
        "FOOTER.text",
    ),
    "a component that says nothing": (
        components(BODY, {"type": "CALL_PERMISSION_REQUEST"}),
        read_back(components(BODY)),
        "CALL_PERMISSION_REQUEST",
    ),
    "another kind of file": (
        MEDIA,
        read_back(MEDIA, components=[{"type": "HEADER", "format": "VIDEO"}, MEDIA["components"][1]]),
        "HEADER.format",
    ),
    "a button in another place": (
        with_buttons({"type": "QUICK_REPLY", "text": "Yes"}, {"type": "QUICK_REPLY", "text": "No"}),
        read_back(with_buttons({"type": "QUICK_REPLY", "text": "No"}, {"type": "QUICK_REPLY", "text": "Yes"})),
        "BUTTONS.0.text",
    ),
    "another flow": (
        with_buttons({"type": "FLOW", "text": "Go", "flow_id": "123"}),
        read_back(with_buttons({"type": "FLOW", "text": "Go", "flow_id": "124"})),
        "BUTTONS.0.flow_id",
    ),
    "another format of variables": (
        components(BODY),
        read_back(components(BODY), parameter_format="NAMED"),
        "parameter_format",
    ),
    "another way of the code": (
        AUTHENTICATION,
        read_back(
            {
                **AUTHENTICATION,
                "components": [
                    *CODE[:2],
                    {"type": "BUTTONS", "buttons": [{"type": "OTP", "otp_type": "ONE_TAP"}]},
                ],
            }
        ),
        "BUTTONS.0.otp_type",
    ),
    "another life of the code": (
        AUTHENTICATION,
        read_back(
            {**AUTHENTICATION, "components": [CODE[0], {"type": "FOOTER", "code_expiration_minutes": 5}, CODE[2]]}
        ),
        "FOOTER.code_expiration_minutes",
    ),
    "another time to live": (
        {**TEXT, "message_send_ttl_seconds": 60},
        read_back(TEXT, message_send_ttl_seconds=600),
        "message_send_ttl_seconds",
    ),
    "not of the library": (LIBRARY, read_back(LIBRARY), "library_template_name"),
    "another address for the library's button": (
        LIBRARY,
        read_back(
            LIBRARY,
            library_template_name=LIBRARY["library_template_name"],
            components=[
                {
                    "type": "BUTTONS",
                    "buttons": [{"type": "URL", "text": "Track", "url": "https://other.example/{{1}}"}],
                }
            ],
        ),
        "library_template_button_inputs.0",
    ),
}


@pytest.mark.parametrize(("asked", "there", "field"), OTHER.values(), ids=list(OTHER))
def test_it_is_another_and_it_is_told_where(asked: Mapping[str, Any], there: dict[str, Any], field: str) -> None:
    differing = difference(asked, there)

    assert field in differing
    assert differing[field]["there"] != differing[field]["asked"]


_ODD = st.recursive(
    st.one_of(st.none(), st.integers(), st.sampled_from(["BODY", "BUTTONS", "URL", "x"])),
    lambda below: st.one_of(
        st.lists(below, max_size=3),
        st.dictionaries(
            st.sampled_from(["type", "text", "buttons", "cards", "components", "url"]), below, max_size=3
        ),
    ),
    max_leaves=10,
)


@given(odd=_ODD, asked=st.sampled_from([TEXT, AUTHENTICATION, {**LIBRARY, "components": [BODY]}]))
def test_whatever_meta_answers_can_be_compared(odd: Any, asked: Mapping[str, Any]) -> None:
    there = read_back(asked, components=odd, library_template_name=asked.get("library_template_name"))

    assert isinstance(difference(asked, there), dict)


def test_an_edit_is_compared_in_what_it_asked_for_only() -> None:
    assert difference({"message_send_ttl_seconds": 60}, read_back(TEXT, message_send_ttl_seconds=60)) == {}
    assert difference({"category": "MARKETING"}, read_back(TEXT)).keys() == {"category"}
