"""What a host does to let a guest stand still: in memory (pause), or with its memory on disk (suspend)."""

from __future__ import annotations

from cloudseed.nova.compute.admission import Kind
from cloudseed.nova.compute.parts import HostParts, Verb
from cloudseed.nova.compute.spec import decode_spec
from cloudseed.nova.compute.volume_work import with_connections
from cloudseed.nova.compute.worker import Work


class SuspendWork:
    """The verbs of pausing and suspending."""

    def __init__(self, parts: HostParts) -> None:
        self._parts, self._driver = parts, parts.driver
        self.verbs: dict[Kind, Verb] = {
            Kind.PAUSE: self._pause, Kind.UNPAUSE: self._unpause, Kind.SUSPEND: self._suspend,
            Kind.RESUME: self._resume}

    async def _pause(self, work: Work) -> None:
        await self._driver.pause(work.server_id)

    async def _unpause(self, work: Work) -> None:
        await self._driver.unpause(work.server_id)

    async def _suspend(self, work: Work) -> None:
        await self._driver.suspend(work.server_id)

    async def _resume(self, work: Work) -> None:
        """The second half is for a start that was killed when its guest stood ready and still."""
        spec = decode_spec(work.arguments["spec"])
        await self._driver.start(await with_connections(self._parts, work.ctx, spec), spec.network_info)
        await self._driver.unpause(spec.id)
