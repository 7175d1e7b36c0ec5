"""Orders to shelve servers, to take them off their hosts, and to bring them back."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx
from cloudseed.kernel.errors import Conflict, Invalid
from cloudseed.nova import servers
from cloudseed.nova.compute.spec import spec_from_row
from cloudseed.nova.conductor.image_of_server import new_image
from cloudseed.nova.models import servers as table
from cloudseed.nova.server_states import TaskState, VmState
from cloudseed.nova.servers import COMPUTES, Server
from cloudseed.nova.services import zones_by_host

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova


class Destination(msgspec.Struct, kw_only=True):
    """Where a server shall be unshelved.  `zone` unset: where it was asked for at first; null: anywhere."""

    zone: str | msgspec.UnsetType | None = msgspec.UNSET
    host: str | None = None


async def shelve_server(nova: Nova, ctx: Context, server_id: str) -> None:
    """Order that the server is put away; its host is free of it soon after."""
    async def prepare(tx: Tx, row: Server) -> dict[str, Any]:
        data: dict[str, Any] = {"ran": row.vm_state == VmState.ACTIVE}
        if not spec_from_row(row).volume_backed:
            data["image"] = {"id": str(uuid.uuid4()),
                             "body": new_image(row, ctx, f"{row.name}-shelved"[:255], "snapshot", {})}
        return data

    await servers.order(nova, ctx, server_id, "nova.shelve", TaskState.SHELVING, rule="os-shelve:shelve",
                        action="shelve", record="shelve", prepare=prepare)


async def offload_server(nova: Nova, ctx: Context, server_id: str) -> None:
    """Order that a shelved server is taken off its host, should it still be there."""
    await servers.order(nova, ctx, server_id, "nova.shelve_offload", TaskState.SHELVING_OFFLOADING,
                        rule="os-shelve:shelve_offload", action="shelve_offload", record="shelveOffload")


async def unshelve_server(nova: Nova, ctx: Context, server_id: str, destination: Destination) -> None:
    """Order that a shelved server comes back, to a zone or (admins) to a host if one is named."""
    server = await servers.get_server(nova, ctx, server_id, "os_compute_api:os-shelve:unshelve")
    servers.check_order(nova, ctx, server, "unshelve")
    if destination.host is not None:
        nova.policy.enforce("os_compute_api:os-shelve:unshelve_to_host", ctx.identity, servers.target(server))
    if (destination.zone is not msgspec.UNSET or destination.host is not None) \
            and server.vm_state != VmState.SHELVED_OFFLOADED:
        raise Conflict(f'Specifying an availability zone or a host when unshelving server "{server_id}" with status '
                       f'"{server.vm_state}" is not supported. The server status must be SHELVED_OFFLOADED.')

    async def prepare(tx: Tx, row: Server) -> dict[str, Any]:
        await _check_destination(tx, destination, row)
        if destination.zone is not msgspec.UNSET:
            await tx.execute(sa.update(table).where(table.c.id == row.id).values(availability_zone=destination.zone))
        return {"destination": {"host": destination.host}} if destination.host else {}

    await servers.order(nova, ctx, server_id, "nova.unshelve", TaskState.UNSHELVING, rule="os-shelve:unshelve",
                        action="unshelve", record="unshelve", prepare=prepare)


async def _check_destination(tx: Tx, destination: Destination, row: Server) -> None:
    """Zone and host exist, and the host is in the zone."""
    zones = await zones_by_host(tx)
    known = {host.host for host in await tx.all(COMPUTES)}
    zone = destination.zone
    if isinstance(zone, str) and zone not in {zones.get(host, servers.DEFAULT_ZONE) for host in known}:
        raise Invalid("The requested availability zone is not available")
    if destination.host is None:
        return
    if destination.host not in known:
        raise Invalid(f"Compute host {destination.host} could not be found.")
    wanted = row.availability_zone if zone is msgspec.UNSET else zone
    if wanted is not None and zones.get(destination.host, servers.DEFAULT_ZONE) != wanted:
        raise Conflict(f'Host "{destination.host}" is not in the availability zone "{wanted}".')
