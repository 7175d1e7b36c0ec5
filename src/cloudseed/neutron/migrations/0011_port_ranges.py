"""Port forwardings of ranges of ports."""

import sqlalchemy as sa
from alembic import op

revision = '0011'
down_revision = '0010'


def upgrade() -> None:
    for end in ('external', 'internal'):
        op.add_column('port_forwardings', sa.Column(f'{end}_last', sa.Integer(), nullable=True))
    op.execute('UPDATE port_forwardings SET external_last = external_port, internal_last = internal_port')
    with op.batch_alter_table('port_forwardings', schema=None) as batch_op:
        for end in ('external', 'internal'):
            batch_op.alter_column(f'{end}_last', existing_type=sa.Integer(), nullable=False)
