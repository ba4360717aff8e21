"""`number_migration`: the dry run, the move and its point of no return, and each reason why a number stays."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import pytest

from tests.kinds.owner import (
    PIN,
    answer,
    asked,
    codes,
    destination,
    does,
    edges,
    held_for,
    number_of,
    phone_number,
    said,
    why,
)
from tests.support.stage import Stage
from wabajobs.errors import InvalidRequest
from wabajobs.operation import Operation, State
from wabajobs.simulator.world import accounts, template_life

Stages = Callable[..., AbstractContextManager[Stage]]


def accept(stage: Stage, **payload: Any) -> Operation:
    """Ask for the first number to come to the second WABA."""
    wanted = {"phone_number": phone_number(stage), "pin": PIN, **payload}
    return stage.accept("number_migration", waba=destination(stage), payload=wanted)


def checked(stage: Stage, **payload: Any) -> dict[str, Any]:
    """Return what a dry run tells."""
    done = stage.work(accept(stage, check_only=True, **payload))
    assert done.state is State.SUCCEEDED
    assert done.result is not None
    return done.result


def waba(stage: Stage, place: int) -> Any:
    """Return a WABA, to be changed."""
    return stage.simulator.world.change(stage.simulator.world.waba(stage.simulator.world.waba_ids[place]))


# ── the move ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_number_moves_once_its_owner_agrees_and_its_templates_come_along(stage: Stage) -> None:
    does(stage, "two_step_off")
    operation = accept(stage)

    stage.work(operation)
    works_at_first = stage.simulator.world.waba(stage.waba).numbers[0].registered
    done = stage.work(operation, answer())

    number = number_of(stage, done)
    assert number is not None
    national, to = number.national, destination(stage)
    assert works_at_first
    assert done.result == {"subscribed": True, "number": number.id, "verified": True, "registered": True}
    assert (number.registered, number.pin) == (True, PIN)
    assert stage.simulator.world.waba(stage.waba).numbers[0].moved_away
    assert [(one.method, one.path, said(one)) for one in stage.calls(operation)] == [
        ("GET", f"{to}/subscribed_apps", {}),
        ("POST", f"{to}/phone_numbers", {"cc": "1", "phone_number": national, "migrate_phone_number": True}),
        ("POST", f"{number.id}/request_code", {"code_method": "SMS", "language": "en_US"}),
        ("POST", f"{number.id}/verify_code", {"code": number.sms[0]["code"]}),
        ("POST", f"{number.id}/register", {"messaging_product": "whatsapp", "pin": PIN}),
    ]


def test_its_new_waba_is_active_from_then_on(stage: Stage) -> None:
    does(stage, "two_step_off")
    gate, to = stage.house.gate, destination(stage)
    gate.note_activity(stage.app, to, active=False)

    stage.work(accept(stage), answer())

    assert gate.read(stage.app, wabas=[to]).windows[1].limit == 5000


def test_an_app_that_is_not_subscribed_is_subscribed_first(stage: Stage) -> None:
    does(stage, "two_step_off")
    accounts.unsubscribe(stage.simulator.world, waba(stage, 1), stage.simulator.app)

    done = stage.work(accept(stage), answer())

    assert done.state is State.SUCCEEDED
    assert [one.method for one in stage.calls(done)][:3] == ["GET", "POST", "POST"]
    assert edges(stage.calls(done))[:3] == ["subscribed_apps", "subscribed_apps", "phone_numbers"]


def test_a_callback_of_the_waba_is_left_alone(stage: Stage) -> None:
    does(stage, "two_step_off")
    callback = "https://hub.example/webhooks"
    accounts.subscribe(stage.simulator.world, waba(stage, 1), stage.simulator.app, callback)

    stage.work(accept(stage), answer())

    assert waba(stage, 1).subscribed == {stage.app: callback}


def test_two_step_verification_that_is_on_waits_for_its_owner(stage: Stage) -> None:
    operation = accept(stage)
    stage.work(operation)
    stage.provide(operation, code=codes(stage, operation)[0])

    stage.work(operation)
    waits, reason = asked(stage, operation), why(stage, operation)
    does(stage, "two_step_off")
    done = stage.work(operation, answer(done="yes"))

    assert waits == {"done"}
    assert "switch two-step verification off" in reason
    assert done.state is State.SUCCEEDED
    assert edges(stage.calls(operation)).count("register") == 2


def test_a_move_that_was_given_up_is_gone_on_with_from_its_number(stage: Stage) -> None:
    does(stage, "two_step_off")
    first = accept(stage)
    stage.work(first)
    stage.house.interventions.cancel(first.id, reason="another day", actor="anna")

    done = stage.work(accept(stage), answer())

    assert done.state is State.SUCCEEDED
    assert stage.simulator.judge.effects.by_kind()["number_added"] == 1


def test_a_number_in_maintenance_waits_some_minutes(stage: Stage) -> None:
    does(stage, "two_step_off")
    does(stage, "maintenance", seconds=300)
    operation = accept(stage)

    stage.attempt(operation)
    wait = held_for(stage, operation)
    done = stage.work(operation, answer())

    assert wait >= timedelta(minutes=5)
    assert done.state is State.SUCCEEDED
    assert edges(stage.calls(operation)).count("phone_numbers") == 2


@pytest.mark.parametrize(
    ("edge", "said_so"), [("request_code", "sends no code"), ("verify_code", "takes no code")]
)
def test_a_number_that_does_not_come_any_more_says_what_to_do(stage: Stage, edge: str, said_so: str) -> None:
    does(stage, "two_step_off")
    operation = accept(stage)
    number_is_there = 3 if edge == "request_code" else 4

    def end() -> None:
        number = number_of(stage, operation)
        assert number is not None
        does(stage, "end_migration", number.id)

    stage.before(number_is_there, end)
    done = stage.work(operation, answer())

    assert done.state is State.FAILED
    assert said_so in why(stage, done)
    assert (done.error or {})["subcode"] in (2388091, 2388093)


# ── the point of no return ───────────────────────────────────────────────────────────────────────────────────


def test_until_the_registration_a_move_can_be_called_off(stage: Stage) -> None:
    operation = accept(stage)
    stage.work(operation)

    called_off = stage.house.interventions.cancel(operation.id, reason="not now", actor="anna")

    assert called_off.state is State.CANCELLED
    assert stage.simulator.world.waba(stage.waba).numbers[0].registered


def test_a_registration_that_meta_has_refused_is_not_past_the_point_of_no_return(stage: Stage) -> None:
    operation = accept(stage)
    stage.work(operation)
    stage.provide(operation, code=codes(stage, operation)[0])
    stage.work(operation)  # two-step verification is still on
    before = stage.get(operation)

    called_off = stage.house.interventions.cancel(operation.id, reason="not now", actor="anna")

    assert not before.past_return
    assert before.deadline_at is not None
    assert called_off.state is State.CANCELLED


def test_a_registration_that_may_have_happened_is_called_off_only_by_force(stage: Stage) -> None:
    does(stage, "two_step_off")
    operation = accept(stage)
    stage.work(operation)
    stage.provide(operation, code=codes(stage, operation)[0])
    stage.fault(path="/register$", reset_after=True, times=1)
    stage.attempt(operation)

    with pytest.raises(InvalidRequest, match="point of no return"):
        stage.house.interventions.cancel(operation.id, reason="not now", actor="anna")

    assert stage.work(operation, answer()).state is State.SUCCEEDED


# ── why it stays ─────────────────────────────────────────────────────────────────────────────────────────────

_HINDRANCES: Mapping[str, str] = {
    "no_webhooks": "no app is subscribed",
    "add_directly": "number_registration",
    "name_not_approved": "display name is not approved",
    "source_not_set_up": "not set up completely where it is",
    "source_not_approved": "its present WABA is not approved",
    "no_payment": "no payment method",
    "different_business": "the same business",
    "destination_not_approved": "this WABA is not approved",
    "business_not_verified": "businesses of both WABAs must be verified",
    "messaging_for": "messaging for is not approved",
    "test_number": "it is a test number",
    "business_app": "WhatsApp Business app",
}


@pytest.mark.parametrize("reason", _HINDRANCES)
def test_each_reason_has_a_sentence_that_says_what_to_do(stage: Stage, reason: str) -> None:
    does(stage, "migration_problem", value=reason)

    done = stage.work(accept(stage))

    assert done.state is State.FAILED
    assert _HINDRANCES[reason] in why(stage, done)
    assert "Meta: " in why(stage, done)
    assert (done.error or {})["subcode"] == 2388103
    assert edges(stage.calls(done)) == ["subscribed_apps", "phone_numbers"]


def test_a_reason_of_which_meta_says_that_it_passes_is_waited_for(stage: Stage) -> None:
    does(stage, "two_step_off")
    does(stage, "migration_problem", value="generic")
    operation = accept(stage)

    stage.attempt(operation)
    wait = held_for(stage, operation)
    does(stage, "migration_problem", value=None)
    done = stage.work(operation, answer())

    assert wait == timedelta(hours=1)
    assert done.state is State.SUCCEEDED


# ── the dry run ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_dry_run_of_a_number_that_may_move_says_so_and_changes_nothing(stage: Stage) -> None:
    does(stage, "two_step_off")

    told = checked(stage, source_waba=stage.waba, source_number=stage.number)

    assert told == {"ready": True, "unmet": [], "unseen": []}
    assert stage.effects() == []


def test_a_dry_run_lists_all_that_stands_against_the_move(stage: Stage) -> None:
    world = stage.simulator.world
    to, source = waba(stage, 1), waba(stage, 0)
    to.review, to.funding_id, source.review = "PENDING", None, "REJECTED"
    for place in (0, 1):
        accounts.verify(world, waba(stage, place), verified=False)
    for action in ("sandbox", "on_business_app", "deregister"):
        does(stage, action)
    number = world.change(source.numbers[0])
    number.name_status, number.new_name_status = "DECLINED", "PENDING_REVIEW"

    told = checked(stage, source_waba=stage.waba, source_number=stage.number)

    assert not told["ready"]
    assert len(told["unmet"]) == 3 + 2 + 6
    assert "this WABA has no payment method and no line of credit" in told["unmet"]
    assert any("two-step verification is on" in sentence for sentence in told["unmet"])
    assert stage.effects() == []


def test_a_dry_run_tells_what_it_cannot_see(stage: Stage) -> None:
    done = stage.work(accept(stage, check_only=True))

    assert done.result == {"ready": True, "unmet": [], "unseen": ["source_waba", "source_number"]}
    assert [(one.method, one.path) for one in stage.calls(done)] == [("GET", destination(stage))]


# ── templates ────────────────────────────────────────────────────────────────────────────────────────────────


def _one_business(stage: Stage) -> None:
    waba(stage, 1).business_id = waba(stage, 0).business_id


def test_templates_are_copied_in_smaller_pages_when_meta_has_too_little_time(stages: Stages) -> None:
    with stages(knobs={"templates": 7}) as stage:
        does(stage, "two_step_off")
        _one_business(stage)
        heavy = {"path": "/migrate_message_templates$", "code": 1, "message": "reduce the amount of data"}
        stage.fault(**heavy, times=4)
        stage.before(11, lambda: stage.fault(**heavy, times=1))  # the second page of five

        done = stage.work(accept(stage, templates=True, source_waba=stage.waba), answer())

        pages = [one.params for one in stage.calls(done) if one.path.endswith("/migrate_message_templates")]
        assert done.state is State.SUCCEEDED
        assert [(page["page_number"], page["count"]) for page in pages] == [
            *((0, count) for count in (500, 250, 125, 25, 5)),
            *((1, 5), (5, 1), (6, 1), (7, 1)),
        ]


def test_what_was_copied_before_metas_time_was_up_is_not_told_as_missing(stages: Stages) -> None:
    with stages(knobs={"templates": 7, "template_migration_most": 2}) as stage:
        does(stage, "two_step_off")
        _one_business(stage)
        stage.before(6, lambda: setattr(waba(stage, 1), "templates", []))
        source = stage.simulator.world.listed(waba(stage, 0))

        done = stage.work(accept(stage, templates=True, source_waba=stage.waba), answer())

        approved = {one.name for one in source if one.status == "APPROVED"}
        assert len(approved) > 2
        assert {one.name for one in stage.simulator.world.listed(waba(stage, 1))} == approved
        assert (done.result or {})["not_copied"].keys() == {one.id for one in source if one.name not in approved}


def test_a_template_that_may_not_be_copied_is_told_with_its_reason(stage: Stage) -> None:
    does(stage, "two_step_off")
    _one_business(stage)
    world = stage.simulator.world
    template = next(one for one in world.listed(waba(stage, 0)) if one.status == "APPROVED")
    template_life.set_quality(world, template.id, "YELLOW")

    done = stage.work(accept(stage, templates=True, source_waba=stage.waba), answer())

    assert (done.result or {})["not_copied"][template.id] == "Template quality is too low"


def test_templates_that_cannot_be_copied_do_not_undo_the_move(stage: Stage) -> None:
    does(stage, "two_step_off")

    done = stage.work(accept(stage, templates=True, source_waba=stage.waba), answer())

    assert done.state is State.SUCCEEDED
    assert "one business" in (done.result or {})["left_out"]["templates"]


# ── what is refused without a call ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        ({}, "phone_number"),
        ({"phone_number": "4930123456"}, "phone_number"),
        ({"phone_number": "+4930123456", "templates": True}, "source_waba"),
        ({"phone_number": "+4930123456", "source_number": "x"}, "source_number"),
        ({"phone_number": "+4930123456", "pin": "1"}, "PIN of six digits"),
        ({"phone_number": "+4930123456", "number": "123456"}, "number"),
    ],
)
def test_what_cannot_be_is_refused_at_the_edge(stage: Stage, payload: Mapping[str, Any], told: str) -> None:
    with pytest.raises(InvalidRequest, match=told):
        stage.accept("number_migration", waba=stage.waba, payload=payload)
