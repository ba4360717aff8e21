"""What is old is found by its age, without reading what is younger; and what waits for room to be tried again."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_WAITS_FOR_BUDGET = sa.text("state = 'held' AND hold_by = 'retry_budget'")
_FINISHED = sa.text("finished_at IS NOT NULL")


def upgrade() -> None:
    _finished_by("state", "finished_at")
    op.create_index("ix_requests_created", "requests", ["created_at"])
    op.create_index("ix_template_changes_at", "template_changes", ["at"])
    op.create_index(
        "ix_operations_retries",
        "operations",
        ["app", "capability", "due_at"],
        sqlite_where=_WAITS_FOR_BUDGET,
        postgresql_where=_WAITS_FOR_BUDGET,
    )


def downgrade() -> None:
    op.drop_index("ix_operations_retries", "operations")
    op.drop_index("ix_template_changes_at", "template_changes")
    op.drop_index("ix_requests_created", "requests")
    _finished_by("finished_at")


def _finished_by(*columns: str) -> None:
    name = "ix_operations_finished"
    op.drop_index(name, "operations")
    op.create_index(name, "operations", list(columns), sqlite_where=_FINISHED, postgresql_where=_FINISHED)
