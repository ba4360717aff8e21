"""What happens to a message template at Meta: reviews, pauses, other categories, ends; and what Meta tells of it.

https://developers.facebook.com/documentation/business-messaging/whatsapp/templates/template-review,
.../template-pausing, .../template-quality and .../templates/template-categorization
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any

from wabajobs.simulator.world.nodes import Waba
from wabajobs.simulator.world.templates import QUALITIES, Template

if TYPE_CHECKING:
    from wabajobs.simulator.world.world import World

_TITLES = ("FIRST_PAUSE", "SECOND_PAUSE")
_REASONS = ("ABUSIVE_CONTENT", "INVALID_FORMAT", "PROMOTIONAL", "SCAM", "TAG_CONTENT_MISMATCH")
_PACING_REST = 300.0
"""Simulated seconds before a pause by pacing may be lifted."""


def prepare(world: World) -> None:
    """Let the world know what is to be done when something of a template's life is due."""
    agenda = world.agenda
    agenda.when("templates.review", lambda _, *words: _review(world, *words))
    agenda.when("templates.pause_ends", lambda _, *words: _end_pause(world, *words))
    agenda.when("templates.gone", lambda _, *words: _go(world, *words))
    agenda.when("templates.recategorised", lambda _, *words: _recategorise(world, *words))


def located(world: World, template_id: str) -> tuple[Waba, Template]:
    """A template and its WABA; KeyError when there is none."""
    template = world.node(template_id)
    waba = world.waba_of(template)
    if not isinstance(template, Template) or waba is None:
        raise KeyError(template_id)
    return waba, template


def turned(world: World, waba: Waba, template: Template, **changes: Any) -> Template:
    """The template in the next turn of its life: what was planned for it before does not happen any more."""
    changed = replace(template, turn=template.turn + 1, last_updated_time=int(world.unix()), **changes)
    return world.put_template(waba, changed)


# Reviews


def begin_review(world: World, waba: Waba, template: Template) -> Template:
    """Put a pending template before Meta's reviewers, who may decide at once."""
    config = world.config
    if config.template_review == "manual":
        return template
    least, most = config.template_review_seconds
    wait = _random(world, "wait", template).uniform(least, most)
    if wait <= 0:
        return _decide(world, waba, template)
    world.agenda.plan(world.now() + wait, "templates.review", template.id, str(template.turn))
    return template


def approve(world: World, template_id: str) -> Template:
    """The review ends well."""
    waba, template = located(world, template_id)
    return _approved(world, waba, template)


def reject(world: World, template_id: str, reason: str = "INVALID_FORMAT") -> Template:
    """The review ends badly."""
    waba, template = located(world, template_id)
    return _rejected(world, waba, template, reason)


def _review(world: World, template_id: str, turn: str) -> None:
    found = _still(world, template_id, turn)
    if found and found[1].status == "PENDING":
        _decide(world, *found)


def _decide(world: World, waba: Waba, template: Template) -> Template:
    config = world.config
    if config.template_rejected_names and re.search(config.template_rejected_names, template.name):
        return _rejected(world, waba, template, "INVALID_FORMAT")
    if seems_marketing(world, template.name, template.category):
        return _rejected(world, waba, template, "INCORRECT_CATEGORY")
    random = _random(world, "review", template)
    if random.random() >= config.template_approved_share:
        return _rejected(world, waba, template, random.choice(_REASONS))
    return _approved(world, waba, template)


def seems_marketing(world: World, name: str, category: str) -> bool:
    """Whether Meta takes a template that says to be of use for advertising."""
    names = world.config.template_marketing_names
    return category == "UTILITY" and names is not None and re.search(names, name) is not None


def _approved(world: World, waba: Waba, template: Template) -> Template:
    template = turned(world, waba, template, status="APPROVED", rejected_reason="NONE", pause=None)
    tell_status(world, waba, template, "APPROVED")
    return template


def _rejected(world: World, waba: Waba, template: Template, reason: str) -> Template:
    correct = "MARKETING" if reason == "INCORRECT_CATEGORY" else template.correct_category
    template = turned(
        world, waba, template, status="REJECTED", rejected_reason=reason, correct_category=correct, pause=None
    )
    advice = {
        "reason": f"The template was rejected for {reason.lower().replace('_', ' ')}.",
        "recommendation": "Edit the template and submit it again.",
    }
    tell_status(world, waba, template, "REJECTED", reason=reason, rejection_info=advice)
    return template


# Quality and pauses


def set_quality(world: World, template_id: str, score: str) -> Template:
    """What its readers make of it; an approved template of the lowest quality is paused."""
    if score not in QUALITIES:
        raise ValueError(f"quality must be one of {', '.join(QUALITIES)}")
    waba, template = located(world, template_id)
    before = template.quality
    template = world.put_template(waba, replace(template, quality=score, quality_date=int(world.unix())))
    if before != score:
        value = {"previous_quality_score": before, "new_quality_score": score, **_named(world, template)}
        world.publish(waba, "message_template_quality_update", value)
    return pause(world, template_id) if score == "RED" and template.status == "APPROVED" else template


def pause(world: World, template_id: str, *, pacing: bool = False) -> Template:
    """Pause it for its quality: first and second time for a while, then it is disabled.

    A pause by pacing ends only when somebody lifts it.
    """
    waba, template = located(world, template_id)
    if pacing:
        return _paused(world, waba, template, "RATE_LIMITING_PAUSE")
    lengths = world.config.template_pauses
    if template.pauses >= len(lengths):
        return disable(world, template_id)
    seconds = lengths[template.pauses]
    title = _TITLES[min(template.pauses, len(_TITLES) - 1)]
    template = _paused(world, waba, replace(template, pauses=template.pauses + 1), title)
    world.agenda.plan(world.now() + seconds, "templates.pause_ends", template.id, str(template.turn))
    return template


def _paused(world: World, waba: Waba, template: Template, title: str) -> Template:
    template = turned(world, waba, template, status="PAUSED", pause=title, paused_at=world.now())
    tell_status(
        world, waba, template, "PAUSED", other_info=_info(title, "The template is paused due to low quality.")
    )
    return template


def disable(world: World, template_id: str) -> Template:
    """Disable it for good."""
    waba, template = located(world, template_id)
    template = turned(world, waba, template, status="DISABLED", pause=None)
    tell_status(
        world,
        waba,
        template,
        "DISABLED",
        disable_info={"disable_date": int(world.unix())},
        other_info=_info("DISABLED", "The template is disabled due to low quality."),
    )
    return template


def unpause(world: World, template_id: str) -> str | None:
    """Lift a pause; why not, if it cannot be lifted.

    https://developers.facebook.com/documentation/business-messaging/whatsapp/templates/template-pacing
    """
    waba, template = located(world, template_id)
    if template.status != "PAUSED":
        return "Message template is not paused."
    if template.pause == "RATE_LIMITING_PAUSE" and world.now() < template.paused_at + _PACING_REST:
        return "Message template was paused less than 5 minutes ago. Try again later."
    _unpaused(world, waba, template)
    return None


def _end_pause(world: World, template_id: str, turn: str) -> None:
    found = _still(world, template_id, turn)
    if found and found[1].status == "PAUSED":
        _unpaused(world, *found)


def _unpaused(world: World, waba: Waba, template: Template) -> None:
    template = turned(world, waba, template, status="APPROVED", pause=None)
    tell_status(world, waba, template, "APPROVED", other_info=_info("UNPAUSE", "The template can be used again."))


# Another category


def recategorise(world: World, template_id: str, category: str, *, notice: float | None = None) -> Template:
    """Tell that it gets another category, and give it after the notice, in simulated seconds.

    Without a notice of its own it is the config's; with 0 it happens at once.
    """
    waba, template = located(world, template_id)
    seconds = world.config.template_category_notice if notice is None else notice
    template = world.put_template(waba, replace(template, correct_category=category))
    if seconds <= 0:
        _recategorise(world, template_id, category)
        return located(world, template_id)[1]
    value = {
        **_named(world, template),
        "correct_category": category,
        "new_category": template.category,
        "category_update_timestamp": int(world.unix() + seconds),
    }
    world.publish(waba, "template_category_update", value)
    world.agenda.plan(world.now() + seconds, "templates.recategorised", template_id, category)
    return template


def _recategorise(world: World, template_id: str, category: str) -> None:
    try:
        waba, template = located(world, template_id)
    except KeyError:
        return
    if template.correct_category != category or template.category == category:
        return
    before = template.category
    template = world.put_template(
        waba,
        replace(
            template,
            category=category,
            previous_category=before,
            correct_category=None,
            last_updated_time=int(world.unix()),
        ),
    )
    value = {**_named(world, template), "previous_category": before, "new_category": category}
    world.publish(waba, "template_category_update", value)


# The end


def delete(world: World, waba: Waba, template: Template) -> None:
    """Delete it at once, or after it lingered while messages are outstanding."""
    lingering = world.config.template_deletion_seconds
    if lingering <= 0:
        world.remove_template(waba.id, template.id)
        tell_status(world, waba, template, "DELETED")
        return
    template = turned(world, waba, template, status="PENDING_DELETION")
    tell_status(world, waba, template, "PENDING_DELETION")
    world.agenda.plan(world.now() + lingering, "templates.gone", template.id, str(template.turn))


def archive(world: World, waba: Waba, template: Template) -> Template:
    """Put it into the archive, from which it is deleted after a while.

    https://developers.facebook.com/documentation/business-messaging/whatsapp/templates/template-archival
    """
    template = turned(world, waba, template, status="ARCHIVED", before_archive=template.status)
    tell_status(world, waba, template, "ARCHIVED")
    due = world.now() + world.config.template_archive_seconds
    world.agenda.plan(due, "templates.gone", template.id, str(template.turn))
    return template


def unarchive(world: World, waba: Waba, template: Template) -> Template:
    """Take it out of the archive, with the status that it had."""
    before = template.before_archive or "APPROVED"
    template = turned(world, waba, template, status=before, before_archive=None)
    tell_status(world, waba, template, "UNARCHIVED")
    return template


def _go(world: World, template_id: str, turn: str) -> None:
    found = _still(world, template_id, turn)
    if found:
        waba, template = found
        world.remove_template(waba.id, template_id)
        tell_status(world, waba, template, "DELETED")


# What Meta tells


def tell_status(
    world: World, waba: Waba, template: Template, event: str, *, reason: str = "NONE", **more: Any
) -> None:
    """Publish `message_template_status_update`.

    https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/message_template_status_update
    """
    value = {
        "event": event,
        **_named(world, template),
        "message_template_category": template.category,
        "reason": reason,
        **more,
    }
    world.publish(waba, "message_template_status_update", value)


def tell_components(world: World, waba: Waba, template: Template) -> None:
    """Publish `message_template_components_update`, which writes the language with an underscore in any case.

    https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/message_template_components_update
    """
    value: dict[str, Any] = {**_named(world, template), "message_template_language": template.language}
    for component in json.loads(template.components):
        match component.get("type"):
            case "BODY":
                value["message_template_element"] = component.get("text", "")
            case "HEADER" if component.get("format") == "TEXT":
                value["message_template_title"] = component.get("text", "")
            case "FOOTER":
                value["message_template_footer"] = component.get("text", "")
            case "BUTTONS":
                told = [one for one in component.get("buttons", []) if one.get("type") in _TOLD_BUTTONS]
                buttons = [_button(one) for one in told]
                if buttons:
                    value["message_template_buttons"] = buttons
    world.publish(waba, "message_template_components_update", value)


_TOLD_BUTTONS = {"URL": "url", "PHONE_NUMBER": "phone_number"}


def _button(button: dict[str, Any]) -> dict[str, Any]:
    detail = _TOLD_BUTTONS[button["type"]]
    return {
        "message_template_button_type": button["type"],
        "message_template_button_text": button.get("text", ""),
        f"message_template_button_{detail}": button.get(detail, ""),
    }


def _named(world: World, template: Template) -> dict[str, Any]:
    hyphen = world.config.webhook_language == "hyphen"
    return {
        "message_template_id": int(template.id),
        "message_template_name": template.name,
        "message_template_language": template.language.replace("_", "-") if hyphen else template.language,
    }


def _info(title: str, description: str) -> dict[str, str]:
    return {"title": title, "description": description}


def _still(world: World, template_id: str, turn: str) -> tuple[Waba, Template] | None:
    """The template, if it is in this turn of its life still."""
    try:
        found = located(world, template_id)
    except KeyError:
        return None
    return found if str(found[1].turn) == turn else None


def _random(world: World, what: str, template: Template) -> Random:
    """Chance by the seed and the template alone, so that other calls do not move it."""
    return Random(f"{world.config.seed}:{what}:{template.id}:{template.turn}")
