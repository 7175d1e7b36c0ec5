"""Policies of quality of service, and who names them."""

import sqlalchemy as sa
from alembic import op

import cloudseed.kernel.db

revision = '0005'
down_revision = '0004'


def upgrade() -> None:
    op.create_table('qos_policies',
    sa.Column('id', sa.String(length=36), nullable=False),
    sa.Column('project_id', sa.String(length=255), nullable=False),
    sa.Column('name', sa.String(length=255), nullable=False),
    sa.Column('description', sa.String(length=255), nullable=True),
    sa.Column('tags', cloudseed.kernel.db.Json(), nullable=False),
    sa.Column('created_at', sa.String(length=20), nullable=False),
    sa.Column('updated_at', sa.String(length=20), nullable=False),
    sa.Column('revision_number', sa.Integer(), nullable=False),
    sa.PrimaryKeyConstraint('id')
    )
    with op.batch_alter_table('qos_policies', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_qos_policies_project_id'), ['project_id'], unique=False)

    op.create_table('default_qos_policies',
    sa.Column('project_id', sa.String(length=255), nullable=False),
    sa.Column('qos_policy_id', sa.String(length=36), nullable=False),
    sa.ForeignKeyConstraint(['qos_policy_id'], ['qos_policies.id'], ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('project_id')
    )
    with op.batch_alter_table('default_qos_policies', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_default_qos_policies_qos_policy_id'), ['qos_policy_id'], unique=False)

    op.create_table('qos_rules',
    sa.Column('id', sa.String(length=36), nullable=False),
    sa.Column('qos_policy_id', sa.String(length=36), nullable=False),
    sa.Column('type', sa.String(length=32), nullable=False),
    sa.Column('direction', sa.String(length=16), nullable=False),
    sa.Column('rate', sa.Integer(), nullable=False),
    sa.Column('burst', sa.Integer(), nullable=False),
    sa.ForeignKeyConstraint(['qos_policy_id'], ['qos_policies.id'], ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id'),
    sa.UniqueConstraint('qos_policy_id', 'type', 'direction')
    )
    with op.batch_alter_table('qos_rules', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_qos_rules_qos_policy_id'), ['qos_policy_id'], unique=False)

    # not in batch mode: that makes the table anew, and what refers to its rows would go with the old one
    for table in ('floatingips', 'networks', 'ports'):
        op.execute(f"ALTER TABLE {table} ADD COLUMN qos_policy_id VARCHAR(36) REFERENCES qos_policies (id)")
        op.create_index(f'ix_{table}_qos_policy_id', table, ['qos_policy_id'], unique=False)
