"""What all moves of servers between hosts share: their record, their claims, their ports and volumes.

In placement a migration holds what the server has on its source from the beginning, and the server itself claims
its destination; so either side can be given up at any time, and both are accounted for.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from cloudseed.kernel.db import Tx, utcnow
from cloudseed.kernel.operations import Backtrack, Run
from cloudseed.nova import block_devices
from cloudseed.nova.compute.devices import BlockDevice, decode_devices
from cloudseed.nova.compute.network import Networks
from cloudseed.nova.compute.spec import ServerSpec, encode_spec, spec_from_row
from cloudseed.nova.compute.volumes import Volumes
from cloudseed.nova.conductor.boot import SCHEDULE_TIMEOUT_S, allowed, hinted_hosts, server_group
from cloudseed.nova.conductor.on_host import HostGone, Hosts
from cloudseed.nova.conductor.records import Server, change, read_server
from cloudseed.nova.models import migrations
from cloudseed.nova.scheduler.errors import NoValidHost

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

log = logging.getLogger(__name__)
Migration = sa.Row[Any]
_BY_ID = sa.select(migrations).where(migrations.c.uuid == sa.bindparam("this"))


class Moving:
    """Ways of moves to their records and hosts; `data["migration"]` is the migration's uuid."""

    def __init__(self, nova: Nova, hosts: Hosts) -> None:
        self.nova = nova
        self.hosts = hosts
        self._networks = Networks(nova.conductor_session)
        self._volumes = Volumes(nova.conductor_session)

    # ---- records

    async def read(self, tx: Tx, run: Run) -> tuple[Server, Migration]:
        migration = await tx.first(_BY_ID, {"this": run.data["migration"]})
        assert migration is not None  # written with the order
        return await read_server(tx, run.resource_id), migration

    async def begin(self, tx: Tx, run: Run) -> tuple[Server, Migration]:
        """As `read`, by the first step: where the server is now is what the move leaves.

        When it was ordered, an earlier operation of the server may not have been over.
        """
        row, migration = await self.read(tx, run)
        if row.host is None:
            return row, migration
        now = {"source_host": row.host, "source_node": row.node, "old_flavor": row.flavor,
               "old_vm_state": row.vm_state}
        if migration.type != "resize":
            now["new_flavor"] = row.flavor
        if any(getattr(migration, name) != value for name, value in now.items()):
            log.info("server %s is on %s in state %s now: its %s is from there", row.id, row.host, row.vm_state,
                     migration.type)
            await change_migration(tx, run, **now)
        return await self.read(tx, run)

    async def load(self, run: Run) -> tuple[Server, Migration]:
        async with self.nova.db.read() as tx:
            return await self.read(tx, run)

    # ---- claims

    async def hold(self, run: Run) -> None:
        """What the server has claimed is its migration's from now on."""
        await self._scheduler(run, "hold")

    async def give_back(self, run: Run) -> None:
        await self._scheduler(run, "give_back")

    async def release(self, run: Run) -> None:
        """Nothing is held for the migration any more."""
        await self.nova.conductor_bus.call(run.ctx, "scheduler", "release", server_id=run.data["migration"])

    async def _scheduler(self, run: Run, method: str) -> None:
        await self.nova.conductor_bus.call(run.ctx, "scheduler", method, timeout_s=SCHEDULE_TIMEOUT_S,
                                           server_id=run.resource_id, migration_id=run.data["migration"])

    async def choose(self, run: Run, row: Server, spec: ServerSpec, destination: dict[str, Any] | None,
                     excluded: list[str]) -> None:
        """Claim a host for the server, and note it as the migration's destination.  NoValidHost."""
        async with self.nova.db.read() as tx:
            group, hints = await server_group(tx, row.id), await hinted_hosts(tx, row)
        chosen = await self.nova.conductor_bus.call(
            run.ctx, "scheduler", "select_destination", timeout_s=SCHEDULE_TIMEOUT_S, server_id=row.id,
            spec=encode_spec(spec), destination=destination, hints=hints, group=group, excluded=excluded)
        async with self.nova.db.write() as tx:
            # members of a group may be placed side by side: the one that comes second here tries again
            if group is not None and chosen["host"] != row.host and not (destination or {}).get("forced") \
                    and not allowed(await server_group(tx, row.id), chosen["host"]):
                raise Backtrack("claim", NoValidHost(reason=(
                    f"another member of the server group was just placed so that host {chosen['host']} no longer fits "
                    "the group's policy.")))
            await change_migration(tx, run, dest_host=chosen["host"], dest_node=chosen["node"])

    # ---- ports and volumes of a machine that is off

    async def bring_ports(self, run: Run, host: str, method: str, *, start: bool) -> None:
        """Have the server's ports bound to `host`, by its compute's verb `method`."""
        row, _ = await self.load(run)
        vifs = await self.hosts.ask(run, host, method, spec=encode_spec(spec_from_row(row)), start=start)
        async with self.nova.db.write() as tx:
            await change(tx, await read_server(tx, run.resource_id), network_info=vifs)

    async def return_ports(self, run: Run, host: str, *, start: bool) -> None:
        """As `bring_ports`; a host that is gone is bound by us, under the name that it has."""
        try:
            await self.bring_ports(run, host, "return_ports", start=start)
        except HostGone:
            row, _ = await self.load(run)
            for vif in row.network_info:
                await self._networks.bind(run.ctx, spec_from_row(row), vif["id"], host)

    async def bring_volumes(self, run: Run, host: str, method: str) -> None:
        """Have the server's volumes connected to `host` and to no other, by its compute's verb `method`.

        The former attachments end before the new ones are connected: who had a volume open by them has it no more.
        """
        await self.fence(run)
        row, _ = await self.load(run)
        spec = spec_from_row(row)
        if not spec.connected_volumes:
            return
        done = decode_devices(await self.hosts.ask(run, host, method, spec=encode_spec(spec), again=True))
        await self.write_devices(run, done)

    async def return_volumes(self, run: Run, host: str) -> None:
        """As `bring_volumes`; a host that is gone connects them when it starts the machine."""
        try:
            await self.bring_volumes(run, host, "return_volumes")
        except HostGone:
            pass

    async def fence(self, run: Run) -> None:
        """Give each volume a new attachment, not connected yet, and end all others of this server."""
        for device in await self._connected(run):
            assert device.volume_id is not None
            if not await self._volumes.is_bare(run.ctx, run.resource_id, device):  # else an earlier try made it
                made = await self._volumes.reserve(run.ctx, run.resource_id, device.volume_id)
                device = msgspec.structs.replace(device, attachment_id=made, connection_info=None)
                await self.write_devices(run, [device])
            await self._volumes.only(run.ctx, run.resource_id, [device])

    async def one_attachment(self, run: Run) -> None:
        """Only the attachments that the server's record names are left."""
        if devices := await self._connected(run):
            await self._volumes.only(run.ctx, run.resource_id, devices)

    async def _connected(self, run: Run) -> list[BlockDevice]:
        row, _ = await self.load(run)
        return spec_from_row(row).connected_volumes

    async def write_devices(self, run: Run, devices: list[BlockDevice]) -> None:
        async with self.nova.db.write() as tx:
            await block_devices.change_devices(tx, run.resource_id, devices)

    # ---- bindings that wait

    async def leave_networks(self, run: Run, row: Server, host: str) -> None:
        """Forget the ports' bindings to a host, unless they are active."""
        ports = [vif["id"] for vif in row.network_info]
        try:
            await self.hosts.ask(run, host, "leave_networks", ports=ports)
        except HostGone:
            for port_id in ports:
                await self._networks.leave(run.ctx, port_id, host)

    # ---- hosts that may be gone

    async def remove_machine(self, run: Run, host: str) -> None:
        """Have what `host` has of the server removed; when it is gone, it does so itself once it is back.  Never
        of the host that the record says it is on."""
        row, _ = await self.load(run)
        if row.host == host:
            log.error("server %s is on %s: its machine there is kept by %s %s", row.id, host, run.kind, run.id)
            return
        try:
            await self.hosts.ask(run, host, "remove_machine")
        except HostGone:
            run.data["host_lost"] = True


def disk_spec(row: Server, flavor: dict[str, Any] | None = None) -> ServerSpec:
    """The server with the image that its root disk stands on, which is another when it came off a shelf."""
    spec = spec_from_row(row, flavor)
    image_id = (row.system_metadata or {}).get("disk_image_id")
    return msgspec.structs.replace(spec, image_id=image_id) if image_id else spec


@contextlib.contextmanager
def required(doing: str) -> Iterator[None]:
    """A host that is gone within has failed, at `doing`."""
    try:
        yield
    except HostGone as exc:
        raise exc.failure(doing) from exc


async def change_migration(tx: Tx, run: Run, **values: Any) -> None:
    await tx.execute(sa.update(migrations).where(migrations.c.uuid == run.data["migration"])
                     .values(updated_at=utcnow(), **values))
