"""Tokens that open consoles."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import cloudseed.kernel.db

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "console_tokens",
        sa.Column("token_digest", sa.String(length=64), nullable=False),
        sa.Column("server_id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("created_at", cloudseed.kernel.db.UtcDateTime(), nullable=False),
        sa.Column("expires_at", cloudseed.kernel.db.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("token_digest"))
    op.create_index("ix_console_tokens_expires_at", "console_tokens", ["expires_at"])
    op.create_index("ix_console_tokens_server_id", "console_tokens", ["server_id"])


def downgrade() -> None:
    op.drop_table("console_tokens")
