"""A person pauses something: not one call starts after the command has returned, and nothing is lost."""

import json
from collections.abc import Callable

import pytest

from tests.support.fleet import Fleet, wall
from tests.support.waiting import until
from tests.support.witness import SHORT_PAGES, answer, calls_since, mirrored, pages_read_twice
from wabajobs.decisions import Scope
from wabajobs.operation import Operation
from wabajobs.simulator.faults import FaultRule

FleetOn = Callable[..., Fleet]


def _states(fleet: Fleet, operations: list[Operation]) -> set[str]:
    return {str(fleet.client.get(one.id).state) for one in operations}


def _nothing_runs(fleet: Fleet, operations: list[Operation]) -> bool:
    return all(fleet.client.get(one.id).state != "running" for one in operations)


def test_a_paused_queue_stands_still_until_it_is_resumed(fleet_on: FleetOn, database_url: str) -> None:
    fleet = fleet_on(database_url, knobs={"wabas": 31, "templates": 190}, **SHORT_PAGES)
    fleet.simulator.faults.add(FaultRule(path="message_templates", latency=1))
    *wabas, another = fleet.simulator.world.waba_ids
    fleet.start("dispatcher", "worker-1", "worker-2")
    operations = fleet.sync(*wabas)
    until(lambda: fleet.calls() >= 40, what="both workers are busy")

    command = fleet.command(
        "pause", "queue", "template_sync", "--reason", "app limit", "--actor", "anna", "--json"
    )
    returned = wall()
    assert answer(command)["in_force"] is True
    until(lambda: _nothing_runs(fleet, operations), what="running syncs have given their slot back")

    # What a person sees.
    queues = answer(fleet.command("status", "--json"))["queues"]
    (queue,) = [one for one in queues if one["queue"] == "template_sync"]
    unfinished = [one for one in operations if not fleet.client.get(one.id).state.finished]
    assert len(unfinished) > 10
    assert (queue["held"], queue["waiting"], queue["running"]) == (len(unfinished), 0, 0)
    assert (queue["paused"]["reason"], queue["paused"]["by"]) == ("app limit", "anna")
    held = answer(fleet.command("ops", "list", "--state", "held", "--json"))
    assert {one["id"] for one in held} == {one.id for one in unfinished}
    assert {one["hold"]["by"] for one in held} == {"pause"}
    assert all("anna" in one["hold"]["reason"] and "app limit" in one["hold"]["reason"] for one in held)
    late = fleet.command("enqueue", "template_sync", "--partner", "acme", "--waba", another)
    assert late.returncode == 0
    assert "paused by anna" in late.stderr
    operations.append(fleet.client.get(late.stdout.strip()))

    # A worker that comes later consumes nothing, and neither does anybody after a restart of everything.
    fleet.start("worker-3")
    fleet.ready(workers=3)
    for name in list(fleet.processes):
        fleet.kill(name)
    fleet.start("dispatcher", "worker-1", "worker-2")
    until(lambda: fleet.log("worker-2").count("consuming=False") >= 2, what="the pause is seen at the start")
    fleet.ready(workers=2)
    assert calls_since(fleet, returned) == []

    fleet.simulator.faults.clear()  # the rest may go quickly
    answer(fleet.command("resume", "queue", "template_sync", "--json"))

    done = fleet.finished(operations)
    assert [(one.state, one.attempts) for one in done] == [("succeeded", 1)] * 31
    assert mirrored(fleet, [*wabas, another])
    assert pages_read_twice(fleet) == {}


def test_no_call_starts_after_a_pause_has_returned_however_often(on_sqlite: FleetOn) -> None:
    fleet = on_sqlite(knobs={"wabas": 40, "templates": 140, "latency": 0.02, "jitter": 0.05}, **SHORT_PAGES)
    fleet.start("dispatcher", "worker-1", "worker-2")
    operations = fleet.sync(*fleet.simulator.world.waba_ids)
    queue = Scope.of("queue", "template_sync")

    for _ in range(5):
        calls = fleet.calls()
        until(lambda calls=calls: fleet.calls() > calls + 15, what="calls are made")  # type: ignore[misc]
        decided = fleet.house.controls.pause(queue, reason="app limit", actor="anna")
        returned = wall()
        assert decided.in_force
        until(lambda: _nothing_runs(fleet, operations), what="running syncs have given their slot back")
        assert calls_since(fleet, returned) == []
        fleet.house.controls.resume(queue, reason="over", actor="anna")

    assert {one.state for one in fleet.finished(operations)} == {"succeeded"}
    assert pages_read_twice(fleet) == {}


@pytest.mark.parametrize("scope", ["partner", "waba"])
def test_a_pause_of_one_leaves_the_others_alone(on_sqlite: FleetOn, scope: str) -> None:
    fleet = on_sqlite(knobs={"wabas": 8})
    mine, theirs = fleet.simulator.world.waba_ids[:1], fleet.simulator.world.waba_ids[1:]
    fleet.start("dispatcher", "worker")
    fleet.ready()

    name = {"partner": "acme", "waba": mine[0]}[scope]
    fleet.command("pause", scope, name, "--reason", "flood")
    paused = fleet.sync(*mine, partner="acme")
    others = fleet.sync(*theirs, partner="bolt")

    assert {one.state for one in fleet.finished(others)} == {"succeeded"}
    assert fleet.simulator.judge.by_waba() == dict.fromkeys(theirs, 1)
    (shown,) = answer(fleet.command("ops", "list", "--state", "held", "--json"))
    assert shown["id"] == paused[0].id
    assert f"{scope}:{name} is paused" in shown["hold"]["reason"]

    fleet.command("resume", scope, name)
    assert {one.state for one in fleet.finished(paused)} == {"succeeded"}


def test_lifting_one_layer_leaves_the_others_in_place(on_sqlite: FleetOn) -> None:
    fleet = on_sqlite()
    fleet.start("dispatcher", "worker")
    fleet.ready()
    for scope in (["all"], ["queue", "template_sync"], ["partner", "acme"]):
        assert fleet.command("pause", *scope, "--reason", "layers").returncode == 0
    ours, theirs = fleet.simulator.world.waba_ids[:2]
    operations = fleet.sync(ours, partner="acme") + fleet.sync(theirs, partner="bolt")

    fleet.command("resume", "all")
    left = {pause["scope"] for pause in answer(fleet.command("status", "--json"))["pauses"]}
    assert left == {"queue:template_sync", "partner:acme"}
    assert _states(fleet, operations) == {"held"}

    fleet.command("resume", "queue", "template_sync")
    (other,) = fleet.finished(operations[1:])
    assert other.state == "succeeded"
    assert fleet.client.get(operations[0].id).state == "held"
    assert fleet.simulator.judge.by_waba() == {theirs: 1}


def test_a_pause_ends_by_itself_at_its_time(on_sqlite: FleetOn) -> None:
    fleet = on_sqlite()
    fleet.start("dispatcher", "worker")
    fleet.ready()
    command = fleet.command(
        "pause", "queue", "template_sync", "--for", "3s", "--reason", "a moment", "--notice", "soon", "--json"
    )
    (pause,) = answer(command)["pauses"]
    waba = fleet.simulator.world.waba_ids[0]
    (operation,) = fleet.sync(waba)

    hold = fleet.client.get(operation.id).as_json()["hold"]
    (done,) = fleet.finished([operation])

    assert (hold["until"], hold["notice"]) == (pause["until"], "soon")
    assert done.state == "succeeded"
    (call,) = fleet.simulator.judge.calls()
    assert call.wall > fleet.house.clock.now().fromisoformat(pause["until"]).timestamp()


def test_many_requests_during_a_pause_become_one_sync_per_waba(on_sqlite: FleetOn) -> None:
    fleet = on_sqlite(knobs={"wabas": 5})
    fleet.start("dispatcher", "worker")
    fleet.ready()
    fleet.command("pause", "queue", "template_sync", "--reason", "app limit")

    wabas = fleet.simulator.world.waba_ids
    ids = [fleet.sync(wabas[number % 5])[0].id for number in range(199)]
    command = fleet.command("enqueue", "template_sync", "--partner", "acme", "--waba", wabas[4], "--json")
    ids.append(json.loads(command.stdout)["id"])
    assert len(set(ids)) == 5
    fleet.command("resume", "queue", "template_sync")

    done = fleet.finished([fleet.client.get(id_) for id_ in set(ids)])
    assert [(one.state, one.callers) for one in done] == [("succeeded", 40)] * 5
    assert {fleet.client.get(id_).waba for id_ in ids} == set(wabas)
    assert fleet.simulator.judge.by_waba() == dict.fromkeys(wabas, 1)
