"""The root volume of a server that is rebuilt gets another image's bytes: cinder writes them, while nobody has it.

The machine is off.  The volume is let go of and reserved anew, written, and connected again.  Each part finds what
an earlier try did: the attachment that the server's record names, and the volume's status.  Should cinder refuse the
image, the volume is connected again as it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from cloudseed.kernel.errors import Conflict, Forbidden, Invalid, NotFound
from cloudseed.kernel.operations import Run
from cloudseed.nova import block_devices
from cloudseed.nova.compute.devices import BlockDevice, decode_devices
from cloudseed.nova.compute.errors import BuildAborted
from cloudseed.nova.compute.spec import encode_spec, spec_from_row
from cloudseed.nova.compute.volumes import REIMAGE_MICROVERSION, Volumes
from cloudseed.nova.conductor.records import Server, load_server, load_spec

if TYPE_CHECKING:
    from cloudseed.nova.conductor.remake import Remake


class Reimage:
    """A step of a rebuild; `run.data["reimage"]` is the image's id, or null when the root volume stays."""

    def __init__(self, remake: Remake) -> None:
        self._remake = remake
        self._nova = remake.nova

    async def do(self, run: Run) -> None:
        image_id = run.data.get("reimage")
        if image_id is None:
            return
        volumes = Volumes(self._nova.conductor_session)
        device = await self._reserved(run, volumes)
        assert device.volume_id is not None
        try:
            if (await volumes.get_volume(run.ctx, device.volume_id))["status"] == "reserved":
                await volumes.act(run.ctx, device.volume_id, "os-reimage", {
                    "image_id": image_id, "reimage_reserved": True}, microversion=REIMAGE_MICROVERSION)
        except (Invalid, NotFound, Conflict, Forbidden) as exc:
            raise BuildAborted(f"Volume {device.volume_id} could not be rebuilt from image {image_id}: {exc.message}",
                               detail=exc.detail) from exc
        await volumes.available(run.ctx, device.volume_id)
        await self._connect(run)

    async def undo(self, run: Run) -> None:
        """The server has its root volume again, whatever is on it."""
        if run.data.get("reimage") is not None and (await self._root(run)).state == "new":
            await self._connect(run)

    async def _reserved(self, run: Run, volumes: Volumes) -> BlockDevice:
        """The root device, its volume kept for the server and in nobody's hands.  First it is written that the server
        does not have it, so that nothing starts the machine with it."""
        device = await self._root(run)
        assert device.volume_id is not None
        if device.state != "new":
            device = await self._write(run, msgspec.structs.replace(
                device, state="new", attachment_id=None, connection_info=None))
        if device.attachment_id is None and device.volume_id is not None:
            await volumes.disconnect_all(run.ctx, run.resource_id, device.volume_id)
            attachment_id = await volumes.reserve(run.ctx, run.resource_id, device.volume_id)
            device = await self._write(run, msgspec.structs.replace(device, attachment_id=attachment_id))
        return device

    async def _connect(self, run: Run) -> None:
        row: Server = await load_server(self._nova, run.resource_id)
        device = await self._root(run)
        done = await self._remake.ask(run, row, "attach_volume", spec=encode_spec(spec_from_row(row)),
                                      device_id=device.id)
        for one in decode_devices(done):
            await self._write(run, one)

    async def _root(self, run: Run) -> BlockDevice:
        root = (await load_spec(self._nova, run.resource_id)).root_device
        if root is None or root.volume_id is None:
            raise NotFound(f"Server {run.resource_id} has no root volume.")
        return root

    async def _write(self, run: Run, device: BlockDevice) -> BlockDevice:
        async with self._nova.db.write() as tx:
            await block_devices.change_devices(tx, run.resource_id, [device])
        return device
