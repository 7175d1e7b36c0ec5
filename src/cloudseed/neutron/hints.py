"""Whom a change of ports concerns, so that it is told to those hosts, not to a thousand.

Hints are hints: every host looks by itself at intervals, so one that is left out here is late, and never wrong.  In a
cloud of few hosts, and where one agent wires for others, everybody is told: finding out would cost more.
"""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from cloudseed.kernel.db import Tx
from cloudseed.neutron import models
from cloudseed.neutron.server import Neutron

FEW = 3  # hosts that are told without asking whom it concerns
ports, waiting, members = models.ports, models.port_bindings, models.port_security_groups
Concerned = set[str] | None  # hosts; None: all


async def of_ports(neutron: Neutron, tx: Tx, port_ids: Collection[str]) -> Concerned:
    """The hosts that wire something of these ports' networks or are told of their addresses; one statement, or none.

    Of a port that goes, ask before it is gone; of one that moves, before and after.
    """
    if len(neutron.wiring_hosts) <= FEW or any(neutron.wiring_hosts.values()):
        return None
    ids = list(port_ids)
    networks = sa.select(ports.c.network_id).where(ports.c.id.in_(ids))
    # each its own table expression: the same port is looked at from several sides
    other, rules, group = ports.alias(), models.security_group_rules, members.alias()
    bound, inner, routers = models.router_bindings, models.router_ports, models.routers
    legs = sa.union_all(
        sa.select(inner.c.port_id, inner.c.router_id),
        sa.select(routers.c.gateway_port_id, routers.c.id).where(routers.c.gateway_port_id.is_not(None))).subquery()
    found = await tx.scalars(sa.union(
        sa.select(other.c.host).where(other.c.network_id.in_(networks)),
        sa.select(waiting.c.host).join(other, other.c.id == waiting.c.port_id).where(other.c.network_id.in_(networks)),
        sa.select(bound.c.host).join(legs, legs.c.router_id == bound.c.router_id)
        .join(other, other.c.id == legs.c.port_id).where(other.c.network_id.in_(networks)),
        # rules that speak of a group of the port, on whatever network
        sa.select(other.c.host).join(group, group.c.port_id == other.c.id)
        .join(rules, rules.c.security_group_id == group.c.security_group_id)
        .where(rules.c.remote_group_id.in_(sa.select(members.c.security_group_id).where(
            members.c.port_id.in_(ids))))))
    hosts = {host for host in found if host}
    return hosts if len(hosts) <= len(neutron.wiring_hosts) // 2 else None


def both(before: Concerned, after: Concerned) -> Concerned:
    return before | after if before is not None and after is not None else None
