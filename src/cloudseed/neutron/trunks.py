"""Trunks: ports that are to carry the traffic of other ports, each in a VLAN of its own.

Records as upstream keeps them where no driver wires trunks: status DOWN, a parent that is nobody's when the trunk
comes, and bound to no host when it goes.  Nothing is wired: the hosts' kernels have no 802.1q.  A port of a trunk
cannot be deleted.
"""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.kernel.errors import Conflict, NotFound
from cloudseed.neutron import access, errors, listing, models, port_records, trunk_details
from cloudseed.neutron.attributes import Wish
from cloudseed.neutron.revisions import touch
from cloudseed.neutron.server import Neutron, now
from cloudseed.neutron.trunk_details import SubPort

table = models.trunks
subports = models.trunk_subports
MAX_SUBPORTS = 1000


class TrunkNotFound(NotFound):
    template = "Trunk %(id)s could not be found."


class SubPortNotFound(NotFound):
    template = "SubPort %(port_id)s on trunk %(trunk_id)s could not be found."


class TrunkPortInUse(Conflict):
    template = "Port %(port_id)s is in use by another trunk."


class ParentPortInUse(Conflict):
    template = "Port %(port_id)s is currently in use and is not eligible for use as a parent port."


class DuplicateSubPort(Conflict):
    template = ("segmentation_type %(segmentation_type)s and segmentation_id %(segmentation_id)s already in use on "
                "trunk %(trunk_id)s.")


class SubPortMtuGreaterThanTrunkPortMtu(Conflict):
    template = ("MTU %(port_mtu)s of subport %(port_id)s cannot be greater than MTU %(trunk_mtu)s of trunk "
                "%(trunk_id)s.")


class PortInUseAsTrunkParent(Conflict):
    template = "Port %(port_id)s is currently a parent port for trunk %(trunk_id)s."


class PortInUseAsSubPort(Conflict):
    template = "Port %(port_id)s is currently a subport for trunk %(trunk_id)s."


class TrunkInUse(Conflict):
    template = "Trunk %(trunk_id)s is currently in use."


class TrunkDisabled(Conflict):
    template = "Trunk %(trunk_id)s is currently disabled."


SPEC = listing.spec(table, TrunkNotFound)


async def _records(tx: Tx, rows: list[Any]) -> list[dict[str, Any]]:
    parts: dict[str, list[SubPort]] = {row.id: [] for row in rows}
    for part in await listing.cached(tx, trunk_details.SUBPORTS, list(parts)):
        parts[part.trunk_id].append(trunk_details.view(part))
    return [{"id": row.id, "name": row.name, "project_id": row.project_id, "tenant_id": row.project_id,
             "description": row.description or "", "port_id": row.port_id, "admin_state_up": row.admin_state_up,
             "status": row.status, "sub_ports": parts[row.id], "tags": row.tags, "created_at": row.created_at,
             "updated_at": row.updated_at, "revision_number": row.revision_number} for row in rows]


async def _load(neutron: Neutron, ctx: Context, tx: Tx, trunk_id: str) -> Any:
    row = await tx.first(sa.select(table).where(table.c.id == trunk_id, *access.visible(neutron, ctx, table)))
    if row is None:
        raise TrunkNotFound(id=trunk_id)
    return row


async def _one(neutron: Neutron, ctx: Context, tx: Tx, trunk_id: str) -> dict[str, Any]:
    return (await _records(tx, [await _load(neutron, ctx, tx, trunk_id)]))[0]


async def list_trunks(neutron: Neutron, ctx: Context, query: listing.Query) -> list[dict[str, Any]]:
    async with neutron.db.read() as tx:
        statement = sa.select(table).where(*access.visible(neutron, ctx, table))
        return await _records(tx, await listing.page(tx, statement, SPEC, query, ctx))


async def get_trunk(neutron: Neutron, ctx: Context, trunk_id: str) -> dict[str, Any]:
    async with neutron.db.read() as tx:
        return await _one(neutron, ctx, tx, trunk_id)


async def create_trunks(neutron: Neutron, ctx: Context, wishes: list[Wish], attributes: Any) -> list[dict[str, Any]]:
    made = []
    async with neutron.db.write() as tx:
        for wish in wishes:
            values, moment, trunk_id = wish.values, now(), str(uuid.uuid4())
            access.authorize(neutron, ctx, "create_trunk", values, wish.differs(attributes))
            parent = await port_records.load(neutron, ctx, tx, values["port_id"])
            if await _trunk_of(tx, parent.id, as_part=True):
                raise TrunkPortInUse(port_id=parent.id)
            if parent.host or parent.device_id or await _trunk_of(tx, parent.id, as_part=False):
                raise ParentPortInUse(port_id=parent.id)
            await tx.execute(sa.insert(table).values(
                id=trunk_id, project_id=values["project_id"], name=values["name"], description=values["description"],
                port_id=parent.id, admin_state_up=values["admin_state_up"], status="DOWN", tags=values["tags"],
                created_at=moment, updated_at=moment, revision_number=0))
            await _add(neutron, ctx, tx, trunk_id, parent, values["sub_ports"])
            made.append(await _one(neutron, ctx, tx, trunk_id))
    return made


async def update_trunk(neutron: Neutron, ctx: Context, trunk_id: str, wish: Wish) -> dict[str, Any]:
    async with neutron.db.write() as tx:
        row = await _load(neutron, ctx, tx, trunk_id)
        access.check_revision(row, wish.expected_revision)
        access.authorize(neutron, ctx, "update_trunk", dict(row._mapping), wish.values)
        await touch(tx, table, trunk_id, **wish.values)
        return await _one(neutron, ctx, tx, trunk_id)


async def delete_trunk(neutron: Neutron, ctx: Context, trunk_id: str, expected: int | None = None) -> None:
    async with neutron.db.write() as tx:
        row = await _load(neutron, ctx, tx, trunk_id)
        access.check_revision(row, expected)
        access.authorize(neutron, ctx, "delete_trunk", dict(row._mapping))
        _check_enabled(row)
        if await tx.scalar(sa.select(models.ports.c.host).where(models.ports.c.id == row.port_id)):
            raise TrunkInUse(trunk_id=trunk_id)
        await tx.execute(sa.delete(subports).where(subports.c.trunk_id == trunk_id))
        await tx.execute(sa.delete(table).where(table.c.id == trunk_id))


# ---- sub-ports

async def get_subports(neutron: Neutron, ctx: Context, trunk_id: str) -> list[SubPort]:
    async with neutron.db.read() as tx:
        row = await _load(neutron, ctx, tx, trunk_id)
        access.authorize(neutron, ctx, "get_subports", dict(row._mapping))
        found: list[SubPort] = (await _records(tx, [row]))[0]["sub_ports"]
        return found


async def change_subports(neutron: Neutron, ctx: Context, trunk_id: str, named: list[SubPort], *,
                          add: bool) -> dict[str, Any]:
    """Add sub-ports, or remove some that are there; the trunk as it is then."""
    async with neutron.db.write() as tx:
        row = await _load(neutron, ctx, tx, trunk_id)
        access.authorize(neutron, ctx, "add_subports" if add else "remove_subports", dict(row._mapping))
        _check_enabled(row)
        if add:
            parent = await port_records.load(neutron, ctx, tx, row.port_id)
            await _add(neutron, ctx, tx, trunk_id, parent, named)
        for port_id in () if add else [part["port_id"] for part in named]:
            gone = await tx.execute(sa.delete(subports).where(subports.c.trunk_id == trunk_id,
                                                              subports.c.port_id == port_id))
            if gone.rowcount == 0:
                raise SubPortNotFound(port_id=port_id, trunk_id=trunk_id)
        await touch(tx, table, trunk_id, status="DOWN")
        return await _one(neutron, ctx, tx, trunk_id)


def _check_enabled(row: Any) -> None:
    if not row.admin_state_up:
        raise TrunkDisabled(trunk_id=row.id)


async def _add(neutron: Neutron, ctx: Context, tx: Tx, trunk_id: str, parent: Any, named: list[SubPort]) -> None:
    have = await listing.cached(tx, trunk_details.SUBPORTS, [trunk_id])
    taken = {(part.segmentation_type, part.segmentation_id) for part in have}
    if len(taken) + len(named) > MAX_SUBPORTS:
        raise errors.InvalidInput(reason=f"A trunk holds at most {MAX_SUBPORTS} sub-ports")
    trunk_mtu = await _mtu(tx, parent.network_id) if named else 0
    for part in named:
        kind, number = part.get("segmentation_type"), part.get("segmentation_id")
        if kind == "inherit":
            raise errors.InvalidInput(reason=f"Port {part['port_id']} has no segmentation to inherit: its network is "
                                             "no VLAN")
        if kind != "vlan" or number is None:
            raise errors.InvalidInput(reason=f"Sub-port {part['port_id']} needs segmentation_type vlan and a "
                                             "segmentation_id")
        if part["port_id"] == parent.id:
            raise ParentPortInUse(port_id=parent.id)
        port = await port_records.load(neutron, ctx, tx, part["port_id"])
        for as_part in (True, False):
            if await _trunk_of(tx, port.id, as_part=as_part):
                raise TrunkPortInUse(port_id=port.id) if as_part else ParentPortInUse(port_id=port.id)
        if port.device_id:
            raise errors.PortInUse(port=port.id, network=port.network_id, device=port.device_id)
        if (mtu := await _mtu(tx, port.network_id)) > trunk_mtu:
            raise SubPortMtuGreaterThanTrunkPortMtu(port_mtu=mtu, port_id=port.id, trunk_mtu=trunk_mtu,
                                                    trunk_id=trunk_id)
        if (kind, number) in taken:
            raise DuplicateSubPort(segmentation_type=kind, segmentation_id=number, trunk_id=trunk_id)
        taken.add((kind, number))
        await tx.execute(sa.insert(subports).values(trunk_id=trunk_id, port_id=port.id, segmentation_type=kind,
                                                    segmentation_id=number))


async def _mtu(tx: Tx, network_id: str) -> int:
    return int(await tx.scalar(sa.select(models.networks.c.mtu).where(models.networks.c.id == network_id)))


async def _trunk_of(tx: Tx, port_id: str, *, as_part: bool) -> str | None:
    """The trunk that has the port, as a part or as its parent."""
    statement = sa.select(subports.c.trunk_id).where(subports.c.port_id == port_id) if as_part else \
        sa.select(table.c.id).where(table.c.port_id == port_id)
    found: str | None = await tx.scalar(statement)
    return found


# ---- what ports know of trunks

async def check_deletable(tx: Tx, port_id: str) -> None:
    """Raise when a trunk has the port."""
    if trunk_id := await _trunk_of(tx, port_id, as_part=True):
        raise PortInUseAsSubPort(port_id=port_id, trunk_id=trunk_id)
    if trunk_id := await _trunk_of(tx, port_id, as_part=False):
        raise PortInUseAsTrunkParent(port_id=port_id, trunk_id=trunk_id)
