"""One look at everything: it counts right, says whose word each hold is, and fits the terminal."""

import io
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tests.support.stage import Stage
from wabajobs.cli.look import Screen
from wabajobs.decisions import Scope
from wabajobs.errors import GateUnavailable
from wabajobs.gate import Call
from wabajobs.ledger import DISPATCHER
from wabajobs.outcome import Origin
from wabajobs.seeing.status import QueueStatus, Status
from wabajobs.signals import Worker

Stages = Callable[..., AbstractContextManager[Stage]]


def look(stage: Stage) -> Status:
    return stage.house.lookout.look()


def queue(status: Status, name: str = "template_sync") -> QueueStatus:
    return next(one for one in status.queues if one.queue == name)


@pytest.fixture
def busy(stages: Stages) -> Stage:
    with stages(knobs={"wabas": 6}) as stage:
        for waba in stage.simulator.world.waba_ids:
            stage.accept("template_sync", waba=waba)
        yield stage


def test_what_waits_at_metas_breaker_is_kept_by_meta_and_not_merely_waiting(busy: Stage) -> None:
    first = busy.get(busy.house.ledger.operations.find(kind="template_sync")[-1])
    busy.fault(code=4)
    busy.attempt(first)

    found = queue(look(busy))

    assert (found.waiting, found.held) == (5, 1)
    assert (found.held_by, found.waits_for) == ({"meta": 1}, {"breaker": 5})
    assert found.kept_by == {Origin.META: 6}


def test_a_read_that_is_the_first_in_line_for_the_probe_is_kept_by_nothing(busy: Stage) -> None:
    first, second = busy.house.ledger.operations.find(kind="template_sync")[:2]
    busy.fault(code=4)
    busy.attempt(first)
    call = Call.of(second)
    [wait] = busy.house.gate.forecast([call])
    assert wait is not None
    assert wait.delay is not None
    busy.pass_time(wait.delay.total_seconds() - 0.5)
    busy.house.gate.forecast([call])
    busy.pass_time(1)

    assert queue(look(busy)).waits_for == {}


def test_what_our_own_gate_keeps_is_ours(busy: Stage) -> None:
    busy.spend()

    found = queue(look(busy))

    assert (found.waiting, found.held, found.waits_for) == (6, 0, {"budget": 6})
    assert found.kept_by == {Origin.OURS: 6}


def test_what_a_person_holds_is_his(busy: Stage) -> None:
    waba = busy.simulator.world.waba_ids[0]
    busy.pause(f"waba:{waba}")
    some = queue(look(busy))
    busy.pause("queue:template_sync")
    everything = queue(look(busy))

    assert (some.waiting, some.held, some.held_by) == (5, 1, {"pause": 1})
    assert (everything.waiting, everything.held, everything.kept_by) == (0, 6, {Origin.PERSON: 6})
    busy.break_("template_reads")
    assert queue(look(busy)).kept_by == {Origin.PERSON: 6}


def test_a_gate_that_is_away_keeps_everything_and_the_rest_is_told(busy: Stage) -> None:
    def away(*_: object, **__: object) -> None:
        raise GateUnavailable("Redis is away")

    busy.house.__dict__["gate"] = type(
        "Away", (), {"read": away, "forecast": away, "spent_parts": away, "spenders": away}
    )()

    found = look(busy)

    assert queue(found).waits_for == {"gate": 6}
    assert any("Redis is away" in one for one in found.troubles)
    assert [drain.at_best for _, drain in found.drains] == [None]


def test_who_looks_again_may_count_more_rarely_and_is_told_how_old_the_count_is(busy: Stage) -> None:
    lookout = busy.house.lookout
    counts = lookout.count()
    busy.pass_time(30)
    busy.accept("profile_update", waba=busy.waba, payload={"number": busy.number, "about": "new"})

    old, new = lookout.look(counts), lookout.look()

    assert old.at - old.counted_at == timedelta(seconds=30)
    assert (queue(old, "profile_update").waiting, queue(new, "profile_update").waiting) == (0, 1)


def test_the_public_form_keeps_what_others_rely_on(busy: Stage) -> None:
    told = look(busy).as_json()

    assert {"at", "queues", "pauses", "apps", "fleet", "needs_input", "routes", "callbacks", "troubles"} <= set(
        told
    )
    [app] = told["drains"]
    assert (app["app"], app["operations"]) == (busy.app, 6)
    assert told["apps"][0]["windows"][0]["usable"].keys() == {"interactive", "standard", "background"}
    assert set(told["queues"][0]) >= {"held_by", "waits_for", "kept_by", "waiting", "held", "paused"}


@pytest.fixture(scope="module")
def an_incident() -> Callable[[Stage], Status]:
    def make(stage: Stage) -> Status:
        now = stage.clock.now()
        for name in stage.house.kinds.names[:5]:
            stage.house.presence.announce(Worker(name=f"{name}@here", queue=name, slots=8))
        stage.house.ledger.leaderships.lead(DISPATCHER, holder="here", now=now, lease=timedelta(hours=1))
        stage.house.ledger.incidents.open(
            app=stage.app, title="a long title of an incident " * 4, actor="x", now=now
        )
        stage.house.controls.pause(
            Scope.of("partner:acme"), reason="why [bold] " * 9, actor="ops", notice="later"
        )
        stage.break_("template_reads")
        return look(stage)

    return make


def drawn(status: Status, width: int, *, stays: bool) -> list[str]:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(Screen(status, stays=stays))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def test_it_fits_every_terminal_and_says_everything(busy: Stage, an_incident: Callable[[Stage], Status]) -> None:
    status = an_incident(busy)

    @given(st.integers(40, 250), st.booleans())
    def fits(width: int, stays: bool) -> None:
        lines = drawn(status, width, stays=stays)

        assert max(map(len, lines)) <= width
        together = " ".join(" ".join(lines).split())
        assert "template_sync" in together
        assert "why [bold]" in together

    fits()
    wide = drawn(status, 200, stays=True)
    assert any("queues are idle" in line for line in wide)
    assert any(line.startswith("held by people 6") for line in wide)
    assert not any("queues are idle" in line for line in drawn(status, 200, stays=False))
