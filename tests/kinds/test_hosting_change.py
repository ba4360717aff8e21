"""`hosting_change`: the backup goes in the place of a code, once, and the number is read back from the cloud."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.kinds.cases_hosting_change import PASSWORD, on_premises
from tests.kinds.owner import PIN, answer, asked, does, edges, said, why
from tests.support.stage import Stage
from wabajobs.errors import InvalidRequest
from wabajobs.operation import Operation, State
from wabajobs.simulator.world import accounts


def accept(stage: Stage, **payload: str) -> Operation:
    """Ask for the change of the first number's hosting."""
    return stage.accept("hosting_change", **on_premises(stage, **payload))


def test_a_number_comes_to_the_cloud_with_its_backup_and_is_read_back(stage: Stage) -> None:
    gate = stage.house.gate
    gate.note_activity(stage.app, stage.waba, active=False)

    done = stage.work(accept(stage, data_localization_region="DE"))

    number = stage.simulator.world.waba(stage.waba).numbers[0]
    assert number.backup is not None
    assert done.result == {
        "number": stage.number,
        "registered": True,
        "subscribed": True,
        "status": "CONNECTED",
        "platform_type": "CLOUD_API",
        "is_pin_enabled": True,
    }
    assert [(one.method, one.path, said(one)) for one in stage.calls(done)] == [
        (
            "POST",
            f"{stage.number}/register",
            {
                "messaging_product": "whatsapp",
                "pin": PIN,
                "backup": {"password": PASSWORD, "data": number.backup["data"]},
                "data_localization_region": "DE",
            },
        ),
        ("GET", f"{stage.waba}/subscribed_apps", {}),
        ("GET", stage.number, {"fields": "status,platform_type,is_pin_enabled"}),
    ]
    assert gate.read(stage.app, wabas=[stage.waba]).windows[1].limit == 5000


def test_an_app_that_is_not_subscribed_is_subscribed(stage: Stage) -> None:
    world = stage.simulator.world
    accounts.unsubscribe(world, world.waba(stage.waba), stage.simulator.app)

    done = stage.work(accept(stage))

    assert edges(stage.calls(done)) == ["register", "subscribed_apps", "subscribed_apps", stage.number]
    assert stage.app in world.waba(stage.waba).subscribed


def test_a_backup_that_meta_does_not_take_fails_and_changes_nothing(stage: Stage) -> None:
    done = stage.work(accept(stage, backup_password="another"))

    assert done.state is State.FAILED
    assert "does not take the backup" in why(stage, done)
    assert not done.past_return
    assert stage.simulator.world.waba(stage.waba).numbers[0].platform == "ON_PREMISE"


def test_a_wrong_pin_makes_one_call_and_is_asked_for(stage: Stage) -> None:
    operation = accept(stage)
    does(stage, "set_pin", value="111111")

    stage.work(operation)
    waits, made, past = asked(stage, operation), len(stage.calls(operation)), stage.get(operation).past_return
    stage.pass_time(60)
    done = stage.work(operation, answer(pin="111111"))

    assert (waits, made, past) == ({"pin"}, 1, False)
    assert done.state is State.SUCCEEDED


def test_once_it_may_have_happened_it_is_called_off_only_by_force_and_goes_on(stage: Stage) -> None:
    operation = accept(stage)
    stage.fault(path="/register$", reset_after=True, times=1)
    stage.attempt(operation)

    with pytest.raises(InvalidRequest, match="point of no return"):
        stage.house.interventions.cancel(operation.id, reason="not now", actor="anna")
    done = stage.work(operation)

    assert done.state is State.SUCCEEDED
    assert edges(stage.calls(operation)).count("register") == 1


def test_a_number_that_meta_still_shows_elsewhere_is_looked_at_again(stage: Stage) -> None:
    operation = accept(stage)
    stage.fault(
        path=f"/{stage.number}$", method="GET", status=200, body='{"platform_type":"ON_PREMISE"}', times=1
    )

    stage.attempt(operation)
    reason = why(stage, operation)
    done = stage.work(operation)

    assert "still shows it as ON_PREMISE" in reason
    assert done.state is State.SUCCEEDED
    assert edges(stage.calls(operation)) == ["register", "subscribed_apps", stage.number, stage.number]


def test_neither_backup_nor_password_is_seen_in_the_operation(stage: Stage) -> None:
    done = stage.work(accept(stage))

    number = stage.simulator.world.waba(stage.waba).numbers[0]
    told = str(done.as_json()) + str(done.checkpoint)
    assert number.backup is not None
    assert PASSWORD not in told
    assert number.backup["data"] not in told


GOOD = {"number": "123456789", "backup_data": "data", "backup_password": "password"}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"number": None}, "number"),
        ({"number": "+491234567"}, "number"),
        ({"backup_data": None}, "backup_data"),
        ({"backup_data": ""}, "backup_data"),
        ({"backup_password": None}, "backup_password"),
        ({"backup_password": "two\nlines"}, "backup_password"),
        ({"pin": "1234567"}, "PIN of six digits"),
        ({"data_localization_region": "Germany"}, "data_localization_region"),
        ({"verify": False}, "verify"),
    ],
)
def test_what_cannot_be_is_refused_at_the_edge(stage: Stage, changes: Mapping[str, Any], told: str) -> None:
    payload = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}

    with pytest.raises(InvalidRequest, match=told) as refused:
        stage.accept("hosting_change", waba=stage.waba, payload=payload)

    assert "two\nlines" not in str(refused.value)
