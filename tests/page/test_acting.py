"""Who is signed in can decide; everybody else is refused, and so is another site in his name."""

from typing import Any

import pytest
import requests

from tests.page.door import PAUSE, Door, pauses
from wabajobs.gate import Because, Call, Wait

HOSTILE = "<script>alert('x')</script>\"'& 100 %"


@pytest.fixture(autouse=True)
def nothing_stays_paused(guarded: Door) -> Any:
    """Pauses of one test do not stay for the next."""
    yield
    controls = guarded.fleet.house.controls
    for scope in {pause.scope for pause in pauses(guarded)}:
        guarded.fleet.house.ledger.decisions.resume(
            scope, reason="the test is over", actor="test", now=guarded.fleet.house.clock.now()
        )
    controls.mirror()


def asked_at_the_gate(door: Door, partner: str = "acme") -> Any:
    """What the gate answers to a call of a sync of this partner."""
    fleet = door.fleet
    [operation] = fleet.sync(fleet.simulator.world.waba_ids[0], partner=partner)
    [answer] = fleet.house.gate.forecast([Call.of(operation)])
    return answer


def test_a_pause_is_recorded_and_in_force_when_the_page_hears_of_it(guarded: Door) -> None:
    answer = guarded.post("pause", PAUSE | {"notice": "Please use Meta Business Manager."})

    assert answer.status_code == 200, answer.text
    assert answer.json()["in_force"] is True
    [pause] = pauses(guarded)
    assert (str(pause.scope), pause.actor, pause.reason) == ("queue:template_sync", "anna", "trying it out")
    assert pause.notice == "Please use Meta Business Manager."
    assert (pause.ends_at - pause.created_at).total_seconds() == 600
    held = asked_at_the_gate(guarded)
    assert isinstance(held, Wait)
    assert held.because is Because.PAUSE
    assert "anna" in held.reason

    lifted = guarded.as_("bob").post("resume", {"scope": "queue:template_sync", "reason": "it was only a try"})

    assert lifted.status_code == 200, lifted.text
    last = guarded.fleet.house.ledger.audit.entries()[-1]
    assert (last.actor, last.scope, last.reason) == ("bob", "queue:template_sync", "it was only a try")


def test_a_partner_is_held_alone_or_with_one_queue(guarded: Door) -> None:
    assert guarded.post("pause", {"scope": "partner:acme/template_sync", "reason": "it floods"}).ok

    assert isinstance(asked_at_the_gate(guarded, "acme"), Wait)
    other = asked_at_the_gate(guarded, "bolt")
    assert other is None or other.because is not Because.PAUSE


@pytest.mark.parametrize(
    ("more", "stands"),
    [
        ({"percent": 10}, "runs at 10 %"),
        ({"mode": "drain"}, "begins nothing new"),
        ({"mode": "probe", "at_end": "lift"}, "is probed"),
        ({"mode": "reject"}, "takes nothing"),
    ],
)
def test_a_pause_has_a_mode_or_a_part_of_the_budget(guarded: Door, more: dict[str, Any], stands: str) -> None:
    answer = guarded.post("pause", PAUSE | more)

    assert answer.status_code == 200, answer.text
    [pause] = pauses(guarded)
    assert stands in str(pause)
    assert stands in answer.json()["sentence"]
    [shown] = guarded.look()["decisions"]["value"]["pauses"]
    assert (shown["mode"], shown["percent"]) == (str(pause.mode), pause.percent)
    assert shown["then"] == more.get("at_end", "ramp")


def test_a_mode_that_a_kind_cannot_bear_is_refused_with_why(guarded: Door) -> None:
    refused = guarded.post("pause", {"scope": "queue:onboarding", "reason": "trying", "mode": "drop"})

    assert refused.status_code == 400
    assert "onboarding" in refused.json()["error"]
    assert pauses(guarded) == []


def test_it_goes_on_with_a_part_and_then_at_once(guarded: Door) -> None:
    guarded.post("pause", PAUSE)
    resume = {"scope": "queue:template_sync", "reason": "a bit of it"}

    part = guarded.post("resume", resume | {"percent": 25})
    assert "25 %" in part.json()["sentence"]
    assert [pause.percent for pause in pauses(guarded)] == [25]

    assert guarded.post("resume", resume | {"percent": 100}).ok
    assert pauses(guarded) == []


def test_a_preview_says_what_a_decision_touches(guarded: Door) -> None:
    guarded.fleet.sync(guarded.fleet.simulator.world.waba_ids[0], partner="acme")

    for wanted in ({"mode": "hold"}, {"mode": "drain"}, {"mode": "lift"}, {"percent": "10"}):
        told = guarded.get("/preview", params={"scope": "queue:template_sync"} | wanted)
        assert told.status_code == 200, told.text
        assert told.json()["operations"] >= 1
        assert "affects" in told.json()["sentences"][0]
    for wrong in ({"scope": "planet:mars"}, {"scope": "all", "mode": "hide"}, {"scope": "all", "percent": "x"}):
        assert guarded.get("/preview", params=wrong).status_code == 400


def test_an_incident_is_opened_noted_and_closed(guarded: Door) -> None:
    incidents = guarded.fleet.house.ledger.incidents
    assert guarded.post("open", {"reason": HOSTILE}).ok
    [incident] = incidents.find(open_only=True)
    assert (incident.title, incident.opened_by) == (HOSTILE, "anna")

    assert guarded.as_("bob").post("note", {"incident": incident.id, "reason": "Meta has been called"}).ok
    assert guarded.post("pause", PAUSE | {"incident": incident.id}).ok
    assert [pause.incident for pause in pauses(guarded)] == [incident.id]
    told = guarded.get(f"/incidents/{incident.id}/look").json()
    assert any("Meta has been called (bob)" in move["sentence"] for move in told["line"])
    assert HOSTILE in guarded.look()["incidents"]["value"][0]["title"]
    written = guarded.get(f"/incidents/{incident.id}/report")
    assert "Meta has been called" in written.text
    assert "attachment" in written.headers["Content-Disposition"]

    assert guarded.post("close", {"incident": incident.id}).status_code == 400
    assert guarded.post("close", {"incident": incident.id, "reason": "it was nothing"}).ok
    assert incidents.get(incident.id).closed_by == "anna"
    assert guarded.post("note", {"incident": 4711, "reason": "not there"}).status_code == 404
    assert guarded.get("/incidents/4711/look").status_code == 404


def test_what_it_shows_is_new_after_a_decision(guarded: Door) -> None:
    guarded.look()
    guarded.post("pause", PAUSE)

    assert [one["scope"] for one in guarded.look()["decisions"]["value"]["pauses"]] == ["queue:template_sync"]


def test_nobody_acts_with_a_wrong_password(guarded: Door) -> None:
    session = guarded.visitor()
    session.auth = ("anna", "wrong")

    assert guarded.post("pause", PAUSE, session=session).status_code == 401
    assert pauses(guarded) == []


@pytest.mark.parametrize(
    "headers",
    [
        {"X_XSRFToken": None},
        {"X_XSRFToken": "forged"},
        {"X_XSRFToken": "2|00000000|00000000000000000000000000000000|1700000000"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_another_site_cannot_act_in_somebodys_name(guarded: Door, headers: dict[str, str | None]) -> None:
    refused = guarded.post("pause", PAUSE, **headers)

    assert refused.status_code == 403
    assert refused.json()["error"]
    assert pauses(guarded) == []


def test_a_token_without_its_cookie_is_nothing(guarded: Door) -> None:
    token = guarded.visitor().cookies.get("_xsrf")
    stranger = requests.Session()
    stranger.auth = guarded.auth

    assert guarded.post("pause", PAUSE, session=stranger, X_XSRFToken=token).status_code == 403
    form = f"{guarded.room}/actions/pause"
    assert requests.post(form, data=PAUSE | {"_xsrf": token}, auth=guarded.auth, timeout=20).status_code == 403
    assert pauses(guarded) == []


def test_a_get_changes_nothing(guarded: Door) -> None:
    wish = {"scope": "all", "reason": "trying it out"}
    assert guarded.get("/actions/pause", params=wish).status_code == 405
    assert guarded.get("/preview", params=wish).status_code == 200
    assert pauses(guarded) == []


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"scope": "queue:template_sync"}, "say why"),
        ({"scope": "queue:template_sync", "reason": "  \n "}, "say why"),
        ({"scope": "queue:no_such_queue", "reason": "trying"}, "there is no queue 'no_such_queue'"),
        ({"scope": "planet:mars", "reason": "trying"}, "there is no scope 'planet'"),
        ({"scope": "partner:", "reason": "trying"}, "needs a name"),
        ({"scope": "waba:" + "1" * 121, "reason": "trying"}, "at most 120"),
        ({"reason": "trying"}, "say what it is about"),
        ({"scope": "queue:template_sync", "reason": "x" * 3000}, "at most"),
        ({"scope": ["queue"], "reason": "trying"}, "scope"),
        (PAUSE | {"for_seconds": -1}, "for_seconds"),
        (PAUSE | {"for_seconds": "ages"}, "for_seconds"),
        (PAUSE | {"for_seconds": float("1e300")}, "for_seconds"),
        ("pause everything", "JSON object"),
    ],
)
def test_a_wish_that_makes_no_sense_is_refused_with_a_sentence(guarded: Door, wish: Any, said: str) -> None:
    refused = guarded.post("pause", wish)

    assert refused.status_code == 400
    assert said in refused.json()["error"]
    assert pauses(guarded) == []


def test_there_are_no_other_actions(guarded: Door) -> None:
    assert guarded.post("drop-everything", PAUSE).status_code == 404
    refused = guarded.post("resume", {"scope": "queue:template_sync", "reason": "trying it out"})
    assert refused.status_code == 400
    assert "is not paused" in refused.json()["error"]


def test_what_somebody_wrote_comes_back_as_it_was(guarded: Door) -> None:
    assert guarded.post("pause", {"scope": f"waba:{HOSTILE}", "reason": HOSTILE, "notice": HOSTILE}).ok

    answer = guarded.get("/look")
    assert answer.headers["Content-Type"].startswith("application/json")
    [pause] = answer.json()["decisions"]["value"]["pauses"]
    assert (pause["scope"], pause["reason"], pause["notice"]) == (f"waba:{HOSTILE}", HOSTILE, HOSTILE)
