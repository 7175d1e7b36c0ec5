"""Rebuild: a server gets a new root disk, and keeps its id, its ports, its addresses and its volumes.

    image    the host has the image; nothing is destroyed before
    disks    the machine is off, its own disks are made anew
    volume   of a server that boots from a volume: cinder writes the image to it (undone: connected as it is)
    start    it runs, unless it was stopped
    finish

Killed anywhere it goes on.  An image that cannot be had leaves the server with the disks that it has (and the
record of the image that they are of), in error so that who waits learns of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudseed.kernel.errors import CloudseedError
from cloudseed.kernel.operations import OperationType, Run, Step
from cloudseed.nova.compute.spec import encode_spec, spec_from_row
from cloudseed.nova.conductor.on_host import Hosts
from cloudseed.nova.conductor.reimage import Reimage
from cloudseed.nova.conductor.remake import (
    DISK_PATIENCE_S,
    IMAGE_PATIENCE_S,
    START_PATIENCE_S,
    Remake,
    running_or_off,
)
from cloudseed.nova.server_states import TaskState

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova


class Rebuild:
    """The steps.  `data`: `start`, `old` (the columns of the image before), `admin_password`, `reimage`."""

    def __init__(self, nova: Nova, hosts: Hosts) -> None:
        self._do = Remake(nova, hosts, "compute_rebuild_instance", "rebuild")
        volume = Reimage(self._do)
        self.type = OperationType("nova.rebuild", (
            Step("image", self.image, patience_s=IMAGE_PATIENCE_S),
            Step("disks", self.disks, patience_s=DISK_PATIENCE_S),
            Step("volume", volume.do, volume.undo, patience_s=IMAGE_PATIENCE_S),
            Step("start", self.start, patience_s=START_PATIENCE_S),
            Step("finish", self.finish)), failed=self.failed)

    async def image(self, run: Run) -> None:
        row = await self._do.begin(run)
        if row.image_id is not None:
            await self._do.ask(run, row, "fetch_image", image_id=row.image_id)

    async def disks(self, run: Run) -> None:
        row = await self._do.begin(run, task_state=TaskState.REBUILD_BLOCK_DEVICE_MAPPING.value)
        run.data["old"] = {}  # from now on they are gone
        await self._do.ask(run, row, "remake_disks", spec=encode_spec(spec_from_row(row)), soft_timeout_s=0,
                           admin_password=run.data.get("admin_password"))

    async def start(self, run: Run) -> None:
        if run.data["start"]:
            row = await self._do.begin(run, task_state=TaskState.REBUILD_SPAWNING.value)
            await self._do.ask(run, row, "power_on", spec=encode_spec(spec_from_row(row)))

    async def finish(self, run: Run) -> None:
        run.data.pop("admin_password", None)
        await self._do.finish(run, progress=0, **running_or_off(run.data["start"]))

    async def failed(self, run: Run, error: CloudseedError) -> None:
        run.data.pop("admin_password", None)
        await self._do.failed(run, error, **run.data["old"])
