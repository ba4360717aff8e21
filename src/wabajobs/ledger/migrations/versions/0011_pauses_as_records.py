"""Pauses with a mode, a percentage and an end of their own kind; the record of all decisions."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_JSON = sa.JSON(none_as_null=True).with_variant(
    postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), "postgresql"
)
_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_BEGUN = "state = 'waiting' AND leased_until IS NULL AND blocked = false AND checkpoint IS NOT NULL"


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("id", _SERIAL, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(length=120), nullable=False),
        sa.Column("action", sa.String(length=24), nullable=False),
        sa.Column("scope", sa.String(length=160), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("detail", _JSON, nullable=True),
        sa.Column("incident", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_audit_at", "audit", ["at"])
    with op.batch_alter_table("pauses") as pauses:
        pauses.alter_column("scope_name", type_=sa.String(length=130))
        pauses.add_column(sa.Column("mode", sa.String(length=8), server_default="hold", nullable=False))
        pauses.add_column(sa.Column("percent", sa.SmallInteger(), server_default=sa.text("0"), nullable=False))
        pauses.add_column(sa.Column("at_end", sa.String(length=8), server_default="lift", nullable=False))
        pauses.add_column(sa.Column("incident", sa.Integer(), nullable=True))
        pauses.add_column(sa.Column("stepped_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "ix_operations_begun",
        "operations",
        ["kind", "id"],
        sqlite_where=sa.text(_BEGUN),
        postgresql_where=sa.text(_BEGUN),
    )


def downgrade() -> None:
    op.drop_index("ix_operations_begun", "operations")
    with op.batch_alter_table("pauses") as pauses:
        for column in ("stepped_at", "incident", "at_end", "percent", "mode"):
            pauses.drop_column(column)
        pauses.alter_column("scope_name", type_=sa.String(length=120))
    op.drop_table("audit")
