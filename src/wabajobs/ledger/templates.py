"""The mirror of templates. Syncs put whole lists into it, webhooks single news; both by the same reconciler.

A list is staged page by page and swapped in one transaction, with the difference recorded. A webhook that came
while a list was being read must not be undone by it: each page knows when it was asked for, and each piece of
news when it happened and when it was heard.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, delete, func, insert, select, update

from wabajobs.capability import Capability
from wabajobs.ledger import fleet, news
from wabajobs.ledger.attempts import require_lease, write_checkpoint
from wabajobs.ledger.database import Database, upsert
from wabajobs.ledger.news import Applied, Did, Known, News
from wabajobs.ledger.outbox import tell_templates
from wabajobs.ledger.tables import StagedPageRow, TemplateChangeRow, TemplateListRow, TemplateRow
from wabajobs.operation import Operation
from wabajobs.settings import PlannerSettings

_AS_CONFIGURED: Final = PlannerSettings()


@dataclass(frozen=True, kw_only=True)
class TemplateList:
    """How fresh the mirror of a WABA's templates is."""

    waba: str
    partner: str
    last_attempt_at: datetime | None
    last_success_at: datetime | None
    last_error: str | None
    templates: int
    page_size: int | None


@dataclass(frozen=True, kw_only=True)
class Change:
    """One difference between yesterday's list and today's."""

    change: str
    template_id: str
    name: str
    language: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class TemplateMirror:
    """The mirror of the templates of all WABAs."""

    def __init__(self, database: Database) -> None:
        """Work on the tables of `database`."""
        self._database = database

    def stage(
        self,
        operation: Operation,
        *,
        page: int,
        templates: Sequence[dict[str, Any]],
        checkpoint: dict[str, Any],
        cursor: str | None,
        capability: Capability,
        read_at: datetime,
    ) -> bool:
        """Keep a page, asked for at `read_at`, and the checkpoint behind it, both or neither. Raises `LeaseLost`.

        False, and nothing is kept, when this list has shown the page's `cursor` before: it goes in circles.
        """
        seen = select(StagedPageRow.page).where(
            StagedPageRow.operation_id == operation.id,
            StagedPageRow.page < page,
            StagedPageRow.next_cursor == cursor,
        )
        with self._database.write() as connection:
            if cursor is not None and connection.scalar(seen) is not None:
                require_lease(connection, operation)
                return False
            write_checkpoint(connection, operation.id, operation.fence, checkpoint, capability=capability)
            # A page number may be there from an attempt whose sync was started over.
            connection.execute(
                delete(StagedPageRow).where(
                    StagedPageRow.operation_id == operation.id, StagedPageRow.page >= page
                )
            )
            connection.execute(
                insert(StagedPageRow).values(
                    operation_id=operation.id,
                    page=page,
                    next_cursor=cursor,
                    templates=list(templates),
                    read_at=read_at,
                )
            )
        return True

    def swap(
        self,
        operation: Operation,
        *,
        checkpoint: Callable[[dict[str, int]], dict[str, Any]],
        page_size: int,
        now: datetime,
        calls: int = 1,
        planner: PlannerSettings = _AS_CONFIGURED,
    ) -> dict[str, int]:
        """Replace the WABA's list by the staged one and record the difference, all or nothing.

        What a webhook has told since a page was asked for stands against the page. Returns how many there are
        (`templates`), and how many were `added`, `changed` and `removed`; `checkpoint` makes of it what is
        stored in the same transaction. `calls` is what the sync has cost. Raises `LeaseLost`.
        """
        waba = operation.waba
        assert waba is not None  # noqa: S101 (a list belongs to a WABA)
        with self._database.write() as connection:
            news.lock(connection, waba)
            pages, read_at = _staged(connection, operation.id)
            before = _mirrored(connection, waba)
            after, doubted = _settled(
                pages,
                before,
                news.known_of(connection, waba),
                read_at=read_at,
                margin=timedelta(seconds=planner.clock_margin_seconds),
            )
            changes = reconcile(connection, waba, before, after, now=now, operation=operation)
            counted = {kind: sum(1 for one in changes if one.change == kind) for kind in _CHANGES}
            counted = {"templates": len(after), **counted}
            write_checkpoint(
                connection,
                operation.id,
                operation.fence,
                checkpoint(counted),
                capability=operation.capability,
            )
            connection.execute(delete(StagedPageRow).where(StagedPageRow.operation_id == operation.id))
            first = _read_at(connection, waba) is None
            _mark(
                connection,
                operation,
                last_attempt_at=now,
                last_success_at=now,
                last_error=None,
                operation_id=operation.id,
                templates=len(after),
                page_size=page_size,
                read_at=read_at,
            )
            fleet.note_sync(
                connection,
                operation,
                now=now,
                calls=calls,
                pending_since=_pending_since(connection, waba),
                missed=not first and any(_should_have_been_told(one) for one in changes),
                doubted=doubted,
                read_at=read_at,
                settings=planner,
            )
        return counted

    def apply(self, told: Sequence[News], *, now: datetime, planner: PlannerSettings) -> list[Applied]:
        """Take in what webhooks tell, in one transaction; the answer is in the same order.

        Given twice, late or in the wrong order they do no harm: what is older than what is known changes nothing.
        """
        # Everybody locks WABAs in the same order; what is told of one stays in the order in which it was told.
        in_order = sorted(range(len(told)), key=lambda number: told[number].waba)
        applied: dict[int, Applied] = {}
        with self._database.write() as connection:
            for number in in_order:
                news.lock(connection, told[number].waba)
                applied[number] = _apply(connection, told[number], now=now, planner=planner)
        return [applied[number] for number in range(len(told))]

    def note(
        self,
        operation: Operation,
        *,
        written: Sequence[dict[str, Any]] = (),
        deleted: Collection[str] = (),
        deleted_name: str | None = None,
        at: datetime,
        now: datetime,
        planner: PlannerSettings,
        doubted: bool = False,
    ) -> None:
        """Take in what an operation has changed at Meta by a call made `at`, as a webhook would tell it.

        `written` are templates, each with its id and the fields that are others now; of one that is new also its
        name, language, status and category. `deleted` are ids, `deleted_name` stands for all its languages. What
        webhooks have told of them since stands. Safe to repeat. With `doubted`, or when the mirror lacks what was
        changed, the list is due for a sync soon. Raises `LeaseLost`.
        """
        waba = operation.waba
        assert waba is not None  # noqa: S101 (a template belongs to a WABA)
        with self._database.write() as connection:
            news.lock(connection, waba)
            require_lease(connection, operation)
            gone = {*deleted, *_called(connection, waba, deleted_name)}
            ids = [*gone, *(one["id"] for one in written)]
            _remember_ours(connection, waba, written, gone, at=at, now=now)
            before = _mirrored(connection, waba, ids)
            new = {one["id"]: one for one in written if all(name in one for name in _COMPLETE)}
            since = news.known_of(connection, waba)
            after = {
                id_: laid for id_ in ids if (laid := _as_told(before.get(id_) or new.get(id_), since.get(id_)))
            }
            reconcile(connection, waba, before, after, now=now, operation=operation)
            connection.execute(
                update(TemplateListRow)
                .where(TemplateListRow.waba == waba)
                .values(templates=TemplateListRow.templates + len(after) - len(before))
            )
            fleet.note_change(
                connection,
                waba,
                now=now,
                doubted=doubted or any(one["id"] not in after and one["id"] not in gone for one in written),
                pending_since=_pending_since(connection, waba),
                settings=planner,
            )

    def forget_news(self, *, now: datetime, at_most: int = 1000) -> int:
        """Forget some of what webhooks told so long ago that it decides nothing any more; return how many."""
        with self._database.write() as connection:
            return news.forget_old(connection, now=now, at_most=at_most)

    def mark_attempt(self, operation: Operation, *, now: datetime, error: str | None) -> None:
        """Move the clock of attempts, and leave the clock of successes and the list alone. Raises `LeaseLost`."""
        with self._database.write() as connection:
            require_lease(connection, operation)
            _mark(connection, operation, last_attempt_at=now, last_error=error)

    def read(self, waba: str) -> TemplateList | None:
        """Return how fresh a WABA's list is; None when it was never tried."""
        with self._database.read() as connection:
            row = connection.execute(
                select(TemplateListRow.__table__).where(TemplateListRow.waba == waba)
            ).one_or_none()
        if row is None:
            return None
        return TemplateList(
            waba=row.waba,
            partner=row.partner,
            last_attempt_at=row.last_attempt_at,
            last_success_at=row.last_success_at,
            last_error=row.last_error,
            templates=row.templates,
            page_size=row.page_size,
        )

    def page_size(self, waba: str) -> int | None:
        """Return the page size that Meta bore at the last success."""
        row = self.read(waba)
        return row.page_size if row else None

    def templates(self, waba: str) -> list[dict[str, Any]]:
        """Return the mirrored templates of a WABA, as Meta told them, by name and language."""
        query = select(TemplateRow.content).where(TemplateRow.waba == waba)
        with self._database.read() as connection:
            rows = connection.scalars(query.order_by(TemplateRow.name, TemplateRow.language)).all()
        return list(rows)

    def changes(self, waba: str, *, operation_id: str | None = None) -> list[Change]:
        """Return the differences that syncs of a WABA found and webhooks told, oldest first."""
        query = select(TemplateChangeRow.__table__).where(TemplateChangeRow.waba == waba)
        if operation_id:
            query = query.where(TemplateChangeRow.operation_id == operation_id)
        with self._database.read() as connection:
            return [
                Change(
                    change=row.change,
                    template_id=row.template_id,
                    name=row.name,
                    language=row.language,
                    before=row.before,
                    after=row.after,
                )
                for row in connection.execute(query.order_by(TemplateChangeRow.id))
            ]


class _Page(NamedTuple):
    """One template as a page had it, and when that page was asked for."""

    template: dict[str, Any]
    read_at: datetime | None


def reconcile(
    connection: Connection,
    waba: str,
    before: Mapping[str, dict[str, Any]],
    after: Mapping[str, dict[str, Any]],
    *,
    now: datetime,
    operation: Operation | None = None,
    topic: str | None = None,
) -> list[Change]:
    """Make the mirror of these templates what it is `after`, and tell the difference, and who has found it."""
    changes = list(_differences(before, after))
    _replace(connection, waba, before=before, after=after, changes=changes, now=now)
    if changes:
        found_by = {"waba": waba, "operation_id": operation.id if operation else None, "topic": topic, "at": now}
        connection.execute(insert(TemplateChangeRow), [{**found_by, **vars(change)} for change in changes])
        told = [{**vars(change), "topic": topic} for change in changes]
        tell_templates(connection, now, waba, told, sync=operation)
    return changes


def _settled(
    pages: Mapping[str, _Page],
    before: Mapping[str, dict[str, Any]],
    told: Mapping[str, Sequence[Known]],
    *,
    read_at: datetime | None,
    margin: timedelta,
) -> tuple[dict[str, dict[str, Any]], bool]:
    """Return the list as it is now: the pages, with the news laid over those that may not know of them yet.

    With it, whether only another sync can make sure: the clocks do not say which is newer, or a page lacks
    what the news are about.
    """
    after = {id_: page.template for id_, page in pages.items()}
    doubted = False
    for id_, known in told.items():
        asked_at = pages[id_].read_at if id_ in pages else read_at
        standing = [one for one in known if one.stands_against(asked_at, margin)]
        if not standing:
            continue
        template = after.pop(id_, None) or before.get(id_)
        for one in standing:
            template = news.laid(template, one.facts) if template is not None else None
            doubted = doubted or not one.is_surely_newer(asked_at, margin)
        if template is not None:
            after[id_] = template
        if id_ not in pages and not any(one.facts["removed"] for one in standing):
            doubted = True
    return after, doubted


def _should_have_been_told(change: Change) -> bool:
    """Whether there is a webhook for such a change."""
    told = change.after or {}
    return change.change == "removed" or (change.change == "changed" and ("status" in told or "category" in told))


def _apply(connection: Connection, told: News, *, now: datetime, planner: PlannerSettings) -> Applied:
    margin = timedelta(seconds=planner.clock_margin_seconds)
    read_at = _read_at(connection, told.waba)
    found = _find(connection, told)
    template_id = told.template_id or (found["id"] if found else "")
    # A moment to come is somebody's wrong clock, and would outdo all that comes after it.
    happened_at = min(told.happened_at or now, now)
    before = news.known(connection, told.waba, template_id, told.topic)
    did, doubted = _judge(told, happened_at, before, read_at, margin)
    if did is None:
        news.remember(connection, told, template_id, happened_at=happened_at, heard_at=now, before=before)
        did, doubted = _take_in(connection, told, found, doubted=doubted, now=now)
    is_ours = fleet.note_news(
        connection,
        told.waba,
        now=now,
        doubted=doubted,
        pending_since=_pending_since(connection, told.waba),
        settings=planner,
    )
    did = did if is_ours or found else Did.FOREIGN
    return Applied(waba=told.waba, topic=told.topic, event=told.event, template_id=template_id or None, did=did)


def _judge(
    told: News, happened_at: datetime, before: Known | None, read_at: datetime | None, margin: timedelta
) -> tuple[Did | None, bool]:
    """Say whether it is to be taken in (None), and whether a sync should make sure of its place in the order."""
    if before is not None and happened_at < before.happened_at:
        return Did.OLD, False
    same_second = before is not None and happened_at == before.happened_at
    if same_second and before is not None and told.digest in before.digests:
        return Did.UNCHANGED, False
    if read_at is not None and happened_at + margin <= read_at:
        return Did.OLD, False
    close = read_at is not None and happened_at - margin <= read_at
    return None, same_second or close


def _take_in(
    connection: Connection, told: News, found: dict[str, Any] | None, *, doubted: bool, now: datetime
) -> tuple[Did, bool]:
    """Change the mirror; return what was done, and whether a sync should look."""
    doubted = doubted or told.doubtful
    if found is None:
        return (Did.UNCHANGED, doubted) if told.removed else (Did.UNKNOWN, True)
    template = news.laid(found, told.facts)
    after = {} if template is None else {found["id"]: template}
    changes = reconcile(connection, told.waba, {found["id"]: found}, after, now=now, topic=told.topic)
    if template is None:
        connection.execute(
            update(TemplateListRow)
            .where(TemplateListRow.waba == told.waba)
            .values(templates=TemplateListRow.templates - 1)
        )
    if changes:
        return Did.CHANGED, doubted
    # It tells what the mirror knows: then it does not matter which of them is the newer.
    return (Did.NOTED, True) if told.doubtful else (Did.UNCHANGED, False)


def _find(connection: Connection, told: News) -> dict[str, Any] | None:
    query = select(TemplateRow.content).where(TemplateRow.waba == told.waba)
    if told.template_id is not None:
        query = query.where(TemplateRow.id == told.template_id)
    elif told.name is not None:
        query = query.where(TemplateRow.name == told.name)
    else:
        return None
    return next((content for content in connection.scalars(query) if told.is_about(content)), None)


def _read_at(connection: Connection, waba: str) -> datetime | None:
    """Return when the list that is mirrored was begun to be read."""
    return connection.scalar(select(TemplateListRow.read_at).where(TemplateListRow.waba == waba))


def _pending_since(connection: Connection, waba: str) -> datetime | None:
    """Return since when the newest of its templates waits for Meta."""
    query = select(func.max(TemplateRow.changed_at))
    return connection.scalar(query.where(TemplateRow.waba == waba, TemplateRow.status.in_(PENDING)))


_CHANGES: Final = ("added", "changed", "removed")
_OURS: Final = "operation"
"""In the place of a webhook's topic: what an operation of ours has changed."""
_COMPLETE: Final = ("id", "name", "language", "status", "category")
"""What must be known of a template that is new."""

PENDING: Final = ("PENDING", "IN_APPEAL", "PENDING_DELETION")
"""The states in which a template waits for Meta."""


def _staged(connection: Connection, operation_id: str) -> tuple[dict[str, _Page], datetime | None]:
    """Return the templates of the pages that were read, and when the first of them was asked for, if known."""
    query = select(StagedPageRow.templates, StagedPageRow.read_at)
    pages = connection.execute(
        query.where(StagedPageRow.operation_id == operation_id).order_by(StagedPageRow.page)
    ).all()
    # A template that moved to a later page while we read is there twice; the later word is the newer.
    found = {template["id"]: _Page(template, page.read_at) for page in pages for template in page.templates}
    moments = [page.read_at for page in pages]
    return found, None if None in moments else min(moments, default=None)


def _remember_ours(
    connection: Connection,
    waba: str,
    written: Sequence[dict[str, Any]],
    gone: Collection[str],
    *,
    at: datetime,
    now: datetime,
) -> None:
    """Let our own changes stand against a list that is being read at this moment."""
    # Webhooks tell whole seconds: what they tell of the second of the call is taken to come after it.
    happened_at = at.replace(microsecond=0) - timedelta(microseconds=1)
    ours: dict[str, dict[str, Any]] = {id_: {"removed": True} for id_ in gone}
    for one in written:
        fields = {name: value for name, value in one.items() if name not in ("id", "name", "language")}
        ours[one["id"]] = {"fields": fields}
    for id_, facts in ours.items():
        told = News(waba=waba, topic=_OURS, template_id=id_, happened_at=happened_at, **facts)
        news.remember(connection, told, id_, happened_at=happened_at, heard_at=now, before=None)


def _as_told(template: dict[str, Any] | None, told: Sequence[Known] | None) -> dict[str, Any] | None:
    """Return a template with what was told of it since our own change laid over it, and that change itself."""
    ours = False
    for one in told or ():
        ours = ours or one.topic == _OURS
        if ours and template is not None:
            template = news.laid(template, one.facts)
    return template


def _called(connection: Connection, waba: str, name: str | None) -> list[str]:
    """Return the ids of the mirrored templates of a name."""
    if name is None:
        return []
    query = select(TemplateRow.id).where(TemplateRow.waba == waba, TemplateRow.name == name)
    return list(connection.scalars(query))


def _mirrored(connection: Connection, waba: str, ids: Collection[str] | None = None) -> dict[str, dict[str, Any]]:
    query = select(TemplateRow.id, TemplateRow.content).where(TemplateRow.waba == waba)
    if ids is not None:
        query = query.where(TemplateRow.id.in_(ids))
    return dict(connection.execute(query).all())


def _differences(before: Mapping[str, dict[str, Any]], after: Mapping[str, dict[str, Any]]) -> Iterable[Change]:
    for id_, template in after.items():
        if (old := before.get(id_)) is None:
            yield _change("added", template, None, _facts(template))
        elif old != template:
            fields = [name for name in {**old, **template} if old.get(name) != template.get(name)]
            yield _change(
                "changed", template, {f: old.get(f) for f in fields}, {f: template.get(f) for f in fields}
            )
    for id_, old in before.items():
        if id_ not in after:
            yield _change("removed", old, _facts(old), None)


def _facts(template: dict[str, Any]) -> dict[str, Any]:
    return {name: template.get(name) for name in ("status", "category")}


def _change(
    change: str, template: dict[str, Any], before: dict[str, Any] | None, after: dict[str, Any] | None
) -> Change:
    return Change(
        change=change,
        template_id=template["id"],
        name=template["name"],
        language=template["language"],
        before=before,
        after=after,
    )


def _replace(
    connection: Connection,
    waba: str,
    *,
    before: Mapping[str, dict[str, Any]],
    after: Mapping[str, dict[str, Any]],
    changes: Sequence[Change],
    now: datetime,
) -> None:
    """Write only what differs: most syncs change nothing."""
    touched = [change.template_id for change in changes if change.template_id in before]
    for start in range(0, len(touched), 500):
        connection.execute(
            delete(TemplateRow).where(TemplateRow.waba == waba, TemplateRow.id.in_(touched[start : start + 500]))
        )
    fresh = [after[change.template_id] for change in changes if change.change != "removed"]
    if fresh:
        connection.execute(
            insert(TemplateRow),
            [
                {
                    "waba": waba,
                    "id": template["id"],
                    "name": template["name"],
                    "language": template["language"],
                    "status": template["status"],
                    "category": template["category"],
                    "content": template,
                    "changed_at": now,
                }
                for template in fresh
            ],
        )


def _mark(connection: Connection, operation: Operation, **values: Any) -> None:
    owner = {"partner": operation.partner, "app": operation.routed_from or operation.app}
    connection.execute(
        upsert(connection, TemplateListRow)
        .values(waba=operation.waba, **owner, **({"templates": 0} | values))
        .on_conflict_do_update(index_elements=["waba"], set_={**owner, **values})
    )
