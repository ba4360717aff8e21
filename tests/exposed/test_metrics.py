"""Metrics: what is told, what it is bounded by, and that the rules and the dashboard speak of nothing else."""

import importlib.util
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.docs.pages import DOCS
from tests.exposed.seen import (
    APP,
    KINDS,
    NOW,
    a_pause,
    a_view,
    a_window,
    an_announcement,
    an_app,
    an_incident_on,
    counted,
    some,
    some_held,
    told_of,
)
from tests.support.databases import missing
from tests.support.fleet import ROOT
from wabajobs.capability import ServiceClass
from wabajobs.exposed import View
from wabajobs.exposed.metrics import CATALOGUE, OTHERS, PARTNERS, exposition
from wabajobs.gate import Spender
from wabajobs.ledger import Backlog, Spent
from wabajobs.operation import State

MONITORING = ROOT / "monitoring"
LABELS = {metric.name: set(metric.labels) for metric in CATALOGUE}


def measured(view: View, **settings: Any) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """The samples, as Prometheus reads them."""
    text = exposition(view, told_of(view, **settings)).decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def sample(samples: Any, name: str, **labels: str) -> float | None:
    value: float | None = samples.get((name, frozenset(labels.items())))
    return value


def everything() -> View:
    """A view in which every metric has something to tell."""
    return a_view(
        an_app(
            open=["uploads"],
            revision=1,
            windows=(a_window(used=40, pace=400.0), a_window("capability:flows", used=1, limit=10)),
        ),
        revision=3,
        incidents=(an_incident_on(f"app:{APP}/uploads", timedelta(hours=2)),),
        callbacks=Backlog(behind=1, waiting=2, given_up=3, last_error="503"),
        pauses=(a_pause("queue:flow_publish", percent=10, stepped_at=NOW - timedelta(minutes=40)),),
        announcements=(an_announcement(at=NOW - timedelta(hours=5)),),
        counted=counted(
            some_held("profile_photo", 7),
            some("onboarding", 2, service_class=ServiceClass.INTERACTIVE),
            some("onboarding", 3),
            spent={APP: (Spent(name="uploads", calls=40, refused=2),)},
            finished={("onboarding", State.SUCCEEDED): 5},
            spenders={
                APP: tuple(Spender(queue="onboarding", partner=f"p{n}", waba="1", calls=n) for n in range(1, 31))
            },
        ),
    )


def test_what_is_seen_is_told() -> None:
    samples = measured(everything())

    assert sample(samples, "wabajobs_operations", queue="profile_photo", state="held") == 7
    assert sample(samples, "wabajobs_operations", queue="onboarding", state="waiting") == 5
    held = {"state": "held", "class": "standard"}
    assert sample(samples, "wabajobs_held_operations", queue="profile_photo", by="breaker") == 7
    assert sample(samples, "wabajobs_oldest_unfinished_seconds", queue="profile_photo", **held) == 3600
    assert sample(samples, "wabajobs_operations_finished_last_hour", queue="onboarding", state="succeeded") == 5
    assert sample(samples, "wabajobs_breaker_open", app=APP, scope="uploads") == 1
    assert sample(samples, "wabajobs_breaker_open", app=APP, scope="app") == 0
    assert sample(samples, "wabajobs_calls_refused_last_hour", app=APP, capability="uploads") == 2
    assert sample(samples, "wabajobs_incidents", state="on") == 1
    assert sample(samples, "wabajobs_gate_revisions_behind", app=APP) == 2
    assert sample(samples, "wabajobs_budget_used_calls", app=APP, budget="app") == 40
    assert sample(samples, "wabajobs_budget_limit_calls", app=APP, budget="flows") == 10
    # Of the 60 calls left, 360 an hour more than those that leave the window are used.
    assert sample(samples, "wabajobs_budget_exhausted_in_seconds", app=APP, budget="app") == 600
    assert sample(samples, "wabajobs_pause_active", scope="queue:flow_publish") == 1
    assert sample(samples, "wabajobs_ramps") == 1
    assert sample(samples, "wabajobs_ramp_standing_seconds") == 2400
    assert sample(samples, "wabajobs_callbacks_given_up") == 3
    assert sample(samples, "wabajobs_public_update_age_seconds") == 5 * 3600
    assert sample(samples, "wabajobs_component_status", component="Profiles", status="partial_outage") == 1
    assert sample(samples, "wabajobs_component_status", component="Flows", status="operational") == 0
    assert sample(samples, "wabajobs_workers", queue="onboarding") == 1


def test_a_budget_that_will_not_be_spent_has_no_end() -> None:
    steady = an_app(windows=(a_window(used=40, pace=40.0),))

    assert sample(measured(a_view(steady)), "wabajobs_budget_exhausted_in_seconds", app=APP, budget="app") is None


def test_what_is_away_is_told_and_its_metrics_are_absent() -> None:
    samples = measured(a_view(redis_error="gone", apps=None, workers=None))

    assert sample(samples, "wabajobs_reachable", part="redis") == 0
    assert sample(samples, "wabajobs_reachable", part="ledger") == 1
    assert [name for name, _ in samples if name.startswith(("wabajobs_gate", "wabajobs_workers"))] == []


def test_every_metric_has_its_name_its_labels_and_something_to_tell() -> None:
    text = exposition(everything(), told_of(everything())).decode()

    families = {family.name: family for family in text_string_to_metric_families(text)}

    assert set(families) == set(LABELS)
    assert [name for name, family in families.items() if not family.samples] == []
    for name, family in families.items():
        assert re.fullmatch(r"wabajobs_[a-z_]+", name)
        assert family.type == "gauge"
        assert family.documentation.endswith(".")
        assert all(set(one.labels) == LABELS[name] for one in family.samples)


def test_no_label_names_a_waba_and_partners_are_few() -> None:
    many = tuple(
        Spender(queue="template_sync", partner=f"partner-{n}", waba=f"{n:015}", calls=1000 - n)
        for n in range(500)
    )
    pauses = tuple(a_pause(f"partner:partner-{n}") for n in range(100))
    view = a_view(an_app(), counted=counted(spenders={APP: many}), pauses=pauses)

    samples = measured(view)

    partners = {dict(labels)["partner"] for name, labels in samples if name == "wabajobs_budget_partner_calls"}
    assert partners == {f"partner-{n}" for n in range(PARTNERS)} | {OTHERS}
    total = sum(value for (name, _), value in samples.items() if name == "wabajobs_budget_partner_calls")
    assert total == sum(one.calls for one in many)
    assert len(samples) < 20 * len(KINDS.names)
    assert not {label for labels in LABELS.values() for label in labels} & {"waba", "operation", "id"}


def test_the_page_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("generate_metrics", DOCS / "generate_metrics.py")
    assert spec and spec.loader
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)

    assert (DOCS / "metrics.md").read_text(encoding="utf-8") == generator.page(), (
        "the catalogue has changed; run: python docs/generate_metrics.py"
    )


# ── rules and dashboard ─────────────────────────────────────────────────────────────────────────────────────


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    board: dict[str, Any] = json.loads((MONITORING / "grafana.json").read_text())
    return board


def expressions() -> Iterator[tuple[str, str]]:
    for rule in rules():
        yield rule["alert"], rule["expr"]
    board = dashboard()
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for annotation in board["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]["query"]


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_every_expression_speaks_of_metrics_and_labels_that_there_are(where: str, expression: str) -> None:
    used = re.findall(r"(wabajobs_\w+)(?:\{([^}]*)\})?", expression)
    grouped = re.findall(r"\b(?:by|on|ignoring)\s*\(([^)]*)\)", expression)

    assert used, where
    for name, selector in used:
        assert name in LABELS
        assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector)) <= LABELS[name]
    known = {label for name, _ in used for label in LABELS[name]}
    assert {label.strip() for labels in grouped for label in labels.split(",") if label.strip()} <= known


def test_every_alert_says_what_to_do_and_whom_to_wake() -> None:
    names = [rule["alert"] for rule in rules()]

    assert len(names) == len(set(names))
    for rule in rules():
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert len(rule["annotations"]["summary"]) < 100
        assert rule["annotations"]["description"]
        named = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
        assert named <= {label for name in re.findall(r"wabajobs_\w+", rule["expr"]) for label in LABELS[name]}


def test_the_dashboards_panels_do_not_overlap() -> None:
    panels = dashboard()["panels"]
    taken: set[tuple[int, int]] = set()

    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in panels}) == len(panels)


@pytest.fixture
def promtool() -> str:
    """Prometheus's own judge of rules."""
    if not (found := shutil.which("promtool")):
        missing("promtool", "there is no promtool on the PATH")
    assert found
    return found


@pytest.mark.parametrize(
    "task",
    [
        ("check", "rules", "alerts.yml"),
        ("check", "config", "prometheus.yml"),
        ("test", "rules", "alerts_test.yml"),
    ],
    ids=" ".join,
)
def test_prometheus_finds_nothing_wrong_with_the_rules_and_they_fire_when_they_should(
    promtool: str, task: tuple[str, ...]
) -> None:
    done = subprocess.run([promtool, *task], cwd=MONITORING, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_reads_what_is_exposed(promtool: str) -> None:
    text = exposition(everything(), told_of(everything()))

    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)

    assert (done.returncode, done.stderr.decode()) == (0, "")
