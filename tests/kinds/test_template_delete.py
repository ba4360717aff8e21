"""`template_delete`: by name, by one id, by many; what is gone already is what was asked for."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.kinds.templates import mirrored, seen, there
from tests.support.stage import Stage
from wabajobs.errors import InvalidRequest
from wabajobs.operation import Operation, State

Stages = Callable[..., AbstractContextManager[Stage]]


def deleted(stage: Stage, **which: Any) -> Operation:
    return stage.work(stage.accept("template_delete", waba=stage.waba, payload=which))


def left(stage: Stage) -> list[tuple[str, str]]:
    return [(one["name"], one["language"]) for one in seen(stage, stage.waba) if one["name"] in ("a", "b")]


@pytest.fixture
def three(stages: Stages) -> Any:
    """A stage, and the ids of template `a` in two languages and of `b`."""
    with stages() as stage:
        ids = [there(stage, stage.waba, name, language=language) for name, language in _THREE]
        yield stage, ids


_THREE = [("a", "en_US"), ("a", "de"), ("b", "en_US")]


def test_by_name_in_all_languages(three: tuple[Stage, list[str]]) -> None:
    stage, _ = three

    operation = deleted(stage, name="a")

    [call] = stage.calls(operation)
    assert (call.method, call.path) == ("DELETE", f"{stage.waba}/message_templates")
    assert call.params["name"] == "a"
    assert operation.result is not None
    assert operation.result["deleted"] == ["a"]
    assert left(stage) == [("b", "en_US")]
    blocked = datetime.fromisoformat(operation.result["name_blocked_until"])
    assert blocked - stage.clock.now() == timedelta(days=30)


def test_by_id_in_one_language(three: tuple[Stage, list[str]]) -> None:
    stage, ids = three

    operation = deleted(stage, name="a", hsm_id=ids[1])

    [call] = stage.calls(operation)
    assert (call.params["name"], call.params["hsm_id"]) == ("a", ids[1])
    assert left(stage) == [("a", "en_US"), ("b", "en_US")]


def test_many_at_once(three: tuple[Stage, list[str]]) -> None:
    stage, ids = three

    operation = deleted(stage, hsm_ids=ids)

    assert len(stage.calls(operation)) == 1
    assert operation.result is not None
    assert operation.result["deleted"] == ids
    assert left(stage) == []


def test_of_many_some_are_gone_already(three: tuple[Stage, list[str]]) -> None:
    stage, ids = three
    stage.simulator.world.remove_template(stage.waba, ids[1])

    operation = deleted(stage, hsm_ids=ids)

    assert [one.method for one in stage.calls(operation)] == ["DELETE", "GET", "DELETE"]
    assert operation.state is State.SUCCEEDED
    assert left(stage) == []


@pytest.mark.parametrize("which", ["name", "id", "ids"])
def test_what_is_gone_already_is_satisfied(three: tuple[Stage, list[str]], which: str) -> None:
    stage, ids = three
    for id_ in ids:
        stage.simulator.world.remove_template(stage.waba, id_)
    asked: dict[str, Any] = {
        "name": {"name": "a"},
        "id": {"name": "a", "hsm_id": ids[0]},
        "ids": {"hsm_ids": ids},
    }[which]

    assert deleted(stage, **asked).state is State.SUCCEEDED


def test_what_lingers_is_satisfied_too(stages: Stages) -> None:
    with stages(knobs={"template_deletion_seconds": 3600}) as stage:
        id_ = there(stage, stage.waba, "a")
        deleted(stage, name="a", hsm_id=id_)
        assert seen(stage, stage.waba)[-1]["status"] == "PENDING_DELETION"

        assert deleted(stage, hsm_ids=[id_]).state is State.SUCCEEDED
        assert deleted(stage, name="a").state is State.SUCCEEDED


def test_another_refusal_is_told(stage: Stage) -> None:
    stage.fault(path="message_templates", method="DELETE", code=10, message="(#10) no permission")

    operation = deleted(stage, name="a")

    assert operation.state is State.FAILED
    assert operation.error is not None
    assert operation.error["code"] == 10


@pytest.mark.parametrize("which", ["name", "id", "ids"])
def test_the_mirror_knows_at_once(three: tuple[Stage, list[str]], which: str) -> None:
    stage, ids = three
    stage.work(stage.accept("template_sync", waba=stage.waba))
    asked: dict[str, Any] = {
        "name": {"name": "a"},
        "id": {"name": "a", "hsm_id": ids[0]},
        "ids": {"hsm_ids": ids},
    }[which]

    deleted(stage, **asked)

    names = [(one["name"], one["language"]) for one in mirrored(stage, stage.waba)]
    assert [one for one in names if one[0] in ("a", "b")] == left(stage)
    synced = stage.work(stage.accept("template_sync", waba=stage.waba))
    assert synced.result is not None
    assert (synced.result["added"], synced.result["changed"], synced.result["removed"]) == (0, 0, 0)


@pytest.mark.parametrize(
    ("payload", "sentence"),
    [
        ({}, "name or hsm_ids is needed"),
        ({"name": "a", "hsm_ids": ["12345"]}, "not both"),
        ({"hsm_id": "12345"}, "name or hsm_ids"),
        ({"hsm_id": "12345", "hsm_ids": ["12345"]}, "goes with the template's name"),
        ({"hsm_ids": []}, "at least 1"),
        ({"hsm_ids": [str(10**10 + one) for one in range(101)]}, "at most 100"),
        ({"hsm_ids": ["12345", "12345"]}, "one twice"),
        ({"hsm_ids": ["abc"]}, "hsm_ids.0"),
        ({"name": "Not A Name"}, "name"),
    ],
)
def test_what_says_not_which_is_refused_at_the_edge(stage: Stage, payload: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidRequest, match=sentence):
        stage.accept("template_delete", waba=stage.waba, payload=payload)
