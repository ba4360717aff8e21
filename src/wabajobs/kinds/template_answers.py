"""What Meta's refusals of template writes mean to a person, and how long one is worth waiting for."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, NoReturn

from wabajobs.errors import GraphError, Held
from wabajobs.kinds.work import Work

EXISTS: Final = 2388024
NOT_NOW: Final = 2388039
GONE: Final = 2593002
"""There is no such template. Meta's table of codes lacks it; its answers have it."""

IN_REVIEW: Final = frozenset({"PENDING", "IN_APPEAL"})
EDITABLE: Final = frozenset({"APPROVED", "REJECTED", "PAUSED"})

EDITS: Final = "an approved template can be edited once in 24 hours, and ten times in 30 days"
"""developers.facebook.com/documentation/business-messaging/whatsapp/templates/template-management, Edit"""

NAME_BLOCKED: Final = timedelta(days=30)
"""For how long Meta refuses the name of a deleted template that was approved.

developers.facebook.com/documentation/business-messaging/whatsapp/templates/template-management, Delete
"""

_FIRST_LOOK: Final = timedelta(minutes=10)
_LONGEST_LOOK: Final = timedelta(hours=2)
_REVIEW_MOST: Final = timedelta(hours=48)
"""Twice what Meta says that a review may take."""

_MEANING: Final = {
    2388019: "this WABA has as many templates as Meta lets it have; delete some first",
    2388023: (
        "this name and language belong to a template that is being deleted, or was approved and then deleted less"
        f" than {NAME_BLOCKED.days} days ago: until then Meta takes it for no new one; use another name"
    ),
}


def explained(error: GraphError, meaning: str) -> GraphError:
    """Return the error with what it means to a person before what Meta said; its evidence stays."""
    return replace(error, message=f"{meaning}. Meta says: {error.message}")


def explain(error: GraphError) -> None:
    """Raise the error with what it means to a person; return when Meta's words say it as well."""
    if meaning := _MEANING.get(error.subcode or 0):
        raise explained(error, meaning) from error


def refuses_handle(error: GraphError) -> bool:
    """Whether Meta does not take an upload's handle: invalid, expired, or another app's."""
    said = f"{error.message} {error.details or ''}".lower()
    return error.code == 100 and (error.subcode == 2388273 or "handle" in said)


def wait_for_review(work: Work, error: GraphError) -> NoReturn:
    """Hold the operation until the template's review may be over; fail it when that takes unheard-of long."""
    now = work.now()
    since = datetime.fromisoformat(work.progress().get("in_review_since", now.isoformat()))
    if now - since > _REVIEW_MOST:
        raise explained(error, f"the template is in review since {since:%Y-%m-%d %H:%M} UTC, and not decided yet")
    work.keep({**work.progress(), "in_review_since": since.isoformat()})
    wait = min(max(_FIRST_LOOK, now - since), _LONGEST_LOOK)
    raise Held(reason="the template is in review at Meta, and cannot be changed before", by="meta", wait=wait)
