"""Templates, seen and changed behind the client's back: by customers, and by Meta."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from wabajobs.simulator.control.actions import Action, ControlError, ControlInput, known_waba
from wabajobs.simulator.world import Template, World, template_customers
from wabajobs.simulator.world import template_life as life
from wabajobs.simulator.world import template_writes as writes
from wabajobs.simulator.world.templates import CATEGORIES, QUALITIES

if TYPE_CHECKING:
    from wabajobs.simulator.server import Simulator


class TemplatesQuery(ControlInput):
    """Query of GET templates."""

    waba: str


class TemplatesInput(ControlInput):
    """Body of POST templates.

    `add`, `remove` and `set_status` change what is there, and nobody is told. All others are what Meta does or
    lets happen, and webhooks tell of them.
    """

    action: Literal[
        "add",
        "remove",
        "set_status",
        "approve",
        "reject",
        "pause",
        "unpause",
        "disable",
        "set_quality",
        "recategorise",
        "delete",
        "archive",
        "unarchive",
        "customer",
        "customers",
    ]
    waba: str | None = None
    id: str | None = None
    name: str | None = None
    language: str = "en_US"
    status: str | None = None
    category: str = "UTILITY"
    components: list[dict[str, Any]] | None = None
    reason: str = "INVALID_FORMAT"
    """Of `reject`."""
    pacing: bool = False
    """Of `pause`: one that somebody has to lift."""
    quality: str | None = None
    notice: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Of `recategorise`: simulated seconds until it happens."""
    per_hour: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Of `customers`: changes in the whole world."""


def show_templates(simulator: Simulator, query: dict[str, Any]) -> dict[str, Any]:
    """GET templates"""
    waba = known_waba(simulator.world, TemplatesQuery.model_validate(query).waba)
    return {"templates": [_shown(template) for template in simulator.world.templates(waba.id)]}


def change_templates(simulator: Simulator, body: dict[str, Any]) -> dict[str, Any]:
    """POST templates"""
    asked = TemplatesInput.model_validate(body)
    world = simulator.world
    with world.lock:
        if asked.action == "customers":
            return _set_customers(simulator, asked)
        if asked.waba is None:
            raise ControlError(f"{asked.action} needs a waba")
        waba = known_waba(world, asked.waba)
        if asked.action == "add":
            return _shown(_add(world, waba.id, asked))
        if asked.action == "customer":
            template_customers.change(world, waba, world.random, number=world.random.randrange(10**9))
            return {"templates": len(world.listed(waba))}
        if not asked.id:
            raise ControlError(f"{asked.action} needs the id of a template")
        template = next((one for one in world.listed(waba) if one.id == asked.id), None)
        if template is None:
            raise ControlError(f"WABA {waba.id} has no template {asked.id}")
        _CHANGES[asked.action](world, waba.id, template, asked)
        return _shown(_now(world, template))


def _set_customers(simulator: Simulator, asked: TemplatesInput) -> dict[str, Any]:
    if asked.per_hour is None:
        raise ControlError("customers needs per_hour")
    simulator.limits.set(customer_changes_per_hour=asked.per_hour)
    return {"per_hour": asked.per_hour}


def _add(world: World, waba: str, asked: TemplatesInput) -> Template:
    if not asked.name:
        raise ControlError("add needs a name")
    return world.add_template(
        waba,
        name=asked.name,
        language=asked.language,
        status=asked.status or "APPROVED",
        category=asked.category,
        components=asked.components,
    )


def _set_status(world: World, waba: str, template: Template, asked: TemplatesInput) -> None:
    if not asked.status:
        raise ControlError("set_status needs a status")
    world.set_status(waba, template.id, asked.status)


def _set_quality(world: World, _: str, template: Template, asked: TemplatesInput) -> None:
    if asked.quality not in QUALITIES:
        raise ControlError(f"set_quality needs a quality: {', '.join(QUALITIES)}")
    life.set_quality(world, template.id, asked.quality)


def _recategorise(world: World, _: str, template: Template, asked: TemplatesInput) -> None:
    if asked.category not in CATEGORIES:
        raise ControlError(f"recategorise needs a category: {', '.join(CATEGORIES)}")
    life.recategorise(world, template.id, asked.category, notice=asked.notice)


def _unpause(world: World, _: str, template: Template, _asked: TemplatesInput) -> None:
    problem = life.unpause(world, template.id)
    if problem:
        raise ControlError(problem)


_CHANGES: dict[str, Callable[[World, str, Template, TemplatesInput], object]] = {
    "remove": lambda world, waba, template, _: world.remove_template(waba, template.id),
    "set_status": _set_status,
    "approve": lambda world, _, template, __: life.approve(world, template.id),
    "reject": lambda world, _, template, asked: life.reject(world, template.id, asked.reason),
    "pause": lambda world, _, template, asked: life.pause(world, template.id, pacing=asked.pacing),
    "unpause": _unpause,
    "disable": lambda world, _, template, __: life.disable(world, template.id),
    "set_quality": _set_quality,
    "recategorise": _recategorise,
    "delete": lambda world, waba, template, _: writes.delete(world, world.waba(waba), hsm_ids=[template.id]),
    "archive": lambda world, waba, template, _: life.archive(world, world.waba(waba), template),
    "unarchive": lambda world, waba, template, _: life.unarchive(world, world.waba(waba), template),
}


def _now(world: World, template: Template) -> Template:
    """The template as it is now, or as it was last when it is gone."""
    found = world.node(template.id)
    return found if isinstance(found, Template) else template


def _shown(template: Template) -> dict[str, Any]:
    return {
        "id": template.id,
        "name": template.name,
        "language": template.language,
        "status": template.status,
        "category": template.category,
        "quality": template.quality,
        "reason": template.rejected_reason,
    }


ACTIONS: dict[tuple[str, str], Action] = {
    ("GET", "templates"): show_templates,
    ("POST", "templates"): change_templates,
}
