"""What was paused goes on little by little, and steps back when Meta refuses; what else a pause can do."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from tests.support.fleet import Fleet, wall
from tests.support.waiting import until
from tests.support.witness import answer, calls_since, mirrored
from wabajobs.simulator.faults import FaultRule

FleetOn = Callable[..., Fleet]


def _entries(fleet: Fleet) -> list[dict[str, Any]]:
    return [one.as_json() for one in fleet.house.ledger.audit.entries()]


def test_a_resumed_queue_goes_on_in_steps_and_steps_back_when_meta_refuses(on_sqlite: FleetOn) -> None:
    window = {"window_seconds": 20, "spread_seconds": 0.25, "header_stale_seconds": 0.5}
    fleet = on_sqlite(
        knobs={"wabas": 90, "templates": 20, "window": 20, "app_limit": 400},
        gate=window,
        ramp={"steps": [10, 40], "step_seconds": 4},
    )
    wabas = fleet.simulator.world.waba_ids
    fleet.command("pause", "queue", "template_sync", "--reason", "app limit", "--actor", "anna")
    operations = fleet.sync(*wabas)
    fleet.start("dispatcher", "worker")
    fleet.ready()

    resumed, since = answer(fleet.command("resume", "queue", "template_sync", "--json")), wall()
    assert [(one["percent"], one["is_ramp"]) for one in resumed["going_on"]] == [(10, True)]
    until(lambda: fleet.calls() >= 2, what="it has begun to go on")
    up = until(lambda: [one for one in _entries(fleet) if one["detail"]["percent"] == 40], what="a step up")
    lasted = datetime.fromisoformat(up[0]["at"]).timestamp() - since
    before = [call for call in calls_since(fleet, since) if call.wall < since + lasted]
    assert len(before) <= 3 + 2 * lasted, "a tenth of 20 calls a second"

    fleet.simulator.faults.add(FaultRule(path="message_templates", code=4, status=400, times=1))
    until(lambda: _entries(fleet)[-1]["detail"]["percent"] == 10, what="a step back")
    done = fleet.finished(operations, within=60)
    until(lambda: answer(fleet.command("status", "--json"))["pauses"] == [], what="the ramp has ended")

    assert {one.state for one in done} == {"succeeded"}
    assert mirrored(fleet, wabas)
    assert fleet.simulator.judge.refused <= 1 + fleet.settings.workers.concurrency
    entries = answer(fleet.command("audit", "--json"))
    told = [(one["actor"], one["action"], one["detail"]["percent"]) for one in entries]
    assert told[:3] == [("anna", "pause", 0), (told[1][0], "resume", 10), ("ramp", "ramp", 40)]
    assert told[-1] == ("ramp", "ramp", 100)


def test_a_dropped_queue_is_emptied_and_one_that_rejects_takes_nothing(on_sqlite: FleetOn) -> None:
    fleet = on_sqlite(knobs={"wabas": 8, "templates": 5})
    [late, *wabas] = fleet.simulator.world.waba_ids
    fleet.start("dispatcher")
    operations = fleet.sync(*wabas)

    unasked = fleet.command("pause", "queue", "template_sync", "--mode", "drop", "--reason", "too many")
    assert unasked.returncode != 0, "nobody has said yes"
    fleet.command("pause", "queue", "template_sync", "--mode", "drop", "--reason", "too many", "--yes")
    assert {one.state for one in fleet.finished(operations)} == {"cancelled"}
    fleet.command("resume", "queue", "template_sync")

    fleet.command("pause", "partner", "acme", "--mode", "reject", "--reason", "flood", "--notice", "Later today.")
    rejected = fleet.command("enqueue", "template_sync", "--partner", "acme", "--waba", late, "--json")
    assert rejected.returncode == 1
    told = json.loads(rejected.stdout)
    assert (told["rejected"], told["notice"]) == ("paused", "Later today.")
    assert fleet.command("enqueue", "template_sync", "--partner", "acme", "--waba", late).stderr.startswith(
        "wabajobs: partner:acme takes nothing by "
    )
    assert fleet.command("enqueue", "template_sync", "--partner", "bolt", "--waba", late).returncode == 0
    assert fleet.simulator.judge.calls() == []


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("pause queue onboarding --mode drop --yes --reason flood", "onboarding cannot bear it"),
        ("pause queue template_sync --queue x --reason flood", "--queue narrows a partner down"),
        ("pause partner acme --queue nothing --reason flood", "there is no queue 'nothing'"),
        ("resume queue --all", "--all is for all partners"),
        ("resume partner --all", "no partner is held"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(on_sqlite: FleetOn, typed: str, sentence: str) -> None:
    refused = on_sqlite().command(*typed.split())

    assert refused.returncode != 0
    assert sentence in refused.stderr
    assert "Traceback" not in refused.stderr
