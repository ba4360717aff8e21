"""In an incident Flower says what is held, why and how many; whoever looks at nothing else can answer that."""

import ast
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
from redis import Redis

from tests.stories.test_flower import open_flower
from tests.support.browsers import a_browser
from tests.support.fleet import Fleet
from tests.support.pictures import picture
from tests.support.waiting import until
from wabajobs.operation import Operation, State

FleetOn = Callable[..., Fleet]
IN_TIME = 30
"""Seconds in which Flower must be able to tell."""
QUICKLY = {"look_seconds": 0.3, "repeat_seconds": 1}
PHOTOS, SYNCS, SLOTS = 12, 6, 2


@pytest.fixture
def browse() -> Iterator[Any]:
    """A page of a real browser."""
    with a_browser() as browser:
        yield browser.new_page(viewport={"width": 1600, "height": 900})


def tasks(url: str, **asked: str) -> dict[str, dict[str, Any]]:
    answer = requests.get(f"{url}/api/tasks", params=asked, timeout=5)
    assert answer.ok, answer.text
    return dict(answer.json())


def held(url: str, **asked: str) -> dict[tuple[str, str], tuple[int, str]]:
    """What Flower says to be held: how many and why, by queue and by what holds them."""
    found = {}
    for id_, task in tasks(url, state="RETRY", **asked).items():
        if id_.startswith("held:"):
            facts = ast.literal_eval(task["kwargs"])
            found[task["name"], facts["by"]] = facts["held"], task["exception"]
    return found


def shows(url: str, one: Operation) -> str:
    answer = requests.get(f"{url}/api/task/info/{one.id}", timeout=5)
    return str(answer.json()["state"]) if answer.ok else ""


def photos(fleet: Fleet, number: int, *, partner: str) -> list[Operation]:
    wabas = fleet.simulator.world.waba_ids
    return [
        fleet.client.enqueue(
            "profile_photo",
            partner=partner,
            waba=wabas[nth],
            payload={
                "number": fleet.simulator.world.waba(wabas[nth]).numbers[0].id,
                "photo": {"data": picture(300 + nth, 300 + nth)},
            },
        )
        for nth in range(number)
    ]


def start_worker(fleet: Fleet) -> None:
    worker = [sys.executable, "-m", "celery", "-A", "tests.support.every_worker", "worker", "--loglevel=INFO"]
    fleet.start_program("worker", worker)
    fleet.ready()


@pytest.mark.timeout(180)
def test_whoever_looks_only_at_flower_can_say_what_is_held_why_and_how_many(
    on_sqlite: FleetOn, browse: Any, tmp_path: Path
) -> None:
    fleet = on_sqlite(
        knobs={"wabas": 14, "templates": 3},
        flower=QUICKLY,
        planner={"enabled": False},
        gate={"breaker_seconds": 4, "breaker_cap_seconds": 4},
        workers={"concurrency": SLOTS},
    )
    wabas = fleet.simulator.world.waba_ids
    fleet.start("dispatcher")
    start_worker(fleet)
    fault = fleet.simulator.faults.add(
        capability="uploads", code=613, message="Calls to this api have exceeded the limit"
    )
    fleet.command("pause", "queue", "template_sync", "--reason", "the limit is near", "--actor", "anna")
    acme = photos(fleet, PHOTOS // 2, partner="acme")
    bolt = photos(fleet, PHOTOS // 2, partner="bolt")
    syncs = fleet.sync(*wabas[:SYNCS], partner="acme")
    until(lambda: any(fleet.client.get(one.id).state is State.HELD for one in acme + bolt), what="Meta refuses")

    # Flower is started in the middle of it.
    url = open_flower(fleet)

    def all_told() -> dict[tuple[str, str], tuple[int, str]] | None:
        found = held(url)
        photos_held = sum(number for (queue, _), (number, _) in found.items() if queue == "profile_photo")
        return found if photos_held >= PHOTOS - SLOTS and ("template_sync", "pause") in found else None

    found = until(all_told, within=IN_TIME, what=f"Flower tells all; {held(url)}\n{fleet.logs()}") or {}
    refused = next(
        told for (queue, by), (_, told) in found.items() if (queue, by) == ("profile_photo", "breaker")
    )
    assert ". Meta: the breaker of app:" in refused
    assert "code 613" in refused
    assert "/uploads is open" in refused
    number, told = found["template_sync", "pause"]
    assert number == SYNCS
    assert "A person: " in told
    assert "paused by anna" in told
    assert "the limit is near" in told
    assert set(held(url, taskname="template_sync")) == {("template_sync", "pause")}
    assert set(held(url, search="kwargs:by=pause")) == {("template_sync", "pause")}
    until(
        lambda: {shows(url, one) for one in syncs} == {"RETRY"}, what="each of them is shown as held, by its id"
    )

    browse.goto(f"{url}/tasks", wait_until="networkidle")
    browse.locator("button[data-task-state=RETRY]").click()
    row = browse.locator("#tasks-table tr", has_text="held:template_sync:pause")
    row.wait_for()
    pictures = Path(os.environ.get("WABAJOBS_TEST_PICTURES", tmp_path))
    browse.screenshot(path=pictures / "incident.png")
    assert f"{SYNCS} held, oldest " in row.inner_text()
    assert "RETRY" in row.inner_text()
    on_top = browse.locator("#tasks-table tbody tr").all_inner_texts()[: len(found) + SLOTS]
    assert [text for text in on_top if "held:template_sync:pause" in text]

    breaker = next(id_ for id_ in tasks(url, state="RETRY") if id_.startswith("held:profile_photo:breaker:"))
    browse.goto(f"{url}/task/{quote(breaker, safe='')}", wait_until="networkidle")
    browse.screenshot(path=pictures / "entry.png")
    page = browse.locator("body").inner_text()
    assert "RETRY" in page
    assert ". Meta: the breaker of app:" in page
    assert "'by': 'breaker'" in page

    # What ends meanwhile ends in Flower, too, although no worker has ever seen it.
    fleet.command("ops", "cancel", syncs[0].id, "--reason", "they have left", "--actor", "anna")
    until(lambda: shows(url, syncs[0]) == "REVOKED", what="the cancelled one is revoked")

    fleet.command("resume", "queue", "template_sync")
    until(lambda: ("template_sync", "pause") not in held(url), what="the pause is over", within=10)
    fleet.simulator.faults.remove(fault)
    fleet.finished([*acme, *bolt, *syncs])
    until(lambda: not held(url), what="nothing is held any more")
    for one in [*acme, *bolt, *syncs[1:]]:
        until(lambda one=one: shows(url, one) == "SUCCESS", what=f"{one.id} is done; {shows(url, one)}")
    assert shows(url, syncs[0]) == "REVOKED"
    ended = [task for id_, task in tasks(url).items() if id_.startswith("held:")]
    assert {task["state"] for task in ended} == {"RELEASED"}


def test_what_has_workers_is_held_and_survives_dispatcher_and_redis(on_sqlite: FleetOn) -> None:
    fleet = on_sqlite(knobs={"wabas": 3}, flower=QUICKLY, planner={"enabled": False})
    url = open_flower(fleet)
    fleet.start("dispatcher")
    syncs = fleet.sync(*fleet.simulator.world.waba_ids)
    told = until(lambda: held(url).get(("template_sync", "workers")), what="nobody works at it")
    assert told
    assert told[0] == len(syncs)
    assert "no worker of template_sync is alive" in told[1]

    fleet.start("dispatcher-2")
    fleet.kill("dispatcher")
    Redis.from_url(fleet.redis_url).flushall()
    before = tasks(url, taskname="template_sync")["held:template_sync:workers:template_sync"]["timestamp"]

    def told_again() -> bool:
        now = tasks(url, taskname="template_sync")["held:template_sync:workers:template_sync"]
        return bool(now["state"] == "RETRY" and now["timestamp"] > before)

    until(told_again, what=f"the other dispatcher tells the same entry; {held(url)}")

    start_worker(fleet)
    fleet.finished(syncs)
    until(lambda: not held(url), what="nothing is held any more")
    until(lambda: {shows(url, one) for one in syncs} == {"SUCCESS"}, what="Flower has heard of their end")
