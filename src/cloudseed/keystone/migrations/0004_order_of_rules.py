"""The order in which an application credential names its access rules."""

import sqlalchemy as sa
from alembic import op

revision = '0004'
down_revision = '0003'


def upgrade() -> None:
    op.add_column('application_credential_rules',
                  sa.Column('position', sa.Integer(), nullable=False, server_default='0'))


def downgrade() -> None:
    op.drop_column('application_credential_rules', 'position')
