"""`template_create`: what it calls, what it makes of what is there already, and what Meta's refusals come to."""

import copy
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import pytest

from tests.kinds.templates import (
    AUTHENTICATION,
    BODY,
    LIBRARY,
    MEDIA,
    TEXT,
    UPSERT,
    mirrored,
    seen,
    there,
)
from tests.support.stage import Stage
from wabajobs.errors import InvalidRequest
from wabajobs.operation import Operation, State

Stages = Callable[..., AbstractContextManager[Stage]]

VARIANTS = {"text": TEXT, "media": MEDIA, "library": LIBRARY, "authentication": AUTHENTICATION}


def asked(stage: Stage, payload: Mapping[str, Any], **changes: Any) -> Operation:
    return stage.accept("template_create", waba=stage.waba, payload={**payload, **changes})


def done(stage: Stage, payload: Mapping[str, Any], **changes: Any) -> Operation:
    return stage.work(asked(stage, payload, **changes))


def told(operation: Operation) -> str:
    assert operation.error is not None
    return str(operation.error)


def called(stage: Stage, operation: Operation) -> list[tuple[str, str]]:
    return [(one.method, one.path) for one in stage.calls(operation)]


# What it calls


def test_a_text_template_is_one_call_with_what_was_asked_for(stage: Stage) -> None:
    operation = done(stage, TEXT)

    [call] = stage.calls(operation)
    assert (call.method, call.path) == ("POST", f"{stage.waba}/message_templates")
    assert {name: value for name, value in call.params.items() if name != "appsecret_proof"} == TEXT
    made = seen(stage, stage.waba)[-1]
    assert operation.state is State.SUCCEEDED
    assert operation.result is not None
    assert operation.result["status"] == "PENDING"
    assert operation.result["category"] == "UTILITY"
    assert stage.simulator.world.node(operation.result["id"]) is not None
    assert (made["name"], made["language"]) == ("order_sent", "en_US")


def test_a_file_is_uploaded_first_and_its_handle_is_in_the_header(stage: Stage) -> None:
    operation = done(stage, MEDIA)

    opened, sent, created = stage.calls(operation)
    assert opened.path == f"{stage.app}/uploads"
    assert sent.body == MEDIA["media"]["data"]
    [header, body] = created.params["components"]
    assert header["example"]["header_handle"] == [operation.result and operation.result["handle"]]
    assert body == MEDIA["components"][1]
    assert "media" not in created.params


def test_a_handle_that_is_there_already_is_used_as_it_is(stage: Stage) -> None:
    first = done(stage, MEDIA)
    assert first.result is not None
    handle = first.result["handle"]
    header = {"type": "HEADER", "format": "IMAGE", "example": {"header_handle": [handle]}}
    plain = {name: value for name, value in MEDIA.items() if name != "media"}

    by_source = done(stage, MEDIA, name="cakes_2", media={"handle": handle, "app": stage.app})
    by_component = done(stage, plain, name="cakes_3", components=[header, MEDIA["components"][1]])

    for operation in (by_source, by_component):
        assert operation.state is State.SUCCEEDED
        assert called(stage, operation) == [("POST", f"{stage.waba}/message_templates")]


def test_several_languages_are_one_call_and_each_is_told(stage: Stage) -> None:
    operation = done(stage, UPSERT)

    assert called(stage, operation) == [("POST", f"{stage.waba}/upsert_message_templates")]
    assert operation.result is not None
    assert [one["language"] for one in operation.result["templates"]] == UPSERT["languages"]
    assert {one["status"] for one in operation.result["templates"]} == {"PENDING"}


def test_several_languages_bring_those_that_are_there_to_the_same_content(stage: Stage) -> None:
    done(stage, {**UPSERT, "languages": ["en_US"]})
    stage.pass_time(3600)
    without_footer = [UPSERT["components"][0], UPSERT["components"][2]]

    operation = done(stage, UPSERT, components=without_footer)

    assert operation.state is State.SUCCEEDED
    made = [one["components"] for one in seen(stage, stage.waba) if one["name"] == "sign_in"]
    assert len(made) == 3
    assert made[0] == made[1] == made[2]


# What is there already


@pytest.mark.parametrize("payload", VARIANTS.values(), ids=list(VARIANTS))
def test_what_is_there_with_the_same_content_is_what_was_asked_for(
    stage: Stage, payload: Mapping[str, Any]
) -> None:
    first = done(stage, payload)
    second = done(stage, payload)

    assert second.state is State.SUCCEEDED, second.error
    assert first.result is not None
    assert second.result is not None
    assert second.result["id"] == first.result["id"]
    assert second.result["was_there"] is True
    assert [one.method for one in stage.calls(second)][-2:] == ["POST", "GET"]
    assert stage.duplicates() == []


def test_a_customers_own_template_with_the_same_content_is_satisfied_too(stage: Stage) -> None:
    id_ = there(stage, stage.waba, "order_sent", components=[BODY])

    operation = done(stage, TEXT, components=[BODY])

    assert operation.result is not None
    assert operation.result == {
        "id": id_,
        "status": "APPROVED",
        "language": "en_US",
        "category": "UTILITY",
        "was_there": True,
    }


def _changed(path: str, value: Any) -> dict[str, Any]:
    payload: Any = copy.deepcopy(dict(TEXT))
    place = payload
    *above, last = path.split(".")
    for part in above:
        place = place[int(part) if part.isdecimal() else part]
    place[last] = value
    return dict(payload)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        (_changed("category", "MARKETING"), "category"),
        (_changed("components.0.text", "Word of {{1}}"), "HEADER.text"),
        (_changed("components.1.text", BODY["text"] + " Bye."), "BODY.text"),
        (_changed("components.2.text", "Bye"), "FOOTER.text"),
        (_changed("components.3.buttons.0.url", "https://shop.example/x/{{1}}"), "BUTTONS.0.url"),
        (_changed("components.3.buttons.1.phone_number", "+15550101"), "BUTTONS.1.phone_number"),
        ({**TEXT, "components": TEXT["components"][:3]}, "BUTTONS.0.type"),
        ({**TEXT, "components": TEXT["components"][1:]}, "HEADER.text"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_what_is_there_with_other_content_is_a_conflict_with_the_difference(
    stage: Stage, changed: Mapping[str, Any], field: str
) -> None:
    first = done(stage, TEXT)
    second = done(stage, changed)

    assert second.state is State.FAILED
    assert second.error is not None
    assert second.error["type"] == "Conflict"
    assert field in second.error["difference"]
    assert set(second.error["difference"][field]) == {"there", "asked"}
    assert first.result is not None
    assert first.result["id"] in told(second)


def test_a_longer_name_or_another_language_is_another_template(stage: Stage) -> None:
    there(stage, stage.waba, "order_sent_2")
    there(stage, stage.waba, "order_sent", language="de")

    assert done(stage, TEXT).state is State.SUCCEEDED


def test_a_lost_answer_is_read_back_and_another_content_is_a_conflict_then_too(stage: Stage) -> None:
    operation = asked(stage, TEXT)
    stage.fault(path="message_templates", method="POST", reset_before=True, times=1)
    stage.attempt(operation)
    id_ = there(stage, stage.waba, "order_sent", components=[BODY])

    ended = stage.work(operation)

    assert ended.state is State.FAILED
    assert id_ in told(ended)
    assert [one.method for one in stage.calls(operation)] == ["POST", "GET"]


def test_an_answer_that_does_not_say_which_is_read_back(stage: Stage) -> None:
    stage.fault(
        path="message_templates",
        method="POST",
        status=200,
        body='{"status": "PENDING"}',
        took_effect=True,
        times=1,
    )

    operation = done(stage, TEXT)

    assert operation.state is State.SUCCEEDED
    assert [one.method for one in stage.calls(operation)] == ["POST", "GET"]
    assert stage.duplicates() == []


# What Meta refuses


def test_the_name_of_a_template_that_is_being_deleted(stages: Stages) -> None:
    with stages(knobs={"template_deletion_seconds": 3600}) as stage:
        id_ = there(stage, stage.waba, "order_sent")
        stage.work(
            stage.accept("template_delete", waba=stage.waba, payload={"name": "order_sent", "hsm_id": id_})
        )

        operation = done(stage, TEXT)

        assert operation.state is State.FAILED
        assert operation.error is not None
        assert operation.error["subcode"] == 2388023
        assert "30 days" in told(operation)
        assert "another name" in told(operation)


def test_a_waba_that_has_as_many_templates_as_it_may_have(stages: Stages) -> None:
    with stages(knobs={"template_limits": (3, 3)}) as stage:
        operation = done(stage, TEXT)

        assert operation.state is State.FAILED
        assert "delete some first" in told(operation)


def test_a_creation_too_many_in_the_hour_is_held_and_goes_on(stages: Stages) -> None:
    with stages(settings={"gate": {"template_creations": 1}}) as stage:
        done(stage, TEXT)
        operation = asked(stage, TEXT, name="another")

        stage.attempt(operation)

        held = stage.get(operation)
        assert held.state is State.HELD
        assert held.hold is not None
        assert held.hold.by == "budget"
        assert stage.calls(operation) == []
        assert stage.work(operation).state is State.SUCCEEDED


def test_a_language_in_review_is_waited_for_when_several_are_made(stages: Stages) -> None:
    with stages(knobs={"template_review_seconds": (900, 900)}) as stage:
        done(stage, {**UPSERT, "languages": ["de"]})
        operation = asked(stage, UPSERT, components=[UPSERT["components"][0], UPSERT["components"][2]])

        stage.attempt(operation)

        held = stage.get(operation)
        assert held.state is State.HELD
        assert held.hold is not None
        assert "in review" in held.hold.reason
        assert held.attempts <= 1
        assert stage.work(operation).state is State.SUCCEEDED


# Files


def test_a_handle_that_has_expired_is_made_anew_once(stages: Stages) -> None:
    with stages(knobs={"handle_ttl": 600}) as stage:
        operation = asked(stage, MEDIA)
        stage.before(3, lambda: stage.pause("capability:template_writes"))
        stage.attempt(operation)
        stage.pass_time(3600)
        stage.resume("capability:template_writes")

        ended = stage.work(operation)

        assert ended.state is State.SUCCEEDED
        assert [one.path.partition("/")[2] for one in stage.calls(operation)].count("uploads") == 2


def test_a_handle_that_meta_goes_on_refusing_ends_it(stage: Stage) -> None:
    stage.fault(path="message_templates", method="POST", code=100, message="The file handle is not valid")

    operation = done(stage, MEDIA)

    assert operation.state is State.FAILED
    assert "handle" in told(operation)
    assert [one.path for one in stage.calls(operation)].count(f"{stage.app}/uploads") == 2


def test_a_callers_handle_that_meta_refuses_is_told_with_its_app(stage: Stage) -> None:
    header = {"type": "HEADER", "format": "IMAGE", "example": {"header_handle": ["4::abc:ARx"]}}
    plain = {name: value for name, value in MEDIA.items() if name != "media"}

    operation = done(stage, plain, components=[header, MEDIA["components"][1]])

    assert operation.state is State.FAILED
    assert stage.app in told(operation)
    assert called(stage, operation) == [("POST", f"{stage.waba}/message_templates")]


def test_a_handle_of_another_app_is_refused_at_the_edge(stage: Stage) -> None:
    with pytest.raises(InvalidRequest, match="good for app 12345 only"):
        asked(stage, MEDIA, media={"handle": "4::abc", "app": "12345"})


@pytest.mark.parametrize("shut", ["pause", "breaker"])
def test_while_uploads_are_down_media_waits_there_and_text_goes_on(stage: Stage, shut: str) -> None:
    if shut == "pause":
        stage.pause("capability:uploads")
    else:
        stage.break_("uploads")
    media, text = asked(stage, MEDIA), asked(stage, TEXT)
    assert media.capability == "uploads"
    assert text.capability == "template_writes"

    if shut == "breaker":
        stage.attempt(media)
    ended = stage.work(text)

    assert ended.state is State.SUCCEEDED
    waits = stage.get(media)
    assert waits.state is State.HELD
    assert stage.calls(media) == []
    if shut == "pause":
        stage.resume("capability:uploads")
    else:
        stage.mend("uploads")
    assert stage.work(media).state is State.SUCCEEDED


# The mirror


def test_the_mirror_and_the_planner_know_at_once(stage: Stage) -> None:
    stage.work(stage.accept("template_sync", waba=stage.waba))
    before = len(mirrored(stage, stage.waba))
    calls = len(stage.witness.arrived)

    operation = done(stage, TEXT)

    assert operation.result is not None
    templates = {one["name"]: one for one in stage.house.ledger.templates.templates(stage.waba)}
    assert len(templates) == before + 1
    assert templates["order_sent"]["status"] == "PENDING"
    assert templates["order_sent"]["id"] == operation.result["id"]
    assert templates["order_sent"]["components"][1] == BODY
    [change] = stage.house.ledger.templates.changes(stage.waba, operation_id=operation.id)
    assert (change.change, change.name) == ("added", "order_sent")
    listed = stage.house.ledger.templates.read(stage.waba)
    assert listed is not None
    assert listed.templates == before + 1
    kept = stage.house.ledger.fleet.get(stage.waba, settings=stage.house.settings.planner)
    assert kept is not None
    assert "a template is pending" in kept.due.why
    assert len(stage.witness.arrived) == calls + 1


def test_a_sync_afterwards_bears_the_mirror_out(stage: Stage) -> None:
    stage.work(stage.accept("template_sync", waba=stage.waba))
    for payload in (TEXT, LIBRARY, AUTHENTICATION):
        done(stage, {**payload, "name": f"of_{payload['name']}"})

    synced = stage.work(stage.accept("template_sync", waba=stage.waba))

    assert synced.result is not None
    assert (synced.result["added"], synced.result["removed"]) == (0, 0)
