"""What operators look at: how many addresses are left, which agents serve a network, availability zones."""

from __future__ import annotations

import ipaddress
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.neutron import access, addresses, agents, listing, models, networks
from cloudseed.neutron.server import Neutron

# filters of network-ip-availabilities
SPEC = listing.spec(models.networks, networks.SPEC.not_found, names={"id": "network_id", "name": "network_name"},
                    special={"ip_version": lambda values, ctx: models.networks.c.id.in_(
                        sa.select(models.subnets.c.network_id).where(
                            models.subnets.c.ip_version.in_([int(v) for v in values if v in ("4", "6")])))})


async def list_ip_availabilities(neutron: Neutron, ctx: Context, query: listing.Query) -> list[dict[str, Any]]:
    """Every network's addresses, total and used; for administrators."""
    access.authorize(neutron, ctx, "get_network_ip_availability", {})
    table = models.networks
    async with neutron.db.read() as tx:
        rows = await listing.page(tx, sa.select(table.c.id, table.c.name, table.c.project_id), SPEC, query, ctx)
        return await _availabilities(tx, rows)


async def get_ip_availability(neutron: Neutron, ctx: Context, network_id: str) -> dict[str, Any]:
    access.authorize(neutron, ctx, "get_network_ip_availability", {})
    async with neutron.db.read() as tx:
        return (await _availabilities(tx, [await networks.load(neutron, ctx, tx, network_id)]))[0]


async def _availabilities(tx: Tx, rows: list[Any]) -> list[dict[str, Any]]:
    table, used = models.subnets, models.ip_allocations
    ids = [row.id for row in rows]
    its = await listing.by_ids(tx, sa.select(table).order_by(table.c.created_at), table.c.network_id, ids)
    counts: dict[str, int] = dict(tuple(row) for row in await listing.by_ids(
        tx, sa.select(used.c.subnet_id, sa.func.count()).group_by(used.c.subnet_id), used.c.network_id, ids))
    found = []
    for row in rows:
        parts = [_subnet(subnet, counts.get(subnet.id, 0)) for subnet in its if subnet.network_id == row.id]
        found.append({
            "network_id": row.id, "network_name": row.name, "project_id": row.project_id,
            "tenant_id": row.project_id, "subnet_ip_availability": parts,
            "used_ips": sum(p["used_ips"] for p in parts), "total_ips": sum(p["total_ips"] for p in parts)})
    return found


def _subnet(subnet: Any, used: int) -> dict[str, Any]:
    first, last = addresses.usable(ipaddress.ip_network(subnet.cidr))
    total = addresses.size(subnet.allocation_pools) if subnet.allocation_pools else last - first + 1
    return {"subnet_id": subnet.id, "ip_version": subnet.ip_version, "cidr": subnet.cidr,
            "subnet_name": subnet.name, "used_ips": used, "total_ips": total}


async def list_availability_zones(neutron: Neutron, ctx: Context) -> list[dict[str, Any]]:
    """Zones of living agents that serve networks."""
    table = models.agents
    async with neutron.db.read() as tx:
        rows = await tx.all(sa.select(table).where(table.c.agent_type.in_((agents.DHCP, agents.L3))))
    states: dict[tuple[str, str], bool] = {}
    for row in rows:
        if row.availability_zone:
            key = (row.availability_zone, "network" if row.agent_type == agents.DHCP else "router")
            states[key] = states.get(key, False) or (row.admin_state_up and agents.is_alive(row, neutron.alive_since()))
    return [{"name": name, "resource": resource, "state": "available" if up else "unavailable"}
            for (name, resource), up in sorted(states.items())]


async def dhcp_agents_of(neutron: Neutron, ctx: Context, network_id: str) -> list[dict[str, Any]]:
    """The DHCP agents that have a port on a network."""
    access.authorize(neutron, ctx, "get_dhcp-agents", {})
    table, ports = models.agents, models.ports
    async with neutron.db.read() as tx:
        await networks.load(neutron, ctx, tx, network_id)
        rows = await tx.all(sa.select(table).where(table.c.agent_type == agents.DHCP, table.c.host.in_(
            sa.select(ports.c.host).where(ports.c.network_id == network_id, ports.c.device_owner == "network:dhcp"))))
    return [agents.record(row, neutron.alive_since()) for row in rows]


async def networks_of(neutron: Neutron, ctx: Context, agent_id: str) -> list[dict[str, Any]]:
    """The networks on which a DHCP agent has a port."""
    access.authorize(neutron, ctx, "get_dhcp-networks", {})
    agent = await agents.get_agent(neutron, ctx, agent_id)
    ports = models.ports
    async with neutron.db.read() as tx:
        ids = list(await tx.scalars(sa.select(ports.c.network_id).where(
            ports.c.host == agent["host"], ports.c.device_owner == "network:dhcp").distinct())) \
            if agent["agent_type"] == agents.DHCP else []
    return await networks.list_networks(neutron, ctx, listing.Query({"id": ids})) if ids else []
