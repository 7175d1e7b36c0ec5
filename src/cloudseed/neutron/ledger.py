"""What neutron holds, for the audit: networks, subnets, ports with their addresses, routers, the wish of each host."""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.db import Tx
from cloudseed.neutron import agents, models, overlay
from cloudseed.neutron.server import Neutron


async def ledger(neutron: Neutron) -> dict[str, Any]:
    """The picture.  Statements do not grow with what there is."""
    table, allocations = models.ports, models.ip_allocations
    async with neutron.db.read() as tx:
        networks = await tx.all(sa.select(models.networks.c.id, models.networks.c.project_id, models.networks.c.name,
                                          models.networks.c.admin_state_up, models.networks.c.external,
                                          models.networks.c.network_type, models.networks.c.segmentation_id))
        subnets = await tx.all(sa.select(models.subnets.c.id, models.subnets.c.network_id, models.subnets.c.cidr,
                                         models.subnets.c.enable_dhcp))
        ports = await tx.all(sa.select(table.c.id, table.c.network_id, table.c.project_id, table.c.device_id,
                                       table.c.device_owner, table.c.host, table.c.vif_type, table.c.status,
                                       table.c.status_since, table.c.mac_address, table.c.admin_state_up,
                                       table.c.plug_event))
        addresses = await tx.all(sa.select(allocations.c.port_id, allocations.c.ip_address))
        held = await routers(tx)
        waiting = await tx.all(sa.select(models.port_bindings.c.port_id, models.port_bindings.c.host)
                               .where(models.port_bindings.c.vif_type == "bridge"))
        sharing = await overlay.tunnels(tx)
        parts = await tx.all(sa.select(models.agents))
    fixed: dict[str, list[str]] = {}
    for port_id, ip_address in addresses:
        fixed.setdefault(port_id, []).append(ip_address)
    hosts: dict[str, dict[str, Any]] = {}
    for port in ports:
        if port.vif_type == "bridge" and port.device_owner.startswith("compute:"):
            wish = hosts.setdefault(port.host, {"host": port.host, "ports": [], "networks": set()})
            wish["ports"].append(port.id)
            wish["networks"].add(port.network_id)
    networks_of = {port.id: port.network_id for port in ports}
    for port_id, host in waiting:
        wish = hosts.setdefault(host, {"host": host, "ports": [], "networks": set()})
        wish["ports"].append(port_id)
        wish["networks"].add(networks_of[port_id])
    for wish in hosts.values():
        wish["guests"] = sorted(wish["networks"])
    external = {network.id for network in networks if network.external}
    segments = {network.id: network.segmentation_id for network in networks if network.network_type == "vxlan"
                and not network.external}
    for router in held:
        if router["host"] and router["legs"]:
            wish = hosts.setdefault(router["host"], {"host": router["host"], "ports": [], "networks": set()})
            wish["networks"].update(networks_of[leg] for leg in router["legs"])
    for wish in hosts.values():
        wish["external"] = sorted(wish["networks"] & external)
        # a host that shares networks has DHCP for its own guests alone, and a tunnel in each network
        shares = wish["host"] in sharing
        guests = wish.pop("guests", [])
        wish["dhcp"] = guests if shares else sorted(wish["networks"])
        wish["tunnels"] = {network: segments[network] for network in sorted(wish["networks"] & segments.keys())} \
            if shares else {}
    return {"networks": [dict(row._mapping) for row in networks], "subnets": [dict(row._mapping) for row in subnets],
            "ports": [{**row._mapping, "since": row.status_since, "addresses": fixed.get(row.id, [])}
                      for row in ports],
            "wishes": [{**wish, "networks": sorted(wish["networks"])} for wish in hosts.values()],
            "routers": held,
            "agents": [{"host": row.host, "binary": row.binary, "up": agents.is_alive(row, neutron.alive_since())}
                       for row in parts],
            "taken_at": time.time()}


async def routers(tx: Tx) -> list[dict[str, Any]]:
    """Routers with their host, legs, floating addresses and what keeps them from working."""
    table, bound, inner, fips = models.routers, models.router_bindings, models.router_ports, models.floatingips
    rows = await tx.all(
        sa.select(table.c.id, table.c.admin_state_up, table.c.gateway_port_id, bound.c.host, bound.c.error)
        .outerjoin(bound, bound.c.router_id == table.c.id))
    legs: dict[str, list[str]] = {}
    for port_id, router_id in await tx.all(sa.select(inner.c.port_id, inner.c.router_id)):
        legs.setdefault(router_id, []).append(port_id)
    floating: dict[str, list[dict[str, Any]]] = {}
    for fip in await tx.all(sa.select(fips.c.id, fips.c.router_id, fips.c.status).where(fips.c.router_id.is_not(None))):
        floating.setdefault(fip.router_id, []).append({"id": fip.id, "status": fip.status})
    return [{"id": row.id, "admin_state_up": row.admin_state_up, "host": row.host, "error": row.error or "",
             "legs": sorted([*legs.get(row.id, []), *([row.gateway_port_id] if row.gateway_port_id else [])]),
             "gateway": row.gateway_port_id, "floatingips": floating.get(row.id, [])} for row in rows]
