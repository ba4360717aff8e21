"""The fleet that is kept fresh, and what webhooks tell."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_JSON = sa.JSON(none_as_null=True).with_variant(
    postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), "postgresql"
)
_DUE = sa.text("due_at IS NOT NULL AND operation_id IS NULL")
_PLANNED = sa.text("operation_id IS NOT NULL")


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "fleet",
        sa.Column("waba", sa.String(length=20), nullable=False),
        sa.Column("app", sa.String(length=20), nullable=False),
        sa.Column("partner", sa.String(length=64), nullable=False),
        sa.Column("due_at", moment, nullable=True),
        sa.Column("operation_id", sa.String(length=36), nullable=True),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("every_seconds", sa.Float(), nullable=True),
        sa.Column("interval_seconds", sa.Float(), nullable=False),
        sa.Column("calls", sa.Float(), nullable=False),
        sa.Column("added_at", moment, nullable=False),
        sa.Column("success_at", moment, nullable=True),
        sa.Column("failed_at", moment, nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("pending_since", moment, nullable=True),
        sa.Column("credit", sa.SmallInteger(), nullable=False),
        sa.Column("heard_at", moment, nullable=True),
        sa.Column("doubted_at", moment, nullable=True),
        sa.Column("stopped", sa.Text(), nullable=True),
        sa.Column("stopped_by", sa.String(length=120), nullable=True),
        sa.Column("actor", sa.String(length=120), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("waba"),
    )
    with op.batch_alter_table("fleet", schema=None) as batch_op:
        batch_op.create_index(
            "ix_fleet_due",
            ["app", "due_at", "waba", "partner"],
            unique=False,
            sqlite_where=_DUE,
            postgresql_where=_DUE,
        )
        batch_op.create_index(
            "ix_fleet_planned", ["operation_id"], unique=False, sqlite_where=_PLANNED, postgresql_where=_PLANNED
        )
    op.create_table(
        "fleet_wishes",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("app", sa.String(length=20), nullable=False),
        sa.Column("every_seconds", sa.Float(), nullable=True),
        sa.Column("share", sa.Float(), nullable=True),
        sa.Column("actor", sa.String(length=120), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("fleet_wishes", schema=None) as batch_op:
        batch_op.create_index("ix_fleet_wishes_app", ["app", "id"], unique=False)
    op.create_table(
        "fleet_outlooks",
        sa.Column("app", sa.String(length=20), nullable=False),
        sa.Column("at", moment, nullable=False),
        sa.Column("outlook", _JSON, nullable=False),
        sa.PrimaryKeyConstraint("app"),
    )
    op.create_table(
        "template_news",
        sa.Column("waba", sa.String(length=20), nullable=False),
        sa.Column("template_id", sa.String(length=32), nullable=False),
        sa.Column("topic", sa.String(length=64), nullable=False),
        sa.Column("happened_at", moment, nullable=False),
        sa.Column("heard_at", moment, nullable=False),
        sa.Column("facts", _JSON, nullable=False),
        sa.Column("digests", _JSON, nullable=False),
        sa.PrimaryKeyConstraint("waba", "template_id", "topic"),
    )
    with op.batch_alter_table("template_news", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_template_news_heard_at"), ["heard_at"], unique=False)
    with op.batch_alter_table("template_lists", schema=None) as batch_op:
        batch_op.add_column(sa.Column("read_at", moment, nullable=True))
    with op.batch_alter_table("staged_pages", schema=None) as batch_op:
        batch_op.add_column(sa.Column("read_at", moment, nullable=True))
    with op.batch_alter_table("template_changes", schema=None) as batch_op:
        batch_op.add_column(sa.Column("topic", sa.String(length=64), nullable=True))
        batch_op.alter_column("operation_id", existing_type=sa.String(length=36), nullable=True)


def downgrade() -> None:
    op.execute("DELETE FROM template_changes WHERE operation_id IS NULL")
    with op.batch_alter_table("template_changes", schema=None) as batch_op:
        batch_op.alter_column("operation_id", existing_type=sa.String(length=36), nullable=False)
        batch_op.drop_column("topic")
    for table in ("staged_pages", "template_lists"):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.drop_column("read_at")
    for table in ("template_news", "fleet_outlooks", "fleet_wishes", "fleet"):
        op.drop_table(table)
