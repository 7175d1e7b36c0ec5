"""Bindings of ports that wait to be activated."""

import sqlalchemy as sa
from alembic import op

import cloudseed.kernel.db

revision = '0008'
down_revision = '0007'


def upgrade() -> None:
    op.create_table('port_bindings',
    sa.Column('port_id', sa.String(length=36), nullable=False),
    sa.Column('host', sa.String(length=255), nullable=False),
    sa.Column('vif_type', sa.String(length=64), nullable=False),
    sa.Column('vnic_type', sa.String(length=64), nullable=False),
    sa.Column('profile', cloudseed.kernel.db.Json(), nullable=False),
    sa.ForeignKeyConstraint(['port_id'], ['ports.id'], ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('port_id', 'host')
    )
