"""Whether somebody ever said that a volume is read only, or is not."""

import sqlalchemy as sa
from alembic import op

revision = '0002'
down_revision = '0001'


def upgrade() -> None:
    op.add_column('volumes', sa.Column('readonly_said', sa.Boolean(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table('volumes', schema=None) as batch_op:
        batch_op.drop_column('readonly_said')
