"""Rescue: the server boots from a disk made for it of an image, its own disks behind; and back again.

    image     the host has the rescue image                          undo: the record of the rescue is taken back
    disk      the machine is off, the rescue disk is there           undo: the disk is removed, the machine as before
    start     it boots from the rescue disk
    finish    vm_state rescued

What the server is rescued with lies in `system_metadata["rescue"]` for as long as it is: whoever starts the
machine in between (a host that has rebooted) starts it so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudseed.kernel.errors import CloudseedError
from cloudseed.kernel.operations import OperationType, Run, Step
from cloudseed.nova.compute.spec import encode_spec, spec_from_row
from cloudseed.nova.conductor.on_host import Hosts
from cloudseed.nova.conductor.records import Server
from cloudseed.nova.conductor.remake import (
    DISK_PATIENCE_S,
    IMAGE_PATIENCE_S,
    SOFT_TIMEOUT_S,
    START_PATIENCE_S,
    Remake,
    running_or_off,
)
from cloudseed.nova.server_states import PowerState, VmState

if TYPE_CHECKING:
    from cloudseed.nova.service import Nova

RESCUED = {"vm_state": VmState.RESCUED.value, "power_state": PowerState.RUNNING.value}


class Rescue:
    """The steps of both.  `data` of a rescue: `rescue` (spec.Rescue), `start` (it ran before), `admin_password`."""

    def __init__(self, nova: Nova, hosts: Hosts) -> None:
        self._in = Remake(nova, hosts, "compute_rescue_instance", "rescue")
        self._out = Remake(nova, hosts, "compute_unrescue_instance", "unrescue")
        self.types = [
            OperationType("nova.rescue", (
                Step("image", self.image, self.undo_image, patience_s=IMAGE_PATIENCE_S),
                Step("disk", self.disk, self.undo_disk, patience_s=DISK_PATIENCE_S),
                Step("start", self.start, patience_s=START_PATIENCE_S),
                Step("finish", self.finish)), failed=self.failed),
            OperationType("nova.unrescue", (
                Step("disk", self.back, patience_s=DISK_PATIENCE_S),
                Step("start", self.start_again, patience_s=START_PATIENCE_S),
                Step("finish", self.finish_back)), failed=self.failed_back)]

    async def image(self, run: Run) -> None:
        row = await self._in.begin(run)
        await self._in.begin(run, system_metadata={**row.system_metadata, "rescue": run.data["rescue"]})
        await self._in.ask(run, row, "fetch_image", image_id=run.data["rescue"]["image_id"])

    async def undo_image(self, run: Run) -> None:
        row = await self._in.begin(run)
        await self._in.begin(run, system_metadata=_without_rescue(row))

    async def disk(self, run: Run) -> None:
        row = await self._in.begin(run)
        await self._in.ask(run, row, "prepare_rescue", spec=encode_spec(spec_from_row(row)),
                           soft_timeout_s=SOFT_TIMEOUT_S, admin_password=run.data.get("admin_password"))

    async def undo_disk(self, run: Run) -> None:
        row = await self._in.begin(run)
        row = await self._in.begin(run, system_metadata=_without_rescue(row))
        await self._in.ask(run, row, "drop_rescue", spec=encode_spec(spec_from_row(row)), soft_timeout_s=0)
        if run.data["start"]:
            await self._in.ask(run, row, "power_on", spec=encode_spec(spec_from_row(row)))

    async def start(self, run: Run) -> None:
        row = await self._in.begin(run)
        await self._in.ask(run, row, "power_on", spec=encode_spec(spec_from_row(row)))

    async def finish(self, run: Run) -> None:
        run.data.pop("admin_password", None)
        await self._in.finish(run, **RESCUED)

    async def failed(self, run: Run, error: CloudseedError) -> None:
        """The machine is as it was; the server in error, so that who waits for RESCUE learns of it."""
        run.data.pop("admin_password", None)
        await self._in.failed(run, error)

    # ---- and back

    async def back(self, run: Run) -> None:
        row = await self._out.begin(run)
        row = await self._out.begin(run, system_metadata=_without_rescue(row))
        await self._out.ask(run, row, "drop_rescue", spec=encode_spec(spec_from_row(row)),
                            soft_timeout_s=SOFT_TIMEOUT_S)

    async def start_again(self, run: Run) -> None:
        row = await self._out.begin(run)
        await self._out.ask(run, row, "power_on", spec=encode_spec(spec_from_row(row)))

    async def finish_back(self, run: Run) -> None:
        await self._out.finish(run, **running_or_off(True))

    async def failed_back(self, run: Run, error: CloudseedError) -> None:
        await self._out.failed(run, error)


def _without_rescue(row: Server) -> dict[str, Any]:
    return {name: value for name, value in row.system_metadata.items() if name != "rescue"}
