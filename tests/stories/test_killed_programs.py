"""Programs are killed, frozen and stopped while they work: nothing is lost, and nothing happens twice."""

import signal
import sys
from collections.abc import Callable
from itertools import pairwise

from sqlalchemy import select

from tests.support.fleet import Fleet, wall
from tests.support.waiting import until
from tests.support.witness import (
    SHORT_PAGES,
    answer,
    attempts,
    calls_about,
    mirrored,
    open_attempts,
    pages_read,
    pages_read_twice,
    story,
)
from wabajobs.ledger import DISPATCHER
from wabajobs.ledger.tables import LeadershipRow
from wabajobs.settings import DispatchSettings
from wabajobs.simulator.faults import FaultRule

FleetOn = Callable[..., Fleet]


def test_a_worker_killed_in_the_middle_of_a_page_loses_nothing(fleet_on: FleetOn, database_url: str) -> None:
    fleet = fleet_on(database_url, knobs={"wabas": 1, "templates": 90}, **SHORT_PAGES)
    (waba,) = fleet.simulator.world.waba_ids
    fleet.simulator.faults.add(FaultRule(path="message_templates", after=2, times=1, hang=True))
    fleet.start("dispatcher", "worker-1")
    (operation,) = fleet.sync(waba)
    until(lambda: fleet.calls() == 3 and fleet.simulator.judge.in_flight == 1, what="the third page hangs")

    fleet.kill("worker-1")
    fleet.start("worker-2")

    (done,) = fleet.finished([operation])
    assert done.state == "succeeded"
    assert done.attempts == 2
    assert mirrored(fleet, [waba])
    assert len(pages_read(fleet, waba)) == 5
    assert pages_read_twice(fleet) == {}
    first, second = attempts(fleet, operation)
    assert (first.outcome, second.outcome) == ("lost", "succeeded")
    assert first.ended_at is not None
    assert first.ended_at <= second.begun_at


def test_what_a_killed_worker_was_at_goes_on_long_before_its_lease_is_over(
    fleet_on: FleetOn, database_url: str
) -> None:
    longer = {"dispatch": {"attempt_lease_seconds": 600}}
    fleet = fleet_on(database_url, knobs={"wabas": 1, "templates": 90}, **longer, **SHORT_PAGES)
    (waba,) = fleet.simulator.world.waba_ids
    fleet.simulator.faults.add(FaultRule(path="message_templates", after=2, times=1, hang=True))
    fleet.start("dispatcher", "worker-1", "worker-2")
    (operation,) = fleet.sync(waba)
    until(lambda: fleet.calls() == 3 and fleet.simulator.judge.in_flight == 1, what="the third page hangs")

    [(pid, _)] = open_attempts(fleet).items()
    fleet.kill(next(name for name, process in fleet.processes.items() if str(process.pid) == pid))

    (done,) = fleet.finished([operation])
    assert (done.state, done.attempts) == ("succeeded", 2)
    assert [one.outcome for one in attempts(fleet, operation)] == ["lost", "succeeded"]


def test_a_worker_that_is_started_again_goes_on_with_what_it_was_killed_at(
    fleet_on: FleetOn, database_url: str
) -> None:
    fleet = fleet_on(database_url, knobs={"wabas": 12, "templates": 70, "latency": 0.2}, **SHORT_PAGES)
    fleet.start("dispatcher", "worker")
    operations = fleet.sync(*fleet.simulator.world.waba_ids)
    until(lambda: fleet.calls() >= 12, what="syncs are under way")

    fleet.kill("worker")
    killed = wall()
    fleet.start("worker")

    done = fleet.finished(operations)
    assert {one.state for one in done} == {"succeeded"}
    assert mirrored(fleet, fleet.simulator.world.waba_ids)
    for operation in operations:
        # A new attempt begins when the old one is over, and nobody calls in between.
        tries = attempts(fleet, operation)
        for before, after in pairwise(tries):
            assert before.ended_at is not None
            assert before.ended_at <= after.begun_at
        last = tries[-1].begun_at.timestamp()
        assert not [call for call in calls_about(fleet, operation.waba or "") if killed < call.wall < last]
    assert [one.outcome for operation in operations for one in attempts(fleet, operation)].count("lost") >= 2
    # Only a page whose answer had not been written down yet is read again: at most one per thread.
    again = pages_read_twice(fleet)
    assert len(again) <= fleet.settings.workers.concurrency
    assert set(again.values()) <= {2}


def test_a_frozen_worker_that_wakes_up_too_late_neither_calls_nor_writes(
    on_sqlite: FleetOn,
) -> None:
    fleet = on_sqlite(knobs={"wabas": 1, "templates": 90}, **SHORT_PAGES)
    (waba,) = fleet.simulator.world.waba_ids
    fleet.simulator.faults.add(FaultRule(path="message_templates", after=1, times=1, latency=1.0))
    fleet.start("dispatcher", "frozen")
    (operation,) = fleet.sync(waba)
    until(lambda: fleet.calls() == 2, what="the second page is being answered")

    fleet.processes["frozen"].send_signal(signal.SIGSTOP)
    fleet.start("worker")
    (done,) = fleet.finished([operation])
    calls = fleet.calls()
    fleet.processes["frozen"].send_signal(signal.SIGCONT)
    until(lambda: "lease_lost" in fleet.log("frozen"), what="the frozen worker finds its lease gone")

    assert done.state == "succeeded"
    assert fleet.client.get(operation.id) == done
    assert fleet.calls() == calls
    assert mirrored(fleet, [waba])
    assert [one.outcome for one in attempts(fleet, operation)] == ["lost", "succeeded"]


def test_a_second_dispatcher_takes_over_within_seconds(fleet_on: FleetOn, database_url: str) -> None:
    fleet = fleet_on(database_url, knobs={"wabas": 60, "latency": 0.15}, workers={"concurrency": 4})
    fleet.start("dispatcher-1", "dispatcher-2", "worker")
    operations = fleet.sync(*fleet.simulator.world.waba_ids)
    until(lambda: fleet.calls() >= 8, what="syncs are under way")

    fleet.kill(_leader(fleet))
    left = len([one for one in operations if not fleet.client.get(one.id).state.finished])

    done = fleet.finished(operations)
    assert left > 20
    assert DispatchSettings().leader_seconds < 5, "as shipped, one that is gone leads no longer than that"
    assert {one.state for one in done} == {"succeeded"}
    assert fleet.simulator.judge.by_waba() == dict.fromkeys(fleet.simulator.world.waba_ids, 1)


def _leader(fleet: Fleet) -> str:
    with fleet.house.ledger.database.read() as connection:
        holder = connection.scalar(select(LeadershipRow.holder))
    named = str(holder).split(":")
    return next(name for name, process in fleet.processes.items() if str(process.pid) in named)


def test_a_worker_that_is_stopped_gives_its_operations_back_at_once(on_sqlite: FleetOn) -> None:
    fleet = on_sqlite(knobs={"wabas": 8, "templates": 100, "latency": 0.25}, **SHORT_PAGES)
    wabas = fleet.simulator.world.waba_ids
    fleet.start("dispatcher", "worker-1")
    operations = fleet.sync(*wabas)
    until(lambda: fleet.calls() >= 16, what="all eight are under way")

    before = fleet.calls()
    fleet.kill("worker-1", signal.SIGTERM)
    assert fleet.calls() <= before + len(operations), "each at most at the call that it was about to make"
    fleet.start("worker-2")

    done = fleet.finished(operations)
    assert [(one.state, one.attempts) for one in done] == [("succeeded", 1)] * 8
    assert mirrored(fleet, wabas)
    assert pages_read_twice(fleet) == {}
    for operation in operations:
        assert {one.outcome for one in attempts(fleet, operation)} <= {"held", "succeeded"}
        assert "reclaimed" not in story(fleet, operation)


def test_a_worker_that_lives_but_consumes_nothing_is_noticed_and_mends_itself(
    fleet_on: FleetOn, database_url: str
) -> None:
    fleet = fleet_on(database_url, knobs={"wabas": 1, "templates": 10})
    fleet.start("dispatcher")
    celery = [sys.executable, "-m", "celery", "-A", "tests.support.deaf_worker", "worker", "--loglevel=INFO"]
    fleet.start_program("worker", celery)
    operations = fleet.sync(*fleet.simulator.world.waba_ids)

    (done,) = fleet.finished(operations)

    assert (done.state, done.attempts) == ("succeeded", 1), "what nobody fetched has cost no attempt"
    assert "unclaimed" in story(fleet, done)
    assert "not_consuming" in fleet.log("worker")
    troubles = answer(fleet.command("status", "--json"))["troubles"]
    assert any("template_sync lay unfetched" in trouble for trouble in troubles)


def test_without_a_worker_nothing_leaves_the_ledger_and_the_status_says_so(on_sqlite: FleetOn) -> None:
    fleet = on_sqlite(knobs={"wabas": 3})
    fleet.start("dispatcher")
    operations = fleet.sync(*fleet.simulator.world.waba_ids)
    until(lambda: fleet.house.ledger.leaderships.holder(DISPATCHER, now=fleet.house.clock.now()), what="it leads")

    said = "no worker is alive for template_sync: nothing of it is released"
    assert said in answer(fleet.command("status", "--json"))["troubles"]
    assert [story(fleet, one) for one in operations] == [["accepted"]] * 3

    fleet.start("worker")
    assert {one.state for one in fleet.finished(operations)} == {"succeeded"}
    assert said not in answer(fleet.command("status", "--json"))["troubles"]
