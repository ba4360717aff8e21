"""What webhooks tell, as the mirror takes it in: in what order, laid over what."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, delete, func, select, tuple_

from wabajobs.ledger.database import upsert
from wabajobs.ledger.tables import TemplateNewsRow

KEPT: Final = timedelta(days=8)
"""How long the order of webhooks is remembered: Meta tries to deliver one for seven days."""


class Did(StrEnum):
    """What a webhook has done to the mirror."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    """It told what the mirror knew, or had been given before."""
    OLD = "old"
    """Something newer is known: it has changed nothing."""
    UNKNOWN = "unknown"
    """The mirror has no such template: its list is due for a sync soon."""
    NOTED = "noted"
    """It is about the WABA itself, or only a sync can make sure of it."""
    FOREIGN = "foreign"
    """The WABA is none of ours."""


@dataclass(frozen=True, kw_only=True)
class Applied:
    """What came of one piece of news."""

    waba: str
    topic: str
    event: str
    template_id: str | None
    did: Did

    def as_json(self) -> dict[str, Any]:
        """Return the public form."""
        return {
            "waba": self.waba,
            "topic": self.topic,
            "event": self.event,
            "template_id": self.template_id,
            "did": str(self.did),
        }


@dataclass(frozen=True, kw_only=True)
class News:
    """One thing that one webhook tells of a template."""

    waba: str
    topic: str
    happened_at: datetime | None
    """By Meta's clock; None when it was not told."""
    template_id: str | None = None
    name: str | None = None
    language: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the template as they are now; a mapping is laid over the one that is there."""
    texts: Mapping[str, str] = field(default_factory=dict)
    """Texts of its components, by type."""
    removed: bool = False
    """The template is gone."""
    doubtful: bool = False
    """It does not tell everything: a sync should look."""
    event: str = ""
    """Meta's own word."""

    @property
    def facts(self) -> dict[str, Any]:
        """What is kept of it."""
        return {"fields": dict(self.fields), "texts": dict(self.texts), "removed": self.removed}

    @property
    def digest(self) -> str:
        """What makes two webhooks of one second the same."""
        told = [self.facts, self.event]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]

    def is_about(self, template: Mapping[str, Any]) -> bool:
        """Whether this is the template, by its id; without one by name and language, in either spelling."""
        if self.template_id is not None:
            return bool(template["id"] == self.template_id)
        return template["name"] == self.name and _spelt(template["language"]) == _spelt(self.language or "")


@dataclass(frozen=True)
class Known:
    """What was told before of the same thing."""

    topic: str
    happened_at: datetime
    heard_at: datetime
    facts: Mapping[str, Any]
    digests: tuple[str, ...]

    def stands_against(self, read_at: datetime | None, margin: timedelta) -> bool:
        """Whether it may be newer than a page that was asked for at `read_at`."""
        if read_at is None:
            return True
        return self.heard_at > read_at and self.happened_at + margin > read_at

    def is_surely_newer(self, read_at: datetime | None, margin: timedelta) -> bool:
        """Whether it must be newer, however far the clocks are apart."""
        return read_at is not None and self.happened_at - margin > read_at


def laid(template: dict[str, Any], facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the template as the news have it; None when it is gone."""
    if facts["removed"]:
        return None
    changed = dict(template)
    for name, value in facts["fields"].items():
        old = template.get(name)
        changed[name] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
    if facts["texts"] and isinstance(template.get("components"), list):
        changed["components"] = [_retold(one, facts["texts"]) for one in template["components"]]
    return changed


def _retold(component: Any, texts: Mapping[str, str]) -> Any:
    if isinstance(component, dict) and "text" in component and component.get("type") in texts:
        return {**component, "text": texts[component["type"]]}
    return component


def _spelt(language: str) -> str:
    return language.replace("-", "_")


def lock(connection: Connection, waba: str) -> None:
    """Let nobody else touch the mirror of a WABA until the transaction ends. SQLite has one writer anyhow."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(7246227, func.hashtext(waba))))


def known_of(connection: Connection, waba: str) -> dict[str, list[Known]]:
    """Return what was told of a WABA's templates lately, by template, in the order in which it happened."""
    table = TemplateNewsRow.__table__
    query = select(table).where(table.c.waba == waba, table.c.template_id != "")
    known: dict[str, list[Known]] = {}
    for row in connection.execute(query.order_by(table.c.happened_at, table.c.heard_at)):
        known.setdefault(row.template_id, []).append(_known(row))
    return known


def known(connection: Connection, waba: str, template_id: str, topic: str) -> Known | None:
    """Return the newest of one topic."""
    table = TemplateNewsRow.__table__
    row = connection.execute(
        select(table).where(table.c.waba == waba, table.c.template_id == template_id, table.c.topic == topic)
    ).one_or_none()
    return _known(row) if row else None


def _known(row: Any) -> Known:
    return Known(row.topic, row.happened_at, row.heard_at, row.facts, tuple(row.digests))


def remember(
    connection: Connection,
    news: News,
    template_id: str,
    *,
    happened_at: datetime,
    heard_at: datetime,
    before: Known | None,
) -> None:
    """Keep it as the newest of its topic."""
    same_second = before.digests if before and before.happened_at == happened_at else ()
    told: Mapping[str, Any] = before.facts if before else {"fields": {}, "texts": {}}
    facts = {
        "fields": {**told["fields"], **news.fields},
        "texts": {**told["texts"], **news.texts},
        "removed": news.removed,
    }
    values = {
        "happened_at": happened_at,
        "heard_at": heard_at,
        "facts": facts,
        "digests": [*same_second, news.digest],
    }
    connection.execute(
        upsert(connection, TemplateNewsRow)
        .values(waba=news.waba, template_id=template_id, topic=news.topic, **values)
        .on_conflict_do_update(index_elements=["waba", "template_id", "topic"], set_=values)
    )


def forget_old(connection: Connection, *, now: datetime, at_most: int) -> int:
    """Delete some of what nobody needs any more; return how many."""
    key = (TemplateNewsRow.waba, TemplateNewsRow.template_id, TemplateNewsRow.topic)
    old = select(*key).where(TemplateNewsRow.heard_at < now - KEPT).limit(at_most)
    return connection.execute(delete(TemplateNewsRow).where(tuple_(*key).in_(old))).rowcount
