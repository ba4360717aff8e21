"""The file of a template's header: which files it may be, and how its handle comes into the components."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from wabajobs.errors import GraphError, InvalidCall, MediaRefused
from wabajobs.kinds import template_answers as answers
from wabajobs.kinds import template_rules as rules
from wabajobs.kinds.kind import Payload, Step
from wabajobs.kinds.uploads import handle, renew_if_refused, upload_steps
from wabajobs.kinds.work import Work
from wabajobs.media import HEADER_DOCUMENT, HEADER_IMAGE, HEADER_VIDEO, MediaSource, Rules

FIELD: Final = "media"
_RULES: Final[Mapping[str, Rules]] = {
    "IMAGE": HEADER_IMAGE,
    "VIDEO": HEADER_VIDEO,
    "GIF": HEADER_VIDEO,  # a GIF is sent as an MP4
    "DOCUMENT": HEADER_DOCUMENT,
}


def rules_of(payload: Payload) -> Rules:
    """Return what the file of the header must be, by the header's format."""
    return _RULES[rules.media_format(payload["components"]) or "IMAGE"]


def steps() -> tuple[Step, Step]:
    """Return the steps that make a handle of the file; an operation without a file has not got them."""
    return upload_steps(FIELD, rules=rules_of)


def check(media: MediaSource | None, components: Sequence[Mapping[str, Any]] | None) -> None:
    """Refuse a file that no header waits for, or that is none for its format."""
    if media is None:
        return
    if components is None:
        raise ValueError("media goes with components that have a HEADER of format IMAGE, VIDEO, GIF or DOCUMENT")
    try:
        media.check(rules_of({"components": components}))
    except MediaRefused as refused:
        raise ValueError(f"media: {refused}") from None


def with_handle(work: Work) -> list[dict[str, Any]]:
    """Return the components that go to Meta: the header has the handle of the operation's file."""
    components: list[dict[str, Any]] = work.operation.payload["components"]
    if FIELD not in work.operation.payload:
        return components
    example = {"header_handle": [handle(work, FIELD)]}
    return [{**one, "example": example} if str(one["type"]).upper() == "HEADER" else one for one in components]


def explain(work: Work, error: GraphError) -> None:
    """Say what a refused handle means, or else what the error does; one of our own making is renewed, once.

    Raises the error with what it means; returns when Meta's words say it as well.
    """
    if not (isinstance(error, InvalidCall) and answers.refuses_handle(error)):
        answers.explain(error)
        return
    if FIELD in work.operation.payload:
        renew_if_refused(work, error, FIELD)
    raise answers.explained(
        error,
        "Meta does not take the upload's handle: it is invalid or too old, or another app than"
        f" {work.operation.app} has made it; give the file itself in `media`, or a new handle",
    ) from error
