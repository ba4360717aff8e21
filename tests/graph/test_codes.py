import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wabajobs import errors
from wabajobs.graph import CODES, classify
from wabajobs.secret import Secret

EXPECTED = {
    (0, None): errors.Unauthorized,
    (1, None): errors.Transient,
    (2, None): errors.Transient,
    (3, None): errors.Forbidden,
    (4, None): errors.AppLimitReached,
    (4, 2446079): errors.AppLimitReached,
    (4, 2446080): errors.AppLimitReached,
    (4, 2494100): errors.AppLimitReached,
    (10, None): errors.Forbidden,
    (17, 2446079): errors.AppLimitReached,
    (33, None): errors.InvalidCall,
    (100, None): errors.InvalidCall,
    (100, 33): errors.InvalidCall,
    (100, 36009): errors.InvalidCall,
    (100, 2388023): errors.WrongState,
    (100, 2388024): errors.InvalidCall,
    (100, 2388039): errors.WrongState,
    (100, 2494100): errors.Transient,
    (102, None): errors.Unauthorized,
    (190, 463): errors.Unauthorized,
    (200, None): errors.Forbidden,
    (250, 1349175): errors.Forbidden,
    (299, None): errors.Forbidden,
    (300, None): errors.UnknownGraphError,
    (341, None): errors.AppLimitReached,
    (368, None): errors.Blocked,
    (613, 1996): errors.NarrowLimitReached,
    (80000, None): errors.WabaLimitReached,
    (80007, 2446079): errors.WabaLimitReached,
    (80008, None): errors.WabaLimitReached,
    (80012, None): errors.NarrowLimitReached,
    (80014, None): errors.WabaLimitReached,
    (80015, None): errors.UnknownGraphError,
    (130429, None): errors.NumberLimitReached,
    (131005, None): errors.Forbidden,
    (131009, 2494010): errors.InvalidCall,
    (131031, None): errors.Blocked,
    (131057, None): errors.Transient,
    (133006, None): errors.WrongState,
    (133008, None): errors.NumberLimitReached,
    (133015, None): errors.Transient,
    (133016, None): errors.NumberLimitReached,
    (139003, None): errors.WrongState,
    (2494100, None): errors.Transient,
    (987654, None): errors.UnknownGraphError,
}


@pytest.mark.parametrize("status", [400, 403, 429, 500])
@pytest.mark.parametrize("transient", [True, False, None])
@pytest.mark.parametrize(("code", "subcode"), EXPECTED)
def test_the_class_follows_from_the_code_alone(code, subcode, transient, status):
    fields = {
        "message": f"(#{code}) words",
        "code": code,
        "error_subcode": subcode,
        "is_transient": transient,
    }
    body = {"error": {name: value for name, value in fields.items() if value is not None}}

    error = classify(status, json.dumps(body).encode())

    expected = EXPECTED[code, subcode]
    if expected is errors.UnknownGraphError and transient:
        expected = errors.Transient  # the only codes for which the flag has a say
    assert type(error) is expected
    assert (error.code, error.subcode, error.status) == (code, subcode, status)


@pytest.mark.parametrize(("code", "subcode"), [key for key in CODES if key[0] is not None])
def test_each_line_of_the_table_is_reachable(code, subcode):
    error = classify(400, {"error": {"code": code, "error_subcode": subcode}})

    assert type(error) is CODES[code, subcode].error
    assert CODES[code, subcode].meaning in str(error)


@pytest.mark.parametrize("subcode", [key[1] for key in CODES if key[0] is None])
def test_a_subcode_speaks_for_itself_under_a_code_that_is_no_limit(subcode):
    error = classify(400, {"error": {"code": 100, "error_subcode": subcode}})

    assert type(error) is CODES[None, subcode].error


def test_a_page_that_is_too_heavy_is_told_from_other_trouble_of_code_1():
    words = "Please reduce the amount of data you're asking for, then retry your request"

    heavy = classify(500, {"error": {"code": 1, "message": words}})
    other = classify(500, {"error": {"code": 1, "message": "An unknown error occurred"}})
    limit = classify(500, {"error": {"code": 4, "message": words}})

    assert type(heavy) is errors.HeavyPage
    assert type(other) is errors.Transient
    assert type(limit) is errors.AppLimitReached


@pytest.mark.parametrize("body", [b"", b"<html>502 Bad Gateway</html>", b"\xff\xfe\x00", b"{", b"[" * 100_000])
@pytest.mark.parametrize("status", [200, 403, 502, 504])
def test_what_is_not_json_is_passing_trouble_without_a_code(status, body):
    error = classify(status, body)

    assert type(error) is errors.Transient
    assert error.code is None
    assert error.status == status


@pytest.mark.parametrize("body", [b"{}", b"[]", b'"no"', b'{"error": null}', b'{"errors": [{"code": 4}]}'])
def test_json_without_an_error_of_graph_is_judged_by_whose_fault_the_status_says_it_is(body):
    assert type(classify(404, body)) is errors.UnknownGraphError
    assert type(classify(503, body)) is errors.Transient


def test_an_error_without_a_readable_code_is_judged_the_same_way():
    assert type(classify(400, {"error": {"code": "soon"}})) is errors.UnknownGraphError
    assert type(classify(500, {"error": {"message": "ouch"}})) is errors.Transient
    assert type(classify(400, {"error": {"is_transient": True}})) is errors.Transient
    assert str(classify(400, {"error": "invalid_grant", "error_description": "Code is used"})) == "Code is used"


@pytest.mark.parametrize("data", [{"details": "Wait 5 minutes"}, '{"details": "Wait 5 minutes"}'])
def test_details_come_from_an_object_or_from_a_string_with_an_object_in_it(data):
    error = classify(400, {"error": {"code": 133009, "error_data": data}})

    assert error.details == "Wait 5 minutes"


def test_words_for_the_user_are_the_better_details():
    fields = {"code": 100, "error_user_msg": "Say it in small letters", "error_data": {"details": "name"}}

    assert classify(400, {"error": fields}).details == "Say it in small letters"


def test_codes_may_be_strings_or_whole_floats():
    assert type(classify(400, {"error": {"code": "4"}})) is errors.AppLimitReached
    assert type(classify(400, {"error": {"code": 80008.0}})) is errors.WabaLimitReached


def test_no_secret_and_no_url_query_is_in_an_error():
    token, pin = Secret("tok-en-1"), Secret("731995")
    message = (
        "Malformed access token EAAGm0PX4ZCpsBAKZBq and tok-en-1, pin 731995\n"
        "at https://graph.facebook.com/v24.0/1?access_token=tok-en-2&code=9 \ud800\x00"
    )

    error = classify(
        400, {"error": {"code": 190, "message": message, "error_user_msg": message}}, hide=(token, pin)
    )

    shown = f"{error} {error!r} {error.details}"
    for word in ("EAAGm0PX4ZCpsBAKZBq", "tok-en-1", "tok-en-2", "731995", "code=9", "\ud800", "\x00", "\n"):
        assert word not in shown
    assert "https://graph.facebook.com/v24.0/1" in shown


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("message", "code", "error_subcode", "is_transient", "error_data", "error_user_msg", "fbtrace_id")


@given(st.integers(200, 599), st.dictionaries(st.sampled_from(FIELDS), ANY_JSON) | ANY_JSON, st.booleans())
def test_no_answer_whatever_makes_it_fail(status, fields, as_text):
    body = {"error": fields}

    error = classify(status, json.dumps(body) if as_text else body)

    assert isinstance(error, errors.GraphError)
    assert str(error)
    assert error.code is None or isinstance(error.code, int)
    str(error).encode()


@pytest.mark.parametrize(
    ("details", "wait"),
    [
        ("Too many attempts for this phone number. Try again in 43200 seconds.", timedelta(hours=12)),
        ("Please wait 1 minute.", timedelta(minutes=1)),
        ("Wait for 3 Days", timedelta(days=3)),
        ("Wait a while.", timedelta(hours=72)),
        (None, timedelta(hours=72)),
    ],
)
def test_the_lock_of_a_number_lasts_as_long_as_meta_says_or_else_as_the_table_does(details, wait):
    data = {"error_data": {"details": details}} if details else {}

    error = classify(400, {"error": {"code": 133016, "message": "(#133016) no", **data}})

    assert error.wait == wait


@pytest.mark.parametrize("code", [1, 2, 4, 100, 80008, 131000, 133004])
def test_words_about_time_are_no_wait_of_any_other_error(code):
    fields = {"code": code, "message": "no", "error_user_msg": "Try again in 5 minutes."}

    assert classify(400, {"error": fields}).wait is None


def test_a_number_that_has_to_wait_was_refused_for_certain():
    refused = classify(400, {"error": {"code": 133015, "message": "no"}})
    unknown = classify(500, {"error": {"code": 2, "message": "no"}})

    assert refused.is_definite
    assert not unknown.is_definite


def test_too_many_wrong_codes_wait_only_where_meta_says_how_long():
    told = classify(400, {"error": {"code": 136025, "error_user_msg": "Too many. Try again in 60 seconds."}})
    untold = classify(400, {"error": {"code": 136025, "error_user_msg": "The code is not correct."}})

    assert (told.wait, untold.wait) == (timedelta(minutes=1), None)
