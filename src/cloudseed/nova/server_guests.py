"""What users ask of running guests; the host does it while the request waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudseed.kernel.context import Context
from cloudseed.nova.compute.spec import encode_spec, spec_from_row
from cloudseed.nova.errors import ServerNotReady
from cloudseed.nova.servers import Server, check_order, find_server, record_action

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova


async def change_password(nova: Nova, ctx: Context, server_id: str, password: str) -> None:
    """Set the administrator's password within the guest, through its agent.  Raises Conflict without one."""
    row = await _begin(nova, ctx, server_id, "os-admin-password", "change_password", "changePassword")
    properties = row.image_properties or {}
    windows = str(properties.get("os_type", "")).lower() == "windows"
    user = str(properties.get("os_admin_user") or ("Administrator" if windows else "root"))
    await nova.api_bus.call(ctx, f"compute.{row.host}", "set_password", server_id=server_id,
                            spec=encode_spec(spec_from_row(row)), user=user, password=password)


async def trigger_crash_dump(nova: Nova, ctx: Context, server_id: str) -> None:
    """An NMI, upon which a guest that is set up so writes a dump of itself."""
    row = await _begin(nova, ctx, server_id, "servers:trigger_crash_dump", "trigger_crash_dump", "trigger_crash_dump")
    await nova.api_bus.call(ctx, f"compute.{row.host}", "inject_nmi", server_id=server_id)


async def _begin(nova: Nova, ctx: Context, server_id: str, rule: str, action: str, record: str) -> Server:
    async with nova.db.write() as tx:
        row = await find_server(nova, tx, ctx, server_id, f"os_compute_api:{rule}")
        check_order(nova, ctx, row, action)
        if row.host is None:
            raise ServerNotReady(server_id=server_id)
        await record_action(tx, ctx, server_id, record)
    return row
