"""Wrong passwords that were counted, and passwords that may not come back."""

import sqlalchemy as sa
from alembic import op

import cloudseed.kernel.db

revision = '0002'
down_revision = '0001'


def upgrade() -> None:
    op.create_table('login_failures',
    sa.Column('user_id', sa.String(length=64), nullable=False),
    sa.Column('attempts', sa.Integer(), nullable=False),
    sa.Column('last_at', cloudseed.kernel.db.UtcDateTime(), nullable=False),
    sa.ForeignKeyConstraint(['user_id'], ['users.id'], ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('user_id')
    )
    op.create_table('past_passwords',
    sa.Column('id', sa.Integer(), autoincrement=True, nullable=False),
    sa.Column('user_id', sa.String(length=64), nullable=False),
    sa.Column('password_hash', sa.String(length=255), nullable=False),
    sa.ForeignKeyConstraint(['user_id'], ['users.id'], ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id')
    )
    with op.batch_alter_table('past_passwords', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_past_passwords_user_id'), ['user_id'], unique=False)



def downgrade() -> None:
    with op.batch_alter_table('past_passwords', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_past_passwords_user_id'))

    op.drop_table('past_passwords')
    op.drop_table('login_failures')
