"""The control room is a page of Flower's: in its navigation, under its prefix, with what is going on."""

import re

import pytest
import requests
from redis import Redis

from tests.page.conftest import Opens
from tests.page.door import Door
from tests.support.servers import RunningRedis
from tests.support.waiting import until

HOSTILE = "<script>alert('x')</script>\"'&"


@pytest.mark.parametrize("path", ["/workers", "/tasks", "/broker", "/wabajobs"])
def test_every_page_of_flowers_has_the_tab(guarded: Door, path: str) -> None:
    page = requests.get(f"{guarded.url}{path}", auth=guarded.auth, timeout=20)

    tab = re.search(r'<a class="nav-link( active)?"\s+href="([^"]+)"[^>]*>Control room</a>', page.text)
    assert tab
    assert tab[2] == "/flower/wabajobs"
    assert bool(tab[1]) == (path == "/wabajobs")


def test_all_that_the_page_needs_comes_from_here(guarded: Door) -> None:
    page = guarded.get()

    assert page.status_code == 200
    addresses = re.findall(r'(?:src|href)="([^"#]+)"', page.text.split("<main")[1])
    assert "/flower/wabajobs/static/room.js" in addresses
    for address in addresses:
        assert address.startswith("/flower/"), address
        assert requests.get(guarded.url.removesuffix("/flower") + address, auth=guarded.auth, timeout=20).ok
    assert not re.search(r"<script(?![^>]*\bsrc=)|\bstyle=|\bon[a-z]+=", page.text)


def test_its_headers_leave_no_way_in(guarded: Door) -> None:
    for path in ("", "/look", "/operations/x", "/operations/x/story"):
        headers = guarded.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert "script-src 'self';" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in headers


def test_it_shows_what_the_ledger_and_the_gate_know(guarded: Door) -> None:
    fleet = guarded.fleet
    fleet.house.controls.mirror()
    one, two = fleet.simulator.world.waba_ids[:2]
    fleet.sync(one, two, partner="acme")

    def counted() -> bool:
        queues = guarded.look()["queues"]["value"]["queues"]
        [queue] = [queue for queue in queues if queue["queue"] == "template_sync"]
        return bool(queue["waiting"] + queue["held"] == 2 and queue["oldest_age_seconds"] >= 0)

    until(counted, what="both are counted")
    looked = guarded.look()
    [app] = looked["gate"]["value"]
    assert app["app"] == fleet.simulator.app.id
    assert app["told"]
    assert {window["scope"] for window in app["windows"]} == {f"app:{app['app']}"}
    assert not any(part["trouble"] for name, part in looked.items() if name != "at")


def test_an_operations_story_has_its_own_address(guarded: Door) -> None:
    [operation] = guarded.fleet.sync(guarded.fleet.simulator.world.waba_ids[2], partner="bolt")

    page = guarded.get(f"/operations/{operation.id}")
    told = guarded.get(f"/operations/{operation.id}/story").json()

    assert f'data-id="{operation.id}"' in page.text
    assert (told["id"], told["state"], told["partner"]) == (operation.id, "waiting", "bolt")
    assert [move["sentence"] for move in told["moves"]] == ["accepted for bolt"]
    assert told["explained"]["summary"]
    assert told["explained"]["next"]
    missing = guarded.get("/operations/no-such-thing/story")
    assert missing.status_code == 404
    assert "no-such-thing" in missing.json()["error"]


def test_what_somebody_wrote_is_no_markup(guarded: Door) -> None:
    page = guarded.get(f"/operations/{requests.utils.quote(HOSTILE, safe='')}")

    assert page.status_code == 200
    assert "<script>alert" not in page.text
    assert "&lt;script&gt;" in page.text


def test_without_redis_the_rest_is_shown(guarded: Door, page_redis: RunningRedis) -> None:
    assert guarded.look()["gate"]["value"]
    page_redis.kill()
    try:
        looked = until(lambda: (seen := guarded.look())["gate"]["trouble"] and seen, what="Redis is missed")
        assert "Redis" in looked["gate"]["trouble"]
        assert looked["gate"]["value"], "what was seen last stays"
        assert not looked["decisions"]["trouble"]
        assert looked["queues"]["value"]["queues"]
        assert "Traceback" not in str(looked)
    finally:
        page_redis.start()
    until(lambda: not guarded.look()["gate"]["trouble"], what="Redis is there again")
    assert Redis.from_url(page_redis.url).ping()


def test_without_the_ledger_the_gate_is_shown(opens: Opens) -> None:
    away = opens(
        "flower-away",
        user="anna",
        FLOWER_BASIC_AUTH="anna:a-long-password",
        WABAJOBS_DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing",
    )

    assert away.get().status_code == 200
    looked = away.look()
    for part in ("queues", "decisions"):
        assert "cannot be asked" in looked[part]["trouble"]
        assert looked[part]["value"] is None
    assert looked["gate"]["value"]
    assert not looked["gate"]["trouble"]
    refused = away.post("pause", {"scope": "queue:template_sync", "reason": "nobody will know"})
    assert refused.status_code == 503
    assert "cannot be asked" in refused.json()["error"]
    assert away.get("/operations/x/story").status_code == 503


def test_nobody_looks_without_a_password(guarded: Door) -> None:
    for path in ("", "/look", "/preview?scope=all", "/operations/x", "/operations/x/story", "/incidents/1/look"):
        for auth in (None, ("anna", "wrong")):
            refused = guarded.get(path, auth=auth)
            assert refused.status_code == 401, path
            assert "Basic" in refused.headers["WWW-Authenticate"]
            assert "queues" not in refused.text
