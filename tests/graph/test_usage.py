import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wabajobs.graph import Usage, read_usage

NOTHING = Usage(app_percent=None, waba_percent=None, regain=None)


def business(type_="whatsapp_business_management", regain=0, **meters):
    return {"type": type_, **meters, "estimated_time_to_regain_access": regain}


def of_waba(usage, waba="102"):
    return read_usage({"X-Business-Use-Case-Usage": json.dumps(usage)}, waba=waba)


@pytest.mark.parametrize(
    ("header", "percent"),
    [
        ('{"call_count": 28, "total_time": 25, "total_cputime": 31}', 31),
        ('{"call_volume": 9, "cpu_time": 12}', 12),
        ('{"call_count": "28"}', 28),
        ('{"call_count": 99.1}', 100),
        ('{"call_count": 0}', 0),
        ('{"call_count": 112}', 112),
        ('{"call_count": 1e30}', 1000),
        ('{"call_count": -5}', None),
        ('{"call_count": -5, "total_time": 3}', 3),
        ('{"call_count": null}', None),
        ('{"call_count": true}', None),
        ('{"call_count": "much"}', None),
        ('{"call_count": NaN}', None),
        ('{"call_count": 1e999}', None),
        ('{"call_count": ' + "9" * 400 + "}", None),
        ('{"call_count": ' + "9" * 5000 + "}", None),
        ('{"something": 7}', None),
        ("{}", None),
        ("[]", None),
        ("28", None),
        ("<html>", None),
        ("", None),
    ],
)
def test_the_app_is_as_full_as_its_fullest_meter_and_the_unreadable_is_unknown(header, percent):
    assert read_usage({"x-app-usage": header}).app_percent == percent


def test_absent_headers_say_nothing():
    assert read_usage({"Content-Type": "application/json"}, waba="102") == NOTHING


def test_header_names_have_no_case():
    assert read_usage({"X-APP-Usage": '{"call_count": 5}'}).app_percent == 5


def test_the_waba_is_found_under_its_id():
    usage = of_waba({"101": [business(call_count=90)], "102": [business(call_count=1, total_time=7, regain=3)]})

    assert usage.waba_percent == 7
    assert usage.regain == timedelta(minutes=3)


def test_the_budget_of_messages_is_not_that_of_management():
    usage = of_waba({"102": [business(call_count=1), business("whatsapp", call_count=100, regain=60)]})

    assert usage == Usage(waba_percent=1)


def test_under_another_id_the_fullest_management_object_counts():
    objects = {
        "55": [business("whatsapp", call_count=99), business(call_count=40)],
        "56": [business(call_count=60)],
    }

    assert of_waba(objects).waba_percent == 60
    assert of_waba(objects, waba=None).waba_percent == 60


def test_without_a_management_object_all_count():
    assert of_waba({"55": [business("ads_insights", call_count=12)], "56": {"call_count": 13}}).waba_percent == 13


@pytest.mark.parametrize("regain", [0, -1, None, "soon", True, float("nan")])
def test_no_time_to_wait_is_none(regain):
    assert of_waba({"102": [business(call_count=5, regain=regain)]}).regain is None


def test_a_time_beyond_reason_is_a_week():
    assert of_waba({"102": [business(regain=10**200)]}).regain == timedelta(days=7)


@pytest.mark.parametrize(
    "usage", [[], 5, "x", None, {"102": 5}, {"102": [5, None, "x"]}, {"102": []}, {"102": [{}]}]
)
def test_unreadable_use_case_headers_are_unknown(usage):
    assert of_waba(usage) == NOTHING


@given(st.text(), st.text())
def test_no_header_whatever_makes_it_fail(app, waba):
    read_usage({"x-app-usage": app, "x-business-use-case-usage": waba}, waba="102")
