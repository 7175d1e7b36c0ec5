"""The records of operations, in the database of the service that runs them."""

from __future__ import annotations

import sqlalchemy as sa

from cloudseed.kernel.db import Json

OPEN = ("pending", "running", "undoing")  # states in which somebody must carry on


class OperationTables:
    """`operations` and `operation_steps`, added to a service's metadata.

    Only the holder of an operation's lease writes its row (but for `cancel_requested`, which anybody sets); every
    such write is guarded by `lease_owner`, so a holder that slept past its lease changes nothing.

    status: pending -> running -> done
                         |-> undoing -> failed | cancelled | undo_failed (an operator must look)
    `position`: steps completed; while undoing, steps not undone yet.
    """

    def __init__(self, metadata: sa.MetaData) -> None:
        self.operations = sa.Table(
            "operations",
            metadata,
            sa.Column("id", sa.String(36), primary_key=True),
            sa.Column("kind", sa.String(64), nullable=False),
            sa.Column("resource_id", sa.String(64), nullable=False, index=True),
            sa.Column("status", sa.String(16), nullable=False, index=True),
            sa.Column("position", sa.Integer, nullable=False),
            sa.Column("data", Json, nullable=False),
            sa.Column("error", Json),
            sa.Column("context", Json, nullable=False),
            sa.Column("cancel_requested", sa.Boolean, nullable=False),
            sa.Column("lease_owner", sa.String(64)),
            sa.Column("lease_until", sa.Float, nullable=False),
            sa.Column("not_before", sa.Float, nullable=False),
            sa.Column("created_at", sa.Float, nullable=False),
            sa.Column("updated_at", sa.Float, nullable=False),
        )
        self.steps = sa.Table(
            "operation_steps",
            metadata,
            sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
            sa.Column("operation_id", sa.String(36), nullable=False, index=True),
            sa.Column("step", sa.String(64), nullable=False),
            sa.Column("action", sa.String(8), nullable=False),  # do, undo
            sa.Column("started_at", sa.Float, nullable=False),
            sa.Column("ended_at", sa.Float, nullable=False),
            sa.Column("outcome", sa.String(16), nullable=False),  # ok, error, retry, cancelled
            sa.Column("message", sa.Text, nullable=False),
        )
