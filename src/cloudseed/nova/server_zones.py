"""Where a new server may go: availability zones, and the hosts that admins name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.errors import Invalid
from cloudseed.nova.models import compute_nodes, services
from cloudseed.nova.servers import DEFAULT_ZONE
from cloudseed.nova.services import zones_by_host

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova


class Placement(msgspec.Struct, frozen=True):
    """`zone`: asked for, or null.  `destination`: null or {host?, node?, forced}; forced skips the filters."""

    zone: str | None
    destination: dict[str, Any] | None


async def check_placement(nova: Nova, ctx: Context, zone: str | None, host: str | None,
                          node: str | None) -> Placement:
    """`zone` may be upstream's zone:host:node, which forces the host.  Raises Invalid, Forbidden."""
    destination: dict[str, Any] | None = None
    if zone and ":" in zone:
        parts = zone.split(":")
        if len(parts) > 3 or not parts[0]:
            raise Invalid("The requested availability zone is not available: it must be zone, zone:host or "
                          "zone:host:node.")
        if host or node:
            raise Invalid("Host and hypervisor_hostname cannot be given together with zone:host.")
        nova.policy.enforce("os_compute_api:servers:create:forced_host", ctx.identity,
                            {"project_id": ctx.project_id, "user_id": ctx.user_id})
        zone, host = parts[0], parts[1] or None
        node = (parts[2] or None) if len(parts) > 2 else None
        destination = {"host": host, "node": node, "forced": True}
    elif host or node:
        nova.policy.enforce("compute:servers:create:requested_destination", ctx.identity,
                            {"project_id": ctx.project_id, "user_id": ctx.user_id})
        destination = {"host": host, "node": node, "forced": False}
    if zone or destination:
        await _check_exist(nova, zone, host, node)
    return Placement(zone or None, destination)


async def _check_exist(nova: Nova, zone: str | None, host: str | None, node: str | None) -> None:
    async with nova.db.read() as tx:
        known = await zones_by_host(tx)
        rows = await tx.all(sa.select(compute_nodes.c.host, compute_nodes.c.hypervisor_hostname, services.c.disabled)
                            .select_from(compute_nodes.join(services, sa.and_(
                                services.c.host == compute_nodes.c.host, services.c.binary == "nova-compute"))))
    if (host and all(row.host != host for row in rows)) or \
            (node and all(row.hypervisor_hostname != node or host not in (None, row.host) for row in rows)):
        raise Invalid(f"Compute host {host or node} could not be found.")
    zones = {known.get(row.host, DEFAULT_ZONE) for row in rows if not row.disabled} | {DEFAULT_ZONE}
    if zone and zone not in zones:
        raise Invalid("The requested availability zone is not available")
