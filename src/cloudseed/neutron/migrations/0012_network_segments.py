"""Segments of networks, one of each network that there is."""

import uuid

import sqlalchemy as sa
from alembic import op

revision = '0012'
down_revision = '0011'


def upgrade() -> None:
    made = op.create_table('network_segments',
    sa.Column('id', sa.String(length=36), nullable=False),
    sa.Column('network_id', sa.String(length=36), nullable=False),
    sa.Column('position', sa.Integer(), nullable=False),
    sa.Column('name', sa.String(length=255), nullable=True),
    sa.Column('description', sa.String(length=255), nullable=True),
    sa.Column('network_type', sa.String(length=32), nullable=False),
    sa.Column('physical_network', sa.String(length=64), nullable=True),
    sa.Column('segmentation_id', sa.Integer(), nullable=True),
    sa.Column('created_at', sa.String(length=20), nullable=False),
    sa.Column('updated_at', sa.String(length=20), nullable=False),
    sa.Column('revision_number', sa.Integer(), nullable=False),
    sa.ForeignKeyConstraint(['network_id'], ['networks.id'], ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id'),
    sa.UniqueConstraint('network_id', 'position')
    )
    known = sa.table('networks', *(sa.column(name) for name in (
        'id', 'network_type', 'physical_network', 'segmentation_id', 'created_at')))
    connection = op.get_bind()
    for row in connection.execute(sa.select(known)).all():
        connection.execute(sa.insert(made).values(
            id=str(uuid.uuid4()), network_id=row.id, position=0, network_type=row.network_type,
            physical_network=row.physical_network, segmentation_id=row.segmentation_id, created_at=row.created_at,
            updated_at=row.created_at, revision_number=1))
