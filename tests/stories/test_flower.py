"""Flower shows each operation as a task under the operation's own id, in the state that it is in."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from redis import Redis

from tests.support.browsers import a_browser
from tests.support.fleet import Fleet
from tests.support.waiting import until
from tests.support.witness import SHORT_PAGES
from wabajobs.broker import Sender, make_app
from wabajobs.machine import free_port
from wabajobs.operation import Operation
from wabajobs.simulator.faults import FaultRule

FleetOn = Callable[..., Fleet]


def open_flower(fleet: Fleet) -> str:
    """Start Flower and return its URL once it listens to events."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    argv = ["env", "FLOWER_UNAUTHENTICATED_API=true", sys.executable, "-m", "wabajobs", "flower"]
    fleet.start_program("flower", [*argv, "--port", str(port)])

    def listens() -> bool:
        try:
            answers = requests.get(f"{url}/healthcheck", timeout=2).ok
        except requests.RequestException:
            return False
        # Events go to whoever listens at the moment, so it must be there before the first one.
        return answers and bool(Redis.from_url(fleet.redis_url).pubsub_numpat())

    until(listens, what=f"Flower listens\n{fleet.logs()}", within=30)
    return url


def _task(url: str, operation: Operation) -> dict[str, Any]:
    answer = requests.get(f"{url}/api/task/info/{operation.id}", timeout=5)
    return dict(answer.json()) if answer.ok else {}


def _comes_to(url: str, operation: Operation, state: str) -> dict[str, Any]:
    """Wait until Flower shows the operation in this state; return all that it shows."""
    until(
        lambda: _task(url, operation).get("state") == state,
        what=f"Flower shows {operation.id} as {state}; last {_task(url, operation).get('state')}",
    )
    return _task(url, operation)


def _found(url: str, search: str) -> set[str]:
    answer = requests.get(f"{url}/api/tasks", params={"search": search}, timeout=5)
    assert answer.ok, answer.text
    return set(answer.json())


def test_flower_shows_operations_under_their_ids_and_finds_them(on_sqlite: FleetOn) -> None:
    fleet = on_sqlite(knobs={"wabas": 4})
    good, other, bad, _ = fleet.simulator.world.waba_ids
    fleet.simulator.faults.add(FaultRule(path=bad, code=100, message="Nothing of the kind"))
    url = open_flower(fleet)
    fleet.start("dispatcher", "worker")
    fleet.ready()

    done, _other, failed = fleet.finished(
        fleet.sync(good, partner="acme") + fleet.sync(other, bad, partner="bolt")
    )

    shown = _comes_to(url, done, "SUCCESS")
    assert (shown["uuid"], shown["name"]) == (done.id, "template_sync")
    assert "templates 40" in shown["result"]
    assert "Nothing of the kind" in _comes_to(url, failed, "FAILURE")["exception"]
    _comes_to(url, _other, "SUCCESS")
    assert _found(url, f"kwargs:waba={good}") == {done.id}
    assert _found(url, "kwargs:partner=acme") == {done.id}
    assert _found(url, "kwargs:partner=bolt") == {_other.id, failed.id}
    assert _found(url, f"kwargs:partner=bolt kwargs:waba={bad}") == {failed.id}
    assert _found(url, done.id) == {done.id}
    assert _found(url, "state:FAILURE") == {failed.id}
    table = requests.get(
        f"{url}/tasks/datatable",
        params={
            "draw": 1,
            "start": 0,
            "length": 10,
            "search[value]": f"kwargs:waba={good}",
            "order[0][column]": 0,
            "order[0][dir]": "desc",
            "columns[0][data]": "name",
        },
        timeout=5,
    ).json()
    assert [row["uuid"] for row in table["data"]] == [done.id]


def test_flower_shows_a_held_operation_as_held_and_then_as_done(on_sqlite: FleetOn) -> None:
    fleet = on_sqlite(knobs={"wabas": 1, "templates": 390}, **SHORT_PAGES)
    waba = fleet.simulator.world.waba_ids[0]
    url = open_flower(fleet)
    fleet.start("dispatcher", "worker")
    fleet.ready()
    with fleet.slowly():
        (operation,) = fleet.sync(waba)
        until(lambda: fleet.calls() >= 2, what="it is under way")
        _comes_to(url, operation, "STARTED")

        fleet.command("pause", "queue", "template_sync", "--reason", "app limit", "--actor", "anna")
        held = _comes_to(url, operation, "RETRY")
    assert "is paused by anna" in str(held["exception"])
    assert "app limit" in str(held["exception"])
    assert "Traceback" not in str(held["exception"])

    fleet.command("resume", "queue", "template_sync")
    fleet.finished([operation])
    _comes_to(url, operation, "SUCCESS")


def test_flower_shows_what_nobody_wants_any_more_as_revoked(on_sqlite: FleetOn) -> None:
    slow = {"wabas": 2, "templates": 990, "latency": 0.3}
    fleet = on_sqlite(knobs=slow, gate={"pacing": False}, **SHORT_PAGES)
    waba, other = fleet.simulator.world.waba_ids
    url = open_flower(fleet)
    fleet.start("dispatcher", "worker")
    fleet.ready()
    (unwanted,) = fleet.sync(waba)
    _comes_to(url, unwanted, "STARTED")
    (late,) = fleet.sync(other, expires_after=4)
    until(lambda: fleet.client.get(late.id).state == "running", what="the other one has begun")

    fleet.command("ops", "cancel", unwanted.id, "--reason", "they have left", "--actor", "anna")

    cancelled, expired = _comes_to(url, unwanted, "REVOKED"), _comes_to(url, late, "REVOKED")
    assert "cancelled by anna: they have left" in str(cancelled["exception"])
    assert "its deadline passed" in str(expired["exception"])
    assert "Traceback" not in fleet.log("worker")
    assert _found(url, "state:REVOKED") == {unwanted.id, late.id}

    # It goes again, and its end is shown.
    fleet.simulator.faults.add(FaultRule(path=waba, code=100, message="Nothing of the kind"))
    fleet.command("ops", "retry", unwanted.id)
    _comes_to(url, unwanted, "FAILURE")


def test_what_happened_just_before_a_worker_stopped_arrives_completely_and_in_order(on_sqlite: FleetOn) -> None:
    only_the_worker_tells = {"flower": {"operations": 0}}
    fleet = on_sqlite(
        knobs={"wabas": 16, "templates": 100, "latency": 0.25}, **SHORT_PAGES, **only_the_worker_tells
    )
    url = open_flower(fleet)
    fleet.start("dispatcher", "worker")
    fleet.ready()
    operations = fleet.sync(*fleet.simulator.world.waba_ids)
    until(lambda: fleet.calls() >= 12, what="some are under way")

    fleet.kill("worker", signal.SIGTERM)

    gave_back = [one for one in operations if "shutting down" in _last_words(fleet, one)]
    assert gave_back
    for operation in gave_back:
        shown = _comes_to(url, operation, "RETRY")
        assert shown["received"] <= shown["started"] <= shown["retried"]
        assert "shutting down" in str(shown["exception"])


def _last_words(fleet: Fleet, operation: Operation) -> str:
    """What the ledger says of the newest hold."""
    told = fleet.house.ledger.operations.story(operation.id)
    return next((str(one.detail) for one in reversed(told) if one.name == "held"), "")


def test_a_stale_second_delivery_changes_nothing(on_sqlite: FleetOn) -> None:
    fleet = on_sqlite(knobs={"wabas": 2})
    good, bad = fleet.simulator.world.waba_ids
    fleet.simulator.faults.add(FaultRule(path=bad, code=100, message="Nothing of the kind"))
    url = open_flower(fleet)
    fleet.start("dispatcher", "worker")
    done, failed = fleet.finished(fleet.sync(good, bad))
    _comes_to(url, done, "SUCCESS")
    _comes_to(url, failed, "FAILURE")
    calls = fleet.calls()

    for one in (done, failed):
        send_again(fleet, one)
    until(
        lambda: all(f"[{one.id}] ignored" in fleet.log("worker") for one in (done, failed)),
        what="both messages are delivered again",
    )
    # What comes after them has been seen, so they have been seen too.
    (after,) = fleet.finished(fleet.sync(good))
    _comes_to(url, after, "SUCCESS")

    assert _task(url, done)["state"] == "SUCCESS"
    assert _task(url, failed)["state"] == "FAILURE"
    assert fleet.calls() == calls + 1
    assert (fleet.client.get(done.id), fleet.client.get(failed.id)) == (done, failed)


def send_again(fleet: Fleet, operation: Operation) -> None:
    """Publish the message of a finished operation once more, as Redis does after a worker's death."""
    assert Sender(make_app(fleet.settings, queues=["template_sync"]))([operation]) == ()


@pytest.fixture
def browse() -> Iterator[Any]:
    """A page of a real browser."""
    with a_browser() as browser:
        yield browser.new_page(viewport={"width": 1600, "height": 900})


def test_a_person_finds_an_operation_in_flowers_pages(on_sqlite: FleetOn, browse: Any, tmp_path: Path) -> None:
    fleet = on_sqlite(knobs={"wabas": 2})
    good, bad = fleet.simulator.world.waba_ids
    fleet.simulator.faults.add(FaultRule(path=bad, code=100, message="Nothing of the kind"))
    url = open_flower(fleet)
    fleet.start("dispatcher", "worker")
    fleet.ready()
    done, failed = fleet.finished(fleet.sync(good, bad, partner="acme"))
    _comes_to(url, failed, "FAILURE")
    _comes_to(url, done, "SUCCESS")
    pictures = Path(os.environ.get("WABAJOBS_TEST_PICTURES", tmp_path))

    browse.goto(f"{url}/tasks", wait_until="networkidle")
    both = browse.locator("tr", has_text=done.id), browse.locator("tr", has_text=failed.id)
    for row in both:
        row.wait_for()
    browse.screenshot(path=pictures / "tasks.png")
    assert ["SUCCESS" in both[0].inner_text(), "FAILURE" in both[1].inner_text()] == [True, True]
    browse.locator("input[type=search]").fill(f"kwargs:partner=acme kwargs:waba={bad}")
    both[0].wait_for(state="detached")
    assert both[1].is_visible()

    browse.goto(f"{url}/task/{failed.id}", wait_until="networkidle")
    browse.screenshot(path=pictures / "task.png")
    page = browse.locator("body").inner_text()
    assert failed.id in page
    assert "FAILURE" in page
    assert "Nothing of the kind" in page
    assert bad in page
    assert "acme" in page
