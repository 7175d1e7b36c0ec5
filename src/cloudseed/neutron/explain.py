"""The story of a network resource: what it is, where it is wired, and what keeps it from working."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.db import Tx
from cloudseed.neutron import models
from cloudseed.neutron.ledger import routers as router_pictures
from cloudseed.neutron.server import Neutron

Story = dict[str, Any]


async def explain(neutron: Neutron, kind: str, name: str) -> Story | None:
    """By id or name (a floating IP by its address); None when there is none, or it is no resource of neutron's."""
    tables = {"router": models.routers, "floatingip": models.floatingips, "port": models.ports,
              "network": models.networks}
    table = tables.get(kind)
    if table is None:
        return None
    named = table.c.floating_ip_address if kind == "floatingip" else table.c.name
    async with neutron.db.read() as tx:
        row = await tx.first(sa.select(table).where((table.c.id == name) | (named == name))
                             .order_by(table.c.created_at.desc()).limit(1))
        if row is None:
            return None
        story = {"kind": kind, "id": row.id, "name": row.name, "project_id": row.project_id,
                 "created_at": row.created_at, "updated_at": row.updated_at}
        return story | await _MORE[kind](tx, row)


async def _router(tx: Tx, row: Any) -> Story:
    picture = next(each for each in await router_pictures(tx) if each["id"] == row.id)
    ports = models.ports
    legs = await tx.all(sa.select(ports.c.id, ports.c.network_id, ports.c.status).where(
        ports.c.id.in_(picture["legs"])).order_by(ports.c.id))
    return {"admin_state_up": str(row.admin_state_up),
            "host": picture["host"] or "none: no L3 agent has it, or it joins nothing",
            "error": picture["error"],
            "legs": "; ".join(f"port {leg.id} on network {leg.network_id} is {leg.status}" for leg in legs),
            "floating_ips": "; ".join(f"{fip['id']} is {fip['status']}" for fip in picture["floatingips"])}


async def _floatingip(tx: Tx, row: Any) -> Story:
    router = await _router_of(tx, row.router_id)
    return {"floating_ip_address": row.floating_ip_address, "status": row.status,
            "port": row.fixed_port_id or "none", "fixed_ip_address": row.fixed_ip_address or "", **router}


async def _router_of(tx: Tx, router_id: str | None) -> Story:
    if router_id is None:
        return {"router": "none: it leads nowhere"}
    bound = models.router_bindings
    row = await tx.first(sa.select(bound.c.host, bound.c.error).where(bound.c.router_id == router_id))
    return {"router": router_id, "host": row.host if row else "none", "error": row.error if row else ""}


async def _port(tx: Tx, row: Any) -> Story:
    addresses = models.ip_allocations
    held = await tx.scalars(sa.select(addresses.c.ip_address).where(addresses.c.port_id == row.id))
    return {"status": row.status, "admin_state_up": str(row.admin_state_up), "device_owner": row.device_owner,
            "device_id": row.device_id, "host": row.host, "binding": row.vif_type, "network": row.network_id,
            "addresses": ", ".join(held), "nova_is_owed": row.plug_event or ""}


async def _network(tx: Tx, row: Any) -> Story:
    ports, subnets = models.ports, models.subnets
    counts = await tx.all(sa.select(ports.c.device_owner, sa.func.count()).where(ports.c.network_id == row.id)
                          .group_by(ports.c.device_owner).order_by(ports.c.device_owner))
    cidrs = await tx.scalars(sa.select(subnets.c.cidr).where(subnets.c.network_id == row.id))
    return {"admin_state_up": str(row.admin_state_up), "external": str(row.external), "mtu": row.mtu,
            "subnets": ", ".join(cidrs), "ports": ", ".join(f"{count} of {owner or 'nobody'}"
                                                            for owner, count in counts)}


_MORE = {"router": _router, "floatingip": _floatingip, "port": _port, "network": _network}
