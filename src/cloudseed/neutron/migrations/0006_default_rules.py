"""What new security groups begin with: until an administrator changes it, what they have always begun with."""

import uuid

import sqlalchemy as sa
from alembic import op

revision = '0006'
down_revision = '0005'


def upgrade() -> None:
    op.create_table('default_statefulness',
    sa.Column('id', sa.String(length=36), nullable=False),
    sa.Column('project_id', sa.String(length=255), nullable=False),
    sa.Column('stateful', sa.Boolean(), nullable=False),
    sa.PrimaryKeyConstraint('id'),
    sa.UniqueConstraint('project_id')
    )
    op.create_table('default_security_group_rules',
    sa.Column('id', sa.String(length=36), nullable=False),
    sa.Column('description', sa.String(length=255), nullable=False),
    sa.Column('direction', sa.String(length=16), nullable=False),
    sa.Column('ethertype', sa.String(length=8), nullable=False),
    sa.Column('protocol', sa.String(length=40), nullable=True),
    sa.Column('port_range_min', sa.Integer(), nullable=True),
    sa.Column('port_range_max', sa.Integer(), nullable=True),
    sa.Column('remote_ip_prefix', sa.String(length=64), nullable=True),
    sa.Column('remote_parent', sa.Boolean(), nullable=False),
    sa.Column('remote_group_id', sa.String(length=36), nullable=True),
    sa.Column('remote_address_group_id', sa.String(length=36), nullable=True),
    sa.Column('used_in_default_sg', sa.Boolean(), nullable=False),
    sa.Column('used_in_non_default_sg', sa.Boolean(), nullable=False),
    sa.ForeignKeyConstraint(['remote_address_group_id'], ['address_groups.id'], ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['remote_group_id'], ['security_groups.id'], ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id')
    )
    with op.batch_alter_table('default_security_group_rules', schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f('ix_default_security_group_rules_remote_address_group_id'),
            ['remote_address_group_id'], unique=False)
        batch_op.create_index(
            batch_op.f('ix_default_security_group_rules_remote_group_id'),
            ['remote_group_id'], unique=False)

    names = ('id', 'description', 'direction', 'ethertype', 'remote_parent', 'used_in_default_sg',
             'used_in_non_default_sg')
    columns: list[sa.ColumnClause[object]] = [sa.column(name) for name in names]
    op.bulk_insert(sa.table('default_security_group_rules', *columns), [
        {'id': str(uuid.uuid4()), 'description': f'{what} traffic, from the beginning on', 'direction': direction,
         'ethertype': ethertype, 'remote_parent': parent, 'used_in_default_sg': True,
         'used_in_non_default_sg': not parent}
        for direction, parent, what in (('egress', False, 'outgoing'), ('ingress', True, 'incoming'))
        for ethertype in ('IPv4', 'IPv6')])
