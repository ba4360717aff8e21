"""The one way out of the house: a permit before each call, and its account afterwards, whatever happens."""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from tests.support.fakes import FakeGate, FakeGraph, a_wait, answering, failing
from tests.unit.test_operation import an_operation
from wabajobs.capability import Capability, ServiceClass
from wabajobs.errors import (
    AppLimitReached,
    ConfigurationError,
    GateUnavailable,
    GraphError,
    HeavyPage,
    Held,
    InvalidCall,
    LeaseLost,
    NarrowLimitReached,
    NumberLimitReached,
    Transient,
    Unauthorized,
    UnknownGraphError,
    WabajobsError,
    WabaLimitReached,
)
from wabajobs.gate import Because, Call, Change, Outcome
from wabajobs.graph import Exchange, Usage
from wabajobs.ledger import Sight
from wabajobs.permits import PermittedGraph


@dataclass
class Way:
    """A way out, and everything along it."""

    gate: FakeGate = field(default_factory=FakeGate)
    graph: FakeGraph = field(default_factory=FakeGraph)
    slept: list[float] = field(default_factory=list)
    may_go_on: Callable[[], None] = lambda: None
    account: list[str] = field(default_factory=list)
    charge: Callable[[Call], object] | None = None
    told: list[tuple[Sight, dict[str, Any]]] = field(default_factory=list)

    def get(self, path: str = "20001/message_templates", **params: object) -> dict[str, object]:
        return self.out().get(path, **({"after": None, "limit": 10} | params))

    def out(self) -> PermittedGraph:
        return PermittedGraph(
            gate=self.gate,
            client=self.graph,
            operation=an_operation(service_class=ServiceClass.INTERACTIVE, id="op-1"),
            capability=Capability.TEMPLATE_READS,
            may_go_on=self.may_go_on,
            short_wait=timedelta(seconds=2),
            sleep=self.slept.append,
            charge=self.charge or (lambda call: self.account.append(f"{call.quota} {call.number}")),
            give_back=lambda _: self.account.append("back"),
            tell=self.told.extend,
        )


def test_a_change_goes_the_same_way_with_its_fields_in_the_body() -> None:
    way = Way()
    way.graph.surprises.append(answering({"success": True}))

    answer = way.out().post("30001/register", messaging_product="whatsapp", pin="123456")

    (request,) = way.graph.requests
    assert answer == {"success": True}
    assert (request.method, request.path, request.params) == ("POST", "30001/register", {})
    assert request.json == {"messaging_product": "whatsapp", "pin": "123456"}
    assert request.waba == way.gate.asked[0].waba
    assert way.gate.outcomes == [Outcome.OK]


def test_a_call_is_admitted_made_and_settled() -> None:
    way = Way()
    usage = Usage(app_percent=70, waba_percent=20, regain=timedelta(minutes=3))
    way.graph.surprises.append(Exchange(usage=usage, status=200, answer={"id": "7"}))

    answer = way.get(limit=5)

    assert answer == {"id": "7"}
    assert way.gate.asked == [
        Call(
            app="10001",
            queue="template_sync",
            partner="acme",
            waba="20001",
            capability=Capability.TEMPLATE_READS,
            service_class=ServiceClass.INTERACTIVE,
            operation="op-1",
        )
    ]
    [request] = way.graph.requests
    assert (request.app, request.waba, request.method) == ("10001", "20001", "GET")
    assert request.params == {"after": None, "limit": 5}
    [report] = way.gate.reports
    assert (report.outcome, report.app_percent, report.waba_percent) == (Outcome.OK, 70, 20)
    assert report.regain == timedelta(minutes=3)
    assert way.gate.out == {}


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (AppLimitReached("no", code=4), Outcome.APP_LIMIT),
        (WabaLimitReached("no", code=80008), Outcome.WABA_LIMIT),
        (NarrowLimitReached("no", code=613), Outcome.CAPABILITY_LIMIT),
        (NarrowLimitReached("no", code=80012), Outcome.OK),
        (NumberLimitReached("no", code=133016), Outcome.OK),
        (HeavyPage("no", code=1), Outcome.OK),
        (Transient("no", code=2), Outcome.FAILED),
        (Transient("a timeout"), Outcome.FAILED),
        (Unauthorized("no", code=190), Outcome.OK),
        (InvalidCall("no", code=100), Outcome.OK),
        (UnknownGraphError("no", code=99999), Outcome.OK),
    ],
)
def test_metas_error_is_raised_and_the_gate_learns_what_it_means(error: GraphError, outcome: Outcome) -> None:
    way = Way()
    way.graph.surprises.append(failing(error))

    with pytest.raises(type(error)) as raised:
        way.get()

    assert raised.value is error
    [report] = way.gate.reports
    assert (report.outcome, report.code) == (outcome, error.code)


@pytest.mark.parametrize("edge", ["register", "deregister", "request_code", "verify_code"])
@pytest.mark.parametrize(
    "error",
    [
        NumberLimitReached("no", code=133016, wait=timedelta(hours=72)),
        NumberLimitReached("no", code=133009, wait=timedelta(seconds=7)),
    ],
)
def test_what_locks_a_number_is_told_of_that_number_and_for_as_long(edge: str, error: GraphError) -> None:
    way = Way()
    way.graph.surprises.append(failing(error))

    with pytest.raises(NumberLimitReached):
        way.out().post(f"30001/{edge}")

    [asked], [report] = way.gate.asked, way.gate.reports
    assert asked.number == "30001"
    assert (report.outcome, report.regain) == (Outcome.NUMBER_LIMIT, error.wait)


CHARGED = "register 30001"


@pytest.mark.parametrize(
    ("surprise", "account"),
    [
        (answering({"success": True}), [CHARGED]),
        (failing(InvalidCall("no", code=133005)), [CHARGED]),
        (failing(Transient("a timeout")), [CHARGED]),
        (failing(AppLimitReached("no", code=4)), [CHARGED, "back"]),
        (failing(WabaLimitReached("no", code=80008)), [CHARGED, "back"]),
        (ConfigurationError("no token"), [CHARGED, "back"]),
    ],
)
def test_a_registration_is_written_down_until_it_is_certain_that_it_has_not_come_to_the_number(
    surprise: Exchange | Exception, account: list[str]
) -> None:
    way = Way()
    way.graph.surprises.append(surprise)

    with suppress(WabajobsError):
        way.out().post("30001/register")

    assert way.account == account


def test_what_spends_no_quota_of_a_number_is_written_down_nowhere() -> None:
    way = Way()
    way.graph.surprises.extend([answering({})] * 3)

    way.out().post("30001/request_code")
    way.out().post("20001/message_templates")
    way.out().get("30001/register")

    assert way.account == []


def test_a_registration_too_many_is_not_made_and_its_permit_given_back() -> None:
    def full(_call: Call) -> None:
        raise Held(reason="eight in 72 hours", by="budget", wait=timedelta(hours=1))

    way = Way(charge=full)

    with pytest.raises(Held, match="eight in 72 hours"):
        way.out().post("30001/register")

    assert way.graph.requests == []
    assert way.gate.outcomes == [Outcome.UNUSED]
    assert way.account == []


def test_too_many_codes_for_one_number_are_no_matter_of_the_other_numbers() -> None:
    way = Way()
    way.graph.surprises.append(failing(NarrowLimitReached("too many codes", code=613)))

    with pytest.raises(NarrowLimitReached):
        way.out().post("30001/request_code")

    assert way.gate.outcomes == [Outcome.NUMBER_LIMIT]


@pytest.mark.parametrize("path", ["30001", "30001/settings", "30001/whatsapp_business_profile"])
def test_a_number_whose_registration_is_locked_can_be_read_and_changed(path: str) -> None:
    way = Way()
    way.graph.surprises.extend([answering({}), answering({})])

    way.out().post(path)
    way.out().get(path)

    assert [call.number for call in way.gate.asked] == [None, None]


def test_a_number_in_maintenance_says_nothing_against_meta() -> None:
    way = Way()
    way.graph.surprises.append(failing(Transient("no", subcode=2494100, wait=timedelta(minutes=5))))

    with pytest.raises(Transient):
        way.out().post("20001/phone_numbers")

    assert way.gate.outcomes == [Outcome.OK]


def test_what_was_refused_before_it_went_out_is_unused() -> None:
    way = Way()
    way.graph.surprises.append(ConfigurationError("token of app 10001: TOKEN is not set"))

    with pytest.raises(ConfigurationError):
        way.get()

    assert way.gate.outcomes == [Outcome.UNUSED]


@pytest.mark.parametrize("crash", [RuntimeError("a bug"), MemoryError()])
def test_of_a_call_that_nobody_knows_about_the_worst_is_assumed(crash: Exception) -> None:
    way = Way()
    way.graph.surprises.append(crash)

    with pytest.raises(type(crash)):
        way.get()

    assert way.gate.outcomes == [Outcome.FAILED]


def test_a_permit_that_went_stale_is_given_back_and_another_is_asked_for() -> None:
    way = Way()

    def be_kept_once() -> None:
        way.gate.start_within = 60.0

    way.gate.start_within, way.may_go_on = -1.0, be_kept_once

    way.get()

    assert way.gate.outcomes == [Outcome.UNUSED, Outcome.OK]
    assert len(way.graph.requests) == 1


@pytest.mark.parametrize(
    "stop", [LeaseLost("gone"), Held(reason="shutting down", by="worker", wait=timedelta(0))]
)
def test_who_must_not_go_on_gives_the_permit_back(stop: Exception) -> None:
    way = Way()

    def no() -> None:
        raise stop

    way.may_go_on = no

    with pytest.raises(type(stop)):
        way.get()

    assert way.gate.outcomes == [Outcome.UNUSED]
    assert way.graph.requests == []


def test_short_waits_are_slept_out() -> None:
    way = Way()
    way.gate.answers.extend([a_wait(0.3), a_wait(1.2), None])

    way.get()

    assert way.slept == [0.3, 1.2]
    assert len(way.graph.requests) == 1


def test_a_longer_wait_gives_the_slot_back_with_its_reason() -> None:
    way = Way()
    way.gate.answers.append(a_wait(2.5, because=Because.BREAKER, reason="the breaker is open", notice="soon"))

    with pytest.raises(Held) as held:
        way.get()

    assert (held.value.reason, held.value.by) == ("the breaker is open", "breaker")
    assert (held.value.wait, held.value.notice) == (timedelta(seconds=2.5), "soon")
    assert (way.slept, way.graph.requests) == ([], [])


def test_a_wait_without_an_end_gives_the_slot_back() -> None:
    way = Way()
    way.gate.answers.append(a_wait(None, because=Because.PAUSE))

    with pytest.raises(Held) as held:
        way.get()

    assert (held.value.by, held.value.wait) == ("pause", None)


def test_who_must_not_go_on_learns_it_after_a_short_wait_without_asking_again() -> None:
    way = Way()
    way.gate.answers.append(a_wait(0.3))

    def no() -> None:
        raise LeaseLost("gone")

    way.may_go_on = no

    with pytest.raises(LeaseLost):
        way.get()

    assert len(way.gate.asked) == 1


def test_without_the_gate_no_call_is_made() -> None:
    way = Way()
    way.gate.answers.append(GateUnavailable("Redis cannot be reached"))

    with pytest.raises(GateUnavailable):
        way.get()

    assert way.graph.requests == []


def test_an_answer_is_kept_though_the_gate_cannot_be_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="wabajobs")
    way = Way()
    way.gate.refusals.append(GateUnavailable("Redis cannot be reached"))
    way.graph.surprises.append(answering({"id": "7"}))

    assert way.get() == {"id": "7"}
    assert "settle_failed" in caplog.text


def test_metas_error_is_kept_though_the_gate_cannot_be_told() -> None:
    way = Way()
    way.gate.refusals.append(GateUnavailable("Redis cannot be reached"))
    way.graph.surprises.append(AppLimitReached("no", code=4))

    with pytest.raises(AppLimitReached):
        way.get()


def test_a_breaker_that_changed_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="wabajobs")
    way = Way()
    way.gate.changes = (Change(scope="app:10001", state="open", until=None, evidence="code 4"),)
    way.graph.surprises.append(AppLimitReached("no", code=4))

    with pytest.raises(AppLimitReached):
        way.get()

    assert "breaker_changed" in caplog.text
    assert "evidence=code 4" in caplog.text


def test_a_refusal_is_written_down_with_all_that_meta_needs_to_find_it() -> None:
    way = Way()
    way.gate.changes = (Change(scope="app:10001", state="open", until=timedelta(seconds=30), evidence="code 4"),)
    error = AppLimitReached("limit reached", code=4, subcode=1504022, fbtrace_id="Abc")
    way.graph.surprises.append(Exchange(usage=Usage(app_percent=104), status=400, error=error))

    with pytest.raises(AppLimitReached):
        way.out().post("30001/message_templates", name="a")

    (refused, facts), (opened, more) = way.told
    assert (refused, opened) == (Sight.REFUSED, Sight.BREAKER_OPENED)
    assert facts == {
        "app": "10001",
        "queue": "template_sync",
        "partner": "acme",
        "waba": "20001",
        "capability": "template_reads",
        "operation_id": "op-1",
        "code": 4,
        "subcode": 1504022,
        "fbtrace_id": "Abc",
        "detail": {
            "outcome": "app_limit",
            "message": "limit reached",
            "call": "POST {id}/message_templates",
            "app_percent": 104,
            "class": "interactive",
        },
    }
    assert (more["scope"], more["detail"]) == ("app:10001", {"evidence": "code 4", "seconds": 30.0})


@pytest.mark.parametrize(
    ("error", "sights"),
    [
        (Transient("a timeout"), [Sight.FAILED_CALL]),
        (InvalidCall("no", code=100), []),
        (WabaLimitReached("no", code=80008), [Sight.REFUSED]),
        (None, []),
    ],
)
def test_what_is_of_no_interest_is_not_written_down(error: GraphError | None, sights: list[Sight]) -> None:
    way = Way()
    way.graph.surprises.append(Exchange(usage=Usage(), status=400, error=error))

    with suppress(WabajobsError):
        way.get()

    assert [sight for sight, _ in way.told] == sights


def test_a_refusal_is_written_down_also_when_the_gate_cannot_be_told() -> None:
    way = Way()
    way.gate.refusals.append(GateUnavailable("Redis cannot be reached"))
    way.graph.surprises.append(AppLimitReached("no", code=4))

    with pytest.raises(AppLimitReached):
        way.get()

    assert [sight for sight, _ in way.told] == [Sight.REFUSED]


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("upload:MTphdHRh/Y2htZW50?sig=ARZqkGCA_uQMxC8nHKI", "POST upload"),
        ("10001/uploads", "POST {id}/uploads"),
        ("oauth/access_token", "POST oauth/access_token"),
        ("30001", "POST {id}"),
    ],
)
def test_what_kind_of_call_it_was_is_written_down_without_what_belongs_to_somebody(path: str, shown: str) -> None:
    way = Way()
    way.graph.surprises.append(Exchange(usage=Usage(), status=503, error=Transient("no")))

    with suppress(WabajobsError):
        way.out().send("POST", path, params={"pin": "123456"})

    [(_, facts)] = way.told
    assert facts["detail"]["call"] == shown
    assert "123456" not in str(facts)


def test_a_probe_is_written_down_with_what_came_of_it() -> None:
    way = Way()
    way.gate.probes = ("app:10001/template_reads",)
    way.gate.changes = (
        Change(scope="app:10001/template_reads", state="closed", until=None, evidence="a probe succeeded"),
    )

    way.get()

    (probe, facts), (closed, _) = way.told
    assert (probe, closed) == (Sight.PROBE, Sight.BREAKER_CLOSED)
    assert (facts["scope"], facts["detail"]["outcome"]) == ("app:10001/template_reads", "ok")
