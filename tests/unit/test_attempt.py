"""One attempt, with a real ledger: how it ends, what it leaves behind, and where the next one goes on."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from pydantic import BaseModel

from tests.support.fakes import a_wait, answering, failing, templates
from tests.unit.conftest import WABA, Bay, some_settings
from wabajobs import attempt
from wabajobs.capability import Capability
from wabajobs.decisions import Scope
from wabajobs.errors import (
    AppLimitReached,
    ConfigurationError,
    GateUnavailable,
    LedgerUnavailable,
    Transient,
    Unauthorized,
)
from wabajobs.gate import Because, Outcome
from wabajobs.graph import Exchange, GraphRequest
from wabajobs.kinds import Catalogue, Kind, Step, Work
from wabajobs.ledger import Database
from wabajobs.operation import Operation, State
from wabajobs.outcome import Cancelled, Done, Expired, Failed, Hold, NotBegun


@pytest.fixture(autouse=True)
def no_waiting_for_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt, "_ASK_AGAIN_SECONDS", 0.0)


def a_kind(*steps: Step) -> Catalogue:
    return Catalogue([Kind(name="template_sync", summary="a test", steps=steps, payload=Nothing)])


class Nothing(BaseModel):
    """No fields."""


def test_an_attempt_that_goes_well_is_recorded_with_its_results(bay: Bay) -> None:
    bay.graph.lists[WABA] = templates(250)
    operation = bay.accept()

    outcome = bay.perform()

    assert isinstance(outcome, Done)
    done = bay.get(operation)
    assert (done.state, done.attempts, done.result) == (State.SUCCEEDED, 1, outcome.result)
    assert outcome.result == {
        "pages": 3,
        "calls": 3,
        "page_size": 100,
        "templates": 250,
        "added": 250,
        "changed": 0,
        "removed": 0,
    }
    assert bay.gate.outcomes == [Outcome.OK] * 3
    assert {(call.app, call.waba, call.operation) for call in bay.gate.asked} == {("10001", WABA, operation.id)}


def test_a_message_for_another_lease_makes_no_attempt_and_no_call(bay: Bay) -> None:
    bay.accept()
    released = bay.release()
    bay.perform(released)
    calls = len(bay.graph.requests)

    again = bay.perform(released)

    assert again == NotBegun("not begun: already succeeded", settled=True)
    assert len(bay.graph.requests) == calls


def test_a_paused_operation_is_given_back_before_any_call(bay: Bay) -> None:
    operation = bay.accept()
    released = bay.release()
    bay.ledger.decisions.pause(Scope.of("all"), reason="incident 7", actor="ops", now=bay.clock.now())

    outcome = bay.perform(released)

    assert isinstance(outcome, NotBegun)
    assert not outcome.settled
    assert "incident 7" in str(outcome)
    assert (bay.graph.requests, bay.gate.asked) == ([], [])
    assert bay.get(operation).attempts == 0


def test_who_is_held_between_pages_goes_on_from_the_cursor(bay: Bay) -> None:
    bay.graph.lists[WABA] = templates(250)
    operation = bay.accept()
    bay.gate.answers.extend([None, a_wait(60, notice="a little later")])

    outcome = bay.perform()
    held = bay.get(operation)
    bay.pass_time(60)
    done = bay.perform()

    assert isinstance(outcome, Hold)
    assert (held.state, held.attempts, held.due_at) == (State.HELD, 0, bay.clock.now())
    assert held.hold is not None
    assert (held.hold.by, held.hold.notice) == ("budget", "a little later")
    assert isinstance(done, Done)
    assert bay.graph.asked_for == [(None, 100), ("c100", 100), ("c200", 100)], "page 1 is read once"
    assert len(bay.mirrored()) == 250
    assert bay.get(operation).attempts == 1


def test_who_is_paused_between_pages_waits_for_as_long_as_the_pause_lasts(bay: Bay) -> None:
    bay.graph.lists[WABA] = templates(150)
    operation = bay.accept()
    bay.gate.answers.extend([None, a_wait(None, because=Because.PAUSE)])

    outcome = bay.perform()

    assert isinstance(outcome, Hold)
    assert bay.get(operation).state is State.WAITING
    assert bay.get(operation).attempts == 0
    assert isinstance(bay.perform(), Done)


def test_fifty_refusals_of_the_gate_spend_no_attempt(bay: Bay) -> None:
    operation = bay.accept()
    for answer in [a_wait(60), GateUnavailable("Redis is away"), a_wait(60, because=Because.BREAKER)] * 17:
        bay.gate.answers.append(answer)
        assert isinstance(bay.perform(), Hold)
        bay.pass_time(60)

    assert isinstance(bay.perform(), Done)
    assert bay.get(operation).attempts == 1


def test_metas_limit_holds_and_spends_no_attempt(bay: Bay) -> None:
    operation = bay.accept()
    bay.graph.surprises.append(AppLimitReached("(#4) Application request limit reached", code=4))

    outcome = bay.perform()

    assert isinstance(outcome, Hold)
    assert outcome.by == "meta"
    assert bay.gate.outcomes == [Outcome.APP_LIMIT]
    assert (bay.get(operation).state, bay.get(operation).attempts) == (State.HELD, 0)


def test_passing_failures_are_tried_again_until_the_attempts_are_spent(bay: Bay) -> None:
    operation = bay.accept()
    for _ in range(6):
        bay.graph.surprises.append(Transient("Meta is unwell", code=2))

    outcomes = []
    for _ in range(6):
        outcomes.append(bay.perform())
        bay.pass_time(600)

    assert [type(one) for one in outcomes] == [Hold] * 5 + [Failed]
    assert "(tried 6 times)" in str(outcomes[-1])
    assert bay.get(operation).attempts == 6


def test_what_meta_will_never_accept_fails_at_once_with_metas_words(bay: Bay) -> None:
    operation = bay.accept()
    bay.graph.surprises.append(Unauthorized("the token is no good", code=190, fbtrace_id="Abc"))

    outcome = bay.perform()

    assert isinstance(outcome, Failed)
    error = bay.get(operation).error
    assert error is not None
    assert (error["code"], error["fbtrace_id"]) == (190, "Abc")
    assert error["message"] == "the token is no good (code 190) [fbtrace Abc]"


def test_a_crash_of_ours_fails_with_a_sentence(bay: Bay) -> None:
    operation = bay.accept()
    bay.graph.surprises.append(ZeroDivisionError("division by zero"))

    outcome = bay.perform()

    assert str(outcome) == "failed: internal error: ZeroDivisionError: division by zero"
    assert bay.get(operation).state is State.FAILED
    assert bay.gate.outcomes == [Outcome.FAILED], "nobody knows whether the call was made"


@pytest.mark.parametrize("ending", ["a page", "an error of Meta's", "the end"])
def test_who_has_lost_the_lease_writes_nothing(bay: Bay, ending: str) -> None:
    bay.graph.lists[WABA] = templates(250)
    operation = bay.accept()

    def lose(_request: GraphRequest) -> None:
        bay.lose_lease()

    def lose_and_fail(_request: GraphRequest) -> Exchange:
        bay.lose_lease()
        return failing(Transient("Meta is unwell", code=2))

    bay.graph.surprises.extend([None, lose])
    if ending == "an error of Meta's":
        bay.graph.surprises[-1] = lose_and_fail
    if ending == "the end":
        bay.graph.surprises.appendleft(None)

    outcome = bay.perform()

    assert isinstance(outcome, NotBegun)
    assert outcome.settled, "Flower goes on showing what the newer attempt says"
    now = bay.get(operation)
    assert (now.state, now.fence, now.result, now.error) == (State.WAITING, 1, None, None)
    assert bay.ledger.templates.read(WABA) is None
    assert isinstance(bay.perform(), Done)
    assert len(bay.mirrored()) == 250


def test_no_call_is_made_once_it_was_taken_back_though_the_lease_was_not_over(bay: Bay) -> None:
    bay.graph.lists[WABA] = templates(250)
    bay.accept()

    bay.graph.surprises.append(lambda _request: bay.lose_lease())

    outcome = bay.perform()

    assert isinstance(outcome, NotBegun)
    assert len(bay.graph.requests) == 1


def test_a_worker_that_shuts_down_gives_back_between_two_calls(bay: Bay) -> None:
    bay.graph.lists[WABA] = templates(250)
    operation = bay.accept()
    bay.graph.surprises.append(lambda _request: bay.leases.shut_down())

    outcome = bay.perform()

    assert isinstance(outcome, Hold)
    assert len(bay.graph.requests) == 1
    held = bay.get(operation)
    assert (held.attempts, held.due_at) == (0, bay.clock.now())
    assert held.checkpoint is not None
    assert bay.gate.outcomes == [Outcome.OK, Outcome.UNUSED]


@dataclass
class Outage:
    """How many more transactions the ledger's database refuses."""

    refusals: int = 0


@pytest.fixture
def outage(monkeypatch: pytest.MonkeyPatch) -> Outage:
    outage, real = Outage(), Database.write

    @contextmanager
    def write(database: Database) -> Iterator[object]:
        if outage.refusals > 0:
            outage.refusals -= 1
            raise LedgerUnavailable("the ledger cannot be asked: connection refused")
        with real(database) as connection:
            yield connection

    monkeypatch.setattr(Database, "write", write)
    return outage


def an_effect_before_an_outage(outage: Outage, *, refusals: int, bay: Bay, shut_down: bool = False) -> Catalogue:
    """A kind whose last step does something, and then the database is away."""

    def step(_work: Work) -> dict[str, object]:
        outage.refusals = refusals
        if shut_down:
            bay.leases.shut_down()
        return {"effect": "has happened"}

    return a_kind(Step(name="only", run=step, capability=Capability.PROFILE))


@pytest.mark.parametrize("shut_down", [False, True])
def test_an_outcome_is_kept_until_the_database_is_back(bay: Bay, outage: Outage, shut_down: bool) -> None:
    bay.kinds = an_effect_before_an_outage(outage, refusals=3, bay=bay, shut_down=shut_down)
    operation = bay.accept()

    outcome = bay.perform()

    assert outcome == Done({"effect": "has happened"})
    assert bay.get(operation).state is State.SUCCEEDED


def test_an_outcome_is_given_up_with_the_lease(bay: Bay, outage: Outage) -> None:
    bay.leases._lease = timedelta(seconds=1.05)
    bay.kinds = an_effect_before_an_outage(outage, refusals=1_000_000_000, bay=bay)
    operation = bay.accept()

    outcome = bay.perform()

    assert isinstance(outcome, NotBegun)
    assert bay.get(operation).state is State.RUNNING, "until the dispatcher takes it back"


def test_an_attempt_begins_as_soon_as_the_database_is_back(bay: Bay, outage: Outage) -> None:
    operation = bay.accept()
    released = bay.release()
    outage.refusals = 2

    assert isinstance(bay.perform(released), Done)
    assert bay.get(operation).attempts == 1


def test_an_attempt_that_cannot_begin_while_its_lease_is_good_is_given_up(bay: Bay, outage: Outage) -> None:
    bay.settings = some_settings(dispatch={"release_lease_seconds": 0.1})
    operation = bay.accept()
    released = bay.release()
    outage.refusals = 1_000_000_000

    outcome = bay.perform(released)

    assert outcome == NotBegun("not begun: the ledger cannot be asked: connection refused", settled=False)
    assert bay.get(operation).attempts == 0


def test_a_ledger_that_goes_away_between_pages_is_no_failure(bay: Bay, outage: Outage) -> None:
    bay.graph.lists[WABA] = templates(150)
    operation = bay.accept()
    bay.graph.surprises.append(lambda _request: setattr(outage, "refusals", 1))

    outcome = bay.perform()

    assert isinstance(outcome, Hold)
    assert outcome.by == "ledger"
    held = bay.get(operation)
    assert held.state is State.HELD, "at once: nobody has to wait for the lease's end"
    assert held.attempts == 0
    bay.pass_time(bay.settings.dispatch.retry_seconds)
    bay.ledger.operations.wake(now=bay.clock.now())
    assert isinstance(bay.perform(), Done)
    assert bay.get(operation).state is State.SUCCEEDED


def test_steps_that_are_done_are_not_done_again(bay: Bay) -> None:
    did: list[str] = []

    def first(work: Work) -> dict[str, object]:
        did.append("first")
        return {"id": 7}

    def second(work: Work) -> dict[str, object]:
        did.append(f"second after {work.results}")
        work.graph.get("me")
        return {"name": "seven"}

    bay.kinds = a_kind(
        Step(name="first", run=first, capability=Capability.UPLOADS),
        Step(name="second", run=second, capability=Capability.PROFILE),
    )
    operation = bay.accept()
    bay.gate.answers.append(a_wait(60))
    bay.perform()
    held = bay.get(operation)
    bay.pass_time(60)
    bay.graph.surprises.append(answering({}))

    outcome = bay.perform()

    assert did == ["first", "second after {'id': 7}", "second after {'id': 7}"]
    assert held.capability is Capability.PROFILE, "a pause of uploads does not keep it any more"
    assert outcome == Done({"id": 7, "name": "seven"})


def test_a_step_without_a_capability_cannot_call(bay: Bay) -> None:
    bay.kinds = a_kind(
        Step(name="calls", run=lambda work: work.graph.get("me")),
        Step(name="never", run=lambda work: {}, capability=Capability.PROFILE),
    )
    bay.accept()

    outcome = bay.perform()

    assert "step 'calls' makes calls but declares no capability" in str(outcome)
    assert bay.gate.asked == []


def test_a_result_that_cannot_be_written_fails_the_operation_instead_of_coming_back_for_ever(bay: Bay) -> None:
    bay.kinds = a_kind(Step(name="odd", run=lambda work: {"made": object()}, capability=Capability.PROFILE))
    operation = bay.accept()

    outcome = bay.perform()

    assert isinstance(outcome, Failed)
    assert bay.get(operation).state == "failed"
    assert "internal error" in bay.get(operation).error["message"]


def test_a_kind_that_calls_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="no step with a capability"):
        a_kind(Step(name="idle", run=lambda work: {}))


def test_two_kinds_of_one_name_are_refused() -> None:
    step = Step(name="only", run=lambda work: {}, capability=Capability.PROFILE)
    one, other = (Kind(name="twin", summary=summary, steps=(step,)) for summary in ("one", "other"))

    with pytest.raises(ConfigurationError, match="two of the name 'twin'"):
        Catalogue([one, other])


def test_eight_attempts_at_once_each_end_by_themselves(bay: Bay) -> None:
    wabas = [f"{10_000 + number}" for number in range(8)]
    for waba in wabas:
        bay.graph.lists[waba] = templates(120)
        bay.accept(waba=waba)
    released = [bay.release() for _ in wabas]

    threads = [threading.Thread(target=bay.perform, args=(one,)) for one in released]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert {bay.get(one).state for one in released} == {State.SUCCEEDED}
    assert [len(bay.mirrored(waba)) for waba in wabas] == [120] * 8


# ── ends before the time ─────────────────────────────────────────────────────────────────────────────────


def _while_the_first_page_is_read(bay: Bay, happens: Callable[[], object]) -> None:
    """Let something happen while the first call is under way."""
    exchange = bay.graph.exchange

    def once(request: GraphRequest) -> Exchange:
        bay.graph.exchange = exchange  # type: ignore[method-assign]
        happens()
        return exchange(request)

    bay.graph.exchange = once  # type: ignore[method-assign]


def test_who_is_cancelled_under_way_makes_no_further_call(bay: Bay) -> None:
    bay.graph.lists[WABA] = templates(350)
    operation = bay.accept()
    cancel = {"reason": "they have left", "actor": "anna"}
    now = bay.clock.now()
    _while_the_first_page_is_read(
        bay,
        lambda: bay.ledger.operations.cancel([operation.id], now=now, **cancel),  # type: ignore[arg-type]
    )

    outcome = bay.perform()

    assert outcome == Cancelled("they have left", "anna")
    assert len(bay.graph.requests) == 1, "the call that was under way has ended first"
    assert bay.gate.outcomes == [Outcome.OK, Outcome.UNUSED]
    assert bay.get(operation).state is State.CANCELLED


def test_who_is_overtaken_by_his_deadline_makes_no_further_call(bay: Bay) -> None:
    bay.graph.lists[WABA] = templates(350)
    operation = bay.accept(expires_after=60)
    _while_the_first_page_is_read(bay, lambda: bay.pass_time(60))

    outcome = bay.perform()

    assert isinstance(outcome, Expired)
    assert "while it was under way" in str(outcome)
    assert len(bay.graph.requests) == 1
    assert bay.get(operation).state is State.EXPIRED


def test_a_message_that_comes_after_the_deadline_makes_no_call(bay: Bay) -> None:
    operation = bay.accept(expires_after=10)
    released = bay.release()
    bay.pass_time(10)

    assert isinstance(bay.perform(released), Expired)
    assert bay.graph.requests == []
    assert bay.get(operation).state is State.EXPIRED


def test_while_nobody_can_say_whether_it_is_cancelled_the_lease_decides(
    bay: Bay, monkeypatch: pytest.MonkeyPatch
) -> None:
    bay.accept()

    def away(_operation: Operation) -> None:
        raise LedgerUnavailable("away")

    monkeypatch.setattr(bay.ledger.operations, "stop_asked", away)

    assert isinstance(bay.perform(), Done)


def test_a_retry_that_goes_well_is_told_to_the_budget(bay: Bay) -> None:
    bay.accept()
    bay.graph.surprises.append(Transient("unwell", code=2))
    told: list[object] = []

    class Budget:
        def give_back(self, app: str, capability: Capability) -> None:
            told.append((app, capability))
            raise GateUnavailable("away, which is no harm")

    bench = replace(bay.bench, retry_budget=Budget())  # type: ignore[arg-type]
    first = bay.release()
    attempt.perform(first.id, first.fence, bench=bench)
    bay.pass_time(600)
    second = bay.release()

    assert isinstance(attempt.perform(second.id, second.fence, bench=bench), Done)
    assert told == [("10001", Capability.TEMPLATE_READS)]
