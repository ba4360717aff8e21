"""`template_migration`: page by page, smaller ones when Meta runs out of time; what was not copied is told."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from tests.kinds.templates import brothers, seen, there
from tests.support.stage import Stage
from wabajobs.errors import InvalidRequest
from wabajobs.operation import Operation, State

Stages = Callable[..., AbstractContextManager[Stage]]


def migrated(stage: Stage, **more: Any) -> Operation:
    source, destination = brothers(stage)
    return stage.work(
        stage.accept("template_migration", waba=destination, payload={"source_waba_id": source, **more})
    )


def many(stage: Stage, number: int) -> list[str]:
    return [there(stage, stage.waba, f"t{one:04}") for one in range(number)]


def copies(stage: Stage) -> list[str]:
    _, destination = brothers(stage)
    return [one["name"] for one in seen(stage, destination) if one["name"].startswith("t0")]


def pages(stage: Stage, operation: Operation) -> list[tuple[str, str]]:
    told = [one.params for one in stage.calls(operation)]
    return [(str(one.get("page_number")), str(one.get("count"))) for one in told]


def test_a_small_list_is_one_call(stages: Stages) -> None:
    with stages(knobs={"templates": 0}) as stage:
        many(stage, 5)
        operation = migrated(stage)

        [call] = stage.calls(operation)
        source, destination = brothers(stage)
        assert (call.method, call.path) == ("POST", f"{destination}/migrate_message_templates")
        assert str(call.params["source_waba_id"]) == source
        assert operation.result == {"migrated": 5, "there_already": [], "failed": {}}
        assert len(copies(stage)) == 5


def test_what_is_not_copied_is_told_by_reason(stages: Stages) -> None:
    with stages(knobs={"templates": 0}) as stage:
        _, destination = brothers(stage)
        bad = [there(stage, stage.waba, name, status="REJECTED") for name in ("bad", "worse")]
        double = there(stage, stage.waba, "double")
        there(stage, destination, "double")
        many(stage, 1)

        operation = migrated(stage)

        assert operation.state is State.SUCCEEDED
        assert operation.result == {
            "migrated": 1,
            "there_already": [double],
            "failed": {"Template is not approved": bad},
        }


def test_large_lists_go_in_pages_of_500(stages: Stages) -> None:
    with stages(knobs={"templates": 0}) as stage:
        many(stage, 700)

        operation = migrated(stage)

        assert pages(stage, operation) == [("0", "500"), ("1", "500")]
        assert operation.result is not None
        assert operation.result["migrated"] == 700


def test_a_page_that_takes_meta_too_long_is_asked_for_in_smaller_ones(stages: Stages) -> None:
    with stages(knobs={"templates": 0, "template_migration_most": 60}) as stage:
        many(stage, 150)

        operation = migrated(stage)

        assert operation.state is State.SUCCEEDED
        assert operation.result is not None
        assert operation.result["failed"] == {}
        assert operation.result["migrated"] + len(operation.result["there_already"]) == 150
        assert len(copies(stage)) == 150
        assert stage.duplicates() == []
        counts = [int(count) for _, count in pages(stage, operation)]
        assert counts == sorted(counts, reverse=True)


def test_a_call_without_an_answer_is_followed_by_smaller_ones(stages: Stages) -> None:
    with stages(knobs={"templates": 0}) as stage:
        many(stage, 10)
        source, destination = brothers(stage)
        operation = stage.accept("template_migration", waba=destination, payload={"source_waba_id": source})

        ended = stage.work(operation, lose=1)

        assert pages(stage, operation) == [("0", "500"), ("0", "250")]
        assert ended.result is not None
        assert len(ended.result["there_already"]) == 10
        assert stage.duplicates() == []


def test_chosen_ones(stages: Stages) -> None:
    with stages(knobs={"templates": 0}) as stage:
        ids = many(stage, 4)

        operation = migrated(stage, template_ids=[ids[0], ids[2], "99999999999"])

        assert copies(stage) == ["t0000", "t0002"]
        assert operation.result == {
            "migrated": 2,
            "there_already": [],
            "failed": {"Template not found": ["99999999999"]},
        }


def test_it_goes_on_at_the_page_where_it_was_held(stages: Stages) -> None:
    with stages(knobs={"templates": 0}) as stage:
        many(stage, 700)
        source, destination = brothers(stage)
        operation = stage.accept("template_migration", waba=destination, payload={"source_waba_id": source})
        stage.before(2, lambda: stage.pause("capability:template_writes"))
        stage.attempt(operation)
        assert stage.get(operation).state is State.HELD
        stage.resume("capability:template_writes")

        ended = stage.work(operation)

        assert pages(stage, ended) == [("0", "500"), ("1", "500")]
        assert ended.result is not None
        assert ended.result["migrated"] == 700


def test_wabas_of_two_businesses(stage: Stage) -> None:
    source, destination = stage.simulator.world.waba_ids[:2]

    operation = stage.work(
        stage.accept("template_migration", waba=destination, payload={"source_waba_id": source})
    )

    assert operation.state is State.FAILED
    assert "one business" in str(operation.error)


def test_a_waba_to_itself_costs_no_call(stage: Stage) -> None:
    operation = stage.work(
        stage.accept("template_migration", waba=stage.waba, payload={"source_waba_id": stage.waba})
    )

    assert operation.state is State.FAILED
    assert stage.calls(operation) == []


def test_the_destinations_list_is_due_soon(stages: Stages) -> None:
    with stages(knobs={"templates": 0}) as stage:
        _, destination = brothers(stage)
        many(stage, 2)
        stage.work(stage.accept("template_sync", waba=destination))

        migrated(stage)

        kept = stage.house.ledger.fleet.get(destination, settings=stage.house.settings.planner)
        assert kept is not None
        assert kept.due.at is not None
        assert (kept.due.at - stage.clock.now()).total_seconds() <= stage.house.settings.planner.confirm_seconds


@pytest.mark.parametrize(
    ("payload", "sentence"),
    [
        ({}, "source_waba_id"),
        ({"source_waba_id": "x"}, "source_waba_id"),
        ({"source_waba_id": "12345", "template_ids": []}, "template_ids"),
        ({"source_waba_id": "12345", "template_ids": ["12345", "12345"]}, "twice"),
    ],
)
def test_what_says_not_which_is_refused_at_the_edge(stage: Stage, payload: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidRequest, match=sentence):
        stage.accept("template_migration", waba=stage.waba, payload=payload)
