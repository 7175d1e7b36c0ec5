"""What a host does to give a server other disks: made anew (rebuild), or a rescue disk before them (rescue)."""

from __future__ import annotations

from cloudseed.nova.compute.admission import Kind
from cloudseed.nova.compute.boot_work import base_image, guest_drive
from cloudseed.nova.compute.parts import HostParts, Verb
from cloudseed.nova.compute.power_work import PowerWork
from cloudseed.nova.compute.spec import decode_spec
from cloudseed.nova.compute.volume_work import with_connections
from cloudseed.nova.compute.worker import Work


class RemakeWork:
    """The verbs of rebuild and rescue.  Each may be repeated until the next one is done: no guest runs in between."""

    def __init__(self, parts: HostParts, power: PowerWork) -> None:
        self._parts = parts
        self._power = power
        self.verbs: dict[Kind, Verb] = {
            Kind.FETCH_IMAGE: self._fetch_image, Kind.REMAKE_DISKS: self._remake_disks,
            Kind.PREPARE_RESCUE: self._prepare_rescue, Kind.DROP_RESCUE: self._drop_rescue}

    async def _fetch_image(self, work: Work) -> None:
        """Before anything is destroyed: the image is here, or it cannot be had."""
        await base_image(self._parts, work, work.arguments["image_id"])

    async def _remake_disks(self, work: Work) -> None:
        spec = decode_spec(work.arguments["spec"])
        image = await base_image(self._parts, work, spec.image_id)
        await self._power.power_off(work, work.arguments["soft_timeout_s"])
        spec = await with_connections(self._parts, work.ctx, spec, fresh=True)
        await self._parts.driver.remake(spec, image, guest_drive(self._parts, work, spec))

    async def _prepare_rescue(self, work: Work) -> None:
        spec = decode_spec(work.arguments["spec"])
        assert spec.rescue is not None
        image = await base_image(self._parts, work, spec.rescue.image_id)
        await self._power.power_off(work, work.arguments["soft_timeout_s"])
        spec = await with_connections(self._parts, work.ctx, spec, fresh=True)
        await self._parts.driver.prepare_rescue(spec, image, guest_drive(self._parts, work, spec))

    async def _drop_rescue(self, work: Work) -> None:
        """The machine is off afterwards."""
        spec = decode_spec(work.arguments["spec"])
        await self._power.power_off(work, work.arguments["soft_timeout_s"])
        await self._parts.driver.drop_rescue(spec, guest_drive(self._parts, work, spec))
