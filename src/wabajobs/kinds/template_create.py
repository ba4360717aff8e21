"""`template_create`: one new message template, or one for authentication in several languages at once.

The components come along, or from Meta's library; the file of a media header as a handle, or to be uploaded
first. It happens once: when nobody knows what became of the call, the template is looked for by its name; one
with the same content is what was asked for.

Cost: one call; with an upload two more; one more to look.
Source: developers.facebook.com/documentation/business-messaging/whatsapp/templates/template-management
"""

from datetime import datetime
from typing import Any, Final, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from wabajobs.capability import Capability
from wabajobs.errors import Conflict, InvalidCall, Transient, WrongState
from wabajobs.kinds import template_answers as answers
from wabajobs.kinds import template_content as content
from wabajobs.kinds import template_media as header
from wabajobs.kinds import template_rules as rules
from wabajobs.kinds.kind import Kind, Payload, PlannedCall, Step
from wabajobs.kinds.template_fields import Options, fields, mirrored, options_in
from wabajobs.kinds.work import Work
from wabajobs.media import MediaSource


class Wanted(Options):
    """The template. With `languages` each of them is made, or brought to these components, in one call."""

    name: rules.TemplateName
    category: rules.Category
    language: rules.Language | None = None
    languages: list[rules.Language] | None = Field(default=None, min_length=1)
    parameter_format: rules.ParameterFormat | None = None
    """How variables are written: NAMED, `{{first_name}}`, or POSITIONAL, `{{1}}`, which is also the default."""
    allow_category_change: bool | None = None
    media: MediaSource | None = None
    """The file of the header, whose component then has no example."""
    components: list[dict[str, Any]] | None = None
    library_template_name: rules.KnownName | None = None
    library_template_button_inputs: list[dict[str, Any]] | None = None
    library_template_body_inputs: dict[str, Any] | None = None

    @field_validator("components")
    @classmethod
    def _components(cls, components: Any, info: ValidationInfo) -> Any:
        rules.check_texts(components)
        if components is not None and "category" in info.data:
            named = info.data.get("parameter_format") == "NAMED"
            uploaded = info.data.get("media") is not None
            rules.check_components(components, category=info.data["category"], named=named, uploaded=uploaded)
        return components

    @field_validator("library_template_button_inputs")
    @classmethod
    def _buttons(cls, inputs: Any) -> Any:
        rules.check_texts(inputs)
        rules.check_library_buttons(inputs or ())
        return inputs

    @field_validator("library_template_body_inputs")
    @classmethod
    def _body(cls, inputs: Any) -> Any:
        rules.check_library_body(inputs or {})
        return inputs

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.language is None) == (self.languages is None):
            raise ValueError("language or languages is needed, and not both")
        if (self.components is None) == (self.library_template_name is None):
            raise ValueError("components or library_template_name is needed, and not both")
        if self.library_template_name is None:
            if self.library_template_button_inputs or self.library_template_body_inputs:
                raise ValueError("library_template_…_inputs go with a library_template_name")
        elif self.parameter_format or self.category == "MARKETING":
            raise ValueError(
                "a library_template_name goes with category UTILITY or AUTHENTICATION, and no parameter_format"
            )
        if self.languages is not None:
            self._suits_many_languages(self.languages)
        header.check(self.media, self.components)
        rules.check_ttl(self.message_send_ttl_seconds, self.category)
        return self

    def _suits_many_languages(self, languages: list[str]) -> None:
        if self.category != "AUTHENTICATION" or self.components is None:
            raise ValueError("languages goes with category AUTHENTICATION and components; else say language")
        if len(set(languages)) < len(languages):
            raise ValueError("languages has one twice")
        if self.allow_category_change is not None or self.parameter_format:
            raise ValueError("languages goes without allow_category_change and parameter_format")


# ── one language ────────────────────────────────────────────────────────────────────────────────────────────


def create(work: Work) -> dict[str, Any]:
    """Create it. What exists already with the same content is satisfied; with other content it is a conflict."""
    payload, at = work.operation.payload, work.now()
    try:
        answer = work.graph.post(f"{work.operation.waba}/message_templates", **_template(work))
    except (InvalidCall, WrongState) as error:
        if error.subcode == answers.EXISTS and (found := created(work)) is not None:
            return {**found, "was_there": True}
        header.explain(work, error)
        raise
    return _note(work, [{**answer, "language": payload["language"]}], at=at)[0]


def _template(work: Work) -> dict[str, Any]:
    template = fields(work.operation.payload)
    if "components" in template:
        template["components"] = header.with_handle(work)
    return template


def created(work: Work) -> dict[str, Any] | None:
    """Find out whether it has been created. Raises `Conflict` when what is there is not the one asked for."""
    payload, at = work.operation.payload, work.now()
    found = _find(work)
    if found is None:
        return None
    if differing := content.difference(payload, found):
        raise Conflict(
            f"template {payload['name']} exists in {payload['language']} already (id {found['id']}), with other"
            f" content: {', '.join(differing)}; edit it, or use another name",
            differing,
        )
    return _note(work, [found], at=at)[0]


def _find(work: Work) -> dict[str, Any] | None:
    """Look for it by name and language; what is being deleted does not count."""
    payload = work.operation.payload
    for one in content.of_name(work, payload["name"], options=_read(payload)):
        if one.get("language") == payload["language"]:
            return None if one.get("status") in content.GONE else one
    return None


def _read(payload: Payload) -> tuple[str, ...]:
    of_library = ("library_template_name",) if "library_template_name" in payload else ()
    return (*options_in(payload), *of_library)


# ── several languages ───────────────────────────────────────────────────────────────────────────────────────


def upsert(work: Work) -> dict[str, Any]:
    """Create or edit all languages with one call."""
    at = work.now()
    try:
        answer = work.graph.post(
            f"{work.operation.waba}/upsert_message_templates", **fields(work.operation.payload)
        )
    except WrongState as error:
        if error.subcode == answers.NOT_NOW:
            return _in_the_way(work, error)
        answers.explain(error)
        raise
    return {"templates": _note(work, answer.get("data"), at=at)}


def upserted(work: Work) -> dict[str, Any] | None:
    """Find out whether all languages are as they were asked for."""
    at = work.now()
    found = _languages(work)
    if len(found) < len(work.operation.payload["languages"]):
        return None
    if any(content.difference(work.operation.payload, one) for one in found.values()):
        return None
    return {"templates": _note(work, list(found.values()), at=at)}


def _languages(work: Work) -> dict[str, dict[str, Any]]:
    """Return those of the languages that are there, in the order in which they were asked for."""
    payload = work.operation.payload
    there = {
        one["language"]: one
        for one in content.of_name(work, payload["name"], options=options_in(payload))
        if one.get("status") not in content.GONE
    }
    return {language: there[language] for language in payload["languages"] if language in there}


def _in_the_way(work: Work, error: WrongState) -> dict[str, Any]:
    """Wait for a language that is in review; say which ones have no edit left."""
    at = work.now()
    found = _languages(work)
    others = [one for one in found.values() if content.difference(work.operation.payload, one)]
    if not others and len(found) == len(work.operation.payload["languages"]):
        return {"templates": _note(work, list(found.values()), at=at), "was_there": True}
    if any(one["status"] in answers.IN_REVIEW for one in found.values()):
        answers.wait_for_review(work, error)
    which = ", ".join(f"{one['language']} ({one['status']})" for one in others) or "one of the languages"
    raise answers.explained(error, f"Meta does not let {which} be changed now: {answers.EDITS}") from error


# ── both ────────────────────────────────────────────────────────────────────────────────────────────────────


_FACTS: Final = ("id", "language", "status", "category")


def _note(work: Work, templates: Any, *, at: datetime) -> list[dict[str, Any]]:
    """Let the mirror know what a call made `at` has told, and return the facts of each template."""
    if not isinstance(templates, list) or not all(isinstance(one.get("id"), str) for one in templates):
        raise Transient("Meta has created a template and not said which")  # the next attempt looks for it
    payload = work.operation.payload
    facts = [{name: value for name, value in one.items() if name in _FACTS} for one in templates]
    whole = [{"name": payload["name"], **mirrored(payload), **one} for one in facts]
    work.templates.note(work.operation, written=whole, at=at, now=work.now(), planner=work.settings.planner)
    return facts


def _path(edge: str) -> Any:
    return lambda _: (PlannedCall(method="POST", path=f"{{waba}}/{edge}"),)


KIND: Final = Kind(
    name="template_create",
    summary="create a message template",
    payload=Wanted,
    steps=(
        *header.steps(),
        Step(
            name="create",
            run=create,
            when=lambda payload: "languages" not in payload,
            capability=Capability.TEMPLATE_WRITES,
            calls=_path("message_templates"),
            happens_once=True,
            reads_back=created,
            undo="delete the template: template_delete with its name and hsm_id",
        ),
        Step(
            name="upsert",
            run=upsert,
            when=lambda payload: "languages" in payload,
            capability=Capability.TEMPLATE_WRITES,
            calls=_path("upsert_message_templates"),
            happens_once=True,
            reads_back=upserted,
        ),
    ),
    touches=lambda payload: f"template:{payload['name']}",
)
