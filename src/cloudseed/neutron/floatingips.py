"""Floating IPs: addresses of an external network that stand for a port's fixed address behind a router.

`status` is ACTIVE when the router's host says that the address works (`router_wiring.py`), else DOWN.
"""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.kernel.operations import declare_points, fault_point, pass_point
from cloudseed.neutron import (
    access,
    errors,
    events,
    listing,
    models,
    networks,
    port_records,
    qos_policies,
    quotas,
    service_ports,
)
from cloudseed.neutron.attributes import Wish
from cloudseed.neutron.networks import touch
from cloudseed.neutron.server import Neutron, now

table = models.floatingips
allocations = models.ip_allocations
OWNER = "network:floatingip"
for _operation in ("floatingip_create", "floatingip_update", "floatingip_delete"):
    declare_points(_operation, ("commit",), ("before", "after", "hinted"))
SPEC = listing.spec(table, errors.FloatingIPNotFound, names={"fixed_port_id": "port_id"},
                    omit=("name", "floating_port_id"))
SIDES = ("external", "internal")  # of a port forwarding


def single_ports(forwarding: Any) -> dict[str, int | None]:
    """Its ports as clients see them that know no ranges: nothing, when it is more than one."""
    return {f"{side}_port": first if first == getattr(forwarding, f"{side}_last") else None
            for side in SIDES for first in [getattr(forwarding, f"{side}_port")]}


async def records(tx: Tx, rows: list[Any]) -> list[dict[str, Any]]:
    """Rows as API records, with a glance at the ports that they stand for."""
    ports = {row.id: row for row in await listing.by_ids(
        tx, sa.select(models.ports), models.ports.c.id, [row.fixed_port_id for row in rows if row.fixed_port_id])}
    led = models.port_forwardings
    forwardings: dict[str, list[dict[str, Any]]] = {}
    for each in await listing.by_ids(tx, sa.select(led).order_by(led.c.external_port), led.c.floatingip_id,
                                     [row.id for row in rows if row.router_id and not row.fixed_port_id]):
        forwardings.setdefault(each.floatingip_id, []).append({**{name: getattr(each, name) for name in (
            "protocol", "internal_ip_address", "internal_port_id")}, "id": each.id,
            **single_ports(each)})
    return [{
        "port_forwardings": forwardings.get(row.id, []),
        "id": row.id, "tenant_id": row.project_id, "project_id": row.project_id,
        "floating_ip_address": row.floating_ip_address, "floating_network_id": row.floating_network_id,
        "router_id": row.router_id, "port_id": row.fixed_port_id, "fixed_ip_address": row.fixed_ip_address,
        "status": row.status, "description": row.description or "", "port_details": _details(
            ports.get(row.fixed_port_id)), "tags": row.tags, "created_at": row.created_at,
        "updated_at": row.updated_at, "revision_number": row.revision_number,
        "qos_policy_id": row.qos_policy_id} for row in rows]


def _details(port: Any | None) -> dict[str, Any] | None:
    return None if port is None else {name: getattr(port, name) for name in (
        "name", "network_id", "mac_address", "admin_state_up", "status", "device_id", "device_owner")}


async def list_floatingips(neutron: Neutron, ctx: Context, query: listing.Query) -> list[dict[str, Any]]:
    async with neutron.db.read() as tx:
        statement = sa.select(table).where(*access.visible(neutron, ctx, table))
        return await records(tx, await listing.page(tx, statement, SPEC, query, ctx))


async def load(neutron: Neutron, ctx: Context, tx: Tx, floatingip_id: str) -> Any:
    row = await tx.first(sa.select(table).where(table.c.id == floatingip_id, *access.visible(neutron, ctx, table)))
    if row is None:
        raise errors.FloatingIPNotFound(id=floatingip_id)
    return row


async def get_floatingip(neutron: Neutron, ctx: Context, floatingip_id: str) -> dict[str, Any]:
    async with neutron.db.read() as tx:
        return (await records(tx, [await load(neutron, ctx, tx, floatingip_id)]))[0]


async def create_floatingips(neutron: Neutron, ctx: Context, wishes: list[Wish],
                             attributes: Any) -> list[dict[str, Any]]:
    made, concerned = [], []
    async with neutron.db.write() as tx:
        for wish in wishes:
            values, moment, id = wish.values, now(), str(uuid.uuid4())
            access.authorize(neutron, ctx, "create_floatingip", values, wish.differs(attributes))
            network = await networks.load(neutron, ctx, tx, values["floating_network_id"])
            if not network.external:
                raise errors.BadRequest(resource="floatingip",
                                        reason=f"Network {network.id} is not a valid external network")
            await quotas.check(tx, values["project_id"], "floatingip")
            await qos_policies.check_use(neutron, ctx, tx, "floatingip", id, values["qos_policy_id"])
            port_id, address = await _take_address(tx, network.id, id, values)
            await tx.execute(sa.insert(table).values(
                id=id, project_id=values["project_id"], name="", description=values["description"],
                tags=values["tags"], floating_ip_address=address, floating_network_id=network.id,
                floating_port_id=port_id, status="DOWN", created_at=moment, updated_at=moment, revision_number=0,
                qos_policy_id=values["qos_policy_id"]))
            if values["port_id"]:
                concerned.append(await _associate(neutron, ctx, tx, await load(neutron, ctx, tx, id), values))
            made.append(id)
        rows = await listing.by_ids(tx, sa.select(table), table.c.id, made)
        found = {record["id"]: record for record in await records(tx, rows)}
        fault_point("floatingip_create:commit:before")
    await pass_point("floatingip_create:commit:after")
    if concerned:
        await neutron.look_again(ctx)
    await pass_point("floatingip_create:commit:hinted")
    _tell_nova(neutron, ctx, concerned)
    return [found[id] for id in made]


async def _take_address(tx: Tx, network_id: str, id: str, values: dict[str, Any]) -> tuple[str, str]:
    """A port on the external network that holds the floating address."""
    wish = {name: value for name, value in (("ip_address", values["floating_ip_address"]),
                                            ("subnet_id", values["subnet_id"])) if value}
    port_id, addresses = await service_ports.make(tx, network_id, OWNER, id, "", [wish] if wish else None)
    address = next((a.ip_address for a in addresses if "." in a.ip_address), None)
    if address is None:
        raise errors.BadRequest(resource="floatingip", reason=f"Network {network_id} does not contain any IPv4 subnet")
    return port_id, address


async def _associate(neutron: Neutron, ctx: Context, tx: Tx, row: Any, values: dict[str, Any]) -> Any:
    """Let the address stand for a port; returns the port's row."""
    led = models.port_forwardings
    if await tx.scalar(sa.select(led.c.id).where(led.c.floatingip_id == row.id).limit(1)):
        raise errors.FipInUseByPortForwarding(id=row.id)
    port = await port_records.load(neutron, ctx, tx, values["port_id"])
    check_owner(neutron, ctx, row, port)
    fixed = [a for a in await port_records.held(tx, port.id) if "." in a.ip_address]
    wanted = values.get("fixed_ip_address")
    if not fixed:
        raise errors.BadRequest(resource="floatingip", reason=f"Cannot add floating IP to port {port.id} that has no "
                                                              "fixed IPv4 addresses")
    if wanted is None and len(fixed) > 1:
        raise errors.BadRequest(resource="floatingip", reason=(
            f"Port {port.id} has multiple fixed IPv4 addresses. Must provide a specific IPv4 address when assigning "
            "a floating IP"))
    chosen = next((a for a in fixed if wanted in (None, a.ip_address)), None)
    if chosen is None:
        raise errors.BadRequest(resource="floatingip", reason=f"Port {port.id} does not have fixed ip {wanted}")
    other = await tx.first(sa.select(table.c.id).where(
        table.c.fixed_port_id == port.id, table.c.fixed_ip_address == chosen.ip_address, table.c.id != row.id,
        table.c.floating_network_id == row.floating_network_id))
    if other is not None:
        raise errors.FloatingIPPortAlreadyAssociated(
            address=row.floating_ip_address, id=row.id, port=port.id, fixed_ip=chosen.ip_address,
            network=row.floating_network_id)
    router_id = await router_between(tx, chosen.subnet_id, row.floating_network_id)
    if router_id is None:
        raise errors.ExternalGatewayForFloatingIPNotFound(subnet=chosen.subnet_id, network=row.floating_network_id,
                                                          port=port.id)
    await tx.execute(sa.update(table).where(table.c.id == row.id).values(
        fixed_port_id=port.id, fixed_ip_address=chosen.ip_address, router_id=router_id))
    return port


async def router_between(tx: Tx, subnet_id: str, network_id: str) -> str | None:
    """The router with an interface on the subnet and its gateway on the external network."""
    inner, routers, spaces = models.router_ports, models.routers, models.subnets
    found: str | None = await tx.scalar(
        sa.select(routers.c.id).join(inner, inner.c.router_id == routers.c.id)
        .join(allocations, allocations.c.port_id == inner.c.port_id)
        .join(spaces, spaces.c.id == allocations.c.subnet_id)
        .where(allocations.c.subnet_id == subnet_id, routers.c.gateway_network_id == network_id)
        # machines answer by their gateway; another router on a shared subnet may be anybody's
        .order_by(sa.case((allocations.c.ip_address == spaces.c.gateway_ip, 0), else_=1), routers.c.created_at)
        .limit(1))
    return found


def check_owner(neutron: Neutron, ctx: Context, row: Any, port: Any) -> None:
    """An address leads to its own project's ports only: whoever has the network sees others' there, and must not
    open them to the world."""
    if port.project_id != row.project_id and not access.is_admin(neutron, ctx):
        raise errors.BadRequest(resource="floatingip", reason=(
            f"Port {port.id} is associated with a different project than Floating IP {row.id} and therefore cannot be "
            "bound."))


async def update_floatingip(neutron: Neutron, ctx: Context, floatingip_id: str, wish: Wish) -> dict[str, Any]:
    """Point the address at another port, or (port_id null) at none."""
    values = wish.values
    concerned: list[Any] = []
    async with neutron.db.write() as tx:
        row = await load(neutron, ctx, tx, floatingip_id)
        access.check_revision(row, wish.expected_revision)
        access.authorize(neutron, ctx, "update_floatingip", dict(row._mapping), values)
        if "port_id" in values:
            if row.fixed_port_id:
                concerned += await tx.all(sa.select(models.ports).where(models.ports.c.id == row.fixed_port_id))
                await tx.execute(sa.update(table).where(table.c.id == row.id).values(
                    fixed_port_id=None, fixed_ip_address=None, router_id=None, status="DOWN"))
            if values["port_id"]:
                concerned.append(await _associate(neutron, ctx, tx, row, values))
        elif values.get("fixed_ip_address") and not row.fixed_port_id:
            raise errors.BadRequest(resource="floatingip", reason="fixed_ip_address cannot be specified without a "
                                                                  "port_id")
        if "qos_policy_id" in values:
            await qos_policies.check_use(neutron, ctx, tx, "floatingip", row.id, values["qos_policy_id"],
                                         row.qos_policy_id)
        await touch(tx, table, floatingip_id,
                    **{name: values[name] for name in ("description", "qos_policy_id") if name in values})
        record = (await records(tx, [await load(neutron, ctx, tx, floatingip_id)]))[0]
        fault_point("floatingip_update:commit:before")
    await pass_point("floatingip_update:commit:after")
    if "port_id" in values or "qos_policy_id" in values:
        await neutron.look_again(ctx)
    await pass_point("floatingip_update:commit:hinted")
    _tell_nova(neutron, ctx, concerned)
    return record


async def release_unused(tx: Tx) -> None:
    """Addresses that stand for no port and of which no port leads anywhere any more belong to no router."""
    led = models.port_forwardings
    await tx.execute(sa.update(table).where(
        table.c.router_id.is_not(None), table.c.fixed_port_id.is_(None),
        sa.not_(sa.exists().where(led.c.floatingip_id == table.c.id))).values(router_id=None, status="DOWN"))


def _tell_nova(neutron: Neutron, ctx: Context, rows: list[Any]) -> None:
    events.hint(neutron, ctx, [events.event(events.CHANGED, row.device_id, row.id)
                               for row in {row.id: row for row in rows}.values() if events.is_servers(row)])


async def delete_floatingip(neutron: Neutron, ctx: Context, floatingip_id: str, expected: int | None = None) -> None:
    """Give the address back."""
    async with neutron.db.write() as tx:
        row = await load(neutron, ctx, tx, floatingip_id)
        access.check_revision(row, expected)
        access.authorize(neutron, ctx, "delete_floatingip", dict(row._mapping))
        concerned = await tx.all(sa.select(models.ports).where(models.ports.c.id == row.fixed_port_id)) \
            if row.fixed_port_id else []
        await tx.execute(sa.delete(table).where(table.c.id == floatingip_id))
        await tx.execute(sa.delete(models.ports).where(models.ports.c.id == row.floating_port_id))
        fault_point("floatingip_delete:commit:before")
    await pass_point("floatingip_delete:commit:after")
    if row.router_id:
        await neutron.look_again(ctx)
    await pass_point("floatingip_delete:commit:hinted")
    _tell_nova(neutron, ctx, list(concerned))
