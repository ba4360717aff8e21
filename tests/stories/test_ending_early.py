"""Operations end before their time, or go again: by a person, by their deadline, in bulk."""

from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from typing import Any

from redis import Redis

from tests.support.fleet import Fleet, wall
from tests.support.waiting import until
from tests.support.witness import SHORT_PAGES, answer, calls_about, mirrored, pages_read_twice, story
from wabajobs.ledger import RETRY_BUDGET
from wabajobs.operation import Operation, State
from wabajobs.simulator.faults import FaultRule

FleetOn = Callable[..., Fleet]
UNPACED: dict[str, Any] = {"gate": {"pacing": False}}


def test_a_running_sync_that_is_cancelled_makes_no_further_call(fleet_on: FleetOn, database_url: str) -> None:
    fleet = fleet_on(database_url, knobs={"wabas": 2, "templates": 990}, **UNPACED, **SHORT_PAGES)
    waba, other = fleet.simulator.world.waba_ids
    fleet.start("dispatcher", "worker")
    fleet.ready()
    with fleet.slowly(0.5):
        running, beside = fleet.sync(waba, other)
        until(lambda: len(calls_about(fleet, waba)) >= 3, what="it is under way")

        (told,) = answer(fleet.command("ops", "cancel", running.id, "--reason", "they have left", "--json"))
        returned = wall()
        cancelled = fleet.client.wait(running.id, timeout=timedelta(seconds=20))

    assert told["stop"]["reason"] == "they have left"
    assert cancelled.state == "cancelled"
    assert cancelled.error is not None and "they have left" in cancelled.error["message"]
    # Whoever had asked the ledger just before makes that one call.
    late = [call for call in calls_about(fleet, waba) if call.wall > returned]
    assert len(late) <= 1
    made = len(calls_about(fleet, waba))
    (done,) = fleet.finished([beside])
    assert (done.state, len(calls_about(fleet, waba))) == ("succeeded", made)
    assert story(fleet, cancelled)[-2:] == ["cancel asked", "cancelled"]
    assert fleet.house.ledger.templates.templates(waba) == [], "the list that was half read is not shown"

    # Whoever thinks better of it goes on from where it stopped.
    (again,) = answer(fleet.command("ops", "retry", running.id, "--json"))
    assert (again["id"], again["state"]) == (running.id, "waiting")
    assert fleet.finished([cancelled])[0].state == "succeeded"
    assert mirrored(fleet, [waba])
    assert pages_read_twice(fleet) == {}


def test_what_is_held_past_its_deadline_expires_and_is_never_called_for(on_sqlite: FleetOn) -> None:
    fleet = on_sqlite(knobs={"wabas": 2})
    waba, other = fleet.simulator.world.waba_ids
    fleet.start("dispatcher", "worker")
    fleet.ready()
    fleet.command("pause", "waba", waba, "--reason", "the customer asked")

    accepted = fleet.command(
        *("enqueue", "template_sync", "--partner", "acme", "--waba", waba, "--expires-after", "2s", "--json")
    )
    (expired,) = fleet.finished([fleet.client.get(answer(accepted)["id"])])
    fleet.command("resume", "waba", waba)
    (after,) = fleet.finished(fleet.sync(other, expires_after=600))

    assert expired.state == "expired"
    assert expired.error is not None
    assert "its deadline passed" in expired.error["message"] and "the customer asked" in expired.error["message"]
    assert expired.finished_at is not None and expired.deadline_at is not None
    assert expired.finished_at >= expired.deadline_at
    assert calls_about(fleet, waba) == []
    assert after.state == "succeeded"
    queues = answer(fleet.command("status", "--json"))["queues"]
    (queue,) = [one for one in queues if one["queue"] == "template_sync"]
    assert queue["expired_last_hour"] == 1
    (listed,) = answer(fleet.command("ops", "list", "--state", "expired", "--json"))
    assert listed["id"] == expired.id


def test_an_attempt_that_is_overtaken_by_its_deadline_stops_between_two_calls(on_sqlite: FleetOn) -> None:
    fleet = on_sqlite(knobs={"wabas": 1, "templates": 990, "latency": 0.3}, **UNPACED, **SHORT_PAGES)
    (waba,) = fleet.simulator.world.waba_ids
    fleet.start("dispatcher", "worker")
    fleet.ready()

    (expired,) = fleet.finished(fleet.sync(waba, expires_after=2))

    assert (expired.state, story(fleet, expired)[-1]) == ("expired", "expired")
    assert expired.error is not None and "while it was under way" in expired.error["message"]
    calls = calls_about(fleet, waba)
    assert 0 < len(calls) < 50
    assert expired.deadline_at is not None
    late = [call for call in calls if call.wall > expired.deadline_at.timestamp() + 1]
    assert late == []


def test_what_failed_of_one_cause_goes_again_with_one_command(on_sqlite: FleetOn) -> None:
    fleet = on_sqlite(knobs={"wabas": 12})
    wabas = fleet.simulator.world.waba_ids
    fleet.simulator.faults.add(FaultRule(path="message_templates", code=100, message="Nothing of the kind"))
    fleet.start("dispatcher", "worker")
    failed = fleet.finished(fleet.sync(*wabas[:9]) + fleet.sync(*wabas[9:], partner="bolt"))
    assert {one.state for one in failed} == {"failed"}
    fleet.simulator.faults.clear()

    # What a person sees, and what he is told to do.
    dead = answer(fleet.command("ops", "dead", "--json"))
    assert [(one["partner"], one["error_code"], one["operations"]) for one in dead] == [
        ("acme", "100", 9),
        ("bolt", "100", 3),
    ]
    shown = fleet.command("ops", "dead")
    assert dead[0]["retry"] in shown.stdout and dead[0]["example"] in shown.stdout
    counted = fleet.command(*dead[0]["retry"].split()[1:])
    assert "9 operations would be retried" in counted.stdout
    assert {fleet.client.get(one.id).state for one in failed} == {State.FAILED}

    came_of_it = answer(fleet.command(*dead[0]["retry"].split()[1:], "--yes", "--json"))

    assert came_of_it == {"matched": 9, "retried": 9}
    assert {one.state for one in fleet.finished(failed[:9])} == {"succeeded"}
    assert {fleet.client.get(one.id).state for one in failed[9:]} == {State.FAILED}
    assert mirrored(fleet, wabas[:9])
    assert answer(fleet.command("ops", "dead", "--json"))[0]["partner"] == "bolt"


def test_all_that_a_partner_has_waiting_is_cancelled_with_one_command(on_sqlite: FleetOn) -> None:
    fleet = on_sqlite(knobs={"wabas": 6})
    wabas = fleet.simulator.world.waba_ids
    fleet.command("pause", "queue", "template_sync", "--reason", "incident")
    mine, theirs = fleet.sync(*wabas[:4]), fleet.sync(*wabas[4:], partner="bolt")
    fleet.sync(wabas[0])  # one of them is shared

    command = ["ops", "cancel", "--partner", "acme", "--reason", "they have left", "--yes", "--json"]
    assert answer(fleet.command(*command)) == {"matched": 4, "cancelled": 3, "shared": 1}
    assert answer(fleet.command(*command, "--force")) == {"matched": 1, "cancelled": 1}

    assert {fleet.client.get(one.id).state for one in mine} == {State.CANCELLED}
    fleet.start("dispatcher", "worker")
    fleet.command("resume", "queue", "template_sync")
    assert {one.state for one in fleet.finished(theirs)} == {"succeeded"}
    assert set(fleet.simulator.judge.by_waba()) == set(wabas[4:])


def test_in_an_outage_all_operations_share_a_few_retries(on_sqlite: FleetOn) -> None:
    many, floor, share = 100, 6, 0.1
    fleet = on_sqlite(
        knobs={"wabas": many},
        # No breaker shall help: what holds here is the budget alone.
        gate={"failure_calls": 10_000, "pacing": False},
        dispatch={"retry_seconds": 0.2, "retry_share": share, "retries_per_minute": floor},
    )
    fleet.simulator.faults.add(FaultRule(path="message_templates", status=500, code=2, is_transient=True))
    fleet.start("dispatcher", "worker")
    began = wall()

    operations = fleet.sync(*fleet.simulator.world.waba_ids)

    def held() -> list[Operation]:
        now = fleet.house.ledger.operations.find(state=State.HELD, at_most=1000)
        return [one for one in now if one.hold is not None and one.hold.by == RETRY_BUDGET]

    until(lambda: len(held()) >= many - 5, what=f"nearly all are held by the budget\n{fleet.logs()}", within=60)
    minutes = (wall() - began) / 60 + 1
    assert fleet.calls() <= many * (1 + share) + floor * minutes
    shown = held()[0]
    assert shown.hold is not None
    assert "the retries of template_reads" in shown.hold.reason and "6 a minute and 10%" in shown.hold.reason
    assert shown.attempts <= 2, "waiting for room spends no attempt"

    # Meta is well again, and a minute has passed: we do not wait for it here.
    fleet.simulator.faults.clear()
    redis = Redis.from_url(fleet.redis_url)
    redis.delete(*redis.keys("wabajobs:*:retries:*"))
    ended = fleet.finished(operations)
    assert {one.state for one in ended} == {"succeeded"}


def test_a_partners_cap_holds_from_the_next_moment_on(on_sqlite: FleetOn) -> None:
    fleet = on_sqlite(knobs={"wabas": 12, "templates": 90, "latency": 0.1}, **UNPACED, **SHORT_PAGES)
    fleet.start("dispatcher", "worker")
    fleet.ready()

    set_now = fleet.command("partners", "set", "acme", "--at-most", "1", "--reason", "they flood", "--json")
    assert answer(set_now)["at_most"] == 1
    ended = fleet.finished(fleet.sync(*fleet.simulator.world.waba_ids))

    spans = sorted((story_of[0], story_of[-1]) for story_of in (_work(fleet, one.id) for one in ended))
    overlapping = [(one, other) for one, other in pairwise(spans) if other[0] < one[1]]
    assert overlapping == []
    shown = answer(fleet.command("partners", "show", "acme", "--json"))
    assert [(one["by"] != "config", one["reason"]) for one in shown["history"]] == [(True, "they flood")]


def _work(fleet: Fleet, operation_id: str) -> list[float]:
    """Return when an operation was begun, and when it ended."""
    events = fleet.house.ledger.operations.story(operation_id)
    return [one.at.timestamp() for one in events if one.name in ("begun", "succeeded")]
