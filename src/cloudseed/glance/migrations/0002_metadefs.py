"""Metadata definitions: namespaces and their parts."""

import sqlalchemy as sa
from alembic import op

import cloudseed.kernel.db

revision = '0002'
down_revision = '0001'


def upgrade() -> None:
    op.create_table('metadef_namespaces',
    sa.Column('id', sa.Integer(), autoincrement=True, nullable=False),
    sa.Column('namespace', sa.String(length=80), nullable=False),
    sa.Column('display_name', sa.String(length=80), nullable=True),
    sa.Column('description', sa.Text(), nullable=True),
    sa.Column('visibility', sa.String(length=16), nullable=False),
    sa.Column('protected', sa.Boolean(), nullable=False),
    sa.Column('owner', sa.String(length=255), nullable=False),
    sa.Column('created_at', cloudseed.kernel.db.UtcDateTime(), nullable=False),
    sa.Column('updated_at', cloudseed.kernel.db.UtcDateTime(), nullable=False),
    sa.PrimaryKeyConstraint('id'),
    sa.UniqueConstraint('namespace')
    )
    op.create_table('metadef_parts',
    sa.Column('id', sa.Integer(), autoincrement=True, nullable=False),
    sa.Column('namespace_id', sa.Integer(), nullable=False),
    sa.Column('kind', sa.String(length=16), nullable=False),
    sa.Column('name', sa.String(length=80), nullable=False),
    sa.Column('body', cloudseed.kernel.db.Json(), nullable=False),
    sa.Column('created_at', cloudseed.kernel.db.UtcDateTime(), nullable=False),
    sa.Column('updated_at', cloudseed.kernel.db.UtcDateTime(), nullable=False),
    sa.ForeignKeyConstraint(['namespace_id'], ['metadef_namespaces.id'], ),
    sa.PrimaryKeyConstraint('id'),
    sa.UniqueConstraint('namespace_id', 'kind', 'name')
    )


def downgrade() -> None:
    op.drop_table('metadef_parts')
    op.drop_table('metadef_namespaces')
