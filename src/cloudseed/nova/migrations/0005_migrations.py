"""Moves of servers between flavors and hosts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import cloudseed.kernel.db

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "migrations",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("uuid", sa.String(length=36), nullable=False),
        sa.Column("server_id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=255), nullable=False),
        sa.Column("user_id", sa.String(length=255), nullable=False),
        sa.Column("type", sa.String(length=16), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("source_host", sa.String(length=255), nullable=False),
        sa.Column("source_node", sa.String(length=255), nullable=False),
        sa.Column("dest_host", sa.String(length=255), nullable=True),
        sa.Column("dest_node", sa.String(length=255), nullable=True),
        sa.Column("old_flavor", cloudseed.kernel.db.Json(), nullable=False),
        sa.Column("new_flavor", cloudseed.kernel.db.Json(), nullable=False),
        sa.Column("old_vm_state", sa.String(length=32), nullable=False),
        sa.Column("created_at", cloudseed.kernel.db.UtcDateTime(), nullable=False),
        sa.Column("updated_at", cloudseed.kernel.db.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("uuid"))
    op.create_index("ix_migrations_server_id", "migrations", ["server_id"])


def downgrade() -> None:
    op.drop_table("migrations")
