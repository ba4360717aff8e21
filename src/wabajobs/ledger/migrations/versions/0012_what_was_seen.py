"""What the product has seen, who spent the budget, and incidents."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_JSON = sa.JSON(none_as_null=True).with_variant(
    postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), "postgresql"
)
_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    _what_was_seen()
    _incidents()


def _what_was_seen() -> None:
    op.create_table(
        "happenings",
        sa.Column("id", _SERIAL, nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("app", sa.String(length=20), nullable=True),
        sa.Column("scope", sa.String(length=120), nullable=True),
        sa.Column("queue", sa.String(length=64), nullable=True),
        sa.Column("partner", sa.String(length=64), nullable=True),
        sa.Column("waba", sa.String(length=20), nullable=True),
        sa.Column("capability", sa.String(length=32), nullable=True),
        sa.Column("operation_id", sa.String(length=36), nullable=True),
        sa.Column("code", sa.Integer(), nullable=True),
        sa.Column("subcode", sa.Integer(), nullable=True),
        sa.Column("fbtrace_id", sa.String(length=120), nullable=True),
        sa.Column("detail", _JSON, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_happenings_app", "happenings", ["app", "at"])
    op.create_index("ix_happenings_at", "happenings", ["at"])
    op.create_table(
        "samples",
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("scope", sa.String(length=120), nullable=False),
        sa.Column("app", sa.String(length=20), nullable=False),
        sa.Column("used", sa.Integer(), nullable=False),
        sa.Column("others", sa.Integer(), nullable=False),
        sa.Column("limit", sa.Integer(), nullable=False),
        sa.Column("percent", sa.Float(), nullable=False),
        sa.Column("percent_high", sa.Float(), nullable=False),
        sa.Column("in_flight", sa.Integer(), nullable=False),
        sa.Column("learning", sa.Boolean(), nullable=False),
        sa.Column("broken", _JSON, nullable=False),
        sa.PrimaryKeyConstraint("at", "scope"),
    )
    op.create_table(
        "backlogs",
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("queue", sa.String(length=64), nullable=False),
        sa.Column("waiting", sa.Integer(), nullable=False),
        sa.Column("held", sa.Integer(), nullable=False),
        sa.Column("running", sa.Integer(), nullable=False),
        sa.Column("needs_input", sa.Integer(), nullable=False),
        sa.Column("oldest_seconds", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("at", "queue"),
    )
    op.create_table(
        "spending",
        sa.Column("app", sa.String(length=20), nullable=False),
        sa.Column("since", _MOMENT, nullable=False),
        sa.Column("generation", sa.String(length=16), nullable=False),
        sa.Column("queue", sa.String(length=64), nullable=False),
        sa.Column("partner", sa.String(length=64), nullable=False),
        sa.Column("capability", sa.String(length=32), nullable=False),
        sa.Column("waba", sa.String(length=20), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.Column("refused", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("app", "since", "generation", "queue", "partner", "capability", "waba"),
    )
    op.create_index("ix_spending_since", "spending", ["since"])


def _incidents() -> None:
    op.create_table(
        "incidents",
        sa.Column("id", _SERIAL, nullable=False),
        sa.Column("app", sa.String(length=20), nullable=True),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("opened_at", _MOMENT, nullable=False),
        sa.Column("opened_by", sa.String(length=120), nullable=False),
        sa.Column("closed_at", _MOMENT, nullable=True),
        sa.Column("closed_by", sa.String(length=120), nullable=True),
        sa.Column("close_reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    _partial("ix_incidents_open", "incidents", ["app"], "closed_at IS NULL")
    op.create_table(
        "episodes",
        sa.Column("id", _SERIAL, nullable=False),
        sa.Column("incident_id", _SERIAL, nullable=False),
        sa.Column("app", sa.String(length=20), nullable=False),
        sa.Column("began_at", _MOMENT, nullable=False),
        sa.Column("seen_at", _MOMENT, nullable=False),
        sa.Column("ended_at", _MOMENT, nullable=True),
        sa.Column("conditions", _JSON, nullable=False),
        sa.ForeignKeyConstraint(["incident_id"], ["incidents.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_episodes_incident_id", "episodes", ["incident_id"])
    _partial("ix_episodes_on", "episodes", ["app"], "ended_at IS NULL")
    op.create_table(
        "notes",
        sa.Column("id", _SERIAL, nullable=False),
        sa.Column("incident_id", _SERIAL, nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("actor", sa.String(length=120), nullable=False),
        sa.Column("name", sa.String(length=16), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["incident_id"], ["incidents.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_notes_incident_id", "notes", ["incident_id"])
    op.create_table(
        "alarms",
        sa.Column("episode_id", _SERIAL, nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("due_at", _MOMENT, nullable=True),
        sa.Column("done_at", _MOMENT, nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["episode_id"], ["episodes.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("episode_id", "channel"),
    )
    _partial("ix_alarms_due", "alarms", ["due_at"], "due_at IS NOT NULL")


def _partial(name: str, table: str, columns: list[str], where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, sqlite_where=condition, postgresql_where=condition)


def downgrade() -> None:
    tables = ("alarms", "notes", "episodes", "incidents", "spending", "backlogs", "samples", "happenings")
    for table in tables:
        op.drop_table(table)
