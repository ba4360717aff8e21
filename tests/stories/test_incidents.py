"""Meta's limit is hit: people are woken, an incident stands with its evidence, and only people close it."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from tests.support.fleet import Fleet
from tests.support.waiting import until
from wabajobs.decisions import Scope
from wabajobs.errors import InvalidRequest
from wabajobs.ledger import Incident

FleetOn = Callable[..., Fleet]

SHORT = {"window_seconds": 6, "spread_seconds": 0.25, "header_stale_seconds": 0.5}
WATCH = {
    "look_seconds": 0.2,
    "sample_seconds": 0.5,
    "quiet_seconds": 4,
    "exhausted_within_seconds": 0.001,
    "alarm_command": ["/bin/sh", "-c", 'read line; printf "%s\\n" "$line" >> alarms.jsonl'],
}
TOKEN = "EAAGm0PX4ZCpsBA"


def told(done: Any) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def alarms(fleet: Fleet) -> list[dict[str, Any]]:
    file = fleet.folder / "alarms.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def the_incident(fleet: Fleet) -> Incident:
    [incident] = fleet.house.incidents.find(open_only=False)
    return incident


def test_a_limit_of_metas_becomes_an_incident_by_itself_and_a_person_closes_it(on_sqlite: FleetOn) -> None:
    fleet = on_sqlite(
        knobs={"wabas": 8, "templates": 2, "latency": 0.05, "window": 6, "app_limit": 200},
        gate=SHORT,
        watch=WATCH,
        # One at a time: of two refused at one moment the episode begins with that which opens the breaker.
        workers={"concurrency": 1},
    )
    app, wabas = fleet.simulator.app.id, fleet.simulator.world.waba_ids
    fleet.start("dispatcher", "worker")
    fleet.finished(fleet.sync(*wabas[:2]))
    assert fleet.house.incidents.find(open_only=False) == []

    fleet.simulator.limits.add_others(app, 200)
    operations = fleet.sync(*wabas)
    [alarm] = until(lambda: alarms(fleet), what=f"the alarm is given\n{fleet.logs()}")
    assert alarm["event"] == "incident.began"
    assert alarm["incident"]["app"] == app
    number = alarm["incident"]["id"]
    with pytest.raises(InvalidRequest, match="is not over"):
        fleet.house.incidents.close(number, reason="looks fine", actor="anna")
    fleet.house.incidents.note(number, f"ticket 4711, token={TOKEN}", actor="anna")
    queue = Scope.of("queue", "template_sync")
    fleet.house.controls.pause(queue, reason="less load", actor="anna")
    fleet.house.controls.resume(queue, reason="it drains", actor="ben", percent=100)
    assert {one.state for one in fleet.finished(operations)} == {"succeeded"}
    until(lambda: the_incident(fleet).state == "quiet", what="it is over", within=40)

    report = told(fleet.command("incident", "report", str(number), "--json"))
    refusals = fleet.simulator.judge.refusals()
    [episode] = report["episodes"]
    assert f"app:{app}" in {cause["scope"] for cause in episode["causes"]}
    assert episode["refused"] == len(refusals) >= 1
    assert report["codes"][0]["code"] == 4
    assert report["felt"]["failed"] == report["felt"]["duplicated"] == 0
    assert {"breaker", "refused", "episode", "decision", "diary"} <= {one["what"] for one in report["timeline"]}
    assert {"anna", "ben", "Meta", "wabajobs"} <= {one["who"] for one in report["timeline"]}
    moments = [datetime.fromisoformat(one["at"]) for one in report["timeline"]]
    assert moments == sorted(moments)
    assert {moment.tzname() for moment in moments} == {"UTC"}
    pack = told(fleet.command("incident", "pack", str(number), "--json"))
    assert len({one["fbtrace_id"] for one in pack["fbtrace_ids"]}) == len(refusals)
    text = fleet.house.incidents.report(number).markdown()
    assert "fbtrace " + pack["fbtrace_ids"][0]["fbtrace_id"] in text
    assert "ticket 4711" in text
    assert TOKEN not in text + json.dumps(report) + json.dumps(pack)

    closed = fleet.command("incident", "close", str(number), "--reason", "Meta has answered", "--json")
    assert told(closed)["state"] == "closed"
    fleet.simulator.limits.add_others(app, 200)
    again = fleet.sync(*wabas[:4])
    until(lambda: the_incident(fleet).state == "on", what="it has come back, and is the same")
    assert len(the_incident(fleet).episodes) == 2
    assert "reopened" in {one.name for one in the_incident(fleet).notes}
    until(lambda: len(alarms(fleet)) == 2, what="the second episode is told")
    fleet.finished(again)
