"""What a host does to the disks of a server that is resized: grown with the old ones kept, given back, settled."""

from __future__ import annotations

from cloudseed.nova.compute.admission import Kind
from cloudseed.nova.compute.parts import HostParts, Verb
from cloudseed.nova.compute.spec import decode_spec
from cloudseed.nova.compute.worker import Work


class ResizeWork:
    """The verbs of resize, confirm and revert.  The machine is off while its disks change."""

    def __init__(self, parts: HostParts) -> None:
        self._parts = parts
        self.verbs: dict[Kind, Verb] = {
            Kind.RESIZE_DISKS: self._resize, Kind.RESTORE_DISKS: self._restore, Kind.DROP_KEPT_DISKS: self._drop}

    async def _resize(self, work: Work) -> None:
        await self._parts.driver.resize_disks(decode_spec(work.arguments["spec"]))

    async def _restore(self, work: Work) -> None:
        await self._parts.driver.restore_disks(work.server_id)

    async def _drop(self, work: Work) -> None:
        await self._parts.driver.drop_kept_disks(work.server_id)
