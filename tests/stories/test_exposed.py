"""Uploads alone are refused: what the public reads, what Prometheus measures, and what the logs say of it."""

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
import requests

from tests.kinds.cases_profile import CHANGES
from tests.kinds.templates import MEDIA, TEXT
from tests.support.fleet import Fleet
from tests.support.pictures import picture
from tests.support.waiting import until
from wabajobs.machine import free_port
from wabajobs.operation import Operation, State
from wabajobs.simulator.faults import FaultRule

FleetOn = Callable[..., Fleet]
IDS = ("operation", "kind", "partner", "waba", "app", "capability", "attempt")


class Feeds:
    """A running `wabajobs feeds`."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        public, metrics = free_port(), free_port()
        self.public, self.metrics = (f"http://127.0.0.1:{port}" for port in (public, metrics))
        argv = [sys.executable, "-m", "wabajobs", "feeds", "--port", str(public), "--metrics-port", str(metrics)]
        fleet.start_program("feeds", argv)
        until(
            lambda: "feeds_served" in fleet.log("feeds"), what=f"the feeds are served\n{fleet.logs()}", within=30
        )

    def read(self, path: str) -> Any:
        return requests.get(f"{self.public}{path}", timeout=5).json()

    def unwell(self) -> dict[str, str]:
        lines = self.read("/api/v2/components.json")["components"]
        return {one["name"]: one["status"] for one in lines if one["status"] != "operational"}

    def sample(self, series: str) -> float | None:
        """The value of one series, or the sum of those that begin so."""
        text = requests.get(f"{self.metrics}/metrics", timeout=5).text
        found = [line for line in text.splitlines() if line.startswith(series)]
        return sum(float(line.rpartition(" ")[2]) for line in found) if found else None


def lines_of(fleet: Fleet, program: str) -> list[dict[str, Any]]:
    """What a program has logged; every line must be one JSON object."""
    return [json.loads(line) for line in fleet.log(program).splitlines()]


@pytest.mark.timeout(180)
def test_without_uploads_two_components_are_degraded_and_everybody_can_tell_why(on_sqlite: FleetOn) -> None:
    fleet = on_sqlite(
        knobs={"wabas": 8, "templates": 3, "app_limit": 100_000, "callback_asked": False},
        log="json",
        status_page={"look_seconds": 0.1},
        watch={"look_seconds": 0.5},
        gate={"breaker_seconds": 3, "breaker_cap_seconds": 4},
        planner={"enabled": False},
    )
    wabas = fleet.simulator.world.waba_ids
    fleet.simulator.faults.add(
        FaultRule(capability="uploads", code=613, message="Calls to this API have exceeded the rate limit")
    )
    fleet.start("dispatcher")
    worker = [sys.executable, "-m", "celery", "-A", "tests.support.every_worker", "worker", "--loglevel=INFO"]
    fleet.start_program("worker", worker)
    fleet.ready()
    feeds = Feeds(fleet)

    def enqueue(kind: str, waba: str, **payload: Any) -> Operation:
        return fleet.client.enqueue(kind, partner="acme", waba=waba, payload=payload)

    number = {waba: fleet.simulator.world.waba(waba).numbers[0].id for waba in wabas}
    need_uploads = [
        enqueue("profile_photo", wabas[0], number=number[wabas[0]], photo={"data": picture()}),
        enqueue("profile_photo", wabas[1], number=number[wabas[1]], photo={"data": picture()}),
        enqueue("template_create", wabas[2], **MEDIA),
    ]
    others = [
        enqueue("template_create", wabas[3], **TEXT),
        enqueue("profile_update", wabas[4], number=number[wabas[4]], **CHANGES),
        *fleet.sync(*wabas[5:]),
    ]

    # Everything else goes through, and of the components exactly two suffer.
    assert {one.state for one in fleet.finished(others)} == {State.SUCCEEDED}
    photos_there = 'wabajobs_operations{queue="profile_photo"'
    until(lambda: feeds.sample(photos_there) == 2, what="both photos are there, held or to be tried", within=60)
    two = {"Templates": "partial_outage", "Profiles": "partial_outage"}
    until(lambda: feeds.unwell() == two, what=f"two components are degraded: {feeds.unwell()}", within=30)
    app = fleet.simulator.app.id
    assert feeds.sample(f'wabajobs_breaker_open{{app="{app}",scope="app"}}') == 0
    assert feeds.sample(f'wabajobs_breaker_trips{{app="{app}",scope="uploads"}}')
    assert feeds.sample('wabajobs_component_status{component="Flows",status="operational"}') == 1
    assert feeds.read("/summary.json")["page"]["status"] == "HASISSUES"
    photos = next(one for one in feeds.read("/operations.json")["operations"] if one["kind"] == "profile_photo")
    assert photos["state"] == "partial_outage"
    assert photos["reason"].startswith("Meta refuses these calls")
    assert requests.get(f"{feeds.public}/metrics", timeout=5).status_code == 404

    # A person reads the draft and releases it; nothing was told before.
    assert feeds.read("/api/v2/incidents.json")["incidents"] == []
    [opened] = until(
        lambda: fleet.house.ledger.incidents.find(open_only=True), what="the product has opened an incident"
    )
    drafted = json.loads(fleet.command("feeds", "draft", str(opened.id), "--json").stdout)
    assert (drafted["status"], drafted["components"]) == ("investigating", ["Templates", "Profiles"])
    assert feeds.read("/api/v2/incidents.json")["incidents"] == []
    released = fleet.command("feeds", "release", str(opened.id), "--title", "Uploads", "--yes")
    assert released.returncode == 0, released.stderr
    [incident] = until(lambda: feeds.read("/api/v2/summary.json")["incidents"], what="the public is told")
    told = incident["incident_updates"][0]["body"]
    assert incident["name"] == "Uploads"
    # Meanwhile it is later, and a breaker may be about to probe.
    for text in (told, drafted["text"]):
        assert text.startswith("We are looking into it. Templates: ")
        assert "; Profiles: " in text
        assert "Nothing is lost, and nothing need be sent again." in text
    printed = json.loads(fleet.command("feeds", "print", "instatus").stdout)
    assert [one["name"] for one in printed["activeIncidents"]] == ["Uploads"]

    # Uploads are back: what waited is done, and all is well.
    fleet.simulator.faults.clear()
    assert {one.state for one in fleet.finished(need_uploads, within=60)} == {State.SUCCEEDED}
    until(lambda: feeds.unwell() == {}, what=f"all is well again: {feeds.unwell()}", within=30)

    # Every line is JSON; those about an operation say whose it is, whoever has written them.
    for program in ("dispatcher", "feeds"):
        assert {one["program"] for one in lines_of(fleet, program)} == {program}
    said = lines_of(fleet, "worker")
    opened_lines = [one for one in said if one.get("event") == "breaker_changed" and one["state"] == "open"]
    ended = [one for one in said if one["logger"] == "celery.app.trace"]
    assert opened_lines and ended
    for line in (*opened_lines, *ended):
        assert [name for name in IDS if name not in line] == []
    assert {one["capability"] for one in opened_lines} == {"uploads"}
    assert {one["operation"] for one in ended} >= {one.id for one in (*need_uploads, *others)}
    assert {(one["kind"], one["partner"], one["app"]) for one in ended if one["operation"] == others[0].id} == {
        ("template_create", "acme", app)
    }


def test_metrics_are_not_given_to_everybody_by_mistake(on_sqlite: FleetOn) -> None:
    fleet = on_sqlite()

    refused = fleet.command("feeds", "--host", "0.0.0.0", "--port", str(free_port()))

    assert refused.returncode == 1
    assert "metrics name partners" in refused.stderr
    assert "--metrics-port" in refused.stderr
