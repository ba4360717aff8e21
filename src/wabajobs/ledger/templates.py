"""The mirror of templates: staged page by page, swapped in one transaction, with the difference recorded."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, delete, insert, select

from wabajobs.capability import Capability
from wabajobs.ledger.attempts import require_lease, write_checkpoint
from wabajobs.ledger.database import Database, upsert
from wabajobs.ledger.tables import StagedPageRow, TemplateChangeRow, TemplateListRow, TemplateRow
from wabajobs.operation import Operation


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
    ) -> bool:
        """Keep a page and the checkpoint behind it, both or neither. Raises `LeaseLost`.

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
                    operation_id=operation.id, page=page, next_cursor=cursor, templates=list(templates)
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
    ) -> dict[str, int]:
        """Replace the WABA's list by the staged one and record the difference, all or nothing.

        Returns how many there are (`templates`), and how many were `added`, `changed` and `removed`;
        `checkpoint` makes of it what is stored in the same transaction. Raises `LeaseLost`.
        """
        assert operation.waba is not None  # noqa: S101 (a list belongs to a WABA)
        with self._database.write() as connection:
            after = _staged(connection, operation.id)
            before = _mirrored(connection, operation.waba)
            changes = list(_differences(before, after))
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
            _replace(connection, operation, before=before, after=after, changes=changes, now=now)
            _mark(
                connection,
                operation,
                last_attempt_at=now,
                last_success_at=now,
                last_error=None,
                operation_id=operation.id,
                templates=len(after),
                page_size=page_size,
            )
        return counted

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
        """Return the differences that syncs of a WABA found, oldest first."""
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


_CHANGES: Final = ("added", "changed", "removed")


def _staged(connection: Connection, operation_id: str) -> dict[str, dict[str, Any]]:
    query = select(StagedPageRow.templates).where(StagedPageRow.operation_id == operation_id)
    pages = connection.scalars(query.order_by(StagedPageRow.page))
    # A template that moved to a later page while we read is there twice; the later word is the newer.
    return {template["id"]: template for page in pages for template in page}


def _mirrored(connection: Connection, waba: str) -> dict[str, dict[str, Any]]:
    query = select(TemplateRow.id, TemplateRow.content).where(TemplateRow.waba == waba)
    return dict(connection.execute(query).all())


def _differences(before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]) -> Iterable[Change]:
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
    operation: Operation,
    *,
    before: dict[str, dict[str, Any]],
    after: dict[str, dict[str, Any]],
    changes: Sequence[Change],
    now: datetime,
) -> None:
    """Write only what differs: most syncs change nothing."""
    touched = [change.template_id for change in changes if change.template_id in before]
    for start in range(0, len(touched), 500):
        connection.execute(
            delete(TemplateRow).where(
                TemplateRow.waba == operation.waba, TemplateRow.id.in_(touched[start : start + 500])
            )
        )
    fresh = [after[change.template_id] for change in changes if change.change != "removed"]
    if fresh:
        connection.execute(
            insert(TemplateRow),
            [
                {
                    "waba": operation.waba,
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
    if changes:
        connection.execute(
            insert(TemplateChangeRow),
            [
                {
                    "waba": operation.waba,
                    "operation_id": operation.id,
                    "at": now,
                    "change": change.change,
                    "template_id": change.template_id,
                    "name": change.name,
                    "language": change.language,
                    "before": change.before,
                    "after": change.after,
                }
                for change in changes
            ],
        )


def _mark(connection: Connection, operation: Operation, **values: Any) -> None:
    owner = {"partner": operation.partner, "app": operation.app}
    connection.execute(
        upsert(connection, TemplateListRow)
        .values(waba=operation.waba, **owner, **({"templates": 0} | values))
        .on_conflict_do_update(index_elements=["waba"], set_={**owner, **values})
    )
