"""`onboarding`: a signup becomes a WABA that works, whatever Meta says on the way; its code is sent once."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from tests.kinds.cases_onboarding import second_number
from tests.support.stage import Arrived, Crash, Point, Stage
from wabajobs.errors import InvalidRequest
from wabajobs.operation import Operation, State
from wabajobs.simulator.world import Allocation, Number, Waba
from wabajobs.simulator.world.nodes import Signup

Stages = Callable[..., AbstractContextManager[Stage]]
ALL_BUT_REGISTER = (
    "GET oauth/access_token",
    "GET debug_token",
    "POST {waba}/subscribed_apps",
    "GET {waba}",
    "POST {waba}/assigned_users",
    "POST {credit}/whatsapp_credit_sharing_and_attach",
)


def sign_up(stage: Stage, **signup: Any) -> Signup:
    return stage.simulator.world.signup(**signup)


def onboard(stage: Stage, signup: Signup, *, waba: bool = True, **payload: Any) -> Operation:
    """Ask for an onboarding, and work at it until it has ended or needs somebody."""
    about = {"waba": signup.waba_id} if waba else {}
    return stage.work(stage.accept("onboarding", payload={"code": signup.code, **payload}, **about))


def told(stage: Stage, operation: Operation) -> list[str]:
    return [f"{one.method} {one.path}" for one in stage.calls(operation)]


def full(stage: Stage, signup: Signup, *registered: str) -> list[str]:
    """The calls of an onboarding in which nothing goes wrong."""
    names = {"waba": signup.waba_id, "credit": stage.simulator.world.credit.id}
    return [one.format(**names) for one in ALL_BUT_REGISTER] + [f"POST {one}/register" for one in registered]


def waba_of(stage: Stage, signup: Signup) -> Waba:
    return stage.simulator.world.waba(signup.waba_id)


def number_of(stage: Stage, signup: Signup) -> Number:
    [number] = waba_of(stage, signup).numbers
    return number


def result(operation: Operation) -> dict[str, Any]:
    assert operation.state is State.SUCCEEDED, operation.as_json()
    assert operation.result is not None
    return operation.result


def error(operation: Operation) -> dict[str, Any]:
    assert operation.state is State.FAILED, operation.as_json()
    assert operation.error is not None
    return operation.error


def asked_for(operation: Operation) -> tuple[str, str]:
    """What it needs, and why."""
    assert operation.state is State.NEEDS_INPUT, operation.as_json()
    assert operation.needs is not None
    [ask] = operation.needs.asks
    return ask.name, operation.needs.reason


def without(stage: Stage, *names: str) -> None:
    """Let the app have no system user, or no line of credit."""
    settings = stage.house.settings
    app = settings.apps[stage.app].model_copy(update=dict.fromkeys(names))
    stage.house.settings = settings.model_copy(update={"apps": {stage.app: app}})


# ── when all goes well ───────────────────────────────────────────────────────────────────────────────────────


def test_a_signup_becomes_a_waba_that_works(stage: Stage) -> None:
    signup = sign_up(stage)

    done = onboard(stage, signup)

    waba, number = waba_of(stage, signup), number_of(stage, signup)
    assert stage.app in waba.subscribed
    assert waba.assigned == {stage.simulator.app.system_user_id: ("MANAGE",)}
    assert (number.registered, number.platform) == (True, "CLOUD_API")
    pays = stage.simulator.world.node(result(done)["credit"])
    assert isinstance(pays, Allocation)
    assert (pays.credential_id, pays.currency) == (waba.funding_id, waba.currency)
    assert result(done)["registered"] == [number.id]
    assert "left_out" not in result(done)
    pin = stage.house.vault.resolve(result(done)["pins"][number.id])
    assert pin.reveal() == number.pin
    [sync] = stage.house.ledger.operations.find(kind="template_sync")
    assert (result(done)["first_sync"], sync.waba, sync.partner) == (sync.id, waba.id, "acme")


def test_each_call_has_the_token_that_it_needs_and_says_what_meta_wants_to_hear(stage: Stage) -> None:
    signup = sign_up(stage)

    done = onboard(stage, signup, pin="135790")

    app, credit = stage.simulator.app, stage.simulator.world.credit.id
    calls = stage.calls(done)
    assert told(stage, done) == full(stage, signup, signup.number_id)
    token = stage.house.vault.resolve(result(done)["token"]).reveal()
    ours, theirs = f"Bearer {app.token}", f"Bearer {token}"
    assert [_authorization(one) for one in calls] == [None, ours, theirs, theirs, ours, ours, theirs]
    said = [{k: v for k, v in one.params.items() if k != "appsecret_proof"} for one in calls]
    assert said[0] == {"client_id": app.id, "client_secret": app.secret, "code": signup.code}
    assert said[1] == {"input_token": token}
    assert said[2] == {}
    assert set(said[3]) == {"fields"}
    assert said[4] == {"user": app.system_user_id, "tasks": ["MANAGE"]}
    assert said[5] == {"waba_id": signup.waba_id, "waba_currency": waba_of(stage, signup).currency}
    assert said[6] == {"messaging_product": "whatsapp", "pin": "135790"}
    assert credit in calls[5].path


def _authorization(call: Arrived) -> str | None:
    return {name.lower(): value for name, value in call.headers.items()}.get("authorization")


def test_the_token_tells_the_waba_and_is_kept_under_its_name(stage: Stage) -> None:
    signup = sign_up(stage)

    done = onboard(stage, signup, waba=False)

    assert (done.waba, result(done)["waba"]) == (signup.waba_id, signup.waba_id)
    assert result(done)["token"] == f"vault:tokens/{stage.app}/{signup.waba_id}"
    assert [one.id for one in stage.house.ledger.operations.find(kind="onboarding", waba=signup.waba_id)] == [
        done.id
    ]
    names = stage.house.ledger.secrets
    assert names.get(f"operations/{done.id}/token") is None
    assert names.get(f"operations/{done.id}/code") is None


def test_no_secret_is_told(stage: Stage) -> None:
    signup = sign_up(stage)

    done = onboard(stage, signup, pin="135790")

    token = stage.house.vault.resolve(result(done)["token"]).reveal()
    events = [(one.name, one.detail) for one in stage.house.ledger.operations.story(done.id)]
    shown = json.dumps([done.as_json(), done.checkpoint, events])
    for hidden in (signup.code, token, "135790", stage.simulator.app.secret):
        assert hidden not in shown


def test_what_is_not_wanted_or_not_set_makes_no_call(stage: Stage) -> None:
    without(stage, "system_user", "credit_line")
    signup = sign_up(stage, number="none")

    done = onboard(stage, signup, first_sync=False)

    assert told(stage, done) == full(stage, signup)[:4]
    assert {"system_user", "credit", "first_sync", "registered", "left_out"} & set(result(done)) == set()
    assert stage.house.ledger.operations.find(kind="template_sync") == []


# ── the code ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_code_that_meta_does_not_take_is_asked_for_anew_and_never_sent_again(stage: Stage) -> None:
    signup = sign_up(stage)
    used = sign_up(stage, waba=signup.waba_id)
    onboard(stage, used)

    needs = onboard(stage, used)

    name, why = asked_for(needs)
    assert name == "code"
    assert "This authorization code has been used" in why
    assert "let the customer sign up again" in why
    assert len(stage.calls(needs)) == 1
    stage.provide(needs, code="not-a-code")
    assert asked_for(stage.work(needs))[0] == "code"
    assert len(stage.calls(needs)) == 2
    stage.provide(needs, code=sign_up(stage, waba=signup.waba_id).code)
    assert result(stage.work(needs))["subscribed"]
    assert stage.duplicates() == []


def test_a_code_whose_answer_is_lost_is_never_sent_again(stage: Stage) -> None:
    signup = sign_up(stage)
    operation = stage.accept("onboarding", payload={"code": signup.code})

    needs = stage.work(operation, lose=1)

    assert "may be spent" in asked_for(needs)[1]
    assert [one.params["code"] for one in stage.calls(needs)] == [signup.code]
    another = sign_up(stage, waba=signup.waba_id).code
    stage.provide(needs, code=another)
    stage.witness.to_lose.add(len(stage.witness.arrived))
    assert "may be spent" in asked_for(stage.work(needs))[1], "the second one's answer is lost, too"
    assert [one.params["code"] for one in stage.calls(needs)] == [signup.code, another]


def test_a_code_that_was_given_up_is_not_sent_whoever_gives_it(stage: Stage) -> None:
    signup = sign_up(stage)
    onboard(stage, signup)
    needs = onboard(stage, signup)

    stage.provide(needs, code=signup.code)

    assert "given up before" in asked_for(stage.work(needs))[1]
    assert len(stage.calls(needs)) == 1


def test_a_worker_that_is_killed_over_a_code_that_meta_refuses_sends_it_no_more(stage: Stage) -> None:
    signup = sign_up(stage)
    onboard(stage, signup)
    operation = stage.accept("onboarding", waba=signup.waba_id, payload={"code": signup.code})

    stage.attempt(operation, Crash(1, Point.RECORDED))

    needs = stage.work(operation)
    assert asked_for(needs)[0] == "code", "although an older token of this WABA is kept"
    assert len(stage.calls(needs)) == 1


def test_a_signup_that_nobody_began_with_in_time_expires_without_a_call(stage: Stage) -> None:
    operation = stage.accept("onboarding", payload={"code": sign_up(stage).code})
    stage.pass_time(31)

    stage.house.ledger.operations.expire(now=stage.clock.now())

    expired = stage.get(operation)
    assert expired.state is State.EXPIRED
    assert expired.error is not None
    assert "before it could begin" in expired.error["message"]
    assert stage.calls(operation) == []


def test_a_code_that_is_too_old_is_not_worth_a_call(stage: Stage) -> None:
    operation = stage.accept("onboarding", payload={"code": sign_up(stage).code}, expires_after=3600)
    stage.pass_time(31)

    needs = stage.work(operation)

    assert "too old" in asked_for(needs)[1]
    assert stage.calls(operation) == []


def test_metas_limit_spends_no_code_and_what_has_begun_does_not_expire(stage: Stage) -> None:
    signup = sign_up(stage)
    stage.fault(path="oauth", code=4, times=1)
    operation = stage.accept("onboarding", payload={"code": signup.code})

    stage.attempt(operation)

    held = stage.get(operation)
    assert (held.state, held.deadline_at) == (State.HELD, None)
    stage.pass_time(31)
    assert "too old" in asked_for(stage.work(operation))[1]
    assert len(stage.calls(operation)) == 1


def test_a_wrong_app_secret_is_told_to_the_operators_and_not_to_the_customer(stage: Stage) -> None:
    stage.fault(path="oauth", code=1, message="Error validating client secret.")
    operation = stage.accept("onboarding", payload={"code": sign_up(stage).code})

    stage.attempt(operation)

    held = stage.get(operation)
    assert held.hold is not None
    assert held.hold.by == "configuration"
    assert f"[apps.{stage.app}] secret" in held.hold.reason


def test_a_token_once_kept_is_never_asked_for_again(stage: Stage) -> None:
    signup = sign_up(stage)
    stage.fault(path="debug_token", code=2, times=3)

    done = onboard(stage, signup)

    assert told(stage, done).count("GET oauth/access_token") == 1
    assert told(stage, done).count("GET debug_token") == 4
    assert result(done)["registered"]


# ── what the token is good for ───────────────────────────────────────────────────────────────────────────────


def debugged(stage: Stage, **data: Any) -> None:
    """Let Meta say this of the token."""
    granular = [{"scope": "whatsapp_business_management", "target_ids": data.pop("targets", [])}]
    scopes = ["whatsapp_business_management", "whatsapp_business_messaging"]
    known = {"is_valid": True, "scopes": scopes, "granular_scopes": granular, "expires_at": 0, **data}
    body = json.dumps({"data": known})
    stage.fault(path="debug_token", status=200, body=body, content_type="application/json")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"scopes": ["whatsapp_business_messaging"]}, "has not granted whatsapp_business_management:"),
        ({"scopes": []}, "has not granted whatsapp_business_management and whatsapp_business_messaging:"),
        ({"is_valid": False, "error": {"message": "Session has expired."}}, "not valid, says Meta: Session has"),
        ({"targets": ["5550001", "5550002"]}, "is not for WABA {waba}, but for 5550001, 5550002"),
    ],
)
def test_a_token_that_is_no_good_fails_before_anything_is_changed(
    stage: Stage, data: dict[str, Any], sentence: str
) -> None:
    signup = sign_up(stage)
    debugged(stage, **data)

    failed = onboard(stage, signup)

    assert sentence.format(waba=signup.waba_id) in error(failed)["message"]
    assert told(stage, failed) == ["GET oauth/access_token", "GET debug_token"]


def test_a_signup_without_a_waba_fails_in_plain_words(stage: Stage) -> None:
    signup = sign_up(stage)
    debugged(stage)

    failed = onboard(stage, signup, waba=False)

    assert "the signup has brought no WABA" in error(failed)["message"]


def test_a_token_that_ends_says_when(stages: Stages) -> None:
    with stages(knobs={"business_token_seconds": 3600}) as stage:
        ends = result(onboard(stage, sign_up(stage)))["token_ends_at"]

    assert ends.endswith("+00:00")


def test_a_token_that_somebody_has_deleted_fails_in_plain_words(stage: Stage) -> None:
    signup = sign_up(stage)
    operation = stage.accept("onboarding", waba=signup.waba_id, payload={"code": signup.code})
    stage.before(3, lambda: stage.house.ledger.secrets.delete(f"tokens/{stage.app}/{signup.waba_id}"))
    stage.fault(path="subscribed_apps", code=2, times=1)

    failed = stage.work(operation)

    assert "is in the vault no more" in error(failed)["message"]


# ── required and optional ────────────────────────────────────────────────────────────────────────────────────


def test_a_required_step_that_meta_refuses_fails_and_tells_how_to_undo_what_was_done(stage: Stage) -> None:
    signup = sign_up(stage)
    stage.fault(path=f"{signup.number_id}/register", code=133006, message="Phone number re-verification needed")

    failed = onboard(stage, signup)

    assert "Phone number re-verification needed" in error(failed)["message"]
    assert error(failed)["step"] == "register"
    assert set(error(failed)["to_undo"]) == {"subscribe", "assign", "share"}


def test_who_is_retried_goes_on_where_it_failed(stage: Stage) -> None:
    signup = sign_up(stage)
    stage.fault(path=f"{signup.number_id}/register", code=133006, message="Re-verification needed", times=1)
    failed = onboard(stage, signup)
    assert failed.state is State.FAILED

    stage.house.interventions.retry(failed.id, reason="the number is verified now", actor="anna")
    done = stage.work(failed)

    assert result(done)["registered"] == [signup.number_id]
    assert told(stage, done) == full(stage, signup, signup.number_id, signup.number_id)


def test_what_is_optional_is_left_out_and_told_and_done_later_without_a_code(stage: Stage) -> None:
    signup = sign_up(stage)
    fault = stage.fault(path="assigned_users", code=200, message="(#200) Permissions error")

    degraded = onboard(stage, signup)

    left_out = result(degraded)["left_out"]
    assert set(left_out) == {"assign", "share"}
    assert "(#200) Permissions error" in left_out["assign"]
    assert number_of(stage, signup).registered

    stage.simulator.faults.remove(fault)
    later = stage.work(stage.accept("onboarding", waba=signup.waba_id))

    assert "left_out" not in result(later)
    assert result(later)["credit"]
    assert told(stage, later) == full(stage, signup)[1:]
    assert stage.duplicates() == []


def test_without_a_code_and_without_a_token_a_code_is_asked_for(stage: Stage) -> None:
    needs = stage.work(stage.accept("onboarding", waba="5550001"))

    assert asked_for(needs)[0] == "code"
    assert stage.calls(needs) == []


@pytest.mark.parametrize("call", range(1, 8))
def test_what_another_partner_has_handed_in_already_is_done(stage: Stage, call: int) -> None:
    signup = sign_up(stage)
    stage.fault(code=1752041, message="(#1752041) Duplicate request", after=call - 1)

    done = onboard(stage, signup)

    assert "Duplicate request" in result(done)["already_onboarded"]
    assert told(stage, done) == full(stage, signup, signup.number_id)[:call]
    assert "left_out" not in result(done)


# ── credit ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_credit_that_is_shared_already_is_found_and_not_shared_again(stage: Stage) -> None:
    signup = sign_up(stage)
    first = onboard(stage, signup)

    again = onboard(stage, sign_up(stage, waba=signup.waba_id))

    assert result(again)["credit"] == result(first)["credit"]
    assert told(stage, again)[5:] == [f"GET {stage.simulator.world.credit.id}/owning_credit_allocation_configs"]
    assert stage.duplicates() == []


def test_a_customer_who_pays_himself_is_left_alone(stage: Stage) -> None:
    signup = sign_up(stage)
    waba_of(stage, signup).funding_id = "77777777"

    done = onboard(stage, signup)

    assert (result(done)["credit"], result(done)["paid_by"]) == (None, "the customer's own means")
    assert stage.simulator.judge.effects.by_kind().get("credit_shared") is None


def test_the_currency_is_the_requests_else_the_wabas(stage: Stage) -> None:
    signup, other = sign_up(stage), sign_up(stage)
    waba_of(stage, signup).currency = waba_of(stage, other).currency = "BRL"

    asked, unasked = onboard(stage, signup, currency="EUR"), onboard(stage, other)

    assert waba_of(stage, signup).currency == result(asked)["currency"] == "EUR"
    assert "the WABA's currency is BRL: say `currency`" in result(unasked)["left_out"]["share"]
    assert number_of(stage, other).registered


# ── numbers ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_number_that_is_registered_already_is_not_registered_again(stage: Stage) -> None:
    signup = sign_up(stage, number="registered")

    done = onboard(stage, signup)

    assert told(stage, done) == full(stage, signup)
    assert "registered" not in result(done)


def test_a_number_that_is_in_the_business_app_too_is_left_to_that(stage: Stage) -> None:
    signup = sign_up(stage)
    number_of(stage, signup).on_business_app = True

    assert told(stage, onboard(stage, signup)) == full(stage, signup)


def test_only_the_chosen_numbers_are_registered_and_a_strange_one_fails(stage: Stage) -> None:
    signup = sign_up(stage)

    none = onboard(stage, signup, numbers=[])
    strange = onboard(stage, sign_up(stage, waba=signup.waba_id), numbers=["5550001"])

    assert not number_of(stage, signup).registered
    assert "registered" not in result(none)
    assert f"has no number 5550001; it has {signup.number_id}" in error(strange)["message"]


def test_a_wrong_pin_is_asked_for_and_guessed_only_once(stage: Stage) -> None:
    signup = sign_up(stage)
    number = number_of(stage, signup)
    number.pin = "135790"

    needs = onboard(stage, signup)

    name, why = asked_for(needs)
    assert name == "pin"
    assert number.id in why
    registers = [one for one in told(stage, needs) if one.endswith("/register")]
    assert len(registers) == 1
    stage.provide(needs, pin="000000")
    stage.pass_time(3600)  # Meta lets nobody guess fast
    assert "the one that was given" in asked_for(stage.work(needs))[1]
    stage.provide(needs, pin="135790")
    stage.pass_time(3600)
    done = stage.work(needs)
    assert result(done)["registered"] == [number.id]
    assert stage.house.vault.resolve(result(done)["pins"][number.id]).reveal() == "135790"
    assert len([one for one in told(stage, done) if one.endswith("/register")]) == 3


def test_a_pin_that_was_asked_for_is_of_one_number_only(stage: Stage) -> None:
    signup = sign_up(stage)
    first = number_of(stage, signup)
    first.pin = "135790"
    second = second_number(stage, signup.waba_id)

    needs = onboard(stage, signup)
    stage.provide(needs, pin="135790")
    done = stage.work(needs)

    assert result(done)["registered"] == [first.id, second.id]
    vault = stage.house.vault
    pins = {number: vault.resolve(reference).reveal() for number, reference in result(done)["pins"].items()}
    assert pins == {first.id: "135790", second.id: second.pin}
    assert second.pin != "135790"


def test_a_pin_of_ours_that_got_lost_on_the_way_is_the_one_that_is_told(stage: Stage) -> None:
    signup = sign_up(stage)
    operation = stage.accept("onboarding", waba=signup.waba_id, payload={"code": signup.code})

    done = stage.work(operation, lose=7)

    [reference] = result(done)["pins"].values()
    assert stage.house.vault.resolve(reference).reveal() == number_of(stage, signup).pin
    assert told(stage, done)[7:] == [f"GET {signup.number_id}"]


def test_a_number_that_meta_has_locked_is_waited_for(stage: Stage) -> None:
    signup = sign_up(stage)
    stage.fault(path="register", code=133016, message="(#133016) Account register deregister limit exceeded")
    operation = stage.accept("onboarding", waba=signup.waba_id, payload={"code": signup.code})

    stage.attempt(operation)

    held = stage.get(operation)
    assert held.state is State.HELD
    assert held.hold is not None
    assert "133016" in held.hold.reason


# ── the edge ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("payload", "sentence"),
    [
        ({"code": ""}, "code: "),
        ({"code": "with space"}, "code: .*the code of a signup, or a reference"),
        ({"code": "c" * 2001}, "code: "),
        ({"redirect_uri": "http://hub.example/"}, "redirect_uri: "),
        ({"numbers": ["12"]}, r"numbers\.0: "),
        ({"numbers": ["+49151555"]}, r"numbers\.0: "),
        ({"numbers": ["5550001", "5550001"]}, "numbers: .*named twice"),
        ({"pin": "12345"}, "pin: .*a PIN of six digits"),
        ({"data_localization_region": "FR"}, "data_localization_region: "),
        ({"currency": "BRL"}, "currency: .*'AUD', 'EUR', 'GBP', 'IDR', 'INR' or 'USD'"),
        ({"currencies": "EUR"}, "currencies: Extra inputs are not permitted"),
    ],
)
def test_what_meta_would_refuse_costs_no_call(stage: Stage, payload: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidRequest, match=f"onboarding: {sentence}"):
        stage.accept("onboarding", waba=stage.waba, payload=payload)


def test_two_onboardings_of_a_waba_go_one_after_the_other(stage: Stage) -> None:
    signup = sign_up(stage)
    code = {"code": signup.code}

    first, second = (stage.accept("onboarding", waba=signup.waba_id, payload=code) for _ in range(2))
    unknown = stage.accept("onboarding", payload=code)

    assert first.lane == second.lane is not None
    assert unknown.lane is None
