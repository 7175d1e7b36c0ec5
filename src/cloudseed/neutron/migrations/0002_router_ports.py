"""Which ports are a router's own."""

import sqlalchemy as sa
from alembic import op

revision = '0002'
down_revision = '0001'


def upgrade() -> None:
    op.create_table('router_ports',
    sa.Column('port_id', sa.String(length=36), nullable=False),
    sa.Column('router_id', sa.String(length=36), nullable=False),
    sa.ForeignKeyConstraint(['port_id'], ['ports.id'], ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['router_id'], ['routers.id'], ondelete='RESTRICT'),
    sa.PrimaryKeyConstraint('port_id')
    )
    with op.batch_alter_table('router_ports', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_router_ports_router_id'), ['router_id'], unique=False)

