"""Routers: which subnets they join, and the external network behind them.

A router is given to an L3 agent when it first joins something (`router_scheduling.py`); the agent's host forwards,
and its report makes the router's ports ACTIVE (`router_wiring.py`).
"""

from __future__ import annotations

import ipaddress
import uuid
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.kernel.operations import declare_points, fault_point, pass_point
from cloudseed.neutron import (
    access,
    errors,
    listing,
    models,
    networks,
    port_records,
    ports,
    quotas,
    router_scheduling,
    service_ports,
    subnets,
)
from cloudseed.neutron.attributes import Wish
from cloudseed.neutron.networks import touch
from cloudseed.neutron.server import Neutron, now

table = models.routers
allocations = models.ip_allocations
inner = models.router_ports
INTERFACE, GATEWAY = "network:router_interface", "network:router_gateway"
for _operation in ("router_create", "router_update", "router_delete", "router_interface_add",
                   "router_interface_remove"):
    declare_points(_operation, ("commit",), ("before", "after", "hinted"))
SPEC = listing.spec(table, errors.RouterNotFound, omit=("gateway_port_id", "gateway_network_id", "enable_snat"))


async def records(tx: Tx, rows: list[Any]) -> list[dict[str, Any]]:
    """Rows as API records, with the addresses of their gateways; ERROR when their host cannot wire them."""
    bound = models.router_bindings
    failed = {row.router_id: row.error for row in await listing.by_ids(
        tx, sa.select(bound).where(bound.c.host != ""), bound.c.router_id, [row.id for row in rows])}
    found: dict[str, list[dict[str, str]]] = {}
    for row in await listing.by_ids(tx, sa.select(allocations).order_by(allocations.c.position), allocations.c.port_id,
                                    [row.gateway_port_id for row in rows if row.gateway_port_id]):
        found.setdefault(row.port_id, []).append({"subnet_id": row.subnet_id, "ip_address": row.ip_address})
    return [{
        "id": row.id, "name": row.name, "project_id": row.project_id, "tenant_id": row.project_id,
        "admin_state_up": row.admin_state_up, "status": "ERROR" if failed.get(row.id) else "ACTIVE",
        "external_gateway_info": row.gateway_network_id and {
            "network_id": row.gateway_network_id, "external_fixed_ips": found.get(row.gateway_port_id, []),
            "enable_snat": row.enable_snat},
        "description": row.description or "", "routes": row.routes,
        "availability_zones": ["nova"] if failed.get(row.id) is not None else [],
        "availability_zone_hints": row.availability_zone_hints, "distributed": False, "ha": False, "flavor_id": None,
        "tags": row.tags, "created_at": row.created_at, "updated_at": row.updated_at,
        "revision_number": row.revision_number} for row in rows]


async def list_routers(neutron: Neutron, ctx: Context, query: listing.Query) -> list[dict[str, Any]]:
    async with neutron.db.read() as tx:
        statement = sa.select(table).where(*access.visible(neutron, ctx, table))
        return await records(tx, await listing.page(tx, statement, SPEC, query, ctx))


async def load(neutron: Neutron, ctx: Context, tx: Tx, router_id: str) -> Any:
    row = await tx.first(sa.select(table).where(table.c.id == router_id, *access.visible(neutron, ctx, table)))
    if row is None:
        raise errors.RouterNotFound(id=router_id)
    return row


async def get_router(neutron: Neutron, ctx: Context, router_id: str) -> dict[str, Any]:
    async with neutron.db.read() as tx:
        return (await records(tx, [await load(neutron, ctx, tx, router_id)]))[0]


async def create_routers(neutron: Neutron, ctx: Context, wishes: list[Wish], attributes: Any) -> list[dict[str, Any]]:
    made = []
    async with neutron.db.write() as tx:
        for wish in wishes:
            values, moment, router_id = wish.values, now(), str(uuid.uuid4())
            access.authorize(neutron, ctx, "create_router", values, _named(values))
            await quotas.check(tx, values["project_id"], "router")
            await tx.execute(sa.insert(table).values(
                id=router_id, project_id=values["project_id"], name=values["name"], tags=values["tags"],
                description=values["description"], admin_state_up=values["admin_state_up"], enable_snat=True,
                routes=[], availability_zone_hints=values["availability_zone_hints"], created_at=moment,
                updated_at=moment, revision_number=1))
            if values["external_gateway_info"]:
                await _set_gateway(neutron, ctx, tx, await load(neutron, ctx, tx, router_id),
                                   values["external_gateway_info"])
            made.append(router_id)
        rows = await listing.by_ids(tx, sa.select(table), table.c.id, made)
        found = {record["id"]: record for record in await records(tx, rows)}
        fault_point("router_create:commit:before")
    await pass_point("router_create:commit:after")
    await neutron.look_again(ctx)
    await pass_point("router_create:commit:hinted")
    return [found[router_id] for router_id in made]


def _named(values: dict[str, Any]) -> list[str]:
    """Parts of the gateway that need a right of their own."""
    info = values.get("external_gateway_info") or {}
    return [f"external_gateway_info:{name}" for name in ("enable_snat", "external_fixed_ips") if name in info]


async def update_router(neutron: Neutron, ctx: Context, router_id: str, wish: Wish) -> dict[str, Any]:
    values = wish.values
    async with neutron.db.write() as tx:
        row = await load(neutron, ctx, tx, router_id)
        access.check_revision(row, wish.expected_revision)
        access.authorize(neutron, ctx, "update_router", dict(row._mapping), _named(values))
        changes: dict[str, Any] = {name: values[name] for name in ("name", "description", "admin_state_up")
                                   if name in values}
        if "external_gateway_info" in values:
            await _set_gateway(neutron, ctx, tx, row, values["external_gateway_info"])
        if "routes" in values:
            await _check_routes(tx, router_id, values["routes"])
            changes["routes"] = values["routes"]
        await touch(tx, table, router_id, **changes)
        record = (await records(tx, [await load(neutron, ctx, tx, router_id)]))[0]
        fault_point("router_update:commit:before")
    await pass_point("router_update:commit:after")
    await neutron.look_again(ctx)
    await pass_point("router_update:commit:hinted")
    return record


# ---- the gateway

async def _set_gateway(neutron: Neutron, ctx: Context, tx: Tx, row: Any, info: dict[str, Any] | None) -> None:
    """Give a router its gateway, change it or (with nothing in `info`) take it away."""
    network_id = (info or {}).get("network_id")
    if row.gateway_network_id and network_id != row.gateway_network_id:
        await _remove_gateway(tx, row)
    if not info or network_id is None:
        return
    network = await networks.load(neutron, ctx, tx, network_id)
    if not network.external:
        raise errors.BadRequest(resource="router", reason=f"Network {network_id} is not an external network")
    changes: dict[str, Any] = {"gateway_network_id": network_id}
    if "enable_snat" in info:
        changes["enable_snat"] = info["enable_snat"]
    if network_id != row.gateway_network_id or "external_fixed_ips" in info:
        if row.gateway_port_id and network_id == row.gateway_network_id:
            await _remove_gateway(tx, row, moving=True)
        changes["gateway_port_id"], _ = await service_ports.make(
            tx, network_id, GATEWAY, row.id, "", info.get("external_fixed_ips") or None)
    await tx.execute(sa.update(table).where(table.c.id == row.id).values(**changes))
    await router_scheduling.schedule(neutron, tx, row.id)


async def _remove_gateway(tx: Tx, row: Any, *, moving: bool = False) -> None:
    fips = models.floatingips
    if not moving and await tx.scalar(sa.select(fips.c.id).where(fips.c.router_id == row.id).limit(1)):
        raise errors.RouterExternalGatewayInUseByFloatingIp(router=row.id, network=row.gateway_network_id)
    await tx.execute(sa.update(table).where(table.c.id == row.id).values(
        gateway_port_id=None, gateway_network_id=None, enable_snat=True))
    await ports.remove(tx, row.gateway_port_id)


async def change_gateways(neutron: Neutron, ctx: Context, router_id: str, named: list[dict[str, Any]],
                          verb: str) -> dict[str, Any]:
    """Add, update or remove gateways by network.  A router has one: BadRequest for what would be a second."""
    async with neutron.db.write() as tx:
        row = await load(neutron, ctx, tx, router_id)
        access.authorize(neutron, ctx, f"{verb}_external_gateways", dict(row._mapping))
        if verb != "remove":  # as for the gateway in an update
            for info in named:
                access.authorize(neutron, ctx, "update_router", dict(row._mapping),
                                 _named({"external_gateway_info": info}))
        networks_ = {info["network_id"] for info in named}
        if verb == "add" and (len(named) > 1 or (named and row.gateway_network_id)):
            raise errors.BadRequest(resource="router", reason=(
                f"Router {router_id} can have one external gateway, and more would be added: a router here leads to "
                "one external network"))
        if verb != "add" and networks_ - {row.gateway_network_id}:
            raise errors.BadRequest(resource="router", reason=(
                f"Router {router_id} has no external gateway in network "
                f"{', '.join(sorted(networks_ - {row.gateway_network_id}))}"))
        if len(named) > 1:
            raise errors.BadRequest(resource="router", reason="A gateway is named more than once")
        for info in named:
            await _set_gateway(neutron, ctx, tx, row, None if verb == "remove" else info)
        await touch(tx, table, router_id)
        record = (await records(tx, [await load(neutron, ctx, tx, router_id)]))[0]
    await neutron.look_again(ctx)
    return record


# ---- interfaces

async def interfaces(tx: Tx, router_id: str) -> list[Any]:
    """The router's inner ports with their subnets: port_id, network_id, subnet_id, ip_address, cidr."""
    table_, spaces = models.ports, models.subnets
    return list(await tx.all(
        sa.select(table_.c.id.label("port_id"), table_.c.network_id, allocations.c.subnet_id,
                  allocations.c.ip_address, spaces.c.cidr)
        .join(allocations, allocations.c.port_id == table_.c.id).join(spaces, spaces.c.id == allocations.c.subnet_id)
        .where(table_.c.id.in_(sa.select(inner.c.port_id).where(inner.c.router_id == router_id)))))


def _one_of(body: dict[str, Any]) -> None:
    if body.get("subnet_id") and body.get("port_id"):
        raise errors.BadRequest(resource="router", reason="Cannot specify both subnet-id and port-id")
    if not body.get("subnet_id") and not body.get("port_id"):
        raise errors.BadRequest(resource="router", reason="Either subnet_id or port_id must be specified")


async def add_interface(neutron: Neutron, ctx: Context, router_id: str, body: dict[str, Any]) -> dict[str, Any]:
    """Join a subnet (at its gateway's address) or plug a port."""
    _one_of(body)
    async with neutron.db.write() as tx:
        row = await load(neutron, ctx, tx, router_id)
        access.authorize(neutron, ctx, "add_router_interface", dict(row._mapping))
        there = await interfaces(tx, router_id)
        if body.get("subnet_id"):
            subnet = await subnets.load(neutron, ctx, tx, body["subnet_id"])
            if not subnet.gateway_ip:
                raise errors.BadRequest(resource="router", reason="Subnet for router interface must have a gateway IP")
            await _check_may_join(neutron, ctx, tx, subnet)
            _check_distinct(there, [subnet])
            port_id, _ = await service_ports.make(
                tx, subnet.network_id, INTERFACE, router_id, row.project_id,
                [{"subnet_id": subnet.id, "ip_address": subnet.gateway_ip}])
            joined, network_id = [subnet.id], subnet.network_id
        else:
            port = await port_records.load(neutron, ctx, tx, body["port_id"])
            access.authorize(neutron, ctx, "update_port", port_records.target(port))
            if port.device_id:
                raise errors.PortInUse(network=port.network_id, port=port.id, device=port.device_id)
            joined = [address.subnet_id for address in await port_records.held(tx, port.id)]
            if not joined:
                raise errors.BadRequest(resource="router", reason="Router port must have at least one fixed IP")
            _check_distinct(there, await listing.by_ids(tx, sa.select(models.subnets), models.subnets.c.id, joined))
            await touch(tx, models.ports, port.id, device_id=router_id, device_owner=INTERFACE)
            port_id, network_id = port.id, port.network_id
        await tx.execute(sa.insert(inner).values(port_id=port_id, router_id=router_id))
        await router_scheduling.schedule(neutron, tx, router_id)
        await touch(tx, table, router_id)
        fault_point("router_interface_add:commit:before")
    await pass_point("router_interface_add:commit:after")
    await neutron.look_again(ctx)
    await pass_point("router_interface_add:commit:hinted")
    return {"id": router_id, "tenant_id": row.project_id, "project_id": row.project_id, "port_id": port_id,
            "network_id": network_id, "subnet_id": joined[0], "subnet_ids": joined}


async def _check_may_join(neutron: Neutron, ctx: Context, tx: Tx, subnet: Any) -> None:
    """Who joins a subnet takes its gateway's address, and so all that its machines send elsewhere: a subnet that is
    shared with everybody is joined by its owner alone."""
    if subnet.project_id == ctx.project_id or access.is_admin(neutron, ctx):
        return
    rbac = models.rbac_policies.c
    if await tx.scalar(sa.select(rbac.id).where(
            rbac.object_id == subnet.network_id, rbac.object_type == "network", rbac.action == access.SHARED,
            rbac.target_project == ctx.project_id).limit(1)) is None:
        raise errors.BadRequest(resource="router", reason=(
            f"Cannot add interface to router because subnet {subnet.id} is not owned by project making the request"))


def _check_distinct(there: list[Any], joining: list[Any]) -> None:
    for subnet in joining:
        for other in there:
            if other.subnet_id == subnet.id:
                raise errors.BadRequest(resource="router", reason=f"Router already has a port on subnet {subnet.id}")
            mine, theirs = ipaddress.ip_network(subnet.cidr), ipaddress.ip_network(other.cidr)
            if mine.version == theirs.version and mine.overlaps(theirs):
                raise errors.BadRequest(resource="router", reason=(
                    f"Cidr {subnet.cidr} of subnet {subnet.id} overlaps with cidr {other.cidr} of subnet "
                    f"{other.subnet_id}"))


async def remove_interface(neutron: Neutron, ctx: Context, router_id: str, body: dict[str, Any]) -> dict[str, Any]:
    """Leave a subnet; not while a floating address or a route needs it."""
    subnet_id, port_id = body.get("subnet_id"), body.get("port_id")
    if not subnet_id and not port_id:
        raise errors.BadRequest(resource="router", reason="Either subnet_id or port_id must be specified")
    async with neutron.db.write() as tx:
        row = await load(neutron, ctx, tx, router_id)
        access.authorize(neutron, ctx, "remove_router_interface", dict(row._mapping))
        there = await interfaces(tx, router_id)
        match = [i for i in there if i.port_id == port_id] if port_id else \
            [i for i in there if i.subnet_id == subnet_id]
        if not match:
            if port_id:
                raise errors.RouterInterfaceNotFound(router=router_id, port=port_id)
            raise errors.RouterInterfaceNotFoundForSubnet(router=router_id, subnet=subnet_id)
        if subnet_id and port_id and subnet_id not in [i.subnet_id for i in match]:
            raise errors.RouterInterfacePortMismatch(f"The subnet {subnet_id} is not one of port {port_id}.")
        await _check_unused(tx, row, match)
        await ports.remove(tx, match[0].port_id)
        await touch(tx, table, router_id)
        fault_point("router_interface_remove:commit:before")
    await pass_point("router_interface_remove:commit:after")
    await neutron.look_again(ctx)
    await pass_point("router_interface_remove:commit:hinted")
    left = [i.subnet_id for i in match]
    return {"id": router_id, "tenant_id": row.project_id, "project_id": row.project_id, "port_id": match[0].port_id,
            "network_id": match[0].network_id, "subnet_id": left[0], "subnet_ids": left}


async def _check_unused(tx: Tx, row: Any, leaving: list[Any]) -> None:
    fips = models.floatingips
    for interface in leaving:
        needed = await tx.scalar(
            sa.select(fips.c.id).join(allocations, sa.and_(
                allocations.c.port_id == fips.c.fixed_port_id, allocations.c.ip_address == fips.c.fixed_ip_address))
            .where(fips.c.router_id == row.id, allocations.c.subnet_id == interface.subnet_id).limit(1))
        led = models.port_forwardings
        if needed is None:
            needed = await tx.scalar(
                sa.select(led.c.id).join(fips, fips.c.id == led.c.floatingip_id).join(allocations, sa.and_(
                    allocations.c.port_id == led.c.internal_port_id,
                    allocations.c.ip_address == led.c.internal_ip_address))
                .where(fips.c.router_id == row.id, allocations.c.subnet_id == interface.subnet_id).limit(1))
        if needed is not None:
            raise errors.RouterInterfaceInUseByFloatingIP(subnet=interface.subnet_id, router=row.id)
        space = ipaddress.ip_network(interface.cidr)
        if any(ipaddress.ip_address(route["nexthop"]) in space for route in row.routes):
            raise errors.RouterInterfaceInUseByRoute(subnet=interface.subnet_id, router=row.id)


# ---- routes

async def _check_routes(tx: Tx, router_id: str, routes: list[dict[str, str]]) -> None:
    """Every next hop is on a network that the router has a leg in, and is not the router itself."""
    table_, spaces = models.ports, models.subnets
    legs = await tx.all(
        sa.select(allocations.c.ip_address, spaces.c.cidr).join(spaces, spaces.c.id == allocations.c.subnet_id)
        .join(table_, table_.c.id == allocations.c.port_id).where(
            table_.c.id.in_(sa.select(inner.c.port_id).where(inner.c.router_id == router_id))
            | table_.c.id.in_(sa.select(table.c.gateway_port_id).where(table.c.id == router_id))))
    if len(routes) > quotas.RESOURCES["router_route"][0]:
        raise errors.BadRequest(resource="router", reason=f"Unable to complete operation for {router_id}. The number "
                                                          "of routes exceeds the maximum 30")
    for route in routes:
        hop = ipaddress.ip_address(route["nexthop"])
        if not any(hop in ipaddress.ip_network(leg.cidr) for leg in legs):
            raise errors.InvalidRoutes(routes=routes, reason="the nexthop is not connected with router")
        if any(leg.ip_address == route["nexthop"] for leg in legs):
            raise errors.InvalidRoutes(routes=routes, reason="the nexthop is used by router")


async def change_routes(neutron: Neutron, ctx: Context, router_id: str, named: list[dict[str, str]],
                        add: bool) -> dict[str, Any]:
    """Add routes that are not there yet, or remove those that are."""
    async with neutron.db.write() as tx:
        row = await load(neutron, ctx, tx, router_id)
        access.authorize(neutron, ctx, "add_extraroutes" if add else "remove_extraroutes", dict(row._mapping))
        then = [route for route in row.routes if route not in named] + (named if add else [])
        await _check_routes(tx, router_id, then)
        await touch(tx, table, router_id, routes=then)
        record = (await records(tx, [await load(neutron, ctx, tx, router_id)]))[0]
    await neutron.look_again(ctx)
    return record


async def delete_router(neutron: Neutron, ctx: Context, router_id: str, expected: int | None = None) -> None:
    """Remove a router that joins no subnet any more, with its gateway."""
    async with neutron.db.write() as tx:
        row = await load(neutron, ctx, tx, router_id)
        access.check_revision(row, expected)
        access.authorize(neutron, ctx, "delete_router", dict(row._mapping))
        there = sorted({interface.port_id for interface in await interfaces(tx, router_id)})
        if there:
            raise errors.RouterInUse(id=router_id, reason=f"has ports still attached: {', '.join(there)}")
        if row.gateway_port_id:
            await _remove_gateway(tx, row)
        await tx.execute(sa.delete(table).where(table.c.id == router_id))
        fault_point("router_delete:commit:before")
    await pass_point("router_delete:commit:after")
    await neutron.look_again(ctx)
    await pass_point("router_delete:commit:hinted")
