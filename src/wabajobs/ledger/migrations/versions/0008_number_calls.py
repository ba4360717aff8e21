"""The account of each number's registrations."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_JSON = sa.JSON(none_as_null=True).with_variant(
    postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), "postgresql"
)


def upgrade() -> None:
    op.create_table(
        "number_calls",
        sa.Column("number", sa.String(length=20), nullable=False),
        sa.Column("quota", sa.String(length=20), nullable=False),
        sa.Column("times", _JSON, nullable=False),
        sa.PrimaryKeyConstraint("number", "quota"),
    )


def downgrade() -> None:
    op.drop_table("number_calls")
