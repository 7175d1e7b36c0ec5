"""The segment that a subnet is associated with."""

import sqlalchemy as sa
from alembic import op

revision = '0013'
down_revision = '0012'


def upgrade() -> None:
    op.add_column('subnets', sa.Column('segment_id', sa.String(length=36), nullable=True))
