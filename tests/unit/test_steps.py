"""What a step is given: marks of what has begun, the WABA that it finds, another operation to ask for."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tests.support.fakes import a_wait, answering, failing
from tests.unit.conftest import WABA, Bay
from wabajobs.capability import Capability, ServiceClass
from wabajobs.errors import Ask, Conflict, FaultsFound, Transient
from wabajobs.graph import Exchange, GraphRequest
from wabajobs.kinds import Catalogue, Kind, Step, Work, catalogue
from wabajobs.operation import State
from wabajobs.outcome import Done, Expired, Failed, Hold, NeedsInput

CODE = Ask(name="code", about="a code")
MINUTE = timedelta(minutes=1)


def set_up(bay: Bay, run: Callable[[Work], dict[str, Any]], **more: Any) -> None:
    """Let the worker know a kind with one step, and `template_sync`."""
    of_step = {name: more.pop(name) for name in ("reads_back", "happens_once", "required") if name in more}
    step = Step(name="do", run=run, capability=Capability.ONBOARDING, **of_step)
    kind = Kind(name="a_kind", summary="a test", steps=(step,), needs_waba=False, **more)
    bay.kinds = Catalogue([kind, catalogue()["template_sync"]])


def test_a_get_that_changes_something_is_marked_before_it_leaves(bay: Bay) -> None:
    def spend(work: Work) -> dict[str, Any]:
        return work.graph.send("GET", "oauth/access_token", auth="none", changes=True)

    marks = []

    def lose_the_answer(_request: GraphRequest) -> Exchange:
        marks.append(bay.get(operation).checkpoint)
        return failing(Transient("the answer is lost"))

    set_up(bay, spend, happens_once=True, reads_back=lambda _: {"read_back": True})
    operation = bay.accept("a_kind")
    bay.graph.surprises.append(lose_the_answer)

    outcome = bay.perform(bay.release("a_kind"))
    bay.pass_time(600)
    again = bay.perform(bay.release("a_kind"))

    assert [list(mark["begun"]) for mark in marks] == [["do"]]
    assert isinstance(outcome, Hold)
    assert again == Done({"read_back": True})
    assert len(bay.graph.requests) == 1


def test_what_has_not_happened_is_marked_anew_before_it_is_tried_again(bay: Bay) -> None:
    asked = []

    def spend(work: Work) -> dict[str, Any]:
        return work.graph.post("x")

    def read_back(_work: Work) -> None:
        asked.append(1)

    set_up(bay, spend, happens_once=True, reads_back=read_back)
    operation = bay.accept("a_kind")
    bay.graph.surprises.extend([failing(Transient("lost")), answering({"success": True})])
    bay.perform(bay.release("a_kind"))
    bay.gate.answers.append(a_wait(60))
    bay.pass_time(600)

    held = bay.perform(bay.release("a_kind"))

    assert isinstance(held, Hold)
    assert "begun" not in (bay.get(operation).checkpoint or {}), "no call is under way any more"
    bay.pass_time(600)
    assert isinstance(bay.perform(bay.release("a_kind")), Done)
    assert len(asked) == 1


def test_a_call_whose_outcome_is_settled_is_not_looked_for(bay: Bay) -> None:
    looked = []

    def two_calls(work: Work) -> dict[str, Any]:
        for thing in ("a", "b"):
            if thing not in work.progress():
                work.graph.post(thing)
                work.settle({**work.progress(), thing: True})
        return work.progress()

    def look(_work: Work) -> None:
        looked.append(1)

    set_up(bay, two_calls, happens_once=True, reads_back=look)
    bay.accept("a_kind")
    bay.graph.surprises.extend([answering({}), failing(Transient("lost")), answering({})])
    bay.gate.answers.extend([None, a_wait(60)])

    for _ in ("b is held", "the answer to b is lost"):
        assert isinstance(bay.perform(bay.release("a_kind")), Hold)
        bay.pass_time(600)
    assert looked == []
    done = bay.perform(bay.release("a_kind"))

    assert done == Done({"a": True, "b": True})
    assert [one.path for one in bay.graph.requests] == ["a", "b", "b"]
    assert looked == [1], "only the call whose answer was lost"


def test_an_operation_that_had_only_to_begin_in_time_has_no_deadline_once_it_has_begun(bay: Bay) -> None:
    def ask(work: Work) -> dict[str, Any]:
        if work.secret("code") is None:
            work.keep({"asked": True})
            work.ask("a code is needed", CODE, within=timedelta(days=7))
        return work.graph.post("x")

    set_up(bay, ask, begins_within=lambda _: MINUTE)
    late, operation = bay.accept("a_kind"), bay.accept("a_kind")
    released = {one.id: one for one in (bay.release("a_kind"), bay.release("a_kind"))}

    asked = bay.perform(released[operation.id])
    bay.pass_time(61)
    expired = bay.perform(released[late.id])

    assert isinstance(asked, NeedsInput)
    assert isinstance(expired, Expired)
    assert bay.get(operation).deadline_at == bay.clock.now() - timedelta(seconds=61) + timedelta(days=7)


def test_an_operation_learns_its_waba_and_spends_the_budget_of_that(bay: Bay) -> None:
    def find(work: Work) -> dict[str, Any]:
        work.graph.get("debug_token", after=None, limit=1)
        work.is_about(WABA)
        work.keep({})
        work.graph.get(f"{WABA}/x", after=None, limit=1)
        return {}

    set_up(bay, find)
    operation = bay.accept("a_kind", waba="")

    bay.perform(bay.release("a_kind"))

    assert [call.waba for call in bay.gate.asked] == [None, WABA]
    assert bay.get(operation).waba == WABA
    assert [one.id for one in bay.ledger.operations.find(waba=WABA)] == [operation.id]


def test_an_operation_that_knows_its_waba_cannot_become_that_of_another(bay: Bay) -> None:
    def find(work: Work) -> dict[str, Any]:
        work.is_about("5555555")
        return {}

    set_up(bay, find)
    bay.accept("a_kind")

    outcome = bay.perform(bay.release("a_kind"))

    assert isinstance(outcome, Failed)
    assert f"is about WABA {WABA}, not 5555555" in outcome.reason


def test_a_step_asks_for_another_operation_once(bay: Bay) -> None:
    def ask(work: Work) -> dict[str, Any]:
        ids = [work.enqueue("template_sync", key="sync", service_class=ServiceClass.STANDARD) for _ in range(2)]
        return {"ids": ids}

    set_up(bay, ask)
    operation = bay.accept("a_kind", partner="bolt")

    done = bay.perform(bay.release("a_kind"))

    assert isinstance(done, Done)
    [sync] = bay.ledger.operations.find(kind="template_sync")
    assert done.result == {"ids": [sync.id, sync.id]}
    assert (sync.partner, sync.app, sync.waba) == ("bolt", operation.app, WABA)
    assert (sync.service_class, sync.state) == (ServiceClass.STANDARD, State.WAITING)


@pytest.mark.parametrize("required", [True, False])
def test_a_conflict_fails_what_is_required_and_leaves_out_what_is_not(bay: Bay, *, required: bool) -> None:
    def find(_work: Work) -> dict[str, Any]:
        raise Conflict("another is there", {})

    set_up(bay, find, required=required)
    bay.accept("a_kind")

    outcome = bay.perform(bay.release("a_kind"))

    if required:
        assert isinstance(outcome, Failed)
    else:
        assert outcome == Done({"left_out": {"do": "another is there"}})


def test_faults_that_meta_has_found_are_told_one_by_one(bay: Bay) -> None:
    def publish(_work: Work) -> dict[str, Any]:
        raise FaultsFound("two faults", [{"line": 1}, {"line": 2}])

    set_up(bay, publish)
    operation = bay.accept("a_kind")

    bay.perform(bay.release("a_kind"))

    error = bay.get(operation).error
    assert error is not None
    assert (error["message"], error["type"], error["faults"]) == (
        "two faults",
        "FaultsFound",
        [{"line": 1}, {"line": 2}],
    )
