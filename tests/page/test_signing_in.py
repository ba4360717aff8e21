"""Each of Flower's ways to know who is there: OAuth, none at all, and one in which nobody may act."""

from typing import Any

import requests
from tornado.web import create_signed_value

from tests.page.conftest import COOKIE_SECRET, PASSWORD, Opens
from tests.page.door import PAUSE, PHONE, Door, pauses


def test_who_has_not_signed_in_is_led_to_do_so(with_oauth: Door) -> None:
    assert with_oauth.get().headers["Location"].startswith("/login")
    assert with_oauth.get("/look").status_code == 401
    assert "WWW-Authenticate" not in with_oauth.get("/look").headers


def test_who_has_signed_in_at_an_oauth_provider_is_let_in(with_oauth: Door) -> None:
    def shown_to(person: str) -> requests.Response:
        cookie = create_signed_value(COOKIE_SECRET, "user", person).decode()
        return with_oauth.get(cookies={"user": cookie})

    assert "Signed in as <b>anna@example.com</b>" in shown_to("anna@example.com").text
    assert shown_to("eve@example.com").status_code == 302


def test_without_authentication_one_can_look_and_is_told_how_to_act(unguarded: Door) -> None:
    page = unguarded.get()

    assert page.status_code == 200
    assert "--basic-auth" in page.text
    assert "FLOWER_BASIC_AUTH" in page.text
    assert unguarded.look()["queues"]["value"]["queues"]


def test_nobody_acts_without_authentication(unguarded: Door) -> None:
    refused = unguarded.post("pause", PAUSE)

    assert refused.status_code == 403
    assert "--basic-auth" in refused.json()["error"]
    assert pauses(unguarded) == []


def test_nobody_acts_where_flower_is_read_only(opens: Opens) -> None:
    door = opens("flower-read-only", "--read-only", user="anna", FLOWER_BASIC_AUTH=f"anna:{PASSWORD}")

    assert "--read-only" in door.get().text
    assert door.post("pause", PAUSE).status_code == 403
    assert pauses(door) == []


def test_who_signed_in_at_an_oauth_provider_is_named(with_oauth: Door) -> None:
    cookie = create_signed_value(COOKIE_SECRET, "user", "anna@example.com").decode()
    session = with_oauth.visitor(user=cookie)

    assert with_oauth.post("pause", PAUSE, session=session).status_code == 200
    assert [pause.actor for pause in pauses(with_oauth)] == ["anna@example.com"]
    assert with_oauth.post("pause", PAUSE, session=session, X_XSRFToken=None).status_code == 403


def test_who_may_only_look_is_offered_nothing_to_press(browser: Any, unguarded: Door) -> None:
    page = browser.new_page(viewport=PHONE)
    page.goto(unguarded.room)
    page.locator("#queue-list tr").first.wait_for()

    assert page.locator("#room button:visible").count() == 0
    assert "--basic-auth" in page.locator("#why-not").inner_text()
    page.close()
