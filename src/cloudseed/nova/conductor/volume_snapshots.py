"""An image of a server that boots from a volume: snapshots of its volumes, and a record that says how they belong.

    step        does                                              undo
    quiesce     the running guest's file systems stand still,     they go on
                if its agent can do that
    snapshots   every volume of the server has a snapshot         they are deleted
    image       a record without bytes names them as the          it is deleted
                block devices of servers made from it
    thaw        `nova.unquiesce` is ordered: it waits until the
                snapshots are taken, and lets the guest go on

Driven by nova-api within the user's request, as upstream does: it is quick, and quotas are the user's to hear of.  A
snapshot is found again by the image's id in its metadata.  A process that dies in it leaves nothing.

A guest stands still no longer than `STILL_MAX_S`, however long its volumes take.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from cloudseed.kernel.errors import CloudseedError, NotFound
from cloudseed.kernel.operations import OperationType, Run, Step
from cloudseed.nova.compute.devices import BlockDevice
from cloudseed.nova.compute.spec import encode_spec, spec_from_row
from cloudseed.nova.compute.volumes import Volumes
from cloudseed.nova.conductor.image_of_server import make_record
from cloudseed.nova.conductor.on_host import HostGone, Hosts
from cloudseed.nova.conductor.records import load_server, load_spec
from cloudseed.nova.models import servers
from cloudseed.nova.server_states import VmState

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

log = logging.getLogger(__name__)
KEY = "nova_image"
STILL_MAX_S = 60.0
LOOK_EVERY_S = 0.25
THAW_PATIENCE_S = 3600.0
_KEPT = ("disk_bus", "device_type", "boot_index", "delete_on_termination", "volume_size", "device_name")
_LOCAL = (*_KEPT, "guest_format", "tag")


class VolumeSnapshots:
    """The operations `nova.snapshot_volumes`, whose `run.data["image"]` is {"id", "body"} as for other images of
    servers, and `nova.unquiesce`, which works on that image: nothing else of the server waits for it."""

    def __init__(self, nova: Nova, hosts: Hosts) -> None:
        self._nova = nova
        self._hosts = hosts
        self.type = OperationType("nova.snapshot_volumes", (
            Step("quiesce", self.quiesce, self.undo_quiesce, patience_s=0, resumable=False),
            Step("snapshots", self.snapshots, self.undo_snapshots, patience_s=0, resumable=False),
            Step("image", self.image, self.undo_image, patience_s=0, resumable=False),
            Step("thaw", self.thaw, patience_s=0, resumable=False)))
        self.unquiesce = OperationType("nova.unquiesce", (
            Step("thaw", self.thaw_later, patience_s=THAW_PATIENCE_S),))

    async def quiesce(self, run: Run) -> None:
        """As upstream: only a guest that runs; one that cannot is taken as it is, unless its image forbids that."""
        row = await load_server(self._nova, run.resource_id)
        spec = spec_from_row(row)
        if row.vm_state != VmState.ACTIVE or row.host is None or not (spec.has_guest_agent or spec.must_quiesce):
            return
        try:
            await self._nova.api_bus.call(run.ctx, f"compute.{row.host}", "quiesce", server_id=row.id,
                                          operation_id=run.id, spec=encode_spec(spec))
            run.data["quiesced"] = True
        except CloudseedError as exc:
            if spec.must_quiesce:
                raise
            log.info("server %s is not quiesced for its image: %s", row.id, exc.message)

    async def undo_quiesce(self, run: Run) -> None:
        await self._thaw(run, run.resource_id)

    async def thaw(self, run: Run) -> None:
        if not run.data.get("quiesced"):
            return
        data = {"server_id": run.resource_id, "until": time.time() + STILL_MAX_S}
        async with self._nova.db.write() as tx:
            await self._nova.engine.submit(tx, self.unquiesce, run.data["image"]["id"], data, run.ctx)

    async def thaw_later(self, run: Run) -> None:
        """Wait for the snapshots, then let the guest go on."""
        volumes = Volumes(self._nova.conductor_session)
        while 0 < run.data["until"] - time.time() <= STILL_MAX_S:  # a clock that is set back keeps no guest waiting
            try:
                found = await volumes.snapshots_with(run.ctx, KEY, run.resource_id)
            except CloudseedError as exc:
                log.warning("image %s: its snapshots cannot be seen: %s", run.resource_id, exc.message)
                break
            if all(snapshot["status"] != "creating" for snapshot in found):
                break
            await asyncio.sleep(LOOK_EVERY_S)
        await self._thaw(run, run.data["server_id"])

    async def _thaw(self, run: Run, server_id: str) -> None:
        """Also a guest that was never asked, or whose answer was lost: to go on is always fine."""
        async with self._nova.db.read() as tx:
            row = await tx.first(sa.select(servers).where(servers.c.id == server_id))
        if row is None or row.host is None or not spec_from_row(row).has_guest_agent:
            return
        try:
            await self._hosts.ask_of(run.ctx, row.host, "unquiesce", server_id=server_id, operation_id=run.id)
        except HostGone as exc:
            log.warning("host %s is gone with the guest of server %s, perhaps quiesced", exc.host, server_id)

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
