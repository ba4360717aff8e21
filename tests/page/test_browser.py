"""A person with a phone at 3 a.m., in a real browser: what he does on one page is seen on the other."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.page.door import PHONE, Door
from tests.support.fleet import Fleet
from tests.support.waiting import until
from wabajobs.operation import Operation, State

DESK = {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def at_work(guarded: Door) -> Fleet:
    """The fleet of the page, with a dispatcher and a worker."""
    fleet = guarded.fleet
    fleet.start("dispatcher", "worker")
    fleet.ready()
    return fleet


@pytest.fixture
def pages(browser: Any, guarded: Door) -> Iterator[Any]:
    """Opens the control room for somebody, at a size; nothing in it may be amiss for the browser."""
    complaints: list[str] = []
    contexts = []

    def open_(user: str, size: dict[str, int], **more: Any) -> Any:
        assert guarded.auth
        credentials = {"username": user, "password": guarded.auth[1]}
        context = browser.new_context(viewport=size, http_credentials=credentials, **more)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda said: complaints.append(said.text) if is_amiss(said) else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.goto(guarded.room)
        page.locator("#live", has_text="Live").wait_for()
        return page

    yield open_
    for context in contexts:
        context.close()
    assert complaints == []


def is_amiss(said: Any) -> bool:
    """Whether the browser complains of the page, and not of a connection that a test has cut."""
    return bool(said.type == "error" and "net::ERR_FAILED" not in said.text)


def picture(page: Any, name: str, tmp_path: Path) -> None:
    page.screenshot(path=Path(os.environ.get("WABAJOBS_TEST_PICTURES", tmp_path)) / f"{name}.png", full_page=True)


def fits(page: Any) -> bool:
    """Whether nothing has to be moved sideways."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def row(page: Any, list_: str, name: str) -> Any:
    return page.locator(f"#{list_} tr", has=page.locator(".room-name", has_text=re.compile(f"^{name}$")))


def of_sync(fleet: Fleet) -> list[Any]:
    now = fleet.house.clock.now()
    return [one for one in fleet.house.ledger.decisions.pauses(now=now) if one.scope.queue == "template_sync"]


def test_a_queue_is_paused_from_a_phone_and_seen_elsewhere_and_resumed_in_part(
    at_work: Fleet, pages: Any, tmp_path: Path
) -> None:
    phone, desk = pages("anna", PHONE), pages("bob", DESK, color_scheme="dark")

    phone.get_by_role("button", name="Pause template_sync").click()
    dialog = phone.get_by_role("dialog", name="Pause template_sync")
    dialog.get_by_role("button", name="Pause").click()
    assert of_sync(at_work) == [], "not without a reason"
    dialog.get_by_label("Why").fill("<img src=x onerror=alert(1)> Meta's limit")
    dialog.locator(".room-preview p").first.wait_for()
    picture(phone, "phone-pause", tmp_path)
    dialog.get_by_role("button", name="Pause").click()
    phone.locator("#said", has_text="No further call of it starts anywhere").wait_for()

    [pause] = of_sync(at_work)
    assert (pause.actor, pause.reason) == ("anna", "<img src=x onerror=alert(1)> Meta's limit")
    seen = desk.locator("#pause-list article", has_text="template_sync")
    seen.wait_for()
    assert "anna" in seen.inner_text()
    assert "<img src=x onerror=alert(1)> Meta's limit" in seen.inner_text()
    at_work.sync(*at_work.simulator.world.waba_ids[:6], partner="acme")
    held = row(desk, "queue-list", "template_sync").locator("td").nth(1)
    until(lambda: held.inner_text() == "6", what="six are held")
    assert "Paused" in desk.locator("#verdict").inner_text()
    assert [fits(phone), fits(desk)] == [True, True]
    picture(phone, "phone", tmp_path)
    picture(desk, "desk-dark", tmp_path)

    desk.get_by_role("button", name="Resume template_sync").click()
    dialog = desk.get_by_role("dialog", name="Resume template_sync")
    dialog.get_by_label("Why").fill("a quarter to begin with")
    dialog.get_by_label("How", exact=True).select_option("At a part of the budget")
    dialog.get_by_label("Percent of the budget").fill("25")
    dialog.locator(".room-preview p").first.wait_for()
    dialog.get_by_role("button", name="Resume").click()

    phone.locator("#pause-list .room-badge", has_text="runs at 25 %").wait_for()
    [part] = of_sync(at_work)
    assert part.percent == 25
    last = at_work.house.ledger.audit.entries()[-1]
    assert (last.actor, last.reason) == ("bob", "a quarter to begin with")

    phone.get_by_role("button", name="Lift…").first.click()
    dialog = phone.get_by_role("dialog")
    dialog.get_by_label("Why").fill("all is well")
    dialog.get_by_label("How", exact=True).select_option("All at once")
    dialog.get_by_role("button", name="Resume").click()
    phone.locator("#no-pauses").wait_for()
    desk.locator("#no-pauses").wait_for()


def test_a_partner_is_held_from_the_list_of_who_used_the_budget(
    at_work: Fleet, pages: Any, tmp_path: Path
) -> None:
    wabas = at_work.simulator.world.waba_ids
    at_work.finished(at_work.sync(*wabas[:4], partner="flood") + at_work.sync(wabas[5], partner="calm"))
    page = pages("anna", PHONE)
    flood = row(page, "top-list", "flood")
    flood.wait_for()
    picture(page, "phone-top", tmp_path)

    flood.get_by_role("button", name="Hold partner flood").click()
    dialog = page.get_by_role("dialog", name="Hold partner flood")
    dialog.get_by_label("What", exact=True).select_option("only template_sync of flood")
    dialog.get_by_label("Why").fill("it uses up what the others need")
    dialog.get_by_role("button", name="Hold").click()
    page.locator("#pause-list article", has_text="template_sync of partner flood").wait_for()

    [held], [free] = at_work.sync(wabas[6], partner="flood"), at_work.sync(wabas[7], partner="calm")
    at_work.finished([free])
    assert at_work.client.get(held.id).state is State.HELD
    page.get_by_role("button", name="Lift…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Why").fill("they have stopped it")
    dialog.get_by_role("button", name="Resume").click()
    at_work.finished([held])


def test_an_operations_story_is_reached_from_flowers_page_of_its_task(
    at_work: Fleet, guarded: Door, pages: Any, tmp_path: Path
) -> None:
    [operation] = at_work.finished(at_work.sync(at_work.simulator.world.waba_ids[1], partner="acme"))
    page = pages("anna", DESK)

    in_flower(guarded, operation)
    page.goto(f"{guarded.url}/task/{operation.id}")
    page.get_by_role("link", name="Whole story").click()

    page.locator("#verdict h1", has_text="template_sync: succeeded").wait_for()
    assert page.url == f"{guarded.room}/operations/{operation.id}"
    told = page.locator("#story").inner_text()
    assert "Accepted for acme" in told
    assert "Succeeded" in told
    picture(page, "story", tmp_path)


def in_flower(door: Door, operation: Operation) -> None:
    """Wait until Flower has heard of the operation."""
    import requests

    info = f"{door.url}/api/task/info/{operation.id}"
    until(lambda: requests.get(info, auth=door.auth, timeout=5).ok, what="Flower has heard of it")


def test_a_page_that_is_cut_off_says_so_and_recovers_by_itself(pages: Any) -> None:
    page = pages("anna", PHONE)

    page.route("**/wabajobs/look", lambda route: route.abort())
    page.locator("#live", has_text="No connection to Flower").wait_for()
    page.unroute("**/wabajobs/look")
    page.locator("#live", has_text="Live").wait_for()
