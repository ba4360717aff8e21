"""`template_migration`: copy a WABA's templates to another WABA of the same business.

The operation is one of the destination. Pages are copied one after the other, and each is remembered. Meta breaks
a call off after some 30 seconds, with part of its page copied; then the page is asked for again in smaller parts.
A template that is there already is never copied again, so repeating a page is safe.

Cost: one call per page of 500, and one more when the last page is full.
Source: developers.facebook.com/documentation/business-messaging/whatsapp/templates/template-migration
"""

from typing import Annotated, Any, Final

from pydantic import BaseModel, Field, field_validator

from wabajobs.capability import Capability, ServiceClass
from wabajobs.errors import HeavyPage, InvalidRequest, SyncError, Transient
from wabajobs.kinds.inputs import MetaId
from wabajobs.kinds.kind import Kind, PlannedCall, Step
from wabajobs.kinds.work import Work

_COUNTS: Final = (500, 250, 125, 25, 5, 1)
"""How many are asked for at once. Each divides the one before, so that a smaller page can begin there too."""

_NOTHING: Final[dict[str, Any]] = {"migrated": 0, "there_already": [], "failed": {}}
_EXISTS: Final = "already exists"
"""Meta's reason for what has a namesake in the destination, perhaps from a call that was broken off."""


class Wanted(BaseModel, extra="forbid"):
    """Where the templates are now, and which of them; all of them, unless ids are given."""

    source_waba_id: MetaId
    template_ids: Annotated[list[MetaId], Field(min_length=1, max_length=6000)] | None = None

    @field_validator("template_ids")
    @classmethod
    def _distinct(cls, ids: Any) -> Any:
        if ids and len(set(ids)) < len(ids):
            raise ValueError("one is there twice")
        return ids


def copy(work: Work) -> dict[str, Any]:
    """Copy page by page, from where an earlier attempt stopped."""
    if work.operation.payload["source_waba_id"] == work.operation.waba:
        raise InvalidRequest("source_waba_id: the templates are in this WABA already")
    progress = work.progress() or {"position": 0, "count": _COUNTS[0], **_NOTHING}
    while not progress.get("complete"):
        at = work.now()
        try:
            answer = _page(work, progress)
        except Transient as error:
            if isinstance(error, HeavyPage) or error.code is None:
                progress = _lighter(progress, error)
                work.keep(progress)
            if isinstance(error, HeavyPage):
                continue
            raise
        progress = _counted(work, progress, answer)
        # What was copied, and under which ids, only a sync can tell.
        work.templates.note(work.operation, at=at, now=work.now(), planner=work.settings.planner, doubted=True)
        work.keep(progress)
    return {name: progress[name] for name in _NOTHING}


def _page(work: Work, progress: dict[str, Any]) -> dict[str, Any]:
    """Have one page copied, or the next of the ids."""
    payload, position, count = work.operation.payload, progress["position"], progress["count"]
    which: dict[str, Any] = {"page_number": position // count, "count": count}
    if "template_ids" in payload:
        which = {"template_ids": payload["template_ids"][position : position + count]}
    return work.graph.post(
        f"{work.operation.waba}/migrate_message_templates", source_waba_id=payload["source_waba_id"], **which
    )


def _lighter(progress: dict[str, Any], error: Transient) -> dict[str, Any]:
    """Ask for fewer from now on, from the same place; part of the page may have been copied."""
    place = _COUNTS.index(progress["count"]) + 1
    if place == len(_COUNTS):
        raise error  # a single template takes too long: nothing that we could do about it
    return {**progress, "count": _COUNTS[place]}


def _counted(work: Work, progress: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    """Return the progress behind a page. The list ends with the page that is not full."""
    migrated, failed = answer.get("migrated_templates"), answer.get("failed_templates")
    if not isinstance(migrated, list):
        raise SyncError("Meta's answer to a migration of templates has no `migrated_templates`")
    failed = failed if isinstance(failed, dict) else {}
    there = [id_ for id_, reason in failed.items() if _EXISTS in str(reason).lower()]
    reasons = {reason: list(ids) for reason, ids in progress["failed"].items()}
    for id_, reason in failed.items():
        if id_ not in there:
            reasons.setdefault(str(reason), []).append(id_)
    position = progress["position"] + progress["count"]
    ids = work.operation.payload.get("template_ids")
    return {
        **progress,
        "position": position,
        "migrated": progress["migrated"] + len(migrated),
        "there_already": [*progress["there_already"], *there],
        "failed": reasons,
        "complete": position >= len(ids) if ids else len(migrated) + len(failed) < progress["count"],
    }


KIND: Final = Kind(
    name="template_migration",
    summary="copy a WABA's templates to another WABA",
    payload=Wanted,
    steps=(
        Step(
            name="copy",
            run=copy,
            capability=Capability.TEMPLATE_WRITES,
            calls=lambda _: (
                PlannedCall(method="POST", path="{waba}/migrate_message_templates", note="per page of 500"),
            ),
            undo="delete the copies: template_delete",
        ),
    ),
    service_class=ServiceClass.BACKGROUND,
    one_at_a_time=True,
    may_change_app=True,
)
