"""Bindings of a server's port to several hosts, of which one is active: how nova prepares a server's move.

The active binding is the port's own row; the others wait in a table of their own.  Their hosts wire the port too, so
that a server may arrive at any moment, but everybody sends to the active binding's host (`overlay.py`).  Nova hears
network-vif-plugged when a waiting binding is wired.  One that was active before is wired until it is deleted.
"""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.neutron import access, agents, errors, hints, models, networks, port_records
from cloudseed.neutron.attributes import Wish
from cloudseed.neutron.server import Neutron

table = models.port_bindings
ports = models.ports
_COLUMNS = ("host", "vnic_type", "profile", "vif_type")


def _record(row: Any, project_id: str, active: bool) -> dict[str, Any]:
    return {"host": row.host, "vif_type": row.vif_type, "vnic_type": row.vnic_type, "profile": row.profile,
            "vif_details": port_records.VIF_DETAILS if row.vif_type == "bridge" else {},
            "status": "ACTIVE" if active else "INACTIVE", "project_id": project_id}


async def _port(neutron: Neutron, ctx: Context, tx: Tx, port_id: str, action: str) -> Any:
    row = await port_records.load(neutron, ctx, tx, port_id)
    access.authorize(neutron, ctx, action, port_records.target(row))
    if not row.device_owner.startswith("compute:"):
        raise errors.UnsupportedPortDeviceOwner(port=port_id, owner=row.device_owner)
    return row


async def _waiting(tx: Tx, port_id: str, host: str) -> Any:
    row = await tx.first(sa.select(table).where(table.c.port_id == port_id, table.c.host == host))
    if row is None:
        raise errors.PortBindingNotFound(id=port_id, host=host)
    return row


async def list_port_bindings(neutron: Neutron, ctx: Context, port_id: str,
                             filters: dict[str, list[str]]) -> list[dict[str, Any]]:
    """All bindings of a port, the active one first.  `filters`: by host, vif_type, vnic_type or status."""
    async with neutron.db.read() as tx:
        port = await _port(neutron, ctx, tx, port_id, "get_port_binding")
        rows = await tx.all(sa.select(table).where(table.c.port_id == port_id).order_by(table.c.host))
    found = [_record(port, port.project_id, True)] if port.host else []
    found += [_record(row, port.project_id, False) for row in rows]
    return [each for each in found if all(each[name] in values for name, values in filters.items())]


async def get_port_binding(neutron: Neutron, ctx: Context, port_id: str, host: str) -> dict[str, Any]:
    async with neutron.db.read() as tx:
        port = await _port(neutron, ctx, tx, port_id, "get_port_binding")
        if port.host == host:
            return _record(port, port.project_id, True)
        return _record(await _waiting(tx, port_id, host), port.project_id, False)


async def _check_host(neutron: Neutron, tx: Tx, port_id: str, host: str) -> None:
    if host not in await agents.can_bind(neutron, tx, {host}):
        raise errors.PortBindingError(id=port_id, host=host)


async def create_port_binding(neutron: Neutron, ctx: Context, port_id: str, wish: Wish) -> dict[str, Any]:
    """Bind to one more host; the first binding is active.  Raises PortBindingAlreadyExists, PortBindingError."""
    values = {name: wish.values[name] for name in ("host", "vnic_type", "profile")}
    async with neutron.db.write() as tx:
        port = await _port(neutron, ctx, tx, port_id, "create_port_binding")
        known = await tx.scalar(sa.select(table.c.host).where(table.c.port_id == port_id,
                                                              table.c.host == values["host"]))
        if values["host"] in (known, port.host):
            raise errors.PortBindingAlreadyExists(id=port_id, host=values["host"])
        await _check_host(neutron, tx, port_id, values["host"])
        if not port.host:
            await networks.touch(tx, ports, port_id, **values, vif_type="bridge")
            made = _record(await port_records.load(neutron, ctx, tx, port_id), port.project_id, True)
        else:
            await tx.execute(sa.insert(table).values(port_id=port_id, **values, vif_type="bridge"))
            made = _record(await _waiting(tx, port_id, values["host"]), port.project_id, False)
        concerned = await hints.of_ports(neutron, tx, [port_id])
    await neutron.look_again(ctx, concerned)
    return made


async def update_port_binding(neutron: Neutron, ctx: Context, port_id: str, host: str, wish: Wish) -> dict[str, Any]:
    """Another kind of interface or profile on that host."""
    async with neutron.db.write() as tx:
        port = await _port(neutron, ctx, tx, port_id, "create_port_binding")
        if port.host != host:
            await _waiting(tx, port_id, host)
        await _check_host(neutron, tx, port_id, host)
        changes = {**wish.values, "vif_type": "bridge"}
        if port.host == host:
            await networks.touch(tx, ports, port_id, **changes)
            changed = _record(await port_records.load(neutron, ctx, tx, port_id), port.project_id, True)
        else:
            await tx.execute(sa.update(table).where(table.c.port_id == port_id, table.c.host == host)
                             .values(**changes))
            changed = _record(await _waiting(tx, port_id, host), port.project_id, False)
        concerned = await hints.of_ports(neutron, tx, [port_id])
    await neutron.look_again(ctx, concerned)
    return changed


async def delete_port_binding(neutron: Neutron, ctx: Context, port_id: str, host: str) -> None:
    """Forget a binding; without its active one a port is bound nowhere."""
    async with neutron.db.write() as tx:
        port = await _port(neutron, ctx, tx, port_id, "delete_port_binding")
        concerned = await hints.of_ports(neutron, tx, [port_id])
        if port.host == host:
            await networks.touch(tx, ports, port_id, host="", vif_type="unbound", profile={}, plug_event=None,
                                 status="DOWN", status_since=time.time())
        else:
            await _waiting(tx, port_id, host)
            await tx.execute(sa.delete(table).where(table.c.port_id == port_id, table.c.host == host))
    await neutron.look_again(ctx, concerned)


async def activate(neutron: Neutron, ctx: Context, port_id: str, host: str) -> dict[str, Any]:
    """Let a waiting binding be the active one, and the active one wait.  The port is up when that host says so."""
    async with neutron.db.write() as tx:
        port = await _port(neutron, ctx, tx, port_id, "activate")
        if port.host == host:
            raise errors.PortBindingAlreadyActive(id=port_id, host=host)
        row = await _waiting(tx, port_id, host)
        await tx.execute(sa.delete(table).where(table.c.port_id == port_id, table.c.host == host))
        if port.host:
            await tx.execute(sa.insert(table).values(port_id=port_id, wired=port.status == "ACTIVE",
                                                     **{name: getattr(port, name) for name in _COLUMNS}))
        await networks.touch(tx, ports, port_id, **{name: getattr(row, name) for name in _COLUMNS},
                             status="DOWN", status_since=time.time(), plug_event=None)
        active = _record(await port_records.load(neutron, ctx, tx, port_id), port.project_id, True)
        concerned = await hints.of_ports(neutron, tx, [port_id])  # the host that it leaves waits now
    await neutron.look_again(ctx, concerned)
    return active
