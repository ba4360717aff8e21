"""A file gets to Meta whole and with the fewest calls, whatever breaks; a handle is used while it is good."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from tests.kinds.cases_profile import LARGE, profile, with_photo
from tests.support.pictures import picture
from tests.support.stage import KNOBS, Arrived, Crash, Point, Stage
from tests.support.web import Web, web, whole
from wabajobs.dispatcher.retention import ages
from wabajobs.errors import InvalidRequest
from wabajobs.ledger.tables import OperationRow
from wabajobs.operation import Operation, State
from wabajobs.simulator import Simulator, SimulatorConfig

OPEN, SEND, ASK, SET = "open", "send", "ask", "set"
PHOTO = picture()
PART = 20_000
Stages = Callable[..., AbstractContextManager[Stage]]


@pytest.fixture
def parts(stages: Stages) -> Iterator[Stage]:
    """A stage on which files are sent in parts of 20 kB: the large photo in three."""
    with stages(settings={"media": {"chunk_bytes": PART}}) as stage:
        yield stage


@pytest.fixture
def served() -> Iterator[Web]:
    with web() as running:
        yield running


@pytest.fixture
def near(stages: Stages) -> Iterator[Stage]:
    """A stage on which files may be fetched from this machine."""
    with stages(settings={"media": {"allow": ["127.0.0.1"]}}) as stage:
        yield stage


def accepted(stage: Stage, **source: Any) -> Operation:
    return stage.accept("profile_photo", **with_photo(stage, **source))


def names(calls: list[Arrived]) -> list[str]:
    """Return what the calls were for."""
    return [_name(one) for one in calls]


def _name(call: Arrived) -> str:
    if call.path.endswith("/uploads"):
        return OPEN
    if call.path.startswith("upload:"):
        return SEND if call.method == "POST" else ASK
    return SET


def offsets(calls: list[Arrived]) -> list[tuple[int, int]]:
    """Return from where on, and how much, was sent."""
    return [(int(one.headers["file_offset"]), len(one.body)) for one in calls if _name(one) == SEND]


def works(stage: Stage, operation: Operation, *expected: str, **disturbed: Any) -> Operation:
    done = stage.work(operation, **disturbed)
    assert names(stage.calls(operation)) == list(expected)
    assert done.state is State.SUCCEEDED, done.as_json()
    assert "profile_picture_url" in profile(stage)
    return done


# ── the undisturbed way ──────────────────────────────────────────────────────────────────────────────────────


def test_a_photo_takes_three_calls(stage: Stage) -> None:
    operation = accepted(stage, data=PHOTO)

    done = works(stage, operation, OPEN, SEND, SET)

    opening, sending, setting = stage.calls(operation)
    assert (opening.method, opening.path) == ("POST", f"{stage.app}/uploads")
    assert opening.params == {
        "file_name": "image.jpg",
        "file_length": str(len(PHOTO)),
        "file_type": "image/jpeg",
        "appsecret_proof": opening.params["appsecret_proof"],
    }
    assert (sending.method, sending.body) == ("POST", PHOTO)
    assert sending.headers["file_offset"] == "0"
    assert sending.headers["authorization"].startswith("OAuth ")
    handle = json.loads(sending.answer)["h"]
    assert (setting.path, setting.params["profile_picture_handle"]) == (
        f"{stage.number}/whatsapp_business_profile",
        handle,
    )
    assert done.result is not None
    assert (done.result["handle"], done.result["handle_app"]) == (handle, stage.app)
    assert stage.simulator.judge.wasted() == {}


def test_the_bytes_are_in_no_payload_checkpoint_or_story(parts: Stage) -> None:
    operation = accepted(parts, data=LARGE)
    parts.pause("capability:uploads")
    parts.attempt(operation)
    parts.resume("capability:uploads")
    done = parts.work(operation)

    assert operation.payload["photo"].keys() == {"sha256", "size", "type"}
    story = parts.house.ledger.operations.story(operation.id)
    for told in (operation.payload, done.checkpoint, done.result, done.as_json(), story):
        assert len(str(told)) < 5000


def test_parts_follow_each_other(parts: Stage) -> None:
    operation = accepted(parts, data=LARGE)

    works(parts, operation, OPEN, SEND, SEND, SEND, SET)

    assert offsets(parts.calls(operation)) == [(0, PART), (PART, PART), (2 * PART, len(LARGE) - 2 * PART)]


# ── breaks ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_after_a_break_it_goes_on_where_meta_says(stage: Stage) -> None:
    stage.fault(capability="uploads", method="POST", upload_keeps=5000, times=1)
    operation = accepted(stage, data=PHOTO)

    works(stage, operation, OPEN, SEND, ASK, SEND, SET)

    first, rest = offsets(stage.calls(operation))
    assert (first[0], rest) == (0, (5000, len(PHOTO) - 5000))


def test_a_break_in_the_midst_of_parts(parts: Stage) -> None:
    parts.fault(capability="uploads", method="POST", upload_keeps=7, after=1, times=1)
    operation = accepted(parts, data=LARGE)

    works(parts, operation, OPEN, SEND, SEND, ASK, SEND, SEND, SET)

    assert [start for start, _ in offsets(parts.calls(operation))] == [0, PART, PART + 7, 2 * PART + 7]


def test_a_file_that_is_there_whole_is_not_sent_again(stage: Stage) -> None:
    operation = accepted(stage, data=PHOTO)

    works(stage, operation, OPEN, SEND, ASK, SEND, SET, lose=2)

    assert offsets(stage.calls(operation)) == [(0, len(PHOTO)), (len(PHOTO), 0)]


def test_held_between_two_parts_it_need_not_ask_where_it_is(parts: Stage) -> None:
    operation = accepted(parts, data=LARGE)
    parts.before(3, lambda: parts.pause("capability:uploads"))
    parts.attempt(operation)
    assert parts.get(operation).state is State.HELD
    parts.resume("capability:uploads")

    works(parts, operation, OPEN, SEND, SEND, SEND, SET)


def test_held_once_and_broken_then_it_asks_all_the_same(parts: Stage) -> None:
    operation = accepted(parts, data=LARGE)
    parts.before(3, lambda: parts.pause("capability:uploads"))
    parts.attempt(operation)
    parts.resume("capability:uploads")
    parts.fault(capability="uploads", method="POST", upload_keeps=7, times=1)

    works(parts, operation, OPEN, SEND, SEND, ASK, SEND, SEND, SET)


@pytest.mark.parametrize("asked", [True, False], ids=["when asked", "when sent to"])
def test_a_session_that_meta_has_forgotten_is_opened_anew_once(stage: Stage, asked: bool) -> None:
    operation = accepted(stage, data=PHOTO)
    if asked:
        stage.fault(capability="uploads", method="POST", after=1, times=1, reset_before=True)
        stage.fault(path="upload:", method="GET", code=100, subcode=33, times=1)
        works(stage, operation, OPEN, SEND, ASK, OPEN, SEND, SET)
    else:
        stage.before(2, lambda: stage.pause("capability:uploads"))
        stage.attempt(operation)
        stage.resume("capability:uploads")
        stage.fault(path="upload:", code=100, subcode=33, times=1)
        works(stage, operation, OPEN, SEND, OPEN, SEND, SET)


def test_and_not_for_ever(stage: Stage) -> None:
    stage.fault(path="upload:", method="GET", code=100, subcode=33)
    stage.fault(path="upload:", method="POST", reset_before=True)
    operation = accepted(stage, data=PHOTO)

    failed = stage.work(operation)

    assert names(stage.calls(operation)).count(OPEN) == 2
    assert failed.state is State.FAILED
    assert failed.error is not None
    assert failed.error["step"] == "upload"


def test_a_file_that_meta_refuses_is_not_sent_again(stage: Stage) -> None:
    stage.fault(path="upload:", method="POST", code=100, message="(#100) Not this file")
    operation = accepted(stage, data=PHOTO)

    failed = stage.work(operation)

    assert failed.state is State.FAILED
    assert names(stage.calls(operation)) == [OPEN, SEND]


@pytest.mark.parametrize(
    "answer", ['{"id": "upload:x"}', '{"file_offset": "7"}', '{"file_offset": 999999999}', '{"file_offset": 0}']
)
def test_an_answer_that_leads_nowhere_gives_the_session_up(stage: Stage, answer: str) -> None:
    stage.fault(path="upload:", method="POST", status=200, body=answer, content_type="application/json", times=1)
    operation = accepted(stage, data=PHOTO)

    done = stage.work(operation)

    assert done.state is State.SUCCEEDED
    assert names(stage.calls(operation))[-3:] == [OPEN, SEND, SET]


# ── the handle ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_failure_behind_the_upload_does_not_upload_again(stage: Stage) -> None:
    stage.fault(capability="profile", code=2, times=2)
    operation = accepted(stage, data=PHOTO)

    works(stage, operation, OPEN, SEND, SET, SET, SET)


def test_nor_does_a_retry_that_a_person_asks_for(stage: Stage) -> None:
    stage.simulator.world.set_registered(stage.number, False)
    operation = accepted(stage, data=PHOTO)
    failed = stage.work(operation)
    assert failed.state is State.FAILED
    assert failed.error is not None
    assert (failed.error["code"], failed.error["step"]) == (133010, "set")
    stage.simulator.world.set_registered(stage.number, True)

    stage.house.interventions.retry(operation.id, reason="it is registered now", actor="anna")

    works(stage, operation, OPEN, SEND, SET, SET)


def test_a_handle_that_is_too_old_is_renewed_before_it_is_used(stages: Stages) -> None:
    with stages(settings={"media": {"handle_seconds": 60}}) as stage:
        operation = accepted(stage, data=PHOTO)
        stage.before(3, lambda: stage.pause("capability:profile"))
        stage.attempt(operation)
        stage.resume("capability:profile")
        stage.pass_time(61)

        works(stage, operation, OPEN, SEND, OPEN, SEND, SET)


def test_one_that_meta_refuses_is_renewed_once(stages: Stages) -> None:
    with stages(knobs={"handle_ttl": 60}) as stage:
        operation = accepted(stage, data=PHOTO)
        stage.before(3, lambda: stage.pause("capability:profile"))
        stage.attempt(operation)
        stage.resume("capability:profile")
        stage.pass_time(61)

        works(stage, operation, OPEN, SEND, SET, OPEN, SEND, SET)


def test_one_that_is_refused_again_fails(stage: Stage) -> None:
    stage.fault(capability="profile", code=100, message="(#100) The handle is invalid or expired")
    operation = accepted(stage, data=PHOTO)

    failed = stage.work(operation)

    assert names(stage.calls(operation)) == [OPEN, SEND, SET, OPEN, SEND, SET]
    assert failed.state is State.FAILED
    assert "The handle is invalid or expired" in str(failed.as_json())


def test_one_of_another_app_is_not_used_when_the_operation_has_moved(stages: Stages, tmp_path: Path) -> None:
    other = Simulator(SimulatorConfig(**{**KNOBS, "apps": 2})).world.apps[1]
    for name, value in {"other-token": other.token, "other-secret": other.secret}.items():
        (tmp_path / name).write_text(value)
    app = {"token": {"file": tmp_path / "other-token"}, "secret": {"file": tmp_path / "other-secret"}}
    with stages(knobs={"apps": 2}, settings={"apps": {other.id: app}}) as stage:
        operation = stage.accept("profile_photo", app=stage.app, **with_photo(stage))
        stage.before(3, lambda: stage.pause("capability:profile"))
        stage.attempt(operation)
        stage.resume("capability:profile")
        with stage.house.ledger.database.write() as connection:
            connection.execute(update(OperationRow).values(app=other.id))

        done = works(stage, operation, OPEN, SEND, OPEN, SEND, SET)

        assert stage.calls(operation)[2].path == f"{other.id}/uploads"
        assert done.result is not None
        assert done.result["handle_app"] == other.id


def test_what_is_refused_for_another_reason_is_no_reason_to_upload_again(stage: Stage) -> None:
    stage.fault(capability="profile", code=100, message="(#100) Something else")
    operation = accepted(stage, data=PHOTO)

    assert stage.work(operation).state is State.FAILED
    assert names(stage.calls(operation)) == [OPEN, SEND, SET]


def test_a_handle_that_is_given_is_used_and_nothing_uploaded(stage: Stage) -> None:
    first = stage.work(accepted(stage, data=PHOTO))
    assert first.result is not None
    source = {"handle": first.result["handle"], "app": stage.app}
    operation = accepted(stage, **source)

    works(stage, operation, SET)


def test_one_that_is_given_and_refused_fails(stage: Stage) -> None:
    operation = accepted(stage, handle="4::aW1hZ2UvanBlZw==:ARx:e:1:2::ARy", app=stage.app)

    failed = stage.work(operation)

    assert failed.state is State.FAILED
    assert names(stage.calls(operation)) == [SET]


def test_a_handle_of_another_app_is_refused_at_the_edge(stage: Stage) -> None:
    with pytest.raises(InvalidRequest, match=f"good for app 99999 only, and this is for app {stage.app}"):
        accepted(stage, handle="4::a", app="99999")


# ── the file ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_is_fetched_once_and_before_any_call(near: Stage, served: Web) -> None:
    operation = accepted(near, url=served.serve("/photo", PHOTO))
    near.break_("uploads")
    near.attempt(operation)
    held = near.get(operation)
    assert held.state is State.HELD
    assert near.calls(operation) == []
    assert len(served.asked) == 1
    near.mend("uploads")

    works(near, operation, OPEN, SEND, SET)

    assert near.calls(operation)[1].body == PHOTO
    assert len(served.asked) == 1


def test_a_worker_that_dies_after_fetching_has_put_it_aside(near: Stage, served: Web) -> None:
    operation = accepted(near, url=served.serve("/photo", PHOTO))

    works(near, operation, OPEN, SEND, SET, crash=Crash(1, Point.BEFORE))

    assert len(served.asked) == 1


def test_one_that_is_away_is_tried_again(near: Stage, served: Web) -> None:
    served.answers["/photo"] = whole(b"", status=503)
    operation = accepted(near, url=served.url("/photo"))
    near.attempt(operation)
    held = near.get(operation)
    assert held.hold is not None
    assert (held.state, held.hold.by) == (State.HELD, "retry")
    assert "127.0.0.1 answered with HTTP 503" in held.hold.reason
    served.serve("/photo", PHOTO)

    works(near, operation, OPEN, SEND, SET)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            b"<html>404</html>",
            "photo: its 16 bytes are no file of a known type; a profile photo is image/jpeg or",
        ),
        (picture(640, 480), "photo: the image must be square, not 640 x 480; convert: true crops it"),
        (picture(format_="WEBP"), "photo: it is image/webp, whatever its name"),
    ],
)
def test_one_that_breaks_the_rules_costs_no_call(near: Stage, served: Web, content: bytes, words: str) -> None:
    operation = accepted(near, url=served.serve("/photo.jpg", content, Content_Type="image/jpeg"))

    failed = near.work(operation)

    assert failed.state is State.FAILED
    assert failed.error is not None
    assert words in failed.error["message"]
    assert failed.error["type"] == "MediaRefused"
    assert near.calls(operation) == []


def test_an_address_inside_our_network_costs_no_call_and_is_not_asked(stage: Stage, served: Web) -> None:
    operation = accepted(stage, url=served.serve("/photo", PHOTO))

    failed = stage.work(operation)

    assert failed.state is State.FAILED
    assert failed.error is not None
    assert "127.0.0.1 leads to an address that is loopback" in failed.error["message"]
    assert stage.calls(operation) == []
    assert served.connections == 0


@pytest.mark.parametrize("fetched", [True, False])
def test_on_request_it_is_made_to_fit_and_that_is_what_is_sent(near: Stage, served: Web, fetched: bool) -> None:
    wide = picture(1000, 700, format_="WEBP")
    source = {"url": served.serve("/photo", wide)} if fetched else {"data": wide}
    operation = accepted(near, **source, convert=True)

    works(near, operation, OPEN, SEND, SET)

    opening, sending, _ = near.calls(operation)
    assert opening.params["file_type"] == "image/jpeg"
    assert sending.body.startswith(b"\xff\xd8\xff")
    assert int(opening.params["file_length"]) == len(sending.body)


def test_a_file_that_is_no_longer_kept_is_told_as_such(stage: Stage) -> None:
    stage.fault(path="upload:", code=368)
    operation = accepted(stage, data=PHOTO)
    assert stage.work(operation).state is State.FAILED
    stage.pass_time(8 * 86_400)
    retention = stage.house.ledger.retention
    assert list(retention.prune(ages(stage.house.settings.retention), now=stage.clock.now())) == [("files", 1)]

    stage.house.interventions.retry(operation.id, reason="again", actor="anna")
    failed = stage.work(operation)

    assert names(stage.calls(operation)) == [OPEN, SEND]
    assert failed.error is not None
    assert failed.error["message"] == (
        "the operation's file is no longer kept: ask for the operation anew, with its file"
    )
