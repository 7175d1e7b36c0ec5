"""Subnets: a range of addresses on a network, with what DHCP tells its guests."""

from __future__ import annotations

import ipaddress
import uuid
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.neutron import access, addresses, ipam, listing, models, networks, quotas, subnetpools
from cloudseed.neutron.attributes import Wish
from cloudseed.neutron.converters import boolean
from cloudseed.neutron.errors import (
    BadRequest,
    GatewayIpInUse,
    InvalidInput,
    NetworkIdsDontMatch,
    SegmentNotFound,
    SubnetNotFound,
    SubnetSegmentAssociationChangeNotAllowed,
    SubnetsNotAllAssociatedWithSegments,
)
from cloudseed.neutron.server import Neutron, now

table = models.subnets
UNSET: Any = object()  # gateway_ip and allocation_pools: not named, so computed
_ROUTER_INTERFACES = ("network:router_interface", "network:ha_router_replicated_interface")


def _external(values: list[str], ctx: Context) -> sa.ColumnElement[bool]:
    return table.c.network_id.in_(sa.select(models.networks.c.id).where(
        models.networks.c.external.in_([boolean(value) for value in values])))


def _shared(values: list[str], ctx: Context) -> sa.ColumnElement[bool]:
    shared = table.c.network_id.in_(access.shared_ids(ctx, "network"))
    return sa.or_(*[shared if boolean(value) else sa.not_(shared) for value in values])


SPEC = listing.spec(table, SubnetNotFound, special={"router:external": _external, "shared": _shared})


def _select(ctx: Context | None = None) -> sa.Select[Any]:
    return sa.select(table, models.networks.c.external, models.networks.c.project_id.label("network:project_id")) \
        .join(models.networks, models.networks.c.id == table.c.network_id)


def record(row: Any) -> dict[str, Any]:
    """A row (with its network's `external`) as an API record."""
    return {
        "id": row.id, "name": row.name, "tenant_id": row.project_id, "project_id": row.project_id,
        "network_id": row.network_id, "ip_version": row.ip_version, "subnetpool_id": row.subnetpool_id,
        "enable_dhcp": row.enable_dhcp, "ipv6_ra_mode": row.ipv6_ra_mode, "ipv6_address_mode": row.ipv6_address_mode,
        "gateway_ip": row.gateway_ip, "cidr": row.cidr, "allocation_pools": row.allocation_pools,
        "host_routes": row.host_routes, "dns_nameservers": row.dns_nameservers, "description": row.description or "",
        "router:external": row.external, "service_types": row.service_types,
        "segment_id": row.segment_id, "tags": row.tags,
        "created_at": row.created_at, "updated_at": row.updated_at, "revision_number": row.revision_number}


async def list_subnets(neutron: Neutron, ctx: Context, query: listing.Query) -> list[dict[str, Any]]:
    """The visible subnets that the query asks for."""
    async with neutron.db.read() as tx:
        rows = await listing.page(tx, access.seen(neutron, ctx, _select, table), SPEC, query, ctx, reused=True)
    return [record(row) for row in rows]


async def load(neutron: Neutron, ctx: Context, tx: Tx, subnet_id: str) -> Any:
    """A visible subnet's row; SubnetNotFound otherwise."""
    row = await tx.first(access.by_id(access.seen(neutron, ctx, _select, table), table), {"this": subnet_id})
    if row is None:
        raise SubnetNotFound(id=subnet_id)
    return row


async def get_subnet(neutron: Neutron, ctx: Context, subnet_id: str) -> dict[str, Any]:
    """One visible subnet; SubnetNotFound."""
    async with neutron.db.read() as tx:
        return record(await load(neutron, ctx, tx, subnet_id))


async def create_subnets(neutron: Neutron, ctx: Context, wishes: list[Wish], attributes: Any) -> list[dict[str, Any]]:
    """Create subnets, all or none.  Raises NetworkNotFound, InvalidInput, OverQuota, pool errors."""
    made = []
    async with neutron.db.write() as tx:
        for wish in wishes:
            values = wish.values
            network = await networks.load(neutron, ctx, tx, values["network_id"])
            access.authorize(neutron, ctx, "create_subnet", {**values, "network:project_id": network.project_id},
                             wish.differs(attributes))
            if "project_id" not in wish.given and "tenant_id" not in wish.given:
                values["project_id"] = network.project_id  # an administrator's subnet on a tenant's network is theirs
            await quotas.check(tx, values["project_id"], "subnet")
            made.append(await _insert(neutron, ctx, tx, values, network))
        rows = {row.id: row for row in await listing.by_ids(tx, _select(), table.c.id, made)}
    await neutron.look_again(ctx)
    return [record(rows[subnet_id]) for subnet_id in made]


async def _insert(neutron: Neutron, ctx: Context, tx: Tx, values: dict[str, Any], network: Any) -> str:
    subnet_id, moment = str(uuid.uuid4()), now()
    values["subnetpool_id"] = await subnetpools.choose(neutron, ctx, tx, values)
    if values["subnetpool_id"] is not None:
        await subnetpools.take(tx, values)
    elif values["cidr"] is None:
        raise BadRequest(resource="subnets", reason="a subnetpool must be specified in the absence of a cidr")
    elif values["prefixlen"] is not None:
        raise BadRequest(resource="subnets", reason="a prefixlen is for subnets that are taken from a subnetpool")
    space = addresses.check_subnet({**values, "gateway_ip": None if values["gateway_ip"] is UNSET
                                    else values["gateway_ip"]})
    addresses.check_routes(values)
    await _check_overlap(tx, network.id, space)
    await _check_segment(tx, network.id, values["segment_id"])
    gateway = addresses.default_gateway(space) if values["gateway_ip"] is UNSET else values["gateway_ip"]
    pools = values["allocation_pools"]
    if pools is UNSET:
        pools = addresses.default_pools(space, gateway)
    else:
        addresses.check_pools(pools, space, gateway)
    await tx.execute(sa.insert(table).values(
        id=subnet_id, cidr=str(space), gateway_ip=gateway, allocation_pools=pools, created_at=moment,
        updated_at=moment, revision_number=0,
        **{name: values[name] for name in (
            "project_id", "name", "description", "tags", "network_id", "ip_version", "enable_dhcp", "ipv6_ra_mode",
            "ipv6_address_mode", "subnetpool_id", "dns_nameservers", "host_routes", "service_types",
            "segment_id")}))
    await networks.touch(tx, models.networks, network.id)
    return subnet_id


async def _check_overlap(tx: Tx, network_id: str, space: addresses.Network) -> None:
    for other in await tx.scalars(sa.select(table.c.cidr).where(table.c.network_id == network_id)):
        theirs = ipaddress.ip_network(other)
        if theirs.version == space.version and theirs.overlaps(space):
            raise InvalidInput(reason=f"Requested subnet with cidr: {space} for network: {network_id} overlaps with "
                                      "another subnet")


async def _check_segment(tx: Tx, network_id: str, segment_id: str | None, own_id: str = "") -> None:
    """It is one of the network's, and either all subnets of a network have one or none has.

    That a subnet has one changes nothing here: the network's first segment reaches every host, and so all subnets do.
    """
    if segment_id is not None:
        its = models.network_segments.c
        owner = await tx.scalar(sa.select(its.network_id).where(its.id == segment_id))
        if owner is None:
            raise SegmentNotFound(id=segment_id)
        if owner != network_id:
            raise NetworkIdsDontMatch(subnet_network=network_id, segment_id=segment_id)
    lonely = table.c.segment_id.is_not(None) if segment_id is None else table.c.segment_id.is_(None)
    if await tx.first(sa.select(table.c.id).where(table.c.network_id == network_id, table.c.id != own_id, lonely)):
        raise SubnetsNotAllAssociatedWithSegments(network_id=network_id)


async def update_subnet(neutron: Neutron, ctx: Context, subnet_id: str, wish: Wish) -> dict[str, Any]:
    """Change a subnet.  Raises SubnetNotFound, PolicyNotAuthorized, InvalidInput, gateway and pool errors."""
    values = wish.values
    async with neutron.db.write() as tx:
        row = await load(neutron, ctx, tx, subnet_id)
        access.check_revision(row, wish.expected_revision)
        access.authorize(neutron, ctx, "update_subnet", dict(row._mapping), values)
        space = ipaddress.ip_network(row.cidr)
        now_ = {**row._mapping, **values}
        addresses.check_routes(now_)
        addresses.check_subnet({**now_, "gateway_ip": values.get("gateway_ip")} if "enable_dhcp" in values else
                               {**now_, "gateway_ip": values.get("gateway_ip"), "enable_dhcp": False,
                                "ipv6_ra_mode": None, "ipv6_address_mode": None})
        if "allocation_pools" in values:
            addresses.check_pools(values["allocation_pools"], space, now_["gateway_ip"])
        elif values.get("gateway_ip"):
            addresses.check_gateway_outside(row.allocation_pools, values["gateway_ip"])
        if "gateway_ip" in values and values["gateway_ip"] != row.gateway_ip:
            await _check_gateway_free(tx, row)
        if values.get("segment_id", row.segment_id) != row.segment_id:
            if row.segment_id is not None:
                raise SubnetSegmentAssociationChangeNotAllowed()
            await _check_segment(tx, row.network_id, values["segment_id"], subnet_id)
        await networks.touch(tx, table, subnet_id, **values)
        changed = record(await load(neutron, ctx, tx, subnet_id))
    await neutron.look_again(ctx)
    return changed


async def _check_gateway_free(tx: Tx, row: Any) -> None:
    """A gateway that a router holds cannot move."""
    holder = await tx.scalar(
        sa.select(models.ports.c.id).join(models.ip_allocations, models.ip_allocations.c.port_id == models.ports.c.id)
        .where(models.ip_allocations.c.subnet_id == row.id, models.ip_allocations.c.ip_address == row.gateway_ip,
               models.ports.c.device_owner.in_(_ROUTER_INTERFACES)))
    if holder is not None:
        raise GatewayIpInUse(ip=row.gateway_ip, port=holder)


async def delete_subnet(neutron: Neutron, ctx: Context, subnet_id: str, expected: int | None = None) -> None:
    """Remove a subnet; SubnetInUse while ports other than DHCP's have addresses of it.

    DHCP ports lose their address of it, and go when it was their last.  Ports whose addresses guests make for
    themselves (SLAAC) lose them too, as upstream's do.
    """
    async with neutron.db.write() as tx:
        row = await load(neutron, ctx, tx, subnet_id)
        access.check_revision(row, expected)
        access.authorize(neutron, ctx, "delete_subnet", dict(row._mapping))
        await ipam.release_subnet(tx, row)
        await tx.execute(sa.delete(table).where(table.c.id == subnet_id))
        await networks.touch(tx, models.networks, row.network_id)
    await neutron.look_again(ctx)


