"""Whether the host of a waiting binding has wired it already."""

import sqlalchemy as sa
from alembic import op

revision = '0009'
down_revision = '0008'


def upgrade() -> None:
    with op.batch_alter_table('port_bindings', schema=None) as batch_op:
        batch_op.add_column(sa.Column('wired', sa.Boolean(), nullable=False, server_default=sa.false()))
