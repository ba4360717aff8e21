"""The Hub is told by real processes; operators look at what it is told, and take operations to another app."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.ledger.test_callbacks import a_hub
from tests.support.fleet import Fleet
from tests.support.waiting import until
from wabajobs import feed
from wabajobs.feed import EventKind
from wabajobs.operation import State
from wabajobs.simulator import Simulator, SimulatorConfig

FleetOn = Callable[..., Fleet]
KNOBS = {"apps": 2, "wabas": 6, "templates": 2}


def told(done: Any, *, code: int = 0) -> Any:
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def second(tmp_path: Path) -> dict[str, Any]:
    """The second app of the simulator, as a table of the configuration."""
    app = Simulator(SimulatorConfig(header_floor=0, **KNOBS)).world.apps[1]
    (tmp_path / "second").write_text(app.token)
    return {app.id: {"token": {"file": str(tmp_path / "second")}}}


def test_the_hub_is_called_for_what_real_workers_have_done(on_sqlite: FleetOn, tmp_path: Path) -> None:
    (tmp_path / "callback-secret").write_text("between us")
    with a_hub() as hub:
        callbacks = {"url": hub.url, "secret": {"file": str(tmp_path / "callback-secret")}, "retry_seconds": 0.2}
        fleet = on_sqlite(knobs=KNOBS, callbacks=callbacks)
        refused = [503, 503]
        hub.answers = lambda _event: refused.pop() if refused else 200
        fleet.start("dispatcher", "worker")
        fleet.ready()
        until(fleet.house.ledger.callbacks.has_begun, what="the relay has begun", within=20)
        first, other = fleet.finished(fleet.sync(*fleet.simulator.world.waba_ids[:2]))
        failed = fleet.finished(fleet.sync("999999999999999"))[0]

        ends = {(one.id, EventKind.SUCCEEDED) for one in (first, other)} | {(failed.id, EventKind.FAILED)}
        until(
            lambda: ends <= {(event.operation_id, event.kind) for event, answer in hub.came if answer == 200},
            what="the Hub has been told of all three",
            within=20,
        )
        for body, headers in zip(hub.bodies, hub.headers, strict=True):
            feed.verify(body, headers, ["between us"])

        listed = told(fleet.command("events", "--after", "0", "--kind", "operation.failed", "--json"))
        assert [one["operation"] for one in listed] == [failed.id]
        assert listed[0]["data"]["error"]["type"] == failed.error["type"]  # type: ignore[index]
        assert fleet.client.events(kinds=["operation.failed"])[0].as_json() == listed[0]
        shown = fleet.command("events")
        assert "operation.succeeded" in shown.stdout
        assert "template.changed" in shown.stdout
        number = len(hub.taken)
        again = told(fleet.command("events", "resend", "--after", "0", "--json"))
        until(lambda: len(hub.taken) >= number + again["again"], what="all of it is told again", within=20)
        backlog = told(fleet.command("status", "--json"))["callbacks"]
        assert (backlog["given_up"], backlog["behind"]) == (0, 0)


def test_operators_take_operations_to_another_app(on_sqlite: FleetOn, second: dict[str, Any]) -> None:
    fleet = on_sqlite(knobs=KNOBS, apps=second)
    first, [other] = fleet.simulator.app.id, second
    waba, *wabas = fleet.simulator.world.waba_ids

    refused = fleet.command("enqueue", "template_sync", "--partner", "acme", "--waba", waba)
    assert refused.returncode == 1
    assert f"WABA {waba} has no home app yet: wabajobs apps home {waba} APP" in refused.stderr
    told(fleet.command("apps", "home", waba, first, "--reason", "as agreed", "--json"))
    mine = told(fleet.command("enqueue", "template_sync", "--partner", "acme", "--waba", waba, "--json"))
    assert mine["app"] == first
    fleet.sync(*wabas, app=first)

    route = ("apps", "route", "--from", first, "--to", other, "--reason", "app limit")
    counted = told(fleet.command(*route, "--json"), code=2)
    assert counted == {"moves": 6, "stays": {}, "route": None}
    done = told(fleet.command(*route, "--for", "2h", "--yes", "--json"))
    assert (done["moves"], done["route"]["to"]) == (6, other)
    assert {one.app for one in fleet.house.ledger.operations.find()} == {other}
    follows = told(fleet.command("enqueue", "template_sync", "--partner", "other", "--waba", waba, "--json"))
    assert (follows["app"], follows["routed_from"]) == (other, first)

    listed = told(fleet.command("apps", "list", "--json"))
    assert [(one["app"], one["wabas"], len(one["routes"])) for one in listed] == [(first, 1, 1), (other, 0, 0)]
    assert "app limit" in fleet.command("apps", "list").stdout
    assert "set by" in fleet.command("apps", "show", waba).stdout
    circle = fleet.command("apps", "route", "--from", other, "--to", first, "--reason", "back", "--yes")
    assert "in circles" in circle.stderr
    told(fleet.command("apps", "unroute", str(done["route"]["id"]), "--reason", "it is over", "--json"))
    wrong = fleet.command("apps", "unroute", "77", "--reason", "it is over")
    assert (wrong.returncode, "there is no route 77 in force" in wrong.stderr) == (1, True)
    unknown = fleet.command("apps", "show", "12345")
    assert "nothing is known of WABA 12345" in unknown.stderr

    fleet.start("dispatcher", "worker")
    finished = fleet.finished(fleet.house.ledger.operations.find())
    assert {one.state for one in finished} == {State.SUCCEEDED}
    assert {one.app for one in finished} == {other}


def test_without_a_callback_there_is_nothing_to_send_again(on_sqlite: FleetOn) -> None:
    fleet = on_sqlite(knobs=KNOBS)

    done = fleet.command("events", "resend")

    assert (done.returncode, "no callback is configured" in done.stderr) == (1, True)
    assert fleet.command("events").stdout == "No events.\n"
    assert told(fleet.command("events", "--json")) == []
    assert told(fleet.command("status", "--json"))["callbacks"] is None
    late = fleet.command("events", "--after", "5")
    assert (late.returncode, "is none of this ledger's" in late.stderr) == (1, True)
