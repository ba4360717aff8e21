"""Meta's library of templates that need no review."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from wabajobs.simulator.fields import NodeType
from wabajobs.simulator.inputs import ListInput, Text
from wabajobs.simulator.reading import edge_read
from wabajobs.simulator.routes import Context, Route
from wabajobs.simulator.world.template_library import LIBRARY, LibraryTemplate

LIBRARY_TEMPLATE = NodeType[LibraryTemplate](
    name="WhatsAppMessageTemplateLibrary",
    fields={
        "id": lambda one: one.id,
        "name": lambda one: one.name,
        "language": lambda one: one.language,
        "category": lambda one: one.category,
        "topic": lambda one: one.topic,
        "usecase": lambda one: one.usecase,
        "industry": lambda one: list(one.industry),
        "header": lambda one: one.header,
        "body": lambda one: one.body,
        "body_params": lambda one: list(one.body_params) or None,
        "body_param_types": lambda one: list(one.body_param_types) or None,
        "buttons": lambda one: [dict(button) for button in one.buttons] or None,
    },
    defaults=(
        "name",
        "language",
        "category",
        "topic",
        "usecase",
        "industry",
        "header",
        "body",
        "body_params",
        "body_param_types",
        "buttons",
        "id",
    ),
)


class LibraryInput(ListInput):
    search: Text | None = Field(default=None, description="Found in name, header or body")
    name: Text | None = None
    topic: Text | None = None
    usecase: Text | None = None
    industry: Text | None = None
    language: Text | None = None


def _found(_context: Context, asked: LibraryInput) -> Sequence[LibraryTemplate]:
    filters: dict[str, Any] = {
        name: value for name in ("name", "topic", "usecase", "language") if (value := getattr(asked, name))
    }
    search = (asked.search or "").lower()
    return [
        one
        for one in LIBRARY
        if all(getattr(one, name).lower() == value.lower() for name, value in filters.items())
        and (not asked.industry or asked.industry.upper() in one.industry)
        and search in one.searched
    ]


ROUTES = (
    Route(
        name="template_library.list",
        method="GET",
        path="/message_template_library",
        handler=edge_read(LIBRARY_TEMPLATE, _found),
        input=LibraryInput,
        capability="template_reads",
    ),
)
