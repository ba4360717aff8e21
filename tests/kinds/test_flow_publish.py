"""`flow_publish`: what is asked for is there in the end, or nothing is published and Meta's reason is told."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.kinds.cases_flow_publish import BETTER, GOOD, NEW, SCREEN, a_flow
from tests.support.stage import Stage
from wabajobs.errors import InvalidRequest
from wabajobs.kinds.flow_publish import LARGEST
from wabajobs.operation import Operation, State
from wabajobs.simulator.world import Flow, flows

FAULTY: dict[str, Any] = {"version": "7.0", "screens": [{"id": "A", "nonsense": 1}]}


def run(stage: Stage, **payload: Any) -> Operation:
    return stage.work(accept(stage, **payload))


def accept(stage: Stage, **payload: Any) -> Operation:
    return stage.accept("flow_publish", waba=stage.waba, payload=payload)


def told(stage: Stage, operation: Operation) -> list[str]:
    return [f"{one.method} {one.path}" for one in stage.calls(operation)]


def result(operation: Operation) -> dict[str, Any]:
    assert operation.state is State.SUCCEEDED, operation.as_json()
    assert operation.result is not None
    return operation.result


def error(operation: Operation) -> dict[str, Any]:
    assert operation.state is State.FAILED, operation.as_json()
    assert operation.error is not None
    return operation.error


def all_flows(stage: Stage) -> list[Flow]:
    return flows.of_waba(stage.simulator.world, stage.simulator.world.waba(stage.waba))


def no_number_is_registered(stage: Stage) -> None:
    for number in stage.simulator.world.waba(stage.waba).numbers:
        number.registered = False


# ── a new one ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("flow_json", [GOOD, json.dumps(GOOD)], ids=["object", "text"])
def test_a_new_flow_is_made_and_published_in_one_call(stage: Stage, flow_json: Any) -> None:
    done = run(stage, **NEW, flow_json=flow_json)

    [flow] = all_flows(stage)
    assert result(done) == {"flow": flow.id, "status": "PUBLISHED"}
    assert (flow.name, flow.status, flow.categories) == ("survey", "PUBLISHED", ("SURVEY",))
    assert json.loads(flow.json or "") == GOOD
    [call] = stage.calls(done)
    assert told(stage, done) == [f"POST {stage.waba}/flows"]
    assert set(call.params) - {"appsecret_proof"} == {"name", "categories", "flow_json", "publish"}


def test_a_large_json_lies_beside_the_operation_and_not_in_it(stage: Stage) -> None:
    large = {"version": "7.0", "screens": [{**SCREEN, "title": "x" * 3_000_000}]}

    done = run(stage, **NEW, flow_json=large)

    [flow] = all_flows(stage)
    assert json.loads(flow.json or "") == large
    assert len(json.dumps(done.as_json())) < 2000


def test_a_json_may_come_from_a_file(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "flow.json").write_text("\ufeff" + json.dumps(GOOD), encoding="utf-8")

    run(stage, **NEW, flow_json={"file": str(tmp_path / "flow.json")})

    [flow] = all_flows(stage)
    assert json.loads(flow.json or "") == GOOD


def test_a_clone_gets_the_json_of_another_and_is_published(stage: Stage) -> None:
    old = a_flow(stage)

    done = run(stage, **NEW, clone_flow=old.id)

    _, flow = all_flows(stage)
    assert (flow.status, flow.json) == ("PUBLISHED", old.json)
    assert told(stage, done) == [f"POST {stage.waba}/flows", f"POST {flow.id}/publish"]


def test_faults_in_a_new_flow_are_told_and_nothing_is_published(stage: Stage) -> None:
    failed = run(stage, **NEW, flow_json=FAULTY)

    [flow] = all_flows(stage)
    assert flow.status == "DRAFT"
    assert error(failed)["type"] == "FaultsFound"
    assert error(failed)["faults"] == list(flow.errors)
    assert "so the flow is a draft: line 1, " in error(failed)["message"]
    assert set(error(failed)["to_undo"]) == {"create"}
    assert len(stage.calls(failed)) == 1


def test_faults_that_are_found_after_a_lost_answer_are_told_as_well(stage: Stage) -> None:
    failed = stage.work(accept(stage, **NEW, flow_json=FAULTY), lose=1)

    [flow] = all_flows(stage)
    assert error(failed)["faults"] == list(flow.errors)
    assert told(stage, failed) == [f"POST {stage.waba}/flows", f"GET {stage.waba}/flows"]


def test_a_name_that_is_taken_is_told_with_the_flow_that_has_it(stage: Stage) -> None:
    old = a_flow(stage, name="survey")

    failed = run(stage, **NEW, flow_json=GOOD)

    assert error(failed)["type"] == "Conflict"
    assert f"flow {old.id} has this name already" in error(failed)["message"]
    assert told(stage, failed) == [f"POST {stage.waba}/flows", f"GET {stage.waba}/flows"]
    assert [one.status for one in all_flows(stage)] == ["DRAFT"]


def test_a_flow_of_somebody_else_is_not_taken_for_ours_after_a_lost_answer(stage: Stage) -> None:
    old = a_flow(stage, name="survey")
    old.categories = ("OTHER",)

    failed = stage.work(accept(stage, **NEW, flow_json=GOOD), lose=1)

    assert f"flow {old.id} has this name, and is not the one" in error(failed)["message"]
    assert error(failed)["difference"]["categories"] == {"there": ["OTHER"], "asked": ["SURVEY"]}
    assert old.status == "DRAFT"


def test_a_flow_is_found_on_a_later_page(stage: Stage) -> None:
    for number in range(130):
        a_flow(stage, name=f"old {number}")

    done = stage.work(accept(stage, **NEW, flow_json=GOOD), lose=1)

    assert result(done)["status"] == "PUBLISHED"
    assert told(stage, done) == [f"POST {stage.waba}/flows"] + 2 * [f"GET {stage.waba}/flows"]


def test_what_cannot_be_published_says_what_it_takes(stage: Stage) -> None:
    no_number_is_registered(stage)

    failed = run(stage, **NEW, flow_json=GOOD)

    assert "of a WABA with a registered number" in error(failed)["message"]
    assert "has no registered phone number" in error(failed)["message"]
    assert (error(failed)["code"], all_flows(stage)) == (139002, [])


# ── one that is there ────────────────────────────────────────────────────────────────────────────────────────


def test_a_flow_is_changed_gets_its_json_as_a_file_and_is_published(stage: Stage) -> None:
    flow = a_flow(stage, published=True)

    done = run(stage, flow=flow.id, name="new survey", categories=["OTHER", "OTHER"], flow_json=BETTER)

    assert result(done) == {"flow": flow.id, "status": "PUBLISHED"}
    assert told(stage, done) == [f"POST {flow.id}", f"POST {flow.id}/assets", f"POST {flow.id}/publish"]
    assert (flow.name, flow.status, flow.categories) == ("new survey", "PUBLISHED", ("OTHER",))
    assert json.loads(flow.json or "") == BETTER
    upload = stage.calls(done)[1]
    assert upload.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert {"name": "flow.json", "asset_type": "FLOW_JSON"}.items() <= upload.params.items()


def test_an_update_leaves_a_draft(stage: Stage) -> None:
    flow = a_flow(stage, published=True)

    done = run(stage, action="update", flow=flow.id, endpoint_uri="https://hub.example/flow")

    assert result(done) == {"flow": flow.id, "status": "DRAFT"}
    assert (flow.status, flow.endpoint_uri) == ("DRAFT", "https://hub.example/flow")
    assert told(stage, done) == [f"POST {flow.id}"]


def test_faults_in_a_json_that_was_uploaded_are_told_and_nothing_is_published(stage: Stage) -> None:
    flow = a_flow(stage)

    failed = run(stage, flow=flow.id, flow_json=FAULTY)

    assert error(failed)["faults"] == list(flow.errors)
    assert told(stage, failed) == [f"POST {flow.id}/assets"]
    assert flow.status == "DRAFT"


def test_a_json_that_was_saved_and_not_processed_is_sent_once_more(stage: Stage) -> None:
    flow = a_flow(stage)
    stage.fault(path="assets", code=139001, times=1)

    done = run(stage, flow=flow.id, flow_json=BETTER)

    assert result(done)["status"] == "PUBLISHED"
    assert told(stage, done) == 2 * [f"POST {flow.id}/assets"] + [f"POST {flow.id}/publish"]


def test_a_flow_that_cannot_be_changed_is_not_asked_about_for_ever(stage: Stage) -> None:
    flow = a_flow(stage, published=True)
    flows.set_status(stage.simulator.world, flow, "DEPRECATED")

    uploaded, changed = run(stage, flow=flow.id, flow_json=BETTER), run(stage, flow=flow.id, name="other")

    assert "one that is deprecated stays as it is" in error(uploaded)["message"]
    assert told(stage, uploaded) == 2 * [f"POST {flow.id}/assets"]
    assert "one that is deprecated stays as it is" in error(changed)["message"]
    assert told(stage, changed) == [f"POST {flow.id}"]


def test_what_is_published_already_is_as_it_should_be(stage: Stage) -> None:
    flow = a_flow(stage, published=True)

    done = run(stage, flow=flow.id)

    assert result(done) == {"flow": flow.id, "status": "PUBLISHED"}
    assert told(stage, done) == [f"POST {flow.id}/publish", f"GET {flow.id}"]


def test_a_draft_with_faults_is_not_published_and_its_faults_are_told(stage: Stage) -> None:
    flow = a_flow(stage)
    flows.put_json(stage.simulator.world, flow, json.dumps(FAULTY))

    failed = run(stage, flow=flow.id)

    assert error(failed)["faults"] == list(flow.errors)


def test_a_flow_that_meta_blocks_fails_with_metas_words(stage: Stage) -> None:
    flow = a_flow(stage)
    flows.set_status(stage.simulator.world, flow, "BLOCKED")

    assert error(run(stage, flow=flow.id))["code"] == 139000


# ── the end of it ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_published_flow_is_deprecated_and_a_second_time_is_no_harm(stage: Stage) -> None:
    flow = a_flow(stage, published=True)

    done, again = (run(stage, action="deprecate", flow=flow.id) for _ in range(2))

    assert result(done) == result(again) == {"flow": flow.id, "status": "DEPRECATED"}
    assert told(stage, done) == [f"POST {flow.id}/deprecate"]
    assert told(stage, again) == [f"POST {flow.id}/deprecate", f"GET {flow.id}"]


def test_a_draft_is_deleted_and_a_published_flow_is_not(stage: Stage) -> None:
    draft, published = a_flow(stage), a_flow(stage, published=True, name="live")

    done, failed = (run(stage, action="delete", flow=one.id) for one in (draft, published))

    assert result(done) == {"flow": draft.id, "status": "DELETED"}
    assert "only a draft can be, a published one is deprecated" in error(failed)["message"]
    assert [one.id for one in all_flows(stage)] == [published.id]


def test_a_draft_is_not_deprecated(stage: Stage) -> None:
    failed = run(stage, action="deprecate", flow=a_flow(stage).id)

    assert "a draft is deleted (it is DRAFT)" in error(failed)["message"]


def test_a_flow_that_is_not_there_fails(stage: Stage) -> None:
    failed = run(stage, action="delete", flow="5550001")

    assert (error(failed)["code"], error(failed)["subcode"]) == (100, 33)


def test_a_flow_that_is_gone_after_a_lost_answer_is_deleted(stage: Stage) -> None:
    flow = a_flow(stage)

    done = stage.work(accept(stage, action="delete", flow=flow.id), lose=1)

    assert result(done)["status"] == "DELETED"
    assert told(stage, done) == [f"DELETE {flow.id}", f"GET {flow.id}"]


# ── the edge ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("payload", "sentence"),
    [
        ({}, "a new flow needs a name and categories"),
        ({"name": "a"}, "a new flow needs a name and categories"),
        ({**NEW}, "a new flow needs flow_json or clone_flow"),
        ({**NEW, "flow_json": GOOD, "clone_flow": "5550001"}, "a new flow needs flow_json or clone_flow"),
        ({**NEW, "name": " " * 3, "flow_json": GOOD}, "name: "),
        ({**NEW, "name": "n" * 201, "flow_json": GOOD}, "name: "),
        ({**NEW, "categories": [], "flow_json": GOOD}, "categories: "),
        ({**NEW, "categories": ["FUN"], "flow_json": GOOD}, r"categories\.0: "),
        ({**NEW, "flow_json": "{"}, "flow_json: .*not JSON: .* in line 1, column 2"),
        ({**NEW, "flow_json": "[" * 100_000}, "flow_json: .*nested too deeply"),
        ({**NEW, "flow_json": []}, "flow_json: .*an object with a version"),
        ({**NEW, "flow_json": {"screens": [1]}}, "flow_json: .*an object with a version"),
        ({**NEW, "flow_json": {"version": "7.0"}}, "flow_json: .*1 to 100 screens"),
        ({**NEW, "flow_json": {"version": "7.0", "screens": [{}] * 101}}, "flow_json: .*1 to 100 screens"),
        ({**NEW, "flow_json": {**GOOD, "x": "y" * LARGEST}}, f"flow_json: .*{LARGEST} bytes"),
        ({**NEW, "flow_json": {**GOOD, "x": float("nan")}}, "flow_json: "),
        ({**NEW, "flow_json": {"file": "/nowhere/flow.json"}}, "flow_json: .*cannot be read"),
        (
            {**NEW, "flow_json": {"url": "https://files.example/flow.json"}},
            "flow_json: .*an object with a version",
        ),
        ({**NEW, "flow_json": {**GOOD, "data_api_version": "3.0"}}, "needs an endpoint_uri"),
        ({**NEW, "flow_json": GOOD, "endpoint_uri": "http://hub.example"}, "endpoint_uri: "),
        ({"flow": "abc"}, "flow: "),
        ({"flow": "5550001", "clone_flow": "5550002"}, "only a new flow can be a clone"),
        ({"action": "update", **NEW, "flow_json": GOOD}, r"to update a flow takes its id \(flow\)"),
        ({"action": "update", "flow": "5550001"}, "say what is to be updated"),
        ({"action": "delete"}, r"to delete a flow takes its id \(flow\)"),
        ({"action": "deprecate", "flow": "5550001", "name": "a"}, "takes its id and nothing else"),
        ({"action": "destroy", "flow": "5550001"}, "action: "),
        ({"flow": "5550001", "json": "{}"}, "json: Extra inputs"),
    ],
)
def test_what_meta_would_refuse_costs_no_call(stage: Stage, payload: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidRequest, match=f"flow_publish: .*{sentence}"):
        accept(stage, **payload)


def test_operations_on_one_flow_keep_their_order(stage: Stage) -> None:
    name = "n" * 200
    new, same = (accept(stage, **{**NEW, "name": name}, flow_json=GOOD) for _ in range(2))
    one, two = accept(stage, flow="5550001"), accept(stage, flow="5550002")

    assert new.lane == same.lane
    assert len({new.lane, one.lane, two.lane}) == 3
    assert all(each.lane is not None and len(each.lane) <= 200 for each in (new, one, two))
