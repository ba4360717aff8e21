"""The public documents: in the vendors' forms, to the letter, and nothing in them that is not for the public."""

import json
from datetime import timedelta
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.exposed.forms import FORMS, exactly
from tests.exposed.seen import (
    APP,
    NOW,
    a_pause,
    a_view,
    a_window,
    an_announcement,
    an_app,
    an_incident_on,
    counted,
    some_held,
    told_of,
)
from wabajobs.capability import Capability
from wabajobs.exposed import View
from wabajobs.exposed.server import documents
from wabajobs.gate import Spender
from wabajobs.ledger import Severity, Stage

HOUR = timedelta(hours=1)
INTERNAL = ("acme", "anna", "fbtrace", APP, "WABAs", "code 4")
"""What the views below hold that is no matter of the public."""


def made(view: View, **more: Any) -> dict[str, Any]:
    """The documents as a client reads them."""
    bulletin = told_of(view, url="https://status.example.com/", **more)
    return {path: json.loads(json.dumps(one)) for path, one in documents(bulletin).items()}


def require_formed(told: dict[str, Any]) -> None:
    for path, schema in FORMS.items():
        jsonschema_rs.validate(schema, told[path], validate_formats=True)


def an_incident(*stages: Stage, **more: Any) -> tuple[Any, ...]:
    return tuple(
        an_announcement(nth, stage=stage, at=NOW + nth * HOUR, **more) for nth, stage in enumerate(stages)
    )


def test_on_a_good_day_every_document_has_its_form_and_its_lists() -> None:
    told = made(a_view())

    require_formed(told)
    assert told["/api/v2/status.json"]["status"] == {
        "indicator": "none",
        "description": "All Systems Operational",
    }
    assert told["/summary.json"] == {
        "page": {"name": "WhatsApp Business management", "url": "https://status.example.com", "status": "UP"},
        "activeIncidents": [],
        "activeMaintenances": [],
    }
    assert told["/api/v2/summary.json"]["page"]["updated_at"] == "2024-09-25T12:55:00.000Z"
    assert [one["position"] for one in told["/api/v2/components.json"]["components"]] == [1, 2, 3, 4, 5, 6]


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    open=st.sets(st.sampled_from(["app", *Capability]), max_size=4),
    half_open=st.sets(st.sampled_from([*Capability]), max_size=2),
    used=st.integers(0, 120),
    pauses=st.lists(
        st.builds(
            a_pause,
            st.sampled_from(["all", "queue:template_sync", "capability:uploads", "partner:acme", "waba:1234567"]),
            notice=st.sampled_from([None, "use Meta Business Manager meanwhile"]),
            ends_at=st.sampled_from([None, NOW + HOUR]),
            incident=st.sampled_from([None, 3]),
            percent=st.sampled_from([0, 10]),
        ),
        max_size=3,
    ),
    stages=st.lists(st.sampled_from(Stage), max_size=4),
    away=st.sampled_from([{}, {"ledger_error": "no route to db.internal"}, {"leads": False}, {"apps": None}]),
)
def test_whatever_is_seen_the_forms_hold_and_nothing_internal_comes_out(
    open: set[str],
    half_open: set[str],
    used: int,
    pauses: list[Any],
    stages: list[Stage],
    away: dict[str, Any],
) -> None:
    spenders = {APP: (Spender(queue="template_sync", partner="acme", waba="1234567", calls=99),)}
    view = a_view(
        an_app(open=open, half_open=half_open, windows=(a_window(used=used),)),
        pauses=tuple(pauses),
        announcements=an_incident(*stages),
        incidents=(an_incident_on(f"app:{APP}/uploads", HOUR),),
        counted=counted(some_held("template_sync", 3), spenders=spenders),
        **away,
    )

    told = made(view)

    require_formed(told)
    text = json.dumps(told)
    assert [word for word in (*INTERNAL, "db.internal", "1234567") if word in text] == []


def test_an_incident_is_there_from_what_was_released_first_to_what_was_released_last() -> None:
    view = a_view(
        an_app(open=["uploads"]),
        announcements=an_incident(Stage.INVESTIGATING, Stage.IDENTIFIED, Stage.MONITORING),
    )

    told = made(view)

    [incident] = told["/api/v2/summary.json"]["incidents"]
    assert (incident["status"], incident["impact"]) == ("monitoring", "major")
    assert incident["started_at"] == incident["created_at"] == "2024-09-25T12:55:00.000Z"
    assert (incident["monitoring_at"], incident["resolved_at"]) == ("2024-09-25T14:55:00.000Z", None)
    assert [one["status"] for one in incident["incident_updates"]] == [
        "monitoring",
        "identified",
        "investigating",
    ]
    assert [one["name"] for one in incident["components"]] == ["Templates"]
    [theirs] = told["/summary.json"]["activeIncidents"]
    assert theirs["started"] == "Wed Sep 25 2024 12:55:00 GMT+0000 (Coordinated Universal Time)"
    assert (theirs["status"], theirs["impact"]) == ("MONITORING", "PARTIALOUTAGE")
    assert theirs["url"] == incident["shortlink"]
    path = incident["shortlink"].removeprefix("https://status.example.com")
    jsonschema_rs.validate(exactly(page={}, incident={"const": incident}), told[path])


def test_a_resolved_incident_is_history_only_and_one_that_comes_back_is_open_again() -> None:
    over = made(a_view(announcements=an_incident(Stage.INVESTIGATING, Stage.RESOLVED)))
    back = made(a_view(announcements=an_incident(Stage.INVESTIGATING, Stage.RESOLVED, Stage.INVESTIGATING)))

    assert over["/api/v2/summary.json"]["incidents"] == over["/summary.json"]["activeIncidents"] == []
    assert over["/api/v2/incidents/unresolved.json"]["incidents"] == []
    [incident] = over["/api/v2/incidents.json"]["incidents"]
    assert incident["resolved_at"] == "2024-09-25T13:55:00.000Z"
    [again] = back["/api/v2/summary.json"]["incidents"]
    assert (again["id"], again["resolved_at"], again["monitoring_at"]) == (incident["id"], None, None)


def test_nothing_is_said_of_an_incident_before_a_person_has_said_it() -> None:
    in_trouble = made(a_view(an_app(open=["app"])))

    assert in_trouble["/api/v2/status.json"]["status"] == {
        "indicator": "critical",
        "description": "Major Service Outage",
    }
    assert in_trouble["/api/v2/incidents.json"]["incidents"] == []
    assert in_trouble["/summary.json"]["page"]["status"] == "HASISSUES"


def test_a_planned_pause_is_a_maintenance_once_it_has_a_notice() -> None:
    silent = made(a_view(pauses=(a_pause("queue:template_sync"),)))
    told = made(a_view(pauses=(a_pause("queue:template_sync", notice="lists come later", ends_at=NOW + HOUR),)))

    assert silent["/api/v2/scheduled-maintenances.json"]["scheduled_maintenances"] == []
    assert silent["/api/v2/status.json"]["status"]["indicator"] == "maintenance"
    [work] = told["/api/v2/scheduled-maintenances/active.json"]["scheduled_maintenances"]
    assert (work["name"], work["status"], work["impact"]) == (
        "Maintenance: Templates",
        "in_progress",
        "maintenance",
    )
    assert work["incident_updates"][0]["body"] == "lists come later"
    assert (work["scheduled_for"], work["scheduled_until"]) == (
        "2024-09-25T12:55:00.000Z",
        "2024-09-25T13:55:00.000Z",
    )
    [theirs] = told["/summary.json"]["activeMaintenances"]
    assert (theirs["status"], theirs["duration"]) == ("INPROGRESS", "60")
    assert told["/summary.json"]["page"]["status"] == "UNDERMAINTENANCE"


@pytest.mark.parametrize(
    ("open", "indicator", "impact"),
    [(["flows"], "major", Severity.MAJOR), (["app"], "critical", Severity.CRITICAL), ([], "none", Severity.NONE)],
)
def test_the_blended_status_follows_the_components(open: list[str], indicator: str, impact: Severity) -> None:
    view = a_view(an_app(open=open))

    assert made(view)["/api/v2/status.json"]["status"]["indicator"] == indicator
    assert told_of(view).impact is impact


def test_operations_tell_a_persons_notice_and_no_reason() -> None:
    pause = a_pause("queue:template_sync", notice="use Meta Business Manager meanwhile")
    view = a_view(pauses=(pause,), counted=counted(some_held("template_sync", 48_211, by="pause", age=2 * HOUR)))

    told = made(view)["/operations.json"]["operations"]

    [sync] = [one for one in told if one["kind"] == "template_sync"]
    assert sync == {
        "kind": "template_sync",
        "state": "under_maintenance",
        "since": "2024-09-25T12:55:00.000Z",
        "reason": "use Meta Business Manager meanwhile",
        "held": 48_211,
        "oldest_held_age": 7200,
        "next_update_due": "2024-09-25T16:55:00.000Z",
    }
    [flow] = [one for one in told if one["kind"] == "flow_publish"]
    assert (flow["state"], flow["reason"], flow["next_update_due"]) == ("operational", None, None)


def test_the_next_update_is_due_after_the_last_one() -> None:
    announced = an_announcement(at=NOW + 2 * HOUR)
    view = a_view(an_app(open=["template_writes"]), announcements=(announced,))

    due = {one["kind"]: one["next_update_due"] for one in made(view)["/operations.json"]["operations"]}

    assert due["template_create"] == "2024-09-25T18:55:00.000Z"
    assert due["profile_photo"] is None
