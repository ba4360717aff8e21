"""Message templates of a WABA."""

from __future__ import annotations

import json
from collections.abc import Sequence

from wabajobs.simulator.calls import Parameters
from wabajobs.simulator.errors import bad_parameter, too_much_data
from wabajobs.simulator.inputs import ListInput, Text, Words
from wabajobs.simulator.paging import Page, answer, page_size
from wabajobs.simulator.routes import Context, Route
from wabajobs.simulator.world import Waba
from wabajobs.simulator.world.templates import CATEGORIES, STATUSES, Template, names_asked, render

_SUMMARIES = ("total_count", "message_template_count", "message_template_limit", "are_translations_complete")


class TemplateListInput(ListInput):
    name: Text | None = None
    status: Words | None = None
    category: Words | None = None
    language: Words | None = None


def list_templates(context: Context, _asked: TemplateListInput) -> bytes:
    """GET /{waba}/message_templates"""
    parameters = context.parameters
    fields = names_asked(parameters.one("fields"))
    size = page_size(context)
    summary = _summary_asked(parameters)
    waba = context.seen(Waba)
    every = context.world.listed(waba)
    templates = _matching(every, parameters)
    page = Page.asked(context, total=len(templates), size=size)
    if waba.heavy_over is not None and size > waba.heavy_over:
        raise too_much_data()
    data = "[" + ",".join([render(one, fields) for one in templates[page.start : page.stop]]) + "]"
    return answer(
        data,
        page.links(context),
        summary=_summary(summary, waba=waba, every=len(every), matching=len(templates)),
    )


def _matching(templates: Sequence[Template], parameters: Parameters) -> Sequence[Template]:
    """The templates that pass the call's filters."""
    name = parameters.one("name")
    statuses = _enumerated(parameters, "status", STATUSES)
    categories = _enumerated(parameters, "category", CATEGORIES)
    languages = set(parameters.many("language"))
    if not (name or statuses or categories or languages):
        return templates
    return [
        one
        for one in templates
        if (not name or one.name == name)
        and (not statuses or one.status in statuses)
        and (not categories or one.category in categories)
        and (not languages or one.language in languages)
    ]


def _enumerated(parameters: Parameters, name: str, allowed: tuple[str, ...]) -> set[str]:
    values = {value.upper() for value in parameters.many(name)}
    if values - set(allowed):
        raise bad_parameter(f"Param {name}[0] must be one of {{{', '.join(allowed)}}}")
    return values


def _summary_asked(parameters: Parameters) -> list[str]:
    asked = parameters.many("summary")
    if asked in (["true"], ["1"]):
        return ["total_count"]
    if set(asked) - set(_SUMMARIES):
        raise bad_parameter(f"Param summary must be some of {{{', '.join(_SUMMARIES)}}}")
    return asked


def _summary(asked: list[str], *, waba: Waba, every: int, matching: int) -> str:
    if not asked:
        return ""
    known = {
        "total_count": matching,
        "message_template_count": every,
        # A business whose display name was never approved stays at the small quota.
        "message_template_limit": 6000 if waba.active else 250,
        "are_translations_complete": False,
    }
    return json.dumps({name: known[name] for name in asked})


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
)
