"""Volumes given to and taken from servers that are there; and the reservation before an order.

    nova.reserve_volumes   reserve (undone: attachments end), then order: what the volumes are for is recorded
    nova.attach_volume     connect (undone: the machine and cinder give it back), finish
    nova.detach_volume     begin (undone: cinder rolls back), detach, finish, release

A row of block_device_mappings is written with the order and keeps others from the volume; it goes when an attach
failed, or when a detach is done.  `nova.reserve_volumes` runs within the request of the user, who is to hear what
cinder says; a process that dies in it leaves nothing reserved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from cloudseed.kernel.db import Tx
from cloudseed.kernel.errors import CloudseedError, Conflict, Invalid, NotFound
from cloudseed.kernel.operations import OperationType, Run, Step
from cloudseed.nova import block_devices
from cloudseed.nova.compute.devices import BlockDevice, decode_devices
from cloudseed.nova.compute.errors import HostFailed
from cloudseed.nova.compute.spec import encode_spec, spec_from_row
from cloudseed.nova.compute.volumes import Volumes
from cloudseed.nova.conductor.on_host import Hosts
from cloudseed.nova.conductor.records import begin_event, end_event, load_server, read_server
from cloudseed.nova.models import servers

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

ATTACH_EVENT, DETACH_EVENT = "compute_attach_volume", "compute_detach_volume"
PATIENCE_S = 240.0
UNPLUG_PATIENCE_S = 160.0  # as long as upstream asks a guest to let go


class VolumeOperations:
    """Attach and detach.  `run.data["device"]` is the id of the block device."""

    def __init__(self, nova: Nova, hosts: Hosts) -> None:
        self._nova = nova
        self._hosts = hosts
        self._volumes = Volumes(nova.conductor_session)
        self.types = [
            OperationType("nova.attach_volume", (
                Step("connect", self.connect, self.undo_connect, patience_s=PATIENCE_S),
                Step("finish", self.finish_attach)), failed=self.attach_failed),
            OperationType("nova.detach_volume", (
                Step("begin", self.begin, self.undo_begin),
                Step("detach", self.detach, patience_s=UNPLUG_PATIENCE_S),
                Step("finish", self.finish_detach),
                # last: whoever sees the volume available can attach it anew at once
                Step("release", self.release, self.release, patience_s=3600.0)), failed=self.detach_failed)]

    # ---- attach

    async def connect(self, run: Run) -> None:
        async with self._nova.db.write() as tx:
            row = await read_server(tx, run.resource_id)
            device = await self._device(tx, run)
            await begin_event(tx, run, ATTACH_EVENT, row.host)
        if row.host is None:
            # shelved and offloaded: in use without a connection; whoever brings the server back connects it
            assert device.attachment_id is not None
            await self._volumes.complete(run.ctx, device.attachment_id)
            async with self._nova.db.write() as tx:
                await block_devices.change_device(tx, run.resource_id, device.id, state="attached")
            return
        done = await self._on_host(run, row, "attach_volume")
        async with self._nova.db.write() as tx:
            await block_devices.change_devices(tx, run.resource_id, decode_devices(done))

    async def undo_connect(self, run: Run) -> None:
        row = await load_server(self._nova, run.resource_id)
        async with self._nova.db.read() as tx:
            device = await block_devices.find_device(tx, run.data["device"])
        if device is None:
            return
        try:
            if row.host is not None:
                await self._on_host(run, row, "drop_volume")
                return
        except HostFailed:
            pass  # it is down: what it has of the volume, cinder takes away
        await self._volumes.disconnect_all(run.ctx, run.resource_id, device.volume_id)

    async def finish_attach(self, run: Run) -> None:
        async with self._nova.db.write() as tx:
            await end_event(tx, run, ATTACH_EVENT)

    async def attach_failed(self, run: Run, error: CloudseedError) -> None:
        async with self._nova.db.write() as tx:
            await block_devices.remove_devices(tx, run.resource_id, [run.data["device"]])
            await end_event(tx, run, ATTACH_EVENT, error)

    # ---- detach

    async def begin(self, run: Run) -> None:
        """Cinder marks the volume as detaching.  A volume that is gone from cinder can still be let go of."""
        async with self._nova.db.write() as tx:
            row = await read_server(tx, run.resource_id)
            device = await self._device(tx, run)
            await begin_event(tx, run, DETACH_EVENT, row.host)
        assert device.volume_id is not None
        run.data["attachment"] = device.attachment_id
        try:
            if (await self._volumes.get_volume(run.ctx, device.volume_id))["status"] == "in-use":
                await self._volumes.act(run.ctx, device.volume_id, "os-begin_detaching")
        except NotFound:
            pass

    async def undo_begin(self, run: Run) -> None:
        async with self._nova.db.read() as tx:
            device = await block_devices.find_device(tx, run.data["device"])
        if device is None or device.volume_id is None:
            return
        try:
            if (await self._volumes.get_volume(run.ctx, device.volume_id))["status"] == "detaching":
                await self._volumes.act(run.ctx, device.volume_id, "os-roll_detaching")
        except (NotFound, Conflict, Invalid):
            pass

    async def detach(self, run: Run) -> None:
        row = await load_server(self._nova, run.resource_id)
        if row.host is not None:
            await self._on_host(run, row, "detach_volume")

    async def finish_detach(self, run: Run) -> None:
        async with self._nova.db.write() as tx:
            await block_devices.remove_devices(tx, run.resource_id, [run.data["device"]])
            await end_event(tx, run, DETACH_EVENT)

    async def release(self, run: Run) -> None:
        """The attachment ends; undone it ends as well, unless the server still has the volume."""
        async with self._nova.db.read() as tx:
            if await block_devices.find_device(tx, run.data["device"]) is not None:
                return
        if run.data["attachment"] is not None:
            await self._volumes.disconnect(run.ctx, run.data["attachment"])

    async def detach_failed(self, run: Run, error: CloudseedError) -> None:
        async with self._nova.db.write() as tx:
            await block_devices.change_device(tx, run.resource_id, run.data["device"], state="attached")
            await end_event(tx, run, DETACH_EVENT, error)

    # ---- both

    async def _device(self, tx: Tx, run: Run) -> BlockDevice:
        device = await block_devices.find_device(tx, run.data["device"])
        if device is None:
            raise NotFound(f"Block device {run.data['device']} of server {run.resource_id} is gone.")
        return device

    async def _on_host(self, run: Run, row: Any, method: str) -> Any:
        return await self._hosts.require(run, row, method, doing=method.replace("_", " "),
                                         spec=encode_spec(spec_from_row(row)), device_id=run.data["device"])


class Reservation:
    """`nova.reserve_volumes`, driven by nova-api within the user's request.

    `run.data`: {"devices": [{"id", "volume_id"}], "new": whether the server is not there yet}.
    """

    def __init__(self, nova: Nova) -> None:
        self._nova = nova

    def type(self, order: Any) -> OperationType:
        """The operation whose second step calls `order(tx, attachments)`, {device id: attachment id}, in a
        transaction.  The engine needs no `order` to undo what a dead process left."""
        async def write(run: Run) -> None:
            async with self._nova.db.write() as tx:
                await order(tx, run.data["attachments"])

        return OperationType("nova.reserve_volumes", (
            Step("reserve", self.reserve, self.undo_reserve, patience_s=0, resumable=False),
            Step("order", write, resumable=False)), failed=self.failed)

    async def reserve(self, run: Run) -> None:
        volumes = Volumes(self._nova.api_session)
        run.data["attachments"] = {}
        for device in run.data["devices"]:
            run.data["attachments"][device["id"]] = await volumes.reserve(
                run.ctx, run.resource_id, device["volume_id"], as_user=True)

    async def undo_reserve(self, run: Run) -> None:
        """Unless the order was written: then the attachments are the server's."""
        async with self._nova.db.read() as tx:
            if await self._ordered(tx, run):
                return
        volumes = Volumes(self._nova.conductor_session)
        for device in run.data["devices"]:
            await volumes.disconnect_all(run.ctx, run.resource_id, device["volume_id"])

    async def failed(self, run: Run, error: CloudseedError) -> None:
        async with self._nova.db.write() as tx:
            if not await self._ordered(tx, run):
                await block_devices.remove_devices(tx, run.resource_id, [d["id"] for d in run.data["devices"]])

    async def _ordered(self, tx: Tx, run: Run) -> bool:
        if run.data["new"]:
            return bool(await tx.scalar(sa.select(sa.func.count()).where(servers.c.id == run.resource_id)))
        device = await block_devices.find_device(tx, run.data["devices"][0]["id"])
        return device is not None and device.attachment_id is not None


async def nothing(tx: Tx, attachments: dict[str, str]) -> None:
    """The order of a process that died: never written."""

