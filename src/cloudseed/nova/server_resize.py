"""Orders to resize a server, and to confirm or revert that; a cold migration is confirmed in the same way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cloudseed.kernel.context import Context
from cloudseed.kernel.db import Tx, utcnow
from cloudseed.kernel.errors import Invalid
from cloudseed.nova import flavors, hardware, quotas, servers
from cloudseed.nova.errors import FlavorNotFound
from cloudseed.nova.migration_records import new_migration
from cloudseed.nova.models import migrations
from cloudseed.nova.models import servers as server_table
from cloudseed.nova.server_states import TaskState
from cloudseed.nova.servers import Server

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova


class MigrationNotFound(Invalid):
    template = "Instance has not been resized."


async def resize_server(nova: Nova, ctx: Context, server_id: str, flavor_id: str,
                        disk_config: str | None = None) -> None:
    """Order another flavor for the server, and maybe another OS-DCF:diskConfig.

    Raises Invalid with what of the flavor cannot be, OverQuota.
    """
    server = await servers.get_server(nova, ctx, server_id, "os_compute_api:servers:resize")
    servers.check_order(nova, ctx, server, "resize")
    try:
        flavor = flavors.as_dict(await flavors.get_flavor(nova, ctx, flavor_id))
    except FlavorNotFound:
        raise Invalid(f"Flavor {flavor_id} could not be found.") from None
    _check_flavor(server, flavor)

    async def prepare(tx: Tx, row: Server) -> dict[str, Any]:
        await quotas.check_growth(tx, row.project_id, row.user_id, flavor["vcpus"] - row.vcpus,
                                  flavor["ram"] - row.memory_mb)
        if disk_config is not None:
            await tx.execute(sa.update(server_table).where(server_table.c.id == server_id).values(
                system_metadata={**row.system_metadata, "disk_config": disk_config}))
        return {"migration": await new_migration(tx, ctx, row, "resize", flavor)}

    await servers.order(nova, ctx, server_id, "nova.resize", TaskState.RESIZE_PREP, rule="servers:resize",
                        action="resize", record="resize", prepare=prepare)


def _check_flavor(server: Server, flavor: dict[str, Any]) -> None:
    if flavor["id"] == server.flavor["id"]:
        raise Invalid("When resizing, instances must change flavor!")
    if flavor.get("disabled"):
        raise Invalid(f"Flavor {flavor['id']} could not be found.")
    if server.image_id and flavor["disk"] == 0 and server.flavor["disk"] != 0:
        raise Invalid("Server disk was unable to be resized because: Resize to zero disk flavor is not allowed.")
    properties = server.image_properties or {}
    hardware.check(flavor.get("extra_specs") or {}, properties, flavor["vcpus"])
    if flavor["ram"] < _number(properties.get("min_ram")):
        raise Invalid("Flavor's memory is too small for requested image.")
    if server.image_id and 0 < flavor["disk"] < _number(properties.get("min_disk")):
        raise Invalid("Flavor's disk is smaller than the minimum size specified in image metadata. Flavor disk is "
                      f"{flavor['disk'] * 2**30} bytes, minimum size is "
                      f"{_number(properties.get('min_disk')) * 2**30} bytes.")


def _number(value: Any) -> int:
    return int(value) if str(value or "").isdecimal() else 0


async def confirm_resize(nova: Nova, ctx: Context, server_id: str) -> None:
    """Order that the server stays as it now is."""
    async def prepare(tx: Tx, row: Server) -> dict[str, Any]:
        migration = await _waiting(tx, row, ("finished",))
        await tx.execute(sa.update(migrations).where(migrations.c.id == migration.id)
                         .values(status="confirming", updated_at=utcnow()))
        return {"migration": migration.uuid}

    await servers.order(nova, ctx, server_id, "nova.confirm_resize", None, rule="servers:confirm_resize",
                        action="confirm_resize", record="confirmResize", prepare=prepare)


async def revert_resize(nova: Nova, ctx: Context, server_id: str) -> None:
    """Order that the server becomes what it was before its resize, its disks included."""
    async def prepare(tx: Tx, row: Server) -> dict[str, Any]:
        migration = await _waiting(tx, row, ("finished", "reverting"))
        old = migration.old_flavor
        await quotas.check_growth(tx, row.project_id, row.user_id, old["vcpus"] - row.vcpus,
                                  old["ram"] - row.memory_mb)
        return {"migration": migration.uuid}

    await servers.order(nova, ctx, server_id, "nova.revert_resize", TaskState.RESIZE_REVERTING,
                        rule="servers:revert_resize", action="revert_resize", record="revertResize", prepare=prepare)


async def _waiting(tx: Tx, row: Server, statuses: tuple[str, ...]) -> sa.Row[Any]:
    """The server's resize that waits for the user."""
    found = await tx.first(sa.select(migrations).where(
        migrations.c.server_id == row.id, migrations.c.status.in_(statuses)).order_by(migrations.c.id.desc()))
    if found is None:
        raise MigrationNotFound()
    return found
