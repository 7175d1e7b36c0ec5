"""Port forwardings: ports of a floating address that lead to ports of different machines, one or a range: each port of
a range leads to the one of its own, or all of them to one.

An address that has them stands for no port as a whole.  It belongs to the router that reaches the first one's machine,
and is free again with the last.
"""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.neutron import access, errors, floatingips, listing, models, port_records
from cloudseed.neutron.attributes import Wish
from cloudseed.neutron.server import Neutron

table = models.port_forwardings
SPEC = listing.spec(table, errors.PortForwardingNotFound, omit=("external_last", "internal_last"))
_SHOWN = ("id", "internal_ip_address", "protocol", "internal_port_id", "description")
_SIDES = floatingips.SIDES


def record(row: Any) -> dict[str, Any]:
    return {**{name: getattr(row, name) for name in _SHOWN}, **floatingips.single_ports(row),
            **{f"{side}_port_range": f"{getattr(row, f'{side}_port')}:{getattr(row, f'{side}_last')}"
               for side in _SIDES}}


def _columns(wish: dict[str, Any]) -> dict[str, Any]:
    """The wish with its ports as the table has them: from the first to the last.  A range wins over a single port, as
    upstream has it."""
    values = {name: value for name, value in wish.items() if not name.endswith(("_port", "_port_range"))}
    for side in _SIDES:
        single, ports = wish.get(f"{side}_port"), wish.get(f"{side}_port_range")
        if ports is not None:
            values[f"{side}_port"], values[f"{side}_last"] = ports
        elif single is not None:
            values[f"{side}_port"] = values[f"{side}_last"] = single
    return values


async def _load(tx: Tx, floatingip_id: str, id: str) -> Any:
    row = await tx.first(sa.select(table).where(table.c.id == id, table.c.floatingip_id == floatingip_id))
    if row is None:
        raise errors.PortForwardingNotFound(id=id)
    return row


async def list_port_forwardings(neutron: Neutron, ctx: Context, floatingip_id: str,
                                query: listing.Query) -> list[dict[str, Any]]:
    async with neutron.db.read() as tx:
        fip = await floatingips.load(neutron, ctx, tx, floatingip_id)
        access.authorize(neutron, ctx, "get_floatingip_port_forwarding", dict(fip._mapping))
        statement = sa.select(table).where(table.c.floatingip_id == floatingip_id)
        return [record(row) for row in await listing.page(tx, statement, SPEC, query, ctx)]


async def get_port_forwarding(neutron: Neutron, ctx: Context, floatingip_id: str, id: str) -> dict[str, Any]:
    async with neutron.db.read() as tx:
        fip = await floatingips.load(neutron, ctx, tx, floatingip_id)
        access.authorize(neutron, ctx, "get_floatingip_port_forwarding", dict(fip._mapping))
        return record(await _load(tx, floatingip_id, id))


async def create_port_forwarding(neutron: Neutron, ctx: Context, floatingip_id: str, wish: Wish) -> dict[str, Any]:
    """Let a port of the address lead somewhere.  The address must stand for no port as a whole."""
    async with neutron.db.write() as tx:
        fip = await floatingips.load(neutron, ctx, tx, floatingip_id)
        access.authorize(neutron, ctx, "create_floatingip_port_forwarding", dict(fip._mapping))
        if fip.fixed_port_id:
            raise errors.FloatingIPPortAlreadyAssociated(
                address=fip.floating_ip_address, id=fip.id, port=wish.values["internal_port_id"],
                fixed_ip=wish.values["internal_ip_address"], network=fip.floating_network_id)
        values = {**_columns(wish.values), "floatingip_id": floatingip_id, "id": str(uuid.uuid4())}
        for side in _SIDES:
            if f"{side}_port" not in values:
                raise errors.BadRequest(resource="port_forwarding",
                                        reason=f"{side}_port or {side}_port_range is required")
        router_id = await _check(neutron, ctx, tx, fip, values)
        await tx.execute(sa.insert(table).values(**values))
        if fip.router_id is None:
            await tx.execute(sa.update(models.floatingips).where(models.floatingips.c.id == fip.id)
                             .values(router_id=router_id))
        made = record(await _load(tx, floatingip_id, values["id"]))
    await neutron.look_again(ctx)
    return made


async def update_port_forwarding(neutron: Neutron, ctx: Context, floatingip_id: str, id: str,
                                 wish: Wish) -> dict[str, Any]:
    async with neutron.db.write() as tx:
        fip = await floatingips.load(neutron, ctx, tx, floatingip_id)
        access.authorize(neutron, ctx, "update_floatingip_port_forwarding", dict(fip._mapping))
        row = await _load(tx, floatingip_id, id)
        changes = _columns(wish.values)
        await _check(neutron, ctx, tx, fip, {**row._mapping, **changes})
        if changes:
            await tx.execute(sa.update(table).where(table.c.id == id).values(**changes))
        changed = record(await _load(tx, floatingip_id, id))
    await neutron.look_again(ctx)
    return changed


async def delete_port_forwarding(neutron: Neutron, ctx: Context, floatingip_id: str, id: str) -> None:
    async with neutron.db.write() as tx:
        fip = await floatingips.load(neutron, ctx, tx, floatingip_id)
        access.authorize(neutron, ctx, "delete_floatingip_port_forwarding", dict(fip._mapping))
        await _load(tx, floatingip_id, id)
        await tx.execute(sa.delete(table).where(table.c.id == id))
        await floatingips.release_unused(tx)
    await neutron.look_again(ctx)


async def _check(neutron: Neutron, ctx: Context, tx: Tx, fip: Any, values: dict[str, Any]) -> str:
    """The inner port has the address, the address's router reaches it, and no other forwarding is in the way."""
    port = await port_records.load(neutron, ctx, tx, values["internal_port_id"])
    floatingips.check_owner(neutron, ctx, fip, port)
    held = {address.ip_address: address.subnet_id for address in await port_records.held(tx, port.id)}
    inner = values["internal_ip_address"]
    if inner not in held or ":" in inner:
        raise errors.BadRequest(resource="port_forwarding", reason=(
            f"The provided internal_ip_address {inner} is not an IPv4 address of port {port.id}"))
    own = models.floatingips
    if await tx.scalar(sa.select(own.c.id).where(own.c.fixed_port_id == port.id, own.c.fixed_ip_address == inner)):
        raise errors.PortHasBindingFloatingIP(address=fip.floating_ip_address, id=fip.id, port=port.id, fixed_ip=inner)
    router_id = await floatingips.router_between(tx, held[inner], fip.floating_network_id)
    if router_id is None or fip.router_id not in (None, router_id):
        raise errors.ExternalGatewayForFloatingIPNotFound(subnet=held[inner], network=fip.floating_network_id,
                                                          port=port.id)
    await _check_ports(tx, values)
    return router_id


async def _check_ports(tx: Tx, values: dict[str, Any]) -> None:
    """The ranges fit one another, and no other forwarding has a port of theirs."""
    outer, inner = (values[f"{side}_last"] - values[f"{side}_port"] for side in _SIDES)
    if inner not in (0, outer):
        raise errors.BadRequest(resource="port_forwarding", reason=(
            "Invalid ranges of internal and/or external ports. The relation between internal and external ports must "
            "be N-N or 1-N"))
    owners = {"external": table.c.floatingip_id == values["floatingip_id"],
              "internal": (table.c.internal_port_id == values["internal_port_id"])
              & (table.c.internal_ip_address == values["internal_ip_address"])}
    for side, owner in owners.items():
        first, last = values[f"{side}_port"], values[f"{side}_last"]
        other = await tx.first(sa.select(table).where(
            owner, table.c.protocol == values["protocol"], table.c.id != values["id"],
            table.c[f"{side}_port"] <= last, table.c[f"{side}_last"] >= first))
        if other is not None:
            raise errors.BadRequest(resource="port_forwarding", reason=(
                f"There is a port collision with the {side}_port_range. The following ranges collide: "
                f"{record(other)[f'{side}_port_range']} and {first}:{last}"))
