"""Message templates of a WABA: listing, creating, editing, deleting, archiving, copying."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from wabajobs.simulator.errors import bad_parameter, no_such_object, too_much_data
from wabajobs.simulator.inputs import Flag, Input, ListInput, NodeInput, Nothing, Objects, Text, Whole, Words
from wabajobs.simulator.paging import Page, answer, page_size
from wabajobs.simulator.routes import Context, Route
from wabajobs.simulator.world import Waba, World
from wabajobs.simulator.world import template_library as library
from wabajobs.simulator.world import template_life as life
from wabajobs.simulator.world import template_writes as writes
from wabajobs.simulator.world.templates import (
    CATEGORIES,
    QUALITIES,
    SOURCES,
    STATUSES,
    Template,
    planned,
    render,
    words_of,
)

_SUMMARIES = ("total_count", "message_template_count", "message_template_limit", "are_translations_complete")
_DAY = 86_400
_COMPARED_DAYS = (7, 30, 60, 90)
_BLOCK_REASONS = ("UNKNOWN_BLOCK_REASON", "NO_LONGER_NEEDED", "DIDNT_SIGN_UP", "SPAM", "NO_REASON_GIVEN")


def _capitals(value: Any) -> Any:
    value = value[-1] if isinstance(value, list) and value else value
    return value.upper() if isinstance(value, str) else value


Category = Annotated[Literal["AUTHENTICATION", "MARKETING", "UTILITY"], BeforeValidator(_capitals)]
ParameterFormat = Annotated[Literal["NAMED", "POSITIONAL"], BeforeValidator(_capitals)]


# Reading


class TemplateListInput(ListInput):
    name: Text | None = Field(default=None, description="The whole name")
    content: Text | None = Field(default=None, description="Found in the texts of the template")
    name_or_content: Text | None = Field(default=None, description="Found in the name or in the texts")
    status: Words | None = None
    category: Words | None = None
    language: Words | None = None
    quality_score: Words | None = None
    since: Whole | None = Field(default=None, description="Unix time; changed then or later")
    until: Whole | None = Field(default=None, description="Unix time; changed then or earlier")
    source: Words | None = Field(default=None, description="Who made it: MANUAL or AUTO_GENERATED")


def list_templates(context: Context, asked: TemplateListInput) -> bytes:
    """GET /{waba}/message_templates

    To which time `since` and `until` apply is documented nowhere; here it is that of the last change.
    """
    plan = planned(asked.fields)
    size = page_size(context)
    summary = _summary_asked(asked.summary)
    waba = context.seen(Waba)
    every = context.world.listed(waba)
    templates = _matching(every, asked)
    page = Page.asked(context, total=len(templates), size=size)
    if waba.heavy_over is not None and size > waba.heavy_over:
        raise too_much_data()
    data = "[" + ",".join([render(one, plan) for one in templates[page.start : page.stop]]) + "]"
    told = ""
    if summary:
        told = _summary(summary, context.world, waba, every=len(every), matching=len(templates))
    return answer(data, page.links(context), summary=told)


Test = Callable[[Template], bool]


def _matching(templates: Sequence[Template], asked: TemplateListInput) -> Sequence[Template]:
    """The templates that pass the call's filters."""
    for test in _tests(asked):
        templates = [one for one in templates if test(one)]
    return templates


def _tests(asked: TemplateListInput) -> list[Test]:
    tests: list[Test] = []
    if name := asked.name:
        tests.append(lambda one: one.name == name)
    if statuses := _enumerated("status", asked.status, STATUSES):
        tests.append(lambda one: one.status in statuses)
    if categories := _enumerated("category", asked.category, CATEGORIES):
        tests.append(lambda one: one.category in categories)
    if qualities := _enumerated("quality_score", asked.quality_score, QUALITIES):
        tests.append(lambda one: one.quality in qualities)
    if sources := _enumerated("source", asked.source, SOURCES):
        tests.append(lambda one: one.source in sources)
    if asked.language:
        languages = set(asked.language)
        tests.append(lambda one: one.language in languages)
    if (since := asked.since) is not None:
        tests.append(lambda one: one.last_updated_time >= since)
    if (until := asked.until) is not None:
        tests.append(lambda one: one.last_updated_time <= until)
    if content := (asked.content or "").lower():
        tests.append(lambda one: content in words_of(one.components))
    if either := (asked.name_or_content or "").lower():
        tests.append(lambda one: either in one.name or either in words_of(one.components))
    return tests


def _enumerated(name: str, values: list[str] | None, allowed: tuple[str, ...]) -> set[str]:
    if not values:
        return set()
    wanted = {value.upper() for value in values}
    if wanted - set(allowed):
        raise bad_parameter(f"Param {name}[0] must be one of {{{', '.join(allowed)}}}")
    return wanted


def _summary_asked(asked: list[str] | None) -> list[str]:
    if not asked:
        return []
    if asked in (["true"], ["1"], ["True"]):
        return ["total_count"]
    if set(asked) - set(_SUMMARIES):
        raise bad_parameter(f"Param summary must be some of {{{', '.join(_SUMMARIES)}}}")
    return asked


def _summary(asked: list[str], world: World, waba: Waba, *, every: int, matching: int) -> str:
    known = {
        "total_count": matching,
        "message_template_count": every,
        "message_template_limit": writes.limit_of(world, waba),
        "are_translations_complete": False,
    }
    return json.dumps({name: known[name] for name in asked})


def get_template(context: Context, asked: NodeInput) -> bytes:
    """GET /{template}"""
    plan = planned(asked.fields)
    return render(_seen(context), plan).encode()


def _seen(context: Context) -> Template:
    """The template, as it was if reads are stale."""
    template = context.the(Template)
    waba = context.world.waba_of(template)
    if context.as_of is None or waba is None:
        return template
    before = context.world.seen(waba, context.as_of)
    for one in context.world.listed(before):
        if one.id == template.id:
            return one
    raise no_such_object(context.call.method, template.id)


class CompareInput(Input):
    template_ids: Words = Field(description="Id of the one other template")
    start: Whole = Field(description="Unix time; 7, 30, 60 or 90 days before the end")
    end: Whole = Field(description="Unix time")


def compare(context: Context, asked: CompareInput) -> dict[str, Any]:
    """GET /{template}/compare

    https://developers.facebook.com/documentation/business-messaging/whatsapp/templates/template-comparison
    Nobody sends messages here, so the numbers are invented, the same every time. Meta's own example has
    milliseconds, which are taken too.
    """
    template = context.the(Template)
    waba = context.world.waba_of(template)
    if waba is None or len(asked.template_ids) != 1:
        raise bad_parameter("Only two templates can be compared at a time")
    other = context.world.node(asked.template_ids[0])
    if not isinstance(other, Template) or context.world.waba_of(other) is not waba:
        raise bad_parameter("Both templates must be in the same WhatsApp Business Account")
    seconds = (asked.end - asked.start) / (1000 if asked.start > 10**11 else 1)
    if not any(abs(seconds - days * _DAY) < _DAY / 2 for days in _COMPARED_DAYS):
        raise bad_parameter("The time between start and end must be 7, 30, 60 or 90 days")
    compared = {one: Random(f"{context.config.seed}:compared:{one}") for one in (template.id, other.id)}
    sends = {one: random.randint(1000, 9999) for one, random in compared.items()}
    rates = {one: random.random() for one, random in compared.items()}
    reasons = {one: random.choice(_BLOCK_REASONS) for one, random in compared.items()}
    return {
        "data": [
            {
                "metric": "BLOCK_RATE",
                "type": "RELATIVE",
                "order_by_relative_metric": sorted(rates, key=rates.__getitem__),
            },
            {"metric": "MESSAGE_SENDS", "type": "NUMBER_VALUES", "number_values": _pairs(sends)},
            {"metric": "TOP_BLOCK_REASON", "type": "STRING_VALUES", "string_values": _pairs(reasons)},
        ]
    }


def _pairs(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value} for key, value in values.items()]


# Creating and editing


class OptionsInput(Input):
    """What a template has besides its name and its components."""

    message_send_ttl_seconds: Whole | None = Field(
        default=None, description="How long delivery is tried; -1 stands for 30 days"
    )
    sub_category: Text | None = None
    display_format: Text | None = None
    cta_url_link_tracking_opted_out: Flag | None = None
    is_primary_device_delivery_only: Flag | None = None

    def options(self) -> dict[str, Any]:
        """Those that were given."""
        names = OptionsInput.model_fields
        return {name: value for name in names if (value := getattr(self, name)) is not None}


class CreateInput(OptionsInput):
    name: Text = Field(description="Lowercase letters, digits and underscores, at most 512")
    language: Text = Field(description="Such as en_US")
    category: Category
    components: Objects | None = Field(default=None, description="Needed unless it comes from the library")
    parameter_format: ParameterFormat = "POSITIONAL"
    allow_category_change: Flag = Field(default=False, description="Whether Meta may choose another category")
    library_template_name: Text | None = Field(default=None, description="Make it of this one of the library")
    library_template_button_inputs: Objects | None = None
    library_template_body_inputs: Any = None


def create(context: Context, asked: CreateInput) -> dict[str, Any]:
    """POST /{waba}/message_templates"""
    world, waba = context.world, context.the(Waba)
    draft = writes.Draft(
        name=asked.name,
        language=asked.language,
        category=asked.category,
        components=asked.components or [],
        parameter_format=asked.parameter_format,
        allow_category_change=asked.allow_category_change,
        options=asked.options(),
    )
    if asked.library_template_name is not None:
        chosen = library.found(asked.library_template_name, asked.language, asked.category)
        components = library.components_of(chosen, asked.library_template_button_inputs or [])
        template = writes.create_from_library(world, waba, draft, library_name=chosen.name, components=components)
    elif asked.components is None:
        raise bad_parameter("The parameter components is required.")
    else:
        template = writes.create(world, waba, draft, app_id=context.app.id)
    _effect(context, "template_created", waba, template)
    return {"id": template.id, "status": template.status, "category": template.category}


def _effect(context: Context, kind: str, waba: Waba, template: Template, **details: Any) -> None:
    context.effect(kind, f"{waba.id}/{template.name}/{template.language}", id=template.id, **details)


class EditInput(OptionsInput):
    category: Category | None = None
    components: Objects | None = Field(default=None, description="All of them; what is not there is gone")
    parameter_format: ParameterFormat | None = None


def edit(context: Context, asked: EditInput) -> dict[str, Any]:
    """POST /{template}

    The answer has more than the `success` of Meta's page, because the OpenAPI description and clients have it.
    """
    waba, template = life.located(context.world, context.the(Template).id)
    template = writes.count_write(context.world, waba, template)
    options = asked.options()
    if asked.components is None and asked.category is None and not options:
        raise bad_parameter("At least one of the parameters components, category is required.")
    edited = writes.edit(
        context.world,
        waba,
        template,
        app_id=context.app.id,
        components=asked.components,
        category=asked.category,
        parameter_format=asked.parameter_format,
        options=options,
    )
    _effect(context, "template_edited", waba, edited, status=edited.status)
    return {"success": True, "id": edited.id, "name": edited.name, "category": edited.category}


def unpause(context: Context, _asked: Nothing) -> dict[str, Any]:
    """POST /{template}/unpause"""
    template = context.the(Template)
    reason = life.unpause(context.world, template.id)
    if reason is None:
        return {"success": True}
    context.remarks.idle = template.status != "PAUSED"
    return {"success": False, "reason": reason}


class UpsertInput(OptionsInput):
    name: Text
    languages: Words = Field(description="Such as en_US, de")
    category: Annotated[Literal["AUTHENTICATION"], BeforeValidator(_capitals)]
    components: Objects


def upsert(context: Context, asked: UpsertInput) -> dict[str, Any]:
    """POST /{waba}/upsert_message_templates"""
    waba = context.the(Waba)
    drafts = [
        writes.Draft(
            name=asked.name,
            language=language,
            category=asked.category,
            components=asked.components,
            options=asked.options(),
        )
        for language in dict.fromkeys(asked.languages)
    ]
    if not drafts:
        raise bad_parameter("The parameter languages is required.")
    done = writes.upsert(context.world, waba, drafts, app_id=context.app.id)
    for template, what in done:
        if what:
            _effect(context, what, waba, template)
    context.remarks.idle = not any(what for _, what in done)
    return {
        "data": [
            {"id": one.id, "status": one.status, "language": one.language, "category": one.category}
            for one, _ in done
        ]
    }


# Deleting, archiving, copying


class DeleteInput(Input):
    name: Text | None = Field(default=None, description="Deletes all languages")
    hsm_id: Text | None = Field(default=None, description="Deletes one language, together with its name")
    hsm_ids: Words | None = Field(default=None, description="At most 100; all of them are deleted or none")


def delete(context: Context, asked: DeleteInput) -> dict[str, Any]:
    """DELETE /{waba}/message_templates"""
    waba = context.the(Waba)
    deleted = writes.delete(
        context.world, waba, name=asked.name or None, hsm_id=asked.hsm_id or None, hsm_ids=asked.hsm_ids
    )
    for template in deleted:
        _effect(context, "template_deleted", waba, template)
    context.remarks.idle = not deleted
    return {"success": True}


class ArchiveInput(Input):
    hsm_ids: Words = Field(description="At most 100")


def archive(context: Context, asked: ArchiveInput) -> dict[str, Any]:
    """POST /{waba}/message_templates/archive; at Meta on the host api.facebook.com, without a version"""
    done, failed = writes.archive(context.world, context.the(Waba), asked.hsm_ids)
    return {"archived_templates": done, "failed_templates": failed}


def unarchive(context: Context, asked: ArchiveInput) -> dict[str, Any]:
    """POST /{waba}/message_templates/unarchive; at Meta on the host api.facebook.com, without a version"""
    done, failed = writes.unarchive(context.world, context.the(Waba), asked.hsm_ids)
    return {"unarchived_templates": done, "failed_templates": failed}


class MigrateInput(Input):
    source_waba_id: Text
    page_number: Whole = Field(default=0, ge=0, le=100_000, description="From 0, in pages of `count`")
    count: Whole = Field(default=writes.MIGRATED_AT_ONCE_MOST, ge=1, le=writes.MIGRATED_AT_ONCE_MOST)
    template_ids: Words | None = Field(default=None, description="At most 500, in place of a page")


def migrate(context: Context, asked: MigrateInput) -> dict[str, Any]:
    """POST /{waba}/migrate_message_templates

    A call whose time is up fails, as Meta's does after 30 seconds, but what it copied so far is there.
    """
    destination = context.the(Waba)
    source = context.world.node(asked.source_waba_id)
    reachable = isinstance(source, Waba) and context.token and context.world.may(context.token, source)
    if not isinstance(source, Waba) or not reachable:
        raise no_such_object(context.call.method, asked.source_waba_id[:100])
    if asked.template_ids and len(asked.template_ids) > writes.MIGRATED_AT_ONCE_MOST:
        raise bad_parameter(f"Param template_ids must have at most {writes.MIGRATED_AT_ONCE_MOST} items")
    done = writes.migrate(
        context.world,
        source,
        destination,
        page=asked.page_number,
        count=asked.count,
        ids=asked.template_ids,
    )
    for template, copy in done.copies:
        _effect(context, "template_migrated", destination, copy, source=template.id)
    if done.timed_out:
        raise too_much_data()
    context.remarks.idle = not done.copies
    of_source = context.config.template_migrated_ids == "source"
    return {
        "migrated_templates": [(template if of_source else copy).id for template, copy in done.copies],
        "failed_templates": done.failed,
    }


ROUTES = (
    Route(
        name="message_templates.list",
        method="GET",
        path="/{waba}/message_templates",
        handler=list_templates,
        input=TemplateListInput,
        capability="template_reads",
        charges="waba",
        tagged=True,
    ),
    Route(
        name="message_templates.create",
        method="POST",
        path="/{waba}/message_templates",
        handler=create,
        input=CreateInput,
        capability="template_writes",
        charges="waba",
    ),
    Route(
        name="message_templates.delete",
        method="DELETE",
        path="/{waba}/message_templates",
        handler=delete,
        input=DeleteInput,
        capability="template_writes",
        charges="waba",
    ),
    Route(
        name="template.get",
        method="GET",
        path="/{template}",
        handler=get_template,
        input=NodeInput,
        capability="template_reads",
        charges="waba",
        tagged=True,
    ),
    Route(
        name="template.edit",
        method="POST",
        path="/{template}",
        handler=edit,
        input=EditInput,
        capability="template_writes",
    ),
    Route(
        name="template.unpause",
        method="POST",
        path="/{template}/unpause",
        handler=unpause,
        capability="template_writes",
    ),
    Route(
        name="template.compare",
        method="GET",
        path="/{template}/compare",
        handler=compare,
        input=CompareInput,
        capability="template_reads",
    ),
    Route(
        name="message_templates.upsert",
        method="POST",
        path="/{waba}/upsert_message_templates",
        handler=upsert,
        input=UpsertInput,
        capability="template_writes",
    ),
    Route(
        name="message_templates.archive",
        method="POST",
        path="/{waba}/message_templates/archive",
        handler=archive,
        input=ArchiveInput,
        capability="template_writes",
    ),
    Route(
        name="message_templates.unarchive",
        method="POST",
        path="/{waba}/message_templates/unarchive",
        handler=unarchive,
        input=ArchiveInput,
        capability="template_writes",
    ),
    Route(
        name="message_templates.migrate",
        method="POST",
        path="/{waba}/migrate_message_templates",
        handler=migrate,
        input=MigrateInput,
        capability="template_writes",
    ),
)
