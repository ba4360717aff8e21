"""Whatever templates are made, edited and deleted, whatever answers are lost: the mirror is as Meta has it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.kinds.templates import AUTHENTICATION, TEXT, UPSERT, mirrored, seen
from tests.support.stage import Stage
from wabajobs.operation import State

Stages = Callable[..., AbstractContextManager[Stage]]

_NAMES = st.sampled_from(["a", "b"])
_LANGUAGES = st.sampled_from(["en_US", "de"])
_TEXTS = st.sampled_from(["Hello to all of you.", "Good bye to all of you."])
_DEEDS = st.one_of(
    st.tuples(st.just("create"), _NAMES, _LANGUAGES, _TEXTS),
    st.tuples(st.just("upsert"), _NAMES),
    st.tuples(st.just("edit"), _NAMES, _LANGUAGES, _TEXTS),
    st.tuples(st.just("delete"), _NAMES),
    st.tuples(st.just("delete one"), _NAMES, _LANGUAGES),
    st.tuples(st.just("decide"), _NAMES, _LANGUAGES),
)


def _found(stage: Stage, name: str, language: str) -> Any:
    world = stage.simulator.world
    listed = world.listed(world.waba(stage.waba))
    return next((one for one in listed if (one.name, one.language) == (name, language)), None)


def _asked(stage: Stage, deed: tuple[str, ...]) -> tuple[str, dict[str, Any]] | None:
    what, name, *more = deed
    there = _found(stage, name, more[0]) if more else None
    match what:
        case "create":
            return "template_create", {
                **TEXT,
                "name": name,
                "language": more[0],
                "components": [{"type": "BODY", "text": more[1]}],
            }
        case "upsert":
            return "template_create", {**UPSERT, "name": name, "languages": ["en_US", "de"]}
        case "edit" if there:
            components = AUTHENTICATION["components"]
            if there.category != "AUTHENTICATION":
                components = [{"type": "BODY", "text": more[1]}]
            return "template_edit", {"template_id": there.id, "name": name, "components": components}
        case "delete":
            return "template_delete", {"name": name}
        case "delete one" if there:
            return "template_delete", {"name": name, "hsm_id": there.id}
    return None


def _in_the_world(stage: Stage) -> list[tuple[Any, ...]]:
    return sorted(
        (one["name"], one["language"], one["status"], one["category"]) for one in seen(stage, stage.waba)
    )


def _in_the_mirror(stage: Stage) -> list[tuple[Any, ...]]:
    return sorted(tuple(one.values()) for one in mirrored(stage, stage.waba))


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@example(deeds=[(("upsert", "b"), False), (("decide", "b", "en_US"), False), (("upsert", "a"), False)])
@given(deeds=st.lists(st.tuples(_DEEDS, st.booleans()), min_size=2, max_size=7))
def test_the_mirror_is_as_meta_has_it(deeds: list[tuple[tuple[str, ...], bool]], stages: Stages) -> None:
    with stages(knobs={"templates": 0, "template_review": "manual"}) as stage:
        stage.work(stage.accept("template_sync", waba=stage.waba))
        for deed, loses in deeds:
            if deed[0] == "decide":
                there = _found(stage, deed[1], deed[2])
                if there is not None and there.status == "PENDING":
                    # After a while somebody decides, and a sync finds it: at the very moment of our own change,
                    # what that said would be newer than the list.
                    stage.pass_time(60)
                    stage.simulator.world.set_status(stage.waba, there.id, "APPROVED")
                    stage.work(stage.accept("template_sync", waba=stage.waba))
                    stage.pass_time(90_000)
                continue
            if (asked := _asked(stage, deed)) is None:
                continue
            kind, payload = asked
            operation = stage.accept(kind, waba=stage.waba, payload=payload)
            if loses:
                stage.work(operation, lose=1)
            else:
                stage.work(operation)
            assert stage.get(operation).state in (State.SUCCEEDED, State.FAILED)
            assert _in_the_mirror(stage) == _in_the_world(stage), (deed, loses)
        assert stage.duplicates() == []
        synced = stage.work(stage.accept("template_sync", waba=stage.waba)).result
        assert synced is not None
        assert (synced["added"], synced["removed"]) == (0, 0)
