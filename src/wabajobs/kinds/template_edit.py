"""`template_edit`: other components, another category or other options for a template that is there.

Meta takes edits of templates that are approved, rejected or paused; afterwards they are in review again. An
approved one can be edited once in 24 hours and ten times in 30 days, so an edit must not happen twice: when
nobody knows what became of the call, the template is read, and compared.

Cost: one call; with an upload two more; one more to look.
Source: developers.facebook.com/documentation/business-messaging/whatsapp/templates/template-management, Edit
"""

from datetime import datetime
from typing import Any, Final, Self

from pydantic import ValidationInfo, field_validator, model_validator

from wabajobs.capability import Capability
from wabajobs.errors import InvalidCall, WrongState
from wabajobs.kinds import template_answers as answers
from wabajobs.kinds import template_content as content
from wabajobs.kinds import template_media as header
from wabajobs.kinds import template_rules as rules
from wabajobs.kinds.inputs import MetaId
from wabajobs.kinds.kind import Kind, PlannedCall, Step
from wabajobs.kinds.template_fields import Options, fields, mirrored, options_in
from wabajobs.kinds.work import Work
from wabajobs.media import MediaSource


class Wanted(Options):
    """What is to be another. Components take the place of all that are there."""

    template_id: MetaId
    name: rules.KnownName
    """The template's name, so that the edit keeps its order with all else that is done to it."""
    category: rules.Category | None = None
    parameter_format: rules.ParameterFormat | None = None
    media: MediaSource | None = None
    """The file of the header, whose component then has no example."""
    components: list[dict[str, Any]] | None = None

    @field_validator("components")
    @classmethod
    def _components(cls, components: Any, info: ValidationInfo) -> Any:
        rules.check_texts(components)
        if components is not None and "category" in info.data:
            category = info.data["category"] or rules.seeming_category(components)
            named = info.data.get("parameter_format") == "NAMED"
            uploaded = info.data.get("media") is not None
            rules.check_components(components, category=category, named=named, uploaded=uploaded)
        return components

    @model_validator(mode="after")
    def _is_an_edit(self) -> Self:
        if self.components is None and self.category is None and not self._options():
            raise ValueError("nothing is to be changed: components, category or an option is needed")
        if self.parameter_format and self.components is None:
            raise ValueError("parameter_format goes with components")
        header.check(self.media, self.components)
        rules.check_ttl(self.message_send_ttl_seconds, self.category)
        return self

    def _options(self) -> bool:
        return any(getattr(self, name) is not None for name in Options.model_fields)


def edit(work: Work) -> dict[str, Any]:
    """Edit it."""
    payload, at = work.operation.payload, work.now()
    work.checkpoint(
        {**work.progress(), "since": at.isoformat()}
    )  # it is written when the call is marked as begun
    try:
        work.graph.post(payload["template_id"], **_changes(work))
    except (InvalidCall, WrongState) as error:
        if error.subcode == answers.NOT_NOW:
            return _not_now(work, error)
        header.explain(work, error)
        raise
    return _edited(work, at=at, status="PENDING" if {"components", "category"} & payload.keys() else None)


def _changes(work: Work) -> dict[str, Any]:
    changes = fields(work.operation.payload, "name")
    if "components" in changes:
        changes["components"] = header.with_handle(work)
    return changes


def edited(work: Work) -> dict[str, Any] | None:
    """Find out whether it has been edited: then it is as it was asked for, and was changed since."""
    at = work.now()
    found = _look(work)
    if found is None or content.difference(work.operation.payload, found) or not _changed_since(work, found):
        return None
    return _edited(work, at=at, status=found["status"])


def _look(work: Work) -> dict[str, Any] | None:
    payload = work.operation.payload
    return content.by_id(work, payload["template_id"], options=("last_updated_time", *options_in(payload)))


def _changed_since(work: Work, found: dict[str, Any]) -> bool:
    """Whether it was changed after our call began. Of another file, or another example, nothing else tells."""
    updated = found.get("last_updated_time")
    if not isinstance(updated, int):
        return True
    since = datetime.fromisoformat(work.progress()["since"]).timestamp()
    return updated >= since - work.settings.planner.clock_margin_seconds


def _not_now(work: Work, error: InvalidCall | WrongState) -> dict[str, Any]:
    """Meta has one subcode for several reasons; the template's state tells which."""
    at = work.now()
    found = _look(work)
    if found is None:
        raise error
    files = content.shows_files(work.operation.payload.get("components", ()))
    if not files and not content.difference(work.operation.payload, found):
        return {**_edited(work, at=at, status=found["status"]), "was_there": True}
    status = found["status"]
    if status in answers.IN_REVIEW:
        answers.wait_for_review(work, error)
    if status in answers.EDITABLE:
        raise answers.explained(
            error, f"this template is {status} and has no edit left: {answers.EDITS}"
        ) from error
    raise answers.explained(
        error, f"this template is {status}; Meta lets only approved, rejected and paused ones be edited"
    ) from error


def _edited(work: Work, *, at: datetime, status: str | None) -> dict[str, Any]:
    """Let the mirror know, and return the facts."""
    payload = work.operation.payload
    facts = {"id": payload["template_id"], **({"status": status} if status else {})}
    written = {**mirrored(payload), **facts}
    work.templates.note(work.operation, written=[written], at=at, now=work.now(), planner=work.settings.planner)
    return facts


KIND: Final = Kind(
    name="template_edit",
    summary="edit a message template",
    payload=Wanted,
    steps=(
        *header.steps(),
        Step(
            name="edit",
            run=edit,
            capability=Capability.TEMPLATE_WRITES,
            calls=lambda _: (PlannedCall(method="POST", path="{template_id}"),),
            happens_once=True,
            reads_back=edited,
        ),
    ),
    touches=lambda payload: f"template:{payload['name']}",
)
