"""A request is refused at the edge with a sentence that names the field and what to do, or not at all."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from tests.unit.conftest import APP, WABA, some_settings
from wabajobs.capability import Capability, ServiceClass
from wabajobs.errors import InvalidRequest
from wabajobs.intake import Request, checked
from wabajobs.kinds import Catalogue, Kind, Step, catalogue
from wabajobs.ledger import NewOperation
from wabajobs.settings import Settings

TOKEN = "EAAJsecret0123456789"


class Registration(BaseModel, extra="forbid"):
    number: str
    pin: str

    @field_validator("pin")
    @classmethod
    def six_digits(cls, pin: str) -> str:
        if len(pin) != 6:
            raise ValueError("a PIN has 6 digits")
        return pin


REGISTER = Kind(
    name="register",
    summary="register a number",
    steps=(Step(name="register", run=lambda work: {}, capability=Capability.PHONE_NUMBERS),),
    payload=Registration,
    needs_waba=False,
)
KINDS = Catalogue([catalogue()["template_sync"], REGISTER])


def check(settings: Settings | None = None, **facts: Any) -> NewOperation:
    request = Request(**({"kind": "template_sync", "partner": "acme", "waba": WABA} | facts))
    return checked(request, kinds=KINDS, settings=settings or some_settings())


def test_a_request_is_filled_in_from_its_kind() -> None:
    new = check(key="order 7")

    assert (new.kind, new.partner, new.app, new.waba, new.key) == ("template_sync", "acme", APP, WABA, "order 7")
    assert (new.service_class, new.capability) == (ServiceClass.BACKGROUND, Capability.TEMPLATE_READS)
    assert (new.coalesces, new.lane, new.payload) == (True, f"template_sync:acme:{WABA}", {})


def test_a_class_of_service_can_be_asked_for() -> None:
    assert check(service_class="interactive").service_class is ServiceClass.INTERACTIVE


def test_a_kind_without_a_lane_and_without_a_waba_has_neither() -> None:
    new = check(kind="register", waba=None, payload={"number": "1", "pin": "123456"})

    assert (new.lane, new.waba, new.coalesces) == (None, None, False)
    assert new.payload == {"number": "1", "pin": "123456"}


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({"kind": "template_snyc"}, "there is no kind 'template_snyc'; there are: template_sync, register"),
        ({"partner": ""}, "partner is missing: say for whom the operation is"),
        ({"partner": None}, "partner is missing: say for whom the operation is"),
        ({"partner": "a b"}, "partner 'a b' is no partner id: letters, digits, '.', '_' and '-', at most 64"),
        ({"partner": "a\n"}, "partner 'a\\n' is no partner id: letters, digits, '.', '_' and '-', at most 64"),
        ({"partner": 7}, "partner 7 is no partner id: letters, digits, '.', '_' and '-', at most 64"),
        ({"app": "77777"}, "app '77777' is not configured (configured: 10001)"),
        ({"waba": None}, "waba is missing: template_sync is about one WhatsApp Business Account"),
        ({"waba": ""}, "waba is missing: template_sync is about one WhatsApp Business Account"),
        ({"waba": "12/34"}, "waba '12/34' is no WABA id: 5 to 20 digits, as a string"),
        ({"waba": 102290129340398}, "waba 102290129340398 is no WABA id: 5 to 20 digits, as a string"),
        (
            {"service_class": "urgent"},
            "there is no class of service 'urgent'; there are: interactive, standard, background",
        ),
        ({"key": ""}, "an idempotency key has 1 to 200 characters, not 0"),
        ({"key": "x" * 201}, "an idempotency key has 1 to 200 characters, not 201"),
        ({"key": "a\0b"}, "an idempotency key is text of printable characters"),
        ({"key": "\ud83d"}, "an idempotency key is text of printable characters"),
        ({"key": 7}, "an idempotency key is text of printable characters"),
        (
            {"payload": {"name": TOKEN}},
            "template_sync: name: Extra inputs are not permitted (it takes no fields)",
        ),
        ({"payload": "name=x"}, "template_sync: payload: a mapping of fields is needed (it takes no fields)"),
        (
            {"kind": "register", "payload": {"number": "1"}},
            "register: pin: Field required (it takes number, pin)",
        ),
        (
            {"kind": "register", "payload": {"number": "1", "pin": TOKEN}},
            "register: pin: Value error, a PIN has 6 digits (it takes number, pin)",
        ),
        (
            {"kind": "register", "payload": {"number": {"token": TOKEN}, "pin": "123456"}},
            "register: number: Input should be a valid string (it takes number, pin)",
        ),
    ],
)
def test_what_is_wrong_is_said(facts: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check(**facts)

    assert str(refused.value) == sentence
    assert TOKEN not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


def test_the_longest_of_everything_is_accepted() -> None:
    new = check(partner="p" * 64, waba="1" * 20, key="k" * 200)

    assert (len(new.partner), len(new.key or ""), len(new.waba or "")) == (64, 200, 20)


def test_of_several_apps_one_must_be_named() -> None:
    apps = {"10001": {"token": {"env": "A"}}, "10002": {"token": {"env": "B"}}}
    settings = some_settings(apps=apps)

    with pytest.raises(InvalidRequest, match=r"app is missing: several are configured \(10001, 10002\)"):
        check(settings)
    assert check(settings, app="10002").app == "10002"


def test_without_any_app_the_configuration_is_named() -> None:
    with pytest.raises(InvalidRequest, match=r"no Meta app is configured: add \[apps\..*WABAJOBS_CONFIG"):
        check(some_settings(apps={}))


def test_the_same_request_has_the_same_fingerprint_whatever_its_class() -> None:
    assert check(service_class="interactive").fingerprint == check(partner="bolt").fingerprint
    assert check().fingerprint != check(waba="55555").fingerprint


def test_an_operation_expires_as_its_kind_says_or_as_the_caller_does() -> None:
    kinds = Catalogue([replace(REGISTER, expires_after=timedelta(minutes=10))])
    request = Request(kind="register", partner="acme", payload={"number": "1", "pin": "123456"})

    by_kind = checked(request, kinds=kinds, settings=some_settings())
    by_caller = checked(replace(request, expires_after=1.5), kinds=kinds, settings=some_settings())

    assert (by_kind.expires_after, by_caller.expires_after) == (timedelta(minutes=10), timedelta(seconds=1.5))
    assert check().expires_after is None


@pytest.mark.parametrize("seconds", [0, 0.5, -1, float("nan"), float("inf"), 31_536_001, True, "60", [60]])
def test_a_time_in_which_nothing_can_expire_is_refused(seconds: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"expires_after .* is no time .*: 1 to 31536000 seconds"):
        check(expires_after=seconds)


def test_an_operation_that_has_only_to_begin_in_time_expires_as_its_payload_says() -> None:
    kind = replace(REGISTER, begins_within=lambda one: timedelta(seconds=30) if one["pin"] == "123456" else None)
    kinds = Catalogue([kind])
    request = Request(kind="register", partner="acme", payload={"number": "1", "pin": "123456"})
    other = replace(request, payload={"number": "1", "pin": "654321"})

    expiring, lasting, told = (
        checked(one, kinds=kinds, settings=some_settings())
        for one in (request, other, replace(other, expires_after=5))
    )

    assert expiring.expires_after == timedelta(seconds=30)
    assert lasting.expires_after is None
    assert told.expires_after == timedelta(seconds=5)
