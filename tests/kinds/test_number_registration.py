"""`number_registration`: its calls, what it asks people for, and what becomes of each of Meta's refusals."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import pytest

from tests.kinds.owner import PIN, answer, asked, codes, does, edges, held_for, number_of, said, why, wrong
from tests.support.stage import Stage
from wabajobs.errors import InvalidRequest
from wabajobs.kinds.inputs import split_number
from wabajobs.operation import Operation, State
from wabajobs.secret import Secret

Stages = Callable[..., AbstractContextManager[Stage]]
HOUR = timedelta(hours=1)
NEW = {"phone_number": "+4930123456", "verified_name": "Shop 7", "pin": PIN}


@pytest.fixture
def stage(stages: Stages) -> Iterator[Stage]:
    """A world whose numbers are neither verified nor registered."""
    with stages(knobs={"inactive_wabas": 2}) as made:
        yield made


def accept(stage: Stage, **payload: Any) -> Operation:
    """Ask for the registration of the first number, unless the payload says otherwise."""
    number = {} if "phone_number" in payload else {"number": stage.number, "pin": PIN}
    return stage.accept("number_registration", waba=stage.waba, payload={**number, **payload})


def verified(stage: Stage, **payload: Any) -> Operation:
    """Ask for the registration of a number of which its owner has proved that it is his."""
    does(stage, "verify")
    return accept(stage, verify=False, **payload)


def test_a_number_is_added_proved_by_its_owner_and_registered(stage: Stage) -> None:
    operation = accept(stage, **NEW, language="de")

    stage.work(operation)
    waits = asked(stage, operation)
    done = stage.work(operation, answer())

    number = number_of(stage, done)
    assert number is not None
    assert waits == {"code", "resend"}
    assert done.result == {"number": number.id, "verified": True, "registered": True}
    assert (number.registered, number.platform, number.pin) == (True, "CLOUD_API", PIN)
    assert [(one.method, one.path, said(one)) for one in stage.calls(operation)] == [
        (
            "POST",
            f"{stage.waba}/phone_numbers",
            {"cc": "49", "phone_number": "30123456", "verified_name": "Shop 7"},
        ),
        ("POST", f"{number.id}/request_code", {"code_method": "SMS", "language": "de"}),
        ("POST", f"{number.id}/verify_code", {"code": number.sms[0]["code"]}),
        ("POST", f"{number.id}/register", {"messaging_product": "whatsapp", "pin": PIN}),
    ]


def test_who_is_verified_already_is_registered_with_one_call(stage: Stage) -> None:
    done = stage.work(verified(stage, data_localization_region="DE"))

    [call] = stage.calls(done)
    assert done.state is State.SUCCEEDED
    assert said(call) == {"messaging_product": "whatsapp", "pin": PIN, "data_localization_region": "DE"}


def test_a_waba_is_active_as_soon_as_its_first_number_is_registered(stage: Stage) -> None:
    gate = stage.house.gate
    gate.note_activity(stage.app, stage.waba, active=False)
    before = gate.read(stage.app, wabas=[stage.waba]).windows[1].limit

    stage.work(verified(stage))

    assert (before, gate.read(stage.app, wabas=[stage.waba]).windows[1].limit) == (200, 5000)


def test_no_secret_is_seen_in_the_operation(stage: Stage) -> None:
    done = stage.work(accept(stage), answer())

    told = json.dumps([done.as_json(), done.checkpoint])
    assert PIN not in told
    assert codes(stage, done)[0] not in told


# ── the code ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_wrong_code_is_tried_once_and_asked_for_anew(stage: Stage) -> None:
    operation = accept(stage)
    stage.work(operation)
    [code] = codes(stage, operation)

    stage.provide(operation, code=wrong(code))
    stage.work(operation)
    reason, waits = why(stage, operation), asked(stage, operation)
    stage.provide(operation, code=code)
    done = stage.work(operation)

    assert done.state is State.SUCCEEDED
    assert waits == {"code", "resend"}
    assert "does not take the code" in reason
    assert "The code that you entered is not correct" in reason
    assert edges(stage.calls(operation)) == ["request_code", "verify_code", "verify_code", "register"]


def test_for_a_code_that_is_too_old_another_can_be_sent_by_voice(stage: Stage) -> None:
    operation = accept(stage)
    stage.work(operation)
    [old] = codes(stage, operation)

    stage.pass_time(601)
    stage.provide(operation, code=old)
    stage.work(operation)
    reason = why(stage, operation)
    stage.provide(operation, resend="voice")
    stage.work(operation)
    waits = asked(stage, operation)
    done = stage.work(operation, answer())

    assert done.state is State.SUCCEEDED
    assert "expired" in reason
    assert waits == {"code", "resend"}
    sent = [one.params["code_method"] for one in stage.calls(operation) if one.path.endswith("/request_code")]
    assert sent == ["SMS", "VOICE"]
    assert stage.duplicates() == []


def test_a_person_may_have_codes_sent_as_often_as_he_likes(stage: Stage) -> None:
    operation = accept(stage)
    stage.work(operation)

    for _ in range(4):
        stage.provide(operation, resend="sms")
        stage.work(operation)
    done = stage.work(operation, answer())

    assert done.state is State.SUCCEEDED
    assert len(codes(stage, operation)) == 5


def test_after_too_many_guesses_nothing_is_tried_until_meta_takes_codes_again(stages: Stages) -> None:
    with stages(knobs={"inactive_wabas": 2, "code_guesses": (2, 43_200.0)}) as stage:
        operation = accept(stage)
        stage.work(operation)
        [code] = codes(stage, operation)
        for _ in range(2):
            stage.provide(operation, code=wrong(code))
            stage.work(operation)

        stage.provide(operation, code=code)
        stage.attempt(operation)
        wait, reason = held_for(stage, operation), why(stage, operation)
        stage.work(operation)
        waits, tried = asked(stage, operation), edges(stage.calls(operation)).count("verify_code")
        stage.provide(operation, resend="sms")
        done = stage.work(operation, answer())

    assert timedelta(hours=11) < wait <= timedelta(hours=12)
    assert "Too many wrong codes" in reason
    assert waits == {"code", "resend"}
    assert tried == 3
    assert done.state is State.SUCCEEDED


@pytest.mark.parametrize("code", [136024, 613])
def test_where_meta_sends_no_more_codes_a_person_is_asked(stages: Stages, code: int) -> None:
    knobs = {"inactive_wabas": 2, "code_requests": (1, 3600.0), "code_requests_code": code}
    with stages(knobs=knobs) as stage:
        operation = accept(stage)
        stage.work(operation)
        stage.provide(operation, resend="sms")
        stage.work(operation)
        waits, reason = asked(stage, operation), why(stage, operation)
        made = edges(stage.calls(operation)).count("request_code")
        stage.provide(operation, code=codes(stage, operation)[0])
        done = stage.work(operation)

    assert waits == {"code", "resend"}
    assert "Meta sends no code" in reason
    assert made == 2
    assert done.state is State.SUCCEEDED


def test_who_has_been_verified_meanwhile_gets_no_code_and_is_registered(stage: Stage) -> None:
    operation = accept(stage)
    does(stage, "verify")

    done = stage.work(operation)

    assert done.state is State.SUCCEEDED
    assert edges(stage.calls(operation)) == ["request_code", stage.number, "register"]
    assert codes(stage, operation) == []


def test_who_is_verified_while_a_code_is_awaited_is_found_so(stage: Stage) -> None:
    operation = accept(stage)
    stage.work(operation)
    does(stage, "verify")

    stage.provide(operation, code="123456")
    done = stage.work(operation)

    assert done.state is State.SUCCEEDED


def test_whether_a_code_came_is_asked_at_once_when_the_answer_is_lost(stage: Stage) -> None:
    operation = accept(stage)
    stage.fault(path="/request_code$", reset_after=True, times=1)

    stage.work(operation)
    waits, reason = asked(stage, operation), why(stage, operation)
    done = stage.work(operation, answer())

    assert waits == {"code", "resend"}
    assert "nobody knows whether Meta has sent a code" in reason
    assert done.state is State.SUCCEEDED
    assert len(codes(stage, operation)) == 1


def test_a_second_lost_answer_is_asked_about_again_and_the_wish_is_not_taken_for_another(stage: Stage) -> None:
    operation = accept(stage)
    stage.fault(path="/request_code$", reset_before=True, times=2)

    stage.work(operation)
    stage.provide(operation, resend="sms")
    stage.work(operation)
    waits = asked(stage, operation)
    stage.provide(operation, resend="sms")
    done = stage.work(operation, answer())

    assert waits == {"code", "resend"}
    assert done.state is State.SUCCEEDED
    assert len(codes(stage, operation)) == 1


def test_the_wish_for_another_code_survives_a_limit(stage: Stage) -> None:
    operation = accept(stage)
    stage.fault(path="/request_code$", reset_before=True, times=1)
    stage.work(operation)
    stage.provide(operation, resend="voice")

    stage.spend()
    stage.attempt(operation)
    held = stage.get(operation).state
    stage.earn()
    stage.work(operation)

    assert held is State.HELD
    assert asked(stage, operation) == {"code", "resend"}
    assert [message["method"] for message in number_of(stage, operation).sms] == ["VOICE"]  # type: ignore[union-attr]


# ── the registration ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_wrong_pin_makes_one_call_and_is_asked_for(stage: Stage) -> None:
    does(stage, "set_pin", value="111111")
    operation = verified(stage)

    stage.work(operation)
    waits, made = asked(stage, operation), edges(stage.calls(operation))
    stage.pass_time(60)
    stage.provide(operation, pin="111111")
    done = stage.work(operation)

    assert (waits, made) == ({"pin"}, ["register"])
    assert done.state is State.SUCCEEDED
    assert edges(stage.calls(operation)) == ["register", "register"]


def test_without_a_pin_a_person_is_asked_before_any_call(stage: Stage) -> None:
    does(stage, "verify")
    payload = {"number": stage.number, "verify": False}
    operation = stage.accept("number_registration", waba=stage.waba, payload=payload)

    stage.work(operation)
    waits = asked(stage, operation)

    assert (waits, stage.calls(operation)) == ({"pin"}, [])
    assert stage.work(operation, answer(pin=PIN)).state is State.SUCCEEDED


def test_a_pin_that_lies_in_the_vault_is_taken_before_anybody_is_asked(stage: Stage) -> None:
    does(stage, "set_pin", value="111111")
    does(stage, "verify")
    stage.house.vault.put(f"pins/{stage.number}", Secret("111111"))
    payload = {"number": stage.number, "verify": False}

    done = stage.work(stage.accept("number_registration", waba=stage.waba, payload=payload))

    assert done.state is State.SUCCEEDED
    assert len(stage.calls(done)) == 1


def test_a_pin_in_the_vault_that_is_wrong_is_tried_once_and_then_replaced(stage: Stage) -> None:
    name, vault = f"pins/{stage.number}", stage.house.vault
    does(stage, "set_pin", value="111111")
    does(stage, "verify")
    vault.put(name, Secret("999999"))
    payload = {"number": stage.number, "verify": False}
    operation = stage.accept("number_registration", waba=stage.waba, payload=payload)

    stage.work(operation)
    waits, made = asked(stage, operation), len(stage.calls(operation))
    stage.pass_time(60)
    done = stage.work(operation, answer(pin="111111"))

    assert (waits, made) == ({"pin"}, 1)
    assert done.state is State.SUCCEEDED
    assert vault.get(name) == Secret("111111")


def test_a_pin_that_a_request_brings_is_not_copied_into_the_vault(stage: Stage) -> None:
    stage.work(verified(stage))

    assert stage.house.vault.get(f"pins/{stage.number}") is None


def test_a_pin_that_comes_too_fast_waits_as_long_as_meta_says(stage: Stage) -> None:
    does(stage, "set_pin", value="111111")
    operation = verified(stage)
    stage.work(operation)

    stage.provide(operation, pin="111111")
    stage.attempt(operation)
    wait = held_for(stage, operation)
    done = stage.work(operation)

    assert timedelta(0) < wait <= timedelta(seconds=10)
    assert done.state is State.SUCCEEDED
    assert edges(stage.calls(operation)) == ["register"] * 3


def test_a_pin_guessed_too_often_waits_as_long_as_meta_says(stages: Stages) -> None:
    with stages(knobs={"inactive_wabas": 2, "pin_guesses": (1, 43_200.0)}) as stage:
        does(stage, "set_pin", value="111111")
        operation = verified(stage)
        stage.work(operation)
        stage.pass_time(3600)

        stage.provide(operation, pin="111111")
        stage.attempt(operation)
        wait, reason = held_for(stage, operation), why(stage, operation)
        done = stage.work(operation)

    assert wait == 11 * HOUR
    assert "133008" in reason
    assert done.state is State.SUCCEEDED
    assert edges(stage.calls(operation)) == ["register"] * 3


def test_a_number_that_is_not_verified_is_told_to_be(stage: Stage) -> None:
    done = stage.work(accept(stage, verify=False))

    assert done.state is State.FAILED
    assert "must be verified first" in why(stage, done)
    assert len(stage.calls(done)) == 1


def test_a_verification_that_has_expired_is_made_once_more(stage: Stage) -> None:
    operation = accept(stage)
    stage.before(3, lambda: stage.pass_time(15 * 86_400))

    done = stage.work(operation, answer())

    assert done.state is State.SUCCEEDED
    assert edges(stage.calls(operation)) == ["request_code", "verify_code", "register"] * 2


def test_a_locked_number_is_held_until_its_lock_ends_and_it_alone(stage: Stage) -> None:
    operation = verified(stage)
    stage.fault(path=f"/{stage.number}/register$", code=133016, times=1)
    other = stage.simulator.world.waba_ids[1]
    [neighbour] = stage.simulator.world.waba(other).numbers
    does(stage, "verify", neighbour.id)

    stage.attempt(operation)
    wait = held_for(stage, operation)
    [lock] = [one for one in stage.house.gate.read(stage.app).breakers if one.scope == f"number:{stage.number}"]
    payload = {"number": neighbour.id, "pin": PIN, "verify": False}
    others = stage.work(stage.accept("number_registration", waba=other, payload=payload))
    renamed = {"number": stage.number, "display_name": "Boots"}
    changed = stage.work(stage.accept("channel_update", waba=stage.waba, payload=renamed, partner="other"))
    done = stage.work(operation)

    assert wait == 72 * HOUR
    assert (lock.state, lock.retry_in) == ("open", 72 * HOUR)
    assert others.state is State.SUCCEEDED
    assert changed.state is State.SUCCEEDED
    assert done.state is State.SUCCEEDED
    assert edges(stage.calls(operation)) == ["register"] * 2


def test_a_locked_number_is_called_by_nobody_until_its_lock_ends(stage: Stage) -> None:
    stage.fault(path="/register$", code=133016, times=1)
    first = verified(stage)
    stage.attempt(first)

    payload = {"number": stage.number, "pin": PIN, "verify": False}
    second = stage.accept("number_registration", waba=stage.waba, payload=payload, partner="other")
    stage.attempt(second)

    assert held_for(stage, second) == 72 * HOUR
    assert stage.calls(second) == []


def test_a_number_deleted_minutes_ago_is_tried_again_when_it_may_be_had(stage: Stage) -> None:
    does(stage, "deleted_recently", seconds=300)
    operation = verified(stage)

    stage.attempt(operation)
    wait = held_for(stage, operation)
    done = stage.work(operation)

    assert wait >= timedelta(minutes=5)
    assert done.state is State.SUCCEEDED
    assert edges(stage.calls(operation)) == ["register"] * 2


def test_an_incomplete_deregistration_is_completed_first(stage: Stage) -> None:
    does(stage, "half_deregister")
    operation = verified(stage)

    done = stage.work(operation)

    assert done.state is State.SUCCEEDED
    assert edges(stage.calls(operation)) == ["register", "deregister", "register"]


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (131045, "record of the registration is broken"),
        (131031, "Meta has locked the account or the number"),
        (133000, "ask Meta's support"),
        (131005, "Not now"),
    ],
)
def test_what_only_people_can_mend_fails_with_a_clear_sentence(stage: Stage, code: int, sentence: str) -> None:
    operation = verified(stage)
    stage.fault(path="/register$", code=code, message="Not now", status=400)
    stage.fault(path="/deregister$", status=200, body='{"success":true}')

    done = stage.work(operation)

    assert done.state is State.FAILED
    assert sentence in why(stage, done)
    assert (done.error or {})["code"] == code


def test_two_step_verification_that_is_still_on_waits_for_a_person(stage: Stage) -> None:
    operation = verified(stage)
    stage.fault(path="/register$", code=100, subcode=2388001, times=1)

    stage.work(operation)
    waits, made = asked(stage, operation), len(stage.calls(operation))
    done = stage.work(operation, answer(done="yes"))

    assert (waits, made) == ({"done"}, 1)
    assert done.state is State.SUCCEEDED


# ── adding ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_number_that_is_in_the_list_already_is_gone_on_with(stage: Stage) -> None:
    number = stage.simulator.world.waba(stage.waba).numbers[0]
    operation = accept(stage, **{**NEW, "phone_number": f"+{number.cc}{number.national}"})

    done = stage.work(operation, answer())

    assert done.state is State.SUCCEEDED
    assert (done.result or {})["number"] == number.id


def test_who_has_as_many_numbers_as_he_may_have_is_told_so(stages: Stages) -> None:
    with stages(knobs={"numbers_most": (1, 1)}) as stage:
        done = stage.work(accept(stage, **NEW))

        assert done.state is State.FAILED
        assert "as many numbers as Meta allows" in why(stage, done)


def test_a_number_of_somebody_elses_fails_with_metas_words(stage: Stage) -> None:
    other = stage.simulator.world.waba(stage.simulator.world.waba_ids[1]).numbers[0]
    does(stage, "register", other.id)

    done = stage.work(accept(stage, **{**NEW, "phone_number": f"+{other.cc}{other.national}"}))

    assert done.state is State.FAILED
    assert "already registered to another account" in why(stage, done)
    assert len(stage.calls(done)) == 1


# ── what is refused without a call ───────────────────────────────────────────────────────────────────────────

GOOD = {"number": "123456789", "pin": PIN}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"number": None}, "one of number"),
        ({"phone_number": "+4930123456", "verified_name": "Shop"}, "one of number"),
        ({"number": "12ab"}, "number"),
        ({"number": None, "phone_number": "030123456", "verified_name": "Shop"}, "phone_number"),
        ({"number": None, "phone_number": "+49", "verified_name": "Shop"}, "phone_number"),
        ({"number": None, "phone_number": "+353123", "verified_name": "Shop"}, "phone_number"),
        ({"number": None, "phone_number": "+4930123456"}, "verified_name"),
        ({"number": None, "phone_number": "+4930123456", "verified_name": "S"}, "verified_name"),
        ({"number": None, "phone_number": "+4930123456", "verified_name": "S" * 76}, "verified_name"),
        ({"verified_name": "Shop"}, "verified_name"),
        ({"number": None, "phone_number": "+4930123456", "verified_name": "Shop", "verify": False}, "verify"),
        ({"pin": "12345"}, "PIN of six digits"),
        ({"pin": "12345a"}, "PIN of six digits"),
        ({"code_method": "EMAIL"}, "code_method"),
        ({"language": "German"}, "language"),
        ({"data_localization_region": "XX"}, "data_localization_region"),
        ({"colour": "blue"}, "colour"),
    ],
)
def test_what_cannot_be_is_refused_at_the_edge(stage: Stage, changes: Mapping[str, Any], told: str) -> None:
    payload = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}

    with pytest.raises(InvalidRequest, match=told) as refused:
        stage.accept("number_registration", waba=stage.waba, payload=payload)

    assert str(payload.get("pin")) not in str(refused.value)


@pytest.mark.parametrize(
    ("number", "parts"),
    [
        ("+4930123456", ("49", "30123456")),
        ("+12125550123", ("1", "2125550123")),
        ("+77012345678", ("7", "7012345678")),
        ("+353123456789", ("353", "123456789")),
        ("+972501234567", ("972", "501234567")),
        ("+99891234567", ("998", "91234567")),
        ("+21612345678", ("216", "12345678")),
        ("+2012345678", ("20", "12345678")),
    ],
)
def test_a_number_is_split_behind_its_country_calling_code(number: str, parts: tuple[str, str]) -> None:
    assert split_number(number) == parts


def test_what_touches_a_number_keeps_its_order(stage: Stage) -> None:
    first, second = accept(stage), accept(stage)
    digits = accept(stage, **NEW)
    renamed = stage.accept(
        "channel_update", waba=stage.waba, payload={"number": stage.number, "display_name": "Boots"}
    )

    assert first.lane == second.lane == renamed.lane
    assert first.lane is not None
    assert first.lane.endswith(f"number:{stage.number}")
    assert digits.lane is not None
    assert digits.lane.endswith("number:4930123456")
