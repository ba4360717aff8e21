"""What happens to templates by itself: reviews, pauses, other categories, customers; and what webhooks tell."""

from __future__ import annotations

from collections import Counter

import pytest

from wabajobs.simulator import Simulator, SimulatorConfig
from wabajobs.simulator.world import template_life

from .client import Client
from .templates import BODY, GREETING, create, created, effects, first, read, refused, told

HOUR = 3600


def status(client: Client, template: str) -> str:
    return read(client, template, "status")["status"]


def approved(client: Client, name: str = "it", **changes) -> str:
    return client.simulator.world.add_template(first(client), name=name, **changes).id


def act(client: Client, action: str, template: str | None = None, **more):
    """An action of the control plane for the first WABA."""
    body = {"action": action, "waba": first(client), **({"id": template} if template else {}), **more}
    return client.control("POST", "templates", json=body)


# Reviews


def test_a_review_ends_after_a_while_and_a_webhook_tells(start) -> None:
    client = start(templates=0, template_review_seconds=(100, 200))
    template = created(client)

    client.simulator.advance(99)
    assert status(client, template) == "PENDING"
    assert told(client) == []
    client.simulator.advance(101)

    assert status(client, template) == "APPROVED"
    assert told(client) == [
        {
            "event": "APPROVED",
            "message_template_id": int(template),
            "message_template_name": "order_update",
            "message_template_language": "en-US",
            "message_template_category": "UTILITY",
            "reason": "NONE",
        }
    ]
    assert effects(client) == [("template_created", f"{first(client)}/order_update/en_US")]


def test_a_review_may_end_at_once(start) -> None:
    client = start(templates=0, template_review_seconds=(0, 0), template_rejected_names="bad")

    assert create(client).json()["status"] == "APPROVED"
    assert create(client, name="bad_one").json()["status"] == "REJECTED"


def test_a_rejection_has_a_reason_and_advice(start) -> None:
    client = start(templates=0, template_rejected_names="^spam_")
    template = created(client, name="spam_offer")

    client.simulator.advance(HOUR)

    assert read(client, template, "status,rejected_reason") == {
        "status": "REJECTED",
        "rejected_reason": "INVALID_FORMAT",
        "id": template,
    }
    (value,) = told(client)
    assert (value["event"], value["reason"]) == ("REJECTED", "INVALID_FORMAT")
    assert set(value["rejection_info"]) == {"reason", "recommendation"}


def test_a_share_of_the_templates_is_approved_the_same_one_for_the_same_seed(start) -> None:
    def outcome(seed: int) -> list[str]:
        client = start(templates=0, seed=seed, template_approved_share=0.6, template_review_seconds=(0, 0))
        return [create(client, name=f"t{number}").json()["status"] for number in range(60)]

    seen = outcome(3)
    assert 20 <= Counter(seen)["APPROVED"] <= 52
    assert set(seen) == {"APPROVED", "REJECTED"}
    assert seen == outcome(3)
    assert seen != outcome(4)


def test_a_manual_review_waits_for_somebody(start) -> None:
    client = start(templates=0, template_review="manual")
    one, two = created(client, name="one"), created(client, name="two")
    client.simulator.advance(30 * 24 * HOUR)
    assert {status(client, one), status(client, two)} == {"PENDING"}

    assert act(client, "approve", one).json()["status"] == "APPROVED"
    assert act(client, "reject", two, reason="SCAM").json()["reason"] == "SCAM"

    assert (status(client, one), status(client, two)) == ("APPROVED", "REJECTED")
    assert [(one["event"], one["reason"]) for one in told(client)] == [("APPROVED", "NONE"), ("REJECTED", "SCAM")]


def test_a_review_that_was_overtaken_decides_nothing(start) -> None:
    client = start(templates=0, template_review_seconds=(100, 100))
    decided, deleted, edited = (created(client, name=name) for name in ("decided", "deleted", "edited"))
    template_life.reject(client.simulator.world, decided)
    client.delete(f"{first(client)}/message_templates", name="deleted")
    template_life.reject(client.simulator.world, edited)
    client.simulator.advance(50)
    assert client.post(edited, json={"components": [GREETING]}).ok
    client.simulator.advance(60)

    assert status(client, decided) == "REJECTED"
    assert status(client, edited) == "PENDING"
    assert refused(client.get(deleted)) == (100, 33)
    client.simulator.advance(40)
    assert status(client, edited) == "APPROVED"
    assert client.simulator.judge.defects == 0


def test_an_edit_is_told_with_its_components(start) -> None:
    client = start(templates=0)
    template = approved(client, language="pt_BR", category="MARKETING")
    buttons = [
        {"type": "QUICK_REPLY", "text": "Stop"},
        {"type": "URL", "text": "Shop", "url": "https://shop.example"},
        {"type": "PHONE_NUMBER", "text": "Call", "phone_number": "+15550100"},
    ]
    components = [
        {"type": "HEADER", "format": "TEXT", "text": "News"},
        BODY,
        {"type": "FOOTER", "text": "Bye"},
        {"type": "BUTTONS", "buttons": buttons},
    ]

    client.post(template, json={"components": components})

    # The one webhook of templates in which Meta's page writes the language with an underscore.
    assert told(client, "message_template_components_update") == [
        {
            "message_template_id": int(template),
            "message_template_name": "it",
            "message_template_language": "pt_BR",
            "message_template_element": BODY["text"],
            "message_template_title": "News",
            "message_template_footer": "Bye",
            "message_template_buttons": [
                {
                    "message_template_button_type": "URL",
                    "message_template_button_text": "Shop",
                    "message_template_button_url": "https://shop.example",
                },
                {
                    "message_template_button_type": "PHONE_NUMBER",
                    "message_template_button_text": "Call",
                    "message_template_button_phone_number": "+15550100",
                },
            ],
        }
    ]


# Quality


def test_a_change_of_quality_is_told(start) -> None:
    client = start(templates=0)
    template = approved(client)
    client.simulator.advance(10)

    act(client, "set_quality", template, quality="YELLOW")
    act(client, "set_quality", template, quality="YELLOW")

    assert told(client, "message_template_quality_update") == [
        {
            "previous_quality_score": "UNKNOWN",
            "new_quality_score": "YELLOW",
            "message_template_id": int(template),
            "message_template_name": "it",
            "message_template_language": "en-US",
        }
    ]
    score = read(client, template, "quality_score")["quality_score"]
    assert score == {"score": "YELLOW", "date": int(client.simulator.world.unix()), "reasons": []}
    assert status(client, template) == "APPROVED"


def test_the_lowest_quality_pauses_for_three_hours_then_six_then_disables(start) -> None:
    client = start(templates=0)
    template = approved(client)

    for hours, title in ((3, "FIRST_PAUSE"), (6, "SECOND_PAUSE")):
        act(client, "set_quality", template, quality="RED")
        assert status(client, template) == "PAUSED"
        assert (told(client)[-1]["event"], told(client)[-1]["other_info"]["title"]) == ("PAUSED", title)
        client.simulator.advance(hours * HOUR - 1)
        assert status(client, template) == "PAUSED"
        client.simulator.advance(1)
        assert status(client, template) == "APPROVED"
        assert (told(client)[-1]["event"], told(client)[-1]["other_info"]["title"]) == ("APPROVED", "UNPAUSE")
    act(client, "pause", template)
    client.simulator.advance(100 * HOUR)

    assert status(client, template) == "DISABLED"
    last = told(client)[-1]
    assert (last["event"], last["other_info"]["title"]) == ("DISABLED", "DISABLED")
    assert isinstance(last["disable_info"]["disable_date"], int)
    assert refused(client.post(template, json={"components": [GREETING]})) == (100, 2388039)


def test_a_pause_is_lifted_by_a_call_and_its_end_comes_only_once(start) -> None:
    client = start(templates=0)
    template = approved(client)
    act(client, "pause", template)
    client.simulator.advance(HOUR)

    assert client.post(f"{template}/unpause").json() == {"success": True}
    assert status(client, template) == "APPROVED"
    client.simulator.advance(HOUR)
    act(client, "pause", template)
    client.simulator.advance(HOUR)
    # The end of the first pause has come by now; the second goes on.
    assert status(client, template) == "PAUSED"
    client.simulator.advance(5 * HOUR)
    assert status(client, template) == "APPROVED"


def test_a_pause_by_pacing_waits_for_somebody_to_lift_it(start) -> None:
    client = start(templates=0)
    template = approved(client)
    act(client, "pause", template, pacing=True)
    assert told(client)[-1]["other_info"]["title"] == "RATE_LIMITING_PAUSE"

    early = client.post(f"{template}/unpause").json()
    client.simulator.advance(100 * HOUR)
    assert status(client, template) == "PAUSED"
    late = client.post(f"{template}/unpause").json()
    again = client.post(f"{template}/unpause").json()

    assert (early["success"], bool(early["reason"])) == (False, True)
    assert late == {"success": True}
    assert (again["success"], bool(again["reason"])) == (False, True)
    assert client.simulator.judge.calls()[-1].wasted == "nothing to do"


# Another category


def test_another_category_is_told_a_day_ahead(start) -> None:
    client = start(templates=0)
    template = approved(client)

    act(client, "recategorise", template, category="MARKETING")

    seen = read(client, template, "category,correct_category")
    assert (seen["category"], seen["correct_category"]) == ("UTILITY", "MARKETING")
    (notice,) = told(client, "template_category_update")
    assert notice == {
        "message_template_id": int(template),
        "message_template_name": "it",
        "message_template_language": "en-US",
        "correct_category": "MARKETING",
        "new_category": "UTILITY",
        "category_update_timestamp": int(client.simulator.world.unix()) + 24 * HOUR,
    }
    client.simulator.advance(24 * HOUR)
    seen = read(client, template, "category,correct_category,previous_category")
    assert seen == {"category": "MARKETING", "previous_category": "UTILITY", "id": template}
    change = told(client, "template_category_update")[1]
    assert (change["previous_category"], change["new_category"]) == ("UTILITY", "MARKETING")
    assert "correct_category" not in change


def test_another_category_may_come_at_once_and_its_notice_survives_the_template(start) -> None:
    client = start(templates=0)
    now, gone = approved(client, "now"), approved(client, "gone")

    act(client, "recategorise", now, category="MARKETING", notice=0)
    act(client, "recategorise", gone, category="MARKETING")
    act(client, "delete", gone)
    client.simulator.advance(48 * HOUR)

    assert read(client, now, "category")["category"] == "MARKETING"
    assert client.simulator.judge.defects == 0


# Customers


def test_customers_change_templates_behind_ones_back(start) -> None:
    client = start(wabas=2, templates=20, customer_changes_per_hour=60, template_edits=())
    world = client.simulator.world
    before = {waba: world.templates(waba) for waba in world.waba_ids}

    client.simulator.advance(2 * HOUR)

    after = {waba: world.templates(waba) for waba in world.waba_ids}
    ids = [{one.id for waba in world.waba_ids for one in state[waba]} for state in (before, after)]
    texts = [
        {one.id: one.components for waba in world.waba_ids for one in state[waba]} for state in (before, after)
    ]
    made, gone = ids[1] - ids[0], ids[0] - ids[1]
    edited = [one for one in ids[0] & ids[1] if texts[0][one] != texts[1][one]]
    assert 20 <= len(made) <= 100
    assert gone
    assert edited
    assert effects(client) == []
    assert client.simulator.judge.total == 0
    assert {"APPROVED", "DELETED"} <= {one["event"] for one in told(client)}
    assert told(client, "message_template_components_update")
    for waba in world.waba_ids:
        assert len({(one.name, one.language) for one in after[waba]}) == len(after[waba])


def test_customers_are_the_same_for_the_same_seed_whatever_calls_come_between(start) -> None:
    def world(seed: int, *, calls: bool) -> list[str]:
        client = start(seed=seed, templates=5, customer_changes_per_hour=30)
        for _ in range(4):
            client.simulator.advance(HOUR / 2)
            if calls:
                client.templates()
        every = client.simulator.world
        return [f"{waba}/{one.name}/{one.status}" for waba in every.waba_ids for one in every.templates(waba)]

    assert world(5, calls=False) == world(5, calls=True)
    assert world(5, calls=False) != world(6, calls=False)


def test_customers_begin_and_stop_while_it_runs(start) -> None:
    client = start(templates=5)

    def creations() -> int:
        return sum(len(client.simulator.world.templates(waba)) for waba in client.simulator.world.waba_ids)

    quiet = creations()
    client.simulator.advance(HOUR)
    assert creations() == quiet
    assert client.control("POST", "templates", json={"action": "customers", "per_hour": 200}).ok
    client.simulator.advance(HOUR)
    busy = creations()
    assert busy != quiet
    client.control("POST", "templates", json={"action": "customers", "per_hour": 0})
    client.simulator.advance(10 * HOUR)
    assert creations() == busy


def names(client) -> set[str]:
    world = client.simulator.world
    return {f"{waba}/{one.name}" for waba in world.waba_ids for one in world.templates(waba)}


def test_customers_begin_when_the_knob_is_turned(start) -> None:
    client = start(templates=5)
    quiet = names(client)

    client.control("POST", "limits", json={"customer_changes_per_hour": 200})
    client.simulator.advance(HOUR)
    busy = names(client)
    client.control("POST", "limits", json={"customer_changes_per_hour": 0})
    client.simulator.advance(10 * HOUR)

    assert busy != quiet
    assert names(client) == busy
    client.control("POST", "limits", json={"customer_changes_per_hour": 200})
    client.simulator.advance(HOUR)
    assert len(names(client) - busy) > 20, "who begins again does not try the old names"


def test_customers_hurry_at_once_when_the_knob_is_turned_up(start) -> None:
    client = start(templates=5, customer_changes_per_hour=0.001)
    quiet = names(client)

    client.control("POST", "limits", json={"customer_changes_per_hour": 200})
    client.simulator.advance(HOUR)

    assert names(client) != quiet


def test_other_knobs_do_not_move_the_customers(start) -> None:
    def world(*, turned: bool) -> set[str]:
        client = start(templates=5, customer_changes_per_hour=30)
        for _ in range(5):
            client.simulator.advance(HOUR / 5)
            if turned:
                client.control("POST", "limits", json={"latency": 0})
        return {name.partition("/")[2] for name in names(client)}

    assert world(turned=False) == world(turned=True)


def test_customers_are_busy_for_the_time_of_a_phase(start) -> None:
    limits = {"customer_changes_per_hour": 200}
    client = start(templates=5, phases=[{"name": "busy", "at": HOUR, "until": 2 * HOUR, "limits": limits}])
    seen = [names(client)]

    for _ in range(3):
        client.simulator.advance(HOUR)
        seen.append(names(client))

    assert seen[0] == seen[1]
    assert seen[1] != seen[2]
    assert seen[2] == seen[3]


def test_other_limits_do_not_stop_the_customers(start) -> None:
    client = start(templates=5)
    client.control("POST", "templates", json={"action": "customers", "per_hour": 200})
    quiet = names(client)

    settings = client.control("POST", "limits", json={"app_limit": 7}).json()
    client.simulator.advance(HOUR)

    assert settings["customer_changes_per_hour"] == 200
    assert names(client) != quiet


def test_one_customer_changes_one_template_when_told_to(start) -> None:
    client = start(templates=0)

    sizes = [act(client, "customer").json()["templates"] for _ in range(30)]

    assert max(sizes) > 1
    assert effects(client) == []


def test_customers_keep_to_the_quota_of_creations(start) -> None:
    client = start(wabas=1, templates=0, customer_changes_per_hour=500, template_creations=(10, 3600))

    client.simulator.advance(HOUR)

    assert refused(create(client))[0] == 80008
    assert client.simulator.world.waba(first(client)).made <= 21


# The control plane


@pytest.mark.parametrize(
    ("action", "outcome"),
    [("disable", "DISABLED"), ("archive", "ARCHIVED"), ("pause", "PAUSED"), ("approve", "APPROVED")],
)
def test_meta_may_be_made_to_act(start, action, outcome) -> None:
    client = start(templates=0)
    template = approved(client)

    assert act(client, action, template).json()["status"] == outcome
    assert status(client, template) == outcome
    assert told(client)[-1]["event"] == outcome


def test_deletions_and_ends_of_pauses_are_told_where_plain_changes_are_not(start) -> None:
    client = start(templates=0)
    quiet, loud, paused = approved(client, "quiet"), approved(client, "loud"), approved(client, "paused")

    act(client, "remove", quiet)
    assert told(client) == []
    act(client, "delete", loud)
    act(client, "pause", paused)
    act(client, "unpause", paused)
    act(client, "archive", paused)
    act(client, "unarchive", paused)

    assert [one["event"] for one in told(client)] == ["DELETED", "PAUSED", "APPROVED", "ARCHIVED", "UNARCHIVED"]


@pytest.mark.parametrize(
    "body",
    [
        {"action": "approve"},
        {"action": "approve", "id": "1"},
        {"action": "set_quality", "id": "IT", "quality": "SHINY"},
        {"action": "set_quality", "id": "IT"},
        {"action": "recategorise", "id": "IT", "category": "ADVERT"},
        {"action": "unpause", "id": "IT"},
        {"action": "customers"},
        {"action": "customers", "per_hour": -1},
        {"action": "approve", "waba": None, "id": "IT"},
    ],
)
def test_bad_actions_get_a_sentence(start, body) -> None:
    client = start(templates=0)
    template = approved(client)
    asked = {"waba": first(client), **body}

    answer = client.control(
        "POST", "templates", json={key: template if value == "IT" else value for key, value in asked.items()}
    )

    assert answer.status_code == 400
    assert answer.json()["error"]


# Restarts


def test_what_is_planned_for_a_template_is_data() -> None:
    # A simulator that is kept across a restart puts the entries of one agenda into another.
    knobs = SimulatorConfig(clock="hand", wabas=1, templates=0, customer_changes_per_hour=1)
    one = Simulator(knobs)
    world = one.world
    template = world.add_template(world.waba_ids[0], name="it")
    template_life.pause(world, template.id)
    template_life.recategorise(world, template.id, "MARKETING")

    planned = one.agenda.state()
    other = Simulator(knobs)
    other.agenda.restore(planned)

    names = {"templates.customer", "templates.pause_ends", "templates.recategorised"}
    assert names <= {entry["what"] for entry in other.agenda.state()}
