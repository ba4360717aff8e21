"""Templates, seen and changed behind the client's back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from wabajobs.simulator.control.actions import Action, ControlError, ControlInput, known_waba
from wabajobs.simulator.world import Template

if TYPE_CHECKING:
    from wabajobs.simulator.server import Simulator


class TemplatesQuery(ControlInput):
    """Query of GET templates."""

    waba: str


class TemplatesInput(ControlInput):
    """Body of POST templates."""

    action: Literal["add", "remove", "set_status"]
    waba: str
    id: str | None = None
    name: str | None = None
    language: str = "en_US"
    status: str | None = None
    category: str = "UTILITY"
    components: list[dict[str, Any]] | None = None


def show_templates(simulator: Simulator, query: dict[str, Any]) -> dict[str, Any]:
    """GET templates"""
    waba = known_waba(simulator.world, TemplatesQuery.model_validate(query).waba)
    return {"templates": [_shown(template) for template in simulator.world.templates(waba.id)]}


def change_templates(simulator: Simulator, body: dict[str, Any]) -> dict[str, Any]:
    """POST templates"""
    asked = TemplatesInput.model_validate(body)
    waba = known_waba(simulator.world, asked.waba).id
    if asked.action == "add":
        if not asked.name:
            raise ControlError("add needs a name")
        template = simulator.world.add_template(
            waba,
            name=asked.name,
            language=asked.language,
            status=asked.status or "APPROVED",
            category=asked.category,
            components=asked.components,
        )
        return _shown(template)
    if not asked.id:
        raise ControlError(f"{asked.action} needs the id of a template")
    try:
        if asked.action == "remove":
            return _shown(simulator.world.remove_template(waba, asked.id))
        if not asked.status:
            raise ControlError("set_status needs a status")
        return _shown(simulator.world.set_status(waba, asked.id, asked.status))
    except KeyError as error:
        raise ControlError(f"WABA {waba} has no template {asked.id}") from error


def _shown(template: Template) -> dict[str, Any]:
    return {
        "id": template.id,
        "name": template.name,
        "language": template.language,
        "status": template.status,
        "category": template.category,
    }


ACTIONS: dict[tuple[str, str], Action] = {
    ("GET", "templates"): show_templates,
    ("POST", "templates"): change_templates,
}
