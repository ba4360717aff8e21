"""What the Desk promises a step, with real workers that are killed, and real answers that are lost."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from tests.support.stage import Crash, Point, Stage
from wabajobs.capability import Capability
from wabajobs.errors import Ask, Conflict, InvalidRequest, SyncError
from wabajobs.kinds import Kind, Step, Work
from wabajobs.kinds.inputs import Pin
from wabajobs.operation import Operation, State
from wabajobs.outcome import Cancelled, NeedsInput, NotBegun
from wabajobs.secret import Secret

Stages = Callable[..., AbstractContextManager[Stage]]


class Wanted(BaseModel, extra="forbid"):
    """A number, and what its profile is to say."""

    number: str
    about: str = "We are open"
    pin: Pin | None = None


def say(work: Work, about: str | None = None) -> dict[str, Any]:
    """Change something that can be read back."""
    payload = work.operation.payload
    work.graph.post(
        f"{payload['number']}/whatsapp_business_profile",
        messaging_product="whatsapp",
        about=about or payload["about"],
    )
    return {"said": about or payload["about"]}


def has_said(work: Work) -> dict[str, Any] | None:
    """Look whether it has happened."""
    payload = work.operation.payload
    found = work.graph.get(f"{payload['number']}/whatsapp_business_profile", fields="about")
    about = found["data"][0].get("about")
    return {"said": about, "found": True} if about == payload["about"] else None


def look(work: Work) -> dict[str, Any]:
    """Read something."""
    return {"name": work.graph.get(str(work.operation.waba), fields="name")["name"]}


CODE = Ask(name="code", about="the code of six digits that the number was sent", pattern=r"[0-9]{6}")


def ask(work: Work) -> dict[str, Any]:
    """Ask for a code until the right one is given."""
    tries = work.progress().get("tries", 0)
    given = work.secret("code")
    if given is None:
        work.ask("a code is needed", CODE, within=timedelta(minutes=10))
    if given != Secret("123456"):
        work.keep({"tries": tries + 1}, code=None)
        work.ask("that was not the code", CODE, within=timedelta(minutes=10))
    work.keep({"tries": tries}, code=None)
    return {"wrong": tries}


LOOK = Step(name="look", run=look, capability=Capability.PROFILE)
SAY = Step(
    name="say",
    run=say,
    capability=Capability.PROFILE,
    happens_once=True,
    reads_back=has_said,
    undo="say something else",
)
ASK = Step(name="ask", run=ask, capability=Capability.PROFILE, asks=(CODE,))


def failing(error: Exception, **more: Any) -> Step:
    """A step that fails."""

    def run(_work: Work) -> dict[str, Any]:
        raise error

    return Step(name="fails", run=run, **more)


def a_kind(*steps: Step, **more: Any) -> Kind:
    return Kind(name="trial", summary="a trial", steps=steps, payload=Wanted, **more)


def accepted(stage: Stage, *, payload: dict[str, Any] | None = None, **more: Any) -> Operation:
    return stage.accept("trial", waba=stage.waba, payload={"number": stage.number, **(payload or {})}, **more)


def methods(stage: Stage, operation: Operation) -> list[str]:
    return [one.method for one in stage.calls(operation)]


def begun(stage: Stage, operation: Operation) -> dict[str, Any]:
    return (stage.get(operation).checkpoint or {}).get("begun", {})


# ── what happens once ────────────────────────────────────────────────────────────────────────────────────────


def test_the_mark_is_committed_before_the_call_leaves(stages: Stages) -> None:
    with stages(kinds=[a_kind(SAY, LOOK)]) as stage:
        operation = accepted(stage)

        stage.attempt(operation, Crash(1, Point.BEFORE))

        assert begun(stage, operation) == {"say": stage.clock.now().isoformat()}
        assert stage.calls(operation) == []


@pytest.mark.parametrize("shut", ["pause", "budget"])
def test_what_finds_no_way_out_is_not_marked(stages: Stages, shut: str) -> None:
    with stages(kinds=[a_kind(LOOK, SAY)]) as stage:
        operation = accepted(stage)
        stage.before(2, lambda: stage.pause("all") if shut == "pause" else stage.spend())

        stage.attempt(operation)

        assert stage.get(operation).state is State.HELD
        assert begun(stage, operation) == {}


def test_an_undisturbed_step_is_not_read_back(stages: Stages) -> None:
    with stages(kinds=[a_kind(SAY, LOOK)]) as stage:
        operation = accepted(stage)

        done = stage.work(operation)

        assert methods(stage, operation) == ["POST", "GET"]
        assert done.result == {"said": "We are open", "name": "Shop 1"}


@pytest.mark.parametrize("point", [Point.UNHEARD, Point.ANSWERED])
def test_what_has_happened_before_a_crash_is_found_and_not_done_again(stages: Stages, point: Point) -> None:
    with stages(kinds=[a_kind(SAY, LOOK)]) as stage:
        operation = accepted(stage)

        done = stage.work(operation, crash=Crash(1, point))

        assert methods(stage, operation) == ["POST", "GET", "GET"]
        assert done.result == {"said": "We are open", "found": True, "name": "Shop 1"}


def test_what_has_not_happened_before_a_crash_is_done(stages: Stages) -> None:
    with stages(kinds=[a_kind(SAY)]) as stage:
        operation = accepted(stage)

        done = stage.work(operation, crash=Crash(1, Point.BEFORE))

        assert methods(stage, operation) == ["GET", "POST"]
        assert done.result == {"said": "We are open"}


def test_what_has_happened_behind_a_lost_answer_is_found(stages: Stages) -> None:
    with stages(kinds=[a_kind(SAY)]) as stage:
        operation = accepted(stage)

        done = stage.work(operation, lose=1)

        assert methods(stage, operation) == ["POST", "GET"]
        assert done.result == {"said": "We are open", "found": True}


def test_a_definite_refusal_takes_the_mark_back(stages: Stages) -> None:
    with stages(kinds=[a_kind(SAY)]) as stage:
        operation = accepted(stage)
        stage.fault(method="POST", code=4, times=1)

        stage.attempt(operation)

        assert begun(stage, operation) == {}
        stage.work(operation)
        assert methods(stage, operation) == ["POST", "POST"], "nothing had to be read back"


def test_a_refusal_takes_no_mark_back_where_another_call_has_gone_through(stages: Stages) -> None:
    def twice(work: Work) -> dict[str, Any]:
        say(work)
        return say(work, "Closed")

    step = Step(
        name="twice", run=twice, capability=Capability.PROFILE, happens_once=True, reads_back=lambda work: None
    )
    with stages(kinds=[a_kind(step)]) as stage:
        operation = accepted(stage)
        stage.fault(method="POST", code=4, after=1, times=1)

        stage.attempt(operation)

        assert methods(stage, operation) == ["POST", "POST"]
        assert list(begun(stage, operation)) == ["twice"]


def test_no_call_leaves_under_a_lease_that_was_taken_back_though_it_is_not_over(stages: Stages) -> None:
    def looks_twice(work: Work) -> dict[str, Any]:
        look(work)
        taken = stage.house.ledger.operations.reclaim(now=work.now() + timedelta(hours=1), max_attempts=6)
        assert len(taken) == 1
        return look(work)

    with stages(kinds=[a_kind(Step(name="looks", run=looks_twice, capability=Capability.PROFILE))]) as stage:
        operation = accepted(stage)

        assert isinstance(stage.attempt(operation), NotBegun)

        assert methods(stage, operation) == ["GET"]
        assert stage.get(operation).state is State.WAITING


def test_a_call_that_our_own_client_refuses_leaves_no_mark(stages: Stages) -> None:
    def astray(work: Work) -> dict[str, Any]:
        return work.graph.post("../elsewhere")

    step = Step(
        name="astray", run=astray, capability=Capability.PROFILE, happens_once=True, reads_back=lambda work: None
    )
    with stages(kinds=[a_kind(step)]) as stage:
        operation = accepted(stage)

        assert stage.work(operation).state is State.FAILED
        assert begun(stage, operation) == {}


def test_a_step_gone_back_to_runs_again_once(stages: Stages) -> None:
    runs: list[str] = []

    def prepare(work: Work) -> dict[str, Any]:
        runs.append("prepare")
        return {"handle": len(runs)}

    def use(work: Work) -> dict[str, Any]:
        runs.append("use")
        work.go_back("prepare")
        return {"used": work.results["handle"]}

    with stages(kinds=[a_kind(Step(name="prepare", run=prepare), LOOK, Step(name="use", run=use))]) as stage:
        operation = accepted(stage)

        done = stage.work(operation)

        assert runs == ["prepare", "use", "prepare", "use"]
        assert done.result is not None
        assert done.result["used"] == 3
        assert methods(stage, operation) == ["GET", "GET"], "what lies between is done again, too"


# ── what can be left out, and what is said of a failure ──────────────────────────────────────────────────────


def test_an_optional_step_is_left_out_when_it_cannot_be_done(stages: Stages) -> None:
    optional = Step(name="optional", run=look, capability=Capability.PROFILE, required=False)
    with stages(kinds=[a_kind(optional, SAY)]) as stage:
        operation = accepted(stage)
        stage.fault(method="GET", code=100, message="never")

        done = stage.work(operation)

        assert done.state is State.SUCCEEDED
        assert done.result is not None
        assert done.result["said"] == "We are open"
        assert done.result["left_out"]["optional"].startswith("never (code 100)")


@pytest.mark.parametrize("error", [Conflict("it is another", {"name": ["a", "b"]}), SyncError("a circle")])
def test_an_optional_step_may_also_fail_for_reasons_of_our_own(stages: Stages, error: Exception) -> None:
    with stages(kinds=[a_kind(failing(error, required=False), SAY)]) as stage:
        done = stage.work(accepted(stage))

        assert done.result == {"said": "We are open", "left_out": {"fails": str(error)}}


def test_an_optional_step_is_not_left_out_for_what_passes(stages: Stages) -> None:
    optional = Step(name="optional", run=look, capability=Capability.PROFILE, required=False)
    with stages(kinds=[a_kind(optional, SAY)]) as stage:
        operation = accepted(stage)
        stage.fault(method="GET", code=2, times=2)

        done = stage.work(operation)

        assert methods(stage, operation) == ["GET", "GET", "GET", "POST"]
        assert done.result == {"name": "Shop 1", "said": "We are open"}


def test_what_fails_says_in_which_step_and_what_undoes_those_before(stages: Stages) -> None:
    with stages(kinds=[a_kind(LOOK, SAY, failing(Conflict("it is another", {"name": ["a", "b"]})))]) as stage:
        done = stage.work(accepted(stage))

        assert done.state is State.FAILED
        assert done.error == {
            "message": "it is another",
            "type": "Conflict",
            "difference": {"name": ["a", "b"]},
            "step": "fails",
            "to_undo": {"say": "say something else"},
        }


# ── the point of no return ───────────────────────────────────────────────────────────────────────────────────


def irrevocably(*after: Step, **more: Any) -> Kind:
    step = Step(
        name="say",
        run=say,
        capability=Capability.PROFILE,
        happens_once=True,
        reads_back=has_said,
        point_of_no_return=True,
    )
    return a_kind(step, *after, **more)


def cancel(stage: Stage, operation: Operation, *, force: bool = False) -> Operation:
    return stage.house.interventions.cancel(operation.id, reason="not wanted", actor="anna", force=force)


def test_past_the_point_of_no_return_no_deadline_holds(stages: Stages) -> None:
    with stages(kinds=[irrevocably(LOOK)]) as stage:
        operation = accepted(stage, expires_after=60)
        stage.before(2, lambda: stage.pass_time(61))

        done = stage.work(operation)

        assert done.state is State.SUCCEEDED
        assert done.deadline_at is None


def test_past_the_point_of_no_return_only_force_cancels(stages: Stages) -> None:
    with stages(kinds=[irrevocably(LOOK)]) as stage:
        operation = accepted(stage)
        stage.before(2, lambda: stage.pause("all"))
        stage.attempt(operation)
        stage.resume("all")

        with pytest.raises(InvalidRequest, match="point of no return"):
            cancel(stage, operation)

        assert cancel(stage, operation, force=True).state is State.CANCELLED


def test_past_the_point_of_no_return_a_running_one_is_stopped_by_force_only(stages: Stages) -> None:
    refused: list[str] = []

    def try_to_cancel(stage: Stage, operation: Operation) -> None:
        with pytest.raises(InvalidRequest) as error:
            cancel(stage, operation)
        refused.append(str(error.value))

    with stages(kinds=[irrevocably(LOOK, Step(name="more", run=look, capability=Capability.PROFILE))]) as stage:
        operation = accepted(stage)
        stage.before(2, lambda: try_to_cancel(stage, operation))
        stage.before(3, lambda: cancel(stage, operation, force=True))

        outcome = stage.attempt(operation)

        assert "point of no return" in refused[0]
        assert isinstance(outcome, Cancelled)
        assert methods(stage, operation) == ["POST", "GET"]


def test_who_is_cancelled_in_the_last_moment_does_not_reach_the_point(stages: Stages) -> None:
    """Between the look whether somebody has cancelled it, and the mark, there is a moment."""
    with stages(kinds=[irrevocably(LOOK)]) as stage:
        operation = accepted(stage)
        operations = stage.house.ledger.operations
        asked = operations.stop_asked

        def one_moment_too_early(of: Operation) -> Any:
            found = asked(of)
            cancel(stage, operation)
            return found

        operations.stop_asked = one_moment_too_early  # type: ignore[method-assign]

        assert isinstance(stage.attempt(operation), Cancelled)
        assert stage.calls(operation) == []


def test_a_refused_call_does_not_reach_the_point_of_no_return(stages: Stages) -> None:
    with stages(kinds=[irrevocably(LOOK)]) as stage:
        operation = accepted(stage, expires_after=7200)
        stage.fault(method="POST", code=4, times=1)

        stage.attempt(operation)

        held = stage.get(operation)
        assert not held.past_return
        assert held.deadline_at == operation.deadline_at
        assert cancel(stage, operation).state is State.CANCELLED


def test_past_the_point_of_no_return_a_person_is_waited_for_without_end(stages: Stages) -> None:
    with stages(kinds=[irrevocably(ASK)]) as stage:
        operation = accepted(stage, expires_after=60)

        outcome = stage.attempt(operation)

        assert isinstance(outcome, NeedsInput)
        assert outcome.until is None
        stage.pass_time(86_400)
        assert stage.house.ledger.operations.expire(now=stage.clock.now()) == []
        stage.provide(operation, code="123456")
        assert stage.work(operation).state is State.SUCCEEDED


# ── people ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_who_needs_input_says_what_why_and_until_when(stages: Stages) -> None:
    with stages(kinds=[a_kind(ASK)]) as stage:
        operation = accepted(stage)

        now = stage.work(operation)

        assert (now.state, now.attempts) == (State.NEEDS_INPUT, 0)
        assert now.as_json()["needs"] == {
            "reason": "a code is needed",
            "asks": [{"name": "code", "about": CODE.about, "pattern": "[0-9]{6}"}],
            "until": (stage.clock.now() + timedelta(minutes=10)).isoformat(),
        }


def test_a_wrong_code_is_forgotten_and_asked_for_again(stages: Stages) -> None:
    with stages(kinds=[a_kind(ASK, SAY)]) as stage:
        operation = accepted(stage)
        codes = iter(["111111", "222222", "123456"])

        done = stage.work(operation, lambda one, stage: stage.provide(one, code=next(codes)))

        assert done.result == {"wrong": 2, "said": "We are open"}
        assert done.attempts == 1, "asking spends none"
        assert stage.house.vault.get(f"operations/{operation.id}/code") is None


def test_ten_asks_spend_no_attempt(stages: Stages) -> None:
    with stages(kinds=[a_kind(ASK)]) as stage:
        operation = accepted(stage)
        codes = iter([*(f"{n:06}" for n in range(10)), "123456"])

        assert stage.work(operation, lambda one, stage: stage.provide(one, code=next(codes))).result == {
            "wrong": 10
        }


def test_a_crash_after_input_was_given_asks_nobody_again(stages: Stages) -> None:
    with stages(kinds=[a_kind(ASK, SAY)]) as stage:
        operation = accepted(stage)
        asked: list[str] = []

        def give(one: Operation, stage: Stage) -> None:
            asked.append(one.id)
            stage.provide(one, code="123456")

        stage.work(operation, give, crash=Crash(1, Point.ANSWERED))

        assert len(asked) == 1


def test_what_nobody_gives_expires_and_a_retry_asks_again(stages: Stages) -> None:
    with stages(kinds=[a_kind(ASK)]) as stage:
        operation = accepted(stage, expires_after=7200)
        stage.work(operation)
        stage.pass_time(601)
        operations = stage.house.ledger.operations

        operations.expire(now=stage.clock.now())

        expired = stage.get(operation)
        assert expired.state is State.EXPIRED
        assert expired.needs is None
        assert "while it waited for code" in (expired.error or {})["message"]
        with pytest.raises(InvalidRequest, match="is expired: it needs no input"):
            stage.provide(operation, code="123456")
        again = stage.house.interventions.retry(operation.id, reason="the customer is back", actor="anna")
        assert again.deadline_at == stage.clock.now() + timedelta(seconds=7200), "its own, not that of the ask"
        done = stage.work(operation, lambda one, stage: stage.provide(one, code="123456"))
        assert done.state is State.SUCCEEDED


def test_the_operations_own_deadline_holds_again_once_it_was_given(stages: Stages) -> None:
    with stages(kinds=[a_kind(ASK)]) as stage:
        operation = accepted(stage, expires_after=7200)
        stage.work(operation)
        stage.pass_time(300)

        assert stage.provide(operation, code="123456").deadline_at == operation.deadline_at


def test_who_needs_input_can_be_cancelled(stages: Stages) -> None:
    with stages(kinds=[a_kind(ASK)]) as stage:
        operation = accepted(stage)
        stage.work(operation)

        ended = cancel(stage, operation)

        assert (ended.state, ended.needs) == (State.CANCELLED, None)


def test_who_needs_input_keeps_its_lane(stages: Stages) -> None:
    with stages(kinds=[a_kind(ASK, touches=lambda payload: f"number:{payload['number']}")]) as stage:
        first, second = accepted(stage), accepted(stage)
        stage.work(first)

        def ready() -> list[str]:
            operations = stage.house.ledger.operations
            lines = operations.lines(["trial"])
            return [one.id for heads in operations.heads(dict.fromkeys(lines, 9)).values() for one in heads]

        assert ready() == []
        stage.work(first, lambda one, stage: stage.provide(one, code="123456"))
        assert ready() == [second.id]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "nothing is given; it needs code"),
        ({"pin": "987654"}, "'pin' was not asked for; it needs code"),
        ({"code": "98765"}, "code: what is given cannot be it; it is the code of six digits"),
        ({"code": "987654\n"}, "code: what is given cannot be it"),
        ({"code": 987654}, "code: what is given cannot be it"),
    ],
)
def test_what_cannot_be_it_is_refused_without_being_repeated(
    stages: Stages, given: dict[str, Any], sentence: str
) -> None:
    with stages(kinds=[a_kind(ASK)]) as stage:
        operation = accepted(stage)
        stage.work(operation)

        with pytest.raises(InvalidRequest) as error:
            stage.provide(operation, **given)

        assert sentence in str(error.value)
        assert "9876" not in str(error.value)
        assert stage.get(operation).state is State.NEEDS_INPUT


def test_the_second_of_two_who_give_is_told_that_it_is_not_needed(stages: Stages) -> None:
    with stages(kinds=[a_kind(ASK)]) as stage:
        operation = accepted(stage)
        stage.work(operation)
        stage.provide(operation, code="123456")

        with pytest.raises(InvalidRequest, match="is waiting: it needs no input"):
            stage.provide(operation, code="654321")

        assert stage.work(operation).result == {"wrong": 0}


# ── secrets ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_secret_of_the_payload_is_sealed_and_the_payload_refers_to_it(stages: Stages) -> None:
    seen: list[Secret | None] = []

    def use(work: Work) -> dict[str, Any]:
        seen.append(work.secret("pin"))
        return {}

    with stages(kinds=[a_kind(LOOK, Step(name="use", run=use))]) as stage:
        operation = accepted(stage, payload={"pin": "424242"})
        name = f"operations/{operation.id}/pin"

        stage.work(operation)

        assert operation.payload["pin"] == f"vault:{name}"
        assert seen == [Secret("424242")]
        assert "424242" not in (stage.house.ledger.secrets.get(name) or "")


def test_a_request_repeated_with_its_key_and_secrets_is_the_same_operation(stages: Stages) -> None:
    with stages(kinds=[a_kind(LOOK)]) as stage:
        first = accepted(stage, payload={"pin": "424242"}, key="one")
        again = accepted(stage, payload={"pin": "424242"}, key="one")

        assert again.id == first.id
        assert stage.house.vault.get(f"operations/{first.id}/pin") == Secret("424242")


def test_secrets_that_a_step_keeps_are_replaced_and_deleted(stages: Stages) -> None:
    def run(work: Work) -> dict[str, Any]:
        work.keep({}, token=Secret("first"), spare=Secret("kept"))
        work.keep({}, token=Secret("second"))
        assert work.secret("token") == Secret("second")
        work.keep({}, token=None)
        assert work.secret("token") is None
        return {"spare": work.secret("spare") == Secret("kept")}

    with stages(kinds=[a_kind(LOOK, Step(name="run", run=run))]) as stage:
        assert (stage.work(accepted(stage)).result or {})["spare"] is True


def test_a_secret_of_the_payload_that_was_forgotten_is_gone(stages: Stages) -> None:
    def run(work: Work) -> dict[str, Any]:
        work.keep({}, pin=None)
        return {"gone": work.secret("pin") is None}

    with stages(kinds=[a_kind(LOOK, Step(name="run", run=run))]) as stage:
        assert (stage.work(accepted(stage, payload={"pin": "424242"})).result or {})["gone"] is True


def test_a_kind_that_coalesces_takes_no_secrets() -> None:
    with pytest.raises(ValueError, match="brings no secret along"):
        a_kind(LOOK, coalesces=True)


def test_a_step_that_happens_once_must_say_how_it_reads_back() -> None:
    with pytest.raises(ValueError, match="say how it reads back"):
        Step(name="once", run=look, happens_once=True)
