"""`template_delete`: a template in all its languages, in one, or up to a hundred by their ids.

What is gone already is what was asked for, so the call may be made again. Meta deletes many ids together or not
at all; when some of them are gone, the list is read, and those that are left are deleted.

Cost: one call; of many ids, when some are gone, one per page of the list and one more.
Source: developers.facebook.com/documentation/business-messaging/whatsapp/templates/template-management, Delete
"""

from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, Field, model_validator

from wabajobs.capability import Capability
from wabajobs.errors import InvalidCall
from wabajobs.kinds import template_answers as answers
from wabajobs.kinds import template_content as content
from wabajobs.kinds import template_rules as rules
from wabajobs.kinds.inputs import MetaId
from wabajobs.kinds.kind import Kind, Payload, PlannedCall, Step
from wabajobs.kinds.work import Work


class Doomed(BaseModel, extra="forbid"):
    """`name` alone: all languages; with `hsm_id`: the one of that id; `hsm_ids`: those, whatever their names."""

    name: rules.KnownName | None = None
    hsm_id: MetaId | None = None
    hsm_ids: Annotated[list[MetaId], Field(min_length=1, max_length=100)] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.name is None) == (self.hsm_ids is None):
            raise ValueError("name or hsm_ids is needed, and not both")
        if self.hsm_id is not None and self.name is None:
            raise ValueError("hsm_id goes with the template's name")
        if self.hsm_ids and len(set(self.hsm_ids)) < len(self.hsm_ids):
            raise ValueError("hsm_ids has one twice")
        return self


def delete(work: Work) -> dict[str, Any]:
    """Delete what is still there, and let the mirror know."""
    payload, at = work.operation.payload, work.now()
    try:
        _delete(work, **payload)
    except InvalidCall as error:
        if error.subcode != answers.GONE:
            raise
        if "hsm_ids" in payload and (left := _left(work, payload["hsm_ids"])):
            _delete(work, hsm_ids=left)
    ids = payload.get("hsm_ids") or ([payload["hsm_id"]] if "hsm_id" in payload else [])
    work.templates.note(
        work.operation,
        deleted=ids,
        deleted_name=None if ids else payload["name"],
        at=at,
        now=work.now(),
        planner=work.settings.planner,
    )
    return {"deleted": ids or [payload["name"]], "name_blocked_until": (at + answers.NAME_BLOCKED).isoformat()}


def _delete(work: Work, **which: Any) -> None:
    work.graph.delete(f"{work.operation.waba}/message_templates", **which)


def _left(work: Work, ids: list[str]) -> list[str]:
    """Return those of the ids that are still there."""
    there = {one["id"] for one in content.listed(work, "id", "status") if one.get("status") not in content.GONE}
    return [id_ for id_ in ids if id_ in there]


def _touched(payload: Payload) -> str:
    return f"template:{payload['name']}" if "name" in payload else "templates"


KIND: Final = Kind(
    name="template_delete",
    summary="delete message templates",
    payload=Doomed,
    steps=(
        Step(
            name="delete",
            run=delete,
            capability=Capability.TEMPLATE_WRITES,
            calls=lambda _: (PlannedCall(method="DELETE", path="{waba}/message_templates"),),
        ),
    ),
    touches=_touched,
    may_change_app=True,
)
