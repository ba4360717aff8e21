"""Operations queue in lines and lanes; deadlines; one story instead of a second table of attempts."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_READY = "state = 'waiting' AND leased_until IS NULL AND blocked = false"
_LINE = "CAST(class_rank AS TEXT) || ':' || app || ':' || capability || ':' || partner"
_NEW = {
    "ix_operations_ready": (["kind", "line", "turn", "place", "id"], _READY),
    "ix_operations_turns": (["kind", "line", "waba", "turn"], f"{_READY} AND waba IS NOT NULL"),
    "ix_operations_held": (["due_at"], "state = 'held' AND leased_until IS NULL"),
    "ix_operations_deadline": (["deadline_at"], "deadline_at IS NOT NULL AND finished_at IS NULL"),
    "ix_operations_lane": (["lane", "blocked", "turn", "id"], "lane IS NOT NULL AND finished_at IS NULL"),
    "ix_operations_finished": (["finished_at"], "finished_at IS NOT NULL"),
    "ix_operations_partner": (["partner", "id"], None),
    "ix_operations_waba": (["waba", "id"], None),
}
_OLD = {
    "ix_operations_due": (
        ["kind", "class_rank", "due_at", "id"],
        "leased_until IS NULL AND state IN ('waiting', 'held')",
    ),
    "ix_operations_lane_leased": (["lane"], "leased_until IS NOT NULL"),
    "ix_operations_partner": (["partner", "created_at"], None),
    "ix_operations_waba": (["waba", "created_at"], None),
    "ix_operations_created": (["created_at"], None),
}


def upgrade() -> None:
    on_sqlite = op.get_bind().dialect.name == "sqlite"
    json = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
    # SQLite adds a computed column only when it need not be stored; it indexes it all the same.
    line = sa.Computed(_LINE, persisted=not on_sqlite)
    for column in (
        sa.Column("line", sa.String(length=160), line, nullable=True),
        sa.Column("turn", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("place", sa.Float(precision=53), nullable=False, server_default=sa.text("0")),
        sa.Column("blocked", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("deadline_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("stop", json, nullable=True),
    ):
        op.add_column("operations", column)
    op.add_column("events", sa.Column("attempt", sa.Integer(), nullable=True))
    _drop(_OLD)
    _create(_NEW)
    # Whoever came second to a lane waits for the first from now on; who is out already goes on in any case.
    op.execute(
        "UPDATE operations SET blocked = true WHERE state IN ('waiting', 'held') AND leased_until IS NULL"
        " AND EXISTS (SELECT 1 FROM operations AS other WHERE other.lane = operations.lane"
        " AND other.finished_at IS NULL AND (other.leased_until IS NOT NULL OR other.id < operations.id)"
        " AND other.id <> operations.id)"
    )
    op.drop_table("attempts")
    op.create_table(
        "shares",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("partner", sa.String(length=64), nullable=False),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.Column("at_most", sa.Integer(), nullable=True),
        sa.Column("unset", sa.Boolean(), nullable=False),
        sa.Column("actor", sa.String(length=120), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_shares_partner", "shares", ["partner"])


def downgrade() -> None:
    op.drop_table("shares")
    op.create_table(
        "attempts",
        sa.Column("operation_id", sa.String(length=36), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("worker", sa.String(length=120), nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.String(length=16), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["operation_id"], ["operations.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("operation_id", "fence"),
    )
    _drop(_NEW)
    op.drop_column("events", "attempt")
    for column in ("line", "turn", "place", "blocked", "deadline_at", "stop"):
        op.drop_column("operations", column)
    _create(_OLD)


def _create(indexes: dict[str, tuple[list[str], str | None]]) -> None:
    for name, (columns, where) in indexes.items():
        only = sa.text(where) if where else None
        op.create_index(name, "operations", columns, sqlite_where=only, postgresql_where=only)


def _drop(indexes: dict[str, tuple[list[str], str | None]]) -> None:
    for name in indexes:
        op.drop_index(name, "operations")
