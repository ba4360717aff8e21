"""What a WABA's templates may become by those who own them: created, edited, deleted, archived, copied.

https://developers.facebook.com/documentation/business-messaging/whatsapp/templates/template-management
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from wabajobs.simulator.errors import GraphError, bad_parameter, invalid_parameter
from wabajobs.simulator.world import template_life as life
from wabajobs.simulator.world import template_rules as rules
from wabajobs.simulator.world.nodes import Business, Flow, Waba
from wabajobs.simulator.world.templates import Template
from wabajobs.simulator.world.uploads import handle_problem

if TYPE_CHECKING:
    from wabajobs.simulator.world.world import World

EDITABLE = ("APPROVED", "REJECTED", "PAUSED")
"""The statuses in which a template may be edited."""
DELETED_AT_ONCE_MOST = 100
ARCHIVED_AT_ONCE_MOST = 100
MIGRATED_AT_ONCE_MOST = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a template is to be."""

    name: str
    language: str
    category: str
    components: list[dict[str, Any]]
    parameter_format: str = "POSITIONAL"
    allow_category_change: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    """Further fields of the template, as they are."""


# Creating


def create(world: World, waba: Waba, draft: Draft, *, app_id: str) -> Template:
    """A new template, pending review or decided already."""
    rules.check_name(draft.name)
    rules.check_language(draft.language)
    rules.check_ttl(draft.options.get("message_send_ttl_seconds"), draft.category)
    components = rules.checked_components(
        draft.components,
        category=draft.category,
        named=draft.parameter_format == "NAMED",
        around=_around(world, waba, app_id),
    )
    check_free(world, waba, draft.name, draft.language, draft.category)
    check_room(world, waba)
    category = draft.category
    if draft.allow_category_change and life.seems_marketing(world, draft.name, category):
        category = "MARKETING"
    return life.begin_review(world, waba, _added(world, waba, replace(draft, category=category), components))


def create_from_library(
    world: World, waba: Waba, draft: Draft, *, library_name: str, components: list[dict[str, Any]]
) -> Template:
    """A new template with components of the library's, which Meta has reviewed already."""
    rules.check_name(draft.name)
    rules.check_language(draft.language)
    check_free(world, waba, draft.name, draft.language, draft.category)
    check_room(world, waba)
    template = _added(world, waba, draft, components, status="APPROVED", library_template_name=library_name)
    life.tell_status(world, waba, template, "APPROVED")
    return template


def check_free(world: World, waba: Waba, name: str, language: str, category: str) -> None:
    """No template has this name in this language, none is being deleted, and the others' category is the same."""
    existing = _named(world, waba, name, language)
    blocked = max(waba.deleted_names.get(key, 0.0) for key in (name, f"{name}/{language}"))
    if blocked > world.now() or (existing and existing.status == "PENDING_DELETION"):
        raise invalid_parameter(
            2388023,
            "Message Template Language is Being Deleted",
            f"New {language} content can't be added while the existing {language} content is being deleted. "
            "Try again in 4 weeks or create a new message template.",
        )
    if existing:
        raise invalid_parameter(
            2388024,
            "Content in This Language Already Exists",
            f"There is already {language} content for this template. Create a new template and try again.",
        )
    check_category(world, waba, name, category)


def check_category(world: World, waba: Waba, name: str, category: str) -> None:
    """The template's other languages have the same category."""
    other = next((one.category for one in world.listed(waba) if one.name == name), category)
    if other != category:
        raise invalid_parameter(
            world.config.template_category_subcode,
            "Message Template Category Does Not Match",
            f"The category of the template {name} is {other}; its translations have the same.",
            blame="category",
        )


def _named(world: World, waba: Waba, name: str, language: str) -> Template | None:
    return next((one for one in world.listed(waba) if one.name == name and one.language == language), None)


def check_room(world: World, waba: Waba, *, more: int = 1) -> None:
    """The WABA may have so many more templates, and may have them created in this hour."""
    if len(world.listed(waba)) + more > limit_of(world, waba):
        raise invalid_parameter(
            2388019,
            "Message Template Limit Exceeded",
            f"This WhatsApp Business Account can have at most {limit_of(world, waba)} message templates.",
        )
    most, seconds = world.config.template_creations
    if len(_within(waba.creations, world.now() - seconds)) + more > most:
        raise _too_many_creations(world)


def _too_many_creations(world: World) -> GraphError:
    """No source says what this quota answers; the knob chooses between the two likely codes."""
    if world.config.template_creations_code == 100:
        return invalid_parameter(
            None,
            "Too Many Message Templates Created",
            "You can create at most 100 message templates per hour for a WhatsApp Business Account.",
        )
    return GraphError(
        message="(#80008) There have been too many calls to this WhatsApp Business account. Wait a bit and try "
        "again.",
        code=80008,
    )


def limit_of(world: World, waba: Waba) -> int:
    """How many templates the WABA may have; each language of a template is one."""
    small, large = world.config.template_limits
    business = world.node(waba.business_id)
    verified = isinstance(business, Business) and business.verified
    named = any(
        number.registered and number.name_status in ("APPROVED", "AVAILABLE_WITHOUT_REVIEW")
        for number in waba.numbers
    )
    return large if verified and named else small


def _added(
    world: World,
    waba: Waba,
    draft: Draft,
    components: list[dict[str, Any]],
    *,
    status: str = "PENDING",
    **more: Any,
) -> Template:
    template = Template(
        id=world.new_template_id(waba),
        name=draft.name,
        language=draft.language,
        status=status,
        category=draft.category,
        components=written(components),
        parameter_format=draft.parameter_format,
        last_updated_time=int(world.unix()),
        **draft.options,
        **more,
    )
    world.put_template(waba, template)
    # How the WABA was is kept by put_template.
    waba.creations = (*_within(waba.creations, world.now() - world.config.template_creations[1]), world.now())
    return template


def written(components: list[dict[str, Any]]) -> str:
    """Components as a template keeps them."""
    return json.dumps(components, separators=(",", ":"))


# Editing


def edit(
    world: World,
    waba: Waba,
    template: Template,
    *,
    app_id: str,
    components: list[dict[str, Any]] | None = None,
    category: str | None = None,
    parameter_format: str | None = None,
    options: dict[str, Any] | None = None,
) -> Template:
    """The edited template: pending again if its components or its category are others."""
    check_editable(world, template)
    changes: dict[str, Any] = dict(options or {})
    if category is not None and category != template.category:
        if template.status == "APPROVED":
            raise invalid_parameter(
                None,
                "Message Template Category Can't be Changed",
                "The category of an approved template can't be changed.",
                blame="category",
            )
        changes["category"] = category
    category = changes.get("category", template.category)
    rules.check_ttl(changes.get("message_send_ttl_seconds"), category)
    form = parameter_format or template.parameter_format
    if components is not None:
        changes["components"] = written(
            rules.checked_components(
                components, category=category, named=form == "NAMED", around=_around(world, waba, app_id)
            )
        )
        changes["parameter_format"] = form
    return apply(world, waba, template, **changes)


def check_editable(world: World, template: Template) -> None:
    """The template is in a status in which it may be edited, and has edits left if it is approved."""
    if template.status not in EDITABLE:
        raise _unchangeable("Only approved, rejected or paused message templates can be edited.")
    if template.status != "APPROVED":
        return
    for most, seconds in world.config.template_edits:
        if len(_within(template.edits, world.now() - seconds)) >= most:
            raise _unchangeable(
                "An approved message template can be edited once in 24 hours and 10 times in 30 days."
            )


def _unchangeable(message: str) -> GraphError:
    return invalid_parameter(2388039, "Message Template Status Can't be Changed", message)


def apply(world: World, waba: Waba, template: Template, **changes: Any) -> Template:
    """Put checked changes into force."""
    if template.status == "APPROVED":
        longest = max((seconds for _, seconds in world.config.template_edits), default=0.0)
        changes["edits"] = (*_within(template.edits, world.now() - longest), world.now())
    if not changes.keys() & {"components", "category"}:
        changed = replace(template, last_updated_time=int(world.unix()), **changes)
        return world.put_template(waba, changed)
    template = life.turned(
        world,
        waba,
        template,
        **{**changes, "status": "PENDING", "rejected_reason": "NONE", "correct_category": None, "pause": None},
    )
    if "components" in changes:
        life.tell_components(world, waba, template)
    return life.begin_review(world, waba, template)


def count_write(world: World, waba: Waba, template: Template) -> Template:
    """Count a call that changes the template, and refuse one too many; refused ones count too."""
    most = world.config.template_write_limit
    if most is None:
        return template
    writes = (*_within(template.writes, world.now() - world.config.window), world.now())
    template = world.put_template(waba, replace(template, writes=writes[-most - 1 :]))
    if len(writes) > most:
        raise GraphError(
            message="(#80012) There have been too many calls to this WhatsApp message template. Wait a bit and "
            "try again.",
            code=80012,
        )
    return template


Upserted = tuple[Template, str | None]
"""A template, and the effect that it was created or edited; nothing when it was so already."""


def upsert(world: World, waba: Waba, drafts: Sequence[Draft], *, app_id: str) -> list[Upserted]:
    """Create or edit authentication templates, all of them or none.

    https://developers.facebook.com/documentation/business-messaging/whatsapp/templates/authentication-templates
    says nothing about states and quotas; those of creating and editing are applied.
    """
    steps: list[tuple[Callable[[], Template], str | None]] = []
    for draft in drafts:
        rules.check_name(draft.name)
        rules.check_language(draft.language)
        rules.check_ttl(draft.options.get("message_send_ttl_seconds"), draft.category)
        components = rules.checked_components(
            draft.components, category=draft.category, named=False, around=_around(world, waba, app_id)
        )
        existing = _named(world, waba, draft.name, draft.language)
        if existing is None or existing.status == "PENDING_DELETION":
            check_free(world, waba, draft.name, draft.language, draft.category)
            steps.append((partial(_added_for_review, world, waba, draft, components), "template_created"))
            continue
        check_category(world, waba, draft.name, draft.category)
        changes = {"components": written(components), **draft.options}
        if all(getattr(existing, name) == value for name, value in changes.items()):
            steps.append((partial(_itself, existing), None))
            continue
        check_editable(world, existing)
        steps.append((partial(apply, world, waba, existing, **changes), "template_edited"))
    created = sum(what == "template_created" for _, what in steps)
    if created:
        check_room(world, waba, more=created)
    return [(step(), what) for step, what in steps]


def _added_for_review(world: World, waba: Waba, draft: Draft, components: list[dict[str, Any]]) -> Template:
    return life.begin_review(world, waba, _added(world, waba, draft, components))


def _itself(template: Template) -> Template:
    return template


# Deleting and archiving


def delete(
    world: World,
    waba: Waba,
    *,
    name: str | None = None,
    hsm_id: str | None = None,
    hsm_ids: Sequence[str] | None = None,
) -> list[Template]:
    """Delete by name in all languages, by name and id in one, or by a list of ids; what was deleted.

    Meta's page wants the name with an `hsm_id`; public clients send the id alone, which is let pass.
    """
    if hsm_ids is not None:
        if name is not None or hsm_id is not None:
            raise bad_parameter("Param hsm_ids cannot be combined with name or hsm_id")
        doomed = _of_ids(world, waba, hsm_ids, most=DELETED_AT_ONCE_MOST)
    elif name is None and hsm_id is None:
        raise bad_parameter("The parameter name is required.")
    else:
        doomed = [
            one for one in world.listed(waba) if hsm_id in (None, one.id) and (name is None or one.name == name)
        ]
        if not doomed:
            raise _unknown_template(name or str(hsm_id))
    deleted = [one for one in doomed if one.status != "PENDING_DELETION"]
    for template in deleted:
        life.delete(world, waba, template)
    _block_names(world, waba, [one for one in deleted if one.status in _ONCE_APPROVED])
    return deleted


_ONCE_APPROVED = ("APPROVED", "PAUSED", "DISABLED", "ARCHIVED")


def _block_names(world: World, waba: Waba, deleted: list[Template]) -> None:
    """Each in its language; and in all, once none of its languages is left."""
    left = {one.name for one in world.listed(waba) if one.status != "PENDING_DELETION"}
    keys = [f"{one.name}/{one.language}" for one in deleted]
    keys += [one.name for one in deleted if one.name not in left]
    kept = {key: end for key, end in waba.deleted_names.items() if end > world.now()}
    # How the WABA was is kept by the deletion.
    waba.deleted_names = {**kept, **dict.fromkeys(keys, world.now() + world.config.template_name_seconds)}


def _of_ids(world: World, waba: Waba, ids: Sequence[str], *, most: int) -> list[Template]:
    if not 1 <= len(ids) <= most:
        raise bad_parameter(f"Param hsm_ids must have between 1 and {most} items")
    by_id = {one.id: one for one in world.listed(waba)}
    for one in ids:
        if one not in by_id:
            raise _unknown_template(one)
    return [by_id[one] for one in dict.fromkeys(ids)]


def _unknown_template(which: str) -> GraphError:
    """The subcode is one seen in answers; Meta's table of codes does not list it."""
    return invalid_parameter(
        2593002,
        "Message Template Not Found",
        f"There is no message template {which[:100]} in this WhatsApp Business Account.",
    )


def archive(world: World, waba: Waba, ids: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Put templates into the archive: those that went, and why the others did not."""
    right = ("APPROVED", "REJECTED")
    return _each(world, waba, ids, life.archive, (right, "Only approved or rejected templates can be archived"))


def unarchive(world: World, waba: Waba, ids: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Take templates out of the archive."""
    right = ("ARCHIVED",)
    return _each(world, waba, ids, life.unarchive, (right, "Only archived templates can be unarchived"))


def _each(
    world: World,
    waba: Waba,
    ids: Sequence[str],
    act: Callable[[World, Waba, Template], Template],
    only: tuple[tuple[str, ...], str],
) -> tuple[list[str], dict[str, str]]:
    statuses, reason = only
    if not 1 <= len(ids) <= ARCHIVED_AT_ONCE_MOST:
        raise bad_parameter(f"Param hsm_ids must have between 1 and {ARCHIVED_AT_ONCE_MOST} items")
    by_id = {one.id: one for one in world.listed(waba)}
    done: list[str] = []
    failed: dict[str, str] = {}
    for one in dict.fromkeys(ids):
        template = by_id.get(one)
        if template is None:
            failed[one] = "Message template not found"
        elif template.status not in statuses:
            failed[one] = reason
        else:
            act(world, waba, template)
            done.append(one)
    return done, failed


# Copying to another WABA


@dataclass(slots=True, kw_only=True)
class Migration:
    """What became of the templates of one call."""

    copies: list[tuple[Template, Template]] = field(default_factory=list)
    """Each template and its copy."""
    failed: dict[str, str] = field(default_factory=dict)
    """Why others were not copied, by their id at the source."""
    timed_out: bool = False


def migrate(
    world: World,
    source: Waba,
    destination: Waba,
    *,
    page: int = 0,
    count: int = MIGRATED_AT_ONCE_MOST,
    ids: Sequence[str] | None = None,
) -> Migration:
    """Copy a page of a WABA's templates, or those of these ids, to another WABA of the same business.

    https://developers.facebook.com/documentation/business-messaging/whatsapp/templates/template-migration
    """
    if source.id == destination.id or source.business_id != destination.business_id:
        raise bad_parameter(
            "Templates can only be migrated between two WhatsApp Business Accounts of one business"
        )
    every = world.listed(source)
    done = Migration()
    if ids:
        by_id = {one.id: one for one in every}
        chosen = [by_id[one] for one in dict.fromkeys(ids) if one in by_id]
        done.failed.update(dict.fromkeys((one for one in ids if one not in by_id), "Template not found"))
    else:
        chosen = every[page * count : (page + 1) * count]
    _copy_all(world, chosen, destination, done, most=world.config.template_migration_most)
    return done


def copy_good(world: World, source: Waba, destination: Waba) -> Migration:
    """Copy all templates of high quality to the WABA to which a number has moved, as Meta does by itself.

    It stops at the destination's limit, and uses up no quota of creations.
    https://developers.facebook.com/docs/whatsapp/solution-providers/support/migrating-phone-numbers-among-solution-partners-programmatically
    """
    done = Migration()
    _copy_all(world, world.listed(source), destination, done, most=None)
    return done


def _copy_all(
    world: World, chosen: Sequence[Template], destination: Waba, done: Migration, *, most: int | None
) -> None:
    """Copy what may be copied; after `most` the time is up."""
    there = list(world.listed(destination))
    taken = {(one.name, one.language) for one in there}
    room = limit_of(world, destination) - len(there)
    for template in chosen:
        reason = _not_migrated(world, template, destination, taken=taken, room=room - len(done.copies))
        if reason:
            done.failed[template.id] = reason
            continue
        if most is not None and len(done.copies) >= most:
            done.timed_out = True
            break
        done.copies.append((template, _copy(world, template, destination)))
        taken.add((template.name, template.language))
    if done.copies:
        world.change(destination).templates = [*there, *(copy for _, copy in done.copies)]


def _not_migrated(
    world: World, template: Template, destination: Waba, *, taken: set[tuple[str, str]], room: int
) -> str | None:
    if template.status != "APPROVED":
        return "Template is not approved"
    if template.quality not in ("GREEN", "UNKNOWN"):
        return "Template quality is too low"
    if (template.name, template.language) in taken:
        return "Template with the same name and language already exists"
    keys = (template.name, f"{template.name}/{template.language}")
    if any(destination.deleted_names.get(key, 0.0) > world.now() for key in keys):
        return "Template with the same name and language is being deleted"
    return "Template limit reached" if room <= 0 else None


def _copy(world: World, template: Template, destination: Waba) -> Template:
    return Template(
        id=world.new_template_id(destination),
        name=template.name,
        language=template.language,
        status="APPROVED",
        category=template.category,
        components=template.components,
        parameter_format=template.parameter_format,
        sub_category=template.sub_category,
        library_template_name=template.library_template_name,
        message_send_ttl_seconds=template.message_send_ttl_seconds,
        display_format=template.display_format,
        last_updated_time=int(world.unix()),
    )


def _around(world: World, waba: Waba, app_id: str) -> rules.Surroundings:
    def has_flow(flow_id: str) -> bool:
        flow = world.nodes.get(flow_id)
        return isinstance(flow, Flow) and flow.waba_id == waba.id

    return rules.Surroundings(
        handle_problem=lambda handle: handle_problem(world, handle, app_id),
        has_flow=has_flow,
        has_catalog=world.config.template_catalog,
        words_per_variable=world.config.template_words_per_variable,
    )


def _within(times: tuple[float, ...], after: float) -> tuple[float, ...]:
    """The moments that are later than this one."""
    return tuple(one for one in times if one > after)
