"""initial."""

import sqlalchemy as sa
from alembic import op

import cloudseed.kernel.db

revision = '0001'
down_revision = None


def upgrade() -> None:
    op.create_table('accounts',
    sa.Column('name', sa.String(length=256), nullable=False),
    sa.Column('created_at', sa.Float(), nullable=False),
    sa.Column('metadata', cloudseed.kernel.db.Json(), nullable=False),
    sa.PrimaryKeyConstraint('name')
    )
    op.create_table('trash',
    sa.Column('file', sa.String(length=36), nullable=False),
    sa.Column('since', sa.Float(), nullable=False),
    sa.PrimaryKeyConstraint('file')
    )
    op.create_table('containers',
    sa.Column('id', sa.Integer(), autoincrement=True, nullable=False),
    sa.Column('account', sa.String(length=256), nullable=False),
    sa.Column('name', sa.String(length=256), nullable=False),
    sa.Column('created_at', sa.Float(), nullable=False),
    sa.Column('changed_at', sa.Float(), nullable=False),
    sa.Column('metadata', cloudseed.kernel.db.Json(), nullable=False),
    sa.Column('read_acl', sa.Text(), nullable=False),
    sa.Column('write_acl', sa.Text(), nullable=False),
    sa.ForeignKeyConstraint(['account'], ['accounts.name'], ),
    sa.PrimaryKeyConstraint('id'),
    sa.UniqueConstraint('account', 'name')
    )
    op.create_table('objects',
    sa.Column('id', sa.Integer(), autoincrement=True, nullable=False),
    sa.Column('container_id', sa.Integer(), nullable=False),
    sa.Column('name', sa.String(length=1024), nullable=False),
    sa.Column('size', sa.BigInteger(), nullable=False),
    sa.Column('etag', sa.String(length=32), nullable=False),
    sa.Column('content_type', sa.String(length=1024), nullable=False),
    sa.Column('file', sa.String(length=36), nullable=True),
    sa.Column('manifest', cloudseed.kernel.db.Json(), nullable=True),
    sa.Column('metadata', cloudseed.kernel.db.Json(), nullable=False),
    sa.Column('created_at', sa.Float(), nullable=False),
    sa.Column('delete_at', sa.Float(), nullable=True),
    sa.ForeignKeyConstraint(['container_id'], ['containers.id'], ),
    sa.PrimaryKeyConstraint('id'),
    sa.UniqueConstraint('container_id', 'name')
    )
    with op.batch_alter_table('objects', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_objects_delete_at'), ['delete_at'], unique=False)
        batch_op.create_index(batch_op.f('ix_objects_file'), ['file'], unique=False)
        batch_op.create_index('ix_objects_usage', ['container_id', 'size'], unique=False)



def downgrade() -> None:
    with op.batch_alter_table('objects', schema=None) as batch_op:
        batch_op.drop_index('ix_objects_usage')
        batch_op.drop_index(batch_op.f('ix_objects_file'))
        batch_op.drop_index(batch_op.f('ix_objects_delete_at'))

    op.drop_table('objects')
    op.drop_table('containers')
    op.drop_table('trash')
    op.drop_table('accounts')
