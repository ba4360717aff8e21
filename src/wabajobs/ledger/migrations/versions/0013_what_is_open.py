"""What is not finished is counted by hold and line, too, from the index alone."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_OPEN = sa.text("finished_at IS NULL")


def upgrade() -> None:
    of_line = ("class_rank", "app", "capability", "partner")
    _replace("kind", "state", "hold_by", *of_line, "created_at", "finished_at")


def downgrade() -> None:
    _replace("kind", "state", "created_at")


def _replace(*columns: str) -> None:
    op.drop_index("ix_operations_open", table_name="operations")
    op.create_index(
        "ix_operations_open",
        "operations",
        list(columns),
        unique=False,
        sqlite_where=_OPEN,
        postgresql_where=_OPEN,
    )
