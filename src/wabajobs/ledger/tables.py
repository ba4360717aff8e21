"""The ledger's tables. SQLite (WAL) embedded, PostgreSQL in production; the same on both.

Every moment is UTC. State that a person decided (`pauses`, `limits`) carries actor and reason.
"""

from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Computed,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Text,
    TypeDecorator,
    false,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
Serial = BigInteger().with_variant(Integer(), "sqlite")  # only INTEGER counts by itself in SQLite


class UtcDateTime(TypeDecorator[datetime]):
    """An aware moment, in UTC. SQLite keeps no zone, so it is taken off on the way in and put back."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store in UTC; a naive moment is a programming error."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("the ledger takes aware datetimes only")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return an aware moment in UTC."""
        del dialect
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """The ledger's metadata."""

    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy's own name and shape)
        datetime: UtcDateTime(),
        dict[str, Any]: Json,
        list[Any]: Json,
    }


READY: Final = "state = 'waiting' AND leased_until IS NULL AND blocked = false"
"""SQL of what a dispatcher may release. SQLite finds a partial index only by the very words it was made with."""
BEGUN: Final = f"{READY} AND checkpoint IS NOT NULL"
"""SQL of what may be released, and has been under way before."""
HELD: Final = "state = 'held' AND leased_until IS NULL"
"""SQL of what waits for a moment."""
WAITS_FOR_BUDGET: Final = "state = 'held' AND hold_by = 'retry_budget'"
"""SQL of the retries whose time has come and for which there is no room."""
_LINE: Final = "CAST(class_rank AS TEXT) || ':' || app || ':' || capability || ':' || partner"
_IN_LANE: Final = "lane IS NOT NULL AND finished_at IS NULL"


def _index(name: str, *columns: str, where: str) -> Index:
    return Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where))


class OperationRow(Base):
    """One thing that the Hub asked for."""

    __tablename__ = "operations"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    kind: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(16))
    partner: Mapped[str] = mapped_column(String(64))
    app: Mapped[str] = mapped_column(String(20))
    waba: Mapped[str | None] = mapped_column(String(20))
    class_rank: Mapped[int] = mapped_column(SmallInteger)
    """Class of service, 0 served first."""
    capability: Mapped[str] = mapped_column(String(32))
    payload: Mapped[dict[str, Any]]

    line: Mapped[str] = mapped_column(String(160), Computed(_LINE, persisted=True))
    """Where it queues: class, app, capability and partner. Nothing coarser can be shut or served alone."""
    turn: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    """Its round in the line: a WABA's second waiting operation comes in the round after its first. While it is
    blocked, its number in the lane."""
    place: Mapped[float] = mapped_column(Float(53), default=0, server_default=text("0"))
    """Order within the round; the smallest first."""

    lane: Mapped[str | None] = mapped_column(String(200))
    """What it touches: operations of one lane keep their order and never run at the same time."""
    blocked: Mapped[bool] = mapped_column(default=False, server_default=false())
    """Another of its lane is to finish first."""
    coalesces: Mapped[bool] = mapped_column(default=False)
    coalesce_key: Mapped[str | None] = mapped_column(String(200), unique=True)
    """The lane, while the operation is pending and can be joined; unique, so there is at most one."""
    callers: Mapped[int] = mapped_column(default=1)

    due_at: Mapped[datetime]
    fence: Mapped[int] = mapped_column(default=0)
    leased_until: Mapped[datetime | None]
    """Set from release to the attempt's end; past means that its holder is gone."""
    worker: Mapped[str | None] = mapped_column(String(120))
    attempts: Mapped[int] = mapped_column(default=0)
    checkpoint: Mapped[dict[str, Any] | None]

    hold_reason: Mapped[str | None] = mapped_column(Text)
    hold_by: Mapped[str | None] = mapped_column(String(32))
    hold_until: Mapped[datetime | None]
    hold_notice: Mapped[str | None] = mapped_column(Text)

    routed_from: Mapped[str | None] = mapped_column(String(20))
    """The app for which it was asked, if a route has taken it to another."""
    told: Mapped[str | None] = mapped_column(String(16))
    """Of which hold the Hub was told last, in short."""

    needs: Mapped[dict[str, Any] | None]
    """What a person is to give (`asked`), and the `deadline` that holds again once it is given."""

    result: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime]
    deadline_at: Mapped[datetime | None]
    """From then on it is of no use: it expires."""
    stop: Mapped[dict[str, Any] | None]
    """Who wants it cancelled (`by`), why (`reason`), since when (`at`); an attempt under way looks here."""
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        # What could be released now, in the order of each line.
        _index("ix_operations_ready", "kind", "line", "turn", "place", "id", where=READY),
        # The last round that a WABA has a place in. Without statistics, as after a sudden flood, PostgreSQL would
        # read a whole queue through this index to find a line: by its condition it cannot.
        _index("ix_operations_turns", "kind", "line", "waba", "turn", where=f"{READY} AND waba IS NOT NULL"),
        # What has begun, for queues that are to begin nothing new.
        _index("ix_operations_begun", "kind", "id", where=BEGUN),
        # What waits for a moment.
        _index("ix_operations_held", "due_at", where=HELD),
        # What waits for room to be tried again.
        _index("ix_operations_retries", "app", "capability", "due_at", where=WAITS_FOR_BUDGET),
        _index("ix_operations_deadline", "deadline_at", where="deadline_at IS NOT NULL AND finished_at IS NULL"),
        # What is out, per queue, and whose lease has run out.
        _index("ix_operations_leased", "kind", "leased_until", where="leased_until IS NOT NULL"),
        # Who is next in a lane.
        _index(
            "ix_operations_lane",
            "lane",
            "blocked",
            "turn",
            "id",
            where="lane IS NOT NULL AND finished_at IS NULL",
        ),
        # What is not finished, to be counted without a look at the operations. With SQLite that takes all columns
        # that are asked for, and none that is computed.
        _index(
            "ix_operations_open",
            "kind",
            "state",
            "hold_by",
            "class_rank",
            "app",
            "capability",
            "partner",
            "created_at",
            "finished_at",
            where="finished_at IS NULL",
        ),
        # What is finished, for its last hour and for retention.
        _index("ix_operations_finished", "state", "finished_at", where="finished_at IS NOT NULL"),
        # An id begins with its moment: so these are lists by time, too.
        Index("ix_operations_partner", "partner", "id"),
        Index("ix_operations_waba", "waba", "id"),
    )


class RequestRow(Base):
    """An idempotency key that was used, and the operation that it stands for."""

    __tablename__ = "requests"

    partner: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    operation_id: Mapped[str] = mapped_column(String(36))
    fingerprint: Mapped[str] = mapped_column(String(64))
    """SHA-256 of kind, app, WABA and payload."""
    created_at: Mapped[datetime]

    __table_args__ = (Index("ix_requests_created", "created_at"),)


class EventRow(Base):
    """One move of an operation; together they are its story."""

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    operation_id: Mapped[str] = mapped_column(ForeignKey("operations.id", ondelete="CASCADE"), index=True)
    at: Mapped[datetime]
    name: Mapped[str] = mapped_column(String(32))
    actor: Mapped[str] = mapped_column(String(120))
    attempt: Mapped[int | None]
    """Number of the lease under which it happened."""
    detail: Mapped[dict[str, Any] | None]


class OutboxRow(Base):
    """One thing that the Hub is told."""

    __tablename__ = "outbox"

    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    number: Mapped[int | None] = mapped_column(BigInteger)
    """Its place among all, once it has been committed; 1, 2, 3 …"""
    at: Mapped[datetime]
    kind: Mapped[str] = mapped_column(String(32))
    operation_id: Mapped[str | None] = mapped_column(String(36))
    operation_kind: Mapped[str | None] = mapped_column(String(64))
    partner: Mapped[str | None] = mapped_column(String(64))
    app: Mapped[str | None] = mapped_column(String(20))
    waba: Mapped[str | None] = mapped_column(String(20))
    data: Mapped[dict[str, Any]]

    __table_args__ = (
        Index(
            "ix_outbox_number",
            "number",
            unique=True,
            sqlite_where=text("number IS NOT NULL"),
            postgresql_where=text("number IS NOT NULL"),
        ),
        _index("ix_outbox_unnumbered", "id", where="number IS NULL"),
        # What SQLite deletes, it would number once more.
        {"sqlite_autoincrement": True},
    )


class CallbackRow(Base):
    """An event that is to be delivered to the Hub's callback, or could not be."""

    __tablename__ = "callbacks"

    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    """The event's."""
    line: Mapped[str] = mapped_column(String(36))
    """The WABA, or else the operation: what is told of it is told in order."""
    tries: Mapped[int] = mapped_column(default=0)
    due_at: Mapped[datetime]
    first_at: Mapped[datetime | None]
    """When it was tried first."""
    failed_at: Mapped[datetime | None]
    """When it was given up."""
    error: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (_index("ix_callbacks_open", "line", "number", where="failed_at IS NULL"),)


class CursorRow(Base):
    """How far somebody has read the outbox."""

    __tablename__ = "cursors"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger)


class AccountNewsRow(Base):
    """The newest that a webhook has told of one thing about a WABA or one of its numbers."""

    __tablename__ = "account_news"

    waba: Mapped[str] = mapped_column(String(20), primary_key=True)
    topic: Mapped[str] = mapped_column(String(64), primary_key=True)
    subject: Mapped[str] = mapped_column(String(64), primary_key=True)
    """A number, an app, one of several matters; empty: the topic has but one."""
    event: Mapped[str] = mapped_column(String(64))
    happened_at: Mapped[datetime]
    """By Meta's clock, in whole seconds."""
    heard_at: Mapped[datetime]
    """By ours."""
    value: Mapped[dict[str, Any]]


class HomeRow(Base):
    """The app by which a WABA is looked after."""

    __tablename__ = "homes"

    waba: Mapped[str] = mapped_column(String(20), primary_key=True)
    app: Mapped[str] = mapped_column(String(20))
    since: Mapped[datetime]
    actor: Mapped[str | None] = mapped_column(String(120))
    """Who has set it; None when it was learned."""
    reason: Mapped[str | None] = mapped_column(Text)


class SecretRow(Base):
    """A secret, sealed: nobody reads it without a key that is not in the database."""

    __tablename__ = "secrets"

    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    """`operations/<id>/pin` and the like of an operation; any other name was chosen by a person or a kind."""
    sealed: Mapped[str] = mapped_column(Text)
    operation_id: Mapped[str | None] = mapped_column(ForeignKey("operations.id", ondelete="CASCADE"), index=True)
    """Goes with this operation."""
    created_at: Mapped[datetime]


class NumberCallsRow(Base):
    """When calls were made of which a number bears few: those of the last window, as ISO 8601."""

    __tablename__ = "number_calls"

    number: Mapped[str] = mapped_column(String(20), primary_key=True)
    quota: Mapped[str] = mapped_column(String(20), primary_key=True)
    """`register`, `deregister`."""
    times: Mapped[list[Any]]


class MediaRow(Base):
    """A file that an operation is to give to Meta. Its bytes are in no payload and no message."""

    __tablename__ = "media"

    operation_id: Mapped[str] = mapped_column(ForeignKey("operations.id", ondelete="CASCADE"), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    size: Mapped[int]
    type: Mapped[str | None] = mapped_column(String(80))
    """As its first bytes tell."""
    content: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]


class Lifted:
    """What somebody decided: live until it ends or somebody lifts it; kept for ever after."""

    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    reason: Mapped[str] = mapped_column(Text)
    actor: Mapped[str] = mapped_column(String(120))
    created_at: Mapped[datetime]
    ends_at: Mapped[datetime | None]
    lifted_at: Mapped[datetime | None]
    lifted_by: Mapped[str | None] = mapped_column(String(120))
    lift_reason: Mapped[str | None] = mapped_column(Text)


class PauseRow(Lifted, Base):
    """A pause."""

    __tablename__ = "pauses"

    scope_type: Mapped[str] = mapped_column(String(16))
    scope_name: Mapped[str] = mapped_column(String(130))
    notice: Mapped[str | None] = mapped_column(Text)
    mode: Mapped[str] = mapped_column(String(8), server_default="hold")
    percent: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    """How much of an app's budget what it covers may use."""
    at_end: Mapped[str] = mapped_column(String(8), server_default="lift")
    incident: Mapped[int | None]
    stepped_at: Mapped[datetime | None]
    """Since when it has had its percent, while it is being lifted step by step."""

    __table_args__ = (_index("ix_pauses_live", "scope_type", "scope_name", where="lifted_at IS NULL"),)


class AuditRow(Base):
    """One decision of a person, or of the product where a person let it decide."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    at: Mapped[datetime]
    actor: Mapped[str] = mapped_column(String(120))
    action: Mapped[str] = mapped_column(String(24))
    scope: Mapped[str] = mapped_column(String(160))
    reason: Mapped[str] = mapped_column(Text)
    detail: Mapped[dict[str, Any] | None]
    incident: Mapped[int | None]

    __table_args__ = (Index("ix_audit_at", "at"),)


class AnnouncementRow(Base):
    """What the public was told of an incident, released by a person."""

    __tablename__ = "announcements"

    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    incident: Mapped[int]
    at: Mapped[datetime]
    stage: Mapped[str] = mapped_column(String(16))
    title: Mapped[str] = mapped_column(String(200))
    body: Mapped[str] = mapped_column(Text)
    impact: Mapped[str] = mapped_column(String(16))
    components: Mapped[list[Any]]
    actor: Mapped[str] = mapped_column(String(120))

    __table_args__ = (Index("ix_announcements_incident", "incident", "id"),)


class OverrideRow(Lifted, Base):
    """How a breaker must stand."""

    __tablename__ = "overrides"

    scope: Mapped[str] = mapped_column(String(120))
    stand: Mapped[str] = mapped_column(String(8))

    __table_args__ = (_index("ix_overrides_live", "scope", where="lifted_at IS NULL"),)


class RouteRow(Lifted, Base):
    """Operations of one app go by another."""

    __tablename__ = "routes"

    from_app: Mapped[str] = mapped_column(String(20))
    to_app: Mapped[str] = mapped_column(String(20))
    kind: Mapped[str | None] = mapped_column(String(64))
    """Only this kind; the same for partner and WABA."""
    partner: Mapped[str | None] = mapped_column(String(64))
    waba: Mapped[str | None] = mapped_column(String(20))


class LimitRow(Base):
    """A limit that somebody set; the newest of a scope is in force, unless that one took it away."""

    __tablename__ = "limits"

    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    scope: Mapped[str] = mapped_column(String(120), index=True)
    calls: Mapped[int | None]
    """Nothing: from then on the configuration alone decides."""
    shadow: Mapped[bool] = mapped_column(default=False, server_default=false())
    window_seconds: Mapped[float] = mapped_column(Float)
    actor: Mapped[str] = mapped_column(String(120))
    reason: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]


class ShareRow(Base):
    """How a partner is served beside others; his newest is in force, unless that one took it away."""

    __tablename__ = "shares"

    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    partner: Mapped[str] = mapped_column(String(64), index=True)
    weight: Mapped[float] = mapped_column(Float)
    at_most: Mapped[int | None]
    unset: Mapped[bool] = mapped_column(default=False)
    actor: Mapped[str] = mapped_column(String(120))
    reason: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]


class RevisionRow(Base):
    """The number of the newest decision: whoever mirrors decisions can tell old from new."""

    __tablename__ = "revisions"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    number: Mapped[int]


class LeadershipRow(Base):
    """Which dispatcher leads, until when."""

    __tablename__ = "leaderships"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    holder: Mapped[str] = mapped_column(String(120))
    until: Mapped[datetime]


class TemplateListRow(Base):
    """How fresh the mirror of one WABA's templates is. Two clocks: a try is not a success."""

    __tablename__ = "template_lists"

    waba: Mapped[str] = mapped_column(String(20), primary_key=True)
    partner: Mapped[str] = mapped_column(String(64))
    app: Mapped[str] = mapped_column(String(20))
    last_attempt_at: Mapped[datetime | None]
    last_success_at: Mapped[datetime | None]
    last_error: Mapped[str | None] = mapped_column(Text)
    operation_id: Mapped[str | None] = mapped_column(String(36))
    """The operation whose list this is."""
    templates: Mapped[int] = mapped_column(default=0)
    page_size: Mapped[int | None]
    """The page size that Meta bore last time."""
    read_at: Mapped[datetime | None]
    """Before the first page of the list was asked for: what happened earlier is in it."""


class TemplateRow(Base):
    """A template as Meta told it; `status` is the provider's own word."""

    __tablename__ = "templates"

    waba: Mapped[str] = mapped_column(String(20), primary_key=True)
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(512))
    language: Mapped[str] = mapped_column(String(16))
    status: Mapped[str] = mapped_column(String(32))
    category: Mapped[str] = mapped_column(String(32))
    content: Mapped[dict[str, Any]]
    """Everything that Meta said of it."""
    changed_at: Mapped[datetime]


class TemplateChangeRow(Base):
    """One difference that a sync found, or a webhook told."""

    __tablename__ = "template_changes"

    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    waba: Mapped[str] = mapped_column(String(20))
    operation_id: Mapped[str | None] = mapped_column(String(36))
    """The sync that found it."""
    topic: Mapped[str | None] = mapped_column(String(64))
    """The webhook that told it."""
    at: Mapped[datetime]
    change: Mapped[str] = mapped_column(String(8))
    """`added`, `changed` or `removed`."""
    template_id: Mapped[str] = mapped_column(String(32))
    name: Mapped[str] = mapped_column(String(512))
    language: Mapped[str] = mapped_column(String(16))
    before: Mapped[dict[str, Any] | None]
    """The fields that differ, as they were; None when added."""
    after: Mapped[dict[str, Any] | None]
    """The fields that differ, as they are; None when removed."""

    __table_args__ = (
        Index("ix_template_changes_waba", "waba", "id"),
        Index("ix_template_changes_at", "at"),
    )


class StagedPageRow(Base):
    """A page of a list that is still being read; nobody reads the mirror from here."""

    __tablename__ = "staged_pages"

    operation_id: Mapped[str] = mapped_column(ForeignKey("operations.id", ondelete="CASCADE"), primary_key=True)
    page: Mapped[int] = mapped_column(primary_key=True)
    next_cursor: Mapped[str | None] = mapped_column(Text)
    templates: Mapped[list[Any]]
    read_at: Mapped[datetime | None]
    """Before it was asked for."""


class TemplateNewsRow(Base):
    """The newest that a webhook has told of one template, by topic; it puts webhooks and pages in order."""

    __tablename__ = "template_news"

    waba: Mapped[str] = mapped_column(String(20), primary_key=True)
    template_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    """Empty: of the WABA itself."""
    topic: Mapped[str] = mapped_column(String(64), primary_key=True)
    happened_at: Mapped[datetime]
    """By Meta's clock, in whole seconds."""
    heard_at: Mapped[datetime] = mapped_column(index=True)
    """By ours."""
    facts: Mapped[dict[str, Any]]
    """What is to be laid over the template."""
    digests: Mapped[list[Any]]
    """The webhooks of this very second, to tell a repetition from another event."""


class FleetRow(Base):
    """A WABA whose template list is kept fresh."""

    __tablename__ = "fleet"

    waba: Mapped[str] = mapped_column(String(20), primary_key=True)
    app: Mapped[str] = mapped_column(String(20))
    partner: Mapped[str] = mapped_column(String(64))
    due_at: Mapped[datetime | None]
    """None: it is not kept fresh, `stopped` says why."""
    operation_id: Mapped[str | None] = mapped_column(String(36))
    """The sync that is planned, until it has ended."""
    why: Mapped[str] = mapped_column(Text)
    """Why it is due then."""
    every_seconds: Mapped[float | None] = mapped_column(Float)
    """A wished staleness of its own."""
    interval_seconds: Mapped[float] = mapped_column(Float)
    """How often that came to be."""
    calls: Mapped[float] = mapped_column(Float)
    """Calls that its last sync took."""
    added_at: Mapped[datetime]
    success_at: Mapped[datetime | None]
    failed_at: Mapped[datetime | None]
    failures: Mapped[int]
    pending_since: Mapped[datetime | None]
    credit: Mapped[int] = mapped_column(SmallInteger)
    heard_at: Mapped[datetime | None]
    """When the last webhook about it came."""
    doubted_at: Mapped[datetime | None]
    stopped: Mapped[str | None] = mapped_column(Text)
    stopped_by: Mapped[str | None] = mapped_column(String(120))
    actor: Mapped[str | None] = mapped_column(String(120))
    """Who has set its wish; None when it came with its first sync."""
    reason: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        # The stalest that are due: one seek. With the partner in it, so that a paused one is skipped within.
        Index(
            "ix_fleet_due",
            "app",
            "due_at",
            "waba",
            "partner",
            sqlite_where=text("due_at IS NOT NULL AND operation_id IS NULL"),
            postgresql_where=text("due_at IS NOT NULL AND operation_id IS NULL"),
        ),
        Index(
            "ix_fleet_planned",
            "operation_id",
            sqlite_where=text("operation_id IS NOT NULL"),
            postgresql_where=text("operation_id IS NOT NULL"),
        ),
    )


class FleetWishRow(Base):
    """How fresh a fleet is to be, and what that may cost; the newest of a scope is in force."""

    __tablename__ = "fleet_wishes"

    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    app: Mapped[str] = mapped_column(String(20))
    """Empty: all apps."""
    every_seconds: Mapped[float | None] = mapped_column(Float)
    """None: as the configuration says; so is a `share` of None."""
    share: Mapped[float | None] = mapped_column(Float)
    actor: Mapped[str] = mapped_column(String(120))
    reason: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]

    __table_args__ = (Index("ix_fleet_wishes_app", "app", "id"),)


class FleetOutlookRow(Base):
    """What the last count of an app's fleet has come to."""

    __tablename__ = "fleet_outlooks"

    app: Mapped[str] = mapped_column(String(20), primary_key=True)
    at: Mapped[datetime]
    outlook: Mapped[dict[str, Any]]


class HappeningRow(Base):
    """Something that the product has seen: a breaker that moved, a refusal of Meta's, a probe."""

    __tablename__ = "happenings"

    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    at: Mapped[datetime]
    name: Mapped[str] = mapped_column(String(32))
    app: Mapped[str | None] = mapped_column(String(20))
    scope: Mapped[str | None] = mapped_column(String(120))
    """Whose breaker or limit it was: `app:1/uploads`."""
    queue: Mapped[str | None] = mapped_column(String(64))
    partner: Mapped[str | None] = mapped_column(String(64))
    waba: Mapped[str | None] = mapped_column(String(20))
    capability: Mapped[str | None] = mapped_column(String(32))
    operation_id: Mapped[str | None] = mapped_column(String(36))
    code: Mapped[int | None]
    """Meta's, as are the next two."""
    subcode: Mapped[int | None]
    fbtrace_id: Mapped[str | None] = mapped_column(String(120))
    detail: Mapped[dict[str, Any]]

    __table_args__ = (Index("ix_happenings_app", "app", "at"), Index("ix_happenings_at", "at"))


class SampleRow(Base):
    """How full an app's budget was at a moment."""

    __tablename__ = "samples"

    at: Mapped[datetime] = mapped_column(primary_key=True)
    scope: Mapped[str] = mapped_column(String(120), primary_key=True)
    app: Mapped[str] = mapped_column(String(20))
    used: Mapped[int]
    others: Mapped[int]
    """What Meta's headers told beyond our own count."""
    limit: Mapped[int]
    percent: Mapped[float] = mapped_column(Float)
    percent_high: Mapped[float] = mapped_column(Float)
    """The highest since the sample before."""
    in_flight: Mapped[int]
    learning: Mapped[bool]
    broken: Mapped[list[Any]]
    """Scopes of the breakers of the app and its capabilities that were not closed."""


class BacklogRow(Base):
    """What of a queue was not finished at a moment."""

    __tablename__ = "backlogs"

    at: Mapped[datetime] = mapped_column(primary_key=True)
    queue: Mapped[str] = mapped_column(String(64), primary_key=True)
    waiting: Mapped[int]
    held: Mapped[int]
    running: Mapped[int]
    needs_input: Mapped[int]
    oldest_seconds: Mapped[float] = mapped_column(Float)
    """Age of the oldest of them."""


class SpendingRow(Base):
    """Who used how much of an app's budget in one part of a window."""

    __tablename__ = "spending"

    app: Mapped[str] = mapped_column(String(20), primary_key=True)
    since: Mapped[datetime] = mapped_column(primary_key=True)
    """When the part began."""
    generation: Mapped[str] = mapped_column(String(16), primary_key=True)
    """Which counter has told it: one that was emptied in between begins anew, beside what it told before."""
    queue: Mapped[str] = mapped_column(String(64), primary_key=True)
    partner: Mapped[str] = mapped_column(String(64), primary_key=True)
    """Empty: all those together that are too small to be named."""
    capability: Mapped[str] = mapped_column(String(32), primary_key=True)
    waba: Mapped[str] = mapped_column(String(20), primary_key=True)
    """Empty: all WABAs together. Rows with a WABA are of the largest alone, and are in those sums already."""
    seconds: Mapped[float] = mapped_column(Float)
    """Length of the part."""
    calls: Mapped[int]
    refused: Mapped[int]
    """Those of them that met a limit of Meta's."""

    __table_args__ = (Index("ix_spending_since", "since"),)


class IncidentRow(Base):
    """Something that went wrong with an app, from its first episode until a person has closed it."""

    __tablename__ = "incidents"

    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    app: Mapped[str | None] = mapped_column(String(20))
    """None: a person has opened it for all of them."""
    title: Mapped[str] = mapped_column(Text)
    opened_at: Mapped[datetime]
    opened_by: Mapped[str] = mapped_column(String(120))
    closed_at: Mapped[datetime | None]
    closed_by: Mapped[str | None] = mapped_column(String(120))
    close_reason: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (_index("ix_incidents_open", "app", where="closed_at IS NULL"),)


class EpisodeRow(Base):
    """A time in which an incident's trouble was there."""

    __tablename__ = "episodes"

    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    incident_id: Mapped[int] = mapped_column(ForeignKey("incidents.id", ondelete="CASCADE"), index=True)
    app: Mapped[str] = mapped_column(String(20))
    began_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    """When something of it was seen last."""
    ended_at: Mapped[datetime | None]
    conditions: Mapped[list[Any]]
    """What it consisted of, as `Seen.as_json`."""

    __table_args__ = (_index("ix_episodes_on", "app", where="ended_at IS NULL"),)


class NoteRow(Base):
    """An entry in the diary of an incident."""

    __tablename__ = "notes"

    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    incident_id: Mapped[int] = mapped_column(ForeignKey("incidents.id", ondelete="CASCADE"), index=True)
    at: Mapped[datetime]
    actor: Mapped[str] = mapped_column(String(120))
    name: Mapped[str] = mapped_column(String(16))
    """`opened`, `note`, `closed`, `reopened`, `alarmed`."""
    text: Mapped[str] = mapped_column(Text)


class AlarmRow(Base):
    """What is to be told of an episode by one way, or has been."""

    __tablename__ = "alarms"

    episode_id: Mapped[int] = mapped_column(ForeignKey("episodes.id", ondelete="CASCADE"), primary_key=True)
    channel: Mapped[str] = mapped_column(String(16), primary_key=True)
    """`command` or `url`."""
    tries: Mapped[int] = mapped_column(default=0)
    due_at: Mapped[datetime | None]
    """When it is tried next; None when it is done, or given up."""
    done_at: Mapped[datetime | None]
    error: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (_index("ix_alarms_due", "due_at", where="due_at IS NOT NULL"),)
