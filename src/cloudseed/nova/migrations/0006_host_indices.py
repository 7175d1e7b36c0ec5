"""What the scheduler asks before each decision is counted in indices, however many hosts there are."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_index("compute_nodes_updated", "compute_nodes", ["updated_at"])
    op.create_index("services_alive", "services", ["binary", "forced_down", "last_seen_at"])
    op.create_index("services_updated", "services", ["updated_at"])


def downgrade() -> None:
    op.drop_index("services_updated", "services")
    op.drop_index("services_alive", "services")
    op.drop_index("compute_nodes_updated", "compute_nodes")
