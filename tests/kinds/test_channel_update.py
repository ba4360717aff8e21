"""`channel_update`: each part that is asked for is one call, and no other is made."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import pytest

from tests.kinds.cases_channel_update import CALLBACK, WEBHOOKS
from tests.kinds.owner import PIN, does, edges, said, why
from tests.support.stage import Stage
from wabajobs.errors import InvalidRequest
from wabajobs.operation import Operation, State
from wabajobs.secret import Secret

Stages = Callable[..., AbstractContextManager[Stage]]
TOKEN = "a-verify-token"


@pytest.fixture
def stage(stages: Stages) -> Iterator[Stage]:
    """A world that takes callbacks unasked."""
    with stages(knobs=WEBHOOKS) as made:
        yield made


def accept(stage: Stage, **payload: Any) -> Operation:
    """Ask for a change; of the first number, where a number is meant."""
    payload = {name: stage.number if value == "first" else value for name, value in payload.items()}
    return stage.accept("channel_update", waba=stage.waba, payload=payload)


@pytest.mark.parametrize(
    ("payload", "path", "params"),
    [
        (
            {"waba_callback": CALLBACK, "verify_token": TOKEN},
            "{waba}/subscribed_apps",
            {"override_callback_uri": CALLBACK, "verify_token": TOKEN},
        ),
        ({"waba_callback": ""}, "{waba}/subscribed_apps", {}),
        (
            {"waba_settings": {"name": "Boots", "template_auto_archival_enabled": False}},
            "{waba}",
            {"name": "Boots", "template_auto_archival_enabled": False},
        ),
        (
            {"number": "first", "number_callback": CALLBACK, "verify_token": TOKEN},
            "{number}",
            {"webhook_configuration": {"override_callback_uri": CALLBACK, "verify_token": TOKEN}},
        ),
        (
            {"number": "first", "number_callback": ""},
            "{number}",
            {"webhook_configuration": {"override_callback_uri": ""}},
        ),
        (
            {"number": "first", "number_settings": {"calling": {"status": "ENABLED"}}},
            "{number}/settings",
            {"calling": {"status": "ENABLED"}},
        ),
        ({"number": "first", "pin": PIN}, "{number}", {"pin": PIN}),
        ({"number": "first", "display_name": "Boots"}, "{number}", {"new_display_name": "Boots"}),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else value,
)
def test_a_part_is_one_call_with_what_was_asked_for(
    stage: Stage, payload: Mapping[str, Any], path: str, params: Mapping[str, Any]
) -> None:
    done = stage.work(accept(stage, **payload))

    [call] = stage.calls(done)
    assert done.state is State.SUCCEEDED
    assert (call.method, call.path) == ("POST", path.format(waba=stage.waba, number=stage.number))
    assert said(call) == params


def test_a_callback_that_does_not_answer_fails_with_metas_words(stages: Stages) -> None:
    with stages() as stage:
        nowhere = {"waba_callback": "https://127.0.0.1:1/webhooks", "verify_token": TOKEN}
        done = stage.work(accept(stage, **nowhere))

        assert done.state is State.FAILED
        assert "Meta does not take the callback" in why(stage, done)
        assert "did not answer with the challenge" in why(stage, done)


def test_a_waba_without_our_app_is_subscribed_before_its_callback_is_set(stage: Stage) -> None:
    words = (
        "(#100) Before override the current callback uri, your app must be subscribed to receive messages for"
        " WhatsApp Business Account"
    )
    stage.fault(path="/subscribed_apps$", code=100, message=words, times=1)

    done = stage.work(accept(stage, waba_callback=CALLBACK, verify_token=TOKEN))

    assert done.state is State.SUCCEEDED
    assert ["override_callback_uri" in one.params for one in stage.calls(done)] == [True, False, True]
    assert stage.simulator.world.waba(stage.waba).subscribed == {stage.app: CALLBACK}


def test_a_pin_of_a_number_that_is_not_registered_says_so(stage: Stage) -> None:
    does(stage, "deregister")

    done = stage.work(accept(stage, number="first", pin=PIN))

    assert done.state is State.FAILED
    assert "not registered: register it first" in why(stage, done)


@pytest.mark.parametrize("before", [None, Secret("999999")])
def test_a_pin_in_the_vault_stays_true(stage: Stage, before: Secret | None) -> None:
    name, vault = f"pins/{stage.number}", stage.house.vault
    if before:
        vault.put(name, before)

    stage.work(accept(stage, number="first", pin=PIN))

    assert vault.get(name) == (Secret(PIN) if before else None)


def test_a_name_that_meta_refuses_fails_and_the_parts_before_it_stay(stage: Stage) -> None:
    stage.fault(path=f"/{stage.number}$", code=100, message="(#100) no such name")

    done = stage.work(
        accept(stage, waba_settings={"name": "Boots"}, number="first", display_name="Boots and More")
    )

    assert done.state is State.FAILED
    assert "Meta does not take the display name; Meta: (#100) no such name" in why(stage, done)
    assert stage.simulator.world.waba(stage.waba).name == "Boots"


def test_a_display_name_is_asked_for_once_though_the_answer_was_lost(stage: Stage) -> None:
    operation = accept(stage, number="first", display_name="Boots")
    stage.fault(path=f"/{stage.number}$", method="POST", reset_after=True, times=1)

    done = stage.work(operation)

    assert done.state is State.SUCCEEDED
    assert [one.method for one in stage.calls(operation)] == ["POST", "GET"]


def test_neither_token_nor_pin_is_seen_in_the_operation(stage: Stage) -> None:
    done = stage.work(accept(stage, waba_callback=CALLBACK, verify_token=TOKEN, number="first", pin=PIN))

    told = str(done.as_json()) + str(done.checkpoint)
    assert edges(stage.calls(done)) == ["subscribed_apps", stage.number]
    assert TOKEN not in told
    assert PIN not in told


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        ({}, "nothing is asked for"),
        ({"number": "123456"}, "nothing is asked for of the number"),
        ({"pin": PIN}, "number is missing"),
        ({"display_name": "Boots"}, "number is missing"),
        ({"waba_callback": CALLBACK}, "verify_token"),
        ({"waba_callback": "", "verify_token": TOKEN}, "verify_token"),
        ({"waba_settings": {"name": "Boots"}, "verify_token": TOKEN}, "verify_token"),
        ({"waba_callback": CALLBACK, "verify_token": "two words"}, "verify_token"),
        ({"waba_callback": "http://hub.example/", "verify_token": TOKEN}, "waba_callback"),
        ({"waba_callback": f"https://hub.example/{'x' * 190}", "verify_token": TOKEN}, "waba_callback"),
        ({"waba_settings": {}}, "waba_settings has no setting"),
        ({"waba_settings": {"name": ""}}, "waba_settings.name"),
        ({"waba_settings": {"name": "B" * 101}}, "waba_settings.name"),
        ({"waba_settings": {"timezone_id": "Berlin"}}, "waba_settings.timezone_id"),
        ({"waba_settings": {"is_enabled_for_insights": False}}, "waba_settings.is_enabled_for_insights"),
        ({"waba_settings": {"colour": "blue"}}, "waba_settings.colour"),
        ({"number": "123456", "number_settings": {}}, "number_settings has no setting"),
        ({"number": "123456", "number_settings": {"calling": "on"}}, "number_settings.calling"),
        ({"number": "123456", "pin": "12345"}, "PIN of six digits"),
        ({"number": "123456", "display_name": "B"}, "display_name"),
        ({"number": "123456", "display_name": "B" * 76}, "display_name"),
    ],
)
def test_what_cannot_be_is_refused_at_the_edge(stage: Stage, payload: Mapping[str, Any], told: str) -> None:
    with pytest.raises(InvalidRequest, match=told):
        stage.accept("channel_update", waba=stage.waba, payload=payload)
