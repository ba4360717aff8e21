"""`template_sync`: keep our mirror of a WABA's message templates true.

Two steps. *read* goes through `GET /{waba}/message_templates` page by page and keeps each page aside,
together with the cursor behind it; a pause, a limit or a crash goes on from there. *swap* puts the whole new
list in the place of the old one and records what was added, changed and removed. Until then yesterday's list
stands untouched.

Cost: as many calls as the list has pages; one for most WABAs.
Source: Graph API reference, WhatsApp Business Account, message_templates edge.
"""

from datetime import datetime
from typing import Any, Final

from wabajobs.capability import Capability, ServiceClass
from wabajobs.decisions import PauseMode
from wabajobs.errors import GraphError, HeavyPage, InvalidCall, SyncError
from wabajobs.kinds.kind import Kind, PlannedCall, Step
from wabajobs.kinds.work import Work
from wabajobs.operation import Order

FIELDS: Final = (
    "id",
    "name",
    "language",
    "status",
    "category",
    "sub_category",
    "previous_category",
    "parameter_format",
    "components",
    "quality_score",
    "rejected_reason",
)
"""What we ask for. Without the list Meta leaves out quality and the reason of a rejection."""

_NEEDED: Final = ("id", "name", "language", "status", "category")


def read(work: Work) -> dict[str, Any]:
    """Read all pages, from where an earlier attempt stopped."""
    taken_up = _taken_up(work)
    progress = taken_up or _start(work)
    while not progress.get("complete"):
        try:
            asked_at = work.now()
            answer = _page(work, progress)
            progress = _stage(work, progress, answer, asked_at)
        except HeavyPage as error:
            progress = _lighter(progress, error)
            work.keep(progress)
        except (GraphError, SyncError) as error:
            if isinstance(error, InvalidCall) and progress is taken_up:
                # Meta forgets cursors after a while. One that we have just been given it has not forgotten.
                progress = {**_start(work), "calls": progress["calls"] + 1}
                work.keep(progress)
                continue
            # An attempt is stamped also when it fails: who looks for stale lists must not pick this one
            # again at once.
            work.templates.mark_attempt(work.operation, now=work.now(), error=str(error))
            raise
    return {name: progress[name] for name in ("pages", "calls", "page_size")}


def swap(work: Work) -> dict[str, Any]:
    """Put the staged list in the place of the old one, once: its outcome is kept in the same transaction."""
    if swapped := work.progress().get("swapped"):
        return dict(swapped)
    return work.templates.swap(
        work.operation,
        checkpoint=lambda counted: work.checkpoint({"swapped": counted}),
        page_size=work.results["page_size"],
        now=work.now(),
        calls=work.results["calls"],
        planner=work.settings.planner,
    )


def _taken_up(work: Work) -> dict[str, Any] | None:
    """Return an earlier attempt's progress, unless it is so old that its pages and the next would not fit."""
    progress = work.progress()
    if not progress:
        return None
    age = work.now() - datetime.fromisoformat(progress["at"])
    return progress if age.total_seconds() < work.settings.template_sync.take_up_within_seconds else None


def _start(work: Work) -> dict[str, Any]:
    assert work.operation.waba is not None  # noqa: S101 (refused at the edge otherwise)
    size = work.templates.page_size(work.operation.waba)
    wanted = work.settings.template_sync.page_size
    # Where Meta refused a page as too heavy last time, begin below our wish and climb by doubling.
    return {
        "pages": 0,
        "calls": 0,
        "cursor": None,
        "page_size": min(wanted, size * 2) if size else wanted,
        "at": work.now().isoformat(),
    }


def _page(work: Work, progress: dict[str, Any]) -> dict[str, Any]:
    # The next page is asked for by cursor; Meta's ready-made `next` link would carry the token.
    return work.graph.get(
        f"{work.operation.waba}/message_templates",
        fields=",".join(FIELDS),
        limit=progress["page_size"],
        after=progress["cursor"],
    )


def _lighter(progress: dict[str, Any], error: HeavyPage) -> dict[str, Any]:
    if progress["page_size"] == 1:
        raise error  # a single template is too heavy: nothing that we could do about it
    return {**progress, "page_size": progress["page_size"] // 2, "calls": progress["calls"] + 1}


def _stage(work: Work, progress: dict[str, Any], answer: dict[str, Any], asked_at: datetime) -> dict[str, Any]:
    """Keep a page and return the progress behind it. Raises `SyncError` for a list that never ends."""
    templates = _templates(answer)
    cursor = _next_cursor(answer)
    page = progress["pages"]
    if page >= work.settings.template_sync.max_pages:
        raise SyncError(
            f"the template list of WABA {work.operation.waba} has more than {page} pages of"
            f" {progress['page_size']}: not read further ([template_sync] max_pages)"
        )
    progress = {
        **progress,
        "pages": page + 1,
        "calls": progress["calls"] + 1,
        "cursor": cursor,
        "complete": cursor is None,
        "at": work.now().isoformat(),
    }
    fresh = work.templates.stage(
        work.operation,
        page=page,
        templates=templates,
        checkpoint=work.checkpoint(progress),
        cursor=cursor,
        capability=Capability.TEMPLATE_READS,
        read_at=asked_at,
    )
    if not fresh:
        raise SyncError(
            f"the template list of WABA {work.operation.waba} goes in circles: page {page + 1} leads back"
            " to a cursor that was there before"
        )
    return progress


def _templates(answer: dict[str, Any]) -> list[dict[str, Any]]:
    templates = answer.get("data")
    if not isinstance(templates, list):
        raise SyncError("Meta's answer to a template list has no `data`")
    for template in templates:
        if not isinstance(template, dict) or not all(isinstance(template.get(n), str) for n in _NEEDED):
            raise SyncError(f"Meta's template list has an entry without one of {', '.join(_NEEDED)}")
    return templates


def _next_cursor(answer: dict[str, Any]) -> str | None:
    """Return the cursor of the next page. The list ends where `next` is missing, cursors or not."""
    paging = answer.get("paging")
    if not isinstance(paging, dict) or "next" not in paging:
        return None
    cursors = paging.get("cursors")
    after = cursors.get("after") if isinstance(cursors, dict) else None
    if not isinstance(after, str) or not after:
        raise SyncError("Meta says that there is a next page, and gives no cursor for it")
    return after


KIND: Final = Kind(
    name="template_sync",
    summary="mirror a WABA's message templates",
    steps=(
        Step(
            name="read",
            run=read,
            capability=Capability.TEMPLATE_READS,
            calls=lambda _: (PlannedCall(method="GET", path="{waba}/message_templates", note="per page"),),
        ),
        Step(name="swap", run=swap),
    ),
    service_class=ServiceClass.BACKGROUND,
    coalesces=True,
    pause_modes=frozenset(PauseMode),
    may_change_app=True,
    order=lambda settings: Order(settings.template_sync.order),
)
