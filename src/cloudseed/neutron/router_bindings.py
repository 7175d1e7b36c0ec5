"""Which L3 agent has which router, as operators see and change it (`router_scheduling.py` chooses).

A binding without a host is an operator's: the router was taken from its agent and waits to be given to another.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.neutron import access, agents, errors, listing, models, router_scheduling, routers
from cloudseed.neutron.server import Neutron

table = models.router_bindings


async def _agent(neutron: Neutron, ctx: Context, tx: Tx, agent_id: str) -> Any:
    row = await agents.load(neutron, ctx, tx, agent_id)
    if row.agent_type != agents.L3:
        raise errors.InvalidL3Agent(id=agent_id)
    return row


async def agents_of(neutron: Neutron, ctx: Context, router_id: str) -> list[dict[str, Any]]:
    """The L3 agent that has a router."""
    access.authorize(neutron, ctx, "get_l3-agents", {})
    async with neutron.db.read() as tx:
        await routers.load(neutron, ctx, tx, router_id)
        rows = await tx.all(sa.select(models.agents).join(table, table.c.host == models.agents.c.host).where(
            table.c.router_id == router_id, models.agents.c.agent_type == agents.L3))
    return [{**agents.record(row, neutron.alive_since()), "ha_state": None} for row in rows]


async def routers_on(neutron: Neutron, ctx: Context, agent_id: str) -> list[dict[str, Any]]:
    """The routers that an L3 agent has."""
    access.authorize(neutron, ctx, "get_l3-routers", {})
    async with neutron.db.read() as tx:
        agent = await agents.load(neutron, ctx, tx, agent_id)
        if agent.agent_type != agents.L3:
            return []
        ids = list(await tx.scalars(sa.select(table.c.router_id).where(table.c.host == agent.host)))
        return await routers.records(tx, await listing.by_ids(tx, sa.select(models.routers), models.routers.c.id, ids))


async def add(neutron: Neutron, ctx: Context, agent_id: str, router_id: str) -> None:
    """Give a router to an agent; RouterHostedByL3Agent when another has it."""
    async with neutron.db.write() as tx:
        access.authorize(neutron, ctx, "create_l3-router", {})
        agent = await _agent(neutron, ctx, tx, agent_id)
        await routers.load(neutron, ctx, tx, router_id)
        if not agent.admin_state_up:
            raise errors.InvalidL3Agent(id=agent_id)
        held = await tx.scalar(sa.select(table.c.host).where(table.c.router_id == router_id))
        if held == agent.host:
            return
        if held:
            raise errors.RouterHostedByL3Agent(router=router_id, agent=agent_id)
        await tx.execute(sa.delete(table).where(table.c.router_id == router_id))
        await tx.execute(sa.insert(table).values(router_id=router_id, host=agent.host, error=""))
    await neutron.look_again(ctx)


async def remove(neutron: Neutron, ctx: Context, agent_id: str, router_id: str) -> None:
    """Take a router from an agent; RouterNotHostedByL3Agent when it has it not."""
    async with neutron.db.write() as tx:
        access.authorize(neutron, ctx, "delete_l3-router", {})
        agent = await _agent(neutron, ctx, tx, agent_id)
        await routers.load(neutron, ctx, tx, router_id)
        found = await tx.execute(sa.update(table).where(
            table.c.router_id == router_id, table.c.host == agent.host).values(host="", error=""))
        if not found.rowcount:
            raise errors.RouterNotHostedByL3Agent(router=router_id, agent=agent_id)
        await router_scheduling.unwire(tx, router_id)
    await neutron.look_again(ctx)
