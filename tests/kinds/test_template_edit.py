"""`template_edit`: what it calls, and what becomes of an edit that Meta does not take now."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from tests.kinds.templates import BODY, MEDIA, TEXT, seen, there
from tests.support.stage import Stage
from wabajobs.errors import InvalidRequest
from wabajobs.operation import Operation, State

Stages = Callable[..., AbstractContextManager[Stage]]


def asked(stage: Stage, id_: str, **changes: Any) -> Operation:
    payload = {"template_id": id_, "name": "welcome", **(changes or {"components": [BODY]})}
    return stage.accept("template_edit", waba=stage.waba, payload=payload)


def edited(stage: Stage, id_: str, **changes: Any) -> Operation:
    return stage.work(asked(stage, id_, **changes))


def status(stage: Stage, id_: str, status: str) -> None:
    stage.simulator.world.set_status(stage.waba, id_, status)


def test_an_edit_is_one_call_to_the_template_and_it_is_in_review_again(stage: Stage) -> None:
    id_ = there(stage, stage.waba, "welcome")

    operation = edited(stage, id_)

    [call] = stage.calls(operation)
    assert (call.method, call.path) == ("POST", id_)
    assert {name: value for name, value in call.params.items() if name != "appsecret_proof"} == {
        "components": [BODY]
    }
    assert operation.result == {"id": id_, "status": "PENDING"}
    [made] = [one for one in seen(stage, stage.waba) if one["name"] == "welcome"]
    assert made["components"] == [BODY]
    assert made["edits"] == 1


@pytest.mark.parametrize("state", ["REJECTED", "PAUSED"])
def test_rejected_and_paused_ones_can_be_edited_their_category_too(stage: Stage, state: str) -> None:
    id_ = there(stage, stage.waba, "welcome")
    status(stage, id_, state)

    operation = edited(stage, id_, category="MARKETING", components=[BODY])

    assert operation.state is State.SUCCEEDED
    [made] = [one for one in seen(stage, stage.waba) if one["name"] == "welcome"]
    assert made["category"] == "MARKETING"


def test_an_option_alone_needs_no_review(stage: Stage) -> None:
    id_ = there(stage, stage.waba, "welcome")

    operation = edited(stage, id_, message_send_ttl_seconds=600)

    assert operation.result == {"id": id_}
    [made] = [one for one in seen(stage, stage.waba) if one["name"] == "welcome"]
    assert made["status"] == "APPROVED"


def test_a_file_is_uploaded_first(stage: Stage) -> None:
    id_ = there(stage, stage.waba, "welcome")

    operation = edited(stage, id_, components=MEDIA["components"], media=MEDIA["media"])

    assert [one.path.partition("/")[2] for one in stage.calls(operation)] == ["uploads", "", ""]
    assert operation.state is State.SUCCEEDED


def test_a_template_in_review_is_waited_for(stages: Stages) -> None:
    with stages(knobs={"template_review_seconds": (3000, 3000)}) as stage:
        made = stage.work(stage.accept("template_create", waba=stage.waba, payload={**TEXT, "name": "welcome"}))
        assert made.result is not None
        operation = asked(stage, made.result["id"])

        stage.attempt(operation)

        held = stage.get(operation)
        assert held.state is State.HELD
        assert held.hold is not None
        assert "in review" in held.hold.reason
        assert held.hold.until is not None
        ended = stage.work(operation)
        assert ended.state is State.SUCCEEDED
        assert len(stage.calls(operation)) < 12


def test_a_review_that_never_ends_ends_the_wait(stages: Stages) -> None:
    with stages(knobs={"template_review": "manual"}) as stage:
        made = stage.work(stage.accept("template_create", waba=stage.waba, payload={**TEXT, "name": "welcome"}))
        assert made.result is not None

        ended = edited(stage, made.result["id"])

        assert ended.state is State.FAILED
        assert "in review since" in str(ended.error)


def test_no_edit_left_is_a_clear_end(stage: Stage) -> None:
    id_ = there(stage, stage.waba, "welcome")
    edited(stage, id_)
    status(stage, id_, "APPROVED")

    operation = edited(stage, id_, components=[{"type": "BODY", "text": "Another text."}])

    assert operation.state is State.FAILED
    assert operation.error is not None
    assert operation.error["subcode"] == 2388039
    assert "once in 24 hours" in str(operation.error)
    assert "APPROVED" in str(operation.error)


def test_what_is_so_already_is_satisfied_although_no_edit_is_left(stage: Stage) -> None:
    id_ = there(stage, stage.waba, "welcome")
    edited(stage, id_)
    status(stage, id_, "APPROVED")

    operation = edited(stage, id_)

    assert operation.state is State.SUCCEEDED
    assert operation.result == {"id": id_, "status": "APPROVED", "was_there": True}


@pytest.mark.parametrize("state", ["DISABLED", "ARCHIVED", "PENDING_DELETION"])
def test_a_template_in_another_state_cannot_be_edited(stage: Stage, state: str) -> None:
    id_ = there(stage, stage.waba, "welcome")
    status(stage, id_, state)

    operation = edited(stage, id_)

    assert operation.state is State.FAILED
    assert f"this template is {state}" in str(operation.error)


def test_a_template_that_is_not_there(stage: Stage) -> None:
    operation = edited(stage, "1234567890123456")

    assert operation.state is State.FAILED
    assert operation.error is not None
    assert (operation.error["code"], operation.error["subcode"]) == (100, 33)
    assert len(stage.calls(operation)) == 1


def test_a_limit_of_one_template_holds_it(stages: Stages) -> None:
    with stages(knobs={"template_write_limit": 1}) as stage:
        id_ = there(stage, stage.waba, "welcome")
        edited(stage, id_)
        status(stage, id_, "PAUSED")
        operation = asked(stage, id_, components=[{"type": "BODY", "text": "Another text."}])

        stage.attempt(operation)

        assert stage.get(operation).state is State.HELD
        assert stage.work(operation).state is State.SUCCEEDED


def test_a_lost_edit_is_not_made_twice(stage: Stage) -> None:
    id_ = there(stage, stage.waba, "welcome")

    operation = stage.work(asked(stage, id_), lose=1)

    assert [one.method for one in stage.calls(operation)] == ["POST", "GET"]
    assert operation.result == {"id": id_, "status": "PENDING"}


def test_another_file_alone_is_an_edit_that_is_not_taken_for_done_before_it_is(stage: Stage) -> None:
    """Which file is shown cannot be read back: when a lost call has not arrived, the edit is made."""
    image = {
        "type": "HEADER",
        "format": "IMAGE",
        "example": {"header_handle": ["https://scontent.whatsapp.net/v"]},
    }
    id_ = there(stage, stage.waba, "welcome", components=[image, MEDIA["components"][1]])
    stage.pass_time(3600)
    stage.fault(path=f"/{id_}$", method="POST", reset_before=True, times=1)

    operation = edited(stage, id_, components=MEDIA["components"], media=MEDIA["media"])

    assert operation.state is State.SUCCEEDED
    assert [(one.method, one.path) for one in stage.calls(operation)][-3:] == [
        ("POST", id_),
        ("GET", id_),
        ("POST", id_),
    ]
    [made] = [one for one in seen(stage, stage.waba) if one["name"] == "welcome"]
    assert made["edits"] == 1


def test_the_mirror_knows_the_new_content_and_that_it_is_in_review(stage: Stage) -> None:
    id_ = there(stage, stage.waba, "welcome")
    stage.work(stage.accept("template_sync", waba=stage.waba))

    edited(stage, id_)

    [one] = [each for each in stage.house.ledger.templates.templates(stage.waba) if each["id"] == id_]
    assert one["status"] == "PENDING"
    assert one["components"] == [BODY]
    synced = stage.work(stage.accept("template_sync", waba=stage.waba))
    assert synced.result is not None
    assert synced.result["changed"] == 0


@pytest.mark.parametrize(
    ("payload", "sentence"),
    [
        ({"name": "welcome", "components": [BODY]}, "template_id"),
        ({"template_id": "12345678", "components": [BODY]}, "name"),
        ({"template_id": "12345678", "name": "welcome"}, "nothing is to be changed"),
        ({"template_id": "12345678", "name": "welcome", "parameter_format": "NAMED"}, "nothing is to be changed"),
        (
            {"template_id": "12345678", "name": "welcome", "message_send_ttl_seconds": 5},
            "message_send_ttl_seconds is 30",
        ),
        ({"template_id": "12345678", "name": "welcome", "components": [{"type": "FOOTER", "text": "x"}]}, "BODY"),
        ({"template_id": "12345678", "name": "welcome", "language": "de", "category": "UTILITY"}, "language"),
    ],
)
def test_what_is_no_edit_is_refused_at_the_edge(stage: Stage, payload: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidRequest, match=sentence):
        stage.accept("template_edit", waba=stage.waba, payload=payload)
