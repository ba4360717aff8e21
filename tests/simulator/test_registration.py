"""Codes, registration and its quota, and numbers that move from one WABA to another."""

from __future__ import annotations

import json

import pytest

from wabajobs.simulator.world import numbers

from .client import Client, error_of
from .test_numbers import add, added, effects, fields, first, listed, refusal, steer, waba

HOUR, DAY = 3600.0, 86_400.0
PIN = "123456"


def details(answer) -> str:
    return error_of(answer)["error_data"]["details"]


def ask(client: Client, number: str, **parameters):
    return client.post(f"{number}/request_code", params={"code_method": "SMS", "language": "en_US", **parameters})


def received(client: Client, number: str) -> list[dict]:
    """The codes that the number's owner got."""
    return client.control("GET", f"sms?number={number}").json()["messages"]


def code_of(client: Client, number: str) -> str:
    return received(client, number)[-1]["code"]


def verify(client: Client, number: str, code: str | None = None):
    return client.post(f"{number}/verify_code", params={"code": code or code_of(client, number)})


def wrong_code(client: Client, number: str) -> str:
    return f"{(int(code_of(client, number)) + 1) % 1_000_000:06d}"


def register(client: Client, number: str, pin: str = PIN, **parameters):
    asked = {"messaging_product": "whatsapp", "pin": pin, **parameters}
    return client.post(f"{number}/register", json=asked)


def deregister(client: Client, number: str):
    return client.post(f"{number}/deregister")


def verified(client: Client, place: int = 0) -> str:
    """A new number that is verified."""
    number = added(client, place)
    assert ask(client, number).ok
    assert verify(client, number).ok
    return number


def pin_of(client: Client, number: str) -> str:
    return client.simulator.world.node(number).pin


def limit(client: Client, place: int = 0) -> int:
    world = client.control("GET", "world").json()
    return world["wabas"][place]["limit"]


# Codes


def test_a_code_is_sent_and_entered(start) -> None:
    client = start()
    number = added(client)

    asked = ask(client, number)
    (message,) = received(client, number)
    answer = verify(client, number)

    assert asked.json() == {"success": True}
    assert (message["method"], message["language"], len(message["code"])) == ("SMS", "en_US", 6)
    assert answer.json() == {"success": True, "id": number}
    assert fields(client, number, "code_verification_status")["code_verification_status"] == "VERIFIED"
    assert [(one.subject, one.details) for one in effects(client, "code_sent")] == [
        (number, {"method": "SMS", "language": "en_US"})
    ]
    assert [one.subject for one in effects(client, "number_verified")] == [number]


@pytest.mark.parametrize("way", ["json", "form", "json number"])
def test_a_code_comes_as_json_or_form(start, way) -> None:
    client = start()
    number = added(client)
    client.post(f"{number}/request_code", json={"code_method": "VOICE", "language": "de"})
    # A code that begins with 0 cannot be a number in JSON.
    while code_of(client, number).startswith("0"):
        ask(client, number)
    code = code_of(client, number)

    sent = {"data": {"code": code}} if way == "form" else {"json": {"code": int(code) if way != "json" else code}}

    assert client.post(f"{number}/verify_code", **sent).json()["success"] is True


@pytest.mark.parametrize(
    "wrong",
    [
        {"code_method": None},
        {"code_method": "PIGEON"},
        {"language": None},
        {"language": "English please"},
    ],
)
def test_a_code_needs_a_method_and_a_language(start, wrong) -> None:
    client = start()
    number = added(client)

    assert refusal(ask(client, number, **wrong)) == (100, None)
    assert received(client, number) == []


@pytest.mark.parametrize("code", ["12345", "123-456", "", "abcdef", "1234567"])
def test_a_code_has_six_digits(start, code) -> None:
    client = start()
    number = added(client)
    ask(client, number)

    assert refusal(client.post(f"{number}/verify_code", params={"code": code})) == (100, None)


def test_a_wrong_code_is_136025_and_the_right_one_still_holds(start) -> None:
    client = start()
    number = added(client)
    ask(client, number)

    wrong = verify(client, number, wrong_code(client, number))

    assert (wrong.status_code, error_of(wrong)["code"]) == (400, 136025)
    assert verify(client, number).status_code == 200


def test_a_code_ends(start) -> None:
    client = start(code_seconds=600.0)
    number = added(client)
    ask(client, number)

    client.simulator.advance(600)
    late = verify(client, number)
    ask(client, number)
    client.simulator.advance(599)

    assert error_of(late)["code"] == 136025
    assert "expired" in details(late)
    assert verify(client, number).status_code == 200


def test_a_code_is_taken_once_and_a_new_one_voids_the_old(start) -> None:
    client = start()
    number = added(client)
    ask(client, number)
    old = code_of(client, number)
    ask(client, number)
    assert old != code_of(client, number)

    assert error_of(verify(client, number, old))["code"] == 136025
    assert verify(client, number).status_code == 200
    assert error_of(verify(client, number))["code"] == 136025


def test_without_a_request_no_code_is_taken(start) -> None:
    client = start()

    assert error_of(verify(client, added(client), "123456"))["code"] == 136025


def test_too_many_wrong_codes_close_the_door_for_a_while(start) -> None:
    client = start(code_guesses=(3, 12 * HOUR), code_seconds=DAY)
    number = added(client)
    ask(client, number)
    for _ in range(3):
        assert "not correct" in details(verify(client, number, wrong_code(client, number)))

    client.simulator.advance(12 * HOUR - 1)
    locked = verify(client, number)
    client.simulator.advance(1)

    assert error_of(locked)["code"] == 136025
    assert "Too many" in details(locked)
    assert verify(client, number).status_code == 200


@pytest.mark.parametrize("code", [136024, 613])
def test_only_so_many_codes_are_sent(start, code) -> None:
    client = start(code_requests=(3, 12 * HOUR), code_requests_code=code)
    number = added(client)
    for _ in range(3):
        assert ask(client, number).ok

    refused = ask(client, number)
    client.simulator.advance(12 * HOUR)

    assert (refused.status_code, error_of(refused)["code"]) == (400, code)
    assert len(received(client, number)) == 3
    assert ask(client, number).status_code == 200


def test_a_verified_number_gets_no_code(start) -> None:
    client = start()
    number = verified(client)

    assert error_of(ask(client, number))["code"] == 136024
    assert error_of(ask(client, first(client)))["code"] == 136024
    assert len(received(client, number)) == 1


def test_a_second_sms_is_a_duplicate_unless_the_first_code_had_ended(start) -> None:
    client = start(code_seconds=600.0)
    number = added(client)

    ask(client, number)
    ask(client, number)
    client.simulator.advance(600)
    ask(client, number)

    assert [one.repeated for one in effects(client, "code_sent")] == [False, True, False]


def test_a_verification_ends_when_no_registration_follows(start) -> None:
    client = start(verification_seconds=14 * DAY)
    number = verified(client)

    client.simulator.advance(14 * DAY - 1)
    before = fields(client, number, "code_verification_status")["code_verification_status"]
    client.simulator.advance(1)
    after = fields(client, number, "code_verification_status")["code_verification_status"]

    assert (before, after) == ("VERIFIED", "EXPIRED")
    assert error_of(register(client, number))["code"] == 133006
    assert ask(client, number).ok
    assert verify(client, number).ok
    assert register(client, number).ok


def test_a_number_of_a_signup_has_its_time_from_then_on(start) -> None:
    client = start(verification_seconds=14 * DAY)
    client.simulator.advance(30 * DAY)

    number = client.simulator.world.signup(number="verified").number_id
    node = client.simulator.world.node(number)

    assert numbers.code_status(client.simulator.world, node) == "VERIFIED"
    client.simulator.advance(14 * DAY)
    assert numbers.code_status(client.simulator.world, node) == "EXPIRED"


# Registration


def test_a_registered_number_can_send_and_has_the_pin(start) -> None:
    client = start()
    number = verified(client)

    answer = register(client, number)

    assert answer.json() == {"success": True}
    shown = fields(client, number, "status", "platform_type", "is_pin_enabled", "throughput")
    assert shown == {
        "status": "CONNECTED",
        "platform_type": "CLOUD_API",
        "is_pin_enabled": True,
        "throughput": {"level": "STANDARD"},
        "id": number,
    }
    assert pin_of(client, number) == PIN
    assert [(one.subject, one.repeated) for one in effects(client, "number_registered")] == [(number, False)]


def test_registering_again_is_a_duplicate_and_nothing_to_do(start) -> None:
    client = start()
    number = verified(client)
    register(client, number)

    assert register(client, number).json() == {"success": True}

    assert [one.repeated for one in effects(client, "number_registered")] == [False, True]
    assert client.simulator.judge.wasted() == {"nothing to do": 1}


def test_registering_after_an_answer_was_lost_is_seen_by_the_judge(start) -> None:
    client = start()
    number = verified(client)
    client.simulator.faults.add(path="/register", times=1, status=504, body="", took_effect=True)

    lost, again = register(client, number), register(client, number)

    assert (lost.status_code, again.status_code) == (504, 200)
    assert [one.subject for one in client.simulator.judge.effects.duplicates()] == [number]


@pytest.mark.parametrize("way", ["call", "behind one's back"])
def test_a_number_may_be_registered_again_after_it_was_deregistered(start, way) -> None:
    client = start()
    number = verified(client)
    register(client, number)

    if way == "call":
        deregister(client, number)
    else:
        steer(client, "deregister", number)
    register(client, number)

    assert not client.simulator.judge.effects.duplicates()


@pytest.mark.parametrize(
    "wrong",
    [
        {"messaging_product": None},
        {"messaging_product": "signal"},
        {"pin": None},
        {"data_localization_region": "FR"},
        {"backup": "x"},
    ],
)
def test_wrong_parameters_are_error_100_and_spend_nothing(start, wrong) -> None:
    client = start(registrations=(1, 72 * HOUR))
    number = verified(client)

    for _ in range(3):
        assert refusal(register(client, number, **wrong)) == (100, None)

    assert register(client, number).status_code == 200


def test_an_unverified_number_is_133006(start) -> None:
    client = start()

    answer = register(client, added(client))

    assert (answer.status_code, error_of(answer)["code"]) == (400, 133006)


def test_a_wrong_pin_is_133005(start) -> None:
    client = start(pin_pause=10.0)
    number = first(client)
    right = pin_of(client, number)
    wrong = "000000" if right != "000000" else "111111"

    answer = register(client, number, wrong)
    client.simulator.advance(10)

    assert (answer.status_code, error_of(answer)["code"]) == (400, 133005)
    assert register(client, number, right).status_code == 200
    assert pin_of(client, number) == right


def test_a_pin_outlives_a_deregistration(start) -> None:
    client = start()
    deregister(client, first(client))

    assert error_of(register(client, first(client), "000000"))["code"] == 133005


def test_a_pin_that_is_guessed_too_fast_is_133009(start) -> None:
    client = start(pin_pause=10.0)
    number = first(client)
    right = pin_of(client, number)
    register(client, number, "000000")

    client.simulator.advance(9)
    answer = register(client, number, right)
    client.simulator.advance(1)

    assert (answer.status_code, error_of(answer)["code"]) == (400, 133009)
    assert "1 seconds" in details(answer)
    assert register(client, number, right).status_code == 200


def test_too_many_wrong_pins_are_133008_for_a_while(start) -> None:
    client = start(pin_guesses=(3, 12 * HOUR), pin_pause=0.0)
    number = first(client)
    right = pin_of(client, number)
    codes = [error_of(register(client, number, "000000"))["code"] for _ in range(4)]

    client.simulator.advance(12 * HOUR - 60)
    locked = register(client, number, right)
    client.simulator.advance(60)

    assert codes == [133005, 133005, 133005, 133008]
    assert error_of(locked)["code"] == 133008
    assert "60 seconds" in details(locked)
    assert register(client, number, right).status_code == 200


def test_without_two_step_verification_any_pin_is_set(start) -> None:
    client = start()

    steer(client, "two_step_off", first(client))
    before = fields(client, first(client), "is_pin_enabled")["is_pin_enabled"]

    assert before is False
    assert register(client, first(client), "987654").ok
    assert pin_of(client, first(client)) == "987654"


def test_a_number_that_was_deleted_recently_is_133015(start) -> None:
    client = start()
    number = verified(client)
    steer(client, "deleted_recently", number, seconds=300)

    answer = register(client, number)
    client.simulator.advance(300)

    assert (answer.status_code, error_of(answer)["code"]) == (400, 133015)
    assert register(client, number).status_code == 200


def test_a_banned_number_is_131031(start) -> None:
    client = start()
    steer(client, "ban", first(client))

    answer = register(client, first(client))

    assert (answer.status_code, error_of(answer)["code"]) == (403, 131031)


@pytest.mark.parametrize("region", ["DE", "AU"])
def test_the_region_is_kept_until_the_number_is_deregistered(start, region) -> None:
    client = start()
    number = verified(client)

    register(client, number, data_localization_region=region)
    other = register(client, number, data_localization_region="BR")
    same = register(client, number, data_localization_region=region)
    shown = client.get(f"{number}/settings").json()["storage_configuration"]
    deregister(client, number)
    after = register(client, number, data_localization_region="BR")

    assert refusal(other) == (100, None)
    assert (same.status_code, after.status_code) == (200, 200)
    assert shown["data_localization_region"] == region
    assert client.simulator.world.node(number).data_localization_region == "BR"


def test_a_number_is_deregistered(start) -> None:
    client = start()

    answer = deregister(client, first(client))

    assert answer.json() == {"success": True}
    assert fields(client, first(client), "status", "platform_type") == {
        "status": "DISCONNECTED",
        "platform_type": "NOT_APPLICABLE",
        "id": first(client),
    }
    assert error_of(deregister(client, first(client)))["code"] == 133010
    assert [one.subject for one in effects(client, "number_deregistered")] == [first(client)]


def test_a_number_in_the_business_app_is_not_deregistered(start) -> None:
    client = start(registrations=(1, 72 * HOUR))
    steer(client, "on_business_app", first(client))

    for _ in range(3):
        assert refusal(deregister(client, first(client))) == (100, None)

    assert fields(client, first(client), "is_on_biz_app", "status")["status"] == "CONNECTED"


def test_a_deregistration_that_stopped_halfway_is_133000_until_it_is_repeated(start) -> None:
    client = start()
    number = first(client)
    pin = pin_of(client, number)
    steer(client, "half_deregister", number)

    broken = register(client, number, pin)
    assert (broken.status_code, error_of(broken)["code"]) == (500, 133000)
    assert deregister(client, number).status_code == 200
    assert register(client, number, pin).status_code == 200


# The quota of 10 in 72 hours


@pytest.mark.parametrize("what", ["register", "deregister"])
def test_the_call_after_the_tenth_in_72_hours_is_133016_and_locks_for_72_hours(start, what) -> None:
    client = start()
    number = first(client)
    pin = pin_of(client, number)

    def call():
        if what == "register":
            return register(client, number, pin)
        steer(client, "register", number)
        return deregister(client, number)

    for _ in range(10):
        assert call().status_code == 200
        client.simulator.advance(HOUR)
    tripped = call()
    # The first ten leave the window long before the lock ends.
    client.simulator.advance(72 * HOUR - 1)
    locked = [register(client, number, pin), deregister(client, number)]
    client.simulator.advance(1)

    assert (tripped.status_code, error_of(tripped)["code"]) == (400, 133016)
    assert [error_of(one)["code"] for one in locked] == [133016, 133016]
    assert call().status_code == 200


def test_refused_calls_do_not_lengthen_the_lock(start) -> None:
    client = start(registrations=(2, 72 * HOUR))
    number = first(client)
    codes = [register(client, number, pin_of(client, number)).status_code for _ in range(3)]
    for _ in range(71):
        client.simulator.advance(HOUR)
        assert error_of(register(client, number, PIN))["code"] == 133016

    client.simulator.advance(HOUR)

    assert codes == [200, 200, 400]
    assert register(client, number, pin_of(client, number)).status_code == 200


def test_the_quota_is_of_each_number_and_rolls(start) -> None:
    client = start(registrations=(2, 72 * HOUR))
    one, other = client.simulator.world.number_ids[:2]

    register(client, one, pin_of(client, one))
    client.simulator.advance(40 * HOUR)
    register(client, one, pin_of(client, one))
    client.simulator.advance(32 * HOUR)

    assert register(client, one, pin_of(client, one)).status_code == 200
    assert error_of(register(client, one, pin_of(client, one)))["code"] == 133016
    assert register(client, other, pin_of(client, other)).status_code == 200


@pytest.mark.parametrize("counted", [True, False])
def test_failed_attempts_spend_the_quota_unless_a_knob_says_no(start, counted) -> None:
    client = start(registrations=(2, 72 * HOUR), failed_registrations_count=counted)
    number = added(client)

    codes = [error_of(register(client, number))["code"] for _ in range(4)]

    assert codes == ([133006, 133006, 133016, 133016] if counted else [133006] * 4)


def test_calls_that_the_app_limit_refused_spend_nothing(start) -> None:
    client = start(registrations=(1, 72 * HOUR), app_limit=1)
    number = first(client)
    client.get(number)

    for _ in range(3):
        assert error_of(register(client, number))["code"] == 4
    client.simulator.advance(HOUR)

    assert register(client, number, pin_of(client, number)).status_code == 200


def test_the_locked_numbers_can_be_read(start) -> None:
    client = start(registrations=(10, 72 * HOUR))
    world, number = client.simulator.world, first(client)
    pin = pin_of(client, number)

    for _ in range(7):
        register(client, number, pin)
    assert numbers.locked(world) == []
    register(client, number, pin)
    (near,) = numbers.locked(world)
    for _ in range(3):
        register(client, number, pin)

    assert near == {
        "number": number,
        "waba": waba(client),
        "registrations": 8,
        "deregistrations": 0,
        "most": 10,
        "locked": False,
        "locked_until": None,
    }
    (locked,) = client.control("GET", "numbers").json()["locked"]
    assert (locked["registrations"], locked["locked"], locked["locked_until"]) == (10, True, 72 * HOUR)
    client.simulator.advance(72 * HOUR)
    assert numbers.locked(world) == []


def test_meta_may_lift_the_lock(start) -> None:
    client = start(registrations=(1, 72 * HOUR))
    number = first(client)
    for _ in range(2):
        register(client, number, pin_of(client, number))

    steer(client, "unlock", number)

    assert register(client, number, pin_of(client, number)).status_code == 200


def test_the_first_and_the_last_registered_number_move_the_quota_of_the_waba(start) -> None:
    client = start(inactive_wabas=3)
    number = verified(client)

    def refused_after() -> int:
        client.simulator.limits.forget()
        calls = 0
        while client.get(number, fields="id").ok:
            calls += 1
        client.simulator.limits.forget()
        return calls

    before = (limit(client), refused_after())
    register(client, number)
    registered = limit(client)
    client.simulator.limits.set(waba_limit_active=300)
    during = refused_after()
    deregister(client, number)

    assert before == (200, 200)
    assert (registered, during) == (5000, 300)
    assert (limit(client), refused_after()) == (200, 200)


# From one WABA to another


def move(client: Client, *, to: int = 1, number: str | None = None):
    """Begin to move a number, the first one unless another is named."""
    source = client.simulator.world.node(number or first(client))
    return client.post(
        f"{waba(client, to)}/phone_numbers",
        data={"cc": source.cc, "phone_number": source.national, "migrate_phone_number": "true"},
    )


def moving(client: Client, **options) -> str:
    answer = move(client, **options)
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


def proved(client: Client, number: str) -> str:
    assert ask(client, number).ok
    assert verify(client, number).ok
    return number


def test_a_number_works_at_its_destination_once_it_is_registered_there(start) -> None:
    client = start(inactive_wabas=2)
    old = first(client)
    steer(client, "two_step_off", old)
    steer(client, "official", old)
    steer(client, "quality", old, value="YELLOW")

    new = moving(client)
    proved(client, new)
    still = fields(client, old, "status")["status"]
    before = (limit(client, 0), limit(client, 1))
    answer = register(client, new)

    assert answer.json() == {"success": True}
    assert new != old
    assert still == "CONNECTED"
    assert (before, (limit(client, 0), limit(client, 1))) == ((5000, 200), (200, 5000))
    assert old not in listed(client, 0)
    assert new in listed(client, 1)
    assert fields(client, old, "status")["status"] == "MIGRATED"
    names = ("verified_name", "quality_rating", "name_status", "is_official_business_account", "status")
    assert fields(client, new, *names) == {
        "verified_name": "Shop 1",
        "quality_rating": "YELLOW",
        "name_status": "APPROVED",
        "is_official_business_account": True,
        "status": "CONNECTED",
        "id": new,
    }
    (moved,) = effects(client, "number_migrated")
    assert (moved.subject, moved.details) == (new, {"left": old, "left_waba": waba(client, 0)})
    assert [one.subject for one in effects(client, "number_registered")] == [new]
    assert effects(client, "number_added")[0].details == {"number": new, "migrating": True}


def test_a_number_that_has_left_can_do_nothing_any_more(start) -> None:
    client = start()
    old = first(client)
    steer(client, "two_step_off", old)
    register(client, proved(client, moving(client)))

    for answer in (
        ask(client, old),
        verify(client, old, "123456"),
        register(client, old),
        deregister(client, old),
        client.post(old, json={"pin": PIN}),
        client.post(f"{old}/settings", json={"calling": {}}),
        client.get(f"{old}/whatsapp_business_profile"),
    ):
        assert refusal(answer) == (33, None)


def test_a_number_can_move_back(start) -> None:
    client = start()
    steer(client, "two_step_off", first(client))
    there = proved(client, moving(client))
    register(client, there)
    steer(client, "two_step_off", there)

    back = proved(client, moving(client, to=0, number=there))

    assert register(client, back).ok
    assert back in listed(client, 0)
    assert there not in listed(client, 1)


def test_two_step_verification_must_be_off_at_the_source(start) -> None:
    client = start()
    number = proved(client, moving(client))

    on = register(client, number)
    steer(client, "two_step_off", first(client))

    assert refusal(on) == (100, 2388001)
    assert "two-step" in error_of(on)["error_user_msg"]
    assert register(client, number).ok


def test_ownership_must_be_proved_before_a_number_moves(start) -> None:
    client = start()
    steer(client, "two_step_off", first(client))

    answer = register(client, moving(client))

    assert refusal(answer) == (100, 2388001)
    assert "ownership" in error_of(answer)["error_user_msg"]


@pytest.mark.parametrize("ended", ["by hand", "somebody was faster"])
def test_a_number_that_does_not_move_any_more_gets_no_code(start, ended) -> None:
    client = start()
    steer(client, "two_step_off", first(client))
    number = moving(client)
    if ended == "by hand":
        steer(client, "end_migration", number)
    else:
        register(client, proved(client, moving(client, to=2)))

    assert refusal(ask(client, number)) == (100, 2388091)
    assert refusal(verify(client, number, "123456")) == (100, 2388093)
    assert refusal(register(client, number)) == (100, 2388001)


def business_of(client: Client, place: int):
    world = client.simulator.world
    return world.change(world.nodes[world.waba(waba(client, place)).business_id])


def change_waba(client: Client, place: int, **changes) -> None:
    node = client.simulator.world.change(client.simulator.world.waba(waba(client, place)))
    for name, value in changes.items():
        setattr(node, name, value)


HINDRANCES = {
    "no_webhooks": lambda client: change_waba(client, 1, subscribed={}),
    "source_not_set_up": lambda client: steer(client, "deregister", first(client)),
    "source_not_approved": lambda client: change_waba(client, 0, review="PENDING"),
    "no_payment": lambda client: change_waba(client, 1, funding_id=None),
    "destination_not_approved": lambda client: change_waba(client, 1, review="REJECTED"),
    "test_number": lambda client: steer(client, "sandbox", first(client)),
    "business_app": lambda client: steer(client, "on_business_app", first(client)),
    "name_not_approved": lambda client: client.post(first(client), json={"new_display_name": "Boots"}),
    "business_not_verified": lambda client: setattr(business_of(client, 0), "verified", False),
    "messaging_for": lambda client: steer(client, "migration_problem", first(client), value="messaging_for"),
    "generic": lambda client: steer(client, "migration_problem", first(client), value="generic"),
}


@pytest.mark.parametrize("reason", HINDRANCES)
def test_a_number_that_cannot_move_is_2388103_and_only_the_text_tells_why(start, reason) -> None:
    client = start()
    HINDRANCES[reason](client)

    answer = move(client)

    assert refusal(answer) == (100, 2388103)
    assert error_of(answer)["error_user_msg"] == numbers.STAY[reason]
    assert len(listed(client, 1)) == 1


def test_a_number_that_nobody_has_is_to_be_added_directly(start) -> None:
    client = start()

    answer = add(client, migrate_phone_number=True)

    assert refusal(answer) == (100, 2388103)
    assert error_of(answer)["error_user_msg"] == numbers.STAY["add_directly"]


def test_every_reason_has_its_text(start) -> None:
    tested = {*HINDRANCES, "add_directly", "different_business"}

    assert tested == set(numbers.STAY)
    assert len(set(numbers.STAY.values())) == len(numbers.STAY)


def test_both_wabas_must_be_of_one_business_by_a_knob(start) -> None:
    client = start(migration_same_business=True)

    other = move(client)
    change_waba(client, 1, business_id=client.simulator.world.waba(waba(client)).business_id)

    assert error_of(other)["error_user_msg"] == numbers.STAY["different_business"]
    assert move(client).ok


def test_a_number_in_maintenance_is_2494100_for_a_while(start) -> None:
    client = start()
    steer(client, "maintenance", first(client), seconds=180)

    answer = move(client)
    client.simulator.advance(180)

    assert refusal(answer) == (100, 2494100)
    assert move(client).ok


def test_maintenance_holds_up_the_last_step_too(start) -> None:
    client = start()
    steer(client, "two_step_off", first(client))
    number = proved(client, moving(client))
    steer(client, "maintenance", first(client), seconds=180)

    assert refusal(register(client, number)) == (100, 2494100)
    client.simulator.advance(180)
    assert register(client, number).ok


def test_a_number_that_is_moving_already_is_2388012(start) -> None:
    client = start()
    moving(client)

    assert refusal(move(client)) == (100, 2388012)


def test_the_limit_of_numbers_holds_for_those_that_move(start) -> None:
    client = start(numbers_most=(1, 1))

    other = move(client)
    change_waba(client, 1, business_id=client.simulator.world.waba(waba(client)).business_id)

    assert refusal(other) == (200, 1349175)
    assert move(client).ok


# From On-Premises to the Cloud


def on_premises(client: Client) -> tuple[str, str]:
    """A number that is On-Premises, and the data of its backup under the password `secret`."""
    number = first(client)
    steer(client, "on_premises", number)
    client.simulator.world.change(client.simulator.world.node(number)).code_status = "NOT_VERIFIED"
    backup = steer(client, "back_up", number, value="secret")
    return number, backup["settings"]["data"]


def test_a_backup_registers_a_number_without_a_code(start) -> None:
    client = start()
    number, data = on_premises(client)
    before = fields(client, number, "platform_type")["platform_type"]

    without = register(client, number, pin_of(client, number))
    answer = register(client, number, pin_of(client, number), backup={"password": "secret", "data": data})

    assert (before, error_of(without)["code"]) == ("ON_PREMISE", 133006)
    assert answer.json() == {"success": True}
    assert fields(client, number, "platform_type")["platform_type"] == "CLOUD_API"
    assert effects(client, "number_registered")[0].details == {"on_premises": True}


def test_a_backup_may_come_as_json_in_a_form(start) -> None:
    client = start()
    number, data = on_premises(client)
    backup = json.dumps({"password": "secret", "data": data})

    answer = client.post(
        f"{number}/register",
        data={"messaging_product": "whatsapp", "pin": pin_of(client, number), "backup": backup},
    )

    assert answer.json() == {"success": True}


@pytest.mark.parametrize(
    "wrong", [{"password": "another"}, {"data": "another"}, {"data": None}, {"password": {"a": 1}}, {"data": [1]}]
)
def test_a_wrong_backup_is_error_100(start, wrong) -> None:
    client = start()
    number, data = on_premises(client)

    answer = register(
        client, number, pin_of(client, number), backup={"password": "secret", "data": data, **wrong}
    )

    assert refusal(answer) == (100, None)


def test_a_number_on_premises_is_not_deregistered_here(start) -> None:
    client = start()
    number, _ = on_premises(client)

    assert error_of(deregister(client, number))["code"] == 133010


# Limits


def test_registration_counts_for_the_app_and_not_for_the_waba(start) -> None:
    client = start(waba_limit_active=1)
    number = first(client)

    codes = [register(client, number, pin_of(client, number)).status_code for _ in range(3)]

    assert codes == [200] * 3
    assert client.simulator.judge.by_capability() == {"phone_numbers": 3}
