"""From what is seen to how a component is: the same answer always, and nothing hidden."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.exposed.seen import (
    APP,
    KINDS,
    NOW,
    OTHER,
    a_pause,
    a_view,
    a_window,
    an_app,
    an_editor,
    an_incident_on,
    counted,
    some,
    some_held,
    statuses,
    told_of,
    unwell,
)
from wabajobs.capability import Capability
from wabajobs.decisions import PauseMode
from wabajobs.errors import ConfigurationError
from wabajobs.exposed.components import parts_of
from wabajobs.exposed.health import Status

DEFAULTS = ["Number Setup", "Onboarding", "Templates", "Flows", "Profiles", "Channels"]
ALL_MAJOR = dict.fromkeys(DEFAULTS, "major_outage")


def test_all_is_well() -> None:
    assert statuses(a_view()) == dict.fromkeys(DEFAULTS, "operational")


def test_without_uploads_exactly_two_components_suffer() -> None:
    assert unwell(a_view(an_app(open=["uploads"]))) == {
        "Templates": "partial_outage",
        "Profiles": "partial_outage",
    }


def test_what_needs_uploads_can_be_shown_apart() -> None:
    table = {
        "Templates": ("template_*",),
        "Templates with a file": ("template_create/uploads", "template_edit/uploads"),
        "Profiles": ("profile_update", "profile_photo"),
        "Profile photos": ("profile_photo/uploads",),
    }

    assert unwell(a_view(an_app(open=["uploads"])), components=table) == {
        "Templates with a file": "major_outage",
        "Profile photos": "major_outage",
    }
    assert unwell(a_view(an_app(open=["template_writes"])), components=table) == {
        "Templates": "partial_outage",  # lists are still read
        "Templates with a file": "major_outage",
    }


@pytest.mark.parametrize(
    ("shut", "expected"),
    [
        ("profile", {"Profiles": "major_outage"}),
        ("flows", {"Flows": "major_outage"}),
        ("template_reads", {"Templates": "partial_outage"}),
        (
            "onboarding",
            {"Onboarding": "major_outage", "Number Setup": "partial_outage", "Channels": "partial_outage"},
        ),
    ],
)
def test_each_capability_stops_what_needs_it(shut: str, expected: dict[str, str]) -> None:
    assert unwell(a_view(an_app(open=[shut]))) == expected


def test_a_breaker_of_the_whole_app_stops_everything_and_of_one_app_only_a_part() -> None:
    assert statuses(a_view(an_app(open=["app"]))) == ALL_MAJOR
    two = a_view(an_app(open=["app"]), an_app(OTHER))
    assert statuses(two) == dict.fromkeys(DEFAULTS, "partial_outage")


def test_a_probe_and_a_full_budget_are_degraded() -> None:
    assert unwell(a_view(an_app(half_open=["flows"]))) == {"Flows": "degraded_performance"}
    full = {used: unwell(a_view(an_app(windows=(a_window(used=used),)))) for used in (89, 90)}
    assert full[89] == {}
    assert set(full[90].values()) == {"degraded_performance"}
    theirs = a_window(used=10, others=85)
    assert set(unwell(a_view(an_app(windows=(theirs,)))).values()) == {"degraded_performance"}
    own = a_window("capability:flows", used=95)
    assert unwell(a_view(an_app(windows=(own,)))) == {"Flows": "degraded_performance"}
    on_trial = a_window("capability:flows", used=95, shadow=True)
    assert unwell(a_view(an_app(windows=(on_trial,)))) == {}


def test_a_planned_pause_is_maintenance_and_one_of_an_incident_an_outage() -> None:
    planned = a_pause("queue:flow_publish")

    assert unwell(a_view(pauses=(planned,))) == {"Flows": "under_maintenance"}
    linked = a_pause("queue:flow_publish", incident=3)
    assert unwell(a_view(pauses=(linked,))) == {"Flows": "major_outage"}
    assert unwell(a_view(pauses=(a_pause("queue:profile_photo", incident=3),))) == {"Profiles": "partial_outage"}
    assert set(unwell(a_view(pauses=(a_pause("all"),))).values()) == {"under_maintenance"}
    of_capability = unwell(a_view(pauses=(a_pause("capability:uploads"),)))
    assert of_capability == {"Templates": "under_maintenance", "Profiles": "under_maintenance"}
    of_other_app = unwell(a_view(an_app(), an_app(OTHER), pauses=(a_pause(f"app:{OTHER}"),)))
    assert set(of_other_app.values()) == {"under_maintenance"}


def test_an_outage_is_not_hidden_by_maintenance() -> None:
    both = a_view(an_app(open=["uploads"]), pauses=(a_pause("queue:profile_photo"),))
    assert unwell(both)["Profiles"] == "partial_outage"
    nothing_runs = a_view(an_app(open=["uploads"]), pauses=(a_pause("all"),))
    assert unwell(nothing_runs)["Templates"] == "major_outage"


@pytest.mark.parametrize("more", [{"percent": 10}, {"mode": PauseMode.PROBE}, {"percent": 5, "stepped_at": NOW}])
def test_what_goes_slowly_is_degraded(more: dict[str, Any]) -> None:
    slow = a_pause("queue:flow_publish", **more)

    assert unwell(a_view(pauses=(slow,))) == {"Flows": "degraded_performance"}


@pytest.mark.parametrize(
    "scope", ["partner:acme", "waba:102290129340398", "partner:acme/flow_publish", "number:106"]
)
def test_what_concerns_one_customer_is_no_matter_of_the_public(scope: str) -> None:
    assert unwell(a_view(pauses=(a_pause(scope, notice="for acme"),))) == {}


@pytest.mark.parametrize(
    "away",
    [{"ledger_error": "gone"}, {"redis_error": "gone", "apps": None, "workers": None}, {"leads": False}],
)
def test_where_we_cannot_work_nothing_runs(away: dict[str, Any]) -> None:
    assert statuses(a_view(**away)) == ALL_MAJOR
    assert statuses(a_view(an_app(told=False))) == ALL_MAJOR


def test_a_queue_without_workers_matters_once_something_waits() -> None:
    nobody = {"workers": dict.fromkeys(KINDS.names, (1, 8)) | {"flow_publish": (0, 0)}}
    waits = some("flow_publish", 1)

    assert unwell(a_view(**nobody)) == {}
    assert unwell(a_view(**nobody, counted=counted(waits))) == {"Flows": "major_outage"}


def test_a_component_of_nothing_is_refused() -> None:
    with pytest.raises(
        ConfigurationError, match=r"'Videos': there are no operations 'video_\*'; there are: channel"
    ):
        an_editor(components={"Videos": ["video_*"]})


def test_since_when_it_is_so_is_remembered() -> None:
    editor = an_editor()
    later = NOW + timedelta(minutes=5)
    editor.bulletin(a_view())
    editor.bulletin(a_view(an_app(open=["flows"]), at=later))

    bulletin = editor.bulletin(a_view(an_app(open=["flows"]), at=later + timedelta(minutes=5)))

    since = {line.name: line.since for line in bulletin.lines}
    assert (since["Flows"], since["Templates"]) == (later, NOW)
    assert bulletin.updated_at == later


def test_what_began_before_the_program_is_known_from_the_open_incident() -> None:
    long, open_uploads = timedelta(hours=30), an_app(open=["uploads"])

    def since(**more: Any) -> Any:
        lines = told_of(a_view(open_uploads, **more)).lines
        return {line.name: NOW - line.since for line in lines if line.name in ("Profiles", "Flows")}

    on = {"incidents": (an_incident_on(f"app:{APP}/uploads", long),)}
    assert since(**on) == {"Profiles": long, "Flows": timedelta()}
    over = {"incidents": (an_incident_on(f"app:{APP}/uploads", long, here=False),)}
    assert since(**over) == {"Profiles": timedelta(), "Flows": timedelta()}
    pause = a_pause("capability:uploads", created_at=NOW - 2 * long)
    assert since(**on, pauses=(pause,))["Profiles"] == 2 * long


def test_every_kind_has_a_part_and_every_capability_that_it_uses_is_in_one() -> None:
    for name in KINDS.names:
        needed = {step.capability for step in KINDS[name].steps if step.capability}
        parts = parts_of(KINDS[name])
        assert parts
        assert {each for part in parts for each in part.needs} == needed
    everything = {part.name for name in KINDS.names for part in parts_of(KINDS[name])}
    assert {"template_create", "template_create/uploads", "profile_photo/uploads", "flow_publish"} <= everything


_RANK = [Status.OPERATIONAL, Status.DEGRADED, Status.MAINTENANCE, Status.PARTIAL, Status.MAJOR]


@given(
    open=st.sets(st.sampled_from(["app", *Capability])),
    more=st.sets(st.sampled_from(["app", *Capability])),
    used=st.integers(0, 100),
    pauses=st.lists(st.sampled_from(["all", f"app:{APP}", "queue:flow_publish", "capability:uploads"])),
)
def test_more_trouble_never_looks_better(open: set[str], more: set[str], used: int, pauses: list[str]) -> None:
    def lines(shut: set[str]) -> list[Status]:
        app = an_app(open=shut, windows=(a_window(used=used),))
        paused = tuple(a_pause(scope) for scope in pauses)
        return [line.health.status for line in told_of(a_view(app, pauses=paused)).lines]

    before, after = lines(open), lines(open | more)

    assert before == lines(open), "the same view gives the same answer"
    assert all(_RANK.index(now) >= _RANK.index(was) for was, now in zip(before, after, strict=True))


def test_each_kind_tells_how_much_of_it_waits() -> None:
    view = a_view(
        an_app(open=["uploads"]),
        counted=counted(some_held("profile_photo", 40), some_held("profile_photo", 2, by="retry")),
    )

    line = next(one for one in told_of(view).kinds if one.kind == "profile_photo")

    assert (line.held, line.oldest_held, str(line.health.status)) == (
        42,
        NOW - timedelta(hours=1),
        "partial_outage",
    )
    assert line.next_update_due == NOW + timedelta(hours=4)
