"""Networks that were made for projects without any."""

import sqlalchemy as sa
from alembic import op

revision = '0007'
down_revision = '0006'


def upgrade() -> None:
    op.create_table('auto_allocated_topologies',
    sa.Column('project_id', sa.String(length=255), nullable=False),
    sa.Column('network_id', sa.String(length=36), nullable=False),
    sa.Column('router_id', sa.String(length=36), nullable=True),
    sa.ForeignKeyConstraint(['network_id'], ['networks.id'], ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['router_id'], ['routers.id'], ondelete='SET NULL'),
    sa.PrimaryKeyConstraint('project_id')
    )
    with op.batch_alter_table('auto_allocated_topologies', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_auto_allocated_topologies_network_id'), ['network_id'], unique=False)
        batch_op.create_index(batch_op.f('ix_auto_allocated_topologies_router_id'), ['router_id'], unique=False)
