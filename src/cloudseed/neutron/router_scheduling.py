"""Routers get a host when they first have something to join, and their ports are down when they lose it."""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.db import Tx
from cloudseed.neutron import agents, models
from cloudseed.neutron.server import Neutron

table = models.router_bindings


async def schedule(neutron: Neutron, tx: Tx, router_id: str | None = None) -> list[str]:
    """Give routers that join something and have no agent (this one, or all of them) to the living agent with the
    fewest; returns those that have one now."""
    everybody, inner = models.routers, models.router_ports
    unbound = sa.select(everybody.c.id).where(
        everybody.c.id.not_in(sa.select(table.c.router_id)),
        everybody.c.gateway_port_id.is_not(None)
        | sa.exists().where(inner.c.router_id == everybody.c.id))
    if router_id is not None:
        unbound = unbound.where(everybody.c.id == router_id)
    waiting = list(await tx.scalars(unbound))
    if not waiting:
        return []
    load = await loads(neutron, tx)
    if not load:
        return []
    for each in waiting:
        host = min(load, key=lambda name: load[name])
        load[host] += 1
        await tx.execute(sa.insert(table).values(router_id=each, host=host, error=""))
    return waiting


async def living_hosts(neutron: Neutron, tx: Tx) -> set[str]:
    """Hosts whose L3 agent is heard, whether or not it takes more routers."""
    return set(await tx.scalars(sa.select(models.agents.c.host).where(
        models.agents.c.agent_type == agents.L3, models.agents.c.heartbeat_at > neutron.alive_since())))


async def loads(neutron: Neutron, tx: Tx) -> dict[str, int]:
    """How many routers each living agent has that may be given more."""
    hosts = await tx.scalars(sa.select(models.agents.c.host).where(
        models.agents.c.agent_type == agents.L3, models.agents.c.admin_state_up,
        models.agents.c.heartbeat_at > neutron.alive_since()).order_by(models.agents.c.host))
    load = dict.fromkeys(hosts, 0)
    for host, count in await tx.all(sa.select(table.c.host, sa.func.count()).group_by(table.c.host)):
        if host in load:
            load[host] = count
    return load


def port_ids(router_id: str) -> sa.CompoundSelect[Any]:
    """Ids of a router's ports, its gateway's among them."""
    inner, routers = models.router_ports.c, models.routers.c
    return sa.union_all(sa.select(inner.port_id).where(inner.router_id == router_id),
                        sa.select(routers.gateway_port_id).where(routers.id == router_id))


async def unwire(tx: Tx, router_id: str) -> None:
    """A router that no agent has, or that is switched off, passes nothing: its ports and addresses are down."""
    await tx.execute(sa.update(models.ports).where(models.ports.c.id.in_(port_ids(router_id))).values(
        status="DOWN", status_since=time.time()))
    await tx.execute(sa.update(models.floatingips).where(models.floatingips.c.router_id == router_id)
                     .values(status="DOWN"))
