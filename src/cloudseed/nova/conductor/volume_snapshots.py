"""An image of a server that boots from a volume: snapshots of its volumes, and a record that says how they belong.

    step        does                                              undo
    snapshots   every volume of the server has a snapshot         they are deleted
    image       a record without bytes names them as the          it is deleted
                block devices of servers made from it

Driven by nova-api within the user's request, as upstream does: it is quick, and quotas are the user's to hear of.  A
snapshot is found again by the image's id in its metadata.  A process that dies in it leaves nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from cloudseed.kernel.errors import NotFound
from cloudseed.kernel.operations import OperationType, Run, Step
from cloudseed.nova.compute.devices import BlockDevice
from cloudseed.nova.compute.volumes import Volumes
from cloudseed.nova.conductor.image_of_server import make_record
from cloudseed.nova.conductor.records import load_spec

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

KEY = "nova_image"
_KEPT = ("disk_bus", "device_type", "boot_index", "delete_on_termination", "volume_size", "device_name")
_LOCAL = (*_KEPT, "guest_format", "tag")


class VolumeSnapshots:
    """The operation `nova.snapshot_volumes`; `run.data["image"]` is {"id", "body"} as for other images of servers."""

    def __init__(self, nova: Nova) -> None:
        self._nova = nova
        self.type = OperationType("nova.snapshot_volumes", (
            Step("snapshots", self.snapshots, self.undo_snapshots, patience_s=0, resumable=False),
            Step("image", self.image, self.undo_image, patience_s=0, resumable=False)))

    async def snapshots(self, run: Run) -> None:
        volumes, image = Volumes(self._nova.api_session), run.data["image"]
        mapping: list[dict[str, Any]] = []
        for device in (await load_spec(self._nova, run.resource_id)).block_devices:
            if not device.is_volume:
                mapping.append(_described(device, _LOCAL, source_type="blank", destination_type="local"))
                continue
            assert device.volume_id is not None
            snapshot = await volumes.create_snapshot(
                run.ctx, device.volume_id, f"snapshot for {image['body']['name']}", {KEY: image["id"]})
            mapping.append(_described(device, _KEPT, source_type="snapshot", destination_type="volume",
                                      snapshot_id=snapshot["id"], volume_size=snapshot["size"]))
        run.data["mapping"] = mapping

    async def undo_snapshots(self, run: Run) -> None:
        volumes = Volumes(self._nova.conductor_session)
        for snapshot in await volumes.snapshots_with(run.ctx, KEY, run.data["image"]["id"]):
            await volumes.delete_snapshot(run.ctx, snapshot["id"])

    async def image(self, run: Run) -> None:
        image, session = run.data["image"], self._nova.api_session
        await make_record(session, run.ctx, image["id"], {
            **image["body"], "disk_format": "raw", "container_format": "bare", "bdm_v2": "True",
            "block_device_mapping": msgspec.json.encode(run.data["mapping"]).decode()})
        await session.request(run.ctx, "image", "PUT", f"/v2/images/{image['id']}/file", body=b"", as_user=True,
                              headers={"Content-Type": "application/octet-stream"})

    async def undo_image(self, run: Run) -> None:
        try:
            await self._nova.conductor_session.request(run.ctx, "image", "DELETE",
                                                       f"/v2/images/{run.data['image']['id']}")
        except NotFound:
            pass


def _described(device: BlockDevice, fields: tuple[str, ...], **own: Any) -> dict[str, Any]:
    """A device as an image's property has it: with every key that upstream writes."""
    empty = dict.fromkeys(("image_id", "volume_id", "snapshot_id", "guest_format", "no_device", "tag", "volume_type",
                           *_KEPT))
    return {**empty, **{name: getattr(device, name) for name in fields}, **own}
